"""Pulumi's mocks for tests of programs, one set a test."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import pulumi
from pulumi.runtime import settings

M = TypeVar("M", bound=pulumi.runtime.Mocks)


def mocked(mocks: M, *, project: str, stack: str) -> M:
    """Lets ``mocks`` answer what this test's program asks for, and nobody else's.

    Pulumi keeps its monitor in a context variable, and the first one of a process for threads without one. A provider's
    function asks from such a thread, and would get the mocks of whichever test came first; a monitor that is set after
    ``None`` takes that place.
    """
    asyncio.set_event_loop(asyncio.new_event_loop())
    settings.SETTINGS.monitor = None
    pulumi.runtime.set_mocks(mocks, project=project, stack=stack, preview=False)
    return mocks
