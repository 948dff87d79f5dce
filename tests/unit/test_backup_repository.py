"""BackupRepositories by the clock: made once, its key told of, looked after by schedule, and no crash does more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_backups import NAMESPACE, at, clock_at, ours

from homeport.api.resource import parse
from homeport.drivers.kubernetes import types
from homeport.plan.backup import storage as storages
from homeport.plan.proxmox.archives import StorageRetention
from homeport.plan.proxmox.readings import Storage
from memory_world import Killed, Manifest, Running, World

KINDS = (types.PROJECT, types.ENVIRONMENT, types.BACKUP_REPOSITORY, types.BACKUP)
S3 = {
    "endpoint": "https://s3.example.com",
    "bucket": "backups",
    "prefix": "shop",
    "credentialsSecretRef": {"name": "s3"},
}
START = "2026-02-01T00:00:00Z"
SECRET = "offsite-repository-password"
ID = "c0ffee" * 10


def repository(**spec: Any) -> Manifest:
    return ours("BackupRepository", "offsite", {"s3": S3, "encryption": {"generate": True}, **spec})


def secret(name: str, **data: str) -> Manifest:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}


class Runners:
    """Plays the Jobs: each is over at once, and says what ``answers`` has for its operation."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.answers: dict[str, Manifest] = {}
        self.done: list[tuple[str, str]] = []
        """(operation, when) of each Job."""
        self.jobs: list[Manifest] = []
        self.places: list[str] = []
        self.manifests: list[Manifest] = []

    async def __call__(self) -> bool:
        worked = False
        for (gvk, namespace, name), job in list(self.world.client._objects.items()):
            if gvk is not types.JOB or (job.get("status") or {}).get("conditions"):
                continue
            variables = {
                entry["name"]: entry["value"] for entry in job["spec"]["template"]["spec"]["containers"][0]["env"]
            }
            wanted = json.loads(variables["HOMEPORT_JOB"])
            self.jobs.append(wanted)
            self.places.append(namespace)
            self.manifests.append(job)
            self.done.append((wanted["operation"], at(self.world.clock.seconds)))
            said = {
                "outcome": "Succeeded",
                "message": "done",
                "repositoryID": ID,
                **self.answers.get(wanted["operation"], {}),
            }
            code = 0 if said["outcome"] == "Succeeded" else 2
            await self._pod(namespace, name, job, code, said)
            kind = "Complete" if not code else "Failed"
            status = {
                "succeeded": 1 - bool(code),
                "conditions": [
                    {
                        "type": kind,
                        "status": "True",
                        "message": "it ended",
                        "lastTransitionTime": at(self.world.clock.seconds),
                    }
                ],
            }
            await self.world.client.patch(gvk, namespace, name, {"status": status}, subresource="status")
            worked = True
        return worked

    async def _pod(self, namespace: str, name: str, job: Manifest, code: int, said: Manifest) -> None:
        ended = {"terminated": {"exitCode": code, "message": json.dumps(said)}}
        owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": name,
            "uid": job["metadata"]["uid"],
            "controller": True,
        }
        body = {
            "metadata": {
                "name": f"{name}-{len(self.done)}",
                "labels": job["spec"]["template"]["metadata"]["labels"],
                "ownerReferences": [owner],
            },
            "spec": {},
        }
        await self.world.client.create(types.POD, namespace, body)
        status = {"phase": "Failed" if code else "Succeeded", "containerStatuses": [{"name": "runner", "state": ended}]}
        await self.world.client.patch(
            types.POD, namespace, body["metadata"]["name"], {"status": status}, subresource="status"
        )


class Shop(World):
    """A world whose Jobs are played by ``runners``."""

    def __init__(self) -> None:
        super().__init__()
        self.ours = KINDS
        del self.played[types.JOB]
        self.played[types.PROJECT] = lambda found, failing: {}
        self.played[types.ENVIRONMENT] = lambda found, failing: {
            "namespace": f"{NAMESPACE}-{found['metadata']['name']}"
        }
        self.runners = Runners(self)

    async def controllers(self) -> bool:
        return await self.runners() or await super().controllers()

    async def operator(self) -> Running:
        running = await super().operator()
        running.engine.context.runner_image = "registry.example.com/runner:1"
        return running


