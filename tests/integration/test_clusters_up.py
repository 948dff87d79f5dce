"""`homeport cluster` with the real engine on a real API server: up, preview, refresh, destroy, killed runs."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from api_server import ApiServer, RefusedError
from charts import CHART, Helm
from localplane.controlplane import ControlPlane
from localplane.kubectl import Kubectl, KubectlError
from manifests import ROOT
from operators import Operator
from stack_cli import SECONDS, Cli

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]
MARK = "clusters.homeport.dev/stack"
SOUTH = """
apiVersion: homeport.dev/v1alpha1
kind: Environment
metadata: {{name: south, namespace: fleet, annotations: {{homeport.dev/confirm-delete: south}}}}
spec: {{kubernetes: {{kubeconfigSecretRef: {{name: {secret}, key: kubeconfig}}}}}}
---
apiVersion: homeport.dev/v1alpha1
kind: Application
metadata: {{name: web, namespace: fleet}}
spec:
  version: 1.0.0
  components: [{{name: web, image: registry.example.com/web, type: worker}}]
"""


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with nothing of Homeport's in it."""
    with ControlPlane(tmp_path_factory.mktemp("plane"), ephemeral=True) as plane:
        yield plane


@pytest.fixture(scope="module")
def kubectl(plane: ControlPlane) -> Kubectl:
    return Kubectl(plane.kubectl, str(plane.kubeconfig))


