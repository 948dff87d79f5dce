"""Applications on a real API server with the real operator: what a user applies, and what comes of it."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from homes import IMAGE, PORTS, Home, component, condition, eventually, on_pods, told, written

from api_server import RefusedError
from operators import Operator

pytestmark = pytest.mark.integration

DRIFT = 3.0
"""Seconds in which drift must be mended: a second, and what a busy machine adds to it."""


def template(workload: dict[str, Any]) -> dict[str, Any]:
    return dict(workload["spec"]["template"])


def container(workload: dict[str, Any], name: str = "") -> dict[str, Any]:
    """A container of a workload; the first one without a name."""
    found = template(workload)["spec"]["containers"]
    return dict(next(c for c in found if not name or c["name"] == name))


def env(workload: dict[str, Any]) -> dict[str, str]:
    return {e["name"]: e.get("value", "") for e in container(workload).get("env") or ()}


def component_state(app: dict[str, Any], name: str = "web", environment: str = "dev") -> dict[str, Any]:
    states = {state["name"]: state for state in app["status"]["environments"]}
    return dict(next(c for c in states[environment]["components"] if c["name"] == name))


def inventory(app: dict[str, Any]) -> set[str]:
    return {entry["id"] for entry in (app["status"].get("inventory") or {}).get("entries") or ()}


def rolled(home: Home, before: dict[str, Any], kind: str = "Deployment", name: str = "web") -> dict[str, Any]:
    """The workload once its Pod template isn't the one of ``before`` any more."""
    return dict(
        eventually(
            lambda: (now := home.child(kind, name)) and template(now) != template(before) and now,
            f"the Pods of {name} roll",
        )
    )


# --- becoming ready ---------------------------------------------------------------------------------------------------


def test_applied_before_everything_it_needs(bare: Home) -> None:
    fresh = bare.application(component(envFrom=[{"secretRef": {"name": "keys"}}]), environments=[{"name": "dev"}])
    assert fresh["status"] == {"observedGeneration": -1}
    bare.until("Application", "shop", "False", "DependencyNotReady", f"Project {bare.name} doesn't exist")
    bare.project()
    bare.until("Application", "shop", "False", "DependencyNotReady", "Environment dev doesn't exist")
    bare.environment(secrets=[{"name": "keys"}])
    bare.until("Environment", "dev", "False", "DependencyNotReady", "Secret keys doesn't exist")
    app = bare.until("Application", "shop", "False", "DependencyNotReady", f"Secret keys in namespace {bare.place()}")
    assert condition(app, "Reconciling")["status"] == "True"
    assert condition(app, "Stalled") == {}
    bare.secret("keys", token="a")
    app = bare.ready()
    assert [c["type"] for c in app["status"]["conditions"]] == ["Ready"]
    bare.ready("Environment", "dev")


def test_no_environment_yet(bare: Home) -> None:
    bare.project()
    bare.application()
    bare.until("Application", "shop", "False", "DependencyNotReady", "no environment yet")
    bare.environment()
    bare.ready()


