"""Containers on a Proxmox VE that are made, mended and removed by whoever runs the program, without the operator.

What a container should be, whose it is, where it fits and what differs is what the operator's own plans say
(``homeport.plan.lxc``, ``homeport.plan.proxmox``). Nothing is remembered between runs but what Pulumi's state has; that
may be lost between the host's call and the state. So a container is always looked for by its mark first:

- the mark is ``clusters.FILE/CLUSTER/NAME/VMID``, and beside it is the fingerprint of the stack's SSH key. One with the
  mark and another key was made by another stack, or by this one before its state was lost: it isn't touched.
- a creation that is under way has no mark yet: while a task makes a container, nobody decides to make another.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from homeport.api.environment import VmidRange
from homeport.api.lxccontainer import LXCContainerSpec
from homeport.drivers.proxmox import errors
from homeport.drivers.proxmox.host import Host
from homeport.plan.lxc import diff as diffs
from homeport.plan.lxc import owner as owners
from homeport.plan.lxc.creation import creation
from homeport.plan.lxc.differences import Diff
from homeport.plan.lxc.owner import Owner
from homeport.plan.lxc.wanted import Place, Wanted, wanted
from homeport.plan.proxmox import addresses, placement, sizes, templates
from homeport.plan.proxmox.config import ContainerConfig, Impact
from homeport.plan.proxmox.grants import Attachment
from homeport.plan.proxmox.readings import Guest, Resources
from homeport.plan.proxmox.tasks import Upid
from homeport.plan.world import HostReading
from homeport_clusters.providers.base import ProviderError

SHUTDOWN = 60
"""Seconds that a container gets to shut down before it is killed."""
AGAIN = 0.5
"""Seconds between two looks at a task."""
LONGEST = 900.0
"""Seconds that a task may take: unpacking a template onto slow disks."""
ADDRESS = 120.0
"""Seconds in which a started container has an address by DHCP."""
ROUNDS = 20
"""How many VMIDs are tried that turn out to be taken."""
_KEY = re.compile(r"^homeport\.dev/ssh-key=(\S+)$", re.MULTILINE)
_MAKING = threading.Lock()
"""Of this process one chooses at a time: two would choose the same VMID."""
_PLACED: dict[str, tuple[str, int]] = {}
"""By name: the node, and the bytes of memory, of what this process has begun to make."""
_OURS: set[str] = set()
"""The creations that this process itself has begun: nobody waits for these before making another."""


@dataclass(frozen=True)
class Ask:
    """What a container should be."""

    installation: str
    cluster: str
    name: str
    """Also its hostname."""
    key: str
    """The fingerprint of the key that gets in."""
    public_key: str
    template: str
    storage: str
    disk: str
    memory: str
    cores: int
    bridge: str
    address: str
    """With its prefix; or ``dhcp``."""
    vlan: int | None = None
    mtu: int | None = None
    gateway: str | None = None
    nameservers: tuple[str, ...] = ()
    node: str | None = None
    pool: str | None = None
    vmids: tuple[int, int] = (100, 999_999_999)
    unprivileged: bool = True

    def owner(self, vmid: int) -> Owner:
        """Its mark, with a VMID."""
        return Owner(self.installation, self.cluster, self.name, vmid)

    def spec(self) -> LXCContainerSpec:
        """The same as an LXCContainer says it."""
        network: dict[str, Any] = {"name": "eth0", "bridge": self.bridge, "address": self.address, "vlan": self.vlan,
                                   "mtu": self.mtu, "gateway": self.gateway}  # fmt: skip
        given: dict[str, Any] = {
            "hostRef": {"name": "host"}, "template": self.template, "hostname": self.name, "cores": self.cores,
            "memory": self.memory, "swap": "0", "rootfs": {"storage": self.storage, "size": self.disk},
            "networks": [{key: value for key, value in network.items() if value is not None}],
            "unprivileged": self.unprivileged, "onBoot": True, "tags": ["k3s"],
            "description": f"k3s cluster {self.cluster}, made by `homeport cluster`\nhomeport.dev/ssh-key={self.key}",
        }  # fmt: skip
        # A privileged container's features are root's alone, and left as they are found.
        if self.unprivileged:
            given["features"] = {"nesting": True}
        if self.nameservers:
            given["dns"] = {"servers": list(self.nameservers)}
        return LXCContainerSpec.model_validate(given)

    def wanted(self, vmid: int, node: str, template: str | None) -> Wanted:
        """What its configuration should be."""
        place = Place("host", node, self.owner(vmid), storage=self.storage, pool=self.pool, template=template,
                      public_keys=f"{self.public_key}\n")  # fmt: skip
        return wanted(self.name, self.spec(), place)


@dataclass(frozen=True)
class Found:
    """A container of ours."""

    guest: Guest
    config: ContainerConfig

    @property
    def vmid(self) -> int:
        """Its VMID."""
        return self.guest.vmid


@dataclass(frozen=True)
class Made:
    """What came of it."""

    vmid: int
    node: str
    address: str
    """Without prefix."""
    mac: str = ""
    """Of its first interface: a container that is made anew has another one."""
    differs: tuple[str, ...] = ()
    """What only a new container, or root@pam, could mend."""


async def reading(host: Host, nodes: Iterable[str] = ()) -> HostReading:
    """What placement and templates are judged by. ``nodes``: the only ones that matter; none for all."""
    version, cluster, permissions = await host.version(), await host.cluster(), await host.permissions()
    resources = await host.resources()
    wished = frozenset(nodes)
    online = [one.name for one in resources.nodes if one.online and (not wished or one.name in wished)]
    bridges = {node: await host.bridges(node) for node in online}
    found: dict[str, Any] = {}
    for node in online:
        places = [one.name for one in resources.storages if one.node == node and "vztmpl" in one.content]
        found[node] = tuple([volume for place in places for volume in await host.templates(node, place)])
    return HostReading(version, cluster, permissions, found, resources, bridges)


async def find(host: Host, ask: Ask, resources: Resources | None = None) -> Found | None:
    """The container with the mark. Raises ProviderError when it may not be touched, or nobody can tell."""
    status = await host.cluster()
    resources = resources or await host.resources()
    mine = []
    for guest in resources.containers:
        if owners.TAG not in guest.tags and guest.name != ask.name:
            continue
        try:
            config = await host.config(guest.node, guest.vmid)
        except errors.NotFound:
            continue  # it went between the two looks
        if owners.is_ours(config.description, ask.owner(guest.vmid)):
            mine.append(Found(guest, config))
    if len(mine) > 1:
        listed = ", ".join(str(one.vmid) for one in mine)
        raise ProviderError(f"containers {listed} all have the mark of {ask.name}; none is touched. Remove the mark "
                             "(homeport.dev/owner=…) from the description of all but one")  # fmt: skip
    if mine:
        _same_key(mine[0], ask)
        return mine[0]
    if not status.complete:
        offline = ", ".join(name for name, up in status.nodes.items() if not up)
        why = f"node {offline} is offline" if offline else "the cluster has no quorum"
        raise ProviderError(f"{ask.name} isn't seen, and {why}: nobody can tell whether it is there. Run it again when "
                             "all nodes are online")  # fmt: skip
    return None


def _same_key(found: Found, ask: Ask) -> None:
    told = _KEY.findall(found.config.description)
    if told != [ask.key]:
        raise ProviderError(
            f"container {found.vmid} ({ask.name}) was made by another stack, or by this one before its state was lost: "
            f"it takes the SSH key {', '.join(told) or 'unknown'}, and this stack has {ask.key}. It isn't touched. "
            f"Use the state that made it, or another name in cluster.yaml; or, if nothing in it is needed any more, "
            f"destroy it on node {found.guest.node}: pct destroy {found.vmid}"
        )


async def ensure(host: Host, ask: Ask) -> Made:
    """Find the container, or make it; set what differs; have it run; tell its address."""
    await asyncio.to_thread(_MAKING.acquire)
    try:
        found = await find(host, ask)
        made: tuple[Upid, int] | None = None
        if found is None:
            await _others_end(host)
            found = await find(host, ask)
        if found is None:
            made = await _make(host, ask)
    finally:
        _MAKING.release()
    if made is not None:
        upid, vmid = made
        await finished(host, upid, f"making container {vmid} ({ask.name})")
        found = await find(host, ask)
        if found is None:
            raise ProviderError(f"container {vmid} was made, and isn't there any more; run it again")
    assert found is not None
    return await settle(host, ask, found)


async def _others_end(host: Host) -> None:
    """Wait for creations that aren't this process's: one may be ours, from a run that was killed."""
    end = time.monotonic() + LONGEST
    for node, online in (await host.cluster()).nodes.items():
        while online:
            under_way = [one for one in await host.active(node, "vzcreate") if one.text not in _OURS]
            if not under_way:
                break
            if time.monotonic() > end:
                raise ProviderError(f"node {node} has been making container {under_way[0].id} for {LONGEST:.0f} s; "
                                    "look at its tasks, and run it again")  # fmt: skip
            await asyncio.sleep(AGAIN)


async def _make(host: Host, ask: Ask) -> tuple[Upid, int]:
    """Begin to make it: VMID and node as the operator chooses them."""
    seen = await reading(host, [ask.node] if ask.node else ())
    template, node = _place(ask, seen)
    taken = {guest.vmid for guest in seen.resources.guests}
    lost: set[int] = set()
    for _ in range(ROUNDS):
        allowed = VmidRange(min=ask.vmids[0], max=ask.vmids[1])
        vmid = addresses.vmid(allowed, guests=taken, claimed=(), lost=lost)
        if not isinstance(vmid, int):
            raise ProviderError(vmid.text)
        if not await host.is_free(vmid):
            lost.add(vmid)
            continue
        params = creation(ask.wanted(vmid, node, template))
        try:
            upid = await _begin(host, ask.name, "POST", "nodes", node, "lxc", params=params)
        except errors.Exists:
            lost.add(vmid)
            continue
        except errors.OutcomeUnknown as error:
            upid = await _asked(host, node, vmid, error)
        _OURS.add(upid.text)
        return upid, vmid
    raise ProviderError(f"of VMIDs {ask.vmids[0]} to {ask.vmids[1]}, {ROUNDS} that seemed free were taken by others; "
                        "run it again")  # fmt: skip


async def _asked(host: Host, node: str, vmid: int, error: errors.ProxmoxError) -> Upid:
    """The task that an unanswered creation became. Raises ProviderError: another VMID could make a second one."""
    begun = await host.begun_all(node, "vzcreate", vmid, int(time.time()) - 120)
    if begun:
        return begun[0].upid
    raise ProviderError(f"nobody knows whether container {vmid} is being made on {node} ({error}); run it again: it "
                        "will be found if it is")  # fmt: skip


def _place(ask: Ask, seen: HostReading) -> tuple[str, str]:
    """The template's volume and the node. Raises ProviderError."""
    template = templates.find(ask.template, seen, node=ask.node)
    if not isinstance(template, str):
        text = template.text.partition(", or have an administrator")[0]
        raise ProviderError(f"{text}; or fetch it on a node: pveam update; pveam download local FILE")
    node = placement.choose(placement_ask(ask, template), seen, _load(ask, seen.resources))
    if not isinstance(node, str):
        raise ProviderError(f"{ask.name}: {node.text}")
    _PLACED[ask.name] = node, sizes.of_quantity(ask.memory)
    return template, node


