"""The operator is killed before and after every write of a source's objects, and a new one goes on with what is left:
with the same revision, or with the one before, for which everything new has to go again."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import types
from homeport.drivers.memory import MemoryClient
from homeport.engine.gitops.applying import Applier, account_name
from homeport.engine.gitops.tracking import Tracker
from homeport.plan.gitops.types import Entry, Options

pytestmark = pytest.mark.faults

Manifest = dict[str, Any]
SOURCE = OwnerKey("GitSource", "shop", "fleet")
ACCOUNT = account_name("shop", "deployer")


class Killed(BaseException):
    """The process is gone: nothing may catch this."""


class Fragile(MemoryClient):
    """A server that its only client dies at: before or after a certain write."""

    kill_at: tuple[int, bool] | None = None
    count = 0

    async def apply(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("dry_run"):
            return await super().apply(*args, **kwargs)
        return await self._write(super().apply, *args, **kwargs)

    async def delete(self, *args: Any, **kwargs: Any) -> Any:
        return await self._write(super().delete, *args, **kwargs)

    async def _write(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        number, self.count = self.count, self.count + 1
        if self.kill_at is not None and number > self.kill_at[0]:
            raise Killed  # dead is dead
        if self.kill_at == (number, False):
            raise Killed
        answer = await call(*args, **kwargs)
        if self.kill_at == (number, True):
            raise Killed
        return answer


@dataclass(frozen=True)
class Made:
    manifest: Manifest
    file: str = "all.yaml"
    line: int = 0


async def _exists(key: OwnerKey) -> bool:
    return True


@dataclass
class Home:
    """The cluster, and the source's status: all that outlives the operator."""

    client: Fragile = field(default_factory=Fragile)
    inventory: tuple[Entry, ...] = ()

    async def sync(self, revision: Sequence[Manifest]) -> bool:
        """One operator, from its start to the end of one look; whether all was applied."""
        tracker = Tracker(self.client, lambda key: None)
        applier = Applier(self.client, tracker, _exists)

        async def note(entries: tuple[Entry, ...]) -> None:
            async def write() -> None:
                self.inventory = entries

            await self.client._write(write)

        try:
            plan = await applier.plan(
                SOURCE, [Made(copy.deepcopy(m)) for m in revision], ACCOUNT, self.inventory, Options("shop")
            )
            assert plan.problems == ()
            applied = await applier.apply(plan, note)
            self.inventory = applied.entries
            return applied.complete
        finally:
            await tracker.stop()

    def there(self) -> dict[str, Any]:
        """What the source has in the cluster."""
        found = (m for m in self.client.objects() if labels.SOURCE_NAME in (m["metadata"].get("labels") or {}))
        return {
            f"{m['kind']} {m['metadata'].get('namespace', '')}/{m['metadata']['name']}": m.get("data") or m.get("spec")
            for m in found
        }


def simple(kind: str, name: str, namespace: str = "", /, api: str = "v1", **rest: Any) -> Manifest:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}


CRD = simple(
    "CustomResourceDefinition",
    "widgets.example.com",
    api="apiextensions.k8s.io/v1",
    spec={
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets"},
        "versions": [{"name": "v1", "served": True}],
    },
)
BASE = [simple("ConfigMap", f"base-{n}", data={"x": "1"}) for n in range(6)]
OLD = [*BASE, simple("ConfigMap", "leaving", data={"x": "1"}), simple("ConfigMap", "changing", data={"x": "1"})]
NEW = [
    *BASE,
    simple("ConfigMap", "changing", data={"x": "2"}),
    simple("Namespace", "rooms"),
    simple("ConfigMap", "inside", "rooms", data={"x": "1"}),
    CRD,
    simple("Widget", "w", api="example.com/v1", spec={"size": 1}),
    simple("Secret", "s", stringData={"p": "p"}),
]
STAYS = {"Namespace /rooms", "CustomResourceDefinition /widgets.example.com"}
"""Kinds that go only where they say so."""


async def start() -> Home:
    home = Home()
    await home.client.create(types.NAMESPACE, None, simple("Namespace", "shop"))
    assert await home.sync(OLD)
    home.client.count = 0
    return home


async def die(home: Home, at: tuple[int, bool]) -> None:
    home.client.kill_at = at
    try:
        await home.sync(NEW)
    except BaseException as error:
        assert "Killed" in repr(error)
    else:
        raise AssertionError("it lives")
    home.client.kill_at = None


@pytest.mark.parametrize("back", [False, True])
async def test_killed_at_every_write(back: bool) -> None:
    clean = await start()
    assert await clean.sync(NEW)
    number = clean.client.count
    assert number == 8  # the inventory, six objects, one that leaves
    if back:
        await clean.sync(OLD)
    for at in [(write, done) for write in range(number) for done in (False, True)]:
        home = await start()
        await die(home, at)
        assert await home.sync(OLD if back else NEW), at
        left = {name: what for name, what in home.there().items() if not back or name not in STAYS}
        wanted = {name: what for name, what in clean.there().items() if not back or name not in STAYS}
        assert left == wanted, at
        before = len(home.client.writes)
        assert await home.sync(OLD if back else NEW)
        assert len(home.client.writes) == before, at
        await asyncio.sleep(0)
