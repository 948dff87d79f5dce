"""Who is looked at when something changes."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import types
from homeport.engine import triggers
from homeport.engine.context import Context
from homeport.engine.store import Store

Body = dict[str, Any]
PROJECT = OwnerKey("Project", "shop", "shop")
MAIN, TEST = OwnerKey("Environment", "shop", "main"), OwnerKey("Environment", "shop", "test")
WEB, API = OwnerKey("Application", "shop", "web"), OwnerKey("Application", "shop", "api")
OTHER = OwnerKey("Application", "other", "web")
ALL = (PROJECT, MAIN, TEST, WEB, API, OTHER)
MARKS = {
    labels.MANAGED_BY: labels.MANAGER,
    labels.PROJECT: "shop",
    labels.OWNER_KIND: "Application",
    labels.OWNER_NAME: "web",
    labels.APPLICATION: "web",
}


def ours(key: OwnerKey, version: int = 1, status: Any = None, **metadata: Any) -> Body:
    fields = {"name": key.name, "namespace": key.namespace, "uid": key.name, "resourceVersion": str(version)}
    return {
        "apiVersion": labels.API_VERSION, "kind": key.kind, "status": status or {},
        "metadata": {**fields, "generation": 1, **metadata}, "spec": {},
    }  # fmt: skip


class Woken(list[OwnerKey]):
    def __call__(self, key: OwnerKey, priority: int = 0, after: float = 0.0) -> None:
        self.append(key)


@pytest.fixture
def woken() -> Woken:
    return Woken()


@pytest.fixture
def context(woken: Woken) -> Context:
    store = Store()
    for key in ALL:
        store.put(ours(key))
    return Context(store, None, woken, lambda *_: None, lambda: 0.0)  # type: ignore[arg-type]


def changed(key: OwnerKey, **metadata: Any) -> tuple[Body, Body]:
    return ours(key), ours(key, 2, **metadata)


STATUS = {"namespace": "shop-main"}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (*changed(PROJECT, generation=2), {PROJECT, MAIN, TEST, WEB, API}),
        (*changed(MAIN, generation=2), {MAIN, TEST, WEB, API, PROJECT}),
        (*changed(MAIN, deletionTimestamp="x"), {MAIN, TEST, WEB, API, PROJECT}),
        (*changed(MAIN, status=STATUS), {MAIN, WEB, API, PROJECT}),
        (*changed(WEB, generation=2), {WEB, PROJECT}),
        (*changed(WEB, annotations={labels.RECONCILE_AT: "1"}), {WEB, PROJECT}),
        (*changed(WEB, status={"url": "x"}), {WEB, PROJECT}),
        (*changed(WEB), set()),
        (None, ours(WEB), {WEB, PROJECT}),
        (ours(WEB), None, {WEB, PROJECT}),
        (None, None, set()),
    ],
)
def test_resources(
    context: Context, woken: Woken, before: Body | None, after: Body | None, expected: set[OwnerKey]
) -> None:
    triggers.resource_changed(before, after, context)
    assert set(woken) == expected


def test_our_own_status_write_wakes_only_the_project(context: Context, woken: Woken) -> None:
    context.written[WEB] = "2"
    triggers.resource_changed(*changed(WEB, status={"url": "x"}), context)
    assert set(woken) == {PROJECT}


def child(kind: str = "Deployment", marks: dict[str, str] | None = None, **fields: Any) -> Body:
    metadata = {"name": "web", "namespace": "shop-main", "labels": MARKS if marks is None else marks}
    return {"kind": kind, "metadata": {**metadata, "generation": fields.pop("generation", 1)}, **fields}


def status(ready: int) -> Body:
    return {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": ready}


def stuck(reason: str) -> Body:
    waiting = {"state": {"waiting": {"reason": reason}}}
    return {"containerStatuses": [waiting]}


OTHERS = {**MARKS, labels.OWNER_NAME: "api"}
FOREIGN: dict[str, str] = {}
TWO = {"spec": {"replicas": 2}}


@pytest.mark.parametrize(
    ("gvk", "before", "after", "expected"),
    [
        (types.DEPLOYMENT, child(), None, {WEB}),
        (types.CONFIG_MAP, None, child("ConfigMap"), set()),
        (types.DEPLOYMENT, None, child(status={}), set()),
        (types.DEPLOYMENT, None, child(status=status(2)), {WEB}),
        (types.CRON_JOB, None, child("CronJob", status={}), {WEB}),
        (types.DEPLOYMENT, child(), child(generation=2), {WEB}),
        (types.DEPLOYMENT, child(**TWO, status=status(1)), child(**TWO, status=status(2)), {WEB}),
        (types.DEPLOYMENT, child(status=status(2)), child(status={**status(2), "collisionCount": 1}), set()),
        (types.DEPLOYMENT, child(), child(marks=OTHERS), {WEB, API}),
        (types.DEPLOYMENT, child(), child(marks=FOREIGN), {WEB}),
        (types.SERVICE, child("Service", FOREIGN), child("Service", FOREIGN, generation=2), set()),
        (types.POD, None, child("Pod", status=stuck("ContainerCreating")), set()),
        (types.POD, child("Pod"), child("Pod", status=stuck("CrashLoopBackOff")), {WEB}),
        (types.POD, child("Pod", status=stuck("CrashLoopBackOff")), child("Pod"), {WEB}),
        (types.POD, child("Pod", status=stuck("CrashLoopBackOff")), None, {WEB}),
        (types.POD, None, child("Pod", FOREIGN, status=stuck("CrashLoopBackOff")), set()),
    ],
)  # fmt: skip
def test_children(
    context: Context,
    woken: Woken,
    gvk: types.GVK,
    before: Body | None,
    after: Body | None,
    expected: set[OwnerKey],
) -> None:
    triggers.cluster_changed(gvk, before, after, context)
    assert set(woken) == expected


def test_a_containers_new_address_wakes_its_application(context: Context, woken: Woken) -> None:
    def container(*addresses: str) -> Body:
        metadata = {"name": "web-0", "namespace": "shop-main", "labels": MARKS, "generation": 1, "resourceVersion": "1"}
        return {"kind": "LXCContainer", "metadata": metadata, "spec": {}, "status": {"addresses": list(addresses)}}

    triggers.cluster_changed(types.LXC_CONTAINER, container("10.0.0.1"), container("10.0.0.1"), context)
    assert woken == []
    triggers.cluster_changed(types.LXC_CONTAINER, container("10.0.0.1"), container("10.0.0.2"), context)
    assert woken == [WEB]


def test_a_host_wakes_the_environments_on_it(context: Context, woken: Woken) -> None:
    lab = ours(TEST)
    lab["spec"] = {"proxmox": {"hostRef": {"name": "lab"}}}
    context.store.put(lab)
    key = OwnerKey("ProxmoxHost", "", "lab")
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    triggers.resource_changed(ours(key, status=ready), ours(key, 2, {**ready, "nodes": []}), context)
    assert TEST not in woken, "nothing that it goes by is different"
    triggers.resource_changed(ours(key, status=ready), ours(key, 2, {**ready, "firewall": True}), context)
    assert TEST in woken and MAIN not in woken


@pytest.mark.parametrize("gvk", [types.SECRET, types.CONFIG_MAP])
def test_who_reads_a_secret_hears_of_it(context: Context, woken: Woken, gvk: types.GVK) -> None:
    context.readers[gvk.kind, "shop-main", "web"] = {API, MAIN}
    triggers.cluster_changed(gvk, None, child(gvk.kind, FOREIGN), context)
    assert set(woken) == {API, MAIN}


def namespace(name: str, **marks: str) -> Body:
    return {"kind": "Namespace", "metadata": {"name": name, "labels": marks}}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, namespace("shop-main"), {MAIN}),
        (namespace("shop-main"), None, {MAIN}),
        (namespace("shop-main"), namespace("shop-main", team="x"), {MAIN}),
        (namespace("shop-main"), namespace("shop-main"), set()),
        (None, namespace("shop"), {PROJECT, MAIN, TEST}),
        (None, namespace("kube-system"), set()),
    ],
)
def test_namespaces(
    context: Context, woken: Woken, before: Body | None, after: Body | None, expected: set[OwnerKey]
) -> None:
    triggers.cluster_changed(types.NAMESPACE, before, after, context)
    assert set(woken) == expected


def test_an_environment_that_goes_hears_of_applications(context: Context, woken: Woken) -> None:
    context.store.put(ours(MAIN, 5, deletionTimestamp="x"))
    triggers.resource_changed(ours(WEB), None, context)
    assert set(woken) == {WEB, PROJECT, MAIN}
