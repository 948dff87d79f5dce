"""What belongs to what: from a Project, an Environment or an Application down to Pods, each with its health."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from homeport.api import labels
from homeport.cli import kinds, output, standing
from homeport.cli.cluster import listed
from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.protocol import Api
from homeport.drivers.kubernetes.types import GVK, Manifest
from homeport.engine.catalogitems import names_item
from homeport.plan import health, names
from homeport.plan.types import ObjectId

_CONTROLLED = (types.REPLICA_SET, types.JOB, types.POD)
"""Kinds that controllers make of what we made."""


@dataclass
class Branch:
    """One node of the tree."""

    kind: str
    name: str
    namespace: str = ""
    health: str = ""
    message: str = ""
    note: str = ""
    """Facts for people beside the name: a version, an address, ready of wanted replicas."""
    children: list[Branch] = field(default_factory=list)
    place: str = ""
    """The namespace of what is below, where that isn't its own."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "health": self.health,
            "message": self.message,
            "note": self.note,
            "children": [child.as_json() for child in self.children],
        }


class Forest:
    """What is in the cluster, asked for by kind and namespace once, however many branches want it."""

    def __init__(self, client: Api, now: datetime | None = None) -> None:
        self.client = client
        self.now = now or datetime.now(UTC)
        self._lists: dict[tuple[GVK, str, str], asyncio.Task[list[Manifest] | errors.ApiError]] = {}

    async def _list(self, gvk: GVK, namespace: str, selector: str) -> list[Manifest] | errors.ApiError:
        try:
            items, _ = await self.client.list(gvk, namespace or None, labels=selector)
        except errors.ServerUnavailable:
            raise
        except errors.ApiError as error:
            return error
        return items

    async def objects(self, gvk: GVK, namespace: str, selector: str) -> list[Manifest] | errors.ApiError:
        """All objects of a kind with certain labels; or why they can't be seen."""
        key = (gvk, namespace, selector)
        if key not in self._lists:
            self._lists[key] = asyncio.create_task(self._list(gvk, namespace, selector))
        return await self._lists[key]

    # -- resources of ours ----------------------------------------------------------------------------------------

    async def project(self, body: Manifest) -> Branch:
        """A Project: its environments, its applications, and what it made itself."""
        namespace = body["metadata"]["namespace"]
        out = branch_of(body)
        wanted = ("gitsource", "environment", "catalogitem", "application", "backuprepository", "backup")
        listings = await asyncio.gather(*(listed(self.client, kinds.find(kind), namespace) for kind in wanted))
        sources, environments, items, applications, repositories, backups = (found for found, _ in listings)
        remote = _remote(environments)
        out.children += [
            branch_of(item, str((item.get("status") or {}).get("lastAppliedRevision") or "")) for item in sources
        ]
        out.children += await asyncio.gather(*(self.environment(item) for item in environments))
        out.children += [_item(item) for item in items]
        out.children += await asyncio.gather(*(self.application(item, remote) for item in applications))
        out.children += [
            branch_of(item, str((item.get("status") or {}).get("location") or "")) for item in repositories
        ]
        out.children += [_backup(item) for item in backups]
        out.children += await self._inventory(body, {})
        return out

    async def environment(self, body: Manifest) -> Branch:
        """An Environment and what it made."""
        out = branch_of(body, str((body.get("status") or {}).get("namespace") or ""))
        out.children = await self._inventory(body, _remote([body]))
        out.place = str((body.get("status") or {}).get("namespace") or "")
        return out

    async def item(self, body: Manifest) -> Branch:
        """A CatalogItem, and the Applications beside it that name it."""
        out = _item(body)
        applications, _ = await listed(self.client, kinds.find("application"), body["metadata"]["namespace"])
        for app in applications:
            if names_item(app, body["metadata"]["name"]):
                out.children.append(branch_of(app, str((app.get("spec") or {}).get("version") or "")))
        return out

    async def application(self, body: Manifest, remote: Mapping[str, str] | None = None) -> Branch:
        """An Application: by environment and component what was made, down to Pods."""
        metadata, status = body["metadata"], body.get("status") or {}
        if remote is None:
            items, _ = await listed(self.client, kinds.find("environment"), metadata["namespace"])
            remote = _remote(items)
        out = branch_of(body, str((body.get("spec") or {}).get("version") or ""))
        states = {entry["name"]: entry for entry in status.get("environments") or ()}
        found: dict[tuple[str, str], list[Branch]] = {}
        for branch, environment, component in await self._entries(body, remote):
            found.setdefault((environment, component), []).append(branch)
        for name in dict.fromkeys([*states, *(environment for environment, _ in found)]):
            parts = {component: made for (environment, component), made in found.items() if environment == name}
            out.children.append(_place(name, states.get(name) or {}, parts))
        return out

    async def backup(self, body: Manifest) -> Branch:
        """A Backup: its repository, its runs and its restores, the newest first."""
        metadata = body["metadata"]
        out = _backup(body)
        for kind in ("backuprun", "restore"):
            items, _ = await listed(self.client, kinds.find(kind), metadata["namespace"])
            mine = [item for item in items if _backup_of(item) == metadata["name"]]
            mine.sort(key=lambda item: str(item["metadata"].get("creationTimestamp")), reverse=True)
            out.children += await asyncio.gather(*(self.run(item) for item in mine))
        return out

    async def run(self, body: Manifest) -> Branch:
        """A BackupRun, a Restore or a BackupRepository: what is made for it while it is at work."""
        status = body.get("status") or {}
        out = branch_of(body, str(status.get("phase") or status.get("location") or ""))
        out.children = await self._inventory(body, {})
        return out

    def alone(self, body: Manifest) -> Branch:
        """An ImageUpdate or a Notification: nothing is made for it in the cluster."""
        return branch_of(body, str(((body.get("spec") or {}).get("sourceRef") or {}).get("name") or ""))

    async def made(self, body: Manifest) -> Branch:
        """A BackupRepository, a Backup, a run or a restore: the objects that were made for it."""
        status = body.get("status") or {}
        out = branch_of(body, str(status.get("phase") or status.get("location") or status.get("method") or ""))
        environments, _ = await listed(self.client, kinds.find("environment"), body["metadata"]["namespace"])
        out.children = await self._inventory(body, _remote(environments))
        return out

    def container(self, body: Manifest) -> Branch:
        """An LXCContainer: its volumes."""
        status = body.get("status") or {}
        out = branch_of(body, _whereabouts(body))
        out.children = [
            Branch("Volume", mount["name"], "", "Suspended" if mount.get("retained") else "Healthy", "", mount["id"])
            for mount in status.get("mounts") or ()
        ]
        return out

    def host(self, body: Manifest) -> Branch:
        """A ProxmoxHost: its nodes, and the storages that each has."""
        status = body.get("status") or {}
        out = branch_of(body, " ".join(filter(None, (status.get("clusterName"), status.get("version")))))
        for node in status.get("nodes") or ():
            online = node.get("status") == "online"
            facts = f"{node['cpus']} CPUs, {node['memory']}" if node.get("cpus") and node.get("memory") else ""
            branch = Branch("Node", node["name"], "", "Healthy" if online else "Degraded", "", facts)
            branch.message = "" if online else "offline"
            branch.children = [
                Branch("Storage", storage["name"], "", "Healthy", "", ", ".join(storage.get("content") or ()))
                for storage in status.get("storages") or ()
                if node["name"] in (storage.get("nodes") or ())
            ]
            out.children.append(branch)
        return out

    async def _inventory(self, body: Manifest, remote: Mapping[str, str]) -> list[Branch]:
        return [branch for branch, _, _ in await self._entries(body, remote)]

    async def _entries(self, body: Manifest, remote: Mapping[str, str]) -> list[tuple[Branch, str, str]]:
        """(branch, environment, component) for each object in the inventory."""
        inventory = ((body.get("status") or {}).get("inventory") or {}).get("entries") or ()
        metadata = body["metadata"]
        selector = f"{labels.OWNER_KIND}={body['kind']},{labels.OWNER_NAME}={names.label_value(metadata['name'])}"
        return list(await asyncio.gather(*(self._entry(entry, body, selector, remote) for entry in inventory)))

    async def _entry(
        self, entry: Mapping[str, str], body: Manifest, selector: str, remote: Mapping[str, str]
    ) -> tuple[Branch, str, str]:
        made = ObjectId.parse(entry["id"])
        environment = entry.get("environment") or ""
        out = Branch(made.kind, made.name, made.namespace)
        if environment in remote:
            out.health, out.message = "Unknown", remote[environment]
            return out, environment, ""
        try:
            gvk = types.by_kind(f"{made.group}/{entry['v']}" if made.group else entry["v"], made.kind)
        except KeyError:
            out.health, out.message = "Unknown", "a kind that this version doesn't know"
            return out, environment, ""
        found = await self.objects(gvk, made.namespace, selector)
        if isinstance(found, errors.ApiError):
            out.health, out.message = "Unknown", f"can't be seen: {found}"
            return out, environment, ""
        live = next((item for item in found if item["metadata"]["name"] == made.name), None)
        if live is None:
            # A Job that has done its work is removed before the inventory says so.
            out.health, out.message = ("Unknown" if made.kind == "Job" else "Degraded"), "isn't there"
            return out, environment, ""
        given = live["metadata"].get("labels") or {}
        application = given.get(labels.APPLICATION)
        if application:
            out = await self.object(live, f"{labels.APPLICATION}={application}")
        else:
            out = _live(live, self.now)
        return out, environment, given.get(labels.COMPONENT, "")

    # -- what controllers make --------------------------------------------------------------------------------------

    async def object(self, live: Manifest, selector: str) -> Branch:
        """An object with the ReplicaSets, Jobs and Pods that it owns."""
        out = _live(live, self.now)
        if live["kind"] in ("Deployment", "StatefulSet", "ReplicaSet", "Job", "CronJob", "DaemonSet"):
            owned = await self._owned(live, selector)
            out.children = list(await asyncio.gather(*(self.object(child, selector) for child in owned)))
        return out

    async def _owned(self, live: Manifest, selector: str) -> list[Manifest]:
        namespace, uid = live["metadata"]["namespace"], live["metadata"].get("uid")
        lists = await asyncio.gather(*(self.objects(gvk, namespace, selector) for gvk in _CONTROLLED))
        return [
            item
            for items in lists
            if not isinstance(items, errors.ApiError)
            for item in items
            if any(owner.get("uid") == uid for owner in item["metadata"].get("ownerReferences") or ())
            and not _retired(item)
        ]


