package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// checker makes a check once; nil when it succeeds. The error is a sentence without the process's own words.
type checker func(ctx context.Context, p probe) error

// verdict is what a probe has come to.
type verdict struct {
	kind string // startup, liveness, readiness
	good bool
	why  string
}

// watch makes checks until the context ends, and tells of each change as the kubelet means it: so many failures or successes in
// a row. It begins as unknown: readiness tells first when it is good, liveness and startup when they fail or succeed.
func watch(ctx context.Context, kind string, p probe, check checker, tell func(verdict)) {
	wait := time.Duration(p.InitialDelaySeconds) * time.Second
	successes, failures := 0, 0
	var known *bool
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = seconds(max(p.PeriodSeconds, 1))
		limited, cancel := context.WithTimeout(ctx, seconds(max(p.TimeoutSeconds, 1)))
		err := check(limited, p)
		cancel()
		if ctx.Err() != nil {
			return
		}
		var now bool
		if err == nil {
			successes, failures = successes+1, 0
			if successes < max(p.SuccessThreshold, 1) {
				continue
			}
			now = true
		} else {
			successes, failures = 0, failures+1
			if failures < max(p.FailureThreshold, 1) {
				continue
			}
		}
		if known != nil && *known == now {
			continue
		}
		known = &now
		why := ""
		if err != nil {
			why = fmt.Sprintf("the %s probe failed %d times: %s", kind, failures, err)
		}
		tell(verdict{kind, now, why})
		if kind == "startup" {
			return
		}
	}
}

func seconds(count int) time.Duration { return time.Duration(count) * time.Second }

// checkNetwork makes a tcp or http check on the container's own address.
func checkNetwork(ctx context.Context, p probe) error {
	var err error
	for _, address := range ownAddresses() {
		if p.HTTP != nil {
			err = checkHTTP(ctx, address, *p.HTTP)
		} else {
			err = checkTCP(ctx, net.JoinHostPort(address, strconv.Itoa(p.TCP)))
		}
		if err == nil {
			return nil
		}
	}
	return err
}

// ownAddresses are where others reach the container, IPv4 first; where it has none, loopback.
func ownAddresses() []string {
	var four, six []string
	found, _ := net.InterfaceAddrs()
	for _, one := range found {
		network, ok := one.(*net.IPNet)
		if !ok || !network.IP.IsGlobalUnicast() {
			continue
		}
		if network.IP.To4() != nil {
			four = append(four, network.IP.String())
		} else {
			six = append(six, network.IP.String())
		}
	}
	if all := append(four, six...); len(all) > 0 {
		return all[:min(len(all), 4)]
	}
	return []string{"127.0.0.1"}
}

func checkTCP(ctx context.Context, address string) error {
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return connection.Close()
}

// prober asks as the kubelet does: no proxy, any certificate, no connection kept, redirects within the host followed.
var prober = &http.Client{
	Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives: true,
		Proxy:             nil,
	},
	CheckRedirect: func(request *http.Request, via []*http.Request) error {
		if request.URL.Hostname() != via[0].URL.Hostname() || len(via) >= 10 {
			return http.ErrUseLastResponse
		}
		return nil
	},
}

func checkHTTP(ctx context.Context, address string, check httpCheck) error {
	target, err := url.Parse(check.Path)
	if err != nil {
		return err
	}
	target.Scheme = "http"
	if check.Scheme == "HTTPS" {
		target.Scheme = "https"
	}
	target.Host = net.JoinHostPort(address, strconv.Itoa(check.Port))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "homeport-probe/1")
	request.Header.Set("Accept", "*/*")
	for _, header := range check.Headers {
		if http.CanonicalHeaderKey(header.Name) == "Host" {
			request.Host = header.Value
		} else {
			request.Header.Set(header.Name, header.Value)
		}
	}
	answer, err := prober.Do(request)
	if err != nil {
		return fmt.Errorf("GET %s on port %d: %w", target.Path, check.Port, unwrapURL(err))
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, 10<<10)
	if answer.StatusCode < 200 || answer.StatusCode >= 400 {
		return fmt.Errorf("GET %s on port %d: %d", target.Path, check.Port, answer.StatusCode)
	}
	return nil
}

// unwrapURL takes off the address, which may have a query that is nobody's business.
func unwrapURL(err error) error {
	if wrapped, ok := err.(*url.Error); ok {
		return wrapped.Err
	}
	return err
}
