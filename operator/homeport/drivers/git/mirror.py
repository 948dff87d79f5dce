"""A mirror: a bare, shallow, partial repository on our disk, of one server's repository with one set of credentials.

What sources need of it is held by references below ``refs/homeport/keep/``. The server is asked for a commit and its
trees; contents come when they are read, in one request for all that are missing. What a server can't do (filters,
single objects) is made up for by fetching the commit whole.

A process that is killed, of git or of the operator, leaves a usable mirror: packs and references appear whole or not at
all, and locks and fragments that were left are removed by the next who opens it, which none can while git still runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from homeport.drivers.git import packs, program, refs
from homeport.drivers.git.objects import Objects
from homeport.drivers.git.program import Running, Session
from homeport.drivers.git.refs import Target
from homeport.drivers.git.types import MIB, MIRROR_LIMITS, Credentials, GitFailed, Limits, MirrorBroken, Ref, TooLarge

KEEP = "refs/homeport/keep/"
PACKS = 40
"""So many packs are made one."""
SPARE = 256 * MIB
"""Bytes that must be left free on the disk."""
PARTIAL = ("remote.origin.promisor=true", "remote.origin.partialclonefilter=blob:none")
"""What fetches are told, and readings are not: these would fetch each missing object by itself."""
ONLY_THESE = ("fetch.negotiationAlgorithm=noop",)
"""What a fetch of single objects is told: that others are here says nothing of these."""
_REFUSED = r"doesn't hand out single commits"
_CORRUPT = re.compile(
    r"is corrupt|bad object|cannot be accessed|too short|too small|garbage at end|bad tree|unable to read|inflate"
    r"|could not parse|not a git repository|bad signature|unable to find all commit|does not match index"
    r"|object [0-9a-f]{40,64} not found|not in the mirror",
    re.IGNORECASE,
)


class Mirror:
    """Blocks; threads may share it."""

    def __init__(
        self,
        folder: Path,
        url: str,
        credentials: Credentials | None = None,
        limits: Limits = MIRROR_LIMITS,
        running: Running | None = None,
    ) -> None:
        self.url = url
        self.credentials = credentials or Credentials()
        self.limits = limits
        self.folder = folder
        self.repository = folder / "repository"
        self.running = running or Running()
        self.modules: dict[str, Mirror] = {}
        """Mirrors of its submodules, which are kept with it."""
        self.fetches = 0
        """Requests to the server for objects, for metrics and tests."""
        self._lock = threading.RLock()
        self._held: int | None = None
        self._kept: dict[str, str] = {}
        self._loose: set[str] = set()
        """Those of them that are given up first."""
        self._waiting: dict[int, set[str]] = {}
        """Contents that threads wait for, each for its turn to ask the server."""
        self._objects: Objects | None = None
        self._suspect = False

    # -- what is here ------------------------------------------------------------------------------------------------

    @property
    def objects(self) -> Objects:
        """What can be read without the server."""
        # Not behind the lock, which a fetch holds for as long as the server takes.
        objects = self._objects
        return objects if objects is not None and not self._suspect else self._opened()

    def _opened(self) -> Objects:
        with self._lock:
            self._open()
            assert self._objects is not None
            return self._objects

    def has(self, commit: str) -> bool:
        """Whether a commit is here, with its trees."""
        return bool(self.objects) and commit in list(self._kept.values())

    def keeps(self, commit: str) -> bool:
        """The same, for whoever can't wait: nothing is opened."""
        return commit in list(self._kept.values())

    def tag_object(self, commit: str) -> str:
        """The annotated tag that a commit was fetched by; empty when by none."""
        with self._lock:
            return next((one for one, of in self._kept.items() if of == commit and one != of), "")

    def whole(self, prefix: str) -> str:
        """The commit that is kept whose id begins so; ``prefix`` itself when there is none, or more than one."""
        self._opened()
        found = {one for one in list(self._kept.values()) if one.startswith(prefix)}
        return found.pop() if len(found) == 1 else prefix

    def size(self) -> int:
        """Bytes on the disk."""
        total = 0
        for root, _, names in os.walk(self.folder):
            for name in names:
                with contextlib.suppress(OSError):
                    total += Path(root, name).stat().st_size
        return total

    def local(self) -> Session:
        """git in the mirror, without any transport."""
        return program.local(self.repository, self.url, self.limits, self.running, self._hold())

    @contextlib.contextmanager
    def remote(self) -> Iterator[Session]:
        """git in the mirror, with the server at hand as ``origin``."""
        with program.session(
            self.url, self.credentials, self.limits, self.repository, self.running, self._hold()
        ) as session:
            yield session

    # -- the server ----------------------------------------------------------------------------------------------------

    def listing(self, wanted: Iterable[Ref]) -> dict[str, str]:
        """The server's references that answer for ``wanted``, in one request; none for commits alone."""
        question = refs.question(wanted)
        if question is None:
            return {}
        with program.session(self.url, self.credentials, self.limits, running=self.running) as session:
            return refs.listed(session.git(*refs.words(question, self.url)))

    def fetch(self, targets: Collection[Target], name: str = "", loose: bool = False) -> None:
        """Bring commits here, with their trees; those that are here already cost nothing. Raises GitFailed.

        ``name`` is the full name of the only target's reference, for a server that hands out no single commits. What is
        ``loose`` is given up when there is no room for what isn't, and refused where it finds none (TooLarge).
        """
        with self._lock:
            self._open()
            asked = {one.object for one in targets}
            self._loose = self._loose | (asked - self._kept.keys()) if loose else self._loose - asked
            try:
                self._fetch(targets, name)
                if loose:
                    self._refuse_large(asked)
            except GitFailed as error:
                if not (isinstance(error, MirrorBroken) or _CORRUPT.search(str(error))):
                    raise
                self._suspect = True
                self._open()
                self._fetch(targets, name)

    def _refuse_large(self, asked: Collection[str]) -> None:
        if self.size() <= self.limits.disk:
            return
        self.repack()
        if (size := self.size()) > self.limits.disk:
            self._drop(asked)
            self.repack()
            shown, allowed = ", ".join(sorted(one[:12] for one in asked)), self.limits.disk // MIB
            raise TooLarge(
                f"{self.url}: with {shown} its mirror would have {size // MIB} MiB of {allowed}", passes=False
            )

    def _make_room(self) -> None:
        self.repack()
        if self._loose and self.size() > self.limits.disk:
            self._drop(self._loose)
            self.repack()

    def _fetch(self, targets: Collection[Target], name: str) -> None:
        missing = [one for one in targets if one.object not in self._kept]
        if not missing:
            return
        self._suit(missing[0].object)
        specs = {f"+{one.object}:{KEEP}{one.object}" for one in missing}
        try:
            self._fetched("--depth=1", "--filter=blob:none", specs=sorted(specs))
        except GitFailed as error:
            if not name or len(missing) != 1 or not re.search(_REFUSED, str(error)):
                raise
            self._fetched("--depth=1", "--filter=blob:none", specs=[f"+{name}:{KEEP}{missing[0].object}"])
        for one in missing:
            found = self.objects.size(f"{KEEP}{one.object}^{{commit}}")
            if found is None or found[0] != one.commit:
                self.local().git("update-ref", "-d", f"{KEEP}{one.object}")
                told = "is no commit" if found is None else f"is {found[0][:12]} by now"
                raise GitFailed(f"{self.url}: {one.name or one.object} {told}", passes=found is not None)
            self._kept[one.object] = one.commit

    def _fetched(self, *options: str, specs: list[str], settings: tuple[str, ...] = ()) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < SPARE:
            raise GitFailed(f"{self.url}: {free // MIB} MiB are free on the operator's disk, which is too little", True)
        # Here and not at the end: the fetch that goes over the bound is the last.
        if self.size() > self.limits.disk:
            self._make_room()
            if (size := self.size()) > self.limits.disk:
                allowed = self.limits.disk // MIB
                told = (
                    f"its mirror has {size // MIB} MiB of {allowed}; use fewer or smaller files, or another repository"
                )
                raise GitFailed(f"{self.url}: {told}", passes=False)
        self.fetches += 1
        try:
            with self.remote() as session:
                session.told(
                    "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-gc", *options, "--stdin",
                    "origin",
                    given="".join(f"{spec}\n" for spec in specs).encode(),
                    settings=(f"remote.origin.url={self.url}", *PARTIAL, *settings),
                )  # fmt: skip
        except GitFailed:
            # It may have been killed.
            packs.tidy(self.repository)
            raise

    def fill(self, blobs: Collection[str], commit: str) -> None:
        """Bring the contents of files here that aren't, in one request. Raises GitFailed.

        Whoever comes while the server is being asked waits, and is asked for together with all others that wait.
        """
        missing = set(blobs) - self.objects.sizes(sorted(blobs)).keys()
        if not missing:
            return
        turn = threading.get_ident()
        self._waiting[turn] = missing
        try:
            with self._lock:
                # Another thread may have asked for the same meanwhile.
                missing -= self.objects.sizes(sorted(missing)).keys()
                if missing and not self._fill_for_all(missing):
                    self._fill_alone(sorted(missing), commit)
        finally:
            del self._waiting[turn]

    def _fill_for_all(self, missing: set[str]) -> bool:
        """Whether one request for everybody's brought ``missing``: what one asks for must not fail another."""
        others = set().union(*list(self._waiting.values())) - missing
        more = others - self.objects.sizes(sorted(others)).keys()
        if not more:
            return False
        with contextlib.suppress(GitFailed):
            self._fetched("--filter=blob:none", specs=sorted(missing | more), settings=ONLY_THESE)
        return not missing - self.objects.sizes(sorted(missing)).keys()

    def _fill_alone(self, missing: list[str], commit: str) -> None:
        try:
            self._fetched("--filter=blob:none", specs=missing, settings=ONLY_THESE)
        except GitFailed as error:
            if not re.search(_REFUSED, str(error)):
                raise
        if set(missing) - self.objects.sizes(missing).keys():
            # A server that filters, and hands out no single objects.
            self._fetched("--depth=1", "--refetch", "--no-filter", specs=[f"+{commit}:{KEEP}{commit}"])

    # -- keeping house -------------------------------------------------------------------------------------------------

    def prune(self, commits: Collection[str]) -> None:
        """Let go of all but ``commits``; space is given back when there is much of it."""
        with self._lock:
            self._open()
            self._drop([one for one, commit in self._kept.items() if commit not in commits])
            if packs.number(self.repository) > PACKS or self.size() > self.limits.disk // 2:
                self.repack()

    def _drop(self, names: Collection[str]) -> None:
        gone = [one for one in names if one in self._kept]
        if gone:
            lines = "".join(f"delete {KEEP}{one}\n" for one in gone)
            self.local().git("update-ref", "--stdin", given=lines.encode())
            for one in gone:
                del self._kept[one]
        self._loose = self._loose & self._kept.keys()

    def repack(self) -> None:
        """One pack of what is kept, in place of all others."""
        with self._lock:
            packs.repack(self.repository, self.local(), self._kept)
            self.rest()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While nobody else writes to it."""
        with self._lock:
            self._open()
            yield

    def firm(self, commit: str) -> None:
        """A commit that is kept isn't loose any more."""
        with self._lock:
            self._loose.discard(commit)

    def hold(self, commit: str) -> None:
        """Keep a commit that was made here."""
        with self._lock:
            self.local().git("update-ref", f"{KEEP}{commit}", commit)
            self._kept[commit] = commit

    def used(self) -> None:
        """Somebody needs the mirror: it isn't swept away for a while."""
        with contextlib.suppress(OSError):
            os.utime(self.folder / "lock")

    def rest(self, unused: float = 0.0) -> None:
        """End the process that reads, if it wasn't used for so many seconds; nothing is forgotten."""
        if self._objects is not None:
            self._objects.rest(unused)
        for module in list(self.modules.values()):
            module.rest(unused)

    def close(self) -> None:
        """Let go of the folder."""
        with self._lock:
            self.rest()
            if self._held is not None:
                os.close(self._held)
            self._held, self._objects = None, None
            for module in self.modules.values():
                module.close()

    def put_away(self) -> None:
        """Let go of the folder, which stays: from now on nobody uses it."""
        self.used()
        self.close()

    def remove(self) -> None:
        """Take it from the disk."""
        with self._lock:
            self.rest()
            shutil.rmtree(self.folder, ignore_errors=True)
            self.close()

    def suspect(self) -> None:
        """It couldn't be read: the next who fetches makes it anew."""
        self._suspect = True

    # -- opening; with the lock held ---------------------------------------------------------------------------------

    def _hold(self) -> tuple[int, ...]:
        return () if self._held is None else (self._held,)

    def _open(self) -> None:
        if self._objects is not None and not self._suspect:
            return
        self.rest()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._held is None:
            self._held = locked(self.folder / "lock")
        if self._held is None:
            raise GitFailed(f"{self.url}: another process is at work in its mirror", passes=True)
        if self._suspect or not self._usable():
            self._make()
        packs.tidy(self.repository)
        self._suspect = False
        self._objects = Objects(self.local(), self.suspect)
        self._kept = self._read_kept()

    def _usable(self) -> bool:
        try:
            self.local().git("rev-parse", "--git-dir")
            return (self.repository / "HEAD").exists()
        except (GitFailed, OSError):
            return False

    def _make(self, *options: str) -> None:
        # Whole or not at all: a half-made repository would look like one.
        shutil.rmtree(self.repository, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            session = program.local(Path(scratch), self.url, self.limits, self.running, self._hold())
            session.git("init", "--quiet", "--bare", "--initial-branch=none", "--template=", *options, "new")
            Path(scratch, "new").replace(self.repository)

    def _suit(self, name: str) -> None:
        """A repository of SHA-256 names can be mirrored by another of these only."""
        if ("objectformat = sha256" in (self.repository / "config").read_text()) != (len(name) == 64):
            self._make(*object_format(name))
            self._objects, self._kept = Objects(self.local(), self.suspect), {}

    def _read_kept(self) -> dict[str, str]:
        shape = "%(objectname) %(*objectname)"
        out = self.local().git("for-each-ref", f"--format={shape}", KEEP).decode()
        lines = (line.split() for line in out.splitlines())
        return {line[0]: line[-1] for line in lines if line}


def object_format(commit: str) -> list[str]:
    """The option of ``git init`` for names as long as this."""
    return ["--object-format=sha256"] if len(commit) == 64 else []


def locked(path: Path) -> int | None:
    """An open file that holds a lock as long as it, or a process that inherited it, lives; None when another does."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle
