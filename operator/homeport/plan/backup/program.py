"""What runs in a component, read off its Pod template or its LXCContainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.plan.backup.connection import Program, SecretKey
from homeport.plan.types import Manifest

__all__ = ["Program", "main_container", "of_container", "of_pod"]


def main_container(template: Manifest, component: str) -> Manifest:
    """The component's own container: the one of its name, else the first."""
    containers: list[Manifest] = template["spec"]["containers"]
    return next((found for found in containers if found["name"] == component), containers[0])


def of_pod(template: Manifest, component: str) -> Program:
    """What a Pod's main container runs."""
    main = main_container(template, component)
    return Program(
        main.get("image", ""),
        (*(main.get("command") or ()), *(main.get("args") or ())),
        tuple(main.get("env") or ()),
        tuple(main.get("envFrom") or ()),
        _secret_files(template["spec"].get("volumes") or (), main.get("volumeMounts") or ()),
    )


def _secret_files(volumes: Any, mounts: Any) -> dict[str, SecretKey]:
    secrets: dict[str, Manifest] = {volume["name"]: volume["secret"] for volume in volumes if volume.get("secret")}
    out: dict[str, SecretKey] = {}
    for mount in mounts:
        secret = secrets.get(mount["name"])
        if secret is None:
            continue
        keys = {item["path"]: item["key"] for item in secret.get("items") or ()}
        if path := mount.get("subPath"):
            out[mount["mountPath"]] = (secret["secretName"], keys.get(path, path))
        elif keys:
            folder = mount["mountPath"].rstrip("/")
            out |= {f"{folder}/{path}": (secret["secretName"], key) for path, key in keys.items()}
        else:
            out[f"{mount['mountPath'].rstrip('/')}/"] = (secret["secretName"], "")
    return out


def of_container(container: Mapping[str, Any]) -> Program:
    """What an LXC container runs."""
    software = (container.get("spec") or {}).get("software") or {}
    files = {entry["path"]: entry["secretRef"] for entry in software.get("secretFiles") or ()}
    return Program(
        software.get("image", ""),
        (*(software.get("command") or ()), *(software.get("args") or ())),
        tuple(software.get("env") or ()),
        tuple(software.get("envFrom") or ()),
        {path: (ref["name"], ref["key"]) for path, ref in files.items()},
    )
