package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	dialTimeout = 15 * time.Second
	silence     = 70 * time.Second // the operator pings every 20 s
	sendTimeout = 30 * time.Second
	firstPause  = time.Second
	lastPause   = time.Minute
)

// link keeps the connection to the operator, again and again.
type link struct {
	claim      claim
	kept       *kept
	instance   string
	supervisor *supervisor
	runner     *runner
	console    *console

	mutex   sync.Mutex
	cancels map[int]context.CancelFunc // of commands that run for this connection
}

func (l *link) run(ctx context.Context) {
	pause := firstPause
	said := ""
	for ctx.Err() == nil {
		welcomed, err := l.connect(ctx)
		if welcomed {
			pause, said = firstPause, ""
		}
		if err != nil && err.Error() != said {
			said = err.Error()
			l.console.say("the operator at %s: %s", l.claim.url, said)
			if l.supervisor.current().Digest == "" {
				l.console.say("nothing is started before the operator has said what")
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(jitter(pause)):
		}
		pause = min(2*pause, lastPause)
	}
}

// jitter is between half of a pause and one and a half: containers don't come back all at once.
func jitter(pause time.Duration) time.Duration {
	random, err := rand.Int(rand.Reader, big.NewInt(int64(pause)))
	if err != nil {
		return pause
	}
	return pause/2 + time.Duration(random.Int64())
}

// connect has one connection from its beginning to its end. Nothing is said before the certificate is the one that is known.
func (l *link) connect(parent context.Context) (welcomed bool, err error) {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	trusted := l.kept.trusted(l.claim)
	dialing, stop := context.WithTimeout(ctx, dialTimeout)
	defer stop()
	socket, _, err := websocket.Dial(dialing, l.claim.url+protocolPath, &websocket.DialOptions{
		HTTPClient:      &http.Client{Transport: transport(trusted)},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return false, err
	}
	defer socket.CloseNow()
	socket.SetReadLimit(payloadLimit)
	err = l.send(ctx, socket, hello{
		"hello", protocol, l.claim.container, l.kept.shown(l.claim), l.kept.Credential, l.instance, version, runtime.GOARCH, features,
	})
	if err != nil {
		return false, err
	}
	first, err := receive(ctx, socket)
	if err != nil {
		return false, err
	}
	switch {
	case first.Type == "refused":
		return false, fmt.Errorf("refused: %s", first.Reason)
	case first.Type != "welcome":
		return false, fmt.Errorf("it answered with %q", first.Type)
	}
	if len(first.Trust) > 0 && !slices.Equal(first.Trust, trusted) {
		if err := l.kept.change(func(k *kept) { k.Trust = first.Trust }); err != nil {
			l.console.say("the operator's certificates can't be kept: %s", err)
		}
	}
	l.console.say("connected to the operator at %s", l.claim.url)
	l.mutex.Lock()
	l.cancels = map[int]context.CancelFunc{}
	l.mutex.Unlock()
	go l.tell(ctx, cancel, socket)
	for {
		frame, err := receive(ctx, socket)
		if err != nil {
			return true, err
		}
		l.handle(ctx, socket, frame)
	}
}

// tell sends the state, and again whenever it differs.
func (l *link) tell(ctx context.Context, cancel context.CancelFunc, socket *websocket.Conn) {
	defer cancel()
	var sent []byte
	for {
		found := l.supervisor.current()
		if text, _ := json.Marshal(found); !slices.Equal(text, sent) {
			if l.send(ctx, socket, found) != nil {
				return
			}
			sent = text
		}
		select {
		case <-ctx.Done():
			return
		case <-l.supervisor.changed:
		}
	}
}

func (l *link) handle(ctx context.Context, socket *websocket.Conn, frame incoming) {
	switch frame.Type {
	case "deliver":
		if frame.Payload != nil {
			l.supervisor.post(func() { l.supervisor.deliver(frame.Payload, frame.Digest) })
		}
	case "exec":
		l.command(ctx, socket, frame)
	case "check":
		if frame.Probe != nil {
			l.checkOnce(ctx, socket, frame)
		}
	case "cancel":
		l.mutex.Lock()
		if cancel := l.cancels[frame.ID]; cancel != nil {
			cancel()
		}
		l.mutex.Unlock()
	case "getLog":
		go func() { _ = l.send(ctx, socket, logTail{"log", frame.ID, l.console.tail(frame.Lines)}) }()
	case "finish":
		l.supervisor.post(func() { l.supervisor.finish(frame.Run) })
	default:
		l.console.say("the operator said %q, which isn't understood here", frame.Type)
	}
}

// begin counts a command; the context ends with the timeout, the connection, or a cancel.
func (l *link) begin(ctx context.Context, id int, timeout time.Duration) (context.Context, context.CancelFunc, bool) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if len(l.cancels) >= maxExecs {
		return nil, nil, false
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	cancels := l.cancels
	cancels[id] = cancel
	return limited, func() {
		cancel()
		l.mutex.Lock()
		delete(cancels, id)
		l.mutex.Unlock()
	}, true
}

func (l *link) command(ctx context.Context, socket *websocket.Conn, frame incoming) {
	limited, done, ok := l.begin(ctx, frame.ID, time.Duration(frame.TimeoutSeconds*float64(time.Second)))
	if !ok {
		go func() {
			_ = l.send(ctx, socket, result{Type: "result", ID: frame.ID, ExitCode: -1, Error: "too many commands at once"})
		}()
		return
	}
	go func() {
		defer done()
		answer := result{Type: "result", ID: frame.ID}
		launched, err := l.supervisor.launchOf(frame.execRequest)
		if err != nil {
			answer.ExitCode, answer.Error = -1, err.Error()
			_ = l.send(ctx, socket, answer)
			return
		}
		var found ended
		if frame.Stream {
			stdout := &pieces{ctx, limited, l, socket, frame.ID, "stdout"}
			stderr := &pieces{ctx, limited, l, socket, frame.ID, "stderr"}
			found = l.runner.run(limited, launched, frame.Stdin, stdout, stderr)
		} else {
			limit := min(max(frame.Limit, 0), outputLimit)
			stdout, stderr := &lastBytes{limit: limit}, &lastBytes{limit: limit}
			found = l.runner.run(limited, launched, frame.Stdin, stdout, stderr)
			answer.Stdout, answer.Stderr, answer.Dropped = stdout.kept, stderr.kept, stdout.dropped+stderr.dropped
		}
		answer.ExitCode, answer.TimedOut = found.code, found.timedOut
		if found.err != nil {
			answer.Error = found.err.Error()
		}
		_ = l.send(ctx, socket, answer)
	}()
}

func (l *link) checkOnce(ctx context.Context, socket *websocket.Conn, frame incoming) {
	limited, done, ok := l.begin(ctx, frame.ID, seconds(max(frame.Probe.TimeoutSeconds, 1)))
	if !ok {
		return
	}
	go func() {
		defer done()
		answer := result{Type: "result", ID: frame.ID}
		if err := l.supervisor.check(limited, frame.Process, *frame.Probe); err != nil {
			answer.ExitCode, answer.Error = 1, err.Error()
		}
		_ = l.send(ctx, socket, answer)
	}()
}

// pieces sends an output as it comes. A frame is sent whole although the command's time is over: one that is broken off would
// end the connection.
type pieces struct {
	ctx     context.Context
	limited context.Context
	link    *link
	socket  *websocket.Conn
	id      int
	stream  string
}

func (p *pieces) Write(text []byte) (int, error) {
	if err := p.limited.Err(); err != nil {
		return 0, err
	}
	if err := p.link.send(p.ctx, p.socket, output{"output", p.id, p.stream, text}); err != nil {
		return 0, err
	}
	return len(text), nil
}

func (l *link) send(ctx context.Context, socket *websocket.Conn, frame any) error {
	text, err := json.Marshal(frame)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	return socket.Write(limited, websocket.MessageText, text)
}

func receive(ctx context.Context, socket *websocket.Conn) (incoming, error) {
	var frame incoming
	kind, text, err := socket.Read(ctx)
	if err != nil {
		return frame, err
	}
	if kind != websocket.MessageText {
		return frame, errors.New("a frame that isn't text")
	}
	return frame, json.Unmarshal(text, &frame)
}

// transport speaks TLS with the certificates that are trusted, and with nobody else. No proxy: the address is meant.
func transport(trusted []string) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			connection, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &watched{Conn: connection}, nil
		},
		TLSHandshakeTimeout: dialTimeout,
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS13,
			InsecureSkipVerify: true, // what counts is the fingerprint, below
			VerifyConnection: func(state tls.ConnectionState) error {
				if len(state.PeerCertificates) == 0 {
					return errors.New("it has no certificate")
				}
				sum := sha256.Sum256(state.PeerCertificates[0].Raw)
				if !slices.Contains(trusted, hex.EncodeToString(sum[:])) {
					return errors.New("its certificate isn't the one that this container was given: nothing was said to it")
				}
				return nil
			},
		},
	}
}

// watched ends a connection on which nothing has come for too long: the operator pings.
type watched struct{ net.Conn }

func (w *watched) Read(into []byte) (int, error) {
	_ = w.Conn.SetReadDeadline(time.Now().Add(silence))
	return w.Conn.Read(into)
}
