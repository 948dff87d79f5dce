"""The runner's pure parts: jobs, results, restic's words, runs, expectations, progress."""

from __future__ import annotations

import io
import json
import re
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.runner import diagnose, expect, keeping, runs, s3
from homeport.runner import job as jobs
from homeport.runner.job import Operation, Retention, Select
from homeport.runner.methods import files, mysql, postgres, postgres_server
from homeport.runner.methods.base import Context, Part, Saved
from homeport.runner.progress import Progress
from homeport.runner.result import PASSING, TERMINATION_BYTES, Failure, Outcome, Reason, Result
from homeport.runner.secrets import Reference, Secrets
from manifests import ROOT

REPOSITORY = {"filesystem": {"path": "/repository"}, "password": {"env": "PASSWORD"}}
GOOD: dict[str, Any] = {
    "version": 1,
    "operation": "backup",
    "method": "Postgres",
    "repository": REPOSITORY,
    "host": "shop",
    "tags": {"backup": "nightly", "run": "nightly-1"},
    "source": {"host": "db", "password": {"file": "/secret"}},
}


class TestJob:
    def test_a_whole_one(self) -> None:
        job = jobs.parse(json.dumps(GOOD))
        assert job.operation is Operation.BACKUP
        assert job.source.password == Reference("job.source.password", file="/secret")
        assert job.repository is not None and job.repository.path == "/repository"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"version": 2}, "job.version is 2; this runner reads version 1"),
            (
                {"operation": "backups"},
                "job.operation is 'backups'; write one of init, backup, restore, check, "
                "drill, drill-check, "
                "forget, retain, prune, snapshots, unlock",
            ),
            (
                {"method": "Oracle"},
                "job.method is 'Oracle'; write one of Postgres, MySQL, SQLite, Redis, Files, Manifests",
            ),
            ({"method": ""}, "job.method is needed: one of Postgres, MySQL, SQLite, Redis, Files, Manifests"),
            ({"sources": {}}, "job.sources isn't known; do you mean source?"),
            ({"source": {"host": "db", "port": "5432"}}, "job.source.port has to be a whole number"),
            ({"source": {"host": "db", "port": True}}, "job.source.port has to be a whole number"),
            (
                {"source": {"password": {"value": "hunter2"}}},
                "job.source.password: a secret isn't written into a job; name a variable or a file",
            ),
            (
                {"source": {"user": {"env": "A", "file": "b"}}},
                "job.source.user: write exactly one of value, env and file",
            ),
            ({"source": {"databases": "shop"}}, "job.source.databases has to be a list"),
            (
                {"tags": {"backup": "a,b", "run": "c"}},
                "job.tags: 'a,b' has a comma or an equals sign, which tags can't have",
            ),
            ({"tags": {"backup": "a"}}, "job.tags.run and job.host are needed for a backup"),
            ({"repository": {"password": {"env": "A"}}}, "job.repository needs exactly one of s3 and filesystem.path"),
            (
                {"repository": {"filesystem": {"path": "/a"}}},
                "job.repository.password is needed: {env: NAME} or {file: PATH}",
            ),
            (
                {"repository": {**REPOSITORY, "filesystem": {}, "s3": {"endpoint": "s3.example.com", "bucket": "b"}}},
                "job.repository.s3.endpoint: write a URL with http:// or https://",
            ),
            ({"select": {"run": "a", "snapshot": "b"}}, "job.select: write only one of run, snapshot and before"),
            (
                {"select": {"before": "yesterday"}},
                "job.select.before: 'yesterday' isn't a moment such as 2026-11-20T18:00:00Z",
            ),
            (
                {"operation": "forget"},
                "job.snapshots is needed: the ids to forget; or everything: true, for all of one backup",
            ),
            (
                {"operation": "forget", "everything": True, "tags": {}},
                "job.tags.backup is needed with everything: which backup's snapshots go",
            ),
        ],
    )
    def test_what_is_refused(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(Failure) as failed:
            jobs.parse(json.dumps({**GOOD, **change}))
        assert (failed.value.reason, failed.value.message) == (Reason.INVALID_JOB, message)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(
                    st.sampled_from(
                        ["version", "operation", "repository", "s3", "password", "env", "select", "source", "tags"]
                    ),
                    inner,
                )
            ),
        )
    )
    def test_nothing_but_a_refusal_comes_of_anything(self, document: Any) -> None:
        for whole in (
            document,
            {**GOOD, "source": document},
            {**GOOD, "repository": document},
            {**GOOD, "select": document},
        ):
            try:
                jobs.parse(json.dumps(whole))
            except Failure as failure:
                assert failure.reason is Reason.INVALID_JOB


