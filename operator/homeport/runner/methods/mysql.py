"""MySQL and MariaDB: each database by mariadb-dump in one transaction, with routines, events and triggers; and users.

https://mariadb.com/kb/en/mariadb-dump/
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, unquote

from homeport.runner import stream
from homeport.runner.job import Existing, Place
from homeport.runner.methods.base import DENIED, UNREACHABLE, Part, Saved, Signs, Source, environment, program
from homeport.runner.result import Failure, Reason

USERS = "users"
_DATABASE = "database/"
_OWN = ("information_schema", "performance_schema", "mysql", "sys")
_DUMP = (
    "--single-transaction", "--quick", "--skip-lock-tables", "--routines", "--events", "--triggers", "--hex-blob",
    "--default-character-set=utf8mb4", "--skip-dump-date",
)  # fmt: skip
_ACCOUNTS = ("root", "mysql", "mariadb.sys", "mysql.sys", "mysql.session", "mysql.infoschema")
# A dump that was cut off has no such last line.
_COMPLETE = "^-- Dump completed"


class MySQL(Source):
    """MySQL and MariaDB."""

    signs = (
        Signs(r"Can't connect|Connection refused|Unknown (?:MySQL )?server host|Lost connection|gone away",
              *UNREACHABLE, "the server doesn't answer, or stopped answering"),
        Signs(r"Access denied|command denied", *DENIED, "the server refuses this user"),
        Signs(r"is marked as crashed|Index .* is corrupted|Got error \d+ .* from storage", Reason.SOURCE_DAMAGED,
              Reason.RESTORE_FAILED, "the server's own files are damaged"),
        Signs(r"No space left|is full", Reason.DUMP_FAILED, Reason.TARGET_TOO_SMALL, "the disk is full"),
    )  # fmt: skip

    # Reading

    def parts(self) -> Iterator[Part]:
        """Users, where the user may read them, then each database."""
        place = self.job.source
        dump = program("mariadb-dump", "mysqldump")
        server = self._query(place, "select version()")
        self.context.facts |= {"server": f"MySQL {server}" if "Maria" not in server else f"MariaDB {server}"}
        there = [name for name in self._query(place, "show databases").splitlines() if name not in _OWN]
        missing = [name for name in place.databases if name not in there]
        if missing:
            raise Failure(
                Reason.INVALID_JOB,
                f"job.source.databases: there is no database {', '.join(missing)} that this user sees; there are "
                f"{', '.join(there) or 'none'}",
            )
        own = self._environment(place)
        if self._may_read_users(place):
            yield Part(
                USERS, "/mysql/users.sql", (dump, *self._server(place), "--system=users", "--insert-ignore"), own
            )
        else:
            self.context.notes.append("the user may not read mysql.*, so users and their rights aren't saved")
        for name in place.databases or there:
            self._warn_of_engines(place, name)
            yield Part(
                f"{_DATABASE}{quote(name, safe='')}", f"/mysql/{quote(name, safe='')}.sql",
                (dump, *self._server(place), *_DUMP, "--", name),
                own,
                extra=self._properties(place, name),
            )  # fmt: skip

    def _may_read_users(self, place: Place) -> bool:
        try:
            self._query(place, "select 1 from mysql.user limit 1")
        except Failure as failure:
            if failure.reason is Reason.SOURCE_UNREACHABLE:
                raise
            return False
        return True

    def _warn_of_engines(self, place: Place, name: str) -> None:
        others = "table_type = 'BASE TABLE' and engine not in ('InnoDB', 'RocksDB')"
        where = f"table_schema = {_literal(name)} and {others}"
        engines = self._query(place, f"select distinct engine from information_schema.tables where {where}").split()  # noqa: S608  # nosec B608
        if engines:
            self.context.notes.append(f"{name} has tables of {', '.join(engines)}, which no transaction holds together")

    def _properties(self, place: Place, name: str) -> dict[str, str]:
        columns, quoted = "default_character_set_name, default_collation_name", _literal(name)
        sql = f"select {columns} from information_schema.schemata where schema_name = {quoted}"  # noqa: S608  # nosec B608
        row = self._query(place, sql).split("\t")
        return {"charset": row[0], "collation": row[1]} if len(row) == 2 else {}

    # Writing

    def restore(self, parts: Sequence[Saved]) -> list[dict[str, Any]]:
        """Users that aren't there, then each database into one that is new or empty."""
        place = self.job.target
        chosen = [part for part in parts if part.name == USERS or not place.databases or _name(part) in place.databases]
        targets = {part: place.renamed(_name(part)) for part in chosen if part.name != USERS}
        for name in targets.values():
            self._look(name)
        done = []
        for part in sorted(chosen, key=lambda part: part.name != USERS):
            self.context.progress.begin(part.name)
            name = targets.get(part, "")
            if name:
                self._make(name, part)
                self._load(part, name)
            else:
                self.context.missing += self._load_users(part)
            done.append({"part": part.name, **({"database": name} if name else {}), "bytes": part.bytes})
            self.context.progress.end(part.bytes)
        return done

    def _look(self, name: str) -> None:
        place = self.job.target
        sql = f"select count(*) from information_schema.tables where table_schema = {_literal(name)}"  # noqa: S608  # nosec B608
        count = self._query(place, sql, writing=True)
        if count != "0" and place.existing is Existing.REFUSE:
            raise Failure(
                Reason.TARGET_NOT_EMPTY,
                f"the database {name} holds {count} tables; restore into another (target.rename), or say `existing: "
                "Replace`",
            )

    def _make(self, name: str, part: Saved) -> None:
        place = self.job.target
        about = dict(re.findall(r'"(charset|collation)": "(\w+)"', part.extra))
        words = f"character set {about['charset']} collate {about['collation']}" if len(about) == 2 else ""
        if place.existing is Existing.REPLACE:
            # What is there is lost from here on, so the dump is read to its end first.
            self.prove(part)
            self._query(place, f"drop database if exists {_identifier(name)}", writing=True)
        self._query(place, f"create database if not exists {_identifier(name)} {words}", writing=True)

    def _load(self, part: Saved, name: str) -> None:
        place = self.job.target
        command = (
            program("mariadb", "mysql"), *self._server(place), "--default-character-set=utf8mb4", "--batch", "--", name
        )  # fmt: skip
        code, lines = stream.into(
            self.context.restic,
            part.snapshot,
            part.file,
            command,
            self._environment(place),
            self.context.progress,
            part.bytes,
        )
        if code:
            raise self.refusal(self.context.secrets.scrub(" ".join(lines[-3:])), writing=True)

    def _load_users(self, part: Saved) -> list[str]:
        """Users that aren't there; what went wrong. The server's own accounts, and the one that restores, stay."""
        place = self.job.target
        path = self.context.scratch / "users.sql"
        with path.open("wb") as file:
            stream.to_file(self.context.restic, part.snapshot, part.file, file, self.context.progress, part.bytes)
        stay = "|".join(map(re.escape, (*_ACCOUNTS, self.context.secrets.read(place.user))))
        about = re.compile(rf"(?:TO|FOR|USER|EXISTS) [`'](?:{stay})[`']@")
        text = "".join(line for line in path.read_text().splitlines(keepends=True) if not about.search(line))
        path.unlink()
        command = (program("mariadb", "mysql"), *self._server(place), "--default-character-set=utf8mb4", "--force")
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, input=text, env=self._environment(place)
        )
        errors = re.findall(r"^ERROR \d+ .*?: (.*)", done.stderr, re.MULTILINE)
        if done.returncode and not errors:
            raise self.refusal(self.context.secrets.scrub(done.stderr.strip()[-500:]), writing=True)
        return [f"of the users: {words}" for words in errors]

    def client(self, restored: Sequence[str] = ()) -> dict[str, str]:
        """The clients' variables, and an option file for what they have none for; the password isn't in it."""
        place = self.job.target
        names = [place.renamed(name) for name in place.databases] or list(restored)
        options = {"host": place.host, "port": str(place.port or ""), "protocol": "tcp",
                   "user": self.context.secrets.read(place.user), "database": names[0] if names else ""}  # fmt: skip
        lines = [f'{name} = "{value}"' for name, value in options.items() if value and name != "database"]
        # Only the client proper knows a database: a dump of all would take the option for a mistake.
        lines += ["[mysql]", f'database = "{options["database"]}"'] if options["database"] else []
        home = self.context.scratch
        (home / ".my.cnf").write_text("\n".join(("[client]", *lines, "")))
        return {"HOME": str(home), "MYSQL_PWD": self.context.secrets.read(place.password)}

    def prove(self, part: Saved) -> None:
        """The dump's last line says that it is whole."""
        command = stream.ending(1, _COMPLETE)
        if part.name == USERS:
            command = stream.whole(("grep", "-q", "-a", "-e", "USER"))
        code, _ = stream.into(
            self.context.restic, part.snapshot, part.file, command, environment(), self.context.progress, part.bytes
        )
        if code:
            raise Failure(Reason.CHECK_FAILED, f"{part.name} has no last line that says that it is whole")

    # The server

    def _server(self, place: Place) -> list[str]:
        """Options of all its programs; the password is in the environment."""
        options = [f"--host={place.host}", "--protocol=TCP", "--connect-timeout=15"]
        options += [f"--port={place.port}"] if place.port else []
        options += [f"--user={self.context.secrets.read(place.user)}"] if place.user else []
        options += [f"--ssl-ca={place.ca_file}", "--ssl-verify-server-cert"] if place.ca_file else []
        return ["--no-defaults", *[option for option in options if not option.startswith("--connect-timeout")]]

    def _environment(self, place: Place) -> dict[str, str]:
        return environment(MYSQL_PWD=self.context.secrets.read(place.password))

    def _query(self, place: Place, sql: str, *, writing: bool = False) -> str:
        if not place.host:
            raise Failure(Reason.INVALID_JOB, f"job.{'target' if writing else 'source'}.host is needed")
        command = (program("mariadb", "mysql"), *self._server(place), "--batch", "--skip-column-names")
        return self.ask(command, self._environment(place), writing=writing, text=f"{sql};").strip()


def _identifier(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _name(part: Saved) -> str:
    return unquote(part.name.removeprefix(_DATABASE))
