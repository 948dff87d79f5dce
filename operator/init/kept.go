package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
)

const (
	home      = "/.homeport"
	stateDir  = home + "/state"
	keptFile  = stateDir + "/kept.json"
	claimFile = home + "/claim.json"
	imageFile = home + "/image.json"
)

// claim is what the container was given to find the operator with.
type claim struct {
	url, fingerprint, container, token string
}

var claimNames = []string{"HOMEPORT_AGENT_URL", "HOMEPORT_AGENT_FINGERPRINT", "HOMEPORT_CONTAINER", "HOMEPORT_CLAIM"}

// readClaim reads it from the environment. Where containers have none of their own, a file that all of an image share says where the
// operator is, and the hostname has the claim, until it was used: then what is kept says who this is, and the claim is empty.
func readClaim(getenv func(string) string, path, hostname string) (claim, error) {
	values := map[string]string{}
	for _, name := range claimNames {
		values[name] = getenv(name)
	}
	if values["HOMEPORT_AGENT_URL"] == "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return claim{}, fmt.Errorf("neither HOMEPORT_AGENT_URL nor %s is there: nobody said who is to be asked what to run", path)
		}
		if err := json.Unmarshal(text, &values); err != nil {
			return claim{}, fmt.Errorf("%s: %w", path, err)
		}
	}
	found := claim{
		strings.TrimRight(values["HOMEPORT_AGENT_URL"], "/"), strings.ToLower(values["HOMEPORT_AGENT_FINGERPRINT"]),
		values["HOMEPORT_CONTAINER"], values["HOMEPORT_CLAIM"],
	}
	inFile := getenv("HOMEPORT_AGENT_URL") == ""
	if !strings.HasPrefix(found.url, "https://") || len(found.fingerprint) != 64 || found.container == "" && !inFile {
		return claim{}, errors.New("HOMEPORT_AGENT_URL must begin with https://, HOMEPORT_AGENT_FINGERPRINT have 64 digits, " +
			"and HOMEPORT_CONTAINER be there")
	}
	if inFile && found.container == "" {
		// The operator knows by the claim's name who it is.
		found.token = ""
		if named, ok := parseHostClaim(hostname); ok {
			found.token = named.token
		}
	}
	return found, nil
}

// name is the public part of a claim.
func (c claim) name() string {
	name, _, _ := strings.Cut(c.token, ".")
	return name
}

// kept is all that outlives a restart of the container. Nothing of the payload that is secret is in it.
type kept struct {
	mutex      sync.Mutex
	path       string
	Container  string   `json:"container"`
	Claim      string   `json:"claim"` // the name of the claim that the credential was introduced with
	Credential string   `json:"credential"`
	Trust      []string `json:"trust"`
	Files      []string `json:"files"` // written by us
	// Of processes that have names.
	FilesOf map[string][]string `json:"filesOf,omitempty"`
	Job     *job                `json:"job,omitempty"`
	// What was set up last, where Proxmox VE leaves that to us.
	Network []netInterface `json:"network,omitempty"`
}

// job is the last one that was begun.
type job struct {
	Run       string    `json:"run"`
	StartedAt string    `json:"startedAt"`
	Tries     int       `json:"tries,omitempty"` // that were begun
	Ended     *endedRun `json:"ended,omitempty"`
}

// loadKept reads what was kept, and makes a new credential for a claim that it doesn't know: a clone that was given one of its
// own is another container. It is on the disk before anybody is shown it.
func loadKept(path string, given claim) (*kept, error) {
	found := &kept{path: path}
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, found)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		// A file that a crash has left empty: the claim decides whether another credential is taken.
		found = &kept{path: path}
	}
	if found.Credential != "" && found.Container == given.container && (found.Claim == given.name() || given.token == "") {
		return found, nil
	}
	if given.container == "" && given.token == "" {
		return nil, errors.New("the hostname is no claim, and no credential is kept: nobody said who this container is")
	}
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	same := found.Container == given.container
	fresh := &kept{path: path, Container: given.container, Claim: given.name(), Credential: hex.EncodeToString(secret), Files: found.Files, FilesOf: found.FilesOf}
	if same {
		fresh.Job = found.Job
	}
	return fresh, fresh.save()
}

func (k *kept) save() error {
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(stateDirOf(k.path), 0o700); err != nil {
		return err
	}
	return replaceFile(k.path, text, 0o600, os.Getuid(), os.Getgid())
}

func stateDirOf(path string) string { return path[:strings.LastIndex(path, "/")] }

// change alters what is kept, and keeps it.
func (k *kept) change(alter func(*kept)) error {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	alter(k)
	return k.save()
}

// filesOf are the files that were written for a process.
func (k *kept) filesOf(name string) []string {
	if name == "" {
		return k.Files
	}
	return k.FilesOf[name]
}

// own remembers them; none forgets the process.
func (k *kept) own(name string, files []string) error {
	return k.change(func(k *kept) {
		switch {
		case name == "":
			k.Files = files
		case len(files) == 0:
			delete(k.FilesOf, name)
		default:
			if k.FilesOf == nil {
				k.FilesOf = map[string][]string{}
			}
			k.FilesOf[name] = files
		}
	})
}

// shown is the claim for a hello: once it was used its name is enough, to be found by.
func (k *kept) shown(given claim) string {
	if given.token == "" {
		return k.Claim + "."
	}
	return given.token
}

// trusted are the certificates that may answer.
func (k *kept) trusted(given claim) []string {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if len(k.Trust) > 0 {
		return append([]string{}, k.Trust...)
	}
	return []string{given.fingerprint}
}
