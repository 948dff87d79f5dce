"""The catalog's items that are objects in the cluster: a project's own, and those of the operator's namespace.

Items that are written out are proven whenever they are asked for and not known yet, so nobody waits for anybody. Items
in Git are read when they are reconciled, and each ``interval`` after that; what was read last stays in use while Git
can't be reached.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar

from homeport.api.catalog import CatalogItemSpec, ItemGit
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.api.resource import InvalidSpec, Resource
from homeport.drivers import catalog as driver
from homeport.drivers.git import Credentials, Git, GitFailed, Ref
from homeport.engine.store import Store
from homeport.outcome import Ok, Outcome, Stalled, Transient, Wait
from homeport.plan import catalogitem, items
from homeport.plan.catalog import Entry, Raw, Request
from homeport.plan.catalogitem import Offer
from homeport.plan.names import seconds

T = TypeVar("T")
KIND = "CatalogItem"
SYSTEM = "homeport-system"
"""The operator's own namespace: what is in it is every project's."""
READERS = 4
"""Repositories that are read at a time."""
THREADS = 2 * READERS
"""Of items' own: however slow they are, all else has its threads."""
PROOF_SECONDS = 30.0
"""For all versions of an item together."""


class Proves(Protocol):
    """The worker process, as far as items need it; blocks."""

    def render(self, request: Request) -> list[Raw]:
        """Raises ``RenderFailed``, ``InvalidSpec``."""
        ...

    def check(self, schema: Mapping[str, Any]) -> str:
        """What is wrong with a schema."""
        ...

    def compile(self, templates: Mapping[str, str]) -> str:
        """What is wrong with templates."""
        ...


