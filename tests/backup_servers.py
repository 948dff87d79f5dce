"""Real servers to back up, of Debian packages, and a real S3: run without being installed.

A program of a package is in a mount namespace of its own: it sees the packages' files as its /usr, and this machine's
everywhere else.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from localplane import binaries, debian
from localplane.debian import Layer
from localplane.ports import free_port

POSTGRES = Layer(
    ("coreutils", "dash", "postgresql-15"),
    without=("libllvm14", "libz3-4", "locales", "libc-l10n", "postgresql-common", "ssl-cert"),
)
MARIADB = Layer(
    ("coreutils", "dash", "mariadb-client", "mariadb-server"),
    without=("galera-4", "gawk", "iproute2", "libdbi-perl", "lsof", "procps", "psmisc", "python3", "rsync", "socat"),
)
REDIS = Layer(("coreutils", "dash", "redis-server"))
START = 60.0  # seconds for a server to answer
NOBODY = 65534
PASSWORD = "correct horse battery"
PG_BIN = "usr/lib/postgresql/15/bin"
CLIENTS = {
    POSTGRES: [f"{PG_BIN}/{name}" for name in ("psql", "pg_dump", "pg_dumpall", "pg_restore")],
    MARIADB: ["usr/bin/mariadb", "usr/bin/mariadb-dump"],
    REDIS: ["usr/bin/redis-cli", "usr/bin/redis-check-rdb"],
}
# $0 is the packages' usr; what follows is run on it.
_ENTER = 'mount --bind "$0" /usr && exec "$@"'


def entered(layer: Layer, program: str, *arguments: str, user: int | None = None) -> list[str]:
    """The command line that runs a package's program on the package's own files."""
    usr = str(debian.tree(layer) / "usr")
    become = [] if user is None else ["/usr/sbin/chroot", f"--userspec={user}:{user}", "/"]
    return ["unshare", "--mount", "sh", "-c", _ENTER, usr, *become, f"/{program}", *arguments]


def require() -> None:
    """Skip, saying why, where packages can't be had or run."""
    if os.geteuid() != 0:
        pytest.skip("real databases need root: they run on packages' files in a mount namespace")
    if lacking := debian.missing():
        pytest.skip(f"real databases need {', '.join(lacking)}")
    try:
        for layer in (POSTGRES, MARIADB, REDIS):
            debian.tree(layer)
    except debian.DebianError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the Debian packages of the databases can't be had: {error}")


def clients(folder: Path, layers: Sequence[Layer] = (POSTGRES, MARIADB, REDIS)) -> Path:
    """A folder for PATH with restic and the packages' client programs."""
    folder.mkdir(exist_ok=True)
    for layer in layers:
        for program in CLIENTS[layer]:
            path = folder / Path(program).name
            words = " ".join(f"'{word}'" for word in entered(layer, program))
            path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
            path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    (folder / "restic").symlink_to(binaries.ensure(["restic"])["restic"])
    return folder


class Server:
    """A process that listens on a port of the loopback address."""

    def __init__(self, name: str) -> None:
        # Not pytest's folder, which another user may not enter.
        self.folder = Path(tempfile.mkdtemp(prefix=f"homeport-test-{name}-"))
        self.folder.chmod(0o755)
        self.data = self.folder / "data"
        self.data.mkdir()
        os.chown(self.data, NOBODY, NOBODY)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(
        self, command: list[str], answers: Callable[[], bool], environment: Mapping[str, str] | None = None
    ) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(environment or {})}
            )
        until = time.monotonic() + START
        while not answers():
            if self.process.poll() is not None or time.monotonic() > until:
                said = (self.folder / "log").read_text()[-3000:]
                self.close()
                raise AssertionError(said)
            time.sleep(0.05)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(30)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _run(command: list[str], text: str = "", environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, input=text, env={**os.environ, **(environment or {})}
    )
    if done.returncode:
        raise AssertionError(f"{command[-3:]}: {done.stderr[-2000:]}")
    return done.stdout.strip()


