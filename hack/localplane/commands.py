"""What the Makefile's targets do: up, down, status, env."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from localplane import binaries, cluster, containers, definitions, initprogram, node, objects
from localplane.beside import Beside
from localplane.build import BuildError
from localplane.cluster import Cluster, Where
from localplane.gitproc import GitHost
from localplane.kubectl import Kubectl, KubectlError, manifests
from localplane.locks import file_lock
from localplane.operatorproc import Operator
from localplane.pveproc import Proxmox
from localplane.state import State
from localplane.toolchain import ToolchainError
from localplane.tools import BUILDS, CHECKOUT, DEFAULT, has_compiler

SYSTEM_NAMESPACE = "homeport-system"


def up(console: Console, state: State, operator: bool = True) -> Kubectl:
    """Bring up the cluster, the CRDs, the policies and the operator; what runs already is left alone."""
    state.root.mkdir(parents=True, exist_ok=True)
    with file_lock(state.lock, waiting=lambda: console.print("waiting for another up or down of this checkout")):
        began = time.monotonic()
        chosen = cluster.ensure(state, console)
        console.print(f"cluster    {_where(chosen, state)} [dim]({chosen.reason})[/] {_took(began)}", highlight=False)
        kubectl = Kubectl(cluster.kubectl(chosen, console), chosen.kubeconfig)
        began = time.monotonic()
        install(kubectl)
        console.print(f"installed  CRDs and policies {_took(began)}", highlight=False)
        if chosen.where is Where.LOCAL:
            _install_definitions(kubectl, console)
        if chosen.ours:
            _start_proxmox(kubectl, console, state)
        if operator:
            build_init(console)
            began = time.monotonic()
            process = Operator(state, chosen.kubeconfig)
            fresh = process.start()
            console.print(f"operator   {'ready' if fresh else 'was ready already'} {_took(began)}", highlight=False)
    return kubectl


def prepare(console: Console) -> None:
    """Get every program that the tests run: building them takes minutes, which no test's time limit allows for."""
    nodes = () if node.obstacles() else node.BINARIES
    forge = ("gitea",) if has_compiler() or binaries.find("gitea") else ()
    binaries.ensure((*DEFAULT, *BUILDS, *forge, "registry", "restic", "versitygw", *nodes), console)
    build_init(console)


def build_init(console: Console) -> None:
    """The init that goes into containers. Without it images can't be delivered, and nothing else needs it."""
    began = time.monotonic()
    try:
        initprogram.ensure(initprogram.OF_NODES)
    except (BuildError, ToolchainError) as error:
        console.print(f"[dim]left out   the init of containers: {escape(str(error))}[/]")
    else:
        console.print(f"init       for containers on Proxmox VE {_took(began)}", highlight=False)


def install(kubectl: Kubectl) -> None:
    """CRDs, then the policies and roles; idempotent."""
    namespace = f'{{"apiVersion": "v1", "kind": "Namespace", "metadata": {{"name": "{SYSTEM_NAMESPACE}"}}}}'
    kubectl.run("apply", "--server-side", "--field-manager=homeport-up", "-f", "-", stdin=namespace)
    for crds in manifests([CHECKOUT / "crds"]):
        kubectl.apply(crds)
        kubectl.wait_established(crds)
    for policies in manifests([CHECKOUT / "policies"]):
        # Not the folders below it: cases are no manifests.
        kubectl.apply(*sorted(policies.glob("*.yaml")))


def _install_definitions(kubectl: Kubectl, console: Console) -> None:
    """What a cluster with Traefik and the Prometheus operator serves: without it, Homeport says what it can't carry
    out. Nothing needs it, so one who can't have it goes without."""
    began = time.monotonic()
    try:
        for path in (*definitions.TRAEFIK.paths(), *definitions.PROMETHEUS_OPERATOR.paths()):
            kubectl.run("apply", "--server-side", "--field-manager=homeport-up", "-f", str(path))
    except (definitions.DefinitionsError, ToolchainError, KubectlError) as error:
        console.print(f"[dim]left out   the kinds of Traefik and of the Prometheus operator: {escape(str(error))}[/]")
    else:
        console.print(f"installed  kinds of Traefik and of the Prometheus operator {_took(began)}", highlight=False)


def _start_proxmox(kubectl: Kubectl, console: Console, state: State) -> None:
    """The host that containers of the examples run on. Nothing else needs it."""
    began = time.monotonic()
    proxmox = Proxmox(state)
    fresh = proxmox.start()
    proxmox.register(kubectl)
    word = "a stand-in" if fresh else "a stand-in, was ready already"
    console.print(f"proxmox    {proxmox.url}, ProxmoxHost lab ({word}) {_took(began)}", highlight=False)


