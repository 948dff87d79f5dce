"""homeport export and import: the file, what is in it, and what is refused. No restic and no cluster."""

from __future__ import annotations

import asyncio
import json
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from homeport import cli
from homeport.api.resource import parse
from homeport.cli.cluster import Connection
from homeport.cli.errors import Failure
from homeport.cli.transfer import archive, arriving, restic, stores
from homeport.drivers.kubernetes import types
from homeport.drivers.memory import MemoryClient
from homeport.plan import history
from homeport.runner import runs

WEB = {"name": "web", "image": "web", "ports": [{"name": "http", "port": 80}]}


def ours(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "homeport.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop", **metadata},
        "spec": spec,
    }


S3 = {"endpoint": "https://s3.example.com", "bucket": "backups", "prefix": "a", "credentialsSecretRef": {"name": "s3"}}
OBJECTS = [
    ours("Project", "shop", {}, annotations={"homeport.dev/reconcile-at": "x", "note": "kept"}, labels={"a": "b"}),
    ours("Environment", "dev", {"secrets": [{"name": "token"}]}),
    ours("Application", "shop", {"version": "1.1.0", "components": [WEB]}),
    ours(
        "BackupRepository",
        "offsite",
        {"s3": S3, "encryption": {"passwordSecretRef": {"name": "restic", "key": "password"}}},
    ),
    ours("Backup", "nightly", {"source": {"project": True}, "repositoryRef": {"name": "offsite"}}),
    ours("BackupRun", "now", {"backupRef": {"name": "nightly"}}),
    {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "token", "namespace": "shop"},
        "data": {"token": "aHVzaA=="},
    },
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sa", "namespace": "shop"},
     "type": "kubernetes.io/service-account-token", "data": {"token": "aHVzaA=="}},
]  # fmt: skip


def put(client: MemoryClient, *bodies: dict[str, Any]) -> None:
    async def work() -> None:
        for body in bodies:
            await client.create(types.gvk_of(body), body["metadata"].get("namespace"), body)

    asyncio.run(work())


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> MemoryClient:
    client = MemoryClient()

    @asynccontextmanager
    async def connected(options: Any, **_: Any) -> AsyncIterator[Connection]:
        yield Connection(client, "default", "https://memory")

    monkeypatch.setattr("homeport.cli.transfer.command.connected", connected)
    return client


def exported(memory: MemoryClient, tmp_path: Path, name: str = "shop.tar.gz") -> Path:
    put(memory, *OBJECTS)
    (app,) = memory.objects(types.APPLICATION)
    for number, version in enumerate(("1.0.0", "1.1.0"), 1):
        kept = history.content({**app["spec"], "version": version})
        put(memory, history.manifest(parse(app), kept, number, f"2026-01-0{number}T00:00:00Z"))
    file = tmp_path / name
    assert cli.main(["export", "project", "shop", "-o", str(file), "--without-data"]) == 0
    return file


@pytest.mark.parametrize("name", ["shop.tar", "shop.tar.gz"])
def test_what_is_in_the_file(memory: MemoryClient, tmp_path: Path, name: str, capsys: Any) -> None:
    file = exported(memory, tmp_path, name)
    assert "5 objects, 0 runs, no Secrets" in capsys.readouterr().out
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [name], "nothing is left beside it"
    with tarfile.open(file) as tar:
        assert tar.getnames()[0] == archive.HEADER
    header = archive.unpack(file, tmp_path / "out")
    assert (header["project"], header["secrets"], header["withSecrets"]) == ("shop", ["token"], False)
    bodies = [yaml.safe_load(path.read_text()) for path in sorted((tmp_path / "out" / "manifests").iterdir())]
    assert [body["kind"] for body in bodies] == ["Project", "Environment", "Application", "BackupRepository", "Backup"]
    assert bodies[0]["metadata"] == {
        "name": "shop", "namespace": "shop", "labels": {"a": "b"}, "annotations": {"note": "kept"},
    }  # fmt: skip
    assert not any("status" in body for body in bodies)
    known = json.loads((tmp_path / "out" / "history" / "shop.json").read_text())
    assert [(entry["number"], entry["spec"]["version"]) for entry in known] == [(2, "1.1.0"), (1, "1.0.0")]
    assert "aHVzaA" not in "".join(path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file())