class TestResult:
    def test_exit_codes_tell_what_to_do(self) -> None:
        assert Result("backup").exit_code == 0
        assert Result("backup", Outcome.INCOMPLETE, Reason.SOURCE_INCOMPLETE).exit_code == 3
        assert Result("backup", Outcome.FAILED, Reason.REPOSITORY_LOCKED).exit_code == 1
        assert Result("backup", Outcome.FAILED, Reason.WRONG_PASSWORD).exit_code == 2

    @given(st.text(max_size=6000), st.integers(0, 400), st.lists(st.text(max_size=300), max_size=60))
    def test_a_termination_message_fits_and_can_be_read(self, message: str, parts: int, notes: list[str]) -> None:
        result = Result("backup", Outcome.FAILED, Reason.DUMP_FAILED, message, notes=notes)
        result.details = {"parts": [{"part": f"database/{n}", "snapshot": "f" * 64} for n in range(parts)]}
        encoded = result.termination()
        assert len(encoded) <= TERMINATION_BYTES
        document = json.loads(encoded)
        assert (document["outcome"], document["reason"]) == ("Failed", "DumpFailed")
        if "omitted" in document:
            assert len(document.get("parts", ())) + document["omitted"].get("parts", 0) == parts


def said(*messages: str) -> list[str]:
    return [json.dumps({"message_type": "exit_error", "code": 1, "message": text}) for text in messages]


# restic 0.18.1's own words, as it wrote them.
WORDS = [
    (
        10,
        said("Fatal: repository does not exist: unable to open config file"),
        Reason.REPOSITORY_MISSING,
        "`init` makes one",
    ),
    (12, said("Fatal: wrong password or no key found"), Reason.WRONG_PASSWORD, "no key of the repository opens"),
    (
        11,
        said(
            "unable to create lock in backend: repository is already locked exclusively by PID 77 on runner-x by root "
            "(UID 0, GID 0)\nlock was created at 2026-11-21 11:22:34 (5m3.2s ago)\nstorage ID 01020304"
        ),
        Reason.REPOSITORY_LOCKED,
        "runner-x (PID 77) holds the repository since 2026-11-21 11:22:34; a lock whose holder",
    ),
    (
        1,
        [
            "subprocess env: pg_dump: error: permission denied for table secret",
            *said("Fatal: unable to save snapshot: Fatal: command failed: exit status 4"),
        ],
        Reason.DUMP_FAILED,
        "permission denied for table secret",
    ),
    (
        1,
        said("Fatal: cannot dump file: decrypting blob <data/3a705474> from d9307975: ciphertext verification failed"),
        Reason.REPOSITORY_DAMAGED,
        "d9307975",
    ),
    (
        1,
        [
            '{"message_type":"error","message":"pack d9307975: unexpected file size: got 1000, expected 3100359\\n"}',
            *said("Fatal: repository contains errors"),
        ],
        Reason.REPOSITORY_DAMAGED,
        "pack d9307975: unexpected file size",
    ),
    (
        1,
        said("Fatal: unable to save: write /repository/data/00/x-tmp-1: no space left on device"),
        Reason.REPOSITORY_FULL,
        "no space left",
    ),
    (1, said("Fatal: write /scratch/cache/x: no space left on device"), Reason.SCRATCH_FULL, "the runner's own disk"),
    (
        1,
        said("Fatal: unable to open repository: client.BucketExists: Access Denied."),
        Reason.REPOSITORY_DENIED,
        "credentials",
    ),
    (
        1,
        said('Fatal: Get "http://127.0.0.1:1/": dial tcp: connection refused'),
        Reason.REPOSITORY_UNREACHABLE,
        "doesn't answer",
    ),
    (1, said("Fatal: something new"), Reason.REPOSITORY_FAILED, "restic failed with code 1: something new"),
    (1, [], Reason.REPOSITORY_FAILED, "it said nothing"),
]