def down(console: Console, state: State, purge: bool = False) -> None:
    """End the operator and the cluster when it's ours; the data stays unless `purge`."""
    if not state.root.exists():
        console.print("nothing runs here")
        return
    with file_lock(state.lock, waiting=lambda: console.print("waiting for another up or down of this checkout")):
        chosen = cluster.load(state)
        Operator(state, chosen.kubeconfig if chosen else state.plane_kubeconfig).stop()
        Proxmox(state).stop()
        GitHost(state).stop()
        cluster.stop(state, console)
        console.print("stopped the operator and everything of this checkout's cluster", highlight=False)
        if chosen and chosen.where is Where.NAMED:
            console.print(f"left alone: the cluster of {chosen.kubeconfig}, with what is installed there")
        if purge:
            _purge(state)
            console.print(f"deleted {state.root}")


def _purge(state: State) -> None:
    for path in state.root.iterdir():
        if path != state.lock:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def status(console: Console, state: State) -> bool:
    """What runs, and Homeport's objects; whether all of it is well."""
    chosen = cluster.load(state)
    if not chosen:
        console.print("nothing runs here; `make up` starts it")
        return False
    console.print(f"cluster {_where(chosen, state)} [dim]({chosen.reason})[/]", highlight=False)
    table = Table(box=None, pad_edge=False)
    for heading in ("part", "pid", "port", "health", "uptime", "log"):
        table.add_column(heading, justify="right" if heading in ("pid", "port", "uptime") else "left", overflow="fold")
    well = True
    if chosen.where is Where.LOCAL:
        for part in cluster.control_plane(state, console).health():
            word = "paused" if part.paused else "ok" if part.healthy else "unwell" if part.record else "stopped"
            well &= word == "ok"
            record = part.record
            port, began = (str(record.port), record.started) if record else ("", 0.0)
            table.add_row(
                part.name, str(record.pid) if record else "", port, _word(word), _uptime(began), _log(part.log)
            )
    if chosen.ours:
        well &= _beside(table, Proxmox(state))
    if GitHost(state).url:
        well &= _beside(table, GitHost(state))
    operator = Operator(state, chosen.kubeconfig)
    record, child = operator.record(), operator.child()
    word = "ready" if operator.ready() else "not ready" if record else "stopped"
    well &= word == "ready"
    if record and child and child.starts > 1:
        word += f", started {child.starts} times"
    pid, port = (str(child.pid) if child else "", str(operator.port or ""))
    table.add_row("operator", pid, port, _word(word), _uptime(record.started if record else 0.0), _log(operator.log))
    console.print(table)
    return _objects(console, chosen) and well


def _beside(table: Table, part: Beside) -> bool:
    record, well = part.record(), part.ready()
    word = "ok" if well else "unwell" if record else "stopped"
    pid, port = (str(record.pid), str(record.port)) if record else ("", "")
    began = record.started if record else 0.0
    table.add_row(part.name, pid, port, _word(word), _uptime(began), _log(part.log))
    return well


def _objects(console: Console, chosen: Cluster) -> bool:
    """A table of Homeport's objects; whether all of them are Ready."""
    try:
        kubectl = Kubectl(cluster.kubectl(chosen, console), chosen.kubeconfig)
        items = kubectl.items(objects.kinds(kubectl), "--all-namespaces")
    except KubectlError as error:
        console.print(f"\nobjects unknown: {error}", highlight=False, markup=False, soft_wrap=True)
        return False
    watch = objects.Watch.everything(items)
    if watch.rows:
        console.print()
        objects.show(console, watch)
    containers.show(console, items)
    return not watch.unready


def env(state: State) -> str:
    """Shell code that points a shell at the cluster and at the programs."""
    chosen = cluster.load(state)
    kubeconfig = chosen.kubeconfig if chosen else str(state.plane_kubeconfig)
    folders = [str(Path(sys.executable).parent)]
    if not chosen or chosen.where is Where.LOCAL:
        folders.insert(0, str(cluster.kubectl(Cluster(Where.LOCAL, kubeconfig, "")).parent))
    known = os.environ.get("PATH", "").split(os.pathsep)
    path = os.pathsep.join([*folders, *(folder for folder in known if folder not in folders)])
    return f"export KUBECONFIG={shlex.quote(kubeconfig)}\nexport PATH={shlex.quote(path)}\n"


def _where(chosen: Cluster, state: State) -> str:
    if chosen.where is Where.NAMED:
        return f"of {chosen.kubeconfig}"
    return f"kind {state.kind_name}" if chosen.where is Where.KIND else "local control plane"


def _took(began: float) -> str:
    return f"[dim]{time.monotonic() - began:.1f} s[/]"


def _word(word: str) -> str:
    good = word.startswith(("ok", "ready"))
    return f"[{'green' if good else 'red'}]{word}[/]"


def _uptime(began: float) -> str:
    if not began:
        return ""
    seconds = int(time.time() - began)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds % 60:02}s"


def _log(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
