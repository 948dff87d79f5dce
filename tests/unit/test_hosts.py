"""ProxmoxHosts without a network: what a reading becomes in status, and when which part of it is read."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.api.kinds import BY_NAME
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource, parse
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.drivers.memory import MemoryClient
from homeport.drivers.proxmox import errors
from homeport.drivers.proxmox.config import HostConfig
from homeport.engine.hosts import DETAILS, LOST, Hosts
from homeport.engine.store import Store
from homeport.outcome import Ok, Outcome, Stalled, Transient, Wait
from homeport.plan import host as host_plan
from homeport.plan.proxmox.bridges import Bridge
from homeport.plan.proxmox.privileges import ROLE, Feature
from homeport.plan.proxmox.readings import ClusterStatus, Guest, Identity, Node, Resources, Storage, Version, Volume
from homeport.plan.world import HostReading, HostWorld

NOW = datetime(2026, 1, 15, tzinfo=UTC)
ALL = {"/": {name: 1 for feature in (Feature.INVENTORY, Feature.CONTAINERS) for name in ROLE[feature]}}
RESOURCES = Resources(
    (Node("a", True, 8, 16 * 2**30, 0.1, 2**30), Node("b", True, 8, 16 * 2**30, 0.2, 2**30)),
    (
        Storage("a", "local", "dir", frozenset({"vztmpl", "backup"}), False, True, 2**40, 2**30),
        Storage("a", "nfs", "nfs", frozenset({"vztmpl"}), True, True, 2**40, 2**30),
        Storage("b", "nfs", "nfs", frozenset({"vztmpl"}), True, True, 2**40, 2**30),
    ),
    (Guest(100, "lxc", "a", "pihole", "running"), Guest(101, "lxc", "b", "db", "stopped", frozenset({"homeport"}))),
)
CLUSTER = ClusterStatus("lab", True, {"a": True, "b": True}, "a")
READING = HostReading(
    Version(9, 1, 3, "9.1.3"), CLUSTER, ALL, {"a": (Volume("local:vztmpl/x", "vztmpl", 2**20),)}, RESOURCES
)


def a_host(
    status: dict[str, Any] | None = None, annotations: dict[str, str] | None = None, **spec: Any
) -> Resource[Any]:
    return parse(a_body(status, annotations, **spec))


def a_body(
    status: dict[str, Any] | None = None, annotations: dict[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    base = {
        "endpoints": ["https://pve1.lab:8006"],
        "credentialsSecretRef": {"namespace": "system", "name": "token"},
        "tls": {"insecure": True},
    }
    metadata = {"name": "lab", "uid": "1", "generation": 1, "annotations": annotations or {}}
    body = {
        "apiVersion": "homeport.dev/v1alpha1",
        "kind": "ProxmoxHost",
        "metadata": metadata,
        "spec": {**base, **spec},
    }
    return {**body, "status": status or {}}


def told(reading: HostReading | None, problem: Outcome | None = None, **spec: Any) -> tuple[dict[str, Any], Outcome]:
    return host_plan.status(a_host(**spec), HostWorld(NOW, "home-1", reading, problem), {"version": "9.0"})


# --- what it becomes in status --------------------------------------------------------------------------------------


def test_a_reading_becomes_a_status_that_fits_its_schema() -> None:
    fields, outcome = told(READING)
    assert outcome == Ok("Proxmox VE 9.1.3, 2 of 2 nodes online")
    BY_NAME["ProxmoxHost"].status.model_validate(fields)
    assert fields["installationID"] == "home-1" and fields["containers"] == {"managed": 1, "unmanaged": 1}
    assert [s["nodes"] for s in fields["storages"]] == [["a"], ["a", "b"]]
    assert fields["nodes"][0] == {"name": "a", "status": "online", "cpus": 8, "memory": "16Gi"}
    assert fields["templates"] == [{"name": "local:vztmpl/x", "size": "1Mi", "nodes": ["a"]}]


@given(st.floats(0, 1), st.integers(0, 2**40), st.integers(0, 10**6))
def test_usage_is_in_no_status(fraction: float, number: int, seconds: int) -> None:
    found = RESOURCES._replace(
        nodes=tuple(n._replace(cpu_used=fraction, memory_used=number) for n in RESOURCES.nodes),
        storages=tuple(s._replace(used=number, size=number) for s in RESOURCES.storages),
        guests=tuple(g._replace(cpu_used=fraction, memory_used=number, uptime=seconds) for g in RESOURCES.guests),
    )
    assert told(dataclasses.replace(READING, resources=found)) == told(READING)


def test_what_can_not_be_read_stays_as_it_was() -> None:
    problem = Transient("ProgressingWithRetry", "gone")
    assert told(None, problem) == ({"version": "9.0"}, problem)
    assert told(READING, problem)[1] is problem and told(READING, problem)[0]["version"] == "9.1.3"
    assert isinstance(told(None)[1], Wait)


def test_without_what_it_takes_to_see_the_host_it_is_stalled() -> None:
    outcome = told(dataclasses.replace(READING, permissions={"/": {"Sys.Audit": 1, "Datastore.Audit": 1}}))[1]
    assert isinstance(outcome, Stalled) and outcome.reason == "AccessDenied" and "VM.Audit on /vms" in outcome.message


def test_a_privilege_that_a_project_needs_is_listed() -> None:
    held = {"/": dict.fromkeys(ROLE[Feature.INVENTORY], 1)}
    fields, outcome = told(
        dataclasses.replace(READING, permissions=held), projects=[{"name": "home", "bridges": ["vmbr0"]}]
    )
    assert isinstance(outcome, Ok) and "the token lacks 9 privileges for Containers" in outcome.message
    last = {"feature": "Containers", "path": "/sdn/zones/localnetwork/vmbr0", "privilege": "SDN.Use"}
    assert last in fields["permissions"]["missing"]


def test_no_quorum() -> None:
    outcome = told(dataclasses.replace(READING, cluster=CLUSTER._replace(quorate=False)))[1]
    assert isinstance(outcome, Wait) and outcome.reason == "NoQuorum"


def test_offline_nodes_are_named() -> None:
    def degraded(*online: bool) -> Any:
        nodes = tuple(Node(name, up) for name, up in zip("ab", online, strict=True))
        reading = dataclasses.replace(READING, resources=RESOURCES._replace(nodes=nodes))
        return HostWorld(NOW, "", reading).conditions

    assert degraded(True, True) == {}
    assert degraded(True, False) == {"Degraded": ("NodeOffline", "node b is offline")}
    assert degraded(False, False) == {"Degraded": ("NodeOffline", "nodes a, b are offline")}


def test_lists_are_bounded() -> None:
    many = tuple(Volume(f"local:vztmpl/{n:04}", "vztmpl", 1) for n in range(999))
    fields, _ = told(dataclasses.replace(READING, templates={"a": many}))
    BY_NAME["ProxmoxHost"].status.model_validate(fields)
    assert len(fields["templates"]) == 256


def test_which_cluster_it_was_is_remembered() -> None:
    status = {"clusterName": "lab", "nodes": [{"name": "a"}, {"name": "b"}]}
    assert host_plan.identity(a_host(status)) == Identity("lab", frozenset("ab"))
    assert host_plan.identity(a_host()) is None


# --- when it is read ------------------------------------------------------------------------------------------------


class Driver:
    """What the engine asks a host, and what it is answered."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.found = RESOURCES
        self.fault: Exception | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.options: dict[int, dict[str, str]] = {}
        self.closed = False
        self.config: HostConfig | None = None
        self.identity: Identity | None = None

    def connect(self, config: HostConfig, *, identity: Identity | None) -> Any:
        self.config, self.identity = config, identity
        return self

    def on_room(self, told: Any) -> None:
        """Nothing is begun here."""

    def release(self, owner: str) -> None:
        self.asked.append(f"release {owner}")

    def _answer(self, what: str, value: Any) -> Any:
        self.asked.append(what)
        if self.fault is not None:
            raise self.fault
        return value

    async def resources(self) -> Resources:
        await self.go_on.wait()
        return self._answer("resources", self.found)  # type: ignore[no-any-return]

    async def version(self) -> Version:
        return self._answer("version", READING.version)  # type: ignore[no-any-return]

    async def cluster(self) -> ClusterStatus:
        return self._answer("cluster", CLUSTER)  # type: ignore[no-any-return]

    async def firewall(self) -> bool:
        return False

    async def permissions(self) -> Any:
        return self._answer("permissions", ALL)

    async def templates(self, node: str, storage: str) -> tuple[Volume, ...]:
        return self._answer(f"templates {node}/{storage}", (Volume(f"{storage}:vztmpl/x", "vztmpl", 1),))  # type: ignore[no-any-return]

    async def bridges(self, node: str) -> tuple[Bridge, ...]:
        return self._answer(f"bridges {node}", (Bridge("vmbr0", "bridge"),))  # type: ignore[no-any-return]

    async def guest_options(self, node: str, kind: str, vmid: int) -> dict[str, str]:
        return self._answer(f"config {node}/{kind}/{vmid}", self.options.get(vmid, {}))  # type: ignore[no-any-return]

    async def close(self) -> None:
        self.closed = True


