package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	secretsDir = home + "/secrets"
	blockBegin = "# homeport: begin"
	blockEnd   = "# homeport: end"
)

// writeFiles puts a process's files where they belong, and removes those that were there before and aren't any more, but not
// what “others“ has now. It answers the paths that it is responsible for now, also when it fails: what has been written has to
// be found again. “name“ is the process's.
func writeFiles(name string, files []file, before []string, who account, others func(path string) bool) ([]string, error) {
	owned := slices.Clone(before)
	secrets := secretsDir
	if name != "" {
		secrets = filepath.Join(secretsDir, name)
	}
	if slices.ContainsFunc(files, func(f file) bool { return f.Secret }) {
		err := mountSecrets()
		if err == nil {
			err = os.MkdirAll(secrets, 0o711)
		}
		if err != nil {
			return owned, fmt.Errorf("secret files need a tmpfs at %s, which can't be mounted: %w", secretsDir, err)
		}
	}
	wanted := map[string]bool{}
	for at, one := range files {
		if !filepath.IsAbs(one.Path) || strings.Contains(one.Path, "..") || strings.HasPrefix(filepath.Clean(one.Path), home+"/") {
			return owned, fmt.Errorf("%s isn't a path that files may have", one.Path)
		}
		wanted[one.Path] = true
		if !slices.Contains(owned, one.Path) {
			owned = append(owned, one.Path)
		}
		if err := writeOne(one, secrets, at, who); err != nil {
			return owned, err
		}
	}
	for _, path := range before {
		if !wanted[path] && !others(path) {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return owned, err
			}
		}
	}
	if err := removeSecretsAfter(secrets, len(files)); err != nil {
		return owned, err
	}
	return slices.DeleteFunc(owned, func(path string) bool { return !wanted[path] }), nil
}

func writeOne(one file, secrets string, at int, who account) error {
	if err := os.MkdirAll(filepath.Dir(one.Path), 0o755); err != nil {
		return err
	}
	mode := fs.FileMode(one.Mode & 0o777)
	if !one.Secret {
		return replaceFile(one.Path, one.Content, mode, 0, 0)
	}
	kept := filepath.Join(secrets, fmt.Sprintf("%d", at))
	if err := replaceFile(kept, one.Content, mode, who.uid, who.gid); err != nil {
		return err
	}
	link := temporary(one.Path)
	_ = os.Remove(link)
	if err := os.Symlink(kept, link); err != nil {
		return err
	}
	return os.Rename(link, one.Path)
}

// replaceFile writes whole or not at all: readers see the old content or the new. What is at the path isn't followed.
func replaceFile(path string, content []byte, mode fs.FileMode, uid, gid int) error {
	made := temporary(path)
	_ = os.Remove(made)
	opened, err := os.OpenFile(made, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = opened.Write(content)
	err = errors.Join(err, opened.Chown(uid, gid), opened.Chmod(mode), opened.Sync(), opened.Close())
	if err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		_ = os.Remove(made)
	}
	return err
}

func temporary(path string) string {
	return filepath.Join(filepath.Dir(path), ".homeport-"+filepath.Base(path))
}

// mountSecrets makes sure that secrets are in memory: on anything but a tmpfs they aren't written.
func mountSecrets() error {
	if err := os.MkdirAll(secretsDir, 0o711); err != nil {
		return err
	}
	if isTmpfs(secretsDir) {
		return nil
	}
	err := unix.Mount("homeport", secretsDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0711,size=16m")
	if err == nil && !isTmpfs(secretsDir) {
		err = errors.New("it isn't there after mounting")
	}
	return err
}

func isTmpfs(path string) bool {
	var found unix.Statfs_t
	return unix.Statfs(path, &found) == nil && found.Type == unix.TMPFS_MAGIC
}

// removeSecretsAfter drops what a larger payload had.
func removeSecretsAfter(secrets string, count int) error {
	entries, err := os.ReadDir(secrets)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		var number int
		if _, bad := fmt.Sscanf(entry.Name(), "%d", &number); bad == nil && number >= count {
			err = errors.Join(err, os.Remove(filepath.Join(secrets, entry.Name())))
		}
	}
	return err
}

// writeHosts keeps a block of ours in /etc/hosts, and what is outside of it as it is.
func writeHosts(path string, entries []hostEntry, hostname string) error {
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	after := hostsWith(string(before), entries, hostname)
	if after == string(before) {
		return nil
	}
	if err := replaceFile(path, []byte(after), 0o644, 0, 0); err == nil {
		return nil
	}
	return os.WriteFile(path, []byte(after), 0o644) // a mount of its own can't be replaced
}

func hostsWith(before string, entries []hostEntry, hostname string) string {
	var kept []string
	inside, local := false, false
	for line := range strings.Lines(before) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == blockBegin:
			inside = true
		case line == blockEnd:
			inside = false
		case !inside:
			kept = append(kept, line)
			local = local || (strings.HasPrefix(line, "127.0.0.1") && slices.Contains(strings.Fields(line), "localhost"))
		}
	}
	var block []string
	if !local {
		block = append(block, "127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback")
	}
	if hostname != "" {
		block = append(block, "127.0.1.1 "+hostname)
	}
	for _, entry := range entries {
		block = append(block, entry.Address+" "+strings.Join(entry.Names, " "))
	}
	if len(block) > 0 {
		kept = append(append(append(kept, blockBegin), block...), blockEnd)
	}
	return strings.Join(kept, "\n") + "\n"
}

func writeResolver(path string, nameservers, search []string) error {
	if len(nameservers) == 0 && len(search) == 0 {
		return nil
	}
	var text strings.Builder
	if len(search) > 0 {
		fmt.Fprintf(&text, "search %s\n", strings.Join(search, " "))
	}
	for _, server := range nameservers {
		fmt.Fprintf(&text, "nameserver %s\n", server)
	}
	if before, err := os.ReadFile(path); err == nil && string(before) == text.String() {
		return nil
	}
	return replaceFile(path, []byte(text.String()), 0o644, 0, 0)
}

// giveVolumes hands volumes to a group, as a Pod's fsGroup does: only when the top of one isn't the group's yet.
func giveVolumes(paths []string, group int) error {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("volume %s: %w", path, err)
		}
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Gid) == group && info.Mode()&fs.ModeSetgid != 0 {
			continue
		}
		// The top last: while it isn't the group's, what was broken off is done again.
		var deeper []string
		err = filepath.WalkDir(path, func(found string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if found == path {
				return nil
			}
			if entry.IsDir() {
				deeper = append(deeper, found)
				return nil
			}
			return giveOne(found, group)
		})
		slices.Reverse(deeper)
		for _, folder := range append(deeper, path) {
			if err == nil {
				err = giveOne(folder, group)
			}
		}
		if err != nil {
			return fmt.Errorf("volume %s: %w", path, err)
		}
	}
	return nil
}

func giveOne(path string, group int) error {
	if err := os.Lchown(path, -1, group); err != nil {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSymlink != 0 {
		return err
	}
	mode := info.Mode().Perm() | 0o060 | info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky)
	if info.IsDir() {
		mode |= 0o010 | fs.ModeSetgid
	}
	return os.Chmod(path, mode)
}
