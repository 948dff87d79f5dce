package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// As operator/homeport/plan/agent/hostclaim.py writes it; tests/unit/test_hostclaim.py has the same.
const aHostClaim = "hpaerukz4jvpg66aareizuivlgo6ejtkv3zto657ykaaabigakaaaaccqaaabjy"

func TestAHostnameIsAClaim(t *testing.T) {
	found, ok := parseHostClaim(aHostClaim)
	if !ok || found.token != "0123456789abcdef.00112233445566778899aabbccddeeff" || found.address.String() != "10.0.0.20/24" ||
		found.gateway.String() != "10.0.0.1" || found.nameserver.String() != "10.0.0.2" {
		t.Fatalf("%+v, %v", found, ok)
	}
	wanted := []netInterface{{"eth0", []string{"10.0.0.20/24"}, []string{"10.0.0.1"}}}
	if network := found.network([]string{"eth1", "eth0"}); !slices.EqualFunc(network, wanted, netInterface.same) {
		t.Errorf("%+v", network)
	}
	if network := found.network([]string{"eth1"}); network != nil {
		t.Errorf("another interface was taken: %+v", network)
	}
	for _, name := range []string{"", "web", "hp", aHostClaim[:62], aHostClaim + "a", strings.ToUpper(aHostClaim), aHostClaim[:62] + "1", "hp" + strings.Repeat("7", 61)} {
		if found, ok := parseHostClaim(name); ok {
			t.Errorf("%q was taken: %+v", name, found)
		}
	}
}

func TestAClaimInTheHostname(t *testing.T) {
	path := filepath.Join(t.TempDir(), "claim.json")
	write(t, path, `{"HOMEPORT_AGENT_URL": "https://10.0.0.1:8443", "HOMEPORT_AGENT_FINGERPRINT": "`+strings.Repeat("ab", 32)+`"}`)
	none := func(string) string { return "" }
	given, err := readClaim(none, path, aHostClaim)
	if err != nil || given.container != "" || given.name() != "0123456789abcdef" {
		t.Fatal(given, err)
	}
	kept := filepath.Join(t.TempDir(), "state/kept.json")
	nobody, err := readClaim(none, path, "web")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loadKept(kept, nobody); err == nil {
		t.Error("a container that nobody has named was taken for one")
	}
	first, err := loadKept(kept, given)
	if err != nil || first.shown(given) != given.token {
		t.Fatal(first, err)
	}
	// Once it was used the hostname is what it should be, and the credential is the same.
	later, err := loadKept(kept, nobody)
	if err != nil || later.Credential != first.Credential || later.shown(nobody) != "0123456789abcdef." {
		t.Fatal(later, err)
	}
}

// TestNetwork runs itself in a network of its own.
func TestNetwork(t *testing.T) {
	if os.Getenv("HOMEPORT_TEST_NETWORK") == "" {
		again := exec.Command(os.Args[0], "-test.run=^TestNetwork$", "-test.v")
		again.Env = append(os.Environ(), "HOMEPORT_TEST_NETWORK=1")
		again.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWUTS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		text, err := again.CombinedOutput()
		if err != nil && strings.Contains(err.Error(), "fork/exec") {
			t.Skip("no namespaces here: ", err)
		}
		if err != nil || !strings.Contains(string(text), "--- PASS: TestNetwork") {
			t.Fatalf("%v\n%s", err, text)
		}
		return
	}
	makePair(t, "eth0")
	folder := t.TempDir()
	k := &kept{path: filepath.Join(folder, "state/kept.json")}
	resolver := filepath.Join(folder, "resolv.conf")
	if err := bringUp(k, aHostClaim, resolver); err != nil {
		t.Fatal(err)
	}
	wantAddresses(t, "10.0.0.20/24")
	wantRoutes(t, "0100000A")
	if text, _ := os.ReadFile(resolver); string(text) != "nameserver 10.0.0.2\n" {
		t.Errorf("%q", text)
	}
	// The next start has another hostname, and what was kept; and nothing is wrong with what is there already.
	if err := bringUp(k, "web", resolver); err != nil {
		t.Fatal(err)
	}
	wantAddresses(t, "10.0.0.20/24")

	// Whoever had written a wrong gateway mends it before anybody was heard of.
	k.Network[0].Gateways = []string{"10.0.0.99"}
	if err := bringUp(k, aHostClaim, resolver); err != nil {
		t.Fatal(err)
	}
	wantRoutes(t, "0100000A")

	// A container is told otherwise while it runs: another address, a gateway outside of its network, and IPv6.
	if err := unix.Sethostname([]byte(aHostClaim)); err != nil {
		t.Fatal(err)
	}
	s := newSupervisor(image{}, k, newConsole(devNull{}), newReaper(), nil)
	told := &payload{Hostname: "web", Interfaces: &[]netInterface{
		{"eth0", []string{"10.0.1.7/32", "fd00::7/64"}, []string{"10.9.9.9", "fd00::1"}},
	}}
	if err := s.connect(told); err != nil {
		t.Fatal(err)
	}
	wantAddresses(t, "10.0.1.7/32", "fd00::7/64")
	wantRoutes(t, "0909090A")
	if name, _ := os.Hostname(); name != "web" {
		t.Error(name)
	}
	if again, err := loadKept(k.path, claim{container: "", token: ""}); err == nil && len(again.Network) != 1 {
		t.Errorf("%+v", again.Network)
	}
	missing := &payload{Interfaces: &[]netInterface{{"eth7", []string{"10.0.2.7/24"}, nil}}}
	if err := s.connect(missing); err == nil || !strings.Contains(err.Error(), "network eth7") {
		t.Error(err)
	}
	if err := s.connect(&payload{Interfaces: &[]netInterface{}}); err != nil {
		t.Fatal(err)
	}
	wantAddresses(t)
	wantRoutes(t)
}

func makePair(t *testing.T, name string) {
	t.Helper()
	one := &request{kind: unix.RTM_NEWLINK, flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL, body: make([]byte, unix.SizeofIfInfomsg)}
	one.attribute(unix.IFLA_IFNAME, append([]byte(name), 0))
	kind := &request{}
	kind.attribute(unix.IFLA_INFO_KIND, []byte("veth"))
	one.attribute(unix.IFLA_LINKINFO, kind.body)
	if err := one.do(); err != nil {
		t.Fatal(err)
	}
}

func wantAddresses(t *testing.T, wanted ...string) {
	t.Helper()
	link, err := net.InterfaceByName("eth0")
	if err != nil || link.Flags&net.FlagUp == 0 {
		t.Fatal(link, err)
	}
	all, err := link.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, one := range all {
		if !strings.HasPrefix(one.String(), "fe80:") {
			found = append(found, one.String())
		}
	}
	if !slices.Equal(found, wanted) {
		t.Errorf("%v, not %v", found, wanted)
	}
}

// wantRoutes looks for default routes of IPv4, as /proc/net/route has their gateways.
func wantRoutes(t *testing.T, wanted ...string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/net/route")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, line := range strings.Split(string(text), "\n")[1:] {
		if parts := strings.Fields(line); len(parts) > 2 && parts[1] == "00000000" {
			found = append(found, parts[2])
		}
	}
	if !slices.Equal(found, wanted) {
		t.Errorf("routes by %v, not %v", found, wanted)
	}
}