class CatalogItems:
    """What CatalogItems offer, proven once per change."""

    def __init__(
        self,
        store: Store,
        renderer: Proves,
        system: str = SYSTEM,
        git: Git | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._renderer = renderer
        self.system = system
        self._git = git or Git()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="items")
        self._offers: dict[OwnerKey, Offer] = {}
        self._readers = asyncio.Semaphore(READERS)
        self._clock = clock
        self._read_at: dict[OwnerKey, tuple[tuple[Any, ...], float]] = {}
        """When an item was last read from Git, and as what."""

    def find(self, namespace: str, name: str) -> tuple[Entry | Outcome | None, str]:
        """The item that ``name`` means in a project: its entry, why it can't be used, or None when there is none; and
        whether it is the Project's or Shared.

        The project's own come before those of the operator's namespace. May block on the worker process.
        """
        for home in dict.fromkeys((namespace, self.system)):
            resource, error = self._store.look(OwnerKey(KIND, home, name))
            if resource is not None:
                return self._found(resource, error), "Project" if home == namespace else "Shared"
        return None, ""

    def _found(self, resource: Resource[CatalogItemSpec], error: InvalidSpec | None) -> Entry | Outcome:
        key = resource.key
        if error is not None:
            return Stalled(Reason.INVALID_SPEC, _cant(key, str(error)))
        offer = self._known(resource)
        if offer is None:
            return Wait(Reason.DEPENDENCY_NOT_READY, f"{_shown(key)} hasn't been read from Git yet")
        if offer.entry is not None:
            return offer.entry
        return replace(offer.outcome, message=_cant(key, offer.outcome.message))

    async def aside(self, work: Callable[..., T], *args: Any) -> T:
        """What blocks on items, in a thread of their own."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *args))

    def has(self, namespace: str, name: str) -> bool:
        """Whether an object of that name is there, whatever it is worth."""
        return any(self._store.body(OwnerKey(KIND, home, name)) is not None for home in (namespace, self.system))

    def names(self, namespace: str) -> Iterator[str]:
        """The names of all items that a project can use."""
        for home in dict.fromkeys((namespace, self.system)):
            yield from (key.name for key in self._store.keys(KIND, home))

    def users(self, key: OwnerKey) -> list[OwnerKey]:
        """The Applications that name the item, of its project or (the operator's namespace) of every one."""
        where = None if key.namespace == self.system else key.namespace
        return [app for app in self._store.keys("Application", where) if names_item(self._store.body(app), key.name)]

    def last(self, resource: Resource[CatalogItemSpec]) -> Offer | None:
        """What is in use of the item, whatever generation it was read for."""
        offer = self._offers.get(resource.key)
        return offer if offer is not None and offer.uid == resource.uid else None

    def forget(self, key: OwnerKey) -> None:
        """Let go of an item that is gone."""
        self._offers.pop(key, None)
        self._read_at.pop(key, None)

    def _known(self, resource: Resource[CatalogItemSpec]) -> Offer | None:
        last = self.last(resource)
        if resource.spec.git is not None or (last is not None and resource.suspended):
            return last
        if last is not None and last.generation == resource.generation:
            return last
        return self.written_out(resource)

    def written_out(self, resource: Resource[CatalogItemSpec]) -> Offer:
        """Prove an item that is written out, unless that is known. Blocks."""
        last = self.last(resource)
        if last is not None and last.generation == resource.generation and not last.commit:
            return last
        offer = Offer(resource.uid, resource.generation)
        try:
            entry = items.from_spec(resource.name, resource.spec, _shown(resource.key), self._renderer.check)
            self._prove(entry)
            offer = replace(offer, entry=entry, outcome=_well(entry))
        except (InvalidSpec, driver.RenderFailed) as error:
            offer = replace(offer, outcome=Stalled(Reason.INVALID_SPEC, str(error)))
        except driver.WorkerLost as error:
            return replace(offer, outcome=Transient(Reason.PROGRESSING_WITH_RETRY, str(error)))
        self._offers[resource.key] = offer
        return offer

    def _prove(self, entry: Entry) -> None:
        until = self._clock() + PROOF_SECONDS
        wrong = self._renderer.compile(entry.templates)
        if wrong:
            raise InvalidSpec([wrong])
        for version in entry.item.versions:
            if self._clock() > until:
                raise driver.WorkerLost(
                    f"proving version {version.name} ends after {PROOF_SECONDS:g} s: the machine is too busy, or the "
                    "templates are too slow; write fewer versions or simpler templates"
                )
            try:
                made = self._renderer.render(catalogitem.trial(entry, version))
                catalogitem.prove(entry, version, made)
            except InvalidSpec as error:
                if all("is required by" in problem for problem in error.problems):
                    # Without an example nobody but a user knows what to write there; the templates do compile.
                    return
                raise InvalidSpec([f"version {version.name}: {problem}" for problem in error.problems]) from None

    async def from_git(self, resource: Resource[CatalogItemSpec], secret: Mapping[str, Any] | None) -> Offer:
        """Read an item from Git, if its reference means another commit than what is in use, and prove it."""
        git = resource.spec.git
        assert git is not None
        last = self.last(resource)
        version = ((secret or {}).get("metadata") or {}).get("resourceVersion")
        asked = (resource.uid, resource.generation, resource.reconcile_token, version)
        known, when = self._read_at.get(resource.key, (None, 0.0))
        if last is not None and known == asked and self._clock() - when < seconds(git.interval):
            return last
        try:
            credentials = _credentials(git, secret)
            async with self._readers:
                offer = await self.aside(self._read, resource, git, credentials, last)
        except _NoSecret as error:
            return self._with(resource, last, Wait(Reason.DEPENDENCY_NOT_READY, str(error)))
        except GitFailed as error:
            told = str(error)
            outcome = (
                Transient(Reason.PROGRESSING_WITH_RETRY, told) if error.passes else Stalled(Reason.INVALID_SPEC, told)
            )
            return self._with(resource, last, outcome)
        except driver.WorkerLost as error:
            return self._with(resource, last, Transient(Reason.PROGRESSING_WITH_RETRY, str(error)))
        self._offers[resource.key] = offer
        self._read_at[resource.key] = asked, self._clock()
        return offer

    def _with(self, resource: Resource[CatalogItemSpec], last: Offer | None, outcome: Outcome) -> Offer:
        """What is in use stays in use; that it couldn't be read anew is said."""
        if last is None or last.entry is None:
            # Whoever names it is told the same.
            offer = self._offers[resource.key] = Offer(resource.uid, resource.generation, outcome=outcome)
            return offer
        text = f"{outcome.message}; {last.revision} stays in use"
        return replace(last, outcome=replace(outcome, message=text))

    def _read(
        self, resource: Resource[CatalogItemSpec], git: ItemGit, credentials: Credentials, last: Offer | None
    ) -> Offer:
        ref = Ref(git.ref.branch or "", git.ref.tag or "", git.ref.commit or "")
        commit = self._git.resolve(git.url, ref, credentials)
        same = last is not None and (last.commit, last.generation) == (commit, resource.generation)
        if last is not None and same:
            return last
        offer = Offer(resource.uid, resource.generation, revision=items.revision(git, commit), commit=commit)
        files = self._git.files(git.url, ref, commit, git.path, credentials, items.is_part)
        try:
            entry = items.from_files(resource.name, files, f"{git.url} {offer.revision}", self._renderer.check)
            self._prove(entry)
        except (InvalidSpec, driver.RenderFailed) as error:
            told = Stalled(Reason.INVALID_SPEC, f"{offer.revision}: {error}")
            if last is not None and last.entry is not None:
                # A bad commit doesn't take away what the one before it brought.
                kept = f"{told.message}; {last.revision} stays in use"
                return replace(last, commit=commit, generation=resource.generation, outcome=replace(told, message=kept))
            return replace(offer, outcome=told)
        return replace(offer, entry=entry, outcome=_well(entry))


class _NoSecret(Exception):  # noqa: N818 - it says what is missing
    """The credentials' Secret isn't there, or has nothing in it that can be used."""


def _credentials(git: ItemGit, secret: Mapping[str, Any] | None) -> Credentials:
    ref = git.credentials_secret_ref
    if ref is None:
        return Credentials()
    if secret is None:
        raise _NoSecret(f"Secret {ref.name} doesn't exist beside it; create it with username and password, or identity")
    try:
        data = {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}
    except (binascii.Error, UnicodeDecodeError):
        raise _NoSecret(f"Secret {ref.name} holds something that isn't text") from None
    known = ("username", "password", "identity", "known_hosts")
    if not any(data.get(key) for key in known):
        raise _NoSecret(f"Secret {ref.name} has none of the keys {', '.join(known)}")
    if git.url.startswith("ssh://") and not data.get("known_hosts"):
        raise _NoSecret(f"Secret {ref.name} has no known_hosts; write the server's SSH host key there")
    return Credentials(*(data.get(key, "") for key in known))


def _well(entry: Entry) -> Ok:
    versions = ", ".join(version.name for version in entry.item.versions)
    return Ok(f"{entry.item.title}: {versions}")


def _shown(key: OwnerKey) -> str:
    return f"CatalogItem {key.namespace}/{key.name}"


def _cant(key: OwnerKey, why: str) -> str:
    return f"{_shown(key)} can't be used: {why}"


def names_item(body: Mapping[str, Any] | None, name: str) -> bool:
    """Whether an Application's manifest names an item, anywhere."""
    spec = (body or {}).get("spec") or {}
    components = spec.get("components") or ()
    overrides = [o for env in spec.get("environments") or () for o in ((env or {}).get("overrides") or {}).values()]
    return any(
        isinstance(part, Mapping) and (part.get("catalog") or {}).get("name") == name
        for part in (*components, *overrides)
    )
