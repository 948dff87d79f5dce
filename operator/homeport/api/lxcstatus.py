"""What was last found of an LXCContainer, and what must be known to go on after a crash."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool

from homeport.api.base import (
    ATOMIC,
    ListMap,
    Model,
    ShortText,
    Text,
    Token,
)
from homeport.api.lxcparts import Vmid
from homeport.api.software import SoftwareStatus
from homeport.api.status import Inventory, Status


class Drift(Model):
    """A field that isn't as it should be."""

    field: ShortText
    """Which, as spec or Proxmox VE spells it."""
    wanted: Text = ""
    """What it should be; empty for nothing."""
    found: Text = ""
    """What it is; empty for nothing."""
    class_: Literal["live", "pending-reboot", "recreate", "root-only", "by-hand"] = Field(alias="class")
    """What mending it takes: nothing, a reboot, a new container, root@pam, or a person who moves it."""


class TaskState(Model):
    """What is being done to the container on the host. Written before it is asked for."""

    type: Literal[
        "Create",
        "Start",
        "Shutdown",
        "Reboot",
        "Resize",
        "MoveVolume",
        "Destroy",
        "Snapshot",
        "Rollback",
        "DeleteSnapshot",
    ]
    """What."""
    vmid: Vmid
    """To which container."""
    node: ShortText
    """On which node."""
    upid: ShortText | None = None
    """The task's id in Proxmox VE; absent until it has answered."""
    since: ShortText
    """When it was asked for."""
    detail: Annotated[str, Field(max_length=512)] | None = None
    """What of it: a disk, a mount; of a creation, the template."""


class MountState(Model):
    """A mount as it is on the host."""

    name: ShortText
    """Its name in the spec."""
    id: ShortText
    """mp0, mp1, …"""
    volume: ShortText | None = None
    """The volume."""
    deletion_policy: Literal["Delete", "Retain"] | None = None
    """What happens to its data when it leaves the spec; absent means Retain."""
    retained: StrictBool | None = None
    """It left the spec, and its data is kept as an unused volume."""


class NetworkState(Model):
    """An interface as it is on the host."""

    name: ShortText
    """Its name."""
    id: ShortText
    """net0, net1, …"""
    hwaddr: ShortText | None = None
    """Its MAC address."""
    address: ShortText | None = None
    """The address that was allocated, with its prefix; written before it is used."""


class Replacement(Model):
    """A container that takes the place of another, which is kept until the new one is well."""

    vmid: Vmid
    """The container that is being replaced."""
    node: ShortText
    """Where it is."""
    phase: Literal["Creating", "Moving", "Starting", "Cleaning"]
    """How far it is."""
    reason: Text
    """Why."""
    template: Annotated[str, Field(max_length=512)] | None = None
    """The volume that the replaced one was made of."""
    software: SoftwareStatus | None = None
    """What was known of its software."""
    adopted: StrictBool | None = None
    """Whether it was there before."""
    problem: Text | None = None
    """Why it can't go on."""
    back: Literal["Unused", "Tried"] | None = None
    """The place is given back to the one that was there before. Unused: what has to go was never started."""


class Refusal(Model):
    """A replacement that was taken back because the host refused it."""

    template: Annotated[str, Field(max_length=512)] | None = None
    """What the new container was made of; no other is made of it until it is asked for."""
    message: Text
    """Why."""


class Trial(Model):
    """A change that isn't proven yet: what it changed is put back if the container doesn't become well."""

    hash: ShortText
    """Which configuration it is."""
    since: ShortText
    """When it was made."""
    options: Annotated[dict[str, Text], Field(max_length=32)]
    """What was there before, by Proxmox VE's names; empty for nothing."""
    snapshot: StrictBool | None = None
    """Whether a snapshot is taken before, which is gone back to."""


class Revert(Model):
    """A change that was taken back because the container wasn't well with it."""

    hash: ShortText
    """Which configuration it was; it isn't tried again."""
    message: Text
    """What was wrong."""


class LXCContainerStatus(Status):
    """What was last found of the container. Nothing that changes by itself is in it: that is in the metrics."""

    host: ShortText | None = None
    """The ProxmoxHost."""
    vmid: Vmid | None = None
    """Its VMID; written before it is used."""
    node: ShortText | None = None
    """The node that it is on."""
    state: ShortText | None = None
    """Running, Stopped, Missing or Unknown."""
    address: ShortText | None = None
    """Its first address, without prefix."""
    addresses: Annotated[tuple[ShortText, ...], Field(max_length=32), ATOMIC] = ()
    """Its addresses, without prefixes."""
    started_at: ShortText | None = None
    """When it was started."""
    created: StrictBool | None = None
    """Whether it has been made, or adopted; from then on it is missed when it isn't there."""
    adopted: StrictBool | None = None
    """Whether it was there before."""
    template: Annotated[str, Field(max_length=512)] | None = None
    """The volume that it was made of."""
    mounts: Annotated[tuple[MountState, ...], Field(max_length=64), ListMap("id")] = ()
    """Its mounts."""
    networks: Annotated[tuple[NetworkState, ...], Field(max_length=32), ListMap("id")] = ()
    """Its interfaces."""
    pending_reboot: Annotated[tuple[ShortText, ...], Field(max_length=64), ATOMIC] = ()
    """Options whose change waits for a reboot, as Proxmox VE spells them."""
    drift: Annotated[tuple[Drift, ...], Field(max_length=64), ListMap("field")] = ()
    """What isn't as it should be, and what mending it takes."""
    task: TaskState | None = None
    """What is being done on the host."""
    replacing: Replacement | None = None
    """The container whose place this one takes."""
    refused: Refusal | None = None
    """The last replacement that the host refused."""
    kept: Annotated[tuple[Vmid, ...], Field(max_length=32), ATOMIC] = ()
    """Containers that were replaced, and are kept, stopped: remove them when nobody needs what is in them."""
    reverted: Revert | None = None
    """The last change that was taken back."""
    trial: Trial | None = None
    """A change whose effect on the health isn't known yet."""
    last_restart_at: Token | None = None
    """The last value of restartAt that was acted on."""
    rebooted_for: ShortText | None = None
    """The waiting changes that it was last rebooted for: it isn't for the same again."""
    last_replace_at: Token | None = None
    """The last value of the annotation homeport.dev/replace-at that was acted on."""
    software: SoftwareStatus | None = None
    """What runs in it."""
    inventory: Inventory | None = None
    """The objects that were made for it in Kubernetes."""