async def prepared(start: str, *manifests: Manifest, credentials: bool = True) -> Shop:
    world = Shop()
    world.clock.seconds = clock_at(start)
    for name in (NAMESPACE, f"{NAMESPACE}-production", "kube-system"):
        await world.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
    given = [secret("s3", accessKeyId="YQ==", secretAccessKey="Yg==")] if credentials else []
    await world.apply([ours("Project", NAMESPACE, {}), *given, *manifests])
    return world


async def watched(world: Shop, until: str) -> Running:
    running = await world.operator()
    end = clock_at(until)
    while world.clock.seconds < end:
        await running.until(min(end, world.clock.seconds + 300.0))
    await running.stop()
    return running


def found(world: Shop) -> Manifest:
    return world.get(types.BACKUP_REPOSITORY, NAMESPACE, "offsite")


def ready(world: Shop) -> tuple[str, str, str]:
    condition = world.condition(types.BACKUP_REPOSITORY, NAMESPACE, "offsite")
    return condition["status"], condition["reason"], condition["message"]


def of_kind(world: Shop, gvk: types.GVK) -> list[str]:
    return sorted(name for kind, _, name in world.client._objects if kind is gvk)


def played(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())


def test_it_is_made_once_and_its_key_has_to_be_kept_elsewhere() -> None:
    async def scenario() -> None:
        world = await prepared("2026-02-01T12:00:00Z", repository())
        await watched(world, "2026-02-01T12:05:00Z")
        status = found(world)["status"]
        assert [operation for operation, _ in world.runners.done] == ["init"]
        assert (status["initialized"], status["repositoryID"]) == (True, ID)
        assert status["location"] == "https://s3.example.com/backups/shop"
        assert of_kind(world, types.JOB) == []
        assert of_kind(world, types.SECRET) == [SECRET, "s3"], "the runner's own is gone with its Job"
        fingerprint = status["keyFingerprint"]
        assert ready(world)[:2] == ("False", "KeyNotEscrowed")
        assert ready(world)[2] == (
            "its key is only in this cluster, and is lost with it. Keep it elsewhere (kubectl get secret "
            f"{SECRET} -n shop -o jsonpath='{{.data.password}}' | base64 -d), then say so: kubectl annotate hprepo "
            f"offsite -n shop --overwrite homeport.dev/key-escrowed={fingerprint}"
        )
        annotated = repository()
        annotated["metadata"] = {**annotated["metadata"], "annotations": {"homeport.dev/key-escrowed": fingerprint}}
        await world.apply([annotated])
        running = await watched(world, "2026-02-01T12:10:00Z")
        assert ready(world) == ("True", "ReconciliationSucceeded", "https://s3.example.com/backups/shop")
        assert [(key.kind, reason) for key, reason, _ in running.events] == [
            ("BackupRepository", "ReconciliationSucceeded")
        ]
        steady = await watched(world, "2026-02-01T13:00:00Z")
        assert steady.gate.writes == []

    played(scenario)


def test_another_fingerprint_is_not_the_key() -> None:
    async def scenario() -> None:
        annotated = repository()
        annotated["metadata"] = {**annotated["metadata"], "annotations": {"homeport.dev/key-escrowed": "yes"}}
        world = await prepared("2026-02-01T12:00:00Z", annotated)
        await watched(world, "2026-02-01T12:05:00Z")
        assert ready(world)[1] == "KeyNotEscrowed"

    played(scenario)


def test_it_waits_for_its_secrets() -> None:
    async def scenario() -> None:
        spec = {"encryption": {"passwordSecretRef": {"name": "restic", "key": "password"}}}
        world = await prepared("2026-02-01T12:00:00Z", repository(**spec), credentials=False)
        await watched(world, "2026-02-01T12:05:00Z")
        text = "Secret s3 doesn't exist in namespace shop; create it, with accessKeyId and secretAccessKey"
        assert ready(world) == ("False", "DependencyNotReady", text)
        await world.apply([secret("s3", accessKeyId="YQ==", secretAccessKey="Yg=="), secret("restic", password="eA==")])
        await watched(world, "2026-02-01T12:10:00Z")
        assert ready(world)[0] == "True"
        assert "keyFingerprint" not in found(world)["status"], "a person's password could be guessed from it"

    played(scenario)


