package main

import (
	"time"
)

// job runs a job that hasn't been begun, and tells of one that has.
func (u *unit) job() {
	known := u.of.kept.Job
	switch {
	case u.running != nil:
		return // its result counts, whatever has changed meanwhile
	case known == nil || known.Run != u.active.Run:
		begun := &job{Run: u.active.Run, StartedAt: stamp(time.Now()), Tries: 1}
		if err := u.of.kept.change(func(k *kept) { k.Job = begun }); err != nil {
			u.of.refuse(err)
			return
		}
		u.backoff = firstRetry
		u.report(func(now *unitState) { now.begin(begun.Run) })
		u.try()
	case known.Ended != nil:
		u.report(func(now *unitState) { now.Phase, now.Run, now.Last = "Exited", known.Run, known.Ended })
	case u.pending["start"] != nil:
		return // it is tried again then
	default: // the container ended under it, which was a try
		last := &endedRun{known.StartedAt, stamp(time.Now()), interrupted, "Interrupted", "the container ended before it"}
		u.report(func(now *unitState) { now.begin(known.Run) })
		if u.endedTry(last) {
			u.backoff = firstRetry
			u.tryLater()
			return
		}
		u.report(func(now *unitState) { now.Phase, now.Run, now.Last = "Exited", known.Run, last })
	}
}

// try starts the job, for as long as it may take.
func (u *unit) try() {
	u.expired = false
	left, bounded := u.timeLeft()
	if bounded {
		u.after("deadline", left, func() {
			u.expired = true
			u.stop(u.graceTime())
		})
	}
	u.start()
}

// timeLeft is how long the job may still take, if that is bounded. It counts from its first try.
func (u *unit) timeLeft() (time.Duration, bool) {
	if u.active.Deadline == nil || u.of.kept.Job == nil {
		return 0, false
	}
	begun, err := time.Parse(time.RFC3339, u.of.kept.Job.StartedAt)
	if err != nil {
		begun = time.Now()
	}
	return max(0, seconds(*u.active.Deadline)-time.Since(begun)), true
}

// endedTry takes note of how a try has ended; whether there is another one.
func (u *unit) endedTry(last *endedRun) bool {
	u.cancel("deadline")
	known := u.of.kept.Job
	left, bounded := u.timeLeft()
	broken := u.of.ending
	switch {
	case last.ExitCode == 0 && !broken:
	case u.expired || bounded && left == 0:
		last.ExitCode, last.Reason, last.Message = late, "DeadlineExceeded", "it took too long"
		broken = false
	case known != nil && known.Run == u.active.Run && known.Tries <= u.active.Tries:
		return true // also when the container ends now: the next one tries
	}
	u.finishJob(last, broken)
	return false
}

// tryLater tries once more after a pause, which is longer each time.
func (u *unit) tryLater() {
	wait := u.backoff
	u.backoff = min(2*u.backoff, lastRetry)
	u.say("trying it again in %s", wait)
	u.report(func(into *unitState) { into.Phase, into.Restarts = "Backoff", into.Restarts+1 })
	u.after("start", wait, func() {
		if err := u.of.kept.change(func(k *kept) { k.Job.Tries++ }); err != nil {
			u.of.refuse(err)
			return
		}
		u.try()
	})
}

// begin forgets the run before in one step: "exited" beside the new run's name would be the new one's end.
func (now *unitState) begin(run string) { now.Phase, now.Run, now.Last = "Waiting", run, nil }

func (u *unit) finishJob(last *endedRun, broken bool) {
	if broken {
		last.ExitCode, last.Reason = interrupted, "Interrupted"
	}
	err := u.of.kept.change(func(k *kept) {
		if k.Job != nil {
			k.Job.Ended = last
		}
	})
	if err != nil {
		u.say("the job's result can't be kept: %s", err)
	}
}

// finish lets init end when the operator has kept the result of the job.
func (s *supervisor) finish(run string) {
	found := s.current()
	if found.Phase != "Exited" || found.Run != run || s.ending {
		return
	}
	s.console.say("the job's result is kept: stopping")
	s.ending = true
	s.end()
}

// idle waits for the schedule's next time.
func (u *unit) idle() {
	p := u.active
	if p.Suspend {
		u.cancel("start")
		u.report(func(now *unitState) { now.Phase, now.NextRun = "Idle", "" })
		return
	}
	next, err := nextRun(*p.Schedule, p.TimeZone, time.Now())
	if err != nil {
		u.of.refuse(err)
		return
	}
	u.report(func(now *unitState) { now.Phase, now.NextRun = "Idle", stamp(next) })
	// In short steps: the clock may be set, and a suspended host doesn't count.
	wait := min(time.Until(next), time.Minute)
	u.after("start", max(wait, 0), func() {
		if time.Now().Before(next) {
			u.idle()
			return
		}
		u.start()
	})
}
