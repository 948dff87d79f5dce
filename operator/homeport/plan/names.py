"""Names, labels and digests of what is rendered."""

from __future__ import annotations

import hashlib
import json
import math
import re
from functools import lru_cache
from typing import Any

from homeport.api import labels

AUTOSCALED = f"{labels.GROUP}/autoscaled"
"""On a workload: its replicas belong to an autoscaler."""
RESTARTED_AT = f"{labels.GROUP}/restarted-at"
"""On a Pod template: the token of ``restartAt``."""
RESERVED_VOLUME_PREFIX = "homeport-"
"""Volumes that rendering adds to a Pod are called so; users' may not be."""
REFERENCE = re.compile(r"\$\(([-._a-zA-Z0-9]+)\)")
"""``$(NAME)``, as in a Pod's environment."""

LABEL_LIMIT = 63
_LABEL_VALUE = re.compile(r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")


def digest(text: str, length: int = 8) -> str:
    """The first ``length`` hexadecimal digits of the SHA-256 of ``text``."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def digest_of(value: Any, length: int = 16) -> str:
    """A digest of JSON data, whatever the order of its keys."""
    return digest(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False), length)


@lru_cache(maxsize=4096)
def label_value(text: str) -> str:
    """``text`` as a label's value: at most 63 characters; what is cut off or not allowed is replaced by a digest."""
    if not text or _LABEL_VALUE.match(text):
        return text
    clean = re.sub(r"[^-A-Za-z0-9_.]", "_", text)
    if _LABEL_VALUE.match(clean):
        return clean
    return f"{clean[: LABEL_LIMIT - 9].strip('-_.')}-{digest(text)}".lstrip("-")


def bounded(name: str, limit: int) -> str:
    """``name`` in at most ``limit`` characters: what is cut off is replaced by a digest of the whole."""
    return name if len(name) <= limit else f"{name[: limit - 9].rstrip('-.')}-{digest(name)}"


JOB_HASH_LENGTH = 8
"""How much of its digest is in a Job's name."""


def job(stem: str, job_hash: str) -> str:
    """The name of a Job that runs once: its Pods' labels hold it, so 63 characters are the limit."""
    return f"{bounded(stem, LABEL_LIMIT - 1 - JOB_HASH_LENGTH)}-{job_hash[:JOB_HASH_LENGTH]}"


def volume(kind: str, name: str) -> str:
    """The name of a volume that rendering adds to a Pod for the object ``name``."""
    return bounded(f"{RESERVED_VOLUME_PREFIX}{kind}-{name.replace('.', '-')}", LABEL_LIMIT)


def tls_secret(host: str) -> str:
    """Where cert-manager puts the certificate of ``host``."""
    return bounded(host.replace("*", "wildcard").replace(".", "-"), 249) + "-tls"


def file_keys(paths: list[str]) -> dict[str, str]:
    """A ConfigMap key for each path: ``/etc/app/settings.toml`` is ``etc.app.settings.toml``."""
    plain = {path: re.sub(r"[^-._a-zA-Z0-9]", "-", path.strip("/").replace("/", ".")) for path in paths}
    taken: dict[str, int] = {}
    for key in plain.values():
        taken[key] = taken.get(key, 0) + 1
    return {
        path: key if taken[key] == 1 and len(key) <= 253 and key not in ("", ".", "..") else _told_apart(path, key)
        for path, key in plain.items()
    }


def _told_apart(path: str, key: str) -> str:
    return f"{key[:240]}-{digest(path)}"


def tag(version: str) -> str:
    """A semantic version as an image tag or label value, neither of which may hold a plus sign."""
    return version.replace("+", "_")


@lru_cache(maxsize=4096)
def image(reference: str, version: str) -> str:
    """``reference`` with the version as its tag, unless it has a tag or digest of its own.

    The colon of a registry's port isn't a tag's: only the part after the last slash can hold a tag.
    """
    if "@" in reference or ":" in reference.rsplit("/", 1)[-1]:
        return reference
    return f"{reference}:{tag(version)}"


def pull_policy(reference: str) -> str:
    """What Kubernetes takes when an image says nothing. It is declared, for a default once filled in would stay when
    the tag changes."""
    if "@" in reference:
        return "IfNotPresent"
    _, colon, tag_ = reference.rsplit("/", 1)[-1].partition(":")
    return "Always" if not colon or tag_ == "latest" else "IfNotPresent"


_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION_PART = re.compile(r"([0-9]+)(ms|s|m|h|d)")


def seconds(duration: str) -> int:
    """A duration such as 1h30m in whole seconds, at least 1."""
    return max(1, math.ceil(sum(int(n) * _UNITS[unit] for n, unit in _DURATION_PART.findall(duration))))