def _retired(item: Manifest) -> bool:
    """A ReplicaSet of an old revision, scaled to nothing."""
    return (
        item["kind"] == "ReplicaSet"
        and not (item.get("spec") or {}).get("replicas")
        and not (item.get("status") or {}).get("replicas")
    )


def _remote(environments: Iterable[Manifest]) -> dict[str, str]:
    """Environments whose objects aren't in this cluster, and what to say of them."""
    out = {}
    for body in environments:
        spec = body.get("spec") or {}
        if (spec.get("kubernetes") or {}).get("kubeconfigSecretRef"):
            out[body["metadata"]["name"]] = "in another cluster"
    return out


def _item(body: Manifest) -> Branch:
    return branch_of(body, ", ".join((body.get("status") or {}).get("versions") or ()))


def _backup(body: Manifest) -> Branch:
    last = ((body.get("status") or {}).get("lastSuccess") or {}).get("time")
    return branch_of(body, f"last {output.age(last)} ago" if last else "")


def _backup_of(body: Manifest) -> str:
    return str((body["spec"].get("backupRef") or {}).get("name") or "")


def branch_of(body: Manifest, note: str = "") -> Branch:
    """A resource of ours by itself."""
    row = standing.of(body)
    message = "" if row.is_ready and row.health in ("Healthy", "") else row.message
    return Branch(row.kind, row.name, row.namespace, row.health, message, " ".join(filter(None, (note, row.url))))


