"""LXC containers as a person looks for them: which VMID on which node, whether it runs, and at which address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

KIND = "lxccontainers.homeport.dev"
HEADINGS = ("container", "host", "VMID", "node", "state", "address")


def rows(items: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """A line for each LXCContainer among some objects."""
    out = []
    for item in items:
        if item["kind"] == "LXCContainer":
            metadata, status = item["metadata"], item.get("status") or {}
            address = status.get("address") or ", ".join(status.get("addresses") or ())
            seen = (status.get("host"), status.get("vmid"), status.get("node"), status.get("state"), address)
            out.append((f"{metadata['namespace']}/{metadata['name']}", *(str(value or "") for value in seen)))
    return sorted(out)


def show(console: Console, items: Sequence[dict[str, Any]]) -> None:
    """The table, if there are any."""
    found = rows(items)
    if not found:
        return
    table = Table(box=None, pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading == "VMID" else "left", overflow="fold")
    for row in found:
        table.add_row(*row)
    console.print()
    console.print(table)