def test_another_password_is_told_and_tried_again_when_it_changes() -> None:
    async def scenario() -> None:
        spec = {"encryption": {"passwordSecretRef": {"name": "restic", "key": "password"}}}
        world = await prepared("2026-02-01T12:00:00Z", secret("restic", password="eA=="), repository(**spec))
        words = "no key of the repository opens with this password"
        world.runners.answers["init"] = {"outcome": "Failed", "reason": "WrongPassword", "message": words}
        await watched(world, "2026-02-01T12:05:00Z")
        assert ready(world) == ("False", "RepositoryFailed", f"WrongPassword: {words}")
        assert len(world.runners.done) == 1, "nobody hammers on it"
        await watched(world, "2026-02-01T12:12:00Z")
        assert len(world.runners.done) == 2, "nobody tells when it was mended at its place"
        world.runners.answers.clear()
        await world.apply([secret("restic", password="eQ==")])
        await watched(world, "2026-02-01T12:13:00Z")
        assert ready(world)[0] == "True"

    played(scenario)


def test_maintenance_by_schedule_one_thing_at_a_time() -> None:
    async def scenario() -> None:
        care = {"prune": "0 4 * * *", "check": "0 4 * * *", "readDataSubset": "5%", "timeZone": "Europe/Rome"}
        world = await prepared("2026-02-01T12:00:00Z", repository(maintenance=care))
        world.runners.answers["prune"] = {"repositoryBytes": 4096, "repositorySnapshots": 12}
        await watched(world, "2026-02-02T12:00:00Z")
        assert [(operation, when[:13]) for operation, when in world.runners.done] == [
            ("init", "2026-02-01T12"), ("prune", "2026-02-02T03"), ("check", "2026-02-02T03"),
        ]  # fmt: skip
        assert world.runners.jobs[1]["repository"]["lockWaitSeconds"] > 1800, "a killed Pod's lock is stale after that"
        assert world.runners.jobs[2]["readData"] == "5%"
        status = found(world)["status"]
        assert status["lastPrune"] | {"time": ""} == {
            "outcome": "Succeeded", "scheduled": "2026-02-02T03:00:00Z", "message": "done", "time": "",
        }  # fmt: skip
        assert (status["size"], status["snapshots"], status["nextCheck"]) == (4096, 12, "2026-02-03T03:00:00Z")
        assert of_kind(world, types.JOB) == []

    played(scenario)


def test_nothing_is_pruned_while_a_restore_reads() -> None:
    async def scenario() -> None:
        care = {"prune": "0 4 * * *", "check": "30 4 * * *"}
        target = {"new": {"application": "web", "component": "db", "environment": "live"}}
        source = {"repositoryRef": {"name": "offsite"}, "backup": "nightly"}
        world = await prepared(
            "2026-02-01T12:00:00Z",
            repository(maintenance=care),
            ours("Restore", "undo", {"source": source, "target": target}),
        )
        world.ours = (*world.ours, types.RESTORE)
        world.played[types.RESTORE] = lambda found, failing: {
            "phase": "Running" if world.clock.seconds < clock_at("2026-02-02T05:00:00Z") else "Succeeded"
        }
        await watched(world, "2026-02-02T12:00:00Z")
        assert [(operation, when[:15]) for operation, when in world.runners.done] == [
            ("init", "2026-02-01T12:0"), ("check", "2026-02-02T04:3"), ("prune", "2026-02-02T05:0"),
        ]  # fmt: skip

    played(scenario)


