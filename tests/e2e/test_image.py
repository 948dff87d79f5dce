"""What is in Homeport's images, and that they are the same when they are built again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imaging import images, sbom
from imaging.contents import Layout
from imaging.images import OPERATOR, RUNNER, Recipe

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
MEGABYTES = {"homeport": 145, "homeport-runner": 75}
WRITABLE = {"tmp", "var/tmp"}


@pytest.mark.parametrize("recipe", [OPERATOR, RUNNER], ids=lambda recipe: recipe.name)
def test_nobody_gains_rights_in_it(built: Layout, recipe: Recipe) -> None:
    """No setuid and no file capabilities; all is root's, who nobody is, and writable by nobody else."""
    layout = images.ensure(recipe)
    assert layout.config["config"]["User"] == "65532:65532"
    assert layout.compressed < MEGABYTES[recipe.name] * 1e6
    entries = list(layout.entries())
    assert len(entries) > 1000
    assert [entry.name for entry in entries if entry.mode & 0o6000 or "SCHILY.xattr" in str(entry.pax_headers)] == []
    assert {entry.name for entry in entries if (entry.uid, entry.gid) != (0, 0)} == set()
    assert {entry.name for entry in entries if not entry.issym() and entry.mode & 0o022} == WRITABLE


@pytest.mark.parametrize("recipe", [OPERATOR, RUNNER], ids=lambda recipe: recipe.name)
def test_it_is_the_same_when_it_is_built_again(built: Layout, recipe: Recipe, tmp_path: Path) -> None:
    """Its digest, and with that every byte of its layers and its configuration; and the list of what is in it."""
    first, second = images.ensure(recipe), images.again(recipe, tmp_path)
    assert first.folder != second.folder
    assert first.manifest == second.manifest
    assert first.digest == second.digest
    for layout, name in ((first, "first"), (second, "second")):
        sbom.write(layout, tmp_path / name, recipe.name)
    text = (tmp_path / "first").read_bytes()
    assert text == (tmp_path / "second").read_bytes()
    _lists_what_is_in_it(recipe, text)


def _lists_what_is_in_it(recipe: Recipe, text: bytes) -> None:
    components = json.loads(text)["components"]
    urls = [str(component["purl"]) for component in components]
    named = {"homeport": ("pkg:pypi/kopf@", "pkg:deb/debian/git@", "pkg:golang/helm.sh/helm/v3@"),
             "homeport-runner": ("pkg:deb/debian/mariadb-client@", "pkg:golang/github.com/restic/restic@")}  # fmt: skip
    for start in named[recipe.name]:
        assert any(url.startswith(start) for url in urls), start
    python = [component for component in components if str(component["purl"]).startswith("pkg:pypi/")]
    assert [component["name"] for component in python if not component.get("licenses")] == []
