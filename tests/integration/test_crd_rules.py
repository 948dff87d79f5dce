"""Every rule of every kind, accepted and refused: by the API server, and by its Python twin with the same message.

The tables are in ``rules/``. A case is merged into the table's ``base``:

- ``spec``, ``component`` (the first of them) and ``metadata`` are merge patches; ``resource`` replaces the manifest;
- ``old`` (a spec patch) exists before, and the case changes it: only the API server can see that;
- ``error`` is a part of the message, or null when it is accepted; ``twin`` is the twin's, where the words differ
  (the API server's own words for a wrong type or a bound); ``only: api`` or ``only: twin`` says who can know.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from api_server import ApiServer, RefusedError
from homeport.api.kinds import BY_NAME
from homeport.api.resource import InvalidSpec, parse
from manifests import ROOT, load, merged
from model_rules import rules_of

pytestmark = pytest.mark.integration

TABLES = {path.stem: load(path)[0] for path in sorted((ROOT / "tests/integration/rules").glob("*.yaml"))}
CASES = [
    pytest.param(table, case, id=f"{kind}: {case['name']}") for kind, table in TABLES.items() for case in table["cases"]
]
NAMESPACE = f"rules-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def api(control_plane: Any) -> Iterator[ApiServer]:
    server = ApiServer(control_plane.kubeconfig)
    server.install("crds")
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    server.create(namespace)
    yield server
    server.delete(namespace)


def manifest(table: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    """The case's manifest."""
    body = copy.deepcopy(table["base"])
    if BY_NAME[body["kind"]].namespaced:
        body["metadata"] = {"namespace": NAMESPACE, **body["metadata"]}
    if body["kind"] == "Project":  # a policy wants it
        body["metadata"]["name"] = NAMESPACE
    if "resource" in case:
        return merged({key: body[key] for key in ("apiVersion", "kind", "metadata")}, case["resource"])
    body["metadata"] = merged(body["metadata"], case.get("metadata", {}))
    body["spec"] = merged(body.get("spec", {}), case.get("spec", {}))
    if "component" in case:
        body["spec"]["components"][0] = merged(body["spec"]["components"][0], case["component"])
    return body


def complaint(case: dict[str, Any], who: str) -> str | None:
    """The part of the message that ``who`` must give, or None when it must accept."""
    if case.get("only", who) != who:
        return None
    return case.get("twin", case["error"]) if who == "twin" else case["error"]


def _replaced(api: ApiServer, body: dict[str, Any]) -> Any:
    """A dry replace of the newest version: an operator that runs beside may write between our look and our write."""
    for _ in range(10):
        body["metadata"]["resourceVersion"] = api.get(body)["metadata"]["resourceVersion"]
        try:
            return api.replace(body, dry=True)
        except RefusedError as error:
            if error.code != 409:
                raise
    raise AssertionError("somebody writes all the time")


@pytest.mark.parametrize(("table", "case"), CASES)
def test_api_server(api: ApiServer, table: dict[str, Any], case: dict[str, Any]) -> None:
    body = manifest(table, case)
    before = None
    if "old" in case:
        body["metadata"]["name"] = f"old-{uuid.uuid4().hex[:8]}"
        before = copy.deepcopy(body)
        before["spec"] = merged(copy.deepcopy(table["base"].get("spec", {})), case["old"])
        api.create(before)
    wanted = complaint(case, "api")
    try:
        if wanted is None:
            _replaced(api, body) if before else api.create(body, dry=True)
            return
        with pytest.raises(RefusedError) as refused:
            _replaced(api, body) if before else api.create(body, dry=True)
        assert refused.value.code in (400, 422)
        assert wanted in str(refused.value)
    finally:
        if before:
            api.delete(before)


@pytest.mark.parametrize(("table", "case"), [param for param in CASES if "old" not in param.values[1]])
def test_twin(table: dict[str, Any], case: dict[str, Any]) -> None:
    body = manifest(table, case)
    wanted = complaint(case, "twin")
    if wanted is None:
        parse(body)
        return
    with pytest.raises(InvalidSpec) as refused:
        parse(body)
    assert wanted in str(refused.value)


def test_every_rule_is_refused_by_some_case() -> None:
    """Each rule's message is the error of a case, for each kind that has the rule."""
    for kind, table in TABLES.items():
        messages = {case["error"] for case in table["cases"] if case["error"]}
        untested = {rule.message for rule in rules_of(kind)} - messages
        assert not untested, f"{kind} has rules that no case of rules/{kind}.yaml refuses: {sorted(untested)}"


def test_every_kind_has_a_table() -> None:
    from homeport.api.kinds import KINDS  # noqa: PLC0415

    assert set(TABLES) == {kind.name.lower() for kind in KINDS}
