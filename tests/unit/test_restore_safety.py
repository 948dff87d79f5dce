"""A Restore in place changes nothing that it can't be sure of."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from homeport.api import labels
from homeport.api.backup import BackupSource
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import errors, types
from homeport.drivers.memory import MemoryClient
from homeport.engine import farewell
from homeport.engine.backups import atrest, kubernetesrestore, restoretargets
from homeport.engine.context import Context
from homeport.engine.store import Store
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan.backup import backup, restorejob, restorephases
from homeport.plan.backup.restore import RestoreWorld
from homeport.plan.world import Report
from unit.test_backup_source import DATABASE, WEB
from unit.test_restore_plan import IN_PLACE, JOB, NOW, SQLITE, UID, order, restore, step

COMPONENT = {"name": "web", "image": "web:1", "ports": [{"name": "main", "port": 80}]}


@pytest.fixture
def context() -> Context:
    return Context(Store(), None, lambda *_: None, lambda *_: None, lambda: 0.0)  # type: ignore[arg-type]


def application(spec: dict[str, Any] | None = None, uid: str = UID) -> dict[str, Any]:
    metadata = {"name": "shop", "namespace": "web", "uid": uid, "generation": 1, "resourceVersion": "1"}
    return {"apiVersion": "homeport.dev/v1alpha1", "kind": "Application", "metadata": metadata,
            "spec": spec or {"version": "1.0.0", "components": [COMPONENT]}}  # fmt: skip


def confirmed(context: Context, given: Resource[Any]) -> Outcome | None:
    named = BackupSource(application="shop", component="web", environment="live")
    return restoretargets.confirmed(given, named, context)


@pytest.mark.parametrize("phase", [None, "Pending", "Before", "Quiescing", "Running"])
def test_an_application_that_cant_be_read_isnt_a_confirmed_one(context: Context, phase: str | None) -> None:
    given = restore(IN_PLACE, **({"phase": phase} if phase else {}))
    for body in (None, application({"version": 1, "components": "none"})):
        if body is not None:
            context.store.put(body)
        said = confirmed(context, given)
        assert isinstance(said, Wait) and "Nothing is overwritten until it can be" in said.message
    context.store.put(application(uid=UID.replace("7", "8")))
    assert isinstance(confirmed(context, given), Stalled)
    context.store.put(application())
    assert confirmed(context, given) is None


@pytest.mark.parametrize(
    ("phase", "conditions", "held"),
    [
        (None, [], False),
        ("Pending", [("Ready", "False", "Progressing")], False),
        ("Pending", [("Ready", "False", "DependencyNotReady"), ("Reconciling", "True", "Progressing")], True),
        ("Pending", [("Ready", "False", "InvalidSpec"), ("Stalled", "True", "InvalidSpec")], True),
        ("Before", [("Ready", "False", "DependencyNotReady")], False),
        ("Quiescing", [("Ready", "False", "InvalidSpec"), ("Stalled", "True", "InvalidSpec")], False),
    ],
)
def test_one_that_cant_begin_holds_no_backup(
    phase: str | None, conditions: list[tuple[str, str, str]], held: bool
) -> None:
    """A Backup goes when its restores are over, or haven't begun and may never: their environment is gone, say."""
    told = [{"type": type, "status": status, "reason": reason} for type, status, reason in conditions]
    assert backup.is_held(restore(IN_PLACE, conditions=told, **({"phase": phase} if phase else {}))) is held


def test_a_volume_is_never_changed_when_nothing_would_stop() -> None:
    of = order(WEB, "SQLite", source=SQLITE, target=IN_PLACE)
    before = restore(IN_PLACE, phase="Before", before="undo-before", startedAt="2026-11-21T03:00:00Z")
    fields, outcome = step(before, saved={"phase": "Succeeded"}, order=of, chosen=of.chosen)
    assert fields["phase"] == "Before"
    assert outcome == Stalled(
        "InvalidSpec", "nothing is known that would have to stop meanwhile, so the volume isn't changed"
    )


def test_what_cant_be_seen_isnt_at_rest() -> None:
    quiescing = restore(IN_PLACE, phase="Quiescing", quiesced=["shop/live/web"], startedAt="2026-11-21T03:00:00Z")
    unseen = Wait("DependencyNotReady", "connecting to the cluster of Secret other")
    fields, outcome = step(quiescing, problem=unseen)
    assert (fields["phase"], outcome) == ("Quiescing", unseen)
    # What can't be mended lets run again what was stopped.
    fields, _ = step(quiescing, problem=Stalled("ConfirmationRequired", "another one"))
    assert (fields["phase"], fields["outcome"], "quiesced" in fields) == ("Resuming", "Failed", False)


