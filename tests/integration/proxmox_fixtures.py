"""The stand-in for a Proxmox VE over HTTPS, and the driver on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from homeport.drivers.proxmox.host import Host
from proxmox_world import ProxmoxWorld


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[ProxmoxWorld]:
    """The host ``lab``."""
    world = ProxmoxWorld(tmp_path)
    yield world
    world.stop()


@pytest.fixture
async def host(lab: ProxmoxWorld) -> AsyncIterator[Host]:
    """The driver, which waits 5 s for an answer."""
    found = Host(lab.config(timeout=5.0))
    yield found
    await found.close()
