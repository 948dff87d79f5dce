"""Homeport's objects as a person follows them: each with its Ready, its message, its URLs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from localplane.kubectl import Kubectl

CATEGORY = "homeport"
STYLES = {"True": "green", "False": "red"}
WIDE = 140


def kinds(kubectl: Kubectl) -> str:
    """All kinds of Homeport's category, as `kubectl get` takes them."""
    return ",".join(kubectl.run("api-resources", f"--categories={CATEGORY}", "--verbs=list", "-o", "name").split())


@dataclass
class Seen:
    """What is known about one object, and since when it is Ready."""

    kind: str
    namespace: str
    name: str
    ready: str = "Unknown"
    message: str = ""
    urls: tuple[str, ...] = ()
    elapsed: float | None = None

    @property
    def title(self) -> str:
        """How a person calls it."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass
class Watch:
    """The objects of the demo as they come along."""

    namespaces: set[str]
    wanted: set[tuple[str, str, str]]
    began: float
    seen: dict[tuple[str, str, str], Seen] = field(default_factory=dict)

    @classmethod
    def everything(cls, items: Sequence[dict[str, Any]]) -> Watch:
        """All objects of the cluster, as they are now; they have no time."""
        watch = cls({item["metadata"].get("namespace", "") for item in items}, set(), 0.0)
        watch.update(items)
        return watch

    def update(self, items: Sequence[dict[str, Any]]) -> list[Seen]:
        """Take in what the API server says now; those whose state or message changed."""
        changed, present = [], set()
        for item in items:
            metadata = item["metadata"]
            key = (item["kind"], metadata.get("namespace", ""), metadata["name"])
            if key not in self.wanted and key[1] not in self.namespaces:
                continue
            present.add(key)
            row = self.seen.setdefault(key, Seen(*key))
            before = (row.ready, row.message)
            row.ready, row.message, row.urls = readiness(item)
            if row.ready != "True":
                row.elapsed = None
            elif row.elapsed is None:
                row.elapsed = time.monotonic() - self.began
            if (row.ready, row.message) != before:
                changed.append(row)
        for key in set(self.seen) - present:
            del self.seen[key]
        return changed

    @property
    def unready(self) -> list[Seen]:
        """Those that aren't Ready, and those that were asked for and aren't there."""
        missing = [Seen(*key, message="does not exist") for key in sorted(self.wanted - set(self.seen))]
        return [row for row in self.rows if row.ready != "True"] + missing

    @property
    def rows(self) -> list[Seen]:
        """All of them: projects first, then environments, then what runs in them."""
        order = {"Project": 0, "Environment": 1, "Application": 2}
        return sorted(self.seen.values(), key=lambda row: (order.get(row.kind, 3), row.kind, row.namespace, row.name))


def readiness(item: dict[str, Any]) -> tuple[str, str, tuple[str, ...]]:
    """An object's Ready, its message and its URLs; a status of an older generation counts as unknown."""
    status = item.get("status") or {}
    ready = next((c for c in status.get("conditions") or [] if c.get("type") == "Ready"), None)
    environments = status.get("environments") or []
    urls = [e["url"] for e in environments if isinstance(e, dict) and e.get("url")]
    urls = urls or ([status["url"]] if status.get("url") else [])
    if ready is None:
        return "Unknown", "not looked at yet", ()
    observed = ready.get("observedGeneration", status.get("observedGeneration"))
    if observed is not None and observed < item["metadata"].get("generation", 0):
        return "Unknown", "changed; not looked at yet", tuple(dict.fromkeys(urls))
    return ready.get("status", "Unknown"), ready.get("message", ""), tuple(dict.fromkeys(urls))


def table(watch: Watch, final: bool = False) -> Table:
    """The objects, a line each; at the end with their whole message and their URLs."""
    rows = Table(box=None, pad_edge=False)
    rows.add_column("object", no_wrap=True)
    rows.add_column("Ready", no_wrap=True)
    rows.add_column("time" if watch.began else "", justify="right", no_wrap=True)
    rows.add_column("message", overflow="fold" if final else "ellipsis", no_wrap=not final)
    if final:
        rows.add_column("URL", overflow="fold")
    now = time.monotonic() - watch.began
    for row in watch.rows:
        elapsed = f"{row.elapsed if row.elapsed is not None else now:.1f} s" if watch.began else ""
        cells: list[Text | str] = [
            Text(row.title),
            Text(row.ready, STYLES.get(row.ready, "yellow")),
            elapsed,
            Text(row.message),
        ]
        rows.add_row(*cells, *([Text("\n".join(row.urls))] if final else []))
    return rows


def show(console: Console, watch: Watch) -> None:
    """The objects with their whole messages and URLs: a table, or a few lines each where that is too narrow."""
    if console.width >= WIDE:
        console.print(table(watch, final=True))
        return
    for row in watch.rows:
        elapsed = f"  {row.elapsed:.1f} s" if watch.began and row.elapsed is not None else ""
        ready = Text(f"Ready={row.ready}", STYLES.get(row.ready, "yellow"))
        console.print(Text.assemble(row.title, "  ", ready, elapsed), soft_wrap=True)
        for line in (row.message, *row.urls):
            console.print(Text(f"    {line}", "dim"), soft_wrap=True)
