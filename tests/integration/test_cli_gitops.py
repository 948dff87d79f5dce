"""``homeport diff`` and ``homeport notify test`` with a real API server, a real Git server and a real receiver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import test_gitsource
import yaml
from homes import Home
from test_gitsource import CONFIG as MAY
from test_gitsource import Fleet

from git_server import GitServer
from homeport.api import labels
from localplane import binaries
from receivers import Receiver

pytestmark = pytest.mark.integration

Run = Callable[..., subprocess.CompletedProcess[str]]
server_of_git = test_gitsource.server_of_git
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: horse}\n"
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {%s}\n"


def command(kubeconfig: Path) -> Run:
    def call(*args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        known = {**os.environ, **binaries.for_builds(), "KUBECONFIG": str(kubeconfig)}
        words = [sys.executable, "-m", "homeport", *args]
        done = subprocess.run(
            words, env=known, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return call


@pytest.fixture
def run(control_plane: Any) -> Run:
    """Runs ``homeport`` as an administrator."""
    return command(control_plane.kubeconfig)


@pytest.fixture
def fleet(bare: Home, server_of_git: GitServer) -> Fleet:
    made = Fleet(bare, server_of_git)
    made.account(MAY)
    return made


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.rstrip() for line in done.stdout.splitlines() if line.strip()]


# --- homeport diff ----------------------------------------------------------------------------------------------------


def test_diff_tells_what_a_push_will_change_and_changes_nothing(fleet: Fleet, run: Run) -> None:
    place = fleet.home.name
    fleet.push(a=CONFIG % ("a", "x: '1'"), b=CONFIG % ("b", "x: '1'"), same=CONFIG % ("same", "x: '1'"))
    fleet.source()
    fleet.home.ready("GitSource", "fleet")
    assert "nothing would change" in run("diff", "source", "fleet", "-n", place).stdout

    fleet.remove("b")
    commit = fleet.push(a=CONFIG % ("a", "x: '2'"), c=CONFIG % ("c", "x: '1'"))
    before = fleet.home.list("ConfigMap", place)
    told = lines(run("diff", "fleet", "-n", place, code=2))
    assert [line.split("  ")[:2] for line in told if line[0] in "+~-"][:2] == [
        [f"~ ConfigMap {place}/a", "a.yaml:1"],
        [f"+ ConfigMap {place}/c", "c.yaml:1"],
    ]
    assert any(line.startswith(f"- ConfigMap {place}/b") for line in told)
    assert any("data.x" in line and "1" in line and "2" in line for line in told)
    assert told[-1] == f"main@sha1:{commit[:12]}: 1 made, 1 changed, 1 removed"
    found = json.loads(run("diff", "fleet", "-n", place, "-o", "json", code=2).stdout)
    assert (found["create"], found["update"], found["delete"], found["unchanged"]) == (1, 1, 1, 1)
    assert fleet.home.list("ConfigMap", place) == before

    fleet.sync()
    assert run("diff", "fleet", "-n", place).stdout.strip().endswith("nothing would change")


def test_diff_tells_a_charts_objects_by_what_the_cluster_serves(fleet: Fleet, run: Run) -> None:
    has = '{{ .Capabilities.APIVersions.Has "homeport.dev/v1alpha1/GitSource" | quote }}'
    values = "{{ .Values.text | quote }}"
    fleet.repository.commit(
        {
            "Chart.yaml": "apiVersion: v2\nname: chart\nversion: 1.0.0\n",
            "templates/a.yaml": CONFIG % ("told", f"served: {has}, text: {values}"),
        }
    )
    fleet.home.secret("values", **{"values.yaml": "text: horse battery\n"})
    fleet.source(build={"helm": {"valuesFrom": [{"kind": "Secret", "name": "values"}]}})
    fleet.home.ready("GitSource", "fleet")
    assert fleet.there() == {"told": {"served": "true", "text": "horse battery"}}
    assert "nothing would change" in run("diff", "fleet", "-n", fleet.home.name).stdout

    # What the operator would refuse to put into an object isn't put there by the preview, either.
    fleet.home.secret("values", labels={labels.PRIVATE: ""}, **{"values.yaml": "text: horse battery\n"})
    refused = run("diff", "fleet", "-n", fleet.home.name, code=1)
    assert f"Secret values goes into no object: the label {labels.PRIVATE} says so" in refused.stderr
    assert "horse" not in refused.stdout + refused.stderr


def test_diff_tells_what_cannot_be_applied(fleet: Fleet, run: Run) -> None:
    place = fleet.home.name
    fleet.push(a=CONFIG % ("a", "x: '1'"))
    fleet.source()
    fleet.home.ready("GitSource", "fleet")
    fleet.push(a=CONFIG % ("a", "x: '2'"), s=SECRET)
    refused = run("diff", "fleet", "-n", place, code=1)
    why = f"Secret {place}/s: the account {place}/deployer may not patch secrets in namespace {place}"
    assert f"refused: s.yaml:1: {why}" in refused.stdout
    assert "horse" not in refused.stdout + refused.stderr
    fleet.push(s="apiVersion: v1\nkind: [\n")
    assert "s.yaml:" in run("diff", "fleet", "-n", place, code=1).stderr
    fleet.source(url=fleet.git.url("not-there"))
    assert "not-there" in run("diff", "fleet", "-n", place, code=1).stderr
    assert "fleets" in run("diff", "fleets", "-n", place, code=1).stderr


def test_diff_as_somebody_who_may_not_impersonate(fleet: Fleet, control_plane: Any, tmp_path: Path) -> None:
    home = fleet.home
    reads = {"apiGroups": ["homeport.dev"], "resources": ["gitsources", "environments"], "verbs": ["get", "list"]}
    fleet.account(MAY, reads, name="person")
    path = f"/api/v1/namespaces/{home.name}/serviceaccounts/person/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    config = yaml.safe_load(Path(control_plane.kubeconfig).read_text())
    config["users"][0]["user"] = {"token": home.api.call("POST", path, body)["status"]["token"]}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    fleet.push(a=CONFIG % ("a", "x: '1'"))
    fleet.source()
    home.ready("GitSource", "fleet")
    fleet.push(a=CONFIG % ("a", "x: '2'"))
    done = command(kubeconfig)("diff", "fleet", "-n", home.name, code=2)
    assert f"as yourself, for you may not impersonate system:serviceaccount:{home.name}:deployer" in done.stderr
    assert any(line.startswith(f"~ ConfigMap {home.name}/a  a.yaml:1") for line in lines(done))


# --- homeport notify --------------------------------------------------------------------------------------------------


def asked_for(receiver: Receiver) -> list[str]:
    """The messages of tests that were taken; what happens beside them is told, too."""
    return [event["name"] for event in receiver.events() if event["reason"] == "Test"]


def test_notify_test_says_whether_the_message_was_taken(home: Home, receiver: Receiver, run: Run) -> None:
    home.own("Notification", "ops", {"webhook": {"url": f"{receiver.url}/hook"}})
    home.ready("Notification", "ops")
    assert "ops: the message was taken" in run("notify", "test", "ops", "-n", home.name).stdout
    assert len(asked_for(receiver)) == 1
    receiver.always = 503
    assert "it wasn't taken: 127.0.0.1 answers 503" in run("notify", "test", "ops", "-n", home.name, code=1).stderr
    receiver.always = 200
    assert "the message was taken" in run("notify", "test", "ops", "-n", home.name).stdout
    assert len(asked_for(receiver)) == 2, "what wasn't taken isn't sent again"

    home.set("Notification", "ops", suspend=True)
    assert "ops is suspended" in run("notify", "test", "ops", "-n", home.name, code=1).stderr
    assert "nobody" in run("notify", "test", "nobody", "-n", home.name, code=1).stderr


def test_notify_test_ends_when_nobody_sends(home: Home, run: Run) -> None:
    home.own("Notification", "ops", {"slack": {"urlSecretRef": {"name": "chat", "key": "url"}}})
    home.until("Notification", "ops", "False", "DependencyNotReady")
    done = run("notify", "test", "ops", "-n", home.name, "--timeout", "3", code=1)
    assert "nobody has sent it after 3 s: Secret chat" in done.stderr
