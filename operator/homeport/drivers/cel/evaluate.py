"""Asks a process of its own what an expression comes to. It is ended when it takes too long."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECONDS = 10.0
"""Until it is ended, its start included."""
INPUT = 1024 * 1024
"""Bytes of all variables together."""


class ExpressionFailed(Exception):  # noqa: N818 - what is wrong with it
    """It can't be evaluated. ``passes``: whether that is the machine's fault."""

    def __init__(self, message: str, passes: bool = False) -> None:
        super().__init__(message)
        self.passes = passes


async def evaluate(expression: str, variables: Mapping[str, Any]) -> bool:
    """What a condition says of ``variables``. A key that isn't there makes it False. Raises ExpressionFailed."""
    given = json.dumps({"expression": expression, "variables": variables}, default=str).encode()
    if len(given) > INPUT:
        raise ExpressionFailed(f"the objects that it is about have more than {INPUT // 1024} KiB")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        str(Path(__file__).with_name("worker.py")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": os.environ.get("PATH", "")},
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(given), SECONDS)
    except TimeoutError:
        raise ExpressionFailed(f"it takes longer than {SECONDS:g} s", passes=True) from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    try:
        answer = json.loads(out)
    except json.JSONDecodeError:
        raise ExpressionFailed("it takes more memory or time than it may have") from None
    if "problem" in answer:
        raise ExpressionFailed(str(answer["problem"]))
    return bool(answer["value"])
