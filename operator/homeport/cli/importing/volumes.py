"""Compose's mounts as volumes: claims, empty directories, and what a component can't have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from homeport.cli.importing import images
from homeport.cli.importing.conversion import ACCESS, END, SIZE, Component, Conversion
from homeport.cli.importing.mounts import Mount
from homeport.cli.importing.service import Service
from homeport.cli.importing.source import slug

_OF_THE_NODE = ("/etc", "/var/run", "/run", "/dev", "/proc", "/sys", "/lib/modules", "/boot", "/usr")
_SIZES = {"b": "", "": "", "k": "Ki", "kb": "Ki", "m": "Mi", "mb": "Mi", "g": "Gi", "gb": "Gi"}


def volumes(of: Conversion, service: Service) -> list[Component]:
    """The volumes of a service's component."""
    out: list[Component] = []
    taken: set[str] = set()
    targets: set[str] = set()
    for mount in service.mounts:
        if not mount.target or mount.target.rstrip("/") in targets:
            of.note(service.name, "volumes", f"{mount.target or mount.source}: it is mounted twice", dropped=True)
            continue
        volume = _volume(of, service, mount)
        if volume is not None:
            targets.add(mount.target.rstrip("/"))
            while volume["name"] in taken:
                volume["name"] += "-2"
            taken.add(volume["name"])
            out.append(volume)
    return out


def _carried(of: Conversion, service: Service, mount: Mount, where: str) -> bool:
    """Whether a mount becomes a volume; if not, why is said."""
    if mount.kind == "bind":
        if mount.source.startswith(_OF_THE_NODE) or mount.source.endswith(".sock"):
            why = "a component can't read its node's files"
            if "localtime" in mount.source or "timezone" in mount.source:
                why += "; set the variable TZ"
            elif mount.source.endswith(".sock"):
                why += ", and this socket would make it the node's root"
            of.note(service.name, where, why, dropped=True)
            return False
        if PurePosixPath(mount.target).suffix and PurePosixPath(mount.source).suffix:
            of.note(
                service.name, where, f"write the file's content in files beside catalog: {mount.target}", dropped=True
            )
            return False
        of.note(service.name, where, "is a new, empty volume; what is in the folder isn't copied")
    elif mount.kind != "volume":
        of.note(service.name, where, f"there are no volumes of type {mount.kind}", dropped=True)
        return False
    return True


def _volume(of: Conversion, service: Service, mount: Mount) -> Component | None:
    where = f"volumes[{mount.source or mount.target}]"
    if mount.kind == "tmpfs":
        limit = size(mount.size)
        return {
            "name": slug(f"tmp-{mount.target}"),
            "path": mount.target,
            "ephemeral": True,
            **({"size": limit} if limit else {}),
        }
    if not _carried(of, service, mount, where):
        return None
    named = mount.kind == "volume" and mount.source
    key = slug(mount.source if named else f"{service.name}-{mount.target}", 40) or "data"
    settings = (of.source.compose.get("volumes") or {}).get(mount.source) if named else None
    for option in settings or {} if isinstance(settings, Mapping) else ():
        of.note(
            "",
            f"volumes.{mount.source}.{option}",
            "the storage class decides; a claim that is there: existingClaim",
            dropped=True,
        )
    of.sizes.setdefault(key, "2Gi")
    out: Component = {"name": key, "path": mount.target}
    owner = of.shared.get(mount.source) if named else None
    if owner is not None and owner != service.name:
        out["existingClaim"] = f"{of.host(owner)}-{key}"
    else:
        out["size"] = f"{SIZE}{key}{END}"
        if owner is not None:
            out["accessModes"] = [ACCESS]
    if mount.sub_path or images.wants_an_empty_folder(service.image):
        out["subPath"] = mount.sub_path or "data"
    if mount.read_only:
        out["readOnly"] = True
    return out


def size(value: Any) -> str:
    """Compose's 512m as Kubernetes's 512Mi; empty for what isn't an amount."""
    match = re.match(r"^(\d+(?:\.\d+)?)\s*([a-zA-Z]*)$", str(value or "").strip())
    unit = _SIZES.get(match.group(2).lower()) if match else None
    return f"{match.group(1)}{unit}" if match and unit is not None else ""
