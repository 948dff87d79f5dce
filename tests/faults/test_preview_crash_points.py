"""Previews of pull requests, with the operator killed before and after every single one of its writes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from killing import without_farewells, wrong_after

from memory_world import play
from preview_world import WEB, PreviewWorld

pytestmark = pytest.mark.faults

Step = Callable[[PreviewWorld], Awaitable[None]]


async def opened(world: PreviewWorld) -> None:
    world.propose({"web.yaml": WEB % 2})


async def pushed(world: PreviewWorld) -> None:
    world.propose({"api.yaml": (WEB % 3).replace("name: web", "name: api")})


async def closed(world: PreviewWorld) -> None:
    world.close()


STORIES: dict[str, tuple[Step, ...]] = {
    "opened": (opened,),
    "pushed": (opened, pushed),
    "closed": (opened, closed),
}
KINDS = ("Application", "Environment", "Deployment", "Namespace", "Secret")


def end(world: PreviewWorld) -> dict[str, Any]:
    """What is there; revisions are named by their Application's UID, which is another for each that is made."""
    state = without_farewells(world.state())
    for found in state.values():
        (found.get("status") or {}).pop("updateRevision", None)
    return {name: found for name, found in state.items() if not name.startswith("ControllerRevision ")}


@pytest.mark.parametrize("story", STORIES)
async def test_killed_at_every_write(story: str) -> None:
    start = PreviewWorld()
    await play(start, PreviewWorld.begin)
    *before, step = STORIES[story]
    for earlier in before:
        await play(start, earlier)
    clean = start.clone()
    writes = (await play(clean, step)).gate.writes
    assert writes
    assert (
        clean.made()
        == {
            "opened": {"Environment pr-7", "Application web-pr-7"},
            "pushed": {"Environment pr-7", "Application api-pr-7"},
            "closed": set(),
        }[story]
    )
    wrong = await wrong_after(start, step, clean, writes, KINDS, end)
    assert not wrong, "\n".join(wrong[:30])
