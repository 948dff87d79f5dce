"""300 directories of 4 objects in one repository: as one GitSource of Applications, and as one for each directory.

The first becomes 300 Applications, of which Homeport makes four objects each; the second applies the same four objects
as they are. Both are measured against the bare writer of the same run. What Flux takes isn't measured here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import scenario
import yaml

from git_server import GitServer, Repository
from homeport.api import labels
from homeport.drivers.kubernetes import config, types
from homeport.drivers.kubernetes.client import Client
from localplane.controlplane import ControlPlane
from operators import Operator, Writes

Add = Callable[..., None]
STEADY_SECONDS = 60
ACCOUNT = "deployer"


def plain(number: int) -> list[dict[str, Any]]:
    """The four objects of a directory, without what says that Homeport made them."""
    found = []
    for manifest in scenario.objects(number):
        metadata = manifest["metadata"]
        ours = {
            name: text for name, text in (metadata.get("labels") or {}).items() if not name.startswith(labels.GROUP)
        }
        about = {"name": metadata["name"], "namespace": metadata["namespace"], "labels": ours}
        found.append({**manifest, "metadata": about})
    return found


def directories(shape: str, count: int, setting: str = "1") -> dict[str, str]:
    """The repository's files."""
    if shape == "one":
        return {f"apps/{n:04d}/app.yaml": yaml.safe_dump(scenario.application(n, setting)) for n in range(count)}
    return {f"apps/{n:04d}/all.yaml": yaml.safe_dump_all(plain(n)) for n in range(count)}


def source(name: str, url: str, path: str, **more: Any) -> dict[str, Any]:
    """A GitSource."""
    spec = {"url": url, "ref": {"branch": "main"}, "path": path, "interval": "1m", **more}
    metadata = {"name": name, "namespace": scenario.PROJECT}
    return {"apiVersion": labels.API_VERSION, "kind": "GitSource", "metadata": metadata, "spec": spec}


def sources(shape: str, url: str, count: int) -> list[dict[str, Any]]:
    """All GitSources of a shape."""
    if shape == "one":
        return [source("fleet", url, "apps")]
    return [source(f"s-{n:04d}", url, f"apps/{n:04d}", serviceAccountName=ACCOUNT) for n in range(count)]


def account() -> list[dict[str, Any]]:
    """Who may write the plain objects."""
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": scenario.PROJECT}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": scenario.PROJECT}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": ACCOUNT, "namespace": scenario.NAMESPACE},
            "subjects": [subject],
            "roleRef": role,
        },
    ]


async def measure(
    folder: Path, prepared: Callable[[Path], ControlPlane], shape: str, count: int, bare: float, add: Add
) -> None:
    """One shape, on a control plane of its own: until all is Ready, at rest, and one directory's change."""
    plane = prepared(folder)
    (folder / "served").mkdir()
    server = GitServer(folder / "served")
    repository = Repository(server.root, "fleet")
    repository.commit(directories(shape, count))
    client = Client(config.load(plane.kubeconfig), connections=scenario.CONNECTIONS, user_agent="bench")
    operator = Operator(plane.kubeconfig, folder / "operator.log", "--data-dir", str(folder / "data"))
    writes = Writes(plane.audit_log)
    try:
        operator.start()
        await operator.wait_leading()
        await scenario.apply_all(client, scenario.home(), "bench")
        await _environment(client)
        if shape == "each":
            await scenario.apply_all(client, account(), "bench")
        await asyncio.sleep(3)
        wanted = sources(shape, server.url("fleet"), count)
        started = time.perf_counter()
        await scenario.apply_all(client, wanted, "bench")
        await asyncio.gather(
            scenario.wait_available(client, count),
            scenario.wait_objects(client, types.GIT_SOURCE, scenario.PROJECT, len(wanted)),
            *([scenario.wait_ready(client, count)] if shape == "one" else []),
        )
        seconds = time.perf_counter() - started
        add(f"fleet-{shape}", seconds, "s", f"{len(wanted)} GitSources, {count} directories of 4 objects")
        add(f"fleet-{shape}-to-bare-writer", seconds / bare, "x", "bare writer; target: at most 2.0")
        add(f"fleet-{shape}-peak-memory", operator.peak_memory(), "MiB", "target: less than 233, Flux's two")
        await _at_rest(shape, operator, writes, server, add)
        await _one_change(shape, client, operator, repository, writes, count, add)
    finally:
        operator.kill()
        await client.close()
        plane.stop()
        server.close()


