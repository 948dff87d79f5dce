package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"net/netip"
	"strings"
)

// Before Proxmox VE 9.1 a container has no environment, and nothing that differs by container reaches its disk. What does is its
// hostname: until the first hello it is a claim, with as much of the network as it takes to reach the operator.
// operator/homeport/plan/agent/hostclaim.py writes what is read here; decision 018 says why.
const (
	hostClaimPrefix = "hp"
	hostClaimLength = 63 // characters; a label of a domain name has no more
	hostClaimBytes  = 38 // 8 claim's name, 16 token, 4 address, 1 prefix, 4 gateway, 4 nameserver, 1 interface
)

var hostClaimText = base32.StdEncoding.WithPadding(base32.NoPadding)

// hostClaim is what such a hostname says.
type hostClaim struct {
	token      string // NAME.TOKEN
	address    netip.Prefix
	gateway    netip.Addr // invalid: none
	nameserver netip.Addr
	mark       byte // of the interface's name
}

// parseHostClaim reads a hostname; false for one that is only a name.
func parseHostClaim(hostname string) (hostClaim, bool) {
	rest, ok := strings.CutPrefix(hostname, hostClaimPrefix)
	if !ok || len(hostname) != hostClaimLength || strings.ToLower(rest) != rest {
		return hostClaim{}, false
	}
	raw, err := hostClaimText.DecodeString(strings.ToUpper(rest))
	if err != nil || len(raw) != hostClaimBytes || !strings.EqualFold(hostClaimText.EncodeToString(raw), rest) {
		return hostClaim{}, false
	}
	name, token, raw := raw[:8], raw[8:24], raw[24:]
	address := netip.PrefixFrom(netip.AddrFrom4([4]byte(raw[:4])), int(raw[4]))
	return hostClaim{
		token:      hex.EncodeToString(name) + "." + hex.EncodeToString(token),
		address:    address,
		gateway:    given4(raw[5:9]),
		nameserver: given4(raw[9:13]),
		mark:       raw[13],
	}, address.IsValid()
}

func given4(raw []byte) netip.Addr {
	if bytes.Equal(raw, make([]byte, 4)) {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte(raw))
}

// network is what is set up before the operator can be asked, on the interface that is meant among those that are there.
func (h hostClaim) network(names []string) []netInterface {
	for _, name := range names {
		if sum := sha256.Sum256([]byte(name)); sum[0] == h.mark {
			one := netInterface{Name: name, Addresses: []string{h.address.String()}}
			if h.gateway.IsValid() {
				one.Gateways = []string{h.gateway.String()}
			}
			return []netInterface{one}
		}
	}
	return nil
}