@pytest.mark.parametrize(("code", "lines", "reason", "words"), WORDS)
def test_what_restics_words_mean(code: int, lines: list[str], reason: Reason, words: str) -> None:
    failure = diagnose.failure(code, lines, scratch="/scratch")
    assert failure.reason is reason
    assert words in failure.message


def test_code_3_is_incomplete_and_never_a_success() -> None:
    line = '{"message_type":"error","error":{"message":"open /data/x: permission denied"},"item":"/data/x"}'
    failure = diagnose.failure(3, [line, *said("Warning: at least one source file could not be read")])
    assert (failure.reason, failure.outcome) == (Reason.SOURCE_INCOMPLETE, Outcome.INCOMPLETE)
    assert "/data/x: permission denied" in failure.message


@given(st.integers(-20, 200), st.lists(st.text() | st.just('{"message_type":"error"}') | st.just('{"error": 1}')))
def test_any_words_are_a_failure(code: int, lines: list[str]) -> None:
    assert diagnose.failure(code, lines).message


def test_every_reason_is_on_the_page_with_whether_it_may_pass() -> None:
    rows = dict(
        re.findall(r"^\| `(\w+)` \| .* \| (yes|no) \|$", (ROOT / "docs/backup-runner.md").read_text(), re.MULTILINE)
    )
    assert rows == {reason.value: "yes" if reason in PASSING else "no" for reason in Reason}


class TestRuns:
    START = datetime(2026, 11, 20, 3, tzinfo=UTC)

    def snapshot(self, day: int, run: str, part: str) -> runs.Snapshot:
        time = self.START + timedelta(days=day)
        return runs.Snapshot(f"{run}-{part}-{day}", time, "nightly", run, part, 10, ())

    def test_a_run_is_complete_with_its_index(self) -> None:
        found = runs.runs(
            [self.snapshot(0, "a", "globals"), self.snapshot(0, "a", "index"), self.snapshot(1, "b", "globals")]
        )
        assert [(run.name, run.whole is not None) for run in found] == [("a", True), ("b", False)]
        assert runs.choose(found, Select()).name == "a"
        with pytest.raises(Failure, match="the run b was cut off and isn't complete; the nearest are a"):
            runs.choose(found, Select(run="b"))

    def test_the_newest_before_a_moment(self) -> None:
        found = runs.runs([self.snapshot(day, f"r{day}", "index") for day in range(5)])
        assert runs.choose(found, Select(before=self.START + timedelta(days=2, hours=1))).name == "r2"
        assert runs.choose(found, Select(before=self.START + timedelta(days=2))).name == "r1"

    def test_a_name_that_is_used_again_is_a_new_run(self) -> None:
        days = [(0, "dropped"), (0, "globals"), (0, "index"), (60, "globals"), (60, "index")]
        (found,) = runs.runs([self.snapshot(day, "now", part) for day, part in days])
        assert found.time == self.START + timedelta(days=60)
        others = runs.runs([self.snapshot(day, f"r{day}", "index") for day in (57, 58, 59)])
        asked = Retention({"last": 3}, "UTC", (), 3600)
        gone = keeping._unwanted([found, *others], asked, self.START + timedelta(days=60))
        assert [run.name for run in gone] == ["r57"]

    def test_what_another_installation_saved_is_not_ours_to_choose(self) -> None:
        theirs = self.snapshot(3, "r", "index")._replace(installation="b", id="theirs")
        ours = self.snapshot(2, "r", "index")._replace(installation="a", id="ours")
        found = runs.runs([theirs, ours])
        assert [run.installation for run in found] == ["a", "b"]  # alike in name, and two runs all the same
        assert [run.snapshots[0].id for run in runs.first_ours(found, "a")] == ["ours"]
        assert [run.installation for run in runs.first_ours(found, "c")] == ["a", "b"]  # a cluster made anew

    def test_what_others_made_isnt_ours(self) -> None:
        other = {"id": "ff", "time": "2026-11-21T11:22:34.378715185Z", "tags": ["backup=x"], "paths": ["/"]}
        assert runs.snapshot(other) is None
        ours = runs.snapshot({**other, "tags": ["backup=x", "run=y", "part=a=b"]})
        assert ours is not None and ours.part == "a=b" and ours.time.tzinfo is not None


