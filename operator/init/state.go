package main

import "fmt"

// current is how all of it is.
func (s *supervisor) current() state {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	found := state{Type: "state", Digest: s.digest, Error: s.problem, unitState: unitState{Phase: "Waiting"}}
	switch {
	case s.over:
		found.Phase = "Stopping"
	case len(s.units) == 1 && s.units[0].name == "":
		found.unitState = s.units[0].now.copied()
	case len(s.units) > 0:
		for _, one := range s.units {
			found.Processes = append(found.Processes, one.now.copied())
		}
		found.unitState = together(found.Processes)
	}
	return found
}

func (u unitState) copied() unitState {
	if u.Last != nil {
		last := *u.Last
		u.Last = &last
	}
	return u
}

// together is how several processes are as one: as well as the one that is worst.
func together(all []unitState) unitState {
	out := unitState{Phase: "Running", Started: true, Ready: true}
	worst := map[string]int{"Backoff": 3, "Stopping": 2, "Waiting": 1}
	idle := 0
	for _, one := range all {
		out.Restarts += one.Restarts
		out.StartedAt = max(out.StartedAt, one.StartedAt)
		if one.Phase == "Idle" {
			idle++
			continue
		}
		out.Started = out.Started && one.Started
		if one.Ready {
			continue
		}
		if out.Ready || worst[one.Phase] > worst[out.Phase] {
			out.Unready = one.Name + ": " + one.why()
		}
		out.Ready = false
		if worst[one.Phase] > worst[out.Phase] {
			out.Phase = one.Phase
		}
	}
	if idle == len(all) {
		out.Phase, out.Ready = "Idle", false
	}
	return out
}

func (u unitState) why() string {
	switch {
	case u.Unready != "":
		return u.Unready
	case u.Phase == "Backoff" && u.Last != nil:
		return fmt.Sprintf("its command ends again and again, with exit code %d", u.Last.ExitCode)
	case u.Phase == "Running":
		return "waits for its probes"
	}
	return "is being started or stopped"
}
