"""Planned changes as people and programs see them, from changes made by hand."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from homeport.api.labels import OwnerKey
from homeport.cli import plan
from homeport.cli.changes import ABSENT, as_json, at, field_changes, render_changes
from homeport.engine.preview import Preview
from homeport.outcome import Stalled, Wait
from homeport.plan.types import Change, Child, ObjectId, Verb


def manifest(kind: str, name: str = "web", namespace: str = "shop-dev", **parts: Any) -> dict[str, Any]:
    versions = {"Deployment": "apps/v1", "StatefulSet": "apps/v1"}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": versions.get(kind, "v1"), "kind": kind, "metadata": metadata, **parts}


def deployment(image: str, replicas: int = 1, **annotations: str) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "web", "image": image}, {"name": "side", "image": "s"}]}}
    out = manifest("Deployment", spec={"replicas": replicas, "template": template})
    out["metadata"]["annotations"] = annotations
    return out


def change(
    verb: Verb, desired: dict[str, Any] | None, live: dict[str, Any] | None, *fields: str, **more: Any
) -> Change:
    body = desired or live
    assert body is not None
    group = body["apiVersion"].rpartition("/")[0]
    metadata = body["metadata"]
    made = ObjectId(metadata.get("namespace", ""), metadata["name"], group, body["kind"])
    child = Child(desired, environment="dev", component=more.pop("component", "web")) if desired else None
    return Change(verb, made, child=child, live=live, fields=fields, **more)


IMAGE = "spec.template.spec.containers[web].image"
UPDATE = change(
    Verb.UPDATE, deployment("app:2", 3), deployment("app:1"), IMAGE, "spec.replicas", reason="declared differently"
)


def shown(*changes: Change, full: bool = False, color: bool = False) -> str:
    out = io.StringIO()
    render_changes(
        changes, Console(file=out, width=300, highlight=False, markup=False, force_terminal=color, color_system=None
                         if not color else "truecolor"), full=full,
    )  # fmt: skip
    return out.getvalue()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.replicas", 3),
        (IMAGE, "app:2"),
        ("spec.template.spec.containers[1].image", "s"),
        ("metadata.annotations.homeport.dev/x", "y"),
        ("spec.template.spec.containers[none].image", ABSENT),
        ("spec.nothing.here", ABSENT),
        ("", None),
    ],
)
def test_values_are_found_by_the_paths_of_the_plan(path: str, value: Any) -> None:
    body = deployment("app:2", 3, **{"homeport.dev/x": "y", "homeport": "no"})
    assert at(body, path) == (body if path == "" else value)


def test_ports_are_found_by_their_number() -> None:
    assert at({"ports": [{"containerPort": 80}, {"containerPort": 81, "name": "x"}]}, "ports[81].name") == "x"


def test_a_field_is_shown_with_both_values() -> None:
    text = shown(UPDATE)
    assert "namespace shop-dev" in text
    assert "~ Deployment web  declared differently" in text
    assert f'{IMAGE}: "app:1" → "app:2"' in text
    assert "spec.replicas: 1 → 3" in text
    assert "1 to change" in text


def test_a_new_field_was_not_there() -> None:
    text = shown(change(Verb.UPDATE, deployment("a", x="1"), deployment("a"), "metadata.annotations.x"))
    assert 'metadata.annotations.x: (none) → "1"' in text


def test_text_of_several_lines_is_a_diff() -> None:
    old = manifest("ConfigMap", data={"f": "a\nb\nc\nd\ne\n"})
    new = manifest("ConfigMap", data={"f": "a\nb\nC\nd\ne\n"})
    lines = [line.strip() for line in shown(change(Verb.UPDATE, new, old, "data.f")).splitlines()]
    assert "-c" in lines
    assert "+C" in lines
    assert "e" in [line.strip() for line in lines]


def test_structures_are_a_diff_of_yaml() -> None:
    old, new = deployment("a"), deployment("a")
    new["spec"]["strategy"] = {"type": "Recreate", "x": [1]}
    text = shown(change(Verb.UPDATE, new, old, "spec.strategy"))
    assert "+type: Recreate" in text


def test_secrets_are_hidden_everywhere() -> None:
    made = change(Verb.CREATE, manifest("Secret", data={"key": "c2VjcmV0"}, stringData={"k": "secret"}), None)
    changed = change(
        Verb.UPDATE, manifest("Secret", data={"key": "bmV3"}), manifest("Secret", data={"key": "b2xk"}), "data.key"
    )
    for text in (shown(made, changed, full=True), json.dumps(as_json([made, changed]))):
        assert "(hidden)" in text
        for secret in ("c2VjcmV0", 'secret"', "bmV3", "b2xk"):
            assert secret not in text


def test_replacement_says_which_field_forces_it() -> None:
    old = manifest("StatefulSet", spec={"serviceName": "a", "replicas": 1})
    new = manifest("StatefulSet", spec={"serviceName": "b", "replicas": 2})
    found = change(Verb.REPLACE, new, old, "spec.serviceName", "spec.replicas")
    assert [(f.path, f.forces) for f in field_changes(found)] == [("spec.serviceName", True), ("spec.replicas", False)]
    text = shown(found)
    assert "± StatefulSet web" in text
    assert 'spec.serviceName: "a" → "b"  forces replacement' in text


def test_what_loses_data_is_marked_twice() -> None:
    lost = change(
        Verb.DELETE, None, manifest("PersistentVolumeClaim", "data"), reason="no longer wanted", loses_data=True
    )
    text = shown(lost)
    assert "- PersistentVolumeClaim data  no longer wanted  LOSES DATA" in text
    assert "DATA WOULD BE LOST: PersistentVolumeClaim shop-dev/data" in text
    assert as_json([lost])["losesData"]


def test_kept_and_drifted_are_said() -> None:
    text = shown(
        change(Verb.KEEP, None, manifest("PersistentVolumeClaim", "data"), reason="deletionPolicy is Retain"),
        change(Verb.UPDATE, deployment("a", 2), deployment("a"), "spec.replicas", drift=True),
    )
    assert "= PersistentVolumeClaim data  deletionPolicy is Retain" in text
    assert "drift" in text
    assert "1 to change, 1 kept" in text


def test_nothing_to_do() -> None:
    done = change(Verb.NOTHING, deployment("a"), deployment("a"))
    kept = change(Verb.KEEP, None, manifest("PersistentVolumeClaim", "data"))
    assert shown(done) == "nothing to do: 1 objects are as they should be\n"
    assert "nothing to do" in shown(done, kept)


def test_places_are_headings_in_order() -> None:
    text = shown(
        change(Verb.CREATE, manifest("Service", namespace="b"), None),
        change(Verb.CREATE, manifest("Service", namespace="a"), None, cluster="eu"),
        change(Verb.CREATE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "b"}}, None),
    )
    heads = [line for line in text.splitlines() if not line.startswith(" ")]
    assert heads == ["in the whole cluster", "namespace b", "namespace a (cluster eu)", "3 to create"]


def test_the_component_is_said_where_the_name_does_not() -> None:
    assert "+ Service db  of postgres" in shown(
        change(Verb.CREATE, manifest("Service", "db"), None, component="postgres")
    )


def test_full_shows_what_would_be_created() -> None:
    made = change(Verb.CREATE, manifest("ConfigMap", data={"a": "1\n2\n"}), None)
    assert "+ kind: ConfigMap" not in shown(made)
    assert "+ kind: ConfigMap" in shown(made, full=True)


def test_colours_only_on_terminals() -> None:
    assert "\x1b[" not in shown(UPDATE)
    assert "\x1b[" in shown(UPDATE, color=True)


def test_users_text_is_never_markup() -> None:
    old, new = manifest("ConfigMap", data={"f": "[red]a[/red]"}), manifest("ConfigMap", data={"f": "[bold]"})
    assert '"[red]a[/red]" → "[bold]"' in shown(change(Verb.UPDATE, new, old, "data.f"))


def test_json() -> None:
    answer = as_json([UPDATE, change(Verb.NOTHING, deployment("a"), deployment("a"))])
    assert answer["summary"] == {"create": 0, "update": 1, "replace": 0, "delete": 0, "keep": 0, "nothing": 1}
    (found,) = answer["changes"]
    assert found["verb"] == "update"
    assert found["object"] == {"group": "apps", "kind": "Deployment", "namespace": "shop-dev", "name": "web"}
    assert found["fields"][0] == {"path": IMAGE, "live": "app:1", "desired": "app:2"}


@pytest.mark.parametrize(
    ("changes", "outcomes", "code"),
    [
        ([], [], 0),
        ([change(Verb.NOTHING, deployment("a"), deployment("a"))], [], 0),
        ([UPDATE], [], 2),
        ([], [Wait("DependencyNotReady", "Secret x isn't there")], 0),
        ([UPDATE], [Wait("DependencyNotReady", "Secret x isn't there")], 2),
        ([UPDATE], [Stalled("InvalidSpec", "spec.version: is required")], 1),
    ],
)
def test_exit_codes(capsys: pytest.CaptureFixture[str], changes: list[Change], outcomes: list[Any], code: int) -> None:
    found = Preview(changes, [(OwnerKey("Application", "shop", "shop"), outcome) for outcome in outcomes])
    assert plan._show(found, "text", False) == code
    text = capsys.readouterr().out
    for outcome in outcomes:
        assert outcome.message in text
    assert plan._show(found, "json", False) == code
    assert len(json.loads(capsys.readouterr().out)["problems"]) == len(outcomes)
