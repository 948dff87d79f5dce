"""What `homeport render` writes, on a real API server and without the operator: by the commands of its own READMEs."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from homes import Home, component, written

from localplane import binaries
from rendered import commands, homeport, moved

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
APPLICATIONS = [("taskflow", "taskflow"), ("project-dashboard", "dashboard")]


class Shell:
    """kubectl and helm as a person has them, on the test's control plane."""

    def __init__(self, kubeconfig: Path, home: Path) -> None:
        found = binaries.ensure(["kubectl", "helm"])
        folders = [str(path.parent) for path in found.values()]
        self.home = home
        # Helm writes what it caches below its home.
        self.environment = {
            **os.environ,
            "PATH": os.pathsep.join([*folders, os.environ["PATH"]]),
            "KUBECONFIG": str(kubeconfig),
            "HELM_CACHE_HOME": str(home / "cache"),
            "HELM_CONFIG_HOME": str(home / "config"),
            "HELM_DATA_HOME": str(home / "data"),
        }

    def run(self, script: str, folder: Path | None = None, stdin: str | None = None) -> str:
        """The standard output of a script, which must go well."""
        done = subprocess.run(
            ["bash", "-euc", script],
            check=False,
            capture_output=True,
            text=True,
            timeout=400,
            cwd=folder or self.home,
            env=self.environment,
            input=stdin,
        )
        assert done.returncode == 0, f"{script}\n{done.stderr}{done.stdout}"
        return done.stdout

    def items(self, kinds: str, namespace: str) -> dict[tuple[str, str], Any]:
        """Objects by kind and name."""
        found = json.loads(self.run(f"kubectl get {kinds} -n {namespace} -o json"))["items"]
        return {(item["kind"], item["metadata"]["name"]): item for item in found}

    def all_ready(self, namespace: str) -> None:
        """Wait until everything that runs does, and every Job is done."""
        names = self.run(f"kubectl get deployments,statefulsets -n {namespace} -o name").split()
        assert names
        for name in names:
            self.run(f"kubectl rollout status {name} -n {namespace} --timeout=180s")
        if self.run(f"kubectl get jobs -n {namespace} -o name"):
            self.run(f"kubectl wait --for=condition=complete job --all -n {namespace} --timeout=180s")


@pytest.fixture
def shell(control_plane: Any, tmp_path: Path) -> Shell:
    return Shell(Path(control_plane.kubeconfig), tmp_path)


@pytest.fixture
def swept(shell: Shell) -> Any:
    """Namespaces to be deleted afterwards; nobody waits for that."""
    namespaces: list[str] = []
    yield namespaces.append
    for name in namespaces:
        shell.run(f"kubectl delete namespace {name} --wait=false --ignore-not-found")


@pytest.fixture
def forgotten(shell: Shell) -> Any:
    """A project's namespace whose declarations are deleted afterwards: the policies keep a Project not archived."""
    namespaces: list[str] = []
    yield namespaces.append
    for name in namespaces:
        shell.run(f"kubectl delete applications.homeport.dev,environments.homeport.dev --all -n {name} --wait=false")


@pytest.mark.parametrize(("example", "app"), APPLICATIONS)
def test_kubectl(shell: Shell, tmp_path: Path, swept: Callable[[str], None], example: str, app: str) -> None:
    """Applied as the README says everything becomes ready; applied again nothing changes; and diff says so, too."""
    project = f"kust-{uuid.uuid4().hex[:7]}"
    namespace = f"{project}-production"
    swept(namespace)
    source = moved(example, project, tmp_path)
    folder = tmp_path / "out"
    homeport("render", "-f", source, "-o", "kustomize", "-d", folder)
    shell.run(commands(folder / "README.md", "production"), folder)
    shell.all_ready(namespace)
    before = _generations(shell, namespace)
    again = shell.run("kubectl apply -k overlays/production", folder).splitlines()
    # kubectl sends these two a patch each time, which changes nothing: their lists are replaced and not merged.
    sent = {line.partition("/")[0] for line in again if not line.endswith(" unchanged")}
    assert sent <= {"poddisruptionbudget.policy", "statefulset.apps"}
    assert _generations(shell, namespace) == before
    plain = homeport("render", "-f", source, "-e", "production")
    assert shell.run("kubectl diff -f -", stdin=plain) == ""
    jobs = {name for kind, name in shell.items("jobs", namespace) if "migrate" in name}
    assert bool(jobs) == (app == "dashboard"), "the migration ran"


def _generations(shell: Shell, namespace: str) -> dict[tuple[str, str], Any]:
    """What counts the changes of specs."""
    found = shell.items("poddisruptionbudgets,statefulsets,deployments,services", namespace)
    return {key: (item["metadata"]["uid"], item["metadata"].get("generation")) for key, item in found.items()}


def image(shell: Shell, namespace: str, kind: str, name: str) -> str:
    found = shell.items(f"{kind}s", namespace)[kind.capitalize(), name]
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


