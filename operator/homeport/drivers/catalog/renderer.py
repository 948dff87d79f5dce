"""Has templates rendered by the worker process: one at a time, with an end to how long that may take."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import homeport
from homeport.api.resource import InvalidSpec
from homeport.plan.catalog import Request

TIMEOUT = 60.0
"""Seconds until a worker that doesn't answer is killed, its start included; its own limit is one second of CPU."""
ANSWER_LIMIT = 64 * 1024 * 1024
_TRIES = 2


class RenderFailed(Exception):  # noqa: N818 - what the worker said of a template
    """A template can't be rendered; asking again would give the same answer."""


class WorkerLost(Exception):  # noqa: N818 - it says what happened
    """The worker ended or fell silent; asking again may help."""


class Renderer:
    """The worker process; started when it is first needed, and again after it ended. Threads may share it."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def render(self, request: Request) -> list[dict[str, Any]]:
        """The components that come of ``request``.

        Raises InvalidSpec for values that don't fit, RenderFailed for an item that is broken itself; WorkerLost when
        that can't be known.
        """
        answer = self._answer(request.as_json())
        if "problems" in answer:
            raise InvalidSpec([str(problem) for problem in answer["problems"]])
        if "problem" in answer:
            raise RenderFailed(str(answer["problem"]))
        components: list[dict[str, Any]] = answer["components"]
        return components

    def check(self, schema: Mapping[str, Any]) -> str:
        """What is wrong with a schema; empty when nothing is. Raises WorkerLost."""
        return str(self._answer({"check": schema})["problem"])

    def compile(self, templates: Mapping[str, str]) -> str:
        """What is wrong with templates before they are given values; empty when nothing is. Raises WorkerLost."""
        return str(self._answer({"compile": dict(templates)})["problem"])

    def read(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """What comes of a request of ``plan.gitops.reading``. Raises RenderFailed, WorkerLost."""
        answer = self._answer(request)
        if "problem" in answer:
            raise RenderFailed(str(answer["problem"]))
        return answer

    def _answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            for attempt in range(1, _TRIES + 1):
                try:
                    return self._ask(line)
                except (OSError, WorkerLost):
                    # It ends by itself when there is nothing to do, perhaps just now.
                    self._end()
                    if attempt == _TRIES:
                        raise WorkerLost(
                            "the process that renders templates doesn't answer: the machine is too busy, "
                            "or a template too slow"
                        ) from None
        raise AssertionError("a try either answers or raises")

    def close(self) -> None:
        """End the worker."""
        with self._lock:
            self._end()

    def _ask(self, line: bytes) -> Mapping[str, Any]:
        process = self._started()
        assert process.stdin is not None
        process.stdin.write(line)
        process.stdin.flush()
        return dict(json.loads(self._line(process)))

    def _line(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout is not None
        until, out = time.monotonic() + self._timeout, bytearray()
        while not out.endswith(b"\n"):
            left = until - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                raise WorkerLost("it took too long")
            piece = os.read(process.stdout.fileno(), 65536)
            if not piece or len(out) > ANSWER_LIMIT:
                raise WorkerLost("it ended")
            out += piece
        return bytes(out)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            # Nothing of our environment goes along: a template has no business with it.
            environment = {
                "PATH": os.environ.get("PATH", ""),
                "PYTHONPATH": str(Path(homeport.__file__).resolve().parents[1]),
            }
            self._process = subprocess.Popen(
                # By its file: as a module of this package it would import all of our models first.
                [sys.executable, "-P", str(Path(__file__).with_name("worker.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
            )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue
