"""The main job, shown: applies the examples and follows every Homeport object until it is Ready."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from localplane import cluster, objects
from localplane.commands import up
from localplane.kubectl import Kubectl, KubectlError
from localplane.operatorproc import Operator
from localplane.state import State
from localplane.tools import CHECKOUT

EXAMPLES = (CHECKOUT / "examples" / "taskflow", CHECKOUT / "examples" / "project-dashboard")
EVERY = 0.7
SILENT = 30.0  # seconds for which the API server may fail to answer before that is said


def demo(console: Console, state: State, timeout: float = 300.0, examples: Sequence[Path] = EXAMPLES) -> int:
    """Up, apply, follow, tell. 0 when all is Ready; all of it is left running either way."""
    start = time.monotonic()
    kubectl = up(console, state)
    began = time.monotonic()
    kubectl.apply_as_user(*examples)
    names = ", ".join(path.name for path in examples)
    console.print(f"applied    {names} [dim]{time.monotonic() - began:.1f} s[/]", highlight=False)
    watch = _targets(kubectl, examples)
    in_time = _follow(console, kubectl, watch, timeout, Revival(console, state))
    console.print()
    objects.show(console, watch)
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


def _targets(kubectl: Kubectl, examples: Sequence[Path]) -> objects.Watch:
    files = [argument for path in examples for argument in ("-f", str(path))]
    applied = kubectl.items("-R", *files)
    ours = [item for item in applied if item["apiVersion"].partition("/")[0].endswith("homeport.dev")]
    keys = {(i["kind"], i["metadata"].get("namespace", ""), i["metadata"]["name"]) for i in ours}
    return objects.Watch({namespace for _, namespace, _ in keys if namespace}, keys, time.monotonic())


class Revival:
    """Starts the operator again when it was killed together with what keeps it alive, so that the demo still ends."""

    def __init__(self, console: Console, state: State) -> None:
        self._console = console
        self._state = state

    def look(self) -> None:
        """Start it if nothing keeps it alive any more."""
        chosen = cluster.load(self._state)
        if chosen is None:
            return
        operator = Operator(self._state, chosen.kubeconfig)
        if operator.record() is None:
            self._console.print("operator   was gone; starting it again", highlight=False)
            operator.start()


def _follow(console: Console, kubectl: Kubectl, watch: objects.Watch, timeout: float, revival: Revival) -> bool:
    """Show the objects until all are Ready; False when the time was up."""
    kinds = objects.kinds(kubectl)
    if not console.is_terminal:
        return _poll(console, kubectl, watch, kinds, timeout, revival)
    with Live(get_renderable=lambda: objects.table(watch), console=console, refresh_per_second=4, transient=True):
        return _poll(console, kubectl, watch, kinds, timeout, revival)


def _poll(
    console: Console, kubectl: Kubectl, watch: objects.Watch, kinds: str, timeout: float, revival: Revival
) -> bool:
    lines = not console.is_terminal
    deadline, answered, settled = watch.began + timeout, time.monotonic(), False
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
        if watch.unready:
            settled = False
        elif settled:
            return True
        else:
            settled = True  # once more: a summary of the others follows them by a moment
        if time.monotonic() > deadline:
            return False
        revival.look()
        time.sleep(EVERY)


def _next_steps(console: Console) -> None:
    console.print("""
What to type next:
  eval "$(make -s env)"                     kubectl and homeport in this shell
  homeport get                              everything, with its health
  homeport tree application/taskflow -n taskflow
  kubectl get homeport -A                   the same in Kubernetes's words
  make status                               the parts that run, and their logs
  make down                                 stop all of it""", highlight=False, markup=False)  # fmt: skip