def test_status_and_children_of_a_whole_application(home: Home, control_plane: Any) -> None:
    home.set("Environment", "dev", ingress={"domain": f"{home.name}.example.com", "tls": {"secretName": "tls"}})
    web = component(replicas=2, routes=[{"path": "/"}], files={"/etc/app/a.toml": "a = 1\n"})
    home.application(web, component("clock", type="worker"), version="1.2.3")
    kubectl = getattr(control_plane, "kubectl", "kubectl")
    base = [str(kubectl), "--kubeconfig", str(control_plane.kubeconfig), "-n", home.name]
    done = subprocess.run(
        [*base, "wait", "--for=condition=Ready", "applications.homeport.dev/shop", "--timeout=30s"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    app = home.ready()
    state = app["status"]["environments"][0]
    assert (state["name"], state["version"], state["ready"], state["health"]) == ("dev", "1.2.3", True, "Healthy")
    assert state["url"] == app["status"]["url"] == f"https://{home.name}.example.com"
    assert component_state(app) == {"name": "web", "ready": 2, "desired": 2, "health": "Healthy"}
    assert app["status"]["readyReplicas"] == "3/3"
    place = home.place()
    assert inventory(app) == {
        f"{place}_web_apps_Deployment",
        f"{place}_clock_apps_Deployment",
        f"{place}_web__Service",
        f"{place}_web-files__ConfigMap",
        f"{place}_web_networking.k8s.io_Ingress",
        f"{place}_web_policy_PodDisruptionBudget",
    }
    assert all(entry["v"] == "v1" and entry["environment"] == "dev" for entry in app["status"]["inventory"]["entries"])
    deployment = home.child("Deployment")
    assert container(deployment)["image"] == f"{IMAGE}:1.2.3"
    labels = deployment["metadata"]["labels"]
    assert {key: labels[key] for key in labels if key.startswith("app.kubernetes.io/")} == {
        "app.kubernetes.io/name": "web",
        "app.kubernetes.io/instance": "shop",
        "app.kubernetes.io/component": "service",
        "app.kubernetes.io/part-of": home.name,
        "app.kubernetes.io/version": "1.2.3",
        "app.kubernetes.io/managed-by": "homeport",
    }
    assert (labels["homeport.dev/project"], labels["homeport.dev/environment"]) == (home.name, "dev")
    assert labels["homeport.dev/application"] == "shop"
    managers = {field["manager"] for field in deployment["metadata"]["managedFields"] if "subresource" not in field}
    assert "homeport" in managers
    assert "ownerReferences" not in deployment["metadata"]


def test_every_environment_unless_listed(home: Home) -> None:
    home.environment("qa", variables={"LEVEL": "qa"})
    home.environment("pattern", template=True)
    home.ready("Environment", "qa")
    home.application()
    app = home.until("Application", "shop", "True", says="2 environments")
    assert [state["name"] for state in app["status"]["environments"]] == ["dev", "qa"]
    assert env(home.child("Deployment", environment="qa"))["LEVEL"] == "qa"
    home.set("Application", "shop", environments=[{"name": "qa"}])
    app = home.ready()
    assert [state["name"] for state in app["status"]["environments"]] == ["qa"]
    home.gone("Deployment", home.place("dev"), "web")
    assert not home.missing("Deployment", "web", "qa")
    eventually(lambda: all("-dev_" not in i for i in inventory(home.mine("Application"))), "dev left the inventory")


def test_overrides_and_patches(home: Home) -> None:
    home.environment("prod")
    base = component(
        replicas=3,
        env=[{"name": "A", "value": "base"}, {"name": "B", "value": "base"}],
        probes={"readiness": {"path": "/"}},
    )
    patch = "[{op: add, path: /spec/template/spec/priorityClassName, value: system-cluster-critical}]"
    sticky = "[{op: add, path: /spec/sessionAffinity, value: ClientIP}]"
    merge = "spec: {template: {metadata: {annotations: {example.com/team: blue}}}}"
    override = {"replicas": 1, "env": [{"name": "B", "value": "dev"}], "without": ["env.A", "probes"]}
    home.application(
        base,
        environments=[
            {"name": "dev", "version": "2.0.0-rc.1", "overrides": {"web": override}},
            {"name": "prod", "patches": [
                {"target": {"kind": "Deployment", "name": "web"}, "patch": merge},
                {"target": {"kind": "Service", "name": "web"}, "patch": sticky},
            ]},
        ],
    )  # fmt: skip
    app = home.ready()
    dev, prod = home.child("Deployment"), home.child("Deployment", environment="prod")
    assert (dev["spec"]["replicas"], prod["spec"]["replicas"]) == (1, 3)
    assert (env(dev), env(prod)) == ({"B": "dev"}, {"A": "base", "B": "base"})
    assert container(dev)["image"].endswith(":2.0.0-rc.1") and container(prod)["image"].endswith(":1.0.0")
    assert "readinessProbe" not in container(dev) and "readinessProbe" in container(prod)
    assert template(prod)["metadata"]["annotations"]["example.com/team"] == "blue"
    assert home.child("Service", environment="prod")["spec"]["sessionAffinity"] == "ClientIP"
    assert {s["name"]: s["version"] for s in app["status"]["environments"]} == {"dev": "2.0.0-rc.1", "prod": "1.0.0"}
    # Both are kept when one environment changes, and only that one rolls.
    target = {"kind": "Deployment", "name": "web"}
    home.set("Application", "shop", environments=[
        {"name": "dev"}, {"name": "prod", "patches": [{"target": target, "patch": patch}]}
    ])  # fmt: skip
    home.ready()
    prod = home.child("Deployment", environment="prod")
    assert template(prod)["spec"]["priorityClassName"] == "system-cluster-critical"
    assert "example.com/team" not in template(prod)["metadata"].get("annotations", {})
    assert home.child("Service", environment="prod")["spec"]["sessionAffinity"] == "None"


def test_cron_and_job(home: Home) -> None:
    cron = component("nightly", type="cron", schedule="0 3 * * *", timeZone="Europe/Rome")
    home.application(cron, component("seed", type="job", command=["seed"]))
    app = home.ready()
    assert home.child("CronJob", "nightly")["spec"]["schedule"] == "0 3 * * *"
    jobs = home.list("Job", home.place())
    assert [condition(job, "Complete")["status"] for job in jobs] == ["True"]
    assert [done["id"] for done in app["status"]["doneJobs"]] == ["dev/seed/job"]
    # It is done for this version: not made anew when it is deleted, and made again for another version.
    home.delete("Job", home.place(), jobs[0]["metadata"]["name"])
    home.gone("Job", home.place(), jobs[0]["metadata"]["name"])
    home.settled()
    assert home.list("Job", home.place()) == []
    home.ready()
    home.set("Application", "shop", version="1.0.1")
    home.ready()
    again = home.list("Job", home.place())
    assert [job["spec"]["template"]["spec"]["containers"][0]["image"] for job in again] == [f"{IMAGE}:1.0.1"]


def test_failed_job_is_degraded_with_its_reason(home: Home) -> None:
    patches = [on_pods("Job", "seed", fail="JobFailed")]
    seed = component("seed", type="job", backoffLimit=0)
    home.application(seed, environments=[{"name": "dev", "patches": patches}])
    app = home.until("Application", "shop", "False", "HealthCheckFailed", ["dev/seed", "BackoffLimitExceeded"])
    assert app["status"]["environments"][0]["health"] == "Degraded"
    home.set("Application", "shop", environments=[{"name": "dev"}])
    home.ready()


# --- what leaves ------------------------------------------------------------------------------------------------------


def test_prune(home: Home) -> None:
    domain = f"{home.name}.example.com"
    home.set("Environment", "dev", ingress={"domain": domain})
    web = component(routes=[{"path": "/"}], files={"/etc/a": "1"}, replicas=2)
    home.application(web, component("old"), component("kept"))
    home.ready()
    home.patch("Service", home.place(), "kept", {"metadata": {"annotations": {"homeport.dev/prune": "Disabled"}}})
    home.application(component())
    app = home.ready()
    for kind, name in (
        ("Deployment", "old"),
        ("Service", "old"),
        ("Deployment", "kept"),
        ("Ingress", "web"),
        ("ConfigMap", "web-files"),
        ("PodDisruptionBudget", "web"),
    ):
        home.gone(kind, home.place(), name)
    assert not home.missing("Service", "kept")
    home.settled()
    app = home.ready()
    assert inventory(app) == {f"{home.place()}_web_apps_Deployment", f"{home.place()}_web__Service"}
    assert not home.missing("Service", "kept")
    # A component that comes back takes the kept object over again.
    home.application(component(), component("kept"))
    home.ready()
    assert f"{home.place()}_kept__Service" in inventory(home.mine("Application"))


def test_volumes_outlive_their_component_unless_told(home: Home) -> None:
    volumes = [
        {"name": "keep", "path": "/keep", "size": "1Gi"},
        {"name": "lose", "path": "/lose", "size": "1Gi", "deletionPolicy": "Delete"},
    ]
    home.application(component(volumes=volumes))
    home.ready()
    claim = home.child("PersistentVolumeClaim", "web-keep")
    assert condition(home.mine("Application"))["status"] == "True"
    home.application(component())
    home.ready()
    home.gone("PersistentVolumeClaim", home.place(), "web-lose")
    home.settled()
    assert home.child("PersistentVolumeClaim", "web-keep")["metadata"]["uid"] == claim["metadata"]["uid"]
    # Back again: the same claim. Deletion of the application keeps it, too; the other one's end wants to be told twice.
    home.application(component(volumes=volumes))
    home.ready()
    assert home.child("PersistentVolumeClaim", "web-keep")["metadata"]["uid"] == claim["metadata"]["uid"]
    with pytest.raises(RefusedError, match="deleting the Application shop deletes data"):
        home.delete("Application", home.name, "shop")
    home.annotate("Application", "shop", confirm_delete="shop")
    home.delete("Application", home.name, "shop")
    home.gone("Application", home.name, "shop")
    home.gone("Deployment", home.place(), "web")
    home.gone("PersistentVolumeClaim", home.place(), "web-lose")
    assert "deletionTimestamp" not in home.child("PersistentVolumeClaim", "web-keep")["metadata"]
    last = home.events("Application", "shop")[-1]
    assert last["reason"] == "Terminating" and last["message"] == f"kept: PersistentVolumeClaim {home.place()}/web-keep"


def test_deletion_removes_everything(home: Home) -> None:
    parts = [
        component(files={"/etc/a": "1"}, autoscaling={"min": 2, "max": 3, "cpu": 70}),
        component("nightly", type="cron", schedule="@daily"),
        component("seed", type="job"),
        component("made", secrets=[{"name": "pass", "generate": {"length": 32}}]),
    ]
    home.application(*parts)
    home.ready()
    assert len(home.child("Secret", "pass")["data"]["password"]) > 40
    home.delete("Application", home.name, "shop")
    home.gone("Application", home.name, "shop")
    selector = "homeport.dev/application=shop"
    for kind in (
        "Deployment",
        "Service",
        "ConfigMap",
        "HorizontalPodAutoscaler",
        "CronJob",
        "PodDisruptionBudget",
        "Job",
    ):
        eventually(lambda kind=kind: home.list(kind, home.place(), selector) == [], f"every {kind} is gone")
    # What is generated once can't be made again: it is data.
    assert not home.missing("Secret", "pass")


def test_deletion_policy_retain_leaves_what_runs(home: Home) -> None:
    home.application(component(), deletionPolicy="Retain")
    home.ready()
    uid = home.child("Deployment")["metadata"]["uid"]
    home.delete("Application", home.name, "shop")
    home.gone("Application", home.name, "shop")
    home.settled("Environment", "dev")
    assert home.child("Deployment")["metadata"]["uid"] == uid
    assert "deletionTimestamp" not in home.child("Service")["metadata"]
    # Its name taken up again, it is the same application's.
    home.application(component())
    home.ready()
    assert home.child("Deployment")["metadata"]["uid"] == uid


# --- drift ------------------------------------------------------------------------------------------------------------


def test_drift_is_mended(home: Home) -> None:
    home.application(component(replicas=2, files={"/etc/a": "right"}))
    home.ready()
    home.patch("Deployment", home.place(), "web", {"spec": {"replicas": 5}})
    eventually(lambda: home.child("Deployment")["spec"]["replicas"] == 2, "replicas are as declared", DRIFT)
    home.patch("ConfigMap", home.place(), "web-files", {"data": {"etc.a": "wrong"}})
    eventually(lambda: home.child("ConfigMap", "web-files")["data"]["etc.a"] == "right", "the file is right", DRIFT)
    uid = home.child("Service")["metadata"]["uid"]
    home.delete("Service", home.place(), "web")
    eventually(lambda: not home.missing("Service", "web") and home.child("Service")["metadata"]["uid"] != uid,
               "the Service is made anew", DRIFT)  # fmt: skip


def test_an_object_that_lost_its_owner_is_told_of(home: Home) -> None:
    home.application()
    home.ready()
    home.patch("Service", home.place(), "web", {"metadata": {"labels": {"homeport.dev/owner-name": None}}})
    home.until("Application", "shop", "False", "NameTaken", f"Service {home.place()}/web")
    home.patch("Service", home.place(), "web", {"metadata": {"labels": {"homeport.dev/owner-name": "shop"}}})
    home.ready()


def test_what_is_not_declared_is_left_alone(home: Home) -> None:
    home.application(component())
    home.ready()
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    sidecar = {"name": "mesh", "image": "registry.example.com/mesh:1", "securityContext": security}
    main = {"name": "web", "env": [{"name": "INJECTED", "value": "1"}]}
    injected = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": home.place(), "annotations": {"example.com/mark": "theirs"}},
        "spec": {"template": {"metadata": {"labels": {"mesh": "on"}}, "spec": {"containers": [main, sidecar]}}},
    }
    home.apply(injected, manager="mesh-injector")
    home.settled()
    home.set("Application", "shop", version="1.0.1")
    home.ready()
    found = home.child("Deployment")
    assert found["metadata"]["annotations"]["example.com/mark"] == "theirs"
    assert container(found, "mesh")["image"] == sidecar["image"]
    assert {"name": "INJECTED", "value": "1"} in container(found, "web")["env"]
    assert template(found)["metadata"]["labels"]["mesh"] == "on"
    assert container(found, "web")["image"] == f"{IMAGE}:1.0.1"


def test_steady_state_writes_nothing(home: Home, audit_log: Path) -> None:
    home.set("Environment", "dev", isolation="Strict", quota={"cpu": "20", "memory": "20Gi"}, variables={"A": "1"},
             ingress={"domain": f"{home.name}.example.com"})  # fmt: skip
    home.application(
        component(routes=[{"path": "/"}], files={"/etc/a": "1"}, replicas=2,
                  migrate={"command": ["migrate"]}, probes={"readiness": {"path": "/health"}}),
        component("db", type="stateful", ports=PORTS, volumes=[{"name": "data", "path": "/data", "size": "1Gi"}]),
        component("nightly", type="cron", schedule="@daily"),
        component("scaled", autoscaling={"min": 2, "max": 3, "cpu": 70, "memory": 80}),
    )  # fmt: skip
    home.ready()
    eventually(lambda: home.mine("Project", home.name)["status"].get("applications") == {"ready": 1, "total": 1}, "")
    home.settled("Project", home.name)
    home.settled()
    offset = audit_log.stat().st_size
    for _ in range(3):
        home.settled()
        home.settled("Environment", "dev")
        home.settled("Project", home.name)
    # Each of the three echoes its token, three times; that is all.
    wanted = {"patch applications/status": 3, "patch environments/status": 3, "patch projects/status": 3}
    assert written(audit_log, offset, [home.name, home.place()]) == wanted


# --- order, jobs, scaling ---------------------------------------------------------------------------------------------


def test_migration_before_rollout_and_never_twice(home: Home, operator: Operator, restart: Callable[[], None]) -> None:
    web = component(migrate={"command": ["migrate"]})
    home.application(web)
    app = home.ready()
    [job] = home.list("Job", home.place())
    deployment = home.child("Deployment")
    assert job["metadata"]["name"].startswith("web-migrate-")
    assert deployment["metadata"]["creationTimestamp"] >= condition(job, "Complete")["lastTransitionTime"]
    assert int(deployment["metadata"]["resourceVersion"]) > int(job["metadata"]["resourceVersion"])
    assert [done["id"] for done in app["status"]["doneJobs"]] == ["dev/web/migrate"]
    home.delete("Job", home.place(), job["metadata"]["name"])
    home.gone("Job", home.place(), job["metadata"]["name"])
    since = home.version("Job", home.place())
    home.settled()
    restart()
    home.settled()
    # What else changes doesn't make it run again: a replica more, a route, a Secret.
    home.set("Application", "shop", components=[{**web, "replicas": 2}])
    home.ready()
    assert home.history("Job", home.place(), since) == []
    home.set("Application", "shop", version="1.1.0")
    home.ready()
    [again] = home.list("Job", home.place())
    assert again["metadata"]["name"] != job["metadata"]["name"]


def test_rollout_waits_for_the_migration(home: Home) -> None:
    home.application(component(migrate={"command": ["migrate"]}))
    home.ready()
    before = home.child("Deployment")
    slow = [on_pods("Job", "web-migrate", duration="4s")]
    home.set("Application", "shop", version="2.0.0", environments=[{"name": "dev", "patches": slow}])
    app = home.until("Application", "shop", "False", "Progressing", "dev/web: the Job is running")
    assert component_state(app)["ready"] == 1
    assert template(home.child("Deployment")) == template(before)
    home.ready()
    assert container(home.child("Deployment"))["image"].endswith(":2.0.0")


def test_failed_migration_keeps_the_old_pods(home: Home) -> None:
    web = component(migrate={"command": ["migrate"], "backoffLimit": 0})
    home.application(web, component("other"))
    home.ready()
    before = home.child("Deployment")
    failing = [{"name": "dev", "patches": [on_pods("Job", "web-migrate", fail="JobFailed")]}]
    home.set("Application", "shop", version="2.0.0", environments=failing)
    app = home.until("Application", "shop", "False", "HealthCheckFailed", ["dev/web", "BackoffLimitExceeded"])
    assert component_state(app)["health"] == "Degraded"
    assert template(home.child("Deployment")) == template(before)
    assert home.child("Deployment")["status"]["readyReplicas"] == 1
    # What doesn't depend on it has gone on.
    eventually(lambda: container(home.child("Deployment", "other"))["image"].endswith(":2.0.0"), "other is rolled out")
    home.set("Application", "shop", version="2.0.1", environments=[{"name": "dev"}])
    app = home.ready()
    assert container(home.child("Deployment"))["image"].endswith(":2.0.1")
    assert len(home.list("Job", home.place())) == 1, "the failed migration's Job is pruned"


def test_depends_on_order(home: Home) -> None:
    slow = [on_pods("StatefulSet", "db", delay="3s")]
    db = component("db", type="stateful", ports=PORTS)
    web = component(dependsOn=["db"], migrate={"command": ["migrate"]})
    front = component("front", dependsOn=["web"])
    home.application(front, web, db, environments=[{"name": "dev", "patches": slow}])
    app = eventually(
        lambda: (app := home.mine("Application"))["status"].get("environments") and app, "the status shows what waits"
    )
    assert component_state(app)["message"] == "waits for db"
    assert component_state(app, "front")["message"] == "waits for web"
    assert "dev/db" in told(app)[2]
    assert home.missing("Deployment", "web") and home.missing("Deployment", "front")
    assert not home.missing("Service", "front"), "what nothing runs from doesn't wait"
    home.ready()
    [job] = home.list("Job", home.place())
    made = [home.child("StatefulSet", "db"), job, home.child("Deployment"), home.child("Deployment", "front")]
    times = [body["metadata"]["creationTimestamp"] for body in made]
    assert times == sorted(times) and times[0] < times[1]


def test_dependency_that_breaks_later_does_not_stop_what_runs(home: Home) -> None:
    home.application(component("db", type="worker"), component(dependsOn=["db"]))
    home.ready()
    home.application(
        component("db", type="worker"),
        component(dependsOn=["db"], replicas=2),
        version="1.0.1",
        environments=[{"name": "dev", "patches": [on_pods("Deployment", "db", fail="CrashLoopBackOff")]}],
    )
    home.until("Application", "shop", "False", "HealthCheckFailed", "dev/db: CrashLoopBackOff")
    assert component_state(home.mine("Application"))["message"] == "waits for db"
    assert home.child("Deployment")["spec"]["replicas"] == 1
    # Drift is mended all the same.
    home.patch("Deployment", home.place(), "web", {"spec": {"replicas": 4}})
    home.delete("Service", home.place(), "web")
    eventually(lambda: not home.missing("Service", "web"), "the Service is back", DRIFT)


def test_autoscaling_handover_never_drops(home: Home) -> None:
    home.application(component(replicas=4))
    home.ready()
    since = home.version("Deployment", home.place())
    scaled = component(autoscaling={"min": 2, "max": 5, "cpu": 70})
    home.application(scaled)
    home.ready()
    hpa = home.child("HorizontalPodAutoscaler")
    assert (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"]) == (2, 5)
    assert home.child("Deployment")["spec"]["replicas"] == 4
    managers = {field["manager"]: field for field in home.child("Deployment")["metadata"]["managedFields"]}
    assert "f:replicas" in managers["homeport-scale"]["fieldsV1"]["f:spec"]
    assert "f:replicas" not in managers["homeport"]["fieldsV1"]["f:spec"]
    # What the autoscaler writes stays.
    scale = home.path("Deployment", home.place(), "web", "scale")
    home.api.call("PATCH", scale, {"spec": {"replicas": 3}}, "application/merge-patch+json", fieldManager="hpa")
    home.ready()
    home.settled()
    home.set("Application", "shop", version="1.0.1")
    home.ready()
    assert home.child("Deployment")["spec"]["replicas"] == 3
    # And back to a fixed number.
    home.application(component(replicas=4), version="1.0.1")
    home.ready()
    home.gone("HorizontalPodAutoscaler", home.place(), "web")
    seen = [body["spec"]["replicas"] for body in home.history("Deployment", home.place(), since, "web")]
    assert min(seen) == 3 and seen[-1] == 4


def test_new_autoscaled_component_starts_at_its_minimum(home: Home) -> None:
    since = home.version("Deployment", home.place())
    home.application(component(autoscaling={"min": 3, "max": 5, "cpu": 70}))
    home.ready()
    assert home.child("Deployment")["spec"]["replicas"] == 3
    assert home.mine("Application")["status"]["readyReplicas"] == "3/3"
    pods = home.list("Pod", home.place())
    assert len(pods) == 3
    # Made without a number, which is one, and scaled at once; what a controller writes in between changes no spec.
    seen = [body["spec"]["replicas"] for body in home.history("Deployment", home.place(), since, "web")]
    assert set(seen) == {1, 3} and seen == sorted(seen)


# --- what makes Pods roll ---------------------------------------------------------------------------------------------


def test_inputs_roll_pods(home: Home) -> None:
    home.secret("keys", token="a")
    home.set("Environment", "dev", secrets=[{"name": "keys"}])
    ref = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}}
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared", "namespace": home.place()}}
    home.apply({**settings, "data": {"a": "1"}})
    web = component(env=[ref], envFrom=[{"configMapRef": {"name": "shared"}}], files={"/etc/a": "1"})
    home.application(web, component("other"))
    home.ready()
    first, other = home.child("Deployment"), home.child("Deployment", "other")
    home.secret("keys", token="b")
    second = rolled(home, first)
    home.apply({**settings, "data": {"a": "2"}})
    third = rolled(home, second)
    home.set("Application", "shop", components=[{**web, "files": {"/etc/a": "2"}}, component("other")])
    fourth = rolled(home, third)
    home.set("Environment", "dev", variables={"LEVEL": "debug"})
    fifth = rolled(home, fourth)
    assert env(fifth)["LEVEL"] == "debug"
    home.ready()
    # The last of them is for everybody; the others only for who reads them.
    assert home.child("Deployment", "other")["metadata"]["generation"] == other["metadata"]["generation"] + 1


