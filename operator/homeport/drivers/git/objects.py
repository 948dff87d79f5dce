"""Git's objects, read from a repository of ours by one ``git cat-file`` that stays; trees are taken apart here."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

from homeport.drivers.git.program import Session, kill
from homeport.drivers.git.types import GitFailed, MirrorBroken
from homeport.plan.gitops.checkout import SUBMODULE

TREE = "40000"
KEPT_ENTRIES = 100_000
"""Entries of trees that are remembered; those of one commit after another are mostly the same."""
TREE_BYTES = 8 * 1024 * 1024
"""Of one tree: about 100 000 names in one folder."""


@dataclass(frozen=True, slots=True)
class Child:
    """What a tree holds under one name."""

    mode: str
    id: str

    @property
    def is_tree(self) -> bool:
        """Whether it is a folder."""
        return self.mode == TREE


def children(data: bytes, id_bytes: int) -> Iterator[tuple[bytes, Child]]:
    """(name, what it is) of everything in a tree. Raises ValueError.

    Source: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects ("Tree Objects"): ``mode SP name NUL id``.
    """
    place = 0
    while place < len(data):
        space = data.index(b" ", place)
        end = data.index(b"\0", space)
        mode = data[place:space].decode("ascii").lstrip("0")
        if end + 1 + id_bytes > len(data):
            raise ValueError("the last id breaks off")
        yield data[space + 1 : end], Child(mode, data[end + 1 : end + 1 + id_bytes].hex())
        place = end + 1 + id_bytes


def wrong_name(name: bytes) -> str:
    """What is wrong with a name in a tree; git itself makes none of these: whoever makes them is up to something."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return "isn't UTF-8"
    if text in ("", ".", "..") or text.lower() == ".git":
        return "is none that a file can have"
    if "/" in text or "\\" in text:
        return "holds a slash"
    return "holds a control character" if any(ord(char) < 32 or ord(char) == 127 for char in text) else ""


class Objects:
    """Reads objects; whatever isn't in the repository is missing, and never fetched. Threads may share it."""

    def __init__(self, session: Session, broken: Callable[[], None] = lambda: None) -> None:
        self._session = session
        self._broken = broken
        """Told when what must be here can't be read."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._used = 0.0
        self._trees: OrderedDict[str, dict[str, Child]] = OrderedDict()
        self._entries = 0

    def size(self, name: str) -> tuple[str, str, int] | None:
        """(id, type, bytes) of an object by any name that git knows; None when it isn't here."""
        with self._lock:
            return self._head(f"info {name}")

    def sizes(self, ids: list[str]) -> dict[str, int]:
        """The sizes of the objects that are here, in bytes."""
        with self._lock:
            heads = {one: self._head(f"info {one}") for one in ids}
        return {one: head[2] for one, head in heads.items() if head is not None}

    def content(self, name: str, limit: int) -> bytes:
        """An object's content. Raises GitFailed when it isn't here, or has more than ``limit`` bytes."""
        with self._lock:
            head = self._head(f"info {name}")
            if head is None:
                raise self._lost()
            if head[2] > limit:
                raise GitFailed(f"{self._session.url}: object {name} has {head[2]} bytes; {limit} are allowed", False)
            self._head(f"contents {name}")
            return self._exactly(head[2] + 1)[:-1]

    def tree(self, name: str) -> dict[str, Child]:
        """What a tree holds. Raises GitFailed, also for names that no file can have."""
        known = self._trees.get(name)
        if known is not None:
            return known
        data = self.content(name, TREE_BYTES)
        try:
            found = self._taken_apart(name, data)
        except ValueError:
            raise GitFailed(f"{self._session.url}: tree {name[:12]} can't be read", passes=False) from None
        self._trees[name] = found
        self._entries += len(found)
        while self._entries > KEPT_ENTRIES and len(self._trees) > 1:
            with contextlib.suppress(KeyError):
                self._entries -= len(self._trees.popitem(last=False)[1])
        return found

    def _taken_apart(self, tree: str, data: bytes) -> dict[str, Child]:
        found: dict[str, Child] = {}
        for raw, child in children(data, len(tree) // 2):
            wrong = wrong_name(raw) or ("is there twice" if raw.decode() in found else "")
            if wrong:
                shown = raw[:64].decode(errors="replace").encode("unicode_escape").decode()
                raise GitFailed(f"{self._session.url}: the name {shown!r} in tree {tree[:12]} {wrong}", passes=False)
            found[raw.decode()] = child
        return found

    def walk(self, tree: str, path: str, limit: int) -> Iterator[tuple[str, Child]]:
        """All files below a tree, by their whole paths. Raises GitFailed for more than ``limit``."""
        todo, count = [(tree, path)], 0
        while todo:
            one, folder = todo.pop()
            for name, child in self.tree(one).items():
                inner = f"{folder}/{name}" if folder else name
                count += 1
                if count > limit or inner.count("/") > 64:
                    what = f"more than {limit} files and folders" if count > limit else "folders 64 deep"
                    raise GitFailed(
                        f"{self._session.url}: {path or 'the root'} holds {what}; name a smaller folder", passes=False
                    )
                if child.is_tree:
                    todo.append((child.id, inner))
                else:
                    yield inner, child

    def find(self, tree: str, path: str) -> Child | None:
        """What is at a path below a tree; None for nothing. A path that goes on in a submodule ends there."""
        child = Child(TREE, tree)
        for part in path.split("/") if path else ():
            found = self.tree(child.id).get(part) if child.is_tree else None
            if found is None:
                return None
            child = found
            if child.mode == SUBMODULE:
                break
        return child

    def rest(self, unused: float = 0.0) -> None:
        """End the process, if it wasn't used for so many seconds; the next reading starts one.

        With ``unused`` it never waits for whoever is reading.
        """
        if self._process is None or time.monotonic() - self._used < unused:
            return
        if self._lock.acquire(blocking=not unused):
            try:
                self._end()
            finally:
                self._lock.release()

    # -- the process; with the lock held --------------------------------------------------------------------------

    def _head(self, request: str) -> tuple[str, str, int] | None:
        out = self._ask(request)
        words = out.readline().split()
        if len(words) == 3:
            return words[0].decode(), words[1].decode(), int(words[2])
        if words and words[-1] in (b"missing", b"ambiguous"):
            return None
        raise self._lost()

    def _lost(self) -> MirrorBroken:
        self._end()
        self._broken()
        return MirrorBroken(self._session.url)

    def _ask(self, request: str) -> IO[bytes]:
        if "\n" in request:
            raise GitFailed(f"{self._session.url}: no name holds a line's end", passes=False)
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._process = subprocess.Popen(
                self._session.command("cat-file", "--batch-command"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=self._session.folder,
                env=dict(self._session.environment),
                start_new_session=True,
                pass_fds=self._session.held,
            )
            self._session.running.add(self._process)
        pipe, out = self._process.stdin, self._process.stdout
        assert pipe is not None
        assert out is not None
        self._used = time.monotonic()
        with contextlib.suppress(BrokenPipeError):
            pipe.write(f"{request}\n".encode())
            pipe.flush()
        return out

    def _exactly(self, count: int) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        data = self._process.stdout.read(count)
        if len(data) != count:
            raise self._lost()
        return data

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        kill(process)
        process.wait()
        self._session.running.remove(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
