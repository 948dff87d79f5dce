"""Releases of Helm charts, by the program ``helm``.

A release is ours by a label of Helm's own record, which ``helm upgrade --labels`` writes with it.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pulumi
import yaml
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.client import Client
from homeport.drivers.kubernetes.types import Manifest
from homeport_clusters import kubeconfigs, programs
from homeport_clusters.model import Json
from homeport_clusters.providers import base, objects
from homeport_clusters.providers.base import Props, Provider, ProviderError

LABEL = "homeport-clusters-stack"
"""The label of Helm's record of a release: its value is the stack's name."""
RENDER_SECONDS = 120.0
UNINSTALL_SECONDS = 300.0
PENDING_SECONDS = 10.0
"""How long a release may be pending before it counts as left by a killed run: the stack's lock is ours then."""
OBJECTS_SECONDS = 300.0
"""How long the objects of the kinds that are deleted, too, may take to go."""


class ReleaseProvider(Provider):
    """One release of a cluster.

    Inputs: ``kubeconfig`` (secret), ``stack``, ``name``, ``namespace``, ``chart``, ``repository``, ``version``,
    ``values`` (secret), ``timeout`` in seconds, ``dataKinds`` (API groups whose definitions and objects go with
    the release when told twice). ``rendered`` is what a chart on the disk comes to: a change of its README is none.
    """

    replace_on: ClassVar[tuple[str, ...]] = ("name", "namespace")
    silent: ClassVar[tuple[str, ...]] = ("timeout",)

    def check(self, _olds: Props, news: Props) -> CheckResult:
        """Adds ``rendered``."""
        if not base.unknown(news.get("values")) and _on_disk(news["chart"]):
            news = {**news, "rendered": rendered(news, _olds.get("rendered") if _olds else None)}
        return CheckResult(news, [])

    def diff(self, _id: str, _olds: Props, _news: Props) -> DiffResult:
        """Another name, namespace or cluster is another release."""
        found = super().diff(_id, _olds, _news)
        if not found.replaces and objects.elsewhere(_olds, _news):
            found.replaces = ["kubeconfig"]
        return found

    def create(self, props: Props) -> CreateResult:
        """Install it; what is there of that name must be ours."""
        outs = base.run(_installed(props))
        return CreateResult(f"{props['namespace']}/{props['name']}", outs)

    def read(self, id_: str, props: Props) -> ReadResult:
        """Whether it is there, and which of its objects are otherwise."""
        outs = base.run(_read(props))
        return base.gone() if outs is None else ReadResult(id_, outs)

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        """Upgrade it; Helm puts back what is otherwise. New credentials alone are no new revision."""
        if not _olds.get("drift") and not base.differing(_olds, _news, (*self.silent, "kubeconfig", "revision")):
            return UpdateResult({**_news, "drift": None, "revision": _olds.get("revision")})
        return UpdateResult(base.run(_installed(_news)))

    def delete(self, _id: str, _props: Props) -> None:
        """Uninstall it; Homeport's kinds stay with all their objects, unless told twice."""
        base.run(_uninstalled(_props))


class Release(Resource, module="homeport", name="Release"):
    """A release of a chart. ``kubeconfig`` is a secret; the outputs have ``revision``."""

    revision: pulumi.Output[int]

    def __init__(
        self,
        name: str,
        *,
        kubeconfig: pulumi.Input[str],
        stack: str,
        release: str,
        namespace: str,
        chart: str,
        repository: str | None = None,
        version: str | None = None,
        values: pulumi.Input[Json] | None = None,
        timeout: float = 600,
        data_kinds: Sequence[str] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "kubeconfig": pulumi.Output.secret(kubeconfig),
            "stack": stack,
            "name": release,
            "namespace": namespace,
            "chart": chart,
            "repository": repository,
            "version": version,
            # Whoever writes a password into a chart's values finds it in no state.
            "values": pulumi.Output.secret(values or {}),
            "timeout": timeout,
            "dataKinds": list(data_kinds),
            "rendered": None,
            "revision": None,
        }
        super().__init__(ReleaseProvider(), name, props, opts)


def _on_disk(chart: str) -> bool:
    return "://" not in chart and Path(chart).exists()


