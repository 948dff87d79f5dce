"""One contract, two drivers: what the engine relies on holds for the API server and for the memory that stands in."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import config, errors, types
from homeport.drivers.kubernetes.client import Client
from homeport.drivers.kubernetes.cluster import Cluster
from homeport.drivers.kubernetes.discovery import Mapper
from homeport.drivers.kubernetes.protocol import Api
from homeport.drivers.kubernetes.types import Manifest
from homeport.drivers.memory import MemoryClient
from homeport.engine.leader import Leader

BOTH = ["memory", pytest.param("real", marks=pytest.mark.integration)]


@pytest.fixture(params=BOTH)
async def api(request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    if request.param == "memory":
        yield MemoryClient(namespaces=True)
        return
    client = Client(config.load(request.getfixturevalue("control_plane").kubeconfig))
    yield client
    await client.close()


@pytest.fixture
async def real(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    client = Client(config.load(request.getfixturevalue("control_plane").kubeconfig))
    yield client
    await client.close()


async def fresh_namespace(api: Api) -> str:
    name = f"driver-{uuid.uuid4().hex[:8]}"
    await api.create(types.NAMESPACE, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


@pytest.fixture
async def ns(api: Api) -> AsyncIterator[str]:
    name = await fresh_namespace(api)
    yield name
    await api.delete(types.NAMESPACE, None, name)


def config_map(name: str, data: dict[str, str] | None = None, **found: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, **({"labels": found} if found else {})},
        "data": data or {},
    }


def ingress(host: str) -> Manifest:
    rule = {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": BACKEND}]}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "i"},
        "spec": {"rules": [rule]},
    }


BACKEND = {"service": {"name": "s", "port": {"number": 80}}}


def deployment(**env: str) -> Manifest:
    container = {"name": "web", "image": "x:1", "env": [{"name": k, "value": v} for k, v in env.items()]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}},
        },
    }


def version_of(manifest: Manifest) -> str:
    return str(manifest["metadata"]["resourceVersion"])


async def test_create_get_and_the_taken_name(api: Api, ns: str) -> None:
    assert await api.get(types.CONFIG_MAP, ns, "a") is None
    made = await api.create(types.CONFIG_MAP, ns, config_map("a", {"x": "1"}))
    assert made["metadata"]["uid"]
    found = await api.get(types.CONFIG_MAP, ns, "a")
    assert found is not None
    assert found["data"] == {"x": "1"}
    assert (found["apiVersion"], found["kind"]) == ("v1", "ConfigMap")
    bare = await api.get(types.CONFIG_MAP, ns, "a", metadata_only=True)
    assert bare is not None
    assert "data" not in bare
    assert (bare["apiVersion"], bare["kind"]) == ("v1", "ConfigMap")
    with pytest.raises(errors.AlreadyExists):
        await api.create(types.CONFIG_MAP, ns, config_map("a"))


async def test_an_object_needs_its_namespace(api: Api) -> None:
    with pytest.raises(errors.NotFound):
        await api.create(types.CONFIG_MAP, "driver-nowhere", config_map("a"))
    with pytest.raises(errors.NotFound):
        await api.apply(types.CONFIG_MAP, "driver-nowhere", "a", config_map("a"))


async def test_lists_and_their_selectors(api: Api, ns: str) -> None:
    for name in "abcde":
        await api.create(types.CONFIG_MAP, ns, config_map(name, app="x" if name < "c" else "y", **{f"only-{name}": ""}))

    async def names(**selectors: Any) -> set[str]:
        items, version = await api.list(types.CONFIG_MAP, ns, limit=2, **selectors)
        assert version
        assert all(item["kind"] == "ConfigMap" for item in items)
        return {item["metadata"]["name"] for item in items} - {"kube-root-ca.crt"}

    assert await names() == set("abcde")
    assert await names(labels="app=x") == {"a", "b"}
    assert await names(labels="app!=x") == {"c", "d", "e"}
    assert await names(labels="app,!only-e") == {"a", "b", "c", "d"}
    assert await names(fields="metadata.name=c") == {"c"}
    assert await names(metadata_only=True, labels="app=y") == {"c", "d", "e"}


async def test_apply_that_changes_nothing_keeps_the_version(api: Api, ns: str) -> None:
    first = await api.apply(types.CONFIG_MAP, ns, "a", config_map("a", {"x": "1"}))
    await asyncio.sleep(1.1 if isinstance(api, Client) else 0)  # managedFields' time has seconds
    again = await api.apply(types.CONFIG_MAP, ns, "a", config_map("a", {"x": "1"}))
    assert version_of(first) == version_of(again)
    assert "data" not in again
    whole = await api.apply(types.CONFIG_MAP, ns, "a", config_map("a", {"x": "2"}), metadata_only=False)
    assert version_of(whole) != version_of(first)
    assert whole["data"] == {"x": "2"}


async def test_what_an_apply_leaves_out_goes_and_what_others_own_stays(api: Api, ns: str) -> None:
    await api.apply(types.CONFIG_MAP, ns, "a", config_map("a", {"x": "1", "y": "1"}, mine="1"))
    await api.apply(types.CONFIG_MAP, ns, "a", config_map("a", {"z": "1"}), manager="other")
    await api.patch(types.CONFIG_MAP, ns, "a", {"data": {"by-hand": "1"}})
    await api.apply(types.CONFIG_MAP, ns, "a", config_map("a", {"x": "1"}))
    found = await api.get(types.CONFIG_MAP, ns, "a")
    assert found is not None
    assert found["data"] == {"x": "1", "z": "1", "by-hand": "1"}
    assert "mine" not in (found["metadata"].get("labels") or {})


async def test_lists_merge_by_their_key(api: Api, ns: str) -> None:
    await api.apply(types.DEPLOYMENT, ns, "d", deployment(A="1", B="1"))
    other: Manifest = deployment(C="3")
    other["spec"]["template"]["spec"]["containers"][0].pop("image")
    other["spec"].pop("replicas")
    await api.apply(types.DEPLOYMENT, ns, "d", other, manager="injector")
    await api.apply(types.DEPLOYMENT, ns, "d", deployment(B="2"))
    found = await api.get(types.DEPLOYMENT, ns, "d")
    assert found is not None
    (container,) = found["spec"]["template"]["spec"]["containers"]
    assert {entry["name"]: entry["value"] for entry in container["env"]} == {"B": "2", "C": "3"}
    assert container["image"] == "x:1"


async def test_a_conflict_names_the_manager_and_force_takes_the_field(api: Api, ns: str) -> None:
    await api.apply(types.CONFIG_MAP, ns, "a", config_map("a", {"x": "theirs"}), manager="theirs")
    with pytest.raises(errors.Conflict) as caught:
        await api.apply(types.CONFIG_MAP, ns, "a", config_map("a", {"x": "ours"}), force=False)
    assert caught.value.managers == ("theirs",)
    assert caught.value.causes[0].field == ".data.x"
    await api.apply(types.CONFIG_MAP, ns, "a", config_map("a", {"x": "ours"}))
    with pytest.raises(errors.Conflict):
        await api.apply(types.CONFIG_MAP, ns, "a", config_map("a", {"x": "theirs"}), manager="theirs", force=False)


async def test_a_stale_version_is_refused_everywhere(api: Api, ns: str) -> None:
    old = await api.create(types.CONFIG_MAP, ns, config_map("a", {"x": "1"}))
    await api.patch(types.CONFIG_MAP, ns, "a", {"data": {"x": "2"}})
    metadata = {"resourceVersion": version_of(old)}
    body = config_map("a", {"x": "3"})
    body["metadata"] |= metadata
    with pytest.raises(errors.Conflict):
        await api.apply(types.CONFIG_MAP, ns, "a", body)
    with pytest.raises(errors.Conflict):
        await api.patch(types.CONFIG_MAP, ns, "a", {"metadata": metadata, "data": {"x": "3"}})
    with pytest.raises(errors.Conflict):
        await api.delete(types.CONFIG_MAP, ns, "a", resource_version=version_of(old))
    with pytest.raises(errors.Conflict):
        await api.delete(types.CONFIG_MAP, ns, "a", uid="00000000-0000-0000-0000-000000000000")


async def test_only_a_uid_keeps_an_apply_from_creating(api: Api, ns: str) -> None:
    """Worth knowing: the API server ignores the resourceVersion of an apply to what isn't there, and creates it."""
    body = config_map("a")
    body["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    with pytest.raises(errors.Conflict):
        await api.apply(types.CONFIG_MAP, ns, "a", body)
    body["metadata"] = {"name": "a", "resourceVersion": "1"}
    assert await api.apply(types.CONFIG_MAP, ns, "a", body)


async def test_patches(api: Api, ns: str) -> None:
    await api.create(types.CONFIG_MAP, ns, config_map("a", {"x": "1", "y": "1"}))
    found = await api.patch(types.CONFIG_MAP, ns, "a", {"data": {"x": None, "z": "2"}})
    assert found["data"] == {"y": "1", "z": "2"}
    json_patch = [{"op": "test", "path": "/data/y", "value": "1"}, {"op": "remove", "path": "/data/y"}]
    found = await api.patch(types.CONFIG_MAP, ns, "a", json_patch, kind="json")
    assert found["data"] == {"z": "2"}
    with pytest.raises(errors.Invalid):
        await api.patch(types.CONFIG_MAP, ns, "a", json_patch, kind="json")
    with pytest.raises(errors.NotFound):
        await api.patch(types.CONFIG_MAP, ns, "nothing", {"data": {}})


async def test_a_dry_run_leaves_nothing(api: Api, ns: str) -> None:
    answer = await api.apply(types.CONFIG_MAP, ns, "a", config_map("a", {"x": "1"}), dry_run=True, metadata_only=False)
    assert answer["data"] == {"x": "1"}
    await api.create(types.CONFIG_MAP, ns, config_map("b"), dry_run=True)
    assert await api.get(types.CONFIG_MAP, ns, "a") is None
    assert await api.get(types.CONFIG_MAP, ns, "b") is None


async def test_status_and_spec_are_written_apart(api: Api, ns: str) -> None:
    await api.apply(types.INGRESS, ns, "i", ingress("a.example.com"))
    status = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "i"},
        "spec": {"ingressClassName": "ignored"},
        "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}},
    }
    answer = await api.apply(types.INGRESS, ns, "i", status, subresource="status", manager="homeport-status")
    assert answer["metadata"]["generation"] == 1
    await api.apply(types.INGRESS, ns, "i", ingress("b.example.com") | {"status": {"loadBalancer": {}}})
    found = await api.get(types.INGRESS, ns, "i")
    assert found is not None
    assert found["metadata"]["generation"] == 2
    assert "ingressClassName" not in found["spec"]
    assert found["status"]["loadBalancer"]["ingress"] == [{"ip": "10.0.0.1"}]
    with pytest.raises(errors.NotFound):
        await api.apply(types.INGRESS, ns, "j", status | {"metadata": {"name": "j"}}, subresource="status")


