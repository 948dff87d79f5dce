"""The chart for one namespace only: with exactly those Roles an operator sees a project's life through; no other is
touched."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest
from homes import Home, component, eventually
from test_chart_rbac import USER, kubeconfig

from api_server import ApiServer
from charts import CHART, SYSTEM, Helm, one
from git_server import GitServer, Repository
from localplane.commands import install
from localplane.controlplane import ControlPlane
from localplane.kubectl import Kubectl
from operators import Operator, Writes
from rights import asked, granted

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
VALUES = CHART / "examples" / "one-namespace.yaml"
PATIENCE = 120.0
CLUSTERWIDE = {"proxmoxhosts", "proxmoxhosts/status"}
"""Of Homeport's kinds, what its ClusterRole writes: it is in no namespace."""


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane whose CRDs, policies and members' roles somebody looks after."""
    with ControlPlane(tmp_path_factory.mktemp("plane"), ephemeral=True, audit=True, audit_reads=True) as found:
        install(Kubectl(found.kubectl, str(found.kubeconfig)))
        yield found


@pytest.fixture(scope="module")
def mine(plane: ControlPlane) -> Home:
    """The namespace that the operator is for."""
    return Home(ApiServer(str(plane.kubeconfig)))


@pytest.fixture(scope="module")
def theirs(plane: ControlPlane) -> Home:
    """Somebody else's."""
    return Home(ApiServer(str(plane.kubeconfig)))


@pytest.fixture(scope="module")
def operator(plane: ControlPlane, mine: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """The operator as the chart's account, with the arguments that the chart gives its Pod."""
    words = ("-f", VALUES, "--set", f"namespaces[0]={mine.name}")
    Helm(plane.kubeconfig).run("install", "homeport", CHART, "-n", SYSTEM, *words, "--wait")
    given = one(Helm().template(*words), "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    # The address, the identity and the log are this machine's.
    own = ("--listen", "--identity", "--log-")
    options = [arg for arg in given if not arg.startswith(own)]
    assert f"--namespace={mine.name}" in options
    folder = tmp_path_factory.mktemp("operator")
    running = Operator(kubeconfig(plane, folder), folder / "operator.log", *options)
    running.start()
    try:
        asyncio.run(running.wait_leading())
        yield running
    finally:
        running.kill(signal.SIGTERM)


@pytest.fixture(scope="module")
def git(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    found = GitServer(tmp_path_factory.mktemp("git"))
    yield found
    found.close()


def test_its_roles_write_in_that_namespace_only(mine: Home) -> None:
    rendered = Helm().template("-f", VALUES, "--set", f"namespaces[0]={mine.name}")
    (everywhere,) = (m for m in rendered if m["kind"] == "ClusterRole")
    written = {
        r for r in granted(everywhere["rules"]) if r.group == "homeport.dev" and r.verb not in ("get", "list", "watch")
    }
    assert {right.resource for right in written} == CLUSTERWIDE
    assert {m["metadata"]["namespace"] for m in rendered if m["kind"] == "Role"} == {SYSTEM, mine.name}


def test_a_projects_life(operator: Operator, mine: Home, theirs: Home, git: GitServer) -> None:
    # First, so that what becomes of mine is later than what could become of it.
    theirs.project()
    theirs.environment("dev")
    theirs.application(component())
    mine.secret("db", password="s3cret")
    mine.project(members=[{"kind": "User", "name": "ann@example.com", "role": "developer"}])
    mine.environment("dev", secrets=[{"name": "db"}])
    web = component(
        volumes=[{"name": "data", "path": "/data", "size": "1Gi", "deletionPolicy": "Delete"}],
        routes=[{"host": "a.example.com", "path": "/"}],
    )
    mine.application(web, component("worker", type="worker"))
    mine.ready(seconds=PATIENCE)
    mine.ready("Project", mine.name)
    assert mine.may("ann@example.com", "create", "applications", mine.name, "homeport.dev")
    assert mine.child("Secret", "db")

    mine.delete("Deployment", mine.place(), "worker")
    eventually(lambda: mine.find("Deployment", mine.place(), "worker"), "drift is mended", PATIENCE)
    mine.application(web, version="1.1.0")
    mine.gone("Deployment", mine.place(), "worker", PATIENCE)
    mine.ready(seconds=PATIENCE)
    image = mine.child("Deployment")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image.endswith(":1.1.0")

    # Without the right to impersonate there are no GitSources, and each says so.
    Repository(git.root, "fleet").commit({"e.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"})
    mine.own("GitSource", "fleet", {"url": git.url("fleet"), "ref": {"branch": "main"}})
    mine.until("GitSource", "fleet", "False", "AccessDenied", "impersonate", seconds=PATIENCE)

    mine.leave()
    mine.sweep()
    for kind, name in (("Project", theirs.name), ("Environment", "dev"), ("Application", "shop")):
        body = theirs.mine(kind, name)
        # The definition's default is all that a status of it has.
        assert set(body.get("status") or ()) <= {"observedGeneration"} and "finalizers" not in body["metadata"], body
    assert theirs.find("Namespace", None, theirs.place()) is None


def test_nothing_was_forbidden_and_nothing_written_elsewhere(
    plane: ControlPlane, operator: Operator, mine: Home, theirs: Home
) -> None:
    assert not sorted(
        {one.what for one in asked(plane.audit_log, USER) if not one.allowed and "impersonat" not in one.what}
    )
    assert Writes(plane.audit_log).count(), "the log has what the operator wrote"
    assert not [
        one.what
        for one in asked(plane.audit_log, USER)
        if one.right.verb not in ("get", "list", "watch") and theirs.name in one.what
    ]
