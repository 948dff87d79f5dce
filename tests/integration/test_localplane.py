"""The local control plane itself: that it behaves like Kubernetes, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localplane import ControlPlane
from localplane.components import Layout
from localplane.processes import Processes

pytestmark = pytest.mark.integration

PARTS = {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("own-plane"), ephemeral=True, audit=True) as plane:
        yield plane


def kubectl(plane: ControlPlane, *arguments: str, stdin: object = None) -> str:
    command = [str(plane.kubectl), "--kubeconfig", str(plane.kubeconfig), *arguments]
    done = subprocess.run(
        command, input=json.dumps(stdin) if stdin else None, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def get(plane: ControlPlane, *arguments: str) -> Any:
    return json.loads(kubectl(plane, "get", *arguments, "-o", "json"))


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.2)


def template(name: str, **annotations: str) -> dict[str, Any]:
    marks = {f"kwok.homeport.dev/{key}": value for key, value in annotations.items()}
    containers = [{"name": "main", "image": "example/main:1"}]
    init = [{"name": "first", "image": "example/first:1"}]
    spec = {"containers": containers, "initContainers": init}
    return {"metadata": {"labels": {"app": name}, "annotations": marks}, "spec": spec}


def deployment(name: str, replicas: int = 1, **annotations: str) -> dict[str, Any]:
    selector = {"matchLabels": {"app": name}}
    spec = {"replicas": replicas, "selector": selector, "template": template(name, **annotations)}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def job(name: str, **annotations: str) -> dict[str, Any]:
    pods = template(name, **annotations)
    pods["spec"]["restartPolicy"] = "Never"
    spec = {"backoffLimit": 0, "template": pods}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def pods(plane: ControlPlane, name: str) -> list[dict[str, Any]]:
    return list(get(plane, "pods", "-l", f"app={name}")["items"])


def container(plane: ControlPlane, name: str) -> dict[str, Any]:
    """The status of the first Pod's container, once there is one."""
    until(lambda: any(pod["status"].get("containerStatuses") for pod in pods(plane, name)))
    return dict(pods(plane, name)[0]["status"]["containerStatuses"][0])


def test_all_of_it_runs_at_one_version(plane: ControlPlane):
    assert plane.is_running()
    assert {part.name for part in plane.health() if part.healthy} == PARTS
    version = json.loads(kubectl(plane, "version", "-o", "json"))
    assert version["serverVersion"]["gitVersion"] == version["clientVersion"]["gitVersion"] == "v1.35.4"
    assert version["serverVersion"]["minor"] == "35"


def test_a_deployment_becomes_available_and_goes(plane: ControlPlane):
    kubectl(plane, "apply", "-f", "-", stdin=deployment("three", 3))
    kubectl(plane, "wait", "--for=condition=Available", "--timeout=30s", "deployment/three")
    running = pods(plane, "three")
    assert len(running) == 3
    assert len({pod["status"]["podIP"] for pod in running}) == 3
    kubectl(plane, "delete", "deployment", "three", "--timeout=30s")
    until(lambda: not pods(plane, "three"))


def test_jobs_complete_and_fail(plane: ControlPlane):
    kubectl(plane, "apply", "-f", "-", stdin=job("good"))
    kubectl(plane, "apply", "-f", "-", stdin=job("bad", fail="JobFailed"))
    kubectl(plane, "wait", "--for=condition=Complete", "--timeout=30s", "job/good")
    kubectl(plane, "wait", "--for=condition=Failed", "--timeout=30s", "job/bad")


def test_a_job_lasts_as_long_as_it_is_told(plane: ControlPlane):
    kubectl(plane, "apply", "-f", "-", stdin=job("long", duration="3s"))
    until(lambda: get(plane, "job", "long")["status"].get("ready") == 1)
    kubectl(plane, "wait", "--for=condition=Complete", "--timeout=30s", "job/long")


@pytest.mark.parametrize(
    "reason", ["ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerConfigError"]
)
def test_containers_that_cannot_be_made(plane: ControlPlane, reason: str):
    name = reason.lower()
    kubectl(plane, "apply", "-f", "-", stdin=deployment(name, fail=reason))
    status = container(plane, name)
    assert status["state"]["waiting"]["reason"] == reason
    assert status["state"]["waiting"]["message"]
    assert pods(plane, name)[0]["status"]["phase"] == "Pending"
    condition = next(c for c in pods(plane, name)[0]["status"]["conditions"] if c["type"] == "Ready")
    assert (condition["status"], condition["message"]) == ("False", "containers with unready status: [main]")


@pytest.mark.parametrize(("fail", "last", "code"), [("CrashLoopBackOff", "Error", 1), ("OOMKilled", "OOMKilled", 137)])
def test_containers_that_crash(plane: ControlPlane, fail: str, last: str, code: int):
    name = fail.lower()
    kubectl(plane, "apply", "-f", "-", stdin=deployment(name, fail=fail))
    status = container(plane, name)
    assert status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert "back-off" in status["state"]["waiting"]["message"]
    assert (status["lastState"]["terminated"]["reason"], status["lastState"]["terminated"]["exitCode"]) == (last, code)
    assert status["restartCount"] == 5
    assert pods(plane, name)[0]["status"]["phase"] == "Running"


def test_a_container_that_never_gets_ready_and_one_that_takes_its_time(plane: ControlPlane):
    kubectl(plane, "apply", "-f", "-", stdin=deployment("never", fail="NotReady"))
    kubectl(plane, "apply", "-f", "-", stdin=deployment("late", delay="3s"))
    assert "running" in container(plane, "never")["state"]
    assert not container(plane, "never")["ready"]
    assert not get(plane, "deployment", "late")["status"].get("readyReplicas")
    kubectl(plane, "wait", "--for=condition=Available", "--timeout=30s", "deployment/late")


def test_a_mended_template_gets_well(plane: ControlPlane):
    kubectl(plane, "apply", "-f", "-", stdin=deployment("mended", fail="CrashLoopBackOff"))
    container(plane, "mended")
    kubectl(plane, "replace", "-f", "-", stdin=deployment("mended"))
    kubectl(plane, "rollout", "status", "deployment/mended", "--timeout=30s")


def test_claims_get_volumes_and_give_them_back(plane: ControlPlane):
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    kubectl(plane, "apply", "-f", "-", stdin=claim)
    kubectl(plane, "wait", "--for=jsonpath={.status.phase}=Bound", "--timeout=30s", "pvc/data")
    kubectl(plane, "delete", "pvc", "data", "--timeout=30s")
    until(lambda: not get(plane, "pv")["items"])


def test_admission_and_rbac_are_real(plane: ControlPlane):
    namespace = {"metadata": {"name": "strict", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    kubectl(plane, "apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "Namespace", **namespace})
    until(lambda: get(plane, "serviceaccounts", "-n", "strict")["items"])
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        kubectl(plane, "run", "-n", "strict", "pod", "--image=x", "--privileged")
    with pytest.raises(AssertionError, match="cannot list resource"):
        kubectl(plane, "get", "secrets", "--as=nobody")
    assert "validatingadmissionpolicies" in kubectl(plane, "api-resources", "-o", "name")


def test_changes_are_audited(plane: ControlPlane):
    kubectl(plane, "create", "configmap", "audited")
    kubectl(plane, "get", "configmap", "audited")
    events = [json.loads(line) for line in plane.audit_log.read_text().splitlines()]
    mine = [event for event in events if event.get("objectRef", {}).get("name") == "audited"]
    assert [(event["verb"], event["responseStatus"]["code"]) for event in mine] == [("create", 201)]
    assert mine[0]["userAgent"].startswith("kubectl")
    assert mine[0]["user"]["username"] == "homeport-admin"


def test_the_api_server_can_be_restarted_and_paused(plane: ControlPlane):
    plane.restart_component("kube-apiserver")
    assert get(plane, "configmap", "kube-root-ca.crt")
    plane.pause_component("kube-apiserver")
    assert not plane.is_running()
    assert next(part for part in plane.health() if part.name == "kube-apiserver").paused
    plane.resume_component("kube-apiserver")
    until(plane.is_running)
    plane.kill_component("kwok")
    until(lambda: not plane.is_running())
    plane.start()
    assert plane.is_running()
    # It plays nodes at once, though its predecessor's leases on them would last for 40 s.
    kubectl(plane, "apply", "-f", "-", stdin=deployment("after"))
    kubectl(plane, "wait", "--for=condition=Available", "--timeout=10s", "deployment/after")


def survivors(directory: Path) -> list[int]:
    layout = Layout(directory)
    return Processes(layout.pids, layout.logs).strays() + [
        record.pid for record in Processes(layout.pids, layout.logs).records() if record.alive
    ]


def test_stop_leaves_nothing_and_start_finds_everything_again(tmp_path: Path):
    plane = ControlPlane(tmp_path)
    plane.start()
    try:
        kubectl(plane, "create", "configmap", "kept")
        ports = (tmp_path / "ports.json").read_text()
        # Another process, which knows the directory only, takes over.
        other = ControlPlane(tmp_path)
        assert other.is_running()
        other.stop()
        assert survivors(tmp_path) == []
        assert not plane.is_running()
        plane.start()
        assert (tmp_path / "ports.json").read_text() == ports
        assert get(plane, "configmap", "kept")
    finally:
        plane.stop()
    assert survivors(tmp_path) == []


PARENT = """
import sys, time
from pathlib import Path
from localplane import ControlPlane
plane = ControlPlane(Path(sys.argv[1]), ephemeral=True)
plane.start()
print("started", flush=True)
time.sleep(600)
"""


@pytest.mark.faults
@pytest.mark.parametrize("when", ["midway", "started"])
def test_a_killed_parent_leaves_nothing(tmp_path: Path, when: str):
    path = os.pathsep.join(entry for entry in sys.path if entry)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    )
    if when == "started":
        assert parent.stdout
        assert parent.stdout.readline() == b"started\n"
    else:
        until((tmp_path / "pids" / "kube-apiserver.json").exists)
    assert survivors(tmp_path)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: not survivors(tmp_path), 10)
