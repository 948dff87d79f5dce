"""What a Restore makes: which run it means, the Job that brings it back or proves it, and its phases."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from homeport.api import labels
from homeport.api.backup import Verify
from homeport.api.backuprepository import BackupRepositorySpec
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource, parse, parse_spec
from homeport.api.restore import RestoreSpec
from homeport.outcome import Ok, Outcome, Stalled, Wait
from homeport.plan.backup import access, choosing, drilljob, restorejob, restorephases, runnerjob, volumes
from homeport.plan.backup import restore as plan
from homeport.plan.backup.choosing import Chosen
from homeport.plan.backup.drilljob import Drill
from homeport.plan.backup.restore import RestoreWorld
from homeport.plan.backup.restorejob import Order
from homeport.plan.podsecurity import violations
from homeport.plan.types import Child, Manifest, ObjectId
from homeport.plan.world import Report
from unit.render_cases import application
from unit.test_backup_source import DATABASE, GOLDEN, WEB, found, good, world

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
UID = "7f6d1c1e-0000-4000-8000-000000000000"
IN_PLACE = {"inPlace": {"confirm": UID, "quiesce": True}}
REDIS: dict[str, Any] = {
    "name": "cache",
    "type": "stateful",
    "image": "redis:7",
    "args": ["--appendonly", "yes", "--requirepass", "$(REDIS_PASSWORD)"],
    "ports": [{"name": "redis", "port": 6379}],
    "env": [{"name": "REDIS_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "cache", "key": "password"}}}],
    "volumes": [{"name": "data", "path": "/data", "size": "1Gi"}],
    "securityContext": {"runAsUser": 999, "fsGroup": 999},
}


# --- which run --------------------------------------------------------------------------------------------------------

RUNS = [
    {"run": "n-4", "snapshot": "d" * 64, "time": "2026-11-21T03:00:00Z", "complete": False},
    {"run": "n-3", "snapshot": "c" * 64, "time": "2026-11-20T03:00:00Z"},
    {"run": "n-2", "snapshot": "b" * 64, "time": "2026-11-19T03:00:00Z"},
    {"run": "n-1", "snapshot": "a" * 64, "time": "2026-11-18T03:00:00Z"},
]
MANY = [{**RUNS[1], "run": f"n-{n}", "snapshot": f"{n:064x}"} for n in range(choosing.LISTED)]


def chosen(runs: list[dict[str, Any]] = RUNS, known: Any = None, **spec: Any) -> Chosen | Outcome:
    given = parse_spec(RestoreSpec, {"backupRef": {"name": "nightly"}, **spec})
    return choosing.choose(
        given, {"runs": runs, **(known or {})}, {"e" * 64: "n-2", "f" * 64: "n-0"}, "2026-11-21T04:00:00Z"
    )


@pytest.mark.parametrize(
    ("spec", "run"),
    [
        ({}, "n-3"),
        ({"snapshot": "latest"}, "n-3"),
        ({"snapshot": "b" * 12}, "n-2"),
        ({"snapshot": "e" * 64}, "n-2"),
        ({"before": "2026-11-20T03:00:00Z"}, "n-2"),
        ({"before": "2026-11-20T04:00:01+01:00"}, "n-3"),
    ],
)
def test_the_run_that_is_meant(spec: dict[str, Any], run: str) -> None:
    found = chosen(**spec)
    assert isinstance(found, Chosen) and found.run == run
    assert found.select(["a/b"]) == {"run": run, "paths": ["a/b"]}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            {"snapshot": "0" * 12},
            "no run has a snapshot 000000000000; write one of these, the nearest: cccccccccccc (n-3, "
            "2026-11-20T03:00:00Z), bbbbbbbbbbbb (n-2, 2026-11-19T03:00:00Z), aaaaaaaaaaaa (n-1, 2026-11-18T03:00:00Z)",
        ),
        (
            {"before": "2026-11-18T00:00:00Z"},
            "there is no complete run from before 2026-11-18T00:00:00Z; write one of these, the nearest: aaaaaaaaaaaa "
            "(n-1, 2026-11-18T03:00:00Z), bbbbbbbbbbbb (n-2, 2026-11-19T03:00:00Z), cccccccccccc (n-3, "
            "2026-11-20T03:00:00Z)",
        ),
        (
            {"snapshot": "d" * 12},
            "the run n-4 was cut off, and isn't whole; write one of these, the nearest: cccccccccccc (n-3, "
            "2026-11-20T03:00:00Z), bbbbbbbbbbbb (n-2, 2026-11-19T03:00:00Z), aaaaaaaaaaaa (n-1, 2026-11-18T03:00:00Z)",
        ),
    ],
)
def test_one_that_isnt_there_lists_the_nearest(spec: dict[str, Any], said: str) -> None:
    assert chosen(**spec) == Stalled("SnapshotMissing", said)


def test_only_cut_off_ones() -> None:
    assert chosen(RUNS[:1]) == Stalled("SnapshotMissing", "there is no complete run; there are no complete ones")


@pytest.mark.parametrize(
    ("runs", "spec", "select"),
    [
        # What is saved from now on doesn't count.
        ([], {}, {"before": "2026-11-21T04:00:00Z"}),
        ([], {"snapshot": "0" * 12}, {"snapshot": "0" * 12}),
        ([], {"before": "2026-11-18T00:00:00Z"}, {"before": "2026-11-18T00:00:00Z"}),
        (MANY, {"snapshot": "9" * 12}, {"snapshot": "9" * 12}),
        (MANY, {"before": "2020-11-18T00:00:00Z"}, {"before": "2020-11-18T00:00:00Z"}),
        # A run that is no longer listed, of which a BackupRun still tells.
        (RUNS, {"snapshot": "f" * 12}, {"snapshot": "f" * 12}),
    ],
)
def test_where_the_list_doesnt_tell_the_runner_is_asked(runs: Any, spec: dict[str, Any], select: Any) -> None:
    found = chosen(runs, **spec)
    assert isinstance(found, Chosen) and (found.run, found.select()) == ("", select)


@pytest.mark.parametrize(
    ("known", "spec", "select"),
    [
        # The list is shortened: it says itself that there are more.
        ({"snapshots": 9}, {"snapshot": "0" * 12}, {"snapshot": "0" * 12}),
        ({"snapshots": 9}, {"before": "2026-11-18T00:00:00Z"}, {"before": "2026-11-18T00:00:00Z"}),
        ({"snapshots": 9}, {}, {"run": "n-3"}),
        # A newer good run is known than all that are listed.
        ({"lastSuccess": {"run": "n-5", "time": "2026-11-21T03:30:00Z"}}, {}, {"before": "2026-11-21T04:00:00Z"}),
        (
            {"lastSuccess": {"run": "n-5", "time": "2026-11-21T03:30:00Z"}},
            {"before": "2026-11-21T03:40:00Z"},
            {"before": "2026-11-21T03:40:00Z"},
        ),
        ({"lastSuccess": {"run": "n-5", "time": "2026-11-21T03:30:00Z"}}, {"snapshot": "b" * 12}, {"run": "n-2"}),
        ({"lastSuccess": {"run": "n-3", "time": "2026-11-20T02:59:00Z"}, "snapshots": 4}, {}, {"run": "n-3"}),
    ],
)
def test_a_list_that_lacks_some_decides_nothing(known: Any, spec: dict[str, Any], select: Any) -> None:
    found = chosen(known=known, **spec)
    assert isinstance(found, Chosen) and found.select() == select


# --- the Job ----------------------------------------------------------------------------------------------------------


def order(component: dict[str, Any], method: str | None = None, **given: Any) -> Order:
    source = given.pop("source", {})
    target = good(found(component, method, **source))
    spec = parse_spec(
        BackupRepositorySpec,
        {
            "s3": {"endpoint": "https://s3.example.com", "bucket": "backups", "credentialsSecretRef": {"name": "s3"}},
            "encryption": {"passwordSecretRef": {"name": "restic", "key": "password"}},
            "environments": ["live"],
        },
    )
    volume = target.volume
    if method == "Redis" or target.method == "Redis":
        volume = next(iter(mounted(component)))
    restore = parse_spec(RestoreSpec, {"backupRef": {"name": "nightly"}, **given})
    claim = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
                      "storageClassName": "fast", "volumeName": "pv-1"}}  # fmt: skip
    chosen = Chosen("n-3", "c" * 64, "2026-11-20T03:00:00Z")
    return Order(
        OwnerKey("Restore", "web", "undo"), UID, restore, chosen, {"backup": "web/nightly"}, target,
        access.access("offsite", "web", spec), "runner:1", 3600, volume, claim,
    )  # fmt: skip


def mounted(component: dict[str, Any]) -> list[volumes.Mounted]:
    workload = next(one for one in world(component).objects if one["kind"] in ("Deployment", "StatefulSet"))
    return volumes.of(workload, component["name"])


def of_restore(*arguments: Any, **given: Any) -> tuple[Child, ...]:
    made = restorejob.children(order(*arguments, **given))
    assert not isinstance(made, Outcome), made
    return made


def of_drill(component: dict[str, Any], method: str | None = None, verify: Any = None, **given: Any) -> Any:
    of = order(component, method, target={"drill": {}}, **given)
    check = {"check": {"exec": ["psql", "-tAc", "select 1"], "expect": ">0"}}
    volume = {volume.claim: of.claim for volume in mounted(component)}
    return drilljob.children(
        Drill(of, parse_spec(Verify, check if verify is None else verify), mounted(component), volume)
    )  # type: ignore[arg-type]


SQLITE = {"paths": ["/data/db/app.db"]}
CASES: dict[str, Any] = {
    "restore-postgres-new": lambda: of_restore(DATABASE),
    "restore-postgres-in-place": lambda: of_restore(DATABASE, target=IN_PLACE),
    "restore-sqlite-new": lambda: of_restore(WEB, "SQLite", source=SQLITE),
    "restore-sqlite-in-place": lambda: of_restore(WEB, "SQLite", source=SQLITE, target=IN_PLACE),
    "restore-files-paths": lambda: of_restore(WEB, "Files", paths=["a/b.txt"]),
    "restore-redis-in-place": lambda: of_restore(REDIS, target=IN_PLACE),
    "drill-postgres": lambda: of_drill(DATABASE),
    "drill-redis": lambda: of_drill(REDIS),
    "drill-sqlite": lambda: of_drill(WEB, "SQLite", source=SQLITE),
    "drill-integrity": lambda: of_drill(DATABASE, verify={"restore": False}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_job(name: str, update_golden: bool) -> None:
    children = CASES[name]()
    # Without aliases for what two containers share.
    plain = json.loads(json.dumps([child.manifest for child in children]))
    rendered = yaml.safe_dump_all(plain, sort_keys=False, width=120)
    golden = GOLDEN / f"{name}.yaml"
    if update_golden:
        golden.write_text(rendered)
    assert golden.read_text() == rendered
    assert {labels.owner_of(child.manifest) for child in children} == {OwnerKey("Restore", "web", "undo")}
    job = children[-1].manifest
    assert job["kind"] == "Job"
    assert not violations(job["spec"]["template"]["spec"], "restricted")
    kept = [child.manifest["kind"] for child in children if child.deletion == "Retain"]
    assert kept == (["PersistentVolumeClaim"] if name in ("restore-sqlite-new", "restore-files-paths") else [])


def work(children: tuple[Child, ...]) -> Manifest:
    container = children[-1].manifest["spec"]["template"]["spec"]["containers"][0]
    return dict(json.loads(container["env"][-1]["value"]))


def test_in_place_goes_where_it_came_from_and_beside_it_to_a_volume_that_can_take_its_place() -> None:
    assert work(of_restore(WEB, "SQLite", source=SQLITE, target=IN_PLACE))["target"] == {
        "paths": ["/source/data/db"],
        "existing": "Replace",
    }
    children = of_restore(WEB, "SQLite", source=SQLITE)
    assert work(children)["target"]["paths"] == ["/source/data/db"]
    claim = children[0].manifest
    assert claim["metadata"]["name"] == "web-data-undo"
    assert "volumeName" not in claim["spec"]
    pod = children[-1].manifest["spec"]["template"]["spec"]
    assert {"name": "source", "persistentVolumeClaim": {"claimName": "web-data-undo"}} in pod["volumes"]


@pytest.mark.parametrize(
    ("taken", "asked", "select"),
    [
        ([], ["a/b.txt"], ["a/b.txt"]),
        ([], ["/data/a/b.txt", "c"], ["a/b.txt", "c"]),
        (["/data/uploads"], ["/data/uploads/a.png"], ["a.png"]),
        (["uploads"], ["a.png"], ["a.png"]),
    ],
)
def test_single_paths_are_those_of_the_run(taken: list[str], asked: list[str], select: list[str]) -> None:
    children = of_restore(WEB, "Files", source={"paths": taken}, paths=asked)
    assert work(children)["select"] == {"run": "n-3", "paths": select}


def test_a_drill_never_knows_the_original() -> None:
    for name in ("drill-postgres", "drill-redis", "drill-sqlite", "drill-integrity"):
        children = CASES[name]()
        text = json.dumps([child.manifest for child in children])
        assert "persistentVolumeClaim" not in text
        assert ".svc" not in text
        policies = [child.manifest["spec"] for child in children if child.manifest["kind"] == "NetworkPolicy"]
        assert [policy["podSelector"] for policy in policies] == [
            {"matchLabels": {labels.RUNNER: "homeport-restore-undo"}}
        ]
        assert "ingress" not in policies[0] and "Ingress" in policies[0]["policyTypes"]


@pytest.mark.parametrize(
    ("method", "spec", "said"),
    [
        ("Postgres", {"paths": ["a"]}, "spec.paths: only method Files knows files"),
        ("Files", {"paths": ["a/../../b"]}, "spec.paths: a/../../b: write a path without '..'"),
        ("Files", {"target": {"inPlace": {"confirm": UID}}}, "write quiesce: true"),
        ("Redis", {"target": {"inPlace": {"confirm": UID}}}, "write quiesce: true"),
        ("Manifests", {}, "manifests are brought back by `homeport import`"),
        ("Manifests", {"target": {"drill": {}}}, ""),
        ("Postgres", {"target": {"inPlace": {"confirm": UID}}}, ""),
        ("Files", {"target": IN_PLACE, "paths": ["a"]}, ""),
    ],
)
def test_what_a_method_cant_do(method: str, spec: dict[str, Any], said: str) -> None:
    outcome = restorejob.problem(method, parse_spec(RestoreSpec, {"backupRef": {"name": "nightly"}, **spec}))
    if not said:
        assert outcome is None
    else:
        assert isinstance(outcome, Stalled) and said in outcome.message


# --- phases -----------------------------------------------------------------------------------------------------------


def restore(target: dict[str, Any] | None = None, **status: Any) -> Resource[RestoreSpec]:
    metadata = {"name": "undo", "namespace": "web", "uid": UID, "generation": 1, "resourceVersion": "1"}
    spec = {"backupRef": {"name": "nightly"}, **({"target": target} if target else {})}
    body = {"apiVersion": labels.API_VERSION, "kind": "Restore", "metadata": metadata, "spec": spec, "status": status}
    return parse(body)


def step(given: Resource[RestoreSpec], **seen: Any) -> tuple[dict[str, Any], Outcome]:
    return restorephases.status(given, given.status, RestoreWorld(NOW, **seen), Report())


RESULT = {
    "outcome": "Succeeded", "message": "the run n-3 was restored", "run": "n-3", "snapshot": "c" * 64, "bytes": 100,
    "takenAt": "2026-11-20T03:00:00+00:00", "durationSeconds": 12.0, "finishedAt": "2026-11-21T03:00:00+00:00",
    "parts": [{"part": "database/shop", "database": "shop_undo", "bytes": 100}],
}  # fmt: skip
JOB = {("", ObjectId("web-live", "homeport-restore-undo", "batch", "Job")): {
    "kind": "Job", "metadata": {"creationTimestamp": "2026-11-21T02:59:20Z"}}}  # fmt: skip
MADE = {("", ObjectId("web-live", "web-data-undo", "", "PersistentVolumeClaim")): {
    "kind": "PersistentVolumeClaim", "metadata": {}}}  # fmt: skip


def test_beside_the_original() -> None:
    of = order(DATABASE)
    fields, outcome = step(restore(), order=of, chosen=of.chosen, wanted=of_restore(DATABASE))
    assert fields == {
        "phase": "Running", "run": "n-3", "snapshot": "c" * 64, "time": "2026-11-20T03:00:00Z",
        "startedAt": "2026-11-21T03:00:00Z", "method": "Postgres",
    }  # fmt: skip
    assert outcome == Wait("Progressing", "its Job is being made", 0.0)
    running = restore(**fields)
    # Only what was written down is begun.
    assert plan.desired(restore(), RestoreWorld(NOW, wanted=of_restore(DATABASE))).children == ()
    assert len(plan.desired(running, RestoreWorld(NOW, wanted=of_restore(DATABASE))).children) == 4
    assert not plan.desired(running, RestoreWorld(NOW)).complete
    event = {"event": "progress", "part": "database/shop", "bytes": 50, "percent": 50, "etaSeconds": 61}
    fields, outcome = step(running, live=JOB, event=event)
    assert fields["progress"] == {"part": "database/shop", "bytes": 50, "percent": 50, "eta": "1m1s"}
    assert "50 bytes, 50 %, 1m1s to go" in outcome.message
    fields, outcome = step(restore(**fields), live=JOB, result=RESULT, order=of)
    assert fields["phase"] == "Cleaning" and "progress" not in fields
    assert fields["restoredTo"] == {"databases": ["shop_undo"], "namespace": "web-live"}
    assert fields["duration"] == "40s"
    cleaning = restore(**fields)
    assert plan.desired(cleaning, RestoreWorld(NOW, live=JOB)).children == ()
    assert step(cleaning, live=JOB)[0]["phase"] == "Cleaning"
    fields, outcome = step(cleaning)
    assert fields["phase"] == "Succeeded"
    assert outcome == Ok("the run n-3 was restored to shop_undo in namespace web-live in 40s")
    # Over is over, whatever has become of what it named.
    assert step(restore(**fields), problem=Wait("DependencyNotReady", "gone")) == (fields, outcome)


def test_a_claim_that_was_made_stays_and_doesnt_hold_it_up() -> None:
    running = restore(phase="Running", startedAt="2026-11-21T02:59:00Z", method="SQLite")
    fields, _ = step(running, live={**JOB, **MADE}, result={**RESULT, "parts": [{"part": "database/app.db"}]})
    assert fields["restoredTo"] == {"claims": ["web-data-undo"], "namespace": "web-live"}
    assert step(restore(**fields), live=MADE)[0]["phase"] == "Succeeded"


def test_in_place_step_by_step() -> None:
    of = order(WEB, "SQLite", source=SQLITE, target=IN_PLACE)
    seen: dict[str, Any] = {"order": of, "chosen": of.chosen, "quiesces": ("shop/live/web",)}
    fields, _ = step(restore(IN_PLACE), **seen)
    assert (fields["phase"], fields["before"], "quiesced" in fields) == ("Before", "undo-before", False)
    before = restore(IN_PLACE, **fields)
    for saved in (None, {}, {"phase": "Running"}):
        assert step(before, saved=saved, **seen)[0]["phase"] == "Before"
    fields, _ = step(before, saved={"phase": "Succeeded"}, **seen)
    assert (fields["phase"], fields["quiesced"]) == ("Quiescing", ["shop/live/web"])
    quiescing = restore(IN_PLACE, **fields)
    fields, outcome = step(quiescing, left=["Pod web-1", "Pod web-2"], **seen)
    assert (fields["phase"], outcome.message) == ("Quiescing", "waits for Pod web-1 and 1 more to end")
    fields, _ = step(quiescing, **seen)
    assert (fields["phase"], fields["quiesced"]) == ("Running", ["shop/live/web"])
    fields, _ = step(restore(IN_PLACE, **fields), live=JOB, result={**RESULT, "parts": [{"part": "a"}]}, **seen)
    assert (fields["phase"], "quiesced" in fields) == ("Resuming", False)
    assert fields["restoredTo"]["claims"] == ["web-data"]
    resuming = restore(IN_PLACE, **fields)
    assert step(resuming, live=JOB, **seen)[0]["phase"] == "Resuming"
    assert step(resuming, waiting="live/web to run again", **seen)[0]["phase"] == "Resuming"
    assert step(resuming, **seen)[0]["phase"] == "Succeeded"


@pytest.mark.parametrize("phase", ["Failed", "Incomplete"])
def test_nothing_is_overwritten_that_couldnt_be_saved(phase: str) -> None:
    before = restore(IN_PLACE, phase="Before", before="undo-before", startedAt="2026-11-21T03:00:00Z")
    fields, _ = step(before, saved={"phase": phase, "reason": "SourceUnreachable", "message": "no answer"})
    assert (fields["phase"], fields["outcome"], fields["reason"]) == ("Cleaning", "Failed", "BackupFailed")
    fields, outcome = step(restore(IN_PLACE, **fields))
    assert outcome == Stalled(
        "RestoreFailed",
        "BackupFailed: what is there couldn't be saved, so nothing was overwritten (SourceUnreachable: no answer)",
    )
    assert "quiesced" not in fields


def test_a_failure_lets_run_again_what_was_at_rest() -> None:
    running = restore(IN_PLACE, phase="Running", quiesced=["shop/live/web"], startedAt="2026-11-21T03:00:00Z")
    failed = {"outcome": "Failed", "reason": "TargetTooSmall", "message": "/source/data has 1 MiB free"}
    fields, _ = step(running, live=JOB, result=failed)
    assert (fields["phase"], "quiesced" in fields) == ("Resuming", False)
    fields, outcome = step(restore(IN_PLACE, **fields))
    assert fields["phase"] == "Failed" and "duration" not in fields
    assert outcome == Stalled("RestoreFailed", "TargetTooSmall: /source/data has 1 MiB free")


def test_a_drill() -> None:
    running = restore({"drill": {}}, phase="Running", startedAt="2026-11-21T02:59:00Z", run="n-3")
    checked = {**RESULT, "check": {"passed": True, "output": "7\n"}}
    fields, _ = step(running, live=JOB, result=checked)
    assert (fields["check"], fields["duration"], "restoredTo" in fields) == (
        {"output": "7\n", "passed": True}, "40s", False,
    )  # fmt: skip
    assert "duration" not in step(running, live=JOB, result=checked, proves=True)[0]
    failed = {**checked, "outcome": "Failed", "reason": "CheckFailed", "message": "the check printed '0'",
              "check": {"passed": False, "output": "0\n"}}  # fmt: skip
    fields, _ = step(running, live=JOB, result=failed)
    fields, outcome = step(restore({"drill": {}}, **fields))
    assert outcome == Stalled("VerificationFailed", "CheckFailed: the check printed '0'")
    assert (fields["phase"], fields["check"]["passed"], "duration" in fields) == ("Failed", False, False)


def test_a_drill_without_a_run_is_over_and_the_next_may_do_better() -> None:
    missing = Stalled("SnapshotMissing", "there is no complete run; there are no complete ones")
    fields, outcome = step(restore({"drill": {}}), problem=missing)
    assert (fields["phase"], outcome) == ("Failed", missing)
    # Anything else waits for somebody to mend it.
    assert step(restore(), problem=missing) == ({"phase": "Pending"}, missing)


def test_who_has_to_be_at_rest() -> None:
    components = [
        {"name": "db", "type": "stateful", "image": "postgres:17", "ports": [{"name": "main", "port": 5432}]},
        {"name": "api", "image": "api:1", "ports": [{"name": "http", "port": 80}], "dependsOn": ["db"]},
        {"name": "web", "image": "web:1", "ports": [{"name": "http", "port": 80}], "dependsOn": ["api"]},
    ]
    app = application({"version": "1.0.0", "components": components}, "shop", "web")
    assert plan.quiesced(app, "live", "db", "Postgres") == ("shop/live/api",)
    assert plan.quiesced(app, "live", "db", "Files") == ("shop/live/db",)


@pytest.mark.parametrize(
    ("endpoint", "egress"),
    [
        ("https://s3.example.com", [53, 53, 443]),
        ("http://s3.example.com", [53, 53, 80]),
        ("https://s3.example.com:7070", [53, 53, 7070]),
        ("http://minio.storage.svc:9000", None),
        ("http://minio:9000", None),
    ],
)
def test_what_a_drill_may_reach(endpoint: str, egress: list[int] | None) -> None:
    found = runnerjob._to_repository(access.Access({"s3": {"endpoint": endpoint}}))
    assert ([port["port"] for port in found[0]["ports"]] if egress else found) == (egress or [{}])


def test_a_drill_reaches_nobody_when_its_repository_is_a_volume() -> None:
    assert runnerjob._to_repository(access.Access({"filesystem": {"path": "/repository"}})) == []


def test_what_joins_a_cluster_when_it_starts_is_not_drilled() -> None:
    made = of_drill({**DATABASE, "image": "bitnami/postgresql-repmgr:17"})
    assert isinstance(made, Stalled) and "repmgr would look for its cluster" in made.message
