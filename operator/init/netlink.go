package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// A few requests to the kernel's routing socket: rtnetlink(7).

// request is one message: a header of its kind, and attributes.
type request struct {
	kind  uint16
	flags uint16
	body  []byte
}

func (r *request) attribute(kind uint16, value []byte) {
	head := make([]byte, 4)
	binary.NativeEndian.PutUint16(head, uint16(4+len(value)))
	binary.NativeEndian.PutUint16(head[2:], kind)
	r.body = append(append(r.body, head...), value...)
	r.body = append(r.body, make([]byte, -len(value)&3)...)
}

func number32(value uint32) []byte {
	return binary.NativeEndian.AppendUint32(nil, value)
}

// do sends it, and answers what the kernel says.
func (r *request) do() error {
	socket, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	head := make([]byte, unix.SizeofNlMsghdr)
	binary.NativeEndian.PutUint32(head, uint32(len(head)+len(r.body)))
	binary.NativeEndian.PutUint16(head[4:], r.kind)
	binary.NativeEndian.PutUint16(head[6:], r.flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	binary.NativeEndian.PutUint32(head[8:], 1)
	if err := unix.Sendto(socket, append(head, r.body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 8<<10)
	count, _, err := unix.Recvfrom(socket, answer, 0)
	if err != nil {
		return err
	}
	if count < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("the kernel answered with something else than a result")
	}
	if code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		return syscall.Errno(-code)
	}
	return nil
}

func family(address netip.Addr) byte {
	if address.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func linkUp(index int) error {
	body := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(body[4:], uint32(index))
	binary.NativeEndian.PutUint32(body[8:], unix.IFF_UP)
	binary.NativeEndian.PutUint32(body[12:], unix.IFF_UP)
	return (&request{kind: unix.RTM_NEWLINK, body: body}).do()
}

// addressRequest adds an address with its prefix, or removes it.
func addressRequest(kind, flags uint16, index int, address netip.Prefix) error {
	body := make([]byte, unix.SizeofIfAddrmsg)
	body[0], body[1] = family(address.Addr()), byte(address.Bits())
	binary.NativeEndian.PutUint32(body[4:], uint32(index))
	one := &request{kind: kind, flags: flags, body: body}
	raw := address.Addr().AsSlice()
	one.attribute(unix.IFA_LOCAL, raw)
	one.attribute(unix.IFA_ADDRESS, raw)
	if address.Addr().Is4() && address.Bits() < 31 {
		one.attribute(unix.IFA_BROADCAST, broadcast(address))
	}
	return one.do()
}

func broadcast(address netip.Prefix) []byte {
	raw := address.Addr().As4()
	value := binary.BigEndian.Uint32(raw[:]) | 1<<(32-address.Bits()) - 1
	return binary.BigEndian.AppendUint32(nil, value)
}

// defaultRoute adds the way to everywhere else, or removes it. “direct“: the gateway is in none of the interface's networks.
func defaultRoute(kind, flags uint16, index int, gateway netip.Addr, direct bool) error {
	body := make([]byte, unix.SizeofRtMsg)
	body[0], body[4], body[5], body[6], body[7] = family(gateway), unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST
	if direct {
		binary.NativeEndian.PutUint32(body[8:], unix.RTNH_F_ONLINK)
	}
	one := &request{kind: kind, flags: flags, body: body}
	one.attribute(unix.RTA_GATEWAY, gateway.AsSlice())
	one.attribute(unix.RTA_OIF, number32(uint32(index)))
	return one.do()
}
