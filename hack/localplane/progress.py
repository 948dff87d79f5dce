"""Shows how long steps come along: live with rich on a terminal, else one line per event."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

EVERY = 60.0  # a sign of life per minute where there is no terminal


class Progress:
    """The state of each tool, printed. Its methods may be called from any thread."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._lock = threading.Lock()
        self._rows: dict[str, list[str]] = {}
        self._started: dict[str, float] = {}
        self._said: dict[str, float] = {}
        self._live: Live | None = None

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=4)
            self._live.start()
        else:
            self._console.print(self._title)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def waiting(self, name: str) -> None:
        """`name` is in the queue."""
        self._set(name, "waiting", "", quiet=True)

    def note(self, name: str, text: str) -> None:
        """Something worth telling about `name`."""
        self._started.setdefault(name, time.monotonic())
        self._set(name, "preparing", text)

    def building(self, name: str) -> None:
        """`name` is being compiled from now on."""
        self._started[name] = time.monotonic()
        self._set(name, "building", "")

    def packages(self, name: str, count: int) -> None:
        """So many packages of `name` are compiled."""
        now = time.monotonic()
        loud = not self._live and now - self._said.get(name, now) > EVERY
        elapsed = now - self._started.get(name, now)
        text = f"{count} packages compiled" + (f", {elapsed:.0f} s" if loud else "")
        self._set(name, "building", text, quiet=not loud)

    def done(self, name: str, text: str) -> None:
        """`name` is there."""
        self._started.pop(name, None)
        self._set(name, "done", text)

    def failed(self, name: str) -> None:
        """`name` didn't build."""
        self._started.pop(name, None)
        self._set(name, "failed", "")

    def _set(self, name: str, state: str, text: str, quiet: bool = False) -> None:
        with self._lock:
            self._rows[name] = [state, text]
            if self._live or quiet:
                return
            self._said[name] = time.monotonic()
            self._console.print(f"  {name}: {state}{', ' if text else ''}{text}", highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table(title=self._title, title_justify="left", box=None, pad_edge=False)
        for heading in ("tool", "state", "elapsed", ""):
            table.add_column(heading, justify="right" if heading == "elapsed" else "left", no_wrap=True)
        styles = {"done": "green", "failed": "red", "building": "cyan", "preparing": "cyan"}
        with self._lock:
            for name, (state, text) in self._rows.items():
                started = self._started.get(name)
                elapsed = f"{time.monotonic() - started:.0f} s" if started else ""
                table.add_row(name, f"[{styles.get(state, 'dim')}]{state}[/]", elapsed, text)
        return table
