"""The command line as its users run it, against a real API server with the real operator."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from homes import Home, component, eventually, on_pods

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]
SECRET = "not-to-be-shown"


@pytest.fixture
def run(control_plane: Any) -> Run:
    """Runs ``homeport`` with the session's kubeconfig."""

    def call(*args: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        known = {**os.environ, "KUBECONFIG": str(control_plane.kubeconfig), "PYTHONPATH": str(ROOT / "operator")}
        command = [sys.executable, "-m", "homeport", *args]
        return subprocess.run(
            command, input=stdin, env={**known, **environment}, capture_output=True, text=True, check=False, timeout=120
        )

    return call


def manifests(home: Home, *components: dict[str, Any], **spec: Any) -> str:
    metadata = {"name": "shop", "namespace": home.name}
    body = {"version": "1.0.0", "components": list(components), **spec}
    return yaml.safe_dump(
        {"apiVersion": "homeport.dev/v1alpha1", "kind": "Application", "metadata": metadata, "spec": body}
    )


WEB = component(ports=[{"name": "http", "port": 8080}])


def test_from_init_to_ready(bare: Home, run: Run, tmp_path: Path) -> None:
    folder = str(tmp_path / "shop")
    assert run("init", bare.name, "--dir", folder).returncode == 0
    assert run("validate", "-f", folder).returncode == 0
    planned = run("plan", "-f", folder, "-o", "json")
    assert planned.returncode == 2, planned.stderr
    answer = json.loads(planned.stdout)
    assert {c["verb"] for c in answer["changes"]} == {"create"}
    assert "Deployment" in {c["object"]["kind"] for c in answer["changes"]}
    assert bare.list("Deployment", f"{bare.name}-development") == [], "a plan wrote something"

    for file in sorted(Path(folder).iterdir()):
        for body in yaml.safe_load_all(file.read_text()):
            bare.apply(body)
    eventually(lambda: run("status", "-n", bare.name).returncode == 0, "all is Ready", seconds=60, between=1)
    again = run("plan", "-f", folder)
    assert again.returncode == 0, again.stdout
    assert "nothing to do" in again.stdout


def test_plan_shows_what_differs_and_the_apply_does_it(home: Home, run: Run) -> None:
    home.application(WEB)
    home.ready("Application", "shop")
    changed = manifests(home, {**WEB, "replicas": 3})
    planned = run("plan", "-f", "-", stdin=changed)
    assert planned.returncode == 2, planned.stderr
    assert "spec.replicas: 1 → 3" in planned.stdout
    assert home.child("Deployment")["spec"]["replicas"] == 1
    home.apply(yaml.safe_load(changed))
    eventually(lambda: home.child("Deployment")["spec"]["replicas"] == 3, "three replicas")
    home.ready("Application", "shop")
    assert run("plan", "-f", "-", stdin=changed).returncode == 0


def test_plan_of_secrets_that_are_there_is_empty_and_shows_none_of_them(home: Home, run: Run) -> None:
    home.secret("keys", key=SECRET)
    home.set("Environment", "dev", secrets=[{"name": "keys"}])
    reads = {**WEB, "envFrom": [{"secretRef": {"name": "keys"}}]}
    home.application(reads)
    home.ready("Application", "shop")
    secret = yaml.safe_dump({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": home.name},
        "stringData": {"key": SECRET},
    })  # fmt: skip
    environment = home.mine("Environment", "dev")
    body = yaml.safe_dump({
        "apiVersion": "homeport.dev/v1alpha1", "kind": "Environment",
        "metadata": {"name": "dev", "namespace": home.name}, "spec": environment["spec"],
    })  # fmt: skip
    planned = run("plan", "--full", "-f", "-", stdin="\n---\n".join([secret, body, manifests(home, reads)]))
    assert SECRET not in planned.stdout + planned.stderr
    assert planned.returncode == 0, planned.stdout


def test_plan_refuses_what_would_be_refused(home: Home, run: Run) -> None:
    planned = run("plan", "-f", "-", stdin=manifests(home, {"name": "web", "image": "a b"}))
    assert planned.returncode == 1
    assert "<stdin>:" in planned.stderr
    assert "write an image such as" in planned.stderr


def test_status_and_tree_say_why(home: Home, run: Run) -> None:
    patch = on_pods("Deployment", "web", fail="ImagePullBackOff")
    home.application(WEB, environments=[{"name": "dev", "patches": [patch]}])
    eventually(
        lambda: "ImagePullBackOff" in run("status", "-n", home.name).stdout, "the Pod's reason", seconds=60, between=1
    )
    told = run("status", "-n", home.name, "-o", "json")
    assert told.returncode == 1
    answer = json.loads(told.stdout)
    assert answer["operator"]["state"] == "alive"
    (row,) = [o for o in answer["objects"] if o["kind"] == "Application"]
    assert (row["ready"], row["health"]) == ("False", "Degraded")

    shown = run("tree", f"project/{home.name}")
    assert shown.returncode == 0, shown.stderr
    pod = next(line for line in shown.stdout.splitlines() if "Pod web-" in line)
    assert "Degraded: ImagePullBackOff" in pod
    tree = json.loads(run("tree", "app/shop", "-n", home.name, "-o", "json").stdout)
    assert tree["children"][0]["children"][0]["kind"] == "Component"


def test_get_and_completion_know_what_is_there(home: Home, run: Run) -> None:
    home.application(WEB)
    home.ready("Application", "shop")
    names = run("get", "-n", home.name, "-o", "name").stdout.split()
    assert names == [
        f"projects.homeport.dev/{home.name}", "environments.homeport.dev/dev", "applications.homeport.dev/shop",
    ]  # fmt: skip
    line = f"homeport get app -n {home.name} s"
    found = run(COMP_WORDS=line, COMP_CWORD=str(len(line.split()) - 1), _HOMEPORT_COMPLETE="bash_complete")
    assert found.stdout.split() == ["plain,shop"]


def test_watching_tells_of_changes(home: Home, control_plane: Any) -> None:
    known = {**os.environ, "KUBECONFIG": str(control_plane.kubeconfig), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "homeport", "status", "-w", "-n", home.name]
    with subprocess.Popen(command, env=known, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert "Project" in process.stdout.readline()
            home.application(WEB)
            for line in process.stdout:
                if "Application" in line and "Ready=True" in line:
                    break
        finally:
            process.terminate()


def test_version(run: Run) -> None:
    answer = json.loads(run("version", "-o", "json").stdout)
    assert answer["server"].startswith("v1.")
    assert " ".join(answer["kinds"]) == (
        "Application Backup BackupRepository BackupRun CatalogItem Environment GitSource ImageUpdate LXCContainer "
        "Notification Project ProxmoxHost Restore"
    )
    assert answer["operator"]["state"] == "alive"


def test_rights_that_are_missing_are_said(run: Run, control_plane: Any, tmp_path: Path) -> None:
    config = yaml.safe_load(Path(control_plane.kubeconfig).read_text())
    for user in config["users"]:
        user["user"] = {"token": "nobody-has-this"}
    nobody = tmp_path / "nobody"
    nobody.write_text(yaml.safe_dump(config))
    told = run("status", "--kubeconfig", str(nobody))
    assert told.returncode == 1
    assert "doesn't accept the kubeconfig's credentials" in told.stderr or "you lack the right" in told.stderr
    assert "Traceback" not in told.stderr


def test_no_cluster_is_said(run: Run, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {}}],
    }
    (tmp_path / "kc").write_text(yaml.safe_dump(config))
    told = run("get", "--kubeconfig", str(tmp_path / "kc"))
    assert told.returncode == 1
    assert "homeport up" in told.stderr
    assert "Traceback" not in told.stderr