def rendered(props: Props, before: str | None) -> str:
    """A digest of what a chart on the disk comes to.

    A chart that is otherwise each time (it makes passwords) is taken for what it was, as long as its files are.
    """
    digests = [_digest(props), _sources(props)]
    if before and before != ":".join(digests) and before.split(":")[1] == digests[1] and _digest(props) != digests[0]:
        return before
    return ":".join(digests)


def _digest(props: Props) -> str:
    with _files(props) as (kubeconfig, values):
        del kubeconfig
        text = programs.run(
            "helm", "template", props["name"], *_chart(props), "--namespace", props["namespace"],
            "--values", str(values), "--kube-version", "1.35.0", seconds=RENDER_SECONDS,
        )  # fmt: skip
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _sources(props: Props) -> str:
    chart = Path(props["chart"])
    digest = hashlib.sha256(json.dumps(base.plain(props["values"]), sort_keys=True).encode())
    for path in [chart] if chart.is_file() else sorted(path for path in chart.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(chart)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _chart(props: Props) -> list[str]:
    words = [props["chart"]]
    if props.get("repository"):
        words += ["--repo", props["repository"]]
    if props.get("version") and not _on_disk(props["chart"]):
        words += ["--version", props["version"]]
    return words


@contextmanager
def _files(props: Props) -> Iterator[tuple[Path, Path]]:
    """The kubeconfig and the values as files that nobody else reads, for as long as helm runs."""
    with tempfile.TemporaryDirectory(prefix="homeport-helm-") as name:  # made for its owner alone
        kubeconfig, values = Path(name) / "kubeconfig", Path(name) / "values.yaml"
        kubeconfig.write_text("" if base.unknown(props["kubeconfig"]) else kubeconfigs.fresh(props["kubeconfig"]))
        values.write_text(json.dumps(base.plain(props["values"])))
        yield kubeconfig, values


async def _installed(props: Props) -> Props:
    async with kubeconfigs.connected(props["kubeconfig"]) as client:
        records = await _records(client, props)
        if records and not all(_is_ours(record, props["stack"]) for record in records):
            raise ProviderError(
                f"the release {props['name']} in namespace {props['namespace']} was not made by this: "
                "uninstall it, or give yours another name"
            )
        await _release_pending(client, props)
    with _files(props) as (kubeconfig, values):
        words = ["upgrade", props["name"], *_chart(props), "--install", "--namespace", props["namespace"]]
        words += ["--create-namespace", "--values", str(values), "--kubeconfig", str(kubeconfig), "--wait"]
        words += ["--timeout", f"{int(props['timeout'])}s", "--labels", f"{LABEL}={props['stack']}", "-o", "json"]
        text = programs.run("helm", *words, seconds=float(props["timeout"]) + 60)
    return {**props, "drift": None, "revision": json.loads(text)["version"]}


async def _records(client: Client, props: Props) -> list[Manifest]:
    """Helm's records of the release, oldest first."""
    found, _ = await client.list(types.SECRET, props["namespace"], labels=f"owner=helm,name={props['name']}")
    return sorted(found, key=lambda item: int(item["metadata"]["labels"].get("version", 0)))


def _is_ours(record: Manifest, stack: str) -> bool:
    return bool(record["metadata"]["labels"].get(LABEL) == stack)


async def _release_pending(client: Client, props: Props, clock: Callable[[], float] = time.monotonic) -> None:
    """A release that a killed helm left pending refuses every other one: its record goes, what it made stays.

    What it made names the release as its owner, so that the next install or upgrade takes it.
    """
    import asyncio  # noqa: PLC0415 - where it is needed

    until = clock() + PENDING_SECONDS
    while True:
        records = await _records(client, props)
        if not records or not records[-1]["metadata"]["labels"].get("status", "").startswith("pending-"):
            return
        if clock() > until:
            break
        await asyncio.sleep(0.5)
    if not _is_ours(records[-1], props["stack"]):
        raise ProviderError(
            f"another program installs or upgrades the release {props['name']} in namespace {props['namespace']}: "
            "wait for its end, or roll it back with `helm rollback`"
        )
    metadata = records[-1]["metadata"]
    await client.delete(types.SECRET, props["namespace"], metadata["name"], uid=metadata["uid"])


async def _read(props: Props) -> Props | None:
    async with kubeconfigs.connected(props["kubeconfig"]) as client:
        records = await _records(client, props)
        deployed = [record for record in records if record["metadata"]["labels"].get("status") == "deployed"]
        if not deployed:
            # A failed or pending one is there, and an upgrade mends it.
            return {**props, "drift": ["status"]} if records else None
        revision = int(deployed[-1]["metadata"]["labels"]["version"])
        found = await _drift(client, props, manifests(deployed[-1]))
        if revision != int(props.get("revision") or 0):
            found = ["revision", *found]
        return {**props, "drift": found or None, "revision": revision}


def manifests(record: Manifest) -> list[Manifest]:
    """The objects in Helm's record of a release: JSON, gzipped, and base64 on top of a Secret's own."""
    packed = base64.b64decode(base64.b64decode(record["data"]["release"]))
    text = json.loads(gzip.decompress(packed))["manifest"]
    return [found for found in yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if found]


async def _drift(client: Client, props: Props, wanted: Sequence[Manifest]) -> list[str]:
    """What of the release's objects isn't there, or is otherwise."""
    out = []
    known: dict[str, Any] = {}
    for manifest in wanted:
        key = f"{manifest['apiVersion']}/{manifest['kind']}"
        if key not in known:
            known[key] = await objects.kind_of(client, manifest)
        gvk = known[key]
        name = manifest["metadata"]["name"]
        namespace = (manifest["metadata"].get("namespace") or props["namespace"]) if gvk and gvk.namespaced else None
        live = await client.get(gvk, namespace, name) if gvk else None
        if live is None:
            out.append(f"{manifest['kind']} {name}: it is gone")
            continue
        placed = {**manifest, "metadata": {**manifest["metadata"], **({"namespace": namespace} if namespace else {})}}
        found = await objects.drift(client, gvk, placed, live)
        out += [f"{manifest['kind']} {name}: {path}" for path in found or ()]
    return out


async def _uninstalled(props: Props) -> None:
    async with kubeconfigs.connected(props["kubeconfig"]) as client:
        records = await _records(client, props)
        if records and not all(_is_ours(record, props["stack"]) for record in records):
            return
        told = bool(props["dataKinds"]) and base.may_delete_data(props["stack"])
        definitions = await _definitions(client, props["dataKinds"]) if told else []
        for definition in definitions:
            await _emptied(client, definition)
    if records:
        with _files(props) as (kubeconfig, _):
            words = ["uninstall", props["name"], "--namespace", props["namespace"], "--kubeconfig", str(kubeconfig)]
            words += ["--ignore-not-found", "--wait", "--timeout", f"{int(UNINSTALL_SECONDS)}s"]
            programs.run("helm", *words, seconds=UNINSTALL_SECONDS + 60)
    async with kubeconfigs.connected(props["kubeconfig"]) as client:
        for definition in definitions:
            await client.delete(types.CUSTOM_RESOURCE_DEFINITION, None, definition["metadata"]["name"])
        for definition in definitions:
            name, uid = definition["metadata"]["name"], definition["metadata"]["uid"]
            await objects.wait_gone(client, types.CUSTOM_RESOURCE_DEFINITION, None, name, uid, OBJECTS_SECONDS)


async def _definitions(client: Client, groups: Sequence[str]) -> list[Manifest]:
    found, _ = await client.list(types.CUSTOM_RESOURCE_DEFINITION)
    return [item for item in found if item["spec"]["group"] in groups]


async def _emptied(client: Client, definition: Manifest) -> None:
    """Deletes all objects of a kind while its controller still runs, and waits until their finalizers are through.

    What admission policies refuse (a Project that isn't archived) stays, and the error is theirs.
    """
    spec = definition["spec"]
    version = next(entry["name"] for entry in spec["versions"] if entry.get("served"))
    gvk = types.GVK(
        spec["group"], version, spec["names"]["kind"], spec["names"]["plural"], spec["scope"] == "Namespaced"
    )
    found, _ = await client.list(gvk, metadata_only=True)
    for item in found:
        metadata = item["metadata"]
        try:
            await client.delete(gvk, metadata.get("namespace"), metadata["name"], uid=metadata["uid"])
        except errors.Forbidden as error:
            raise ProviderError(f"{gvk.kind} {metadata['name']} isn't deleted: {error}") from None
    for item in found:
        metadata = item["metadata"]
        await objects.wait_gone(
            client, gvk, metadata.get("namespace"), metadata["name"], metadata["uid"], OBJECTS_SECONDS
        )
