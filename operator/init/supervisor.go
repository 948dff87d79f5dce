package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const applyAgain = 15 * time.Second

// supervisor brings what is delivered into force: what is the container's, and the processes, each of which a unit keeps. One
// goroutine owns all of it; others send it functions to run.
type supervisor struct {
	image   image
	kept    *kept
	console *console
	reaper  *reaper
	runner  *runner
	etc     string // /etc
	grace   time.Duration

	events chan func()
	done   chan struct{} // closed when init may end

	timers
	wanted       *payload
	wantedDigest string
	units        []*unit // in the payload's order
	connected    bool    // the network was set up as it was told
	ending       bool    // init itself is to end
	over         bool

	mutex   sync.Mutex
	digest  string // of what is in force
	problem string
	changed chan struct{} // gets a value when the state differs
}

func newSupervisor(found image, k *kept, c *console, r *reaper, run *runner) *supervisor {
	s := &supervisor{
		image: found, kept: k, console: c, reaper: r, runner: run, etc: "/etc", grace: seconds(30),
		events: make(chan func(), 64), done: make(chan struct{}), changed: make(chan struct{}, 1),
	}
	s.timers = timers{s.post, map[string]*time.Timer{}}
	return s
}

// loop runs what it is sent, until init may end.
func (s *supervisor) loop() {
	for {
		select {
		case event := <-s.events:
			event()
		case <-s.done:
			return
		}
	}
}

func (s *supervisor) post(event func()) {
	select {
	case s.events <- event:
	case <-s.done:
	}
}

// report alters what is told, and has it told.
func (s *supervisor) report(alter func()) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	alter()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// --- the payload

func (s *supervisor) deliver(p *payload, digest string) {
	s.wanted, s.wantedDigest = p, digest
	s.apply()
}

// apply brings what is wanted into force. What it has to stop first calls it again when it has ended.
func (s *supervisor) apply() {
	p := s.wanted
	if p == nil || s.ending {
		return
	}
	s.cancel("apply")
	accounts, err := s.checked(p)
	if err == nil && !s.leave(p, &err) {
		return
	}
	if err == nil {
		s.arrange(p, accounts)
		err = s.write(p)
	}
	for _, one := range s.units {
		if err == nil {
			err = one.apply()
		}
	}
	if err != nil {
		s.refuse(err)
		return
	}
	if !slices.ContainsFunc(s.units, func(u *unit) bool { return u.active != u.wanted }) {
		s.report(func() { s.digest, s.problem = s.wantedDigest, "" })
	}
}

func (s *supervisor) refuse(err error) {
	s.console.say("the payload can't be brought into force: %s", err)
	s.report(func() { s.problem = err.Error() })
	s.after("apply", applyAgain, s.apply)
}

// checked finds out whom the processes run as, and whether they can be run at all.
func (s *supervisor) checked(p *payload) ([]account, error) {
	var accounts []account
	for _, one := range p.programs() {
		who, err := resolve(s.image.Config.User, one.User, s.etc)
		if err == nil && one.Schedule != nil {
			_, err = nextRun(*one.Schedule, one.TimeZone, time.Now())
		}
		if err == nil && one.Name != "" && one.RestartPolicy == "Never" {
			err = errors.New("one of several processes runs all the time or by a schedule, not once")
		}
		if err != nil && one.Name != "" {
			err = fmt.Errorf("%s: %w", one.Name, err)
		}
		if err != nil {
			return nil, err
		}
		accounts = append(accounts, who)
	}
	return accounts, ordered(p.programs())
}

// ordered tells whether all can be started: whatever one depends on is there, and doesn't depend on it.
func ordered(all []*program) error {
	started := map[string]bool{}
	for range all {
		for _, one := range all {
			if !slices.ContainsFunc(one.DependsOn, func(name string) bool { return !started[name] }) {
				started[one.Name] = true
			}
		}
	}
	for _, one := range all {
		if !started[one.Name] {
			return fmt.Errorf("%s depends on %v, one of which isn't there or depends on it", one.Name, one.DependsOn)
		}
	}
	return nil
}

// leave ends what isn't wanted any more, before anything else: it may hold ports and files of what comes. Whether all of it is gone.
func (s *supervisor) leave(p *payload, failed *error) bool {
	wanted := map[string]bool{}
	for _, one := range p.programs() {
		wanted[one.Name] = true
	}
	gone := true
	for _, one := range s.units {
		if one.leaving = !wanted[one.name]; !one.leaving {
			continue
		}
		one.cancel("start")
		if one.running != nil {
			one.stop(one.graceTime())
			gone = false
			continue
		}
		_, err := writeFiles(one.name, nil, s.kept.filesOf(one.name), one.who, s.elses(p, one.name))
		*failed = errors.Join(*failed, err, s.kept.own(one.name, nil))
	}
	if gone && *failed == nil {
		s.report(func() { s.units = slices.DeleteFunc(s.units, func(u *unit) bool { return u.leaving }) })
	}
	return gone
}

// elses tells which files are another process's.
func (s *supervisor) elses(p *payload, name string) func(string) bool {
	return func(path string) bool {
		return slices.ContainsFunc(p.programs(), func(one *program) bool {
			return one.Name != name && slices.ContainsFunc(one.Files, func(f file) bool { return f.Path == path })
		})
	}
}

// arrange has a unit for each process, in their order.
func (s *supervisor) arrange(p *payload, accounts []account) {
	var units []*unit
	for at, one := range p.programs() {
		found := s.unit(one.Name)
		if found == nil {
			found = newUnit(s, one.Name)
		}
		found.wanted, found.account = one, accounts[at]
		units = append(units, found)
	}
	s.report(func() { s.units = units })
}

func (s *supervisor) unit(name string) *unit {
	for _, one := range s.units {
		if one.name == name {
			return one
		}
	}
	return nil
}

// write puts in place what is the container's.
func (s *supervisor) write(p *payload) error {
	err := errors.Join(
		s.connect(p),
		writeHosts(s.etc+"/hosts", p.Hosts, p.Hostname),
		writeResolver(s.etc+"/resolv.conf", p.Nameservers, p.Search),
	)
	for _, one := range p.programs() {
		if err == nil && one.User.FSGroup != nil {
			err = giveVolumes(p.Volumes, *one.User.FSGroup)
		}
	}
	return err
}

// connect is the network, and the container's name, where Proxmox VE leaves them to us.
func (s *supervisor) connect(p *payload) error {
	if p.Interfaces == nil {
		return nil
	}
	if now, err := os.Hostname(); err == nil && p.Hostname != "" {
		if _, claimed := parseHostClaim(now); claimed {
			if err := unix.Sethostname([]byte(p.Hostname)); err != nil {
				s.console.say("the hostname can't be set: %s", err)
			}
		}
	}
	wanted := *p.Interfaces
	if slices.EqualFunc(wanted, s.kept.Network, netInterface.same) && s.connected {
		return nil
	}
	if err := setNetwork(wanted, s.kept.Network); err != nil {
		return err
	}
	s.connected = true
	return s.kept.change(func(k *kept) { k.Network = wanted })
}

// release starts what has waited for others that are ready now.
func (s *supervisor) release() {
	if s.ending {
		return
	}
	for _, one := range s.units {
		if one.now.Phase == "Waiting" && one.active != nil && one.active == one.wanted && !one.leaving {
			one.carryOn(one.active, false)
		}
	}
}

// launchOf is how a command beside a process is run: as the process is, or as root.
func (s *supervisor) launchOf(request execRequest) (launch, error) {
	type answer struct {
		launch launch
		err    error
	}
	found := make(chan answer, 1)
	s.post(func() {
		of := s.unit(request.Process)
		if of == nil && request.Process == "" && len(s.units) > 0 {
			of = s.units[0]
		}
		switch {
		case of == nil && len(s.units) > 0:
			found <- answer{err: fmt.Errorf("there is no process %s here", request.Process)}
		case of == nil || of.active == nil:
			found <- answer{err: errors.New("nothing has been delivered yet")}
		default:
			found <- answer{launch: of.beside(request)}
		}
	})
	select {
	case told := <-found:
		return told.launch, told.err
	case <-s.done:
		return launch{}, syscall.ESHUTDOWN
	}
}

// --- the end

// shutdown is the container's end: the processes get their grace, those that others depend on after these, then init ends.
func (s *supervisor) shutdown(number os.Signal) {
	if s.ending {
		return
	}
	s.ending = true
	s.console.say("%s: stopping", number)
	s.stopNext()
}

func (s *supervisor) stopNext() {
	running := false
	for _, one := range s.units {
		one.cancel("start")
		if one.running != nil {
			running = true
			if !s.isNeeded(one) {
				one.stop(one.graceTime())
			}
		}
	}
	if !running {
		s.end()
	}
}

// isNeeded tells whether something runs that depends on it.
func (s *supervisor) isNeeded(u *unit) bool {
	return slices.ContainsFunc(s.units, func(other *unit) bool {
		return other != u && other.running != nil && slices.Contains(other.active.DependsOn, u.name)
	})
}

func (s *supervisor) end() {
	if s.over {
		return
	}
	s.report(func() { s.over = true })
	killLeftovers(nil)
	close(s.done)
}
