"""Clusters of the program ``kind``: nodes as containers of this machine's Docker."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import pulumi
import yaml
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.types import GVK, Manifest
from homeport_clusters import kubeconfigs, programs
from homeport_clusters.config import Kind
from homeport_clusters.model import Json
from homeport_clusters.providers import base, objects
from homeport_clusters.providers.base import Props, Provider, ProviderError

COMMAND_SECONDS = 120.0
KINDS_OWN = {"default", "kube-system", "kube-public", "kube-node-lease", "local-path-storage"}
"""The namespaces of a cluster in which nothing is."""
IMAGE_SECONDS = 900.0
"""Seconds that an image may take to be pulled, on top of what the control plane may take."""


class KindProvider(Provider):
    """Inputs: ``name``, ``stack``, ``spec`` (the block as the file has it). Output: ``kubeconfig`` (secret).

    kind can't change a cluster that is there: another spec makes another one, when that is asked for by the cluster's
    name. What it waits for, and its registry, may change.
    """

    replace_on: ClassVar[tuple[str, ...]] = ("name", "config")

    def diff(self, _id: str, _olds: Props, _news: Props) -> DiffResult:
        """Another configuration is another cluster. Raises ProviderError unless ``REPLACE`` names this one."""
        found = super().diff(_id, _olds, _news)
        if found.replaces and not base.may_replace(_olds["name"]):
            raise ProviderError(_replacing(_olds, _news))
        return found

    def create(self, props: Props) -> CreateResult:
        """Creates it; one of that name must be ours, by its nodes' label. What a killed run left of it is made anew."""
        _discard_half(props)
        return CreateResult(props["name"], _created(props))

    def read(self, id_: str, props: Props) -> ReadResult:
        """Whether it is there, and ours."""
        if props["name"] not in clusters() or not is_ours(props):
            return base.gone()
        return ReadResult(id_, {**props, "drift": None, "kubeconfig": kubeconfig(props["name"])})

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        """Sets the registry up. Raises ProviderError when it is another one, and the old container is still there."""
        old, new = (Kind.model_validate(props["spec"]).registry for props in (_olds, _news))
        if old.enabled and old != new and registry_mark(old.name) == _olds["stack"]:
            raise ProviderError(
                f"another name, port or image of the registry is another container, and {old.name} has images that "
                f"were pushed to it: `docker rm --force --volumes {old.name}` removes it with them; run `up` again then"
            )
        return UpdateResult(_created(_news))

    def delete(self, _id: str, _props: Props) -> None:
        """Deletes it, with its registry."""
        spec = Kind.model_validate(_props["spec"])
        if _props["name"] in clusters() and is_ours(_props):
            programs.run("kind", "delete", "cluster", "--name", _props["name"], seconds=COMMAND_SECONDS)
        if spec.registry.enabled and registry_mark(spec.registry.name) == _props["stack"]:
            programs.run("docker", "rm", "--force", "--volumes", spec.registry.name, seconds=COMMAND_SECONDS)