DETAILED = ["resources", "version", "cluster", "permissions", "templates a/local", "templates a/nfs", "bridges a"]
DETAILED += ["bridges b"]


class Bench:
    """Hosts with a driver in memory and a clock that only the test turns."""

    def __init__(self) -> None:
        self.driver = Driver()
        self.time = 1000.0
        self.woken: list[OwnerKey] = []
        self.client = MemoryClient()
        self.version = "1"
        self.store = Store()
        self.hosts = Hosts(Cluster(self.client), self.store, self.woken.append, lambda: self.time, self.driver.connect)

    async def secret(self, **data: str) -> None:
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "token", "namespace": "system"},
            "data": encoded,
        }
        if await self.client.get(types.SECRET, "system", "token"):
            await self.client.delete(types.SECRET, "system", "token")
        await self.client.create(types.SECRET, "system", body)

    async def read(self, host: Resource[Any] | None = None) -> Any:
        """Look, wait for the reading that began, and look again."""
        found = host or a_host()
        self.hosts.look(found, lambda namespace, name: self.version)
        link = self.hosts._links[found.name]
        if link.task is not None:
            await link.task
        return self.hosts.look(found, lambda namespace, name: self.version)

    def calls(self) -> list[str]:
        out, self.driver.asked = self.driver.asked, []
        return out