async def _environment(client: Client) -> None:
    while True:
        found = await client.get(types.ENVIRONMENT, scenario.PROJECT, scenario.ENVIRONMENT)
        if found is not None and scenario.is_ready(found):
            return
        await asyncio.sleep(0.1)


async def _at_rest(shape: str, operator: Operator, writes: Writes, server: GitServer, add: Add) -> None:
    await asyncio.sleep(15)
    writes.mark()
    polls, requests = _requests(await operator.scrape()), server.requests
    await asyncio.sleep(STEADY_SECONDS)
    made = sum(writes.count().values())
    add(f"fleet-{shape}-steady-writes", made, f"writes/{STEADY_SECONDS} s", "target: 0")
    asked = _requests(await operator.scrape()) - polls
    against = f"target: fewer than 5; {server.requests - requests} HTTP requests"
    add(f"fleet-{shape}-steady-git", asked, f"looks/{STEADY_SECONDS} s", against)


def _requests(samples: Mapping[str, float]) -> float:
    return sum(n for name, n in samples.items() if name.startswith("homeport_git_request_seconds_count"))


def git_seconds(samples: Mapping[str, float]) -> float:
    """Seconds that requests to the Git server have taken in all, of the operator's metrics."""
    return sum(n for name, n in samples.items() if name.startswith("homeport_git_request_seconds_sum"))


def named(counts: Mapping[str, int]) -> str:
    """What was written, as a figure says it: ``4 gitsources/status, 1 configmaps``."""
    return ", ".join(f"{n} {what}" for what, n in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


async def _one_change(
    shape: str, client: Client, operator: Operator, repository: Repository, writes: Writes, count: int, add: Add
) -> None:
    """A commit that touches one directory; ``homeport sync`` says so, as a webhook would."""
    number, (name, namespace) = count // 2, (f"web-{count // 2:04d}-files", scenario.NAMESPACE)
    path, text = next((p, t) for p, t in directories(shape, count).items() if f"/{number:04d}/" in p)
    repository.commit({path: text.replace("setting = 1", "setting = 2")})
    writes.mark()
    _, version = await client.list(types.CONFIG_MAP, namespace, metadata_only=True)
    stream = client.watch(types.CONFIG_MAP, namespace, resource_version=version, timeout_seconds=60)
    fetching = git_seconds(await operator.scrape())
    started = time.perf_counter()
    body = source("fleet" if shape == "one" else f"s-{number:04d}", "", "")
    about = {"apiVersion": body["apiVersion"], "kind": body["kind"]}
    note = {**body["metadata"], "annotations": {labels.RECONCILE_AT: str(time.time())}}
    await client.apply(
        types.GIT_SOURCE, scenario.PROJECT, body["metadata"]["name"], {**about, "metadata": note}, manager="sync"
    )
    async for kind, manifest in stream:
        if kind == "MODIFIED" and manifest["metadata"]["name"] == name:
            break
    seconds = time.perf_counter() - started
    fetching = git_seconds(await operator.scrape()) - fetching
    add(f"fleet-{shape}-one-change", 1000 * seconds, "ms", "from sync to the object, fetch included")
    against = f"without the {1000 * fetching:.0f} ms that requests to Git took"
    add(f"fleet-{shape}-one-change-without-git", 1000 * (seconds - fetching), "ms", against)
    await stream.aclose()
    await asyncio.sleep(5)
    made = writes.count()
    add(f"fleet-{shape}-one-change-writes", sum(made.values()), "writes", named(made))
