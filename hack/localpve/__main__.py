"""`python -m localpve --directory DIR`: serves the demo host ``lab`` until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import secrets
import signal
import ssl
import sys
import time
from pathlib import Path

from aiohttp import web
from fakepve.certs import make_cert

from localpve import state
from localpve.lab import TOKEN, VERSION, furnish
from localpve.registry import Registry
from localpve.server import StandIn

GRACE = 5.0
"""Seconds that running tasks get to end."""
SAVE = 0.5
"""Seconds between a change and its being on disk, at most."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(prog="python -m localpve", description=__doc__)
    root.add_argument("--directory", type=Path, required=True, help="where it keeps its state, certificate and token")
    root.add_argument("--listen", default="127.0.0.1:8006", metavar="HOST:PORT", help="default: %(default)s")
    root.add_argument("--registry", default="", metavar="HOST:PORT", help="also serve a registry that has every image")
    root.add_argument("--version", default=VERSION, help="which Proxmox VE it plays, when first started (%(default)s)")
    root.add_argument(
        "--time-scale", type=float, default=0.5, help="seconds that a second of PVE's takes (default 0.5)"
    )
    return root


async def serve(directory: Path, host: str, port: int, time_scale: float, registry: str, version: str) -> None:
    """Serve until SIGTERM."""
    kept = directory / "state.json"
    pve = StandIn(host, port)
    if not state.load(pve, kept):
        furnish(pve, secrets.token_hex(16), version)
    pve.time_scale, pve.files = time_scale, directory / "files"
    _take_time(pve)
    certificate, key, _ = make_cert(str(directory), "pve", hosts=(host,))  # good for 30 days: anew with each start
    _write(directory / "token.json", json.dumps({"tokenId": TOKEN, "tokenSecret": pve.apitokens[TOKEN]}))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    runner = web.AppRunner(pve.app(), shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, host, port, ssl_context=tls).start()
    images = await _registry(directory, registry) if registry else None
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    pve.guests.settle()
    state.save(pve, kept)
    print(f"Proxmox VE {pve.version} (a stand-in) on https://{host}:{port}", flush=True)
    keeping = asyncio.create_task(_keep(pve, kept))
    await told.wait()
    until = time.monotonic() + GRACE
    while pve.running and time.monotonic() < until:
        pve.dirty.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(pve.dirty.wait(), 0.1)
    keeping.cancel()
    pve.guests.stop()
    await runner.cleanup()
    if images is not None:
        await images.cleanup()
    state.save(pve, kept)


async def _registry(directory: Path, listen: str) -> web.AppRunner:
    host, _, port = listen.rpartition(":")
    runner = web.AppRunner(Registry(directory / "images.json").app(), shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, host, int(port)).start()
    return runner


async def _keep(pve: StandIn, path: Path) -> None:
    while True:
        await pve.dirty.wait()
        pve.dirty.clear()
        state.save(pve, path)
        await asyncio.sleep(SAVE)


def _take_time(pve: StandIn) -> None:
    """As long as a small host takes, in PVE's seconds."""
    pve.power_secs, pve.dump_secs = (2, 1, 3), 8.0
    pve.ct_secs.update(create=4, destroy=2, resize=1, snapshot=1, rollback=2, migrate=5)


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def main() -> int:
    """Run."""
    arguments = parser().parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    host, _, port = arguments.listen.rpartition(":")
    asyncio.run(
        serve(arguments.directory, host, int(port), arguments.time_scale, arguments.registry, arguments.version)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
