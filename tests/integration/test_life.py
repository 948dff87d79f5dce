"""An application's life after its first rollout, on a real API server with the real operator and the real commands."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from homes import Home, component, eventually, on_pods, told

from api_server import RefusedError
from homeport.drivers.kubernetes import types
from operators import Operator

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]
HPA = {"min": 2, "max": 5, "cpu": 70}


@pytest.fixture
def run(control_plane: Any) -> Run:
    """Runs ``homeport`` with the session's kubeconfig."""

    def call(*args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        known = {**os.environ, "KUBECONFIG": str(control_plane.kubeconfig), "PYTHONPATH": str(ROOT / "operator")}
        command = [sys.executable, "-m", "homeport", *args]
        done = subprocess.run(command, env=known, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                              timeout=120)  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return call


def revisions(home: Home) -> list[dict[str, Any]]:
    path = types.CONTROLLER_REVISION.path(home.name)
    found = list(home.api.call("GET", path)["items"])
    return sorted(found, key=lambda item: item["revision"])


def numbers(home: Home) -> dict[int, str]:
    return {item["revision"]: item["data"]["spec"]["version"] for item in revisions(home)}


def pods(home: Home, name: str = "web") -> list[dict[str, Any]]:
    found = home.list("Pod", home.place(), f"homeport.dev/component={name}")
    return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]


def images(home: Home, name: str = "web") -> list[str]:
    return sorted(pod["spec"]["containers"][0]["image"] for pod in pods(home, name))


def message(home: Home) -> str:
    return told(home.mine("Application"))[2]


# --- history and rollback ---------------------------------------------------------------------------------------------


def test_a_bad_version_is_rolled_back(home: Home, run: Run) -> None:
    web = component(image="web", replicas=2)
    home.application(web)
    home.ready()
    bad = [{"name": "dev", "patches": [on_pods("Deployment", "web", fail="ImagePullBackOff")]}]
    home.application(web, version="1.1.0", environments=bad)
    home.until("Application", "shop", "False", "HealthCheckFailed", "ImagePullBackOff")
    assert numbers(home) == {1: "1.0.0", 2: "1.1.0"}

    shown = run("history", "shop", "-n", home.name).stdout.splitlines()
    assert [line.split()[0] for line in shown] == ["REVISION", "1", "2"]
    assert "2 *" in shown[2] and "version 1.0.0 → 1.1.0, environments" in shown[2]

    dry = run("rollback", "shop", "-n", home.name, "--dry-run").stdout
    assert "back to revision 1, version 1.0.0" in dry and 'spec.version: "1.1.0" → "1.0.0"' in dry
    assert numbers(home) == {1: "1.0.0", 2: "1.1.0"}
    assert "say -y" in run("rollback", "shop", "-n", home.name, code=1).stderr

    done = run("rollback", "shop", "-n", home.name, "-y")
    assert "ready in dev" in done.stdout
    assert home.ready()["status"]["revision"] == 3
    assert numbers(home) == {2: "1.1.0", 3: "1.0.0"}
    assert images(home) == ["web:1.0.0"] * 2

    again = json.loads(run("history", "shop", "-n", home.name, "-o", "json").stdout)
    assert [(entry["revision"], entry["present"]) for entry in again] == [(2, False), (3, True)]
    assert yaml.safe_load(run("history", "shop", "-n", home.name, "--revision", "2", "-o", "yaml").stdout)[
        "environments"
    ]
    assert "already" in run("rollback", "shop", "-n", home.name, "--to", "3", "-y", code=1).stderr
    assert "there are: 2, 3" in run("rollback", "shop", "-n", home.name, "--to", "1", "-y", code=1).stderr


def test_a_history_goes_with_its_application(home: Home, run: Run) -> None:
    home.application()
    home.ready()
    (only,) = revisions(home)
    assert only["metadata"]["ownerReferences"][0]["uid"] == home.mine("Application")["metadata"]["uid"]
    assert "no earlier revision is kept" in run("rollback", "shop", "-n", home.name, "-y", code=1).stderr
    home.delete("Application", home.name, "shop")
    home.gone("Application", home.name, "shop")
    eventually(lambda: revisions(home) == [], "the garbage collector took the history")


