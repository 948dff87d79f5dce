"""What each delivery can't do, in sentences that say what to write instead."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.api.software import Software
from homeport.plan.delivery import refusal
from homeport.plan.proxmox.readings import Version


def said(kind: str, version: str = "9.1.3", **fields: Any) -> str | None:
    return refusal(kind, Software.model_validate({"image": "nginx:1.27", **fields}), Version.parse(version), "lab")


def test_what_works() -> None:
    assert said("Agent", env=[{"name": "A", "value": "b"}], files={"/etc/a": "b"}, schedule="* * * * *") is None
    assert said("Plain") is None
    assert said("Plain", probes={"readiness": {"tcp": 80}}, ports=[{"name": "http", "port": 80}]) is None


@pytest.mark.parametrize("version", ["8.4.1", "9.0.11"])
def test_versions_without_images(version: str) -> None:
    assert said("Plain", version) == (
        f"lab is Proxmox VE {version}, and an image as it is needs 9.1; write delivery: Agent, or upgrade it"
    )
    assert said("Agent", version) is None


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"env": [{"name": "A", "value": "b"}], "command": ["x"]}, "command, env"),
        ({"files": {"/etc/a": "b"}}, "files"),
        ({"restartPolicy": "Never"}, "restartPolicy: Never"),
        ({"probes": {"readiness": {"exec": ["true"]}}}, "exec probes"),
        ({"probes": {"liveness": {"tcp": 80}}}, "a liveness probe"),
    ],
)
def test_what_plain_lacks(fields: dict[str, Any], named: str) -> None:
    assert said("Plain", **fields) == (
        f"with delivery: Plain the image runs as it is, and {named} can't be; write delivery: Agent, or leave them out"
    )


def test_ssh() -> None:
    software = Software.model_validate({"delivery": "SSH"})
    assert "write software.command" in (refusal("SSH", software, Version.parse("9.1.3"), "lab") or "")
