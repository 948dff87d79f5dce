"""Values of secrets: read where pipeline.yaml says that they are, in the process that needs them, and kept nowhere.

A *reference* is a ``Source`` as JSON; it is what Pulumi's state has in a value's place, with a digest to compare.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from homeport.drivers.kubernetes import config, types
from homeport.drivers.kubernetes.client import Client
from homeport.drivers.kubernetes.errors import ApiError
from homeport.pipelines.repository import Source
from homeport_clusters.providers.base import ProviderError

CONTEXT = "HOMEPORT_KUBE_CONTEXT"
"""The kubeconfig's context, for those who read a Secret; the kubeconfig itself is KUBECONFIG's."""

Reference = Mapping[str, Any]
T = TypeVar("T")


def reference(source: Source, folder: Path) -> dict[str, Any]:
    """As JSON; a file by its whole path."""
    if source.file is not None:
        return {"file": str((folder / source.file).expanduser().resolve())}
    return source.model_dump(by_alias=True, exclude_none=True)


def value(what: str, source: Reference) -> str:
    """The value. Raises ProviderError that says which one isn't there, and never what is."""
    if "env" in source:
        found = os.environ.get(source["env"], "")
        where = f"the variable {source['env']}"
    elif "file" in source:
        where = f"the file {source['file']}"
        try:
            found = Path(source["file"]).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it isn't text"
            raise ProviderError(f"{what}: {where} can't be read: {why}") from None
    else:
        key = source["secret"]
        where = f"key {key['key']} of Secret {key['namespace']}/{key['name']}"
        found = apart(_secret(what, where, key))
    if not found:
        raise ProviderError(f"{what}: {where} has no value; set it, or write in pipeline.yaml where the value is")
    return found


def digest(about: str, found: str) -> str:
    """What tells whether a value is another than the one that was written. ``about`` keeps equal values apart.

    The state has it as a secret: who reads it could try values.
    """
    return hmac.new(about.encode(), found.encode(), hashlib.sha256).hexdigest()


def apart(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end in a thread of its own: Pulumi runs programs inside of an event loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


async def object_of(kind: types.GVK, namespace: str, name: str, what: str) -> dict[str, Any] | None:
    """An object of the kubeconfig's cluster. Raises ProviderError."""
    try:
        loaded = config.load(None, context=os.environ.get(CONTEXT) or None)
        client = Client(loaded, user_agent="homeport-pipelines", timeout=20.0)
        try:
            found = await client.get(kind, namespace, name)
        finally:
            await client.close()
    except (config.KubeconfigError, ApiError, OSError) as error:
        raise ProviderError(f"{what}: {kind.kind} {namespace}/{name} can't be read: {error}") from None
    return None if found is None else dict(found)


async def _secret(what: str, where: str, key: Mapping[str, str]) -> str:
    found = await object_of(types.SECRET, key["namespace"], key["name"], what)
    if found is None:
        raise ProviderError(f"{what}: there is no Secret {key['namespace']}/{key['name']}")
    try:
        return base64.b64decode((found.get("data") or {}).get(key["key"]) or "").decode().rstrip("\r\n")
    except (binascii.Error, UnicodeDecodeError):
        raise ProviderError(f"{what}: {where} isn't text") from None
