"""k3s on a Proxmox VE: real `up`, `refresh` and `destroy` by Pulumi's engine on the stand-in, whose guests are systems
with a real sshd; and what is found there already, or is in the way. What is k3s here: tests/k3s_stand_in.sh."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from kubernetes import config as kubernetes_config

import k3s_guests
from homeport.drivers import ssh
from homeport.drivers.proxmox.host import Host
from homeport_clusters import lxc_containers, lxc_preflight
from homeport_clusters.lxc_containers import Ask
from homeport_clusters.providers import base, lxc
from homeport_clusters.providers import k3s as nodes
from proxmox_world import SECRET, TOKEN, ProxmoxWorld
from stack_cli import Cli

NET = f"127.{64 + os.getpid() % 128}.{os.getpid() // 128 % 250}"
"""Addresses of this machine that no other run of these tests has."""
KEY = ssh.public_key(ssh.new_key())
ASK = Ask(
    installation="clusters.lab", cluster="home", name="home-server-1", key=ssh.fingerprint(KEY), public_key=KEY,
    template="debian-12", storage="local-lvm", disk="8Gi", memory="2Gi", cores=2, bridge="vmbr0",
    address=f"{NET}.11/24",
)  # fmt: skip
THEIRS = [100, 101, 102]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ProxmoxWorld]:
    found = ProxmoxWorld(tmp_path, 1, k3s_guests.K3sStandIn())
    yield found
    found.call(found.pve.guests.stop)
    found.stop()


@pytest.fixture
def guests(world: ProxmoxWorld, tmp_path: Path) -> k3s_guests.Guests:
    if why := k3s_guests.missing():
        pytest.skip(why)
    found = k3s_guests.Guests(world.pve, tmp_path / "guests")  # type: ignore[arg-type]
    world.pve.guests = found  # type: ignore[assignment]
    return found


def props(world: ProxmoxWorld, ask: Ask = ASK) -> dict[str, Any]:
    """The inputs of a container's resource."""
    endpoint = {"url": world.urls[0], "fingerprint": world.fingerprint}
    host = {"endpoints": [endpoint], "tokenId": TOKEN, "concurrentTasks": 4}
    return {"host": host, "token_secret": SECRET, "container": lxc.told_of(ask)}


def ours(world: ProxmoxWorld) -> list[int]:
    return world.call(lambda: sorted(ct.vmid for ct in world.pve.cts if ct.vmid not in THEIRS))


def writes(world: ProxmoxWorld) -> list[tuple[str, str]]:
    return [call for call in world.asked() if call[0] != "GET"]


def findings(world: ProxmoxWorld, *asks: Ask) -> lxc_preflight.Findings:
    async def look() -> lxc_preflight.Findings:
        async with lxc_containers.opened(lambda: Host(world.config())) as host:
            return await lxc_preflight.look(host, asks)

    return base.run(look())


# --- one container ----------------------------------------------------------------------------------------------------


def test_a_container_is_made_with_what_was_said_and_found_again(world: ProxmoxWorld) -> None:
    provider = lxc.LxcProvider()
    made = provider.create(props(world))
    assert (made.id, made.outs["address"], made.outs["remains"]) == ("pve1/103", f"{NET}.11", [])
    [posted] = world.pve.made  # type: ignore[attr-defined]
    assert posted == {
        "node": "pve1", "vmid": 103, "ostemplate": "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst",
        "unprivileged": 1, "features": "nesting=1", "rootfs": "local-lvm:8", "cores": 2, "memory": 2048, "swap": 0,
        "hostname": "home-server-1", "onboot": 1, "start": 0, "tags": "homeport;k3s", "ssh-public-keys": f"{KEY}\n",
        "net0": f"name=eth0,bridge=vmbr0,ip={NET}.11/24",
        "description": "k3s cluster home, made by `homeport cluster`\n"
        f"homeport.dev/ssh-key={ASK.key}\n\nhomeport.dev/owner=clusters.lab/home/home-server-1/103",
    }  # fmt: skip
    world.asked()
    # The state was lost between the host's answer and Pulumi's own: create runs again.
    again = provider.create(props(world))
    assert again.outs == made.outs and writes(world) == [] and ours(world) == [103]
    assert provider.read(made.id, made.outs).outs["drift"] == []
    assert provider.update(made.id, made.outs, props(world)).outs == made.outs and writes(world) == []
    # Somebody changes it by hand; the next up mends it.
    world.call(lambda: world.pve.ct(103).config.update(cores=1))
    assert provider.read(made.id, made.outs).outs["drift"] == ["cores"]
    provider.update(made.id, made.outs, props(world))
    assert [path for _, path in writes(world)] == ["/nodes/pve1/lxc/103/config"]
    provider.delete(made.id, made.outs)
    assert ours(world) == [] and provider.read(made.id, made.outs).id == ""
    provider.delete(made.id, made.outs)  # what is gone is well


