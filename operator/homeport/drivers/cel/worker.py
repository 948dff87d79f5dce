"""The process that evaluates one expression: a line of JSON comes, a line of JSON goes."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

MEMORY = 1024 * 1024 * 1024
CPU_SECONDS = 4


def _confine() -> None:
    try:
        import resource  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return
    limits = {resource.RLIMIT_AS: MEMORY, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0}
    for limit, amount in {**limits, resource.RLIMIT_CPU: CPU_SECONDS}.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (amount, amount))


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What an expression comes to: ``value``, or the ``problem`` with it."""
    from cel_expr_python import cel  # noqa: PLC0415 - this process's alone

    variables = request["variables"]
    env = cel.NewEnv(variables=dict.fromkeys(variables, cel.Type.DYN))
    try:
        found = env.compile(request["expression"]).eval(data=variables)
    except RuntimeError as error:
        return {"problem": _said(str(error))}
    if found.type() == cel.Type.BOOL:
        return {"value": found.value()}
    text = str(found.value())
    if found.type() == cel.Type.ERROR:
        if text.startswith("NOT_FOUND"):
            return {"value": False}  # a field that isn't there yet
        return {"problem": _said(text)}
    return {"problem": f"comes to {found.type().name()}; write a condition, which is true or false"}


def _said(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    first = lines[0].removeprefix("INVALID_ARGUMENT: ").removeprefix("ERROR: ").removeprefix("INTERNAL: ")
    return first.replace("<input>:", "at ").removesuffix(" [INVALID_ARGUMENT]").removesuffix(" [INTERNAL]")[:300]


def main() -> None:
    """Answer once."""
    _confine()
    sys.stdout.write(json.dumps(answer(json.load(sys.stdin))))


if __name__ == "__main__":
    main()
