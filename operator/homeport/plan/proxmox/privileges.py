"""What a token may do, and what each feature needs of it.

``/access/permissions`` answers path -> privilege -> 1 if it holds below that path too. It lists the top levels, the
paths that have an ACL, and what pools hold: what isn't listed has what the nearest listed path above passes on. A path
on which all is taken away (NoAccess) isn't listed either, and can't be told from one without an ACL.

Sources: pve-access-control ``RPCEnvironment.pm`` (``get_effective_permissions``, ``check_vm_perm``), the
``permissions`` of each method in the API viewer, pve-container ``LXC.pm`` (``check_ct_modify_config_perm``) and
``API2/LXC.pm``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

Permissions = Mapping[str, Mapping[str, int]]


class Feature(StrEnum):
    """What a token is for."""

    INVENTORY = "Inventory"
    """Seeing nodes, storages and guests; whether there is a quorum."""
    CONTAINERS = "Containers"
    """Making, changing, starting, stopping and removing containers."""
    TEMPLATES = "Templates"
    """Fetching and uploading templates."""
    BACKUPS = "Backups"
    """Backing containers up by vzdump, removing what retention lets go, and restoring."""


ROLE: Mapping[Feature, tuple[str, ...]] = {
    Feature.INVENTORY: ("Sys.Audit", "VM.Audit", "Datastore.Audit"),
    Feature.CONTAINERS: (
        "VM.Allocate",
        "VM.Audit",
        "VM.PowerMgmt",
        "VM.Config.CPU",
        "VM.Config.Disk",
        "VM.Config.Memory",
        "VM.Config.Network",
        "VM.Config.Options",
        "Datastore.AllocateSpace",
        "SDN.Use",
    ),
    Feature.TEMPLATES: ("Datastore.AllocateTemplate",),
    Feature.BACKUPS: ("VM.Backup", "Datastore.AllocateSpace", "Datastore.Audit"),
}
"""By feature: the privileges of a role that is just enough."""

BRIDGES = "/sdn/zones/localnetwork"
"""Above the bridges that aren't virtual networks of SDN."""
_GUEST = tuple(name for name in ROLE[Feature.CONTAINERS] if name.startswith("VM.") and name != "VM.Audit")


class Need(NamedTuple):
    """A privilege on a path; ``alternative`` is a path on which it does as well (a guest's pool)."""

    feature: Feature
    path: str
    privilege: str
    alternative: str = ""


@dataclass(frozen=True)
class Use:
    """What somebody is allowed to use of a host; empty lists mean all of it."""

    pool: str | None = None
    storages: Sequence[str] = ()
    bridges: Sequence[str] = ()


def needs(uses: Iterable[Use], templates: Iterable[str] = (), backups: Iterable[str] = ()) -> tuple[Need, ...]:
    """What a token needs for the inventory, and for containers within ``uses``; where none are, for the inventory.

    ``templates``: the storages that templates are fetched to; ``backups``: those that backups are kept on. VM.Backup is
    needed on all guests, a pool isn't enough: a container that is gone is in none, and its backups are there.
    """
    out: dict[Need, None] = {Need(Feature.INVENTORY, "/", "Sys.Audit"): None}
    given = tuple(uses)
    for use in given or (Use(),):
        pool = f"/pool/{use.pool}" if use.pool else ""
        out[Need(Feature.INVENTORY, "/vms", "VM.Audit", pool)] = None
        for path in _below("/storage", use.storages):
            out[Need(Feature.INVENTORY, path, "Datastore.Audit")] = None
    for use in given:
        pool = f"/pool/{use.pool}" if use.pool else ""
        for privilege in _GUEST:
            out[Need(Feature.CONTAINERS, "/vms", privilege, pool)] = None
        for path in _below("/storage", use.storages):
            out[Need(Feature.CONTAINERS, path, "Datastore.AllocateSpace")] = None
        for path in _below(BRIDGES, use.bridges):
            out[Need(Feature.CONTAINERS, path, "SDN.Use")] = None
    for path in (f"/storage/{name}" for name in templates):
        out[Need(Feature.INVENTORY, path, "Datastore.Audit")] = None
        out[Need(Feature.TEMPLATES, path, "Datastore.AllocateTemplate")] = None
    for path in (f"/storage/{name}" for name in backups):
        out[Need(Feature.BACKUPS, "/vms", "VM.Backup")] = None
        out[Need(Feature.BACKUPS, path, "Datastore.AllocateSpace")] = None
        out[Need(Feature.BACKUPS, path, "Datastore.Audit")] = None
    return tuple(out)


