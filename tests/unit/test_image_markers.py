"""Markers: golden files of what is written, and that nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from homeport.plan.gitops.markers import LIMIT, Edited, Marks, NewImage, concerns, edit

GOLDEN = Path(__file__).parent / "golden" / "markers"
DIGEST = "sha256:" + "a" * 64
IMAGES: dict[str, NewImage | None] = {
    "web": NewImage("ghcr.io/team/shop", "1.5.0-rc.1"),
    "db": NewImage("postgres", "16"),
    "number": NewImage("team/number", "1.20"),
    "zero": NewImage("team/zero", "0755"),
    "pinned": NewImage("team/pinned", "2", DIGEST),
    "later": None,
}
MARKS = Marks("shop", "shop", IMAGES, frozenset({"web"}))


def shown(edited: Edited) -> str:
    lines = [f"{one.line}: {one.image}: {one.before} -> {one.after}" for one in edited.replaced]
    return "\n".join([f"markers: {edited.markers}", *lines, *(f"! {text}" for text in edited.problems)]) + "\n"


@pytest.mark.parametrize("case", sorted(path.name for path in GOLDEN.iterdir()))
def test_golden(case: str, update_golden: bool) -> None:
    folder = GOLDEN / case
    edited = edit((folder / "before.yaml").read_text(), MARKS)
    made = {"after.yaml": edited.text, "told.txt": shown(edited)}
    for name, text in made.items():
        if update_golden:
            (folder / name).write_text(text)
        assert (folder / name).read_text() == text
    again = edit(edited.text, MARKS)
    assert (again.text, again.replaced) == (edited.text, ()), "what is written is as wanted"


def test_line_ends_a_byte_order_mark_and_the_last_line_stay() -> None:
    text = '\ufeffa: x:1 # {"$homeport": "shop/web"}\r\n# end\r\nb: y:1 # {"$homeport": "shop/web:tag"}'
    found = edit(text, MARKS).text
    assert found == (
        '\ufeffa: ghcr.io/team/shop:1.5.0-rc.1 # {"$homeport": "shop/web"}\r\n# end\r\n'
        'b: 1.5.0-rc.1 # {"$homeport": "shop/web:tag"}'
    )


def test_a_file_that_is_no_yaml_is_told_only_if_it_is_meant() -> None:
    broken = '{{ range }}\na: "x # {"$homeport": "%s/web"}\n'
    assert edit(broken % "other", MARKS) == Edited(broken % "other")
    found = edit(broken % "shop", MARKS)
    assert found.text == broken % "shop"
    assert found.problems[0].endswith("it isn't YAML that can be read, so its markers are left alone")


def test_a_huge_file_is_left_alone() -> None:
    text = 'a: x # {"$homeport": "shop/web"}\n' + "# \n" * LIMIT
    found = edit(text, MARKS)
    assert (found.text, found.replaced) == (text, ())
    assert found.problems == ("it is larger than 512 KiB, and isn't looked through for markers",)


def test_files_without_markers_cost_nothing() -> None:
    assert not concerns(b"image: a:1\n")
    assert concerns(b'image: a:1 # {"$imagepolicy": "a:b"}\n')


scalars = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
    st.sampled_from(["yes", "1.10", "0x1f", "null", "~", "2026-11-21", "a: b", "# no", "", "1_000", "1e3"]),
)


@given(
    st.lists(st.tuples(scalars, st.booleans()), max_size=8), st.sampled_from(["1.10", "v1", "2026.11.21", "1e3", "007"])
)
def test_other_values_stay_and_marked_ones_are_text(values: list[tuple[str, bool]], tag: str) -> None:
    text = "".join(
        f"k{number}: {yaml.safe_dump(value, default_style=chr(34), width=10**6).strip()}"
        + (' # {"$homeport": "shop/web:tag"}' if marked else " # kept")
        + "\n"
        for number, (value, marked) in enumerate(values)
    )
    edited = edit(text, Marks("shop", "shop", {"web": NewImage("team/shop", tag)}))
    wanted = {f"k{number}": tag if marked else value for number, (value, marked) in enumerate(values)}
    assert (yaml.safe_load(edited.text) or {}) == wanted
    lines = zip(text.splitlines(), edited.text.splitlines(), strict=True)
    assert all(a == b for (a, b), (_, marked) in zip(lines, values, strict=True) if not marked)
    assert edited.markers == sum(marked for _, marked in values)


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True))
def test_a_plain_tag_is_read_as_the_text_that_it_is(tag: str) -> None:
    edited = edit('t: old # {"$homeport": "shop/web:tag"}\n', Marks("shop", "shop", {"web": NewImage("a", tag)}))
    assert yaml.safe_load(edited.text) == {"t": tag}