def _load(ask: Ask, seen: Resources) -> placement.Load:
    """Where the others of its group and cluster are: on as many nodes as there are, they are apart."""
    there = {guest.name: guest.node for guest in seen.containers if owners.TAG in guest.tags}
    begun = {name: placed for name, placed in _PLACED.items() if name not in there and name != ask.name}
    reserved: Counter[str] = Counter()
    for node, memory in begun.values():
        reserved[node] += memory
    group = ask.name.rpartition("-")[0]
    nodes = {**there, **{name: node for name, (node, _) in begun.items()}}
    near = [(name, node) for name, node in nodes.items() if name.startswith(f"{ask.cluster}-")]
    return placement.Load(
        reserved=reserved,
        replicas=Counter(node for name, node in near if name.rpartition("-")[0] == group),
        siblings=Counter(node for name, node in near if name.rpartition("-")[0] != group),
    )


def placement_ask(ask: Ask, template: str) -> placement.Ask:
    """What it needs of its node."""
    return placement.Ask(
        memory=sizes.of_quantity(ask.memory),
        node=ask.node,
        storages=(ask.storage,),
        networks=(Attachment("eth0", ask.bridge, ask.vlan),),
        template=template,
    )


async def settle(host: Host, ask: Ask, found: Found) -> Made:
    """Have a container be as asked, as far as that goes without making it anew; running, with an address."""
    node, vmid = found.guest.node, found.vmid
    if found.config.lock is not None:
        raise ProviderError(f"container {vmid} ({ask.name}) is locked ({found.config.lock}); run it again when that is "
                             f"over. A lock that is left over is removed on {node}: pct unlock {vmid}")  # fmt: skip
    differing = await _difference(host, ask, found)
    if options := differing.options():
        await host.configure(node, vmid, options, digest=found.config.digest)
    for resize in differing.resizes:
        params = {"disk": resize.disk, "size": sizes.render(resize.size)}
        upid = await _begin(host, ask.name, "PUT", "nodes", node, "lxc", vmid, "resize", params=params)
        await finished(host, upid, f"growing {resize.disk} of container {vmid}")
    running = found.guest.status == "running"
    if running and any(one.impact is Impact.REBOOT for one in differing.differences):
        upid = await _begin(host, ask.name, "POST", "nodes", node, "lxc", vmid, "status", "reboot",
                            params={"timeout": SHUTDOWN})  # fmt: skip
        await finished(host, upid, f"rebooting container {vmid}")
    elif not running:
        upid = await _begin(host, ask.name, "POST", "nodes", node, "lxc", vmid, "status", "start")
        await finished(host, upid, f"starting container {vmid} ({ask.name})")
    left = tuple(one.field for one in differing.differences if not one.sends)
    mac = next((one.hwaddr or "" for one in found.config.networks.values() if one.name == "eth0"), "")
    return Made(vmid, node, await _address(host, ask, node, vmid), mac, left)


