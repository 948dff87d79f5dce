"""What setting a repository up has in common, whichever forge it is on."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

from homeport.drivers.forge.errors import ForgeFailed
from homeport.drivers.forge.http import PER_PAGE, Http

T = TypeVar("T")
Spec = dict[str, Any]
"""What is wanted of a part, or what is there: the same keys on all forges, in JSON's types."""

TRIES = 6
PATIENCE = 120.0
"""Seconds that are waited at most for a forge that asks for patience."""

HINTS = {
    401: "the token isn't good; put a new one where repository.token says",
    403: "the token may not do that; give it the rights that docs/pipelines.md lists",
    404: "there is no such thing, or the token may not see it; check repository.url, owner and name",
}
"""What to do about an answer, in the words of pipeline.yaml."""


class Part(Protocol):
    """One sort of thing that a repository has. Raises ``ForgeFailed``."""

    async def observe(self, key: str) -> Spec | None:
        """What is there; None when nothing is."""
        ...

    async def put(self, key: str, spec: Spec, value: str, found: Spec | None) -> None:
        """Make it so. ``value`` is what is secret of it; ``found`` what ``observe`` said just now."""
        ...

    async def remove(self, key: str) -> None:
        """Take it away; well when it is gone."""
        ...


class Owned:
    """A part of a repository, below its address ``base``."""

    size = "per_page"
    """The forge's name for how much a page has."""
    method = "PUT"
    """By what one in a list is changed."""

    def __init__(self, http: Http, repository: str, base: str) -> None:
        self.http = http
        self.full_name = repository
        self.owner, _, self.name = repository.rpartition("/")
        self.base = base

    async def all(self, path: str, **query: Any) -> list[Any]:
        """A list whole; empty when there is none."""
        pages = self.http.pages(f"{self.base}{path}", {self.size: PER_PAGE, **query}, accept=(404,))
        return [item async for item in pages]

    def one(self, path: str, there: Any) -> str:
        """The address of one that was found in the list at ``path``."""
        return f"{self.base}{path}/{there['id']}"

    async def write(self, path: str, there: Any, body: Spec, first: Mapping[str, Any] | None = None) -> None:
        """Change the one that was found in the list at ``path``; make it, with ``first``, when none was (None)."""
        if there is None:
            await self.http.send("POST", f"{self.base}{path}", {**(first or {}), **body})
        else:
            await self.http.send(self.method, self.one(path, there), body)

    async def drop(self, path: str, there: Any) -> None:
        """Take away the one that was found in the list at ``path``, if one was."""
        if there is not None:
            await self.http.send("DELETE", self.one(path, there), accept=(404,))


class Setup(Protocol):
    """One repository, as it is set up."""

    http: Http
    parts: Mapping[str, Part]
    """repository, protection, environment, secret, variable, webhook, label, collaborator. The key is the branch, the
    webhook's address or the name; of an environment's secrets and variables ``ENVIRONMENT/NAME``."""

    async def commits(self, branch: str) -> int:
        """How many commits a branch has: 0, 1 or 2 for more."""
        ...

    async def tree(self, branch: str) -> dict[str, str] | None:
        """The branch's files: path -> blob id. None when there is no such branch."""
        ...

    async def commit(self, branch: str, base: str, message: str, changes: Mapping[str, str | None]) -> None:
        """One commit on a branch; the branch is made at ``base`` unless that is empty. None removes a file."""
        ...


def mark(repository: str) -> str:
    """The topic of a repository that Homeport made (``owner/name``), as all forges take one: at most 35 characters.

    Nobody writes it by chance, and one that comes along with another repository's topics (a template's) says nothing.
    """
    return "made-by-homeport-" + hashlib.sha256(repository.lower().encode()).hexdigest()[:12]


def begun(repository: str) -> str:
    """The description of one until it has the topic: GitHub and Gitea take no topic when they make a repository."""
    return f"Homeport is setting this repository up ({mark(repository)})"


def blob_id(text: str) -> str:
    """Git's id of a file's content."""
    data = text.encode()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def split(key: str) -> tuple[str, str]:
    """The environment (empty: the repository's own) and the name in a secret's or variable's key."""
    environment, _, name = key.rpartition("/")
    return environment, name


def differing(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """The keys of ``wanted`` that aren't so. The order of lists says nothing."""
    return [key for key, value in wanted.items() if _sorted(value) != _sorted(found.get(key))]


def _sorted(value: Any) -> Any:
    return sorted(value, key=str) if isinstance(value, list | tuple) else value


async def patient(work: Callable[[], Awaitable[T]], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> T:
    """Do ``work``, and again when it failed for what passes. It must find what an earlier try has done."""
    waited = 0.0
    for turn in range(TRIES):
        try:
            return await work()
        except ForgeFailed as error:
            wait = max(error.after, 0.5 * 2**turn)
            if not error.passes or turn == TRIES - 1 or waited + wait > PATIENCE:
                raise
            waited += wait
            await sleep(wait)
    raise AssertionError("unreachable")