@pytest.mark.parametrize(
    ("answer", "reason", "words"),
    [
        (
            {"outcome": "Failed", "reason": "RepositoryDamaged", "message": "pack 12 is damaged"},
            "RepositoryFailed",
            "RepositoryDamaged: pack 12 is damaged",
        ),
        (
            {"repositoryID": "decade" * 10},
            "RepositoryFailed",
            "OtherRepository: another repository is at this place: its id is decadedecade, and it was c0ffeec0ffee",
        ),
        (
            {"outcome": "Failed", "reason": "RepositoryLocked", "message": "somebody holds it"},
            "KeyNotEscrowed",
            "its key is only in this cluster",
        ),
    ],
)
def test_a_check_that_fails_is_told(answer: Manifest, reason: str, words: str) -> None:
    async def scenario() -> None:
        world = await prepared("2026-02-01T12:00:00Z", repository(maintenance={"check": "0 4 * * *"}))
        world.runners.answers["check"] = answer
        await watched(world, "2026-02-02T12:00:00Z")
        assert ready(world)[:2] == ("False", reason)
        assert words in ready(world)[2]
        assert found(world)["status"]["lastCheck"]["outcome"] == "Failed"

    played(scenario)


def test_a_volume_is_looked_after_where_it_is() -> None:
    async def scenario() -> None:
        env = ours("Environment", "production", {"tier": "Production"})
        spec = {"filesystem": {"persistentVolumeClaim": "backups"}, "environments": ["production"]}
        mine = ours("BackupRepository", "offsite", {"encryption": {"generate": True}, **spec})
        world = await prepared("2026-02-01T12:00:00Z", mine)
        await watched(world, "2026-02-01T12:05:00Z")
        assert ready(world)[:2] == ("False", "DependencyNotReady")
        assert "Environment production doesn't exist" in ready(world)[2]
        await world.apply([env])
        await watched(world, "2026-02-01T12:10:00Z")
        assert found(world)["status"]["location"] == "claim backups in shop-production"
        assert world.runners.places == ["shop-production"]

    played(scenario)


def test_the_key_of_what_is_full_is_never_made_anew() -> None:
    async def scenario() -> None:
        world = await prepared("2026-02-01T12:00:00Z", repository())
        await watched(world, "2026-02-01T12:05:00Z")
        await world.delete(types.SECRET, NAMESPACE, SECRET)
        await watched(world, "2026-02-01T12:10:00Z")
        assert SECRET not in of_kind(world, types.SECRET)
        assert ready(world)[:2] == ("False", "RepositoryFailed")
        assert "create it again, with the key under password" in ready(world)[2]

    played(scenario)


def test_it_goes_after_its_backups_and_leaves_its_key() -> None:
    async def scenario() -> None:
        user = ours("Backup", "nightly", {"source": {"project": True}, "repositoryRef": {"name": "offsite"}})
        world = await prepared("2026-02-01T12:00:00Z", repository(), user)
        await watched(world, "2026-02-01T12:05:00Z")
        assert found(world)["status"]["backups"] == 1
        await world.delete(types.BACKUP_REPOSITORY, NAMESPACE, "offsite")
        await watched(world, "2026-02-01T12:10:00Z")
        assert ready(world)[2] == "waits until nobody keeps backups in it: Backup nightly"
        await world.delete(types.BACKUP, NAMESPACE, "nightly")
        await watched(world, "2026-02-01T12:15:00Z")
        assert of_kind(world, types.BACKUP_REPOSITORY) == []
        assert of_kind(world, types.SECRET) == [SECRET, "s3"]

    played(scenario)


async def deleted_backup(policy: str) -> Shop:
    """A world in which a Backup that has made a run was deleted."""
    spec = {"source": {"project": True}, "repositoryRef": {"name": "offsite"}, "deletionPolicy": policy}
    run = ours("BackupRun", "once", {"backupRef": {"name": "nightly"}})
    world = await prepared("2026-02-01T12:00:00Z", repository(), ours("Backup", "nightly", spec), run)
    world.ours = (*KINDS, types.BACKUP_RUN, types.RESTORE)
    world.runners.answers["backup"] = {"snapshots": 1, "snapshot": "4bf1c0de", "bytes": 10}
    await watched(world, "2026-02-01T12:05:00Z")
    assert [operation for operation, _ in world.runners.done] == ["init", "backup"]
    assert world.get(types.BACKUP, NAMESPACE, "nightly")["status"]["lastSuccess"]["run"] == "once"
    await world.delete(types.BACKUP, NAMESPACE, "nightly")
    await watched(world, "2026-02-01T12:10:00Z")
    return world