def _place(name: str, state: Mapping[str, Any], parts: Mapping[str, Sequence[Branch]]) -> Branch:
    """An Application's part in one environment."""
    where = next((branch.namespace for made in parts.values() for branch in made if branch.namespace), "")
    note = " ".join(filter(None, (where, state.get("version"), state.get("url"))))
    out = Branch("Environment", name, "", str(state.get("health") or ""), str(state.get("message") or ""), note)
    out.place = where
    states = {entry["name"]: entry for entry in state.get("components") or ()}
    for component in dict.fromkeys([*states, *filter(None, parts)]):
        entry = states.get(component) or {}
        replicas = f"{entry.get('ready', 0)}/{entry.get('desired', 0)}" if entry else ""
        made = list(parts.get(component, ()))
        well, why = str(entry.get("health") or ""), str(entry.get("message") or "")
        out.children.append(Branch("Component", component, "", well, why, replicas, made, where))
    out.children += parts.get("", ())
    return out


def _live(live: Manifest, now: datetime) -> Branch:
    """An object by itself, judged by its own status."""
    metadata = live["metadata"]
    out = Branch(live["kind"], metadata["name"], metadata.get("namespace") or "")
    if live["kind"] == "Pod":
        out.health, out.message, out.note = pod(live, now)
        return out
    if live["kind"] == "ReplicaSet":
        wanted = int((live.get("spec") or {}).get("replicas", 1))
        ready = int((live.get("status") or {}).get("readyReplicas", 0))
        out.health, out.note = "Healthy" if ready >= wanted else "Progressing", f"{ready}/{wanted}"
        return out
    verdict = health.verdict(live)
    out.health, out.message = str(verdict.health), verdict.message
    if live["kind"] == "LXCContainer":
        out.note = _whereabouts(live)
    elif verdict.desired:
        out.note = f"{verdict.ready}/{verdict.desired}"
    return out


