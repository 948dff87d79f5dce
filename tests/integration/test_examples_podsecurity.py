"""The API server's own Pod Security admission looks at every Pod of the five systems, at its strictest level.

Which Pods it refuses is written in docs/security.md, each with its reason, and nowhere else: what it refuses must be
there, and what is there must be refused.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from homes import Live, Manifest, eventually

from api_server import ApiServer, RefusedError
from example_systems import EXAMPLES, rendered
from homeport.plan.podsecurity import pod_template
from homeport.plan.types import Child
from manifests import ROOT

pytestmark = pytest.mark.integration

PAGE = ROOT / "docs" / "security.md"
HEADING = "### Pods that `restricted` refuses"
LABELS = {
    f"pod-security.kubernetes.io/{key}": value
    for key, value in (("enforce", "restricted"), ("enforce-version", "latest"))
}


def exceptions() -> dict[str, str]:
    """``system/component`` -> the reason, from the page's table."""
    section = PAGE.read_text().partition(HEADING)[2].partition("\n#")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")
    ]
    return {row[0].strip("`"): row[1] for row in rows[2:] if row[0] != "none"}


def pods(folder: Path) -> Iterator[tuple[str, Child, Manifest]]:
    """Every Pod that a system's objects make, as the API server would be asked for it."""
    for child in rendered(folder):
        template = pod_template(child.manifest)
        if template is not None:
            # As the StatefulSet controller does: a volume for each of the claims that it makes.
            claims = [claim["metadata"]["name"] for claim in child.manifest["spec"].get("volumeClaimTemplates", ())]
            mounted = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
            spec = {**template["spec"], "volumes": [*template["spec"].get("volumes", ()), *mounted]}
            yield f"{folder.name}/{child.component}", child, {**template, "spec": spec}


@pytest.fixture(scope="module")
def restricted(server: ApiServer) -> Iterator[str]:
    """A namespace that lets in what the standard ``restricted`` allows."""
    live, name = Live(server), f"pss-{uuid.uuid4().hex[:8]}"
    live.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": LABELS}})
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    eventually(lambda: _there(server, account), "the namespace has its service account")
    yield name
    live.delete("Namespace", None, name)


def _there(server: ApiServer, path: str) -> bool:
    try:
        server.call("GET", path)
    except RefusedError as error:
        if error.code != 404:
            raise
        return False
    return True


def refusal(server: ApiServer, namespace: str, template: Manifest) -> str:
    """What the API server says against a Pod made of ``template``; empty when it takes it. Nothing is made."""
    metadata = {**template["metadata"], "generateName": "pod-", "namespace": namespace}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    options = {"dryRun": "All", "fieldValidation": "Strict"}
    try:
        server.call("POST", f"/api/v1/namespaces/{namespace}/pods", pod, **options)
    except RefusedError as error:
        return str(error)
    return ""


def test_the_admission_refuses_what_is_too_much(server: ApiServer, restricted: str) -> None:
    """Else the other tests would say nothing."""
    _, _, template = next(pods(EXAMPLES[0]))
    spec: dict[str, Any] = template["spec"]
    assert refusal(server, restricted, template) == ""
    loose = {**template, "spec": {**spec, "securityContext": {**spec["securityContext"], "runAsNonRoot": False}}}
    assert 'violates PodSecurity "restricted:latest"' in refusal(server, restricted, loose)


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda path: path.name)
def test_every_pod_is_let_in_but_those_that_the_page_names(folder: Path, server: ApiServer, restricted: str) -> None:
    refused = {}
    for name, child, template in pods(folder):
        problem = refusal(server, restricted, template)
        if problem:
            refused[name] = f"{child.id.shown}: {problem}"
    known = {name for name in exceptions() if name.startswith(f"{folder.name}/")}
    assert {name: why for name, why in refused.items() if name not in known} == {}
    assert known <= refused.keys(), "the page names a Pod that is let in"


def test_every_kind_of_workload_is_among_them() -> None:
    kinds = {child.manifest["kind"] for folder in EXAMPLES for _, child, _ in pods(folder)}
    assert kinds == {"Deployment", "StatefulSet", "Job", "CronJob"}


def test_every_exception_has_a_reason_and_is_of_a_system() -> None:
    assert HEADING in PAGE.read_text()
    every = {name for folder in EXAMPLES for name, _, _ in pods(folder)}
    for name, reason in exceptions().items():
        assert name in every
        assert len(reason.split()) >= 3, f"{name} has no reason"
