"""etcd, kube-apiserver, controller manager, scheduler and kwok as processes on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

from rich.console import Console

from localplane import binaries, nodefiles
from localplane.api import Client, answers, wait_for
from localplane.certificates import ADMIN
from localplane.components import PORTS, STORAGE_CLASS, Component, Layout, components, node, write_kubeconfigs
from localplane.locks import file_lock
from localplane.node import Node
from localplane.ports import Ports
from localplane.processes import PROC, Processes, Record, birth, command_digest
from localplane.tools import DEFAULT, HACK

STOP_ORDER = (("kwok", "kube-scheduler", "kube-controller-manager"), ("kube-apiserver",), ("etcd",))
# The API server waits for its watchers, who don't know that they should go, when it is restarted alone.
GRACE = {"kube-apiserver": 4.0, "etcd": 10.0}


class ControlPlaneError(RuntimeError):
    """A component doesn't start or doesn't get well; the message ends with its last log lines."""


@dataclass(frozen=True)
class Health:
    """What a component is doing right now."""

    name: str
    record: Record | None
    healthy: bool
    paused: bool
    log: Path


class ControlPlane:
    """A Kubernetes control plane whose whole state is in one directory.

    With `ephemeral`, its processes end when this process does, however it ends; else they stay until `stop`, from
    this or any other process. With `real_node`, a node that runs containers joins those that kwok plays. `audit` writes
    every change that the API server answers to `audit_log`; with `audit_reads`, reads and Events too. Starting
    one that runs already only mends what is missing.
    """

    def __init__(
        self, directory: Path, *, nodes: int = 3, audit: bool = False, audit_reads: bool = False,
        ephemeral: bool = False, real_node: bool = False, console: Console | None = None,
    ) -> None:  # fmt: skip
        self.directory = directory.absolute()
        self._layout = Layout(self.directory)
        self._nodes = nodes
        self._audit = "all" if audit_reads else "writes" if audit else ""
        self._ephemeral = ephemeral
        self._console = console
        self._processes = Processes(self._layout.pids, self._layout.logs)
        self._real_node = real_node
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._binaries: dict[str, Path] = {}

    def __enter__(self) -> ControlPlane:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; there once the control plane has been started."""
        return self._layout.kubeconfig

    @property
    def audit_log(self) -> Path:
        """A JSON object per audited request."""
        return self._layout.audit_log

    @property
    def kubectl(self) -> Path:
        """The kubectl of the control plane's own version."""
        return binaries.ensure(["kubectl"], self._console)["kubectl"]

    @property
    def node(self) -> Node:
        """The real node, if there is to be one."""
        return Node(self.directory / "node", self._processes, self._layout.certificates, self._layout.logs)

    @property
    def processes(self) -> Processes:
        """The records and logs of the components."""
        return self._processes

    def start(self, timeout: float = 60.0) -> None:
        """Start what doesn't run and wait until all of it works: nodes ready, Pods can be made."""
        self._binaries = binaries.ensure(DEFAULT, self._console)
        self.directory.mkdir(parents=True, exist_ok=True)
        with file_lock(self.directory / "plane.lock"):
            if self._ephemeral and self._watchdog is None:
                self._watch()
            for attempt in (1, 2, 3):
                try:
                    self._start(timeout)
                    return
                except ControlPlaneError as error:
                    # Someone took a port between our look and our use of it: choose again.
                    if "address already in use" not in str(error) or attempt == 3:
                        raise
                    self._stop()
                    Ports(self._ports_file).renew(PORTS, always=True)

    def stop(self) -> None:
        """End every process, in order; also those of a control plane whose starter crashed."""
        if not self.directory.exists():
            return
        with file_lock(self.directory / "plane.lock"):
            self._stop()
            if self._watchdog:
                assert self._watchdog.stdin
                self._watchdog.stdin.close()
                self._watchdog.wait()
                self._watchdog = None

    def is_running(self) -> bool:
        """Whether all components run and the API server is ready."""
        alive = [self._processes.alive(names) for group in STOP_ORDER for names in group]
        return all(alive) and self.kubeconfig.exists() and Client(self.kubeconfig).ready()

    def health(self) -> list[Health]:
        """How each component is doing."""
        with ThreadPoolExecutor(len(PORTS)) as pool:
            return list(pool.map(self._health, (name for group in reversed(STOP_ORDER) for name in group)))

    def restart_component(self, name: str, timeout: float = 60.0) -> None:
        """End one component and start it again where it was; returns when it works."""
        self.stop_component(name)
        self.start_component(name, timeout)

    def stop_component(self, name: str) -> None:
        """End one component and leave it so."""
        self._processes.stop([name], GRACE.get(name, 5.0))

    def start_component(self, name: str, timeout: float = 60.0) -> None:
        """Start one component that was stopped; returns when it works."""
        component = self._component(name)
        self._run(component)
        self._wait([component], timeout)

    def kill_component(self, name: str) -> None:
        """End one component as a crash would."""
        self._signal(name, signal.SIGKILL)

    def pause_component(self, name: str) -> None:
        """Stop a component's clock: connections to it hang."""
        self._signal(name, signal.SIGSTOP)

    def resume_component(self, name: str) -> None:
        """Let a paused component go on."""
        self._signal(name, signal.SIGCONT)

    # Starting

    @property
    def _ports_file(self) -> Path:
        return self.directory / "ports.json"

    def _start(self, timeout: float) -> None:
        layout = self._layout
        if layout.certificates.ensure():
            self._stop()  # whatever runs knows others
        ports = Ports(self._ports_file)
        if not self._processes.alive("etcd") or not self._processes.alive("kube-apiserver"):
            idle = [name for name in PORTS if not self._processes.alive(name.removesuffix("-peer"))]
            ports.renew(idle)
        for pid in self._processes.strays():
            if not self._watchdog or pid != self._watchdog.pid:
                os.kill(pid, signal.SIGKILL)
        everything = {component.name: component for component in self._components(ports)}
        write_kubeconfigs(layout, ports["kube-apiserver"])
        layout.certificates.kubeconfig(self.kubeconfig, ADMIN, ports["kube-apiserver"])
        etcd, apiserver = everything.pop("etcd"), everything.pop("kube-apiserver")
        self._run(etcd)
        self._wait([etcd], timeout)
        self._run(apiserver)
        self._wait([apiserver], timeout)
        client = Client(self.kubeconfig)
        for index in range(self._nodes):
            self._create(client, "/api/v1/nodes", node(index))
        storage = nodefiles.STORAGE_CLASS if self._real_node else STORAGE_CLASS
        self._create(client, "/apis/storage.k8s.io/v1/storageclasses", storage)
        for component in everything.values():
            self._run(component)
        self._wait(list(everything.values()), timeout)
        if self._real_node:
            self.node.start(ports["kube-apiserver"], client, console=self._console)
        self._wait_usable(client, timeout)

    def _components(self, ports: Ports) -> list[Component]:
        if not self._binaries:
            self._binaries = binaries.ensure(DEFAULT, self._console)
        relay = self.node.relay if self._real_node else None
        return components(self._layout, self._binaries, ports, self._audit, relay)

    def _component(self, name: str) -> Component:
        return next(component for component in self._components(Ports(self._ports_file)) if component.name == name)

    def _run(self, component: Component) -> None:
        """Start a component unless it runs just as it should."""
        running = self._processes.alive(component.name)
        if running and running.digest == command_digest(component.command):
            running.signal(signal.SIGCONT)
            return
        if running:
            self.stop_component(component.name)
        if component.name == "kwok":
            # Each start of kwok is someone else to the nodes' leases, which would keep it out until they expire.
            Client(self.kubeconfig).request("DELETE", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases")
        self._processes.start(component.name, component.command, port=component.port)

    def _wait(self, waited: list[Component], timeout: float) -> None:
        """Wait until components are well; what ends meanwhile is an error, told with its own words."""

        def well(component: Component) -> bool:
            if not self._processes.alive(component.name):
                raise ControlPlaneError(f"{component.name} ended:\n{self._processes.tail(component.name)}")
            return answers(component.port, component.health, component.tls)

        for component in waited:
            if not wait_for(partial(well, component), timeout):
                tail = self._processes.tail(component.name)
                raise ControlPlaneError(f"{component.name} is not well after {timeout:.0f} s:\n{tail}")

    def _create(self, client: Client, path: str, body: dict[str, object]) -> None:
        status, answer = client.request("POST", path, body)
        if status not in (200, 201, 409):
            raise ControlPlaneError(f"creating {body['kind']} failed with {status}: {json.dumps(answer)[:300]}")

    def _wait_usable(self, client: Client, timeout: float) -> None:
        def account() -> bool:
            return client.request("GET", "/api/v1/namespaces/default/serviceaccounts/default")[0] == 200

        def nodes() -> bool:
            items = client.request("GET", "/api/v1/nodes")[1].get("items", [])
            ready = [c for item in items for c in item["status"].get("conditions", []) if c["type"] == "Ready"]
            tainted = [t for item in items for t in item["spec"].get("taints", []) if t["effect"] == "NoSchedule"]
            return sum(c["status"] == "True" for c in ready) >= self._nodes and not tainted

        waits: dict[str, Callable[[], bool]] = {"the default service account": account, "the nodes": nodes}
        for what, condition in waits.items():
            if not wait_for(condition, timeout):
                raise ControlPlaneError(f"{what} did not get ready in {timeout:.0f} s; see {self._layout.logs}")

    # Watching and ending

    def _watch(self) -> None:
        """Start the watchdog; a pipe that only we hold tells it that we are gone."""
        self._layout.logs.mkdir(parents=True, exist_ok=True)
        me = os.getpid()
        arguments = [str(me), birth(me), str(self._layout.pids), str(self._layout.logs)]
        path = os.pathsep.join([str(HACK), *filter(None, [os.environ.get("PYTHONPATH")])])
        with (self._layout.logs / "watchdog.log").open("ab") as log:
            self._watchdog = subprocess.Popen(
                [sys.executable, "-m", "localplane.watchdog", *arguments], stdin=subprocess.PIPE, stdout=log,
                stderr=log, start_new_session=True, env={**os.environ, "PYTHONPATH": path}, cwd="/",
            )  # fmt: skip

    def _stop(self) -> None:
        self.node.stop(purge=self._ephemeral)
        for group in STOP_ORDER:
            self._processes.stop(group, max(GRACE.get(name, 5.0) for name in group))
        self._processes.kill_all()

    def _signal(self, name: str, number: signal.Signals) -> None:
        record = self._processes.alive(name)
        if not record or not record.signal(number):
            raise ControlPlaneError(f"{name} does not run")

    def _health(self, name: str) -> Health:
        record = self._processes.alive(name)
        log = self._processes.log(name)
        if record is None:
            return Health(name, None, False, False, log)
        path, tls = {"etcd": ("/health", False), "kwok": ("/healthz", False)}.get(name, ("/healthz", True))
        return Health(name, record, answers(record.port, path, tls), _stopped(record), log)


def _stopped(record: Record) -> bool:
    try:
        return PROC.joinpath(str(record.pid), "stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False
