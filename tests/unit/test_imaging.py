"""What an image is made of, as far as it can be said without building one."""

from __future__ import annotations

import re
from email.message import Message

import pytest

from homeport import __version__
from imaging import licences
from localplane import tools
from localplane.tools import CHECKOUT

DOCKERFILE = (CHECKOUT / "operator/Dockerfile").read_text()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("KUSTOMIZE", tools.KUSTOMIZE),
        ("HELM", tools.HELM),
        ("KUBERNETES", tools.KUBERNETES.removeprefix("v").rpartition(".")[0]),
        ("VERSION", __version__),
    ],
)
def test_the_dockerfile_names_the_versions_that_are_tested(argument: str, value: str) -> None:
    assert re.findall(rf"^ARG {argument}=(\S+)$", DOCKERFILE, re.MULTILINE) == [value]


def test_base_images_are_pinned_by_digest() -> None:
    named = re.findall(r"^ARG \w+=(docker\.io/\S+)$", DOCKERFILE, re.MULTILINE)
    assert len(named) == 2
    assert all(re.search(r"@sha256:[0-9a-f]{64}$", name) for name in named)
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"${DEBIAN}", "${GOLANG}", "python", "scratch"}


def test_the_runtime_has_the_versions_that_are_tested() -> None:
    pins = re.compile(r"^([a-z0-9.-]+==\S+)", re.MULTILINE)
    every = set(pins.findall((CHECKOUT / "requirements.lock").read_text()))
    for lock in ("operator/requirements.lock", "operator/build.lock"):
        assert set(pins.findall((CHECKOUT / lock).read_text())) <= every


def test_what_the_runtime_takes_is_allowed() -> None:
    names = licences.locked()
    assert "kopf" in names and "fakepve" not in names
    assert licences.refused(names) == []


@pytest.mark.parametrize(
    ("expression", "good"),
    [
        ("MIT", True), ("Apache-2.0 OR BSD-3-Clause", True), ("EPL-2.0 OR GPL-2.0-or-later", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True), ("MIT AND GPL-3.0-only", False), ("AGPL-3.0-or-later", False),
        ("GPL-2.0-only OR AGPL-3.0-only", False),
    ],
)  # fmt: skip
def test_an_expression_is_judged_whole(expression: str, good: bool) -> None:
    assert licences.allowed(expression) is good


def test_a_package_of_the_wrong_kind_is_named() -> None:
    assert licences.refused(["fakepve"]) == [
        "fakepve is AGPL-3.0-or-later, which isn't in ALLOWED; take another package"
    ]


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"License-Expression": "MIT"}, "MIT"),
        ({"License": "Apache 2.0"}, "Apache-2.0"),
        ({"License": "see the file", "Classifier": "License :: OSI Approved :: MIT License"}, "MIT"),
        ({"Classifier": "License :: OSI Approved :: BSD License"}, ""),
        ({}, ""),
    ],
)
def test_a_licence_is_read_where_it_is_said(headers: dict[str, str], found: str) -> None:
    metadata = Message()
    for name, value in headers.items():
        metadata[name] = value
    assert licences.of_package("any", metadata) == found  # type: ignore[arg-type]


def test_licences_of_debian_are_read_from_machine_readable_files() -> None:
    assert licences.of_debian("Format: x\n\nFiles: *\nLicense: GPL-2\n\nLicense: MIT\n text\n") == ["GPL-2", "MIT"]
    assert licences.of_debian("This is free.\nLicense: GPL") == []
