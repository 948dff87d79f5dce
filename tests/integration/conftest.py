"""Homes for tests of the operator: made for one test, left behind it, and swept up at the module's end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from backup_shop import backup_shop, backup_world  # noqa: F401 - fixtures
from homes import Home
from proxmox_fixtures import host, lab  # noqa: F401 - fixtures
from runner_fixtures import (  # noqa: F401 - fixtures
    client_programs,
    fresh_mariadb,
    fresh_postgres,
    mariadb,
    new_runner,
    postgres,
    runner,
    s3_server,
)

from api_server import ApiServer
from operators import Operator
from registry_server import locked, registry, serve  # noqa: F401 - fixtures


@pytest.fixture(scope="session")
def server(control_plane: Any) -> ApiServer:
    """The API server, as an administrator sees it."""
    return ApiServer(control_plane.kubeconfig)


@pytest.fixture(scope="module")
def _left() -> Iterator[list[Home]]:
    homes: list[Home] = []
    yield homes
    # Together: while one namespace is emptied, so are the others.
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(Home.sweep, homes))


@pytest.fixture
def new_home(server: ApiServer, operator: Operator, _left: list[Home]) -> Iterator[Callable[[], Home]]:
    """Makes homes that don't have a Project yet."""
    homes: list[Home] = []

    def make() -> Home:
        homes.append(Home(server))
        return homes[-1]

    yield make
    for home in homes:
        home.leave()
    _left.extend(homes)


@pytest.fixture
def bare(new_home: Callable[[], Home]) -> Home:
    """A namespace without a Project."""
    return new_home()


@pytest.fixture
def home(bare: Home) -> Home:
    """A Project with the environment ``dev``, which is Ready."""
    bare.project()
    bare.environment()
    bare.ready("Environment", "dev")
    return bare


@pytest.fixture
def audit_log(control_plane: Any) -> Path:
    """The API server's audit log; a cluster that the developer named has none that we can read."""
    found = getattr(control_plane, "audit_log", None)
    if found is None:
        pytest.skip("the named cluster's audit log can't be read")
    return Path(found)


@pytest.fixture
def restart(operator: Operator) -> Callable[[], None]:
    """Ends the operator, which gives its Lease back, and starts it again."""

    def again() -> None:
        operator.kill(signal.SIGTERM)
        operator.start()
        asyncio.run(operator.wait_leading())

    return again
