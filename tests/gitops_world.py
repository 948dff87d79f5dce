"""A repository in memory beside a cluster in memory: GitSources without Git, without threads and without chance.

What is played is the mirror alone: building, planning and applying are the operator's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from homeport.api.conditions import Reason
from homeport.api.labels import API_VERSION, OwnerKey
from homeport.drivers.kubernetes import types
from homeport.engine.engine import Engine
from homeport.engine.gitops.assembling import Assembler
from homeport.engine.gitops.building import _problem
from homeport.engine.gitops.mirrors import Found, Want
from homeport.engine.queue import CHILD
from homeport.outcome import Outcome, Stalled, Transient, Wait
from homeport.plan.gitops.build import BuildSpec, Built
from homeport.plan.gitops.checkout import FILE, Checkout, Entry
from memory_world import OURS, Killed, Running, World

URL = "https://git.example.com/team/fleet.git"
Files = Mapping[str, str]


def blob_of(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Commit:
    """A checkout of files in memory."""

    def __init__(self, files: Files) -> None:
        self.files = dict(files)
        self.commit = self.digest("")

    def digest(self, folder: str) -> str:
        return blob_of(repr(sorted(self.listing(folder).items()))) if self.listing(folder) else ""

    def listing(self, folder: str) -> dict[str, Entry]:
        start = f"{folder}/" if folder else ""
        return {
            path: Entry(FILE, len(text), blob_of(text)) for path, text in self.files.items() if path.startswith(start)
        }

    def read(self, paths: Collection[str]) -> dict[str, bytes]:
        return {path: self.files[path].encode() for path in paths}


class Repository:
    """What outlives the operator: commits, where the branch is, and whether anybody can be reached."""

    def __init__(self) -> None:
        self.commits: dict[str, Commit] = {}
        self.head = ""
        self.down = False
        self.listeners: list[Callable[[], None]] = []

    def push(self, files: Files) -> str:
        """Make the branch hold exactly these files; the commit."""
        commit = Commit(files)
        self.commits[commit.commit] = commit
        self.head = commit.commit
        self.tell()
        return commit.commit

    def tell(self) -> None:
        """As a poll that finds something new, or finds nobody."""
        for listener in self.listeners:
            listener()


class PlayedMirrors:
    """Mirrors that know of every push at once. ``wants`` is what was asked for, by source."""

    def __init__(self, repository: Repository, engine: Engine) -> None:
        self._repository = repository
        self._engine = engine
        self.wants: dict[OwnerKey, Want] = {}
        self.pokes: list[OwnerKey] = []
        self.pulls: dict[OwnerKey, set[str]] = {}
        repository.listeners.append(self._told)

    def _told(self) -> None:
        for key in self.wants:
            self._engine.context.enqueue(key, CHILD)

    def want(self, key: OwnerKey, want: Want) -> Found:
        self.wants[key] = want
        found = self._repository
        problem = Transient(Reason.FETCH_FAILED, f"{want.url}: nobody answers") if found.down else None
        if not found.head:
            return Found(problem=problem or Wait(Reason.PROGRESSING, f"fetching {want.url}"))
        at = self._engine.context.now().timestamp()
        return Found(found.head, want.ref.branch, found.commits[found.head], problem, at)

    def at(self, key: OwnerKey, commit: str, ref: str = "", pull: bool = False) -> Checkout | Outcome:
        known = self._repository.commits.get(commit)
        return known or Stalled(Reason.FETCH_FAILED, f"there is no commit {commit}")

    def heads(self, key: OwnerKey, commits: Collection[str]) -> None:
        self.pulls[key] = set(commits)

    def poke(self, key: OwnerKey) -> None:
        self.pokes.append(key)

    def forget(self, key: OwnerKey) -> None:
        self.wants.pop(key, None)

    rest = forget

    async def stop(self) -> None:
        self._repository.listeners.clear()


class Builds:
    """The operator's own builds, done at once."""

    def __init__(self) -> None:
        self._assembler = Assembler()

    def built(self, key: OwnerKey, checkout: Checkout, spec: BuildSpec) -> Built | Outcome | None:
        try:
            return self._assembler.build(checkout, spec).built
        except Exception as error:
            return _problem(error)

    def forget(self, key: OwnerKey) -> None: ...

    async def stop(self) -> None:
        self._assembler.stop()


class GitRunning(Running):
    """An operator that reads the played repository."""

    def __init__(self, world: GitWorld) -> None:
        super().__init__(world)
        hub: Any = self.engine.context.gitops
        hub.mirrors = self.mirrors = PlayedMirrors(world.repository, self.engine)
        hub.builder = Builds()

    async def step(self) -> bool:
        try:
            return await super().step()
        except BaseExceptionGroup as group:
            # Objects are written side by side: each of those tasks dies of it.
            if group.subgroup(Killed) is None:
                raise
            raise Killed from group

    async def stop(self) -> None:
        await super().stop()
        await self.engine.context.gitops.stop()


class GitWorld(World):
    """A cluster and a repository."""

    def __init__(self) -> None:
        super().__init__()
        self.ours = (*OURS, types.GIT_SOURCE)
        self.repository = Repository()

    def clone(self) -> GitWorld:
        other = GitWorld()
        other.ours, other.played = self.ours, dict(self.played)
        self._copy_to(other)
        other.repository.commits = dict(self.repository.commits)
        other.repository.head, other.repository.down = self.repository.head, self.repository.down
        return other

    async def operator(self) -> GitRunning:
        running = GitRunning(self)
        await running.start()
        return running

    def source(self, name: str = "fleet") -> dict[str, Any]:
        return self.get(types.GIT_SOURCE, "shop", name)

    def status(self, name: str = "fleet") -> dict[str, Any]:
        found: dict[str, Any] = self.source(name).get("status") or {}
        return found

    def inventory(self, name: str = "fleet") -> list[str]:
        return [entry["id"] for entry in (self.status(name).get("inventory") or {}).get("entries") or ()]


def namespace(name: str = "shop") -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def source(name: str = "fleet", annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "annotations": annotations or {}}
    return {
        "apiVersion": API_VERSION,
        "kind": "GitSource",
        "metadata": metadata,
        "spec": {"url": URL, "ref": {"branch": "main"}, **spec},
    }


def config(name: str, **data: str) -> str:
    """A ConfigMap as a file."""
    lines = "".join(f"  {key}: {value!r}\n" for key, value in data.items())
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n{lines or '  {}'}"
