"""Who waits for whom around a Restore in place."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.engine.backups import turns
from homeport.engine.context import Context
from homeport.engine.store import Store
from homeport.outcome import Wait

UID = "7f6d1c1e-0000-4000-8000-{:012d}"
SOURCE = {"application": "web", "component": "db", "environment": "main"}
IN_PLACE = {"inPlace": {"confirm": UID.format(0)}}


def body(kind: str, name: str, spec: dict[str, Any], number: int = 1, **status: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "uid": UID.format(number), "generation": 1, "resourceVersion": "1",
                "creationTimestamp": f"2026-11-21T03:00:{number:02d}Z"}  # fmt: skip
    return {"apiVersion": labels.API_VERSION, "kind": kind, "metadata": metadata, "spec": spec, "status": status}


@pytest.fixture
def context() -> Context:
    store = Store()
    for name, component in (("nightly", "db"), ("hourly", "db"), ("other", "cache")):
        source = {**SOURCE, "component": component}
        store.put(body("Backup", name, {"source": source, "repositoryRef": {"name": "offsite"}}))
    return Context(store, None, lambda *_: None, lambda *_: None, lambda: 0.0)  # type: ignore[arg-type]


def restore(
    context: Context, name: str, number: int, backup: str = "nightly", target: Any = IN_PLACE, **status: Any
) -> Resource[Any]:
    context.store.put(body("Restore", name, {"backupRef": {"name": backup}, "target": target}, number, **status))
    found = context.store.resource(OwnerKey("Restore", "shop", name))
    assert found is not None
    return found


def source(context: Context) -> Any:
    found = context.store.resource(OwnerKey("Backup", "shop", "nightly"))
    assert found is not None
    return found.spec.source


def stalled(reason: str) -> dict[str, Any]:
    return {"conditions": [{"type": "Ready", "status": "False", "reason": reason, "message": "no"}]}


@pytest.mark.parametrize(
    ("other", "waits"),
    [
        ({"number": 1}, True),  # asked for earlier
        ({"number": 3}, False),  # later: it waits for this one
        ({"number": 3, "phase": "Running"}, True),
        ({"number": 1, "phase": "Succeeded"}, False),
        ({"number": 1, "backup": "hourly"}, True),  # another Backup of the same
        ({"number": 1, "backup": "other"}, False),
        ({"number": 1, "target": {"new": {}}}, False),
        ({"number": 1, **stalled("ConfirmationRequired")}, False),  # it may never begin
        ({"number": 1, **stalled("DependencyNotReady")}, True),
    ],
)
def test_one_restore_in_place_at_a_time(context: Context, other: dict[str, Any], waits: bool) -> None:
    restore(context, "other", **other)
    mine = restore(context, "mine", 2)
    found = turns.earlier(mine, source(context), context)
    assert isinstance(found, Wait) is waits, found
    begun = restore(context, "mine", 2, phase="Before")
    assert turns.earlier(begun, source(context), context) is None


@pytest.mark.parametrize(
    ("phase", "waits"), [(None, False), ("Before", False), ("Quiescing", True), ("Running", True), ("Resuming", False)]
)
def test_nothing_is_saved_while_it_is_replaced(context: Context, phase: str | None, waits: bool) -> None:
    restore(context, "undo", 1, **({"phase": phase} if phase else {}))
    found = turns.restoring("shop", source(context), context)
    assert isinstance(found, Wait) is waits
    if found is not None:
        assert found.message == "Restore undo is changing what this would save; it begins when that is over"


def test_nothing_is_replaced_while_it_is_saved(context: Context) -> None:
    mine = restore(context, "undo", 1, phase="Quiescing")
    for number, (backup, phase) in enumerate(
        [("nightly", "Succeeded"), ("nightly", "Pending"), ("other", "Running"), ("hourly", "Running")]
    ):
        run = body("BackupRun", f"run-{number}", {"backupRef": {"name": backup}}, number, phase=phase)
        context.store.put(run)
    assert turns.saving(mine, context) == ("BackupRun run-3",)
