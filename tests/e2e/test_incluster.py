"""Homeport as its users have it: the chart, by Helm, with the image of `operator/Dockerfile`, on a real node."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pyrage
import pytest
import software
import yaml
from homes import V1ALPHA1, eventually, told
from incluster import IMAGE, OPERATORS, operators, said, serve, show_the_api_server
from systems import System

from charts import CHART, SYSTEM, Helm, HelmError
from homeport import __version__
from imaging import images
from imaging.contents import Layout
from localplane import binaries
from localplane.controlplane import ControlPlane

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
START = 240.0
RUNNER_IMAGE = f"homeport-runner:{__version__}"
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {%s}\n"
MAY = {"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["get", "list", "create", "patch", "delete"]}


@pytest.fixture(scope="module")
def plane(built: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with a real node that has the image, and nothing of Homeport's."""
    with ControlPlane(tmp_path_factory.mktemp("incluster"), nodes=0, real_node=True, ephemeral=True) as plane:
        plane.node.load([software.taskflow("1.0.0"), software.taskflow("1.1.0")])
        plane.node.load_archive(lambda output: built.write_archive(IMAGE, output))
        runner = images.ensure(images.RUNNER)
        plane.node.load_archive(lambda output: runner.write_archive(RUNNER_IMAGE, output))
        yield plane


@pytest.fixture(scope="module")
def helm(plane: ControlPlane) -> Helm:
    return Helm(plane.kubeconfig)


@pytest.fixture(scope="module")
def system(plane: ControlPlane, helm: Helm) -> System:
    """taskflow's staging environment, Ready by an operator that runs as the chart has it."""
    found = System(plane, "taskflow", "staging")
    show_the_api_server(plane, found)
    # The namespace refuses Pods that aren't restricted.
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    found.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM, "labels": labels}})
    try:
        # Two replicas and two processors: what they ask for is what the node has left.
        helm.run("install", "homeport", CHART, "-n", SYSTEM, "--set", "resources.requests.cpu=20m", "--set",
                 f"backupRunner.image={RUNNER_IMAGE}", "--wait", "--timeout", f"{START:.0f}s",
                 seconds=START + 30)  # fmt: skip
    except (HelmError, subprocess.TimeoutExpired) as error:
        raise AssertionError(f"{error}\n{said(found)}") from None
    found.start()
    try:
        found.ready(START)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{said(found)}") from None
    return found


def _lease(system: System) -> dict[str, Any]:
    (found,) = [lease for lease in system.list("Lease", SYSTEM) if "holderIdentity" in lease["spec"]]
    return found


def test_an_example_becomes_ready(system: System) -> None:
    assert told(system.application)[0] == "True"
    code, answer = system.call("web", "GET", "/health")
    assert (code, answer["version"]) == (200, "1.0.0")
    pods = operators(system)
    assert len(pods) == 2
    assert _lease(system)["spec"]["holderIdentity"] in {pod["metadata"]["name"] for pod in pods}


def test_the_pods_are_confined(system: System) -> None:
    pod = operators(system)[0]["metadata"]["name"]
    look = (
        "import os; s = dict(l.split(':\\t') for l in open('/proc/1/status').read().splitlines() if ':\\t' in l)\n"
        "def writes(p):\n"
        "    try: open(p + '/x', 'w').close(); return True\n"
        "    except OSError: return False\n"
        "print(s['Uid'].split(), s['CapEff'], s['NoNewPrivs'], s['Seccomp'],"
        " [p for p in ('/', '/usr', '/etc', '/tmp', '/var/lib/homeport', '/var/tmp', '/run') if writes(p)])"
    )
    said = system.kubectl.run("exec", "-n", SYSTEM, pod, "--", "python3", "-c", look).strip()
    assert said == f"{['65532'] * 4} 0000000000000000 1 2 ['/tmp', '/var/lib/homeport']"


def test_helm_test_passes(system: System, helm: Helm) -> None:
    assert "Succeeded" in helm.run("test", "homeport", "-n", SYSTEM, "--timeout", "120s", seconds=150)


def test_sources_are_built_by_the_programs_in_the_image(system: System) -> None:
    identity = pyrage.x25519.Identity.generate()
    sops = binaries.ensure(["sops"])["sops"]
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {password: horse}\n"
    words = [sops, "encrypt", "--age", str(identity.to_public()), "--encrypted-regex", "^stringData$", "--input-type",
             "yaml", "--output-type", "yaml", "/dev/stdin"]  # fmt: skip
    encrypted = subprocess.run(words, input=secret.encode(), capture_output=True, check=True).stdout.decode()
    files = {
        "all/k/kustomization.yaml": "resources: [../../base]\nnamePrefix: k-\n",
        "base/kustomization.yaml": "resources: [a.yaml]\n",
        "base/a.yaml": CONFIG % ("base", "a: b"),
        "all/c/Chart.yaml": "apiVersion: v2\nname: chart\nversion: 1.0.0\n",
        "all/c/templates/a.yaml": CONFIG % ("{{ .Release.Name }}", "a: c"),
        "all/secret.yaml": encrypted,
    }
    url = serve(system, SYSTEM, files)
    space = system.name
    for manifest in _account(space):
        system.apply(manifest)
    system.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "age", "namespace": space},
         "stringData": {"age.agekey": str(identity)}}
    )  # fmt: skip
    system.apply(
        {
            "apiVersion": V1ALPHA1,
            "kind": "GitSource",
            "metadata": {"name": "fleet", "namespace": space},
            "spec": {
                "url": url, "ref": {"branch": "main"}, "path": "./all",
                "interval": "1h", "serviceAccountName": "deployer", "decryption": {"keySecretRef": {"name": "age"}},
            },
        }
    )  # fmt: skip

    def ready() -> bool:
        seen = told(system.get("GitSource", space, "fleet"))
        assert seen[0] == "True", seen
        return True

    eventually(ready, "the source is Ready", 120, 0.3)
    assert system.get("ConfigMap", space, "k-base")["data"] == {"a": "b"}
    assert system.get("ConfigMap", space, "c")["data"] == {"a": "c"}
    assert system.get("Secret", space, "db")["data"] == {"password": "aG9yc2U="}


