"""What applying a source now would change, found out here: the operator's own code, with the rights of who asks."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from homeport.api.base import interval_seconds
from homeport.api.gitsource import GitSourceSpec
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource, parse
from homeport.cli.build import repository
from homeport.cli.cluster import Connection, listed
from homeport.cli.errors import Failure
from homeport.cli.kinds import find
from homeport.drivers.build import FolderCheckout
from homeport.drivers.git import Ref
from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.protocol import Api
from homeport.drivers.kubernetes.types import GVK, Manifest
from homeport.engine.gitops import accounts, flow
from homeport.engine.gitops.applying import Applier
from homeport.engine.gitops.assembling import Assembler
from homeport.engine.gitops.inputs import Inputs, Lacking, secrets_in_objects
from homeport.engine.gitops.mirrors import Found, Mirrors, Want
from homeport.engine.gitops.offers import serves
from homeport.engine.gitops.tracking import Tracker
from homeport.engine.store import Store
from homeport.outcome import Stalled
from homeport.plan.gitops import source as plan
from homeport.plan.gitops.build import BuildFailed, Built
from homeport.plan.gitops.checkout import Checkout, CheckoutFailed, normal
from homeport.plan.gitops.types import SourceChange, SourcePlan

Source = Resource[GitSourceSpec]
_USERS_OF_SECRETS = ("gitsource", "catalogitem", "backuprepository", "proxmoxhost")
"""Beside environments: the kinds by which a Secret's values go into no object, as ``observe.private`` has it."""
AT_ONCE = 8
"""Objects that are read at a time, to show what is there."""


@dataclasses.dataclass(frozen=True)
class Preview:
    """A plan, what it is of, and the objects as they are, for those that would change."""

    plan: SourcePlan
    of: str
    live: dict[Any, Manifest]
    notes: tuple[str, ...]


class _Eager:
    """A cluster as ``Inputs`` sees it: whatever is asked for may be there, so that it is read.

    ``secrets``: the metadata of those whose values go into what is built, by name.
    """

    def __init__(self, client: Api, secrets: Mapping[str, Manifest]) -> None:
        self.client = client
        self._secrets = secrets

    def metadata(self, gvk: GVK, namespace: str, name: str) -> Manifest | None:
        return self._secrets.get(name)

    def secret_version(self, namespace: str, name: str) -> str:
        return "?"

    config_map_version = secret_version


class _Unwatched(Tracker):
    """Caches nothing: each object is read when it is asked about, with the rights that there are."""

    async def use(self, source: OwnerKey, gvks: Iterable[GVK], also: bool = False) -> None:
        """Nothing is watched."""


@dataclasses.dataclass
class _Given:
    """As much of a context as ``Inputs`` asks for."""

    cluster: Any
    store: Store
    readers: dict[Any, set[OwnerKey]] = dataclasses.field(default_factory=dict)


async def preview(connection: Connection, body: Manifest, folder: Path | None) -> Preview:
    """What applying a source now would change; with ``folder`` what is in that, before it is pushed. Raises Failure."""
    source: Source = parse(body)
    inputs = await _inputs(source, connection.client)
    try:
        async with _checkout(source, inputs, folder) as (checkout, of, path):
            spec = await inputs.build(source, await serves(connection.client))
            spec = dataclasses.replace(spec, path=path)
            built = await _built(checkout, spec)
    except Lacking as error:
        raise Failure(str(error)) from None
    client, account = await _acting(connection.client, source)
    applier = Applier(client, _Unwatched(client, lambda key: None), _exists)
    wanted = dataclasses.replace(plan.options(source, built.digest, True), settled=False)
    found = await applier.plan(source.key, built.objects, account, flow.inventory(source), wanted)
    notes = (*built.warnings, *(f"left out: {each}" for each in built.left_out))
    return Preview(found, of, await _live(client, found.changes), notes)


async def _inputs(source: Source, client: Api) -> Inputs:
    """What reads what the source names. Raises ApiError for a Secret that may not be read."""
    named, store = secrets_in_objects(source.spec), Store()
    for name in ("environment", *(_USERS_OF_SECRETS if named else ())):
        kind = find(name)
        with contextlib.suppress(errors.Forbidden):
            for item in (await listed(client, kind, source.namespace))[0]:
                store.put({**item, "kind": kind.kind})
    found = {name: await client.get(types.SECRET, source.namespace, name, metadata_only=True) for name in named}
    there = {name: secret for name, secret in found.items() if secret is not None}
    return Inputs(_Given(_Eager(client, there), store))  # type: ignore[arg-type]


