"""Commands in a container, over the websocket of the API server's ``exec``.

Each message is a byte that names the channel, and what is in it; channel 3 has the end, as a Status.
Source: https://github.com/kubernetes/kubernetes/tree/master/staging/src/k8s.io/streaming (wsstream), and
client-go's ``tools/remotecommand``.
"""

from __future__ import annotations

from typing import NamedTuple

import aiohttp
import orjson

from homeport.drivers.kubernetes import errors

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
OUTPUT, ERRORS, STATUS = 1, 2, 3
KEPT = 65536
"""Bytes of each stream that are kept."""


class Done(NamedTuple):
    """How a command ended, and the beginning of what it said."""

    exit_code: int
    stdout: str
    stderr: str


async def read(socket: aiohttp.ClientWebSocketResponse) -> Done:
    """Follow a command to its end. Raises ApiError when it couldn't be run, or nobody knows how it ended."""
    streams: dict[int, bytearray] = {OUTPUT: bytearray(), ERRORS: bytearray(), STATUS: bytearray()}
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
            continue
        kept = streams.get(message.data[0])
        if kept is not None and len(kept) < KEPT:
            kept += message.data[1:]
    code = _exit_code(bytes(streams[STATUS]))
    return Done(code, *(bytes(streams[name][:KEPT]).decode(errors="replace") for name in (OUTPUT, ERRORS)))


def _exit_code(status: bytes) -> int:
    """The exit code in a Status. Raises ApiError."""
    try:
        said = orjson.loads(status)
    except orjson.JSONDecodeError:
        text = "the connection ended before the command did"
        raise errors.ServerUnavailable(0, "NoAnswer", text, outcome_unknown=True) from None
    if said.get("status") == "Success":
        return 0
    for cause in (said.get("details") or {}).get("causes") or ():
        if cause.get("reason") == "ExitCode":
            return int(cause.get("message") or 1)
    raise errors.from_status(int(said.get("code") or 500), said)
