"""The lab's clock ends a test whose loop never rests."""

from __future__ import annotations

import asyncio

import pytest
from test_containers import lab


def test_a_loop_that_never_rests_ends_with_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxmox_inside.STEPS", 200)

    async def run() -> None:
        _, running = await lab()

        async def never(*_: object) -> bool:
            return True

        monkeypatch.setattr(running, "step", never)
        with pytest.raises(AssertionError, match="it never rests: 200 steps at one moment"):
            await running.settle()

    asyncio.run(run())