@pytest.fixture
async def bench() -> Bench:
    found = Bench()
    await found.secret(tokenId="homeport@pve!op", tokenSecret="s3cret")
    return found


async def test_the_seldom_is_read_seldom(bench: Bench) -> None:
    seen = await bench.read()
    assert seen.problem is None and seen.reading.resources == RESOURCES
    assert bench.calls() == DETAILED  # a shared storage is asked once
    assert seen.reading.templates == {
        "a": (Volume("local:vztmpl/x", "vztmpl", 1), Volume("nfs:vztmpl/x", "vztmpl", 1)),
        "b": (Volume("nfs:vztmpl/x", "vztmpl", 1),),
    }
    assert bench.woken == [OwnerKey("ProxmoxHost", "", "lab")]
    await bench.read()
    assert bench.calls() == []  # the interval isn't over
    for _ in range(3):
        bench.time += 30
        await bench.read()
        assert bench.calls() == ["resources"]
    bench.time += DETAILS
    await bench.read()
    assert bench.calls() == DETAILED


async def test_what_came_or_went_makes_the_seldom_worth_a_look(bench: Bench) -> None:
    await bench.read()
    for found in (
        RESOURCES._replace(guests=RESOURCES.guests[:1]),
        RESOURCES._replace(nodes=(RESOURCES.nodes[0], RESOURCES.nodes[1]._replace(online=False))),
    ):
        bench.calls()
        bench.time += 30
        bench.driver.found = found
        await bench.read()
        assert bench.calls()[:4] == DETAILED[:4]
    bench.time += 30
    bench.driver.found = found._replace(nodes=(found.nodes[0]._replace(memory_used=5), found.nodes[1]))
    bench.calls()
    await bench.read()
    assert bench.calls() == ["resources"]


