"""k3s in containers as resources, and what a cluster of it shares; the work is in ``homeport_clusters.k3s_nodes``."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping
from typing import Any, ClassVar

import pulumi
from pulumi.dynamic import CreateResult, ReadResult, Resource, UpdateResult

from homeport.drivers import ssh
from homeport_clusters import k3s_install, k3s_nodes
from homeport_clusters.k3s_checks import Where
from homeport_clusters.k3s_install import Node
from homeport_clusters.k3s_nodes import Access, Files
from homeport_clusters.providers.base import Props, Provider, plain, run

_SECRET = ("token", "registries")


def told_of(node: Node) -> dict[str, Any]:
    """The input ``k3s`` of a node, without what is secret or is known only later."""
    return {
        name: value for name, value in dataclasses.asdict(node).items() if name not in (*_SECRET, "address", "join")
    }


class SharedProvider(Provider):
    """Makes the key that gets into the containers, and the token by which nodes join. They are kept in the state."""

    def create(self, props: Props) -> CreateResult:
        """New ones; nothing else knows of them yet."""
        private = ssh.new_key()
        public = ssh.public_key(private)
        made = {"private_key": private, "public_key": public, "fingerprint": ssh.fingerprint(public),
                "token": secrets.token_hex(32)}  # fmt: skip
        return CreateResult("shared", {**props, **made})

    def read(self, id_: str, props: Props) -> ReadResult:
        """What the state has is all that there is."""
        return ReadResult(id_, props)


class K3sShared(Resource, module="homeport", name="K3sShared"):
    """The key and the token of a cluster."""

    private_key: pulumi.Output[str]
    public_key: pulumi.Output[str]
    fingerprint: pulumi.Output[str]
    token: pulumi.Output[str]

    def __init__(self, name: str, *, cluster: str, opts: pulumi.ResourceOptions | None = None) -> None:
        """``cluster``: its name."""
        hidden = pulumi.ResourceOptions(additional_secret_outputs=["private_key", "token"])
        outs = dict.fromkeys(("private_key", "public_key", "fingerprint", "token"))
        merged = pulumi.ResourceOptions.merge(opts, hidden)
        super().__init__(SharedProvider(), name, {"cluster": cluster, **outs}, merged)


class K3sProvider(Provider):
    """Brings k3s into a container. Another container (its MAC) is another node."""

    replace_on: ClassVar[tuple[str, ...]] = ("mac",)
    silent: ClassVar[tuple[str, ...]] = ("binary", "images", "others")

    def create(self, props: Props) -> CreateResult:
        """Have it run, and be ready."""
        return CreateResult(str(props["k3s"]["name"]), _installed(props, ""))

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        """Bring what has changed; k3s is restarted if something has."""
        return UpdateResult(_installed(_news, str(_olds.get("host_key") or "")))

    def read(self, id_: str, props: Props) -> ReadResult:
        """Whether it runs as it was brought."""
        found = run(k3s_nodes.look(_node(props), _access(props)))
        drift = []
        if "unreachable" in found:
            drift = ["unreachable"]
        elif found.get("digest") != props.get("digest"):
            drift = ["configuration"]
        elif found.get("active") not in ("active", "activating"):
            drift = ["stopped"]
        return ReadResult(id_, {**props, "drift": drift})

    def delete(self, _id: str, _props: Props) -> None:
        """Have the cluster forget it. The container goes by itself, and with the first server the cluster does."""
        if not _props["k3s"]["name"] or not _props.get("join"):
            return
        why = run(k3s_nodes.leave(str(_props["k3s"]["name"]), _server(_props)))
        if why:
            pulumi.log.warn(f"the cluster couldn't be told that {_props['k3s']['name']} goes: {why}")


def _node(props: Props) -> Node:
    told = plain(props["k3s"])
    given = {**told, "address": str(props["address"]), "join": str(props.get("join") or ""),
             "registries": str(props.get("registries") or "")}  # fmt: skip
    return k3s_nodes.node_of(given, str(props["token"]))


def _access(props: Props) -> Access:
    return Access(str(props["address"]), str(props["private_key"]), str(props.get("host_key") or ""))


def _server(props: Props) -> Access:
    return Access(str(props["server_address"]), str(props["private_key"]), str(props["server_host_key"]))


def _installed(props: Props, host_key: str) -> Props:
    node = _node(props)
    access = Access(str(props["address"]), str(props["private_key"]), host_key)
    where = Where(node.name, int(props["vmid"]), str(props["pve_node"]), node.snapshotter)
    files = Files(*(str(props.get(name) or "") for name in ("binary", "binary_sha256", "images", "images_sha256")))
    others = [Access(str(one), access.private) for one in props.get("others") or ()]
    found = run(k3s_nodes.install(node, access, where, files, _server(props) if node.join else None, others))
    kubeconfig = ""
    if found.kubeconfig:
        kubeconfig = k3s_install.kubeconfig(found.kubeconfig, str(props["api"]), str(props["cluster"]))
    inputs = {name: value for name, value in props.items() if name != "drift"}
    return {**inputs, "host_key": found.host_key, "digest": found.digest, "kubeconfig": kubeconfig}


class K3sNode(Resource, module="homeport", name="K3sNode"):
    """A k3s. ``kubeconfig`` is a server's, and secret."""

    kubeconfig: pulumi.Output[str]
    host_key: pulumi.Output[str]
    digest: pulumi.Output[str]

    def __init__(self, name: str, *, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        """``props``: ``k3s`` (``told_of``), ``address``, ``mac``, ``vmid``, ``pve_node``, ``private_key``, ``token``,
        ``cluster``, ``api``, the files; of what joins: ``join``, ``server_address``, ``server_host_key``; and of the
        first server ``others``, the addresses of the other ones."""
        hidden = pulumi.ResourceOptions(additional_secret_outputs=["kubeconfig"])
        outs = dict.fromkeys(("kubeconfig", "host_key", "digest"))
        super().__init__(K3sProvider(), name, {**props, **outs}, pulumi.ResourceOptions.merge(opts, hidden))
