"""A cluster of k3s on LXC containers of Proxmox VE, as a component."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pulumi

from homeport_clusters import k3s_install, k3s_nodes
from homeport_clusters.addons import Addons, wanted
from homeport_clusters.components import ClusterComponent
from homeport_clusters.k3s_config import Artifact, K3s, Machines, machines
from homeport_clusters.k3s_install import Node
from homeport_clusters.lxc_containers import Ask
from homeport_clusters.providers import k3s as nodes
from homeport_clusters.providers import lxc
from homeport_clusters.providers.base import ProviderError


class K3sCluster(ClusterComponent):
    """Containers, and k3s in them.

    Servers come up one after the other, so that an update never has two of them down; agents come last, side by side.
    """

    def make(self) -> pulumi.Input[str]:
        """Declares all of it. Raises ProviderError for a secret or file that isn't there."""
        assert self.cluster.k3s is not None
        self.name, self.file, self.spec = self.cluster.name, self.context.stack, self.cluster.k3s
        spec, folder = self.spec, self.context.folder
        self.disabled = tuple(sorted({*spec.disable, *_replaced(self.cluster.addons)}))
        try:
            self.host = spec.proxmox.host(folder)
            self.token_secret = pulumi.Output.secret(spec.proxmox.token_secret.read(folder))
            self.registries = _text(folder, spec.registries)
            self.files = _files(spec, folder)
        except ValueError as error:
            raise ProviderError(f"{self.name}: {error}") from None
        self.shared = nodes.K3sShared(f"{self.name}/shared", cluster=self.name, opts=self._below())
        self.preflight = lxc.Preflight(
            f"{self.name}/preflight", host=self.host, token_secret=self.token_secret,
            containers=[lxc.told_of(self._ask(*one)) for one in machines(spec, self.name)], opts=self._below(),
        )  # fmt: skip
        self._first: tuple[lxc.LxcContainer, nodes.K3sNode] | None = None
        before: nodes.K3sNode | None = None
        made = [(machine, role, self._container(machine, role, group, number))
                for machine, role, group, number in machines(spec, self.name)]  # fmt: skip
        # The first server is told of the others: when its container is lost, a new one joins them.
        self.others = [container.address for _, role, container in made if role == "server"][1:]
        for machine, role, container in made:
            node = self._node(machine, role, container, before)
            self._first = self._first or (container, node)
            before = node if role == "server" else before
        assert self._first is not None
        return self._first[1].kubeconfig

    def _below(self, *depends: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=list(depends))

    def _ask(self, machine: str, _role: str, group: Machines, number: int) -> Ask:
        """What a container should be; of the key nothing is known yet."""
        spec, network = self.spec, self.spec.network
        subnet = network.subnet
        address = f"{group.addresses[number]}/{subnet.prefixlen}" if subnet is not None else "dhcp"
        return Ask(
            installation=f"clusters.{self.file}", cluster=self.name, name=machine, key="", public_key="",
            template=spec.template, storage=spec.storage, disk=group.disk, memory=group.memory, cores=group.cores,
            bridge=network.bridge, address=address, vlan=network.vlan, mtu=network.mtu, gateway=network.gateway,
            nameservers=network.nameservers, node=group.nodes[number % len(group.nodes)] if group.nodes else None,
            pool=spec.pool, vmids=(spec.vmids.min, spec.vmids.max), unprivileged=spec.unprivileged,
        )  # fmt: skip

    def _container(self, machine: str, role: str, group: Machines, number: int) -> lxc.LxcContainer:
        told = lxc.told_of(self._ask(machine, role, group, number))
        told.update(key=self.shared.fingerprint, public_key=self.shared.public_key)
        below = self._below(self.preflight)
        return lxc.LxcContainer(machine, host=self.host, token_secret=self.token_secret, container=told, opts=below)

    def _node(
        self, machine: str, role: str, container: lxc.LxcContainer, before: nodes.K3sNode | None
    ) -> nodes.K3sNode:
        spec = self.spec
        first = self._first is None
        args = spec.server_args if role == "server" else spec.agent_args
        node = Node(machine, role, "", cluster_init=first and spec.servers.count > 1, unprivileged=spec.unprivileged,
                    snapshotter=spec.snapshotter, args=args)  # fmt: skip
        if role == "server":
            names = (*((spec.api_address,) if spec.api_address else ()), *spec.tls_sans)
            node = replace(node, sans=names, disable=self.disabled)
        props: dict[str, Any] = {
            "k3s": nodes.told_of(node), "address": container.address, "mac": container.mac, "vmid": container.vmid,
            "pve_node": container.node, "private_key": self.shared.private_key, "token": self.shared.token,
            "cluster": self.name, "api": self._api(container), "registries": self.registries, **self.files,
        }  # fmt: skip
        if self._first is not None:
            server, its = self._first
            props.update(join=server.address.apply(_url), server_address=server.address, server_host_key=its.host_key)
        else:
            props["others"] = self.others
        return nodes.K3sNode(f"{machine}-k3s", props=props, opts=self._below(*([before] if before else [])))

    def _api(self, container: lxc.LxcContainer) -> pulumi.Input[str]:
        if self.spec.api_address is not None:
            return _url(self.spec.api_address)
        return container.address.apply(_url)


def _replaced(given: Addons) -> Iterator[str]:
    """What k3s brings, and an add-on that was asked for brings instead."""
    for name, asked, part in (
        ("ingress", given.ingress.enabled, "traefik"),
        ("metricsServer", given.metrics_server.enabled, "metrics-server"),
    ):
        if wanted("k3s", name, asked):
            yield part


def _url(address: str) -> str:
    return k3s_install.server_url(k3s_nodes.literal(address))


def _text(folder: Path, name: str | None) -> pulumi.Input[str]:
    """A registries.yaml may have passwords."""
    if name is None:
        return ""
    path = folder / Path(name).expanduser()
    try:
        return pulumi.Output.secret(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"registries: {path} can't be read: {error.strerror}") from None


def _files(spec: K3s, folder: Path) -> Mapping[str, str]:
    """Sources and digests; what is a path is one from anywhere."""
    out: dict[str, str] = {}
    for key, artifact in (("binary", spec.release.binary), ("images", spec.release.images)):
        out[key] = _source(artifact, folder, f"release.{key}") if artifact is not None else ""
        out[f"{key}_sha256"] = artifact.sha256 if artifact is not None else ""
    return out


def _source(artifact: Artifact, folder: Path, where: str) -> str:
    if artifact.is_url:
        return artifact.source
    path = (folder / Path(artifact.source).expanduser()).resolve()
    if not path.is_file():
        raise ValueError(f"{where}: there is no file {path}; write where it is, or an https:// URL")
    return str(path)