async def test_a_token_has_everything_read_at_once(bench: Bench) -> None:
    await bench.read()
    bench.calls()
    await bench.read(a_host(annotations={"homeport.dev/reconcile-at": "now"}))
    assert bench.calls() == DETAILED
    await bench.read(a_host(annotations={"homeport.dev/reconcile-at": "now"}))
    assert bench.calls() == []


async def test_nobody_waits_but_for_the_first(bench: Bench) -> None:
    bench.driver.go_on.clear()
    waiting = asyncio.create_task(bench.hosts.settle(a_host(), lambda namespace, name: "1"))
    await asyncio.sleep(0)
    assert not waiting.done()
    bench.driver.go_on.set()
    assert (await waiting).reading is not None
    bench.time += 30
    bench.driver.go_on.clear()
    seen = await bench.hosts.settle(a_host(), lambda namespace, name: "1")
    assert seen.reading is not None  # the old one, while a new one is under way
    bench.driver.go_on.set()
    await bench.hosts.stop()


async def test_a_new_secret_is_another_connection_to_the_same_cluster(bench: Bench) -> None:
    await bench.read()
    await bench.secret(tokenId="homeport@pve!other", tokenSecret="n3w")
    bench.version = "2"
    first, bench.driver = bench.driver, Driver()
    bench.hosts.connect = bench.driver.connect
    status = {"clusterName": "lab", "nodes": [{"name": "a"}]}
    seen = bench.hosts.look(a_host(status), lambda namespace, name: "2")
    assert seen.reading is not None  # what the old one had read serves until then
    await bench.read(a_host(status))
    assert first.closed and bench.driver.config is not None
    assert bench.driver.config.token.id == "homeport@pve!other"
    assert bench.driver.identity == Identity("lab", frozenset("a"))


@pytest.mark.parametrize(
    ("fault", "kind", "reason", "message"),
    [
        (errors.Unauthorized(401, "authentication failure"), Stalled, "AccessDenied", "make a new one"),
        (
            errors.Forbidden(403, "Permission check failed (/, Sys.Audit)"),
            Stalled,
            "AccessDenied",
            "lacks Sys.Audit on /;",
        ),
        (errors.UnsupportedVersion(0, "too old"), Stalled, "UnsupportedVersion", "too old"),
        (errors.OtherCluster(0, "x belongs to cluster y"), Stalled, "InvalidSpec", "another ProxmoxHost"),
        (errors.Untrusted(0, "x: its certificate"), Stalled, "AccessDenied", "write it into spec.tls"),
        (errors.Unreachable(0, "no connection"), Transient, "ProgressingWithRetry", "no connection"),
        (errors.NodeUnreachable(595, "No route to host"), Transient, "ProgressingWithRetry", "No route"),
        (errors.ProxmoxError(500, "something"), Transient, "ProgressingWithRetry", "something"),
        (RuntimeError("ours"), Transient, "ProgressingWithRetry", "internal error: RuntimeError: ours"),
    ],
)
async def test_what_a_fault_means(bench: Bench, fault: Exception, kind: type, reason: str, message: str) -> None:
    before = await bench.read()
    bench.driver.fault = fault
    bench.time += 30
    seen = await bench.read()
    assert isinstance(seen.problem, kind) and seen.problem.reason == reason and message in seen.problem.message
    assert seen.reading == before.reading  # what was last seen stays
    assert bench.hosts.readings() == {"lab": None}
    bench.driver.fault = None
    bench.time += 30
    bench.calls()
    assert (await bench.read()).problem is None
    assert bench.calls() == DETAILED  # after a fault nothing is taken for granted


async def test_a_fault_that_may_pass_is_tried_as_often_as_the_queue_asks(bench: Bench) -> None:
    bench.driver.fault = errors.Unreachable(0, "gone")
    await bench.read()
    for pause, tried in ((0.5, 0), (0.5, 1)):
        bench.calls()
        bench.time += pause
        await bench.read()
        assert len(bench.calls()) == tried
    bench.driver.fault = errors.Unauthorized(401)
    bench.time += 1
    await bench.read()
    bench.calls()
    bench.time += 1
    await bench.read()
    assert bench.calls() == []  # a token that isn't accepted isn't offered again each second


