"""The one way to run git: bounded in time, memory and what it writes; told of nothing but what is given here.

A process can be killed when it takes too long, and bounded in what it writes and in its memory; a library in our own
process can't. And what GitOps needs (SSH with known hosts, signatures, partial clones, every server's dialect) is what
git itself has. Nothing is ever checked out, so there are no hooks, filters or symbolic links to follow.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shlex
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from homeport.drivers.git import address
from homeport.drivers.git.types import MIB, Credentials, GitFailed, Limits

PROTOCOLS = ("https", "http", "ssh")
_PASSED_ON = ("PATH", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy", "SSL_CERT_FILE",
              "SSL_CERT_DIR", "GIT_SSL_CAINFO")  # fmt: skip
# Prints what git asks for; what it prints comes from the environment, never from a command line that others can see.
_ASKPASS = """#!/bin/sh
case "$1" in Username*) printf '%s' "$HOMEPORT_GIT_USERNAME" ;; *) printf '%s' "$HOMEPORT_GIT_PASSWORD" ;; esac
"""
# Files in 512 bytes (POSIX), what git prints to us included; memory in KiB.
BOUNDED = 'ulimit -f "$1"; ulimit -v 2097152; shift; exec "$@"'
_SETTINGS = ("core.hooksPath=/dev/null", "protocol.allow=never", "http.followRedirects=false", "gc.auto=0",
             "maintenance.auto=false", "http.lowSpeedLimit=1000", "http.lowSpeedTime=20", "fetch.unpackLimit=1",
             "fetch.recurseSubmodules=false", "submodule.recurse=false", "credential.helper=", "core.fsmonitor=false",
             "core.bigFileThreshold=8m", "core.packedGitWindowSize=32m", "core.packedGitLimit=256m",
             "core.deltaBaseCacheLimit=64m", "pack.threads=1", "pack.windowMemory=64m", "protocol.version=2",
             "transfer.bundleURI=false")  # fmt: skip
_SAID = 65536


class Running:
    """The processes that are at work, so that they can be ended together; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._ended = False

    def add(self, process: subprocess.Popen[bytes]) -> None:
        """One more; at once ended when all are."""
        with self._lock:
            self._processes.add(process)
            if self._ended:
                kill(process)

    def remove(self, process: subprocess.Popen[bytes]) -> None:
        """It has ended."""
        with self._lock:
            self._processes.discard(process)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._processes)

    def end(self) -> None:
        """Kill all, and each that comes."""
        with self._lock:
            self._ended = True
            for process in self._processes:
                kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its helpers (ssh, git-remote-https), which outlive it otherwise."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class Said(NamedTuple):
    """What git printed, what it said beside that, and its exit code."""

    out: bytes
    text: str
    code: int


