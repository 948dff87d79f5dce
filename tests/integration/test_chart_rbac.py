"""The operator with exactly the rights that the chart gives it: it can do all that it has to, and there is none that
nothing uses."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from homes import Home, Live, component, condition, eventually, told
from lab_host import LabHost

from api_server import ApiServer
from charts import CHART, SYSTEM, Helm, one
from git_server import GitServer, Repository
from gitea_server import GiteaServer
from localplane import binaries
from localplane.controlplane import ControlPlane
from localplane.definitions import EXTERNAL_SNAPSHOTTER, GATEWAY_API, PROMETHEUS_OPERATOR, TRAEFIK
from localplane.kubectl import Kubectl
from localplane.operatorproc import SIMULATED
from localplane.tools import has_compiler
from manifests import ROOT, load_all
from operators import Operator
from rights import Asked, Right, asked, granted

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]
ACCOUNT = "homeport"
USER = f"system:serviceaccount:{SYSTEM}:{ACCOUNT}"
EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir())
MEMBERS = ("stakeholder", "designer", "qa", "developer", "manager", "lead")
PATIENCE = 600.0

UNSEEN: tuple[tuple[str, str, str], ...] = (
    (
        "get",
        "cronjobs.batch deployments.apps endpointslices.discovery.k8s.io gateways.gateway.networking.k8s.io "
        "horizontalpodautoscalers.autoscaling httproutes.gateway.networking.k8s.io ingresses.networking.k8s.io "
        "jobs.batch middlewares.traefik.io namespaces networkpolicies.networking.k8s.io persistentvolumeclaims "
        "poddisruptionbudgets.policy podmonitors.monitoring.coreos.com resourcequotas "
        "servicemonitors.monitoring.coreos.com services statefulsets.apps volumesnapshots.snapshot.storage.k8s.io",
        "seen by watches; one is read when its name is taken or a write was refused (engine/apply.py)",
    ),
    (
        "get",
        "backuprepositories.homeport.dev backupruns.homeport.dev backups.homeport.dev catalogitems.homeport.dev "
        "gitsources.homeport.dev imageupdates.homeport.dev notifications.homeport.dev projects.homeport.dev "
        "proxmoxhosts.homeport.dev restores.homeport.dev",
        "read when the watch of our own kinds may be behind (engine/engine.py), and before a restore's steps",
    ),
    (
        "create patch delete",
        "volumesnapshots.snapshot.storage.k8s.io",
        "runs out of CSI snapshots need a driver: test_volume_snapshots_live.py",
    ),
    (
        "create patch delete",
        "podmonitors.monitoring.coreos.com",
        "for metrics of components without a Service: test_edge_definitions.py",
    ),
    ("create delete", "backupruns.homeport.dev restores.homeport.dev", "made by schedules, and gone after their time"),
    ("delete", "persistentvolumeclaims", "volumes are kept unless they say Delete: test_application.py"),
    ("delete", "pods", "Pods of a superseded version that can't start (engine/kinds.py)"),
    ("get", "pods/exec", "hooks of backups need a kubelet: tests/e2e"),
)
"""Rights that this test doesn't use, and why the operator has them all the same."""
PREVIEWS = (
    ("create delete", "environments.homeport.dev applications.homeport.dev", "previews need a forge"),
    ("delete", "namespaces", "previews' alone go here: the other environments keep their volumes"),
)
FORGE = binaries.find("gitea") is not None or has_compiler()
"""Whether there can be one here: Gitea is built with a C compiler."""


def unseen() -> set[str]:
    rows = UNSEEN if FORGE else (*UNSEEN, *PREVIEWS)
    return {f"{verb} {name}" for verbs, names, _ in rows for verb in verbs.split() for name in names.split()}


class Run:
    """What the operator did."""

    def __init__(self, plane: ControlPlane, live: Live) -> None:
        self.plane, self.live = plane, live
        self.bound: set[str] = set()
        self.homes: list[Home] = []

    def look(self) -> None:
        """Note which roles are bound now."""
        found = [b for b in self.live.list("RoleBinding", None) if b["roleRef"]["kind"] == "ClusterRole"]
        marked = "app.kubernetes.io/managed-by"
        self.bound |= {
            b["roleRef"]["name"] for b in found if (b["metadata"].get("labels") or {}).get(marked) == "homeport"
        }

    def asked(self) -> list[Asked]:
        return list(asked(self.plane.audit_log, USER))


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with the chart and the optional kinds; kwok plays the chart's own Pods."""
    folder = tmp_path_factory.mktemp("rights")
    with ControlPlane(folder, ephemeral=True, audit=True, audit_reads=True) as plane:
        kubectl = Kubectl(plane.kubectl, str(plane.kubeconfig))
        for definitions in (TRAEFIK, PROMETHEUS_OPERATOR, GATEWAY_API, EXTERNAL_SNAPSHOTTER):
            kubectl.apply(*definitions.paths())
        Helm(plane.kubeconfig).run("install", "homeport", CHART, "-n", SYSTEM, "--create-namespace", "--wait")
        yield plane


