"""A real node for these tests, and on it, together, the systems that they look at."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import software
from systems import System

from imaging import buildah, images
from imaging.contents import Layout
from localplane import debian, node
from localplane.commands import install
from localplane.controlplane import ControlPlane
from localplane.kubectl import Kubectl
from operators import Operator

ASKED = "HOMEPORT_TEST_INCLUSTER"
START = 300.0  # seconds for everything to come up at once, on a machine that may do something else as well


def require_node() -> None:
    """Skip, saying why, where a real node can't run; a machine that has all that it takes runs these tests."""
    if lacking := node.obstacles():
        pytest.skip(f"a real node can't run here: {'; '.join(lacking)}")


@pytest.fixture(scope="package")
def built() -> Layout:
    """The operator's image, of what is in the checkout."""
    if not os.environ.get(ASKED):
        pytest.skip(f"building the image takes minutes: `make e2e-incluster`, or {ASKED}=1")
    require_node()
    if lacking := buildah.obstacles():
        pytest.skip(f"images can't be built here: {'; '.join(lacking)}")
    try:
        return images.ensure()
    except debian.DebianError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the Debian packages that build the image can't be had: {error}")


@pytest.fixture(scope="package")
def real_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane whose only node is real, with Homeport's CRDs, roles and policies, and all images."""
    require_node()
    try:
        images = software.images()
        for image in images:
            debian.ensure(image.layer)
    except debian.DebianError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the Debian packages of the images can't be had: {error}")
    with ControlPlane(tmp_path_factory.mktemp("real"), nodes=0, real_node=True, ephemeral=True, audit=True) as plane:
        install(Kubectl(plane.kubectl, str(plane.kubeconfig)))
        plane.node.load(images)
        yield plane


@pytest.fixture(scope="package")
def real_operator(real_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    process = Operator(
        real_plane.kubeconfig,
        Path(tmp_path_factory.mktemp("operator")) / "operator.log",
        "--runner-image",
        software.RUNNER,
    )
    process.start()
    try:
        asyncio.run(process.wait_leading(START))
        yield process
    finally:
        process.kill(signal.SIGTERM)


@pytest.fixture(scope="package")
def _taskflow(real_plane: ControlPlane, real_operator: Operator) -> System:
    return _started(real_plane, "taskflow", "staging")


@pytest.fixture(scope="package")
def _budget(real_plane: ControlPlane, real_operator: Operator) -> System:
    return _started(real_plane, "budget-manager", "production")


def _started(plane: ControlPlane, name: str, environment: str) -> System:
    system = System(plane, name, environment)
    system.start()
    system.ready(START)
    return system


@pytest.fixture
def taskflow(_taskflow: System) -> System:
    """taskflow's staging environment, Ready as it is written, whatever a test before has made of it."""
    return _whole(_taskflow)


@pytest.fixture
def budget(_budget: System) -> System:
    """budget-manager's production environment, likewise."""
    return _whole(_budget)


def _whole(system: System) -> System:
    system.change()
    system.ready()
    return system