async def test_finalizers_hold_an_object(api: Api, ns: str) -> None:
    body = config_map("a")
    body["metadata"]["finalizers"] = ["homeport.dev/test"]
    made = await api.create(types.CONFIG_MAP, ns, body)
    assert await api.delete(types.CONFIG_MAP, ns, "a", uid=made["metadata"]["uid"])
    held = await api.get(types.CONFIG_MAP, ns, "a")
    assert held is not None
    assert "deletionTimestamp" in held["metadata"]
    await api.patch(types.CONFIG_MAP, ns, "a", {"metadata": {"finalizers": None}})
    assert await api.get(types.CONFIG_MAP, ns, "a") is None
    assert not await api.delete(types.CONFIG_MAP, ns, "a")


async def test_a_watch_tells_everything_in_order(api: Api, ns: str) -> None:
    _, version = await api.list(types.CONFIG_MAP, ns, labels="app=x")
    await api.create(types.CONFIG_MAP, ns, config_map("a", {"n": "1"}, app="x"))
    await api.create(types.CONFIG_MAP, ns, config_map("other", app="y"))
    await api.patch(types.CONFIG_MAP, ns, "a", {"data": {"n": "2"}})
    await api.patch(types.CONFIG_MAP, ns, "other", {"metadata": {"labels": {"app": "x"}}})
    await api.patch(types.CONFIG_MAP, ns, "a", {"metadata": {"labels": {"app": "y"}}})
    await api.delete(types.CONFIG_MAP, ns, "other")
    got: list[tuple[str, str]] = []
    versions: list[int] = []
    stream = api.watch(types.CONFIG_MAP, ns, labels="app=x", resource_version=version, metadata_only=True)
    async with asyncio.timeout(10):
        async for kind, manifest in stream:
            if kind == "BOOKMARK":
                continue
            assert manifest["kind"] == "ConfigMap"
            got.append((kind, manifest["metadata"]["name"]))
            versions.append(int(version_of(manifest)))
            if len(got) == 5:
                break
    await stream.aclose()
    expected = [("ADDED", "a"), ("MODIFIED", "a"), ("ADDED", "other"), ("DELETED", "a"), ("DELETED", "other")]
    assert got == expected
    assert versions == sorted(versions)


