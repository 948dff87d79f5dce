"""An example on a real node: applied as it is written, in one environment, and looked at as its users would."""

from __future__ import annotations

import copy
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from homes import USER, Live, Manifest, eventually, told

from api_server import ApiServer
from localplane.controlplane import ControlPlane
from localplane.kubectl import Kubectl
from localplane.node import Node
from manifests import ROOT, load_all

PATIENCE = 90.0  # seconds for what takes images' starts, probes and back-offs; a machine may be busy
REFUSED = 10.0  # seconds in which a Service may still lead to a Pod that has ended
OURS = ("Environment", "Application")


class System(Live):
    """The example ``name`` with ``environment`` alone: its namespaces, Pods, Services."""

    def __init__(self, plane: ControlPlane, name: str, environment: str) -> None:
        super().__init__(ApiServer(str(plane.kubeconfig)))
        self.node = plane.node
        self.kubeconfig = str(plane.kubeconfig)
        self.kubectl = Kubectl(plane.kubectl, self.kubeconfig)
        self.name = name
        self.environment = environment
        self.space = f"{name}-{environment}"

    # -- what the user writes ---------------------------------------------------------------------------------------

    def manifests(self) -> list[Manifest]:
        """The example's, without the environments that are left out to save the machine's two cores, and without
        backups, whose bucket isn't in reach of the node: ``test_backup_story`` has one that is."""
        found = [copy.deepcopy(manifest) for _, manifest in load_all(ROOT / "examples" / self.name)]
        found = [manifest for manifest in found if manifest["kind"] not in ("Backup", "BackupRepository")]
        kept = [m for m in found if m["kind"] != "Environment" or m["metadata"]["name"] == self.environment]
        for manifest in kept:
            if manifest["kind"] == "Application":
                named = manifest["spec"]["environments"]
                manifest["spec"]["environments"] = [entry for entry in named if entry["name"] == self.environment]
        return kept

    def start(self) -> None:
        for manifest in self.manifests():
            self.apply(manifest)

    def change(self, edit: Callable[[Manifest], None] = lambda spec: None) -> None:
        """Apply the example's Application with an edit of its spec; without one, as it is written."""
        manifest = next(m for m in self.manifests() if m["kind"] == "Application")
        edit(manifest["spec"])
        self.apply(manifest, manager=USER)

    def homeport(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line, as its users run it."""
        command = [sys.executable, "-m", "homeport", *arguments, "-n", self.name, "--kubeconfig", self.kubeconfig]
        return subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=120)

    # -- what the user sees -----------------------------------------------------------------------------------------

    @property
    def application(self) -> Manifest:
        return self.get("Application", self.name, self.name)

    @property
    def status(self) -> Manifest:
        """What the Application's status says of the environment."""
        return dict(self.application["status"]["environments"][0])

    def until(self, status: str, reason: str = "", *says: str, seconds: float = PATIENCE) -> Manifest:
        """The Application once its Ready is so, at its current generation; ``says`` are in the message."""

        def look() -> Manifest:
            body = self.application
            seen = told(body)
            assert body["status"].get("observedGeneration") == body["metadata"]["generation"], f"{seen}, older"
            assert seen[0] == status and (not reason or seen[1] == reason), seen
            assert all(text in seen[2] for text in says), seen
            return body

        return dict(eventually(look, f"{self.name} with Ready={status} {reason} {' '.join(says)}", seconds, 0.2))

    def ready(self, seconds: float = PATIENCE) -> Manifest:
        return self.until("True", seconds=seconds)

    def readiness(self, since: str) -> list[str]:
        """Ready's values since a resourceVersion, each flip once."""
        values = [told(body)[0] for body in self.history("Application", self.name, since, self.name)]
        return [value for index, value in enumerate(values) if index == 0 or values[index - 1] != value]

    def pods(self, component: str) -> list[Manifest]:
        """Its Pods that aren't going away, oldest first."""
        found = self.list("Pod", self.space, f"homeport.dev/component={component}")
        found = [pod for pod in found if not pod["metadata"].get("deletionTimestamp") and not _is_job(pod)]
        return sorted(found, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))

    def call(self, service: str, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """An HTTP request to a Service's cluster IP and its first port: (code, decoded answer)."""
        spec = self.get("Service", self.space, service)["spec"]
        port = int(spec["ports"][0]["port"])
        with closing(_Connection(self.node, spec["clusterIP"], port)) as connection:
            headers = {"Content-Type": "application/json", "Host": service}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            content = answer.read()
        try:
            return answer.status, json.loads(content)
        except ValueError:
            return answer.status, content.decode()

    def exec(self, pod: str, *command: str, container: str = "") -> str:
        """What a command in a Pod prints."""
        options = ["-c", container] if container else []
        return self.kubectl.run("exec", "-n", self.space, pod, *options, "--", *command)

    # -- what goes wrong --------------------------------------------------------------------------------------------

    def kill(self, pod: Manifest, number: int = 9) -> None:
        """End the first process of a Pod's container, from outside."""
        wanted = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
        tasks = self.node.run("/usr/bin/ctr", "-n", "k8s.io", "tasks", "ls").output.splitlines()
        pids = [line.split()[1] for line in tasks if line.startswith(wanted)]
        assert len(pids) == 1, tasks
        self.node.run("/usr/bin/kill", f"-{number}", pids[0])


class _Connection(http.client.HTTPConnection):
    """HTTP over a connection that begins in the node's network."""

    def __init__(self, node: Node, host: str, port: int) -> None:
        super().__init__(host, port, timeout=10)
        self._node = node

    def connect(self) -> None:
        """Tries again what is refused: kube-proxy hears a moment later that a Pod has ended."""
        until = time.monotonic() + REFUSED
        while True:
            try:
                self.sock = self._node.connect(self.host, self.port, 10)
            except ConnectionRefusedError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
            else:
                return


def _is_job(pod: Manifest) -> bool:
    return any(owner["kind"] == "Job" for owner in pod["metadata"].get("ownerReferences") or ())


def component(spec: Manifest, name: str) -> Manifest:
    """A component of an Application's spec."""
    found: Manifest = next(entry for entry in spec["components"] if entry["name"] == name)
    return found
