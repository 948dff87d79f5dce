"""Servers and repositories for the tests of the runner, started when a test asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import backup_servers
from backup_servers import MariaDB, Postgres, S3Server, running
from runner_jobs import Runner, filesystem


@pytest.fixture(scope="session")
def client_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH."""
    backup_servers.require()
    return backup_servers.clients(tmp_path_factory.mktemp("clients") / "bin")


@pytest.fixture(scope="session")
def postgres(client_programs: Path) -> Iterator[Postgres]:
    """A server to read from."""
    with running(Postgres()) as server:
        yield server


@pytest.fixture(scope="session")
def fresh_postgres(client_programs: Path) -> Iterator[Postgres]:
    """A server to restore into."""
    with running(Postgres("fresh")) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb(client_programs: Path) -> Iterator[MariaDB]:
    """A server to read from."""
    with running(MariaDB()) as server:
        yield server


@pytest.fixture(scope="session")
def fresh_mariadb(client_programs: Path) -> Iterator[MariaDB]:
    """A server to restore into."""
    with running(MariaDB("fresh")) as server:
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An S3 with an empty bucket."""
    with running(S3Server()) as server:
        yield server


@pytest.fixture
def new_runner(client_programs: Path, tmp_path: Path) -> Callable[[], Runner]:
    """Makes runners on a repository of their own in a folder, which exists."""

    def make() -> Runner:
        folder = tmp_path / f"runner-{len(list(tmp_path.iterdir()))}"
        runner = Runner(folder, client_programs, filesystem(folder / "repository"))
        runner.good("init")
        return runner

    return make


@pytest.fixture
def runner(new_runner: Callable[[], Runner]) -> Runner:
    """A runner on a repository of its own."""
    return new_runner()
