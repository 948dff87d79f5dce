"""Files are read out of a CSI snapshot where there can be one, and the volume itself where there can't."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from test_backup_repository import Shop as Played
from test_backup_repository import of_kind, secret
from test_backup_source import WEB, found, good, pod, refused, world
from test_backups import NAMESPACE, at, clock_at, ours

from homeport.api.backup import BackupSource
from homeport.api.resource import parse_spec
from homeport.drivers.kubernetes import types
from homeport.plan.backup import snapshots
from homeport.plan.backup.resolving import resolve
from homeport.plan.backup.snapshots import Offered, Reading
from homeport.plan.backup.source import Source
from memory_world import Killed, Manifest, Running

DRIVER = "csi.example.com"
PLACE = f"{NAMESPACE}-dev"
AUTO, ALWAYS = Reading("Auto"), Reading("Always")


def class_(name: str, driver: str = DRIVER, policy: str = "Delete", **annotations: str) -> Manifest:
    metadata = {"name": name, "annotations": {f"snapshot.storage.kubernetes.io/{k}": v for k, v in annotations.items()}}
    return {"metadata": metadata, "driver": driver, "deletionPolicy": policy}


CLAIM = {"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast"}, "status": {"phase": "Bound"}}
DEFAULT = class_("chosen", **{"is-default-class": "true"})


@pytest.mark.parametrize(
    ("classes", "asked", "name", "why"),
    [
        ([class_("one")], AUTO, "one", ""),
        ([class_("one"), class_("two", "other.example.com")], AUTO, "one", ""),
        ([class_("one"), DEFAULT], AUTO, "chosen", ""),
        ([class_("one"), DEFAULT], Reading("Auto", "one"), "one", ""),
        ([class_("one")], snapshots.LIVE, "", ""),
        ([], Reading(taken="gone"), "gone", ""),
        ([], AUTO, "", "there is no VolumeSnapshotClass for driver csi.example.com"),
        ([class_("b"), class_("a")], AUTO, "",
         "several VolumeSnapshotClasses are for driver csi.example.com; write one of them in snapshotClass: a, b"),
        ([class_("one")], Reading("Auto", "two"), "",
         "VolumeSnapshotClass two isn't there for driver csi.example.com of the claim web-data; of that driver there "
         "are: one"),
        ([class_("one", policy="Retain")], AUTO, "",
         "VolumeSnapshotClass one keeps what it makes for good; one with deletionPolicy: Delete is needed"),
    ],
)  # fmt: skip
def test_which_class_makes_a_snapshot(classes: list[Manifest], asked: Reading, name: str, why: str) -> None:
    offered = Offered(True, classes, {"fast": DRIVER})
    assert snapshots.class_of(CLAIM, "web-data", offered, asked) == (name, why)


@pytest.mark.parametrize(
    ("claim", "offered", "why"),
    [
        (CLAIM, Offered(), "the cluster has no VolumeSnapshots (snapshot.storage.k8s.io/v1)"),
        (CLAIM, Offered(True), "there is no StorageClass fast"),
        ({"spec": {"storageClassName": ""}}, Offered(True), "the claim web-data has no StorageClass"),
        ({"spec": CLAIM["spec"]}, Offered(True, drivers={"fast": DRIVER}), "the claim web-data isn't bound yet"),
    ],
)  # fmt: skip
def test_why_there_can_be_no_snapshot(claim: Manifest, offered: Offered, why: str) -> None:
    assert snapshots.class_of(claim, "web-data", offered, AUTO) == ("", why)


NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("made", "status", "ready", "failed", "message"),
    [
        ("02:59:00", {}, False, False, "the VolumeSnapshot isn't ready to use yet"),
        ("02:59:00", {"readyToUse": True}, True, False, ""),
        ("02:55:00", {"error": {"message": "quota"}}, False, False, "quota"),
        ("02:45:00", {"error": {"message": "quota"}}, False, True, "quota"),
        ("02:45:00", {}, False, True, "no snapshot controller has answered"),
        # It is taken, and is being stored: that may take long.
        ("01:00:00", {"creationTime": "x"}, False, False, "the VolumeSnapshot isn't ready to use yet"),
    ],
)
def test_how_far_a_snapshot_is(made: str, status: Manifest, ready: bool, failed: bool, message: str) -> None:
    there = {"metadata": {"creationTimestamp": f"2026-11-21T{made}Z"}, "status": status}
    assert snapshots.state(there, NOW) == snapshots.State(ready, failed, message)


def resolved(reading: Reading, modes: str = "ReadWriteOnce", **more: Any) -> Any:
    seen = world(WEB, (pod("web-1"),), modes)
    seen.claims["web-data"].update(status=CLAIM["status"])
    seen.claims["web-data"]["spec"]["storageClassName"] = "fast"
    offered = Offered(**{"served": True, "classes": [class_("one")], "drivers": {"fast": DRIVER}, **more})
    given = parse_spec(BackupSource, {"application": "shop", "component": "web", "environment": "live"})
    return resolve("web", given, "Files", type(seen)(**{**seen.__dict__, "snapshots": offered}), reading)


def test_a_snapshot_is_read_on_any_node_and_had_better_be_near() -> None:
    source = good(resolved(AUTO))
    assert (source.snapshot, source.unheld, source.node) == ("one", "", "one")
    made = snapshots.planned("now", "u-1", source)
    assert made is not None
    read: Source = snapshots.instead(source, made)
    assert read.volume is not None
    assert (read.volume.claim, read.volume.at, read.node, read.near) == (made.name, "/source/data", "", "one")
    # A later run of the same name never takes this one for its own.
    other = snapshots.planned("now", "u-2", source)
    assert other is not None
    assert other.name != made.name


def test_without_one_it_is_told_or_refused() -> None:
    source = good(resolved(AUTO, classes=[]))
    assert (source.snapshot, source.unheld) == ("", "there is no VolumeSnapshotClass for driver csi.example.com")
    assert refused(resolved(ALWAYS, served=False)) == (
        "spec.files.snapshot: Always, and no snapshot can be made: the cluster has no VolumeSnapshots "
        "(snapshot.storage.k8s.io/v1); with Auto the volume is read while it is in use then"
    )
    # One that a single Pod may have is out of reach but for a snapshot.
    assert good(resolved(AUTO, "ReadWriteOncePod")).snapshot == "one"
    assert "is ReadWriteOncePod" in refused(resolved(AUTO, "ReadWriteOncePod", classes=[]))
    # Other methods read the volume as it is.
    assert good(found(WEB, "SQLite", paths=["/data/app.db"])).snapshot == ""


# --- a run ------------------------------------------------------------------------------------------------------------

KINDS = (types.PROJECT, types.ENVIRONMENT, types.APPLICATION, types.BACKUP_REPOSITORY, types.BACKUP, types.BACKUP_RUN)
START = "2026-02-01T00:00:00Z"


class Cluster(Played):
    """A cluster whose driver makes snapshots as ``answers`` says."""

    def __init__(self) -> None:
        super().__init__()
        self.ours = KINDS
        self.answers: Manifest = {"readyToUse": True, "creationTime": "2026-02-01T00:00:01Z", "restoreSize": "2Gi"}
        self.played[types.BACKUP_REPOSITORY] = lambda found, failing: {"initialized": True}
        self.played[types.BACKUP] = lambda found, failing: {}
        self.played[types.PERSISTENT_VOLUME_CLAIM] = lambda found, failing: {"phase": "Bound"}
        self.played[types.VOLUME_SNAPSHOT] = lambda found, failing: self.answers

    @property
    def run(self) -> Manifest:
        return dict(self.get(types.BACKUP_RUN, NAMESPACE, "now").get("status") or {})

    def left(self) -> list[str]:
        """What a run made and is still there."""
        claims = [name for name in of_kind(self, types.PERSISTENT_VOLUME_CLAIM) if name != "web-data"]
        return [*claims, *of_kind(self, types.VOLUME_SNAPSHOT), *of_kind(self, types.JOB)]


async def cluster(*classes: Manifest, **files: Any) -> Cluster:
    there = Cluster()
    there.clock.seconds = clock_at(START)
    for name in (NAMESPACE, PLACE, "kube-system"):
        await there.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
    storage = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"}}
    await there.apply([{**storage, "provisioner": DRIVER}])
    api = {"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass"}
    await there.apply([{**api, **found} for found in classes])
    web = {"name": "web", "image": "example/web:1", "ports": [{"name": "http", "port": 8000}]}
    volume = {"name": "data", "path": "/data", "size": "1Gi", "storageClass": "fast"}
    source = {"application": "shop", "component": "web", "environment": "dev"}
    place = {"endpoint": "https://s3.example.com", "bucket": "backups", "credentialsSecretRef": {"name": "s3"}}
    key = {"passwordSecretRef": {"name": "restic", "key": "password"}}
    backup = {"source": source, "method": "Files", "repositoryRef": {"name": "offsite"}}
    await there.apply(
        [
            ours("Project", NAMESPACE, {}),
            secret("s3", accessKeyId="YQ==", secretAccessKey="Yg=="),
            secret("restic", password="Yw=="),
            ours("Environment", "dev", {"tier": "Development"}),
            ours("Application", "shop", {"version": "1.0.0", "components": [{**web, "volumes": [volume]}]}),
            ours("BackupRepository", "offsite", {"s3": place, "encryption": key, "environments": ["dev"]}),
            ours("Backup", "nightly", {**backup, **({"files": files} if files else {})}),
        ]
    )
    running = await there.operator()
    await running.settle()
    await running.stop()
    await there.apply([ours("BackupRun", "now", {"backupRef": {"name": "nightly"}})])
    return there


async def lived(there: Cluster, kill_at: tuple[int, bool] | None = None, seconds: float = 1800.0) -> Running:
    """Half an hour; after the crash, if there is one, with a new operator."""
    end = there.clock.seconds + seconds
    running = await there.operator()
    running.gate.kill_at = kill_at
    try:
        await _until(there, running, end)
    except Killed:
        await running.stop()
        running = await there.operator()
        await _until(there, running, end)
    await running.stop()
    return running


async def _until(there: Cluster, running: Running, end: float) -> None:
    while there.clock.seconds < end:
        await running.until(min(end, there.clock.seconds + 30.0))


def played(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())


def read_from(there: Cluster) -> str:
    """The claim that the only Job had."""
    (job,) = there.runners.manifests
    volumes = {volume["name"]: volume for volume in job["spec"]["template"]["spec"]["volumes"]}
    name: str = volumes["source"]["persistentVolumeClaim"]["claimName"]
    return name


def test_a_run_reads_a_claim_of_the_snapshot_and_removes_both() -> None:
    async def scenario() -> None:
        there = await cluster(class_("one"), snapshot="Always")
        seen: list[Manifest] = []
        behave = there.played[types.PERSISTENT_VOLUME_CLAIM]

        def claims(found: Manifest, failing: set[str]) -> Manifest:
            if found["metadata"]["name"] != "web-data":
                seen.append(found["spec"])
            return behave(found, failing)

        there.played[types.PERSISTENT_VOLUME_CLAIM] = claims
        await lived(there)
        run = there.run
        assert run["phase"] == "Succeeded", there.condition(types.BACKUP_RUN, NAMESPACE, "now")["message"]
        name = run["volumeSnapshot"]["name"]
        assert run["volumeSnapshot"] == {
            "name": name, "claim": "web-data", "className": "one", "size": "2Gi", "time": "2026-02-01T00:00:01Z",
        }  # fmt: skip
        assert "notes" not in run
        assert read_from(there) == name
        assert seen[0] == {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "fast",
            "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": name},
            "resources": {"requests": {"storage": "2Gi"}},
        }
        assert there.left() == []

    played(scenario)


@pytest.mark.parametrize("mode", ["Auto", "Always"])
def test_a_driver_that_can_not_is_given_up_in_the_end(mode: str) -> None:
    async def scenario() -> None:
        there = await cluster(class_("one"), snapshot=mode)
        there.answers = {"error": {"message": "the pool is full"}}
        await lived(there, seconds=300.0)
        assert there.run["phase"] == "Snapshotting"
        message = there.condition(types.BACKUP_RUN, NAMESPACE, "now")["message"]
        assert message == "a snapshot of the claim web-data is made: the pool is full"
        await lived(there)
        run = there.run
        assert there.left() == []
        if mode == "Auto":
            assert (run["phase"], run["notes"]) == (
                "Succeeded", ["the volume was read while it is in use, for there was no snapshot: the pool is full"],
            )  # fmt: skip
            assert "volumeSnapshot" not in run
            assert read_from(there) == "web-data"
        else:
            assert (run["phase"], run["reason"], run["message"]) == (
                "Failed", "SnapshotFailed",
                "no snapshot could be made, and spec.files.snapshot is Always: the pool is full",
            )  # fmt: skip
            assert there.runners.manifests == []

    played(scenario)


def test_where_nothing_makes_snapshots_the_volume_is_read_and_that_is_told() -> None:
    async def scenario() -> None:
        there = await cluster()
        await lived(there)
        assert there.run["notes"] == [
            "the volume was read while it is in use, for there was no snapshot: there is no VolumeSnapshotClass for "
            "driver csi.example.com"
        ]
        assert read_from(there) == "web-data"
        quiet = await cluster(snapshot="Never")
        await lived(quiet)
        assert "notes" not in quiet.run

    played(scenario)


def test_a_crash_at_any_write_makes_one_snapshot_and_leaves_none() -> None:
    async def scenario() -> None:
        calm = await cluster(class_("one"))
        writes = len((await lived(calm)).gate.writes)
        assert calm.run["phase"] == "Succeeded"
        assert calm.births("VolumeSnapshot") == 1
        for number in range(writes):
            for carried_out in (False, True):
                there = await cluster(class_("one"))
                await lived(there, (number, carried_out))
                case = (number, carried_out)
                assert there.run["phase"] == "Succeeded", case
                assert there.births("VolumeSnapshot") == 1, case
                assert there.left() == [], case

    played(scenario)


def test_a_run_that_is_deleted_takes_its_snapshot_along() -> None:
    async def scenario() -> None:
        there = await cluster(class_("one"))
        there.answers = {"creationTime": at(there.clock.seconds)}
        await lived(there, seconds=60.0)
        assert len(of_kind(there, types.VOLUME_SNAPSHOT)) == 1
        await there.delete(types.BACKUP_RUN, NAMESPACE, "now")
        await lived(there, seconds=60.0)
        assert of_kind(there, types.BACKUP_RUN) == []
        assert there.left() == []

    played(scenario)


def test_what_is_held_by_a_finalizer_is_not_looked_at_without_end() -> None:
    """As the real ones are: a claim by its Pod, a snapshot by the claim that is made from it."""

    async def scenario() -> None:
        there = await cluster(class_("one"))
        apply = there.client.apply
        kinds = (types.VOLUME_SNAPSHOT, types.PERSISTENT_VOLUME_CLAIM, types.JOB)

        async def held(gvk: types.GVK, ns: Any, name: str, body: Manifest, **more: Any) -> Manifest:
            if gvk in kinds and ns == PLACE:
                body = {**body, "metadata": {**body["metadata"], "finalizers": ["example.com/held"]}}
            return await apply(gvk, ns, name, body, **more)

        there.client.apply = held  # type: ignore[method-assign]
        running = await lived(there, seconds=600.0)
        assert there.run["phase"] == "Succeeded"
        name = there.run["volumeSnapshot"]["name"]
        assert there.left() == [name, name, "homeport-run-now"]
        deletes = [one for one in running.gate.writes if one.startswith("delete")]
        assert len(deletes) <= 8, deletes
        for gvk in kinds:
            for kind, namespace, child in list(there.client._objects):
                if kind is gvk and namespace == PLACE and child != "web-data":
                    await there.client.patch(gvk, namespace, child, {"metadata": {"finalizers": None}})
        await lived(there, seconds=60.0)
        assert there.left() == []

    played(scenario)


def test_the_job_says_the_same_paths_as_without_a_snapshot() -> None:
    async def scenario() -> None:
        jobs = []
        for mode in ("Always", "Never"):
            there = await cluster(class_("one"), snapshot=mode)
            await lived(there)
            (job,) = there.runners.manifests
            (container,) = job["spec"]["template"]["spec"]["containers"]
            (text,) = [entry["value"] for entry in container["env"] if entry["name"] == "HOMEPORT_JOB"]
            jobs.append((json.loads(text)["source"], container["volumeMounts"]))
        # Whatever it was read from, it is restored to the volume.
        assert jobs[0] == jobs[1]

    played(scenario)
