"""``placement: Together``: one container for an application's components."""

from __future__ import annotations

from typing import Any

import pytest
from test_proxmox_app import containers, lab

from homeport.api import labels
from homeport.api.conditions import Health
from homeport.api.resource import InvalidSpec
from homeport.plan import policy, render
from homeport.plan.health import Verdict, of_process
from homeport.plan.proxmox_app import guests
from homeport.plan.types import Change, Child, Verb
from homeport.plan.world import Desired
from unit.render_cases import application, place

WEB: dict[str, Any] = {
    "name": "web", "image": "shop", "ports": [{"name": "http", "port": 8000}], "dependsOn": ["mail"],
    "probes": {"readiness": {"path": "/ready"}, "liveness": {"tcp": "http"}},
    "env": [{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}], "restartAt": "once",
}  # fmt: skip
MAIL: dict[str, Any] = {
    "name": "mail", "type": "worker", "image": "shop", "command": ["mail"], "files": {"/etc/mail": "x"},
    "volumes": [{"name": "spool", "path": "/spool", "size": "2Gi"}],
    "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}},
}  # fmt: skip
DIGEST: dict[str, Any] = {"name": "digest", "type": "cron", "image": "shop", "schedule": "0 3 * * *"}
OWNER = labels.OwnerKey("Application", "web", "shop")
SEED: dict[str, Any] = {"name": "seed", "type": "job", "image": "other"}


def together(*components: dict[str, Any], **spec: Any) -> list[Child]:
    body = {"version": "1.0.0", "components": list(components), "placement": "Together", **spec}
    return list(render.render(application(body, name="shop"), lab()))


def the_container(children: list[Child]) -> Child:
    (child,) = [one for one in children if one.id.kind == guests.KIND and one.members]
    return child


def refused(*components: dict[str, Any], **spec: Any) -> tuple[str, ...]:
    with pytest.raises(InvalidSpec) as error:
        together(*components, **spec)
    # On Kubernetes nothing is wrong with it.
    render.render(application({"version": "1.0.0", "components": list(components), "placement": "Together"}), place())
    return tuple(error.value.problems)


def test_all_components_are_processes_of_one_container() -> None:
    children = together(WEB, MAIL, DIGEST, SEED)
    found = containers(children)
    assert [name for name in found if not name.startswith("seed-")] == ["shop-0"]
    spec = found["shop-0"]
    assert spec["software"]["image"] == "shop:1.0.0"
    web, mail, digest = spec["software"]["processes"]
    assert web == {
        "name": "web",
        "env": [{"name": "WHO", "value": "shop-0"}],
        "probes": {"readiness": {"path": "/ready", "port": "8000"}, "liveness": {"tcp": "8000"}},
        "dependsOn": ["mail"],
        "restartAt": "once",
    }
    assert mail == {"name": "mail", "command": ["mail"], "files": {"/etc/mail": "x"}}
    assert digest == {"name": "digest", "schedule": "0 3 * * *"}
    assert spec["software"]["hosts"] == [{"name": "web", "containers": ["shop-0"]}]
    assert (spec["cores"], spec["cpuLimit"], spec["memory"]) == (3, "2500m", f"{256 + 1024 + 256}Mi")
    assert [mount["name"] for mount in spec["mounts"]] == ["spool"]
    assert (spec["deletionPolicy"], spec["onMissing"], spec["state"]) == ("Retain", "Stall", "Running")
    child = the_container(children)
    assert child.components == ("web", "mail", "digest")
    marks = child.manifest["metadata"]["labels"]
    assert labels.COMPONENT not in marks and marks[labels.APP_NAME] == "shop"
    assert marks[labels.APPLICATION] == "shop"


def test_each_component_has_its_own_service_that_leads_to_the_container() -> None:
    there = {"shop-0": guests.Guest("", ("10.0.0.9",), False, frozenset({"web"}))}
    body = {
        "version": "1.0.0",
        "components": [WEB, {**MAIL, "type": "service", "ports": [{"name": "smtp", "port": 25}]}],
        "placement": "Together",
    }
    app = application(body, name="shop")
    slices = {c.id.name: c.manifest for c in render.render(app, lab(), guests=there) if c.id.kind == "EndpointSlice"}
    (endpoint,) = slices["web"]["endpoints"]
    assert endpoint["addresses"] == ["10.0.0.9"] and endpoint["conditions"]["ready"] is True
    (endpoint,) = slices["mail"]["endpoints"]
    assert endpoint["conditions"]["ready"] is False, "another process of the same container isn't well"


def test_what_is_scaled_to_zero_is_left_out_and_what_holds_data_is_kept() -> None:
    off = {"replicas": 0}
    spec = containers(together({**WEB, "dependsOn": []}, {**MAIL, **off}))["shop-0"]
    assert [one["name"] for one in spec["software"]["processes"]] == ["web"]
    assert [mount["name"] for mount in spec["mounts"]] == ["spool"]
    assert containers(together({**WEB, **off}, {**MAIL, **off}))["shop-0"]["state"] == "Stopped"
    assert containers(together({**WEB, "dependsOn": [], **off})) == {}


