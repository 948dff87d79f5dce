"""Kubernetes objects, by server-side apply under a field manager of our own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.client import Client
from homeport.drivers.kubernetes.types import GVK, Manifest
from homeport_clusters import kubeconfigs
from homeport_clusters.providers import base, refusals
from homeport_clusters.providers.base import Props, Provider, ProviderError

Existing = Literal["refuse", "adopt", "share"]
"""What becomes of an object of that name that isn't ours: an error; ours from now on; used, and never deleted."""

KIND_SECONDS = 60.0
"""How long a kind may take to be served after its definition was applied."""
DELETE_SECONDS = 300.0
"""How long an object may take to go: finalizers may have much to do."""
_IGNORED = ("managedFields", "resourceVersion", "generation")
_MOST_PATHS = 20


class ObjectProvider(Provider):
    """One object of a cluster.

    Inputs: ``kubeconfig`` (secret), ``stack``, ``manifest``, ``existing``, ``keep`` (it stays when the stack goes),
    ``deleteData`` (the first of the two that must ask for what is kept to go; the command is the other), ``leftovers``
    (of a namespace: Kind/name of what doesn't keep it from going), ``ready`` (seconds to wait for its condition Ready,
    0 for not).
    """

    silent: ClassVar[tuple[str, ...]] = ("ready",)

    def diff(self, _id: str, _olds: Props, _news: Props) -> DiffResult:
        """Another name, namespace or kind is another object."""
        found = super().diff(_id, _olds, _news)
        if not base.unknown(_news["manifest"]) and identity(_olds["manifest"]) != identity(_news["manifest"]):
            found.replaces = ["manifest"]
        elif elsewhere(_olds, _news):
            found.replaces = ["kubeconfig"]
        return found

    def create(self, props: Props) -> CreateResult:
        """Apply it; what is there must be ours, or be asked for."""
        outs = base.run(_applied(props))
        return CreateResult(identity(props["manifest"]), outs)

    def read(self, id_: str, props: Props) -> ReadResult:
        """Whether it is there, and which of the declared fields are otherwise."""
        outs = base.run(_read(props))
        return base.gone() if outs is None else ReadResult(id_, outs)

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        """Apply it as it is now; what took its place meanwhile is somebody else's."""
        return UpdateResult(base.run(_applied(_news, _olds)))

    def delete(self, _id: str, _props: Props) -> None:
        """Delete it, when it is ours and holds nothing."""
        base.run(_deleted(_props))


class Object(Resource, module="homeport", name="Object"):
    """A Kubernetes object. ``kubeconfig`` is a secret; the outputs have ``uid``."""

    uid: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        kubeconfig: pulumi.Input[str],
        stack: str,
        manifest: pulumi.Input[Manifest],
        existing: Existing = "refuse",
        keep: bool = False,
        delete_data: bool = False,
        leftovers: Sequence[str] = (),
        ready: float = 0,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "kubeconfig": pulumi.Output.secret(kubeconfig),
            "stack": stack,
            "manifest": manifest,
            "existing": existing,
            "keep": keep,
            "deleteData": delete_data,
            "leftovers": list(leftovers),
            "ready": ready,
            "uid": None,
        }
        super().__init__(ObjectProvider(), name, props, opts)


def identity(manifest: Mapping[str, Any]) -> str:
    """apps/Deployment/namespace/name: the version of its API may change."""
    metadata = manifest["metadata"]
    group = str(manifest["apiVersion"]).rpartition("/")[0]
    return "/".join(part for part in (group, manifest["kind"], metadata.get("namespace"), metadata["name"]) if part)


def marked(manifest: Mapping[str, Any], stack: str) -> Manifest:
    """``manifest`` with our mark."""
    metadata = dict(manifest["metadata"])
    metadata["labels"] = {**(metadata.get("labels") or {}), base.MARK: stack}
    return {**manifest, "metadata": metadata}