async def test_secrets_that_can_not_be_used(bench: Bench) -> None:
    seen = bench.hosts.look(a_host(), lambda namespace, name: None)
    assert isinstance(seen.problem, Wait) and "Secret token doesn't exist in namespace system" in seen.problem.message
    await bench.secret(tokenId="homeport@pve!op")
    bench.version = "2"
    seen = await bench.read()
    assert isinstance(seen.problem, Stalled) and "has no key tokenSecret" in seen.problem.message
    await bench.secret(tokenId="homeport@pve!op", tokenSecret="two words")
    bench.version = "3"
    seen = await bench.read()
    assert isinstance(seen.problem, Stalled) and "white space" in seen.problem.message
    assert "two words" not in seen.problem.message


async def test_a_template_storage_that_does_not_answer_hides_nothing_else(bench: Bench) -> None:
    async def refuse(node: str, storage: str) -> tuple[Volume, ...]:
        raise errors.NodeUnreachable(595, "No route to host")

    bench.driver.templates = refuse  # type: ignore[method-assign]
    seen = await bench.read()
    assert seen.problem is None and seen.reading.templates == {"a": (), "b": ()}


async def test_a_plan_on_the_command_line_talks_to_no_host() -> None:
    hosts = Hosts(Cluster(MemoryClient()), Store(), lambda key: None, lambda: 0.0)
    assert hosts.look(a_host(), lambda namespace, name: "1") == (
        await hosts.settle(a_host(), lambda namespace, name: "1")
    )
    assert hosts.readings() == {}


# --- for whoever uses it --------------------------------------------------------------------------------------------


DB, WEB = OwnerKey("LXCContainer", "home", "db"), OwnerKey("LXCContainer", "home", "web")


def a_user(key: OwnerKey, **status: Any) -> dict[str, Any]:
    metadata = {"name": key.name, "namespace": key.namespace, "uid": key.name}
    return {"apiVersion": "homeport.dev/v1alpha1", "kind": key.kind, "metadata": metadata, "status": status}


class Used(Bench):
    """Hosts with users."""

    async def next(self, **changes: Any) -> set[OwnerKey]:
        """The users that another reading wakes."""
        self.driver.found = self.driver.found._replace(**changes)
        return await self.pass_by(30)

    async def pass_by(self, seconds: float) -> set[OwnerKey]:
        self.woken.clear()
        self.time += seconds
        await self.read()
        return set(self.woken) - {OwnerKey("ProxmoxHost", "", "lab")}

    def ensure(self, *users: OwnerKey) -> Any:
        return [self.hosts.ensure("lab", user) for user in users][-1]


@pytest.fixture
async def used() -> Used:
    found = Used()
    await found.secret(tokenId="homeport@pve!op", tokenSecret="s3cret")
    found.store.put(a_body())
    found.store.put(a_user(DB, vmid=101))
    found.store.put(a_user(WEB, vmid=102, replacing={"vmid": 103}))
    return found


async def test_a_host_is_handed_out_once_it_was_read(used: Used) -> None:
    assert used.hosts.ensure("other", DB) == Wait(
        "DependencyNotReady", "ProxmoxHost other doesn't exist; an administrator makes it"
    )
    waits = used.ensure(DB)
    assert waits == Wait("Progressing", "ProxmoxHost lab is being read")
    assert used.hosts.users.of("other") == frozenset() and used.hosts.reading("lab") is None
    assert await used.pass_by(0) == {DB}
    assert used.ensure(DB, WEB) is used.driver and used.hosts.reading("lab") is not None
    used.hosts.forget(WEB)
    assert used.hosts.users.of("lab") == {DB}


