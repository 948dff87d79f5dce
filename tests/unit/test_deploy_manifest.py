"""A version in an Application's file: the value's own characters are replaced, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from homeport.cli.deploy import images
from homeport.cli.errors import Failure
from homeport.release.deploying import Request, message
from homeport.release.manifest import BadManifest, Wanted, edit

EXAMPLES = sorted(Path(__file__).parents[2].glob("examples/*/application.yaml"))
FILE = """# The shop.
apiVersion: v1
kind: ConfigMap
metadata: {name: shop}
data: {version: 1.0.0}
---
apiVersion: homeport.dev/v1alpha1
kind: Application
metadata:
  name: shop   # in production
  namespace: shop
spec:
  version: "1.3.0"      # {"$homeport": "shop/web:tag"}
  components:
  - name: web
    image: ghcr.io/team/web   # takes the version
  - name: worker
    image: 'localhost:5000/team/worker:1.3.0@sha256:abc'
  - {name: db, catalog: {name: postgres}}
  environments:
  - name: staging
    overrides: {web: {image: ghcr.io/team/web:edge}}
  - {name: production, version: 1.2.0}
  - {name: test}
"""


def wanted(version: str = "1.4.0", component: str = "", image: str = "", **more: str) -> Wanted:
    return Wanted("shop", version, images=((component, image),) if component else (), **more)


def changed(after: str, before: str = FILE) -> list[tuple[str, str]]:
    pairs = zip(before.splitlines(), after.splitlines(), strict=True)
    return [(old.strip(), new.strip()) for old, new in pairs if old != new]


def test_only_the_version_changes() -> None:
    found = edit(FILE, wanted())
    line = 'version: "1.3.0"      # {"$homeport": "shop/web:tag"}'
    assert changed(found.text) == [(line, line.replace("1.3.0", "1.4.0"))]
    assert [one.shown for one in found.changes] == ["spec.version: 1.3.0 -> 1.4.0"]
    assert found.pinned == ("worker",)
    again = edit(found.text, wanted())
    assert (again.text, again.changes) == (found.text, ())


def test_line_ends_stay() -> None:
    text = FILE.replace("\n", "\r\n")
    assert edit(text, wanted()).text == text.replace('"1.3.0" ', '"1.4.0" ')
    added = edit(text, wanted(environment="staging")).text
    assert "  - name: staging\r\n    version: 1.4.0\r\n    overrides" in added


def test_a_component_that_pins_its_image() -> None:
    found = edit(FILE, wanted(component="worker"))
    assert "image: 'localhost:5000/team/worker:1.4.0'\n" in found.text
    assert found.pinned == ()
    whole = edit(FILE, wanted(component="worker", image="ghcr.io/team/worker@sha256:def"))
    assert "image: 'ghcr.io/team/worker@sha256:def'\n" in whole.text
    # It takes the version by itself.
    assert len(edit(FILE, wanted(component="web")).changes) == 1
    assert (
        "image: ghcr.io/team/web:1.4.0_build   #"
        in edit(FILE.replace("team/web ", "team/web:1 "), wanted("1.4.0+build", component="web")).text
    )


def test_several_images_at_once() -> None:
    pairs = images(["worker"], ["ghcr.io/team/worker@sha256:1", "web=ghcr.io/team/web@sha256:2"])
    found = edit(FILE, Wanted("shop", "1.4.0", images=pairs))
    assert [one.after for one in found.changes] == [
        "1.4.0",
        "ghcr.io/team/worker@sha256:1",
        "ghcr.io/team/web@sha256:2",
    ]
    assert "image: ghcr.io/team/web@sha256:2   # takes the version" in found.text
    for components, written in ([], ["x:1"]), (["a", "b"], ["x:1"]), ([], ["=x"]), ([], ["a="]):
        with pytest.raises(Failure, match="--image"):
            images(components, written)


def test_an_environment_of_its_own() -> None:
    found = edit(FILE, wanted(environment="production"))
    assert changed(found.text) == [
        ("- {name: production, version: 1.2.0}", "- {name: production, version: 1.4.0}"),
    ]
    assert "  - {name: test, version: 1.4.0}\n" in edit(FILE, wanted(environment="test")).text
    added = edit(FILE, wanted(environment="staging"))
    assert "  - name: staging\n    version: 1.4.0\n    overrides" in added.text
    assert [one.shown for one in added.changes] == ["spec.environments[staging].version: 1.4.0"]
    assert edit(added.text, wanted(environment="staging")).changes == ()
    image = edit(FILE, wanted(environment="staging", component="web"))
    assert "overrides: {web: {image: ghcr.io/team/web:1.4.0}}" in image.text


def test_the_last_line_without_an_end() -> None:
    text = FILE.removesuffix("  - {name: test}\n") + "  - name: last"
    assert edit(text, wanted(environment="last")).text.endswith("  - name: last\n    version: 1.4.0")


@pytest.mark.parametrize(
    ("text", "want", "told"),
    [
        ("a: [", wanted(), "isn't YAML that can be read at line 1"),
        ("image: {{ .Values.image }}\nx: {{ y }}", wanted(), "isn't YAML|has no Application"),
        ("a: 1", wanted(), "has no Application shop"),
        (FILE, Wanted("other", "1.0.0"), "has no Application other"),
        (FILE, wanted(namespace="elsewhere"), "has no Application shop"),
        (f"{FILE}---\n{FILE}", wanted(), "has 2 Applications shop"),
        (FILE, wanted(environment="nowhere"), "spec.environments has no nowhere"),
        (FILE, wanted(component="db"), "component db has no image"),
        (FILE, wanted(component="cache"), "component cache has no image"),
        (FILE, wanted(environment="test", component="web"), "overrides.web.image isn't written"),
        (FILE.replace('"1.3.0" ', "{a: 1}"), wanted(), "isn't text on one line"),
        (FILE.replace('"1.3.0" ', "|\n    1.3.0\n  #"), wanted(), "isn't text on one line"),
        (FILE.replace('  version: "1.3.0" ', "  title: x "), wanted(), "spec.version isn't written"),
        (FILE.replace('"1.3.0" ', '&v "1.3.0"').replace("1.2.0}", "*v }"), wanted(), "is shared by a YAML anchor"),
        (
            FILE.replace("- {name: test}", "- &e {name: test}\n  extra: [*e]"),
            wanted(environment="test"),
            "is shared by a YAML anchor|isn't YAML",
        ),
        ("#" * 600_000, wanted(), "larger than 512 KiB"),
    ],
)
def test_what_can_not_be_written(text: str, want: Wanted, told: str) -> None:
    with pytest.raises(BadManifest, match=told):
        edit(text, want)


def test_a_shared_mapping_is_not_added_to() -> None:
    text = FILE.replace("  - {name: test}", "  - &t {name: test}").replace("spec:\n", "spec:\n  title: a\n")
    edit(text, wanted(environment="test"))
    with pytest.raises(BadManifest, match="shared by a YAML anchor"):
        edit(f"{text}  - *t\n", wanted(environment="test"))


def value(body: Any, environment: str) -> str:
    return str(next(one for one in body["spec"]["environments"] if one["name"] == environment)["version"])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_examples(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for body in yaml.safe_load_all(text):
        if body["kind"] != "Application":
            continue
        name, environments = body["metadata"]["name"], body["spec"].get("environments") or []
        for environment in ["", *(one["name"] for one in environments)]:
            want = Wanted(name, "9.8.7", namespace=body["metadata"]["namespace"], environment=environment)
            (after,) = [b for b in yaml.safe_load_all(edit(text, want).text) if b["metadata"]["name"] == name]
            if environment:
                assert value(after, environment) == "9.8.7"
                before = next(one for one in environments if one["name"] == environment)
                there = next(one for one in after["spec"]["environments"] if one["name"] == environment)
                assert {**there, "version": None} == {**before, "version": None}
            else:
                assert after["spec"] == {**body["spec"], "version": "9.8.7"}


@given(st.text(alphabet="ab:{}[]&*!|>'\"#-? \n\tversionkdAplct0.1/", max_size=120))
def test_no_text_breaks_it(text: str) -> None:
    try:
        edit(text, wanted())
    except BadManifest:
        return


def test_the_message_says_who_asked() -> None:
    found = edit(FILE, wanted(environment="staging"))
    trailers = {"Requested-By": "somebody\nInjected: yes", "Source-Commit": "abc", "Pipeline": ""}
    request = Request("https://x/y.git", "shop.yaml", wanted(environment="staging"), trailers=trailers)
    assert message(request, found.changes) == (
        "Deploy shop 1.4.0 to staging\n\n- shop.yaml: spec.environments[staging].version: 1.4.0\n\n"
        "Homeport-Deploy: shop@1.4.0\nRequested-By: somebody Injected: yes\nSource-Commit: abc\n"
    )