def test_what_would_come_to_nothing_is_refused(home: Home, run: Run) -> None:
    home.application()
    home.ready()
    home.application(version="1.1.0")
    home.ready()
    run("suspend", "shop", "-n", home.name)
    assert "shop is suspended" in run("rollback", "shop", "-n", home.name, "-y", code=1).stderr
    run("resume", "shop", "-n", home.name)
    home.set("Project", home.name, archived=True)
    assert "is archived" in run("rollback", "shop", "-n", home.name, "-y", code=1).stderr
    home.set("Project", home.name, archived=False)
    home.patch("Application", home.name, "shop", {"spec": {"title": "x"}}, manager="kustomize-controller")
    home.ready()
    warned = run("rollback", "shop", "-n", home.name, "--dry-run").stderr
    assert "Flux writes this application from Git" in warned


def test_who_may_read_an_application_may_read_its_history(home: Home) -> None:
    members = [{"kind": "User", "name": "d@example.com", "role": "developer"}]
    home.project(members=members)
    eventually(
        lambda: home.may("d@example.com", "list", "controllerrevisions", home.name, "apps"), "the developer's rights"
    )
    assert home.may("d@example.com", "patch", "applications", home.name, "homeport.dev")
    assert not home.may("d@example.com", "delete", "controllerrevisions", home.name, "apps")


# --- pausing, restarting, scaling -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "fields"), [("Deployment", {}), ("StatefulSet", {"type": "stateful"})])
def test_a_paused_rollout_is_held_and_scales_all_the_same(
    home: Home, run: Run, kind: str, fields: dict[str, Any]
) -> None:
    def web(replicas: int) -> dict[str, Any]:
        return component(image="web", replicas=replicas, ports=[{"name": "http", "port": 8080}], **fields)

    home.application(web(2))
    home.ready()
    assert "web paused" in run("pause", "shop", "-n", home.name).stdout
    held = web(2) | {"paused": True}
    home.application(held, version="1.1.0")
    home.until("Application", "shop", "True", says="dev/web: the rollout is paused")
    state = home.mine("Application")["status"]["environments"][0]
    assert (state["ready"], state["health"], state["components"][0]["health"]) == (True, "Suspended", "Suspended")
    assert images(home) == ["web:1.0.0"] * 2
    home.application(web(3) | {"paused": True}, version="1.1.0")
    eventually(lambda: images(home) == ["web:1.0.0"] * 3, "a third Pod of the version that runs")
    home.until("Application", "shop", "True", says="paused at 0 of 3 replicas")
    assert home.mine("Application")["status"]["readyReplicas"] == "3/3"
    run("resume", "shop", "-n", home.name, "--wait")
    eventually(lambda: images(home) == ["web:1.1.0"] * 3, "the new version everywhere")
    home.until("Application", "shop", "True")
    assert "paused" not in message(home)


def test_a_paused_rollout_holds_its_migration(home: Home) -> None:
    web = component(image="web", migrate={"command": ["migrate"]})
    home.application(web)
    home.ready()
    (first,) = home.names("Job", home.place())
    home.application(web | {"paused": True}, version="1.1.0")
    home.until("Application", "shop", "True", says="the rollout is paused")
    assert home.child("Deployment")["spec"]["paused"] is True
    assert home.names("Job", home.place()) <= {first}
    home.application(web, version="1.1.0")
    home.ready()
    eventually(lambda: images(home) == ["web:1.1.0"], "the new version")
    assert len(home.mine("Application")["status"]["doneJobs"][0]["earlier"]) == 1
    before = home.version("Job", home.place())
    home.application(web)
    home.ready()
    eventually(lambda: images(home) == ["web:1.0.0"], "the old version")
    made = [job for job in home.history("Job", home.place(), before) if not job["_deleted"]]
    assert [job for job in made if job["metadata"]["name"] == first] == [], "its migration ran once and runs no more"


