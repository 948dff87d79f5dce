package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// netInterface is what an interface should have; only what was set from here is ever taken away again.
type netInterface struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"` // each with its prefix
	Gateways  []string `json:"gateways"`
}

func (n netInterface) same(other netInterface) bool {
	return n.Name == other.Name && slices.Equal(n.Addresses, other.Addresses) && slices.Equal(n.Gateways, other.Gateways)
}

// parsed is one whose texts were understood.
type parsed struct {
	name      string
	addresses []netip.Prefix
	gateways  []netip.Addr
}

func (n netInterface) parse() (parsed, error) {
	out := parsed{name: n.Name}
	for _, text := range n.Addresses {
		address, err := netip.ParsePrefix(text)
		if err != nil {
			return out, fmt.Errorf("network %s: %w", n.Name, err)
		}
		out.addresses = append(out.addresses, address)
	}
	for _, text := range n.Gateways {
		gateway, err := netip.ParseAddr(text)
		if err != nil {
			return out, fmt.Errorf("network %s: %w", n.Name, err)
		}
		out.gateways = append(out.gateways, gateway)
	}
	return out, nil
}

// setNetwork gives interfaces what they should have. “before“ is what was set last: what has left is removed.
// What is there already is no error: Proxmox VE itself changes a running container's addresses.
func setNetwork(wanted, before []netInterface) error {
	var failed error
	for _, one := range wanted {
		had := netInterface{Name: one.Name}
		if at := slices.IndexFunc(before, func(b netInterface) bool { return b.Name == one.Name }); at >= 0 {
			had = before[at]
		}
		failed = errors.Join(failed, setInterface(one, had))
	}
	for _, one := range before {
		if slices.ContainsFunc(wanted, func(w netInterface) bool { return w.Name == one.Name }) {
			continue
		}
		if _, err := net.InterfaceByName(one.Name); err == nil {
			failed = errors.Join(failed, setInterface(netInterface{Name: one.Name}, one))
		}
	}
	return failed
}

func setInterface(wanted, before netInterface) error {
	now, err := wanted.parse()
	if err != nil {
		return err
	}
	had, err := before.parse()
	if err != nil {
		had = parsed{}
	}
	link, err := net.InterfaceByName(wanted.Name)
	if err != nil {
		return fmt.Errorf("network %s: %w", wanted.Name, err)
	}
	failed := linkUp(link.Index)
	for _, gateway := range had.gateways {
		if !slices.Contains(now.gateways, gateway) {
			failed = errors.Join(failed, gone(defaultRoute(unix.RTM_DELROUTE, 0, link.Index, gateway, false)))
		}
	}
	for _, address := range had.addresses {
		if !slices.Contains(now.addresses, address) {
			failed = errors.Join(failed, gone(addressRequest(unix.RTM_DELADDR, 0, link.Index, address)))
		}
	}
	for _, address := range now.addresses {
		failed = errors.Join(failed, addressRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, link.Index, address))
	}
	for _, gateway := range now.gateways {
		near := slices.ContainsFunc(now.addresses, func(a netip.Prefix) bool { return a.Contains(gateway) })
		failed = errors.Join(failed, defaultRoute(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, link.Index, gateway, !near))
	}
	if failed != nil {
		return fmt.Errorf("network %s: %w", wanted.Name, failed)
	}
	return nil
}

// gone is no error for what wasn't there to be removed.
func gone(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// bringUp sets up the network before there is anybody to ask: as the hostname says, else as it was told last. A hostname that is
// still a claim is newer: the operator keeps it up to date until it has heard of us.
func bringUp(k *kept, hostname, resolver string) error {
	found, claimed := parseHostClaim(hostname)
	if !claimed {
		return setNetwork(k.Network, nil)
	}
	links, err := net.Interfaces()
	if err != nil {
		return err
	}
	var names []string
	for _, link := range links {
		if link.Flags&net.FlagLoopback == 0 {
			names = append(names, link.Name)
		}
	}
	wanted := found.network(names)
	if wanted == nil {
		return fmt.Errorf("none of the interfaces %v is the one that the hostname means", names)
	}
	if found.nameserver.IsValid() {
		err = writeResolver(resolver, []string{found.nameserver.String()}, nil)
	}
	return errors.Join(err, setNetwork(wanted, nil), k.change(func(k *kept) { k.Network = wanted }))
}
