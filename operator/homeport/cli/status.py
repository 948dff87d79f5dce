"""``homeport status``: everything of Homeport's at a glance, once or as it changes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from homeport.cli import kinds, lease, output, standing
from homeport.cli.cluster import Connection, connected, everything, listed, run, seen
from homeport.cli.errors import describe
from homeport.cli.kinds import KindName
from homeport.cli.options import (
    ALL_NAMESPACES,
    DEBUG,
    KUBE,
    LEASE_NAMESPACE,
    NAMESPACE,
    Options,
    pass_options,
    with_options,
)
from homeport.cli.options import output as output_option
from homeport.cli.standing import Standing
from homeport.drivers.kubernetes import errors

HEADER = ("KIND", "NAMESPACE", "NAME", "READY", "HEALTH", "MESSAGE", "URL", "AGE")
MESSAGE = HEADER.index("MESSAGE")
OPTIONAL = (HEADER.index("URL"), HEADER.index("HEALTH"), HEADER.index("AGE"))
"""What is left out on a narrow terminal, in this order."""
TICK = 1.0
"""Seconds between two redraws while nothing changes: ages and the Lease move on."""
_LONGEST = 120


@click.command()
@with_options(
    NAMESPACE,
    ALL_NAMESPACES,
    click.option("-w", "--watch", is_flag=True, help="Go on, and show what changes."),
    click.option("--not-ready", is_flag=True, help="Show only what isn't Ready."),
    click.option(
        "--exit-code/--no-exit-code", default=True, help="Exit with 1 when something isn't Ready (the default)."
    ),
    LEASE_NAMESPACE,
    output_option("table", "json"),
    *KUBE,
    DEBUG,
)
@pass_options
def status(
    options: Options,
    *,
    namespace: str | None,
    all_namespaces: bool,
    watch: bool,
    not_ready: bool,
    exit_code: bool,
    lease_namespace: str,
    output: str,
) -> int:
    """Show whether everything is Ready, and why not.

    All namespaces, unless -n names one. Says, too, whether an operator is at work. Exit code 0 when everything is
    Ready, 1 when something isn't; --no-exit-code leaves 1 to errors.
    """
    view = View(None if all_namespaces else namespace, not_ready, lease_namespace, output == "json")
    if watch:
        run(_watch(options, view))
        return 0
    ready = run(_once(options, view))
    return 0 if ready or not exit_code else 1


class View:
    """What is known of the resources, and how it is shown."""

    def __init__(self, namespace: str | None, not_ready: bool, lease_namespace: str, json: bool) -> None:
        self.namespace = namespace
        self.not_ready = not_ready
        self.lease_namespace = lease_namespace
        self.json = json
        self.found: dict[tuple[str, str, str], Standing] = {}
        self.operator = lease.Operator("unknown", message="not asked yet")
        self.trouble = ""

    def shown(self) -> list[Standing]:
        """The rows, sorted by kind, namespace and name."""
        order = [kind.kind for kind in kinds.ALL]
        rows = sorted(self.found.values(), key=lambda s: (order.index(s.kind), s.namespace, s.name))
        return [row for row in rows if not (self.not_ready and row.is_ready)]

    @property
    def ready(self) -> int:
        """How many are Ready."""
        return sum(row.is_ready for row in self.found.values())

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "operator": self.operator.as_json(),
            "objects": [row.as_json() for row in self.shown()],
            "summary": {"ready": self.ready, "total": len(self.found)},
        }

    def summary(self) -> Text:
        """The last line."""
        total = len(self.found)
        if not total:
            where = f"namespace {self.namespace}" if self.namespace else "this cluster"
            return Text(f"nothing of Homeport's is in {where}; `homeport init NAME` writes a project to start from")
        if self.ready == total:
            return Text(f"all {total} ready", "bold green")
        return Text(f"{self.ready} of {total} ready", "bold red")

    def live(self, width: int, height: int) -> RenderableType:
        """The whole, for a terminal of so many lines; what isn't ready comes first when not all fits."""
        rows, room = self.shown(), max(3, height - 5)
        left = len(rows) - room
        if left > 0:
            rows = sorted(rows, key=lambda row: row.is_ready)[:room]
        # The summary stands above: what is below may be cut off by the terminal's end.
        parts: list[RenderableType] = [self.summary(), self.operator.text]
        if self.trouble:
            parts.append(Text(self.trouble, "yellow"))
        if rows:
            parts.append(output.grid(HEADER, cells(rows), MESSAGE, optional=OPTIONAL, width=width))
        if left > 0:
            parts.append(Text(f"and {left} more", "dim"))
        return Group(*parts)


