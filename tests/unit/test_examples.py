"""The examples are what a user could have written: they parse, render, and what they name is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from example_systems import EXAMPLES, of_kind, places, rendered
from homeport.api.resource import parse
from homeport.plan.backup import access
from homeport.plan.podsecurity import pod_template
from homeport.plan.types import Child
from manifests import ROOT, load_all

PODS_AT_MOST = 80
OURS = {"Project", "Environment", "Application"}
BACKUPS = {"BackupRepository", "Backup"}


def test_the_five_systems_are_there_and_one_of_the_catalog() -> None:
    assert {folder.name for folder in EXAMPLES} == {
        *("project-dashboard", "proximity", "flask-demo", "taskflow", "budget-manager", "catalog"),
    }


@pytest.mark.parametrize(("name", "containers"), [("taskflow", {"web-0"}), ("catalog", {"web-0", "db-0", "cache-0"})])
def test_one_manifest_is_for_both_runtimes(name: str, containers: set[str]) -> None:
    folder = ROOT / "examples" / name
    runtimes = {place.name: place.spec.runtime for place in places(folder)}
    assert set(runtimes.values()) == {"Kubernetes", "Proxmox"}
    made = [child for child in rendered(folder) if runtimes[child.environment] == "Proxmox"]
    assert {child.id.name for child in made if child.id.kind == "LXCContainer"} == containers
    assert not [child for child in made if pod_template(child.manifest) is not None]
    elsewhere = {child.component for child in rendered(folder) if runtimes[child.environment] == "Kubernetes"}
    assert {child.component for child in made} == elsewhere


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda path: path.name)
class TestExample:
    def test_every_resource_parses(self, folder: Path) -> None:
        ours = [manifest for _, manifest in load_all(folder) if manifest["apiVersion"].startswith("homeport.dev/")]
        assert {parse(manifest).kind for manifest in ours} - BACKUPS == OURS

    def test_nothing_is_left_to_hand_made_yaml(self, folder: Path) -> None:
        """Only Homeport's kinds, the namespace, and Secrets with what comes from elsewhere; and no patches."""
        assert {manifest["kind"] for _, manifest in load_all(folder)} <= OURS | BACKUPS | {"Namespace", "Secret"}
        for application in of_kind(folder, "Application"):
            assert not any(environment.get("patches") for environment in application["spec"]["environments"])

    def test_the_namespace_comes_first(self, folder: Path) -> None:
        manifests = [manifest for _, manifest in load_all(folder)]
        assert manifests[0]["kind"] == "Namespace"
        name = manifests[0]["metadata"]["name"]
        assert {manifest["metadata"]["namespace"] for manifest in manifests[1:]} == {name} == {folder.name}
        assert [project["metadata"]["name"] for project in of_kind(folder, "Project")] == [name]

    def test_names_are_unique(self, folder: Path) -> None:
        names = [(manifest["kind"], manifest["metadata"]["name"]) for _, manifest in load_all(folder)]
        assert len(names) == len(set(names))

    def test_applications_run_in_every_environment_that_is_there(self, folder: Path) -> None:
        there = {environment["metadata"]["name"] for environment in of_kind(folder, "Environment")}
        for application in of_kind(folder, "Application"):
            assert {environment["name"] for environment in application["spec"]["environments"]} == there

    def test_every_key_of_a_secret_that_a_pod_reads_is_made_or_copied(self, folder: Path) -> None:
        given = {secret["metadata"]["name"]: set(secret["stringData"]) for secret in of_kind(folder, "Secret")}
        used = set()
        for place in places(folder):
            children = [child for child in rendered(folder) if child.environment == place.name]
            copies = {secret.name: secret.from_ or secret.name for secret in place.spec.secrets or ()}
            there = {name: given[source] for name, source in copies.items()}
            there |= {child.id.name: {*child.generate, *child.template} for child in children if child.generate}
            for child in children:
                for name, key in _keys_read(child):
                    assert key in there[name], f"{child.id.shown} reads {key} of Secret {name}"
                    used.add(copies.get(name))
            tls = place.spec.ingress.tls if place.spec.ingress else None
            if tls is not None and tls.secret_name is not None:
                assert tls.secret_name in copies
                used.add(copies[tls.secret_name])
        for repository in of_kind(folder, "BackupRepository"):
            ref = repository["spec"]["encryption"]["passwordSecretRef"]
            assert ref["key"] in given[ref["name"]]
            keys = repository["spec"]["s3"]["credentialsSecretRef"]["name"]
            assert {access.ACCESS_KEY, access.SECRET_KEY} <= given[keys]
            used |= {ref["name"], keys}
        assert given.keys() <= used, "a Secret that nobody reads"

    def test_every_backup_has_a_source_and_a_repository_that_are_there(self, folder: Path) -> None:
        repositories = {body["metadata"]["name"]: body["spec"] for body in of_kind(folder, "BackupRepository")}
        there = {(child.environment, child.component) for child in rendered(folder)}
        for backup in of_kind(folder, "Backup"):
            source, repository = backup["spec"]["source"], repositories[backup["spec"]["repositoryRef"]["name"]]
            if not source.get("project"):
                assert (source["environment"], source["component"]) in there
                assert source["environment"] in repository["environments"]

    def test_no_secret_is_a_real_one(self, folder: Path) -> None:
        for secret in of_kind(folder, "Secret"):
            for key, value in secret["stringData"].items():
                assert "demo-placeholder" in value, f"{secret['metadata']['name']}.{key}"

    def test_every_pod_says_as_which_user_it_runs(self, folder: Path) -> None:
        for child in rendered(folder):
            template = pod_template(child.manifest)
            if template is not None:
                user = template["spec"]["securityContext"].get("runAsUser")
                assert user, f"{child.id.shown}: runAsUser is {user}"

    def test_everything_that_runs_is_asked_how_it_is(self, folder: Path) -> None:
        """Services and databases are asked whether they are ready; what nobody calls, whether it is alive."""
        for child in rendered(folder):
            if child.manifest["kind"] in ("Deployment", "StatefulSet"):
                main = child.manifest["spec"]["template"]["spec"]["containers"][0]
                alone = "ports" not in main
                assert alone or "readinessProbe" in main, child.id.shown


