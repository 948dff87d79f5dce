"""What differs between a container and what it should be, and what mending it takes. Pure; the diff of a diff is empty.

========================= ==================================================================
what differs              what is done
========================= ==================================================================
an option, a network      sent in one ``PUT``; live or pending, as PVE has it (``config.impact``)
what waits in /pending    nothing, if it is what is wanted; else it is set anew or taken back
a new mount               a new volume; one that was detached is put back with its data
a mount that left         detached; its volume becomes ``unusedN``, and goes only with Delete
a mount we don't know     reported, and never touched
a disk that is too small  ``/resize``; one that is too large is reported: disks never shrink
template, unprivileged    reported as *recreate*: only a new container can have another
a feature of root's       kept as it is
========================= ==================================================================
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping

from homeport.api.lxcstatus import MountState
from homeport.plan.agent import hostclaim
from homeport.plan.lxc import owner as owners
from homeport.plan.lxc.differences import RISKY, SECRET, Diff, Difference, recreated
from homeport.plan.lxc.disks import Disks
from homeport.plan.lxc.wanted import Wanted
from homeport.plan.proxmox import properties
from homeport.plan.proxmox.config import ContainerConfig, Impact, PendingChange, impact
from homeport.plan.proxmox.properties import Features, Network, PropertyError

_FLAGS = frozenset({"onboot", "protection"})
_NUMBERS = frozenset({"cores", "cpulimit", "cpuunits", "memory", "swap"})
_ZERO_IS_NONE = frozenset({"cpulimit"})


def compare(
    wanted: Wanted,
    config: ContainerConfig,
    pending: Iterable[PendingChange] = (),
    *,
    running: bool,
    mounts: Iterable[MountState] = (),
    template: str | None = None,
) -> Diff:
    """What differs. ``mounts``: what is known of them; ``template``: the volume that it was made of."""
    waiting = {change.option: change for change in pending}
    found: list[Difference] = []
    found.extend(_options(wanted, config, waiting, running))
    found.extend(_networks(wanted, config, waiting, running))
    found.extend(_features(wanted, config, waiting, running))
    found.extend(_recreations(wanted, config, template))
    on_disks = Disks(wanted, config, waiting, running, {state.name: state for state in mounts})
    found.extend(on_disks.differences())
    return Diff(
        tuple(found),
        tuple(on_disks.resizes()),
        tuple(on_disks.dropped()),
        tuple(on_disks.lost()),
        tuple(on_disks.states()),
    )


# --- options ----------------------------------------------------------------------------------------------------------


def _options(
    wanted: Wanted, config: ContainerConfig, waiting: Mapping[str, PendingChange], running: bool
) -> Iterator[Difference]:
    scalar = dict(wanted.options)
    scalar["tags"] = properties.tags_text(
        (config.tags - {owners.RETAINED_TAG}) | {owners.TAG} if wanted.tags is None else wanted.tags
    )
    user_text = owners.text(config.description) if wanted.text is None else wanted.text
    scalar["description"] = owners.described(user_text, wanted.owner)
    for option, value in scalar.items():
        now = _text(config, option)
        there = waiting.get(option)
        difference = _weigh(option, value, now, there, running)
        if difference is not None:
            yield difference


def shown(config: ContainerConfig, option: str) -> str | None:
    """An option as a difference shows what was found."""
    if option in config.networks:
        return config.networks[option].render()
    return config.features.render() or None if option == "features" else _text(config, option)


def _text(config: ContainerConfig, option: str) -> str | None:
    if option == "tags":
        return properties.tags_text(config.tags) or None
    if option == "description":
        return config.description or None
    value = config.options.get(option)
    return str(value) if value not in (None, "") else None


def _weigh(
    option: str, value: str | None, now: str | None, waiting: PendingChange | None, running: bool
) -> Difference | None:
    """How one option stands, what waits for a reboot included."""
    hidden = option in SECRET or (option == "hostname" and (hostclaim.is_claim(value) or hostclaim.is_claim(now)))
    shown = ("…", "…") if hidden else (value or "", now or "")
    is_so = same(option, value, now)
    if waiting is not None:
        if same(option, value, waiting.then):
            if is_so:
                return None
            return Difference(option, *shown, Impact.REBOOT, value, waits=True)
        if is_so:
            return Difference(option, *shown, Impact.LIVE, value, revert=True)
    if is_so:
        return None
    takes = impact(option, running=running, there=now is not None, delete=value is None)
    return Difference(option, *shown, takes, value)


def same(option: str, one: str | None, other: str | None) -> bool:
    """Whether two values of an option mean the same."""
    return _meaning(option, one) == _meaning(option, other)


def _meaning(option: str, value: str | None) -> object:
    if value is None:
        return None
    try:
        if option in _FLAGS:
            return properties.boolean(value) or None
        if option in _NUMBERS:
            number = float(value)
            return None if option in _ZERO_IS_NONE and number == 0 else number
        if option == "startup":
            return properties.split(value, "order")
    except (ValueError, PropertyError):
        return value
    if option == "env":
        return frozenset(part for part in value.split("\0") if part)
    if option == "tags":
        return properties.tags(value)
    return tuple(value.split()) if option in ("nameserver", "searchdomain") else value.rstrip()


# --- networks ---------------------------------------------------------------------------------------------------------


def _networks(
    wanted: Wanted, config: ContainerConfig, waiting: Mapping[str, PendingChange], running: bool
) -> Iterator[Difference]:
    there = {network.name: (key, network) for key, network in config.networks.items()}
    taken = {int(key.removeprefix("net")) for key in config.networks}
    for name, network in wanted.networks.items():
        key, found = there.pop(name, (None, None))
        if key is None:
            number = next(n for n in range(32) if n not in taken)
            taken.add(number)
            key = f"net{number}"
        sent = _over(network, found, wanted.partial)
        if found is not None and sent.same_as(found):
            continue
        takes = impact(key, running=running, there=found is not None)
        text = sent.render()
        waits = key in waiting and waiting[key].then == text
        yield Difference(key, text, found.render() if found else "", takes, text, waits=waits)
    if wanted.partial:
        return
    for key, found in there.values():
        yield Difference(key, "", found.render(), impact(key, running=running, there=True, delete=True))


def _over(network: Network, found: Network | None, partial: bool) -> Network:
    """What is sent for an interface: with the MAC that it has, and what isn't ours to say."""
    if found is None:
        return network
    sent = dataclasses.replace(network.with_mac_of(found), rate=found.rate, trunks=found.trunks, extra=found.extra)
    if not partial:
        return sent
    given = {f.name: getattr(sent, f.name) for f in dataclasses.fields(sent) if getattr(sent, f.name) not in (None, ())}
    return dataclasses.replace(found, **given)


