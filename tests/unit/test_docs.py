"""The documents say what is true, as far as a test can know it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import docpages
from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.api.kinds import KINDS
from homeport.api.resource import parse
from homeport.engine.metrics import Metrics
from manifests import ROOT, Loader, yaml

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
# Set by users and administrators: each has to be on the page that lists them.
FOR_PEOPLE = (
    labels.RECONCILE_AT,
    labels.REPLACE_AT,
    labels.CONFIRM_DELETE,
    labels.KEY_ESCROWED,
    labels.PRUNE,
    labels.PRIVATE,
    labels.ALLOW_PROJECT,
    labels.POD_SECURITY_CAP,
    labels.ALLOWED_HEADERS,
    labels.PIN,
    labels.ADOPT,
    labels.ALLOW_PRUNE_AT,
    labels.NOTIFY_TEST,
)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
class TestPage:
    def test_links_lead_somewhere(self, page: Path) -> None:
        for target, anchor in LINK.findall(page.read_text()):
            path = (page.parent / target).resolve() if target else page
            assert path.exists(), f"{page.name} links to {target}, which isn't there"
            if anchor:
                assert anchor in anchors(path.read_text()), f"{page.name} links to {target}#{anchor}: no such heading"

    def test_make_targets_are_there(self, page: Path) -> None:
        there = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        named = set(re.findall(r"(?:`|^|\()make (?:-s )?([a-z][a-z0-9-]*)", page.read_text(), re.MULTILINE))
        assert named <= there

    def test_no_paths_of_one_machine(self, page: Path) -> None:
        assert not re.search(r"/(root|work|home)/", page.read_text())

    def test_manifests_are_valid(self, page: Path) -> None:
        for language, text in FENCE.findall(page.read_text()):
            for document in yaml.load_all(text, Loader) if language == "yaml" else ():
                if str(document.get("apiVersion")) == labels.API_VERSION:
                    parse(document)


def test_every_kind_has_a_page_with_its_generated_parts() -> None:
    for kind in KINDS:
        text = (ROOT / f"docs/kinds/{kind.name.lower()}.md").read_text()
        parts = [name for _, name, _ in docpages.PART.findall(text)]
        assert parts == ["columns", "spec", "rules", "status"], kind.name


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text()
    pages = [page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")]
    missing = [
        page for page in pages if str(page) not in index and page.parts[0] != "decisions" and page.stem != "README"
    ]
    assert not missing


def test_every_decision_is_in_the_list() -> None:
    decisions = ROOT / "docs/decisions"
    listed = (decisions / "000-template.md").read_text()
    assert [page.name for page in decisions.glob("*.md") if page.name[:3] != "000" and page.name not in listed] == []


def test_every_reason_is_explained() -> None:
    assert set(docpages.documented()) == {str(reason) for reason in Reason}
    assert [name for name, text in docpages.documented().items() if not text] == []


def test_reasons_that_pages_name_are_in_the_list() -> None:
    for kind in KINDS:
        text = (ROOT / f"docs/kinds/{kind.name.lower()}.md").read_text()
        rows = re.findall(r"^\| (?:True|False|unchanged)[^|]*\| `(\w+)`", text, re.MULTILINE)
        assert rows, kind.name
        assert set(rows) <= {str(reason) for reason in Reason}


def test_every_metric_is_listed() -> None:
    metrics = Metrics()
    metrics.queue_depth, metrics.queue_oldest, metrics.leader = (lambda: 0), (lambda: 0.0), (lambda: True)
    metrics.watch_ages, metrics.resources, metrics.events_dropped = (dict), (dict), (dict)
    metrics.hosts = dict
    metrics.backups = list
    page = (ROOT / "docs/operating.md").read_text()
    ours = [metric for metric in metrics.registry.collect() if metric.name.startswith("homeport_")]
    assert len(ours) > 10
    for metric in ours:
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        assert f"`{name}`" in page, f"docs/operating.md doesn't have {name}"


@pytest.mark.parametrize("mark", FOR_PEOPLE)
def test_what_people_set_is_listed(mark: str) -> None:
    assert f"`{mark}`" in (ROOT / "docs/labels.md").read_text()