def test_a_deleted_backup_keeps_its_snapshots() -> None:
    async def scenario() -> None:
        world = await deleted_backup("Retain")
        assert of_kind(world, types.BACKUP) == []
        assert of_kind(world, types.BACKUP_RUN) == ["once"], "what people made tells of its snapshot still"
        assert len(world.runners.done) == 2

    played(scenario)


def test_a_deleted_backup_forgets_its_snapshots_when_told_twice() -> None:
    async def scenario() -> None:
        world = await deleted_backup("Delete")
        told = world.condition(types.BACKUP, NAMESPACE, "nightly")
        assert (told["status"], told["reason"]) == ("False", "ConfirmationRequired")
        assert told["message"] == (
            "deleting nightly would forget its 1 snapshots in BackupRepository offsite; to go on, set the annotation "
            "homeport.dev/confirm-delete: nightly, or keep them by deletionPolicy: Retain"
        )
        assert of_kind(world, types.BACKUP_RUN) == ["once"]
        agreed = {"metadata": {"annotations": {"homeport.dev/confirm-delete": "nightly"}}}
        words = {"outcome": "Failed", "reason": "RepositoryLocked", "message": "somebody holds it"}
        world.runners.answers["forget"] = words
        await world.client.patch(types.BACKUP, NAMESPACE, "nightly", agreed)
        await watched(world, "2026-02-01T12:15:00Z")
        told = world.condition(types.BACKUP, NAMESPACE, "nightly")
        assert told["message"] == (
            "its snapshots couldn't be forgotten: RepositoryLocked: somebody holds it; it is tried again, or keep "
            "them by deletionPolicy: Retain"
        )
        del world.runners.answers["forget"]
        await watched(world, "2026-02-01T12:40:00Z")
        assert of_kind(world, types.BACKUP) + of_kind(world, types.JOB) == []
        assert [operation for operation, _ in world.runners.done][-1] == "forget"
        saved, forgotten = world.runners.jobs[1]["tags"], world.runners.jobs[-1]["tags"]
        assert saved == {**forgotten, "run": "once"}, "another installation's would stay"

    played(scenario)


def test_a_crash_at_any_write_makes_one_repository_with_one_key() -> None:
    async def scenario() -> None:
        start, end = "2026-02-01T12:00:00Z", "2026-02-02T12:00:00Z"
        manifest = repository(maintenance={"prune": "0 4 * * *"})

        async def lived(kill_at: tuple[int, bool] | None) -> tuple[Shop, int]:
            world = await prepared(start, manifest)
            running = await world.operator()
            running.gate.kill_at = kill_at
            try:
                while world.clock.seconds < clock_at(end):
                    await running.until(min(clock_at(end), world.clock.seconds + 300.0))
            except Killed:
                assert kill_at is not None
            writes = len(running.gate.writes)
            await running.stop()
            await watched(world, end)
            return world, writes

        calm, writes = await lived(None)
        assert [operation for operation, _ in calm.runners.done] == ["init", "prune"]
        for number in range(writes):
            for carried_out in (False, True):
                world, _ = await lived((number, carried_out))
                # A Job whose result was lost with the process is done again: nothing of it can't be.
                done = [operation for operation, _ in world.runners.done]
                assert list(dict.fromkeys(done)) == ["init", "prune"], (number, carried_out)
                assert world.births("Secret") - len(done) == calm.births("Secret") - 2
                assert of_kind(world, types.JOB) == []
                assert of_kind(world, types.SECRET) == of_kind(calm, types.SECRET)
                assert found(world)["status"]["lastPrune"]["scheduled"] == "2026-02-02T04:00:00Z"

    played(scenario)


