"""PostgreSQL: each database by pg_dump in the custom format without compression, and what is above databases as SQL.

Without compression so that restic finds what is the same as in the run before; restic compresses itself.
https://www.postgresql.org/docs/current/app-pgdump.html
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from homeport.runner import stream
from homeport.runner.job import Existing, Place
from homeport.runner.methods.base import Part, Saved, environment
from homeport.runner.methods.postgres_server import (
    MAINTENANCE,
    Server,
    connection,
    dotted,
    identifier,
    literal,
    version,
)
from homeport.runner.result import Failure, Reason

GLOBALS = "globals"
_DATABASE = "database/"
_GLOBALS_FILE = "/postgres/globals.sql"
_DATABASES = "select datname from pg_database where datallowconn and not datistemplate order by datname"
_EMPTY = (
    "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname !~ '^pg_' "
    "and n.nspname <> 'information_schema'"
)
# What pg_dump keeps of the database itself only for a restore under the same name.
_PROPERTIES = """
select json_build_object(
  'owner', pg_get_userbyid(datdba), 'encoding', pg_encoding_to_char(encoding), 'collate', datcollate, 'ctype', datctype,
  'grants', (select json_agg(json_build_array(case grantee when 0 then 'public' else
     quote_ident(pg_get_userbyid(grantee)) end, privilege_type)) from aclexplode(datacl)),
  'settings', (select json_agg(s) from pg_db_role_setting d, unnest(d.setconfig) s
     where d.setdatabase = b.oid and d.setrole = 0))