@pytest.fixture(scope="module")
def cli(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    return Cli(tmp_path_factory.mktemp("clusters"))


def lab(plane: ControlPlane, chart: Path | None = None, **more: Any) -> dict[str, Any]:
    """A file with one existing cluster, Homeport, a root GitSource and an add-on from a chart on the disk."""
    addons = (
        {}
        if chart is None
        else {
            "ingress": {"enabled": True, "chart": str(chart), "values": {"colour": "blue", "password": "hunter-two"}},
            "certManager": {"enabled": True, "chart": str(chart)},
        }
    )
    return {
        "name": "lab",
        "clusters": [
            {
                "name": "here",
                "type": "existing",
                "existing": {"kubeconfig": str(plane.kubeconfig)},
                "addons": {**addons, "storageClass": {"enabled": True, "provisioner": "example.com/none"}},
            }
        ],
        "homeport": {"values": {"image": {"tag": "test"}, "replicas": 1}},
        "gitSource": {"url": "https://git.example.com/team/fleet.git"},
        **more,
    }


@pytest.fixture(scope="module")
def small_chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chart of one ConfigMap."""
    folder = tmp_path_factory.mktemp("chart") / "small"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: small\nversion: 1.0.0\n")
    (folder / "values.yaml").write_text("colour: red\n")
    (folder / "templates" / "config.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: small\n  namespace: {{ .Release.Namespace }}\n"
        "data:\n  colour: {{ .Values.colour }}\n"
    )
    return folder


def renewed(plane: ControlPlane, folder: Path) -> Path:
    """The plane's kubeconfig with another text and the same user."""
    content = yaml.safe_load(plane.kubeconfig.read_text())
    content["contexts"][0]["name"] = content["current-context"] = "renewed"
    path = folder / "renewed"
    path.write_text(yaml.safe_dump(content))
    return path


def changed(result: Mapping[str, Any]) -> dict[str, int]:
    return {operation: number for operation, number in result["changes"].items() if operation != "same"}


def test_a_cluster_from_nothing_to_nothing(plane: ControlPlane, kubectl: Kubectl, cli: Cli, small_chart: Path) -> None:
    """One story, since each step needs the one before."""
    before = set(kubectl.run("get", "namespaces", "-o", "name").split())
    cli.write(lab(plane, small_chart))

    # up: everything is there, and works as far as a control plane without real Pods can tell.
    made = cli.run("up", "lab")
    assert set(changed(made)) == {"create"}
    assert made["outputs"]["gitSource"] == "root/root" and made["outputs"]["home"] == "here"
    assert made["outputs"]["kubeconfigs"] == "[secret]"
    deployment = kubectl.items("deployment", "homeport", "-n", "homeport-system")[0]
    assert deployment["status"]["availableReplicas"] == 1
    source = kubectl.items("gitsources.homeport.dev", "root", "-n", "root")[0]
    assert source["spec"]["url"] == "https://git.example.com/team/fleet.git"
    assert source["metadata"]["labels"][MARK] == "lab"
    assert kubectl.items("storageclass", "homeport")[0]["provisioner"] == "example.com/none"
    assert kubectl.items("configmap", "small", "-n", "traefik")[0]["data"] == {"colour": "blue"}

    # Nothing secret in the state: not the kubeconfig, nor a key or a token in it.
    user = yaml.safe_load(plane.kubeconfig.read_text())["users"][0]["user"]
    secrets = [str(value) for value in user.values() if value and not str(value).startswith("/")]
    text = "".join(path.read_text() for path in cli.state.rglob("*.json"))
    assert '"lab"' in text or "::lab" not in text
    assert "hunter-two" not in text and "clusters:\\n" not in text and not [value for value in secrets if value in text]
    assert (cli.state / "passphrase").stat().st_mode & 0o777 == 0o600

    # A second run has nothing to do, and writes nothing.
    version = kubectl.items("deployment", "homeport", "-n", "homeport-system")[0]["metadata"]["resourceVersion"]
    assert changed(cli.run("up", "lab")) == {}
    assert Helm(plane.kubeconfig).release()["version"] == 1
    assert kubectl.items("deployment", "homeport", "-n", "homeport-system")[0]["metadata"]["resourceVersion"] == version

    # preview tells a change, and makes none.
    content = lab(plane, small_chart, gitSource={"url": "https://git.example.com/team/other.git"})
    cli.write(content)
    steps = cli.run("preview", "lab", code=2)["steps"]
    assert [(step["operation"], step["name"]) for step in steps] == [("update", "here/gitsource/root")]
    source = kubectl.items("gitsources.homeport.dev", "root", "-n", "root")[0]
    assert source["spec"]["url"].endswith("fleet.git")

    # refresh sees what others did: an object deleted, a field changed, an object of a release deleted.
    kubectl.run("delete", "storageclass", "homeport")
    kubectl.run("patch", "gitsource", "root", "-n", "root", "--type=merge", "-p", '{"spec":{"path":"elsewhere"}}')
    kubectl.run("delete", "deployment", "homeport", "-n", "homeport-system")
    found = cli.run("refresh", "lab", code=2)
    assert {(step["operation"], step["name"]) for step in found["steps"]} == {
        ("delete", "here/storageclass"), ("update", "here/gitsource/root"), ("update", "here/homeport"),
    }  # fmt: skip

    # up mends it, and makes the change that the preview told.
    cli.run("up", "lab")
    source = kubectl.items("gitsources.homeport.dev", "root", "-n", "root")[0]
    assert source["spec"]["url"].endswith("other.git") and source["spec"]["path"] == "."
    assert kubectl.items("storageclass", "homeport")
    assert kubectl.items("deployment", "homeport", "-n", "homeport-system")[0]["status"]["availableReplicas"] == 1
    assert changed(cli.run("refresh", "lab")) == {}

    # Another file of the same name isn't this one.
    (cli.folder / "copy").mkdir()
    moved = cli.file.rename(cli.folder / "copy" / "cluster.yaml")
    cli.file, original = moved, cli.file
    for words in (("preview", "lab"), ("up", "lab"), ("destroy", "lab", "--yes")):
        assert f"'lab' was made from {original}, and this is {moved}" in cli.run(*words, code=1)
    assert changed(cli.run("up", "lab", "--adopt-stack")) == {}
    assert changed(cli.run("up", "lab")) == {}

    # Another kubeconfig of the same cluster is no new revision of a release.
    content["clusters"][0]["existing"]["kubeconfig"] = str(renewed(plane, cli.folder))
    cli.write(content)
    cli.run("up", "lab")
    assert Helm(plane.kubeconfig).release()["version"] == 2, "the upgrade that mended it was the last"

    # destroy wants the name, removes what was made, and leaves what holds data.
    refused = subprocess.run(
        [sys.executable, "-m", "homeport", "cluster", "destroy", "lab", "-f", str(cli.file)],
        env=cli.environment, cwd=ROOT, text=True, capture_output=True, input="lba\n", timeout=SECONDS, check=False,
    )  # fmt: skip
    assert refused.returncode == 1 and "'lba' isn't the name: nothing was removed" in refused.stderr
    kubectl.run("create", "configmap", "mine", "-n", "default")
    # Helm doesn't know it; and the command alone deletes no data, as long as the file doesn't say so.
    kubectl.run("create", "secret", "generic", "cert-manager-webhook-ca", "-n", "cert-manager")
    cli.run("destroy", "lab", "--yes", "--delete-data")
    assert set(kubectl.run("get", "namespaces", "-o", "name").split()) == {*before, "namespace/root"}
    assert kubectl.items("gitsources.homeport.dev", "root", "-n", "root")
    assert kubectl.items("configmap", "mine", "-n", "default")
    with pytest.raises(KubectlError, match="not found"):
        kubectl.run("get", "clusterrole", "homeport")
    with pytest.raises(KubectlError, match="not found"):
        kubectl.run("get", "storageclass", "homeport")
    assert [entry["name"] for entry in cli.run("list")] == ["lab"]


@pytest.mark.faults
@pytest.mark.parametrize("moment", ["namespace", "pending", "installed"])
def test_a_run_that_is_killed_is_finished_by_the_next(
    plane: ControlPlane, kubectl: Kubectl, tmp_path: Path, moment: str
) -> None:
    """SIGKILL to the engine and to the command: after a namespace, while Helm installs, after Helm has installed."""
    cli = Cli(tmp_path)
    cli.write(lab(plane))
    process = cli.start("up", "lab")
    try:
        _until(moment, ApiServer(str(plane.kubeconfig)), process)
        engines = _engines(cli)
        for pid in [process.pid, *engines]:
            os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=60)
        assert engines
        _until_dead(cli)
        if moment != "namespace":
            said = cli.run("destroy", "lab", "--yes", code=1)
            assert "was killed while it made Release here/homeport" in said and "run `up` first" in said
        cli.run("up", "lab")
        assert changed(cli.run("up", "lab")) == {}
        records = kubectl.items("secrets", "-n", "homeport-system", "-l", "owner=helm,name=homeport")
        deployed = [record for record in records if record["metadata"]["labels"]["status"] == "deployed"]
        assert len(deployed) == 1
        assert len(kubectl.items("deployments", "-n", "homeport-system")) == 1
        assert len(kubectl.items("gitsources.homeport.dev", "-A")) == 1
        cli.run("destroy", "lab", "--yes")
        with pytest.raises(KubectlError, match="not found"):
            kubectl.run("get", "namespace", "homeport-system")
    except BaseException:
        # The next test begins on the same control plane, with nothing there; what this one saw matters, not this.
        process.kill()
        for words in (("up", "lab"), ("destroy", "lab", "--yes")):
            cli.start(*words).communicate(timeout=SECONDS)
        raise


