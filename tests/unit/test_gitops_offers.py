"""What charts are told of the cluster, and when that is asked again."""

from __future__ import annotations

import asyncio
from typing import Any

from homeport.drivers.kubernetes import errors
from homeport.engine.gitops.offers import SETTLE, Offers
from homeport.plan.gitops.build import Serves


class Server:
    """An API server that counts."""

    def __init__(self) -> None:
        self.served: tuple[str, ...] = ("v1",)
        self.asked = 0
        self.now = 100.0
        self.down = False

    async def version(self) -> dict[str, str]:
        self.asked += 1
        if self.down:
            raise errors.ServerUnavailable(503, "ServiceUnavailable", "down")
        return {"gitVersion": "v1.35.0"}

    async def apis(self) -> tuple[str, ...]:
        return self.served


def test_it_is_asked_again_when_definitions_have_changed_and_never_else() -> None:
    server: Any = Server()
    offers = Offers(lambda: server, lambda: server.now)

    async def play() -> None:
        assert not offers.changed(), "nobody has asked yet"
        server.now += SETTLE
        for _ in range(3):
            assert await offers.serves() == Serves("v1.35.0", ("v1",))
        assert server.asked == 1

        server.served = ("a.example.com/v1", "v1")
        assert (offers.changed(), offers.changed()) == (True, False), "once for those who asked"
        # Too soon for an answer to be kept.
        assert (await offers.serves()).apis == (await offers.serves()).apis == server.served
        assert server.asked == 3
        server.now += SETTLE
        for _ in range(3):
            await offers.serves()
        assert server.asked == 4

    asyncio.run(play())


def test_an_api_server_that_is_down_is_asked_again() -> None:
    server: Any = Server()
    offers = Offers(lambda: server, lambda: server.now)

    async def play() -> None:
        server.down = True
        assert await offers.serves() == Serves()
        server.down = False
        assert (await offers.serves()).version == "v1.35.0"

    asyncio.run(play())