# --- what doesn't become ready ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "CrashLoopBackOff", "CreateContainerConfigError"])
def test_broken_version_tells_the_pods_own_reason(home: Home, reason: str) -> None:
    home.application()
    home.ready()
    broken = [{"name": "dev", "patches": [on_pods("Deployment", "web", fail=reason)]}]
    home.set("Application", "shop", version="2.0.0", environments=broken)
    app = home.until("Application", "shop", "False", "HealthCheckFailed", ["dev/web", reason])
    assert condition(app, "Reconciling")["status"] == "True"
    assert app["status"]["environments"][0]["health"] == "Degraded"
    assert reason in component_state(app)["message"]
    home.set("Application", "shop", version="2.0.1", environments=[{"name": "dev"}])
    app = home.ready()
    assert condition(app, "Reconciling") == {}


def test_stateful_set_stuck_on_a_broken_version_goes_on(home: Home) -> None:
    db = component("db", type="stateful", ports=PORTS)
    home.application(db)
    home.ready()
    broken = [{"name": "dev", "patches": [on_pods("StatefulSet", "db", fail="ImagePullBackOff")]}]
    home.set("Application", "shop", version="2.0.0", environments=broken)
    home.until("Application", "shop", "False", "HealthCheckFailed", "dev/db: ImagePullBackOff")
    home.set("Application", "shop", version="2.0.1", environments=[{"name": "dev"}])
    home.ready()
    assert all(p["spec"]["containers"][0]["image"].endswith(":2.0.1") for p in home.list("Pod", home.place()))


