"""Reading files of a repository: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from homeport.cli import documents as cli
from homeport.plan.gitops import manifests, variables
from homeport.plan.gitops.malformed import Malformed

HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
ALIASES = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(8)
)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (HEAD + "data:\n\ta: b\n", 5, "this isn't YAML: while scanning for the next token found character that cannot "
         "start any token; indent with spaces, not with tabs"),
        (HEAD + "a: b: c\n", 4, "this isn't YAML: mapping values are not allowed in this context"),
        (HEAD + "data: {a: b\n", 5, "this isn't YAML: while parsing a flow mapping did not find expected ',' or '}'"),
        (HEAD + "data:\n  a: b\n  c: d\n  a: e\n", 7,
         "'a' is written twice in the mapping that begins on line 5; leave one out"),
        ("kind: A\nmetadata: {name: a}\n", 1, "apiVersion must be written: this isn't a Kubernetes object; what isn't "
         "one is named in .homeport-ignore"),
        (HEAD + "---\n# more\nimage: {tag: 1}\n", 6, "apiVersion and kind must be written"),
        (HEAD + "---\njust text\n", 5, "this isn't a Kubernetes object; write a mapping with apiVersion and kind"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", 1,
         "this is kept by Git LFS, and wasn't fetched; write lfs: true"),
        (HEAD + "---\n- a\n- b\n", 5, "this isn't a Kubernetes object"),
        ("apiVersion: v1\nkind: ConfigMap\n", 1, "ConfigMap: metadata.name must be written"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: [a]\n", 1, "ConfigMap: metadata.name must be written"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n", 1,
         "Pod: metadata.name must be written (generateName would make another object each time)"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 12}\n", 1,
         "ConfigMap: metadata.name must be text; put it in quotes"),
        ("apiVersion: v1\nkind: 12\nmetadata: {name: a}\n", 1, "kind must be text; put it in quotes"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {x: 1}}\n", 1,
         "ConfigMap a: metadata.labels.x must be text; put it in quotes"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: x}\n", 1,
         "ConfigMap a: metadata.annotations must be a mapping of keys to text"),
        ("apiVersion: v1\nkind: List\nitems:\n- " + HEAD.replace("\n", "\n  ") + "\n- x\n", 8,
         "this isn't a Kubernetes object"),
        ("[" * 100_000, 1, "this is nested too deeply; 128 levels are allowed"),
        ("- " * 100_000, 1, "this is nested too deeply; 128 levels are allowed"),
        ("{a: " * 100_000, 1, "this is nested too deeply; 128 levels are allowed"),
        (ALIASES, 7, "this becomes larger than 32 MiB; use fewer aliases, or split it"),
        ("a: &a {b: *a}\n", 1, "*a refers to what it is in itself"),
        ("a: *b\n", 1, "*b refers to an anchor that isn't there before it"),
        ("a: !!python/object/apply:os.system [x]\n", 1,
         "the tag !!python/object/apply:os.system isn't read; write plain YAML"),
        ("a: !Ref x\n", 1, "the tag !Ref isn't read; write plain YAML"),
        ("? {a: b}\n: c\n", 1, "a mapping or a list can't be a key; write text"),
        ("<<: 1\n", 1, "'<<' takes a mapping, or a list of mappings"),
        (f"a: 1{'0' * 5000}\n", 1, "is too large a number; put it in quotes if it is text"),
        ("a: \x01\n", 1, "it holds a character that isn't allowed: control characters are not allowed"),
    ],
)  # fmt: skip
def test_what_is_wrong_has_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(Malformed) as caught:
        manifests.objects(text, "a.yaml")
    assert message in str(caught.value)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('{"apiVersion": "v1",\n "kind": }', 2, "this isn't JSON: Expecting value"),
        ('{"a": 1, "a": 2}', 1, "'a' is written twice; leave one out"),
        ('{"a": NaN}', 1, "NaN isn't a number"),
        ("[" * 100_000, 1, "this is nested too deeply"),
        ("[" * 200 + "]" * 200, 1, "this is nested too deeply; 128 levels are allowed"),
        ("[1]", 1, "this isn't a Kubernetes object"),
    ],
)
def test_json_that_is_wrong(text: str, line: int, message: str) -> None:
    with pytest.raises(Malformed) as caught:
        manifests.objects(text, "a.json")
    assert message in str(caught.value)
    assert caught.value.line == line


def test_text_that_is_not_utf_8_has_its_line() -> None:
    with pytest.raises(Malformed, match="this isn't text in UTF-8") as caught:
        manifests.text_of(b"a: b\nc: \xff\n")
    assert caught.value.line == 2
    assert manifests.text_of(b"\xef\xbb\xbfa: b") == "a: b"


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("2026-01-01", "2026-01-01"), ("12:30", "12:30"), ("1.2.3", "1.2.3"), ("yes", True), ("Off", False),
        ("~", None), ("", None), ("012", 10), ("0x1f", 31), ("-3", -3), ("1e3", 1000.0), (".5", 0.5), ("1_000", 1000),
        ('"3"', "3"), ("'yes'", "yes"), ("!!str 3", "3"), ('!!int "3"', 3), ("y", "y"), (".inf", ".inf"), ("+", "+"),
        ("18446744073709551616", 18446744073709551616.0), ("=", "="),
    ],
)  # fmt: skip
def test_scalars_mean_what_they_mean_to_kubectl(scalar: str, value: Any) -> None:
    found = manifests.documents(f"a: {scalar}\n", "a.yaml")[0].body["a"]
    assert (type(found), found) == (type(value), value)


def test_merges_take_what_is_not_written() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  y: 3\n  <<: [*b, *a]\n"
    assert manifests.documents(text, "")[0].body["c"] == {"x": 1, "y": 3, "z": 2}


def test_lists_of_a_list_and_entries_by_alias_have_lines() -> None:
    item = "{apiVersion: v1, kind: ConfigMap, metadata: {name: %s}}"
    text = f"kind: List\nitems:\n- &x {item % 'a'}\n- kind: List\n  items:\n  - {item % 'b'}\n"
    found = manifests.objects(text, "a.yaml")
    assert [(each.body["metadata"]["name"], each.line) for each in found] == [("a", 3), ("b", 4)]


# --- variables --------------------------------------------------------------------------------------------------------


def test_a_variable_that_is_not_there_has_its_line() -> None:
    with pytest.raises(Malformed, match=r"\$\{HOST\} isn't a variable; write it in build.variables") as caught:
        manifests.objects(HEAD + "data:\n  a: x\n  b: http://${HOST}/\n", "a.yaml", {})
    assert caught.value.line == 6
    with pytest.raises(Malformed, match="HOST") as caught:
        manifests.objects('{"apiVersion": "v1",\n"kind": "${HOST}"}', "a.json", {})
    assert caught.value.line == 2


@given(st.text(), st.sampled_from(["{}", '"{}"', "x{}y", "{{k: {}}}", "|\n  {}"]))
def test_no_value_gets_out_of_its_field(value: str, written: str) -> None:
    text = f"a: {written.format('${V}')}\nb: 1\n"
    found = manifests.documents(text, "", {"V": value})[0].body
    assert list(found) == ["a", "b"]
    assert found["b"] == 1


def test_what_a_shell_would_replace_is_told() -> None:
    assert variables.others("a\n${A:-b} ${C} $${D:-e}\n${F%x}") == [(2, "${A:-b}"), (3, "${F%x}")]


# --- properties -------------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    ["a", ":", " ", "\n", "- ", "? ", "[", "]", "{", "}", "&a", "*a", "!!int", "|", ">", "'", '"', "#", "---", "<<",
     "%YAML 1.1", "\t", "\\", "\ufeff", "\x00", "apiVersion: v1\n", "kind: List\n", "items:\n", "1", "0x", ",", "${A}"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=40).map("".join) | st.text(), st.sampled_from(["a.yaml", "a.json"]))
def test_reading_never_crashes(text: str, name: str) -> None:
    for given_variables in (None, {"A": "b"}):
        try:
            manifests.objects(text, name, given_variables)
        except Malformed as error:
            assert str(error)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(string.printable, max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(string.ascii_letters), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(string.ascii_letters, min_size=1), PLAIN, min_size=1, max_size=4))
def test_what_is_written_is_read(data: dict[str, Any]) -> None:
    text = yaml.safe_dump(data, default_style='"')
    assert manifests.documents(text, "a.yaml")[0].body == data
    assert manifests.documents(json.dumps(data), "a.json")[0].body == data


@given(st.lists(PIECES, max_size=30).map("".join))
def test_validate_reads_the_same(text: str) -> None:
    """Both readers agree wherever both read it: the command line's has places of fields, ours is fast."""
    found, wrong = cli.parse(text, "a.yaml")
    try:
        ours = manifests.objects(text, "a.yaml")
    except Malformed:
        return
    if not wrong:
        assert [each.body for each in ours] == [each.body for each in found]
