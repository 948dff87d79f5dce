package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// reaper starts processes and learns of their ends. PID 1 is told of the end of every orphan too, so the standard library's
// waiting for single processes isn't used anywhere: one place waits, for all.
type reaper struct {
	mutex sync.Mutex
	ends  map[int]chan unix.WaitStatus
}

func newReaper() *reaper { return &reaper{ends: map[int]chan unix.WaitStatus{}} }

// process is one that was started.
type process struct {
	pid   int
	ended chan unix.WaitStatus // gets one value
}

type launch struct {
	argv    []string
	env     []string
	dir     string
	who     account
	in      *os.File
	out     *os.File
	err     *os.File
	session bool
}

// start runs a program in a session of its own. The error says which of path, folder or user was wrong.
func (r *reaper) start(l launch) (*process, error) {
	path, err := lookPath(l.argv[0], l.env, l.dir)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(l.dir); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, &fs.PathError{Op: "chdir", Path: l.dir, Err: syscall.ENOTDIR}
	}
	attributes := &syscall.ProcAttr{
		Dir:   l.dir,
		Env:   l.env,
		Files: []uintptr{l.in.Fd(), l.out.Fd(), l.err.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	if os.Getuid() == 0 {
		attributes.Sys.Credential = l.who.credential()
	}
	// Held until the process is known, so that its end isn't taken for an orphan's.
	r.mutex.Lock()
	defer r.mutex.Unlock()
	pid, err := syscall.ForkExec(path, l.argv, attributes)
	if err != nil {
		return nil, &fs.PathError{Op: "exec", Path: path, Err: err}
	}
	made := &process{pid, make(chan unix.WaitStatus, 1)}
	r.ends[pid] = made.ended
	return made, nil
}

// reap takes all ends that there are now.
func (r *reaper) reap() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if ended, known := r.ends[pid]; known {
			delete(r.ends, pid)
			ended <- status
		}
	}
}

// signal reaches the process and what is in its group.
func (p *process) signal(number syscall.Signal) { _ = unix.Kill(-p.pid, number) }

// exitCode is as a shell says it.
func exitCode(status unix.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// lookPath finds a program as execvp does, in the PATH of the environment that it gets.
func lookPath(name string, env []string, dir string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, executable(name)
	}
	for _, pair := range env {
		folders, ok := strings.CutPrefix(pair, "PATH=")
		if !ok {
			continue
		}
		for _, folder := range filepath.SplitList(folders) {
			if folder == "" || !filepath.IsAbs(folder) {
				folder = filepath.Join(dir, folder)
			}
			if path := filepath.Join(folder, name); executable(path) == nil {
				return path, nil
			}
		}
	}
	return "", &fs.PathError{Op: "exec", Path: name, Err: errors.New("no such program in PATH")}
}

func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return &fs.PathError{Op: "exec", Path: path, Err: syscall.EACCES}
	}
	return nil
}

// cannotStart is the exit code that a shell would give for a program that can't be run.
func cannotStart(err error) int {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOEXEC) {
		return 126
	}
	return 127
}

// markVariable is in the environment of each of several processes, so that what one left behind is known for its own.
const markVariable = "HOMEPORT_PROCESS"

// killOf ends what one of several processes left behind: what is in its session, or has its mark. What made a session of its own
// and took the mark away can't be told from the others', and stays.
func killOf(name string, leader int, spared map[int]bool) {
	mark := []byte("\x00" + markVariable + "=" + name + "\x00")
	killAll(func(pid, session int) bool {
		if session == leader {
			return true
		}
		environment, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
		return err == nil && !spared[session] && bytes.Contains(append([]byte{0}, environment...), mark)
	})
}

// killLeftovers ends all processes of the container but PID 1 and those of sessions that are spared. What a daemon left behind
// when it ended would hold its ports and files.
func killLeftovers(spared map[int]bool) {
	killAll(func(_, session int) bool { return !spared[session] && session != 0 })
}

func killAll(meant func(pid, session int) bool) {
	if os.Getpid() != 1 {
		return // only in a PID namespace of our own is everything ours
	}
	for range 10 { // what forks meanwhile is found in the next round
		found := false
		entries, _ := os.ReadDir("/proc")
		for _, entry := range entries {
			pid, err := strconv.Atoi(entry.Name())
			if err != nil || pid <= 1 {
				continue
			}
			if session, err := unix.Getsid(pid); err != nil || isZombie(pid) || !meant(pid, session) {
				continue
			}
			found = true
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if !found {
			return
		}
	}
}

func isZombie(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	at := strings.LastIndexByte(string(text), ')')
	return at >= 0 && len(text) > at+2 && text[at+2] == 'Z'
}