async def test_a_version_that_is_too_old_is_gone() -> None:
    """In memory only: a fresh API server still has all of its history, and nothing asks etcd to compact it."""
    api = MemoryClient()
    await api.create(types.CONFIG_MAP, "ns", config_map("a"))
    api.compact()
    with pytest.raises(errors.Gone):
        async for _ in api.watch(types.CONFIG_MAP, resource_version="1"):
            pass


async def test_what_is_served(api: Api) -> None:
    assert {"deployments", "statefulsets"} <= await api.discover("apps/v1")
    assert "configmaps" in await api.discover("v1")
    assert await api.discover("nowhere.example.com/v1") == set()


async def test_the_kinds_of_an_api_version(api: Api) -> None:
    assert types.DEPLOYMENT in await api.kinds("apps/v1")
    assert {types.CONFIG_MAP, types.NAMESPACE} <= set(await api.kinds("v1"))
    assert await api.kinds("nowhere.example.com/v1") == ()
    mapper = Mapper(api)
    assert await mapper.find("apps/v1", "Deployment") is types.DEPLOYMENT
    assert await mapper.find("apps/v1", "Nothing") is None


async def test_a_dry_run_tells_what_would_be_and_changes_nothing(api: Api, ns: str) -> None:
    made = await api.apply(types.CONFIG_MAP, ns, "a", config_map("a", {"x": "1"}), dry_run=True)
    assert "resourceVersion" not in made["metadata"], "nothing is there"
    assert await api.get(types.CONFIG_MAP, ns, "a") is None
    there = await api.apply(types.CONFIG_MAP, ns, "a", config_map("a", {"x": "1"}))
    would = await api.apply(types.CONFIG_MAP, ns, "a", config_map("a", {"x": "2"}), dry_run=True, metadata_only=False)
    assert would["data"] == {"x": "2"}
    assert version_of(would) == version_of(there)
    found = await api.get(types.CONFIG_MAP, ns, "a")
    assert found is not None
    assert found["data"] == {"x": "1"}


