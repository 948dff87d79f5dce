"""The operator as a background process that is kept alive."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from localplane import binaries, initprogram
from localplane.api import answers, wait_for
from localplane.build import BuildError
from localplane.ports import Ports
from localplane.processes import Record, birth, command_digest
from localplane.pveproc import Proxmox
from localplane.state import State
from localplane.supervise import Child
from localplane.toolchain import ToolchainError
from localplane.tools import CHECKOUT, HACK

NAME = "operator"
SIMULATED = "homeport-runner:simulated"
"""The backup runner's image: a Stage of kwok plays it, and its results say that nothing was saved."""
AGENTS = "agents"
"""The port at which containers' agents are listened to."""
HOOKS = "hooks"
"""The port at which webhooks of forges are listened to."""
GRACE = 15.0
CRASHES = 4  # this many ends before it has been ready once are enough to say so


class OperatorError(RuntimeError):
    """The operator doesn't get ready; the message ends with its last log lines."""


class Operator:
    """Starts, stops and asks the operator of one state folder."""

    def __init__(self, state: State, kubeconfig: str | Path, command: Sequence[str] | None = None) -> None:
        self._state = state
        self._processes = state.processes()
        self._child = state.root / "operator-child.json"
        self._ports = Ports(state.root / "ports.json")
        self._kubeconfig = Path(kubeconfig)
        self._identity = f"local-{hashlib.sha256(str(state.root).encode()).hexdigest()[:8]}"
        self._command = command

    @property
    def log(self) -> Path:
        """Where it writes."""
        return self._processes.log(NAME)

    @property
    def port(self) -> int:
        """Where it serves /healthz, /readyz and /metrics; 0 when it was never started."""
        return self._ports.known(NAME)

    @property
    def hooks(self) -> str:
        """Where webhooks are sent to; empty when it was never started."""
        port = self._ports.known(HOOKS)
        return f"http://127.0.0.1:{port}" if port else ""

    def record(self) -> Record | None:
        """The supervisor, when it runs."""
        return self._processes.alive(NAME)

    def child(self) -> Child | None:
        """The operator itself, when it runs."""
        child = Child.load(self._child)
        return child if child and child.code is None and birth(child.pid) == child.born else None

    def ready(self) -> bool:
        """Whether it says that it is ready."""
        return bool(self.record()) and self.child() is not None and answers(self.port, "/readyz", tls=False)

    def start(self, timeout: float = 60.0) -> bool:
        """Start it, unless it runs from this code with this kubeconfig; False when it was left as it was."""
        running = self.record()
        if running and running.digest == command_digest(*self._start_command()):
            self._wait(timeout)
            return False
        self.stop()
        self._ports.renew([NAME, AGENTS, HOOKS])
        command, environment = self._start_command()
        self._processes.start(NAME, command, port=self.port, environment=environment)
        self._wait(timeout)
        return True

    def stop(self) -> None:
        """End the supervisor and the operator."""
        self._processes.stop([NAME], GRACE)
        self._processes.kill_all()
        if child := self.child():  # of a supervisor that was killed, where the kernel didn't take the child along
            os.kill(child.pid, signal.SIGKILL)
        self._child.unlink(missing_ok=True)

    def _start_command(self) -> tuple[list[str], dict[str, str]]:
        listen = f"127.0.0.1:{self._ports[NAME]}"
        # Under one name each time it starts, it holds its Lease again at once: there is never a second one.
        options = ["--kubeconfig", str(self._kubeconfig), "--identity", self._identity]
        agents = f"127.0.0.1:{self._ports[AGENTS]}"
        options += ["--agent-url", f"https://{agents}", "--agent-listen", agents]
        options += ["--runner-image", SIMULATED, "--webhook-listen", f"127.0.0.1:{self._ports[HOOKS]}"]
        if mirror := Proxmox(self._state).mirror:
            options += ["--registry-mirror", mirror]
        with contextlib.suppress(BuildError, ToolchainError):  # images say so then, and nothing else needs it
            options += ["--init-dir", str(initprogram.ensure(initprogram.OF_NODES).parent)]
        command = list(self._command or [sys.executable, "-m", "homeport", "operator", *options])
        supervisor = [sys.executable, "-m", "localplane.supervise", str(self._child)]
        sources = [str(HACK), str(CHECKOUT / "operator")]
        path = [*sources, *(p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p not in sources)]
        environment = {
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONUNBUFFERED": "1",
            "KUBECONFIG": str(self._kubeconfig),
            **binaries.for_builds(),
            "HOMEPORT_SOURCE_DIGEST": source_digest(self._kubeconfig),
        }
        return [*supervisor, *command, "--listen", listen], environment

    def _wait(self, timeout: float) -> None:
        def settled() -> bool:
            child = Child.load(self._child)
            return self.ready() or not self.record() or bool(child and child.starts >= CRASHES)

        wait_for(settled, timeout, every=0.1)
        if self.ready():
            return
        child = Child.load(self._child)
        why = f"ended {child.starts - 1} times" if child and child.starts > 1 else f"is not ready after {timeout:.0f} s"
        raise OperatorError(f"the operator {why}; the end of {self.log}:\n{self._processes.tail(NAME, 25)}")


def source_digest(*also: Path, source: Path = CHECKOUT / "operator" / "homeport") -> str:
    """Changes when the operator's code or its kubeconfig does: then a running one is of no use."""
    digest = hashlib.sha256()
    for path in [*sorted(source.rglob("*.py")), *also]:
        digest.update(str(path).encode())
        if path.exists():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