def kubeconfig(plane: ControlPlane, folder: Path) -> Path:
    """A kubeconfig with a token of the operator's account, and nothing else."""
    path = f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/{ACCOUNT}/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
    token = ApiServer(str(plane.kubeconfig)).call("POST", path, body)["status"]["token"]
    config = yaml.safe_load(plane.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    out = folder / "kubeconfig"
    out.write_text(yaml.safe_dump(config))
    return out


@pytest.fixture(scope="module")
def run(plane: ControlPlane, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The examples and more, made, changed and removed by the operator as the chart's account."""
    folder = tmp_path_factory.mktemp("operated")
    gitea = request.getfixturevalue("gitea") if FORGE else None
    lab, git = LabHost(folder / "lab"), GitServer(folder)
    kubectl = Kubectl(plane.kubectl, str(plane.kubeconfig))
    options = (*lab.start(kubectl), "--runner-image", SIMULATED)
    operator = Operator(kubeconfig(plane, folder), folder / "operator.log", *options)
    operator.start()
    found = Run(plane, Live(ApiServer(str(plane.kubeconfig))))
    try:
        asyncio.run(operator.wait_leading())
        _examples(found)
        _more(found, git, gitea)
        found.look()
        _remove(found)
    finally:
        # Watches are written down when they end.
        operator.kill(signal.SIGTERM)
        lab.stop()
        git.close()
    yield found


def _all_ready(live: Live) -> bool:
    for kind in ("Project", "Environment", "Application", "BackupRepository", "Backup", "LXCContainer", "GitSource"):
        for body in live.list(kind, None):
            current = body["status"].get("observedGeneration") == body["metadata"]["generation"]
            assert current and told(body)[0] == "True", (kind, body["metadata"]["name"], told(body))
    return True


def _examples(run: Run) -> None:
    for folder in EXAMPLES:
        for _, manifest in load_all(folder):
            run.live.apply(manifest)
    eventually(lambda: _all_ready(run.live), "the examples are Ready", PATIENCE, between=1.0)


def _more(run: Run, git: GitServer, gitea: GiteaServer | None) -> None:
    """What the examples leave out: every role, Gateways, history, drift, what leaves the desired set, Git, previews."""
    home = Home(run.live.api)
    home.secret("hook", url="https://hook.example.com/")
    home.project(members=[{"kind": "User", "name": f"{role}@example.com", "role": role} for role in MEMBERS])
    home.apply({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "any"},
                "spec": {"controllerName": "example.com/any"}})  # fmt: skip
    home.environment("dev", ingress={"kind": "Gateway", "className": "any"}, quota={"pods": 50})
    home.ready("Environment", "dev", seconds=PATIENCE)
    web = component(
        image="web",
        routes=[{"host": "a.example.com", "path": "/"}],
        volumes=[{"name": "data", "path": "/d", "size": "1Gi"}],
    )
    home.application(web, component("worker", type="worker"), revisionHistoryLimit=0)
    eventually(lambda: home.find("HTTPRoute", home.place(), "web"), "its route is there", PATIENCE)
    home.delete("Deployment", home.place(), "worker")
    eventually(lambda: home.find("Deployment", home.place(), "worker"), "drift is mended", PATIENCE)
    for version in ("1.1.0", "1.2.0"):
        home.application(web, version=version, revisionHistoryLimit=0)
        home.settled()
    home.gone("Deployment", home.place(), "worker", PATIENCE)
    run.look()
    _others(run, home)
    _in_git(run, home, git)
    if gitea is not None:
        _previews(home, gitea)
    run.homes.append(home)


def _others(run: Run, home: Home) -> None:
    """The kinds that no example has. What becomes of them doesn't matter here: their status is written."""
    taskflow = System(run.live.api, "taskflow")
    taskflow.own("BackupRun", "now", {"backupRef": {"name": "nightly"}})
    taskflow.own("Restore", "again", {"backupRef": {"name": "nightly"}, "target": {"drill": {}}})
    item = {"title": "Thing", "description": "A thing", "category": "Test", "versions": [{"name": "1", "image": "a:1"}]}
    home.own("CatalogItem", "thing", {"item": item, "templates": {"main": "name: {{ name }}\n"}})
    home.own("Notification", "ops", {"webhook": {"url": "https://hooks.example.com/homeport"}})
    image = {"name": "web", "image": "registry.example.com/shop", "policy": {"semver": {"range": "^1.4"}}}
    home.own("ImageUpdate", "shop", {"sourceRef": {"name": "fleet"}, "images": [image]})
    mine = [(taskflow, "BackupRun", "now"), (taskflow, "Restore", "again")]
    mine += [
        (home, kind, name)
        for kind, name in (("CatalogItem", "thing"), ("Notification", "ops"), ("ImageUpdate", "shop"))
    ]
    for place, kind, name in mine:
        eventually(lambda: condition(place.mine(kind, name)), f"{kind} {name} has a status", PATIENCE)  # noqa: B023
    for place, kind, name in mine:
        place.delete(kind, place.name, name)


def _in_git(run: Run, home: Home, git: GitServer) -> None:
    """Two sources: one as the account that the operator makes, one as an account that somebody named."""
    repository = Repository(git.root, "fleet")
    dev = {
        "apiVersion": "homeport.dev/v1alpha1",
        "kind": "Environment",
        "metadata": {"name": "fromgit"},
        "spec": {"isolation": "Open"},
    }
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "1"}}
    repository.commit({"ours/e.yaml": yaml.safe_dump(dev), "theirs/c.yaml": yaml.safe_dump(settings)})
    for path, account in (("ours", {}), ("theirs", {"serviceAccountName": "deployer"})):
        home.own(
            "GitSource",
            path,
            {"url": git.url("fleet"), "ref": {"branch": "main"}, "path": f"./{path}", "interval": "1m", **account},
        )
    home.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "deployer", "namespace": home.name}})
    home.apply({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": {"name": "deployer", "namespace": home.name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
                "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": home.name}]})  # fmt: skip
    for name in ("ours", "theirs"):
        home.ready("GitSource", name, PATIENCE)
    run.look()
    for name in ("ours", "theirs"):
        home.delete("GitSource", home.name, name)
        home.gone("GitSource", home.name, name, PATIENCE)