def test_restart_replaces_the_pods_once_and_makes_no_revision(home: Home, run: Run) -> None:
    home.application(component(image="web", replicas=2), component("db", type="stateful", image="db"))
    home.ready()
    before = {pod["metadata"]["uid"] for name in ("web", "db") for pod in pods(home, name)}
    run("restart", "shop", "-n", home.name, "--wait")
    eventually(
        lambda: not before & {pod["metadata"]["uid"] for name in ("web", "db") for pod in pods(home, name)},
        "other Pods",
    )
    home.ready()
    assert list(numbers(home)) == [1]
    after = {pod["metadata"]["uid"] for name in ("web", "db") for pod in pods(home, name)}
    home.settled()
    assert after == {pod["metadata"]["uid"] for name in ("web", "db") for pod in pods(home, name)}


def test_zero_and_back(home: Home, run: Run) -> None:
    home.application(
        component(image="web", autoscaling=HPA, routes=[{"path": "/", "host": f"{home.name}.example.com"}])
    )
    home.ready()
    assert home.find("PodDisruptionBudget", home.place(), "web")
    run("scale", "shop", "web=0", "-n", home.name, "--wait")
    home.until("Application", "shop", "True", says="dev/web: scaled to zero")
    eventually(lambda: pods(home) == [], "no Pods")
    for kind in ("PodDisruptionBudget", "HorizontalPodAutoscaler"):
        home.gone(kind, home.place(), "web")
    assert home.mine("Application")["status"]["environments"][0]["health"] == "Suspended"
    assert home.mine("Application")["status"]["url"] == f"http://{home.name}.example.com"
    assert home.find("Ingress", home.place(), "web"), "whoever calls is told that nobody is there"
    assert "autoscaled between 2 and 5" in run("scale", "shop", "web=3", "-n", home.name, code=1).stderr
    run("scale", "shop", "web=auto", "-n", home.name, "--wait")
    home.ready()
    eventually(lambda: len(pods(home)) == 2, "as many as the autoscaler starts from")
    assert home.find("HorizontalPodAutoscaler", home.place(), "web")
    assert home.find("PodDisruptionBudget", home.place(), "web")


def test_a_number_of_its_own_in_one_environment(home: Home, run: Run) -> None:
    home.application(component(image="web", autoscaling=HPA), environments=[{"name": "dev"}])
    home.ready()
    run("scale", "shop", "web=1", "-e", "dev", "-n", home.name, "--wait")
    eventually(lambda: len(pods(home)) == 1, "one Pod")
    assert home.missing("HorizontalPodAutoscaler", "web") and home.missing("PodDisruptionBudget", "web")


def test_suspend_leaves_everything_as_it_is(home: Home, run: Run) -> None:
    home.application()
    home.ready()
    run("suspend", "environment/dev", "-n", home.name)
    assert home.mine("Environment", "dev")["spec"]["suspend"] is True
    assert "already suspended" in run("suspend", "env", "dev", "-n", home.name).stdout
    run("resume", "environment/dev", "-n", home.name)
    assert home.mine("Environment", "dev")["spec"]["suspend"] is False


# --- rollouts and drains ----------------------------------------------------------------------------------------------


def test_the_pace_of_a_rollout_arrives(home: Home) -> None:
    pace = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "50%", "maxUnavailable": 0}}
    home.application(component(image="web", replicas=4, strategy=pace))
    home.ready()
    assert home.child("Deployment")["spec"]["strategy"] == pace
    since = home.version("Deployment", home.place())
    home.application(component(image="web", replicas=4, strategy=pace), version="1.1.0")
    home.ready()
    eventually(lambda: images(home) == ["web:1.1.0"] * 4, "the new version")
    states = [state.get("status", {}) for state in home.history("Deployment", home.place(), since, "web")]
    assert max(state.get("replicas", 0) for state in states) <= 6
    assert min(state.get("availableReplicas", 0) for state in states) >= 4


def evict(home: Home, pod: dict[str, Any]) -> None:
    metadata = {"name": pod["metadata"]["name"], "namespace": home.place()}
    path = home.path("Pod", home.place(), metadata["name"], "eviction")
    home.api.call("POST", path, {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata})