def _keys_read(child: Child) -> Iterator[tuple[str, str]]:
    """The (Secret, key) pairs that a child's Pods read."""
    software = child.manifest.get("spec", {}).get("software") or {}
    for file in software.get("secretFiles") or ():
        yield file["secretRef"]["name"], file["secretRef"]["key"]
    template = pod_template(child.manifest)
    spec: dict[str, Any] = template["spec"] if template is not None else {"containers": [software]}
    for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
        for variable in container.get("env", ()):
            ref = (variable.get("valueFrom") or {}).get("secretKeyRef")
            if ref:
                yield ref["name"], ref["key"]
    for volume in spec.get("volumes", ()):
        for item in (volume.get("secret") or {}).get("items", ()):
            yield volume["secret"]["secretName"], item["key"]


def test_the_examples_together_stay_small() -> None:
    """Pods that run when the demonstration is over; done Jobs don't count."""
    running = [child for folder in EXAMPLES for child in rendered(folder)]
    running = [child for child in running if child.manifest["kind"] in ("Deployment", "StatefulSet")]
    assert sum(child.scale_to or child.manifest["spec"].get("replicas", 1) for child in running) <= PODS_AT_MOST


# --- Grafana's dashboards ---------------------------------------------------------------------------------------------


def dashboards() -> dict[str, dict[str, Any]]:
    """flask-demo's, as its Grafana finds them in files."""
    files: dict[str, dict[str, Any]] = {}
    for child in rendered(ROOT / "examples/flask-demo"):
        if child.id.name == "grafana-files" and child.manifest["kind"] == "ConfigMap":
            data = child.manifest["data"]
            files = {key: json.loads(text) for key, text in data.items() if key.endswith(".json")}
    return files


def expressions(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_the_four_dashboards_are_there() -> None:
    assert {dashboard["title"].partition(" / ")[2] for dashboard in dashboards().values()} == {
        *("Overview", "API performance", "Errors", "Resources"),
    }


@pytest.mark.parametrize("name", sorted(dashboards()))
def test_a_dashboard_is_whole(name: str) -> None:
    dashboard = dashboards()[name]
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells), "panels lie on one another"
    assert max(x for x, _ in cells) < 24
    assert all(panel["targets"] and panel["datasource"]["uid"] == "${datasource}" for panel in panels)
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == ["datasource"]


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("p50", "histogram_quantile(0.5,"),
        ("p95", "histogram_quantile(0.95,"),
        ("p99", "histogram_quantile(0.99,"),
        ("error rate", 'flask_http_request_total{status=~"5.."}'),
        ("connections", "pg_stat_database_numbackends"),
        ("cache hits", "redis_keyspace_hits_total"),
        ("query time", "pg_stat_statements_seconds_total"),
    ],
)
def test_what_the_documents_ask_to_see_is_on_a_dashboard(wanted: str, part: str) -> None:
    every = [expression for dashboard in dashboards().values() for expression in expressions(dashboard)]
    assert any(part in expression for expression in every), wanted