def test_unschedulable_is_told(home: Home) -> None:
    home.application(component(nodeSelector={"example.com/none": "such"}))
    home.until("Application", "shop", "False", "HealthCheckFailed", "dev/web: Unschedulable")
    home.application()
    home.ready()


def test_missing_secret_is_named(home: Home) -> None:
    ref = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "nowhere", "key": "token"}}}
    home.application(component(env=[ref]), component("other"))
    home.until("Application", "shop", "False", "DependencyNotReady", ["Secret nowhere", home.place(), "spec.secrets"])
    assert home.missing("Deployment", "web")
    eventually(lambda: not home.missing("Deployment", "other"), "what needs no Secret goes on")
    home.secret("nowhere", home.place(), token="x")
    home.ready()


# --- what others have -------------------------------------------------------------------------------------------------


def test_host_taken(home: Home, new_home: Callable[[], Home]) -> None:
    host = f"{home.name}.example.com"
    route = component(routes=[{"path": "/", "host": host}])
    home.application(route)
    home.ready()
    other = new_home()
    other.project()
    other.environment()
    other.application(route, component("side", type="worker"))
    app = other.until("Application", "shop", "False", "HostTaken", [host, f"application {home.name}/shop"])
    assert condition(app, "Stalled")["reason"] == "HostTaken"
    assert other.missing("Ingress", "web")
    eventually(lambda: not other.missing("Deployment", "side"), "the rest goes on")
    home.settled()
    home.ready()
    # Another path of the host is nobody's yet, and its Ingress comes.
    other.application(component(routes=[{"path": "/other", "host": host}]))
    other.ready()
    other.application(route)
    other.until("Application", "shop", "False", "HostTaken")
    other.gone("Ingress", other.place(), "web")
    # While the holder can't be understood, what it serves stays its own.
    circle = [{**route, "dependsOn": ["side"]}, component("side", dependsOn=["web"])]
    home.set("Application", "shop", components=circle)
    home.until("Application", "shop", "False", "InvalidSpec")
    other.settled()
    other.until("Application", "shop", "False", "HostTaken")
    home.set("Application", "shop", components=[component()])
    home.gone("Ingress", home.place(), "web")
    other.ready()
    assert not other.missing("Ingress", "web")
    # Whoever has it keeps it, the older one, too, until the holder is deleted.
    home.application(route)
    home.until("Application", "shop", "False", "HostTaken")
    other.delete("Application", other.name, "shop")
    home.ready()


