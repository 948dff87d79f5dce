"""What runs in a container: the template that its image became, the agent's claim, what it is told, and how it is.

What is resolved (env from Secrets and ConfigMaps, addresses of siblings) goes to the agent and nowhere else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from homeport.api.conditions import Reason
from homeport.api.lxccontainer import LXCContainerSpec
from homeport.api.lxcstatus import LXCContainerStatus
from homeport.api.resource import Resource
from homeport.api.software import Software, SoftwareStatus
from homeport.drivers.proxmox.protocol import ProxmoxHost
from homeport.engine.context import Context
from homeport.engine.lxc import agent, checks, ssh
from homeport.engine.lxc import place as places
from homeport.engine.lxc.checks import Looked
from homeport.engine.lxc.ground import Ground
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan import agent as wire
from homeport.plan import delivery
from homeport.plan.lxc import bootstrap as bootstraps
from homeport.plan.lxc import taking_back
from homeport.plan.lxc.view import Health, Seen
from homeport.plan.lxc.wanted import Place, Unmanaged, wanted

Container = Resource[LXCContainerSpec]


class Images(Protocol):
    """Makes templates of images."""

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
        """The template on a storage of the node, once it is there. ``digest``: the one that the reference meant before,
        which it means still."""
        ...


@dataclass(frozen=True)
class Made:
    """The template of an image."""

    volume: str
    digest: str


def image_of(container: Container) -> Software | None:
    """The software, if it has an image of its own."""
    software = container.spec.software
    return software if software is not None and software.image is not None else None


def delivery_of(container: Container, on: Ground) -> str:
    """How it gets in."""
    software = container.spec.software
    assert software is not None
    return software.delivery or (on.proxmox.delivery if on.proxmox is not None else None) or "Agent"


def refused(container: Container, on: Ground) -> Stalled | None:
    """Why its software can't be delivered as it asks, to this host; None when it can, or there is none."""
    software = container.spec.software
    if software is None:
        return None
    why = delivery.refusal(delivery_of(container, on), software, on.reading.version, on.host)
    if why is None:
        return None
    old = not on.reading.version.at_least(*delivery.IMAGES_FROM)
    return Stalled(Reason.UNSUPPORTED_VERSION if old else Reason.INVALID_SPEC, why)


# --- before it is made ------------------------------------------------------------------------------------------------


def claimed(container: Container, status: LXCContainerStatus, on: Ground, context: Context) -> Mapping[str, Any]:
    """What has to be in the status before the container is made: the name of its agent's claim."""
    if image_of(container) is None or delivery_of(container, on) != "Agent":
        return {}
    known = status.software or SoftwareStatus()
    if known.claim is not None:
        return {}
    return {"software": known.model_copy(update={"claim": context.agents.new_claim(), "credential": None})}


async def template(
    container: Container, status: LXCContainerStatus, on: Ground, context: Context
) -> tuple[str, Mapping[str, Any]] | Outcome:
    """The template that its image became, and what to remember of it; what to wait for until it is there."""
    software = image_of(container)
    assert software is not None
    known = status.software or SoftwareStatus()
    if known.image == software.image and status.created and status.template:
        return status.template, {}
    kind = delivery_of(container, on)
    if context.images is None:
        return Wait(Reason.DEPENDENCY_NOT_READY, "this operator doesn't pull images", 60.0)
    task = status.task
    if task is not None and task.type == "Create" and task.upid is not None and task.detail:
        return task.detail, {}  # what is being made, whatever is wanted meanwhile
    digest = known.digest if known.image == software.image else None
    found: Made | Outcome = await context.images.template(
        container, software, delivery=kind, driver=on.driver, on=on, node=status.node or "", digest=digest
    )
    if not isinstance(found, Made):
        return found
    volume = found.volume
    if status.created or (task is not None and task.type == "Create"):
        return volume, {}  # what is remembered is what the container is made of
    remember = known.model_copy(update={"image": software.image, "digest": found.digest})
    return volume, {"software": remember} if remember != known else {}


