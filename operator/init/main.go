// Homeport's init: PID 1 of an LXC container. It asks the operator what to run, and runs it. docs/agent.md says how.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// version is set when it is built.
var version = "unknown"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "--version" {
		_, _ = os.Stdout.WriteString("homeport-init " + version + "\n")
		return
	}
	os.Exit(run())
}

func run() int {
	debug.SetMemoryLimit(64 << 20) // it counts towards the container's memory
	c := newConsole(os.Stdout)
	// Before anything is started: a signal that comes early must not end PID 1.
	signals := make(chan os.Signal, 32)
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	for number := syscall.Signal(1); number <= 64; number++ {
		// SIGURG is Go's own, many times a second. The others are taken, as what isn't taken would end PID 1.
		if number != unix.SIGCHLD && number != unix.SIGURG {
			signal.Notify(signals, number)
		}
	}
	prepare(c)
	found, err := readImage(imageFile)
	if err != nil {
		return fatal(c, signals, err)
	}
	hostname, err := os.Hostname()
	if err != nil {
		return fatal(c, signals, err)
	}
	given, err := readClaim(os.Getenv, claimFile, hostname)
	if err != nil {
		return fatal(c, signals, err)
	}
	k, err := loadKept(keptFile, given)
	if err != nil {
		return fatal(c, signals, err)
	}
	if err := bringUp(k, hostname, "/etc/resolv.conf"); err != nil {
		c.say("%s", err)
	}
	instance := make([]byte, 8)
	if _, err := rand.Read(instance); err != nil {
		return fatal(c, signals, err)
	}
	processes := newReaper()
	commands := newRunner(processes)
	s := newSupervisor(found, k, c, processes, commands)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	connection := &link{
		claim: given, kept: k, instance: hex.EncodeToString(instance), supervisor: s, runner: commands, console: c,
	}
	go connection.run(ctx)
	go take(signals, s)
	go func() {
		for range children {
			processes.reap()
		}
	}()
	c.say("version %s, for %s", version, cmp.Or(given.container, "claim "+k.Claim))
	s.loop()
	c.say("ended")
	time.Sleep(50 * time.Millisecond) // for the console
	return 0
}

// take acts on signals. Those that lxc-stop, Proxmox VE and the image's stop signal send end the container.
func take(signals <-chan os.Signal, s *supervisor) {
	for number := range signals {
		switch number {
		case unix.SIGPWR, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, syscall.Signal(37), s.image.stopSignal(): // 37: SIGRTMIN+3
			s.post(func() { s.shutdown(number) })
		}
	}
}

// fatal says what is wrong and waits to be stopped: a container that ends at once shows nobody why.
func fatal(c *console, signals <-chan os.Signal, err error) int {
	c.say("can't work: %s", err)
	for number := range signals {
		switch number {
		case unix.SIGPWR, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, syscall.Signal(37):
			return 1
		}
	}
	return 1
}

// prepare gives the container what an image expects of the runtime, as far as it isn't there. None of it is worth failing for.
func prepare(c *console) {
	unix.Umask(0o022)
	if os.Getpid() != 1 {
		return
	}
	complain := func(what string, err error) {
		if err != nil {
			c.say("%s: %s", what, err)
		}
	}
	if _, err := os.Stat("/dev/shm"); errors.Is(err, os.ErrNotExist) {
		if err := os.Mkdir("/dev/shm", 0o1777); err == nil {
			complain("/dev/shm", unix.Mount("shm", "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=1777,size=64m"))
		}
	}
	if err := os.MkdirAll("/tmp", 0o1777); err == nil {
		_ = os.Chmod("/tmp", 0o777|os.ModeSticky)
	}
	complain("loopback", loopbackUp())
	// Ports below 1024 for everybody, as container runtimes set it: images count on it.
	_ = os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0)
}

func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFFLAGS, request); err != nil {
		return err
	}
	if request.Uint16()&unix.IFF_UP != 0 {
		return nil
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}