@pytest.mark.parametrize(
    ("expected", "output", "good"),
    [
        ("", "", True),
        (">0", "12\n", True),
        (">0", "0", False),
        (">0", "", False),
        (">=2", "2.0", True),
        ("<5", "7", False),
        ("==3", "3", True),
        ("!=0", "0", False),
        ("=ok", "ok\n", True),
        ("=ok", "okay", False),
        ("~^ok", "okay", True),
        ("~^ok$", "okay", False),
    ],
)
def test_expectations(expected: str, output: str, good: bool) -> None:
    assert (expect.problem(expected, output) == "") is good


@pytest.mark.parametrize("expected", [">", ">much", "ok", "~("])
def test_an_expectation_that_isnt_one(expected: str) -> None:
    with pytest.raises(Failure) as failed:
        expect.problem(expected, "1")
    assert failed.value.reason is Reason.INVALID_JOB


def test_progress_has_percent_and_eta_where_the_whole_is_known() -> None:
    now, out = [0.0], io.StringIO()
    progress = Progress(out, lambda: now[0])
    progress.begin("database/shop", 1000)
    for second, done in ((0.5, 10), (2.0, 250), (4.0, 5000)):
        now[0] = second
        progress.advance(done)
    progress.end(5000)
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"event": "begin", "part": "database/shop", "expectedBytes": 1000},
        {"event": "progress", "part": "database/shop", "bytes": 250, "percent": 25, "etaSeconds": 6},
        {"event": "progress", "part": "database/shop", "bytes": 5000, "percent": 99, "etaSeconds": 0},
        {"event": "end", "part": "database/shop", "bytes": 5000},
    ]