def test_an_answer_that_is_lost_makes_no_second_container(world: ProxmoxWorld) -> None:
    world.lose("POST", "/nodes/pve1/lxc")
    provider = lxc.LxcProvider()
    try:
        made = provider.create(props(world))
    except base.ProviderError:
        made = provider.create(props(world))
    assert ours(world) == [made.outs["vmid"]] and len(world.pve.made) == 1  # type: ignore[attr-defined]


def test_while_one_is_being_made_no_other_is(world: ProxmoxWorld) -> None:
    """A run was killed in the middle: its creation is under way, and has no mark yet."""

    async def begun() -> None:
        async with lxc_containers.opened(lambda: Host(world.config())) as host:
            await lxc_containers._make(host, ASK)

    def slow() -> None:
        world.pve.time_scale = 1.0
        world.pve.ct_secs.update(create=2)

    world.call(slow)
    base.run(begun())
    lxc_containers._OURS.clear()  # another process
    made = lxc.LxcProvider().create(props(world))
    assert ours(world) == [made.outs["vmid"]] and len(world.pve.made) == 1  # type: ignore[attr-defined]


def test_a_group_is_spread_over_the_nodes(world: ProxmoxWorld) -> None:
    lxc_containers._PLACED.clear()
    made = [lxc.LxcProvider().create(props(world, replace(ASK, name=f"home-server-{n}", address=f"{NET}.{n}/24")))
            for n in range(1, 5)]  # fmt: skip
    assert sorted(one.outs["node"] for one in made) == ["pve1", "pve1", "pve2", "pve2"]
    assert len({one.outs["vmid"] for one in made}) == 4


def test_what_is_not_this_stacks_is_not_touched(world: ProxmoxWorld) -> None:
    provider = lxc.LxcProvider()
    made = provider.create(props(world))
    other = ssh.public_key(ssh.new_key())
    stranger = props(world, replace(ASK, key=ssh.fingerprint(other), public_key=other))
    world.asked()
    with pytest.raises(base.ProviderError, match=r"container 103 \(home-server-1\) was made by another stack"):
        provider.create(stranger)
    with pytest.raises(base.ProviderError, match="isn't touched"):
        provider.delete(made.id, {**made.outs, **stranger})
    world.call(lambda: world.pve.ct(103).config.update(description="mine now"))
    with pytest.raises(base.ProviderError, match="VMID 103 is taken by what doesn't have the mark of home-server-1"):
        provider.delete(made.id, made.outs)
    assert writes(world) == [] and ours(world) == [103]


def test_a_protected_container_stays(world: ProxmoxWorld) -> None:
    provider = lxc.LxcProvider()
    made = provider.create(props(world))
    world.call(lambda: world.pve.ct(103).config.update(protection=1))
    with pytest.raises(base.ProviderError, match="pct set 103 --protection 0"):
        provider.delete(made.id, made.outs)
    assert ours(world) == [103]


