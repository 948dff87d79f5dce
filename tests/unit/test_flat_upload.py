"""A flattened image on a host's storage: made once, found again by the size in its name, made anew when it is half."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from test_flatten import OPERATOR, SYSTEM, image

from homeport.api.labels import OwnerKey
from homeport.drivers.oci import flatten
from homeport.drivers.oci.registry import Blob, Image
from homeport.engine import images as engine
from homeport.engine.images import Images, Template, Wanted
from homeport.outcome import Wait
from homeport.plan.proxmox.readings import Volume
from homeport.plan.proxmox.tasks import End, TaskStatus, Upid

KEY = OwnerKey("LXCContainer", "homelab", "web")
UPID = Upid.parse("UPID:pve1:000A1B2C:00D3E4F5:65000000:imgcopy::homeport@pve!op:")


class Registry:
    """Has one image."""

    pulled = 0

    def __init__(self, *_: Any) -> None:
        self.found, self.fetch = image(*SYSTEM)

    async def image(self, *_: Any) -> Image:
        return self.found

    async def blob(self, _: Any, blob: Blob) -> AsyncIterator[bytes]:
        Registry.pulled += 1
        async for piece in self.fetch(blob):
            yield piece

    async def close(self) -> None: ...


class Host:
    """A storage, and what was uploaded to it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def templates(self, node: str, storage: str) -> tuple[Volume, ...]:
        return tuple(Volume(f"{storage}:vztmpl/{name}", "vztmpl", len(text)) for name, text in self.files.items())

    async def active(self, node: str, kind: str) -> tuple[Upid, ...]:
        return ()

    async def upload(self, node: str, storage: str, file: Path, checksum: str) -> Upid:
        self.files[file.name] = file.read_bytes()
        return UPID

    async def task(self, upid: Upid) -> TaskStatus:
        return TaskStatus(upid, End.OK)

    async def begin(self, owner: str, method: str, *segments: Any, **_: Any) -> Upid:
        del self.files[str(segments[-1]).partition("vztmpl/")[2]]
        return UPID

    def release(self, owner: str) -> None: ...


class World:
    def __init__(self) -> None:
        self.now, self.host, self.woken = 0.0, Host(), asyncio.Event()
        self.images = self.started_again()

    def started_again(self) -> Images:
        self.images = Images(lambda _: self.woken.set(), lambda: self.now, lambda _: b"\x7fELF")
        return self.images

    async def template(self, **more: Any) -> Any:
        fields = {"operator": tuple(sorted(OPERATOR.items())), **more}
        wanted = Wanted("lab", "pve1", "local", "registry.example/shop/web:1", "here", **fields)
        self.woken.clear()
        found = self.images.template(wanted, self.host, KEY)  # type: ignore[arg-type]
        if isinstance(found, Wait):
            await asyncio.wait_for(self.woken.wait(), 30)
            found = self.images.template(wanted, self.host, KEY)  # type: ignore[arg-type]
        return found


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(engine, "Registry", Registry)
    monkeypatch.setattr(Registry, "pulled", 0)
    return World()


async def test_it_is_made_once(world: World) -> None:
    found = await world.template()
    assert isinstance(found, Template), found
    ((name, text),) = world.host.files.items()
    assert found.volume == f"local:vztmpl/{name}" and name.endswith(f"-{len(text)}.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(text)) as tar:
        assert "./usr/sbin/init" in tar.getnames()
    pulled = Registry.pulled
    world.started_again()
    assert await world.template() == found and Registry.pulled == pulled, "an earlier process has made it"
    other = await world.template(operator=(("HOMEPORT_AGENT_URL", "https://10.0.0.8:1"),))
    assert other.volume != found.volume and len(world.host.files) == 2


async def test_half_an_upload_is_none(world: World) -> None:
    found = await world.template()
    name = found.volume.partition("vztmpl/")[2]
    whole = world.host.files[name]
    world.host.files[name] = whole[:100]
    world.started_again()
    assert await world.template() == found
    assert world.host.files == {name: whole}


async def test_one_that_is_asked_for_isnt_removed(world: World) -> None:
    found = await world.template()
    name = found.volume.partition("vztmpl/")[2]
    assert world.images.needs("lab", "local", name) and flatten.stem_of(name) != name
    assert not await world.images.remove(world.host, "lab", "pve1", "local", name)  # type: ignore[arg-type]
    world.now += engine.IDLE + 1
    assert await world.images.remove(world.host, "lab", "pve1", "local", name)  # type: ignore[arg-type]
    assert not world.host.files


async def test_on_newer_hosts_it_is_an_oci_archive(world: World) -> None:
    found = await world.template(operator=())
    assert isinstance(found, Template) and found.volume.endswith(".tar")
    ((name, text),) = world.host.files.items()
    world.started_again()
    pulled = Registry.pulled
    assert await world.template(operator=()) == found and Registry.pulled == pulled
    world.host.files[name] = text[:100]
    world.started_again()
    assert await world.template(operator=()) == found and world.host.files[name] == text