def _until(moment: str, server: ApiServer, process: subprocess.Popen[str]) -> None:
    """By a connection that stays: starting kubectl takes longer than some of these moments last."""
    secrets = "/api/v1/namespaces/homeport-system/secrets"
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, process.communicate()
        if moment == "namespace":
            names = [item["metadata"]["name"] for item in server.call("GET", "/api/v1/namespaces")["items"]]
            if "homeport-system" in names:
                return
        else:
            status = {"pending": "pending-install", "installed": "deployed"}[moment]
            if server.call("GET", secrets, labelSelector=f"owner=helm,name=homeport,status={status}")["items"]:
                return
        time.sleep(0.02)
    raise AssertionError(f"{moment} never came")


def _engines(cli: Cli) -> list[int]:
    """The engines that work on this state: their environment names it."""
    return [pid for pid in _processes(cli) if b"/bin/pulumi\0" in _command(pid)]


def _command(pid: int) -> bytes:
    """Its words; empty for a process that has ended since it was listed."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _processes(cli: Cli) -> list[int]:
    out = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                environment = (folder / "environ").read_bytes()
            except OSError:
                continue
            if str(cli.state).encode() in environment:
                out.append(int(folder.name))
    return out


def _until_dead(cli: Cli) -> None:
    """What the engine had started ends with it: plugins, and the helm that they run."""
    until = time.monotonic() + 60
    while found := _processes(cli):
        assert time.monotonic() < until, [_command(pid) for pid in found]
        time.sleep(0.1)


def test_what_is_somebody_elses_is_refused_and_left(plane: ControlPlane, kubectl: Kubectl, tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    helm = Helm(plane.kubeconfig)
    # Without what is the cluster's: the kinds that other tests left belong to their release.
    alone = "replicas=1,crds.install=false,policies.install=false,roles.install=false"
    helm.run("install", "homeport", CHART, "-n", "theirs", "--create-namespace", "--set", alone, "--wait")
    cli.write({**lab(plane), "name": "another", "homeport": {"namespace": "theirs"}, "gitSource": None})
    said = cli.run("up", "another", code=1)
    assert "the release homeport in namespace theirs was not made by this" in said
    cli.run("destroy", "another", "--yes")
    assert helm.release(namespace="theirs")["version"] == 1
    assert kubectl.items("namespace", "theirs")
    helm.run("uninstall", "homeport", "-n", "theirs", "--wait")


def test_another_region_is_registered_with_an_account_of_its_own(
    plane: ControlPlane, kubectl: Kubectl, tmp_path: Path
) -> None:
    """The control plane plays both regions: what matters is what the Secret lets one do."""
    cli = Cli(tmp_path)
    content = lab(plane)
    content["name"] = "regions"
    content["clusters"] = [
        {"name": "home", "type": "existing", "existing": {"kubeconfig": str(plane.kubeconfig)}},
        {"name": "far", "region": "south", "type": "existing", "existing": {"kubeconfig": str(plane.kubeconfig)}},
    ]
    content["gitSource"] = {"name": "fleet", "url": "https://git.example.com/team/fleet.git"}
    cli.write(content)
    cli.run("up", "regions")
    kubeconfig = tmp_path / "far"
    encoded = kubectl.run("get", "secret", "cluster-far", "-n", "fleet", "-o", "jsonpath={.data.kubeconfig}")
    kubeconfig.write_bytes(base64.b64decode(encoded))
    far = ApiServer(str(kubeconfig))
    far.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "made-from-afar"}})
    text = "".join(path.read_text() for path in cli.state.rglob("*.json"))
    assert yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"] not in text
    _environment_in(plane, kubectl, "cluster-far", tmp_path)
    cli.run("destroy", "regions", "--yes")
    with pytest.raises(RefusedError):
        far.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "too-late"}})


def _environment_in(plane: ControlPlane, kubectl: Kubectl, secret: str, folder: Path) -> None:
    """An Environment by that Secret, with an Application in it, becomes Ready, and goes."""
    operator = Operator(plane.kubeconfig, folder / "operator.log")
    operator.start()
    try:
        asyncio.run(operator.wait_leading())
        (folder / "south.yaml").write_text(SOUTH.format(secret=secret))
        kubectl.run("apply", "-f", str(folder / "south.yaml"))
        for name in ("environment/south", "application/web"):
            kubectl.run("wait", name, "-n", "fleet", "--for=condition=Ready", "--timeout=120s")
        assert kubectl.items("deployment", "web", "-n", "fleet-south")
        kubectl.run("delete", "application/web", "environment/south", "-n", "fleet", "--timeout=120s")
    finally:
        operator.kill(signal.SIGTERM)
