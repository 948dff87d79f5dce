"""An Application on Proxmox VE over time, in memory: made in order, rolled one by one, scaled, archived, removed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from homeport.drivers.kubernetes import types
from memory_world import Manifest, Running, World, load
from proxmox_shop import HOST, NAMESPACE, PLACE, app, host


class Shop:
    """The world with one operator, and a host that is only known by its status."""

    def __init__(self) -> None:
        self.world = World()
        self.running: Running

    async def start(self, host: Manifest | None = HOST) -> None:
        await self.world.apply(load(PLACE))
        self.running = await self.world.operator()
        if host is not None:
            self.running.engine.store.put(host)

    async def put(self, *documents: Manifest) -> None:
        """Apply, and work until nothing is left to do."""
        self.running.gate.writes.clear()
        await self.world.apply(documents)
        await self.running.settle()

    def containers(self) -> dict[str, Manifest]:
        found = self.world.client._objects.items()
        return {name: body for (gvk, _, name), body in sorted(found, key=str) if gvk is types.LXC_CONTAINER}

    def states(self) -> dict[str, str]:
        return {name: body["spec"]["state"] for name, body in self.containers().items()}

    def told(self, gvk: types.GVK = types.APPLICATION, name: str = "shop") -> tuple[str, str, str]:
        ready = self.world.condition(gvk, "shop", name)
        return ready["status"], ready["reason"], ready.get("message", "")

    def component(self, name: str = "web") -> Manifest:
        (state,) = self.world.get(types.APPLICATION, "shop", "shop")["status"]["environments"]
        return {part["name"]: part for part in state["components"]}[name]

    def writes(self, kind: str = "LXCContainer") -> list[str]:
        """The writes to objects of a kind, in their order, each named once in a row."""
        return [text.rpartition("/")[2] for text in self.running.gate.writes if f" {kind} " in text]


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    found = Shop()
    await found.start()
    await found.put(*app())
    yield found
    await found.running.stop()


async def test_it_is_made_in_order_and_ready(shop: Shop) -> None:
    assert shop.told() == (
        "True",
        "ReconciliationSucceeded",
        "2 components ready in lab",
    )
    made = shop.writes()
    migration = next(name for name in made if name.startswith("web-migrate-"))
    assert made == ["db-0", "db-1", migration, "web-0", "web-1", "web-2", migration], (
        "the migration goes when it is done"
    )
    assert shop.states() == dict.fromkeys(("db-0", "db-1", "web-0", "web-1", "web-2"), "Running")
    state = shop.world.get(types.APPLICATION, "shop", "shop")["status"]
    assert (state["readyReplicas"], state["url"]) == ("5/5", "http://shop.lab")
    assert [entry["id"] for entry in state["doneJobs"]] == ["lab/web/migrate"]
    assert {entry["id"].rpartition("_")[2] for entry in state["inventory"]["entries"]} == {
        "EndpointSlice",
        "Ingress",
        "LXCContainer",
        "Service",
    }
    slice_ = shop.world.get(types.ENDPOINT_SLICE, NAMESPACE, "web")
    assert [(e["hostname"], e["conditions"]["ready"]) for e in slice_["endpoints"]] == [
        ("web-0", True),
        ("web-1", True),
        ("web-2", True),
    ]
    assert "selector" not in shop.world.get(types.SERVICE, NAMESPACE, "web")["spec"]


async def test_the_environment_is_a_namespace_in_this_cluster(shop: Shop) -> None:
    assert shop.told(types.ENVIRONMENT, "lab") == (
        "True",
        "ReconciliationSucceeded",
        "namespace shop-lab is set up; isolation: Strict puts containers behind Proxmox VE's firewall, whose rules are "
        "the administrator's",
    )
    quota = shop.world.get(types.RESOURCE_QUOTA, NAMESPACE, "homeport")
    assert quota["spec"]["hard"] == {"count/lxccontainers.homeport.dev": "6"}
    assert shop.world.get(types.SECRET, NAMESPACE, "signing")["data"] == {"key": "c2VjcmV0"}
    assert not [gvk for gvk, _, _ in shop.world.client._objects if gvk is types.NETWORK_POLICY]


async def test_a_steady_state_writes_nothing(shop: Shop) -> None:
    shop.running.gate.writes.clear()
    for key in shop.running.engine.store.keys("Application") + shop.running.engine.store.keys("Environment"):
        shop.running.engine.queue.add(key)
    await shop.running.settle()
    assert shop.running.gate.writes == []


async def test_a_rollout_takes_one_after_the_other(shop: Shop) -> None:
    await shop.put(*app(version="1.1.0", image="example/shop:1.1.0"))
    changed = [name for name in shop.writes() if name.startswith("web-")]
    assert changed[0].startswith("web-migrate-")
    assert changed[1:] == ["web-0", "web-1", "web-2", changed[0]]
    webs = [body for name, body in shop.containers().items() if name.startswith("web")]
    assert {body["spec"]["software"]["image"] for body in webs} == {"example/shop:1.1.0"}
    assert shop.told()[0] == "True"


async def test_a_rollout_stops_at_the_first_that_fails_and_goes_back(shop: Shop) -> None:
    shop.world.failing = {"web-0"}
    await shop.put(*app(image="example/shop:broken"))
    assert shop.told() == (
        "False",
        "HealthCheckFailed",
        "lab/web: web-0: readiness: connection refused",
    )
    images = {name: body["spec"]["software"]["image"] for name, body in shop.containers().items()}
    assert (images["web-0"], images["web-1"], images["web-2"]) == ("example/shop:broken", *["example/shop:1.0.0"] * 2)
    assert shop.component()["ready"] == 2 and shop.component()["health"] == "Degraded"
    slice_ = shop.world.get(types.ENDPOINT_SLICE, NAMESPACE, "web")
    assert [e["conditions"]["ready"] for e in slice_["endpoints"]] == [False, True, True]
    shop.world.failing = set()
    await shop.put(*app())
    assert shop.told()[0] == "True"
    assert shop.writes()[0] == "web-0", "what is broken is changed at once, whatever the others are"


async def test_a_changed_secret_is_taken_by_one_after_the_other(shop: Shop) -> None:
    def inputs() -> list[str]:
        return [shop.containers()[f"web-{number}"]["spec"]["software"]["inputs"] for number in range(3)]

    (before,) = set(inputs())
    signing = next(body for body in load(PLACE) if body["metadata"]["name"] == "signing")
    shop.world.failing = {"web-0"}
    await shop.put(signing | {"data": {"key": "bmV3"}})
    assert [one == before for one in inputs()] == [False, True, True], "the first isn't well with it: the others wait"
    shop.world.failing = set()
    await shop.put(signing | {"data": {"key": "bmV3ZXI="}})
    (after,) = set(inputs())
    assert after != before
    assert shop.told()[0] == "True"


async def test_a_migration_that_fails_keeps_the_old_version(shop: Shop) -> None:
    shop.world.failing = {"web-migrate"}
    await shop.put(*app(image="example/shop:2"))
    status, reason, message = shop.told()
    assert (status, reason) == ("False", "HealthCheckFailed")
    assert "ended with exit code 1" in message
    assert shop.containers()["web-0"]["spec"]["software"]["image"] == "example/shop:1.0.0"


async def test_a_paused_component_grows_and_doesnt_change(shop: Shop) -> None:
    await shop.put(*app(paused=True, env=[{"name": "A", "value": "b"}]))
    assert "env" not in shop.containers()["web-0"]["spec"]["software"]
    assert shop.component()["health"] == "Suspended"


async def test_what_holds_data_is_stopped_when_it_is_scaled_down_and_comes_back(shop: Shop) -> None:
    (body,) = app(replicas=1)
    body["spec"]["components"][1]["replicas"] = 0
    await shop.put(body)
    assert shop.states() == {"db-0": "Stopped", "db-1": "Stopped", "web-0": "Running"}
    assert shop.component("db")["health"] == "Suspended" and shop.component("db")["message"] == "scaled to zero"
    assert shop.told()[0] == "True"
    await shop.put(*app())
    assert shop.states() == dict.fromkeys(("db-0", "db-1", "web-0", "web-1", "web-2"), "Running")
    assert shop.component("db")["ready"] == 2


async def test_an_archived_project_keeps_what_holds_data(shop: Shop) -> None:
    await shop.put({**load(PLACE)[1], "spec": {"archived": True}})
    assert shop.states() == {"db-0": "Stopped", "db-1": "Stopped"}
    assert shop.told() == ("True", "Archived", "archived: scaled to zero, data kept")
    await shop.put({**load(PLACE)[1], "spec": {}})
    assert len(shop.states()) == 5 and shop.told()[0] == "True"


async def test_a_deleted_application_leaves_its_data_stopped(shop: Shop) -> None:
    await shop.world.delete(types.APPLICATION, "shop", "shop")
    await shop.running.settle()
    assert shop.states() == {"db-0": "Stopped", "db-1": "Stopped"}
    # And the environment's namespace stays, since it holds them.
    await shop.world.delete(types.ENVIRONMENT, "shop", "lab")
    await shop.running.settle()
    assert shop.states() == {"db-0": "Stopped", "db-1": "Stopped"}
    assert any("the containers db-0, db-1" in message for _, _, message in shop.running.events)
    assert shop.world.get(types.NAMESPACE, "", NAMESPACE)
    # Declared again, it takes them up again.
    await shop.put(*load(PLACE)[3:])
    await shop.put(*app())
    assert len(shop.states()) == 5 and set(shop.states().values()) == {"Running"}


async def test_a_quota_of_cpu_counts_containers(shop: Shop) -> None:
    await shop.put(*app(resources={"limits": {"cpu": "3"}}))
    status, reason, message = shop.told()
    assert (status, reason) == ("False", "InvalidSpec")
    assert message == (
        "the containers take 10 of cpu together, and environment lab has a quota of 8; lower resources.limits or "
        "replicas, or raise its spec.quota.cpu"
    )
    assert shop.containers()["web-0"]["spec"]["cores"] == 1, "what runs goes on"


REFUSED = {
    "no host": (
        None,
        "DependencyNotReady",
        "ProxmoxHost lab doesn't exist; an administrator makes it, and this goes on by itself",
    ),
    "a host that isn't ready": (
        host(conditions=[{"type": "Ready", "status": "False", "message": "no answer"}]),
        "DependencyNotReady",
        "ProxmoxHost lab isn't ready: no answer",
    ),
    "a host that was never read": (
        host(conditions=[]),
        "DependencyNotReady",
        "ProxmoxHost lab isn't ready: it hasn't been read yet",
    ),
    "no grant": (
        host(spec={"projects": []}),
        "AccessDenied",
        "ProxmoxHost lab doesn't list project shop: an administrator has to add {name: shop} to its spec.projects",
    ),
    "another storage and bridge": (
        host(spec={"projects": [{"name": "shop", "storages": ["zfs"], "bridges": ["vmbr9"]}]}),
        "AccessDenied",
        "storage local-lvm isn't among those that ProxmoxHost lab gives project shop (zfs); write one of these; "
        "network eth0: bridge vmbr0 isn't among those that ProxmoxHost lab gives project shop (vmbr9); write one of "
        "these",
    ),
    "no firewall": (
        host(firewall=False),
        "InvalidSpec",
        "isolation: Strict needs Proxmox VE's firewall, which is off in the datacenter of ProxmoxHost lab; have an "
        "administrator turn it on (Datacenter, Firewall, Options), or write isolation: Open",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_an_environment_says_what_it_waits_for(case: str) -> None:
    there, reason, message = REFUSED[case]
    shop = Shop()
    await shop.start(there)
    await shop.put(*app())
    assert shop.told(types.ENVIRONMENT, "lab") == ("False", reason, message)
    assert shop.told() == ("False", "DependencyNotReady", f"Environment lab isn't set up yet: {message}")
    assert shop.containers() == {}
    await shop.running.stop()