def test_secrets_are_read_from_where_the_job_says_and_never_said(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter22\n")
    secrets = Secrets({"KEY": "another secret"})
    assert secrets.read(Reference("a", file=str(tmp_path / "password"))) == "hunter22"
    assert secrets.read(Reference("b", env="KEY")) == "another secret"
    assert secrets.scrub("hunter22, another secret and more") == "***, *** and more"
    with pytest.raises(Failure, match=r"job\.a: the variable NOT_SET isn't set"):
        secrets.read(Reference("job.a", env="NOT_SET"))


def test_a_dump_gets_none_of_the_repositorys_secrets() -> None:
    words = Part("a", "/a", ("pg_dump", "--format=custom")).arguments()
    assert words[words.index("env") :][:5] == ["env", "-u", "RESTIC_PASSWORD", "-u", "RESTIC_PASSWORD_FILE"]
    assert words[-2:] == ["pg_dump", "--format=custom"]


class TestPostgresClients:
    @pytest.fixture
    def source(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> postgres.Postgres:
        for major in (14, 15, 17):
            path = tmp_path / str(major) / "bin" / "pg_dump"
            path.parent.mkdir(parents=True)
            path.write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {major}.3 (Debian {major}.3-1)'\n")
            path.chmod(0o755)
        monkeypatch.setattr(postgres_server, "INSTALLED", tmp_path)
        monkeypatch.setenv("PATH", f"{tmp_path / '14' / 'bin'}:/usr/bin:/bin")
        job = jobs.parse(json.dumps(GOOD))
        return postgres.Postgres(Context(job, None, Secrets({}), Progress(io.StringIO()), tmp_path))  # type: ignore[arg-type]

    @pytest.mark.parametrize(("server", "client"), [(140005, 14), (150020, 15), (160002, 17), (0, 17)])
    def test_the_oldest_that_is_as_new_as_the_server(self, source: postgres.Postgres, server: int, client: int) -> None:
        assert source._tools(server).parent.name == str(client)

    def test_a_server_that_is_newer_than_all(self, source: postgres.Postgres) -> None:
        with pytest.raises(Failure) as failed:
            source._tools(180001)
        assert failed.value.reason is Reason.CLIENT_TOO_OLD
        assert failed.value.message == (
            "the server is PostgreSQL 18.1 and the newest client here is 17, which can't dump it: use an image of the "
            "runner with PostgreSQL 18's clients"
        )


MYSQL_END, GLOBALS_END = "-- Dump completed\n", "--\n-- PostgreSQL database cluster dump complete\n--\n\n"


@pytest.mark.parametrize(
    ("method", "name", "text", "good"),
    [
        (mysql.MySQL, "database/shop", f"insert;\n{MYSQL_END}", True),
        (mysql.MySQL, "database/shop", "insert;\n-- Dump completed on 2026-01-01  3:00:00\n", True),
        (mysql.MySQL, "database/shop", f"insert;\n{MYSQL_END}insert (cut off", False),
        (mysql.MySQL, "database/shop", f"insert;\ninsert ({MYSQL_END}", False),
        (mysql.MySQL, "users", "create USER a;\ngrant;\n", True),
        (postgres.Postgres, "globals", f"create role a;\n{GLOBALS_END}", True),
        (postgres.Postgres, "globals", GLOBALS_END + "create role b;\n" * 9, False),
        (postgres.Postgres, "globals", "create role a;\n", False),
    ],
)
def test_a_dump_is_whole_when_it_ends_as_one(
    tmp_path: Path, method: type[mysql.MySQL | postgres.Postgres], name: str, text: str, good: bool
) -> None:
    class Given:
        @contextmanager
        def started(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
            (tmp_path / "dump").write_text(text)
            with subprocess.Popen(["cat", str(tmp_path / "dump")], stdout=subprocess.PIPE) as process:
                yield process

    job = jobs.parse(json.dumps(GOOD))
    context = Context(job, cast(Any, Given()), Secrets({}), Progress(io.StringIO()), tmp_path)
    part = Saved(name, "/dump.sql", "1", len(text))
    if good:
        method(context).prove(part)
        return
    with pytest.raises(Failure) as refused:
        method(context).prove(part)
    assert refused.value.reason is Reason.CHECK_FAILED


def test_files_are_counted_as_what_is_there_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume that is in use isn't left half replaced; nothing is counted while all would fit twice over."""
    nodes = [
        {"type": "dir", "path": "/d", "inode": 1},
        {"type": "file", "path": "/a", "size": 500, "inode": 2},
        {"type": "file", "path": "/b", "size": 300, "inode": 3},
        {"type": "file", "path": "/d/linked", "size": 500, "inode": 2},
        {"type": "file", "path": "/d/c", "size": 70, "inode": 4},
    ]
    (tmp_path / "list").write_text("".join(json.dumps(node) + "\n" for node in nodes))
    target = tmp_path / "target"
    target.mkdir()
    (target / "a").write_bytes(bytes(400))
    (target / "b").write_bytes(bytes(900))
    asked, restored = [], []

    class Given:
        @contextmanager
        def started(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
            asked.append(arguments)
            with subprocess.Popen(["cat", str(tmp_path / "list")], stdout=subprocess.PIPE) as process:
                yield process

        def run(self, *arguments: str, each: Any) -> list[dict[str, Any]]:
            restored.append(arguments)
            return [{"message_type": "summary", "files_restored": 1}]

    def with_free(count: int, *paths: str) -> None:
        monkeypatch.setattr("os.statvfs", lambda path: SimpleNamespace(f_bavail=count, f_frsize=1))
        place = {"paths": [str(target)], "existing": "Replace"}
        order = {**GOOD, "operation": "restore", "method": "Files", "target": place, "select": {"paths": list(paths)}}
        context = Context(jobs.parse(json.dumps(order)), cast(Any, Given()), Secrets({}), Progress(io.StringIO()),
                          tmp_path)  # fmt: skip
        files.Files(context).restore([Saved("files", "/source", "1", 1370)])

    with_free(1370)
    assert not asked and len(restored) == 1
    with_free(170)  # 100 more of a, none of b, 70 of c
    assert asked[-1][-1] == "1:/source" and len(restored) == 2
    with pytest.raises(Failure) as refused:
        with_free(169)
    assert refused.value.reason is Reason.TARGET_TOO_SMALL and "170 bytes are needed" in refused.value.message
    with pytest.raises(Failure):
        with_free(69, "d/c")
    assert len(restored) == 2
    with_free(70, "/d/c")
    assert len(restored) == 3


def test_a_stores_own_authority_is_checked_as_restic_does() -> None:
    """Python 3.13 refuses authorities without an Authority Key Identifier, and restic takes them."""
    context = s3._context("")
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