async def _difference(host: Host, ask: Ask, found: Found) -> Diff:
    pending = await host.pending(found.guest.node, found.vmid)
    running = found.guest.status == "running"
    goal = ask.wanted(found.vmid, found.guest.node, None)
    return diffs.compare(goal, found.config, pending, running=running)


async def drift(host: Host, ask: Ask, vmid: int) -> tuple[Found | None, tuple[str, ...]]:
    """The container, and what of it isn't as asked; both by looking alone."""
    found = await find(host, ask)
    if found is None or found.vmid != vmid:
        return found, ()
    differing = await _difference(host, ask, found)
    fields = [one.field for one in differing.differences] + [one.disk for one in differing.resizes]
    return found, tuple(fields + ["stopped"] * (found.guest.status != "running"))


async def remove(host: Host, ask: Ask, vmid: int) -> bool:
    """Stop and destroy it, if it is this one's; whether it was there. Raises ProviderError for one that isn't ours."""
    found = await find(host, ask)
    if found is None:
        if not await host.is_free(vmid):
            raise ProviderError(
                f"VMID {vmid} is taken by what doesn't have the mark of {ask.name}: it isn't touched. If it is to "
                "stay, take it out of the state: pulumi state delete"
            )
        return False
    node, vmid = found.guest.node, found.vmid
    if found.config.protection:
        raise ProviderError(f"container {vmid} ({ask.name}) is protected; on {node}: pct set {vmid} --protection 0")
    if found.guest.status == "running":
        params = {"timeout": SHUTDOWN, "forceStop": 1}
        upid = await _begin(host, ask.name, "POST", "nodes", node, "lxc", vmid, "status", "shutdown", params=params)
        await finished(host, upid, f"shutting down container {vmid} ({ask.name})")
    # Once more, as late as can be: what is destroyed now is what was judged.
    config = await host.config(node, vmid)
    if not owners.is_ours(config.description, ask.owner(vmid)):
        raise ProviderError(f"container {vmid} lost the mark of {ask.name} meanwhile; it isn't touched")
    upid = await _begin(host, ask.name, "DELETE", "nodes", node, "lxc", vmid, params={"purge": 0})
    await finished(host, upid, f"destroying container {vmid} ({ask.name})")
    return True


