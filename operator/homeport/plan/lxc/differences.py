"""What differs, and what of it can be sent. Pure values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from homeport.api.lxcstatus import MountState
from homeport.plan.proxmox.config import Impact

RISKY = ("net", "features", "memory", "swap", "cores", "cpulimit", "nameserver")
"""Options whose change may leave a container unwell: they are put back if it does."""
SECRET = frozenset({"env"})
"""Options whose values are never shown."""


@dataclass(frozen=True)
class Difference:
    """A field that isn't as wanted. ``send`` is the option's new value, None to delete it."""

    field: str
    wanted: str
    found: str
    impact: Impact
    send: str | None = None
    sends: bool = True
    """Whether sending ``send`` mends it."""
    waits: bool = False
    """Whether it was sent, and waits for a reboot."""
    revert: bool = False
    """Whether what waits has only to be taken back."""


@dataclass(frozen=True)
class Resize:
    """A disk that has to grow."""

    disk: str
    size: int


@dataclass(frozen=True)
class Diff:
    """What differs."""

    differences: tuple[Difference, ...] = ()
    resizes: tuple[Resize, ...] = ()
    drop_unused: tuple[str, ...] = ()
    """``unusedN`` whose volumes were declared ``deletionPolicy: Delete`` and have left the spec."""
    lost: tuple[str, ...] = ()
    """Mounts whose volumes are gone."""
    mounts: tuple[MountState, ...] = ()
    """The mounts as they are, and as they will be when this is sent."""

    @property
    def sendable(self) -> tuple[Difference, ...]:
        """What can be mended now by a ``PUT``."""
        return tuple(d for d in self.differences if d.sends and not d.waits)

    @property
    def pending(self) -> tuple[str, ...]:
        """What waits for a reboot."""
        return tuple(d.field for d in self.differences if d.waits)

    @property
    def recreate(self) -> tuple[Difference, ...]:
        """What only a new container can have."""
        return tuple(d for d in self.differences if d.impact is Impact.RECREATE)

    def options(self) -> dict[str, str]:
        """The parameters of the ``PUT``; empty when there is nothing to send."""
        out = {d.field: d.send for d in self.sendable if d.send is not None and not d.revert}
        deletes = [d.field for d in self.sendable if d.send is None and not d.revert]
        reverts = [d.field for d in self.sendable if d.revert]
        if self.drop_unused:
            deletes.extend(self.drop_unused)
        return {
            **out,
            **({"delete": ",".join(deletes)} if deletes else {}),
            **({"revert": ",".join(reverts)} if reverts else {}),
        }

    def risky(self) -> dict[str, str]:
        """What is there now of the risky options that are about to change."""
        return {
            d.field: d.found
            for d in self.sendable
            if d.field.rstrip("0123456789") in RISKY and not d.revert and d.field not in SECRET
        }

    def without(self, fields: Iterable[str]) -> Diff:
        """The same, with the changes of these options left out of what is sent."""
        held = frozenset(fields)
        kept = tuple(
            dataclasses.replace(d, sends=False) if d.field in held else d
            for d in self.differences
        )  # fmt: skip
        return dataclasses.replace(self, differences=kept)


def recreated(field_name: str, value: str, found: str) -> Difference:
    """One that only a new container mends."""
    return Difference(field_name, value, found, Impact.RECREATE, sends=False)