async def _deleted() -> tuple[list[tuple[str, ...]], Outcome | None]:
    client = MemoryClient(namespaces=True)
    home = SimpleNamespace(client=client, children=lambda owner: [])
    context = Context(Store(), None, lambda *_: None, lambda *_: None, lambda: 0.0)  # type: ignore[arg-type]
    context.clusters = SimpleNamespace(connected=lambda project=None: [("", home)])  # type: ignore[assignment]
    given = restore(IN_PLACE, phase="Running", before="undo-before", quiesced=["shop/live/web"])
    seen = []
    await client.create(types.NAMESPACE, None, {"metadata": {"name": "web-live"}})
    await client.create(types.POD, "web-live", pod("other", "homeport-restore-undo", kind="BackupRun"))
    await client.create(types.POD, "web-live", pod("mine", "homeport-restore-undo"))
    seen.append(await atrest.writing(given, context))
    waits = await farewell._last(given, context)
    await client.patch(types.POD, "web-live", "mine", {"status": {"phase": "Succeeded"}}, subresource="status")
    seen.append(await atrest.writing(given, context))
    return seen, waits


def pod(name: str, runner: str, kind: str = "Restore") -> dict[str, Any]:
    marks = {labels.RUNNER: runner, labels.PROJECT: "web", labels.OWNER_KIND: kind, labels.OWNER_NAME: "undo"}
    return {"metadata": {"name": name, "labels": marks}, "spec": {"containers": [{"name": "runner", "image": "r"}]}}


def test_one_that_is_deleted_waits_for_the_pods_of_its_runner() -> None:
    seen, waits = asyncio.run(_deleted())
    assert seen == [("mine",), ()]
    assert waits == Wait("Terminating", "waits for Pod mine to end", 2.0)


def test_a_claim_that_another_restore_has_filled_isnt_overwritten() -> None:
    of = order(WEB, "SQLite", source=SQLITE)
    made = restorejob.children(of)
    assert not isinstance(made, Outcome)
    claim = made[0].manifest
    assert restorejob.taken(of, {}) is None
    # Its own, which it has made a moment ago.
    assert restorejob.taken(of, {"web-data-undo": claim}) is None
    another = replace(of, uid=UID.replace("7", "8"))
    said = restorejob.taken(another, {"web-data-undo": claim})
    assert isinstance(said, Stalled) and (said.reason, "would be overwritten" in said.message) == ("NameTaken", True)
    assert restorejob.taken(another, {"web-data-undo": {"metadata": {"name": "web-data-undo"}}}) == said
    assert restorejob.taken(replace(of, spec=order(WEB, "SQLite", source=SQLITE, target=IN_PLACE).spec), {}) is None


async def _without_its_job(status: dict[str, Any], fresh: str, job: bool) -> RestoreWorld:
    client = MemoryClient(namespaces=True)
    cluster = SimpleNamespace(client=client)
    context = Context(Store(), None, lambda *_: None, lambda *_: None, lambda: 0.0)  # type: ignore[arg-type]
    context.clusters = {"": cluster}  # type: ignore[assignment]
    context.cluster = cluster  # type: ignore[assignment]
    of = order(WEB, "SQLite", source=SQLITE, target=IN_PLACE)
    for name in ("web", "web-live"):
        await client.create(types.NAMESPACE, None, {"metadata": {"name": name}})
    there = await client.create(types.RESTORE, "web", {"metadata": {"name": "undo"}, "spec": {}})
    await client.patch(types.RESTORE, "web", "undo", {"status": {"phase": fresh}}, subresource="status")
    if job:
        await client.create(types.JOB, "web-live", {"metadata": {"name": of.name}, "spec": {}})
    given = restore(IN_PLACE, phase="Running", before="undo-before", **status)
    given = replace(given, uid=there["metadata"]["uid"])
    wanted = restorejob.children(of)
    assert not isinstance(wanted, Outcome)
    return await kubernetesrestore._once(given, of, RestoreWorld(NOW, order=of, wanted=wanted), context)


