"""homeport backup and homeport restore, on the memory driver."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, get_args

import click
import pytest
import yaml

from homeport import cli
from homeport.api.backuprun import BackupRunStatus
from homeport.api.restore import RestoreStatus
from homeport.cli.backups import command, following
from homeport.cli.cluster import Connection
from homeport.drivers.kubernetes import types
from homeport.drivers.memory import MemoryClient

SOURCE = {"application": "shop", "component": "db", "environment": "prod"}
UID = "0b9c1c1e-1111-4222-8333-444455556666"
RUNS = [
    {"run": "db-4", "snapshot": "44aa5b0000000000", "time": "2026-01-04T03:00:00Z", "bytes": 3 * 1024**2},
    {"run": "db-3", "snapshot": "33aa5b0000000000", "time": "2026-01-03T03:00:00Z", "complete": False},
    {"run": "db-2", "snapshot": "22aa5b0000000000", "time": "2026-01-02T03:00:00Z", "bytes": 2048, "verified": True},
    {"run": "db-1", "snapshot": "11aa5b0000000000", "time": "2026-01-01T03:00:00Z", "bytes": 9, "protected": True},
    {"run": "db-0", "snapshot": "00aa5b0000000000", "time": "2025-12-31T03:00:00Z", "bytes": 9},
]


class Ending(MemoryClient):
    """What is made ends as the test says, while whoever made it watches."""

    phases: tuple[dict[str, Any], ...] = ()

    async def create(self, gvk: Any, ns: str | None, body: Any, **kwargs: Any) -> Any:
        made = await super().create(gvk, ns, body, **kwargs)
        if self.phases and not kwargs.get("dry_run"):
            asyncio.get_running_loop().create_task(self._play(gvk, ns, made["metadata"]["name"]))
        return made

    async def _play(self, gvk: Any, ns: str | None, name: str) -> None:
        for status in self.phases:
            await asyncio.sleep(0.01)
            await self.patch(gvk, ns, name, {"status": status}, subresource="status")


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Ending:
    client = Ending()

    @asynccontextmanager
    async def connected(options: Any, **_: Any) -> AsyncIterator[Connection]:
        yield Connection(client, "shop", "https://memory")

    for module in ("backups.listing", "backups.command", "backups.covering", "restore"):
        monkeypatch.setattr(f"homeport.cli.{module}.connected", connected)
    return client


def put(client: MemoryClient, kind: str, name: str, spec: dict[str, Any], status: dict[str, Any] | None = None) -> None:
    body = {
        "apiVersion": "homeport.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop", **({"uid": UID} if kind == "Application" else {})},
        "spec": spec,
    }
    gvk = types.by_kind("homeport.dev/v1alpha1", kind)

    async def work() -> None:
        await client.create(gvk, "shop", body)
        if status:
            await client.patch(gvk, "shop", name, {"status": status}, subresource="status")

    asyncio.run(work())


def backup(client: MemoryClient, name: str = "db", runs: list[dict[str, Any]] | None = None, **spec: Any) -> None:
    known = RUNS if runs is None else runs
    last = {"run": "db-4", "time": RUNS[0]["time"], "bytes": 3 * 1024**2, "duration": "12s"}
    status = {
        "conditions": [{"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded", "message": "fine"}],
        "observedGeneration": 1,
        "method": "Postgres",
        "measuredRTO": "41s",
        "snapshots": len(known),
        "runs": known,
        "verified": {"run": "db-2", "time": "2026-01-02T03:00:00Z"},
        **({"lastSuccess": last} if known else {}),
    }
    put(client, "Backup", name, {"source": SOURCE, "repositoryRef": {"name": "offsite"}, **spec}, status)


Read = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(memory: Ending, capsys: pytest.CaptureFixture[str]) -> Read:
    def call(*args: str) -> tuple[int, str, str]:
        code = cli.main(list(args))
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    return call


def made(client: MemoryClient, gvk: Any) -> dict[str, Any]:
    (found,) = client.objects(gvk)
    return found


def test_list(memory: Ending, run: Read) -> None:
    backup(memory, schedule="0 3 * * *")
    backup(memory, "other", runs=[])
    code, out, _ = run("backup", "list")
    assert code == 0
    head, first, second = out.splitlines()
    assert head.split() == ["NAME", "READY", "LAST", "VERIFIED", "RTO", "NEXT", "SNAPSHOTS", "MESSAGE"]
    assert first.split()[0:2] == ["db", "True"] and "41s" in first and second.split()[2] == "never"
    told = json.loads(run("backup", "list", "-o", "json")[1])
    assert [entry["name"] for entry in told] == ["db", "other"] and "runs" not in told[0]


def test_list_of_one_has_its_runs(memory: Ending, run: Read) -> None:
    backup(memory, schedule="0 3 * * *", timeZone="Europe/Rome")
    code, out, _ = run("backup", "list", "backup/db")
    assert code == 0
    assert "Source:      shop/db in prod" in out and "0 3 * * * Europe/Rome" in out
    lines = {line.split()[0]: line for line in out.splitlines() if line.startswith("db-")}
    assert "3.0 MiB" in lines["db-4"] and "44aa5b00" in lines["db-4"]
    assert lines["db-3"].endswith("incomplete") and lines["db-2"].endswith("verified")
    assert lines["db-1"].endswith("protected")
    assert len(json.loads(run("backup", "list", "db", "-o", "json")[1])["runs"]) == 5


def test_list_says_where_there_are_some(memory: Ending, run: Read) -> None:
    assert "there is no Backup in namespace shop; -A looks everywhere" in run("backup", "list")[2]
    backup(memory)
    code, _, err = run("backup", "list", "nightly")
    assert code == 1 and "there are: db" in err


@pytest.mark.parametrize(
    ("end", "code", "says"),
    [
        (
            {"phase": "Succeeded", "bytes": 2048, "duration": "3s", "snapshot": "ab" * 20},
            0,
            "2.0 KiB, 3s, snapshot abab",
        ),
        ({"phase": "Incomplete", "reason": "SourceIncomplete", "message": "2 files"}, 3, "(SourceIncomplete): 2 files"),
        ({"phase": "Failed", "reason": "DumpFailed", "message": "pg_dump died"}, 1, "(DumpFailed): pg_dump died"),
    ],
)
def test_run_ends_as_the_run_does(memory: Ending, run: Read, end: dict[str, Any], code: int, says: str) -> None:
    backup(memory)
    going = {"phase": "Running", "progress": {"part": "database/shop", "bytes": 1024, "percent": 40, "eta": "9s"}}
    memory.phases = (going, {**end, "progress": None})
    answer, out, err = run("backup", "run", "db", "--wait", "--protect")
    assert answer == code
    assert "Running: database/shop, 1.0 KiB, 40 %, 9s left" in err
    assert says in (out if code == 0 else err)
    found = made(memory, types.BACKUP_RUN)
    assert found["spec"] == {"backupRef": {"name": "db"}, "protected": True}
    assert found["metadata"]["name"].startswith("db-") and len(found["metadata"]["name"]) == 8


def test_run_that_takes_too_long_is_no_success(memory: Ending, run: Read) -> None:
    backup(memory)
    code, _, err = run("backup", "run", "db", "--wait", "--timeout", "1")
    assert code == 1 and "not over after 1 s, and it goes on" in err


def test_run_without_waiting(memory: Ending, run: Read) -> None:
    backup(memory)
    code, out, _ = run("backup", "run", "db")
    assert code == 0 and out == f"BackupRun {made(memory, types.BACKUP_RUN)['metadata']['name']} created\n"
    backup(memory, "asleep", suspend=True)
    code, _, err = run("backup", "run", "asleep")
    assert code == 1 and "homeport resume backup/asleep" in err


def test_verify_is_a_drill(memory: Ending, run: Read) -> None:
    backup(memory)
    memory.phases = ({"phase": "Failed", "reason": "CheckFailed", "message": "0 rows",
                      "check": {"output": "0", "passed": False}},)  # fmt: skip
    code, _, err = run("backup", "verify", "db", "--wait")
    assert code == 1 and "check failed: 0" in err
    assert made(memory, types.RESTORE)["spec"] == {"backupRef": {"name": "db"}, "target": {"drill": {}}}


def test_prune_shows_what_goes_and_why(memory: Ending, run: Read) -> None:
    backup(memory, retention={"keepLast": 1})
    code, out, _ = run("backup", "prune", "db", "--dry-run")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "keep" in lines["db-4"] and "last 1 of 1" in lines["db-4"]
    assert "remove" in lines["db-3"] and "incomplete" in lines["db-3"]
    assert "the newest verified one" in lines["db-2"] and "protected" in lines["db-1"]
    assert "remove" in lines["db-0"] and "no rule wants it" in lines["db-0"]
    assert out.splitlines()[-1] == "3 kept, 2 would go"
    tried = json.loads(run("backup", "prune", "db", "--dry-run", "--keep-daily", "9", "-o", "json")[1])
    assert [entry["run"] for entry in tried if not entry["keep"]] == ["db-3"]


def test_prune_that_cannot_be(memory: Ending, run: Read) -> None:
    backup(memory)
    assert "has no retention: every run is kept" in run("backup", "prune", "db", "--dry-run")[2]
    assert "retention keeps nothing" in run("backup", "prune", "db", "--dry-run", "--keep-last", "0")[2]
    assert "can only be tried" in run("backup", "prune", "db", "--keep-last", "1", "--yes")[2]
    assert "has no retention: every run is kept" in run("backup", "prune", "db", "--yes")[2]


class Pruning(Ending):
    """Answers a wish to prune as the operator does."""

    def __init__(self) -> None:
        super().__init__()
        self.said = {"outcome": "Succeeded", "message": "2 runs were removed; 3 are kept"}

    async def patch(self, gvk: Any, ns: str | None, name: str, body: Any, **kwargs: Any) -> Any:
        done = await super().patch(gvk, ns, name, body, **kwargs)
        asked = ((body.get("metadata") or {}).get("annotations") or {}).get("homeport.dev/prune-at")
        if asked:
            last = {"asked": asked, "time": "2026-01-05T00:00:00Z", **self.said}
            await super().patch(gvk, ns, name, {"status": {"lastPrune": last}}, subresource="status")
        return done


def test_prune_asks_the_operator_and_tells_what_came_of_it(monkeypatch: pytest.MonkeyPatch, run: Read) -> None:
    memory = Pruning()

    @asynccontextmanager
    async def connected(options: Any, **_: Any) -> AsyncIterator[Connection]:
        yield Connection(memory, "shop", "https://memory")

    monkeypatch.setattr("homeport.cli.backups.command.connected", connected)
    backup(memory, retention={"keepLast": 1})
    # Nobody is there to be asked: nothing is removed.
    code, out, err = run("backup", "prune", "db")
    assert code == 1 and "there is nobody to ask" in err and "3 kept, 2 would go" in out
    assert "annotations" not in made(memory, types.BACKUP)["metadata"]
    code, out, err = run("backup", "prune", "db", "--yes")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "pruning succeeded: 2 runs were removed; 3 are kept"
    first = made(memory, types.BACKUP)["metadata"]["annotations"]["homeport.dev/prune-at"]
    memory.said = {"outcome": "Failed", "message": "RepositoryLocked: the repository is in use"}
    code, _, err = run("backup", "prune", "db", "--yes")
    assert code == 1 and "pruning failed: RepositoryLocked: the repository is in use" in err
    assert made(memory, types.BACKUP)["metadata"]["annotations"]["homeport.dev/prune-at"] != first


def test_restore_is_beside_unless_told_otherwise(memory: Ending, run: Read) -> None:
    backup(memory)
    code, out, err = run("restore", "db")
    assert code == 0 and "restores run db-4 of 2026-01-04 03:00 UTC" in err
    found = made(memory, types.RESTORE)
    assert found["spec"] == {"backupRef": {"name": "db"}}
    assert out == f"Restore {found['metadata']['name']} created\n"


@pytest.mark.parametrize(
    ("args", "spec"),
    [
        (["--snapshot", "22aa"], {"snapshot": "22aa5b0000000000"}),
        (["--snapshot", "db-1"], {"snapshot": "11aa5b0000000000"}),
        (["--before", "2026-01-03T12:00:00+01:00"], {"before": "2026-01-03T11:00:00Z"}),
        (["--path", "a/b", "--path", "c"], {"paths": ["a/b", "c"]}),
        (["--to-environment", "staging"], {"target": {"new": {"environment": "staging"}}}),
    ],
)
def test_restore_says_what_was_asked(memory: Ending, run: Read, args: list[str], spec: dict[str, Any]) -> None:
    backup(memory)
    code, out, err = run("restore", "db", *args, "--dry-run")
    assert code == 0, err
    assert yaml.safe_load(out)["spec"] == {"backupRef": {"name": "db"}, **spec}
    assert memory.objects(types.RESTORE) == [] and "nothing was written: --dry-run" in err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--snapshot", "dead"], "there are: 44aa5b00 (db-4, 2026-01-04 03:00); 22aa5b00 (db-2"),
        (["--snapshot", "db-3"], "has no good run or snapshot db-3"),
        (["--before", "2025-01-01T00:00:00Z"], "the oldest is of 2025-12-31 03:00"),
        (["--before", "yesterday"], "write a moment with its zone"),
        (["--before", "2026-01-01"], "write a moment with its zone"),
        (["--snapshot", "44aa", "--before", "2026-01-03T12:00:00Z"], "not both"),
        (["--in-place", "--to-environment", "x"], "not both"),
        (["--quiesce"], "--quiesce is for --in-place"),
        (["--in-place"], "there is nobody to ask"),
    ],
)
def test_restore_that_cannot_be(memory: Ending, run: Read, args: list[str], says: str) -> None:
    backup(memory)
    code, _, err = run("restore", "db", *args)
    assert code == 1 and says in err
    assert memory.objects(types.RESTORE) == []


def test_restore_of_a_backup_that_never_was(memory: Ending, run: Read) -> None:
    backup(memory, runs=[])
    code, _, err = run("restore", "db")
    assert code == 1 and "db has no good run yet" in err


def test_in_place_shows_what_goes_and_takes_the_uid_itself(memory: Ending, run: Read) -> None:
    put(memory, "Application", "shop", {"version": "1.0.0", "components": []})
    backup(memory)
    code, _, err = run("restore", "db", "--in-place", "--yes")
    assert code == 0, err
    assert "replaces Postgres of shop/db in prod in namespace shop" in err
    assert "what is there now is backed up first" in err
    (uid,) = {found["metadata"]["uid"] for found in memory.objects(types.APPLICATION)}
    assert made(memory, types.RESTORE)["spec"]["target"] == {"inPlace": {"confirm": uid}}


def test_in_place_wants_the_name_typed(memory: Ending, run: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    put(memory, "Application", "shop", {"version": "1.0.0", "components": []})
    backup(memory)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for typed, code in (("y", 1), ("shop", 0)):
        monkeypatch.setattr(click, "prompt", lambda *args, answer=typed, **kwargs: answer)
        assert run("restore", "db", "--in-place")[0] == code
    assert len(memory.objects(types.RESTORE)) == 1


def test_volumes_are_quiesced(memory: Ending, run: Read) -> None:
    put(memory, "Application", "shop", {"version": "1.0.0", "components": []})
    backup(memory, method="Files")
    patch = {"status": {"method": "Files"}}
    asyncio.run(memory.patch(types.BACKUP, "shop", "db", patch, subresource="status"))
    assert run("restore", "db", "--in-place", "--yes")[0] == 0
    assert made(memory, types.RESTORE)["spec"]["target"]["inPlace"]["quiesce"] is True


def test_coverage(memory: Ending, run: Read) -> None:
    put(memory, "Environment", "prod", {})
    part = {"name": "db", "type": "worker", "image": "db", "volumes": [{"name": "data", "path": "/d", "size": "1Gi"}]}
    put(memory, "Application", "shop", {"version": "1.0.0", "components": [part, {**part, "name": "web"}]})
    backup(memory, method="Postgres")
    code, out, _ = run("backup", "coverage")
    assert code == 1 and out.splitlines()[-1] == "1 of 2 covered"
    assert run("backup", "coverage", "--no-exit-code")[0] == 0
    told = json.loads(run("backup", "coverage", "-o", "json")[1])
    assert [(entry["component"], entry["state"], entry["backups"]) for entry in told["data"]] == [
        ("db", "Covered", ["db"]),
        ("web", "NotCovered", []),
    ]


def test_every_phase_that_ends_has_an_exit_code() -> None:
    for model in (BackupRunStatus, RestoreStatus):
        phases = [name for part in get_args(model.model_fields["phase"].annotation) for name in get_args(part)]
        assert set(phases[phases.index("Succeeded") :]) == following.EXIT.keys()
    assert set(command.backup.commands) == {"list", "run", "verify", "prune", "coverage"}