class Postgres(Server):
    """PostgreSQL 15; the superuser is `admin`."""

    def __init__(self, name: str = "postgres") -> None:
        super().__init__(name)
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._initdb(password)
        settings = f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n"
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(f"{settings}fsync = off\njit = off\n")
        self.up()

    def _initdb(self, password: Path) -> None:
        options = (
            "--username=admin",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        )
        _run(entered(POSTGRES, f"{PG_BIN}/initdb", "--no-sync", *options, str(self.data), user=NOBODY))

    def up(self) -> None:
        self.start(entered(POSTGRES, f"{PG_BIN}/postgres", "-D", str(self.data), user=NOBODY), self._answers)

    def _answers(self) -> bool:
        command = entered(POSTGRES, f"{PG_BIN}/pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-q")
        return subprocess.run(command, check=False).returncode == 0

    def sql(self, text: str, database: str = "postgres", user: str = "admin", password: str = PASSWORD) -> str:
        return _run(self._psql(user, database), text, {"PGPASSWORD": password})

    def clear(self) -> None:
        """Have nothing in it but what was there at first, whatever other tests have left."""
        mine = "select datname from pg_database where not datistemplate and datname <> 'postgres'"
        for name in self.sql(mine).splitlines():
            self.sql(f'drop database "{name}" with (force)')
        for name in self.sql("select rolname from pg_roles where not rolsuper and rolname !~ '^pg_'").splitlines():
            self.sql(f'drop role "{name}"')

    def session(self, *statements: str) -> subprocess.Popen[bytes]:
        """A session that stays while its statements run."""
        return subprocess.Popen(
            [*self._psql("admin", "postgres"), *(f"-c{statement}" for statement in statements)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "PGPASSWORD": PASSWORD},
        )  # fmt: skip

    def wait_for(self, query: str, wanted: str) -> None:
        until = time.monotonic() + START
        while self.sql(query) != wanted:
            assert time.monotonic() < until, query
            time.sleep(0.05)

    def _psql(self, user: str, database: str) -> list[str]:
        options = (
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-U",
            user,
            "-d",
            database,
        )
        return entered(POSTGRES, f"{PG_BIN}/psql", *options)


class MariaDB(Server):
    """MariaDB 10.11; `admin` may do everything."""

    def __init__(self, name: str = "mariadb") -> None:
        super().__init__(name)
        share = debian.tree(MARIADB) / "usr/share/mysql"
        scripts = ("mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql")
        # One statement a line is how a bootstrap reads.
        admin = f"create user admin@'%' identified by '{PASSWORD}';\ngrant all on *.* to admin@'%' with grant option;\n"
        made = "create database mysql;\nuse mysql;\n" + "".join((share / script).read_text() for script in scripts)
        _run([*self._command(), "--bootstrap", "--silent-startup"], f"{made}\nflush privileges;\n{admin}")
        self.up()

    def _command(self) -> list[str]:
        options = (f"--datadir={self.data}", "--skip-networking=0", "--bind-address=127.0.0.1", f"--port={self.port}",
                   f"--socket={self.data}/s", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M",
                   f"--pid-file={self.data}/pid", "--event-scheduler=OFF")  # fmt: skip
        return entered(MARIADB, "usr/sbin/mariadbd", "--no-defaults", *options, user=NOBODY)

    def up(self) -> None:
        self.start(self._command(), self._answers)

    def _answers(self) -> bool:
        try:
            return self.sql("select 1") == "1"
        except AssertionError:
            return False

    def sql(self, text: str, database: str = "", user: str = "admin", password: str = PASSWORD) -> str:
        command = entered(
            MARIADB, "usr/bin/mariadb", "--no-defaults", "-h127.0.0.1", f"-P{self.port}", f"-u{user}", "-BN", database
        )
        return _run([word for word in command if word], text, {"MYSQL_PWD": password})

    def clear(self) -> None:
        """Have nothing in it but what was there at first, whatever other tests have left."""
        for name in self.sql("show databases").splitlines():
            if name not in ("information_schema", "mysql", "performance_schema", "sys"):
                self.sql(f"drop database `{name}`")
        for name in self.sql("select user from mysql.user where host = '%' and user <> 'admin'").splitlines():
            self.sql(f"drop user '{name}'@'%'")


class Redis(Server):
    """Redis 7, with a password."""

    def __init__(self, name: str = "redis", *options: str) -> None:
        super().__init__(name)
        self._options = options

    def up(self) -> Redis:
        for path in self.data.rglob("*"):
            os.chown(path, NOBODY, NOBODY)
        options = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.data), "--requirepass", PASSWORD)
        command = entered(REDIS, "usr/bin/redis-server", *options, "--save", "", *self._options, user=NOBODY)
        self.start(command, lambda: self.listens() and "PONG" in self.cli("ping"))
        return self

    def cli(self, *words: str, text: str = "") -> str:
        command = entered(REDIS, "usr/bin/redis-cli", "-h", "127.0.0.1", "-p", str(self.port), *words)
        return _run(command, text, {"REDISCLI_AUTH": PASSWORD})


class S3Server(Server):
    """versitygw over a folder, with one bucket."""

    BUCKET, ACCESS, SECRET = "backups", "homeport", "a very secret key"

    def __init__(self) -> None:
        super().__init__("s3")
        (self.data / self.BUCKET).mkdir()
        (self.folder / "sidecar").mkdir()
        self.up()

    def up(self) -> None:
        program = str(binaries.ensure(["versitygw"])["versitygw"])
        command = [
            program,
            "--port",
            f"127.0.0.1:{self.port}",
            "posix",
            "--sidecar",
            str(self.folder / "sidecar"),
            str(self.data),
        ]
        self.start(command, self.listens, {"ROOT_ACCESS_KEY": self.ACCESS, "ROOT_SECRET_KEY": self.SECRET})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


_Any = TypeVar("_Any", bound=Server)


@contextmanager
def running(server: _Any) -> Iterator[_Any]:
    """A server that is gone afterwards."""
    try:
        yield server
    finally:
        server.close()
