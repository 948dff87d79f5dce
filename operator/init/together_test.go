package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A home for several processes: this test's own user runs them, and all they write is in one folder.
type several struct {
	*supervisor
	t      *testing.T
	folder string
}

func newSeveral(t *testing.T) *several {
	t.Helper()
	folder := t.TempDir()
	r := newReaper()
	k := &kept{path: filepath.Join(folder, "state/kept.json")}
	s := newSupervisor(image{}, k, newConsole(devNull{}), r, newRunner(r))
	s.etc = folder
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				r.reap()
			}
		}
	}()
	ended := make(chan struct{})
	go func() { s.loop(); close(ended) }()
	t.Cleanup(func() {
		s.post(func() { s.shutdown(syscall.SIGTERM) })
		<-ended
		close(stop)
	})
	return &several{s, t, folder}
}

func (s *several) deliver(digest string, all ...program) {
	s.post(func() { s.supervisor.deliver(&payload{Processes: all}, digest) })
}

// until waits for a state.
func (s *several) until(what string, good func(state) bool) state {
	s.t.Helper()
	end := time.After(20 * time.Second)
	for {
		if now := s.current(); good(now) {
			return now
		}
		select {
		case <-s.changed:
		case <-time.After(5 * time.Millisecond): // what a process has written is told by nobody
		case <-end:
			s.t.Fatalf("%s: %+v", what, s.current())
		}
	}
}

func (s *several) log() []string {
	text, _ := os.ReadFile(s.folder + "/log")
	return strings.Fields(string(text))
}

// shell runs until it is told to stop, and writes down when it began and ended.
func (s *several) shell(name string, needs ...string) program {
	script := "trap 'echo -" + name + " >>" + s.folder + "/log; exit 0' TERM; echo +" + name + " >>" + s.folder +
		"/log; while :; do sleep 0.02; done"
	return program{Name: name, Command: &[]string{"/bin/sh", "-c", script}, DependsOn: needs, GraceSeconds: 10}
}

func ready(now state) bool { return now.Ready && now.Phase == "Running" }

// job writes down each of its tries, and ends as it is told.
func (s *several) job(run string, tries int, script string) {
	one := program{
		Command: &[]string{"/bin/sh", "-c", "echo try >>" + s.folder + "/log; " + script}, RestartPolicy: "Never", Run: run,
		Tries: tries, GraceSeconds: 1,
	}
	s.post(func() { s.supervisor.deliver(&payload{program: one}, run) })
}

func quickly(t *testing.T) {
	before := firstRetry
	firstRetry = 10 * time.Millisecond
	t.Cleanup(func() { firstRetry = before })
}

func TestAJobIsTriedAgainAsOftenAsItMay(t *testing.T) {
	quickly(t)
	s := newSeveral(t)
	s.job("fails", 2, "exit 3")
	now := s.until("it has failed", func(now state) bool { return now.Phase == "Exited" })
	if now.Last.ExitCode != 3 || now.Restarts != 2 || len(s.log()) != 3 {
		t.Fatalf("%+v %v", now, s.log())
	}
	s.job("succeeds", 5, "[ $(grep -c try "+s.folder+"/log) -ge 5 ]")
	now = s.until("it has succeeded", func(now state) bool { return now.Phase == "Exited" && now.Run == "succeeds" })
	if now.Last.ExitCode != 0 || len(s.log()) != 5 || s.kept.Job.Tries != 2 {
		t.Fatalf("%+v %v", now, s.log())
	}
	s.job("once", 0, "exit 4")
	now = s.until("it has failed", func(now state) bool { return now.Phase == "Exited" && now.Run == "once" })
	if now.Last.ExitCode != 4 || len(s.log()) != 6 {
		t.Fatalf("%+v %v", now, s.log())
	}
}

func TestAJobThatTakesTooLongIsEndedAndNotTriedAgain(t *testing.T) {
	quickly(t)
	s := newSeveral(t)
	limit := 1
	one := program{
		Command: &[]string{"/bin/sh", "-c", "sleep 60"}, RestartPolicy: "Never", Run: "slow", Tries: 3, Deadline: &limit, GraceSeconds: 1,
	}
	s.post(func() { s.supervisor.deliver(&payload{program: one}, "1") })
	now := s.until("it was ended", func(now state) bool { return now.Phase == "Exited" })
	if now.Last.ExitCode != late || now.Last.Reason != "DeadlineExceeded" || now.Restarts != 0 {
		t.Fatalf("%+v", now.Last)
	}
}

func TestATryThatIsBrokenOffByTheContainersEndIsOneOfThem(t *testing.T) {
	quickly(t)
	for tries, want := range map[int]int{0: interrupted, 1: 0} {
		// Each ends what it has begun before the next: two that reap take each other's processes.
		t.Run(fmt.Sprint(tries), func(t *testing.T) {
			k := &kept{path: filepath.Join(t.TempDir(), "state/kept.json")}
			k.Job = &job{Run: "1", StartedAt: stamp(time.Now()), Tries: 1}
			s := newSeveral(t)
			s.kept = k
			s.job("1", tries, "exit 0")
			now := s.until("it has ended", func(now state) bool { return now.Phase == "Exited" })
			if now.Last.ExitCode != want || len(s.log()) != tries {
				t.Errorf("%d: %+v %v", tries, now.Last, s.log())
			}
		})
	}
}

