package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

const logBytes = 256 << 10

// console is the container's console and the end of what was written to it. A console that nobody reads loses lines and holds
// nobody up.
type console struct {
	mutex sync.Mutex
	ring  []byte
	lines chan []byte
}

func newConsole(to io.Writer) *console {
	c := &console{lines: make(chan []byte, 1024)}
	go func() {
		for line := range c.lines {
			_, _ = to.Write(line)
		}
	}()
	return c
}

// say is init's own word; never with a value of the payload in it.
func (c *console) say(format string, values ...any) {
	text := fmt.Sprintf(format, values...)
	c.put([]byte("homeport-init: " + time.Now().UTC().Format(time.RFC3339) + " " + text + "\n"))
}

func (c *console) put(text []byte) {
	c.mutex.Lock()
	c.ring = append(c.ring, text...)
	if len(c.ring) > 2*logBytes {
		c.ring = append([]byte{}, c.ring[len(c.ring)-logBytes:]...)
	}
	c.mutex.Unlock()
	select {
	case c.lines <- bytes.Clone(text):
	default:
	}
}

// copy takes what a process writes, until all that have the other end are gone. Of one that has a name each line begins with it.
func (c *console) copy(from *os.File, name string) {
	defer from.Close()
	buffer := make([]byte, 32<<10)
	var line []byte
	for {
		count, err := from.Read(buffer)
		if name == "" && count > 0 {
			c.put(buffer[:count])
		} else if name != "" {
			line = c.putLines(append(line, buffer[:count]...), name, err != nil)
		}
		if err != nil {
			return
		}
	}
}

// putLines puts whole lines, and answers the rest: a long one, or the last, is whole without its end.
func (c *console) putLines(text []byte, name string, last bool) []byte {
	for len(text) > 0 {
		line, rest, whole := bytes.Cut(text, []byte{'\n'})
		if !whole && !last && len(line) < 16<<10 {
			break
		}
		c.put(append(append([]byte("["+name+"] "), line...), '\n'))
		text = rest
	}
	return bytes.Clone(text)
}

// tail answers the last lines, as text.
func (c *console) tail(count int) []string {
	count = min(count, maxLogLines)
	if count <= 0 {
		return []string{}
	}
	c.mutex.Lock()
	text := c.ring
	if len(text) > logBytes {
		text = text[len(text)-logBytes:]
	}
	all := strings.ToValidUTF8(string(text), "�")
	c.mutex.Unlock()
	found := strings.Split(strings.TrimSuffix(all, "\n"), "\n")
	if len(found) == 1 && found[0] == "" {
		return []string{}
	}
	return found[max(0, len(found)-count):]
}
