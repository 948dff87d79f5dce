"""The providers of clusters on a Kubernetes API in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from homeport.drivers.memory import MemoryClient
from homeport_clusters import kubeconfigs


def played(monkeypatch: pytest.MonkeyPatch) -> MemoryClient:
    """The cluster that every kubeconfig leads to."""
    client = MemoryClient()

    @asynccontextmanager
    async def connected(_: str) -> AsyncIterator[MemoryClient]:
        yield client

    monkeypatch.setattr(kubeconfigs, "connected", connected)
    return client
