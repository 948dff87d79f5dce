"""The two ways between a node's network namespace and the API server: nothing else gets in or out.

Inward, what listens in the node's namespace at the API server's port hands on to the API server. Outward, the API
server's connections to kubelets and Services arrive at a Unix socket as HTTP CONNECT: its egress selector's way.
https://kubernetes.io/docs/tasks/extend-kubernetes/setup-konnectivity/
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path

from localplane.namespaces import network

CHUNK = 65536


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()


async def _join(
    one: tuple[asyncio.StreamReader, asyncio.StreamWriter], two: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Until one of them ends: all of this is TLS or HTTP, neither of which half-closes."""
    tasks = {asyncio.create_task(_pump(one[0], two[1])), asyncio.create_task(_pump(two[0], one[1]))}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for _, writer in (one, two):
            writer.close()


async def _open(made: socket.socket, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    made.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(made, (host, port))
        return await asyncio.open_connection(sock=made)
    except BaseException:
        made.close()
        raise


async def serve(machine: int, port: int, addresses: list[str], path: Path) -> None:
    """Relay until cancelled; `machine` is a descriptor of the namespace in which the API server listens."""

    async def inward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with network(machine):
            made = socket.socket()
        try:
            far = await _open(made, "127.0.0.1", port)
        except OSError:
            writer.close()  # the API server is being restarted; clients try again
            return
        await _join((reader, writer), far)

    async def outward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            host, _, number = target.rpartition(":")
            if method != "CONNECT":
                raise ValueError(f"{method} isn't CONNECT")
            far = await asyncio.wait_for(_open(socket.socket(), host, int(number)), 10)
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            writer.write(f"HTTP/1.1 502 {type(error).__name__}\r\n\r\n".encode())
            writer.close()
            return
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await _join((reader, writer), far)

    servers = [await asyncio.start_server(inward, address, port) for address in addresses]
    servers.append(await asyncio.start_unix_server(outward, path))
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    Path(sys.argv[3]).unlink(missing_ok=True)
    os.umask(0o177)  # the socket is for its owner
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[4].split(","), Path(sys.argv[3])))
