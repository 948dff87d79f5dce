"""The stand-in behaves as Proxmox VE's sources say, where fakepve alone doesn't."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import Any

import aiohttp
import pytest

from homeport.drivers.proxmox import errors
from homeport.drivers.proxmox.config import Token
from homeport.drivers.proxmox.host import Host
from homeport.plan.proxmox.tasks import TaskStatus
from proxmox_world import ALL, SECRET, TEMPLATE, TOKEN, ProxmoxWorld

LXC = ("nodes", "pve1", "lxc")
OURS = {"ostemplate": f"local:vztmpl/{TEMPLATE}", "rootfs": "local-lvm:8", "unprivileged": True}
NET = "name=eth0,bridge=vmbr0,ip=dhcp"


async def done(host: Host, method: str, *path: str | int, **params: Any) -> TaskStatus:
    upid = await host.begin("x", method, *path, params={k.replace("_", "-"): v for k, v in params.items()})
    return await host.task(upid)


async def make(host: Host, vmid: int, **options: Any) -> None:
    found = await done(host, "POST", *LXC, vmid=vmid, **{**OURS, **options})
    assert found.succeeded, found.message


async def raw(host: Host, vmid: int) -> dict[str, Any]:
    found: dict[str, Any] = await host.client.call("GET", *LXC, vmid, "config")
    return found


def archive(**config: Any) -> bytes:
    """A small OCI archive."""
    blobs: dict[str, bytes] = {}

    def blob(value: Any) -> dict[str, Any]:
        data = json.dumps(value).encode()
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        blobs["blobs/" + digest.replace(":", "/")] = data
        return {"digest": digest, "size": len(data)}

    manifest = blob({"config": blob({"architecture": "amd64", "config": config}), "layers": []})
    blobs["index.json"] = json.dumps({"manifests": [manifest]}).encode()
    blobs["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in blobs.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


async def upload(lab: ProxmoxWorld, name: str, data: bytes, **fields: str) -> tuple[int, Any]:
    """As a browser does it."""
    form = aiohttp.FormData()
    for key, value in {"content": "vztmpl", **fields}.items():
        form.add_field(key, value)
    form.add_field("filename", data, filename=name)
    url = f"{lab.urls[0]}/api2/json/nodes/pve1/storage/local/upload"
    headers = {"Authorization": f"PVEAPIToken={TOKEN}={SECRET}"}
    async with aiohttp.ClientSession() as session, session.post(url, data=form, headers=headers, ssl=False) as answer:
        return answer.status, await answer.json()


async def templates(host: Host) -> list[str]:
    return [volume.id for volume in await host.templates("pve1", "local")]


# --- templates ------------------------------------------------------------------------------------------------------


async def test_a_template_is_there_only_when_its_download_has_ended(lab: ProxmoxWorld, host: Host) -> None:
    offered = await host.client.call("GET", "nodes", "pve1", "aplinfo")
    name = next(entry["template"] for entry in offered if entry["os"] == "debian-13")
    assert (await done(host, "POST", "nodes", "pve1", "aplinfo", storage="local", template=name)).succeeded
    assert f"local:vztmpl/{name}" in await templates(host)
    # While it runs, it isn't there, and the log tells how far it is.
    lab.call(lambda: setattr(lab.pve, "time_scale", 1.0))
    lab.call(lambda: setattr(lab.pve, "download_secs", 3600.0))
    other = next(entry["template"] for entry in offered if entry["os"] == "alpine")
    upid = await host.begin("y", "POST", "nodes", "pve1", "aplinfo", params={"storage": "local", "template": other})
    assert (await host.task(upid)).running and f"local:vztmpl/{other}" not in await templates(host)
    assert "downloading http" in (await host.task_log(upid))[0]
    with pytest.raises(errors.InvalidParameters, match="no such template"):
        await host.begin(
            "z", "POST", "nodes", "pve1", "aplinfo", params={"storage": "local", "template": "none.tar.zst"}
        )


async def test_a_download_by_url(lab: ProxmoxWorld, host: Host) -> None:
    lab.call(lambda: lab.pve.grant(TOKEN, "/nodes/pve1", "Sys.AccessNetwork"))
    path, url = ("nodes", "pve1", "storage", "local", "download-url"), "https://example.com/a.tar.zst"
    lab.pve.remote[url] = {"size": 64 * 2**20, "sha256": "ab"}
    fetch = {"content": "vztmpl", "url": url, "filename": "my a.tar.zst"}
    found = await done(host, "POST", *path, **fetch, checksum_algorithm="sha256", checksum="cd")
    assert found.message == "checksum mismatch: got 'ab' != expect 'cd'"
    found = await done(host, "POST", *path, **fetch, checksum_algorithm="sha256", checksum="ab")
    assert found.succeeded and "local:vztmpl/my_a.tar.zst" in await templates(host)
    assert " 50% " in (await host.task_log(found.upid))[1] and "100%" in (await host.task_log(found.upid))[2]
    assert "refusing to override" in (await done(host, "POST", *path, **fetch)).message
    with pytest.raises(errors.InvalidParameters):
        await host.begin("z", "POST", *path, params={**fetch, "filename": "a.iso"})
    lab.pve.remote[url] = {"error": "404 Not Found"}
    assert not (await done(host, "POST", *path, **{**fetch, "filename": "b.tar.zst"})).succeeded


async def test_an_oci_archive_replaces_what_was_posted(lab: ProxmoxWorld, host: Host) -> None:
    data = archive(Entrypoint=["/bin/web", "-a b"], Env=["PATH=/bin", "A=1 2"], User="10:20", WorkingDir="/srv")
    assert (await upload(lab, "web-1.tar", data, **{"checksum": "0", "checksum-algorithm": "sha256"}))[0] == 200
    assert lab.pve.tasklog[-1]["exitstatus"].startswith("checksum mismatch")
    digest = hashlib.sha256(data).hexdigest()
    await upload(lab, "web-1.tar", data, **{"checksum": digest, "checksum-algorithm": "sha256"})
    template = "local:vztmpl/web-1.tar"
    assert template in await templates(host)
    await make(host, 210, ostemplate=template, entrypoint="/mine", env="MINE=1", net0=NET)
    found = await raw(host, 210)
    assert (found["entrypoint"], found["env"]) == ("/bin/web '-a b'", "PATH=/bin\0A=1 2")
    assert "host-managed=1" in found["net0"]
    assert ["lxc.init.uid", "10"] in found["lxc"] and ["lxc.init.cwd", "/srv"] in found["lxc"]
    # env is for those who may change options.
    lab.call(lambda: lab.pve.acl.update({TOKEN: [("/", set(ALL) - {"VM.Config.Options"})]}))
    assert "env" not in await raw(host, 210)
    assert "env" not in [entry["key"] for entry in await host.client.call("GET", *LXC, 210, "pending")]


async def test_an_oci_archive_is_no_template_before_9_1(lab: ProxmoxWorld) -> None:
    lab.pve.version = "8.4.1"
    assert (await upload(lab, "web.tar", archive()))[0] == 400
    lab.pve.refused.clear()


# --- networks -------------------------------------------------------------------------------------------------------


async def test_bridges(lab: ProxmoxWorld, host: Host) -> None:
    found = await host.client.call("GET", "nodes", "pve1", "network", params={"type": "any_bridge"})
    assert [entry["iface"] for entry in found] == ["vmbr0", "vmbr1", "vmbr9"]
    await make(host, 210, net0="name=eth0,bridge=vmbr7")
    assert "bridge 'vmbr7' does not exist" in (await done(host, "POST", *LXC, 210, "status", "start")).message
    grants = [("/", set(ALL) - {"SDN.Use"}), ("/sdn/zones/localnetwork/vmbr0/20", {"SDN.Use"})]
    lab.call(lambda: lab.pve.acl.update({TOKEN: grants}))
    with pytest.raises(errors.Forbidden):
        await host.begin("z", "POST", *LXC, params={**OURS, "vmid": 211, "net0": NET})
    await make(host, 211, net0=f"{NET},tag=20")
    assert await host.client.call("GET", "nodes", "pve1", "network", params={"type": "bridge"}) == []


async def test_addresses(lab: ProxmoxWorld, host: Host) -> None:
    await make(host, 210, net0=NET, net1="name=eth1,bridge=vmbr0,ip=10.20.0.7/24,ip6=fd00::7/64")
    assert (await done(host, "POST", *LXC, 210, "status", "start")).succeeded
    one, two = await host.interfaces("pve1", 210)
    assert one.addresses[0].startswith("10.20.1.") and two.addresses == ("10.20.0.7/24", "fd00::7/64")
    assert (await host.interfaces("pve1", 210))[0] == one


# --- volumes --------------------------------------------------------------------------------------------------------


async def test_a_volume_moves_to_another_container(lab: ProxmoxWorld, host: Host) -> None:
    await make(host, 210, mp0="local-lvm:4,mp=/data,backup=1")
    await make(host, 211)
    move = (*LXC, 210, "move_volume")
    with pytest.raises(errors.ProxmoxError, match="rootfs"):
        await host.begin("z", "POST", *move, params={"volume": "rootfs", "target-vmid": 211, "target-volume": "mp0"})
    assert (await done(host, "POST", *LXC, 210, "status", "start")).succeeded
    with pytest.raises(errors.ProxmoxError, match="source CT is running"):
        await host.begin("z", "POST", *move, params={"volume": "mp0", "target-vmid": 211})
    assert (await done(host, "POST", *LXC, 210, "status", "stop")).succeeded
    found = await done(host, "POST", *move, volume="mp0", target_vmid=211)
    assert found.succeeded, found.message
    assert "mp0" not in await raw(host, 210)
    assert (await raw(host, 211))["mp0"].startswith("local-lvm:vm-211-disk-1,backup=1,mp=/data")
    with pytest.raises(errors.ProxmoxError, match="does not exist"):
        await host.begin("z", "POST", *move, params={"volume": "mp0", "target-vmid": 211})
    await make(host, 212, mp0="local-lvm:1,mp=/d")
    with pytest.raises(errors.ProxmoxError, match="already in use"):
        await host.begin("z", "POST", *LXC, 212, "move_volume", params={"volume": "mp0", "target-vmid": 211})


async def test_a_volume_moves_to_another_storage(lab: ProxmoxWorld, host: Host) -> None:
    lab.pve.storages["fast"] = {**lab.pve.storages["local-lvm"], "files": set()}
    await make(host, 210)
    assert (await done(host, "POST", *LXC, 210, "move_volume", volume="rootfs", storage="fast")).succeeded
    found = await raw(host, 210)
    assert found["rootfs"].startswith("fast:vm-210-disk-") and found["unused0"] == "local-lvm:vm-210-disk-0"


async def test_a_storage_that_is_not_on_the_node(lab: ProxmoxWorld, host: Host) -> None:
    lab.pve.storages["far"] = {**lab.pve.storages["local-lvm"], "files": set(), "nodes": "pve2"}
    with pytest.raises(errors.ProxmoxError, match="not available on node"):
        await host.begin("z", "POST", *LXC, params={**OURS, "vmid": 210, "rootfs": "far:8"})


# --- the rest -------------------------------------------------------------------------------------------------------


async def test_without_quorum_nothing_is_written(lab: ProxmoxWorld, host: Host) -> None:
    lab.call(lab.pve.lose_quorum)
    assert "Permission denied" in (await done(host, "DELETE", *LXC, 101)).message
    assert (await done(host, "PUT", *LXC, 101, "resize", disk="rootfs", size="+1G")).succeeded is False
    lab.call(lab.pve.regain_quorum)
    assert lab.pve.ct(101).config["rootfs"].endswith("size=8G")


async def test_tasks_are_listed_from_the_archive(lab: ProxmoxWorld, host: Host) -> None:
    assert (await done(host, "POST", *LXC, 101, "status", "start")).succeeded
    lab.call(lambda: setattr(lab.pve, "time_scale", 1.0))
    lab.call(lambda: setattr(lab.pve.ct(101), "stop_secs", 3600))
    stopping = await host.begin("y", "POST", *LXC, 101, "status", "stop")

    async def types(**params: Any) -> list[str]:
        found = await host.client.call("GET", "nodes", "pve1", "tasks", params=params)
        return [task["type"] for task in found]

    assert await types(vmid=101) == ["vzstart"] and await types(vmid=101, source="active") == ["vzstop"]
    assert await types(source="all", typefilter="vzstop") == ["vzstop"] and await types(errors=1) == []
    unknown = stopping._replace(text=stopping.text.replace(":vzstop:", ":vzother:"))
    with pytest.raises(errors.NotFound, match="no such task"):
        await host.task(unknown)


async def test_a_destroyed_container_takes_its_privileges_along(lab: ProxmoxWorld, host: Host) -> None:
    lab.call(lambda: lab.pve.grant("ann@pve", "/vms/101", "VM.Audit"))
    assert (await done(host, "DELETE", *LXC, 101, purge=True)).succeeded
    assert lab.pve.acl["ann@pve"] == []


async def test_the_lock_is_waited_for(lab: ProxmoxWorld, host: Host) -> None:
    lab.call(lambda: setattr(lab.pve, "time_scale", 0.01))
    lab.do(lab.pve.hold_config_lock(101, 5))
    digest = (await host.config("pve1", 101)).digest
    await host.configure("pve1", 101, {"cores": 2}, digest=digest)
    lab.do(lab.pve.hold_config_lock(101, 60))
    with pytest.raises(errors.Locked, match="got timeout"):
        await host.configure("pve1", 101, {"cores": 3}, digest=(await host.config("pve1", 101)).digest)


async def test_a_token_without_a_privilege(lab: ProxmoxWorld) -> None:
    lab.call(lambda: lab.pve.apitokens.update({"other@pve!run": "s"}))
    lab.call(lambda: lab.pve.grant("other@pve!run", "/", "Sys.Audit"))
    other = Host(lab.config(token=Token("other@pve!run", "s"), timeout=5.0))
    try:
        for method, *path in (
            ("POST", *LXC, 100, "status", "stop"),
            ("DELETE", *LXC, 100),
            ("POST", "nodes", "pve1", "storage", "local", "download-url"),
        ):
            params = {"url": "https://example.com/a.tar.zst", "content": "vztmpl", "filename": "a.tar.zst"}
            with pytest.raises(errors.Forbidden):
                await other.begin("x", method, *path, params=params if "storage" in path else None)
    finally:
        await other.close()
