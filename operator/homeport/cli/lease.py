"""Whether an operator is at work, read from the Lease that its leader holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rich.text import Text

from homeport.cli import output
from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.protocol import Api

LEASE = "homeport-operator"
GRACE = 5.0
"""Seconds beyond the Lease's own duration before we say that nobody renews it: clocks differ a little."""

State = Literal["alive", "silent", "stopped", "absent", "unknown"]


@dataclass(frozen=True)
class Operator:
    """Who leads, and when that was last said. ``message`` is for ``unknown``."""

    state: State
    holder: str = ""
    renewed: float | None = None
    message: str = ""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "state": self.state,
            "holder": self.holder,
            "renewedSecondsAgo": None if self.renewed is None else round(self.renewed, 1),
            "message": self.message,
        }

    @property
    def text(self) -> Text:
        """A line for people."""
        ago = output.duration(self.renewed) if self.renewed is not None else "?"
        match self.state:
            case "alive":
                return Text(f"operator: alive, {self.holder}, renewed {ago} ago", "green")
            case "silent":
                return Text(f"operator: SILENT, {self.holder} renewed {ago} ago; nothing is reconciled", "bold red")
            case "stopped":
                return Text(f"operator: stopped {ago} ago; nothing is reconciled", "bold red")
            case "absent":
                return Text("operator: none has ever led here; start one with `homeport up`, or its chart", "bold red")
        return Text(f"operator: unknown, {self.message}", "yellow")


async def look(client: Api, namespace: str) -> Operator:
    """How the operator is. Raises no ApiError but for a server that doesn't answer."""
    try:
        lease = await client.get(types.LEASE, namespace, LEASE)
    except errors.ServerUnavailable:
        raise
    except errors.ApiError as error:
        return Operator("unknown", message=str(error))
    return Operator("absent") if lease is None else read(lease)


def read(lease: Mapping[str, Any]) -> Operator:
    """What a Lease says."""
    spec = lease.get("spec") or {}
    holder = str(spec.get("holderIdentity") or "")
    renewed = output.seconds_since(spec.get("renewTime"))
    if not holder:
        return Operator("stopped", renewed=renewed)
    patience = float(spec.get("leaseDurationSeconds") or 15) + GRACE
    alive = renewed is not None and renewed <= patience
    return Operator("alive" if alive else "silent", holder, renewed)