async def test_as_somebody_else_only_what_they_may(api: Api, ns: str) -> None:
    user = f"system:serviceaccount:{ns}:nobody"
    acting = api.impersonate(user)
    if isinstance(api, MemoryClient):
        api.allows = lambda call: False
    with pytest.raises(errors.Forbidden) as caught:
        await acting.apply(types.CONFIG_MAP, ns, "a", config_map("a"))
    assert (
        f'configmaps "a" is forbidden: User "{user}" cannot patch resource "configmaps" in API group "" in the '
        f'namespace "{ns}"'
    ) in str(caught.value)
    assert await api.get(types.CONFIG_MAP, ns, "a") is None
    await api.apply(types.CONFIG_MAP, ns, "a", config_map("a"))


async def test_a_definition_makes_its_kind_served(api: Api, ns: str) -> None:
    group = f"{ns}.example.com"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    spec = {
        "group": group,
        "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets"},
        "versions": versions,
    }
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": spec,
    }
    widget = types.GVK(group, "v1", "Widget", "widgets")
    manifest = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w"}}
    with pytest.raises(errors.NotFound):
        await api.apply(widget, ns, "w", manifest)
    await api.apply(types.CUSTOM_RESOURCE_DEFINITION, None, f"widgets.{group}", body)
    try:
        async with asyncio.timeout(30):
            while widget not in await api.kinds(f"{group}/v1"):
                await asyncio.sleep(0.05)
        await api.apply(widget, ns, "w", manifest)
        offered = set(await api.apis())
        assert {"v1", "v1/Secret", "apps/v1", "apps/v1/Deployment", f"{group}/v1", f"{group}/v1/Widget"} <= offered
        assert "apps/v1/deployments" not in offered
    finally:
        await api.delete(types.CUSTOM_RESOURCE_DEFINITION, None, f"widgets.{group}")
    assert (await api.version())["major"] == "1"