from pg_database b where datname = current_database()
"""
_MARK = "select shobj_description(oid, 'pg_database') from pg_database where datname = current_database()"
_HARMLESS = "42710|42P04"  # duplicate_object, duplicate_database: a role of the same name is there already


class Postgres(Server):
    """PostgreSQL."""

    # Reading

    def parts(self) -> Iterator[Part]:
        """The globals, then each database."""
        place = self.job.source
        databases = self._databases(place)
        server = self._server(place)
        tools = self._tools(server)
        superuser = self._query(place, "select rolsuper from pg_roles where rolname = current_user") == "t"
        self.context.facts |= {
            "server": f"PostgreSQL {dotted(server)}",
            "client": f"pg_dump {version(tools / 'pg_dump')}",
        }
        if not superuser:
            self.context.notes.append("the role isn't a superuser, so roles are saved without their passwords")
        own = self._environment(place)
        yield Part(
            GLOBALS, _GLOBALS_FILE,
            (str(tools / "pg_dumpall"), "--globals-only", "--no-password", f"--database={databases[0]}",
             *([] if superuser else ["--no-role-passwords"])),
            own,
        )  # fmt: skip
        for name in databases:
            command = (
                str(tools / "pg_dump"),
                "--format=custom",
                "--compress=0",
                "--no-password",
                f"--dbname={connection(name)}",
            )
            yield Part(
                f"{_DATABASE}{_tag(name)}", f"/postgres/{quote(name, safe='')}.dump", command, own,
                extra=json.loads(self._query(place, _PROPERTIES, database=name)),
            )  # fmt: skip

    def _databases(self, place: Place) -> list[str]:
        there = self._query(place, _DATABASES).splitlines()
        missing = [name for name in place.databases if name not in there]
        if missing:
            raise Failure(
                Reason.INVALID_JOB,
                f"job.source.databases: there is no database {', '.join(missing)}; there are {', '.join(there)}",
            )
        # The one that administrators connect to holds nothing, as a rule, and is a database as any other.
        return list(place.databases) or there

    # Writing

    def restore(self, parts: Sequence[Saved]) -> list[dict[str, Any]]:
        """Roles first, then each database into one that is new or empty."""
        place = self.job.target
        server = self._server(place, writing=True)
        tools = self._tools(server)
        self.context.facts["server"] = f"PostgreSQL {dotted(server)}"
        chosen = [part for part in parts if part.name == GLOBALS or not self._left_out(part)]
        there = set(self._query(place, "select datname from pg_database", writing=True).splitlines())
        targets = {part: self._target(part, there) for part in chosen if part.name != GLOBALS}
        done: list[dict[str, Any]] = []
        for part in sorted(chosen, key=lambda part: part.name != GLOBALS):
            self.context.progress.begin(part.name)
            if part.name == GLOBALS:
                self.context.missing += self._restore_globals(part, tools)
                done.append({"part": part.name, "bytes": part.bytes})
            else:
                self._restore_database(part, targets[part], there, tools)
                done.append({"part": part.name, "database": targets[part], "bytes": part.bytes})
            self.context.progress.end(part.bytes)
        return done

    def _left_out(self, part: Saved) -> bool:
        wanted = self.job.target.databases
        return bool(wanted) and _name(part) not in wanted

    def _target(self, part: Saved, there: set[str]) -> str:
        """The database to restore into. Raises Failure when it holds something, and nobody said that this may go."""
        place = self.job.target
        name = place.renamed(_name(part))
        if name in there and place.existing is Existing.REFUSE:
            count = self._query(place, _EMPTY, database=name, writing=True)
            mark = self._query(place, _MARK, database=name, writing=True)
            if count != "0" and not (place.mark and mark == place.mark):
                raise Failure(
                    Reason.TARGET_NOT_EMPTY,
                    f"the database {name} holds {count} objects; restore into another (target.rename), or say "
                    "`existing: Replace`",
                )
        return name

    def _restore_database(self, part: Saved, name: str, there: set[str], tools: Path) -> None:
        """Into a database beside it that takes the name when it is whole: what was there stays until then."""
        place = self.job.target
        beside = name if name not in there else f"{name[:40]}.homeport-restore"
        if name in there:
            self._query(place, f"drop database if exists {identifier(beside)} with (force)", writing=True)
        about = json.loads(part.extra or "{}")
        self._query(place, f"create database {identifier(beside)} template template0{_locale(about)}", writing=True)
        if place.mark:
            comment = f"comment on database {identifier(beside)} is {literal(place.mark)}"
            self._query(place, comment, writing=True)
        # One transaction, so that a restore that is cut off leaves an empty database.
        command = (
            str(tools / "pg_restore"), "--single-transaction", "--exit-on-error", "--no-password",
            f"--dbname={connection(beside)}",
        )  # fmt: skip
        code, lines = stream.into(
            self.context.restic,
            part.snapshot,
            part.file,
            stream.whole(command),
            self._environment(place),
            self.context.progress,
            part.bytes,
        )
        if code:
            raise self.refusal(self.context.secrets.scrub(" ".join(lines[-3:])), writing=True)
        self._own(beside, about)
        if beside != name:
            self._swap(beside, name)

    def _own(self, name: str, about: dict[str, Any]) -> None:
        """The database's owner, rights and settings, as far as this role may set them; else a note."""
        database = identifier(name)
        statements = [f"alter database {database} owner to {identifier(about['owner'])}"] if about.get("owner") else []
        if about.get("grants") is not None:
            statements.append(f"revoke all on database {database} from public")
        statements += [f"grant {right} on database {database} to {to}" for to, right in about.get("grants") or ()]
        for setting in about.get("settings") or ():
            key, _, value = setting.partition("=")
            statements.append(f"alter database {database} set {identifier(key)} to {literal(value)}")
        for statement in statements:
            try:
                self._query(self.job.target, statement, writing=True)
            except Failure as failure:
                self.context.notes.append(f"not set on {name}: {failure.message}"[:300])

    def _swap(self, beside: str, name: str) -> None:
        old = identifier(f"{name[:40]}.homeport-before")
        place = self.job.target
        # Nobody may be connected to what is renamed, and that may be the very database that one connects to.
        other = "template1" if name == MAINTENANCE else ""
        drop = f"drop database if exists {old} with (force)"
        self._query(place, drop, other, writing=True)
        away = f"select pg_terminate_backend(pid) from pg_stat_activity where datname = {literal(name)}"  # noqa: S608  # nosec B608
        renames = (
            f"alter database {identifier(name)} rename to {old}",
            f"alter database {identifier(beside)} rename to {identifier(name)}",
        )
        self._query(place, "; ".join(("begin", away, *renames, "commit")), other, writing=True)
        self._query(place, drop, other, writing=True)

    def _restore_globals(self, part: Saved, tools: Path) -> list[str]:
        """Roles, as far as they aren't there; what went wrong. The role that restores keeps its own password."""
        place = self.job.target
        path = self.context.scratch / "globals.sql"
        with path.open("wb") as file:
            stream.to_file(self.context.restic, part.snapshot, part.file, file, self.context.progress, part.bytes)
        me = self._query(place, "select quote_ident(current_user)", writing=True)
        own = (f"CREATE ROLE {me};", f"ALTER ROLE {me} WITH ")
        text = "".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith(own))
        path.unlink()
        done = subprocess.run(
            [str(tools / "psql"), "-X", "-q", "--no-password", "-v", "VERBOSITY=verbose", "-d", self._admin(place)],
            check=False, capture_output=True, text=True, input=text, env=self._environment(place),
        )  # fmt: skip
        if done.returncode:
            raise self.refusal(self.context.secrets.scrub(done.stderr.strip()[-500:]), writing=True)
        # Without the statements that follow each error: they may hold a password's hash.
        errors = re.findall(r"(?:ERROR|FATAL):\s+(\w{5}): (.*)", done.stderr)
        return [f"of the roles: {words}" for state, words in errors if not re.fullmatch(_HARMLESS, state)]

    def client(self, restored: Sequence[str] = ()) -> dict[str, str]:
        """libpq's variables."""
        place = self.job.target
        names = [place.renamed(name) for name in place.databases] or [name for name in restored if name != MAINTENANCE]
        own = {name: value for name, value in self._environment(place).items() if name.startswith("PG")}
        return {**own, "PGDATABASE": names[0] if names else MAINTENANCE}

    def prove(self, part: Saved) -> None:
        """pg_restore reads a dump to its end and writes SQL to nowhere."""
        if part.name == GLOBALS:
            # The words stand between two empty comments and an empty line.
            command = stream.ending(8, "^-- PostgreSQL database cluster dump complete")
        else:
            command = stream.whole((str(self._tools(0) / "pg_restore"), "--file=/dev/null"))
        code, lines = stream.into(
            self.context.restic, part.snapshot, part.file, command, environment(), self.context.progress, part.bytes
        )
        if code:
            raise Failure(Reason.CHECK_FAILED, f"{part.name} can't be read to its end: {' '.join(lines[-2:])}")


def _locale(about: dict[str, Any]) -> str:
    if not about.get("encoding"):
        return ""
    encoding, collate, ctype = (literal(about[name]) for name in ("encoding", "collate", "ctype"))
    return f" encoding {encoding} lc_collate {collate} lc_ctype {ctype}"


def _tag(name: str) -> str:
    return quote(name, safe=" ")


def _name(part: Saved) -> str:
    return unquote(part.name.removeprefix(_DATABASE))
