package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	firstBackoff = time.Second
	lastBackoff  = 5 * time.Minute
	settled      = 10 * time.Minute // a process that has run so long begins with the first backoff again
	interrupted  = 255              // the exit code of a job that was broken off
	late         = 124              // and of one that took too long, as timeout(1) has it
	lastRetry    = 6 * time.Minute
)

// firstRetry is the pause before a job's second try, as Kubernetes has it.
var firstRetry = 10 * time.Second

// unit keeps one process as the payload says. It belongs to the supervisor's goroutine.
type unit struct {
	of   *supervisor
	name string // empty for the only one

	timers
	wanted    *program
	account   account // whom wanted is to run as
	active    *program
	activeKey string // what of it the process was started with
	who       account
	env       []string

	running    *process
	stopping   bool
	leaving    bool // it isn't wanted any more
	expired    bool // the job has taken too long
	generation int  // of the process: what belongs to an older one is ignored
	stopProbes context.CancelFunc
	backoff    time.Duration

	now unitState // told to others: under the supervisor's mutex
}

func newUnit(s *supervisor, name string) *unit {
	return &unit{
		of: s, name: name, timers: timers{s.post, map[string]*time.Timer{}}, stopProbes: func() {}, backoff: firstBackoff,
		now: unitState{Name: name, Phase: "Waiting"},
	}
}

func (u *unit) report(alter func(*unitState)) {
	was := u.now.Ready
	u.of.report(func() { alter(&u.now) })
	if u.now.Ready && !was {
		go u.of.post(u.of.release) // not from the loop itself, which would wait for itself
	}
}

func (u *unit) say(format string, values ...any) {
	if u.name != "" {
		format = u.name + ": " + format
	}
	u.of.console.say(format, values...)
}

// apply brings what is wanted of it into force. A process that has to be stopped first has all applied again when it has ended.
func (u *unit) apply() error {
	p := u.wanted
	key := processKey(p, u.of.wanted.Hostname)
	fresh := u.active == nil || key != u.activeKey
	if fresh && u.running != nil && !(p.isJob() && u.active.isJob()) {
		if !u.stopping {
			u.say("what the process was started with has changed: stopping it")
		}
		u.stop(u.graceTime())
		return nil
	}
	if fresh {
		kept := u.of.kept
		owned, err := writeFiles(u.name, p.Files, kept.filesOf(u.name), u.account, u.of.elses(u.of.wanted, u.name))
		if err := errors.Join(err, kept.own(u.name, owned)); err != nil {
			return err
		}
	}
	before := u.active
	u.active, u.activeKey, u.who = p, key, u.account
	u.env = u.of.image.environment(p, u.of.wanted.Hostname, u.who)
	u.carryOn(before, fresh)
	return nil
}

// carryOn starts what should run now and doesn't, and takes over what changes while it runs.
func (u *unit) carryOn(before *program, fresh bool) {
	p := u.active
	switch {
	case p.Schedule != nil:
		if u.running == nil {
			u.idle()
		}
	case p.isJob():
		u.job()
	case u.running == nil:
		if fresh {
			u.backoff = firstBackoff
		}
		if name := u.waitsFor(); name != "" {
			u.report(func(now *unitState) { now.Phase, now.Unready = "Waiting", "waits for "+name })
			return
		}
		if fresh || u.now.Phase != "Backoff" {
			u.start()
		}
	case before == nil || !sameProbes(before.Probes, p.Probes):
		u.startProbes()
	}
}

// waitsFor names a process that it depends on and that isn't ready; empty when all are.
func (u *unit) waitsFor() string {
	for _, name := range u.active.DependsOn {
		other := u.of.unit(name)
		if other == nil || other.active != other.wanted || !(other.now.Ready || other.now.Phase == "Idle") {
			return name
		}
	}
	return ""
}

func (p *program) isJob() bool { return p.RestartPolicy == "Never" && p.Schedule == nil }