# --- before anything is made ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"template": "ubuntu-24"}, "there is no template ubuntu-24: the host has local:vztmpl/debian-12"),
        ({"storage": "tank"}, "pve1: it has no storage tank"),
        ({"storage": "local"}, "storage local isn't for containers"),
        ({"bridge": "vmbr7"}, "it has no bridge vmbr7 that the token may use (those are: vmbr0, vmbr1, vmbr9)"),
        ({"node": "pve9"}, "there is no node pve9 of Proxmox VE; write some of pve1, pve2 in nodes"),
        ({"vlan": 30, "bridge": "vmbr1"}, "its bridge vmbr1 isn't aware of VLANs and has no port"),
    ],
)  # fmt: skip
def test_what_a_host_cannot_give_is_said_before(world: ProxmoxWorld, change: dict[str, Any], told: str) -> None:
    found = findings(world, replace(ASK, **change))
    assert len(found.problems) == 1 and told in found.problems[0], found
    assert writes(world) == []


def test_a_fit_host_has_nothing_against_it(world: ProxmoxWorld) -> None:
    assert findings(world, ASK).problems == ()
    lxc.LxcProvider().create(props(world))
    assert findings(world, ASK).problems == (), "its own container isn't in its way"
    other = replace(ASK, name="home-agent-1")
    assert findings(world, other).problems == (
        f"{NET}.11, which home-agent-1 is to have, is that of guest 103 (home-server-1) on pve1; write another address",
    )


def test_a_right_that_lacks_is_said_with_the_commands(world: ProxmoxWorld) -> None:
    def take_away() -> None:
        for grants in world.pve.acl.values():
            grants[:] = [(path, set(held) - {"VM.Allocate"}, *rest) for path, held, *rest in grants]

    world.call(take_away)
    [told] = findings(world, ASK).problems
    assert "lacks VM.Allocate on /vms" in told and "pveum role add" in told


# --- all of it --------------------------------------------------------------------------------------------------------


def content(world: ProxmoxWorld, servers: int, agents: int) -> dict[str, Any]:
    """A cluster.yaml."""
    digest = hashlib.sha256(k3s_guests.K3S.read_bytes()).hexdigest()
    block = {
        "proxmox": {
            "endpoints": [{"url": world.urls[0], "fingerprint": world.fingerprint}],
            "tokenId": TOKEN,
            "tokenSecret": {"file": "token"},
        },
        "template": "debian-12",
        "storage": "local-lvm",
        "network": {"bridge": "vmbr0", "cidr": f"{NET}.0/24", "gateway": f"{NET}.1"},
        "servers": {"count": servers, "addresses": [f"{NET}.{11 + n}" for n in range(servers)]},
        "agents": {"count": agents, "memory": "1Gi", "addresses": [f"{NET}.{21 + n}" for n in range(agents)]},
        "release": {"version": "v1.35.4+k3s1", "binary": {"source": str(k3s_guests.K3S), "sha256": digest}},
        # Where the tests run overlayfs may be on overlayfs, which the kernel refuses.
        "snapshotter": "native",
    }
    none = {name: {"enabled": False} for name in ("ingress", "certManager", "metricsServer", "storageClass")}
    cluster = {"name": "home", "type": "k3s", "k3s": block, "addons": none}
    return {"name": "lab", "clusters": [cluster], "homeport": {"enabled": False}}


def ready(kubeconfig: dict[str, Any]) -> list[str]:
    """The nodes that are Ready."""
    api = client.CoreV1Api(kubernetes_config.new_client_from_config_dict(kubeconfig))
    conditions = {one.metadata.name: one.status.conditions for one in api.list_node().items}
    return sorted(
        name for name, all_ in conditions.items() if any(c.type == "Ready" and c.status == "True" for c in all_)
    )


@pytest.fixture
def cli(world: ProxmoxWorld, tmp_path: Path) -> Cli:
    (tmp_path / "token").write_text(SECRET)
    return Cli(tmp_path)


