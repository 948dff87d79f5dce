"""The first server whose container is lost: it joins the others, and never begins a second, empty cluster."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pulumi
import pytest
from test_k3s_config import BLOCK
from test_k3s_install import FIT

from homeport.drivers import ssh
from homeport.drivers.ssh import Done
from homeport_clusters import components, k3s_checks, k3s_install, k3s_nodes
from homeport_clusters.config import Cluster
from homeport_clusters.k3s_install import Node
from homeport_clusters.k3s_nodes import Access, Files
from homeport_clusters.providers.base import ProviderError
from homeport_clusters.providers.k3s import K3sProvider
from pulumi_mocks import mocked

FIRST = Node("home-server-1", "server", "10.20.5.11", cluster_init=True, token="s3cret")
WHERE = k3s_checks.Where("home-server-1", 210, "pve1")
FILES = Files("/nowhere/k3s", "ab" * 32)
OTHERS = [Access("10.20.5.12", "key"), Access("10.20.5.13", "key")]


@dataclass
class Machine:
    """What is behind an address: ``data`` is its answer to ``HAS_DATA``, ``forgets`` how it forgets a node."""

    data: str = ""
    brought: str = ""
    forgets: Done = field(default_factory=lambda: Done(0))
    fingerprint: str = "SHA256:x"
    forgotten: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)

    async def run(self, command: str, stdin: str = "", seconds: float = 30.0) -> Done:
        """As a container with k3s answers."""
        answers = {k3s_checks.SCRIPT: "\n".join(f"{key}={value}" for key, value in FIT.items()),
                   k3s_install.HAS_DATA: self.data,
                   k3s_install.look(FIRST): f"binary={FILES.binary_sha256}\n{self.brought}",
                   k3s_install.ready_command(FIRST.name): "True", k3s_install.API_READY: "ok",
                   k3s_install.ready_command("home-server-2"): "True"}  # fmt: skip
        for name in (FIRST.name, "home-server-2"):
            if command == k3s_install.forget_command(name):
                self.forgotten.append(name)
                return self.forgets
        if stdin.startswith("set -eu"):
            self.scripts.append(stdin)
        return Done(0, answers.get(stdin or command, "kubeconfig"))

    def close(self) -> None:
        """Nothing is open."""


class World(dict[str, Machine]):
    """By address; one that isn't in it can't be reached."""

    async def connect(self, address: str, private: str, known: str = "") -> Any:
        """In place of SSH."""
        if address not in self:
            raise ssh.SshError(f"{address} doesn't answer")
        return self[address]

    def join(self) -> None:
        """The second server."""
        node = replace(FIRST, name="home-server-2", address="10.20.5.12", cluster_init=False, join="https://10.20.5.11")
        access, server = Access(node.address, "key"), Access(FIRST.address, "key")
        asyncio.run(k3s_nodes.install(node, access, WHERE, FILES, server))

    def install(self) -> k3s_nodes.Installed:
        """The first server, as its provider does it."""
        access = Access(FIRST.address, "key")
        return asyncio.run(k3s_nodes.install(FIRST, access, WHERE, FILES, None, OTHERS))

    @property
    def started(self) -> list[str]:
        """How often the first server was started."""
        return self[FIRST.address].scripts


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    found = World({FIRST.address: Machine(), "10.20.5.12": Machine(), "10.20.5.13": Machine()})
    monkeypatch.setattr("homeport.drivers.ssh.connect", found.connect)
    monkeypatch.setattr(k3s_nodes, "SSHD", -1.0)
    return found


def digest(**more: Any) -> str:
    """Of the first server as it should have been started."""
    return k3s_install.digest(Node(**{**FIRST.__dict__, **more}), *FILES.digests.values())


def test_the_first_of_all_begins_the_cluster(world: World) -> None:
    assert world.install().digest == digest() and len(world.started) == 1
    assert not any(machine.forgotten for machine in world.values())


def test_a_lost_one_joins_a_server_that_has_the_data(world: World) -> None:
    world["10.20.5.13"].data = "data=yes"
    assert world.install().digest == digest(join="https://10.20.5.13:6443", cluster_init=False)
    assert world["10.20.5.13"].forgotten == [FIRST.name], "etcd takes no second member of a name"
    assert world["10.20.5.12"].forgotten == []


def test_one_that_has_its_data_goes_on_as_it_is(world: World) -> None:
    """A restart, a second run after one that was killed, and one server that becomes three."""
    world["10.20.5.12"].data = "data=yes"
    world[FIRST.address].data = "data=yes\nserver=https://10.20.5.12:6443"
    assert world.install().digest == digest(join="https://10.20.5.12:6443", cluster_init=False)
    world[FIRST.address].data = "data=yes"
    assert world.install().digest == digest()
    assert not world["10.20.5.12"].forgotten, "its own node isn't forgotten"


def test_where_nobody_can_tell_nothing_is_begun(world: World) -> None:
    del world["10.20.5.12"]
    told = r"(?s)home-server-1 has no data, and beginning now would make a second cluster.*10\.20\.5\.12 doesn't answer"
    with pytest.raises(ProviderError, match=told):
        world.install()
    assert world.started == []
    # Another one knows.
    world["10.20.5.13"].data = "data=yes"
    assert world.install().digest == digest(join="https://10.20.5.13:6443", cluster_init=False)


def test_a_name_is_free_before_a_new_container_joins_with_it(world: World) -> None:
    """When the first server was lost, too, nobody could be told that the second one goes."""
    world.join()
    assert world[FIRST.address].forgotten == ["home-server-2"]
    world["10.20.5.12"].brought = "digest=abc"
    world.join()
    assert world[FIRST.address].forgotten == ["home-server-2"], "one that runs is never forgotten"


def test_without_a_quorum_nothing_is_begun(world: World) -> None:
    world["10.20.5.13"] = Machine("data=yes", forgets=Done(1, "", "etcdserver: request timed out"))
    with pytest.raises(ProviderError, match=r"(?s)can't forget a lost home-server-1: etcdserver.*--cluster-reset"):
        world.install()
    assert world.started == []


def test_the_shell_sees_data_and_whom_it_joined(tmp_path: Path) -> None:
    joined = Node("home-server-1", "server", "10.20.5.11", join="https://10.20.5.12:6443", args=("--debug",))
    script = k3s_install.HAS_DATA.replace("/var/lib", f"{tmp_path}").replace("/etc/systemd/system", f"{tmp_path}")

    def look() -> dict[str, str]:
        done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=True)
        return k3s_install.told(done.stdout)

    assert look() == {}
    database = tmp_path / "rancher/k3s/server/db"
    (database / "etcd/member/wal").mkdir(parents=True)
    assert look() == {}, "a folder alone is no data"
    (database / "etcd/member/wal/0-0.wal").write_text("x")
    (tmp_path / "k3s.service").write_text(k3s_install.unit(joined))
    assert look() == {"data": "yes", "server": joined.join}
    (tmp_path / "k3s.service").write_text(k3s_install.unit(FIRST))
    (database / "etcd/member/wal/0-0.wal").unlink()
    (database / "state.db").write_text("x")
    assert look() == {"data": "yes"}


# --- what it is told ------------------------------------------------------------------------------------------------


class Engine(pulumi.runtime.Mocks):
    """Takes everything; containers have the addresses that were asked for."""

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, Any]] = {}

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        """A resource with its inputs as outputs."""
        outs = dict(args.inputs)
        if args.typ.endswith("LxcContainer"):
            address = args.inputs["container"]["address"].partition("/")[0]
            outs |= {"address": address, "mac": args.name, "vmid": 200, "node": "pve1", "remains": []}
        if args.typ.endswith("K3sShared"):
            outs |= {"private_key": "key", "public_key": "public", "fingerprint": "SHA256:k", "token": "s3cret"}
        if args.typ.endswith("K3sNode"):
            self.nodes[args.name] = dict(args.inputs)
            outs |= {"host_key": "SHA256:h", "digest": "d", "kubeconfig": "clusters: [{cluster: {server: https://x}}]"}
        return args.name, outs

    def call(self, args: pulumi.runtime.MockCallArgs) -> dict[Any, Any]:
        """None is expected."""
        raise AssertionError(args.token)


def test_the_first_is_told_of_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PVE_TOKEN_SECRET", "x")
    engine = mocked(Engine(), project="homeport-clusters", stack="lab")
    spec = Cluster.model_validate({"name": "home", "type": "k3s", "k3s": BLOCK})
    pulumi.runtime.test(lambda: components.cluster(spec, components.Context("lab", tmp_path)) and None)()
    first = engine.nodes["home-server-1-k3s"]
    assert first["others"] == ["10.20.5.12", "10.20.5.13"] and not first.get("join")
    joining = {name: node.get("join") for name, node in engine.nodes.items() if "join" in node}
    assert len(joining) == 4 and set(joining.values()) == {"https://10.20.5.11:6443"}


def test_a_server_more_is_no_change_of_the_first() -> None:
    olds = {"mac": "a", "others": ["10.20.5.12", "10.20.5.13"], "digest": "d"}
    provider = K3sProvider()
    assert not provider.diff("x", olds, {"mac": "a", "others": []}).changes
    assert provider.diff("x", olds, {"mac": "b", "others": []}).replaces == ["mac"]
