"""A registry, a repository and a forge in memory beside a cluster in memory: ImageUpdates without a network or chance.

Played are the registry's answers, the mirror and the forge; policies, markers, and what is done when are the operator's
own. ``Outside`` counts what is done to the repository and the forge, and can end the operator before or after each.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from typing import Any

from gitops_world import URL, blob_of
from gitops_world import Commit as Files
from homeport.api.conditions import Reason
from homeport.api.labels import API_VERSION, OwnerKey
from homeport.drivers.git import GitFailed
from homeport.drivers.kubernetes import types
from homeport.drivers.oci.errors import Unavailable
from homeport.drivers.oci.tags import Listed
from homeport.engine.engine import Engine
from homeport.engine.gitops.mirrors import Found, Want
from homeport.engine.queue import CHILD
from homeport.outcome import Outcome, Stalled
from homeport.plan.gitops.checkout import Checkout
from homeport.plan.gitops.pulls import Pull
from memory_world import OURS, Running, World

DOMAIN = "registry.example.com/team"


class Inline(Executor):
    """Work that is done at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        out: Future[Any] = Future()
        try:
            out.set_result(fn(*args, **kwargs))
        except BaseException as error:
            out.set_exception(error)
        return out


class Commit(Files):
    """Files, and what they were made on top of."""

    def __init__(self, files: Mapping[str, str], parent: str, about: str) -> None:
        super().__init__(files)
        self.parent = parent
        self.about = about
        self.commit = hashlib.sha1(f"{blob_of(repr(self.files))}{parent}{about}".encode()).hexdigest()


