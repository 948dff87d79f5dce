"""Templates that we upload: by which name they are ours, and which of them nothing needs any more. Pure.

Proxmox VE copies a template when it makes a container of it, so a container that runs doesn't need it. It is needed
for making the same one again: after its loss, or of a sibling.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from homeport.plan.world import HostReading

PREFIX = "homeport-"
"""What every name begins with, for people."""
_VOLUME = ":vztmpl/"


class Upload(NamedTuple):
    """A template on a storage, and a node that reaches it."""

    storage: str
    file: str
    node: str

    @property
    def volume(self) -> str:
        """As Proxmox VE names it."""
        return f"{self.storage}{_VOLUME}{self.file}"


def prefix(installation: str) -> str:
    """What the names of an installation's templates begin with: two installations on one host never share one."""
    return f"{PREFIX}{hashlib.sha256(installation.encode()).hexdigest()[:12]}-"


def on_host(reading: HostReading, installation: str) -> tuple[Upload, ...]:
    """The templates that this installation has uploaded; one on a shared storage once."""
    shared = {one.name for one in reading.resources.storages if one.shared}
    found: dict[tuple[str, str, str], Upload] = {}
    for node, volumes in sorted(reading.templates.items()):
        for volume in volumes:
            storage, _, file = volume.id.partition(_VOLUME)
            if file.startswith(prefix(installation)):
                found.setdefault((storage, file, "" if storage in shared else node), Upload(storage, file, node))
    return tuple(found.values())


def unneeded(uploads: Iterable[Upload], containers: Iterable[Mapping[str, Any]], host: str) -> frozenset[Upload]:
    """Those that no LXCContainer on the host names, wherever in its spec or status. ``containers``: their bodies."""
    texts = [
        json.dumps([body.get("spec"), body.get("status")])
        for body in containers
        if (body.get("status") or {}).get("host") in (None, "", host)
    ]
    return frozenset(one for one in uploads if not any(one.file in text for text in texts))
