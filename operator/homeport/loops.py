"""Which event loop the operator runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where there is one; None for asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - faster, and not there on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop
