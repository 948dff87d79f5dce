package main

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// runner runs commands beside the process.
type runner struct {
	reaper  *reaper
	mutex   sync.Mutex
	running map[int]bool // sessions
}

func newRunner(r *reaper) *runner { return &runner{reaper: r, running: map[int]bool{}} }

// sessions are those of the commands that run now.
func (r *runner) sessions() map[int]bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	found := map[int]bool{}
	for session := range r.running {
		found[session] = true
	}
	return found
}

// ended is how a command ended.
type ended struct {
	code     int
	timedOut bool
	err      error
}

// afterwards is how long outputs are still read when the command has ended and something holds them open.
const afterwards = time.Second

// run runs a command to its end, or kills it and all in its session when the context ends. The outputs go to the two writers.
func (r *runner) run(ctx context.Context, l launch, stdin []byte, stdout, stderr io.Writer) ended {
	if len(l.argv) == 0 {
		return ended{-1, false, errors.New("no command")}
	}
	pipes, err := newPipes(l.who)
	if err != nil {
		return ended{-1, false, err}
	}
	defer pipes.close()
	l.in, l.out, l.err = pipes.inRead, pipes.outWrite, pipes.errWrite
	r.mutex.Lock()
	started, err := r.reaper.start(l)
	if err == nil {
		r.running[started.pid] = true
	}
	r.mutex.Unlock()
	if err != nil {
		return ended{cannotStart(err), false, err}
	}
	defer func() {
		r.mutex.Lock()
		delete(r.running, started.pid)
		r.mutex.Unlock()
	}()
	pipes.closeTheirs()
	go func() {
		_, _ = pipes.inWrite.Write(stdin)
		_ = pipes.inWrite.Close()
	}()
	exited := make(chan struct{})
	var copies sync.WaitGroup
	copies.Go(func() { copyOutput(stdout, pipes.outRead, exited) })
	copies.Go(func() { copyOutput(stderr, pipes.errRead, exited) })
	out := ended{}
	select {
	case status := <-started.ended:
		out.code = exitCode(status)
	case <-ctx.Done():
		started.signal(unix.SIGKILL)
		out.code = exitCode(<-started.ended)
		out.timedOut = errors.Is(ctx.Err(), context.DeadlineExceeded)
	}
	started.signal(unix.SIGKILL) // what it left in its group
	close(exited)
	for _, one := range []*os.File{pipes.outRead, pipes.errRead} {
		_ = one.SetReadDeadline(time.Now().Add(afterwards))
	}
	copies.Wait()
	return out
}

// copyOutput takes all of an output, however slowly it can be passed on. When the command has ended and something that left its
// group still holds the output open, it ends once there is nothing for a while.
func copyOutput(to io.Writer, from *os.File, exited <-chan struct{}) {
	buffer := make([]byte, pieceSize)
	for {
		select {
		case <-exited:
			_ = from.SetReadDeadline(time.Now().Add(afterwards))
		default:
		}
		count, err := from.Read(buffer)
		if count > 0 {
			if _, failed := to.Write(buffer[:count]); failed != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

type pipes struct{ inRead, inWrite, outRead, outWrite, errRead, errWrite *os.File }

// newPipes makes a process's three. They belong to who it runs as: /dev/stdout is opened by name, which the owner alone may.
func newPipes(who account) (*pipes, error) {
	var p pipes
	var errs [3]error
	p.inRead, p.inWrite, errs[0] = os.Pipe()
	p.outRead, p.outWrite, errs[1] = os.Pipe()
	p.errRead, p.errWrite, errs[2] = os.Pipe()
	if err := errors.Join(errs[:]...); err != nil {
		p.close()
		return nil, err
	}
	for _, one := range []*os.File{p.inRead, p.outWrite, p.errWrite} {
		if os.Getuid() == 0 {
			errs[0] = errors.Join(errs[0], one.Chown(who.uid, who.gid))
		}
		errs[0] = errors.Join(errs[0], unix.SetNonblock(int(one.Fd()), false))
	}
	if errs[0] != nil {
		p.close()
		return nil, errs[0]
	}
	return &p, nil
}

func (p *pipes) closeTheirs() {
	for _, one := range []*os.File{p.inRead, p.outWrite, p.errWrite} {
		_ = one.Close()
	}
}

func (p *pipes) close() {
	for _, one := range []*os.File{p.inRead, p.inWrite, p.outRead, p.outWrite, p.errRead, p.errWrite} {
		if one != nil {
			_ = one.Close()
		}
	}
}

// lastBytes keeps the end of what is written to it.
type lastBytes struct {
	limit   int
	kept    []byte
	dropped int64
}

func (l *lastBytes) Write(text []byte) (int, error) {
	l.kept = append(l.kept, text...)
	if over := len(l.kept) - l.limit; over > 0 {
		l.dropped += int64(over)
		l.kept = append(l.kept[:0], l.kept[over:]...)
	}
	return len(text), nil
}
