"""Tables for people, JSON and YAML for programs. Nothing is cut off where the output isn't a terminal."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 100_000
"""Columns of what isn't a terminal: whoever reads it there wants whole lines."""

LINE_ENDS = frozenset("\x85\u2028\u2029")
"""What YAML takes for the end of a line, and JSON for a character like any other."""

ROOM = 36
"""Columns that a message should have at least on a terminal."""

HEALTH_STYLES = {
    "Healthy": "green",
    "Suspended": "blue",
    "Progressing": "yellow",
    "Unknown": "magenta",
    "Degraded": "bold red",
}
READY_STYLES = {"True": "green", "False": "bold red", "Unknown": "magenta"}


def console(*, stderr: bool = False) -> Console:
    """A console that honours NO_COLOR and terminals, and never guesses at markup in what users wrote."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, highlight=False, markup=False, emoji=False, width=None if stream.isatty() else WIDE)


def health(value: str) -> Text:
    """A health, coloured."""
    return Text(value, HEALTH_STYLES.get(value, ""))


def table(
    out: Console,
    header: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    *,
    flexible: int = -1,
    optional: Sequence[int] = (),
) -> None:
    """Columns side by side; on a terminal the ``flexible`` one is folded where the line would be too long.

    On a narrow one the ``optional`` columns are left out, too.
    """
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    if out.is_terminal:
        out.print(grid(header, cells, flexible, optional=optional, width=out.width))
        return
    lines = [[Text(name) for name in header], *cells]
    widths = [max(line[index].cell_len for line in lines) for index in range(len(header))]
    for line in lines:
        shown = "   ".join(cell.plain + " " * (width - cell.cell_len) for cell, width in zip(line, widths, strict=True))
        out.print(shown.rstrip(), soft_wrap=True)


def fitting(
    header: Sequence[str], cells: Sequence[Sequence[Text]], flexible: int, optional: Sequence[int], width: int
) -> list[int]:
    """The columns to show in ``width``: ``optional`` ones are left out, in their order, until ``flexible`` has room."""
    widths = [max([len(name), *(row[index].cell_len for row in cells)]) + 3 for index, name in enumerate(header)]
    kept = list(range(len(header)))
    for index in optional:
        if width - sum(widths[column] for column in kept if column != flexible) >= min(ROOM, widths[flexible]):
            break
        kept.remove(index)
    return kept


def grid(
    header: Sequence[str],
    cells: Sequence[Sequence[Text]],
    flexible: int = -1,
    *,
    optional: Sequence[int] = (),
    width: int = WIDE,
) -> Table:
    """The table for a terminal."""
    if optional:
        kept = fitting(header, cells, flexible, optional, width)
        header, cells = [header[i] for i in kept], [[row[i] for i in kept] for row in cells]
        flexible = kept.index(flexible)
    out = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for index, name in enumerate(header):
        fixed = index != flexible
        out.add_column(name, no_wrap=fixed, overflow="ellipsis" if fixed else "fold", ratio=None if fixed else 1)
    for row in cells:
        out.add_row(*row)
    return out


def print_json(value: Any) -> None:
    """``value`` as indented JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_json_line(value: Any) -> None:
    """``value`` as one line of JSON."""
    click.echo(json.dumps(value, ensure_ascii=False, default=str))


def print_yaml(value: Any) -> None:
    """``value`` as YAML."""
    click.echo(yaml_text(value), nl=False)


def yaml_text(value: Any) -> str:
    """``value`` as YAML in its own order, with text of several lines as a block."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
        # Some readers take these for ends of lines, and drop them.
        style = '"' if set(data) & LINE_ENDS else "|" if "\n" in data else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    Dumper.add_representer(str, text)
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def clean(body: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest without managedFields, as kubectl shows it."""
    metadata = {key: value for key, value in body.get("metadata", {}).items() if key != "managedFields"}
    first = {"apiVersion": body.get("apiVersion"), "kind": body.get("kind"), "metadata": metadata}
    return {**first, **{key: value for key, value in body.items() if key not in first}}


def parse_time(text: str | None) -> datetime | None:
    """An RFC 3339 time as Kubernetes writes it; None for anything else."""
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def seconds_since(text: str | None, now: datetime | None = None) -> float | None:
    """Seconds since a time; None when it isn't one. Never negative: clocks differ."""
    then = parse_time(text)
    return None if then is None else max(0.0, ((now or datetime.now(UTC)) - then).total_seconds())


def age(text: str | None, now: datetime | None = None) -> str:
    """How long ago, as kubectl shows it."""
    seconds = seconds_since(text, now)
    return "" if seconds is None else duration(seconds)


def duration(seconds: float) -> str:
    """A duration as kubectl shows it: the two largest units while they matter, then one."""
    whole = int(seconds)
    if whole < 120:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 10:
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours, rest = divmod(minutes, 60)
    if hours < 8:
        return f"{hours}h{rest}m" if rest else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days, rest = divmod(hours, 24)
    if days < 8:
        return f"{days}d{rest}h" if rest else f"{days}d"
    return f"{days}d"
