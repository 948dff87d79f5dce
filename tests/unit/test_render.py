"""What is rendered for each golden case, and what holds for all of them."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest
import yaml

from homeport.api import labels
from homeport.api.resource import InvalidSpec
from homeport.plan import render
from homeport.plan.podsecurity import pod_template, violations
from homeport.plan.types import Versions
from unit.render_cases import CASES, GOLDEN, application, load, place, text


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, update_golden: bool) -> None:
    rendered = text(load(name).render())
    golden = GOLDEN / name / "objects.yaml"
    if update_golden:
        golden.write_text(rendered)
    assert golden.read_text() == rendered


def _empties(value: Any, path: str = "") -> list[str]:
    meant = ("compress", "emptyDir", "podSelector", "namespaceSelector")
    if isinstance(value, dict):
        out = [f"{path}.{key}" for key, entry in value.items() if entry in (None, {}, []) and key not in meant]
        return out + [found for key, entry in value.items() for found in _empties(entry, f"{path}.{key}")]
    if isinstance(value, list):
        return [found for number, entry in enumerate(value) for found in _empties(entry, f"{path}[{number}]")]
    return []


@pytest.mark.parametrize("name", CASES)
def test_every_object(name: str) -> None:
    case = load(name)
    children = list(case.render())
    before = copy.deepcopy([child.manifest for child in children])
    assert [child.manifest for child in load(name).render()] == before
    assert len({child.id for child in children}) == len(children)
    for child in children:
        metadata = child.manifest["metadata"]
        assert not _empties(child.manifest)
        owner = labels.owner_of(child.manifest)
        assert owner == case.app.key
        assert metadata["labels"].get(labels.COMPONENT) == (None if child.members else child.component)
        assert metadata["labels"][labels.ENVIRONMENT] == child.environment
        template = pod_template(child.manifest)
        if template is not None:
            assert labels.APP_VERSION not in template["metadata"]["labels"]
            if name != "privileged":
                assert not violations(template["spec"], "restricted")
        selector = child.manifest.get("spec", {}).get("selector")
        if child.manifest["kind"] in ("Deployment", "StatefulSet"):
            assert template is not None
            assert selector["matchLabels"].items() <= template["metadata"]["labels"].items()
        # Objects share nothing: changing one would change another.
        metadata["labels"]["changed"] = "yes"
        assert sum("changed" in other.manifest["metadata"]["labels"] for other in children) == 1
        del metadata["labels"]["changed"]


def test_a_version_bump_leaves_pods_of_unchanged_images_alone() -> None:
    spec = {"version": "1.0.0", "components": [{"name": "web", "type": "worker", "image": "example/web:7"}]}
    first, second = (
        {c.manifest["kind"]: c.manifest for c in render.render(application({**spec, "version": version}), place())}
        for version in ("1.0.0", "1.1.0")
    )
    assert first["Deployment"]["spec"] == second["Deployment"]["spec"]
    assert first["Deployment"]["metadata"]["labels"][labels.APP_VERSION] == "1.0.0"
    assert second["Deployment"]["metadata"]["labels"][labels.APP_VERSION] == "1.1.0"


def _with_template(**template: str) -> dict[str, Any]:
    """A component that makes the Secret s, and reads its url."""
    secret = {"name": "s", "generate": {}, "template": template}
    read = {"name": "URL", "valueFrom": {"secretKeyRef": {"name": "s", "key": "url"}}}
    return {"name": "a", "type": "worker", "image": "x", "secrets": [secret], "env": [read]}


def test_pods_roll_when_the_template_of_a_generated_secret_changes() -> None:
    def pods(**template: str) -> dict[str, Any]:
        app = application({"version": "1.0.0", "components": [_with_template(**template)]})
        children = {child.manifest["kind"]: child for child in render.render(app, place())}
        assert "data" not in children["Secret"].manifest
        assert children["Secret"].template == template
        return dict(children["Deployment"].manifest["spec"]["template"])

    assert pods(url="a:$(password)@b") == pods(url="a:$(password)@b")
    assert pods(url="a:$(password)@b") != pods(url="a:$(password)@c")


def _names(components: list[dict[str, Any]], overrides: dict[str, Any] | None = None) -> dict[str, tuple[str, ...]]:
    """The components of an environment that overrides them so, with what they wait for."""
    environments = [{"name": "live", "overrides": overrides or {}}]
    app = application({"version": "1.0.0", "components": components, "environments": environments})
    render.check(app.spec)
    return {part.name: tuple(part.depends_on or ()) for part in render.components(app, "live")}


def test_a_component_is_left_out_where_it_is_off() -> None:
    web = {"name": "web", "type": "worker", "image": "x", "dependsOn": ["db", "cache"]}
    db, cache = ({"name": name, "type": "stateful", "image": "x"} for name in ("db", "cache"))
    assert _names([web, db, cache]) == {"web": ("db", "cache"), "db": (), "cache": ()}
    assert _names([web, db, cache], {"db": {"enabled": False}}) == {"web": ("cache",), "cache": ()}
    off = {**cache, "enabled": False}
    assert _names([web, db, off]) == {"web": ("db",), "db": ()}
    assert _names([web, db, off], {"cache": {"enabled": True}}).keys() == {"web", "db", "cache"}
    assert _names([web, db, off], {"cache": {"without": ["enabled"]}}).keys() == {"web", "db", "cache"}
    gone = {name: {"enabled": False} for name in ("web", "db", "cache")}
    assert _names([web, db, cache], gone) == {}


def test_a_component_that_is_off_has_no_objects() -> None:
    component = {"name": "web", "image": "x", "ports": [{"name": "http", "port": 80}], "enabled": False}
    assert render.render(application({"version": "1.0.0", "components": [component]}), place()) == ()


def test_a_headless_service_stands_for_every_pod_that_is_scraped() -> None:
    def services(kind: str) -> dict[str, Any]:
        metrics = {"port": "http", "headless": True}
        component = {
            "name": "a",
            "type": kind,
            "image": "x",
            "ports": [{"name": "http", "port": 80}],
            "metrics": metrics,
        }
        children = render.render(application({"version": "1.0.0", "components": [component]}), place())
        return {c.id.name: c.manifest["spec"] for c in children if c.manifest["kind"] == "Service"}

    assert services("service").keys() == {"a", "a-metrics"}
    assert services("worker").keys() == {"a-metrics"}
    assert services("stateful").keys() == {"a"}, "its own is headless"
    own, metrics = services("service")["a"], services("service")["a-metrics"]
    assert (own.get("clusterIP"), metrics["clusterIP"]) == (None, "None")
    assert own["selector"] == metrics["selector"]
    assert metrics["ports"] == [{"name": "by-pod", "port": 80, "targetPort": 80, "protocol": "TCP"}]


def test_networks_that_a_component_calls_are_opened() -> None:
    egress = [{"cidr": "10.20.0.0/24", "ports": [8006]}, {"cidr": "fd00:20::/64"}]
    component = {"name": "a", "type": "worker", "image": "x", "egress": egress}
    children = render.render(application({"version": "1.0.0", "components": [component]}), place())
    (policy,) = (child.manifest for child in children if child.manifest["kind"] == "NetworkPolicy")
    assert policy["spec"]["egress"][-2:] == [
        {"to": [{"ipBlock": {"cidr": "10.20.0.0/24"}}], "ports": [{"port": 8006, "protocol": "TCP"}]},
        {"to": [{"ipBlock": {"cidr": "fd00:20::/64"}}]},
    ]


def test_pods_roll_when_what_they_read_changes() -> None:
    spec = {
        "version": "1.0.0",
        "components": [
            {
                "name": "web",
                "type": "worker",
                "image": "example/web",
                "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "a", "key": "k"}}}],
                "secrets": [{"name": "made", "generate": {}}],
                "envFrom": [{"secretRef": {"name": "made"}}],
                "migrate": {"command": ["migrate"]},
            }
        ],
    }
    app = application(spec)

    def rendered(versions: dict[tuple[str, str], str]) -> dict[str, Any]:
        return {c.manifest["kind"]: c.manifest for c in render.render(app, place(), Versions(versions))}

    first, second = rendered({("Secret", "a"): "1"}), rendered({("Secret", "a"): "2"})
    assert first["Deployment"] != second["Deployment"]
    assert first["Job"] == second["Job"], "a migration doesn't run again because a Secret changed"
    made = rendered({("Secret", "a"): "1", ("Secret", "made"): "1"})
    assert made["Deployment"] == first["Deployment"], "a generated Secret that appears rolls nothing"
    deployment = next(c for c in render.render(app, place()) if c.manifest["kind"] == "Deployment")
    assert deployment.reads == (("Secret", "a"),)


def test_a_job_runs_once_for_what_it_is() -> None:
    spec = {"version": "1.0.0", "components": [{"name": "seed", "type": "job", "image": "example/seed"}]}
    (job,) = render.render(application(spec), place(isolation="Open"))
    assert job.job_hash is not None
    assert job.manifest["metadata"]["name"] == f"seed-{job.job_hash[:8]}"
    done = {"live/seed/job": job.job_hash}
    assert render.render(application(spec), place(isolation="Open"), done=done) == ()
    (again,) = render.render(application({**spec, "version": "1.0.1"}), place(isolation="Open"), done=done)
    assert again.job_hash != job.job_hash


@pytest.mark.parametrize("name", CASES)
def test_nothing_takes_a_migration_for_the_component(name: str) -> None:
    children = list(load(name).render())
    for job in (child for child in children if child.phase == "migrate" and child.manifest["kind"] == "Job"):
        template = pod_template(job.manifest)
        assert template is not None
        for child in children:
            selector = child.manifest.get("spec", {}).get("selector", {})
            wanted = selector.get("matchLabels", selector)
            if wanted:
                assert not wanted.items() <= template["metadata"]["labels"].items(), child.id.shown


def test_a_long_migration_keeps_its_hash_in_its_name() -> None:
    name = "c" * 40
    component = {"name": name, "type": "worker", "image": "example/web", "migrate": {"command": ["migrate"]}}
    spec = {"version": "1.0.0", "namePrefix": "p" * 20, "components": [component]}
    job = next(c for c in render.render(application(spec), place()) if c.manifest["kind"] == "Job")
    assert len(job.id.name) <= 63
    assert job.job_hash is not None and job.id.name.endswith(job.job_hash[:8])


def test_a_migration_runs_again_for_a_new_token_and_not_for_how_metrics_are_found() -> None:
    def digest(token: str | None, metrics: bool) -> str | None:
        migrate = {"command": ["migrate"], **({"restartAt": token} if token else {})}
        component = {"name": "web", "type": "worker", "image": "example/web", "migrate": migrate}
        component |= {"ports": [{"name": "metrics", "port": 9100}], "metrics": {}} if metrics else {}
        children = render.render(application({"version": "1.0.0", "components": [component]}), place())
        return next(c.job_hash for c in children if c.manifest["kind"] == "Job")

    assert digest(None, False) == digest(None, True)
    assert len({digest(None, False), digest("1", False), digest("2", False)}) == 3


def test_scaling_from_one_to_two_keeps_the_first_pod() -> None:
    def template(replicas: int) -> Any:
        component = {"name": "web", "type": "worker", "image": "example/web", "replicas": replicas}
        children = render.render(application({"version": "1.0.0", "components": [component]}), place())
        return next(c.manifest["spec"]["template"] for c in children if c.manifest["kind"] == "Deployment")

    assert template(1) == template(2)


@pytest.mark.parametrize(
    ("components", "said"),
    [
        (
            [
                {"name": "a", "type": "worker", "image": "x", "dependsOn": ["b"]},
                {"name": "b", "type": "worker", "image": "x", "dependsOn": ["c"]},
                {"name": "c", "type": "worker", "image": "x", "dependsOn": ["b"]},
            ],
            "(b -> c -> b)",
        ),
        (
            [{"name": "c" * 40, "type": "stateful", "image": "x"}],
            "have 55 characters together, and a stateful component may have 52",
        ),
        (
            [
                {"name": "a", "image": "x", "ports": [{"name": "h", "port": 1}], "routes": [{"path": "/x"}]},
                {"name": "b", "image": "x", "ports": [{"name": "h", "port": 1}], "routes": [{"path": "/x"}]},
            ],
            "spec.components[b].routes: the host/x leads to a already",
        ),
        (
            [{"name": "a", "image": "x", "ports": [{"name": "h", "port": 1}, {"name": "i", "port": 1}]}],
            "spec.components[a].ports: h and i are both 1/TCP",
        ),
        (
            [
                {
                    "name": "a",
                    "type": "worker",
                    "image": "x",
                    "files": {"/data/": "x"},
                    "volumes": [{"name": "data", "path": "/data", "size": "1Gi"}],
                }
            ],
            "volumes[data] is mounted at /data/ too",
        ),
        (
            [
                {
                    "name": "a",
                    "type": "worker",
                    "image": "x",
                    "resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "512Mi"}},
                }
            ],
            "the memory request 1Gi is more than the limit 512Mi",
        ),
        (
            [{"name": "a", "type": "worker", "image": "x", "probes": {"liveness": {"path": "/"}}}],
            "spec.components[a].probes.liveness: there are no ports to ask at",
        ),
        (
            [{"name": "a", "type": "worker", "image": "x", "sidecars": [{"name": "a", "image": "y"}]}],
            "sidecars[a].name: the component has that name",
        ),
        (
            [{"name": "a", "type": "worker", "image": "x", "labels": {"homeport.dev/project": "other"}}],
            "labels: homeport.dev/project is set by Homeport",
        ),
        (
            [
                {"name": "a", "type": "worker", "image": "x", "secrets": [{"name": "s", "generate": {}}]},
                {"name": "b", "type": "worker", "image": "x", "secrets": [{"name": "s", "generate": {}}]},
            ],
            "spec.components[b].secrets[s]: component a makes it already",
        ),
        (
            [{"name": "a", "type": "stateful", "image": "x", "strategy": {"type": "Recreate"}}],
            "leave Recreate out",
        ),
        (
            [_with_template(url="x:$(pass)@y")],
            "secrets[s].template: url refers to $(pass), which isn't generated here; write $(password)",
        ),
        (
            [_with_template(password="x")],
            "secrets[s].template: password is what is generated; take it out, or name another key in generate.key",
        ),
        ([_with_template(**{"a/b": "x"})], "secrets[s].template: 'a/b' can't be a Secret's key; write letters"),
        (
            [{"name": "a", "type": "worker", "image": "x", "egress": [{"cidr": "10.0.0.1/24"}]}],
            "egress: 10.0.0.1/24 has host bits set; write a network such as 10.20.0.0/24",
        ),
    ],
)
def test_check_says_what_to_write(components: list[dict[str, Any]], said: str) -> None:
    spec = {"version": "1.0.0", "namePrefix": "p" * 15, "components": components}
    with pytest.raises(InvalidSpec) as caught:
        render.check(application(spec).spec)
    assert said in str(caught.value)


def test_twins_are_named() -> None:
    components = [
        {"name": "a", "type": "worker", "image": "x", "volumes": [{"name": "b-c", "path": "/x", "size": "1Gi"}]},
        {"name": "a-b", "type": "worker", "image": "x", "volumes": [{"name": "c", "path": "/x", "size": "1Gi"}]},
    ]
    with pytest.raises(InvalidSpec, match="components a and a-b would make the PersistentVolumeClaim 'a-b-c' twice"):
        render.render(application({"version": "1.0.0", "components": components}), place())


def test_without_a_catalog_its_items_are_refused() -> None:
    components = [{"name": "db", "catalog": {"name": "postgres", "version": "15"}}]
    app = application({"version": "1.0.0", "components": components})
    with pytest.raises(InvalidSpec, match=r"the catalog has no item .postgres. version .15..*write image"):
        render.render(app, place())

    def catalog(component: Any, prefix: str) -> Any:
        update = {"catalog": None, "type": "stateful", "image": "postgres:15"}
        return (component.model_copy(update=update),)

    kinds = [child.manifest["kind"] for child in render.render(app, place(), catalog=catalog)]
    assert kinds == ["NetworkPolicy", "Service", "StatefulSet"]


@pytest.mark.parametrize(
    ("security", "level", "said"),
    [
        ({"privileged": True}, "restricted", "securityContext.privileged of container web of Deployment web is true"),
        ({"privileged": True}, "baseline", "set podSecurity: privileged on the environment"),
        ({"runAsUser": 0}, "restricted", "securityContext.runAsUser of the Pods of Deployment web is 0"),
        ({"capabilities": {"add": ["CHOWN"]}}, "restricted", "set podSecurity: baseline on the environment"),
        ({"capabilities": {"add": ["NET_ADMIN"]}}, "baseline", "is NET_ADMIN, which podSecurity baseline"),
        ({"allowPrivilegeEscalation": True}, "restricted", "write false"),
        ({"seccompProfile": {"type": "Unconfined"}}, "baseline", "write RuntimeDefault or Localhost"),
        ({"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}, "restricted", "is kernel.msgmax"),
        ({"capabilities": {"drop": []}}, "restricted", "securityContext.capabilities.drop"),
    ],
)
def test_pod_security_names_container_and_field(security: dict[str, Any], level: str, said: str) -> None:
    components = [{"name": "web", "type": "worker", "image": "x", "securityContext": security}]
    app = application({"version": "1.0.0", "components": components})
    with pytest.raises(InvalidSpec) as caught:
        render.render(app, place(podSecurity=level))
    assert said in str(caught.value)
    assert render.render(app, place(podSecurity="privileged"))


def test_where_an_application_runs() -> None:
    component = {"name": "a", "type": "worker", "image": "x"}
    every = application({"version": "1.0.0", "components": [component]}).spec
    some = application({"version": "1.0.0", "components": [component], "environments": [{"name": "x"}]}).spec
    nowhere = application({"version": "1.0.0", "components": [component], "environments": []}).spec
    assert render.target_environments(every, ["a", "b"]) == ("a", "b")
    assert render.target_environments(some, ["a", "b"]) == ("x",)
    assert render.target_environments(nowhere, ["a", "b"]) == ()


def test_address() -> None:
    case = load("dashboard")
    assert [render.url(case.app, each) for each in case.places] == [None, "https://dashboard.example.com"]


def test_fast_enough_for_hundreds() -> None:
    spec = yaml.safe_load(
        """
        version: 1.0.0
        components:
          - name: web
            image: example/web
            ports: [{name: http, port: 8000}]
            files: {/etc/web/settings.toml: "workers = 4"}
            routes: [{path: /}]
        """
    )
    app, where = application(spec), place(isolation="Open")
    best = 1.0
    for _ in range(50):
        start = time.process_time()
        for _ in range(10):
            render.render(app, where)
        best = min(best, (time.process_time() - start) / 10)
    # The target is 0.4 ms; the bound leaves room for a slow machine.
    assert best < 0.002