class KindResource(Resource, module="homeport", name="KindCluster"):
    """A cluster of kind; ``kubeconfig`` is its administrator's."""

    kubeconfig: pulumi.Output[str]

    def __init__(
        self, name: str, *, cluster: str, stack: str, spec: Kind, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        props = {
            "name": cluster,
            "stack": stack,
            "spec": spec.model_dump(by_alias=True, exclude_none=True),
            "config": config(spec, stack),
            "kubeconfig": None,
        }
        hidden = pulumi.ResourceOptions(additional_secret_outputs=["kubeconfig"])
        super().__init__(KindProvider(), name, props, pulumi.ResourceOptions.merge(opts, hidden))


def config(spec: Kind, stack: str) -> Json:
    """kind's own configuration: https://kind.sigs.k8s.io/docs/user/configuration/"""
    mounts = [
        {"hostPath": mount.host_path, "containerPath": mount.container_path, "readOnly": mount.read_only}
        for mount in spec.mounts
    ]
    image = {"image": spec.image} if spec.image else {}
    extra = {"extraMounts": mounts} if mounts else {}
    nodes: list[Json] = [
        {"role": role, **image, "labels": {base.MARK: stack}, **extra}
        for role in ["control-plane"] * spec.control_planes + ["worker"] * spec.workers
    ]
    if spec.ingress_ports:
        nodes[0]["labels"] = {**nodes[0]["labels"], "homeport.dev/ingress": "true"}
        nodes[0]["extraPortMappings"] = [
            {"containerPort": 80, "hostPort": spec.ingress_ports.http, "protocol": "TCP"},
            {"containerPort": 443, "hostPort": spec.ingress_ports.https, "protocol": "TCP"},
        ]
    subnets = {"podSubnet": spec.pod_subnet, "serviceSubnet": spec.service_subnet}
    networking: Json = {key: value for key, value in subnets.items() if value}
    if spec.api_server_port:
        networking["apiServerPort"] = spec.api_server_port
    out: Json = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": nodes}
    if networking:
        out["networking"] = networking
    if spec.registry.enabled:
        out["containerdConfigPatches"] = [
            '[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"\n'
        ]
    return out


def _replacing(olds: Props, news: Props) -> str:
    name = olds["name"]
    changed = ", ".join(objects.paths(base.plain(olds["config"]), base.plain(news["config"]))) or "name"
    return (
        f"kind can't change the cluster {name} ({changed}): it would be deleted, with everything in it and all its "
        f"volumes, and made anew; write the file as it was, or say so with --replace {name}"
    )


def clusters() -> list[str]:
    """The clusters that kind knows on this machine."""
    text = programs.run("kind", "get", "clusters", seconds=COMMAND_SECONDS)
    return [line.strip() for line in text.splitlines() if line.strip()]


def kubeconfig(name: str) -> str:
    """The administrator's kubeconfig."""
    return programs.run("kind", "get", "kubeconfig", "--name", name, seconds=COMMAND_SECONDS)


def is_ours(props: Props) -> bool:
    """Whether a cluster's nodes have our mark. One whose API server doesn't answer isn't taken for ours."""
    return {_mark(node) for node in _nodes(props["name"])} == {props["stack"]}


def _nodes(name: str) -> list[Manifest]:
    try:
        return base.run(_listed(kubeconfig(name), types.NODE))
    except (errors.ServerUnavailable, programs.ProgramError):
        raise ProviderError(
            f"the kind cluster {name} doesn't answer: start its containers, or `kind delete cluster --name {name}` it"
        ) from None


async def _listed(text: str, gvk: GVK) -> list[Manifest]:
    async with kubeconfigs.connected(text) as client:
        found, _ = await client.list(gvk)
    return found


def _mark(node: Manifest) -> str:
    return str((node["metadata"].get("labels") or {}).get(base.MARK, ""))


def _discard_half(props: Props) -> None:
    """Deletes a cluster of ours that a killed run left half made, so that it is made anew.

    Nobody's state knows it yet. One in which something is, is somebody's all the same. Raises ProviderError.
    """
    name = props["name"]
    if name not in clusters():
        return
    nodes, wanted = _nodes(name), len(props["config"]["nodes"])
    if {_mark(node) for node in nodes} != {props["stack"]}:
        return  # Somebody else's; or it has no node yet, and nothing tells whose it is.
    ready = sum(objects.standing(node)[0] for node in nodes)
    if ready >= wanted:
        return
    used = {found["metadata"]["name"] for found in base.run(_listed(kubeconfig(name), types.NAMESPACE))} - KINDS_OWN
    if used:
        raise ProviderError(
            f"the kind cluster {name} has {ready} of {wanted} nodes ready, and namespaces that kind doesn't make "
            f"({', '.join(sorted(used)[:3])}): have its nodes ready, or `kind delete cluster --name {name}` it"
        )
    programs.run("kind", "delete", "cluster", "--name", name, seconds=COMMAND_SECONDS)


def _created(props: Props) -> Props:
    spec = Kind.model_validate(base.plain(props["spec"]))
    name = props["name"]
    if name not in clusters():
        with tempfile.TemporaryDirectory(prefix="homeport-kind-") as folder:
            file = Path(folder) / "kind.yaml"
            file.write_text(yaml.safe_dump(base.plain(props["config"]), sort_keys=False))
            words = ["create", "cluster", "--name", name, "--config", str(file), "--wait", f"{spec.wait_seconds}s"]
            # Not the user's own: what `kubectl` points at is theirs.
            words += ["--kubeconfig", str(Path(folder) / "kubeconfig")]
            programs.run("kind", *words, seconds=spec.wait_seconds + IMAGE_SECONDS)
    elif not is_ours(props):
        raise ProviderError(f"there is a kind cluster {name} that this didn't make: delete it, or take another name")
    if spec.registry.enabled:
        _registry(name, spec, props["stack"])
    return {**props, "drift": None, "kubeconfig": kubeconfig(name)}


def registry_mark(name: str) -> str | None:
    """Whose the registry's container is; None when there is none."""
    try:
        text = programs.run("docker", "inspect", name, seconds=COMMAND_SECONDS)
    except programs.ProgramError:
        return None
    found: list[dict[str, Any]] = json.loads(text)
    return str((found[0]["Config"].get("Labels") or {}).get(base.MARK, "")) if found else None


def _registry(name: str, spec: Kind, stack: str) -> None:
    """A registry in the nodes' network, which they reach by the name that this machine has for it.

    As kind's own guide does it: https://kind.sigs.k8s.io/docs/user/local-registry/
    """
    registry, mark = spec.registry, registry_mark(spec.registry.name)
    if mark not in (None, stack):
        raise ProviderError(f"there is a container {registry.name} that this didn't make: name the registry otherwise")
    if mark is None:
        programs.run(
            "docker", "run", "--detach", "--restart=always", "--label", f"{base.MARK}={stack}",
            "--publish", f"127.0.0.1:{registry.port}:5000", "--network", "bridge", "--name", registry.name,
            registry.image, seconds=IMAGE_SECONDS,
        )  # fmt: skip
    inspected = json.loads(programs.run("docker", "inspect", registry.name, seconds=COMMAND_SECONDS))
    if "kind" not in inspected[0]["NetworkSettings"]["Networks"]:
        programs.run("docker", "network", "connect", "kind", registry.name, seconds=COMMAND_SECONDS)
    folder = f"/etc/containerd/certs.d/localhost:{registry.port}"
    for node in programs.run("kind", "get", "nodes", "--name", name, seconds=COMMAND_SECONDS).split():
        programs.run("docker", "exec", node, "mkdir", "-p", folder, seconds=COMMAND_SECONDS)
        programs.run(
            "docker", "exec", "--interactive", node, "cp", "/dev/stdin", f"{folder}/hosts.toml",
            stdin=f'[host."http://{registry.name}:5000"]\n', seconds=COMMAND_SECONDS,
        )  # fmt: skip