def test_name_taken(home: Home) -> None:
    selector = {"matchLabels": {"app": "theirs"}}
    pod = {"containers": [{"name": "c", "image": "registry.example.com/theirs:1"}]}
    foreign = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": home.place()},
        "spec": {"replicas": 0, "selector": selector,
                 "template": {"metadata": {"labels": {"app": "theirs"}}, "spec": pod}},
    }  # fmt: skip
    made = home.apply(foreign, manager="somebody")
    home.application(component(), component("other"))
    app = home.until("Application", "shop", "False", "NameTaken", [f"Deployment {home.place()}/web", "spec.namePrefix"])
    assert condition(app, "Stalled")["status"] == "True"
    home.settled()
    found = home.child("Deployment")
    assert found["metadata"]["generation"] == made["metadata"]["generation"]
    assert found["metadata"].get("labels") == made["metadata"].get("labels")
    assert not home.missing("Deployment", "other")
    assert f"{home.place()}_web_apps_Deployment" not in inventory(home.mine("Application"))
    home.delete("Deployment", home.place(), "web")
    home.annotate("Application", "shop", reconcile_at="now")
    home.ready()


def test_two_applications_of_one_environment(home: Home) -> None:
    home.application(component(image=f"{IMAGE}:1"))
    home.ready()
    uid = home.child("Deployment")["metadata"]["uid"]
    home.application(component(image=f"{IMAGE}:2"), name="twin")
    home.until("Application", "twin", "False", "NameTaken", f"belongs to Application {home.name}/shop")
    assert container(home.child("Deployment"))["image"] == f"{IMAGE}:1"
    home.delete("Application", home.name, "twin")
    home.gone("Application", home.name, "twin")
    home.settled()
    assert home.child("Deployment")["metadata"]["uid"] == uid
    home.application(component(image=f"{IMAGE}:2"), name="twin", namePrefix="twin-")
    home.ready("Application", "twin")
    assert container(home.child("Deployment", "twin-web"))["image"] == f"{IMAGE}:2"


