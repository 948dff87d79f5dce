"""Images from a real registry (distribution's), as templates on the stand-in for Proxmox VE."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import tarfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from homeport.api.labels import OwnerKey
from homeport.drivers.oci import archive, errors
from homeport.drivers.oci.credentials import Login, login_for, logins
from homeport.drivers.oci.reference import Reference
from homeport.drivers.oci.registry import Registry
from homeport.drivers.proxmox.host import Host
from homeport.engine import hostlink
from homeport.engine.images import IDLE, Images, Template, Wanted
from homeport.engine.leftovers import Leftovers
from homeport.engine.store import Store
from homeport.outcome import Outcome, Stalled, Transient, Wait
from homeport.plan import uploaded
from proxmox_world import ALL, TOKEN, ProxmoxWorld
from registry_server import BASIC, PASSWORD, USER, Served, digest_of, free_port, layer

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")]
KEY = OwnerKey("LXCContainer", "homelab", "web")
PROGRAM = b"\x7fELF an init"
HERE = "here"


CONFIG = {
    "Env": ["A=b"],
    "Entrypoint": ["/run"],
    "Cmd": ["x"],
    "User": "999",
    "WorkingDir": "/data",
    "StopSignal": "SIGQUIT",
    "ExposedPorts": {"80/tcp": {}},
}


class TestReferences:
    @pytest.mark.parametrize(
        ("text", "meant", "base"),
        [
            ("nginx", "docker.io/library/nginx:latest", "https://registry-1.docker.io"),
            ("org/app:1.2", "docker.io/org/app:1.2", "https://registry-1.docker.io"),
            ("ghcr.io/a/b/c:x", "ghcr.io/a/b/c:x", "https://ghcr.io"),
            ("localhost:5000/a", "localhost:5000/a:latest", "http://localhost:5000"),
            ("r.example:5000/a@sha256:" + "0" * 64, "r.example:5000/a@sha256:" + "0" * 64, "https://r.example:5000"),
        ],
    )
    def test_names(self, text: str, meant: str, base: str) -> None:
        found = Reference.parse(text)
        assert (str(found), found.base) == (meant, base)

    @pytest.mark.parametrize("text", ["", "UPPER", "a@sha256:1", "a:b:c", "../x", "a b", "127.0.0.1.evil/../x"])
    def test_what_is_no_name(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"write one such as|a digest is"):
            Reference.parse(text)


class TestCredentials:
    def test_the_nearest_counts_and_nothing_is_shown(self) -> None:
        auth = base64.b64encode(b"me:s3cret").decode()
        text = json.dumps(
            {
                "auths": {
                    "https://index.docker.io/v1/": {"auth": auth},
                    "ghcr.io": {"username": "all", "password": "x"},
                    "ghcr.io/org": {"username": "org", "password": "y"},
                }
            }
        )
        known = logins(text)
        found = {
            image: login_for(Reference.parse(image), known) for image in ("nginx", "ghcr.io/org/a", "ghcr.io/orga")
        }
        assert [one.user if one else None for one in found.values()] == ["me", "org", "all"]
        assert "s3cret" not in repr(known)
        with pytest.raises(ValueError, match="isn't what kubectl create secret docker-registry makes") as caught:
            logins('{"auths": {"x": {"auth": "s3cret!"}}}')
        assert "s3cret" not in str(caught.value)


class TestRegistry:
    async def test_a_tag_an_index_and_an_architecture(self, registry: Served) -> None:
        digest = await registry.push("team/app", "1", [layer(a=b"1")], **CONFIG)
        client = Registry()
        try:
            for architecture in ("amd64", "arm64"):
                image = await client.image(Reference.parse(registry.name("team/app:1")), architecture)
                assert image.digest == digest
                assert image.manifest != digest
                assert image.config["architecture"] == architecture
            with pytest.raises(errors.NoSuchImage, match="isn't there for linux/riscv64"):
                await client.image(Reference.parse(registry.name("team/app:1")), "riscv64")
            with pytest.raises(errors.NoSuchImage, match="has no such image"):
                await client.image(Reference.parse(registry.name("team/app:2")), "amd64")
        finally:
            await client.close()

    async def test_a_password(self, locked: Served) -> None:
        await locked.push("private/app", "1", [layer(a=b"1")])
        name = Reference.parse(locked.name("private/app:1"))
        for known in ((), (Login(f"127.0.0.1:{locked.port}", USER, "wrong"),), (Login("elsewhere", USER, PASSWORD),)):
            client = Registry(known)
            with pytest.raises(errors.AccessDenied, match="imagePullSecrets"):
                await client.image(name, "amd64")
            await client.close()
        client = Registry((Login(f"127.0.0.1:{locked.port}", USER, PASSWORD),))
        assert (await client.image(name, "amd64")).layers
        await client.close()

    async def test_a_token(self, serve: Callable[[dict[str, Any]], Served]) -> None:
        asked = []

        async def token(request: web.Request) -> web.Response:
            asked.append((dict(request.query), request.headers.get("Authorization")))
            if request.headers.get("Authorization") != BASIC:
                return web.Response(status=401)
            return web.json_response({"token": "good"})

        async def behind(request: web.Request) -> web.Response:
            if request.headers.get("Authorization") != "Bearer good":
                realm = f'Bearer realm="http://127.0.0.1:{port}/token",service="me",scope="repository:a/b:pull"'
                return web.Response(status=401, headers={"WWW-Authenticate": realm})
            return web.Response(status=404)

        app = web.Application()
        app.router.add_get("/token", token)
        app.router.add_get("/v2/{rest:.*}", behind)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        client = Registry((Login(f"127.0.0.1:{port}", USER, PASSWORD),))
        try:
            with pytest.raises(errors.NoSuchImage):  # past the door
                await client.image(Reference.parse(f"127.0.0.1:{port}/a/b:1"), "amd64")
            assert asked[0][0] == {"service": "me", "scope": "repository:a/b:pull"}
        finally:
            await client.close()
            await runner.cleanup()

    async def test_another_content_than_its_digest(self, registry: Served) -> None:
        await registry.push("team/liar", "1", [layer(a=b"1")])
        client = Registry()
        try:
            reference = Reference.parse(registry.name("team/liar:1"))
            image = await client.image(reference, "amd64")
            (good,) = image.layers
            lying = replace(good, size=good.size - 1)
            with pytest.raises(errors.Unusable, match="is something else"):
                async for _ in client.blob(reference, lying):
                    pass
        finally:
            await client.close()


class World:
    def __init__(self, lab: ProxmoxWorld, host: Host, programs: Callable[[str], bytes] = lambda _: PROGRAM) -> None:
        self.lab, self.host = lab, host
        self.woken: asyncio.Queue[OwnerKey] = asyncio.Queue()
        self.later = 0.0
        self.images = Images(self.woken.put_nowait, self.tell, programs)

    def tell(self) -> float:
        """A clock that may be turned forward."""
        return time.monotonic() + self.later

    async def bring(self, wanted: Wanted, *keys: OwnerKey) -> Template | Outcome:
        waiting = {key for key in keys or (KEY,) if isinstance(self.images.template(wanted, self.host, key), Wait)}
        async with asyncio.timeout(60):
            while waiting:
                waiting.remove(await self.woken.get())
        return self.images.template(wanted, self.host, KEY)

    def uploads(self) -> int:
        return sum(path.endswith("/upload") for _, path in self.lab.pve.seen)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    lab = ProxmoxWorld(tmp_path)
    lab.pve.files = tmp_path / "files"
    host = Host(lab.config(timeout=20.0))
    made = World(lab, host)
    yield made
    await made.images.stop()
    await host.close()
    lab.stop()


class TestTemplates:
    async def test_an_image_becomes_a_template_once(self, world: World, registry: Served, tmp_path: Path) -> None:
        digest = await registry.push("team/web", "1", [layer(a=b"1"), layer(b=b"2" * 500_000)], **CONFIG)
        wanted = Wanted("lab", "pve1", "local", registry.name("team/web:1"), HERE)
        found = await world.bring(wanted)
        assert isinstance(found, Template), found
        assert found.digest == digest
        assert found.volume.startswith(f"local:vztmpl/{uploaded.prefix(HERE)}web-")
        again = World(world.lab, world.host)  # another process: it finds what is there
        assert await again.bring(wanted) == found
        assert await again.bring(replace(wanted, digest=digest)) == found
        assert world.uploads() == 1
        assert world.lab.pve.refused == []
        path = tmp_path / "files/local/vztmpl" / found.volume.partition("/")[2]
        _is_an_archive(path)

    async def test_many_who_want_the_same(self, world: World, registry: Served) -> None:
        await registry.push("team/many", "1", [layer(a=b"many")])
        wanted = Wanted("lab", "pve1", "local", registry.name("team/many:1"), HERE)
        found = await world.bring(wanted, *(OwnerKey("LXCContainer", "homelab", f"web-{n}") for n in range(5)))
        assert isinstance(found, Template)
        digest = await world.bring(replace(wanted, digest=found.digest))  # by its digest it is the same archive
        assert digest == found
        assert world.uploads() == 1

    async def test_what_was_left_half_done_is_done_anew(self, world: World, registry: Served) -> None:
        await registry.push("team/half", "1", [layer(a=b"half")])
        wanted = Wanted("lab", "pve1", "local", registry.name("team/half:1"), HERE)
        found = await world.bring(wanted)
        assert isinstance(found, Template)
        volume = found.volume.removeprefix("local:")
        world.lab.pve.storages["local"]["volumes"][volume]["size"] = 17
        again = World(world.lab, world.host)
        assert await again.bring(wanted) == found
        assert world.uploads() == 2

    async def test_what_cant_be_had(self, world: World, registry: Served, locked: Served) -> None:
        missing = await world.bring(Wanted("lab", "pve1", "local", registry.name("no/such:1"), HERE))
        assert isinstance(missing, Stalled)
        private = await world.bring(Wanted("lab", "pve1", "local", locked.name("private/app:1"), HERE))
        assert isinstance(private, Stalled)
        assert private.reason == "AccessDenied"
        away = await world.bring(Wanted("lab", "pve1", "local", f"127.0.0.1:{free_port()}/x:1", HERE))
        assert isinstance(away, Transient)
        bad = await world.bring(Wanted("lab", "pve1", "local", "NO NAME", HERE))
        assert isinstance(bad, Stalled)

    async def test_no_init_for_an_architecture(self, world: World, registry: Served) -> None:
        def none(architecture: str) -> bytes:
            raise LookupError(f"this operator has no init for {architecture}")

        await registry.push("team/none", "1", [layer(a=b"none")])
        world.images.program = none
        wanted = Wanted("lab", "pve1", "local", registry.name("team/none:1"), HERE, architecture="arm64")
        refused = await world.bring(wanted)
        assert isinstance(refused, Stalled)
        assert "no init for arm64; build it with make init" in refused.message
        assert isinstance(await world.bring(replace(wanted, delivery="Plain")), Template)

    async def test_two_installations_never_share_one(self, world: World, registry: Served) -> None:
        await registry.push("team/two", "1", [layer(a=b"two")])
        wanted = Wanted("lab", "pve1", "local", registry.name("team/two:1"), HERE)
        mine, theirs = await world.bring(wanted), await world.bring(replace(wanted, installation="elsewhere"))
        assert isinstance(mine, Template)
        assert isinstance(theirs, Template)
        assert mine.volume != theirs.volume


class Sweep:
    """The clean-up of one process: ``seen`` is what its watch has told, ``listed`` what the API server says."""

    def __init__(self, world: World) -> None:
        self.world, self.seen, self.listed, self.leads = world, Store(), list[dict[str, Any]](), True
        self.refreshed: list[str] = []
        client = SimpleNamespace(list=self._list)
        hosts = SimpleNamespace(
            readings=lambda: {"lab": self.reading}, driver=lambda _: world.host, refresh=self.refreshed.append
        )
        context: Any = SimpleNamespace(
            hosts=hosts, store=self.seen, clock=world.tell, clusters=SimpleNamespace(installation=HERE),
            cluster=SimpleNamespace(client=client),
        )  # fmt: skip
        self.leftovers = Leftovers(context, world.images, lambda: self.leads)

    async def _list(self, gvk: Any) -> tuple[list[dict[str, Any]], str]:
        assert gvk.kind == "LXCContainer"
        return self.listed, "1"

    async def look(self, days: float = 0.0) -> None:
        self.world.later += days * IDLE
        self.reading = await hostlink.details(self.world.host, await self.world.host.resources())
        await self.leftovers.look()

    def uses(self, template: str) -> dict[str, Any]:
        return {
            "kind": "LXCContainer",
            "metadata": {"name": "web", "namespace": "homelab", "resourceVersion": "1"},
            "spec": {},
            "status": {"host": "lab", "template": template},
        }


async def _there(world: World) -> set[str]:
    return {one.id for one in await world.host.templates("pve1", "local")}


def _deletions(world: World) -> int:
    """On one node: a stand-in's ``local`` is the same on all nodes, which the clean-up doesn't know."""
    return sum(method == "DELETE" and path.startswith("/nodes/pve1/") for method, path in world.lab.pve.seen)


@pytest.fixture
async def two(world: World, registry: Served) -> tuple[World, str, str]:
    """Two templates of ours that a former process has uploaded."""
    world.lab.call(lambda: world.lab.pve.acl.update({TOKEN: [("/", {*ALL, "Datastore.Allocate"})]}))
    volumes = []
    for name in ("old", "older"):
        await registry.push(f"team/{name}", "1", [layer(a=name.encode())])
        found = await world.bring(Wanted("lab", "pve1", "local", registry.name(f"team/{name}:1"), HERE))
        assert isinstance(found, Template)
        volumes.append(found.volume)
    world.images = Images(world.woken.put_nowait, world.tell, lambda _: PROGRAM)
    return world, volumes[0], volumes[1]


class TestLeftovers:
    async def test_what_nothing_needs_goes_after_a_day(self, two: tuple[World, str, str]) -> None:
        world, used, unused = two
        other = f"local:vztmpl/{uploaded.prefix('elsewhere')}web-1.tar"
        world.lab.call(lambda: world.lab.pve.store_file("local", other.partition("/")[2], 1, "vztmpl"))
        before = await _there(world)
        sweep = Sweep(world)
        sweep.listed = [sweep.uses(used)]
        sweep.seen.put(sweep.listed[0])
        await sweep.look()
        await sweep.look(0.9)
        assert await _there(world) == before
        await sweep.look(0.2)
        assert await _there(world) == before - {unused}
        assert set(sweep.refreshed) == {"lab"}
        await sweep.look(3)
        assert _deletions(world) == 1

    async def test_both_go_one_after_the_other(self, two: tuple[World, str, str]) -> None:
        world, one, other = two
        sweep = Sweep(world)
        await sweep.look()
        await sweep.look(2)
        assert not {one, other} & await _there(world)
        asked = [
            method
            for method, path in world.lab.pve.seen
            if method == "DELETE" or ("imgdel" in path and "status" in path)
        ]
        assert asked == ["DELETE", "GET"] * 4  # a task is followed to its end before the next one
        assert _deletions(world) == 2

    async def test_without_the_privilege_they_stay(self, two: tuple[World, str, str]) -> None:
        world, *_ = two
        world.lab.call(lambda: world.lab.pve.acl.update({TOKEN: [("/", set(ALL))]}))
        before, sweep = await _there(world), Sweep(world)
        await sweep.look()
        await sweep.look(2)
        assert await _there(world) == before
        assert _deletions(world) == 0

    async def test_what_only_the_api_server_knows_to_be_needed_stays(self, two: tuple[World, str, str]) -> None:
        world, one, other = two
        sweep = Sweep(world)
        sweep.listed = [sweep.uses(one), {"spec": {"template": other}}]
        await sweep.look()
        await sweep.look(2)
        assert {one, other} <= await _there(world)
        assert _deletions(world) == 0

    async def test_only_the_leader(self, two: tuple[World, str, str]) -> None:
        world, *_ = two
        sweep = Sweep(world)
        await sweep.look()
        sweep.leads = False
        await sweep.look(2)
        sweep.leads = True
        await sweep.look()  # and it counts anew
        assert _deletions(world) == 0
        await sweep.look(1)
        assert _deletions(world) == 2

    async def test_what_was_asked_for_lately_stays_and_is_brought_again_later(
        self, two: tuple[World, str, str], registry: Served
    ) -> None:
        world, one, _ = two
        sweep = Sweep(world)
        await sweep.look()
        wanted = Wanted("lab", "pve1", "local", registry.name("team/old:1"), HERE)
        world.later += 0.9 * IDLE
        assert await world.bring(wanted) == Template(one, (await _digest_of(registry, "team/old")))
        await sweep.look(0.2)
        assert one in await _there(world)
        await sweep.look(0.9)
        await sweep.look(1)
        assert one not in await _there(world)
        uploads = world.uploads()
        again = await world.bring(wanted)
        assert isinstance(again, Template)
        assert again.volume in await _there(world)
        assert world.uploads() == uploads + 1

    async def test_one_that_cant_be_removed_doesnt_end_it(self, two: tuple[World, str, str]) -> None:
        world, one, other = two
        world.lab.call(lambda: world.lab.pve.script.fail_task("imgdel", "device busy"))
        sweep = Sweep(world)
        await sweep.look()
        await sweep.look(2)
        await sweep.look()
        await sweep.look()
        assert not {one, other} & await _there(world)

    async def test_an_answer_that_is_lost(self, two: tuple[World, str, str]) -> None:
        world, one, other = two
        sweep = Sweep(world)
        await sweep.look()
        first = min(one, other)
        path = f"/nodes/pve1/storage/local/content/{first}"
        world.lab.lose("DELETE", path)
        await sweep.look(2)
        await sweep.look()
        assert not {one, other} & await _there(world)
        assert _deletions(world) == 2
        assert world.lab.pve.lost == []


async def _digest_of(registry: Served, path: str) -> str:
    client = Registry()
    try:
        return (await client.image(Reference.parse(registry.name(f"{path}:1")), "amd64")).digest
    finally:
        await client.close()


def _is_an_archive(path: Path) -> None:
    """An OCI image as its specification has it, in which every blob is what its digest says."""
    with tarfile.open(path) as tar:
        files = {one.name: tar.extractfile(one).read() for one in tar if one.isreg()}  # type: ignore[union-attr]
    for name, content in files.items():
        if name.startswith("blobs/"):
            assert digest_of(content) == name.removeprefix("blobs/").replace("/", ":")
    (entry,) = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(files["blobs/" + entry["digest"].replace(":", "/")])
    config = json.loads(files["blobs/" + manifest["config"]["digest"].replace(":", "/")])
    assert config["config"] == {"Entrypoint": ["/.homeport/init"], "ExposedPorts": {"80/tcp": {}}}
    assert len(config["rootfs"]["diff_ids"]) == len(manifest["layers"]) == 3
    top = files["blobs/" + manifest["layers"][-1]["digest"].replace(":", "/")]
    assert config["rootfs"]["diff_ids"][-1] == digest_of(top)
    with tarfile.open(fileobj=io.BytesIO(top)) as tar:
        found = {one.name: (one.mode, tar.extractfile(one).read() if one.isreg() else None) for one in tar}  # type: ignore[union-attr]
    assert found[".homeport/init"] == (0o755, PROGRAM)
    kept = {name: CONFIG[name] for name in archive.ACTED_ON}
    assert json.loads(found[".homeport/image.json"][1] or b"") == {"config": kept}