def test_a_crash_at_any_write_of_a_deletion_forgets_all_the_same() -> None:
    async def scenario() -> None:
        async def lived(kill_at: tuple[int, bool] | None) -> tuple[Shop, int]:
            world = await deleted_backup("Delete")
            agreed = {"metadata": {"annotations": {"homeport.dev/confirm-delete": "nightly"}}}
            await world.client.patch(types.BACKUP, NAMESPACE, "nightly", agreed)
            running = await world.operator()
            running.gate.kill_at = kill_at
            try:
                await running.until(clock_at("2026-02-01T12:15:00Z"))
            except Killed:
                assert kill_at is not None
            writes = len(running.gate.writes)
            await running.stop()
            await watched(world, "2026-02-01T12:20:00Z")
            return world, writes

        calm, writes = await lived(None)
        assert [operation for operation, _ in calm.runners.done] == ["init", "backup", "forget"]
        assert writes >= 5
        for number in range(writes):
            for carried_out in (False, True):
                world, _ = await lived((number, carried_out))
                done = [operation for operation, _ in world.runners.done]
                assert list(dict.fromkeys(done)) == ["init", "backup", "forget"], (number, carried_out)
                assert of_kind(world, types.BACKUP) + of_kind(world, types.JOB) == [], (number, carried_out)
                assert of_kind(world, types.SECRET) == [SECRET, "s3"], (number, carried_out)

    played(scenario)


def test_the_check_as_the_cluster_gets_it(update_golden: bool) -> None:
    async def scenario() -> None:
        care = {"check": "0 4 * * *", "readDataSubset": "5%"}
        world = await prepared("2026-02-01T12:00:00Z", repository(maintenance=care))
        await watched(world, "2026-02-02T12:00:00Z")
        job = world.runners.manifests[-1]
        job = {**job, "metadata": {key: job["metadata"][key] for key in ("name", "namespace", "labels")}}
        job.pop("status", None)
        rendered = yaml.safe_dump(job, sort_keys=False)
        golden = Path(__file__).parent / "golden" / "backup" / "maintenance.yaml"
        if update_golden:
            golden.write_text(rendered)
        assert rendered == golden.read_text()

    played(scenario)


STORAGES = (
    Storage("pve1", "pbs", "pbs", frozenset({"backup"}), True, True),
    Storage("pve1", "local-lvm", "lvmthin", frozenset({"rootdir"}), False, True),
    Storage("pve2", "nas", "nfs", frozenset({"backup"}), True, False),
)


@pytest.mark.parametrize(
    ("storage", "grants", "reason", "words"),
    [
        ("pbs", {"name": "shop"}, "", ""),
        ("pbs", {"name": "shop", "storages": ["pbs"]}, "", ""),
        ("pbs", {"name": "other"}, "AccessDenied", "ProxmoxHost lab doesn't list project shop"),
        ("pbs", {"name": "shop", "storages": ["local-lvm"]}, "AccessDenied", "storage pbs isn't among those that"),
        ("tape", {"name": "shop"}, "InvalidSpec", "has no storage tape that keeps backups; those that do are nas, pbs"),
        ("local-lvm", {"name": "shop"}, "InvalidSpec", "doesn't take content of type backup"),
        ("nas", {"name": "shop"}, "RepositoryFailed", "storage nas isn't available on any node"),
    ],
)
def test_a_storage_of_proxmox_has_to_be_there_and_granted(
    storage: str, grants: Manifest, reason: str, words: str
) -> None:
    spec = {"proxmox": {"hostRef": {"name": "lab"}, "storage": storage}}
    host = {
        "endpoints": ["https://pve1.lab:8006"],
        "credentialsSecretRef": {"namespace": "homeport-system", "name": "lab"},
        "tls": {"insecure": True},
        "projects": [grants],
    }
    lab = parse(
        {"apiVersion": "homeport.dev/v1alpha1", "kind": "ProxmoxHost", "metadata": {"name": "lab"}, "spec": host}
    )
    found = storages.problem(parse(ours("BackupRepository", "offsite", spec)), lab, STORAGES)
    assert (found.reason if found is not None else "") == reason
    assert words in (found.message if found is not None else "")


def test_what_else_prunes_a_storage_is_told() -> None:
    assert storages.conflict("pbs", StorageRetention()) == ""
    found = storages.conflict("pbs", StorageRetention("keep-last=3", ("backup-1", "backup-2")))
    assert found == (
        "storage pbs has a retention of its own (keep-last=3): backups fail when it is reached. Have an administrator "
        "set it to keep all backups; the datacenter's backup jobs prune storage pbs by VMID, whoever made a backup: "
        "backup-1, backup-2. Have an administrator set keep-all there, or use another storage"
    )


# --- a volume, and the environment that it is in --------------------------------------------------------------------


