"""What is wanted against what is there: only declared fields count, and what was applied leaves no difference."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from render_cases import CASES, load

from homeport.drivers.kubernetes import types
from homeport.drivers.memory import MemoryClient
from homeport.plan import diff
from homeport.plan.types import Child, Verb

NAMES = st.sampled_from(("a", "b", "c"))
VALUES = st.recursive(
    st.integers(0, 3) | st.booleans() | st.text("xyz", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
SPECS = st.dictionaries(NAMES, VALUES, max_size=3)


def manifest(spec: dict[str, Any], kind: str = "ConfigMap") -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x", "namespace": "n"}, "spec": spec}


def compared(child: Child, live: dict[str, Any] | None) -> Any:
    wanted, digest = diff.stamped(child.manifest)
    return diff.compare(child, wanted, digest, live)


@given(SPECS)
def test_nothing_differs_from_itself(spec: dict[str, Any]) -> None:
    assert list(diff.differences(spec, copy.deepcopy(spec))) == []


@given(SPECS, SPECS)
def test_a_difference_is_seen_or_there_is_none(wanted: dict[str, Any], live: dict[str, Any]) -> None:
    empty = (None, "", [], {}, False)

    def same(one: Any, other: Any) -> bool:
        """Declared fields are there; what is declared empty may be absent."""
        if isinstance(one, dict) and isinstance(other, dict):
            return all(same(part, other[k]) if k in other else part in empty for k, part in one.items())
        if isinstance(one, list) and isinstance(other, list):
            return len(one) == len(other) and all(map(same, one, other))
        return bool(one == other)

    assert (not list(diff.differences(wanted, live))) == same(wanted, live)


@pytest.mark.parametrize("case", CASES)
async def test_apply_then_diff_is_empty(case: str) -> None:
    client = MemoryClient()
    for child in load(case).render():
        wanted, _ = diff.stamped(child.manifest)
        gvk, metadata = types.gvk_of(wanted), wanted["metadata"]
        assert compared(child, None).verb is Verb.CREATE
        await client.apply(gvk, metadata.get("namespace"), metadata["name"], wanted)
        live = await client.get(gvk, metadata.get("namespace"), metadata["name"])
        assert live is not None
        assert compared(child, live).verb is Verb.NOTHING, child.id
        # What others add is theirs.
        live["metadata"]["annotations"]["others.example.com/mark"] = "x"
        live.setdefault("status", {})["anything"] = True
        assert compared(child, live).verb is Verb.NOTHING
        # What is declared and was changed is drift; what is declared differently is not.
        live["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "somebody"
        drift = compared(child, live)
        assert (drift.verb, drift.drift) == (Verb.UPDATE, True)
        assert drift.fields == ("metadata.labels.app.kubernetes.io/managed-by",)


@pytest.mark.parametrize(
    ("path", "one", "other", "same"),
    [
        ("limits", {"cpu": "1"}, {"cpu": "1000m"}, True),
        ("limits", {"memory": "1Gi"}, {"memory": "1024Mi"}, True),
        ("limits", {"cpu": "1"}, {"cpu": "2"}, False),
        ("limits", {"cpu": 1}, {"cpu": "1"}, True),
        ("hard", {"requests.cpu": "4"}, {"requests.cpu": "4000m"}, True),
        ("annotations", {"x": "1"}, {"x": "1000m"}, False),
        ("data", {"x": "1"}, {"x": "1.0"}, False),
    ],
)
def test_quantities(path: str, one: Any, other: Any, same: bool) -> None:
    assert (not list(diff.differences({path: one}, {path: other}))) is same


@pytest.mark.parametrize(
    ("wanted", "live", "paths"),
    [
        # Merged lists: what others add stays, and order means nothing.
        ({"containers": [{"name": "a"}]}, {"containers": [{"name": "sidecar"}, {"name": "a", "image": "x"}]}, []),
        ({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "A", "value": "2"}]}, ["env[A].value"]),
        ({"volumes": [{"name": "v"}]}, {"volumes": []}, ["volumes[v]"]),
        (
            {"ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
            {"ports": [{"name": "x", "port": 1}, {"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30000}]},
            [],
        ),
        # A NetworkPolicy's ports have no name: the list is one thing.
        ({"ports": [{"port": 53, "protocol": "UDP"}]}, {"ports": [{"port": 54, "protocol": "UDP"}]}, ["ports[0].port"]),
        ({"command": ["a"]}, {"command": ["a", "b"]}, ["command"]),
        ({"emptyDir": {}}, {}, []),
        ({"replicas": 0}, {"replicas": 1}, ["replicas"]),
        ({"a": {"b": 1}}, {"a": None}, ["a"]),
    ],
)
def test_lists_and_gaps(wanted: Any, live: Any, paths: list[str]) -> None:
    assert list(diff.differences(wanted, live)) == paths


@pytest.mark.parametrize(
    ("kind", "field", "verb"),
    [
        ("StatefulSet", "serviceName", Verb.REPLACE),
        ("StatefulSet", "volumeClaimTemplates", Verb.REPLACE),
        ("StatefulSet", "replicas", Verb.UPDATE),
        ("Deployment", "selector", Verb.REPLACE),
        ("Job", "template", Verb.REPLACE),
        ("PersistentVolumeClaim", "storageClassName", Verb.REPLACE),
        ("PersistentVolumeClaim", "resources", Verb.UPDATE),
    ],
)
def test_immutable_fields(kind: str, field: str, verb: Verb) -> None:
    child = Child({**manifest({field: "new"}, kind), "apiVersion": "v1"})
    live = manifest({field: "old"}, kind)
    found = compared(child, live)
    assert found.verb is verb
    assert f"spec.{field}" in found.fields
    if verb is Verb.REPLACE:
        assert f"spec.{field} can't be changed" in found.reason


def test_a_field_that_is_no_longer_declared_is_seen_by_the_digest() -> None:
    before, after = Child(manifest({"a": 1, "b": 2})), Child(manifest({"a": 1}))
    live, _ = diff.stamped(before.manifest)
    found = compared(after, live)
    assert (found.verb, found.drift, found.reason) == (Verb.UPDATE, False, "declared differently")


@given(SPECS)
def test_digests_do_not_depend_on_order(spec: dict[str, Any]) -> None:
    turned = dict(reversed(list(spec.items())))
    assert diff.digest(manifest(spec)) == diff.digest(manifest(turned))
