"""What stays on the disk: of suspended sources, and of pull requests."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mirror_world import MirrorWorld, key

from git_server import GitServer, Repository
from homeport.drivers.git import GitFailed, folders
from homeport.outcome import Stalled


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    (tmp_path / "served").mkdir()
    running = GitServer(tmp_path / "served")
    yield running
    running.close()


@pytest.fixture
def fleet(server: GitServer) -> Repository:
    return Repository(server.root, "fleet")


@pytest.fixture
def url(server: GitServer) -> str:
    return server.url("fleet")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[MirrorWorld]:
    made = MirrorWorld(tmp_path / "data")
    yield made
    await made.mirrors.stop()


def mirrors(world: MirrorWorld) -> list[Path]:
    assert world.mirrors.folder is not None
    return list((world.mirrors.folder / "mirrors").glob("*"))


async def test_while_a_source_is_suspended_what_it_may_roll_back_to_stays(
    world: MirrorWorld, fleet: Repository, server: GitServer, url: str
) -> None:
    first = fleet.commit({"a.yaml": "1"})
    await world.read(await world.checkout(url))
    fleet.commit({"a.yaml": "2"})
    await world.looked(url, keep=(first,))
    world.mirrors.rest(key())
    world.mirrors.rest(key())
    for _ in range(30):
        await world.turn(60.0)
    assert len(world.mirrors) == 0, "nobody looks after it"
    assert len(mirrors(world)) == 1
    server.failing = True
    world.want(url, keep=(first,))
    pinned = await world.at(first)
    assert await world.read(pinned, "a.yaml") == {"a.yaml": b"1"}
    server.failing = False
    await world.looked(url, keep=(first,))
    # It is deleted while it is suspended.
    world.mirrors.rest(key())
    world.mirrors.forget(key())
    for _ in range(30):
        await world.turn(60.0)
    assert mirrors(world) == []


async def test_a_mirror_that_was_put_away_goes_when_nobody_uses_it_for_long(
    world: MirrorWorld, fleet: Repository, url: str
) -> None:
    fleet.commit({"a.yaml": "1"})
    await world.checkout(url)
    world.mirrors.rest(key())
    for _ in range(30):
        await world.turn(60.0)
    (folder,) = mirrors(world)
    long_ago = time.time() - folders.UNUSED - 60.0
    os.utime(folder / "lock", (long_ago, long_ago))
    await world.turn(3600.0)
    await world.turn(0.0)
    assert mirrors(world) == []


# --- pull requests ----------------------------------------------------------------------------------------------------

HALF = 3_000_000
"""Bytes of a pull request that is large for these mirrors."""


def propose(fleet: Repository, number: int, files: dict[str, bytes | str]) -> str:
    """The head of a pull request; main stays as it is."""
    head = fleet.commit(files, branch=f"topic-{number}")
    fleet.git("update-ref", f"refs/pull/{number}/head", head, cwd=fleet.path)
    fleet.git("checkout", "--quiet", "--force", "main")
    return head


def kept(world: MirrorWorld) -> set[str]:
    (shared,) = world.mirrors._shared.values()
    return set(shared.repository.mirror._kept.values())


async def small(world: MirrorWorld, url: str, disk: int) -> None:
    """A mirror of so many bytes at most, of a server that sends files with their commits."""
    await world.checkout(url)
    (shared,) = world.mirrors._shared.values()
    shared.repository.mirror.limits = replace(shared.repository.mirror.limits, disk=disk)


async def test_heads_that_are_superseded_or_closed_go_within_minutes(
    world: MirrorWorld, fleet: Repository, url: str
) -> None:
    first = fleet.commit({"a.yaml": "1"})
    await world.checkout(url, interval=86400.0)
    old, new = propose(fleet, 7, {"b.yaml": "1"}), propose(fleet, 7, {"b.yaml": "2"})
    for head in (old, new):
        await world.at(head, ref="refs/pull/7/head", pull=True)
    assert kept(world) == {first, old, new}
    world.mirrors.heads(key(), {new})
    await world.turn(700.0)
    await world.turn(0.0)
    assert kept(world) == {first, new}
    world.mirrors.heads(key(), {new})
    await world.turn(100_000.0)
    await world.turn(0.0)
    assert kept(world) == {first, new}, "it is open, however long nobody asks for it"
    world.mirrors.heads(key(), ())
    await world.turn(700.0)
    await world.turn(0.0)
    assert kept(world) == {first}


async def test_pull_requests_take_no_room_that_production_needs(
    world: MirrorWorld, fleet: Repository, url: str
) -> None:
    fleet.configure("uploadpack.allowFilter", "false")
    fleet.commit({"a.yaml": "1"})
    await small(world, url, 2 * HALF)
    large = propose(fleet, 7, {"large": os.urandom(HALF)})
    proposed = await world.at(large, ref="refs/pull/7/head", pull=True)
    assert large in kept(world)
    (shared,) = world.mirrors._shared.values()
    shared.repository.mirror.limits = replace(shared.repository.mirror.limits, disk=HALF)
    newer = fleet.commit({"a.yaml": "2"})
    found = await world.looked(url)
    assert (found.problem, found.commit) == (None, newer)
    assert large not in kept(world)
    assert shared.repository.mirror.size() < HALF
    with pytest.raises(GitFailed, match="isn't kept any more"):
        await world.read(proposed, "large")
    assert await world.read(found.checkout, "a.yaml") == {"a.yaml": b"2"}
    assert newer in kept(world), "that wasn't taken for damage, by which a mirror is made anew"


async def test_a_head_that_is_too_large_is_told_for_itself_alone(
    world: MirrorWorld, fleet: Repository, url: str
) -> None:
    fleet.configure("uploadpack.allowFilter", "false")
    first = fleet.commit({"a.yaml": "1"})
    await small(world, url, HALF)
    large, other = propose(fleet, 7, {"large": os.urandom(2 * HALF)}), propose(fleet, 8, {"b.yaml": "1"})
    told = await world.at(large, ref="refs/pull/7/head", pull=True)
    assert isinstance(told, Stalled)
    assert f"with {large[:12]} its mirror would have " in told.message
    fetches = world.calls.count(("fetch", False))
    world.now += 3600.0
    assert await world.at(large, ref="refs/pull/7/head", pull=True) == told
    assert world.calls.count(("fetch", False)) == fetches, "it isn't fetched again and again"
    assert (await world.at(other, ref="refs/pull/8/head", pull=True)).commit == other
    assert kept(world) == {first, other}
    newer = fleet.commit({"a.yaml": "2"})
    assert (await world.looked(url)).commit == newer