def ours(name: str, data: str = "1") -> Manifest:
    found = {
        labels.MANAGED_BY: labels.MANAGER,
        labels.PROJECT: "shop",
        labels.OWNER_KIND: "Application",
        labels.OWNER_NAME: "web",
    }
    return config_map(name, {"x": data}, **found)


async def test_a_clusters_cache_is_never_older_than_our_own_writes_say(api: Api, ns: str) -> None:
    cluster = Cluster(api)
    await cluster.start(20)
    try:
        for turn, name in itertools.product("123", "ab"):
            answer = await api.apply(types.CONFIG_MAP, ns, name, ours(name, turn))
            cluster.expects(types.CONFIG_MAP, ns, name, version_of(answer))
            async with asyncio.timeout(10):
                while cluster.is_stale(types.CONFIG_MAP, ns, name):
                    await asyncio.sleep(0.001)
            seen = cluster.get(types.CONFIG_MAP, ns, name)
            assert seen is not None
            assert seen["data"] == {"x": turn}
        children = cluster.children(OwnerKey("Application", "shop", "web"))
        assert {child["metadata"]["name"] for child in children if child["metadata"]["namespace"] == ns} == {"a", "b"}
        await api.create(types.CONFIG_MAP, ns, config_map("theirs"))
        assert await cluster.strangers(types.CONFIG_MAP, ns) - {"kube-root-ca.crt"} == {"theirs"}
        assert max(cluster.ages().values()) < 20
    finally:
        await cluster.stop()


async def test_leaders_on_this_api(api: Api, ns: str) -> None:
    started: list[str] = []

    def candidate(name: str) -> Leader:
        return Leader(api, ns, identity=name, on_started=lambda: started.append(name), on_stopped=lambda: None)

    first, second = candidate("a"), candidate("b")
    first.start()
    async with asyncio.timeout(5):
        while not first.is_leader:
            await asyncio.sleep(0.01)
    second.start()
    await asyncio.sleep(0.3)
    before = time.monotonic()
    await first.stop()
    async with asyncio.timeout(5):
        while not second.is_leader:
            await asyncio.sleep(0.01)
    assert time.monotonic() - before < 3
    await second.stop()
    assert started == ["a", "b"]


@pytest.mark.integration
async def test_the_schema_is_told_by_its_fields(real: Client) -> None:
    ns = await fresh_namespace(real)
    with pytest.raises(errors.Invalid) as caught:
        await real.apply(types.CONFIG_MAP, ns, "a", config_map("a", {"not/a/key": "1"}))
    assert caught.value.causes[0].field == "data[not/a/key]"
    await real.delete(types.NAMESPACE, None, ns)


@pytest.mark.integration
async def test_one_connection_pool_takes_hundreds_of_applies(real: Client) -> None:
    ns = await fresh_namespace(real)
    answers = await asyncio.gather(
        *(real.apply(types.CONFIG_MAP, ns, f"c{n}", config_map(f"c{n}", {"x": str(n)})) for n in range(300))
    )
    assert len({answer["metadata"]["uid"] for answer in answers}) == 300
    items, _ = await real.list(types.CONFIG_MAP, ns, limit=50)
    assert len({item["metadata"]["name"] for item in items} - {"kube-root-ca.crt"}) == 300
    await real.delete(types.NAMESPACE, None, ns)
