"""The operator is killed before and after every single one of its writes, and a new one goes on with what is left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from memory_world import World, play

W = TypeVar("W", bound=World)


async def killed(start: W, step: Callable[[W], Awaitable[None]], writes: Sequence[str]) -> AsyncIterator[tuple[str, W]]:
    """Where it was killed, and the world after a new operator's end; ``writes`` are those of a clean run."""
    for number, write in enumerate(writes):
        for done in (False, True):
            world = start.clone()
            await play(world, step, (number, done))
            yield f"killed {'after' if done else 'before'} {write} (number {number})", world


async def wrong_after(
    start: W,
    step: Callable[[W], Awaitable[None]],
    clean: W,
    writes: Sequence[str],
    kinds: Iterable[str],
    state: Callable[[W], Any],
) -> list[str]:
    """Where it doesn't come to the clean run's end, by ``state``, or something of ``kinds`` was made twice."""
    kinds = tuple(kinds)
    end, births = state(clean), {kind: clean.births(kind) for kind in kinds}
    wrong = []
    async for what, world in killed(start, step, writes):
        found = {kind: world.births(kind) for kind in kinds}
        if found != births:
            wrong.append(f"{what}: made {found}, should be {births}")
        wrong.extend(f"{what}: {line}" for line in differences(end, state(world)))
    return wrong


def differences(wanted: Any, found: Any, path: str = "") -> list[str]:
    """Where two states differ."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [
            line
            for key in sorted({*wanted, *found})
            for line in differences(wanted.get(key), found.get(key), f"{path}.{key}")
        ]
    return [] if wanted == found else [f"{path}: should be {wanted!r:.300}, is {found!r:.300}"]


def without_farewells(state: dict[str, Any]) -> dict[str, Any]:
    """A deletion is in nobody's memory but the operator's once the object is gone: its log entry may be lost."""
    for found in state.values():
        log = (found.get("status") or {}).get("activity")
        if log:
            log[:] = [entry for entry in log if entry["verb"] != "deleted"]
    return state
