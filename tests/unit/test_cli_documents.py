"""YAML files with line numbers: values as kubectl reads them, and fields found in the file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from homeport.cli import documents
from homeport.cli.errors import Failure

TEXT = """\
# a comment
apiVersion: homeport.dev/v1alpha1
kind: Application
metadata:
  name: shop
  namespace: shop
  labels: {app.kubernetes.io/name: shop}
spec:
  components:
    - name: web
      files:
        /etc/app.d/x.toml: |
          a = 1
        /etc/app: b
      env:
        - {name: A, value: "1"}
        - name: B
          value: "2"
    - name: db
      command:
        - one
        - two
"""


def only(text: str) -> documents.Document:
    found, problems = documents.parse(text, "f.yaml")
    assert not problems
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    ("sentence", "line", "path", "rest"),
    [
        ("spec.components[web].env[B].value: wrong", 18, "spec.components[web].env[B].value", ": wrong"),
        ("spec.components[web].env[0]: wrong", 16, "spec.components[web].env[0]", ": wrong"),
        ("spec.components[db].command[1]: wrong", 22, "spec.components[db].command[1]", ": wrong"),
        ("spec.components[1].command[1]: wrong", 22, "spec.components[1].command[1]", ": wrong"),
        ("spec.components[db].image: is required", 19, "spec.components[db]", ".image: is required"),
        ("spec.components[web].files./etc/app.d/x.toml: w", 12, "spec.components[web].files./etc/app.d/x.toml", ": w"),
        ("spec.components[web].files[/etc/app]: wrong", 14, "spec.components[web].files[/etc/app]", ": wrong"),
        ("metadata.labels.app.kubernetes.io/name: w", 7, "metadata.labels.app.kubernetes.io/name", ": w"),
        ("spec.version: is required", 8, "spec", ".version: is required"),
        ("nothing of this", 2, "", "nothing of this"),
    ],
)
def test_fields_are_found_in_the_file(sentence: str, line: int, path: str, rest: str) -> None:
    place = only(TEXT).locate(sentence)
    assert (place.line, place.path, place.rest) == (line, path, rest)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("2027-01-31", "2027-01-31"),
        ("12:30", "12:30"),
        ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
        ("8080", 8080),
        ("-3", -3),
        ("0x1F", 31),
        ("0755", 493),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("1.4.0", "1.4.0"),
        ("yes", True),
        ("null", None),
        ("'8080'", "8080"),
        ("10Gi", "10Gi"),
    ],
)
def test_values_are_read_as_kubectl_reads_them(written: str, value: Any) -> None:
    assert only(f"kind: x\nvalue: {written}\n").body["value"] == value


def test_keys_are_text() -> None:
    assert only("kind: x\ndata: {1: a, true: b}\n").body["data"] == {"1": "a", "true": "b"}


def test_merged_keys_are_no_twins() -> None:
    body = only("base: &b {a: 1, b: 2}\nuse:\n  <<: *b\n  a: 3\n").body
    assert body["use"] == {"a": 3, "b": 2}


def test_a_key_written_twice_is_a_problem() -> None:
    _, problems = documents.parse("kind: x\nspec:\n  a: 1\n  b: 2\n  a: 3\n", "f.yaml")
    assert [(p.line, p.message) for p in problems] == [(5, "'a' is written twice, on line 3 too; leave one out")]


def test_documents_before_broken_yaml_are_read() -> None:
    found, problems = documents.parse("kind: a\n---\nkind: b\n---\nc: [\n", "f.yaml")
    assert [d.body["kind"] for d in found] == ["a", "b"]
    assert [(p.file, p.line) for p in problems] == [("f.yaml", 6)]
    assert "this isn't YAML" in problems[0].message


@pytest.mark.parametrize("text", ["- a\n", "text\n", "a: !!python/object:os.system {}\n", "\x00", "? {a: b}\n: c\n"])
def test_what_is_no_object_is_a_problem_or_read_without_harm(text: str) -> None:
    found, problems = documents.parse(text, "f.yaml")
    assert problems or found


@pytest.mark.parametrize("text", ["", "---\n---\n", "# nothing\n", "null\n"])
def test_empty_documents_are_nothing(text: str) -> None:
    assert documents.parse(text, "f.yaml") == ([], [])


def test_lists_are_their_items() -> None:
    found, _ = documents.parse("kind: List\napiVersion: v1\nitems:\n  - kind: A\n  - kind: B\n", "f.yaml")
    assert [(d.body["kind"], d.line) for d in found] == [("A", 4), ("B", 5)]


def test_json_is_yaml() -> None:
    assert only('{"kind": "A",\n "spec": {"a": 1}}').locate("spec.a: x").line == 2


def test_folders_are_read_by_name_without_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "sub/c.json", ".git/d.yaml", "e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"kind": "A"}')
    found, _ = documents.read([str(tmp_path)])
    assert [Path(d.file).name for d in found] == ["a.yml", "b.yaml", "c.json"]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("kind: A\n"))
    found, _ = documents.read(["-"])
    assert found[0].file == documents.STDIN


@pytest.mark.parametrize(("make", "message"), [("", "no such file"), ("dir", "no file in it"), ("bytes", "UTF-8")])
def test_unreadable_sources(tmp_path: Path, make: str, message: str) -> None:
    source = tmp_path / "x"
    if make == "dir":
        source.mkdir()
    elif make == "bytes":
        source.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(Failure, match=message):
        documents.read([str(source)])


def test_bodies_get_a_namespace_where_they_name_none() -> None:
    text = "kind: Application\nmetadata: {name: a}\n---\nkind: Application\nmetadata: {name: b, namespace: own}\n---\n"
    text += "apiVersion: v1\nkind: Namespace\nmetadata: {name: c}\n"
    found, _ = documents.parse(text, "f")
    assert [b["metadata"].get("namespace") for b in documents.bodies(found, "here")] == ["here", "own", None]
