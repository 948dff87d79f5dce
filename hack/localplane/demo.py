"""The main job, shown: applies the examples and follows every Homeport object until it is Ready."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from localplane.commands import up
from localplane.kubectl import Kubectl, KubectlError
from localplane.state import State
from localplane.tools import CHECKOUT

EXAMPLES = (CHECKOUT / "examples" / "taskflow", CHECKOUT / "examples" / "project-dashboard")
CATEGORY = "homeport"
EVERY = 0.7
SILENT = 30.0  # seconds for which the API server may fail to answer before that is said


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


def demo(console: Console, state: State, timeout: float = 300.0, examples: Sequence[Path] = EXAMPLES) -> int:
    """Up, apply, follow, tell. 0 when all is Ready; all of it is left running either way."""
    start = time.monotonic()
    kubectl = up(console, state)
    began = time.monotonic()
    kubectl.apply(*examples)
    names = ", ".join(path.name for path in examples)
    console.print(f"applied    {names} [dim]{time.monotonic() - began:.1f} s[/]", highlight=False)
    watch = _targets(kubectl, examples)
    in_time = _follow(console, kubectl, watch, timeout)
    console.print()
    console.print(_table(watch, final=True))
    total = time.monotonic() - start
    if not in_time:
        console.print(f"\n[red]not Ready after {total:.0f} s:[/]", highlight=False)
        for row in watch.unready:
            console.print(Text(f"  {row.title}: {row.message or 'no message'}"), soft_wrap=True)
        console.print(
            "\nEverything was left running. `make status` shows the parts and their logs; `make demo` goes on."
        )
        return 1
    console.print(f"\n[green]all {len(watch.seen)} objects Ready[/], {total:.1f} s in total", highlight=False)
    _next_steps(console)
    return 0


def _targets(kubectl: Kubectl, examples: Sequence[Path]) -> Watch:
    files = [argument for path in examples for argument in ("-f", str(path))]
    applied = kubectl.items("-R", *files)
    ours = [item for item in applied if item["apiVersion"].partition("/")[0].endswith("homeport.dev")]
    keys = {(i["kind"], i["metadata"].get("namespace", ""), i["metadata"]["name"]) for i in ours}
    return Watch({namespace for _, namespace, _ in keys if namespace}, keys, time.monotonic())


def _follow(console: Console, kubectl: Kubectl, watch: Watch, timeout: float) -> bool:
    """Show the objects until all are Ready; False when the time was up."""
    kinds = ",".join(kubectl.run("api-resources", f"--categories={CATEGORY}", "--verbs=list", "-o", "name").split())
    if not console.is_terminal:
        return _poll(console, kubectl, watch, kinds, timeout, lines=True)
    with Live(get_renderable=lambda: _table(watch), console=console, refresh_per_second=4, transient=True):
        return _poll(console, kubectl, watch, kinds, timeout, lines=False)


def _poll(console: Console, kubectl: Kubectl, watch: Watch, kinds: str, timeout: float, lines: bool) -> bool:
    deadline, answered = watch.began + timeout, time.monotonic()
    while True:
        try:
            changed = watch.update(kubectl.items(kinds, "--all-namespaces"))
            answered = time.monotonic()
        except KubectlError as error:
            changed = []
            if time.monotonic() - answered > SILENT:
                console.print(f"the API server has not answered for {SILENT:.0f} s: {error}", highlight=False)
                answered = time.monotonic()
        for row in changed if lines else ():
            elapsed = f"{time.monotonic() - watch.began:6.1f} s"
            console.print(Text(f"{elapsed}  {row.title}  Ready={row.ready}  {row.message}"), soft_wrap=True)
        if not watch.unready:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(EVERY)


def _table(watch: Watch, final: bool = False) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("object", no_wrap=True)
    table.add_column("Ready", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("message", overflow="fold" if final else "ellipsis", no_wrap=not final)
    if final:
        table.add_column("URL", overflow="fold")
    now = time.monotonic() - watch.began
    styles = {"True": "green", "False": "red"}
    for row in watch.rows:
        elapsed = f"{row.elapsed if row.elapsed is not None else now:.1f} s"
        cells: list[Text | str] = [
            Text(row.title),
            Text(row.ready, styles.get(row.ready, "yellow")),
            elapsed,
            Text(row.message),
        ]
        table.add_row(*cells, *([Text("\n".join(row.urls))] if final else []))
    return table


def _next_steps(console: Console) -> None:
    console.print("""
What to type next:
  eval "$(make -s env)"                     kubectl and homeport in this shell
  homeport get                              everything, with its health
  homeport tree application/taskflow -n taskflow
  kubectl get homeport -A                   the same in Kubernetes's words
  make status                               the parts that run, and their logs
  make down                                 stop all of it""", highlight=False, markup=False)  # fmt: skip