@dataclass(frozen=True)
class Session:
    """git with an environment of its own. ``hidden`` never shows up in what is told."""

    folder: Path
    environment: Mapping[str, str]
    url: str
    limits: Limits
    hidden: tuple[str, ...] = ()
    running: Running = field(default_factory=Running)
    held: tuple[int, ...] = ()
    """Files that stay open for as long as git runs: a lock that outlives the operator."""
    transports: tuple[str, ...] = PROTOCOLS

    def git(self, *words: str, given: bytes = b"", settings: tuple[str, ...] = ()) -> bytes:
        """What ``git words…`` prints. Raises GitFailed."""
        return self.told(*words, given=given, settings=settings).out

    def told(
        self,
        *words: str,
        given: bytes = b"",
        settings: tuple[str, ...] = (),
        also: Mapping[str, str] | None = None,
        anyhow: bool = False,
    ) -> Said:
        """How ``git words…`` ended. Raises GitFailed; not for its exit code if ``anyhow``."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                self.command(*words, settings=settings),
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=said,
                cwd=self.folder,
                env={**self.environment, **(also or {})},
                start_new_session=True,
                pass_fds=self.held,
            )
            self.running.add(process)
            try:
                process.communicate(given, timeout=self.limits.seconds)
            except subprocess.TimeoutExpired:
                raise GitFailed(f"{self.url} took longer than {self.limits.seconds:g} s", passes=True) from None
            finally:
                kill(process)
                process.wait()
                self.running.remove(process)
            for file in (out, said):
                file.seek(0)
            text = self.shown(said.read(_SAID).decode(errors="replace"))
            if process.returncode != 0 and not anyhow:
                raise self.failed(text)
            return Said(out.read(), text, process.returncode)

    def command(self, *words: str, settings: tuple[str, ...] = ()) -> list[str]:
        """The words that start git."""
        allowed = (f"protocol.{name}.allow=always" for name in self.transports)
        options = [word for setting in (*_SETTINGS, *allowed, *settings) for word in ("-c", setting)]
        return ["sh", "-c", BOUNDED, "sh", str(self.limits.fetched // 512), "git", *options, *words]

    def shown(self, text: str) -> str:
        """Without what is secret."""
        for secret in self.hidden:
            text = text.replace(secret, "…")
        return text

    def failed(self, said: str) -> GitFailed:
        """What git said, in words that tell what to do."""
        text = " ".join(said.split())
        for pattern, message, passes in _MEANINGS:
            if re.search(pattern, text, re.IGNORECASE):
                return GitFailed(f"{self.url}: {message.format(limit=self.limits.fetched // MIB)}", passes)
        # What a server answers to somebody who isn't a git client is nobody's to read here: it may be any server.
        lines = [line for line in said.splitlines() if not line.startswith("remote:")]
        return GitFailed(f"{self.url}: {' '.join(' '.join(lines).split())[-500:] or 'git failed without a word'}", True)


_WHERE = "in the Secret of credentialsSecretRef"
_MEANINGS = (
    (r"file too large|signal 25|file size limit",
     "it is larger than {limit} MiB in one commit; use a smaller repository", False),
    (r"early EOF|unexpected disconnect|hung up upon initial contact|RPC failed|abnormal exit|index-pack died of signal"
     r"|bad pack header",
     "what it sends breaks off, or is larger than {limit} MiB in one commit", True),
    (r"invalid index-pack output",  # It was ended by the bound on what it may write, and could say nothing.
     "it is larger than {limit} MiB in one commit; use a smaller repository", False),
    (r"unpack-objects died|index-pack died|index-pack failed",
     "what it sends breaks off or is broken, or is larger than {limit} MiB in one commit; use a smaller repository",
     True),
    (r"identification has changed|offending \S+ key",
     "its SSH host key isn't the one in known_hosts: it was changed, or somebody is in between; ask who runs it, and "
     f"then write the new key in known_hosts {_WHERE}", False),
    (r"host key verification failed|no \S+ host key is known",
     f"its SSH host key isn't known; write it in known_hosts {_WHERE}", False),
    (r"error in libcrypto|load key .*: ",
     f"the SSH key in identity can't be read; write a private key without a passphrase {_WHERE}", False),
    (r"authentication failed|could not read username|terminal prompts disabled|error: 401|error: 403|permission denied",
     f"it refuses the credentials; write username and password (or a token), or identity, {_WHERE}", False),
    (r"certificate|unable to get local issuer",
     f"its TLS certificate isn't trusted; write its authority's certificate as ca.crt {_WHERE}", False),
    (r"couldn't find remote ref|not our ref|unadvertised object|no such remote ref",
     "the reference isn't there, or the server doesn't hand out single commits; name a branch or a tag", False),
    (r"dumb http transport", "it speaks git's dumb protocol, which has no shallow clones; use another server", False),
    (r"unable to update url base from redirection|redirect|error: 30\d",
     "it redirects elsewhere, which isn't followed; write the new address", False),
    (r"transport '?\S+'? not allowed", "only https, http and ssh are allowed", False),
    (r"repository .*not found|does not appear to be a git repository|error: 404", "there is no repository", False),
    (r"operation too slow", "it sends less than 1000 bytes a second", True),
    (r"could not resolve host", "the DNS doesn't know its host", True),
)  # fmt: skip
"""(what git says, what that means, whether it may pass by itself); the first that fits counts."""


def _environment(home: str) -> dict[str, str]:
    environment = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
    return environment | {
        "HOME": home,
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ADVICE": "0",
    }


def local(
    folder: Path, url: str, limits: Limits, running: Running | None = None, held: tuple[int, ...] = ()
) -> Session:
    """git in a repository of ours, with no transport at all; ``url`` is what is told when it fails."""
    environment = _environment("/nonexistent")
    return Session(folder, environment, url, limits, (), running or Running(), held, ())


@contextlib.contextmanager
def session(
    url: str,
    credentials: Credentials,
    limits: Limits,
    folder: Path | None = None,
    running: Running | None = None,
    held: tuple[int, ...] = (),
) -> Iterator[Session]:
    """git that talks to a server; it works in ``folder``, or in one of its own. Raises GitFailed."""
    wrong = address.refused(url, credentials)
    if wrong:
        raise GitFailed(wrong, passes=False)
    with tempfile.TemporaryDirectory(prefix="homeport-git-") as name:
        scratch = Path(name)
        environment = _environment(name) | {
            "GIT_ASKPASS": str(_written(scratch / "askpass", _ASKPASS, 0o700)),
            "HOMEPORT_GIT_USERNAME": credentials.username,
            "HOMEPORT_GIT_PASSWORD": credentials.password,
            "GIT_SSH_COMMAND": ssh_command(scratch, credentials),
            "GIT_SSH_VARIANT": "ssh",
        }
        if credentials.ca:
            environment["GIT_SSL_CAINFO"] = str(_written(scratch / "ca.crt", credentials.ca, 0o600))
        if credentials.token and url.startswith("https://"):
            # In the environment: a command line can be seen by others.
            environment |= {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"http.{url}.extraHeader",
                "GIT_CONFIG_VALUE_0": f"Authorization: Bearer {credentials.token}",
            }
        basic = base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()
        hidden = (*credentials.secrets, *((basic,) if credentials.password else ()))
        yield Session(folder or scratch, environment, url, limits, hidden, running or Running(), held)


def ssh_command(folder: Path, credentials: Credentials) -> str:
    """How ssh is started: with nothing of this machine's settings, keys or known hosts."""
    known = _written(folder / "known_hosts", f"{credentials.known_hosts}\n", 0o600)
    options = ["BatchMode=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={known}", "ConnectTimeout=15",
               "GlobalKnownHostsFile=/dev/null", "IdentitiesOnly=yes", "IdentityAgent=none", "UpdateHostKeys=no",
               "PermitLocalCommand=no", "ClearAllForwardings=yes", "ProxyCommand=none", "ServerAliveInterval=10",
               "ServerAliveCountMax=3"]  # fmt: skip
    if credentials.identity:
        options.append(f"IdentityFile={_written(folder / 'identity', credentials.identity.rstrip() + chr(10), 0o600)}")
    return " ".join(["ssh", "-F", os.devnull, *(f"-o {shlex.quote(option)}" for option in options)])


def _written(path: Path, text: str, mode: int) -> Path:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    return path
