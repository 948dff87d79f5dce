"""What Proxmox VE can answer other than yes. PVE says most of it as a 500 with a sentence, which is read here.

::

    ProxmoxError                 any refusal that is none of the following; the sentence is PVE's own
    ├── Unauthorized             401  the token isn't known (any more), or its secret is wrong
    ├── Forbidden                403  a privilege is missing: ``path`` and ``privilege``, if PVE says which
    ├── InvalidParameters        400  parameters that PVE doesn't take; ``fields`` says which and why
    ├── NotImplementedByHost     501  this version has no such method
    ├── NotFound                 404, 500  the container, volume, storage or task isn't there
    ├── AlreadyThere             the thing is as it was to be made, or in the way
    │   ├── Exists               the VMID, snapshot or file is taken
    │   ├── AlreadyRunning
    │   ├── NotRunning
    │   └── AlreadyThisSize
    ├── Locked                   something holds the container: ``lock`` is backup, migrate, …, or ``config``
    ├── DigestConflict           somebody changed the configuration since it was read: read it again
    ├── NoQuorum                 the cluster has no majority and takes no writes
    ├── Protected                the container's ``protection`` forbids it
    ├── Unreachable              no endpoint took the request: nothing was done
    │   └── Untrusted            the endpoint's certificate isn't the one that was pinned, or no CA vouches for it
    ├── OtherCluster             the endpoint belongs to another cluster than before
    ├── UnsupportedVersion       a version whose behaviour isn't known
    ├── Busy                     as many of our tasks run as may: ours to say, before anything is sent
    ├── NodeUnreachable          595  the endpoint can't reach the node that was asked about
    └── OutcomeUnknown           595, 596, no answer in time, to a write: look before it is repeated

The sentences are those of pve-container, pve-guest-common, pve-storage and pve-cluster of 2026; tests hold these
patterns against the catalogue of PVE's errors that fakepve carries.
"""

# ruff: noqa: N818 - these are named after what PVE answers, as their siblings of Kubernetes are
from __future__ import annotations

import re
from collections.abc import Mapping

CONFIG_LOCK = "config"
"""The lock of a container's configuration file, which PVE waits 10 s for: somebody else is changing it this moment."""


class ProxmoxError(Exception):
    """PVE refused. ``status`` is the HTTP code (0: no answer); ``message`` is its sentence, ``fields`` its words on
    single parameters."""

    def __init__(self, status: int, message: str = "", fields: Mapping[str, str] | None = None) -> None:
        super().__init__(status, message, dict(fields or {}))
        self.status = status
        self.message = message
        self.fields = dict(fields or {})

    def __str__(self) -> str:
        told = "; ".join(f"{name}: {text}" for name, text in sorted(self.fields.items()))
        return f"{self.message} ({told})" if told else self.message or f"HTTP {self.status}"


class Unauthorized(ProxmoxError):
    """401: the token isn't known, or its secret is wrong."""


class Forbidden(ProxmoxError):
    """403: a privilege is missing."""

    _WHICH = re.compile(r"Permission check failed \((?P<path>/[^,\s]*), (?P<privilege>[A-Za-z.|]+)\)")

    @property
    def path(self) -> str | None:
        """Where it is missing; None when PVE doesn't say (what only root@pam may do has none)."""
        match = self._WHICH.search(self.message)
        return match["path"] if match else None

    @property
    def privilege(self) -> str | None:
        """Which; several with ``|`` when one of them is enough."""
        match = self._WHICH.search(self.message)
        return match["privilege"] if match else None

    @property
    def root_only(self) -> bool:
        """Whether no privilege helps: PVE lets root@pam do it alone."""
        return "root@pam" in self.message


class InvalidParameters(ProxmoxError):
    """400: parameters that PVE doesn't take."""


class NotImplementedByHost(ProxmoxError):
    """501: this version of PVE has no such method."""


class NotFound(ProxmoxError):
    """The container, volume, storage or task isn't there."""


class AlreadyThere(ProxmoxError):
    """What was asked for is so already, or is in the way."""


class Exists(AlreadyThere):
    """The VMID, snapshot or file is taken."""


class AlreadyRunning(AlreadyThere):
    """It runs."""


class NotRunning(AlreadyThere):
    """It doesn't run."""


class AlreadyThisSize(AlreadyThere):
    """The disk has that size."""


class Locked(ProxmoxError):
    """Something holds the container."""

    _HELD = re.compile(r"is locked \((?P<lock>[a-z-]+)\)")

    @property
    def lock(self) -> str:
        """backup, snapshot, migrate, …; ``config`` when only its file is busy, which passes by itself."""
        match = self._HELD.search(self.message)
        return match["lock"] if match else CONFIG_LOCK


