"""Any write may be the last before a crash, on Proxmox VE too: applications there, killed at every write.

The containers' host isn't part of this: LXCContainers have crash points of their own.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable

import pytest
from killing import without_farewells, wrong_after

from homeport.drivers.kubernetes import types
from memory_world import load, play
from proxmox_shop import PLACE, LabWorld, app

pytestmark = pytest.mark.faults

Step = Callable[[LabWorld], Awaitable[None]]
KINDS = ("LXCContainer", "Service", "EndpointSlice", "Ingress", "Secret", "Namespace")


async def create(world: LabWorld) -> None:
    await world.apply([*load(PLACE), *app()])


async def change(world: LabWorld) -> None:
    """Another image with its migration, fewer replicas of both kinds, another Secret."""
    (body,) = copy.deepcopy(app(version="1.1.0", image="example/shop:1.1.0", replicas=2))
    body["spec"]["components"][1]["replicas"] = 1
    secret = load(PLACE)[2]
    secret["data"] = {"key": "bmV3"}
    await world.apply([secret, body])


async def archive(world: LabWorld) -> None:
    await world.apply([{**load(PLACE)[1], "spec": {"archived": True}}])


async def delete(world: LabWorld) -> None:
    await world.delete(types.APPLICATION, "shop", "shop")


async def delete_environment(world: LabWorld) -> None:
    await world.delete(types.ENVIRONMENT, "shop", "lab")


STORIES: dict[str, tuple[Step, ...]] = {
    "create": (create,),
    "change": (create, change),
    "archive": (create, archive),
    "delete": (create, delete),
    "delete an environment": (create, delete_environment),
}


async def before(story: tuple[Step, ...]) -> LabWorld:
    world = LabWorld()
    for step in story[:-1]:
        await play(world, step)
    return world


@pytest.mark.parametrize("story", STORIES)
async def test_killed_at_every_write(story: str) -> None:
    start, step = await before(STORIES[story]), STORIES[story][-1]
    clean = start.clone()
    writes = (await play(clean, step)).gate.writes
    assert any(" LXCContainer " in write for write in writes)
    wrong = await wrong_after(start, step, clean, writes, KINDS, lambda world: without_farewells(world.state()))
    assert not wrong, "\n".join(wrong[:30])


@pytest.mark.parametrize("story", STORIES)
async def test_a_new_operator_has_nothing_to_do(story: str) -> None:
    world = await before(STORIES[story])
    await play(world, STORIES[story][-1])
    again = await world.operator()
    await again.settle()
    await again.stop()
    assert again.gate.writes == []


async def test_what_holds_data_is_left_and_nothing_else() -> None:
    world = await before(STORIES["delete"])
    await play(world, delete)
    left = {gvk.kind for gvk, namespace, _ in world.client._objects if namespace == "shop-lab"}
    containers = {name: body for (gvk, _, name), body in world.client._objects.items() if gvk is types.LXC_CONTAINER}
    assert {name: body["spec"]["state"] for name, body in containers.items()} == {"db-0": "Stopped", "db-1": "Stopped"}
    assert left == {"LXCContainer", "ResourceQuota", "Secret"}
