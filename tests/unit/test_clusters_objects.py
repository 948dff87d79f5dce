"""Objects of a cluster, by a Kubernetes API in memory: what is taken, what is refused, and what is deleted."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.types import GVK, Manifest
from homeport.drivers.memory import MemoryClient
from homeport_clusters import addons
from homeport_clusters.providers import base, objects
from homeport_clusters.providers.base import ProviderError
from played_cluster import played

PROVIDER = objects.ObjectProvider()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> MemoryClient:
    monkeypatch.delenv(base.DELETE_DATA, raising=False)
    return played(monkeypatch)


def body(gvk: GVK, name: str, namespace: str | None = None, *, mark: str | None = None, **more: Any) -> Manifest:
    metadata: dict[str, Any] = {"name": name, **({"namespace": namespace} if namespace else {})}
    if mark:
        metadata["labels"] = {base.MARK: mark}
    return {"apiVersion": gvk.api_version, "kind": gvk.kind, "metadata": metadata, **more}


def props(manifest: Manifest, **more: Any) -> dict[str, Any]:
    given = {"existing": "refuse", "keep": False, "deleteData": False, "ready": 0, **more}
    return {"kubeconfig": "", "stack": "lab", "manifest": manifest, **given}


def made(manifest: Manifest, **more: Any) -> dict[str, Any]:
    outs = PROVIDER.create(props(manifest, **more)).outs
    assert outs is not None
    return outs


def put(cluster: MemoryClient, gvk: GVK, name: str, namespace: str | None = None, **more: Any) -> Manifest:
    return base.run(cluster.create(gvk, namespace, body(gvk, name, namespace, **more)))


def names(cluster: MemoryClient, gvk: GVK) -> list[str]:
    return [found["metadata"]["name"] for found in cluster.objects(gvk)]


ARCHIVED = {"conditions": [{"type": "Archived", "status": "True", "observedGeneration": 1}]}


@pytest.mark.parametrize("said", [False, True])
@pytest.mark.parametrize("asked", [False, True])
def test_what_is_kept_goes_only_when_the_file_and_the_command_say_so(
    cluster: MemoryClient, monkeypatch: pytest.MonkeyPatch, said: bool, asked: bool
) -> None:
    outs = made(body(types.NAMESPACE, "fleet"), keep=True, deleteData=said)
    if asked:
        monkeypatch.setenv(base.DELETE_DATA, "lab")
    PROVIDER.delete("", outs)
    assert names(cluster, types.NAMESPACE) == ([] if said and asked else ["fleet"])


def test_a_state_of_an_older_homeport_keeps(cluster: MemoryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    outs = made(body(types.NAMESPACE, "fleet"), keep=True)
    del outs["deleteData"]
    monkeypatch.setenv(base.DELETE_DATA, "lab")
    PROVIDER.delete("", outs)
    assert names(cluster, types.NAMESPACE) == ["fleet"]


def test_a_namespace_with_objects_of_homeports_stays(cluster: MemoryClient) -> None:
    outs = made(body(types.NAMESPACE, "homeport-system"))
    put(cluster, types.BACKUP_REPOSITORY, "nightly", "homeport-system")
    with pytest.raises(ProviderError, match=r"has what this didn't make \(BackupRepository nightly\)"):
        PROVIDER.delete("", outs)
    assert names(cluster, types.NAMESPACE) == ["homeport-system"]


def test_a_kind_that_went_a_moment_ago_holds_no_namespace(
    cluster: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its definition is deleted, and discovery names it still: the API server has no such page."""
    outs, listed = made(body(types.NAMESPACE, "homeport-system")), cluster.list

    async def refused(gvk: types.GVK, *places: Any, **options: Any) -> Any:
        if gvk == types.BACKUP_REPOSITORY:
            raise errors.NotFound(404, "", "404 page not found")
        return await listed(gvk, *places, **options)

    monkeypatch.setattr(cluster, "list", refused)
    PROVIDER.delete("", outs)
    assert names(cluster, types.NAMESPACE) == []


def test_what_an_addon_is_known_to_leave_doesnt_hold_its_namespace(cluster: MemoryClient) -> None:
    left = addons.LEFTOVERS["cert-manager"]
    outs = made(body(types.NAMESPACE, "cert-manager"), leftovers=list(left))
    put(cluster, types.SECRET, "cert-manager-webhook-ca", "cert-manager")
    put(cluster, types.SECRET, "letsencrypt-account", "cert-manager")
    with pytest.raises(ProviderError, match=r"\(Secret letsencrypt-account\)"):
        PROVIDER.delete("", outs)
    base.run(cluster.delete(types.SECRET, "cert-manager", "letsencrypt-account"))
    PROVIDER.delete("", outs)
    assert names(cluster, types.NAMESPACE) == []


def test_a_gitsource_stays_while_its_project_isnt_archived(
    cluster: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(base.DELETE_DATA, "lab")
    put(cluster, types.PROJECT, "fleet", "fleet", mark="lab")
    outs = made(body(types.GIT_SOURCE, "root", "fleet"), keep=True, deleteData=True)
    with pytest.raises(ProviderError, match="the Project fleet isn't archived, so its GitSource isn't deleted either"):
        PROVIDER.delete("", outs)
    assert names(cluster, types.GIT_SOURCE) == ["root"]


def test_a_gitsource_goes_when_its_project_is_archived_or_somebody_elses(
    cluster: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(base.DELETE_DATA, "lab")
    put(cluster, types.PROJECT, "fleet", "fleet", mark="lab", status=ARCHIVED)
    put(cluster, types.PROJECT, "other", "other")
    for project in ("fleet", "other"):
        PROVIDER.delete("", made(body(types.GIT_SOURCE, "root", project), keep=True, deleteData=True))
    assert names(cluster, types.GIT_SOURCE) == []


def test_update_leaves_what_somebody_else_made_meanwhile(cluster: MemoryClient) -> None:
    manifest = body(types.CONFIG_MAP, "settings", "default", data={"colour": "blue"})
    outs = made(manifest)
    base.run(cluster.delete(types.CONFIG_MAP, "default", "settings"))
    put(cluster, types.CONFIG_MAP, "settings", "default", data={"theirs": "yes"})
    with pytest.raises(ProviderError, match="ConfigMap/default/settings is there and was not made by this"):
        PROVIDER.update("", outs, props(manifest))
    assert cluster.objects(types.CONFIG_MAP)[0]["data"] == {"theirs": "yes"}


def test_update_puts_our_mark_back_on_what_we_made(cluster: MemoryClient) -> None:
    manifest = body(types.CONFIG_MAP, "settings", "default", data={"colour": "blue"})
    outs = made(manifest)
    base.run(cluster.patch(types.CONFIG_MAP, "default", "settings", {"metadata": {"labels": None}}))
    PROVIDER.update("", outs, props(manifest))
    assert base.is_ours(cluster.objects(types.CONFIG_MAP)[0], "lab")


def test_a_namespace_made_anew_by_others_is_used_and_never_ours(cluster: MemoryClient) -> None:
    manifest = body(types.NAMESPACE, "fleet")
    outs = made(manifest, existing="share")
    assert not outs["shared"]
    base.run(cluster.delete(types.NAMESPACE, None, "fleet"))
    put(cluster, types.NAMESPACE, "fleet")
    updated = PROVIDER.update("", outs, props(manifest, existing="share")).outs
    assert updated and updated["shared"]
    PROVIDER.delete("", updated)
    assert names(cluster, types.NAMESPACE) == ["fleet"]
