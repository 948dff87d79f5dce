"""What is generated is up to date, and complete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import generate
from homeport.api.kinds import KINDS, Kind
from homeport.api.schema import crd

CRDS = [pytest.param(kind, crd(kind, generate.kubernetes_type), id=kind.name) for kind in KINDS]
# Under these, descriptions are Kubernetes's own, or are on the component that the override is of.
FOREIGN = ("affinity", "tolerations", "initContainers", "sidecars", "overrides", "metadata")


OUTPUTS = generate.outputs()


@pytest.mark.parametrize("path", sorted(OUTPUTS), ids=lambda path: str(path.relative_to(generate.ROOT)))
def test_is_up_to_date(path: Any) -> None:
    assert path.read_text() == OUTPUTS[path], "stale; run `make generate`"


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field that is ours, with its path."""
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child
        if name not in FOREIGN:
            yield from fields(child, f"{path}.{name}")
    if "items" in schema:
        yield f"{path}[]", schema["items"]
        yield from fields(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield f"{path}.*", schema["additionalProperties"]
        yield from fields(schema["additionalProperties"], f"{path}.*")


def root(manifest: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = manifest["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


@pytest.mark.parametrize(("kind", "manifest"), CRDS)
class TestCrd:
    def test_every_field_is_described(self, kind: Kind, manifest: dict[str, Any]) -> None:
        bare = [
            path
            for path, field in fields(root(manifest))
            if not field.get("description") and not path.endswith(("[]", ".*", ".metadata.name", ".metadata"))
        ]
        assert not bare, f"{kind.name}: write a docstring for {bare}"

    def test_everything_is_bounded(self, kind: Kind, manifest: dict[str, Any]) -> None:
        unbounded = []
        for path, field in fields(root(manifest)["properties"]["spec"], ".spec"):
            if field.get("type") == "string" and not ({"maxLength", "enum"} & set(field)):
                unbounded.append(path)
            if field.get("type") == "array" and "maxItems" not in field:
                unbounded.append(path)
            if "additionalProperties" in field and "maxProperties" not in field:
                unbounded.append(path)
        assert not unbounded, f"{kind.name}: give a bound to {unbounded}"

    def test_lists_say_how_they_merge(self, kind: Kind, manifest: dict[str, Any]) -> None:
        silent = [
            path
            for path, field in fields(root(manifest))
            if field.get("type") == "array" and "x-kubernetes-list-type" not in field
        ]
        assert not silent, f"{kind.name}: say how these merge: {silent}"

    def test_a_new_object_never_looks_ready(self, kind: Kind, manifest: dict[str, Any]) -> None:
        assert root(manifest)["properties"]["status"]["default"] == {"observedGeneration": -1}

    def test_columns_names_and_category(self, kind: Kind, manifest: dict[str, Any]) -> None:
        columns = [column["name"] for column in manifest["spec"]["versions"][0]["additionalPrinterColumns"]]
        assert columns[0] == "Ready"
        assert {"Status", "Age"} <= set(columns)
        names = manifest["spec"]["names"]
        assert names["categories"] == ["homeport"]
        assert names["shortNames"][0].startswith("hp")