def test_the_survivor_takes_a_name_that_is_let_go(home: Home) -> None:
    home.application()
    home.ready()
    home.application(name="twin")
    home.until("Application", "twin", "False", "NameTaken")
    home.delete("Application", home.name, "shop")
    home.ready("Application", "twin")


def test_immutable_change_is_replaced_only_when_asked(home: Home) -> None:
    def db(size: str) -> dict[str, Any]:
        return component("db", type="stateful", ports=PORTS, volumes=[{"name": "data", "path": "/data", "size": size}])

    home.application(db("1Gi"))
    home.ready()
    before = home.child("StatefulSet", "db")
    claim = home.child("PersistentVolumeClaim", "data-db-0")
    home.application(db("2Gi"), component("other"))
    app = home.until("Application", "shop", "False", "ReplacementRequired",
                     ["spec.volumeClaimTemplates", "homeport.dev/replace-at"])  # fmt: skip
    assert condition(app, "Stalled")["reason"] == "ReplacementRequired"
    home.settled()
    assert home.child("StatefulSet", "db")["metadata"]["uid"] == before["metadata"]["uid"]
    assert not home.missing("Deployment", "other")
    home.annotate("Application", "shop", replace_at="once")
    app = home.ready()
    after = home.child("StatefulSet", "db")
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "2Gi"
    assert home.child("PersistentVolumeClaim", "data-db-0")["metadata"]["uid"] == claim["metadata"]["uid"]
    assert app["status"]["lastReplaceAt"] == "once"
    # One token is for one replacement.
    home.application(db("3Gi"), component("other"))
    home.until("Application", "shop", "False", "ReplacementRequired")