@pytest.mark.timeout(900)
def test_up_refresh_and_destroy(world: ProxmoxWorld, guests: k3s_guests.Guests, cli: Cli) -> None:
    cli.write(content(world, 3, 1))
    # A node that an administrator has yet to set up: it is said with the commands, and the next up goes on.
    guests.kernel.pop("proc/net/bridge/bridge-nf-call-iptables")
    assert "modprobe br_netfilter && printf" in cli.run("up", "lab", code=1)
    guests.kernel["proc/net/bridge/bridge-nf-call-iptables"] = "1\n"
    for guest in guests.all.values():
        bridge = guest.root / "kernel/proc/net/bridge/bridge-nf-call-iptables"
        bridge.parent.mkdir(parents=True, exist_ok=True)
        bridge.write_text("1\n")
    made = cli.run("up", "lab", "--show-secrets")
    names = ["home-agent-1", "home-server-1", "home-server-2", "home-server-3"]
    assert len(world.pve.made) == 4 and len(ours(world)) == 4  # type: ignore[attr-defined]
    kubeconfig = yaml.safe_load(made["outputs"]["kubeconfigs"]["home"])
    assert kubeconfig["clusters"][0]["cluster"]["server"] == f"https://{NET}.11:6443"
    assert ready(kubeconfig) == names
    # Nothing secret is readable in the state, nor in what was told.
    token = kubeconfig["users"][0]["user"]["token"]
    private = "BEGIN OPENSSH PRIVATE KEY"
    state = "".join(path.read_text(errors="replace") for path in cli.state.rglob("*") if path.is_file())
    assert "home-server-1" in state
    assert all(secret not in text for secret in (token, private, SECRET) for text in (state, cli.said))
    world.asked()
    again = cli.run("up", "lab")
    assert set(again["changes"]) == {"same"} and writes(world) == []
    assert again["outputs"]["kubeconfigs"] == "[secret]"
    restarts = [guest.log("systemctl").count("restart") for guest in guests.all.values()]
    assert restarts == [1, 1, 1, 1], "nothing was started twice"
    assert set(cli.run("refresh", "lab")["changes"]) == {"same"}
    # An agent less: the cluster forgets it, and its container goes.
    cli.write(content(world, 3, 0))
    cli.run("up", "lab")
    assert ready(kubeconfig) == names[1:] and len(ours(world)) == 3
    cli.run("destroy", "lab", "--yes")
    assert ours(world) == [] and sorted(ct.vmid for ct in world.pve.cts) == THEIRS


def test_a_preview_says_what_a_host_cannot_give(world: ProxmoxWorld, cli: Cli) -> None:
    given = content(world, 1, 0)
    given["clusters"][0]["k3s"]["network"]["bridge"] = "vmbr7"
    cli.write(given)
    assert "it has no bridge vmbr7 that the token may use" in cli.run("preview", "lab", code=1)
    (cli.folder / "token").unlink()
    said = cli.run("preview", "lab", code=1)
    assert "token can't be read: No such file" in said and "Traceback" not in said
    assert writes(world) == []


def test_a_wrong_digest_is_not_used(guests: k3s_guests.Guests, world: ProxmoxWorld) -> None:
    made = lxc.LxcProvider()
    shared = nodes.SharedProvider().create({"cluster": "home"}).outs
    ask = replace(ASK, key=shared["fingerprint"], public_key=shared["public_key"])
    container = made.create(props(world, ask)).outs
    given = {
        "k3s": nodes.told_of(nodes.Node("home-server-1", "server", "", snapshotter="native")), "cluster": "home",
        "address": container["address"], "mac": container["mac"], "vmid": container["vmid"], "pve_node": "pve1",
        "private_key": shared["private_key"], "token": shared["token"], "api": f"https://{NET}.11:6443",
        "binary": str(k3s_guests.K3S), "binary_sha256": "ab" * 32,
    }  # fmt: skip
    with pytest.raises(base.ProviderError, match=r"has the SHA-256 [0-9a-f]{64}, and cluster\.yaml says abab"):
        nodes.K3sProvider().create(given)
    assert not (guests.all[container["vmid"]].root / "usr/local/bin/k3s").exists()
    assert shared["token"] not in repr(nodes._node(given)) and "PRIVATE" not in repr(nodes._access(given))