def _below(path: str, names: Sequence[str]) -> list[str]:
    return [f"{path}/{name}" for name in names] or [path]


ROLE_NAMES: Mapping[str, str] = {
    "Sys": "HomeportAudit",
    "VM": "HomeportContainers",
    "VM.Backup": "HomeportBackups",
    "SDN": "HomeportNetwork",
    "Datastore.AllocateSpace": "HomeportStorage",
    "Datastore.AllocateTemplate": "HomeportTemplates",
}
"""By privilege, or what it begins with: the role that has it. Datastore.Audit goes along with the other two."""
STORAGE_AUDIT = "HomeportStorageAudit"


class Grant(NamedTuple):
    """Roles of a user on a path, and on all below it."""

    path: str
    roles: tuple[str, ...]


def roles(wanted: Iterable[Need]) -> tuple[dict[str, tuple[str, ...]], tuple[Grant, ...]]:
    """The roles that meet ``wanted`` and no more, by name, and where each is granted; a pool goes before all guests.

    What is granted on a path takes the place of what is granted above it (pveum(1)): so the one holds the other, too.
    """
    paths: dict[str, set[str]] = {}
    for need in wanted:
        paths.setdefault(need.alternative or need.path, set()).add(need.privilege)
    privileges: dict[str, set[str]] = {}
    granted: dict[str, set[str]] = {}
    for path, held in sorted(paths.items()):
        granted[path] = set()
        for above in (other for other in granted if path.startswith(f"{other}/") and other != "/"):
            granted[path] |= granted[above]
        for privilege in held - {_AUDIT}:
            name = ROLE_NAMES.get(privilege) or ROLE_NAMES[privilege.partition(".")[0]]
            granted[path].add(name)
            privileges.setdefault(name, set()).update({privilege} | (held & {_AUDIT}))
        if held == {_AUDIT}:
            granted[path].add(STORAGE_AUDIT)
            privileges[STORAGE_AUDIT] = {_AUDIT}
    return (
        {name: tuple(sorted(privileges[name])) for name in sorted(privileges)},
        tuple(Grant(path, tuple(sorted(granted[path]))) for path in sorted(granted)),
    )


_AUDIT = "Datastore.Audit"


def commands(wanted: Iterable[Need], user: str, token: str) -> list[str]:
    """What root runs on a node of the cluster, so that ``user!token`` may do all of ``wanted`` and no more.

    A token without privilege separation has its user's: that user is for nothing else, and has no password.
    """
    made, granted = roles(wanted)
    return [
        *(f'pveum role add {name} --privs "{" ".join(made[name])}"' for name in made),
        f"pveum user add {user} --comment Homeport",
        *(f"pveum acl modify {path} --users {user} --roles {','.join(names)}" for path, names in granted),
        f"pveum user token add {user} {token} --privsep 0",
    ]


def holds(permissions: Permissions, path: str, privilege: str) -> bool:
    """Whether a token with these permissions has ``privilege`` on ``path``."""
    if path in permissions:
        return privilege in permissions[path]
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        if path in permissions:
            return bool(permissions[path].get(privilege))
    return False


def missing(permissions: Permissions, wanted: Iterable[Need]) -> tuple[Need, ...]:
    """The needs that aren't met."""
    return tuple(
        need
        for need in wanted
        if not holds(permissions, need.path, need.privilege)
        and not (need.alternative and holds(permissions, need.alternative, need.privilege))
    )
