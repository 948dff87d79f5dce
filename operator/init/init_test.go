package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestHostsKeepWhatIsNotOurs(t *testing.T) {
	before := "127.0.0.1 localhost\n# --- BEGIN PVE ---\n10.0.0.2 guest\n# --- END PVE ---\n"
	one := hostsWith(before, []hostEntry{{"10.0.0.9", []string{"db", "database"}}}, "")
	if want := before + "# homeport: begin\n10.0.0.9 db database\n# homeport: end\n"; one != want {
		t.Fatalf("%q", one)
	}
	if again := hostsWith(one, []hostEntry{{"10.0.0.9", []string{"db", "database"}}}, ""); again != one {
		t.Fatalf("not the same again: %q", again)
	}
	if without := hostsWith(one, nil, ""); without != before {
		t.Fatalf("%q", without)
	}
	if empty := hostsWith("", nil, "web"); !strings.Contains(empty, "127.0.0.1 localhost\n") || !strings.Contains(empty, "127.0.1.1 web\n") {
		t.Fatalf("%q", empty)
	}
}

func number(value int) *int { return &value }

func TestAccounts(t *testing.T) {
	etc := t.TempDir()
	write(t, etc+"/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n")
	write(t, etc+"/group", "root:x:0:\nstaff:x:50:app\napp:x:1001:\n")
	cases := map[string]struct {
		image string
		spec  userSpec
		want  account
	}{
		"nobody said":        {"", userSpec{}, account{0, 0, nil, "/root"}},
		"a name":             {"app", userSpec{}, account{1000, 1001, []int{50}, "/home/app"}},
		"a number":           {"1000", userSpec{}, account{1000, 1001, []int{50}, "/home/app"}},
		"an unknown number":  {"7", userSpec{}, account{7, 0, nil, "/"}},
		"name and group":     {"app:staff", userSpec{}, account{1000, 50, []int{50}, "/home/app"}},
		"numbers":            {"5:6", userSpec{}, account{5, 6, nil, "/"}},
		"the payload's":      {"app:staff", userSpec{UID: number(7), GID: number(8)}, account{7, 8, nil, "/"}},
		"the payload's uid":  {"5:6", userSpec{UID: number(1000)}, account{1000, 1001, []int{50}, "/home/app"}},
		"fsGroup and others": {"5", userSpec{FSGroup: number(9), SupplementalGroups: []int{12, 9}}, account{5, 0, []int{9, 12}, "/"}},
	}
	for name, one := range cases {
		found, err := resolve(one.image, one.spec, etc)
		if err != nil || found.uid != one.want.uid || found.gid != one.want.gid || found.home != one.want.home ||
			!slices.Equal(found.groups, one.want.groups) {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
	}
	for _, unknown := range []string{"nobody", "app:nobody"} {
		if _, err := resolve(unknown, userSpec{}, etc); err == nil {
			t.Errorf("%s was taken", unknown)
		}
	}
}

func TestCommandsAsInAPod(t *testing.T) {
	var with image
	with.Config.Entrypoint, with.Config.Cmd = []string{"entry"}, []string{"cmd"}
	for want, p := range map[string]program{
		"entry cmd":   {},
		"entry a b":   {Args: &[]string{"a", "b"}},
		"command":     {Command: &[]string{"command"}},
		"command a b": {Command: &[]string{"command"}, Args: &[]string{"a", "b"}},
	} {
		if found := strings.Join(with.command(&p), " "); found != want {
			t.Errorf("%q, not %q", found, want)
		}
	}
}

func TestSignals(t *testing.T) {
	for text, want := range map[string]unix.Signal{"": 15, "SIGQUIT": 3, "INT": 2, "9": 9, "SIGRTMIN+3": 37, "rtmax-1": 63, "NONSENSE": 15} {
		var with image
		with.Config.StopSignal = text
		if found := with.stopSignal(); found != want {
			t.Errorf("%q is %d", text, found)
		}
	}
}

func TestSchedules(t *testing.T) {
	rome := "Europe/Rome"
	after := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	next, err := nextRun("30 3 * * *", &rome, after)
	if err != nil || stamp(next) != "2026-07-02T01:30:00Z" {
		t.Fatal(next, err)
	}
	for _, bad := range []string{"0 0 3 * * *", "never", "0 0 31 2 *"} {
		if _, err := nextRun(bad, nil, after); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestACredentialIsKeptAndBoundToItsClaim(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state/kept.json")
	given := claim{container: "a/b/1", token: "one.secret"}
	first, err := loadKept(path, given)
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	again, _ := loadKept(path, given)
	if len(first.Credential) != 64 || again.Credential != first.Credential {
		t.Error("another credential after a restart")
	}
	_ = again.change(func(k *kept) { k.Trust, k.Job = []string{"x"}, &job{Run: "1"} })
	renewed, _ := loadKept(path, claim{container: "a/b/1", token: "two.secret"})
	if renewed.Credential == first.Credential || len(renewed.Trust) != 0 || renewed.Job == nil {
		t.Error("a new claim must bring a new credential and trust, and keep the job")
	}
	clone, _ := loadKept(path, claim{container: "a/b/2", token: "three.secret"})
	if clone.Credential == renewed.Credential || clone.Job != nil {
		t.Error("a clone is another container")
	}
	write(t, path, "")
	if _, err := loadKept(path, given); err != nil {
		t.Error("an empty file must not be the end:", err)
	}
}

func TestAJobsNextRunHasNotEndedBeforeItBegins(t *testing.T) {
	k := &kept{path: filepath.Join(t.TempDir(), "state/kept.json"), Job: &job{Run: "1", Ended: &endedRun{ExitCode: 5}}}
	s := newSupervisor(image{}, k, newConsole(devNull{}), newReaper(), nil)
	one := newUnit(s, "")
	one.active, s.units = &program{RestartPolicy: "Never", Run: "1"}, []*unit{one}
	one.job()
	if now := s.current(); now.Phase != "Exited" || now.Run != "1" || now.Last.ExitCode != 5 {
		t.Fatal(now)
	}
	one.report(func(now *unitState) { now.begin("2") })
	if now := s.current(); now.Phase == "Exited" || now.Run != "2" || now.Last != nil {
		t.Fatal(now)
	}
}

func TestClaims(t *testing.T) {
	good := map[string]string{
		"HOMEPORT_AGENT_URL": "https://10.0.0.1:8443/", "HOMEPORT_AGENT_FINGERPRINT": strings.Repeat("AB", 32),
		"HOMEPORT_CONTAINER": "a/b/1", "HOMEPORT_CLAIM": "name.token",
	}
	found, err := readClaim(func(name string) string { return good[name] }, "/nowhere", "web")
	if err != nil || found.url != "https://10.0.0.1:8443" || found.name() != "name" || found.fingerprint != strings.Repeat("ab", 32) {
		t.Fatal(found, err)
	}
	path := filepath.Join(t.TempDir(), "claim.json")
	write(t, path, `{"HOMEPORT_AGENT_URL": "http://10.0.0.1"}`)
	for _, where := range []string{path, "/nowhere"} {
		if _, err := readClaim(func(string) string { return "" }, where, "web"); err == nil {
			t.Errorf("%s was taken", where)
		}
	}
}

func nobodys(string) bool { return false }

func TestFilesStayInTheirPlace(t *testing.T) {
	folder := t.TempDir()
	target := folder + "/deep/file"
	owned, err := writeFiles("", []file{{Path: target, Content: []byte("one"), Mode: 0o640}}, nil, account{}, nobodys)
	if err != nil || !slices.Equal(owned, []string{target}) {
		t.Fatal(owned, err)
	}
	outside := folder + "/outside"
	write(t, outside, "safe")
	_ = os.Remove(target)
	if err := os.Symlink(outside, target); err != nil {
		t.Fatal(err)
	}
	if _, err := writeFiles("", []file{{Path: target, Content: []byte("two"), Mode: 0o600}}, owned, account{}, nobodys); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(outside); string(text) != "safe" {
		t.Error("a link was followed")
	}
	for _, bad := range []string{"relative", "/a/../b", "/.homeport/init"} {
		if _, err := writeFiles("", []file{{Path: bad}}, nil, account{}, nobodys); err == nil {
			t.Errorf("%s was written", bad)
		}
	}
	if owned, err := writeFiles("", nil, owned, account{}, nobodys); err != nil || len(owned) != 0 {
		t.Error(owned, err)
	}
	if _, err := os.Lstat(target); !os.IsNotExist(err) {
		t.Error("it wasn't removed")
	}
}

func TestVerdictsCountInARow(t *testing.T) {
	bad := errors.New("bad")
	answers := []error{bad, nil, bad, bad, bad, nil, nil}
	ctx, cancel := context.WithCancel(context.Background())
	var told []verdict
	at := 0
	check := func(context.Context, probe) error {
		defer func() { at++ }()
		if at == len(answers) {
			cancel()
			return nil
		}
		return answers[at]
	}
	p := probe{PeriodSeconds: 1, TimeoutSeconds: 1, SuccessThreshold: 2, FailureThreshold: 3}
	watch(ctx, "readiness", p, check, func(v verdict) { told = append(told, v) })
	if len(told) != 2 || told[0].good || !told[1].good || !strings.Contains(told[0].why, "failed 3 times: bad") {
		t.Fatal(told)
	}
}

func TestTheEndOfOutputsAndLogs(t *testing.T) {
	kept := &lastBytes{limit: 4}
	for _, part := range []string{"ab", "cdef", "g"} {
		_, _ = kept.Write([]byte(part))
	}
	if string(kept.kept) != "defg" || kept.dropped != 3 {
		t.Fatal(kept)
	}
	c := newConsole(devNull{})
	for range 100000 {
		c.put([]byte("0123456789\n"))
	}
	c.put([]byte("last\xff\n"))
	if tail := c.tail(2); !slices.Equal(tail, []string{"0123456789", "last�"}) || len(c.ring) > 2*logBytes {
		t.Fatal(tail, len(c.ring))
	}
}

type devNull struct{}

func (devNull) Write(text []byte) (int, error) { return len(text), nil }

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
