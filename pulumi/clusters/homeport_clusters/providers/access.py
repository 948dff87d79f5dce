"""An account of Homeport's own in another cluster, and the kubeconfig that the operator reaches it with.

The operator takes kubeconfigs with inline credentials only, and those of clouds run a program; so it gets a service
account with a token that doesn't expire. It is bound to cluster-admin: Homeport makes there what users ask for in
Applications, in namespaces that it makes.
"""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any

import pulumi
import yaml
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.client import Client
from homeport.drivers.kubernetes.types import Manifest
from homeport_clusters import kubeconfigs
from homeport_clusters.providers import base, objects
from homeport_clusters.providers.base import Props, Provider, ProviderError

NAMESPACE = "homeport-remote"
NAME = "homeport"
TOKEN_SECONDS = 60.0
"""How long the cluster's controller may take to write the token."""


class AccessProvider(Provider):
    """Inputs: ``kubeconfig`` (secret), ``stack``, ``cluster``. Output: ``access``, a kubeconfig (secret)."""

    def diff(self, _id: str, _olds: Props, _news: Props) -> DiffResult:
        """In another cluster it is another account."""
        found = super().diff(_id, _olds, _news)
        if objects.elsewhere(_olds, _news):
            found.replaces = ["kubeconfig"]
        return found

    def create(self, props: Props) -> CreateResult:
        """Applies the account and reads its token."""
        return CreateResult(f"{props['cluster']}/{NAMESPACE}/{NAME}", base.run(_made(props)))

    def read(self, id_: str, props: Props) -> ReadResult:
        """Whether the account is there, with the token that we know."""
        return base.run(_read(id_, props))

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        """As ``create``."""
        return UpdateResult(base.run(_made(_news)))

    def delete(self, _id: str, _props: Props) -> None:
        """Deletes the account, and with it its token."""
        base.run(_deleted(_props))


class Access(Resource, module="homeport", name="Access"):
    """An account of Homeport's in a cluster; ``access`` is its kubeconfig."""

    access: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        kubeconfig: pulumi.Input[str],
        stack: str,
        cluster: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "kubeconfig": pulumi.Output.secret(kubeconfig), "stack": stack, "cluster": cluster, "access": None,
        }  # fmt: skip
        hidden = pulumi.ResourceOptions(additional_secret_outputs=["access"])
        super().__init__(AccessProvider(), name, props, pulumi.ResourceOptions.merge(opts, hidden))


def account(stack: str) -> list[Manifest]:
    """The namespace, the account, its rights and its token."""
    place = {"name": NAME, "namespace": NAMESPACE}
    bodies: list[Manifest] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": place},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": f"{NAMESPACE}-{NAME}"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", **place}],
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/service-account-token",
            "metadata": {**place, "annotations": {"kubernetes.io/service-account.name": NAME}},
        },
    ]
    return [objects.marked(body, stack) for body in bodies]


async def _made(props: Props) -> Props:
    async with kubeconfigs.connected(props["kubeconfig"]) as client:
        for manifest in account(props["stack"]):
            gvk = await objects.kind_of(client, manifest)
            namespace, name = manifest["metadata"].get("namespace"), manifest["metadata"]["name"]
            live = await client.get(gvk, namespace, name)
            if live is not None and not base.is_ours(live, props["stack"]):
                raise ProviderError(
                    f"{objects.identity(manifest)} of cluster {props['cluster']} was not made by this: "
                    "another Homeport reaches that cluster already"
                )
            await client.apply(gvk, namespace, name, manifest, manager=base.MANAGER)
        token, authority = await _token(client)
    return {**props, "drift": None, "access": _kubeconfig(props, token, authority)}


async def _token(client: Client) -> tuple[str, str]:
    until = time.monotonic() + TOKEN_SECONDS
    while time.monotonic() < until:
        found = await client.get(types.SECRET, NAMESPACE, NAME)
        data: dict[str, Any] = (found or {}).get("data") or {}
        if data.get("token"):
            return base64.b64decode(data["token"]).decode(), str(data.get("ca.crt", ""))
        await asyncio.sleep(0.5)
    raise ProviderError(f"the cluster wrote no token into the Secret {NAMESPACE}/{NAME} in {TOKEN_SECONDS:.0f} s")


def _kubeconfig(props: Props, token: str, authority: str) -> str:
    """The cluster as the kubeconfig has it, with the account's token. Its own authority counts before ours."""
    content = yaml.safe_load(props["kubeconfig"])
    entry = dict(content["clusters"][0]["cluster"])
    if not entry.get("certificate-authority-data") and not entry.get("insecure-skip-tls-verify"):
        entry["certificate-authority-data"] = authority
    return kubeconfigs.dumped(props["cluster"], entry, {"token": token})


async def _read(id_: str, props: Props) -> ReadResult:
    missing = []
    async with kubeconfigs.connected(props["kubeconfig"]) as client:
        for manifest in account(props["stack"]):
            gvk = await objects.kind_of(client, manifest)
            live = await client.get(gvk, manifest["metadata"].get("namespace"), manifest["metadata"]["name"])
            if live is None:
                missing.append(objects.identity(manifest))
            elif manifest["kind"] == "Secret":
                token = base64.b64decode((live.get("data") or {}).get("token", "")).decode()
                if token not in str(props.get("access")):
                    missing.append("the token")
            elif found := await objects.drift(client, gvk, manifest, live):
                missing += [f"{objects.identity(manifest)}: {path}" for path in found]
    if len(missing) == len(account(props["stack"])):
        return base.gone()
    return ReadResult(id_, {**props, "drift": missing or None})


async def _deleted(props: Props) -> None:
    async with kubeconfigs.connected(props["kubeconfig"]) as client:
        for manifest in reversed(account(props["stack"])):
            gvk = await objects.kind_of(client, manifest)
            namespace, name = manifest["metadata"].get("namespace"), manifest["metadata"]["name"]
            live = await client.get(gvk, namespace, name)
            if live is not None and base.is_ours(live, props["stack"]):
                await client.delete(gvk, namespace, name, uid=live["metadata"]["uid"])
                await objects.wait_gone(client, gvk, namespace, name, live["metadata"]["uid"], objects.DELETE_SECONDS)