def cells(rows: Sequence[Standing], now: datetime | None = None) -> list[list[Text]]:
    """The table's cells."""
    return [
        [
            Text(row.kind),
            Text(row.namespace),
            Text(row.name, "bold"),
            Text(row.ready, output.READY_STYLES.get(row.ready, "")),
            output.health(row.health),
            Text(row.message if len(row.message) <= _LONGEST or not row.is_ready else f"{row.message[:_LONGEST]}…"),
            Text(row.url, "cyan"),
            Text(output.age(row.created, now)),
        ]
        for row in rows
    ]


async def _once(options: Options, view: View) -> bool:
    async with connected(options) as connection:
        items, view.operator = await asyncio.gather(
            everything(connection.client, kinds.ALL, view.namespace),
            lease.look(connection.client, view.lease_namespace),
        )
    view.found = {row.key: row for row in map(standing.of, items)}
    if view.json:
        output.print_json(view.as_json())
    else:
        out = output.console()
        rows = view.shown()
        if rows:
            output.table(out, HEADER, cells(rows), flexible=MESSAGE, optional=OPTIONAL)
            out.print()
        out.print(view.summary(), soft_wrap=True)
        out.print(view.operator.text, soft_wrap=True)
    return view.ready == len(view.found)


# --- as it changes --------------------------------------------------------------------------------------------------


async def _watch(options: Options, view: View) -> None:
    async with connected(options) as connection:
        found = await asyncio.gather(*(seen(connection.client, kind, view.namespace) for kind in kinds.ALL))
        first = [(kind, *listing) for kind, listing in zip(kinds.ALL, found, strict=True) if listing is not None]
        changed = asyncio.Event()
        for _, items, _ in first:
            view.found |= {row.key: row for row in map(standing.of, items)}
        async with asyncio.TaskGroup() as tasks:
            for kind, _, version in first:
                tasks.create_task(_follow(connection, kind, version, view, changed))
            tasks.create_task(_follow_lease(connection, view))
            await _show(view, changed)


async def _follow(connection: Connection, kind: KindName, version: str, view: View, changed: asyncio.Event) -> None:
    """Keep one kind's rows as they are in the cluster, whatever happens to the connection."""
    seen: str | None = version
    while True:
        try:
            if seen is None:
                items, seen = await listed(connection.client, kind, view.namespace)
                view.found = {key: row for key, row in view.found.items() if key[0] != kind.kind}
                view.found |= {row.key: row for row in map(standing.of, items)}
                changed.set()
            stream = connection.client.watch(kind.gvk, view.namespace, resource_version=seen)
            async with contextlib.aclosing(stream):
                async for event, body in stream:
                    view.trouble = ""
                    seen = body["metadata"].get("resourceVersion", seen)
                    if event == "BOOKMARK":
                        continue
                    row = standing.of(body)
                    if event == "DELETED":
                        view.found.pop(row.key, None)
                    else:
                        view.found[row.key] = row
                    changed.set()
        except errors.Gone:
            seen = None
        except errors.ApiError as error:
            view.trouble = f"the connection is lost, trying again: {describe(error)[0]}"
            seen = None
            await asyncio.sleep(TICK)


async def _follow_lease(connection: Connection, view: View) -> None:
    while True:
        with contextlib.suppress(errors.ApiError):
            view.operator = await lease.look(connection.client, view.lease_namespace)
        await asyncio.sleep(2 * TICK)


async def _show(view: View, changed: asyncio.Event) -> None:
    out = output.console()
    if view.json:
        await _lines(view, changed, lambda: output.print_json_line(view.as_json()))
    elif not out.is_terminal:
        printer = _Transitions(view, out)
        await _lines(view, changed, printer.print)
    else:
        with Live(view.live(out.width, out.height), console=out, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                live.update(view.live(out.width, out.height), refresh=True)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), TICK)
                changed.clear()
                await asyncio.sleep(0.05)


async def _lines(view: View, changed: asyncio.Event, show: Any) -> None:
    while True:
        show()
        await changed.wait()
        changed.clear()


class _Transitions:
    """One line per change, for what isn't a terminal."""

    def __init__(self, view: View, out: Console) -> None:
        self._view = view
        self._out = out
        self._before: dict[tuple[str, str, str], Standing] = {}

    def print(self) -> None:
        """What has changed since the last call."""
        now = f"{datetime.now(UTC):%H:%M:%S}"
        for row in self._view.shown():
            if self._before.get(row.key) != row:
                text = f"{now} {row.kind} {row.namespace}/{row.name} Ready={row.ready} {row.health} {row.message}"
                self._out.print(Text(text.rstrip()), soft_wrap=True)
        for kind, namespace, name in self._before.keys() - self._view.found.keys():
            self._out.print(Text(f"{now} {kind} {namespace}/{name} deleted"), soft_wrap=True)
        self._before = dict(self._view.found)
