"""Secrets that the operator makes for itself, once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from homeport.api import labels
from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.cluster import Cluster


async def made_once(
    cluster: Cluster, namespace: str, name: str, new: Callable[[], Mapping[str, str]]
) -> Mapping[str, str]:
    """The data of a Secret, base64; it is made of ``new`` when it isn't there.

    Of two that make it at once, what the first has made counts for both. Raises ApiError, and ValueError when it comes
    and goes.
    """
    for _ in range(3):
        found = await cluster.client.get(types.SECRET, namespace, name)
        if found is not None:
            data: Mapping[str, str] = found.get("data") or {}
            return data
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace, "labels": {labels.PRIVATE: "true"}},
            "data": dict(new()),
        }
        with contextlib.suppress(errors.AlreadyExists):
            await cluster.client.create(types.SECRET, namespace, body)
    raise ValueError(f"Secret {namespace}/{name} comes and goes")
