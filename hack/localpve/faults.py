"""Faults by script: which request, the how-manieth time, before or after the deed, and what becomes of it.

``Script`` holds the faults of one stand-in. A fault is used up when it has happened as often as it should.

==================  ====================================================================================
what                how
==================  ====================================================================================
an answer           ``ANSWERS[name]``: what pveproxy and pvedaemon say, before or after the deed
the answer is lost  ``LOST``: the connection ends, before or after the deed
a person            ``doing``: something happens on the host just before the request is taken, or after it
a task that fails   ``Script.fail_task``: with one of ``TASKS``' sentences, before or after its deed
==================  ====================================================================================
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """A status with its sentence; 0 is no answer."""

    status: int
    message: str = ""


LOST = Answer(0)

ANSWERS = {
    "lost": LOST,
    "no route (595)": Answer(595, "No route to host"),
    "refused (595)": Answer(595, "Connection refused"),
    "timed out (596)": Answer(596, "Connection timed out"),
    "broken pipe (596)": Answer(596, "Broken pipe"),
    "bad gateway (502)": Answer(502, "Bad Gateway"),
    "unavailable (503)": Answer(503, "Service Unavailable"),
    "gateway timeout (504)": Answer(504, "Gateway Time-out"),
    "no quorum": Answer(500, "cluster not ready - no quorum?"),
    "configuration locked": Answer(500, "can't lock file '/run/lock/lxc/pve-config-0.lock' - got timeout"),
    "backup runs": Answer(500, "CT is locked (backup)"),
    "snapshot runs": Answer(500, "CT is locked (snapshot)"),
    "is migrated": Answer(500, "CT is locked (migrate)"),
    "no worker": Answer(500, "got no worker upid - start worker failed"),
    "read-only": Answer(500, "unable to open file '/etc/pve/nodes/pve1/lxc/0.conf.tmp.1' - Permission denied"),
    "internal": Answer(500, "internal error"),
    "token revoked (401)": Answer(401, "invalid token value!"),
    "privilege taken (403)": Answer(403, "Permission check failed (/vms, VM.Allocate)"),
}
"""By the names that the tables of faults use."""

PASSING = tuple(name for name in ANSWERS if not name.endswith(("(401)", "(403)")))
"""Those that go by themselves."""

TASKS = {
    "no space": "lvcreate 'pve/vm-0-disk-0' error:   Cannot create new thin volume, free space in thin pool is too low",
    "storage away": "storage 'local-lvm' is not online",
    "unpacking failed": "command 'tar xpf - --zstd' failed: exit code 2",
    "start failed": "startup for container '0' failed",
    "lock timeout": "can't lock file '/run/lock/lxc/pve-config-0.lock' - got timeout",
    "interrupted": "received interrupt",
    "ended without a word": "unexpected status",
}
"""What tasks end with."""


@dataclass
class Fault:
    """One thing that goes wrong. ``path`` is a pattern with ``*``; ``nth`` counts requests that match, from 1."""

    method: str
    path: str
    answer: Answer | None = None
    after: bool = False
    """Whether the deed is done first."""
    nth: int = 1
    times: int = 1
    """How often it happens from then on."""
    doing: Callable[[Any], None] | None = None
    """What somebody does to the stand-in at that moment."""
    seen: int = 0

    def hits(self, method: str, path: str) -> bool:
        """Whether it happens to this request; counts it."""
        if self.method not in ("*", method) or not fnmatch.fnmatchcase(path, self.path):
            return False
        self.seen += 1
        return self.nth <= self.seen < self.nth + self.times


@dataclass
class TaskFault:
    """A task that ends badly."""

    type: str
    message: str
    after: bool = False
    times: int = 1
    broken_off: bool = False
    """Whether the worker is killed: nothing is cleared away, and a lock stays."""


@dataclass
class Script:
    """The faults of one stand-in."""

    faults: list[Fault] = field(default_factory=list)
    tasks: list[TaskFault] = field(default_factory=list)

    def add(self, method: str, path: str, answer: str | Answer | None = None, **how: Any) -> Fault:
        """Have something go wrong. ``answer`` is one of ANSWERS' names."""
        fault = Fault(method, path, ANSWERS[answer] if isinstance(answer, str) else answer, **how)
        self.faults.append(fault)
        return fault

    def fail_task(self, type: str, message: str, **how: Any) -> None:
        """Have the next task of a type end so. ``message`` is one of TASKS' names, or a sentence."""
        self.tasks.append(TaskFault(type, TASKS.get(message, message), **how))

    def of_request(self, method: str, path: str) -> Fault | None:
        """What happens to this request."""
        return next((fault for fault in self.faults if fault.hits(method, path)), None)

    def of_task(self, type: str) -> TaskFault | None:
        """What happens to a task that is about to run."""
        found = next((fault for fault in self.tasks if fault.type == type and fault.times > 0), None)
        if found is not None:
            found.times -= 1
        return found