@pytest.mark.parametrize(("example", "app"), APPLICATIONS)
def test_helm(shell: Shell, tmp_path: Path, swept: Callable[[str], None], example: str, app: str) -> None:
    """Installed as the README says, upgraded to another version, uninstalled save what is kept, installed again."""
    project = f"helm-{uuid.uuid4().hex[:7]}"
    namespace = f"{project}-production"
    swept(namespace)
    source = moved(example, project, tmp_path)
    chart = tmp_path / "chart"
    homeport("render", "-f", source, "-o", "helm", "-d", chart)
    install = commands(chart / "README.md", "production")
    shell.run(install, chart)
    shell.all_ready(namespace)
    first = shell.items("secrets", namespace)
    main = "backend" if app == "dashboard" else "web"
    version = yaml.safe_load((chart / "Chart.yaml").read_text())["appVersion"]
    assert image(shell, namespace, "deployment", main).endswith(f":{version}")

    upgrade = next(line for line in install.splitlines() if line.startswith("helm upgrade"))
    shell.run(f"{upgrade} --set version=9.9.9", chart)
    shell.all_ready(namespace)
    assert image(shell, namespace, "deployment", main).endswith(":9.9.9")
    if app == "dashboard":
        assert image(shell, namespace, "job", "backend-migrate").endswith(":9.9.9"), "the migration ran before it"
        assert image(shell, namespace, "job", "seed").endswith(":9.9.9")
    second = shell.items("secrets", namespace)
    mine = [key for key in first if not key[1].startswith("sh.helm.")]
    assert mine
    assert {key: first[key]["data"] for key in mine} == {key: second[key]["data"] for key in mine}

    if app == "dashboard":  # the other one has no generated Secrets, so its chart doesn't know the value
        shell.run(f"{upgrade} --set generateSecrets=false", chart)
        without = shell.items("secrets", namespace)
        assert {key: without[key]["data"] for key in mine} == {key: first[key]["data"] for key in mine}

    claims = set(shell.items("persistentvolumeclaims", namespace))
    assert claims
    shell.run(f"helm uninstall {app} -n {namespace} --wait --timeout 3m", chart)
    left = shell.items("deployments,statefulsets,services,ingresses,configmaps", namespace)
    assert {name for _, name in left} - {"kube-root-ca.crt"} <= {"backend-migrate-files"}, "hooks aren't a release's"
    assert set(shell.items("persistentvolumeclaims", namespace)) == claims
    kept = shell.items("secrets", namespace)
    assert {key: kept[key]["data"] for key in mine} == {key: first[key]["data"] for key in mine}

    shell.run(upgrade, chart)
    shell.all_ready(namespace)
    third = shell.items("secrets", namespace)
    assert {key: third[key]["data"] for key in mine} == {key: first[key]["data"] for key in mine}


def test_an_operator_leaves_them_alone(
    shell: Shell, tmp_path: Path, swept: Callable[[str], None], home: Home, audit_log: Path
) -> None:
    """Even one whose Environment wants the very namespace, and whose Application the very names."""
    project = home.name
    namespace = f"{project}-production"
    swept(namespace)
    source = moved("taskflow", project, tmp_path)
    folder = tmp_path / "out"
    homeport("render", "-f", source, "-o", "kustomize", "-d", folder)
    shell.run(commands(folder / "README.md", "production"), folder)
    shell.all_ready(namespace)
    kinds = "deployments,services,ingresses,configmaps,persistentvolumeclaims,networkpolicies,resourcequotas"
    before = _declared(shell.items(kinds, namespace))
    home.environment("production")
    home.application(component("web"), name="taskflow", environments=[{"name": "production"}])
    home.until("Environment", "production", "False", "NamespaceTaken")
    home.settled("Application", "taskflow")
    assert _declared(shell.items(kinds, namespace)) == before
    assert written(audit_log, 0, [namespace]) == {}


def _declared(items: dict[tuple[str, str], Any]) -> dict[tuple[str, str], Any]:
    """Which objects they are, and what is declared of them."""
    out = {}
    for key, item in items.items():
        metadata = item["metadata"]
        out[key] = metadata["uid"], metadata.get("labels"), item.get("spec"), item.get("data")
    return out


@pytest.mark.parametrize("how", ["yaml", "kustomize", "helm"])
def test_from_a_cluster(shell: Shell, tmp_path: Path, forgotten: Callable[[str], None], how: str) -> None:
    """What is declared in a cluster is rendered as what is declared in files."""
    project = f"read-{uuid.uuid4().hex[:7]}"
    forgotten(project)
    source = moved("taskflow", project, tmp_path)
    shell.run(f"kubectl create namespace {project} --dry-run=client -o yaml | kubectl apply -f -")
    shell.run(f"kubectl apply -f {source}")
    kubeconfig = ("--kubeconfig", shell.environment["KUBECONFIG"], "-n", project)
    environment = ("-e", "production") if how == "yaml" else ()
    for name, words in (("files", ("-f", source)), ("cluster", kubeconfig)):
        homeport("render", "taskflow", *words, *environment, "-o", how, "-d", tmp_path / name)
    files, cluster = (
        {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "files", tmp_path / "cluster")
    )
    assert cluster == files
    assert len(files) > 5