async def _exists(source: OwnerKey) -> bool:
    """Whether another source is there isn't asked: a person may have no right to know."""
    return True


@contextlib.asynccontextmanager
async def _checkout(source: Source, inputs: Inputs, folder: Path | None) -> AsyncIterator[tuple[Checkout, str, str]]:
    """What is to be built, what to call it, and which folder of it."""
    path = normal(source.spec.path)
    if folder is not None:
        root, inside = _inside(folder, path)
        yield FolderCheckout(root), str(folder), inside
        return
    with tempfile.TemporaryDirectory(prefix="homeport-diff-") as scratch:
        woken = asyncio.Event()
        mirrors = Mirrors(lambda key: woken.set(), Path(scratch))
        try:
            found = await _fetched(source, inputs, mirrors, woken)
            assert found.checkout is not None
            yield found.checkout, plan.short(found.revision), path
        finally:
            await mirrors.stop()


def _inside(folder: Path, path: str) -> tuple[Path, str]:
    """The repository that a folder is in, and what of it is read: the root of one stands for all of it, any other
    folder for what the source reads."""
    root, here = repository(folder), folder.resolve()
    inside = path if here == root and (root / path).is_dir() else here.relative_to(root).as_posix()
    return root, "" if inside == "." else inside


async def _fetched(source: Source, inputs: Inputs, mirrors: Mirrors, woken: asyncio.Event) -> Found:
    want = Want(
        url=source.spec.url,
        ref=Ref(**{name: value for name, value in source.spec.ref.model_dump().items() if value}),
        credentials=await inputs.credentials(source),
        timeout=interval_seconds(source.spec.timeout),
        submodules=source.spec.submodules,
        lfs=source.spec.lfs,
        verify_keys=await inputs.keys(source),
        path=normal(source.spec.path),
    )
    try:
        async with asyncio.timeout(want.timeout):
            while True:
                woken.clear()
                found = mirrors.want(source.key, want)
                if found.checkout is not None and found.problem is None:
                    return found
                if isinstance(found.problem, Stalled):
                    raise Failure(found.problem.message)
                await woken.wait()
    except TimeoutError:
        told = found.problem.message if found.problem is not None else "no answer"
        raise Failure(f"{want.url} couldn't be read in {want.timeout:g} s: {told}") from None


async def _built(checkout: Checkout, spec: Any) -> Built:
    assembler = Assembler()
    try:
        return (await asyncio.to_thread(assembler.build, checkout, spec)).built
    except (BuildFailed, CheckoutFailed) as error:
        raise Failure(str(error)) from None
    finally:
        assembler.stop()


async def _acting(client: Api, source: Source) -> tuple[Any, str]:
    """As the source's account where that is allowed, else as oneself; and what refusals call it."""
    account = accounts.user_of(source)
    try:
        await client.impersonate(account).version()
    except errors.Forbidden:
        click.echo(f"note: as yourself, for you may not impersonate {account}", err=True)
        return _Oneself(client), "you"
    return client, account


class _Oneself:
    """A client that nobody else can be."""

    def __init__(self, client: Api) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def impersonate(self, user: str, groups: Any = ()) -> _Oneself:
        return self


async def _live(client: Any, changes: Iterable[SourceChange]) -> dict[Any, Manifest]:
    """Objects as they are, for those that would change in some field."""
    turns = asyncio.Semaphore(AT_ONCE)
    found: dict[Any, Manifest] = {}

    async def read(change: SourceChange) -> None:
        manifest = change.wanted.manifest if change.wanted is not None else {}
        kinds = {gvk.kind: gvk for gvk in await client.kinds(str(manifest.get("apiVersion")))}
        gvk = kinds.get(change.id.kind)
        if gvk is not None:
            async with turns:
                live = await client.get(gvk, change.id.namespace or None, change.id.name)
            if live is not None:
                found[change.id] = live

    await asyncio.gather(*(read(change) for change in changes if change.fields and change.wanted is not None))
    return found
