"""What the benchmarks put on the control plane: N applications of four objects each, and the same objects bare."""

from __future__ import annotations

import asyncio
from typing import Any

from homeport.api import labels
from homeport.api.environment import EnvironmentSpec
from homeport.api.resource import parse
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.client import Client
from homeport.plan import render
from homeport.plan.types import Place, Versions

PROJECT = "bench"
ENVIRONMENT = "main"
NAMESPACE = f"{PROJECT}-{ENVIRONMENT}"
CONNECTIONS = 16

Manifest = dict[str, Any]


def home() -> list[Manifest]:
    """The namespace, Project and Environment that the applications live in. Open isolation: four objects each."""
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PROJECT}},
        {
            "apiVersion": labels.API_VERSION,
            "kind": "Project",
            "metadata": {"name": PROJECT, "namespace": PROJECT},
            "spec": {},
        },
        {
            "apiVersion": labels.API_VERSION,
            "kind": "Environment",
            "metadata": {"name": ENVIRONMENT, "namespace": PROJECT},
            "spec": {"isolation": "Open"},
        },
    ]


def application(number: int, setting: str = "1") -> Manifest:
    """Application ``number``: a ConfigMap, a Deployment, a Service and an Ingress."""
    return {
        "apiVersion": labels.API_VERSION,
        "kind": "Application",
        "metadata": {"name": f"app-{number:04d}", "namespace": PROJECT},
        "spec": {
            "version": "1.0.0",
            "components": [
                {
                    "name": f"web-{number:04d}",
                    "image": "registry.example.com/bench:1.0.0",
                    "ports": [{"name": "http", "port": 8080}],
                    "files": {"/etc/app/settings.toml": f"setting = {setting}\n"},
                    "routes": [{"host": f"app-{number:04d}.example.com", "path": "/", "port": "http"}],
                }
            ],
        },
    }


def objects(number: int) -> list[Manifest]:
    """The four objects that Homeport makes of application ``number``, as a bare writer would send them."""
    body = application(number)
    body["metadata"] = {**body["metadata"], "uid": "bare", "generation": 1, "resourceVersion": "1"}
    place = Place(PROJECT, ENVIRONMENT, NAMESPACE, EnvironmentSpec.model_validate({"isolation": "Open"}))
    return [child.manifest for child in render.render(parse(body), place, Versions(), {})]


async def apply_all(client: Client, manifests: list[Manifest], manager: str) -> None:
    """Server-side apply ``manifests`` with 16 connections, in their order."""
    queue = list(reversed(manifests))

    async def work() -> None:
        while queue:
            manifest = queue.pop()
            metadata = manifest["metadata"]
            gvk = types.gvk_of(manifest)
            await client.apply(gvk, metadata.get("namespace"), metadata["name"], manifest, manager=manager)

    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))


async def wait_available(client: Client, count: int) -> None:
    """Until ``count`` Deployments of the benchmark's namespace are available."""

    def done(manifest: Manifest) -> bool:
        status = manifest.get("status") or {}
        generation = manifest["metadata"].get("generation", 0)
        return status.get("observedGeneration", 0) >= generation and status.get("availableReplicas", 0) >= 1

    await _wait(client, types.DEPLOYMENT, NAMESPACE, count, done)


async def wait_ready(client: Client, count: int) -> None:
    """Until ``count`` Applications are Ready at their current generation."""
    await wait_objects(client, types.APPLICATION, PROJECT, count)


async def wait_objects(client: Client, gvk: types.GVK, namespace: str, count: int) -> None:
    """Until ``count`` resources of a kind of ours are Ready at their current generation."""
    await _wait(client, gvk, namespace, count, is_ready)


def is_ready(manifest: Manifest) -> bool:
    """Whether a resource of ours says Ready for its current generation."""
    status = manifest.get("status") or {}
    if status.get("observedGeneration") != manifest["metadata"].get("generation"):
        return False
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())


async def _wait(client: Client, gvk: types.GVK, namespace: str, count: int, done: Any) -> None:
    ready: set[str] = set()
    while True:
        items, version = await client.list(gvk, namespace)
        ready = {item["metadata"]["name"] for item in items if done(item)}
        if len(ready) >= count:
            return
        async for kind, manifest in client.watch(gvk, namespace, resource_version=version, timeout_seconds=60):
            if kind in ("ADDED", "MODIFIED"):
                name = manifest["metadata"]["name"]
                ready.add(name) if done(manifest) else ready.discard(name)
                if len(ready) >= count:
                    return
