"""What charts are told of the cluster: its version and its APIs. Asked again only when definitions have changed."""

from __future__ import annotations

from collections.abc import Callable

from homeport.drivers.kubernetes import errors
from homeport.drivers.kubernetes.protocol import Api
from homeport.plan.gitops.build import Serves

SETTLE = 2.0
"""Seconds after a definition's change in which an answer isn't kept: what is served follows a moment later."""


async def serves(client: Api) -> Serves:
    """Two requests. Raises ApiError."""
    version = await client.version()
    return Serves(str(version.get("gitVersion", "")), await client.apis())


class Offers:
    """Keeps the answer. ``clock`` is in seconds."""

    def __init__(self, client: Callable[[], Api], clock: Callable[[], float]) -> None:
        self._client = client
        self._clock = clock
        self._known: Serves | None = None
        self._changed_at = float("-inf")
        self._asked = False

    async def serves(self) -> Serves:
        """As last heard; nothing while the API server doesn't say."""
        self._asked = True
        if self._known is not None:
            return self._known
        try:
            found = await serves(self._client())
        except errors.ApiError:
            return Serves()
        if self._clock() - self._changed_at >= SETTLE:
            self._known = found
        return found

    def changed(self) -> bool:
        """A definition came, changed or went; whether somebody has asked since that was last so."""
        self._changed_at, self._known = self._clock(), None
        asked, self._asked = self._asked, False
        return asked