def test_import_brings_objects_and_history(
    memory: MemoryClient, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = exported(memory, tmp_path)
    other = MemoryClient()

    @asynccontextmanager
    async def connected(options: Any, **_: Any) -> AsyncIterator[Connection]:
        yield Connection(other, "default", "https://other")

    monkeypatch.setattr("homeport.cli.transfer.command.connected", connected)
    for _ in range(2):  # and again
        assert cli.main(["import", str(file), "--s3-prefix", "b"]) == 0
        said = capsys.readouterr()
        assert "project shop: 5 objects applied" in said.out
        assert "Secret token isn't in namespace shop" in said.err
        (app,) = other.objects(types.APPLICATION)
        assert not app["spec"].get("suspend")
        found = history.revisions(other.objects(types.CONTROLLER_REVISION), app["metadata"]["uid"])
        assert [(one.number, one.spec["version"]) for one in found] == [(2, "1.1.0"), (1, "1.0.0")]
        (repository,) = other.objects(types.BACKUP_REPOSITORY)
        assert repository["spec"]["s3"] == {**S3, "prefix": "b"}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["export", "project", "shop", "-o", "x.zip"], "let its name end in one of .tar, .tar.gz"),
        (["export", "project", "nowhere", "-o", "x.tar", "--without-data"], "there is no Project nowhere"),
        (["export", "project", "shop", "-o", "x.tar"], "there is nobody to ask for the password"),
        (["import", "nowhere.tar"], "nowhere.tar isn't there"),
        (["import", "text.tar"], "can't be read"),
        (["import", "other.tar"], "is no export: homeport-export.json isn't in it"),
        (["import", "newer.tar"], "is of another version (9; this program reads 1)"),
    ],
)
def test_what_is_refused(
    memory: MemoryClient, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, args: list[str], says: str
) -> None:
    put(memory, *OBJECTS)
    monkeypatch.chdir(tmp_path)
    Path("text.tar").write_text("no tar")
    Path("word").write_text("{}")
    Path(archive.HEADER).write_text('{"version": 9}')
    for name, member in (("other.tar", "word"), ("newer.tar", archive.HEADER)):
        with tarfile.open(name, "w") as tar:
            tar.add(member)
    assert cli.main(args) == 1
    assert says in capsys.readouterr().err


def test_a_member_that_leads_out_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "word").write_text("x")
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        tar.add(tmp_path / "word", "../outside")
    (tmp_path / "out").mkdir()
    with pytest.raises(Failure, match="can't be read"):
        archive.unpack(tmp_path / "bad.tar", tmp_path / "out")
    assert not (tmp_path / "outside").exists()


def test_restic_has_to_be_there_and_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(restic.PROGRAM, raising=False)
    with pytest.raises(Failure, match="restic isn't installed here"):
        restic.Restic(tmp_path)
    old = tmp_path / "restic"
    old.write_text("#!/bin/sh\necho restic 0.14.0 compiled\n")
    old.chmod(0o755)
    with pytest.raises(Failure, match=r"restic 0\.14\.0 is too old"):
        restic.Restic(tmp_path)


async def test_repositories_that_cannot_be_reached_say_why(tmp_path: Path) -> None:
    client = MemoryClient()
    volume = ours("BackupRepository", "near", {"filesystem": {"persistentVolumeClaim": "x"}})
    for body, says in ((volume, "is on a volume of the cluster"), (OBJECTS[3], "Secret s3 isn't in namespace shop")):
        with pytest.raises(stores.Unreachable, match=says):
            await stores.store(client, body, tmp_path)


async def test_keys_of_a_repository_are_never_shown(tmp_path: Path) -> None:
    client = MemoryClient()
    for name, data in (("s3", {"accessKeyId": "aHVzaA==", "secretAccessKey": "aHVzaA=="}),
                       ("restic", {"password": "aHVzaA=="})):  # fmt: skip
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "shop"}, "data": data}
        await client.create(types.SECRET, "shop", secret)
    found = await stores.store(client, OBJECTS[3], tmp_path)
    assert found.location == "s3:https://s3.example.com/backups/a" and found.password == "hush"
    assert "hush" not in repr(found)


def test_several_repositories_get_a_folder_each(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    for name in ("a", "b"):
        (tmp_path / "manifests" / f"{name}.yaml").write_text(yaml.safe_dump(ours("BackupRepository", name, {"s3": S3})))
    found = arriving.bodies(tmp_path, arriving.Place(prefix="far", bucket="other"))
    assert [(b["spec"]["s3"]["bucket"], b["spec"]["s3"]["prefix"]) for b in found] == [
        ("other", "far/a"),
        ("other", "far/b"),
    ]


def test_a_copied_run_knows_its_parts_by_what_they_were_called() -> None:
    document = {
        "id": "new", "original": "old", "time": "2026-01-01T00:00:00Z", "tags": ["backup=b", "run=r", "part=index"],
    }  # fmt: skip
    one = runs.snapshot(document)
    assert one is not None
    (run,) = runs.runs([one])
    assert (run.here("old"), run.here("new"), run.here("unknown")) == ("new", "new", "unknown")
    assert one.is_called("ol") and one.is_called("ne") and not one.is_called("un")


@pytest.mark.parametrize(
    ("written", "saved", "quiesce"),
    [(None, "Redis", True), (None, "Postgres", None), ("Files", "", True), (None, "", None)],
)
async def test_data_on_volumes_is_restored_where_nobody_has_it_open(
    written: str | None, saved: str, quiesce: bool | None
) -> None:
    """Also where the Backup leaves the method to the image: the file says by which a run was made."""
    client = MemoryClient()
    app = await client.create(types.APPLICATION, "shop", OBJECTS[2])
    source = {"application": "shop", "component": "web", "environment": "dev"}
    spec = {"source": source, "repositoryRef": {"name": "offsite"}, **({"method": written} if written else {})}
    runs = [{"backup": "data", "run": "data-1", "method": saved}]
    assert await arriving.restore(client, [ours("Backup", "data", spec)], runs, {"data": "1a2b"}, None) == 0
    (made,) = client.objects(types.by_kind("homeport.dev/v1alpha1", "Restore"))
    wanted = {"confirm": app["metadata"]["uid"], **({"quiesce": True} if quiesce else {})}
    assert made["spec"]["target"]["inPlace"] == wanted
