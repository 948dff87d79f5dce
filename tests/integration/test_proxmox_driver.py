"""The Proxmox driver against fakepve over HTTPS: what it reads, what it does, and what it makes of every fault."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakepve.certs import make_cert

from homeport.drivers.proxmox import errors
from homeport.drivers.proxmox.config import ConfigError, Endpoint, HostConfig, Token, Trust
from homeport.drivers.proxmox.host import Host
from homeport.plan.proxmox import addresses
from homeport.plan.proxmox.privileges import Use, missing, needs, roles
from homeport.plan.proxmox.properties import echo_macs
from homeport.plan.proxmox.readings import Identity
from homeport.plan.proxmox.tasks import End, TaskStatus
from localpve.networks import bridge
from proxmox_world import ALL, SECRET, TEMPLATE, TOKEN, ProxmoxWorld

pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")

OURS = {"hostname": "db", "ostemplate": f"local:vztmpl/{TEMPLATE}", "rootfs": "local-lvm:8", "unprivileged": True}


async def make(host: Host, vmid: int = 210, **options: Any) -> None:
    """A container of ours."""
    upid = await host.begin(f"db-{vmid}", "POST", "nodes", "pve1", "lxc", params={**OURS, "vmid": vmid, **options})
    assert (await host.task(upid)).succeeded


async def ended(host: Host, vmid: int, action: str) -> TaskStatus:
    """How a task on a container of pve1 ends."""
    return await host.task(await host.begin("x", "POST", "nodes", "pve1", "lxc", vmid, "status", action))


async def resize(host: Host, size: str) -> None:
    """A larger root disk, once that is done."""
    upid = await host.begin("x", "PUT", "nodes", "pve1", "lxc", 210, "resize", params={"disk": "rootfs", "size": size})
    assert (await host.task(upid)).succeeded


# --- reading --------------------------------------------------------------------------------------------------------


async def test_a_host_is_read(lab: ProxmoxWorld, host: Host) -> None:
    assert (await host.version()).text == "9.1.3"
    cluster = await host.cluster()
    assert (cluster.name, cluster.complete, dict(cluster.nodes)) == ("lab", True, {"pve1": True, "pve2": True})
    found = await host.resources()
    assert [(n.name, n.online, n.cpus) for n in found.nodes] == [("pve1", True, 4), ("pve2", True, 4)]
    assert [(g.vmid, g.name, g.node, g.status) for g in found.containers] == [
        (100, "pihole", "pve1", "running"),
        (101, "gitea", "pve1", "stopped"),
        (102, "media", "pve2", "running"),
    ]
    assert found.containers[0].tags == {"dns", "lan"}
    assert {(s.node, s.name) for s in found.storages} == {
        (n, s) for n in ("pve1", "pve2") for s in ("local", "local-lvm")
    }
    assert next(s for s in found.storages if s.name == "local").content >= {"vztmpl", "backup"}
    templates = await host.templates("pve1", "local")
    assert [(t.id, t.size) for t in templates] == [(f"local:vztmpl/{TEMPLATE}", 120 * 2**20)]
    assert set((await host.permissions())["/"]) == set(ALL)
    assert (await host.is_free(100), await host.is_free(210)) == (False, True)


async def test_the_inventory_is_one_call(lab: ProxmoxWorld, host: Host) -> None:
    await host.resources()
    assert lab.asked() == [("GET", f"/{path}") for path in ("version", "cluster/status", "cluster/resources")]
    await host.resources()
    assert lab.asked() == [("GET", "/cluster/resources")]


async def test_a_container_from_making_to_its_addresses(lab: ProxmoxWorld, host: Host) -> None:
    await make(host, net0="name=eth0,bridge=vmbr0,ip=10.20.0.10/24", tags="Homeport;db", features="nesting=1")
    found = await host.config("pve1", 210)
    assert (found.hostname, found.tags, found.unprivileged) == ("db", {"homeport", "db"}, True)
    assert found.rootfs is not None and found.rootfs.size == 8 * 2**30
    mac = found.networks["net0"].hwaddr
    assert mac is not None

    started = await host.begin("db-210", "POST", "nodes", "pve1", "lxc", 210, "status", "start")
    assert (started.type, (await host.task(started)).end) == ("vzstart", End.OK)
    assert (await host.interfaces("pve1", 210))[0][:2] == ("eth0", mac)
    assert (await host.interfaces("pve1", 210))[0].addresses == ("10.20.0.10/24",)
    log = await host.task_log(started, 1)
    assert log == ("TASK OK",)

    digest = (await host.config("pve1", 210)).digest
    await host.configure("pve1", 210, {"memory": 1024, "nameserver": "10.20.0.1"}, digest=digest)
    assert (await host.config("pve1", 210)).memory == 1024
    assert await host.pending("pve1", 210) == (("nameserver", None, "10.20.0.1"),)


async def test_a_network_without_its_mac_gets_another(lab: ProxmoxWorld, host: Host) -> None:
    await make(host, net0="name=eth0,bridge=vmbr0")
    before = await host.config("pve1", 210)
    net = before.networks["net0"]
    await host.configure("pve1", 210, {"net0": "name=eth0,bridge=vmbr0,tag=20"}, digest=before.digest)
    other = await host.config("pve1", 210)
    assert other.networks["net0"].hwaddr != net.hwaddr
    # The same with the echo.
    sent = echo_macs({"net0": replace(other.networks["net0"], hwaddr=None, tag=30)}, other.networks)
    await host.configure("pve1", 210, {"net0": sent["net0"].render()}, digest=other.digest)
    last = (await host.config("pve1", 210)).networks["net0"]
    assert (last.hwaddr, last.tag) == (other.networks["net0"].hwaddr, 30)


# --- what PVE refuses -----------------------------------------------------------------------------------------------


async def test_refusals_are_typed(lab: ProxmoxWorld, host: Host) -> None:
    await make(host)
    found = await host.config("pve1", 210)
    with pytest.raises(errors.DigestConflict):
        await host.configure("pve1", 210, {"cores": 2}, digest="0" * 40)
    with pytest.raises(errors.NotFound):
        await host.config("pve1", 999)
    with pytest.raises(errors.Exists):
        await make(host, 100)
    with pytest.raises(errors.AlreadyThisSize):
        await resize(host, "8G")
    with pytest.raises(errors.ProxmoxError, match="unable to shrink"):
        await resize(host, "1G")
    path = ("nodes", "pve1", "lxc")
    upid = await host.begin("x", "POST", *path, params={**OURS, "vmid": 211, "ostemplate": "local:vztmpl/n.tar.zst"})
    assert "does not exist" in (await host.task(upid)).message
    assert (await ended(host, 210, "start")).succeeded
    with pytest.raises(errors.AlreadyRunning):
        await ended(host, 210, "start")
    with pytest.raises(errors.NotRunning):
        await ended(host, 101, "stop")
    lab.call(lambda: lab.pve.snapshot_lock(210, "backup"))
    with pytest.raises(errors.Locked) as held:
        await host.configure("pve1", 210, {"cores": 2}, digest=(await host.config("pve1", 210)).digest)
    assert held.value.lock == "backup"
    lab.call(lambda: lab.pve.unlock(210))
    lab.call(lab.pve.lose_quorum)
    with pytest.raises(errors.NoQuorum):
        await host.configure("pve1", 210, {"cores": 2}, digest=found.digest)


async def test_a_parameter_that_pve_does_not_know_is_said(lab: ProxmoxWorld, host: Host) -> None:
    with pytest.raises(errors.InvalidParameters) as refused:
        await host.client.call("PUT", "nodes", "pve1", "lxc", 100, "config", params={"colour": "blue"})
    assert "colour" in refused.value.fields
    assert lab.pve.refused and not lab.pve.refused.clear()


async def test_a_name_can_not_leave_its_place(lab: ProxmoxWorld, host: Host) -> None:
    with pytest.raises(ValueError, match="no name"):
        await host.templates("..", "local")
    with pytest.raises(errors.ProxmoxError):
        await host.templates("pve1/../../access", "local")
    assert all("/access" not in path or "%2F" in path or "pve1" in path for _, path in lab.asked())
    lab.pve.refused.clear()


async def test_a_missing_privilege_is_named(lab: ProxmoxWorld, host: Host) -> None:
    lab.call(lambda: lab.pve.acl.update({TOKEN: [("/", {"Sys.Audit", "VM.Audit"})]}))
    with pytest.raises(errors.Forbidden) as refused:
        await host.configure("pve1", 101, {"cores": 2}, digest="x")
    assert (refused.value.path, refused.value.privilege) == (
        "/vms/101",
        "VM.Config.Disk|VM.Config.CPU|VM.Config.Memory|VM.Config.Network|VM.Config.Options",
    )
    assert (await host.resources()).storages == ()


USE = Use(storages=["local-lvm"], bridges=["vmbr0"])
WANTED = needs([USE], ["local"])


def grants_of(without: tuple[str, str] | None = None) -> list[tuple[str, set[str]]]:
    """What `homeport proxmox role` has granted, with one privilege on one path taken away again."""
    made, granted = roles(WANTED)
    held = [(path, {name for role in names for name in made[role]}) for path, names in granted]
    return [(path, names - {without[1]} if without and without[0] == path else names) for path, names in held]


async def a_life(host: Host) -> None:
    """All that is done to a container, from its template to its end, and what is looked at for it."""
    cluster, found = await host.cluster(), await host.resources()
    assert cluster.complete and len(found.guests) == 3 and all(node.memory for node in found.nodes)
    assert {storage.name for storage in found.storages} == {"local", "local-lvm"}
    assert await host.templates("pve1", "local")
    params = {"storage": "local", "template": "alpine-3.22-default_20250617_amd64.tar.xz"}
    fetched = await host.begin("template", "POST", "nodes", "pve1", "aplinfo", params=params)
    assert (await host.task(fetched)).succeeded
    net = "name=eth0,bridge=vmbr0,ip=dhcp,tag=20"
    await make(host, net0=net, mp0="local-lvm:1,mp=/srv,backup=1", features="nesting=1", tags="homeport", onboot=True)
    assert (await ended(host, 210, "start")).succeeded
    found_config = await host.config("pve1", 210)
    options = {"cores": 2, "memory": 1024, "swap": 0, "description": "x", "mp1": "local-lvm:1,mp=/more"}
    options["net0"] = found_config.networks["net0"].render()
    await host.configure("pve1", 210, options, digest=found_config.digest)
    await resize(host, "9G")
    assert (await host.interfaces("pve1", 210))[0].name == "eth0"
    assert (await ended(host, 210, "stop")).succeeded
    gone = await host.begin("db-210", "DELETE", "nodes", "pve1", "lxc", 210, params={"purge": True})
    assert (await host.task(gone)).succeeded and await host.is_free(210)


async def test_the_role_is_enough_for_a_containers_life(lab: ProxmoxWorld, host: Host) -> None:
    lab.call(lambda: lab.pve.acl.update({TOKEN: grants_of()}))
    assert missing(await host.permissions(), WANTED) == ()
    await a_life(host)


@pytest.mark.parametrize("path, privilege", sorted({(need.path, need.privilege) for need in WANTED}))
async def test_without_any_of_it_something_fails_and_is_named(
    lab: ProxmoxWorld, host: Host, path: str, privilege: str
) -> None:
    lab.call(lambda: lab.pve.acl.update({TOKEN: grants_of((path, privilege))}))
    if privilege == "Sys.Audit":
        # Without it nothing is admitted at all.
        with pytest.raises(errors.Forbidden, match=re.escape("(/, Sys.Audit)")):
            await host.permissions()
        return
    assert [(need.path, need.privilege) for need in missing(await host.permissions(), WANTED)] == [(path, privilege)]
    if privilege in ("VM.Audit", "Datastore.Audit"):
        # What can't be seen isn't refused: it isn't there. So the host isn't used without them.
        with pytest.raises(AssertionError):
            await a_life(host)
        return
    with pytest.raises(errors.Forbidden) as refused:
        await a_life(host)
    if privilege == "VM.Allocate":
        # PVE doesn't say which (pve-container, create_vm); what the token lacks is in the host's status.
        assert refused.value.message == "Permission check failed" and not refused.value.root_only
        return
    assert privilege in str(refused.value.privilege).split("|")
    assert str(refused.value.path).startswith(path)


async def test_a_bridge_that_may_not_be_used_is_not_listed(lab: ProxmoxWorld, host: Host) -> None:
    lab.call(lambda: lab.pve.bridges["pve1"].update(vmbr7=bridge("vmbr7", vlan_aware=False, ports="eno7")))
    found = {b.name: (b.vlan_aware, b.ports) for b in await host.bridges("pve1")}
    assert found["vmbr0"] == (True, True) and found["vmbr7"] == (False, True)
    lab.call(lambda: lab.pve.acl.update({TOKEN: grants_of()}))
    assert [b.name for b in await host.bridges("pve1")] == ["vmbr0"]


async def test_the_configurations_of_strangers_tell_their_addresses(lab: ProxmoxWorld, host: Host) -> None:
    lab.call(lambda: lab.pve.ct(101).config.update(net0="name=eth0,bridge=vmbr0,ip=10.20.0.9/24"))
    options = await host.guest_options("pve1", "lxc", 101)
    assert [str(found) for found in addresses.configured(options)] == ["10.20.0.9"]


async def test_a_token_that_is_revoked(lab: ProxmoxWorld, host: Host) -> None:
    await host.resources()
    lab.call(lab.pve.apitokens.clear)
    with pytest.raises(errors.Unauthorized):
        await host.resources()
    lab.call(lambda: lab.pve.apitokens.update({TOKEN: SECRET}))
    assert (await host.resources()).nodes


@pytest.mark.parametrize("version", ["7.4-17", "10.0.1", "rolling"])
async def test_versions_that_are_not_known_are_refused(lab: ProxmoxWorld, host: Host, version: str) -> None:
    lab.pve.version = version
    with pytest.raises(errors.UnsupportedVersion, match=r"8\.x and 9\.x work"):
        await host.resources()
    assert lab.asked().count(("GET", "/cluster/resources")) == 0


# --- tasks ----------------------------------------------------------------------------------------------------------


async def test_tasks_end_as_they_do(lab: ProxmoxWorld, host: Host) -> None:
    lab.call(lambda: setattr(lab.pve.ct(101), "start_error", "startup for container '101' failed"))
    upid = await host.begin("a", "POST", "nodes", "pve1", "lxc", 101, "status", "start")
    found = await host.task(upid)
    assert (found.end, found.message) == (End.FAILED, "startup for container '101' failed")
    lab.call(lambda: lab.pve.tasks[str(upid)].update(exitstatus="WARNINGS: 2"))
    assert (await host.task(upid))[1:] == (End.WARNINGS, "WARNINGS: 2", 2)


async def test_a_task_in_flight_is_polled_and_found_by_another(lab: ProxmoxWorld, host: Host) -> None:
    lab.call(lambda: (setattr(lab.pve, "time_scale", 1.0), setattr(lab.pve.ct(101), "start_secs", 3600)))
    upid = await host.begin("a", "POST", "nodes", "pve1", "lxc", 101, "status", "start")
    assert (await host.task(upid)).running
    after_restart = Host(lab.config())
    after_restart.resume("a", upid)
    assert (await after_restart.task(upid)).running and len(after_restart.slots) == 1
    lab.call(lambda: lab.pve.tasks[str(upid)].update(status="stopped", exitstatus="OK"))
    assert (await after_restart.task(upid)).end is End.OK and len(after_restart.slots) == 0
    await after_restart.close()


async def test_no_more_tasks_run_than_may(lab: ProxmoxWorld) -> None:
    host = Host(lab.config(concurrent_tasks=1))
    lab.call(lambda: (setattr(lab.pve, "time_scale", 1.0), setattr(lab.pve.ct(101), "start_secs", 3600)))
    path = ("POST", "nodes", "pve1", "lxc", 101, "status", "start")
    upid = await host.begin("a", *path)
    lab.asked()
    with pytest.raises(errors.Busy, match="as many as limits"):
        await host.begin("b", *path)
    with pytest.raises(errors.Busy, match="the last task for a hasn't ended yet"):
        await host.begin("a", *path)
    assert lab.asked() == []
    lab.call(lambda: lab.pve.tasks[str(upid)].update(status="stopped", exitstatus="OK"))
    await host.task(upid)
    with pytest.raises(errors.Exists):
        await make(host, 100)
    assert len(host.slots) == 0  # a refusal has freed its own
    await host.close()


async def test_the_end_of_a_long_log(lab: ProxmoxWorld, host: Host) -> None:
    upid = await host.begin("a", "POST", "nodes", "pve1", "lxc", 101, "status", "start")
    lab.call(lambda: lab.pve.tasks[str(upid)].update(log=[f"line {n}" for n in range(1234)]))
    assert await host.task_log(upid, 2) == ("line 1232", "line 1233")


# --- whom to trust --------------------------------------------------------------------------------------------------


async def test_a_certificate_is_known_by_its_fingerprint(lab: ProxmoxWorld) -> None:
    host = Host(lab.config(Trust(fingerprint=lab.fingerprint)))
    assert (await host.resources()).nodes
    await host.close()


async def test_a_wrong_fingerprint_gets_no_token(lab: ProxmoxWorld) -> None:
    host = Host(lab.config(Trust(fingerprint="AA:" * 31 + "AA")))
    with pytest.raises(errors.Untrusted, match="isn't trusted") as refused:
        await host.begin("a", "POST", "nodes", "pve1", "lxc", 101, "status", "start")
    assert lab.fingerprint.replace(":", "").lower() in str(refused.value).replace(":", "").lower()
    assert lab.asked() == []
    await host.close()


async def test_a_certificate_that_nobody_vouches_for(lab: ProxmoxWorld, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    stranger, _, _ = make_cert(str(other), name="stranger", hosts=("127.0.0.1",))
    host = Host(lab.config(Trust(ca=Path(stranger).read_text())))
    with pytest.raises(errors.Untrusted):
        await host.resources()
    assert lab.asked() == []
    await host.close()
    with pytest.raises(ValueError, match="PEM"):
        Host(lab.config(Trust(ca="nonsense")))


async def test_insecure_takes_anything(lab: ProxmoxWorld) -> None:
    host = Host(lab.config(Trust(insecure=True)))
    assert (await host.resources()).nodes
    await host.close()


@pytest.mark.parametrize(
    "make_wrong",
    [
        lambda: Token("root@pam", "x"),
        lambda: Token(TOKEN, ""),
        lambda: Token(TOKEN, "two words"),
        Trust,
        lambda: Trust(ca="x", insecure=True),
        lambda: Trust(fingerprint="AA:BB"),
        lambda: Endpoint("http://pve1:8006", Trust(insecure=True)),
        lambda: Endpoint("https://pve1:8006/api2", Trust(insecure=True)),
        lambda: HostConfig((), Token(TOKEN, SECRET)),
    ],
)
def test_what_can_not_be_used_is_said(make_wrong: Any) -> None:
    with pytest.raises(ConfigError):
        make_wrong()


def test_the_secret_is_not_shown() -> None:
    assert SECRET not in repr(Token(TOKEN, SECRET))


async def test_nothing_secret_is_logged(lab: ProxmoxWorld, host: Host, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("proxmoxer.core").setLevel(logging.DEBUG)
    await make(host, password="correct-horse")
    lab.fail("POST", "/lxc", 500, "boom")
    with pytest.raises(errors.ProxmoxError) as failed:
        await make(host, 211, password="correct-horse")
    assert "correct-horse" not in caplog.text + str(failed.value) + repr(failed.value)
    assert SECRET not in caplog.text


# --- endpoints that fail --------------------------------------------------------------------------------------------


async def test_another_endpoint_takes_over_and_is_kept(lab: ProxmoxWorld, host: Host) -> None:
    first, second = lab.urls
    await host.resources()
    assert host.client.endpoint == first
    lab.go(0)
    assert (await host.resources()).nodes
    assert host.client.endpoint == second
    lab.come_back(0)
    await host.resources()
    assert host.client.endpoint == second
    lab.go(1)
    await make(host)  # nothing was sent where nobody listens: a write goes on as well
    assert host.client.endpoint == first


async def test_a_host_that_is_gone_names_every_endpoint(lab: ProxmoxWorld, host: Host) -> None:
    lab.go(0)
    lab.go(1)
    with pytest.raises(errors.Unreachable) as gone:
        await host.resources()
    assert all(url in str(gone.value) for url in lab.urls) and "refused" in str(gone.value)
    with pytest.raises(errors.Unreachable):
        await make(host)
    lab.come_back(0)
    assert (await host.resources()).nodes


async def test_an_endpoint_that_has_become_another_cluster_is_noticed(lab: ProxmoxWorld, host: Host) -> None:
    assert (await host.cluster()).name == "lab"
    lab.pve.cluster_name = "attic"
    with pytest.raises(errors.OtherCluster, match="belongs to cluster attic"):
        await host.cluster()
    with pytest.raises(errors.OtherCluster):
        await host.resources()
    lab.pve.cluster_name = "lab"
    assert (await host.resources()).nodes


async def test_no_change_goes_over_a_connection_that_was_not_looked_at(lab: ProxmoxWorld, host: Host) -> None:
    await make(host)
    looks = [("GET", "/version"), ("GET", "/cluster/status")]
    assert lab.asked()[:3] == [*looks, ("POST", "/nodes/pve1/lxc")]
    await host.configure("pve1", 210, {"cores": 2}, digest=(await host.config("pve1", 210)).digest)
    # The connection is kept, and was looked at.
    assert [path for method, path in lab.asked() if method == "PUT" or path == "/version"].count("/version") <= 1
    lab.pve.closes.add("/nodes/pve1/lxc/210/config")
    await host.config("pve1", 210)
    await host.config("pve1", 210)
    lab.asked()
    lab.pve.cluster_name = "attic"  # the name leads elsewhere now, and nothing was read since
    with pytest.raises(errors.OtherCluster, match="belongs to cluster attic"):
        await make(host, 211)
    assert lab.asked() == looks * len(host.client.config.endpoints)
    with pytest.raises(errors.OtherCluster):
        await host.is_free(211)  # what is done on it can't be undone
    lab.pve.cluster_name = "lab"
    assert await host.is_free(211)


async def test_an_endpoint_that_ends_each_connection_gets_no_change(lab: ProxmoxWorld, host: Host) -> None:
    lab.pve.closes.add("/cluster/status")
    with pytest.raises(errors.Unreachable, match="it closes each connection before anything can be asked"):
        await make(host)
    assert "POST" not in {method for method, _ in lab.asked()}
    assert len(host.slots) == 0
    lab.pve.closes.clear()
    await make(host)


async def test_a_failover_to_another_cluster_is_refused(lab: ProxmoxWorld, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    other = ProxmoxWorld(tmp_path / "b", endpoints=1)
    other.pve.cluster_name = "attic"
    try:
        trust = Trust(insecure=True)
        endpoints = (Endpoint(lab.urls[0], trust), Endpoint(other.urls[0], trust))
        host = Host(HostConfig(endpoints, Token(TOKEN, SECRET)))
        await host.resources()
        lab.go(0)
        with pytest.raises(errors.OtherCluster, match=r"belongs to cluster attic .* this host is cluster lab"):
            await make(host)
        assert ("POST", "/nodes/pve1/lxc") not in other.asked()
        lab.come_back(0)
        assert (await host.resources()).nodes
        await host.close()
        # Also after a restart: which cluster it was is remembered.
        host = Host(HostConfig(endpoints[1:], Token(TOKEN, SECRET)), identity=Identity("lab", frozenset({"pve1"})))
        with pytest.raises(errors.OtherCluster):
            await host.resources()
        await host.close()
    finally:
        other.stop()


@pytest.mark.parametrize(("status", "message"), [(595, "No route to host"), (596, "Broken pipe"), (502, "Bad Gateway")])
async def test_no_answer_to_a_change_is_an_unknown_end(
    lab: ProxmoxWorld, host: Host, status: int, message: str
) -> None:
    await host.resources()
    lab.fail("POST", "/lxc", status, message)
    with pytest.raises(errors.OutcomeUnknown, match=message):
        await make(host)
    assert len(host.slots) == 0
    assert [call for call in lab.asked() if call[0] == "POST"] == [
        ("POST", "/nodes/pve1/lxc")
    ]  # once, and nowhere else


@pytest.mark.parametrize("status", [595, 596, 503])
async def test_a_read_is_tried_elsewhere(lab: ProxmoxWorld, host: Host, status: int) -> None:
    await host.resources()
    lab.asked()
    lab.fail("GET", "/cluster/resources", status, "try again", times=1)
    assert (await host.resources()).nodes
    assert [path for _, path in lab.asked()].count("/cluster/resources") == 2


async def test_a_node_that_is_down_is_said_so(lab: ProxmoxWorld, host: Host) -> None:
    lab.call(lambda: lab.pve.nodes["pve2"].update(online=False))
    with pytest.raises(errors.NodeUnreachable):
        await host.config("pve2", 102)
    found = await host.resources()
    assert found.offline() == ("pve2",) and next(g for g in found.containers if g.vmid == 102).status == "unknown"
    assert not (await host.cluster()).complete


async def test_an_answer_that_is_lost_after_the_deed(lab: ProxmoxWorld, host: Host) -> None:
    await host.resources()
    lab.lose("POST", "/nodes/pve1/lxc")
    with pytest.raises(errors.OutcomeUnknown):
        await make(host)
    assert not await host.is_free(210)  # it had happened: looking tells, repeating would not
    lab.lose("GET", "/cluster/resources")
    assert (await host.resources()).nodes  # a read is asked again


async def test_no_answer_in_time(lab: ProxmoxWorld) -> None:
    host = Host(lab.config(timeout=0.3))
    await host.resources()
    lab.call(lambda: (setattr(lab.pve, "time_scale", 1.0), lab.pve.slow_network(5)))
    with pytest.raises(errors.OutcomeUnknown, match=r"no answer within 0.3 s"):
        await host.begin("a", "POST", "nodes", "pve1", "lxc", 101, "status", "start")
    with pytest.raises(errors.Unreachable, match=r"no answer within 0.3 s"):
        await host.resources()
    await host.close()


async def test_a_page_that_is_not_proxmox(lab: ProxmoxWorld, host: Host) -> None:
    lab.fail("GET", "/version", 200, "<html>It works!</html>", html=True)
    with pytest.raises(errors.Unreachable, match="isn't Proxmox VE"):
        await host.resources()
    lab.heal()
    await host.resources()
    lab.fail("POST", "/lxc", 200, "<html>It works!</html>", html=True)
    with pytest.raises(errors.OutcomeUnknown):
        await make(host)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("can't lock file '/run/lock/lxc/pve-config-101.lock' - got timeout", errors.Locked),
        ("CT is locked (migrate)", errors.Locked),
        ("cluster not ready - no quorum?", errors.NoQuorum),
        ("can't remove CT 101 - protection mode enabled", errors.Protected),
        ("something that nobody has seen before", errors.ProxmoxError),
    ],
)
async def test_sentences_arrive_whole(lab: ProxmoxWorld, host: Host, message: str, kind: type[Exception]) -> None:
    lab.fail("PUT", "/config", 500, message + "\nand a second line")
    with pytest.raises(kind) as refused:
        await host.configure("pve1", 101, {"cores": 2}, digest="x")
    assert type(refused.value) is kind and str(refused.value) == message + " and a second line"


# --- threads --------------------------------------------------------------------------------------------------------


async def test_many_calls_share_few_threads(lab: ProxmoxWorld, host: Host) -> None:
    found = await asyncio.gather(*(host.config("pve1", 100) for _ in range(60)))
    assert {f.hostname for f in found} == {"pihole"}
    assert sum(thread.name.startswith("proxmox-127.0.0.1") for thread in threading.enumerate()) <= 8 * 2


async def test_a_host_that_was_given_up_answers_nothing(lab: ProxmoxWorld, host: Host) -> None:
    await host.resources()
    await host.close()
    with pytest.raises(errors.Unreachable, match="given up"):
        await host.resources()
