"""Redis: an RDB as a replica would get it, by redis-cli; brought back as the files that a server starts from.

A server with ``appendonly yes`` ignores dump.rdb when it starts; for one like that the RDB becomes the base of an
append-only file of several parts, as Redis 7 has them.
https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from homeport.runner.job import Existing, Place
from homeport.runner.methods.base import (
    DENIED,
    UNREACHABLE,
    Part,
    Saved,
    Signs,
    Source,
    environment,
    fits,
    one_path,
    program,
)
from homeport.runner.result import Failure, Reason

_MAGIC = b"REDIS"
_PATIENCE = 600.0  # seconds in which a server has to read what was restored
_BETWEEN = 0.5
_MARK = 40  # bytes
_FOLDER = "appendonlydir"  # Redis's default of appenddirname
_BASE = "appendonly.aof.1.base.rdb"
_INCREMENT = "appendonly.aof.1.incr.aof"


class Redis(Source):
    """Redis, and what speaks its protocol."""

    signs = (
        Signs(r"Could not connect|Connection refused|Connection reset|I/O error|Server closed the connection|LOADING"
              r"|Error (?:reading|writing)|failed to read|Connection timed out|EOF",
              *UNREACHABLE, "Redis doesn't answer, or stopped answering"),
        Signs(r"NOAUTH|WRONGPASS|NOPERM|invalid username-password|AUTH failed", *DENIED, "Redis refuses this user"),
    )  # fmt: skip

    def parts(self) -> Iterator[Part]:
        """One RDB of all databases."""
        place = self.job.source
        about = self._info(place)
        self.context.facts |= {"server": f"Redis {about.get('redis_version', '')}"}
        command = (program("redis-cli"), *self._server(place), "--rdb", "-")
        yield Part(
            "rdb",
            "/redis/dump.rdb",
            command,
            self._environment(place),
            extra={"version": about.get("redis_version", "")},
        )

    def restore(self, parts: Sequence[Saved]) -> list[dict[str, Any]]:
        """Into the folder of a server that doesn't run."""
        folder = one_path(self.job.target, "target")
        part = parts[0]
        self._look(folder)
        fits(folder, part.bytes, Reason.TARGET_TOO_SMALL, "the RDB")
        folder.mkdir(parents=True, exist_ok=True)
        self.context.progress.begin(part.name)
        beside = folder / ".homeport-restore.rdb"
        self._fetch(part, beside)
        try:
            self._sound(beside)
        except Failure:
            beside.unlink()
            raise
        path = self._append_only(folder, beside) if self.job.target.append_only else folder / "dump.rdb"
        if not self.job.target.append_only:
            beside.replace(path)
        self.context.progress.end(part.bytes)
        return [{"part": part.name, "path": str(path), "bytes": part.bytes}]

    def ready(self) -> None:
        """It listens before it has read its files, and refuses everything else meanwhile."""
        place, until = self.job.target, time.monotonic() + _PATIENCE
        while place.host and self._info(place).get("loading", "0") != "0":
            if time.monotonic() > until:
                raise Failure(Reason.TARGET_UNREACHABLE, f"Redis was still reading its files after {_PATIENCE:.0f} s")
            time.sleep(_BETWEEN)

    def client(self, restored: Sequence[str] = ()) -> dict[str, str]:
        """redis-cli's password; it connects to the usual port of this host by itself."""
        password = self.context.secrets.read(self.job.target.password)
        return {"REDISCLI_AUTH": password} if password else {}

    def _look(self, folder: Path) -> None:
        """Raise Failure when something is there already, or would be read instead."""
        append = [name for name in (_FOLDER, "appendonly.aof") if (folder / name).exists()]
        if append and not self.job.target.append_only:
            raise Failure(
                Reason.TARGET_NOT_EMPTY,
                f"{folder} has {append[0]}: a server with `appendonly yes` reads that and ignores an RDB. Say "
                "`appendOnly: true` for a server like that, or remove it",
            )
        taken = [name for name in ("dump.rdb", _FOLDER) if (folder / name).exists()]
        if taken and self.job.target.existing is Existing.REFUSE:
            raise Failure(
                Reason.TARGET_NOT_EMPTY,
                f"{folder} has {taken[0]}; restore into another folder, or stop the server and say `existing: Replace`",
            )

    def _append_only(self, folder: Path, rdb: Path) -> Path:
        """Make the RDB the base of an append-only file. The folder takes its name when it is whole."""
        target, beside = folder / _FOLDER, folder / ".homeport-restore.aof"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        rdb.replace(beside / _BASE)
        (beside / _INCREMENT).touch()
        manifest = f"file {_BASE} seq 1 type b\nfile {_INCREMENT} seq 1 type i\n"
        (beside / "appendonly.aof.manifest").write_text(manifest)
        for path in (beside, *beside.iterdir()):
            _give(path, folder)
        if target.exists():
            shutil.rmtree(target)
        return beside.rename(target)

    def _fetch(self, part: Saved, path: Path) -> None:
        """The RDB, as its folder's owner has it."""
        self.fetch(part, path)
        _trim(path)
        _give(path, path.parent)

    def _sound(self, path: Path) -> None:
        """Its header and, where redis-check-rdb is installed, every entry and the checksum."""
        with path.open("rb") as file:
            if file.read(5) != _MAGIC:
                raise Failure(Reason.CHECK_FAILED, "what was saved isn't an RDB")
        checker = shutil.which("redis-check-rdb")
        if checker is None:
            self.context.notes.append("redis-check-rdb isn't installed here: only the RDB's header was looked at")
            return
        try:
            self.ask((checker, str(path)), environment())
        except Failure as failure:
            raise Failure(Reason.CHECK_FAILED, f"the RDB isn't sound: {failure.message}") from None

    def prove(self, part: Saved) -> None:
        """redis-check-rdb on a copy."""
        copy = self.context.scratch / "copy.rdb"
        fits(self.context.scratch, part.bytes, Reason.SCRATCH_FULL, "the RDB")
        self._fetch(part, copy)
        try:
            self._sound(copy)
        finally:
            copy.unlink(missing_ok=True)

    # The server

    def _server(self, place: Place) -> list[str]:
        if not place.host:
            raise Failure(Reason.INVALID_JOB, "job.source.host is needed")
        options = ["-h", place.host, *(["-p", str(place.port)] if place.port else [])]
        options += ["--user", self.context.secrets.read(place.user)] if place.user else []
        options += ["--tls", "--cacert", place.ca_file] if place.ca_file else []
        return options

    def _environment(self, place: Place) -> dict[str, str]:
        return environment(REDISCLI_AUTH=self.context.secrets.read(place.password))

    def _info(self, place: Place) -> dict[str, str]:
        command = (program("redis-cli"), *self._server(place), "-e", "info")
        said = self.ask(command, self._environment(place))
        about = dict(re.findall(r"^(\w+):(.*?)\r?$", said, re.MULTILINE))
        if "redis_version" not in about:
            raise self.refusal(said.strip()[:300] or "Redis said nothing", writing=False)
        return about


def _give(path: Path, folder: Path) -> None:
    """Give a file to a folder's owner. Only root can; others are whoever the server is, or it reads by its group."""
    owner = folder.stat()
    if os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)


def _trim(path: Path) -> None:
    """Cut off the mark that ends an RDB on the wire, which redis-cli leaves when it writes to a pipe.

    40 hexadecimal digits after the RDB's own end, which is 0xFF and a checksum of eight bytes. A server that loads an
    RDB ignores it; as the base of an append-only file it would be taken for commands.
    """
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end < _MARK + 9:
            return
        file.seek(end - _MARK - 9)
        tail = file.read()
        if tail[0] == 0xFF and re.fullmatch(rb"[0-9a-f]{40}", tail[9:]):
            file.truncate(end - _MARK)
