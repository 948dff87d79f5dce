package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// What the image says of how to run it; written by the operator beside init, as Proxmox VE would act on some of it itself.
// The names are those of https://github.com/opencontainers/image-spec/blob/main/config.md
type image struct {
	Config struct {
		Env        []string
		Entrypoint []string
		Cmd        []string
		User       string
		WorkingDir string
		StopSignal string
	} `json:"config"`
}

func readImage(path string) (image, error) {
	var found image
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil // a template without one: the payload says everything
	}
	if err != nil {
		return found, err
	}
	if err := json.Unmarshal(text, &found); err != nil {
		return found, fmt.Errorf("%s: %w", path, err)
	}
	return found, nil
}

// command is what runs, by the rules for a Pod's command and args.
func (i image) command(p *program) []string {
	if p.Command != nil && len(*p.Command) > 0 {
		out := append([]string{}, *p.Command...)
		if p.Args != nil {
			out = append(out, *p.Args...)
		}
		return out
	}
	out := append([]string{}, i.Config.Entrypoint...)
	if p.Args != nil && len(*p.Args) > 0 {
		return append(out, *p.Args...)
	}
	return append(out, i.Config.Cmd...)
}

func (i image) workingDir(p *program) string {
	if p.WorkingDir != nil && *p.WorkingDir != "" {
		return *p.WorkingDir
	}
	if i.Config.WorkingDir != "" {
		return i.Config.WorkingDir
	}
	return "/"
}

// environment is the image's, with the payload's over it. Of init's own environment nothing is given on.
func (i image) environment(p *program, hostname string, who account) []string {
	values := map[string]string{}
	var order []string
	set := func(name, value string) {
		if _, known := values[name]; !known {
			order = append(order, name)
		}
		values[name] = value
	}
	set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	set("HOME", who.home)
	if name, err := os.Hostname(); err == nil {
		set("HOSTNAME", name)
	}
	if hostname != "" {
		set("HOSTNAME", hostname)
	}
	for _, pair := range i.Config.Env {
		if name, value, ok := strings.Cut(pair, "="); ok {
			set(name, value)
		}
	}
	for _, one := range p.Env {
		set(one.Name, one.Value)
	}
	if p.Name != "" {
		set(markVariable, p.Name)
	}
	out := make([]string, 0, len(order))
	for _, name := range order {
		out = append(out, name+"="+values[name])
	}
	return out
}

func (i image) stopSignal() syscall.Signal {
	if found, ok := parseSignal(i.Config.StopSignal); ok {
		return found
	}
	return unix.SIGTERM
}

// parseSignal understands TERM, SIGTERM, 15 and RTMIN+3.
func parseSignal(text string) (syscall.Signal, bool) {
	text = strings.ToUpper(strings.TrimSpace(text))
	if number, err := strconv.Atoi(text); err == nil {
		return syscall.Signal(number), number > 0 && number < 65
	}
	text = "SIG" + strings.TrimPrefix(text, "SIG")
	const rtmin = 34 // as libc and Docker count
	if rest, ok := strings.CutPrefix(text, "SIGRTMIN"); ok {
		offset, err := strconv.Atoi(strings.TrimPrefix(rest, "+"))
		if rest == "" {
			return rtmin, true
		}
		return syscall.Signal(rtmin + offset), err == nil && offset >= 0 && offset <= 30
	}
	if rest, ok := strings.CutPrefix(text, "SIGRTMAX"); ok {
		offset, err := strconv.Atoi(strings.TrimPrefix(rest, "-"))
		if rest == "" {
			return 64, true
		}
		return syscall.Signal(64 - offset), err == nil && offset >= 0 && offset <= 30
	}
	found := unix.SignalNum(text)
	return found, found != 0
}
