"""A PostgreSQL server as its clients see it: asked, understood when it refuses, and matched with clients new enough."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from homeport.runner.job import Place
from homeport.runner.methods.base import DENIED, UNREACHABLE, Signs, Source, environment, program
from homeport.runner.result import Failure, Reason

# Debian's and the project's packages keep the clients of each major version apart.
INSTALLED = Path("/usr/lib/postgresql")
MAINTENANCE = "postgres"


class Server(Source):
    """What reading and writing share."""

    signs = (
        Signs(
            r"connection refused|could not translate|timeout expired|no route to host|server closed the connection"
            r"|terminating connection|starting up|shutting down|Connection reset|could not connect",
            *UNREACHABLE, "PostgreSQL doesn't answer, or stopped answering",
        ),
        Signs(
            r"authentication failed|no password supplied|permission denied|must be (?:superuser|owner)"
            r"|no pg_hba.conf entry|role .* does not exist|insufficient privilege",
            *DENIED, "PostgreSQL refuses this role",
        ),
        Signs(r"invalid page|could not read block|missing chunk", Reason.SOURCE_DAMAGED, Reason.RESTORE_FAILED,
              "PostgreSQL's own files are damaged"),
        Signs(r'database ".*" does not exist', Reason.INVALID_JOB, Reason.INVALID_JOB, "there is no such database"),
        Signs(r"No space left on device|disk full", Reason.DUMP_FAILED, Reason.TARGET_TOO_SMALL, "the disk is full"),
    )  # fmt: skip

    def _environment(self, place: Place) -> dict[str, str]:
        secrets = self.context.secrets
        return environment(
            PGHOST=place.host, PGPORT=str(place.port or ""), PGUSER=secrets.read(place.user),
            PGPASSWORD=secrets.read(place.password), PGCONNECT_TIMEOUT="15", PGAPPNAME="homeport-runner",
            PGCLIENTENCODING="UTF8",
            PGSSLMODE="verify-full" if place.ca_file else "", PGSSLROOTCERT=place.ca_file,
        )  # fmt: skip

    def _admin(self, place: Place) -> str:
        """A database to connect to for what concerns all."""
        return place.databases[0] if place is self.job.source and place.databases else MAINTENANCE

    def _query(self, place: Place, sql: str, database: str = "", *, writing: bool = False) -> str:
        if not place.host:
            raise Failure(Reason.INVALID_JOB, f"job.{'target' if writing else 'source'}.host is needed")
        command = (program("psql"), "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "--no-password",
                   "-d", connection(database or self._admin(place)))  # fmt: skip
        return self.ask(command, self._environment(place), writing=writing, text=sql).strip()

    def _server(self, place: Place, *, writing: bool = False) -> int:
        return int(self._query(place, "show server_version_num", writing=writing))

    def _tools(self, server: int) -> Path:
        """The folder of the oldest clients that are as new as the server; 0 asks for the newest. Raises Failure."""
        folders = {Path(program("pg_dump")).parent, *(path.parent for path in INSTALLED.glob("*/bin/pg_dump"))}
        versions = sorted((int(version(folder / "pg_dump").split(".")[0]), str(folder)) for folder in folders)
        if not server:
            return Path(versions[-1][1])
        fitting = [folder for major, folder in versions if major >= server // 10000]
        if not fitting:
            raise Failure(
                Reason.CLIENT_TOO_OLD,
                f"the server is PostgreSQL {dotted(server)} and the newest client here is {versions[-1][0]}, which "
                f"can't dump it: use an image of the runner with PostgreSQL {server // 10000}'s clients",
            )
        return Path(fitting[0])


def version(path: Path) -> str:
    """What a client says of itself, such as 15.20."""
    said = subprocess.run([path, "--version"], check=False, capture_output=True, text=True).stdout
    found = re.search(r"\) (\d+[\w.]*)", said)
    return found[1] if found else "0"


def dotted(number: int) -> str:
    """``server_version_num`` as people write it."""
    return f"{number // 10000}.{number % 10000}"


def identifier(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"


def connection(name: str) -> str:
    """A database's name for ``--dbname``, which takes connection strings too."""
    return "dbname='" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"