def changed(container: Container, status: LXCContainerStatus, place: Place) -> bool:
    """Whether its image is another than the one that it was made of."""
    return image_of(container) is not None and bool(status.created) and place.template not in (None, status.template)


def old_fits(container: Container, status: LXCContainerStatus, on: Ground, old: Seen, context: Context) -> bool:
    """Whether the container that is being replaced is what the spec asks for."""
    if status.replacing is None or old.config is None:
        return False
    before = status.model_copy(update=taking_back.undone(status))
    software = image_of(container)
    template = before.template
    if software is None:
        found = places.resolve_template(container, before, on)
        if isinstance(found, Outcome):
            return False
        template = found
    elif before.software is None or before.software.image != software.image:
        return False
    place = places.place(container, before, on, context, template)
    if not isinstance(place, Place):
        return False
    wish = wanted(container.name, container.spec, place, adopted=bool(before.adopted))
    return taking_back.fits(dataclasses.replace(wish, mounts=()), old.config, before.template)


# --- once it is made --------------------------------------------------------------------------------------------------


def _is_agent(container: Container, on: Ground) -> bool:
    return image_of(container) is not None and delivery_of(container, on) == "Agent"


def _is_ssh(container: Container, on: Ground) -> bool:
    return container.spec.software is not None and delivery_of(container, on) == "SSH"


async def prepared(
    container: Container, status: LXCContainerStatus, place: Place, on: Ground, context: Context
) -> Place | Outcome:
    """The place with what its init needs, and with the keys that it is made with."""
    if not status.created and container.spec.adopt is None:
        keyed = await ssh.with_keys(container, place, _is_ssh(container, on), context)
        if not isinstance(keyed, Place):
            return keyed
        place = keyed
    if not _is_agent(container, on) or status.software is None:
        return place
    mine, peer = agent.agent(container, place.vmid), agent.peer(container, status.software)
    context.agents.expect(mine, peer)
    if _is_unmanaged(status, on):
        return _unmanaged(container, place, context, mine, peer)
    environment = context.agents.environment(mine, peer)
    if not isinstance(environment, dict):
        return environment
    return dataclasses.replace(place, init=wire.INIT, init_env=environment)


def _is_unmanaged(status: LXCContainerStatus, on: Ground) -> bool:
    """Whether its image became a root filesystem, whose network init sets up. One that is there stays it."""
    if status.created and status.template:
        return status.template.endswith(bootstraps.MADE_OF)
    return not on.reading.version.at_least(*delivery.IMAGES_FROM)


def _unmanaged(
    container: Container, place: Place, context: Context, mine: wire.AgentId, peer: wire.Peer
) -> Place | Outcome:
    """The place of one that gets its claim by its hostname, until it has said hello."""
    found = context.agents.whereabouts()
    if not isinstance(found, dict):
        return found
    network = bootstraps.bootstrap(container.name, container.spec, place, found[wire.ENV_URL])
    if isinstance(network, str):
        return Stalled(Reason.INVALID_SPEC, network)
    hostname = None if peer.pinned else context.agents.hostname(mine, peer, network)
    if isinstance(hostname, Outcome):
        return hostname
    told = bootstraps.interfaces(container.name, container.spec, place)
    return dataclasses.replace(place, unmanaged=Unmanaged(told, hostname))


async def looked(
    container: Container, status: LXCContainerStatus, place: Place, on: Ground, running: bool,
    addresses: tuple[str, ...], context: Context,
) -> Looked:  # fmt: skip
    """How well it is, as its agent, its probes or its health check say; ``addresses`` are those to check it at."""
    if _is_agent(container, on) and status.software is not None:
        return await agent.look(container, status, place, running, context)
    if _is_ssh(container, on):
        return await ssh.look(container, status, place, running, addresses, context)
    if not running:
        context.containers.prober.forget(container.key)
        return Looked()
    target = checks.target(container, addresses)
    if target is None:
        return Looked()
    if not target.address:
        text = "waits for an address to check it at: one that a network was given, or in its environment's network.cidr"
        return Looked(Health(None, text))
    return Looked(context.containers.prober.look(container.key, target))