def test_a_job_that_is_gone_isnt_made_again_over_what_was_written_since() -> None:
    assert asyncio.run(_without_its_job({}, "Running", job=False)).wanted
    seen = asyncio.run(_without_its_job({"attempts": 1}, "Running", job=True))
    assert (seen.wanted, seen.problem) == ((), None)
    seen = asyncio.run(_without_its_job({"attempts": 1}, "Running", job=False))
    assert seen.wanted == () and isinstance(seen.problem, Stalled)
    assert "it isn't made again" in seen.problem.message and "undo-before" in seen.problem.message
    fields, _ = step(restore(IN_PLACE, phase="Running", quiesced=["shop/live/web"]), problem=seen.problem)
    assert (fields["phase"], fields["outcome"], fields["reason"]) == ("Resuming", "Failed", "NoResult")
    # What is known here is older than what was written.
    with pytest.raises(errors.Conflict):
        asyncio.run(_without_its_job({}, "Resuming", job=False))


def test_that_its_job_was_there_is_written_down() -> None:
    running = restore(IN_PLACE, phase="Running", startedAt="2026-11-21T03:00:00Z")
    assert "attempts" not in step(running)[0]
    assert step(running, live=JOB)[0]["attempts"] == 1
    made = restorephases.status(running, running.status, RestoreWorld(NOW), Report(applied=frozenset(JOB)))
    assert made[0]["attempts"] == 1


def workload(kind: str, component: str, claim: str, app: str = "shop", **spec: Any) -> dict[str, Any]:
    template = {
        "spec": {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}], "containers": []}
    }
    marks = {labels.MANAGED_BY: labels.MANAGER, labels.PROJECT: "web", labels.APPLICATION: app,
             labels.ENVIRONMENT: "live", labels.COMPONENT: component, labels.OWNER_KIND: "Application",
             labels.OWNER_NAME: app}  # fmt: skip
    own = {"jobTemplate": {"spec": {"template": template}}} if kind == "CronJob" else {"template": template}
    return {"kind": kind, "metadata": {"name": component, "namespace": "web-live", "labels": marks},
            "spec": {**own, **spec}}  # fmt: skip


class Seen(SimpleNamespace):
    """A cluster with some workloads and Pods."""

    plane = ""

    def children_of(self, gvk: Any) -> list[dict[str, Any]]:
        return [one for one in self.objects if one["kind"] == gvk.kind]

    def children(self, owner: OwnerKey) -> list[dict[str, Any]]:
        return [{"apiVersion": "apps/v1", **one} for one in self.objects if labels.owner_of(one, "") == owner]

    def is_going(self, uid: str) -> bool:
        return False

    def pods(self, project: str, application: str, environment: str) -> list[dict[str, Any]]:
        return [pod for pod in self.running if pod["metadata"]["labels"][labels.APPLICATION] == application]


class Together(dict[str, Any]):
    """The only cluster that there is."""

    def connected(self, project: str | None = None) -> list[tuple[str, Any]]:
        return list(self.items())


def test_everything_that_has_the_volume_stops() -> None:
    of = order(WEB, "SQLite", source=SQLITE, target=IN_PLACE)
    context = Context(Store(), None, lambda *_: None, lambda *_: None, lambda: 0.0)  # type: ignore[arg-type]
    objects = [
        workload("Deployment", "web", "web-data"),
        workload("CronJob", "report", "web-data"),
        workload("StatefulSet", "reader", "web-data", app="other"),
        workload("Deployment", "apart", "another"),
    ]
    context.clusters = Together({"": Seen(objects=objects)})  # type: ignore[assignment]
    assert atrest.users(of, context) == ("other/live/reader", "shop/live/report", "shop/live/web")
    # A database is read by its own protocol: who depends on it is known from the Application.
    assert atrest.users(order(DATABASE, target=IN_PLACE), context) == ()


