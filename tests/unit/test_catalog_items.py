"""Every item of the catalog: what it makes of its defaults, under the Pod Security that it says it needs."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from render_cases import application, place

from homeport.drivers.catalog import folders, load
from homeport.engine.catalog import Catalog
from homeport.plan import render
from homeport.plan.types import Child

ITEMS = load(folders()[:1])
CATALOG = Catalog(lambda: ITEMS)
OTHER_VALUES = {
    "elasticsearch": {"security": True, "heap": "1g"},
    "gitea": {"database": "sqlite3", "host": "git.example.com"},
    "grafana": {
        "host": "graphs.example.com",
        "dashboards": {"overview": "{}"},
        "dataSources": [{"name": "Prometheus", "type": "prometheus", "url": "http://prometheus:9090", "default": True}],
    },
    "minio": {"domain": "s3.example.com"},
    "n8n": {"host": "n8n.example.com", "timezone": "Europe/Rome"},
    "nextcloud": {"host": "cloud.example.com"},
    "nginx": {"upstream": "http://backend:8000", "replicas": 2},
    "postgres": {"parameters": {"log_statement": "all"}, "storageClass": "fast"},
    "prometheus": {
        "jobs": [{"name": "db", "targets": ["db:9187"]}, {"name": "backend", "dns": ["backend-metrics:8000"]}],
        "alerts": [{"name": "Down", "expr": "up == 0", "for": "2m", "summary": "{{ $labels.job }} is down"}],
        "alertmanagers": ["alertmanager:9093"],
    },
    "redis": {"auth": True, "persistence": False},
    "traefik": {"services": [{"name": "api", "rule": "PathPrefix(`/api`)", "url": "http://backend:8000"}]},
    "wordpress": {"debug": True},
}


def rendered(name: str, level: str, prefix: str = "", **component: Any) -> tuple[Child, ...]:
    spec = {"version": "1.0.0", "components": [{"name": "it", "catalog": {"name": name}, **component}]}
    app = application({**spec, "namePrefix": prefix} if prefix else spec)
    catalog = CATALOG.expansion_now(app.spec)
    render.check(app.spec, catalog)
    return render.render(app, place(podSecurity=level), catalog=catalog)


def test_the_catalog_is_whole() -> None:
    assert not ITEMS.broken
    assert set(ITEMS.entries) == {
        *("postgres", "mariadb", "redis", "elasticsearch", "minio", "nginx", "traefik", "prometheus", "grafana"),
        *("loki", "uptime-kuma", "gitea", "n8n", "nextcloud", "wordpress"),
    }


@pytest.mark.parametrize("name", sorted(ITEMS.entries))
class TestItem:
    def test_renders_on_defaults_under_the_pod_security_that_it_names(self, name: str) -> None:
        children = rendered(name, ITEMS.entries[name].item.pod_security)
        kinds = {child.manifest["kind"] for child in children}
        assert kinds & {"Deployment", "StatefulSet"}
        assert "Service" in kinds

    def test_renders_with_other_values(self, name: str) -> None:
        level = ITEMS.entries[name].item.pod_security
        assert rendered(name, level, values=OTHER_VALUES.get(name, {"storage": "20Gi"}))

    def test_every_version_renders(self, name: str) -> None:
        entry = ITEMS.entries[name]
        for version in entry.item.versions:
            children = rendered(name, entry.item.pod_security, catalog={"name": name, "version": version.name})
            images = [
                container["image"]
                for child in children
                if child.manifest["kind"] in ("Deployment", "StatefulSet")
                for container in child.manifest["spec"]["template"]["spec"]["containers"]
            ]
            assert version.image in images
            assert not [image for image in images if image.endswith(":latest") or ":" not in image]

    def test_what_it_refers_to_is_there_under_a_prefix_too(self, name: str) -> None:
        children = rendered(name, ITEMS.entries[name].item.pod_security, prefix="blue-")
        there = {(child.manifest["kind"], child.manifest["metadata"]["name"]) for child in children}
        assert all(object_name.startswith("blue-it") for _, object_name in there)
        for child in children:
            assert not child.reads, "a Secret that nobody makes"
            template = child.manifest.get("spec", {}).get("template")
            for variable in (template or {}).get("spec", {}).get("containers", [{}])[0].get("env", ()):
                value = variable.get("value", "")
                if variable["name"].endswith("HOST") and value.startswith("blue-it"):
                    assert ("Service", value.partition(":")[0]) in there

    def test_running_components_are_asked_whether_they_are_well(self, name: str) -> None:
        for child in rendered(name, ITEMS.entries[name].item.pod_security):
            if child.manifest["kind"] in ("Deployment", "StatefulSet"):
                container = child.manifest["spec"]["template"]["spec"]["containers"][0]
                assert "readinessProbe" in container, child.component
                assert container["resources"]["limits"]["memory"]

    def test_values_are_documented(self, name: str) -> None:
        for value, schema in ITEMS.entries[name].schema["properties"].items():
            assert schema.get("description"), value


def test_prometheus_is_told_its_jobs_and_alerts() -> None:
    children = rendered("prometheus", "restricted", values=OTHER_VALUES["prometheus"])
    data = next(c.manifest["data"] for c in children if c.manifest["kind"] == "ConfigMap")
    config, rules = (yaml.safe_load(text) for name, text in sorted(data.items(), reverse=True))
    assert [job.get("static_configs") for job in config["scrape_configs"]][1:] == [[{"targets": ["db:9187"]}], None]
    found = config["scrape_configs"][2]["dns_sd_configs"]
    assert found == [{"names": ["backend-metrics"], "port": 8000, "type": "A"}]
    assert config["rule_files"] == ["/etc/prometheus/alerts.yml"]
    assert config["alerting"] == {"alertmanagers": [{"static_configs": [{"targets": ["alertmanager:9093"]}]}]}
    assert rules["groups"][0]["rules"] == [
        {
            "alert": "Down",
            "expr": "up == 0",
            "for": "2m",
            "labels": {"severity": "warning"},
            "annotations": {"summary": "{{ $labels.job }} is down"},
        }
    ]


def test_databases_have_a_url_in_their_secret() -> None:
    (secret,) = (c for c in rendered("postgres", "restricted", prefix="p-") if c.manifest["kind"] == "Secret")
    assert secret.id.name == "p-it-credentials"
    assert secret.template["url"] == "postgresql://app:$(password)@p-it:5432/app"
    (secret,) = (c for c in rendered("redis", "restricted", values={"auth": True}) if c.manifest["kind"] == "Secret")
    assert secret.template == {"url": "redis://:$(password)@it:6379/0"}
