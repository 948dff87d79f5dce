"""What differs of a container's disks: mounts are known by their names, whatever ``mpN`` they have."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from homeport.api.lxcstatus import MountState
from homeport.plan.lxc.differences import Difference, Resize, recreated
from homeport.plan.lxc.wanted import Wanted, WantedMount
from homeport.plan.proxmox import sizes
from homeport.plan.proxmox.config import ContainerConfig, Impact, PendingChange, impact
from homeport.plan.proxmox.properties import Mount


@dataclass
class Disks:
    """Mounts are known by their names: the status keeps which ``mpN`` and volume each has."""

    wanted: Wanted
    config: ContainerConfig
    waiting: Mapping[str, PendingChange]
    running: bool
    known: Mapping[str, MountState]
    _keys: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        taken = set(self.config.mounts) | {state.id for state in self.known.values()}
        by_path = {mount.path: key for key, mount in self.config.mounts.items()}
        ours = {state.id for state in self.known.values() if not state.retained}
        for mount in self.wanted.mounts:
            state = self.known.get(mount.name)
            if state is not None and not state.retained:
                key = state.id
            elif mount.path in by_path and by_path[mount.path] not in ours:
                key = by_path[mount.path]
            else:
                key = next(f"mp{n}" for n in range(256) if f"mp{n}" not in taken)
            taken.add(key)
            self._keys[mount.name] = key

    def _volume(self, mount: WantedMount) -> str | None:
        """The volume that the mount has or had."""
        there = self.config.mounts.get(self._keys[mount.name])
        if there is not None:
            return there.volume
        state = self.known.get(mount.name)
        return state.volume if state is not None else None

    def _is_unused(self, volume: str | None) -> bool:
        return volume is not None and volume in {Mount.parse(text).volume for text in self.config.unused.values()}

    def differences(self) -> Iterator[Difference]:
        """What can be sent, waits, or needs a new container."""
        for mount in self.wanted.mounts:
            key = self._keys[mount.name]
            there = self.config.mounts.get(key)
            if there is not None:
                yield from self._changed(key, mount, there)
                continue
            volume = self._volume(mount)
            if volume is not None and not self._is_unused(volume):
                continue  # it is lost: see ``lost``
            source = volume or sizes.new_volume(mount.storage or "", str(mount.size))
            text = mount_text(mount, source)
            yield Difference(key, text, "", impact(key, running=self.running, there=False), text)
        wanted = {mount.name for mount in self.wanted.mounts}
        for state in self.known.values():
            if state.name not in wanted and not state.retained and state.id in self.config.mounts:
                takes = impact(state.id, running=self.running, there=True, delete=True)
                change = self.waiting.get(state.id)
                waits = change is not None and change.then is None
                yield Difference(state.id, "", self.config.mounts[state.id].render(), takes, waits=waits)

    def _changed(self, key: str, mount: WantedMount, there: Mount) -> Iterator[Difference]:
        if mount.storage is not None and there.storage not in (None, mount.storage):
            yield recreated(f"mounts[{mount.name}].storage", mount.storage, there.storage or "")
        if there.size is not None and there.size > mount.size:
            found, asked = sizes.quantity(there.size), sizes.quantity(mount.size)
            yield Difference(f"mounts[{mount.name}].size", asked, found, Impact.RECREATE, sends=False)
        sent = dataclasses.replace(
            there,
            path=mount.path,
            backup=_shown(mount.backup, there.backup),
            read_only=_shown(mount.read_only, there.read_only),
            replicate=there.replicate if mount.replicate is None else mount.replicate,
            acl=there.acl if mount.acl is None else mount.acl,
        )
        if self.wanted.partial:
            sent = dataclasses.replace(sent, backup=mount.backup or there.backup)
        if sent == there:
            return
        change = self.waiting.get(key)
        waits = change is not None and change.then is not None and Mount.parse(change.then) == sent
        takes = impact(key, running=self.running, there=True)
        yield Difference(key, sent.render(), there.render(), takes, sent.render(), waits=waits)

    def resizes(self) -> Iterator[Resize]:
        """Disks that are too small."""
        root, size = self.config.rootfs, self.wanted.root_size
        if root is not None and size is not None and root.size is not None and root.size < size:
            yield Resize("rootfs", size)
        for mount in self.wanted.mounts:
            there = self.config.mounts.get(self._keys[mount.name])
            if there is not None and there.size is not None and there.size < mount.size:
                yield Resize(self._keys[mount.name], mount.size)

    def dropped(self) -> Iterator[str]:
        """Unused volumes that may go."""
        wanted = {mount.name for mount in self.wanted.mounts}
        going = {
            state.volume
            for state in self.known.values()
            if state.name not in wanted and state.deletion_policy == "Delete" and state.volume
        }
        for key, text in self.config.unused.items():
            if Mount.parse(text).volume in going:
                yield key

    def lost(self) -> Iterator[str]:
        """Mounts whose volumes are nowhere."""
        for mount in self.wanted.mounts:
            if self.config.mounts.get(self._keys[mount.name]) is None:
                volume = self._volume(mount)
                if volume is not None and not self._is_unused(volume):
                    yield mount.name

    def states(self) -> Iterator[MountState]:
        """The mounts as they are, and as they will be when all is sent."""
        wanted = {mount.name for mount in self.wanted.mounts}
        for mount in self.wanted.mounts:
            policy = "Delete" if mount.deletion == "Delete" else None
            yield MountState(
                name=mount.name, id=self._keys[mount.name], volume=self._volume(mount), deletion_policy=policy
            )
        taken = set(self._keys.values())
        for state in self.known.values():
            if state.name in wanted or state.id in taken:
                continue
            if state.id in self.config.mounts and not state.retained:
                yield state
            elif self._is_unused(state.volume):
                yield state.model_copy(update={"retained": True})


def _shown(wanted: bool, found: bool | None) -> bool | None:
    return found if bool(found) == wanted else wanted


def mount_text(mount: WantedMount, volume: str) -> str:
    """``mpN`` of a mount with this volume."""
    return Mount(
        volume,
        mount.path,
        backup=mount.backup or None,
        read_only=mount.read_only or None,
        replicate=mount.replicate,
        acl=mount.acl,
    ).render()