@pytest.mark.parametrize(
    ("objects", "pods", "left"),
    [
        ([workload("CronJob", "report", "web-data", suspend=False)], [], ("CronJob report",)),
        ([workload("CronJob", "report", "web-data", suspend=True)], [], ()),
        ([workload("CronJob", "report", "web-data", suspend=True)], ["Running"], ("Pod report-1",)),
        ([workload("CronJob", "report", "web-data", suspend=True)], ["Succeeded"], ()),
        ([workload("Deployment", "report", "web-data", replicas=1)], [], ("Deployment report",)),
        ([workload("Deployment", "report", "web-data", replicas=0)], ["Running"], ("Pod report-1",)),
        # Its workload is gone, and its Pod isn't yet.
        ([], ["Running"], ("Pod report-1",)),
    ],
)
def test_the_pods_of_a_cronjob_are_waited_for(objects: Any, pods: list[str], left: tuple[str, ...]) -> None:
    context = Context(Store(), None, lambda *_: None, lambda *_: None, lambda: 0.0)  # type: ignore[arg-type]
    marks = {labels.APPLICATION: "shop", labels.COMPONENT: "report"}
    running = [{"metadata": {"name": "report-1", "labels": marks}, "status": {"phase": phase}} for phase in pods]
    context.clusters = Together({"": Seen(objects=[{**one, "metadata": {**one["metadata"], "uid": "u"}}
                                                   for one in objects], running=running)})  # type: ignore[assignment]  # fmt: skip
    assert atrest.left(restore(IN_PLACE, phase="Quiescing", quiesced=["shop/live/report"]), context) == left


async def _mounting() -> tuple[str, ...]:
    client = MemoryClient(namespaces=True)
    context = Context(Store(), None, lambda *_: None, lambda *_: None, lambda: 0.0)  # type: ignore[arg-type]
    context.clusters = Together({"": SimpleNamespace(client=client)})  # type: ignore[assignment]
    await client.create(types.NAMESPACE, None, {"metadata": {"name": "web-live"}})
    for name, claim in (("a-strangers", "web-data"), ("ended", "web-data"), ("another", "other")):
        volume = {"name": "v", "persistentVolumeClaim": {"claimName": claim}}
        spec = {"containers": [{"name": "main", "image": "i"}], "volumes": [volume]}
        await client.create(types.POD, "web-live", {"metadata": {"name": name}, "spec": spec})
    await client.patch(types.POD, "web-live", "ended", {"status": {"phase": "Failed"}}, subresource="status")
    return await atrest.mounting(order(WEB, "SQLite", source=SQLITE, target=IN_PLACE), context)


def test_a_strangers_pod_with_the_volume_is_waited_for() -> None:
    assert asyncio.run(_mounting()) == ("Pod a-strangers",)


GONE = Wait("DependencyNotReady", "Environment live doesn't exist in namespace web; create it")
EARLIER = "2026-11-21T01:00:00Z"  # two hours before NOW


@pytest.mark.parametrize(
    ("phase", "status", "seen", "ends"),
    [
        ("Before", {}, {"saved": {"phase": "Running"}, "timeout": 3000}, True),
        ("Before", {}, {"saved": {"phase": "Running"}, "timeout": 4000}, False),
        # The Environment has come back, and what was saved is of long ago.
        ("Before", {}, {"saved": {"phase": "Succeeded"}, "timeout": 3000}, True),
        ("Quiescing", {"stoppedAt": EARLIER}, {"left": ["Pod web-1"]}, True),
        ("Quiescing", {"stoppedAt": EARLIER}, {"problem": GONE}, True),
        ("Quiescing", {"stoppedAt": "2026-11-21T02:45:00Z"}, {"left": ["Pod web-1"]}, False),
        ("Running", {"stoppedAt": EARLIER}, {"problem": GONE, "timeout": 1000}, True),
        ("Running", {"stoppedAt": EARLIER}, {"timeout": 1000}, True),
        ("Running", {"stoppedAt": EARLIER}, {"problem": GONE, "timeout": 3000}, False),
        # Its Job has a limit of its own.
        ("Running", {"stoppedAt": EARLIER}, {"live": JOB, "timeout": 1000}, False),
    ],
)
def test_nothing_is_at_rest_for_ever(phase: str, status: dict[str, Any], seen: dict[str, Any], ends: bool) -> None:
    stopped = {"quiesced": ["shop/live/web"]} if phase != "Before" else {}
    given = restore(IN_PLACE, phase=phase, before="undo-before", startedAt=EARLIER, **stopped, **status)
    fields, outcome = step(given, **seen)
    if not ends:
        assert fields["phase"] == phase
        return
    assert fields["phase"] == ("Resuming" if stopped else "Cleaning")
    assert (fields["outcome"], fields["reason"], "quiesced" in fields) == ("Failed", "TimedOut", False)
    assert "it has waited for longer than" in outcome.message