func TestSeveralProcessesStartAndStopInTheirOrder(t *testing.T) {
	s := newSeveral(t)
	s.deliver("1", s.shell("web", "cache", "db"), s.shell("cache", "db"), s.shell("db"))
	now := s.until("all are ready", func(now state) bool { return ready(now) && now.Digest == "1" })
	if len(now.Processes) != 3 || now.Processes[0].Name != "web" || !now.Processes[2].Ready {
		t.Fatalf("%+v", now)
	}
	// Ready as soon as they run: what they write comes after that.
	s.until("all have begun", func(state) bool { return len(s.log()) == 3 })
	s.post(func() { s.shutdown(syscall.SIGTERM) })
	<-s.done
	if ended := s.log()[3:]; !slices.Equal(ended, []string{"-web", "-cache", "-db"}) {
		t.Fatal(ended)
	}
}

func TestOneOfSeveralIsStartedAgainAndTheOthersRunOn(t *testing.T) {
	s := newSeveral(t)
	failing := program{Name: "bad", Command: &[]string{"/bin/sh", "-c", "exit 3"}}
	s.deliver("1", s.shell("web"), failing)
	now := s.until("it was started again", func(now state) bool { return now.Restarts >= 2 })
	if web := now.Processes[0]; web.Restarts != 0 || !web.Ready || now.Ready {
		t.Fatalf("%+v", now)
	}
	if bad := now.Processes[1]; bad.Last == nil || bad.Last.ExitCode != 3 {
		t.Fatalf("%+v", bad)
	}
	now = s.until("it waits", func(now state) bool { return now.Phase == "Backoff" })
	if now.Unready != "bad: its command ends again and again, with exit code 3" {
		t.Fatal(now.Unready)
	}
}

func TestAChangeOfOneOfSeveralRestartsThatOne(t *testing.T) {
	s := newSeveral(t)
	web, worker := s.shell("web"), s.shell("worker")
	s.deliver("1", web, worker)
	s.until("both run", func(now state) bool { return ready(now) && len(s.log()) == 2 })
	worker.Env = []variable{{"LEVEL", "2"}}
	s.deliver("2", web, worker)
	s.until("the other one", func(now state) bool { return ready(now) && now.Digest == "2" && len(s.log()) == 4 })
	if found := s.log()[2:]; !slices.Equal(found, []string{"-worker", "+worker"}) {
		t.Fatal(found)
	}
	s.deliver("3", web)
	now := s.until("one is left", func(now state) bool { return now.Digest == "3" && len(now.Processes) == 1 })
	if now.Restarts != 0 || s.log()[4] != "-worker" {
		t.Fatalf("%+v %v", now, s.log())
	}
}

func TestFilesThatMoveFromOneProcessToAnotherStay(t *testing.T) {
	s := newSeveral(t)
	one, other := s.shell("one"), s.shell("other")
	moved, gone := file{Path: s.folder + "/moved", Content: []byte("1")}, file{Path: s.folder + "/gone"}
	one.Files = []file{moved, gone}
	s.deliver("1", other, one)
	s.until("both run", ready)
	one.Files, other.Files = nil, []file{moved}
	s.deliver("2", other, one)
	s.until("in force", func(now state) bool { return now.Digest == "2" })
	if _, err := os.Stat(moved.Path); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(gone.Path); !os.IsNotExist(err) {
		t.Error("it wasn't removed")
	}
	if found := s.kept.FilesOf["other"]; !slices.Equal(found, []string{moved.Path}) || s.kept.FilesOf["one"] != nil {
		t.Error(s.kept.FilesOf)
	}
	s.deliver("3", one)
	s.until("in force", func(now state) bool { return now.Digest == "3" })
	if _, err := os.Stat(moved.Path); !os.IsNotExist(err) {
		t.Error("what a process had is removed with it")
	}
}

func TestWhatSeveralProcessesCantBe(t *testing.T) {
	s := newSeveral(t)
	s.deliver("1", s.shell("a", "b"), s.shell("b", "a"))
	s.until("a circle", func(now state) bool { return strings.HasPrefix(now.Error, "a depends on [b]") })
	s.deliver("2", program{Name: "a", RestartPolicy: "Never"})
	s.until("a job", func(now state) bool { return strings.HasPrefix(now.Error, "a: one of several processes") })
	if now := s.current(); now.Phase != "Waiting" || len(now.Processes) != 0 {
		t.Fatal(now)
	}
}

func TestHowSeveralProcessesAreAsOne(t *testing.T) {
	running := unitState{Name: "a", Phase: "Running", Started: true, Ready: true, StartedAt: "2026-01-01"}
	waiting := unitState{Name: "b", Phase: "Waiting", Unready: "waits for c"}
	failing := unitState{Name: "c", Phase: "Backoff", Restarts: 2, Last: &endedRun{ExitCode: 1}}
	idle := unitState{Name: "d", Phase: "Idle"}
	for _, one := range []struct {
		all     []unitState
		phase   string
		ready   bool
		unready string
	}{
		{[]unitState{running, idle}, "Running", true, ""},
		{[]unitState{idle}, "Idle", false, ""},
		{[]unitState{running, waiting}, "Waiting", false, "b: waits for c"},
		{[]unitState{waiting, failing, running}, "Backoff", false, "c: its command ends again and again, with exit code 1"},
	} {
		now := together(one.all)
		if now.Phase != one.phase || now.Ready != one.ready || now.Unready != one.unready {
			t.Errorf("%+v", now)
		}
	}
}

func TestLinesOfSeveralProcessesSayWhose(t *testing.T) {
	c := newConsole(devNull{})
	rest := c.putLines([]byte("one\ntwo"), "web", false)
	if string(rest) != "two" {
		t.Fatal(string(rest))
	}
	c.putLines(append(rest, []byte(" and more")...), "web", true)
	if found := c.tail(5); !slices.Equal(found, []string{"[web] one", "[web] two and more"}) {
		t.Fatal(found)
	}
}
