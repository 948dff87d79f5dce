"""What the status of every kind shares: conditions and the inventory."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictInt

from homeport.api.base import ListMap, Model, ShortText, Token

MessageText = Annotated[str, Field(max_length=32768)]


class Condition(Model):
    """One aspect of an object's state, as metav1.Condition."""

    type: Annotated[str, Field(max_length=316)]
    """What the condition is about: Ready, Reconciling, Stalled, Suspended, Archived."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    observed_generation: Annotated[StrictInt, Field(ge=0)] | None = None
    """The metadata.generation that the condition was computed for."""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """When the status last flipped."""
    reason: Annotated[str, Field(max_length=128)]
    """Why, as one word of a closed list."""
    message: MessageText = ""
    """What a person needs to know."""


class InventoryEntry(Model):
    """One object that was made for this resource."""

    id: Annotated[str, Field(max_length=600)]
    """``<namespace>_<name>_<group>_<kind>``."""
    v: ShortText
    """The API version it was applied with."""
    environment: ShortText | None = None
    """The environment it belongs to."""


class Inventory(Model):
    """Every object that was made for this resource; what leaves the desired set is pruned by it."""

    entries: Annotated[tuple[InventoryEntry, ...], Field(max_length=2048), ListMap("id")] = ()
    """The objects, sorted by id."""


class Status(Model):
    """What every kind reports."""

    observed_generation: StrictInt = -1
    """The metadata.generation that this status was computed for; -1 before the first reconciliation."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16), ListMap("type")] = ()
    """Ready always; Reconciling, Stalled, Suspended and Archived while True."""
    last_handled_reconcile_at: Token | None = None
    """The last value of the annotation homeport.dev/reconcile-at that was acted on."""