// processKey names what a process has to be started anew for.
func processKey(p *program, hostname string) string {
	text, _ := json.Marshal([]any{p.Env, p.Files, p.Command, p.Args, p.WorkingDir, p.User, p.Restart, hostname})
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func sameProbes(one, other probeSet) bool {
	first, _ := json.Marshal(one)
	second, _ := json.Marshal(other)
	return slices.Equal(first, second)
}

func (u *unit) graceTime() time.Duration {
	if u.active == nil || u.active.GraceSeconds < 0 {
		return u.of.grace
	}
	return seconds(u.active.GraceSeconds)
}

// --- the process

func (u *unit) start() {
	u.cancel("start")
	u.generation++
	generation, begun := u.generation, time.Now()
	command := u.of.image.command(u.active)
	if len(command) == 0 {
		u.ended(begun, 127, "CannotStart", "neither the image nor the payload says what to run")
		return
	}
	folder := u.of.image.workingDir(u.active)
	_ = os.MkdirAll(folder, 0o755) // as container runtimes do; when it can't be made, the start says so
	pipes, err := newPipes(u.who)
	if err == nil {
		_ = pipes.inWrite.Close()
		pipes.inWrite = nil
		u.running, err = u.of.reaper.start(launch{
			argv: command, env: u.env, dir: folder, who: u.who,
			in: pipes.inRead, out: pipes.outWrite, err: pipes.errWrite,
		})
	}
	if err != nil {
		if pipes != nil {
			pipes.close()
		}
		u.running = nil
		u.ended(begun, cannotStart(err), "CannotStart", err.Error())
		return
	}
	pipes.closeTheirs()
	go u.of.console.copy(pipes.outRead, u.name)
	go u.of.console.copy(pipes.errRead, u.name)
	u.stopping = false
	u.report(func(now *unitState) {
		now.Phase, now.StartedAt, now.NextRun = "Running", stamp(begun), ""
		now.Started, now.Ready, now.Unready = false, false, ""
	})
	u.startProbes()
	running := u.running
	go func() {
		status := <-running.ended
		u.of.post(func() {
			if u.generation == generation {
				u.exited(begun, status)
			}
		})
	}()
}

func (u *unit) exited(begun time.Time, status unix.WaitStatus) {
	if u.name == "" {
		killLeftovers(u.of.runner.sessions())
	} else {
		killOf(u.name, u.running.pid, u.of.runner.sessions())
	}
	u.running = nil
	code := exitCode(status)
	reason := "Error"
	if code == 0 {
		reason = "Completed"
	}
	u.ended(begun, code, reason, "")
}

// ended decides what comes after a process, whether it ran or couldn't be started.
func (u *unit) ended(begun time.Time, code int, reason, message string) {
	u.cancel("kill")
	u.stopProbes()
	now := time.Now()
	last := &endedRun{stamp(begun), stamp(now), code, reason, message}
	unready := ""
	if u.stopping { // which probe it was stays known
		unready = u.now.Unready
	}
	u.say("the process ended with exit code %d (%s) %s", code, reason, message)
	u.stopping = false
	again := u.active != nil && u.active.isJob() && u.endedTry(last)
	u.report(func(into *unitState) {
		into.Last, into.StartedAt, into.Started, into.Ready, into.Unready = last, "", false, false, unready
	})
	switch {
	case u.of.ending:
		u.of.stopNext()
	case again:
		u.tryLater()
	case u.leaving || u.wanted != u.active:
		u.of.apply() // it was stopped for that
	case u.active.isJob():
		u.job()
	case u.active.Schedule != nil:
		u.idle()
	default:
		if now.Sub(begun) >= settled {
			u.backoff = firstBackoff
		}
		wait := u.backoff
		u.backoff = min(2*u.backoff, lastBackoff)
		u.say("starting it again in %s", wait)
		u.report(func(into *unitState) { into.Phase, into.Restarts = "Backoff", into.Restarts+1 })
		u.after("start", wait, u.start)
	}
}

// stop asks the process to end, and ends it when it doesn't.
func (u *unit) stop(grace time.Duration) {
	if u.running == nil || u.stopping {
		return
	}
	u.stopping = true
	u.stopProbes()
	u.report(func(now *unitState) { now.Phase, now.Ready = "Stopping", false })
	running := u.running
	_ = unix.Kill(running.pid, u.of.image.stopSignal())
	u.after("kill", grace, func() {
		u.say("the process didn't end within %s: killing it", grace)
		running.signal(unix.SIGKILL)
		_ = unix.Kill(running.pid, unix.SIGKILL)
	})
}

// beside is how a command is run as its process is, or as root.
func (u *unit) beside(request execRequest) launch {
	l := launch{argv: request.Command, env: slices.Clone(u.env), dir: u.of.image.workingDir(u.active), who: u.who}
	if request.Root {
		l.who, l.env = root, append(l.env, "HOME=/root")
	}
	for _, one := range request.Env {
		l.env = append(l.env, one.Name+"="+one.Value)
	}
	return l
}

// timers run something later, in place of what was to be run later under the same name.
type timers struct {
	post    func(func())
	pending map[string]*time.Timer
}

func (t *timers) after(name string, wait time.Duration, event func()) {
	t.cancel(name)
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() {
		t.post(func() {
			if t.pending[name] == timer {
				delete(t.pending, name)
				event()
			}
		})
	})
	t.pending[name] = timer
}

func (t *timers) cancel(name string) {
	if timer := t.pending[name]; timer != nil {
		timer.Stop()
		delete(t.pending, name)
	}
}