# --- suspended, asked, and not understood -----------------------------------------------------------------------------


def test_suspend(home: Home) -> None:
    home.application()
    ready = condition(home.ready())
    home.set("Application", "shop", suspend=True, version="2.0.0")
    app = eventually(
        lambda: condition(home.mine("Application"), "Suspended").get("status") == "True" and home.mine("Application"),
        "it says that it is suspended",
    )
    assert app["status"]["observedGeneration"] == app["metadata"]["generation"]
    assert (condition(app)["status"], condition(app)["reason"]) == ("True", "ReconciliationSucceeded")
    assert condition(app)["lastTransitionTime"] == ready["lastTransitionTime"]
    home.patch("Deployment", home.place(), "web", {"spec": {"replicas": 3}})
    home.settled()
    assert home.child("Deployment")["spec"]["replicas"] == 3
    assert container(home.child("Deployment"))["image"].endswith(":1.0.0")
    home.set("Application", "shop", suspend=False)
    app = home.ready()
    assert condition(app, "Suspended") == {}
    eventually(lambda: home.child("Deployment")["spec"]["replicas"] == 1, "it is reconciled again")
    home.set("Application", "shop", suspend=True)
    eventually(lambda: condition(home.mine("Application"), "Suspended"), "suspended again")
    home.delete("Application", home.name, "shop")
    home.gone("Application", home.name, "shop")
    home.gone("Deployment", home.place(), "web")


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"components": [component("a", dependsOn=["b"]), component("b", dependsOn=["a"])]}, "a -> b -> a"),
        (
            {"environments": [{"name": "dev", "patches": [
                {"target": {"kind": "Deployment", "name": "nobody"}, "patch": "{spec: {paused: true}}"}]}]},
            "spec.environments[dev].patches[0]",
        ),
        (
            {"environments": [{"name": "dev", "patches": [
                {"target": {"kind": "Deployment"}, "patch": "[{op: remove, path: /spec/nothing}]"}]}]},
            "spec.environments[dev].patches[0]",
        ),
        (
            {"components": [component(securityContext={"privileged": True})]},
            "restricted",
        ),
    ],
    ids=["cycle", "patch-without-target", "patch-that-fails", "pod-security"],
)  # fmt: skip
def test_invalid_spec_keeps_the_last_good_state(home: Home, broken: dict[str, Any], says: str) -> None:
    home.application()
    home.ready()
    before = home.child("Deployment")
    home.set("Application", "shop", **broken)
    app = home.until("Application", "shop", "False", "InvalidSpec", says)
    assert condition(app, "Stalled")["reason"] == "InvalidSpec"
    assert condition(app, "Reconciling") == {}
    home.settled()
    after = home.child("Deployment")
    assert (after["metadata"]["uid"], after["metadata"]["generation"]) == (
        before["metadata"]["uid"],
        before["metadata"]["generation"],
    )
    assert f"{home.place()}_web_apps_Deployment" in inventory(home.mine("Application"))
    home.set("Application", "shop", components=[component()], environments=[{"name": "dev"}])
    home.ready()