# --- features, and what only a new container can have ---------------------------------------------------------------


def _features(
    wanted: Wanted, config: ContainerConfig, waiting: Mapping[str, PendingChange], running: bool
) -> Iterator[Difference]:
    if wanted.nesting is None:
        return
    change = waiting.get("features")
    then = Features.parse(change.then or "") if change is not None else config.features
    if bool(then.nesting) == wanted.nesting and bool(config.features.nesting) == wanted.nesting:
        return
    sent = dataclasses.replace(config.features, nesting=wanted.nesting or None)
    shown = ("nesting=1" if wanted.nesting else "", config.features.render())
    if bool(then.nesting) == wanted.nesting:
        yield Difference("features", *shown, Impact.REBOOT, sent.render() or None, waits=True)
    elif not config.unprivileged:
        # In a privileged container every flag is root's alone.
        yield Difference("features", *shown, Impact.ROOT_ONLY, sends=False)
    elif bool(config.features.nesting) == wanted.nesting:
        yield Difference("features", *shown, Impact.LIVE, None, revert=True)
    else:
        takes = impact("features", running=running, there=bool(config.features.render()))
        yield Difference("features", *shown, takes, sent.render() or None)


def _recreations(wanted: Wanted, config: ContainerConfig, template: str | None) -> Iterator[Difference]:
    if wanted.unprivileged is not None and wanted.unprivileged != config.unprivileged:
        yield recreated("unprivileged", str(int(wanted.unprivileged)), str(int(config.unprivileged)))
    if wanted.template is not None and template is not None and wanted.template != template:
        yield recreated("template", wanted.template, template)
    root = config.rootfs
    if root is not None and wanted.root_storage is not None and root.storage not in (None, wanted.root_storage):
        yield recreated("rootfs", wanted.root_storage, root.storage or "")


def digest(wanted: Wanted) -> str:
    """Which configuration this is, as far as it can leave a container unwell."""
    parts = [f"{key}={value}" for key, value in sorted(wanted.options.items()) if key in RISKY]
    parts += [f"{name}={network.render()}" for name, network in sorted(wanted.networks.items())]
    parts.append(f"nesting={wanted.nesting}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
