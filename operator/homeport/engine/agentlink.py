"""One container's connection: what comes in is told on, and what is asked for is matched with its answer.

The container is not to be trusted: its frames are bounded in size, in number and in what they keep of our memory.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import WSMsgType, web
from pydantic import ValidationError

from homeport.plan import agent as wire
from homeport.plan.agent import AgentId, Hello, Log, Output, Result, State, Wire

log = logging.getLogger(__name__)

ASKED = 16
"""Commands and checks that may be under way in one container."""
RATE, BURST = 50.0, 500.0
"""Frames a second that are taken from a container for long, and at once; more waits in the network."""
SEND = 30.0
"""Seconds in which a container must take a frame: one that reads nothing is let go of."""
LATE = 10.0
"""Seconds beyond its own timeout that a command's answer may take."""
PIECES = 16
"""Pieces of a streamed output that wait for their reader."""


class AgentAwayError(Exception):
    """The container's agent isn't connected, or went away meanwhile: nobody knows what came of it."""


class Link:
    """A connection that was admitted."""

    def __init__(
        self,
        agent: AgentId,
        hello: Hello,
        fingerprint: str,
        socket: web.WebSocketResponse,
        on_state: Callable[[State], None],
        clock: Callable[[], float],
    ) -> None:
        self.agent, self.instance, self.fingerprint = agent, hello.instance, fingerprint
        self.features = hello.features
        self.sent = ""
        """The digest that was delivered last over this connection."""
        self._socket = socket
        self._on_state = on_state
        self._clock = clock
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Wire]] = {}
        self._streams: dict[int, asyncio.Queue[Output | None]] = {}
        self._allowance, self._counted = BURST, clock()

    # -- what comes in --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Take frames until the connection ends."""
        try:
            async for message in self._socket:
                if message.type is not WSMsgType.TEXT:
                    break
                await self._take(message.data)
                await self._pace()
        except ValidationError as error:
            # Only where in the frame, never what was there.
            where = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['type']}" for one in error.errors()[:3])
            log.warning("%s: a frame that can't be understood: %s", self.agent, where)
            await self.close("a frame that can't be understood")
        finally:
            self._abandon()

    async def _take(self, text: str) -> None:
        message = wire.FROM_CONTAINER.validate_json(text)
        match message:
            case State():
                self._on_state(message)
            case Output():
                if (stream := self._streams.get(message.id)) is not None:
                    await stream.put(message)
            case Result() | Log():
                if (stream := self._streams.get(message.id)) is not None:
                    await stream.put(None)
                if (asked := self._asked.get(message.id)) is not None and not asked.done():
                    asked.set_result(message)
            case Hello():
                await self.close("a second hello")

    async def _pace(self) -> None:
        now = self._clock()
        self._allowance = min(BURST, self._allowance + (now - self._counted) * RATE) - 1
        self._counted = now
        if self._allowance < 0:
            await asyncio.sleep(-self._allowance / RATE)

    def _abandon(self) -> None:
        for future in self._asked.values():
            if not future.done():
                future.set_exception(AgentAwayError("the agent went away"))
                future.exception()  # whoever asked may have given up
        for stream in self._streams.values():
            while stream.full():
                stream.get_nowait()
            stream.put_nowait(None)

    # -- what goes out --------------------------------------------------------------------------------------------

    async def send(self, message: Wire) -> None:
        """Send a frame. Raises AgentAwayError."""
        try:
            async with asyncio.timeout(SEND):
                await self._socket.send_str(wire.encode(message))
        except (TimeoutError, ConnectionError, RuntimeError) as error:
            await self.close("it takes no frames")
            raise AgentAwayError(f"the agent takes no frames: {error or type(error).__name__}") from None

    async def ask(self, make: Callable[[int], Wire], seconds: float) -> Any:
        """Send what ``make`` makes of a number, and wait for the answer with that number.

        Raises AgentAwayError and TimeoutError.
        """
        if len(self._asked) >= ASKED:
            raise AgentAwayError(f"{ASKED} commands run in it already, which is as many as may")
        number, future = next(self._numbers), asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            await self.send(make(number))
            async with asyncio.timeout(seconds):
                return await future
        except (TimeoutError, asyncio.CancelledError):
            if not self._socket.closed:
                await self.send(wire.Cancel(id=number))
            raise
        finally:
            self._asked.pop(number, None)

    async def stream(self, make: Callable[[int], Wire], seconds: float) -> AsyncIterator[Output | Result]:
        """As ``ask``, with the outputs as they come; the last one is the Result."""
        pieces: asyncio.Queue[Output | None] = asyncio.Queue(PIECES)
        numbers: list[int] = []

        def numbered(number: int) -> Wire:
            numbers.append(number)
            self._streams[number] = pieces
            return make(number)

        answer = asyncio.create_task(self.ask(numbered, seconds))
        try:
            while True:
                next_piece = asyncio.create_task(pieces.get())
                await asyncio.wait({next_piece, answer}, return_when=asyncio.FIRST_COMPLETED)
                if not next_piece.done():
                    next_piece.cancel()
                    break
                if (piece := next_piece.result()) is None:
                    break
                yield piece
            yield await answer
        finally:
            answer.cancel()
            for number in numbers:
                self._streams.pop(number, None)

    async def is_alive(self, seconds: float) -> bool:
        """Whether it answers."""
        try:
            await self.ask(lambda number: wire.GetLog(id=number, lines=0), seconds)
        except (AgentAwayError, TimeoutError):
            return False
        return True

    async def close(self, why: str) -> None:
        """End the connection."""
        try:
            async with asyncio.timeout(SEND):
                await self._socket.close(message=why.encode()[:120])
        except (TimeoutError, ConnectionError, RuntimeError):
            self._abandon()