class DigestConflict(ProxmoxError):
    """Somebody changed the configuration since it was read."""


class NoQuorum(ProxmoxError):
    """The cluster has no majority: reads work, writes don't."""


class Protected(ProxmoxError):
    """The container's ``protection`` forbids it."""


class Unreachable(ProxmoxError):
    """No endpoint took the request: nothing was done."""


class Untrusted(Unreachable):
    """The endpoint's certificate isn't the one that was pinned, or no CA vouches for it: nothing was sent to it."""


class OtherCluster(ProxmoxError):
    """The endpoint belongs to another cluster than before: nothing is written there."""


class UnsupportedVersion(ProxmoxError):
    """A version whose behaviour isn't known."""


class Busy(ProxmoxError):
    """As many of our tasks run as ``limits.concurrentTasks`` lets: nothing was sent."""


class NodeUnreachable(ProxmoxError):
    """595: the endpoint can't reach the node that was asked about."""


class OutcomeUnknown(ProxmoxError):
    """A write without an answer: it may have happened, or happen still. Look before it is repeated."""


_SENTENCES: tuple[tuple[re.Pattern[str], type[ProxmoxError]], ...] = tuple(
    (re.compile(pattern), error)
    for pattern, error in (
        # pve-guest-common AbstractConfig.pm (check_lock), pve-common Tools.pm (lock_file_full)
        (r"is locked \([a-z-]+\)", Locked),
        (r"can't lock file '.*' - got timeout|cfs-lock '.*' error: got lock request timeout", Locked),
        # pve-common Tools.pm (assert_if_modified)
        (r"detected modified configuration", DigestConflict),
        # pve-cluster Cluster.pm (check_cfs_quorum)
        (r"no quorum\??", NoQuorum),
        (r"protection mode enabled", Protected),
        # pve-container API2/LXC/Status.pm, API2/LXC.pm
        (r"(?:CT|VM) \d+ already running", AlreadyRunning),
        (r"(?:CT|VM) \d+ not running|container '?\d*'? ?is not running", NotRunning),
        (r"disk is already at specified size", AlreadyThisSize),
        # pve-cluster and pve-guest-common (create_and_lock_config), Snapshot, pve-storage
        (r"(?:CT|VM) \d+ already exists|snapshot name '.*' already used|refusing to override existing", Exists),
        (r"config file already exists|'.*' already exists", Exists),
        # pve-guest-common (load_config), pve-storage, pve-common Tools.pm (upid_decode)
        (r"[Cc]onfiguration file '.*' does not exist", NotFound),
        (r"(?:snapshot|storage|volume|pool) '.*' does not exist|no such (?:task|volume)", NotFound),
        (r"unable to parse worker upid", NotFound),
    )
)

_BY_STATUS: dict[int, type[ProxmoxError]] = {
    400: InvalidParameters,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    501: NotImplementedByHost,
}


def from_sentence(message: str, status: int = 500) -> ProxmoxError:
    """The error that a sentence of PVE's speaks of: an answer's, or what a task has ended with."""
    for pattern, error in _SENTENCES:
        if pattern.search(message):
            return error(status, message)
    return ProxmoxError(status, message)


def from_answer(status: int, message: str, fields: Mapping[str, str] | None = None, *, write: bool) -> ProxmoxError:
    """The error of an HTTP answer of 400 and above. ``write``: it may have changed something.

    595 to 599 are AnyEvent::HTTP's: pveproxy passes a request on to another node's, and that didn't answer. Any 5xx
    but 500 and 501 is said by what stands before PVE, which knows nothing of what happened.
    """
    message = " ".join(message.split())
    known = _BY_STATUS.get(status)
    if known is InvalidParameters and fields:
        # To PVE a VMID that is taken (Cluster.pm, nextid) and a task that it doesn't know (Tasks.pm) are parameters.
        for text in (" ".join(text.split()) for text in fields.values()):
            if "already exists" in text:
                return Exists(status, text)
            if "no such task" in text or "unable to parse worker upid" in text:
                return NotFound(status, text)
    if known is not None:
        return known(status, message, fields)
    if status >= 500 and status != 500:
        if write:
            return OutcomeUnknown(status, f"no answer to a change ({status}: {message})")
        return NodeUnreachable(status, message) if 595 <= status <= 599 else Unreachable(status, message)
    return from_sentence(message, status)
