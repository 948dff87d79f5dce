"""The catalog: templates that go wrong, values that don't fit, and how items become components."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from render_cases import application, place

from homeport.api.resource import InvalidSpec
from homeport.drivers.catalog import FOLDERS_VARIABLE, Renderer, RenderFailed, folders, load
from homeport.engine.catalog import Catalog
from homeport.plan import render, values
from homeport.plan.catalog import Entry, Items, Request
from homeport.plan.templates import OUTPUT, STEPS

MAIN = 'name: {{ name }}\ntype: stateful\nimage: "{{ image }}"\nports: [{name: http, port: 80}]\n'


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    worker = Renderer()
    yield worker
    worker.close()


def entry(folder: Path, *, schema: dict[str, Any] | None = None, name: str = "thing", **templates: str) -> Items:
    """A catalog with one item, from files."""
    home = folder / name
    (home / "templates").mkdir(parents=True)
    item = {"name": name, "title": name, "description": name, "category": "Test"}
    item["versions"] = [{"name": "2", "image": "team/thing:2.1"}, {"name": "1", "image": "team/thing:1.9"}]
    (home / "item.yaml").write_text(yaml.safe_dump(item))
    if schema is not None:
        body = {"type": "object", "additionalProperties": False, "properties": schema}
        (home / "values.schema.json").write_text(json.dumps(body))
    for file, text in (templates or {"main": MAIN}).items():
        (home / "templates" / f"{file}.yaml.j2").write_text(text)
    return load([folder])


def expanded(items: Items, renderer: Renderer, spec: dict[str, Any] | None = None, **component: Any) -> Any:
    """The components of an application, by environment ``live``."""
    first = {"name": "db", "catalog": {"name": "thing"}, **component}
    app = application({"version": "1.0.0", "components": [first], **(spec or {})})
    catalog = Catalog(lambda: items, renderer).expansion_now(app.spec)
    render.check(app.spec, catalog)
    render.render(app, place(), catalog=catalog)
    return render.components(app, "live", catalog)


def said(items: Items, renderer: Renderer, spec: dict[str, Any] | None = None, **component: Any) -> str:
    with pytest.raises(InvalidSpec) as caught:
        expanded(items, renderer, spec, **component)
    return str(caught.value)


# --- components -----------------------------------------------------------------------------------------------------


def test_an_item_takes_the_components_name_and_its_newest_version(tmp_path: Path, renderer: Renderer) -> None:
    (main,) = expanded(entry(tmp_path), renderer)
    assert (main.name, main.type, main.image, main.catalog) == ("db", "stateful", "team/thing:2.1", None)


def test_a_version_and_an_image_can_be_asked_for(tmp_path: Path, renderer: Renderer) -> None:
    items = entry(tmp_path)
    assert expanded(items, renderer, catalog={"name": "thing", "version": "1"})[0].image == "team/thing:1.9"
    assert expanded(items, renderer, values={"image": "mirror/thing:9"})[0].image == "mirror/thing:9"


def test_what_stands_beside_wins_and_lists_merge(tmp_path: Path, renderer: Renderer) -> None:
    items = entry(tmp_path, main=MAIN + "env: [{name: A, value: a}, {name: B, value: b}]\nreplicas: 2\n")
    (main,) = expanded(items, renderer, replicas=5, env=[{"name": "B", "value": "mine"}])
    assert main.replicas == 5
    assert {variable.name: variable.value for variable in main.env} == {"A": "a", "B": "mine"}


def test_further_components_and_names_under_a_prefix(tmp_path: Path, renderer: Renderer) -> None:
    part = "name: {{ name }}-cache\nimage: redis:7\nports: [{name: redis, port: 6379}]\n"
    main = MAIN + "env: [{name: CACHE, value: '{{ host }}-cache'}]\ndependsOn: ['{{ name }}-cache']\n"
    components = expanded(entry(tmp_path, main=main, part=part), renderer, {"namePrefix": "blue-"})
    assert [component.name for component in components] == ["db", "db-cache"]
    assert components[0].env[0].value == "blue-db-cache"


def test_overrides_reach_the_items_values_and_what_it_makes(tmp_path: Path, renderer: Renderer) -> None:
    schema = {"size": {"type": "integer", "minimum": 1, "maximum": 9, "default": 1}}
    main = MAIN + "replicas: {{ values.size }}\nenv: [{name: A, value: a}, {name: B, value: b}]\n"
    override = {"values": {"size": 3}, "without": ["env.A"], "env": [{"name": "C", "value": "c"}]}
    environments = [{"name": "live", "overrides": {"db": override}}]
    (made,) = expanded(entry(tmp_path, schema=schema, main=main), renderer, {"environments": environments})
    assert made.replicas == 3
    assert [variable.name for variable in made.env] == ["B", "C"]


def test_a_part_may_not_have_another_components_name(tmp_path: Path, renderer: Renderer) -> None:
    items = entry(tmp_path, main=MAIN, part="name: {{ name }}-web\ntype: worker\nimage: a:1\n")
    twins = [{"name": "db", "catalog": {"name": "thing"}}, {"name": "db-web", "type": "worker", "image": "b:1"}]
    text = said(items, renderer, {"components": twins})
    assert "a catalog item makes db-web, and there is a component of that name" in text


def test_too_many_components(tmp_path: Path, renderer: Renderer) -> None:
    parts = "{% for i in range(40) %}\n---\nname: {{ name }}-{{ i }}\ntype: worker\nimage: a:1\n{% endfor %}\n"
    assert "there are 41 components, and 32 are allowed" in said(entry(tmp_path, main=MAIN + parts), renderer)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: other\nimage: a:1\n", "make 0 components called db"),
        (MAIN + "---\nname: other\nimage: a:1\n", "make a component other"),
        (MAIN + "nonsense: 1\n", "spec.components[db].nonsense: is not a field"),
        ("image: a:1\n", "isn't a component: a mapping with a name"),
        ("name: db\ncatalog: {name: thing}\n", "names a catalog item"),
        ("name: [\n", "what it makes isn't YAML"),
        ("name: db\nenv: &a [*a]\n", "anchors and aliases"),
    ],
)
def test_what_templates_may_not_make(tmp_path: Path, renderer: Renderer, text: str, problem: str) -> None:
    assert problem in said(entry(tmp_path, main=text), renderer)


# --- templates that go wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{{ nothing }}", "templates/main.yaml.j2:1: 'nothing' is undefined"),
        ("\n{{ values.nothing }}", "templates/main.yaml.j2:2: "),
        ("{% if %}", "templates/main.yaml.j2:1: Expected an expression"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{% for i in range(1000000) %}{{ i }}{% endfor %}", f"more than {STEPS} steps"),
        ("{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}", f"more than {STEPS} steps"),
        ("{{ 'a' * 1000000000 }}", f"{OUTPUT} are allowed"),
        ("{{ '%999999999d' % 1 }}", "not allowed in a template"),
        ("{{ 9 ** 99999999 }}", "too large"),
        ("{{ 'a'.ljust(300000) }}", f"more than {OUTPUT} characters"),
        ("{{ 'a'.ljust(2000000000) }}", "more memory than a template may have"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "without an end"),
        ("{{ ''.__class__.__mro__ }}", "not allowed in a template"),
        ("{{ name.__init__.__globals__ }}", "not allowed in a template"),
        ("{{ values.__class__ }}", "not allowed in a template"),
        ("{{ self._TemplateReference__context }}", "not allowed in a template"),
        ("{{ cycler('a') }}", "'cycler' is undefined"),
        ("{{ [1, 2] | random }}", "No filter named 'random'"),
        ("{% include '/etc/passwd' %}", "includes '/etc/passwd', which is not among the templates"),
        ("{% include '../item.yaml' %}", "not among the templates"),
        ("{{ values.update({'a': 1}) }}", "not allowed in a template"),
    ],
)
def test_templates_that_go_wrong_are_refused(tmp_path: Path, renderer: Renderer, text: str, problem: str) -> None:
    told = said(entry(tmp_path, main=text), renderer)
    assert told.startswith("spec.components[db].catalog: item thing can't be rendered: templates/main.yaml.j2")
    assert problem in told


def test_a_template_that_never_ends_is_stopped(tmp_path: Path, renderer: Renderer) -> None:
    deep = "{% for a in 'x' * 1000 %}" * 4 + "{% endfor %}" * 4
    start = time.monotonic()
    assert "takes longer than 1 s to render" in said(entry(tmp_path, main=deep), renderer)
    assert time.monotonic() - start < 15
    assert expanded(entry(tmp_path / "b"), renderer), "the next one is rendered as ever"


def test_templates_may_include_each_other(tmp_path: Path, renderer: Renderer) -> None:
    items = entry(tmp_path, main="{% include '_base.yaml.j2' %}replicas: 2\n", _base=MAIN)
    assert expanded(items, renderer)[0].replicas == 2


def test_a_worker_that_is_killed_is_started_again(tmp_path: Path, renderer: Renderer) -> None:
    items = entry(tmp_path)
    assert expanded(items, renderer)
    assert renderer._process is not None
    renderer._process.kill()
    assert expanded(items, renderer)


def test_the_worker_has_nothing_of_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renderer: Renderer
) -> None:
    monkeypatch.setenv("HOMEPORT_TEST_TOKEN", "hidden")
    items = entry(tmp_path)
    renderer.close()
    assert expanded(items, renderer)
    assert renderer._process is not None
    environment = Path(f"/proc/{renderer._process.pid}/environ")
    if environment.exists():
        assert b"hidden" not in environment.read_bytes()


# --- items and values -----------------------------------------------------------------------------------------------


def test_an_unknown_item_names_what_there_is(tmp_path: Path, renderer: Renderer) -> None:
    text = said(entry(tmp_path), renderer, catalog={"name": "thin"})
    assert (
        "spec.components[db].catalog.name: the catalog has no item 'thin'; did you mean thing? there is thing" in text
    )


def test_an_unknown_version_names_those_there_are(tmp_path: Path, renderer: Renderer) -> None:
    text = said(entry(tmp_path), renderer, catalog={"name": "thing", "version": "3"})
    assert "spec.components[db].catalog.version: thing has no version '3'; write one of 2, 1" in text


SCHEMA = {
    "storage": {"type": "string", "quantity": {"minimum": "1Gi", "maximum": "1Ti"}, "examples": ["10Gi"]},
    "replicas": {"type": "integer", "minimum": 1, "maximum": 9},
    "mode": {"enum": ["fast", "safe"]},
    "name": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 8},
    "deep": {"type": "object", "properties": {"list": {"type": "array", "items": {"type": "integer"}}}},
}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"storage": "1Mi"}, '.storage: is "1Mi"; write a quantity from 1Gi to 1Ti, such as "10Gi"'),
        ({"storage": "lots"}, '.storage: is "lots"; write a quantity from 1Gi to 1Ti'),
        ({"storage": 5}, ".storage: is 5; write a quantity from 1Gi to 1Ti"),
        ({"replicas": 10}, ".replicas: is 10; write a whole number from 1 to 9"),
        ({"replicas": "2"}, '.replicas: is "2"; write a whole number from 1 to 9'),
        ({"mode": "slow"}, '.mode: is "slow"; write one of "fast", "safe"'),
        ({"name": "A"}, '.name: is "A"; write text of 2 to 8 characters that matches ^[a-z]+$'),
        ({"deep": {"list": ["a"]}}, '.deep.list[0]: is "a"; write a whole number'),
        ({"storag": "1Gi"}, ".storag: is not a value of thing; did you mean storage? there is deep, image, mode"),
    ],
)
def test_values_are_held_to_their_schema(tmp_path: Path, renderer: Renderer, given: Any, problem: str) -> None:
    assert f"spec.components[db].values{problem}" in said(entry(tmp_path, schema=SCHEMA), renderer, values=given)


def test_a_value_that_is_required() -> None:
    schema = {
        "type": "object",
        "required": ["host"],
        "properties": {"host": {"type": "string", "examples": ["a.example.com"]}},
    }
    assert values.problems(schema, {}, "values", "thing") == [
        'values.host: is required by thing; write text, such as "a.example.com"'
    ]


def test_defaults_are_filled_in_at_every_depth() -> None:
    schema = {
        "properties": {
            "a": {"default": 1},
            "b": {"type": "object", "properties": {"c": {"default": 2}, "d": {"type": "string"}}},
        }
    }
    assert values.filled(schema, {"b": {"d": "x"}}) == {"a": 1, "b": {"c": 2, "d": "x"}}
    assert values.filled(schema, {}) == {"a": 1, "b": {"c": 2, "d": None}}


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("item.yaml", "name: [", "item.yaml: can't be read"),
        ("item.yaml", "name: other\n", "is required"),
        ("values.schema.json", "{", "values.schema.json: can't be read"),
        ("values.schema.json", '{"type": "object", "properties": {"a": {"type": "nonsense"}}}', "values.schema.json"),
        (
            "values.schema.json",
            '{"type": "object", "properties": {"a": {"$ref": "http://example.com"}}}',
            "$ref may only",
        ),
        ("values.schema.json", "[]", "must be a JSON schema of type object"),
    ],
)
def test_a_broken_item_says_why_and_spares_the_others(
    tmp_path: Path, renderer: Renderer, file: str, text: str, problem: str
) -> None:
    entry(tmp_path)
    entry(tmp_path, name="other")
    (tmp_path / "thing" / file).write_text(text)
    items = load([tmp_path])
    assert problem in items.broken["thing"]
    assert "other" in items.entries
    assert "the catalog's item thing can't be used" in said(items, renderer)


def test_further_folders_win_over_earlier_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry(tmp_path, name="redis")
    monkeypatch.setenv(FOLDERS_VARIABLE, str(tmp_path))
    assert load(folders()).entries["redis"].item.category == "Test"


class Counting:
    """Counts what is rendered."""

    def __init__(self) -> None:
        self.asked = 0

    def render(self, request: Request) -> list[dict[str, Any]]:
        self.asked += 1
        if request.values.get("image") == "bad":
            raise RenderFailed("templates/main.yaml.j2: no")
        return [{"name": request.context["name"], "type": "stateful", "image": request.context["image"]}]


async def test_rendering_is_done_once_for_each_digest(tmp_path: Path) -> None:
    items, counting = entry(tmp_path), Counting()
    catalog = Catalog(lambda: items, counting)
    spec = {"version": "1.0.0", "components": [{"name": "db", "catalog": {"name": "thing"}}]}
    first, second = application(spec), application(spec)
    expansion = await catalog.expansion(first.spec)
    assert await catalog.expansion(first.spec) is expansion, "the same spec gives the same object, which is cached by"
    assert await catalog.expansion(second.spec) is not None
    assert counting.asked == 1
    assert (
        await catalog.expansion(
            application({**spec, "components": [{"name": "a", "image": "a:1", "type": "worker"}]}).spec
        )
        is None
    )
    bad = application(
        {**spec, "components": [{"name": "db", "catalog": {"name": "thing"}, "values": {"image": "bad"}}]}
    )
    for _ in range(2):
        found = await catalog.expansion(bad.spec)
        assert found is not None
        with pytest.raises(InvalidSpec, match="can't be rendered"):
            found(bad.spec.components[0], "")
    assert counting.asked == 2


def test_an_entry_knows_its_folder(tmp_path: Path) -> None:
    found: Entry = entry(tmp_path).entries["thing"]
    assert found.source == str(tmp_path / "thing")
    assert found.item.version("1") is not None
    assert found.item.version("9") is None