def test_a_drain_takes_one_pod_at_a_time_and_ends(home: Home) -> None:
    late = [{"name": "dev", "patches": [on_pods("Deployment", "web", delay="3s")]}]
    home.application(component(image="web", autoscaling=HPA), environments=late)
    home.ready()
    budget = eventually(
        lambda: (found := home.child("PodDisruptionBudget"))["status"]["disruptionsAllowed"] == 1 and found,
        "the budget counts",
    )
    assert budget["spec"]["maxUnavailable"] == 1
    spread = home.child("Deployment")["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert [entry["topologyKey"] for entry in spread] == ["kubernetes.io/hostname"]
    first, second = pods(home)
    evict(home, first)
    with pytest.raises(RefusedError) as refused:
        evict(home, second)
    assert refused.value.code == 429
    home.until("Application", "shop", "True")

    def drained() -> bool:
        try:
            evict(home, second)
        except RefusedError as error:
            assert error.code == 429
            return False
        return True

    eventually(drained, "the second Pod may go once the first is replaced")


# --- generated secrets ------------------------------------------------------------------------------------------------


def value(home: Home, name: str = "pass") -> str:
    data = home.child("Secret", name)["data"]["password"]
    return base64.b64decode(data).decode()


def database(length: int = 32) -> dict[str, Any]:
    return component(
        "db",
        type="stateful",
        image="db",
        secrets=[{"name": "pass", "generate": {"length": length}}],
        env=[{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "pass", "key": "password"}}}],
        volumes=[{"name": "data", "path": "/data", "size": "1Gi"}],
    )


def test_a_generated_secret_is_made_once_and_never_shown(
    home: Home, run: Run, operator: Operator, tmp_path: Path
) -> None:
    home.application(database())
    home.ready()
    made = value(home)
    assert len(made) == 32 and made.isalnum()
    home.application(database(64), version="1.1.0")
    home.ready()
    assert value(home) == made, "what is generated never changes, its length neither"
    home.patch("Secret", home.place(), "pass", {"metadata": {"labels": {"homeport.dev/component": "x"}}})
    eventually(
        lambda: home.child("Secret", "pass")["metadata"]["labels"]["homeport.dev/component"] == "db", "drift is mended"
    )
    assert value(home) == made

    manifest = tmp_path / "app.yaml"
    shown = {key: home.mine("Application")[key] for key in ("apiVersion", "kind", "spec")}
    shown["metadata"] = {"name": "shop", "namespace": home.name}
    shown["spec"]["version"] = "1.2.0"
    manifest.write_text(yaml.safe_dump(shown))
    told_of = [
        json.dumps([home.mine(kind, name) for kind, name in (("Application", "shop"), ("Environment", "dev"))]),
        json.dumps(home.list("Event", home.name) + home.list("Event", home.place())),
        json.dumps(revisions(home)),
        operator.logs.read_text(),
        run("plan", "-f", str(manifest), "-o", "json", code=2).stdout,
        run("plan", "-f", str(manifest), "--full", code=2).stdout,
        run("history", "shop", "-n", home.name, "-o", "json").stdout,
        run("tree", "application/shop", "-n", home.name, "-o", "json").stdout,
    ]
    encoded = base64.b64encode(made.encode()).decode()
    assert all(made not in text and encoded not in text for text in told_of)


def test_a_kept_volume_keeps_its_password(home: Home) -> None:
    home.application(database())
    home.ready()
    made = value(home)
    home.delete("Application", home.name, "shop")
    home.gone("Application", home.name, "shop")
    assert home.names("PersistentVolumeClaim", home.place()) == {"data-db-0"}
    assert value(home) == made
    home.application(database())
    home.ready()
    assert value(home) == made
    home.application(component())
    home.ready()
    assert value(home) == made, "nor does it go with its component"


def test_a_generated_secret_that_was_deleted_is_made_anew(home: Home) -> None:
    home.application(database())
    home.ready()
    made = value(home)
    home.delete("Secret", home.place(), "pass")
    eventually(lambda: not home.missing("Secret", "pass") and value(home) != made, "another password")