async def on_a_volume(*manifests: Manifest) -> Shop:
    """A repository in an environment that is real, and a Backup whose snapshots are to be forgotten with it."""
    key = {"passwordSecretRef": {"name": "restic", "key": "password"}}
    spec = {"filesystem": {"persistentVolumeClaim": "backups"}, "encryption": key, "environments": ["dev"]}
    world = await prepared(
        START,
        secret("restic", password="Yw=="),
        ours("Environment", "dev", {"tier": "Preview", "deletionPolicy": "Delete"}),
        ours("BackupRepository", "offsite", spec),
        *manifests,
    )
    del world.played[types.PROJECT], world.played[types.ENVIRONMENT]
    await settled(world)
    return world


async def settled(world: Shop) -> None:
    running = await world.operator()
    await running.settle(limit=1200.0)
    await running.stop()


def test_a_project_goes_with_a_repository_on_a_volume() -> None:
    """Its snapshots are forgotten by a Job in the environment, which has to be there for that long."""

    async def scenario() -> None:
        source = {"application": "shop", "component": "web", "environment": "dev"}
        spec = {"source": source, "method": "Files", "repositoryRef": {"name": "offsite"}, "deletionPolicy": "Delete"}
        world = await on_a_volume(ours("Backup", "nightly", spec))
        assert found(world)["status"]["initialized"]
        last = {"name": "now", "phase": "Succeeded", "time": START}
        await world.client.patch(
            types.BACKUP, NAMESPACE, "nightly", {"status": {"lastRun": last}}, subresource="status"
        )
        agreed = {"metadata": {"annotations": {"homeport.dev/confirm-delete": "nightly"}}}
        await world.client.patch(types.BACKUP, NAMESPACE, "nightly", agreed)
        await world.delete(types.PROJECT, NAMESPACE, NAMESPACE)
        await settled(world)
        for gvk in (types.BACKUP, types.BACKUP_REPOSITORY, types.ENVIRONMENT, types.PROJECT):
            assert of_kind(world, gvk) == [], gvk
        assert [operation for operation, _ in world.runners.done] == ["init", "forget"]
        assert set(world.runners.places) == {f"{NAMESPACE}-dev"}

    played(scenario)


def test_an_environment_waits_for_the_repository_whose_volume_it_has() -> None:
    async def scenario() -> None:
        world = await on_a_volume()
        await world.delete(types.ENVIRONMENT, NAMESPACE, "dev")
        await settled(world)
        condition = world.condition(types.ENVIRONMENT, NAMESPACE, "dev")
        assert condition["message"] == (
            "waits until no backups are kept in it: BackupRepository offsite has its volume here; delete that first"
        )
        await world.delete(types.BACKUP_REPOSITORY, NAMESPACE, "offsite")
        await settled(world)
        assert of_kind(world, types.ENVIRONMENT) == []

    played(scenario)


# --- definitions that are older than the operator ---------------------------------------------------------------------


def test_definitions_that_drop_a_field_are_told_and_cost_no_writes() -> None:
    async def scenario() -> None:
        world = await prepared(START, repository())
        apply = world.client.apply

        async def old(gvk: types.GVK, ns: Any, name: Any, body: Manifest, **more: Any) -> Manifest:
            if gvk is types.BACKUP_REPOSITORY and more.get("subresource"):
                body = {**body, "status": {key: one for key, one in body["status"].items() if key != "task"}}
            return await apply(gvk, ns, name, body, **more)

        world.client.apply = old  # type: ignore[method-assign]
        running = await world.operator()
        await running.until(world.clock.seconds + 1800.0)
        assert ready(world)[:2] == ("False", "ApplyFailed")
        assert "CustomResourceDefinition of BackupRepository is older than this operator" in ready(world)[2]
        assert "status.task" in ready(world)[2]
        assert world.runners.done == []
        written = [one for one in running.gate.writes if "BackupRepository/status" in one]
        assert len(written) <= 2 * 1800 / 120 + 3, len(written)
        # It goes on by itself when they are there.
        world.client.apply = apply  # type: ignore[method-assign]
        await running.until(world.clock.seconds + 300.0)
        await running.stop()
        assert found(world)["status"]["initialized"]

    played(scenario)
