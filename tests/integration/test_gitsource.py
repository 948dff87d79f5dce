"""GitSources on a real API server, with the real operator, a real Git server and real accounts."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from homes import Home, condition, eventually, told, written

from git_server import GitServer, Repository
from homeport.api import labels

pytestmark = pytest.mark.integration

Manifest = dict[str, Any]


@pytest.fixture
def server_of_git(tmp_path: Path) -> Iterator[GitServer]:
    running = GitServer(tmp_path)
    yield running
    running.close()


class Fleet:
    """A repository and the source ``fleet`` that reads it, in a home of its own."""

    def __init__(self, home: Home, git: GitServer) -> None:
        self.home = home
        self.git = git
        self.repository = Repository(git.root, f"fleet-{uuid.uuid4().hex[:6]}")

    @property
    def url(self) -> str:
        return self.git.url(self.repository.path.stem)

    def push(self, **files: str) -> str:
        """Write files (``_`` is a slash, their ending is .yaml) and push them."""
        return self.repository.commit({f"{name.replace('_', '/')}.yaml": text for name, text in files.items()})

    def remove(self, *names: str) -> str:
        for name in names:
            (self.repository.work / f"{name}.yaml").unlink()
        return self.repository.commit({})

    def source(self, name: str = "fleet", annotations: dict[str, str] | None = None, **spec: Any) -> Manifest:
        spec = {"url": self.url, "ref": {"branch": "main"}, "interval": "1h", "serviceAccountName": "deployer", **spec}
        return self.home.own(
            "GitSource", name, {k: v for k, v in spec.items() if v is not None}, annotations=annotations or {}
        )

    def account(self, *rules: Manifest, name: str = "deployer") -> None:
        """A service account that may do so much in this namespace."""
        place = self.home.name
        self.home.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": place}})
        rbac = "rbac.authorization.k8s.io"
        metadata = {"name": name, "namespace": place}
        self.home.apply({"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": list(rules)})
        self.home.apply(
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": place}],
            }
        )

    def sync(self, name: str = "fleet") -> Manifest:
        return self.home.settled("GitSource", name)

    def status(self, name: str = "fleet") -> Manifest:
        return dict(self.home.mine("GitSource", name)["status"])

    def there(self) -> dict[str, Any]:
        return {
            item["metadata"]["name"]: item.get("data")
            for item in self.home.list("ConfigMap", self.home.name)
            if item["metadata"]["name"] != "kube-root-ca.crt"
        }


CONFIG = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "create", "patch", "delete"]}


@pytest.fixture
def fleet(bare: Home, server_of_git: GitServer) -> Fleet:
    made = Fleet(bare, server_of_git)
    made.account(CONFIG)
    return made


def config(name: str, **data: str) -> str:
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})


def revision(fleet: Fleet, commit: str) -> str:
    return f"main@sha1:{commit}"


# --- from a push to the cluster ---------------------------------------------------------------------------------------


def test_a_branch_is_followed(fleet: Fleet) -> None:
    first = fleet.push(a=config("a", x="1"), b=config("b", x="1"))
    fleet.source(interval="10s")
    fleet.home.ready("GitSource", "fleet")
    assert fleet.there() == {"a": {"x": "1"}, "b": {"x": "1"}}
    assert fleet.status()["lastAppliedRevision"] == revision(fleet, first)
    assert fleet.status()["resources"] == {"ready": 2, "total": 2}

    second = fleet.push(a=config("a", x="2"))
    eventually(lambda: fleet.there()["a"] == {"x": "2"}, "the poll finds it")
    eventually(lambda: fleet.status()["lastAppliedRevision"] == revision(fleet, second), "it is told")
    found = fleet.home.get("ConfigMap", fleet.home.name, "a")
    assert found["metadata"]["labels"][labels.SOURCE_NAME] == "fleet"
    assert {entry["manager"] for entry in found["metadata"]["managedFields"]} == {labels.SOURCE_MANAGER}
    assert [entry["revision"] for entry in fleet.status()["history"]] == [revision(fleet, c) for c in (second, first)]
    assert any(event["reason"] == "ReconciliationSucceeded" for event in fleet.home.events("GitSource", "fleet"))


def test_homeports_kinds_need_no_account(fleet: Fleet) -> None:
    """A repository that holds a whole project, in any order, as the account that the operator makes."""
    app = {
        "version": "1.0.0",
        "components": [{"name": "web", "image": "web:1", "ports": [{"name": "http", "port": 80}]}],
    }
    objects = [
        ("Application", "shop", app),
        ("Environment", "dev", {"isolation": "Open"}),
        ("Project", fleet.home.name, {}),
    ]
    documents = [
        {"apiVersion": labels.API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
        for kind, name, spec in objects
    ]
    fleet.push(all="---\n".join(yaml.safe_dump(each) for each in documents))
    fleet.source(serviceAccountName=None)
    fleet.home.ready("GitSource", "fleet", seconds=60)
    fleet.home.ready("Application", "shop")
    assert fleet.home.child("Deployment")["spec"]["replicas"] == 1
    fleet.push(
        secret=yaml.safe_dump(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}}
        )
    )
    fleet.sync()
    body = fleet.home.until("GitSource", "fleet", "False", "AccessDenied", ["secret.yaml", "Secret", "homeport-source"])
    assert "stays applied" in told(body)[2] or condition(body, "Stalled")


def test_what_the_account_may_not_do_fails_with_its_name(fleet: Fleet) -> None:
    fleet.push(
        a=config("a", x="1"), s=yaml.safe_dump({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}})
    )
    fleet.source()
    body = fleet.home.until("GitSource", "fleet", "False", "AccessDenied", ["s.yaml", "Secret", "deployer"])
    assert fleet.there() == {}, "nothing of the revision was applied"
    assert condition(body, "Stalled")["status"] == "True"


def test_a_broken_file_of_many(fleet: Fleet) -> None:
    good = fleet.push(**{f"f{n}": config(f"f{n}", x="1") for n in range(4)})
    fleet.source()
    fleet.home.ready("GitSource", "fleet")
    fleet.push(f0=config("f0", x="2"), f3="apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: [f3\ndata: {}\n")
    fleet.sync()
    fleet.home.until("GitSource", "fleet", "False", "BuildFailed", ["f3.yaml:", f"main@sha1:{good[:12]} stays applied"])
    assert fleet.there()["f0"] == {"x": "1"}
    # What the server alone can know is found before anything is written, too.
    fleet.push(f3=config("f3", x="2").replace("'2'", "[2]"))
    fleet.sync()
    fleet.home.until("GitSource", "fleet", "False", says=["f3.yaml", "ConfigMap"])
    assert fleet.there()["f0"] == {"x": "1"}
    fleet.push(f3=config("f3", x="3"))
    fleet.sync()
    fleet.home.ready("GitSource", "fleet")
    assert (fleet.there()["f0"], fleet.there()["f3"]) == ({"x": "2"}, {"x": "3"})


def test_a_steady_state_writes_nothing(fleet: Fleet, audit_log: Path) -> None:
    fleet.push(**{f"apps_f{n}": config(f"f{n}", x="1") for n in range(4)}, other_x="a: 1\n")
    fleet.source(path="./apps", interval="10s")
    fleet.home.ready("GitSource", "fleet")
    fleet.sync()
    since, offset = fleet.status(), audit_log.stat().st_size
    polls = fleet.git.requests
    head = fleet.push(other_x="a: 2\n")
    eventually(lambda: fleet.git.requests > polls + 4, "it was looked at after the push", seconds=60)
    assert written(audit_log, offset, [fleet.home.name]) == {}
    assert fleet.status() == since
    assert head not in str(fleet.status())


# --- pruning ----------------------------------------------------------------------------------------------------------


def test_what_leaves_is_removed_and_the_guard_asks(fleet: Fleet) -> None:
    fleet.push(**{name: config(name, x="1") for name in "abcdef"})
    fleet.source()
    fleet.home.ready("GitSource", "fleet")
    fleet.home.patch("ConfigMap", fleet.home.name, "f", {"metadata": {"annotations": {labels.PRUNE: "Disabled"}}})
    fleet.remove("e", "f")
    fleet.sync()
    fleet.home.ready("GitSource", "fleet")
    assert set(fleet.there()) == set("abcdf"), "f says that it stays"

    fleet.remove("a", "b", "c", "d")
    fleet.sync()
    body = fleet.home.until("GitSource", "fleet", "False", "PruneGuard", labels.ALLOW_PRUNE_AT)
    assert set(fleet.there()) == set("abcdf")
    assert condition(body, "Stalled")["reason"] == "PruneGuard"
    assert body["status"]["plan"]["delete"] == 4
    fleet.home.annotate("GitSource", "fleet", allow_prune_at="1")
    eventually(lambda: set(fleet.there()) == {"f"}, "what was allowed goes")
    assert fleet.sync()["status"]["lastHandledAllowPruneAt"] == "1"


def test_another_owners_object_is_not_taken_over(fleet: Fleet) -> None:
    fleet.home.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "a", "namespace": fleet.home.name},
            "data": {"x": "9"},
        },
        manager="somebody",
    )
    fleet.push(a=config("a", x="1"), b=config("b", x="1"))
    fleet.source()
    fleet.home.until("GitSource", "fleet", "False", "Conflict", ["a.yaml", "ConfigMap", "somebody", labels.ADOPT])
    assert fleet.there() == {"a": {"x": "9"}}
    adopted = yaml.safe_load(config("a", x="1"))
    adopted["metadata"]["annotations"] = {labels.ADOPT: "true"}
    fleet.push(a=yaml.safe_dump(adopted))
    fleet.sync()
    fleet.home.ready("GitSource", "fleet")
    assert fleet.there() == {"a": {"x": "1"}, "b": {"x": "1"}}
    # Another source's is nobody's to adopt.
    fleet.source("second")
    fleet.home.until("GitSource", "second", "False", "Conflict", [f"GitSource {fleet.home.name}/fleet"])


# --- drift ------------------------------------------------------------------------------------------------------------


def test_drift_is_mended_told_or_left(fleet: Fleet) -> None:
    fleet.push(a=config("a", x="1", y="1"))
    fleet.source()
    fleet.home.ready("GitSource", "fleet")
    change = lambda: fleet.home.patch("ConfigMap", fleet.home.name, "a", {"data": {"x": "9"}}, manager="kubectl-edit")  # noqa: E731
    change()
    eventually(lambda: fleet.there()["a"]["x"] == "1", "it is mended")
    entry = eventually(lambda: fleet.status().get("drift"), "it is told")[0]
    assert (entry["object"], entry["field"]) == (f"ConfigMap {fleet.home.name}/a", "data.x")
    assert (entry["manager"], entry["mended"]) == ("kubectl-edit", True)
    assert any(event["reason"] == "DriftDetected" for event in fleet.home.events("GitSource", "fleet"))

    fleet.source(driftDetection={"mode": "Warn"})
    fleet.home.ready("GitSource", "fleet")
    change()
    body = eventually(
        lambda: (b := fleet.home.mine("GitSource", "fleet")) and "not as in Git" in told(b)[2] and b, "it is told"
    )
    assert "data.x (kubectl-edit)" in told(body)[2]
    assert fleet.there()["a"]["x"] == "9"
    assert fleet.sync() and fleet.there()["a"]["x"] == "1", "a sync mends"

    fleet.source(driftDetection={"ignore": [{"paths": ["/data/x"]}]})
    fleet.home.ready("GitSource", "fleet")
    change()
    fleet.home.patch("ConfigMap", fleet.home.name, "a", {"data": {"y": "9"}}, manager="kubectl-edit")
    eventually(lambda: fleet.there()["a"]["y"] == "1", "what isn't named is mended")
    assert fleet.there()["a"]["x"] == "9", "what is named is left"


# --- dry runs, pins, suspension ---------------------------------------------------------------------------------------


def test_a_dry_run(fleet: Fleet) -> None:
    fleet.push(a=config("a", x="1"))
    fleet.source(dryRun=True)
    body = fleet.home.ready("GitSource", "fleet")
    assert (body["status"]["plan"]["create"], fleet.there()) == (1, {})
    fleet.source()
    fleet.home.ready("GitSource", "fleet")
    assert "plan" not in fleet.status() and set(fleet.there()) == {"a"}
    fleet.source(dryRun=True)
    fleet.push(a=config("a", x="2"), b=config("b", x="1"))
    fleet.sync()
    plan = fleet.home.ready("GitSource", "fleet")["status"]["plan"]
    assert (plan["create"], plan["update"]) == (1, 1)
    assert [(entry["verb"], entry["object"].split("/")[1]) for entry in plan["entries"]] == [
        ("update", "a"),
        ("create", "b"),
    ]
    assert fleet.there() == {"a": {"x": "1"}}


def test_a_pin_holds_while_git_is_down(fleet: Fleet) -> None:
    old = fleet.push(a=config("a", x="1"))
    fleet.source(interval="10s")
    fleet.home.ready("GitSource", "fleet")
    fleet.push(a=config("a", x="2"))
    fleet.sync()
    eventually(lambda: fleet.there()["a"] == {"x": "2"}, "the newer one is applied")
    fleet.git.failing = True
    fleet.home.annotate("GitSource", "fleet", pin=old)
    eventually(lambda: fleet.there()["a"] == {"x": "1"}, "the older one is back")
    body = eventually(
        lambda: (b := fleet.home.mine("GitSource", "fleet"))["status"].get("pinned") == old and b, "it is told"
    )
    assert told(body)[0] == "True" and f"pinned to {old[:12]}" in told(body)[2]
    fleet.git.failing = False
    fleet.home.annotate("GitSource", "fleet", pin=None)
    eventually(lambda: fleet.there()["a"] == {"x": "2"}, "the branch is followed again")


def test_suspended_nothing_is_done(fleet: Fleet) -> None:
    fleet.push(a=config("a", x="1"))
    fleet.source()
    fleet.home.ready("GitSource", "fleet")
    fleet.home.set("GitSource", "fleet", suspend=True)
    body = eventually(
        lambda: condition(b := fleet.home.mine("GitSource", "fleet"), "Suspended").get("status") == "True" and b,
        "it is",
    )
    assert told(body)[0] == "True"
    fleet.push(a=config("a", x="2"))
    fleet.home.patch("ConfigMap", fleet.home.name, "a", {"data": {"x": "9"}})
    assert fleet.sync() and fleet.there()["a"] == {"x": "9"}
    fleet.home.set("GitSource", "fleet", suspend=False)
    eventually(lambda: fleet.there()["a"] == {"x": "2"}, "it goes on")


# --- what it waits for ------------------------------------------------------------------------------------------------


def test_it_waits_for_others(fleet: Fleet) -> None:
    fleet.push(one_a=config("a", x="1"), two_b=config("b", x="1"))
    flag = {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "readyExpr": "dep.data.x == '2'"}
    fleet.source("two", path="./two", dependsOn=[{"name": "one"}, flag])
    fleet.home.until("GitSource", "two", "False", "DependencyNotReady", "GitSource one")
    fleet.source("one", path="./one")
    fleet.home.ready("GitSource", "one")
    fleet.home.until("GitSource", "two", "False", "DependencyNotReady", "dep.data.x == '2' isn't true")
    fleet.push(one_a=config("a", x="2"))
    fleet.sync("one")
    fleet.home.ready("GitSource", "two", seconds=60)
    fleet.source("one", path="./one", dependsOn=[{"name": "two"}])
    fleet.push(one_a=config("a", x="3"))
    fleet.sync("one")
    fleet.home.until("GitSource", "one", "False", "DependencyCycle", "→")


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prune", [True, False])
def test_deletion(fleet: Fleet, prune: bool) -> None:
    fleet.push(a=config("a", x="1"), b=config("b", x="1"))
    fleet.source(prune=prune)
    fleet.home.ready("GitSource", "fleet")
    fleet.home.delete("GitSource", fleet.home.name, "fleet")
    fleet.home.gone("GitSource", fleet.home.name, "fleet")
    assert set(fleet.there()) == (set() if prune else {"a", "b"})
    if not prune:
        fleet.source("heir")
        fleet.home.until("GitSource", "heir", "False", "Conflict", ["which is gone", labels.ADOPT])
        adopted = [yaml.safe_load(config(name, x="1")) for name in "ab"]
        for each in adopted:
            each["metadata"]["annotations"] = {labels.ADOPT: "true"}
        fleet.push(a=yaml.safe_dump(adopted[0]), b=yaml.safe_dump(adopted[1]))
        fleet.sync("heir")
        fleet.home.ready("GitSource", "heir")
        assert fleet.home.get("ConfigMap", fleet.home.name, "a")["metadata"]["labels"][labels.SOURCE_NAME] == "heir"


def test_a_source_that_manages_itself(fleet: Fleet) -> None:
    """It may be in its own repository; it can't turn itself elsewhere, be suspended by it, nor go with its file."""
    spec = {"url": fleet.url, "ref": {"branch": "main"}, "interval": "1h", "serviceAccountName": "deployer"}
    itself: Callable[..., str] = lambda **more: yaml.safe_dump(  # noqa: E731
        {"apiVersion": labels.API_VERSION, "kind": "GitSource",
         "metadata": {"name": "fleet", "annotations": {labels.ADOPT: "true"}}, "spec": {**spec, **more}}
    )  # fmt: skip
    sources = {
        "apiGroups": [labels.GROUP],
        "resources": ["gitsources"],
        "verbs": ["get", "list", "create", "patch", "delete"],
    }
    accounts = {
        "apiGroups": [""],
        "resources": ["serviceaccounts"],
        "resourceNames": ["deployer"],
        "verbs": ["impersonate"],
    }
    fleet.account(CONFIG, sources, accounts)
    fleet.push(itself=itself(interval="30m"), a=config("a", x="1"))
    fleet.source()
    fleet.home.ready("GitSource", "fleet")
    eventually(
        lambda: fleet.home.mine("GitSource", "fleet")["spec"]["interval"] == "30m", "what steers nothing follows Git"
    )
    for change in ({"url": "https://evil.example.com/x.git"}, {"path": "./other"}, {"suspend": True}, {"dryRun": True}):
        fleet.push(itself=itself(**change))
        fleet.sync()
        body = fleet.home.until("GitSource", "fleet", "False", says=["itself.yaml", f"spec.{next(iter(change))}"])
        assert all(body["spec"].get(key) != value for key, value in change.items())
    fleet.remove("itself")
    fleet.sync()
    fleet.home.ready("GitSource", "fleet")
    assert fleet.home.mine("GitSource", "fleet")["metadata"].get("deletionTimestamp") is None
    fleet.home.delete("GitSource", fleet.home.name, "fleet")
    fleet.home.gone("GitSource", fleet.home.name, "fleet")
    assert fleet.there() == {}