CLASHES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "two images": (
        [WEB, {**MAIL, "image": "mail:2"}],
        "spec.placement: a container has one image, and in environment lab there are 2 (mail mail:2, web shop); write "
        "placement: Separate",
    ),
    "replicas": (
        [{**WEB, "replicas": 2}, MAIL],
        "spec.components[web].replicas: one container holds each component once, and 2 are asked for; write replicas: "
        "1 in the overrides of environment lab, or placement: Separate",
    ),
    "a port": (
        [WEB, {**MAIL, "ports": [{"name": "smtp", "port": 8000}]}],
        "spec.placement: web and mail both have port 8000/TCP, and they share one container; give one of them another, "
        "or write placement: Separate",
    ),
    "a volume's path": (
        [{**WEB, "volumes": [{"name": "other", "path": "/spool", "size": "1Gi"}]}, MAIL],
        "spec.placement: web and mail both have a volume at /spool, and they share one container; give one of them "
        "another, or write placement: Separate",
    ),
    "a volume": (
        [{**WEB, "volumes": [{"name": "spool", "path": "/other", "size": "1Gi"}]}, MAIL],
        "spec.placement: web and mail both have a volume spool, and they share one container; give one of them "
        "another, or write placement: Separate",
    ),
    "a file": (
        [{**WEB, "files": {"/etc/mail": "y"}}, MAIL],
        "spec.placement: web and mail both have a file /etc/mail, and they share one container; give one of them "
        "another, or write placement: Separate",
    ),
    "two groups": (
        [{**WEB, "securityContext": {"fsGroup": 1}}, {**MAIL, "securityContext": {"fsGroup": 2}}],
        "spec.placement: the volumes of one container belong to one group, and there are several fsGroups (web 1, mail "
        "2); write the same, or placement: Separate",
    ),
    "a migration that waits for the container": (
        [{**WEB, "migrate": {"command": ["migrate"]}}, MAIL],
        "spec.components[web].migrate: it runs before the container, and depends on mail in it; leave that out of "
        "dependsOn, or write placement: Separate",
    ),
    "a job that waits for the container": (
        [{**WEB, "dependsOn": ["seed"]}, {**SEED, "dependsOn": ["mail"]}, MAIL],
        "spec.components[seed].dependsOn: the container waits for seed, which waits for a component in it; leave one "
        "of the two out of dependsOn, or write placement: Separate",
    ),
}


@pytest.mark.parametrize("case", CLASHES)
def test_what_cant_share_a_container_is_refused_with_what_to_write(case: str) -> None:
    components, message = CLASHES[case]
    assert refused(*components) == (message,)


def test_a_name_that_is_no_hostname_is_refused() -> None:
    app = application({"version": "1.0.0", "components": [MAIL], "placement": "Together"}, name="a" * 62)
    with pytest.raises(InvalidSpec, match=r"^spec\.placement: the container would be called a+-0, and a hostname has"):
        render.render(app, lab())


def live(child: Child, reason: str = "", **processes: bool) -> dict[str, Any]:
    ready = {"type": "Ready", "status": "False" if reason else "True", "reason": reason or "ReconciliationSucceeded"}
    told = [{"name": name, "ready": well} for name, well in processes.items()]
    body = {**child.manifest, "metadata": {**child.manifest["metadata"], "generation": 1}}
    status = {"observedGeneration": 1, "state": "Running", "conditions": [ready], "software": {"processes": told}}
    return {**body, "status": status}


def test_each_component_is_judged_by_its_own_process() -> None:
    child = the_container(together(WEB, MAIL))
    body = live(child, "HealthCheckFailed", web=True, mail=False)
    ill = Verdict(Health.DEGRADED, "shop-0: mail: it ended", 0, 1)
    assert of_process(body, "web", ill) == Verdict(Health.HEALTHY, "", 1, 1)
    assert of_process(body, "mail", ill) == ill
    going = Verdict(Health.PROGRESSING, "shop-0: is told what to run", 0, 1)
    assert of_process(body, "web", going).health is Health.PROGRESSING, "not yet with what is wanted now"
    well = Verdict(Health.HEALTHY, "", 1, 1)
    assert of_process(live(child, web=True, mail=True), "mail", well) == well


def test_the_container_waits_for_what_any_component_waits_for() -> None:
    children = together({**WEB, "dependsOn": ["seed"], "migrate": {"command": ["m"]}}, MAIL, SEED)
    needs = {("lab", "web"): ("seed",)}
    changes = [Change(Verb.CREATE, child.id, child=child) for child in children]
    decision = policy.decide(OWNER, Desired(tuple(children), needs=needs), changes)
    key = ("", the_container(children).id)
    assert decision.held[key] == "waits for seed"