def _account(space: str) -> list[dict[str, Any]]:
    group, metadata = "rbac.authorization.k8s.io", {"name": "deployer", "namespace": space}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": [MAY]},
        {
            "apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "deployer"},
            "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": space}],
        },
    ]  # fmt: skip


def test_backups_are_made_by_the_runners_image(system: System) -> None:
    """A repository is made on a volume, and what people wrote into SQLite is saved there and read back."""
    space, api = system.name, {"apiVersion": V1ALPHA1}
    assert system.call("web", "POST", "/tasks", {"title": "to be kept"})[0] == 201
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    places = {"kept": system.space, "restic": space, "near": space, "now": space}
    metadata = {name: {"name": name, "namespace": place} for name, place in places.items()}
    encryption = {"passwordSecretRef": {"name": "restic", "key": "password"}}
    source = {"application": "taskflow", "component": "web", "environment": "staging", "volume": "data",
              "paths": ["/data/taskflow.db"]}  # fmt: skip
    repository = {"filesystem": {"persistentVolumeClaim": "kept", "path": "restic"}, "environments": ["staging"]}
    backup = {"source": source, "method": "SQLite", "repositoryRef": {"name": "near"}}
    for manifest in (
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata["kept"], "spec": claim},
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata["restic"], "stringData": {"password": "a horse"}},
        {
            **api,
            "kind": "BackupRepository",
            "metadata": metadata["near"],
            "spec": repository | {"encryption": encryption},
        },
        {**api, "kind": "Backup", "metadata": metadata["near"], "spec": backup},
        {**api, "kind": "BackupRun", "metadata": metadata["now"], "spec": {"backupRef": {"name": "near"}}},
    ):
        system.apply(manifest)

    def over() -> Any:
        found = system.get("BackupRun", space, "now")
        assert (found.get("status") or {}).get("phase") in ("Succeeded", "Failed"), told(found)
        return found

    run = eventually(over, "the run is over", 180, 0.5)
    assert run["status"]["phase"] == "Succeeded", told(run)
    assert run["status"]["snapshot"] and run["status"]["bytes"] > 0
    assert told(system.get("BackupRepository", space, "near"))[0] == "True"


def test_an_upgrade_rolls_without_a_gap_in_leading(system: System, helm: Helm) -> None:
    before = {pod["metadata"]["uid"] for pod in operators(system)}
    name, since = _lease(system)["metadata"]["name"], system.version("Lease", SYSTEM)
    helm.run("upgrade", "homeport", CHART, "-n", SYSTEM, "--reuse-values", "--set", "podAnnotations.rolled=again",
             "--wait", "--timeout", f"{START:.0f}s", seconds=START + 30)  # fmt: skip
    eventually(lambda: before.isdisjoint(pod["metadata"]["uid"] for pod in operators(system)), "others run", 60)
    system.change(lambda spec: spec.update(version="1.1.0"))
    system.ready()
    eventually(lambda: system.call("web", "GET", "/health")[1]["version"] == "1.1.0", "the new version answers", 60)

    told_of = [lease["spec"] for lease in system.history("Lease", SYSTEM, since, name)]
    holders = list(dict.fromkeys(spec["holderIdentity"] for spec in told_of if spec.get("holderIdentity")))
    now = {pod["metadata"]["name"] for pod in operators(system)}
    assert holders[-1] in now
    # Nobody waited until a Lease ran out: it was given back, and taken by who stood ready.
    for one, next_one in pairwise(told_of):
        gap = (_time(next_one["renewTime"]) - _time(one["renewTime"])).total_seconds()
        assert gap < one["leaseDurationSeconds"] or not one.get("holderIdentity"), (one, next_one)
    given_back = [spec for spec in told_of if not spec.get("holderIdentity")]
    assert len(given_back) >= len(holders) - 1, told_of


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def test_applications_outlive_homeport(system: System, helm: Helm) -> None:
    pods = {pod["metadata"]["uid"] for pod in system.pods("web")}
    assert pods
    helm.run("uninstall", "homeport", "-n", SYSTEM, "--wait", "--timeout", "120s", seconds=150)
    eventually(lambda: not system.list("Pod", SYSTEM, OPERATORS), "no operator is left", 60)
    assert {pod["metadata"]["uid"] for pod in system.pods("web")} == pods
    assert system.call("web", "GET", "/health")[0] == 200
    assert told(system.application)[0] == "True"


def test_what_the_chart_names_is_what_the_image_has(built: Layout) -> None:
    config = built.config["config"]
    labels = config["Labels"]
    assert (config["User"], config["Entrypoint"], config["Cmd"]) == ("65532:65532", ["homeport"], ["operator"])
    assert labels["org.opencontainers.image.version"] == __version__
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__
