"""The cases of the admission policies: each policy has some of both, and files that are wrong say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from homeport.cli.errors import Failure
from homeport.cli.policycases import read
from manifests import ROOT, load_all

POLICIES = {m["metadata"]["name"] for _, m in load_all(ROOT / "policies") if m["kind"] == "ValidatingAdmissionPolicy"}
PAGE = (ROOT / "docs" / "policies.md").read_text()


def test_every_policy_has_accepted_and_refused_cases() -> None:
    suites = {suite.policy: suite for suite in read([ROOT / "policies" / "tests"])}
    assert set(suites) == POLICIES
    for suite in suites.values():
        assert {case.refused is None for case in suite.cases} == {True, False}, suite.policy
        assert len({case.name for case in suite.cases}) == len(suite.cases), suite.policy


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_every_policy_is_on_the_page(name: str) -> None:
    assert f"| `{name}` |" in PAGE


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("policy: p\ncases: []\n", "at least 1 item"),
        ("policy: p\ncases: [{name: a}]\n", "write exactly one of create, update and delete"),
        ("policy: p\ncases: [{name: a, create: {}, refuse: x}]\n", "Extra inputs"),
        ("policy: p\ncases: [{name: a, create: {}, labelled: {labels: {a: b}}}]\n", "write objects"),
        ("policy: p\ncases: [{name: a, create: {}, subresource: status}]\n", "write update"),
        ("policy: [\n", "wrong.yaml"),
    ],
)
def test_a_file_that_is_wrong_says_so(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(Failure, match=says):
        read([tmp_path])


def test_a_folder_without_cases_says_so(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="no files of cases"):
        read([tmp_path])
