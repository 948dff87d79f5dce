"""A kubelet for runners: it takes the runner's Pods from the real API server and does what their containers say.

The local control plane has no container runtime, so nothing else would run there. What a Pod's spec says is carried out
on this machine: variables and Secrets are read from the API server, claims are folders, Services lead to servers that
the tests have started, and the runner is a process with a real restic. Its exit code and termination message become
the Pod's status, as a kubelet writes it. The Job controller, which judges them, is the real one.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from api_server import ApiServer, RefusedError

Manifest = dict[str, Any]
RUNNER = "homeport.dev/runner"
IMAGE = "registry.example.com/homeport-runner:test"
"""What the operator of the tests starts; no Stage of kwok plays it."""
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][-.\w]*)\)")
_PODS = "/api/v1/pods"


class BackupWorld:
    """Runs runners. ``path`` is for PATH: restic and the clients of servers."""

    def __init__(self, api: ApiServer, folder: Path, path: Path) -> None:
        self.api = api
        self.folder = folder
        self.path = path
        self.servers: dict[tuple[str, str], int] = {}
        """(namespace, Service) -> the port of this machine on which that server listens."""
        self.ran: list[tuple[str, Manifest]] = []
        """The namespace and the job of each; those of other tests' repositories, tried again, are among them."""
        """The jobs that were done, as the runner was given them."""
        self.hold = threading.Event()
        """Runners begin while it is set."""
        self.hold.set()
        self.before: Callable[[Manifest, Manifest], None] = lambda pod, job: None
        """Told of each job before it is begun."""
        self._seen: set[str] = set()
        self._stopped = threading.Event()
        self._processes: set[subprocess.Popen[str]] = set()

    # -- what is there ----------------------------------------------------------------------------------------------

    def volume(self, namespace: str, claim: str) -> Path:
        """What a claim is here."""
        path = self.folder / "volumes" / namespace / claim
        path.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def running(self) -> Iterator[BackupWorld]:
        """Looks for Pods until it is left."""
        with ThreadPoolExecutor(4) as pool:
            watcher = threading.Thread(target=self._look, args=(pool,), daemon=True)
            watcher.start()
            try:
                yield self
            finally:
                self._stopped.set()
                for process in list(self._processes):
                    process.kill()
                watcher.join(30)

    def _look(self, pool: ThreadPoolExecutor) -> None:
        while not self._stopped.wait(0.2):
            if not self.hold.is_set():
                continue
            for pod in self.api.call("GET", _PODS, labelSelector=RUNNER)["items"]:
                uid = pod["metadata"]["uid"]
                ours = any(container["image"] == IMAGE for container in pod["spec"]["containers"])
                if ours and uid not in self._seen and _waits(pod):
                    self._seen.add(uid)
                    pool.submit(self._guarded, pod)

    def _guarded(self, pod: Manifest) -> None:
        try:
            self._run(pod)
        except RefusedError as error:
            if error.code != 404:  # it was deleted meanwhile
                self._status(pod, "Failed", _ended(128, f"the world couldn't run it: {error}"))
        except Exception as error:
            self._status(pod, "Failed", _ended(128, f"the world couldn't run it: {error!r}"))
            raise

    # -- a Pod ------------------------------------------------------------------------------------------------------

    def _run(self, pod: Manifest) -> None:
        folder = self.folder / "pods" / pod["metadata"]["uid"]
        folder.mkdir(parents=True)
        self._status(pod, "Running", {"running": {"startedAt": _now()}})
        volumes = {volume["name"]: self._volume(pod, volume, folder) for volume in pod["spec"]["volumes"]}
        code, said = 0, ""
        containers = [c for c in pod["spec"].get("initContainers") or () if c["image"] == IMAGE]
        for container in [*containers, *pod["spec"]["containers"]]:
            code, said = self._container(pod, container, volumes, folder)
            if code:
                break
        self._status(pod, "Failed" if code else "Succeeded", _ended(code, said))

    def _volume(self, pod: Manifest, volume: Manifest, folder: Path) -> Path:
        namespace = pod["metadata"]["namespace"]
        if claim := volume.get("persistentVolumeClaim"):
            return self.volume(namespace, claim["claimName"])
        path = folder / "volumes" / volume["name"]
        path.mkdir(parents=True)
        if secret := volume.get("secret"):
            data = self._data("secrets", namespace, secret["secretName"])
            for item in secret.get("items") or [{"key": key, "path": key} for key in data]:
                (path / item["path"]).write_bytes(data[item["key"]])
        return path

    def _container(
        self, pod: Manifest, container: Manifest, volumes: Mapping[str, Path], folder: Path
    ) -> tuple[int, str]:
        """Run one to its end: its exit code and termination message."""
        variables = self._variables(pod["metadata"]["namespace"], container)
        mounts = {
            mount["mountPath"]: volumes[mount["name"]] / mount.get("subPath", "")
            for mount in container.get("volumeMounts") or ()
        }
        job = self._here(json.loads(variables["HOMEPORT_JOB"]), pod["metadata"]["namespace"], mounts)
        self.before(pod, job)
        self.ran.append((pod["metadata"]["namespace"], job))
        message = folder / f"{container['name']}.termination"
        message.touch()
        arguments = [str(message) if word == "/dev/termination-log" else _moved(word, mounts)
                     for word in container["args"]]  # fmt: skip
        environment = {**os.environ, **variables, "PATH": f"{self.path}:{os.environ['PATH']}"}
        environment["HOMEPORT_JOB"] = json.dumps(job)
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "homeport.runner", *arguments], stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, text=True, env=environment,
            )  # fmt: skip
            self._processes.add(process)
            code = process.wait()
            self._processes.discard(process)
        said = message.read_bytes()
        assert len(said) <= 4096
        return (code if code >= 0 else 128 - code), said.decode()

    # -- what a kubelet works out -----------------------------------------------------------------------------------

    def _variables(self, namespace: str, container: Manifest) -> dict[str, str]:
        out: dict[str, str] = {}
        for source in container.get("envFrom") or ():
            for field, plural in (("secretRef", "secrets"), ("configMapRef", "configmaps")):
                if field in source:
                    data = self._data(plural, namespace, source[field]["name"])
                    out |= {f"{source.get('prefix', '')}{key}": value.decode() for key, value in data.items()}
        for entry in container.get("env") or ():
            found = (entry.get("valueFrom") or {}).get("secretKeyRef")
            if found:
                out[entry["name"]] = self._data("secrets", namespace, found["name"])[found["key"]].decode()
            else:
                out[entry["name"]] = _expanded(entry.get("value", ""), out)
        return out

    def _data(self, plural: str, namespace: str, name: str) -> dict[str, bytes]:
        found = self.api.call("GET", f"/api/v1/namespaces/{namespace}/{plural}/{name}").get("data") or {}
        return {key: base64.b64decode(text) if plural == "secrets" else text.encode() for key, text in found.items()}

    def _here(self, value: Any, namespace: str, mounts: Mapping[str, Path]) -> Any:
        """A part of the job with paths and hosts as they are on this machine."""
        if isinstance(value, dict):
            out = {key: self._here(entry, namespace, mounts) for key, entry in value.items()}
            service = str(out.get("host", "")).split(".")
            port = self.servers.get((namespace, service[0]))
            return {**out, "host": "127.0.0.1", "port": port} if "port" in out and port else out
        if isinstance(value, list):
            return [self._here(entry, namespace, mounts) for entry in value]
        return _moved(value, mounts) if isinstance(value, str) else value

    def _status(self, pod: Manifest, phase: str, state: Manifest) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
        statuses = [
            {"name": c["name"], "image": c["image"], "imageID": "", "ready": False, "restartCount": 0, "state": state}
            for c in pod["spec"]["containers"]
        ]
        body = {"metadata": {"uid": metadata["uid"]}, "status": {"phase": phase, "containerStatuses": statuses}}
        self.api.call("PATCH", path, body, "application/merge-patch+json")


def _waits(pod: Manifest) -> bool:
    scheduled = bool(pod["spec"].get("nodeName"))
    return scheduled and pod["status"].get("phase") == "Pending" and not pod["metadata"].get("deletionTimestamp")


def _ended(code: int, message: str) -> Manifest:
    terminated = {"exitCode": code, "reason": "Error" if code else "Completed", "message": message}
    return {"terminated": {**terminated, "startedAt": _now(), "finishedAt": _now()}}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _expanded(text: str, known: Mapping[str, str]) -> str:
    """``$(NAME)`` and ``$$`` as Kubernetes has them."""
    return _REFERENCE.sub(lambda found: "$" if found[0] == "$$" else known.get(found[1], found[0]), text)


def _moved(path: str, mounts: Mapping[str, Path]) -> str:
    for mount, here in sorted(mounts.items(), key=lambda pair: -len(pair[0])):
        if path == mount or path.startswith(f"{mount.rstrip('/')}/"):
            return str(here / path[len(mount) :].strip("/")).rstrip("/") if path != mount else str(here).rstrip("/")
    return path