async def _begin(
    host: Host, owner: str, method: str, *segments: str | int, params: Mapping[str, Any] | None = None
) -> Upid:
    while True:
        try:
            return await host.begin(owner, method, *segments, params=params)
        except errors.Busy:
            await asyncio.sleep(AGAIN)


async def finished(host: Host, upid: Upid, doing: str) -> None:
    """Wait for a task. Raises ProviderError with the end of its log when it failed."""
    end = time.monotonic() + LONGEST
    while True:
        status = await host.task(upid)
        if not status.running:
            break
        if time.monotonic() > end:
            raise ProviderError(f"{doing} takes longer than {LONGEST:.0f} s; look at task {upid.text} on {upid.node}")
        await asyncio.sleep(AGAIN)
    if not status.succeeded:
        log = " / ".join(line for line in await host.task_log(upid, 5) if line.strip())
        raise ProviderError(f"{doing} failed: {status.message or 'nobody knows how it ended'}. Its log ends: {log}")


async def _address(host: Host, ask: Ask, node: str, vmid: int) -> str:
    if ask.address != "dhcp":
        return str(ipaddress.IPv4Interface(ask.address).ip)
    end = time.monotonic() + ADDRESS
    while time.monotonic() < end:
        for interface in await host.interfaces(node, vmid):
            for text in interface.addresses:
                found = ipaddress.ip_interface(text)
                if interface.name == "eth0" and found.version == 4 and not found.is_link_local:
                    return str(found.ip)
        await asyncio.sleep(AGAIN)
    raise ProviderError(f"container {vmid} ({ask.name}) got no address by DHCP within {ADDRESS:.0f} s; look for a DHCP "
                         f"server on bridge {ask.bridge}, or write network.cidr and addresses")  # fmt: skip


@asynccontextmanager
async def opened(connect: Callable[[], Host]) -> AsyncIterator[Host]:
    """A host that is closed afterwards, and whose errors are sentences."""
    host = connect()
    try:
        yield host
    except errors.ProxmoxError as error:
        raise ProviderError(f"Proxmox VE: {error}") from error
    finally:
        await host.close()