def _whereabouts(container: Manifest) -> str:
    """An LXCContainer's VMID, node and address, and whether it is stopped."""
    status = container.get("status") or {}
    stopped = "stopped" if (container.get("spec") or {}).get("state") == "Stopped" else ""
    return " ".join(filter(None, (str(status.get("vmid") or ""), status.get("node"), status.get("address"), stopped)))


def pod(live: Manifest, now: datetime) -> tuple[str, str, str]:
    """A Pod's health, why it isn't well in its own words, and how often it was restarted."""
    status = live.get("status") or {}
    phase = str(status.get("phase") or "Pending")
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    restarts = sum(int(entry.get("restartCount", 0)) for entry in containers)
    note = f"{restarts} restarts" if restarts else ""
    if live["metadata"].get("deletionTimestamp"):
        return "Progressing", "being deleted", note
    if phase == "Succeeded":
        return "Healthy", "", note
    if phase == "Failed":
        return "Degraded", _words(status) or _ended(containers) or "failed", note
    ready = health.condition(live, "Ready")
    if ready is not None and ready.get("status") == "True":
        return "Healthy", "", note
    trouble = health.pod_trouble([live], now)
    if trouble:
        return "Degraded", trouble, note
    waiting = next((w for entry in containers if (w := (entry.get("state") or {}).get("waiting"))), None)
    message = _words(waiting or {}) or (str((ready or {}).get("message") or "") if phase == "Running" else phase)
    return "Progressing", message, note


def _words(entry: Mapping[str, Any]) -> str:
    return ": ".join(" ".join(str(entry[key]).split()) for key in ("reason", "message") if entry.get(key))


def _ended(containers: Sequence[Mapping[str, Any]]) -> str:
    """Why a container ended badly."""
    for entry in containers:
        ended = (entry.get("state") or {}).get("terminated")
        if ended and ended.get("exitCode"):
            return f"{entry.get('name')}: {_words(ended) or 'ended'} (exit code {ended['exitCode']})"
    return ""
