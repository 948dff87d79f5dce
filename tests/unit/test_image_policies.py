"""Which tag is the newest."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.api.imageupdate import ImagePolicy, TagFilter
from homeport.plan.gitops.tags import BadPolicy, Choice, choose

TAGS = [
    "latest",
    "1.4.0",
    "v1.4.9",
    "1.10.0",
    "1.11.0-rc.1",
    "2.0.0",
    "main-100-abc",
    "main-99-def",
    "main-x",
    "2026-11-21",
]


def picked(policy: dict[str, Any], tags: list[str], **filter_: str) -> Choice:
    model = TagFilter.model_validate(filter_) if filter_ else None
    return choose(ImagePolicy.model_validate(policy), model, tags)


@pytest.mark.parametrize(
    ("policy", "filter_", "tag", "counted"),
    [
        ({"semver": {"range": "^1.4"}}, {}, "1.10.0", 3),
        ({"semver": {"range": ">=1.4.0-0 <2.0.0"}}, {}, "1.11.0-rc.1", 4),
        ({"semver": {"range": "1.4.x"}}, {}, "v1.4.9", 2),
        ({"semver": {"range": "3.x"}}, {}, None, 0),
        ({"semver": {"range": "*"}}, {"pattern": r"^1\."}, "1.10.0", 2),
        ({"semver": {"range": "*"}}, {"pattern": r"^v(?P<v>.*)$", "extract": "$v"}, "v1.4.9", 1),
        ({"numerical": {}}, {"pattern": r"^main-(?P<n>[0-9]+)-", "extract": "$n"}, "main-100-abc", 2),
        ({"numerical": {"order": "desc"}}, {"pattern": r"^main-([0-9]+)-", "extract": "$1"}, "main-99-def", 2),
        ({"numerical": {}}, {"pattern": r"^main-(.*)", "extract": "$1"}, None, 0),
        ({"alphabetical": {}}, {"pattern": "^[0-9]{4}-"}, "2026-11-21", 1),
        ({"alphabetical": {}}, {}, "v1.4.9", 10),
        ({"alphabetical": {"order": "desc"}}, {}, "1.10.0", 10),
        ({"alphabetical": {}}, {"pattern": "^main-(?P<a>[^-]+)", "extract": "${a}!$$"}, "main-x", 3),
        ({"alphabetical": {}}, {"pattern": "nothing"}, None, 0),
    ],
)
def test_policies(policy: dict[str, Any], filter_: dict[str, str], tag: str | None, counted: int) -> None:
    assert picked(policy, TAGS, **filter_) == Choice(tag, counted)


@pytest.mark.parametrize(
    ("policy", "filter_", "says"),
    [
        ({"semver": {"range": ">>1"}}, {}, "is no range of versions"),
        ({"alphabetical": {}}, {"pattern": "a", "extract": "$b"}, "filter.extract names b, which is no group"),
        ({"alphabetical": {}}, {"pattern": "a", "extract": "$1"}, "filter.extract names 1, which is no group"),
        ({"alphabetical": {}}, {"pattern": "(?x)a"}, "filter.pattern is no regular expression"),
    ],
)
def test_what_cannot_be_carried_out_is_told(policy: dict[str, Any], filter_: dict[str, str], says: str) -> None:
    with pytest.raises(BadPolicy, match=says):
        picked(policy, ["a"], **filter_)


def test_an_expression_that_would_run_for_hours_does_not() -> None:
    tags = ["x" * 128 for _ in range(1000)]
    begun = time.process_time()
    assert picked({"alphabetical": {}}, tags, pattern="(x+x+)+y").counted == 0
    assert time.process_time() - begun < 60


numbers = st.lists(st.integers(0, 10**30).map(str), min_size=1, unique=True)


@given(numbers)
def test_the_highest_number_whatever_its_length(tags: list[str]) -> None:
    assert picked({"numerical": {}}, tags).tag == max(tags, key=int)
    assert picked({"numerical": {"order": "desc"}}, tags).tag == min(tags, key=int)


versions = st.builds(
    lambda a, b, c, pre: f"{a}.{b}.{c}{pre}",
    st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.sampled_from(["", "", "-rc.1", "-rc.10", "-alpha"]),
)  # fmt: skip


@given(st.lists(versions, max_size=20), st.randoms())
def test_the_order_of_tags_makes_no_difference_and_pre_releases_count_only_when_asked_for(
    tags: list[str], random: Any
) -> None:
    found = picked({"semver": {"range": ">=0.0.0"}}, tags)
    stable = [tag for tag in tags if "-" not in tag]
    assert found.tag == max(stable, key=lambda tag: [int(part) for part in tag.split(".")], default=None)
    with_pre = picked({"semver": {"range": ">=0.0.0-0"}}, tags)
    assert with_pre.counted == len(set(tags))
    random.shuffle(tags)
    assert picked({"semver": {"range": ">=0.0.0"}}, tags) == found
    assert picked({"semver": {"range": ">=0.0.0-0"}}, tags) == with_pre
