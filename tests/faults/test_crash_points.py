"""Any write may be the last before a crash: the operator is killed before and after every single one of them.

A clean run tells how many writes there are. Then, for each: the same run, dead at that write, and a new operator on
what is left. It must come to the very same end, with nothing made twice on the way.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from killing import without_farewells, wrong_after

from homeport.drivers.kubernetes import types
from memory_world import World, load, play

pytestmark = pytest.mark.faults

SHOP = load(Path(__file__).parent / "shop.yaml")
Step = Callable[[World], Awaitable[None]]


async def create(world: World) -> None:
    await world.apply(SHOP)


async def change(world: World) -> None:
    """Another version, a component less, a Secret's data, more replicas, and what the Project says."""
    documents = copy.deepcopy(SHOP)
    secret, project, environment, app = documents[1:]
    secret["data"] = {"token": "bmV3"}
    project["spec"]["members"].append({"kind": "Group", "name": "backend", "role": "developer"})
    environment["spec"]["isolation"] = "Open"
    environment["spec"]["quota"]["cpu"] = "8"
    front, store, seed, _ = app["spec"]["components"]
    app["spec"]["version"] = "1.1.0"
    app["spec"]["components"] = [front, store, seed]
    front["autoscaling"]["min"] = 3
    front["files"] = {"/etc/front/settings.toml": "workers = 8\n"}
    store["replicas"] = 2
    await world.apply(documents[1:])


async def unscale(world: World) -> None:
    """Without the autoscaler and the route; archived, and back."""
    documents = copy.deepcopy(SHOP)
    front = documents[4]["spec"]["components"][0]
    del front["autoscaling"], front["routes"]
    documents[4]["spec"]["components"][1]["replicas"] = 3
    documents[2]["spec"]["archived"] = True
    await world.apply([documents[2], documents[4]])


async def delete(world: World) -> None:
    await world.delete(types.PROJECT, "shop", "shop")


async def delete_environment(world: World) -> None:
    await world.delete(types.ENVIRONMENT, "shop", "main")


STORIES: dict[str, tuple[Step, ...]] = {
    "create": (create,),
    "change": (create, change),
    "archive": (create, unscale),
    "delete": (create, delete),
    "delete an environment": (create, delete_environment),
}
KINDS = ("Job", "Deployment", "StatefulSet", "Secret", "Namespace", "PersistentVolumeClaim")


async def before(story: tuple[Step, ...]) -> World:
    """The world before the last step, with no operator running."""
    world = World()
    for step in story[:-1]:
        await play(world, step)
    return world


@pytest.mark.parametrize("story", STORIES)
async def test_killed_at_every_write(story: str) -> None:
    start, step = await before(STORIES[story]), STORIES[story][-1]
    clean = start.clone()
    writes = (await play(clean, step)).gate.writes
    assert writes
    wrong = await wrong_after(start, step, clean, writes, KINDS, lambda world: without_farewells(world.state()))
    assert not wrong, "\n".join(wrong[:30])


async def whole(story: str) -> World:
    """The world after the whole story."""
    world = await before(STORIES[story])
    await play(world, STORIES[story][-1])
    return world


@pytest.mark.parametrize("story", STORIES)
async def test_a_new_operator_has_nothing_to_do(story: str) -> None:
    world = await whole(story)
    again = await world.operator()
    await again.settle()
    await again.stop()
    assert again.gate.writes == []


async def test_nothing_is_orphaned() -> None:
    world = await whole("delete")
    left = set(world.state())
    assert left == {
        "Namespace /shop",
        "Secret shop/keys-main",  # a user's
        "Namespace /shop-main",  # for it holds a volume that is retained
        "Secret shop-main/session",  # generated: what is in the volume may be locked with it
        "PersistentVolumeClaim shop-main/data-store-0",
    }
    marks = world.get(types.NAMESPACE, "", "shop")["metadata"]
    assert "homeport.dev/project" not in (marks.get("labels") or {})