async def _applied(props: Props, olds: Props | None = None) -> Props:
    manifest = marked(base.plain(props["manifest"]), props["stack"])
    outs = {**props, "drift": None, "shared": False}
    async with kubeconfigs.connected(props["kubeconfig"]) as client:
        gvk = await kind_of(client, manifest, wait=KIND_SECONDS)
        namespace, name = manifest["metadata"].get("namespace"), manifest["metadata"]["name"]
        live = await client.get(gvk, namespace, name)
        if live is not None and not base.is_ours(live, props["stack"]) and not _was_ours(live, olds):
            if props["existing"] == "share":
                return {**outs, "shared": True, "uid": live["metadata"]["uid"]}
            if props["existing"] != "adopt":
                raise ProviderError(_taken(manifest, live))
        found = await client.apply(gvk, namespace, name, manifest, manager=base.MANAGER)
        if props["ready"]:
            await wait_ready(client, gvk, namespace, name, float(props["ready"]))
        return {**outs, "uid": found["metadata"]["uid"]}


def _was_ours(live: Manifest, olds: Props | None) -> bool:
    """Whether it is the very object that we made, and somebody took our mark off it."""
    return olds is not None and not olds.get("shared") and olds.get("uid") == live["metadata"]["uid"]


def _taken(manifest: Manifest, live: Manifest) -> str:
    whose = (live["metadata"].get("labels") or {}).get(base.MARK)
    by = f"belongs to the clusters {whose!r}" if whose else "was not made by this"
    return f"{identity(manifest)} is there and {by}: delete it or give yours another name"


async def _read(props: Props) -> Props | None:
    manifest = marked(base.plain(props["manifest"]), props["stack"])
    async with kubeconfigs.connected(props["kubeconfig"]) as client:
        gvk = await kind_of(client, manifest)
        if gvk is None:
            return None
        live = await client.get(gvk, manifest["metadata"].get("namespace"), manifest["metadata"]["name"])
        if live is None or live["metadata"].get("deletionTimestamp"):
            return None
        if props.get("shared"):
            return props
        return {**props, "drift": await drift(client, gvk, manifest, live), "uid": live["metadata"]["uid"]}


async def drift(client: Client, gvk: GVK, manifest: Manifest, live: Manifest) -> list[str] | None:
    """The paths of ``live`` that applying ``manifest`` would change; None for none.

    The API server says so itself, by a dry run: defaults, quantities and lists are then as it sees them. What it
    refuses to change at all is no drift that an apply could mend.
    """
    try:
        applied = await client.apply(
            gvk, manifest["metadata"].get("namespace"), manifest["metadata"]["name"], manifest,
            manager=base.MANAGER, dry_run=True, metadata_only=False,
        )  # fmt: skip
    except errors.Invalid:
        return None
    return sorted(set(paths(_bare(live), _bare(applied))))[:_MOST_PATHS] or None


def _bare(body: Manifest) -> Manifest:
    metadata = {key: value for key, value in body["metadata"].items() if key not in _IGNORED}
    return {**{key: value for key, value in body.items() if key != "status"}, "metadata": metadata}


