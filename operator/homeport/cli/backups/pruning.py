"""``homeport backup prune``: which runs are kept and which go, and why; and to have it done now."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import click
from rich.text import Text

from homeport.api import labels
from homeport.cli import edit, standing
from homeport.cli import output as out_of
from homeport.cli.backups.common import BACKUP, MANAGER, day, size, status
from homeport.cli.backups.following import LATE
from homeport.cli.backups.listing import kept
from homeport.cli.errors import Failure
from homeport.drivers.kubernetes.protocol import Api
from homeport.drivers.kubernetes.types import Manifest
from homeport.plan.backup import retention
from homeport.plan.backup.retention import Policy, Run, Verdict

UNITS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
HEADER = ("RUN", "TIME", "SIZE", "", "WHY")


def policy_of(spec: Mapping[str, Any]) -> Policy | None:
    """A Backup's own policy; None when it keeps everything."""
    given = spec.get("retention")
    return None if given is None else Policy(*(int(given.get(f"keep{unit.capitalize()}") or 0) for unit in UNITS))


def verdicts(body: Manifest, policy: Policy) -> tuple[Verdict, ...]:
    """What ``policy`` would keep of the runs that the status lists. Raises Failure for one that keeps nothing."""
    verified = (status(body).get("verified") or {}).get("run")
    runs = [
        Run(
            run["run"],
            moment,
            good=run.get("complete") is not False,
            verified=bool(run.get("verified")) or run["run"] == verified,
            protected=bool(run.get("protected")),
        )
        for run in kept(body)
        if (moment := out_of.parse_time(run["time"])) is not None
    ]
    try:
        return retention.decide(runs, policy, ZoneInfo(body["spec"].get("timeZone") or "UTC"))
    except ValueError as error:
        raise Failure(str(error)) from None


def show(body: Manifest, policy: Policy | None, output: str) -> None:
    """What would be kept and what would go."""
    if policy is None:
        raise Failure(
            f"{body['metadata']['name']} has no retention: every run is kept",
            "write spec.retention, or try one with --keep-last 7, --keep-daily 7 and so on",
        )
    found, sizes = verdicts(body, policy), {run["run"]: run.get("bytes") for run in kept(body)}
    if output == "json":
        out_of.print_json([
            {"run": v.run.id, "time": v.run.time.isoformat(), "bytes": sizes[v.run.id], "keep": v.keep,
             "reasons": list(v.reasons)}
            for v in found
        ])  # fmt: skip
        return
    rows: list[list[str | Text]] = [
        [
            verdict.run.id,
            day(verdict.run.time.isoformat()),
            size(sizes[verdict.run.id]),
            Text("keep", "green") if verdict.keep else Text("remove", "red"),
            ", ".join(verdict.reasons),
        ]
        for verdict in found
    ]
    if rows:
        out_of.table(out_of.console(), HEADER, rows, flexible=len(HEADER) - 1)
    going = sum(not verdict.keep for verdict in found)
    click.echo(f"{len(found) - going} kept, {going} would go")
    more = int(status(body).get("snapshots") or 0) - len(found)
    if more > 0:
        click.echo(f"{more} older than these aren't in the status, and aren't judged here")


def confirm() -> None:
    """Ask. Raises Failure when nobody is there, click.Abort for a no."""
    if not sys.stdin.isatty():
        raise Failure("there is nobody to ask", "say --yes to go on without, or --dry-run to look only")
    click.confirm("Remove these?", default=False, abort=True, err=True)


async def have_done(client: Api, body: Manifest, timeout: int | None, output: str) -> int:  # noqa: ASYNC109
    """Ask for it by a new token, and wait for ``timeout`` seconds until that one is answered; the exit code."""
    namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
    token = datetime.now(UTC).isoformat()
    change = {"metadata": {"uid": body["metadata"]["uid"], "annotations": {labels.PRUNE_AT: token}}}
    await client.patch(BACKUP.gvk, namespace, name, change, manager=MANAGER)
    if timeout is None:
        click.echo(f"asked for; `homeport get backup {name} -n {namespace}` says what came of it", err=True)
        return 0
    try:
        async with asyncio.timeout(timeout):
            last = await _answered(client, namespace, name, token)
    except TimeoutError:
        click.echo(f"not over after {timeout} s, and it goes on; status.lastPrune says how it ends", err=True)
        return LATE
    good = last["outcome"] == "Succeeded"
    if output == "json":
        out_of.print_json(dict(last))
    else:
        click.echo(f"pruning {'succeeded' if good else 'failed'}: {last.get('message', '')}", err=not good)
    return 0 if good else 1


async def _answered(client: Api, namespace: str, name: str, token: str) -> Mapping[str, Any]:
    told = ""
    while True:
        async for seen in edit.states(client, BACKUP, namespace, name):
            last = status(seen).get("lastPrune") or {}
            if last.get("asked") == token:
                return dict(last)
            message = standing.of(seen).message
            if message != told and "pruning" in message:
                click.echo(message, err=True)
                told = message
