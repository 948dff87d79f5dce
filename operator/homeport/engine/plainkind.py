"""What most kinds have no need of: steps that do nothing."""

from __future__ import annotations

from typing import Any

from homeport.api.resource import Resource
from homeport.engine.context import Context
from homeport.engine.history import Noted
from homeport.outcome import Outcome
from homeport.plan.world import Desired


class Plain:
    """What most kinds have no need of."""

    async def prepare(self, resource: Resource[Any], world: Any, context: Context) -> Any:
        """Nothing takes a while to find out."""
        return world

    async def before(self, resource: Resource[Any], world: Any, desired: Desired, context: Context) -> Noted:
        """Nothing is written down."""
        return Noted()

    async def after(
        self, resource: Resource[Any], world: Any, desired: Desired, outcome: Outcome, context: Context
    ) -> None:
        """Nothing is left to do."""
