"""``homeport wait`` on a real API server with the real operator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from homes import Home, component, eventually, on_pods

from git_server import GitServer, Repository
from homeport.cli import main

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]


class Waits:
    """``homeport wait`` as a process."""

    def __init__(self, kubeconfig: Path, *words: str) -> None:
        known = {**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(ROOT / "operator")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "homeport", "wait", *words],
            env=known, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.said: list[str] = []

    def until(self, text: str) -> None:
        """Read what it tells until ``text`` is in it."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if text in line:
                return
        raise AssertionError(f"{text!r} was never told: {''.join(self.said)}")

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, "".join(self.said) + err


@pytest.fixture
def wait(control_plane: Any) -> Iterator[Callable[..., Waits]]:
    begun: list[Waits] = []

    def begin(*words: str) -> Waits:
        begun.append(Waits(control_plane.kubeconfig, *words))
        return begun[-1]

    yield begin
    for one in begun:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def test_ready_of_the_version_that_was_deployed(home: Home, wait: Callable[..., Waits]) -> None:
    home.application(component())
    home.ready()
    # Ready is that of 1.0.0.
    waiting = wait("application/shop", "-n", home.name, "--version", "1.1.0", "-o", "json")
    waiting.until("it is still at version 1.0.0")
    home.application(component(), version="1.1.0")
    code, out, err = waiting.end()
    assert code == 0, err
    (found,) = json.loads(out)
    assert (found["state"], found["version"], found["kind"]) == ("Done", "1.1.0", "Application")
    assert home.child("Deployment")["spec"]["template"]["spec"]["containers"][0]["image"].endswith(":1.1.0")
    assert home.child("Deployment")["status"]["readyReplicas"] == 1


def test_a_version_that_does_not_start_is_not_in_time(home: Home, wait: Callable[..., Waits]) -> None:
    home.application(component())
    home.ready()
    bad = [{"name": "dev", "patches": [on_pods("Deployment", "web", fail="ImagePullBackOff")]}]
    home.application(component(), version="1.1.0", environments=bad)
    home.until("Application", "shop", "False", "HealthCheckFailed", "ImagePullBackOff")
    code, out, err = wait("app", "shop", "-n", home.name, "--version", "v1.1.0", "--timeout", "1s").end()
    assert (code, out) == (2, "")
    assert "application/shop: timeout: not after 1 s: HealthCheckFailed" in err
    assert "ImagePullBackOff" in err


def test_what_is_stalled_fails_at_once(bare: Home, wait: Callable[..., Waits]) -> None:
    # Not there yet, and then in no environment that is.
    waiting = wait("application/shop", "-n", bare.name, "--version", "1.0.0")
    waiting.until("it isn't there yet")
    bare.project()
    bare.environment()
    bare.application(component(), name="shop", environments=[{"name": "dev"}])
    assert waiting.end()[0] == 0
    missing = {"name": "web", "catalog": {"name": "no-such-item"}}
    bare.application(missing, version="1.1.0", environments=[{"name": "dev"}])
    eventually(lambda: _stalled(bare), "stalled")
    code, _, err = wait("application/shop", "-n", bare.name, "--version", "1.1.0").end()
    assert code == 3, err
    assert "application/shop: stalled: " in err
    assert "no-such-item" in err


def _stalled(home: Home) -> bool:
    found = home.mine("Application")["status"]["conditions"]
    return any(one["type"] == "Stalled" and one["status"] == "True" for one in found)


def test_several_objects_and_their_end(home: Home, wait: Callable[..., Waits]) -> None:
    home.application(component())
    words = ("environment/dev", "application/shop", "-n", home.name)
    code, out, err = wait(*words).end()
    assert code == 0, err
    assert [line.split(":")[0] for line in out.splitlines()] == ["environment/dev", "application/shop"]
    leaving = wait("application/shop", "-n", home.name, "--for", "delete")
    leaving.until("it is still there")
    home.delete("Application", home.name, "shop")
    assert leaving.end()[:2] == (0, "application/shop: deleted: deleted\n")


def test_a_suspended_application_is_not_waited_for(home: Home, wait: Callable[..., Waits]) -> None:
    home.application(component(), suspend=True)
    code, _, err = wait("application/shop", "-n", home.name).end()
    assert code == 3
    assert "it is suspended" in err


# --- the whole way ----------------------------------------------------------------------------------------------------


@pytest.fixture
def git(tmp_path: Path) -> Iterator[GitServer]:
    running = GitServer(tmp_path)
    yield running
    running.close()


def test_from_a_commit_in_the_gitops_repository_to_ready(
    home: Home, git: GitServer, wait: Callable[..., Waits], capsys: pytest.CaptureFixture[str]
) -> None:
    body = {
        "apiVersion": "homeport.dev/v1alpha1",
        "kind": "Application",
        "metadata": {"name": "shop"},
        "spec": {"version": "1.0.0", "components": [component()]},
    }
    repository = Repository(git.root, "fleet")
    first = repository.commit({"shop.yaml": yaml.safe_dump(body)})
    _account(home)
    source = {"url": git.url("fleet"), "ref": {"branch": "main"}, "interval": "10s", "serviceAccountName": "deployer"}
    home.own("GitSource", "fleet", source)
    code, out, err = wait("source/fleet", "-n", home.name, "--revision", first).end()
    assert (code, out.startswith("gitsource/fleet: ready: ")) == (0, True), err
    assert wait("application/shop", "-n", home.name, "--version", "1.0.0").end()[0] == 0

    where = ["--repo", git.url("fleet"), "--file", "shop.yaml", "--application", "shop"]
    capsys.readouterr()
    assert main(["deploy", *where, "--version", "1.1.0", "-o", "json"]) == 0
    commit = json.loads(capsys.readouterr().out)["commit"]
    of_source = wait("source/fleet", "-n", home.name, "--revision", commit[:12])
    of_application = wait("application/shop", "-n", home.name, "--version", "1.1.0", "-e", "dev")
    for one in (of_source, of_application):
        code, _, err = one.end()
        assert code == 0, err
    assert home.mine("Application")["spec"]["version"] == "1.1.0"
    assert home.child("Deployment")["spec"]["template"]["spec"]["containers"][0]["image"].endswith(":1.1.0")


def _account(home: Home) -> None:
    """A service account that may write Applications there."""
    rbac, metadata = "rbac.authorization.k8s.io", {"name": "deployer", "namespace": home.name}
    verbs = ["get", "list", "create", "patch", "delete"]
    rule = {"apiGroups": ["homeport.dev"], "resources": ["applications"], "verbs": verbs}
    home.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    home.apply({"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]})
    role = {"apiGroup": rbac, "kind": "Role", "name": "deployer"}
    account = {"kind": "ServiceAccount", "name": "deployer", "namespace": home.name}
    binding = {"apiVersion": f"{rbac}/v1", "kind": "RoleBinding", "metadata": metadata}
    home.apply({**binding, "roleRef": role, "subjects": [account]})