@dataclass
class Repository:
    """What outlives the operator: branches, pull requests, the registry's tags."""

    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    pulls: list[Pull] = field(default_factory=list)
    tags: dict[str, list[str]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    polls: list[str] = field(default_factory=list)
    refuses: str = ""
    """Why nothing may be pushed."""
    down: set[str] = field(default_factory=set)
    """Images whose registry gives no answer."""

    def commit(self, files: Mapping[str, str], branch: str = "main", about: str = "a person") -> str:
        parent = self.branches.get(branch, "")
        made = Commit({**(self.commits[parent].files if parent else {}), **files}, parent, about)
        self.commits[made.commit], self.branches[branch] = made, made.commit
        return made.commit

    def history(self, branch: str = "main") -> list[str]:
        out, at = [], self.branches.get(branch, "")
        while at:
            out.append(at)
            at = self.commits[at].parent
        return out

    def content(self, path: str, branch: str = "main") -> str:
        return self.commits[self.branches[branch]].files[path]

    def clone(self) -> Repository:
        return Repository(
            dict(self.commits), dict(self.branches), list(self.pulls), {k: list(v) for k, v in self.tags.items()},
            dict(self.digests), [], self.refuses, set(self.down),
        )  # fmt: skip


class Outside:
    """What one operator does outside of the cluster; ``kill_at`` ends it before or after one of these."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self.done: list[str] = []
        self.kill_at: tuple[int, bool] | None = None

    async def act(self, what: str, work: Callable[[], Any]) -> Any:
        number = len(self.done)
        self.done.append(what)
        if self.kill_at == (number, False):
            await self._die()
        answer = work()
        if self.kill_at == (number, True):
            await self._die()
        return answer

    async def _die(self) -> None:
        """The process is gone: this never goes on, and nothing more is written."""
        gate = self._running.gate
        gate.kill_at = (len(gate.writes), False)
        await asyncio.Event().wait()


class PlayedMirrors:
    """Mirrors that know of every push at once."""

    def __init__(self, repository: Repository, outside: Outside, engine: Engine) -> None:
        self._repository = repository
        self._outside = outside
        self._engine = engine
        self.wants: dict[OwnerKey, Want] = {}

    def want(self, key: OwnerKey, want: Want) -> Found:
        self.wants[key] = want
        branch = want.ref.branch
        head = self._repository.branches.get(branch)
        if head is None:
            return Found(problem=Stalled(Reason.FETCH_FAILED, f"{want.url} has no branch {branch}"))
        at = self._engine.context.now().timestamp() + 1.0
        return Found(head, branch, self._repository.commits[head], None, at)

    def at(self, key: OwnerKey, commit: str, ref: str = "") -> Checkout | Outcome:
        if any(commit in self._repository.history(name) for name in self._repository.branches):
            return self._repository.commits[commit]
        return Stalled(Reason.FETCH_FAILED, f"there is no commit {commit}")

    def poke(self, key: OwnerKey) -> None:
        self._engine.context.enqueue(key, CHILD)

    def forget(self, key: OwnerKey) -> None:
        self.wants.pop(key, None)

    rest = forget

    def heads(self, key: OwnerKey, commits: Collection[str]) -> None: ...

    async def commit(
        self,
        key: OwnerKey,
        base: str,
        branch: str,
        files: Mapping[str, bytes | None],
        message: str,
        author: str,
        when: int,
        announce: Callable[[str], Awaitable[None]],
    ) -> str:
        repository = self._repository
        text = {path: content.decode() for path, content in files.items() if content is not None}
        made = Commit({**repository.commits[base].files, **text}, base, f"{author} {when} {message}")
        await announce(made.commit)

        def push() -> None:
            if repository.refuses:
                raise GitFailed(repository.refuses, passes=False)
            head = repository.branches.get(branch)
            if head not in (None, base, made.commit) and head not in _line(repository, base):
                raise GitFailed(f"branch {branch} has moved on meanwhile", passes=True)
            repository.commits[made.commit], repository.branches[branch] = made, made.commit

        await self._outside.act(f"push to {branch}", push)
        self.poke(key)
        return made.commit

    async def stop(self) -> None: ...


def _line(repository: Repository, commit: str) -> list[str]:
    out = []
    while commit:
        out.append(commit)
        commit = repository.commits[commit].parent
    return out


class PlayedForge:
    """A forge with one repository."""

    def __init__(self, repository: Repository, outside: Outside) -> None:
        self._repository = repository
        self._outside = outside

    async def pulls(self, base: str) -> list[Pull]:
        heads = self._repository.branches
        return [
            Pull(**{**pull.__dict__, "head": heads[pull.branch]})
            for pull in self._repository.pulls
            if pull.base == base
        ]

    async def open(self, branch: str, base: str, title: str, text: str) -> Pull:
        def make() -> Pull:
            number = len(self._repository.pulls) + 1
            made = Pull(
                number, title, "robot", self._repository.branches[branch], f"refs/pull/{number}/head", base, False,
                branch=branch, url=f"https://git.example.com/team/fleet/pulls/{number}",
            )  # fmt: skip
            assert all(pull.branch != branch for pull in self._repository.pulls), "there are two"
            self._repository.pulls.append(made)
            return made

        return await self._outside.act("open a pull request", make)  # type: ignore[no-any-return]

    async def describe(self, pull: int, title: str, text: str) -> None:
        def change() -> None:
            pulls = self._repository.pulls
            at = next(number for number, one in enumerate(pulls) if one.number == pull)
            pulls[at] = replace(pulls[at], title=title)

        await self._outside.act("describe the pull request", change)

    async def close(self) -> None: ...


class UpdateRunning(Running):
    """An operator in this world."""

    def __init__(self, world: UpdateWorld) -> None:
        super().__init__(world)
        self.repository = world.repository
        self.outside = Outside(self)
        hub: Any = self.engine.context.gitops
        hub.mirrors = hub.updates._mirrors = PlayedMirrors(world.repository, self.outside, self.engine)
        hub.updates._threads = Inline()
        hub.updates._epoch = lambda: world.clock.now().timestamp()
        hub.updates._connect = lambda *_: PlayedForge(world.repository, self.outside)
        hub.registries.list_tags, hub.registries.digest_of = self._tags, self._digest
        hub.registries._chance = lambda: 0.5

    async def _tags(self, registry: Any, reference: Any, before: Any = None) -> Listed:
        name = reference.repository.rpartition("/")[2]
        self.repository.polls.append(name)
        if name in self.repository.down:
            raise Unavailable(f"{reference}: registry {reference.registry} gives no answer")
        return Listed(tuple(self.repository.tags.get(name, ())))

    async def _digest(self, registry: Any, reference: Any) -> str:
        return self.repository.digests[f"{reference.repository.rpartition('/')[2]}:{reference.tag}"]

    async def stop(self) -> None:
        hub = self.engine.context.gitops
        await hub.updates.stop()
        await hub.registries.stop()
        await super().stop()


class UpdateWorld(World):
    """The cluster, the repository, the forge and the registry."""

    def __init__(self) -> None:
        super().__init__()
        self.ours = (*OURS, types.GIT_SOURCE, types.IMAGE_UPDATE)
        self.repository = Repository()

    def clone(self) -> UpdateWorld:
        other = UpdateWorld()
        self._copy_to(other)
        other.repository = self.repository.clone()
        return other

    async def operator(self) -> UpdateRunning:
        running = UpdateRunning(self)
        await running.start()
        return running

    def status(self, name: str = "images") -> dict[str, Any]:
        return dict(self.get(types.IMAGE_UPDATE, "shop", name).get("status") or {})

    def ready(self, name: str = "images") -> tuple[str, str, str]:
        found = self.condition(types.IMAGE_UPDATE, "shop", name)
        return found["status"], found["reason"], found["message"]


def documents(pull_request: bool = False, **images: Any) -> list[dict[str, Any]]:
    """A source that is suspended, and an ImageUpdate for images by their names."""
    forge = {"provider": "Gitea", "tokenSecretRef": {"name": "forge", "key": "token"}}
    pulls = {"enabled": False, "forge": forge, "environment": {"templateRef": {"name": "preview"}}}
    spec = {"url": URL, "ref": {"branch": "main"}, "suspend": True, **({"pullRequests": pulls} if pull_request else {})}
    entries = [
        {"name": name, "image": f"{DOMAIN}/{name}", "policy": {"semver": {"range": "1.x"}}, **more}
        for name, more in images.items()
    ]
    made = {"sourceRef": {"name": "fleet"}, "images": entries, "git": {"pullRequest": {}} if pull_request else {}}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "forge", "namespace": "shop"},
        "data": {"token": "dG9rZW4="},
    }
    return [
        secret,
        _ours("Project", "shop", {}),
        _ours("GitSource", "fleet", spec),
        _ours("ImageUpdate", "images", made),
    ]


def _ours(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "spec": spec}
