"""What is in a kubeconfig: where it is, which of its contexts counts, and the data that its fields hold or name.

Source: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

_USERS = Path("~/.kube/config")


class KubeconfigError(ValueError):
    """A kubeconfig that cannot be used; the message says which field and what to write instead."""


def default() -> Path:
    """The kubeconfig file of whoever names none: the first of ``$KUBECONFIG``, else ``~/.kube/config``."""
    return (of_environment() or _USERS).expanduser()


def of_environment() -> Path | None:
    """The first file of ``$KUBECONFIG``."""
    return next((Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part), None)


def read(path: Path) -> dict[str, Any]:
    """What is in a kubeconfig file. Raises KubeconfigError."""
    try:
        return parsed(path.read_bytes(), f"the kubeconfig {path}")
    except OSError as error:
        raise KubeconfigError(f"the kubeconfig {path} cannot be read: {error.strerror}") from None


def parsed(text: str | bytes, name: str = "the kubeconfig") -> dict[str, Any]:
    """What is in a kubeconfig, which messages call ``name``. Raises KubeconfigError."""
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError):
        raise KubeconfigError(f"{name} is not YAML") from None
    if not isinstance(content, dict):
        raise KubeconfigError(f"{name} is empty; write one with clusters, users and contexts")
    return content


class Chosen(NamedTuple):
    """A context, and what it names."""

    context: str
    cluster: dict[str, Any]
    user: dict[str, Any]
    namespace: str


def select(content: Mapping[str, Any], context: str | None, name: str = "the kubeconfig") -> Chosen:
    """A context of a kubeconfig, which messages call ``name``; by default its current one. Raises KubeconfigError."""
    wanted = context or content.get("current-context")
    contexts, clusters, users = (_named(content, key) for key in ("contexts", "clusters", "users"))
    if not wanted and len(contexts) == 1:
        wanted = next(iter(contexts))
    if wanted not in contexts:
        known = ", ".join(sorted(contexts)) or "none"
        which = "" if context else " (current-context)"
        raise KubeconfigError(f"{name} has no context {wanted or ''!r}{which}; it has: {known}")
    chosen = contexts[wanted]
    cluster, user = clusters.get(chosen.get("cluster", "")), users.get(chosen.get("user", ""))
    for kind, found in (("cluster", cluster), ("user", user)):
        if found is None and (kind == "cluster" or chosen.get(kind)):
            raise KubeconfigError(
                f"contexts[{wanted}].context.{kind} of {name} names a {kind} that {kind}s[] doesn't have"
            )
    return Chosen(str(wanted), cluster or {}, user or {}, str(chosen.get("namespace") or "default"))


def _named(content: Mapping[str, Any], key: str) -> dict[str, dict[str, Any]]:
    singular = key.removesuffix("s")
    entries = content.get(key)
    if entries is not None and not isinstance(entries, list):
        raise KubeconfigError(f"{key} of the kubeconfig must be a list")
    return {
        str(entry["name"]): entry[singular]
        for entry in entries or []
        if isinstance(entry, dict) and "name" in entry and isinstance(entry.get(singular), dict)
    }


def data_of(entry: Mapping[str, Any], key: str, folder: Path) -> bytes | None:
    """``key``-data of a cluster or a user decoded, or the file that ``key`` names, or None. Raises KubeconfigError."""
    inline = entry.get(f"{key}-data")
    if inline:
        try:
            return base64.b64decode(str(inline), validate=False)
        except binascii.Error:
            raise KubeconfigError(f"{key}-data of the kubeconfig is not base64") from None
    named = entry.get(key)
    return file_of(key, named, folder) if named else None


def file_of(key: str, named: Any, folder: Path) -> bytes:
    """The file that a kubeconfig in ``folder`` names under ``key``. Raises KubeconfigError."""
    try:
        return (folder / str(named)).read_bytes()
    except OSError as error:
        raise KubeconfigError(f"{key} of the kubeconfig: {named} cannot be read: {error.strerror}") from None
