"""Which of a project's data its Backups take: every volume of every component in every environment, and every
LXCContainer's root disk and mounts.

=============  =========================================================================================
state          when
=============  =========================================================================================
Covered        a Backup that isn't suspended takes it
NotCovered     none does, or vzdump leaves the mount out
LeftOut        the volume or mount says ``backup: false``: somebody decided it
=============  =========================================================================================

That a Backup is there says nothing of how it goes: its own status does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from homeport.api.application import ApplicationSpec
from homeport.api.backup import BackupSpec
from homeport.api.component import Component
from homeport.api.conditions import Reason
from homeport.api.environment import EnvironmentSpec
from homeport.api.lxccontainer import LXCContainerSpec
from homeport.api.pod import Volume
from homeport.api.resource import InvalidSpec, Resource
from homeport.plan import render
from homeport.plan.render import Catalog

ROOTFS = "rootfs"
SHOWN = 10
"""How many of what isn't covered a condition names."""
_ONE_VOLUME = ("Files", "SQLite")


class State(StrEnum):
    """Whether data is in a backup."""

    COVERED = "Covered"
    NOT_COVERED = "NotCovered"
    LEFT_OUT = "LeftOut"


@dataclass(frozen=True)
class Data:
    """A volume, a claim or a disk that holds data; those of a StatefulSet's replicas are one."""

    volume: str
    """Its name; ``rootfs`` for a container's root disk."""
    environment: str = ""
    """Empty for a container of the project's own."""
    application: str = ""
    component: str = ""
    container: str = ""
    claim: str = ""
    """On Kubernetes: the claim, by which two components may share it."""
    shared: tuple[tuple[str, str, str], ...] = ()
    """Others that have the same claim mounted: (application, component, volume)."""
    left_out: str = ""
    """Why it isn't to be in a backup, if somebody said so."""
    unreachable: str = ""
    """Why no backup of its owner takes it, if so."""

    @property
    def owner(self) -> str:
        """What a person calls its owner: ``production/shop/db``, ``container/pihole``."""
        if self.container:
            return f"container/{self.container}"
        return f"{self.environment}/{self.application}/{self.component}"

    @property
    def users(self) -> tuple[tuple[str, str, str], ...]:
        """Every component that has it mounted."""
        return (self.application, self.component, self.volume), *self.shared


class Finding(NamedTuple):
    """What is known of one piece of data."""

    data: Data
    state: State
    backups: tuple[str, ...]
    """Those that take it."""
    why: str
    """What a person should know of it."""


@dataclass(frozen=True)
class Coverage:
    """What is covered and what isn't."""

    findings: tuple[Finding, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)
    """Applications whose components can't be told now, and why."""

    @property
    def missing(self) -> tuple[Finding, ...]:
        """What no Backup takes."""
        return tuple(found for found in self.findings if found.state is State.NOT_COVERED)

    @property
    def condition(self) -> tuple[str, str, str] | None:
        """(reason, message, status) of the Project's condition; None when there is nothing to cover."""
        if self.unknown:
            names = ", ".join(sorted(self.unknown)[:SHOWN])
            return Reason.PROGRESSING, f"what {names} keeps can't be told now", "Unknown"
        counted = [found for found in self.findings if found.state is not State.LEFT_OUT]
        if not counted:
            return None
        if not self.missing:
            number = f"{len(counted)} volume" + ("s are" if len(counted) != 1 else " is")
            return Reason.COVERED, f"{number} covered by backups", "True"
        named = [f"{found.data.owner} {found.data.volume}" for found in self.missing]
        more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
        return Reason.NOT_COVERED, f"no backup covers {', '.join(named[:SHOWN])}{more}", "False"


def look(
    applications: Iterable[Resource[ApplicationSpec]],
    environments: Iterable[Resource[EnvironmentSpec]],
    containers: Iterable[Resource[LXCContainerSpec]],
    backups: Iterable[Resource[BackupSpec]],
    catalogs: Mapping[str, Catalog | None],
) -> Coverage:
    """What is covered of a project. ``catalogs``: what the catalog makes of the applications that use it, by name."""
    there = {env.name: env for env in environments if _counts(env)}
    known: list[Data] = []
    unknown: dict[str, str] = {}
    for app in sorted(applications, key=lambda app: app.name):
        if app.deleted_at is not None:
            continue
        try:
            known.extend(_of_application(app, there, catalogs.get(app.name)))
        except InvalidSpec as error:
            unknown[app.name] = str(error)
    known = [*_merged(known), *_of_containers(containers)]
    usable = [backup for backup in backups if backup.deleted_at is None]
    usable.sort(key=lambda backup: backup.name)
    return Coverage(tuple(_finding(data, known, usable) for data in known), unknown)


def _counts(env: Resource[EnvironmentSpec]) -> bool:
    """Whether what is in it is meant to last."""
    return env.deleted_at is None and not env.spec.template and env.spec.tier != "Preview"


# --- what there is ----------------------------------------------------------------------------------------------------


