"""An operator with GitSources is killed before and after every single one of its writes, and a new one goes on: it must
come to the same end, with nothing made twice on the way and nothing left that nobody knows of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from killing import without_farewells, wrong_after

from gitops_world import GitWorld, config, namespace, source
from homeport.api import labels
from homeport.drivers.kubernetes import types
from memory_world import play

pytestmark = pytest.mark.faults

Step = Callable[[GitWorld], Awaitable[None]]

SHOP = {
    "project.yaml": "apiVersion: homeport.dev/v1alpha1\nkind: Project\nmetadata: {name: shop}\nspec: {title: Shop}\n",
    "dev.yaml": "apiVersion: homeport.dev/v1alpha1\nkind: Environment\nmetadata: {name: dev}\nspec: {}\n",
    "web.yaml": "apiVersion: homeport.dev/v1alpha1\nkind: Application\nmetadata: {name: web}\nspec:\n  version: 1.0.0\n"
    "  components: [{name: web, image: web, type: worker}]\n",
    **{f"{name}.yaml": config(name, x="1") for name in "abcde"},
}


async def create(world: GitWorld) -> None:
    await world.apply([namespace()])
    world.repository.push(SHOP)
    await world.apply([source(), source("later", path="./later", dependsOn=[{"name": "fleet"}])])


async def change(world: GitWorld) -> None:
    """Some changed, some new, some gone."""
    files = {**SHOP, "a.yaml": config("a", x="2"), "f.yaml": config("f", x="1"), "later/g.yaml": config("g", x="1")}
    files["web.yaml"] = files["web.yaml"].replace("1.0.0", "1.1.0")
    del files["b.yaml"], files["c.yaml"]
    # What the second source has, the first must not: its folder is the root.
    files = {f"main/{name}" if "/" not in name else name: text for name, text in files.items()}
    world.repository.push(files)
    await world.apply([source(path="./main")])


async def prune(world: GitWorld) -> None:
    """Far less than before, and that is allowed."""
    world.repository.push({"a.yaml": SHOP["a.yaml"]})
    await world.apply([source(annotations={labels.ALLOW_PRUNE_AT: "1"})])


async def edit(world: GitWorld) -> None:
    world.repository.push({**SHOP, "a.yaml": config("a", x="2"), "f.yaml": config("f", x="1")})


async def back(world: GitWorld) -> None:
    """To the commit before."""
    revision = world.status()["history"][1]["revision"]
    await world.apply([source(annotations={labels.PIN: revision.rpartition(":")[2]})])


async def drift(world: GitWorld) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "shop"}, "data": {"x": "9"}}
    await world.client.apply(types.CONFIG_MAP, "shop", "a", body, manager="kubectl")
    await world.delete(types.CONFIG_MAP, "shop", "b")


async def delete(world: GitWorld) -> None:
    await world.delete(types.GIT_SOURCE, "shop", "later")
    await world.delete(types.GIT_SOURCE, "shop", "fleet")


async def leave(world: GitWorld) -> None:
    await world.apply([source(prune=False)])
    await world.delete(types.GIT_SOURCE, "shop", "later")
    await world.delete(types.GIT_SOURCE, "shop", "fleet")


STORIES: dict[str, tuple[Step, ...]] = {
    "create": (create,),
    "change": (create, change),
    "prune": (create, prune),
    "back": (create, edit, back),
    "drift": (create, drift),
    "delete": (create, delete),
    "delete without prune": (create, leave),
}
KINDS = ("ConfigMap", "Application", "Environment", "Project", "ServiceAccount", "RoleBinding", "Deployment")


def state(world: GitWorld) -> dict[str, Any]:
    found = without_farewells(world.state())
    for body in found.values():
        status = body.get("status") or {}
        for entry in status.get("history") or ():
            entry.pop("at", None)
        # Whoever dies after mending tells nobody what was mended.
        status.pop("drift", None)
        # What was done to something that has gone since is in nobody's memory but the operator's.
        log = status.get("activity") or []
        log[:] = [entry for entry in log if not entry["object"].startswith("GitSource/")]
        # A revision is named by its owner's UID, which tells how many objects were made before it.
        status.pop("updateRevision", None)
    return {name: body for name, body in found.items() if not name.startswith("ControllerRevision ")}


async def before(story: tuple[Step, ...]) -> GitWorld:
    world = GitWorld()
    for step in story[:-1]:
        await play(world, step)
    return world


@pytest.mark.parametrize("story", STORIES)
async def test_killed_at_every_write(story: str) -> None:
    start, step = await before(STORIES[story]), STORIES[story][-1]
    clean = start.clone()
    writes = (await play(clean, step)).gate.writes
    assert writes
    if story not in ("delete", "delete without prune"):
        assert clean.condition(types.GIT_SOURCE, "shop", "fleet")["status"] == "True"
    wrong = await wrong_after(start, step, clean, writes, KINDS, state)
    assert not wrong, "\n".join(wrong[:30])


@pytest.mark.parametrize("story", STORIES)
async def test_a_new_operator_has_nothing_to_do(story: str) -> None:
    world = await before(STORIES[story])
    await play(world, STORIES[story][-1])
    again = await world.operator()
    await again.settle()
    await again.stop()
    assert again.gate.writes == []


async def test_nothing_is_orphaned() -> None:
    world = await before(STORIES["delete"])
    await play(world, delete)
    left = {name for name in world.state() if "/shop" not in name or name.split()[0] != "Namespace"}
    # The Project may be removed only when it is archived, which a policy says: on a cluster in memory there is none.
    assert not [name for name in left if name.startswith(("ConfigMap", "GitSource", "ServiceAccount", "RoleBinding"))]
