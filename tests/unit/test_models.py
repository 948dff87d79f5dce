"""The typed models: they never crash, never lose a field, and speak in sentences."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import generate
from homeport.api.application import ApplicationSpec
from homeport.api.base import matches
from homeport.api.component import Component
from homeport.api.kinds import BY_NAME, KINDS
from homeport.api.override import override_model
from homeport.api.resource import InvalidSpec, parse, parse_spec
from homeport.api.schema import override_schema, structural
from manifests import ROOT, load_all

CONTRACT = [m for _, m in load_all(ROOT / "tests/contract") if m["kind"] in BY_NAME]
EXAMPLES = [
    m for folder in ("taskflow", "project-dashboard") for _, m in load_all(ROOT / "examples" / folder)
    if m["kind"] in BY_NAME
]  # fmt: skip
MANIFESTS = CONTRACT + EXAMPLES
VALID = [
    pytest.param(m, id=f"{m['kind']} {m['metadata'].get('namespace', '')}/{m['metadata']['name']}")
    for m in CONTRACT + EXAMPLES
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything inside ``value``."""
    inside: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list):
        inside = list(enumerate(value))
    return [path, *(found for key, child in inside for found in paths(child, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """``value`` with what is at ``path`` replaced."""
    if not path:
        return new
    out = copy.copy(value)
    out[path[0]] = replaced(value[path[0]], path[1:], new)
    return out


# --- never crashes --------------------------------------------------------------------------------------------------


@given(st.sampled_from([kind.name for kind in KINDS]), json_values)
def test_parse_answers_anything_with_a_resource_or_sentences(kind: str, spec: Any) -> None:
    body = {
        "apiVersion": "homeport.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": "a", "namespace": "b"},
        "spec": spec,
    }
    try:
        parse(body)
    except InvalidSpec as error:
        assert error.problems
        assert all(problem.startswith("spec") and ": " in problem for problem in error.problems)


@settings(max_examples=300)
@given(st.data())
def test_parse_survives_a_change_anywhere_in_a_valid_manifest(data: st.DataObject) -> None:
    manifest = data.draw(st.sampled_from(CONTRACT))
    path = data.draw(st.sampled_from(paths(manifest["spec"])))
    body = {**manifest, "spec": replaced(manifest["spec"], path, data.draw(json_values))}
    try:
        parse(body)
    except InvalidSpec as error:
        assert 0 < len(error.problems) <= 10


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "Pod", "apiVersion": "v1"},
        {"kind": "Project", "apiVersion": "homeport.dev/v1"},
        {"kind": "Project"},
    ],
    ids=["nothing", "a Pod", "another version", "no version"],
)
def test_what_is_not_ours_is_named(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec, match=r"isn't a kind of homeport\.dev/v1alpha1; the kinds are Application, "):
        parse(body)


# --- never loses a field --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("manifest", VALID)
def test_what_is_written_comes_back(manifest: dict[str, Any]) -> None:
    model = BY_NAME[manifest["kind"]].spec
    spec = parse(manifest).spec
    dumped = spec.model_dump(by_alias=True, exclude_unset=True, mode="json")
    assert parse_spec(model, dumped) == spec
    assert list(lost(manifest["spec"], dumped)) == []


def lost(written: Any, dumped: Any, path: str = "spec") -> Any:
    """What was written and doesn't come back; numbers of int-or-string fields come back as text."""
    if isinstance(written, dict) and isinstance(dumped, dict):
        for key, value in written.items():
            yield from lost(value, dumped.get(key), f"{path}.{key}")
    elif isinstance(written, list) and isinstance(dumped, list) and len(written) == len(dumped):
        for number, value in enumerate(written):
            yield from lost(value, dumped[number], f"{path}[{number}]")
    elif written != dumped and str(written) != dumped:
        yield f"{path}: {written!r} became {dumped!r}"


def test_a_spec_is_frozen() -> None:
    spec = parse(next(m for m in CONTRACT if m["kind"] == "Application")).spec
    with pytest.raises(ValidationError, match="frozen"):
        spec.version = "2.0.0"


# --- speaks in sentences --------------------------------------------------------------------------------------------


def problems_of(**component: Any) -> tuple[str, ...]:
    """The problems of an application with one component like this."""
    raw = {"version": "1.0.0", "components": [{"name": "web", "type": "worker", "image": "a", **component}]}
    with pytest.raises(InvalidSpec) as error:
        parse_spec(ApplicationSpec, raw)
    return error.value.problems


