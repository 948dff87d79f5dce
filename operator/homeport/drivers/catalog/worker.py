"""The process that renders templates: requests come as lines of JSON, answers go as lines of JSON.

What a template could do to it is bounded: CPU seconds per request, memory, no new files. It ends when its standard
input does, or by itself after a while without work.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
from typing import Any

from homeport.plan.rendering import answer as answered
from homeport.plan.templates import TooLong, rendered

SECONDS = 1.0
"""Of CPU, for one request that doesn't say otherwise."""
MEMORY = 512 * 1024 * 1024
IDLE = 60.0


def _confine() -> None:
    """Take away what no template needs. Not every platform has all of it; the time limit is everywhere."""
    try:
        import resource  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return
    limits = {resource.RLIMIT_AS: MEMORY, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: 16}
    for limit, amount in limits.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (amount, amount))


def _too_long(number: int, frame: Any) -> None:
    raise TooLong(f"takes longer than {SECONDS:g} s to render; does a loop in it ever end?")


def answer(line: bytes) -> dict[str, Any]:
    """What comes of one request."""
    request = json.loads(line)
    try:
        # Again and again: the exception may be raised where something catches it.
        signal.setitimer(signal.ITIMER_VIRTUAL, request.get("seconds", SECONDS), 0.1)
        try:
            return answered(request)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except TooLong as error:
        return {"problem": str(error)[:2000]}
    except MemoryError:
        return {"problem": "needs more memory than a template may have"}


def main() -> None:
    """Answer until there is nothing more to answer."""
    rendered({"warm.yaml.j2": "name: {{ a | tojson }}"}, {"a": "a"})
    # What we were started by is told that we are going by the end of file, so output is left to us alone.
    source, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    signal.signal(signal.SIGVTALRM, _too_long)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _confine()
    while select.select([source], [], [], IDLE)[0]:
        line = source.readline()
        if not line:
            return
        out.write(json.dumps(answer(line)).encode() + b"\n")


if __name__ == "__main__":
    main()
