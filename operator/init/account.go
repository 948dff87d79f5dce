package main

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// account is who a process runs as.
type account struct {
	uid, gid int
	groups   []int
	home     string
}

var root = account{home: "/root"}

func (a account) credential() *syscall.Credential {
	groups := make([]uint32, len(a.groups))
	for at, group := range a.groups {
		groups[at] = uint32(group)
	}
	return &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid), Groups: groups}
}

// resolve finds out who runs the process: the payload's numbers over the image's USER, which may be names of the image's own
// files. As in a Pod, a uid without a gid gets the group that /etc/passwd says, else 0.
func resolve(imageUser string, spec userSpec, etc string) (account, error) {
	users, err := readTable(etc+"/passwd", 7)
	if err != nil {
		return root, err
	}
	groups, err := readTable(etc+"/group", 4)
	if err != nil {
		return root, err
	}
	name, group, hasGroup := strings.Cut(imageUser, ":")
	if spec.UID != nil {
		name, hasGroup = strconv.Itoa(*spec.UID), false
	}
	if name == "" {
		name = "0"
	}
	found := account{home: "/"}
	login := ""
	if number, err := strconv.Atoi(name); err == nil {
		found.uid = number
	} else {
		login = name
	}
	known := false
	for _, row := range users {
		uid, err := strconv.Atoi(row[2])
		if err != nil || (login != "" && row[0] != login) || (login == "" && uid != found.uid) {
			continue
		}
		login, found.uid, found.home, known = row[0], uid, row[5], true
		found.gid, _ = strconv.Atoi(row[3])
		break
	}
	if login != "" && !known {
		return root, fmt.Errorf("the image's user %q isn't in its /etc/passwd", login)
	}
	if hasGroup && group != "" {
		if found.gid, err = groupID(group, groups); err != nil {
			return root, err
		}
	}
	if spec.GID != nil {
		found.gid = *spec.GID
	}
	for _, row := range groups {
		if gid, err := strconv.Atoi(row[2]); err == nil && login != "" && slices.Contains(strings.Split(row[3], ","), login) {
			found.groups = append(found.groups, gid)
		}
	}
	found.groups = append(found.groups, spec.SupplementalGroups...)
	if spec.FSGroup != nil {
		found.groups = append(found.groups, *spec.FSGroup)
	}
	slices.Sort(found.groups)
	found.groups = slices.Compact(found.groups)
	if found.home == "" {
		found.home = "/"
	}
	return found, nil
}

func groupID(group string, groups [][]string) (int, error) {
	if number, err := strconv.Atoi(group); err == nil {
		return number, nil
	}
	for _, row := range groups {
		if row[0] == group {
			return strconv.Atoi(row[2])
		}
	}
	return 0, fmt.Errorf("the image's group %q isn't in its /etc/group", group)
}

// readTable reads the lines of a file like /etc/passwd that have enough columns; none when there is no file.
func readTable(path string, columns int) ([][]string, error) {
	opened, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	var rows [][]string
	lines := bufio.NewScanner(opened)
	for lines.Scan() {
		if row := strings.Split(lines.Text(), ":"); len(row) >= columns {
			rows = append(rows, row)
		}
	}
	return rows, lines.Err()
}
