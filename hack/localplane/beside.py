"""What runs beside a control plane for the demo: one background process with a folder and ports of its own, and the
objects that make it known to the cluster."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from localplane.api import wait_for
from localplane.kubectl import FIELD_MANAGER, Kubectl
from localplane.ports import Ports, is_free
from localplane.processes import Processes, Record
from localplane.state import State


class PartError(RuntimeError):
    """It doesn't get ready; the message ends with its last log lines."""


class Beside:
    """Starts, stops and asks one such part of one state folder."""

    name: ClassVar[str]
    """Of its folder, its log and its port."""
    called: ClassVar[str]
    """What it is, for people."""
    grace: ClassVar[float]
    """Seconds that it has to end by itself."""
    more_ports: ClassVar[tuple[str, ...]] = ()
    """Names of what else it listens at."""

    def __init__(self, state: State) -> None:
        self._directory = state.root / self.name
        self._processes = Processes(self._directory / "pids", state.root / "logs")
        self._ports = Ports(self._directory / "ports.json")

    @property
    def log(self) -> Path:
        """Where it writes."""
        return self._processes.log(self.name)

    @property
    def port(self) -> int:
        """Where it listens; 0 when it was never started."""
        return self._ports.known(self.name)

    def record(self) -> Record | None:
        """The process, when it runs."""
        return self._processes.alive(self.name)

    def ready(self) -> bool:
        """Whether it runs and listens."""
        return bool(self.record()) and not is_free(self.port)

    def stop(self) -> None:
        """End it; its state is kept."""
        self._processes.stop([self.name], self.grace)

    def register(self, kubectl: Kubectl) -> None:
        """Make it known to the cluster."""
        stdin = json.dumps({"apiVersion": "v1", "kind": "List", "items": self.objects()})
        manager = f"--field-manager={FIELD_MANAGER}"
        kubectl.run("apply", "--server-side", "--force-conflicts", manager, "-f", "-", stdin=stdin)

    def objects(self) -> list[dict[str, Any]]:
        """What is applied for it."""
        raise NotImplementedError

    def _run(self, module: str, options: Iterable[str], timeout: float) -> bool:
        """Start ``python -m module`` unless it runs; False when it was left as it was. Raises PartError."""
        if self.ready():
            return False
        self.stop()
        self._directory.mkdir(parents=True, exist_ok=True)
        self._ports.renew([self.name, *self.more_ports])
        listen = f"127.0.0.1:{self._ports[self.name]}"
        command = [sys.executable, "-m", module, "--directory", str(self._directory), "--listen", listen]
        for name in self.more_ports:
            command += [f"--{name}", f"127.0.0.1:{self._ports[name]}"]
        self._processes.start(self.name, [*command, *options], port=self.port)
        if not wait_for(lambda: self.ready() or not self.record(), timeout, every=0.1) or not self.ready():
            tail = self._processes.tail(self.name, 15)
            raise PartError(f"{self.called} isn't ready; the end of {self.log}:\n{tail}")
        return True
