"""history, rollback and the commands that edit a spec, on the memory driver."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from homeport import cli
from homeport.api.resource import parse
from homeport.cli import edit, revisions
from homeport.cli.cluster import Connection
from homeport.drivers.kubernetes import types
from homeport.drivers.memory import MemoryClient
from homeport.plan import history

WEB = {"name": "web", "image": "web", "ports": [{"name": "http", "port": 80}], "replicas": 2}
SPEC: dict[str, Any] = {"version": "1.0.0", "components": [WEB]}


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> MemoryClient:
    client = MemoryClient()

    @asynccontextmanager
    async def connected(options: Any, **_: Any) -> AsyncIterator[Connection]:
        yield Connection(client, "shop", "https://memory")

    for module in ("edit", "history", "rollback", "pause"):
        monkeypatch.setattr(f"homeport.cli.{module}.connected", connected)
    return client


def spec(version: str, **fields: Any) -> dict[str, Any]:
    return {"version": version, "components": [{**WEB, **fields}]}


def application(client: MemoryClient, *specs: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """An Application that has had these specs, of which the last is the present one."""

    async def work() -> dict[str, Any]:
        body = {
            "apiVersion": "homeport.dev/v1alpha1",
            "kind": "Application",
            "metadata": {"name": "shop", "namespace": "shop", **metadata},
            "spec": copy.deepcopy(specs[-1]),
        }
        made = await client.create(types.APPLICATION, "shop", body)
        app = parse(made)
        for number, old in enumerate(specs, 1):
            manifest = history.manifest(app, history.content(old), number, f"2026-01-0{number}T00:00:00Z")
            await client.create(types.CONTROLLER_REVISION, "shop", manifest)
        return dict(made)

    return asyncio.run(work())


def now(client: MemoryClient) -> dict[str, Any]:
    (found,) = client.objects(types.APPLICATION)
    return found


def test_history(memory: MemoryClient, capsys: pytest.CaptureFixture[str]) -> None:
    application(memory, spec("1.0.0"), spec("1.1.0", replicas=3), spec("1.1.0", replicas=3, args=["x"]))
    assert cli.main(["history", "shop"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["REVISION", "AGE", "VERSION", "CHANGE"]
    assert lines[1].endswith("1.0.0     the first that is kept")
    assert lines[2].endswith("version 1.0.0 → 1.1.0, web: replicas 2 → 3")
    assert lines[3].startswith("3 *") and lines[3].endswith("web: args")
    assert cli.main(["history", "app/shop", "--revision", "1"]) == 0
    shown = capsys.readouterr().out
    assert 'spec.version: "1.1.0" → "1.0.0"' in shown and "spec.components[web].replicas: 3 → 2" in shown
    cli.main(["history", "shop", "-o", "json"])
    assert [entry["present"] for entry in json.loads(capsys.readouterr().out)] == [False, False, True]
    assert cli.main(["history", "shop", "--revision", "9"]) == 1
    assert "shop has no revision 9\n  there are: 1, 2, 3" in capsys.readouterr().err


def test_a_change_cause_is_shown(memory: MemoryClient, capsys: pytest.CaptureFixture[str]) -> None:
    application(memory, spec("1.0.0"), annotations={history.CHANGE_CAUSE: "the launch"})
    cli.main(["history", "shop"])
    assert "the launch (the first that is kept)" in capsys.readouterr().out


def test_rollback_to_what_was_before(memory: MemoryClient, capsys: pytest.CaptureFixture[str]) -> None:
    application(memory, spec("1.0.0"), spec("1.1.0", paused=True, restartAt="x"))
    assert cli.main(["rollback", "shop", "-y", "--no-wait"]) == 0
    out = capsys.readouterr().out
    assert "shop: back to revision 1, version 1.0.0" in out and "web stays paused" in out
    assert now(memory)["spec"] == spec("1.0.0", paused=True, restartAt="x")


def test_rollback_goes_past_a_spec_that_was_never_carried_out(memory: MemoryClient) -> None:
    body = application(memory, spec("1.0.0"), spec("1.1.0"))
    asyncio.run(edit.write(memory, body, spec("1.2.0")))
    assert cli.main(["rollback", "shop", "-y", "--no-wait"]) == 0
    assert now(memory)["spec"]["version"] == "1.1.0", "the last that was"


def test_rollback_writes_onto_what_it_showed(
    memory: MemoryClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    application(memory, spec("1.0.0"), spec("1.1.0"))

    def meanwhile() -> bool:
        memory._objects[types.APPLICATION, "shop", "shop"]["metadata"]["resourceVersion"] = "999"
        return True

    monkeypatch.setattr("homeport.cli.rollback._asked", meanwhile)
    assert cli.main(["rollback", "shop", "--no-wait"]) == 1
    assert "shop has changed meanwhile; nothing was written" in capsys.readouterr().err
    assert now(memory)["spec"]["version"] == "1.1.0"


@pytest.mark.parametrize(
    ("specs", "arguments", "says"),
    [
        ([SPEC], [], "there is nothing to roll shop back to"),
        ([SPEC, spec("1.1.0")], ["--to", "2"], "shop is at revision 2 already"),
        ([SPEC, spec("1.1.0")], ["--to", "7"], "there are: 1, 2"),
        ([SPEC, {**spec("1.1.0"), "suspend": True}], [], "shop is suspended: nothing would come of it"),
    ],
)
def test_rollback_that_cannot_be(
    memory: MemoryClient, capsys: pytest.CaptureFixture[str], specs: list[Any], arguments: list[str], says: str
) -> None:
    application(memory, *specs)
    before = now(memory)
    assert cli.main(["rollback", "shop", "-y", "--no-wait", *arguments]) == 1
    assert says in capsys.readouterr().err
    assert now(memory) == before


def test_an_edit_is_made_again_on_what_somebody_else_wrote(memory: MemoryClient) -> None:
    application(memory, SPEC)
    first = True

    def meanwhile(call: Any) -> None:
        nonlocal first
        if first:
            first = False
            body = memory._objects[types.APPLICATION, "shop", "shop"]
            body["spec"]["version"] = "2.0.0"
            body["metadata"]["resourceVersion"] = "999"

    memory.fail(lambda call: call.verb == "patch", meanwhile, 2)
    assert cli.main(["scale", "shop", "web=5"]) == 0
    assert now(memory)["spec"] == spec("2.0.0", replicas=5), "both changes are there"


def test_nothing_is_written_when_nothing_changes(memory: MemoryClient, capsys: pytest.CaptureFixture[str]) -> None:
    application(memory, SPEC)
    memory.calls.clear()
    assert cli.main(["scale", "shop", "web=2"]) == 0
    assert cli.main(["resume", "shop"]) == 0
    assert "nothing is paused or suspended" in capsys.readouterr().out
    assert memory.writes == []


def test_suspend_and_resume(memory: MemoryClient, capsys: pytest.CaptureFixture[str]) -> None:
    application(memory, SPEC)
    assert cli.main(["suspend", "shop"]) == 0
    assert now(memory)["spec"]["suspend"] is True
    assert cli.main(["suspend", "application/shop"]) == 0
    assert "already suspended" in capsys.readouterr().out
    assert cli.main(["resume", "shop"]) == 0
    assert now(memory)["spec"]["suspend"] is False


@pytest.mark.parametrize("arguments", [["scale", "shop", "web"], ["scale", "shop", "web=-1"], ["scale", "shop", "=1"]])
def test_a_number_that_is_none(memory: MemoryClient, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 1
    assert "write COMPONENT=N" in capsys.readouterr().err or "No such option" in capsys.readouterr().err


# --- waiting ----------------------------------------------------------------------------------------------------------


def states(client: MemoryClient, body: dict[str, Any], *statuses: dict[str, Any]) -> bool:
    """Wait while the status becomes each of ``statuses``; how that ended."""

    async def work() -> bool:
        async def tell() -> None:
            for status in statuses:
                await asyncio.sleep(0)
                await client.patch(types.APPLICATION, "shop", "shop", {"status": status}, subresource="status")

        told = asyncio.create_task(tell())
        try:
            return await edit.settled(client, edit.APPLICATION, body, 5)
        finally:
            await told

    return asyncio.run(work())


def ready(status: str, reason: str, generation: int = 1, **more: str) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": status, "reason": reason, "message": reason.lower()}]
    conditions += [{"type": kind, "status": value, "reason": reason} for kind, value in more.items()]
    return {"observedGeneration": generation, "conditions": conditions}


def test_waiting_ends_with_ready(memory: MemoryClient, capsys: pytest.CaptureFixture[str]) -> None:
    body = application(memory, SPEC)
    bad = ready("False", "HealthCheckFailed")
    assert states(memory, body, ready("True", "Old", 0), bad, ready("True", "ReconciliationSucceeded"))
    captured = capsys.readouterr()
    assert captured.out == "ReconciliationSucceeded: reconciliationsucceeded\n"
    assert "HealthCheckFailed: healthcheckfailed" in captured.err


def test_waiting_ends_where_only_a_person_can_help(memory: MemoryClient) -> None:
    body = application(memory, SPEC)
    assert not states(memory, body, ready("False", "InvalidSpec", Stalled="True"))


def test_who_writes_it_from_git() -> None:
    flux = {"metadata": {"managedFields": [{"manager": "kustomize-controller"}]}}
    assert edit.kept_by(flux) == "Flux"
    assert edit.kept_by({"metadata": {"annotations": {"argocd.argoproj.io/tracking-id": "a"}}}) == "Argo CD"
    status_only = {"metadata": {"managedFields": [{"manager": "argocd-controller", "subresource": "status"}]}}
    assert edit.kept_by(status_only) == ""


# --- summaries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("new", "says"),
    [
        (SPEC, "nothing"),
        (spec("1.1.0"), "version 1.0.0 → 1.1.0"),
        (spec("1.0.0", image="web:2"), "web: image web → web:2"),
        ({**SPEC, "components": [{"name": "db", "image": "db"}]}, "+ db, - web"),
        ({**SPEC, "environments": [{"name": "a"}]}, "environments"),
        ({**SPEC, "title": "Shop"}, "title"),
        (
            {"version": "2.0.0", "title": "t", "components": [{**WEB, "replicas": 3}, {"name": "a"}]},
            "version 1.0.0 → 2.0.0, + a, web: replicas 2 → 3, and 1 more",
        ),
    ],
)
def test_summary(new: dict[str, Any], says: str) -> None:
    assert revisions.summary(SPEC, new) == says


def test_summary_of_environments() -> None:
    old = {**SPEC, "environments": [{"name": "a"}, {"name": "b"}]}
    new = {**SPEC, "environments": [{"name": "a", "version": "1.0.1"}, {"name": "c"}]}
    assert revisions.summary(old, new) == "in a, in b, in c"