def test_refused_object_is_told_and_the_rest_goes_on(home: Home) -> None:
    patch = "[{op: replace, path: /spec/ports/0/port, value: 99999}]"
    home.application(
        component(), component("other"),
        environments=[{"name": "dev", "patches": [{"target": {"kind": "Service", "name": "web"}, "patch": patch}]}],
    )  # fmt: skip
    app = home.until("Application", "shop", "False", "ApplyFailed", [f"Service {home.place()}/web", "99999"])
    assert condition(app, "Stalled")["status"] == "True"
    eventually(lambda: not home.missing("Deployment", "other"), "the other component goes on")
    home.set("Application", "shop", environments=[{"name": "dev"}])
    home.ready()


def test_transitions_and_events(home: Home) -> None:
    home.application()
    first = condition(home.ready())
    home.set("Application", "shop", title="A shop")
    second = condition(home.ready())
    assert second["lastTransitionTime"] == first["lastTransitionTime"]
    assert second["observedGeneration"] == first["observedGeneration"] + 1
    broken = [{"name": "dev", "patches": [on_pods("Deployment", "web", fail="ImagePullBackOff")]}]
    home.set("Application", "shop", environments=broken)
    failed = condition(home.until("Application", "shop", "False", "HealthCheckFailed"))
    home.settled()
    still = condition(home.until("Application", "shop", "False", "HealthCheckFailed"))
    assert still["lastTransitionTime"] == failed["lastTransitionTime"]
    home.set("Application", "shop", environments=[{"name": "dev"}])
    home.ready()
    home.settled()
    reasons = eventually(
        lambda: len(found := [e["reason"] for e in home.events("Application", "shop")]) >= 3 and found, "its Events"
    )
    assert [reason for reason in reasons if reason != "Progressing"] == [
        "ReconciliationSucceeded", "HealthCheckFailed", "ReconciliationSucceeded"
    ]  # fmt: skip
    assert all(one != other for one, other in itertools.pairwise(reasons))
    events = {event["reason"]: event for event in home.events("Application", "shop")}
    assert (
        events["HealthCheckFailed"]["type"] == "Warning"
        and "ImagePullBackOff" in events["HealthCheckFailed"]["message"]
    )
    assert events["ReconciliationSucceeded"]["type"] == "Normal"
    assert events["HealthCheckFailed"]["source"]["component"] == "homeport"
