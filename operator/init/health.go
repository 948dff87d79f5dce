package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

func (u *unit) startProbes() {
	u.stopProbes()
	if u.running == nil || u.stopping {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	u.stopProbes = cancel
	generation, set := u.generation, u.active.Probes
	var tell func(verdict)
	tell = func(v verdict) {
		u.of.post(func() {
			if ctx.Err() == nil && u.generation == generation {
				u.judged(ctx, v, set, tell)
			}
		})
	}
	if set.Startup != nil && !u.now.Started {
		go watch(ctx, "startup", *set.Startup, u.check, tell)
		return
	}
	u.watchStarted(ctx, set, tell)
}

// watchStarted begins with what waits for the startup probe.
func (u *unit) watchStarted(ctx context.Context, set probeSet, tell func(verdict)) {
	if set.Liveness != nil {
		go watch(ctx, "liveness", *set.Liveness, u.check, tell)
	}
	if set.Readiness != nil {
		go watch(ctx, "readiness", *set.Readiness, u.check, tell)
	}
	u.report(func(now *unitState) {
		now.Started = true
		if set.Readiness == nil {
			now.Ready, now.Unready = true, ""
		}
	})
}

func (u *unit) judged(ctx context.Context, v verdict, set probeSet, tell func(verdict)) {
	switch {
	case v.kind == "readiness":
		u.report(func(now *unitState) { now.Ready, now.Unready = v.good, v.why })
	case v.good && v.kind == "startup":
		u.watchStarted(ctx, set, tell)
	case !v.good:
		u.say("%s: restarting the process", v.why)
		grace, failed := u.graceTime(), set.Liveness
		if v.kind == "startup" {
			failed = set.Startup
		}
		if failed.GraceSeconds != nil {
			grace = seconds(*failed.GraceSeconds)
		}
		u.stop(grace)
		u.report(func(now *unitState) { now.Unready = v.why })
	}
}

// check makes one check; called from many goroutines.
func (u *unit) check(ctx context.Context, p probe) error { return u.of.check(ctx, u.name, p) }

// check makes one check beside a process; called from many goroutines.
func (s *supervisor) check(ctx context.Context, process string, p probe) error {
	if p.Exec == nil {
		return checkNetwork(ctx, p)
	}
	l, err := s.launchOf(execRequest{Command: p.Exec, Process: process})
	if err != nil {
		return err
	}
	var nothing lastBytes
	found := s.runner.run(ctx, l, nil, &nothing, &nothing)
	switch {
	case found.timedOut:
		return errors.New("the command took too long")
	case found.err != nil:
		return found.err
	case found.code != 0:
		return fmt.Errorf("the command exited with %d", found.code)
	}
	return nil
}

func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }
