"""taskflow as real Pods: a SQLite file on a volume that two replicas share."""

from __future__ import annotations

import pytest
from homes import condition, eventually, told
from systems import System, component

pytestmark = pytest.mark.e2e


def test_a_task_is_created_and_read_back_through_the_service_from_both_pods(taskflow: System) -> None:
    code, made = taskflow.call("web", "POST", "/tasks", {"title": "water the plants"})
    assert (code, made["title"]) == (201, "water the plants")
    assert taskflow.status["components"] == [{"name": "web", "ready": 2, "desired": 2, "health": "Healthy"}]

    names = {pod["metadata"]["name"] for pod in taskflow.pods("web")}
    answered: set[str] = set()

    def both_answer() -> bool:
        code, read = taskflow.call("web", "GET", f"/tasks/{made['id']}")
        assert (code, read["title"]) == (200, "water the plants")
        answered.add(read["pod"])
        return answered == names

    eventually(both_answer, f"each of {names} answers behind the Service")
    assert taskflow.call("web", "GET", "/health")[1] == {"status": "ok", "version": "1.0.0", "environment": "staging"}


def test_it_runs_confined_as_the_kernel_sees_it(taskflow: System) -> None:
    pod = taskflow.pods("web")[0]["metadata"]["name"]
    lines = taskflow.exec(pod, "cat", "/proc/1/status").splitlines()
    seen = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
    assert seen["Uid"] == ["1000"] * 4
    assert seen["Gid"] == ["1000"] * 4
    assert (seen["CapEff"], seen["CapBnd"]) == (["0" * 16], ["0" * 16])
    assert (seen["NoNewPrivs"], seen["Seccomp"]) == (["1"], ["2"])

    refused = taskflow.exec(pod, "sh", "-c", "touch /app/x 2>&1 || true; touch /etc/taskflow/x 2>&1 || true")
    assert refused.count("Read-only file system") == 2
    assert "wrote" in taskflow.exec(pod, "sh", "-c", "touch /tmp/x /data/x && rm /tmp/x /data/x && echo wrote")
    assert "no token" in taskflow.exec(
        pod, "sh", "-c", "ls /var/run/secrets/kubernetes.io 2>/dev/null || echo no token"
    )


def test_a_deleted_pod_is_replaced_and_its_data_is_there(taskflow: System) -> None:
    _, made = taskflow.call("web", "POST", "/tasks", {"title": "outlive the Pod"})
    before = taskflow.pods("web")
    old = {pod["metadata"]["uid"] for pod in before}
    for gone in before:
        taskflow.delete("Pod", taskflow.space, gone["metadata"]["name"])

    def replaced() -> bool:
        found = taskflow.pods("web")
        ready = [pod for pod in found if condition(pod).get("status") == "True"]
        return len(ready) == 2 and not {pod["metadata"]["uid"] for pod in found} & old

    eventually(replaced, "two new Pods are ready", 90, 0.2)
    assert taskflow.ready()
    assert taskflow.call("web", "GET", f"/tasks/{made['id']}")[1]["title"] == "outlive the Pod"


def test_a_killed_process_is_started_again_and_the_status_follows(taskflow: System) -> None:
    version = taskflow.version("Application", taskflow.name)
    pod = taskflow.pods("web")[0]
    name, before = pod["metadata"]["name"], pod["status"]["containerStatuses"][0]["restartCount"]
    taskflow.kill(pod)

    def restarted() -> bool:
        status = taskflow.get("Pod", taskflow.space, name)["status"]["containerStatuses"][0]
        return bool(status["restartCount"] > before and status["ready"])

    eventually(restarted, f"{name} runs again", 60, 0.2)
    taskflow.ready()
    assert taskflow.readiness(version)[-1] == "True"
    ended = taskflow.get("Pod", taskflow.space, name)["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert ended["exitCode"] == 137


def test_a_missing_image_is_degraded_with_the_reason_and_the_old_pods_serve_on(taskflow: System) -> None:
    old = {pod["metadata"]["name"] for pod in taskflow.pods("web")}
    taskflow.change(lambda spec: spec.update(version="9.9.9"))
    body = taskflow.until("False", "HealthCheckFailed", "web", "taskflow:9.9.9")
    assert any(reason in told(body)[2] for reason in ("ErrImagePull", "ImagePullBackOff")), told(body)
    assert taskflow.status["health"] == "Degraded"

    code, answer = taskflow.call("web", "GET", "/health")
    assert (code, answer["version"]) == (200, "1.0.0")
    serving = {pod["metadata"]["name"] for pod in taskflow.pods("web") if condition(pod).get("status") == "True"}
    assert serving == old

    back = taskflow.homeport("rollback", "taskflow", "--yes")
    assert back.returncode == 0, back.stdout + back.stderr
    taskflow.ready()
    assert taskflow.application["spec"]["version"] == "1.0.0"
    assert {pod["metadata"]["name"] for pod in taskflow.pods("web")} == old


def test_a_container_that_ends_is_degraded_with_its_reason(taskflow: System) -> None:
    def break_it(spec: dict) -> None:
        component(spec, "web")["command"] = ["python3", "-c", "raise SystemExit('no settings')"]

    taskflow.change(break_it)
    taskflow.until("False", "HealthCheckFailed", "CrashLoopBackOff")
    assert taskflow.call("web", "GET", "/health")[0] == 200


def test_a_probe_that_fails_is_said_with_its_answer(taskflow: System) -> None:
    def break_it(spec: dict) -> None:
        web = component(spec, "web")
        web["probes"] = {"readiness": {"path": "/nowhere", "periodSeconds": 1}}

    taskflow.change(break_it)
    taskflow.until("False", "", "web")
    assert taskflow.call("web", "GET", "/health")[0] == 200


def test_a_new_version_rolls_out_and_keeps_the_data(taskflow: System) -> None:
    _, made = taskflow.call("web", "POST", "/tasks", {"title": "survive the upgrade"})
    taskflow.change(lambda spec: spec.update(version="1.1.0"))
    taskflow.ready()
    # An old Pod that is going may still be asked for a moment.
    eventually(lambda: taskflow.call("web", "GET", "/health")[1]["version"] == "1.1.0", "the new version answers")
    assert taskflow.call("web", "GET", f"/tasks/{made['id']}")[1]["title"] == "survive the upgrade"