def _of_application(
    app: Resource[ApplicationSpec], there: Mapping[str, Resource[EnvironmentSpec]], catalog: Catalog | None
) -> Iterable[Data]:
    for name in sorted(render.target_environments(app.spec, list(there))):
        if name not in there:
            continue
        for component in render.components_of(app.spec, name, catalog):
            for volume in component.volumes or ():
                if not volume.ephemeral:
                    yield _of_volume(app, name, component, volume)


def _of_volume(app: Resource[ApplicationSpec], place: str, component: Component, volume: Volume) -> Data:
    made = f"{app.spec.name_prefix or ''}{component.name}-{volume.name}"
    if component.type == "stateful":
        made = f"{volume.name}-{app.spec.name_prefix or ''}{component.name}-*"
    return Data(
        volume=volume.name,
        environment=place,
        application=app.name,
        component=component.name,
        claim=volume.existing_claim or made,
        left_out="the volume says backup: false" if volume.backup is False else "",
    )


def _merged(known: Sequence[Data]) -> list[Data]:
    """Each claim once, under the component that makes it, or else the first that mounts it."""
    by_claim: dict[tuple[str, str], list[Data]] = {}
    for data in known:
        by_claim.setdefault((data.environment, data.claim), []).append(data)
    out = []
    for (_, claim), users in by_claim.items():
        users.sort(key=lambda data: not claim.endswith(f"{data.component}-{data.volume}"))
        first, *others = users
        shared = tuple((data.application, data.component, data.volume) for data in others)
        left_out = next((data.left_out for data in users if data.left_out), "")
        out.append(
            Data(
                first.volume,
                first.environment,
                first.application,
                first.component,
                claim=claim,
                shared=shared,
                left_out=left_out,
            )
        )
    return out


def _of_containers(containers: Iterable[Resource[LXCContainerSpec]]) -> Iterable[Data]:
    for container in sorted(containers, key=lambda container: container.name):
        if container.deleted_at is not None:
            continue
        yield Data(ROOTFS, container=container.name)
        for mount in container.spec.mounts or ():
            yield Data(
                mount.name,
                container=container.name,
                left_out="the mount says backup: false" if mount.backup is False else "",
                unreachable="" if mount.backup else "vzdump leaves the mount out; set backup: true in it",
            )


# --- what is taken ----------------------------------------------------------------------------------------------------


def _finding(data: Data, known: Sequence[Data], backups: Sequence[Resource[BackupSpec]]) -> Finding:
    if data.left_out:
        return Finding(data, State.LEFT_OUT, (), data.left_out)
    taking = [backup for backup in backups if _takes(backup, data, known)]
    active = [backup for backup in taking if not backup.suspended]
    names = tuple(backup.name for backup in active)
    if active and data.unreachable:
        return Finding(data, State.NOT_COVERED, (), f"{', '.join(names)}: {data.unreachable}")
    if active:
        return Finding(data, State.COVERED, names, "; ".join(filter(None, map(_remark, active))))
    if taking:
        return Finding(data, State.NOT_COVERED, (), f"{', '.join(b.name for b in taking)}: suspended")
    return Finding(data, State.NOT_COVERED, (), _nearest(data, known, backups))


def _remark(backup: Resource[BackupSpec]) -> str:
    """What is special about a Backup."""
    said = []
    if backup.spec.source.paths and _method(backup) != "SQLite":
        said.append("only some paths")
    if backup.spec.source.databases:
        said.append(f"only {', '.join(backup.spec.source.databases)}")
    if backup.spec.schedule is None:
        said.append("no schedule: only when somebody asks")
    return f"{backup.name}: {', '.join(said)}" if said else ""


def _method(backup: Resource[BackupSpec]) -> str:
    """What is written, else what was found by the image or the catalog item."""
    return str(backup.spec.method or backup.status.get("method") or "")


def _takes(backup: Resource[BackupSpec], data: Data, known: Sequence[Data]) -> bool:
    source = backup.spec.source
    if data.container:
        return source.container == data.container
    if source.application is None or source.environment != data.environment:
        return False
    for application, component, volume in data.users:
        if (source.application, source.component) != (application, component):
            continue
        if _method(backup) not in _ONE_VOLUME:
            return True
        if source.volume == volume or (source.volume is None and len(_volumes_of(source, known)) == 1):
            return True
    return False


def _volumes_of(source: Any, known: Sequence[Data]) -> list[Data]:
    wanted = source.application, source.component
    return [
        data
        for data in known
        if data.environment == source.environment and any(user[:2] == wanted for user in data.users)
    ]


def _nearest(data: Data, known: Sequence[Data], backups: Sequence[Resource[BackupSpec]]) -> str:
    """Why a Backup that looks as if it took this doesn't; else what to do."""
    for backup in backups:
        source = backup.spec.source
        same = (source.application, source.component, source.environment) == (
            data.application,
            data.component,
            data.environment,
        )
        if data.component and same and not backup.suspended:
            if source.volume is None and len(_volumes_of(source, known)) > 1:
                return f"{backup.name} names none of the component's volumes"
            return f"{backup.name} takes volume {source.volume} only"
    if data.container:
        return f"write a Backup with source: {{container: {data.container}}}"
    return (
        f"write a Backup with source: {{application: {data.application}, component: {data.component}, "
        f"environment: {data.environment}}}"
    )
