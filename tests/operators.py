"""The operator as its users run it, a process of its own; and what the API server says that it wrote."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from localplane import binaries

ROOT = Path(__file__).resolve().parent.parent
LEADING = 2 * float(os.environ.get("HOMEPORT_TEST_PATIENCE", "30"))
"""Seconds that an operator may take until it leads; a machine that does much else takes longer."""


class Operator:
    """The operator as its users run it: a process of its own."""

    def __init__(self, kubeconfig: Path, logs: Path, *options: str) -> None:
        self.kubeconfig = kubeconfig
        self.logs = logs
        self.options: Sequence[str] = options
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        """Start it; returns at once."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-m", "homeport", "operator", "--kubeconfig", str(self.kubeconfig)]
        command += ["--listen", f"127.0.0.1:{self.port}", *self.options]
        with self.logs.open("ab") as out:
            environment = {**os.environ, **binaries.for_builds()}
            self.process = subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT, env=environment)

    async def scrape(self) -> dict[str, float]:
        """Its metrics, samples without histograms' buckets."""
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#") and "_bucket" not in line)
        return {name: float(value) for name, value in pairs}

    async def wait_leading(self, seconds: float = LEADING) -> None:
        """Until it leads and its queue is empty. Raises TimeoutError with the end of its log, also when it ended."""
        until = time.monotonic() + seconds
        while True:
            ended = self.process is not None and self.process.poll() is not None
            if ended or time.monotonic() > until:
                why = "it ended" if ended else f"not leading after {seconds:g} s"
                raise TimeoutError(f"{why}: {self.logs.read_text()[-2000:]}")
            try:
                seen = await self.scrape()
                if seen.get("homeport_leader") == 1 and seen.get("homeport_queue_depth") == 0:
                    return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)

    def cpu(self) -> float:
        """CPU seconds that it has used."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_memory(self) -> float:
        """The most resident memory that it has had, in MiB."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024

    def kill(self, number: int = signal.SIGKILL) -> int:
        """End it with a signal; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(15)


class Writes:
    """What the API server's audit log says that the operator wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0

    def mark(self) -> None:
        """Count from here."""
        self.offset = self.path.stat().st_size if self.path.exists() else 0

    def count(self) -> dict[str, int]:
        """Successful writes of the operator since the mark, by resource; its Lease aside."""
        out: dict[str, int] = {}
        with self.path.open("rb") as log:
            log.seek(self.offset)
            for line in log:
                entry = json.loads(line)
                if not str(entry.get("userAgent", "")).startswith("homeport-operator"):
                    continue
                if (
                    entry["verb"] not in ("create", "update", "patch", "delete")
                    or entry.get("stage") == "RequestReceived"
                ):
                    continue
                ref = entry.get("objectRef") or {}
                if ref.get("resource") == "leases":
                    continue
                name = "/".join(filter(None, (ref.get("resource"), ref.get("subresource"))))
                out[name] = out.get(name, 0) + 1
        return out
