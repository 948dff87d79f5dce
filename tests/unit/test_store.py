"""The store: older news is ignored, specs are parsed once, and our own last status is what readers see."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from homeport.api.labels import OwnerKey
from homeport.api.resource import InvalidSpec
from homeport.engine.store import Store

KEY = OwnerKey("Environment", "shop", "main")


def body(version: int, generation: int = 1, uid: str = "u", status: Any = None, **spec: Any) -> dict[str, Any]:
    metadata = {
        "name": "main", "namespace": "shop", "uid": uid, "resourceVersion": str(version), "generation": generation,
    }  # fmt: skip
    out = {"apiVersion": "homeport.dev/v1alpha1", "kind": "Environment", "metadata": metadata, "spec": spec}
    return {**out, "status": status} if status is not None else out


@given(st.lists(st.integers(1, 20), min_size=1))
def test_only_newer_versions_count(versions: list[int]) -> None:
    store = Store()
    for version in versions:
        store.put(body(version))
    assert store.body(KEY)["metadata"]["resourceVersion"] == str(max(versions))  # type: ignore[index]


def test_another_object_of_the_name_counts_whatever_its_version() -> None:
    store = Store()
    store.put(body(9))
    store.put(body(3, uid="other"))
    found = store.resource(KEY)
    assert found is not None and found.uid == "other"


def test_a_spec_is_parsed_once_per_generation() -> None:
    store = Store()
    store.put(body(1, tier="Staging"))
    first = store.resource(KEY)
    store.put(body(2, tier="Staging", status={"namespace": "x"}))
    second = store.resource(KEY)
    store.put(body(3, 2, tier="Production"))
    third = store.resource(KEY)
    assert first is not None and second is not None and third is not None
    assert second.spec is first.spec
    assert second.status == {"namespace": "x"}
    assert (second.resource_version, third.spec.tier) == ("2", "Production")


def test_an_invalid_spec_is_told_and_the_rest_can_be_read() -> None:
    store = Store()
    store.put(body(1, tier="Nowhere", status={"namespace": "x"}))
    found, error = store.look(KEY)
    assert isinstance(error, InvalidSpec)
    assert found is not None and found.spec is None and found.status == {"namespace": "x"}
    assert list(store.valid("Environment", "shop")) == []
    assert store.invalid("Environment", "shop") == ["main"]
    store.put(body(2, 2, tier="Staging"))
    assert store.look(KEY)[1] is None


def test_our_own_status_is_read_before_the_watch_shows_it() -> None:
    store = Store()
    store.put(body(1, status={"namespace": "old"}))
    store.told(KEY, "5", {"namespace": "new"})
    assert store.resource(KEY).status == {"namespace": "new"}  # type: ignore[union-attr]
    store.put(body(3, 2, status={"namespace": "old"}, tier="Staging"))
    found = store.resource(KEY)
    assert found is not None
    assert (found.status, found.spec.tier) == ({"namespace": "new"}, "Staging"), "an older status, and a newer spec"
    store.put(body(5, 2, status={"namespace": "new", "runtime": "Kubernetes"}, tier="Staging"))
    assert store.resource(KEY).status["runtime"] == "Kubernetes"  # type: ignore[union-attr]
    store.told(KEY, "4", {"namespace": "late"})
    assert store.resource(KEY).status["namespace"] == "new"  # type: ignore[union-attr]


def test_a_successor_does_not_inherit_a_status() -> None:
    store = Store()
    store.put(body(1))
    store.told(KEY, "5", {"namespace": "new"})
    store.put(body(3, uid="other"))
    assert store.resource(KEY).status == {}  # type: ignore[union-attr]


def test_keys() -> None:
    store = Store()
    store.put(body(1))
    assert store.keys() == store.keys("Environment") == store.keys("Environment", "shop") == [KEY]
    assert store.keys("Project") == store.keys("Environment", "other") == []
    assert store.remove(KEY) == body(1)
    assert store.remove(KEY) is None
    assert len(store) == 0
    assert store.keys("Environment", "shop") == []
    assert store.resource(KEY) is None