def paths(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Where two values differ. Lists are looked into when they are equally long."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted({*one, *other}):
            if one.get(key) != other.get(key):
                yield from paths(one.get(key), other.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from paths(left, right, f"{path}[{index}]")
    elif one != other:
        yield path


async def _deleted(props: Props) -> None:
    if props.get("shared") or (props["keep"] and not _told_twice(props)):
        return
    manifest = props["manifest"]
    namespace, name = manifest["metadata"].get("namespace"), manifest["metadata"]["name"]
    async with kubeconfigs.connected(props["kubeconfig"]) as client:
        gvk = await kind_of(client, manifest)
        live = None if gvk is None else await client.get(gvk, namespace, name)
        if gvk is None or live is None or not base.is_ours(live, props["stack"]):
            return
        if gvk == types.NAMESPACE:
            await refusals.full(client, name, props["stack"], props.get("leftovers") or ())
        elif gvk == types.GIT_SOURCE:
            await refusals.unarchived(client, str(namespace), props["stack"])
        await client.delete(gvk, namespace, name, uid=live["metadata"]["uid"])
        await wait_gone(client, gvk, namespace, name, live["metadata"]["uid"], DELETE_SECONDS)


def _told_twice(props: Props) -> bool:
    return bool(props.get("deleteData")) and base.may_delete_data(props["stack"])


async def kind_of(client: Client, manifest: Mapping[str, Any], wait: float = 0) -> Any:
    """The kind of ``manifest``; None when the cluster doesn't serve it, an error after ``wait`` seconds of waiting."""
    until = time.monotonic() + wait
    while True:
        kinds = await client.kinds(str(manifest["apiVersion"]))
        found = next((gvk for gvk in kinds if gvk.kind == manifest["kind"]), None)
        if found is not None or not wait:
            return found
        if time.monotonic() > until:
            raise ProviderError(
                f"the cluster doesn't know {manifest['kind']} of {manifest['apiVersion']}, {wait:.0f} s on: "
                "its definition isn't installed"
            )
        await asyncio.sleep(0.5)


async def wait_ready(client: Client, gvk: GVK, namespace: str | None, name: str, seconds: float) -> None:
    """Until the object's condition Ready (or Available) is true for what it declares now. Raises ProviderError."""
    until = time.monotonic() + seconds
    said = "it has no condition Ready yet"
    while time.monotonic() < until:
        live = await client.get(gvk, namespace, name)
        if live is not None:
            ready, said = standing(live)
            if ready:
                return
        await asyncio.sleep(0.5)
    raise ProviderError(f"{gvk.kind} {name} isn't ready after {seconds:.0f} s: {said}")


def standing(live: Manifest) -> tuple[bool, str]:
    """Whether an object is ready, and what it says."""
    status = live.get("status") or {}
    generation = live["metadata"].get("generation")
    if status.get("observedGeneration") not in (None, generation):
        return False, "its controller hasn't seen it yet"
    conditions = {entry["type"]: entry for entry in status.get("conditions") or ()}
    entry = conditions.get("Ready") or conditions.get("Available")
    if entry is None:
        return False, "it has no condition Ready yet"
    return entry.get("status") == "True", str(entry.get("message") or entry.get("reason") or "it is not")


async def wait_gone(client: Client, gvk: GVK, namespace: str | None, name: str, uid: str, seconds: float) -> None:
    """Until an object is no more. Raises ProviderError with what holds it."""
    until = time.monotonic() + seconds
    while True:
        live = await client.get(gvk, namespace, name)
        if live is None or live["metadata"]["uid"] != uid:
            return
        if time.monotonic() > until:
            held = ", ".join(live["metadata"].get("finalizers") or ()) or "what is in it"
            raise ProviderError(f"{gvk.kind} {name} is being deleted for {seconds:.0f} s: it is held by {held}")
        await asyncio.sleep(0.5)


def elsewhere(olds: Props, news: Props) -> bool:
    """Whether a changed kubeconfig leads to another cluster. One that doesn't answer is taken for the same."""
    if base.unknown(news["kubeconfig"]) or olds["kubeconfig"] == news["kubeconfig"]:
        return False
    try:
        return base.run(cluster_uid(olds["kubeconfig"])) != base.run(cluster_uid(news["kubeconfig"]))
    except (errors.ApiError, ValueError):
        return False


async def cluster_uid(kubeconfig: str) -> str:
    """What is a cluster's own for its whole life: the UID of its namespace kube-system."""
    async with kubeconfigs.connected(kubeconfig) as client:
        found = await client.get(types.NAMESPACE, None, "kube-system", metadata_only=True)
    return str(found["metadata"]["uid"]) if found else ""
