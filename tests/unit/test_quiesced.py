"""What a restore needs at rest: who is scaled to zero for it, who hears of it, and that it ends with the Restore."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.engine import observe, triggers
from homeport.engine.context import Context
from homeport.engine.store import Store
from homeport.plan import render
from unit.render_cases import application, place

Body = dict[str, Any]
UNDO = OwnerKey("Restore", "shop", "undo")
WEB, OTHER = OwnerKey("Application", "shop", "web"), OwnerKey("Application", "shop", "other")


def restore(*quiesced: str, version: int = 1, **metadata: Any) -> Body:
    fields = {"name": "undo", "namespace": "shop", "uid": "u", "resourceVersion": str(version), "generation": 1}
    return {
        "apiVersion": labels.API_VERSION, "kind": "Restore", "metadata": {**fields, **metadata},
        "spec": {"backupRef": {"name": "nightly"}}, "status": {"quiesced": list(quiesced)} if quiesced else {},
    }  # fmt: skip


@pytest.fixture
def woken() -> list[OwnerKey]:
    return []


@pytest.fixture
def context(woken: list[OwnerKey]) -> Context:
    return Context(Store(), None, lambda key, *_: woken.append(key), lambda *_: None, lambda: 0.0)  # type: ignore[arg-type]


def test_those_at_rest_have_no_replicas_and_keep_all_else() -> None:
    components = [
            {"name": "db", "type": "stateful", "image": "postgres:16", "ports": [{"name": "main", "port": 5432}]},
            {"name": "web", "image": "web:1", "replicas": 3, "ports": [{"name": "main", "port": 80}],
             "dependsOn": ["db"]},
            {"name": "busy", "image": "web:1", "ports": [{"name": "main", "port": 80}],
             "resources": {"requests": {"cpu": "1"}}, "autoscaling": {"min": 2, "max": 5, "cpu": 80}},
            {"name": "nightly", "type": "cron", "image": "web:1", "schedule": "0 3 * * *"},
    ]  # fmt: skip
    app = application({"version": "1.0.0", "components": components})
    at_rest = {
        (child.manifest["kind"], child.component): child
        for child in render.render(app, place(), resting={"web", "busy", "nightly"})
    }
    running = {(child.manifest["kind"], child.component): child for child in render.render(app, place())}
    assert at_rest["Deployment", "web"].manifest["spec"]["replicas"] == 0
    assert at_rest["Deployment", "busy"].manifest["spec"]["replicas"] == 0
    assert at_rest["Deployment", "busy"].scale_to is None
    assert at_rest["CronJob", "nightly"].manifest["spec"]["suspend"] is True
    assert at_rest["StatefulSet", "db"] == running["StatefulSet", "db"]
    # An autoscaler stops at zero, and comes back with the rest.
    assert running.keys() - at_rest.keys() <= {("HorizontalPodAutoscaler", "busy"), ("PodDisruptionBudget", "web"),
                                               ("PodDisruptionBudget", "busy")}  # fmt: skip
    assert at_rest["Service", "web"] == running["Service", "web"]


def test_a_restore_says_what_is_at_rest_until_it_goes(context: Context) -> None:
    app = application(
        {"version": "1.0.0", "components": [{"name": "web", "image": "web:1", "ports": [{"name": "main", "port": 80}]}]}
    )
    name, space = app.name, app.namespace
    body = restore(f"{name}/main/web", f"{name}/main/db", "another/main/web", namespace=space)
    context.store.put(body)
    assert observe._quiesced(app, context.store) == {("main", "web"), ("main", "db")}
    # While it is being deleted, its runner may be writing still.
    context.store.put({**body, "metadata": {**body["metadata"], "resourceVersion": "2", "deletionTimestamp": "now"}})
    assert observe._quiesced(app, context.store) == {("main", "web"), ("main", "db")}
    context.store.remove(UNDO._replace(namespace=space))
    assert observe._quiesced(app, context.store) == frozenset()


@pytest.mark.parametrize(
    ("before", "after", "heard"),
    [
        (restore(), restore("web/main/db", version=2), [WEB]),
        (restore("web/main/db"), restore(version=2), [WEB]),
        (restore("web/main/db"), restore("web/main/db", "other/main/db", version=2), [WEB, OTHER]),
        (restore("web/main/db"), restore("web/main/db", version=2), []),
        (restore("web/main/db"), restore("web/main/db", version=2, deletionTimestamp="now"), []),
        (restore("web/main/db"), None, [WEB]),
    ],
)
def test_its_application_hears_of_it(
    before: Body, after: Body | None, heard: list[OwnerKey], context: Context, woken: list[OwnerKey]
) -> None:
    triggers.resource_changed(before, after, context)
    assert sorted(key for key in woken if key.kind == "Application") == sorted(heard)


def test_a_restore_hears_of_the_run_that_it_waits_for(context: Context, woken: list[OwnerKey]) -> None:
    run = {**restore(), "kind": "BackupRun", "metadata": {**restore()["metadata"], "name": "undo-before"}}
    context.store.put({**restore(), "status": {"before": "undo-before"}})
    triggers.resource_changed(run, {**run, "status": {"phase": "Succeeded"}}, context)
    assert UNDO in woken
