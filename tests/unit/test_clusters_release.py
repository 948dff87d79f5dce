"""Releases of charts, by a Kubernetes API in memory and a program that plays helm: whose they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from homeport.drivers.kubernetes import types
from homeport.drivers.memory import MemoryClient
from homeport_clusters.providers import access, base, chart, objects
from homeport_clusters.providers.base import ProviderError
from played_cluster import played

PROVIDER = chart.ReleaseProvider()
PLAYED = """#!/bin/sh
echo "$*" >> "$COMMANDS"
echo '{"version": 2}'
"""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> MemoryClient:
    return played(monkeypatch)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What helm was told."""
    program = tmp_path / "helm"
    program.write_text(PLAYED)
    program.chmod(0o755)
    monkeypatch.setenv("HOMEPORT_HELM", str(program))
    monkeypatch.setenv("COMMANDS", str(tmp_path / "commands"))
    (tmp_path / "commands").touch()
    return tmp_path / "commands"


def props(**more: Any) -> dict[str, Any]:
    return {
        "kubeconfig": "first", "stack": "lab", "name": "small", "namespace": "default", "chart": "oci://example/small",
        "repository": None, "version": "1.0.0", "values": {}, "timeout": 60, "dataKinds": [], "rendered": None,
        "revision": None, **more,
    }  # fmt: skip


def record(cluster: MemoryClient, stack: str | None) -> None:
    labels = {"owner": "helm", "name": "small", "version": "1", "status": "deployed"}
    labels |= {chart.LABEL: stack} if stack else {}
    place = {"name": "sh.helm.release.v1.small.v1", "namespace": "default", "labels": labels}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": place}
    base.run(cluster.create(types.SECRET, "default", body))


@pytest.mark.parametrize("theirs", [None, "another"])
def test_update_leaves_a_release_that_somebody_else_made_meanwhile(
    cluster: MemoryClient, commands: Path, theirs: str | None
) -> None:
    record(cluster, theirs)
    with pytest.raises(ProviderError, match="the release small in namespace default was not made by this"):
        PROVIDER.update("default/small", {**props(), "revision": 1}, props(version="1.1.0"))
    assert commands.read_text() == ""


def test_update_upgrades_what_is_ours(cluster: MemoryClient, commands: Path) -> None:
    record(cluster, "lab")
    outs = PROVIDER.update("default/small", {**props(), "revision": 1}, props(version="1.1.0")).outs
    assert outs and outs["revision"] == 2
    assert commands.read_text().startswith("upgrade small oci://example/small --version 1.1.0 --install")


def test_new_credentials_alone_are_no_new_revision(cluster: MemoryClient, commands: Path) -> None:
    record(cluster, "lab")
    olds = {**props(), "revision": 7}
    outs = PROVIDER.update("default/small", olds, props(kubeconfig="second")).outs
    assert outs and outs["revision"] == 7 and outs["kubeconfig"] == "second" and commands.read_text() == ""
    PROVIDER.update("default/small", {**olds, "drift": ["ConfigMap small: data"]}, props(kubeconfig="second"))
    assert commands.read_text().startswith("upgrade small ")


def test_another_cluster_is_another_release(monkeypatch: pytest.MonkeyPatch) -> None:
    async def uid(kubeconfig: str) -> str:
        return {"first": "one", "renewed": "one", "other": "two"}[kubeconfig]

    monkeypatch.setattr(objects, "cluster_uid", uid)
    renewed = PROVIDER.diff("", props(), props(kubeconfig="renewed"))
    assert renewed.changes and not renewed.replaces
    assert PROVIDER.diff("", props(), props(kubeconfig="other")).replaces == ["kubeconfig"]
    account = {"kubeconfig": "first", "stack": "lab", "cluster": "far"}
    assert access.AccessProvider().diff("", account, {**account, "kubeconfig": "other"}).replaces == ["kubeconfig"]
    assert not access.AccessProvider().diff("", account, {**account, "kubeconfig": "renewed"}).replaces
    assert not PROVIDER.diff("", props(), props()).changes
