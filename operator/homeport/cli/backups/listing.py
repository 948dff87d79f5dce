"""``homeport backup list``: how old the newest good backups are, whether they are proven, when the next ones come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.text import Text

from homeport.cli import output as out_of
from homeport.cli import standing
from homeport.cli.backups.common import BACKUP, day, found, size, status, until
from homeport.cli.cluster import connected, listed, run
from homeport.cli.options import Options
from homeport.drivers.kubernetes.types import Manifest

HEADER = ("NAME", "READY", "LAST", "VERIFIED", "RTO", "NEXT", "SNAPSHOTS", "MESSAGE")
RUNS = ("RUN", "TIME", "AGE", "SIZE", "SNAPSHOT", "STATE")


def show(options: Options, name: str | None, namespace: str | None, everywhere: bool, output: str) -> int:
    """All Backups, or one with its runs."""
    if name is not None:
        body = run(_one(options, name, namespace))
        out_of.print_json(_as_data(body, with_runs=True)) if output == "json" else _details(body)
        return 0
    items, here = run(_all(options, namespace, everywhere))
    if output == "json":
        out_of.print_json([_as_data(body) for body in items])
    elif not items:
        where = "in this cluster" if everywhere else f"in namespace {here}; -A looks everywhere"
        click.echo(f"there is no Backup {where}", err=True)
    else:
        head = (*(("NAMESPACE",) if everywhere else ()), *HEADER)
        rows = [_row(body, everywhere) for body in items]
        out_of.table(out_of.console(), head, rows, flexible=len(head) - 1)
    return 0


async def _one(options: Options, name: str, namespace: str | None) -> Manifest:
    async with connected(options) as connection:
        return await found(connection, name, namespace)


async def _all(options: Options, namespace: str | None, everywhere: bool) -> tuple[list[Manifest], str]:
    async with connected(options) as connection:
        here = namespace or connection.namespace
        items, _ = await listed(connection.client, BACKUP, None if everywhere else here)
        return items, here


def _row(body: Manifest, everywhere: bool) -> list[str | Text]:
    said, now = status(body), standing.of(body)
    row: list[str | Text] = [now.namespace] if everywhere else []
    return [
        *row,
        now.name,
        Text(now.ready, out_of.READY_STYLES.get(now.ready, "")),
        out_of.age((said.get("lastSuccess") or {}).get("time")) or "never",
        out_of.age(said.get("lastVerified")) or "never",
        str(said.get("measuredRTO") or ""),
        until(said.get("next")),
        str(said.get("snapshots") or 0),
        now.message,
    ]


def kept(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The runs that the repository has, newest first."""
    return list(status(body).get("runs") or ())


def state(run: Mapping[str, Any]) -> str:
    """What is special about a run, in words."""
    words = ["incomplete"] if run.get("complete") is False else []
    return ", ".join([*words, *(word for word in ("verified", "protected") if run.get(word))])


def _details(body: Manifest) -> None:
    said, now, out = status(body), standing.of(body), out_of.console()
    last = said.get("lastSuccess") or {}
    facts: Sequence[tuple[str, str]] = (
        ("Ready", f"{now.ready}: {now.message}" if now.message else now.ready),
        ("Source", _source(body["spec"]["source"])),
        ("Method", str(said.get("method") or body["spec"].get("method") or "")),
        ("Repository", body["spec"]["repositoryRef"]["name"]),
        ("Schedule", _schedule(body["spec"])),
        ("Last", _last(last)),
        ("Verified", _ago(said.get("lastVerified"))),
        ("RTO", str(said.get("measuredRTO") or "")),
        ("Next", f"{day(said.get('next'))} (in {until(said.get('next'))})" if said.get("next") else ""),
        ("Not covered", "; ".join(said.get("notCovered") or ())),
    )
    for label, fact in facts:
        if fact:
            out.print(f"{label + ':':<13}{fact}", soft_wrap=True)
    runs = kept(body)
    if not runs:
        return
    out.print()
    rows = [
        [run["run"], day(run["time"]), out_of.age(run["time"]), size(run.get("bytes")), _short(run), state(run)]
        for run in runs
    ]
    out_of.table(out, RUNS, rows)
    more = int(said.get("snapshots") or 0) - len(runs)
    if more > 0:
        click.echo(f"and {more} older")


def _last(last: Mapping[str, Any]) -> str:
    if not last:
        return "never"
    facts = [size(last.get("bytes")), str(last.get("duration") or "")]
    return ", ".join([_ago(last.get("time")), *(fact for fact in facts if fact)])


def _ago(moment: str | None) -> str:
    return f"{day(moment)} ({out_of.age(moment)} ago)" if moment else ""


def _source(source: Mapping[str, Any]) -> str:
    if source.get("project"):
        return "the project's manifests"
    if source.get("container"):
        return f"container {source['container']}"
    return f"{source['application']}/{source['component']} in {source['environment']}"


def _schedule(spec: Mapping[str, Any]) -> str:
    if spec.get("suspend"):
        return "suspended"
    return f"{spec['schedule']} {spec.get('timeZone') or 'UTC'}" if spec.get("schedule") else "only when asked"


def _short(run: Mapping[str, Any]) -> str:
    """restic's ids as restic shortens them; an archive of Proxmox VE whole."""
    snapshot = str(run.get("snapshot") or "")
    return snapshot if ":" in snapshot else snapshot[:8]


def _as_data(body: Manifest, *, with_runs: bool = False) -> dict[str, Any]:
    said, now = status(body), standing.of(body)
    out = {
        "namespace": now.namespace,
        "name": now.name,
        "ready": now.ready,
        "reason": now.reason,
        "message": now.message,
        **{
            field: said.get(field)
            for field in ("method", "lastSuccess", "lastRun", "lastVerified", "measuredRTO", "next", "snapshots")
        },
    }
    return {**out, "runs": kept(body)} if with_runs else out
