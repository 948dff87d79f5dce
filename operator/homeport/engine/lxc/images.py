"""The images of LXCContainers: from where, with whose credentials, and onto which storage."""

from __future__ import annotations

import base64
import binascii

from homeport.api.conditions import Reason
from homeport.api.software import Software
from homeport.drivers.kubernetes import types
from homeport.drivers.oci.credentials import CONFIG_KEY, Login, logins
from homeport.drivers.proxmox.protocol import ProxmoxHost
from homeport.engine.context import Context
from homeport.engine.images import Images, Template, Wanted
from homeport.engine.lxc.ground import Container, Ground
from homeport.engine.lxc.software import Made
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan.delivery import IMAGES_FROM

ARCHITECTURE = "amd64"
"""Proxmox VE's own packages are for no other."""


class ContainerImages:
    """Fulfils ``software.Images``."""

    def __init__(self, images: Images, context: Context) -> None:
        self._images = images
        self._context = context

    async def template(
        self,
        container: Container,
        software: Software,
        *,
        delivery: str,
        driver: ProxmoxHost,
        on: Ground,
        node: str,
        digest: str | None,
    ) -> Made | Outcome:
        """The template on a storage of the node, once it is there."""
        storage = storage_for(on, node)
        if storage is None:
            return Stalled(
                Reason.DEPENDENCY_NOT_READY,
                f"node {node} of {on.host} has no storage for container templates; allow the content vztmpl on one",
            )
        known: list[Login] = []
        for reference in software.image_pull_secrets or ():
            found = await self._logins(container.namespace, reference.name)
            if not isinstance(found, tuple):
                return found
            known += found
        operator = self._context.agents.whereabouts() if _is_flattened(delivery, on) else {}
        if isinstance(operator, Outcome):
            return operator
        wanted = Wanted(
            on.host, node, storage, str(software.image), self._context.clusters.installation, digest or "",
            "Plain" if delivery == "Plain" else "Agent", tuple(sorted(operator.items())), ARCHITECTURE, tuple(known),
        )  # fmt: skip
        answer = self._images.template(wanted, driver, container.key)
        return Made(answer.volume, answer.digest) if isinstance(answer, Template) else answer

    async def _logins(self, namespace: str, name: str) -> tuple[Login, ...] | Outcome:
        secret = await self._context.cluster.client.get(types.SECRET, namespace, name)
        if secret is None:
            text = f"Secret {name}, which imagePullSecrets names, doesn't exist in namespace {namespace}"
            return Wait(Reason.DEPENDENCY_NOT_READY, text, 30.0)
        try:
            return logins(base64.b64decode(secret["data"][CONFIG_KEY], validate=True).decode())
        except (KeyError, TypeError, binascii.Error, UnicodeDecodeError):
            return Stalled(
                Reason.INVALID_SPEC, f"Secret {name} has no {CONFIG_KEY}; see kubectl create secret docker-registry"
            )
        except ValueError as error:
            return Stalled(Reason.INVALID_SPEC, f"Secret {name}: {error}")


def _is_flattened(delivery: str, on: Ground) -> bool:
    """Whether the image becomes one root filesystem, which says where the operator is."""
    return delivery == "Agent" and not on.reading.version.at_least(*IMAGES_FROM)


def storage_for(on: Ground, node: str) -> str | None:
    """Where templates go: what the environment says, else local, else the first that takes them."""
    if on.proxmox is not None and on.proxmox.template_storage is not None:
        return on.proxmox.template_storage
    fitting = [
        one.name
        for one in on.reading.resources.storages
        if one.node == node and one.available and "vztmpl" in one.content
    ]
    return "local" if "local" in fitting else min(fitting, default=None)
