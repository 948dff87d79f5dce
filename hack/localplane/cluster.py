"""Chooses the cluster that Homeport runs on.

In this order: a kubeconfig that the user named (used as it is, never started or stopped by us), kind where Docker
answers, the control plane of this package. What was chosen is kept until `down`, so that a Docker that wakes up
later doesn't move a running demo.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from rich.console import Console

from localplane import binaries
from localplane.controlplane import ControlPlane
from localplane.processes import write_atomically
from localplane.state import State

VARIABLES = ("HOMEPORT_KUBECONFIG", "KUBECONFIG")
DOCKER_SECONDS = 5.0


class ClusterError(RuntimeError):
    """There is no cluster to run on; the message says what to do."""


class Where(StrEnum):
    """The kinds of clusters."""

    NAMED = "named"
    KIND = "kind"
    LOCAL = "local"


@dataclass(frozen=True)
class Cluster:
    """The chosen cluster."""

    where: Where
    kubeconfig: str
    reason: str

    @property
    def ours(self) -> bool:
        """Whether we start and stop it."""
        return self.where is not Where.NAMED


def choose(state: State, environment: Mapping[str, str], kind_answers: Callable[[], bool]) -> Cluster:
    """Where to run, without starting anything."""
    own = {str(path): where for path, where in _own(state).items()}
    for variable in VARIABLES:
        value = environment.get(variable, "")
        if value and (where := own.get(str(Path(value).expanduser().absolute()))):
            return Cluster(where, value, f"{variable} names this checkout's own cluster")
        if value:
            return Cluster(Where.NAMED, value, f"{variable} names it; it is used as it is, and left alone by `down`")
    recorded = load(state)
    if recorded and recorded.ours:
        return recorded
    if kind_answers():
        return Cluster(Where.KIND, str(state.kind_kubeconfig), "Docker answers and kind is installed")
    reason = "no KUBECONFIG is set, and there is no Docker with kind"
    return Cluster(Where.LOCAL, str(state.plane_kubeconfig), reason)


def _own(state: State) -> dict[Path, Where]:
    return {state.plane_kubeconfig: Where.LOCAL, state.kind_kubeconfig: Where.KIND}


def kind_answers() -> bool:
    """Whether kind is installed and a Docker daemon answers."""
    if not shutil.which("kind") or not shutil.which("docker"):
        return False
    try:
        done = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            check=False, capture_output=True, text=True, timeout=DOCKER_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and bool(done.stdout.strip())


def load(state: State) -> Cluster | None:
    """The choice that was recorded."""
    try:
        document = json.loads(state.cluster.read_text())
        return Cluster(Where(document["where"]), document["kubeconfig"], document["reason"])
    except (OSError, ValueError, KeyError):
        return None


def save(state: State, cluster: Cluster) -> None:
    """Record the choice."""
    write_atomically(state.cluster, json.dumps(asdict(cluster), indent=2))


def control_plane(state: State, console: Console) -> ControlPlane:
    """The control plane of this checkout."""
    return ControlPlane(state.plane, console=console)


def ensure(state: State, console: Console, environment: Mapping[str, str] | None = None) -> Cluster:
    """Choose a cluster, start it when it's ours, record it."""
    cluster = choose(state, environment if environment is not None else os.environ, kind_answers)
    if cluster.where is Where.NAMED:
        cluster = _checked(state, cluster)
    elif cluster.where is Where.KIND:
        _start_kind(state, console)
    else:
        control_plane(state, console).start()
    save(state, cluster)
    return cluster


def stop(state: State, console: Console) -> None:
    """Stop whatever of this checkout runs, and forget the choice."""
    cluster = load(state)
    if cluster and cluster.where is Where.KIND and shutil.which("kind"):
        subprocess.run(["kind", "delete", "cluster", "--name", state.kind_name], check=False, capture_output=True)
        state.kind_kubeconfig.unlink(missing_ok=True)
    control_plane(state, console).stop()
    state.cluster.unlink(missing_ok=True)


def kubectl(cluster: Cluster, console: Console | None = None) -> Path:
    """A kubectl for the cluster: for one that isn't ours the user's own, when there is one."""
    if cluster.where is not Where.LOCAL and (own := shutil.which("kubectl")):
        return Path(own)
    return binaries.ensure(["kubectl"], console)["kubectl"]


def _checked(state: State, cluster: Cluster) -> Cluster:
    """A cluster that the user named, as one file that exists."""
    paths = [Path(part).expanduser().absolute() for part in cluster.kubeconfig.split(os.pathsep) if part]
    there = [path for path in paths if path.exists()]
    if not there:
        raise ClusterError(
            f"no file at {cluster.kubeconfig}, which {cluster.reason.split(maxsplit=1)[0]} names; unset it"
        )
    if len(paths) == 1:
        return Cluster(cluster.where, str(paths[0]), cluster.reason)
    done = subprocess.run(
        [str(kubectl(cluster)), "config", "view", "--raw", "--flatten", "--minify"],
        check=False, capture_output=True, text=True, env={**os.environ, "KUBECONFIG": cluster.kubeconfig},
    )  # fmt: skip
    if done.returncode:
        raise ClusterError(f"the kubeconfigs {cluster.kubeconfig} do not merge: {done.stderr.strip()}")
    write_atomically(state.named_kubeconfig, done.stdout)
    return Cluster(cluster.where, str(state.named_kubeconfig), cluster.reason)


def _start_kind(state: State, console: Console) -> None:
    listed = subprocess.run(["kind", "get", "clusters"], check=False, capture_output=True, text=True)
    if state.kind_name in listed.stdout.split() and state.kind_kubeconfig.exists():
        return
    state.root.mkdir(parents=True, exist_ok=True)
    console.print(f"creating the kind cluster {state.kind_name}")
    command = ["kind", "create", "cluster", "--name", state.kind_name, "--wait", "120s"]
    done = subprocess.run(
        [*command, "--kubeconfig", str(state.kind_kubeconfig)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise ClusterError(f"kind create cluster failed: {done.stderr.strip()[-800:]}")
