"""Applications on Proxmox VE: what is refused, what is named, whose turn it is, and how containers are judged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from homeport.api import labels
from homeport.api.conditions import Health
from homeport.api.environment import EnvironmentSpec
from homeport.api.resource import InvalidSpec, parse_spec
from homeport.engine.catalog import Catalog
from homeport.plan import render, turns
from homeport.plan.health import PAUSED, Verdict, verdict
from homeport.plan.proxmox_app import guests
from homeport.plan.types import Change, Child, Place, Verb, object_id
from unit.render_cases import application, load, place

LAB: dict[str, Any] = {"runtime": "Proxmox", "proxmox": {"hostRef": {"name": "lab"}}, "isolation": "Open"}
WEB: dict[str, Any] = {"name": "web", "image": "x", "ports": [{"name": "http", "port": 80}]}


def lab(**spec: Any) -> Place:
    return place("lab", **{**LAB, **spec})


def rendered(*components: dict[str, Any], where: Place | None = None, **spec: Any) -> list[Child]:
    app = application({"version": "1.0.0", "components": list(components), **spec})
    return list(render.render(app, where or lab()))


def containers(children: list[Child]) -> dict[str, dict[str, Any]]:
    return {c.id.name: c.manifest["spec"] for c in children if c.id.kind == guests.KIND}


# --- refused --------------------------------------------------------------------------------------------------------


VOLUME = {"name": "data", "path": "/data", "size": "1Gi"}
REFUSED = {
    "sidecars": (
        {"sidecars": [{"name": "proxy", "image": "y"}]},
        "spec.components[web].sidecars: a container on Proxmox VE runs the component alone; make it a component of its "
        "own, or write without: [sidecars] in the overrides of environment lab",
    ),
    "init containers": (
        {"initContainers": [{"name": "wait", "image": "y"}]},
        "spec.components[web].initContainers: a container on Proxmox VE runs the component alone; make it a component "
        "of its own, or write without: [initContainers] in the overrides of environment lab",
    ),
    "replicas that share a volume": (
        {"replicas": 2, "volumes": [VOLUME]},
        "spec.components[web].volumes: 2 replicas can't share a volume, which is one container's own; write replicas: "
        "1 in the overrides of environment lab, or type: stateful to give each a volume of its own",
    ),
    "autoscaled replicas that share a volume": (
        {"autoscaling": {"min": 3, "max": 4, "cpu": 50}, "volumes": [VOLUME]},
        "spec.components[web].volumes: 3 replicas can't share a volume, which is one container's own; write replicas: "
        "1 in the overrides of environment lab, or type: stateful to give each a volume of its own",
    ),
    "an existing claim": (
        {"volumes": [{"name": "data", "path": "/data", "existingClaim": "old"}]},
        "spec.components[web].volumes[data].existingClaim: there are no claims on Proxmox VE; in environment lab write "
        "a volume of another name with a size",
    ),
    "a volume that is more than a path": (
        {"volumes": [{**VOLUME, "path": "/data,quota=1"}]},
        "spec.components[web].volumes[data].path: write a path as Proxmox VE keeps it: without ',', '=', ';' or "
        "spaces, '//' or '/./', and without a '/' at its end",
    ),
    "a folder of a volume": (
        {"volumes": [{**VOLUME, "subPath": "a"}]},
        "spec.components[web].volumes[data].subPath: a container mounts whole volumes; write a volume for each folder",
    ),
    "a migration beside a volume": (
        {"volumes": [VOLUME], "migrate": {"command": ["true"]}},
        "spec.components[web].migrate: it runs in a container of its own, which can't see the component's volumes; "
        "migrate when the component starts, or write without: [migrate] in the overrides of environment lab",
    ),
    "a field of a Pod": (
        {"env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]},
        "spec.components[web].env[IP]: status.podIP isn't known of a container; write metadata.name or "
        "metadata.namespace, or give it a value in the overrides of environment lab",
    ),
    "a resource of a Pod": (
        {"env": [{"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]},
        "spec.components[web].env[CPU]: resourceFieldRef is of Pods; give it a value in the overrides of environment "
        "lab",
    ),
    "a privileged container": (
        {"securityContext": {"privileged": True}},
        "spec.components[web].securityContext.privileged: containers here are unprivileged; write securityContext: "
        "{privileged: false} in the overrides of environment lab",
    ),
    "a device": (
        {"resources": {"limits": {"nvidia.com/gpu": "1"}}},
        "spec.components[web].resources: Proxmox VE gives no nvidia.com/gpu to a container; write cpu, memory and "
        "ephemeral-storage alone",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cant_be_had_is_refused_with_what_to_write(case: str) -> None:
    more, message = REFUSED[case]
    with pytest.raises(InvalidSpec) as refused:
        rendered({**WEB, **more})
    assert refused.value.problems == (message,)
    # On Kubernetes the same manifest is fine.
    app = application({"version": "1.0.0", "components": [{**WEB, **more}]})
    render.render(app, place(podSecurity="privileged"))


def test_a_jobs_volume_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="a job's container goes when it is done"):
        rendered({"name": "seed", "type": "job", "image": "x", "volumes": [VOLUME]})


# --- named ----------------------------------------------------------------------------------------------------------


def test_what_isnt_carried_out_is_named() -> None:
    spec = {
        **WEB,
        "autoscaling": {"min": 2, "max": 5, "cpu": 70},
        "strategy": {"rollingUpdate": {"maxSurge": "1"}},
        "tolerations": [{"operator": "Exists"}],
        "serviceAccountName": "robot",
        "imagePullPolicy": "Always",
        "egress": [{"cidr": "10.0.0.0/8"}],
        "securityContext": {"readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "volumes": [{"name": "tmp", "path": "/scratch", "ephemeral": True, "size": "1Gi"}],
        "ports": [{"name": "http", "port": 8080, "servicePort": 80}],
        "migrate": {"command": ["true"], "timeout": "5m"},
    }
    app = application({"version": "1.0.0", "components": [spec]})
    component = app.spec.components[0]
    strict = lab(isolation="Strict")
    assert set(render.left_out(component, strict)) == {
        "autoscaling",
        "strategy.rollingUpdate",
        "tolerations",
        "serviceAccountName",
        "imagePullPolicy",
        "egress",
        "securityContext.readOnlyRootFilesystem",
        "securityContext.capabilities",
        "volumes.size",
        "ports.servicePort",
    }
    assert "ports.servicePort" not in render.left_out(component, strict, siblings=False)
    assert "egress" not in render.left_out(component, lab())
    assert not render.left_out(component, place()).keys() & {"autoscaling", "egress"}
    assert containers(rendered(spec)).keys() >= {"web-0", "web-1"}, "the least number of replicas runs"


def test_nothing_is_named_of_a_component_that_asks_for_nothing() -> None:
    app = application({"version": "1.0.0", "components": [WEB]})
    assert render.left_out(app.spec.components[0], lab(isolation="Strict")) == {}


# --- what a container is --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, {"cores": 1, "cpuLimit": "500m", "cpuUnits": 8, "memory": "256Mi"}),
        ({"limits": {"cpu": "2", "memory": "1Gi"}}, {"cores": 2, "cpuUnits": 8, "memory": "1024Mi"}),
        ({"requests": {"cpu": "1500m"}}, {"cores": 3, "cpuUnits": 150, "memory": "256Mi"}),
        ({"limits": {"memory": "1M"}}, {"cores": 1, "cpuLimit": "500m", "cpuUnits": 8, "memory": "16Mi"}),
    ],
)
def test_resources(resources: dict[str, Any], expected: dict[str, Any]) -> None:
    spec = containers(rendered({**WEB, "resources": resources}))["web-0"]
    assert {key: spec[key] for key in ("cores", "cpuLimit", "cpuUnits", "memory") if key in spec} == expected


def test_a_migration_runs_again_only_for_what_it_runs() -> None:
    def name(**changes: Any) -> str:
        web = {**WEB, "migrate": {"command": ["migrate"]}, **changes}
        found = [n for n in containers(rendered(web, {**WEB, "name": "api"})) if n.startswith("web-migrate-")]
        return found[0]

    same = name()
    assert (
        same == name(replicas=3) == name(resources={"limits": {"cpu": "2"}}) == name(probes={"liveness": {"tcp": "80"}})
    )
    assert same != name(image="x:2")
    assert same != name(env=[{"name": "A", "value": "b"}])
    assert same != name(migrate={"command": ["migrate"], "restartAt": "now"})


def test_a_migration_that_is_done_is_gone() -> None:
    app = application({"version": "1.0.0", "components": [{**WEB, "migrate": {"command": ["migrate"]}}]})
    (first,) = [child for child in render.render(app, lab()) if child.job_hash]
    assert first.job_hash is not None
    done = {"lab/web/migrate": (first.job_hash,)}
    assert not [child for child in render.render(app, lab(), done=done) if child.job_hash]


def test_containers_beyond_the_replicas_are_stopped_only_if_they_hold_data() -> None:
    there = {f"db-{n}": guests.Guest("db") for n in range(3)} | {f"web-{n}": guests.Guest("web") for n in range(3)}
    db = {"name": "db", "type": "stateful", "image": "x", "volumes": [VOLUME], "replicas": 1}
    app = application({"version": "1.0.0", "components": [WEB, db]})
    specs = containers(list(render.render(app, lab(), guests=there)))
    assert {name: spec["state"] for name, spec in specs.items()} == {
        "web-0": "Running",
        "db-0": "Running",
        "db-1": "Stopped",
        "db-2": "Stopped",
    }


def test_a_quota_counts_what_containers_take() -> None:
    children = rendered({**WEB, "replicas": 3, "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}})
    manifests = [child.manifest for child in children]
    quota = parse_spec(EnvironmentSpec, {**LAB, "quota": {"cpu": "2", "memory": "3Gi"}}).quota
    assert quota is not None
    assert guests.over_quota(quota, manifests, guests.Used(), "lab") == ""
    other = guests.Used(cpu=10**9)
    assert guests.over_quota(quota, manifests, other, "lab") == (
        "the containers take 1500m of cpu together, beside 1 of other applications, and environment lab has a quota of "
        "2; lower resources.limits or replicas, or raise its spec.quota.cpu"
    )
    stopped = [{**m, "spec": {**m["spec"], "state": "Stopped"}} for m in manifests if m["kind"] == guests.KIND]
    assert guests.over_quota(quota, stopped, other, "lab") == ""


# --- health ---------------------------------------------------------------------------------------------------------


def container(name: str = "web-0", *, state: str = "Running", once: bool = False, **status: Any) -> dict[str, Any]:
    software = {"restartPolicy": "Never"} if once else {}
    return {
        "apiVersion": labels.API_VERSION,
        "kind": guests.KIND,
        "metadata": {"name": name, "namespace": "web-lab", "generation": 2, "resourceVersion": "1"},
        "spec": {"state": state, "software": software},
        "status": {"observedGeneration": 2, "state": state, **status},
    }


def said(kind: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": status, "reason": reason, "message": message}]}


WELL = said("Ready", "True", "ReconciliationSucceeded")
JUDGED = {
    "ready": (container(**WELL), Verdict(Health.HEALTHY, "", 1, 1)),
    "an old spec": (
        container(**{**WELL, "observedGeneration": 1}),
        Verdict(Health.PROGRESSING, "web-0 is being looked at", 0, 1),
    ),
    "new": (container(), Verdict(Health.PROGRESSING, "web-0 is new", 0, 1)),
    "on its way": (
        container(**said("Ready", "False", "Progressing", "starting")),
        Verdict(Health.PROGRESSING, "web-0: starting", 0, 1),
    ),
    "unwell": (
        container(**said("Ready", "False", "HealthCheckFailed", "readiness: 503")),
        Verdict(Health.DEGRADED, "web-0: readiness: 503", 0, 1),
    ),
    "stalled": (
        container(**said("Stalled", "True", "InvalidSpec", "no such bridge")),
        Verdict(Health.DEGRADED, "web-0: no such bridge", 0, 1),
    ),
    "stopped as wanted": (container(state="Stopped", **WELL), Verdict(Health.HEALTHY, "", 0, 0)),
    "a job that runs": (container(once=True, **WELL), Verdict(Health.PROGRESSING, "web-0 is running", 0, 1)),
    "a job that succeeded": (container(once=True, software={"exitCode": 0}, **WELL), Verdict(Health.HEALTHY, "", 1, 1)),
    "a job that failed": (
        container(once=True, software={"exitCode": 3}, **WELL),
        Verdict(Health.DEGRADED, "web-0 ended with exit code 3", 0, 1),
    ),
}


@pytest.mark.parametrize("case", JUDGED)
def test_health(case: str) -> None:
    live, expected = JUDGED[case]
    assert verdict(live) == expected


LOST = said("Ready", "False", "DependencyNotReady", "ProxmoxHost lab: no answer")
RAN: dict[str, Any] = {"software": {"ready": True}}


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        (container(**WELL), True),
        (container(state="Stopped", **WELL), False),
        (container(**said("Ready", "False", "Progressing"), **RAN), False),
        (container(**said("Ready", "False", "HealthCheckFailed"), **RAN), False),
        # A host that doesn't answer takes nothing out of service that served.
        (container(**LOST, **RAN), True),
        (container(**LOST, software={"ready": False}), False),
        (container(**LOST), False),
    ],
)
def test_who_takes_requests(live: dict[str, Any], expected: bool) -> None:
    assert guests.is_ready(live) is expected


# --- whose turn it is -----------------------------------------------------------------------------------------------


ILL = said("Ready", "False", "HealthCheckFailed", "readiness: 503")


def change(number: int, verb: Verb, live: dict[str, Any] | None, turn: Any = "Rolling", **more: Any) -> Change:
    manifest = container(f"web-{number}", state=more.pop("state", "Running"))
    manifest = {key: value for key, value in manifest.items() if key != "status"}
    child = Child(manifest, "lab", "web", turn=turn, paused=more.pop("paused", False))
    return Change(verb, object_id(manifest), more.pop("reason", ""), child, live, **more)


def waiting(*changes: Change) -> dict[str, str]:
    return {key[1].name: why for key, why in turns.held(changes).items()}


def live(number: int, status: dict[str, Any]) -> dict[str, Any]:
    return container(f"web-{number}", **status)


UP, NEW, SAME = Verb.UPDATE, Verb.CREATE, Verb.NOTHING


def test_one_after_the_other() -> None:
    assert waiting(*(change(n, UP, live(n, WELL)) for n in (10, 2, 1))) == {
        "web-2": "waits for web-1",
        "web-10": "waits for web-1",
    }


def test_nobody_is_changed_while_another_is_unwell() -> None:
    held = waiting(change(0, SAME, live(0, ILL)), change(1, UP, live(1, WELL)), change(2, UP, live(2, WELL)))
    why = "waits for web-0 (web-0: readiness: 503)"
    assert held == {"web-1": why, "web-2": why}


def test_what_is_unwell_is_changed_at_once() -> None:
    held = waiting(change(0, UP, live(0, WELL)), change(1, UP, live(1, ILL)))
    assert held == {"web-0": "waits for web-1 (web-1: readiness: 503)"}


def test_what_was_written_just_now_isnt_well_yet() -> None:
    held = waiting(change(0, SAME, live(0, WELL), reason="written just now"), change(1, UP, live(1, WELL)))
    assert held == {"web-1": "waits for web-0"}


def test_replicas_are_made_together_and_stateful_ones_in_their_order() -> None:
    assert waiting(change(0, NEW, None), change(1, NEW, None)) == {}
    assert waiting(change(0, NEW, None, "Ordered"), change(1, NEW, None, "Ordered")) == {"web-1": "waits for web-0"}
    assert waiting(change(0, SAME, live(0, WELL), "Ordered"), change(1, NEW, None, "Ordered")) == {}


def test_a_paused_component_isnt_changed_and_may_grow_shrink_and_be_mended() -> None:
    assert waiting(change(0, UP, live(0, WELL), paused=True), change(1, NEW, None, paused=True)) == {"web-0": PAUSED}
    assert waiting(change(1, UP, live(1, WELL), paused=True, state="Stopped")) == {}
    assert waiting(change(1, UP, live(1, WELL), paused=True, drift=True)) == {}


def test_all_at_once_when_they_are_recreated() -> None:
    assert waiting(*(change(n, UP, live(n, WELL), "") for n in range(3))) == {}


def test_a_migration_is_nobodys_name() -> None:
    case = load("proxmox")
    (migration,) = [child.id.name for child in case.render() if child.phase == "migrate"]
    there = {**case.containers}
    body = container(migration, once=True, addresses=["10.20.0.9"], software={"exitCode": 0}, **WELL)
    body["metadata"] |= {"labels": {labels.ENVIRONMENT: "lab", labels.COMPONENT: "web"}}
    there["", object_id(body)] = body
    for child in replace(case, containers=there).render():
        if child.id.kind == "EndpointSlice":
            assert migration not in str(child.manifest)
        if child.id.kind == guests.KIND:
            assert migration not in str(child.manifest["spec"]["software"].get("hosts"))


# --- the catalog ----------------------------------------------------------------------------------------------------


ITEMS = {
    "postgres": {"database": "shop", "storage": "5Gi"},
    "redis": {"auth": True, "storage": "1Gi"},
    "nginx": {"pages": {"index.html": "hello"}},
}


@pytest.mark.parametrize("item", ITEMS)
def test_one_manifest_of_a_catalog_item_is_for_both_runtimes(item: str) -> None:
    spec = {"version": "1.0.0", "components": [{"name": "it", "catalog": {"name": item}, "values": ITEMS[item]}]}
    app = application(spec)
    expansion = Catalog().expansion_now(app.spec)
    on_pods = render.render(app, place(isolation="Open"), catalog=expansion)
    on_containers = render.render(app, lab(), catalog=expansion)
    (found,) = containers(list(on_containers)).values()
    workload = next(child.manifest for child in on_pods if child.id.kind in ("Deployment", "StatefulSet"))
    (pod,) = workload["spec"]["template"]["spec"]["containers"]
    software = found["software"]
    assert software["image"] == pod["image"]
    assert (software.get("command"), software.get("args")) == (pod.get("command"), pod.get("args"))
    assert software.get("env") == pod.get("env")
    # Whatever is reached by a name on Kubernetes is reached by it here, and the same Secrets are made.
    for kind in ("Service", "Secret"):
        assert [c.id.name for c in on_pods if c.id.kind == kind] == [
            c.id.name for c in on_containers if c.id.kind == kind
        ]


def _called(kind: str, children: Iterable[Child]) -> list[str]:
    return [child.id.name for child in children if child.id.kind == kind]


def test_an_item_that_isnt_for_proxmox_is_refused_where_it_is_on() -> None:
    def app(**override: Any) -> Any:
        entry = {"name": "lab", "overrides": {"search": override}}
        search = {"name": "search", "catalog": {"name": "elasticsearch"}}
        return application({"version": "1.0.0", "components": [WEB, search], "environments": [entry]})

    asked = app()
    with pytest.raises(InvalidSpec) as refused:
        render.render(asked, lab(), catalog=Catalog().expansion_now(asked.spec))
    assert refused.value.problems == (
        "spec.components[search].catalog: item elasticsearch runs on Kubernetes and not on Proxmox; write enabled: "
        "false in the overrides of environment lab, or a component of your own",
    )
    off = app(enabled=False)
    render.render(off, lab(), catalog=Catalog().expansion_now(off.spec))
