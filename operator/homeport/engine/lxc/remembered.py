"""What an LXCContainer's status remembers: typed, and nothing lost that another version has written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from homeport.api.conditions import Reason
from homeport.api.lxccontainer import LXCContainerSpec
from homeport.api.lxcstatus import LXCContainerStatus
from homeport.api.resource import Resource
from homeport.outcome import Stalled
from homeport.plan.lxc import status as status_plan

Container = Resource[LXCContainerSpec]
_SHARED = frozenset({"conditions", "observedGeneration", "lastHandledReconcileAt", "inventory"})
"""What all kinds have in their status."""
_OWN = {field.alias or name for name, field in LXCContainerStatus.model_fields.items()} - _SHARED


class UnreadableStatusError(Exception):
    """The status has what this version doesn't know: it can't be told what is under way."""

    def __init__(self, resource: Container, where: str) -> None:
        super().__init__(where)
        self.kept = {key: value for key, value in resource.status.items() if key not in _SHARED}
        self.outcome = Stalled(
            Reason.UNSUPPORTED_VERSION,
            f"status.{where} was written by a newer Homeport, and this one can't tell from it what is under way; "
            "nothing is touched. Run the newer one again",
        )


def remembered(resource: Container) -> LXCContainerStatus:
    """The status, typed. Raises UnreadableStatusError: what it has of a task, a replacement or a mount can't be left
    out without forgetting it."""
    try:
        return LXCContainerStatus.model_validate({key: resource.status[key] for key in resource.status.keys() & _OWN})
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UnreadableStatusError(resource, where) from None


def written(resource: Container, status: LXCContainerStatus) -> Mapping[str, Any]:
    """What is to be in the status; what a newer version has beside it stays."""
    beside = {key: value for key, value in resource.status.items() if key not in _OWN | _SHARED}
    return beside | dict(status_plan.fields(status))