async def test_a_reading_wakes_those_whose_guest_changed_and_nobody_else(used: Used) -> None:
    await used.read()
    used.ensure(DB, WEB)
    guest = RESOURCES.guests[1]
    pihole = RESOURCES.guests[0]
    usage = guest._replace(cpu_used=0.5, memory_used=7, disk_used=8, uptime=9, disk=10)
    assert await used.next(guests=(pihole, usage)) == set()
    assert await used.next(guests=(pihole._replace(status="stopped"), usage)) == set()
    for change in (
        {"status": "running"},
        {"node": "a"},
        {"lock": "backup"},
        {"tags": frozenset()},
        {"name": "other"},
        {"memory": 2**30},
    ):
        usage = usage._replace(**change)  # type: ignore[arg-type]
        assert await used.next(guests=(pihole, usage)) == {DB}, change
    assert await used.next(guests=(pihole, usage._replace(uptime=5))) == {DB}  # it was started anew
    assert await used.next(guests=(pihole, usage._replace(uptime=35))) == set()
    assert await used.next(guests=(pihole,)) == {DB}
    assert await used.next(guests=(pihole, Guest(103, "lxc", "a", "web", "stopped"))) == {WEB}


async def test_a_reading_wakes_all_when_a_node_goes_or_comes(used: Used) -> None:
    await used.read()
    used.ensure(DB, WEB)
    gone = RESOURCES.nodes[1]._replace(online=False)
    assert await used.next(nodes=(RESOURCES.nodes[0], gone)) == {DB, WEB}
    assert await used.next(nodes=(RESOURCES.nodes[0]._replace(memory_used=5), gone)) == set()
    assert await used.next(nodes=RESOURCES.nodes) == {DB, WEB}


async def test_a_short_break_is_nobodys_business(used: Used) -> None:
    await used.read()
    used.ensure(DB, WEB)
    used.driver.fault = errors.Unreachable(0, "gone")
    assert await used.pass_by(30) == set() and used.ensure(DB) is used.driver
    assert await used.pass_by(LOST - 31) == set()
    assert await used.pass_by(1) == {DB, WEB}
    assert used.ensure(DB) == Wait("DependencyNotReady", "ProxmoxHost lab: gone")
    assert await used.pass_by(1) == set()  # they know
    used.driver.fault = None
    assert await used.pass_by(1) == {DB} and used.ensure(DB) is used.driver


async def test_what_does_not_pass_by_itself_is_told_at_once(used: Used) -> None:
    await used.read()
    used.ensure(DB, WEB)
    used.driver.fault = errors.Unauthorized(401)
    assert await used.pass_by(30) == {DB, WEB}
    said = used.ensure(DB, WEB)
    assert isinstance(said, Wait) and "doesn't accept the token" in said.message
    used.driver.fault = None
    assert await used.pass_by(30) == {DB, WEB}


async def test_a_host_that_can_be_read_may_be_of_no_use(used: Used, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_hosts.CLUSTER", CLUSTER._replace(quorate=False))
    await used.read()
    said = used.ensure(DB)
    assert isinstance(said, Wait) and "ProxmoxHost lab: cluster lab has no quorum" in said.message
    monkeypatch.undo()
    assert await used.pass_by(DETAILS) == {DB} and used.ensure(DB) is used.driver


async def test_a_refusal_names_what_the_token_lacks(used: Used, monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"/": {name: 1 for name in ALL["/"] if name != "VM.Allocate"}}
    monkeypatch.setattr("test_hosts.ALL", held)
    used.store.put(a_body(projects=[{"name": "home", "pool": "p"}]))
    await used.read()
    plain, named = (
        errors.Forbidden(403, "Permission check failed"),
        errors.Forbidden(403, "Permission check failed (/storage/x, Datastore.AllocateSpace)"),
    )
    said = used.hosts.problem("lab", plain)
    assert isinstance(said, Stalled) and "the token lacks VM.Allocate on /vms; grant it" in said.message
    said = used.hosts.problem("lab", named)
    assert isinstance(said, Stalled) and "lacks Datastore.AllocateSpace on /storage/x; grant it" in said.message
    assert "doesn't name" in str(used.hosts.problem("gone", plain))
    assert used.hosts.problem("lab", RuntimeError("ours")) is None


async def test_a_suspended_host_is_left_alone(used: Used) -> None:
    await used.read()
    used.store.put({**a_body(suspend=True), "metadata": {"name": "lab", "uid": "1", "generation": 2}})
    said = used.ensure(DB)
    assert isinstance(said, Wait) and "is suspended" in said.message
