"""The names under which Homeport's kinds go on the command line.

The typed models know them too, but take most of a second to import, which a person would wait for at every key
pressed for completion; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from homeport.cli.errors import Failure
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.types import GVK


@dataclass(frozen=True)
class KindName:
    """A kind of ours, and its short name."""

    gvk: GVK
    short: str
    other: tuple[str, ...] = ()
    """What people call it, too."""

    @property
    def kind(self) -> str:
        """As manifests spell it."""
        return self.gvk.kind

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that a person may write for it, the usual one first."""
        singular, plural = self.gvk.kind.lower(), self.gvk.plural
        return (singular, plural, self.short, self.short.removeprefix("hp"), f"{plural}.{self.gvk.group}", *self.other)


ALL: tuple[KindName, ...] = (
    KindName(types.PROJECT, "hpproj"),
    KindName(types.ENVIRONMENT, "hpenv"),
    KindName(types.APPLICATION, "hpapp"),
    KindName(types.PROXMOX_HOST, "hppve"),
    KindName(types.LXC_CONTAINER, "hplxc"),
    KindName(types.CATALOG_ITEM, "hpcat"),
    KindName(types.BACKUP_REPOSITORY, "hprepo"),
    KindName(types.BACKUP, "hpbk"),
    KindName(types.BACKUP_RUN, "hprun"),
    KindName(types.RESTORE, "hprs"),
    KindName(types.GIT_SOURCE, "hpgit", ("source", "sources")),
    KindName(types.IMAGE_UPDATE, "hpimg"),
    KindName(types.NOTIFICATION, "hpnotify"),
)
"""From owner to owned."""


def find(text: str) -> KindName:
    """The kind that ``text`` names. Raises Failure that lists the kinds."""
    wanted = text.lower()
    for kind in ALL:
        if wanted in kind.names or wanted == f"{kind.short.removeprefix('hp')}s":
            return kind
    raise Failure(f"there is no kind {text!r}", f"the kinds are {', '.join(f'{k.names[0]} ({k.short})' for k in ALL)}")


def several(text: str | None) -> list[KindName]:
    """The kinds in a list with commas; all of them for nothing, ``all`` or ``homeport``."""
    if text is None or text in ("all", "homeport"):
        return list(ALL)
    return list(dict.fromkeys(find(part) for part in text.split(",") if part))


def split(words: Iterable[str]) -> tuple[str | None, list[str]]:
    """``KIND NAME…`` or ``KIND/NAME…`` as the kind and the names. Raises Failure for two kinds with names."""
    given = list(words)
    if not given:
        return None, []
    if "/" not in given[0]:
        return given[0], given[1:]
    pairs = [word.partition("/") for word in given]
    kinds = {find(kind).kind for kind, _, _ in pairs}
    if len(kinds) > 1 or not all(name for _, _, name in pairs):
        raise Failure("write one kind, as KIND NAME NAME… or KIND/NAME KIND/NAME…")
    return pairs[0][0], [name for _, _, name in pairs]
