"""The main job, shown: a Git repository with the examples becomes the truth, and every Homeport object is followed
until it is Ready."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import yaml
from rich.console import Console
from rich.live import Live
from rich.text import Text

from localplane import cluster, containers, objects
from localplane.commands import up
from localplane.gitproc import NAMESPACE, SOURCE, GitHost
from localplane.kubectl import Kubectl, KubectlError
from localplane.operatorproc import Operator
from localplane.state import State
from localplane.tools import CHECKOUT

EXAMPLES = tuple(sorted(path for path in (CHECKOUT / "examples").iterdir() if path.is_dir()))
EVERY = 0.7
SILENT = 30.0  # seconds for which the API server may fail to answer before that is said


def demo(console: Console, state: State, timeout: float = 300.0, examples: Sequence[Path] = EXAMPLES) -> int:
    """Up, apply, follow, tell. 0 when all is Ready; all of it is left running either way."""
    start = time.monotonic()
    kubectl = up(console, state)
    began = time.monotonic()
    git = GitHost(state)
    git.start()
    seeded = git.seed()
    git.register(kubectl)
    took = f"[dim]{time.monotonic() - began:.1f} s[/]"
    console.print(f"git        {git.url}, {seeded}; GitSource {SOURCE} follows it {took}", highlight=False)
    watch = _targets(git, examples)
    in_time = _follow(console, kubectl, watch, timeout, Revival(console, state))
    console.print()
    objects.show(console, watch)
    containers.show(console, kubectl.items(containers.KIND, "--all-namespaces"))
    _connect(console, kubectl, git, state)
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
    _next_steps(console, git.url)
    return 0


def _targets(git: GitHost, examples: Sequence[Path]) -> objects.Watch:
    """What is in the checkout, and the source that brings it. What a user has pushed besides is seen as it comes."""
    files = (file for path in examples for file in sorted(path.rglob("*.yaml")))
    declared = [item for file in files for item in yaml.safe_load_all(file.read_text()) if item]
    ours = [i for i in (*declared, *git.objects()) if i["apiVersion"].partition("/")[0].endswith("homeport.dev")]
    keys = {(i["kind"], i["metadata"].get("namespace", ""), i["metadata"]["name"]) for i in ours}
    return objects.Watch({namespace for _, namespace, _ in keys if namespace}, keys, time.monotonic())


def _connect(console: Console, kubectl: Kubectl, git: GitHost, state: State) -> None:
    """Have the Git server tell the operator of pushes."""
    chosen = cluster.load(state)
    found = kubectl.items("gitsources.homeport.dev", "-n", NAMESPACE, f"--field-selector=metadata.name={SOURCE}")
    path = (found[0].get("status") or {}).get("webhookPath") if found else ""
    git.tell(f"{Operator(state, chosen.kubeconfig).hooks}{path}" if chosen and path else "")


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


def _next_steps(console: Console, url: str) -> None:
    console.print(f"""
What to type next:
  eval "$(make -s env)"                     kubectl and homeport in this shell
  homeport get                              everything, with its health
  homeport tree application/taskflow -n taskflow
  kubectl get homeport -A                   the same in Kubernetes's words

Change something: the repository is the truth.
  git clone {url} ../fleet && cd ../fleet
  sed -i 's/LOG_LEVEL: INFO/LOG_LEVEL: ERROR/' project-dashboard/environments.yaml
  git commit -qam "Staging says less" && git push
  homeport get gitsource -n {NAMESPACE}           what is applied, a moment later
  homeport history source {SOURCE} -n {NAMESPACE}; homeport rollback source {SOURCE} -n {NAMESPACE} --to REVISION

  make status                               the parts that run, and their logs
  make down                                 stop all of it""", highlight=False, markup=False)  # fmt: skip
