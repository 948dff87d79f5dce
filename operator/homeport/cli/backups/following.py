"""Watching a BackupRun or a Restore until it is over, and what its end means for the exit code."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import click

from homeport.cli import edit, standing
from homeport.cli.backups.common import size, status
from homeport.cli.kinds import KindName
from homeport.drivers.kubernetes.protocol import Api
from homeport.drivers.kubernetes.types import Manifest

EXIT = {"Succeeded": 0, "Failed": 1, "Incomplete": 3}
"""Exit codes by the phase at the end; the runner's own has 3 for what is incomplete, too."""
LATE = 1

WAIT = click.option("--wait", is_flag=True, help="Wait until it is over, and tell how it goes.")
TIMEOUT = click.option(
    "--timeout", type=click.IntRange(1), default=86400, show_default=True, metavar="SECONDS", help="How long to wait."
)


async def follow(client: Api, kind: KindName, body: Manifest, timeout: float) -> int:  # noqa: ASYNC109
    """Tell how it goes until it is over, or for ``timeout`` s; the exit code. Raises Failure when it is deleted."""
    metadata, last = body["metadata"], ""
    namespace, name = metadata["namespace"], metadata["name"]
    try:
        async with asyncio.timeout(timeout):
            while True:
                async for seen in edit.states(client, kind, namespace, name):
                    phase = str(status(seen).get("phase") or "Pending")
                    if phase in EXIT:
                        end(seen)
                        return EXIT[phase]
                    line = progress(seen)
                    if line != last:
                        click.echo(line, err=True)
                        last = line
    except TimeoutError:
        click.echo(
            f"not over after {timeout:g} s, and it goes on; `homeport get {kind.names[0]} {name} -n {namespace}` says "
            "how it ends",
            err=True,
        )
        return LATE


def succeeded(body: Mapping[str, Any]) -> bool:
    """Whether it is over, and good."""
    return EXIT.get(str(status(body).get("phase")), 1) == 0


def progress(body: Mapping[str, Any]) -> str:
    """How far it is, in a line."""
    said = status(body)
    phase, known = str(said.get("phase") or "Pending"), said.get("progress") or {}
    facts = [str(known["part"])] if known.get("part") else []
    if known.get("bytes") is not None:
        facts.append(size(known["bytes"]))
    if known.get("percent") is not None:
        facts.append(f"{known['percent']} %")
    if known.get("eta"):
        facts.append(f"{known['eta']} left")
    message = known.get("message") or ("" if facts else standing.of(body).message)
    return f"{phase}: {', '.join(facts)}{' – ' if facts and message else ''}{message}".rstrip(": ")


def end(body: Mapping[str, Any]) -> None:
    """What came of it: the result on standard output, what is to be said of it on standard error."""
    said, good = status(body), status(body).get("phase") == "Succeeded"
    facts = [size(said.get("bytes")), str(said.get("duration") or "")]
    if said.get("snapshot"):
        facts.append(f"snapshot {str(said['snapshot'])[:12] if ':' not in str(said['snapshot']) else said['snapshot']}")
    shown = ", ".join(fact for fact in facts if fact)
    reason = f" ({said['reason']})" if said.get("reason") and not good else ""
    message = f": {said['message']}" if said.get("message") else ""
    name = f"{body['kind']} {body['metadata']['name']}"
    click.echo(f"{name}: {said['phase']}{reason}{message}{f' – {shown}' if shown else ''}", err=not good)
    check = said.get("check") or {}
    if check:
        click.echo(f"check {'passed' if check.get('passed') else 'failed'}: {check.get('output', '')}", err=not good)
    made = said.get("restoredTo") or {}
    for what in ("databases", "claims"):
        if made.get(what):
            click.echo(f"{what} in {made.get('namespace', '')}: {', '.join(made[what])}")
    if made.get("container"):
        click.echo(f"container {made['container']}" + (f" (VMID {made['vmid']})" if made.get("vmid") else ""))
    for note in said.get("notes") or ():
        click.echo(f"note: {note}", err=True)
