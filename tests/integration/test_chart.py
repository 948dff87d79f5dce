"""The Helm chart on a real API server: what it renders is accepted, it installs, upgrades, and leaves data alone."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from homes import Live, eventually

from api_server import ApiServer, RefusedError
from charts import CHART, SYSTEM, Helm, HelmError, older, one
from homeport.api.kinds import KINDS
from homeport.cli.operator import operator
from localplane.controlplane import ControlPlane
from localplane.definitions import PROMETHEUS_OPERATOR
from localplane.kubectl import Kubectl
from operators import Operator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))
EVERYTHING = (
    "agent.enabled=true,agent.url=https://10.0.0.1:8443,webhooks.enabled=true,webhooks.ingress.enabled=true,"
    "webhooks.ingress.host=hooks.example.com,webhooks.ingress.tlsSecretName=hooks,serviceMonitor.enabled=true,"
    "prometheusRule.enabled=true,dashboard.enabled=true,backupRunner.image=runner:1,replicas=3"
)


def ours(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop"}
    return {"apiVersion": "homeport.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


FORMER = (
    ours(
        "Project",
        "shop",
        title="The shop",
        members=[{"kind": "User", "name": "ann@example.com", "role": "lead"}],
        milestones=[{"name": "launch", "title": "Launch", "dueDate": "2027-01-31"}],
    ),
    ours("Environment", "dev", isolation="Open", ingress={"className": "any", "domain": "dev.example.com"}),
    ours("Environment", "preview", isolation="Open", template=True),
)
"""What the first definitions take."""
LIMIT = 1024 * 1024
"""Bytes that a Secret may hold: https://kubernetes.io/docs/concepts/configuration/secret/#restriction-data-size"""


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with nothing of Homeport's in it, and the Prometheus operator's kinds."""
    with ControlPlane(tmp_path_factory.mktemp("chart"), ephemeral=True) as plane:
        kubectl = Kubectl(plane.kubectl, str(plane.kubeconfig))
        rules = PROMETHEUS_OPERATOR.files[0].replace("servicemonitors", "prometheusrules")
        kubectl.apply(*replace(PROMETHEUS_OPERATOR, files=(*PROMETHEUS_OPERATOR.files, rules)).paths())
        yield plane


@pytest.fixture(scope="module")
def helm(plane: ControlPlane) -> Helm:
    return Helm(plane.kubeconfig)


@pytest.fixture(scope="module")
def live(plane: ControlPlane) -> Live:
    return Live(ApiServer(str(plane.kubeconfig)))


def namespace(live: Live, name: str, **labels: str) -> None:
    live.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})


@pytest.mark.parametrize("values", [None, *EXAMPLES], ids=lambda path: path.stem if path else "defaults")
def test_it_passes_the_linter(values: Path | None) -> None:
    Helm().run("lint", "--strict", CHART, *(["-f", values] if values else []))


def test_pods_are_restricted_and_their_root_is_read_only() -> None:
    pod = one(Helm().template(), "Deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp", "/var/lib/homeport"}
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert environment["HOMEPORT_DATA_DIR"] == "/var/lib/homeport" and environment["HOME"] == "/tmp"


def test_the_digest_counts_before_the_tag_and_the_registry_is_everyones() -> None:
    digest = "sha256:" + "a" * 64
    words = ("--set", f"image.registry=r.example,image.digest={digest},image.tag=x,backupRunner.image=runner:1")
    container = one(Helm().template(*words), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == f"r.example/homeport@{digest}"
    assert "--runner-image=r.example/runner:1" in container["args"]


def test_the_command_takes_the_arguments() -> None:
    words = ("--set", f"{EVERYTHING},namespaces[0]=a,operator.registryMirror[0]=*=https://m.lan,operator.shard=x=y")
    args = one(Helm().template(*words), "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    context = operator.make_context("operator", [arg.replace("$(POD_NAME)", "pod-0") for arg in args])
    given = context.params
    assert (given["identity"], given["lease_namespace"], given["shard"]) == ("pod-0", SYSTEM, "x=y")
    assert given["namespaces"] == ("a",) and given["registry_mirror"] == ("*=https://m.lan",)
    assert given["agent_url"] == "https://10.0.0.1:8443" and given["concurrency"] == 16


@pytest.mark.parametrize("values", ["defaults", "everything", *EXAMPLES], ids=lambda path: getattr(path, "stem", path))
def test_the_api_server_takes_what_is_rendered(plane: ControlPlane, live: Live, tmp_path: Path, values: Any) -> None:
    for name in (SYSTEM, "shop"):
        namespace(live, name)
    words = ["--set", EVERYTHING] if values == "everything" else ["-f", values] if values != "defaults" else []
    file = tmp_path / "all.json"
    rendered = Helm().template(*words)
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": rendered}))
    kubectl = Kubectl(plane.kubectl, str(plane.kubeconfig))
    # A client-side apply would put each definition into an annotation, which has no room for it.
    said = kubectl.run("apply", "--server-side", "--dry-run=server", "-f", str(file))
    assert len(said.splitlines()) == len(rendered)


def test_it_is_installed_upgraded_and_removed(
    plane: ControlPlane, helm: Helm, live: Live, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = older(tmp_path)
    # The namespace holds the Pods to the restricted standard: they would not be made otherwise.
    namespace(live, SYSTEM, **{"pod-security.kubernetes.io/enforce": "restricted"})
    helm.run("install", "homeport", before, "-n", SYSTEM, "--wait", "--timeout", "90s")
    assert helm.release()["info"]["status"] == "deployed"
    _runs(live, "0.0.9")
    assert _ours(live) == ["applications.homeport.dev", "environments.homeport.dev", "projects.homeport.dev"]
    namespace(live, "shop")
    kept = [live.apply(manifest) for manifest in FORMER]
    newer = ours("Project", "shop", **FORMER[0]["spec"], finalBackup=True)
    with pytest.raises(RefusedError, match="finalBackup"):
        live.apply(newer)

    helm.run("upgrade", "homeport", CHART, "-n", SYSTEM, "--wait", "--timeout", "90s")
    _runs(live, "0.1.0")
    eventually(lambda: {f"{kind.plural}.homeport.dev" for kind in KINDS} <= set(_ours(live)), "the new kinds are there")
    _what_was_there_is_of_use(live, kept, newer)
    assert live.find("ValidatingAdmissionPolicy", None, "homeport-project-name")
    assert _largest_secret(live) < LIMIT * 0.6, "room for what is to come"

    _the_test_asks_the_operator(plane, helm, tmp_path_factory.mktemp("operator") / "operator.log")

    helm.run("uninstall", "homeport", "-n", SYSTEM, "--wait", "--timeout", "90s")
    assert live.find("Deployment", SYSTEM, "homeport") is None
    assert live.find("ValidatingAdmissionPolicy", None, "homeport-project-name") is None
    assert {f"{kind.plural}.homeport.dev" for kind in KINDS} <= set(_ours(live))
    assert live.get("Project", "shop", "shop")["spec"]["title"] == "The shop"

    # What was kept is the next release's.
    helm.run("install", "homeport", CHART, "-n", SYSTEM, "--set", "crds.keep=false", "--wait", "--timeout", "90s")
    # No operator runs any more to take its finalizer off, and the definition waits for its last object.
    for kind in ("Project", "Environment"):
        for name in live.names(kind, "shop"):
            live.patch(kind, "shop", name, {"metadata": {"finalizers": None}})
    helm.run("uninstall", "homeport", "-n", SYSTEM, "--wait", "--timeout", "90s")
    eventually(lambda: not _ours(live), "without crds.keep they go with the release")


def _ours(live: Live) -> list[str]:
    return sorted(name for name in live.names("CustomResourceDefinition", None) if name.endswith(".homeport.dev"))


def _what_was_there_is_of_use(live: Live, kept: list[dict[str, Any]], newer: dict[str, Any]) -> None:
    """Each is the same object as before the upgrade, and takes the fields and rules of the new definitions."""
    for body in kept:
        found = live.get(body["kind"], "shop", body["metadata"]["name"])
        assert (found["metadata"]["uid"], found["metadata"]["generation"]) == (body["metadata"]["uid"], 1)
        assert body["spec"].items() <= found["spec"].items(), "defaults of new fields aside, it is what was written"
    # API servers take a moment from a definition to what they check by.
    eventually(lambda: _taken(live, newer), "a Project's new field is taken")
    dev = live.get("Environment", "shop", "dev")["spec"]
    gateway = ours("Environment", "dev", **{**dev, "ingress": {"kind": "Gateway", "className": "any"}})
    assert (
        eventually(lambda: _taken(live, gateway), "an Environment's new field is taken")["metadata"]["generation"] == 2
    )
    with pytest.raises(RefusedError, match="template can't be changed"):
        live.apply(ours("Environment", "preview", isolation="Open", template=False))
    live.apply(ours("Notification", "ops", webhook={"url": "https://hooks.example.com/x"}))
    live.delete("Notification", "shop", "ops")


def _taken(live: Live, manifest: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return live.apply(manifest)
    except RefusedError:
        return None


def _runs(live: Live, version: str) -> None:
    deployment = live.get("Deployment", SYSTEM, "homeport")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == f"homeport:{version}"
    assert deployment["status"]["readyReplicas"] == 2
    assert (
        len({pod["spec"]["nodeName"] for pod in live.list("Pod", SYSTEM, "app.kubernetes.io/component=operator")}) == 2
    )


def _largest_secret(live: Live) -> int:
    releases = [s for s in live.list("Secret", SYSTEM) if s["type"] == "helm.sh/release.v1"]
    assert releases
    return max(len(base64.b64decode(secret["data"]["release"])) for secret in releases)


def _the_test_asks_the_operator(plane: ControlPlane, helm: Helm, log: Path) -> None:
    """kwok only plays Pods; so what the Pod of ``helm test`` would do is done here, to an operator that runs."""
    hook = one([m for m in helm.template() if "helm.sh/hook" in (m["metadata"].get("annotations") or {})], "Pod")
    container = hook["spec"]["containers"][0]
    url = container["env"][0]["value"]
    assert url == f"http://homeport.{SYSTEM}.svc:8080"
    running = Operator(plane.kubeconfig, log)
    running.start()
    try:
        asyncio.run(running.wait_leading())
        script = [sys.executable, *container["command"][1:], *container["args"]]
        good = subprocess.run(
            script,
            env={"HOMEPORT_URL": f"http://127.0.0.1:{running.port}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert good.returncode == 0 and "ready: ok" in good.stdout, good.stderr
    finally:
        running.kill(15)
    script[-1] = script[-1].replace("+ 60", "+ 0")
    gone = subprocess.run(
        script, env={"HOMEPORT_URL": f"http://127.0.0.1:{running.port}"}, capture_output=True, text=True, check=False
    )
    assert gone.returncode == 1 and "the operator isn't ready" in gone.stderr


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ("agent.enabled=true", "agent.enabled needs agent.url"),
        ("operator.leaderElection=false", "write replicas: 1"),
        ("webhooks.ingress.enabled=true", "needs webhooks.enabled: true"),
        ("webhooks.enabled=true,webhooks.ingress.enabled=true", "needs webhooks.ingress.host"),
        ("webhooks.enabled=true,webhooks.port=8080", "must differ"),
        ("replica=3", "additional properties 'replica' not allowed"),
        ("operator.logLevel=loud", "value must be one of"),
        ("operator.concurrency=0", "minimum: got 0, want 1"),
        ("image.digest=latest", "does not match pattern"),
    ],
)
def test_what_cannot_be_is_refused(values: str, says: str) -> None:
    with pytest.raises(HelmError, match=says):
        Helm().template("--set", values)
