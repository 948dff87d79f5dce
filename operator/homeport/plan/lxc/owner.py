"""Whose a container is. The mark is a line of its description, below the user's text; the tags are an index only.

Clone and restore copy description and tags, so the VMID is part of the mark: what carries another VMID's mark is a
copy, and nobody's of ours. UIDs aren't in it: they change when a cluster is rebuilt from its manifests.
"""

from __future__ import annotations

import re
from typing import NamedTuple

TAG = "homeport"
RETAINED_TAG = "homeport-retained"

_MARK = re.compile(
    r"^homeport\.dev/(?P<kind>owner|retained)=(?P<installation>[^/\s]+)/(?P<namespace>[^/\s]+)/(?P<name>[^/\s]+)"
    r"/(?P<vmid>\d+)[ \t]*$",
    re.MULTILINE,
)


class Owner(NamedTuple):
    """Whose a container is."""

    installation: str
    """The operator's --control-plane, or the UID of its kube-system."""
    namespace: str
    name: str
    vmid: int

    @property
    def shown(self) -> str:
        """For people."""
        return f"LXCContainer {self.namespace}/{self.name} of installation {self.installation}, VMID {self.vmid}"


class Mark(NamedTuple):
    """What a description says."""

    owner: Owner
    retained: bool = False
    """Whether its owner has gone, and left it."""


def marks(description: str) -> tuple[Mark, ...]:
    """All marks in it; more than one is somebody's doing, and proves nothing."""
    return tuple(
        Mark(
            Owner(found["installation"], found["namespace"], found["name"], int(found["vmid"])),
            found["kind"] != "owner",
        )
        for found in _MARK.finditer(description)
    )


def is_ours(description: str, owner: Owner) -> bool:
    """Whether the container is ``owner``'s, and nobody else's."""
    return marks(description) == (Mark(owner),)


def is_left(description: str, owner: Owner) -> bool:
    """Whether ``owner`` had it, and left it when it was deleted."""
    return marks(description) == (Mark(owner, True),)


def is_free(description: str, namespace: str) -> bool:
    """Whether nobody claims it, and it wasn't kept by anybody outside of ``namespace``: what was kept may hold data,
    and another project's stays its own."""
    return all(mark.retained and mark.owner.namespace == namespace for mark in marks(description))


def kept_elsewhere(description: str, namespace: str) -> Owner | None:
    """Who has left it, in another namespace; None when somebody has it, or nobody did."""
    found = marks(description)
    if not found or not all(mark.retained for mark in found):
        return None
    return next((mark.owner for mark in found if mark.owner.namespace != namespace), None)


def holder(description: str) -> str:
    """Whose it is, for people."""
    found = marks(description)
    if not found:
        return "nobody of Homeport's"
    return " and ".join(mark.owner.shown + (" (left behind)" if mark.retained else "") for mark in found)


def text(description: str) -> str:
    """The user's part."""
    return _MARK.sub("", description).rstrip()


def described(user_text: str, owner: Owner, *, retained: bool = False) -> str:
    """The description of ``owner``'s container."""
    kind = "retained" if retained else "owner"
    mark = f"homeport.dev/{kind}={owner.installation}/{owner.namespace}/{owner.name}/{owner.vmid}"
    above = text(user_text)
    return f"{above}\n\n{mark}" if above else mark