def _previews(home: Home, gitea: GiteaServer) -> None:
    """A pull request has an environment until it is closed."""
    repository = gitea.repository("team", "previewed")
    repository.commit({"front.yaml": _application("front")})
    home.secret("forge", token=gitea.token("team"))
    home.environment("preview", tier="Preview", template=True, ingress={"domain": "preview.example.com"})
    forge = {"provider": "Gitea", "tokenSecretRef": {"name": "forge", "key": "token"}}
    pulls = {"forge": forge, "authors": ["team"], "environment": {"templateRef": {"name": "preview"}}}
    fields = {"url": repository.clone_url, "ref": {"branch": "main"}, "interval": "10s"}
    home.own("GitSource", "previewed", {**fields, "pullRequests": pulls})
    home.ready("GitSource", "previewed", PATIENCE)
    repository.commit({"api.yaml": _application("api")}, new_branch="topic")
    number = repository.open("topic")
    place = home.place(f"pr-{number}")
    eventually(lambda: home.find("Deployment", place, "api"), "the preview is there", PATIENCE)
    repository.close(number)
    eventually(lambda: home.find("Environment", home.name, f"pr-{number}") is None, "the preview is gone", PATIENCE)
    home.delete("GitSource", home.name, "previewed")
    home.gone("GitSource", home.name, "previewed", PATIENCE)


def _application(name: str) -> str:
    part = component(name, image=f"registry.example.com/{name}", routes=[{"path": f"/{name}"}])
    spec = {"version": "1.0.0", "components": [part], "environments": [{"name": "dev"}]}
    body = {"apiVersion": "homeport.dev/v1alpha1", "kind": "Application", "metadata": {"name": name}, "spec": spec}
    return yaml.safe_dump(body)


def _remove(run: Run) -> None:
    """Everything goes again, by the ways that users have."""
    live = run.live
    homes = [*run.homes, *(System(live.api, folder.name) for folder in EXAMPLES)]
    for home in homes:
        for body in home.list("LXCContainer", home.name):
            if (body["metadata"].get("labels") or {}).get("app.kubernetes.io/managed-by") != "homeport":
                home.delete("LXCContainer", home.name, body["metadata"]["name"])
        home.leave()
    names = {home.name for home in homes}

    def left() -> list[str]:
        found = [*live.list("Application", None), *live.list("Environment", None)]
        return [body["metadata"]["name"] for body in found if body["metadata"]["namespace"] in names]

    eventually(lambda: not left(), "applications and environments are gone", PATIENCE, between=1.0)


class System(Home):
    """One of the examples, in the namespaces that it names."""

    def __init__(self, api: ApiServer, name: str) -> None:
        Live.__init__(self, api)
        self.name = name


def _rules() -> list[dict[str, Any]]:
    rendered = Helm().template()
    cluster, lease = one(rendered, "ClusterRole", "homeport-operator"), one(rendered, "Role", "homeport")
    return [*cluster["rules"], *lease["rules"]]


def test_nothing_was_forbidden(run: Run) -> None:
    assert not sorted({(str(one.right), one.what) for one in run.asked() if not one.allowed})


def test_every_right_was_used(run: Run) -> None:
    used = {one.right for one in run.asked() if one.allowed}
    used |= {Right("bind", "rbac.authorization.k8s.io", "clusterroles", name) for name in run.bound}
    unused = {right for right in granted(_rules()) if right not in used}
    assert not sorted({str(right) for right in unused} - unseen())
    stale = {right for right in unseen() - {str(right) for right in unused} if not right.startswith("get ")}
    # Whether something is read beside the watches, as after a conflict, is a matter of moments.
    assert not sorted(stale), "used, or not granted any more: off the list"