@pytest.mark.parametrize(
    ("component", "sentence"),
    [
        ({"replicas": "2"}, "spec.components[web].replicas: must be a whole number, without quotes"),
        ({"replicas": -1}, "spec.components[web].replicas: is -1; it should be greater than or equal to 0"),
        ({"image": 5}, "spec.components[web].image: must be text; put it in quotes"),
        ({"imagePullPolicy": "No"}, "imagePullPolicy: is 'No'; write one of 'Always', 'IfNotPresent' or 'Never'"),
        ({"colour": "red"}, "spec.components[web].colour: is not a field"),
        ({"env": {"A": "b"}}, "spec.components[web].env: must be a list"),
        ({"env": [{"value": "b"}]}, "spec.components[web].env[0].name: is required"),
        ({"env": [{"name": "A", "value": 1}]}, "spec.components[web].env[A].value: must be text; put it in quotes"),
        ({"resources": {"limits": {"cpu": "2 cores"}}}, "resources.limits.cpu: is '2 cores', which doesn't match"),
        ({"command": "sleep"}, "spec.components[web].command: must be a list"),
        ({"paused": "yes"}, "spec.components[web].paused: must be true or false, without quotes"),
        ({"labels": {"a": "x" * 5000}}, "spec.components[web].labels.a: may have at most 4096 characters"),
    ],
)
def test_problems_say_where_and_what_to_write(component: dict[str, Any], sentence: str) -> None:
    (problem,) = problems_of(**component)
    assert sentence in problem


def test_all_problems_are_told_at_once() -> None:
    assert len(problems_of(replicas="2", colour="red", paused=1)) == 3


def test_a_list_with_a_wrong_item_is_not_called_too_short() -> None:
    assert problems_of(image=5) == ("spec.components[web].image: must be text; put it in quotes",)


def test_a_flood_of_problems_is_cut() -> None:
    assert len(problems_of(env=[{"name": f"A{n}", "value": n} for n in range(60)])) == 10


def test_a_name_is_checked_like_on_the_api_server() -> None:
    body = {"apiVersion": "homeport.dev/v1alpha1", "kind": "Project", "metadata": {"name": "a.b"}, "spec": {}}
    with pytest.raises(InvalidSpec, match=r"metadata\.name: the name may have at most 61"):
        parse(body)


# --- rules ----------------------------------------------------------------------------------------------------------


@given(st.text(max_size=20))
def test_a_pattern_ends_at_the_end_of_the_text(text: str) -> None:
    """Python's $ also matches before a last line break; RE2's, which CEL has, doesn't."""
    rule = matches("^[a-z]*$", "")
    assert rule.check is not None
    assert rule.check(text) == (text == "" or (text.isascii() and text.isalpha() and text.islower()))


def test_a_pattern_is_quoted_for_cel() -> None:
    assert matches(r"^it's a \d$", "").cel == r"self.matches('^it\'s a \\d$')"


# --- overrides ------------------------------------------------------------------------------------------------------


def schema_fields(schema: dict[str, Any]) -> set[str]:
    return set(schema["properties"])


def test_an_override_has_the_fields_of_a_component() -> None:
    component = structural(Component, generate.kubernetes_type)
    of_schema = schema_fields(override_schema(component))
    of_twin = {field.alias or name for name, field in override_model().model_fields.items()}
    assert of_schema == of_twin == schema_fields(component) - {"name"} | {"without"}


def test_an_override_requires_nothing_but_list_keys_and_has_no_defaults() -> None:
    schema = override_schema(structural(Component, generate.kubernetes_type))

    def walk(node: dict[str, Any], keys: tuple[str, ...] = ()) -> None:
        assert set(node.get("required", [])) <= set(keys)
        for name, child in node.get("properties", {}).items():
            assert "default" not in child or name in keys, name
            walk(child)
        if "items" in node:
            walk(node["items"], tuple(node.get("x-kubernetes-list-map-keys", ())))

    walk(schema)
    assert parse_spec(override_model(), {}) is not None


def test_an_override_is_kept_as_it_was_written() -> None:
    override = {"replicas": 2, "env": [{"name": "A", "value": "b"}], "resources": {"limits": {"cpu": 1}}}
    raw = {
        "version": "1.0.0",
        "components": [{"name": "web", "type": "worker", "image": "a"}],
        "environments": [{"name": "dev", "overrides": {"web": override}}],
    }
    spec = parse_spec(ApplicationSpec, raw)
    assert spec.environments is not None
    assert spec.environments[0].overrides == {"web": override}
