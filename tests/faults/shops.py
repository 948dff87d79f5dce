"""A project full of small applications on a real control plane, and what the API server's audit log says of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from homeport.api import labels
from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.client import Client

Manifest = dict[str, Any]
PER_APPLICATION = ("configmaps", "services", "deployments", "jobs")
IMAGE = "registry.example.com/shop"


class Home:
    """One project with one environment, ``main``; its applications are ``app-0`` and so on."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name
        self.namespace = f"{name}-main"

    async def apply(self, body: Manifest) -> None:
        """As a user would; again while the API server is away."""
        metadata = body["metadata"]
        while True:
            try:
                gvk = types.gvk_of(body)
                await self.client.apply(gvk, metadata.get("namespace"), metadata["name"], body, manager="test")
                return
            except (errors.ServerUnavailable, errors.NotFound):  # a kind that was just installed isn't served yet
                await asyncio.sleep(0.2)

    async def settle_in(self) -> None:
        """Make the namespace, the Project and the Environment."""
        await self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name}})
        await self.apply(self._ours("Project", self.name, {}))
        await self.apply(self._ours("Environment", "main", {"isolation": "Open"}))

    def _ours(self, kind: str, name: str, spec: Manifest) -> Manifest:
        metadata = {"name": name, "namespace": self.name}
        return {"apiVersion": labels.API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}

    def application(self, number: int, setting: str = "1") -> Manifest:
        """A ConfigMap, a Service, a Deployment and the migration before it."""
        web = {
            "name": f"web-{number}",
            "image": IMAGE,
            "ports": [{"name": "http", "port": 8080}],
            "files": {"/etc/shop/settings.toml": f"setting = {setting}\n"},
            "migrate": {"command": ["migrate"]},
        }
        return self._ours("Application", f"app-{number}", {"version": "1.0.0", "components": [web]})

    async def fill(self, count: int, setting: str = "1") -> None:
        """Apply so many applications."""
        await asyncio.gather(*(self.apply(self.application(number, setting)) for number in range(count)))

    async def ready(self) -> int:
        """How many applications are Ready at their newest generation."""
        items, _ = await self.client.list(types.APPLICATION, self.name)
        return sum(map(is_ready, items))

    async def wait_ready(self, count: int, seconds: float = 90.0) -> None:
        """Until so many are."""
        await until(lambda: self._has_ready(count), f"{count} applications ready in {self.name}", seconds)

    async def _has_ready(self, count: int) -> bool:
        return await self.ready() >= count

    async def setting(self, number: int) -> str:
        """What is in an application's ConfigMap now."""
        found = await self.client.get(types.CONFIG_MAP, self.namespace, f"web-{number}-files")
        return "".join((found or {}).get("data", {}).values())


def is_ready(manifest: Manifest) -> bool:
    """Whether a resource says Ready for its newest generation."""
    status = manifest.get("status") or {}
    if status.get("observedGeneration") != manifest["metadata"].get("generation"):
        return False
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in status.get("conditions") or ())


async def until(check: Callable[[], Awaitable[bool]], what: str, seconds: float) -> float:
    """Wait until ``check`` holds; the seconds that it took. An API server that is away counts as not yet."""
    started = time.monotonic()
    while True:
        try:
            if await check():
                return time.monotonic() - started
        except errors.ApiError:
            pass
        assert time.monotonic() - started < seconds, f"after {seconds:g} s still not: {what}"
        await asyncio.sleep(0.1)


class Audit:
    """The audit log from now on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = path.stat().st_size if path.exists() else 0

    def writes(self) -> list[Manifest]:
        """What operators have written, Leases and Events aside."""
        out = []
        with self.path.open("rb") as log:
            log.seek(self.offset)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                entry = json.loads(line)
                if not str(entry.get("userAgent", "")).startswith("homeport-operator"):
                    continue
                if entry["verb"] in ("get", "list", "watch") or entry["objectRef"]["resource"] in ("leases", "events"):
                    continue
                out.append(entry)
        return out

    def summary(self) -> list[str]:
        """The writes in short, for messages."""
        return [f"{e['verb']} {_object(e)} {e['responseStatus']['code']}" for e in self.writes()]

    def made(self) -> Counter[str]:
        """How often each object was created."""
        return Counter(_object(entry) for entry in self.writes() if entry["responseStatus"]["code"] == 201)

    def made_twice(self) -> list[str]:
        """Objects that were created more than once."""
        return [name for name, times in self.made().items() if times > 1]


def _object(entry: Manifest) -> str:
    ref = entry["objectRef"]
    return "/".join(filter(None, (ref["resource"], ref.get("namespace"), ref.get("name"), ref.get("subresource"))))
