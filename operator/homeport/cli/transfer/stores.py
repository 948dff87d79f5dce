"""The repositories that BackupRepositories of a cluster stand for, as this machine reaches them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from homeport.cli.transfer.restic import Repository
from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.protocol import Api
from homeport.drivers.kubernetes.types import Manifest
from homeport.plan.backup import access


class Unreachable(Exception):  # noqa: N818 - it is told, not raised at anybody
    """Why a repository can't be used from here."""


async def store(client: Api, body: Manifest, scratch: Path) -> Repository:
    """The repository of a BackupRepository. Raises Unreachable."""
    spec, namespace, name = body["spec"], body["metadata"]["namespace"], body["metadata"]["name"]
    s3 = spec.get("s3")
    if s3 is None:
        where = "a volume of the cluster" if "filesystem" in spec else "a storage of Proxmox VE"
        raise Unreachable(f"BackupRepository {name} is on {where}, which can't be reached from here")
    keys = await _secret(client, namespace, s3["credentialsSecretRef"]["name"])
    reference = (spec.get("encryption") or {}).get("passwordSecretRef") or {
        "name": access.generated_password(name),
        "key": "password",
    }
    password = _key(await _secret(client, namespace, reference["name"]), reference["name"], reference["key"])
    options: tuple[str, ...] = ()
    if ca := s3.get("caSecretRef"):
        path = scratch / f"{name}-ca.crt"
        path.write_text(_key(await _secret(client, namespace, ca["name"]), ca["name"], ca.get("key") or "ca.crt"))
        options = (f"--cacert={path}",)
    region = {"AWS_DEFAULT_REGION": s3["region"]} if s3.get("region") else {}
    reference_name = s3["credentialsSecretRef"]["name"]
    return Repository(
        location(s3),
        password,
        {
            "AWS_ACCESS_KEY_ID": _key(keys, reference_name, access.ACCESS_KEY),
            "AWS_SECRET_ACCESS_KEY": _key(keys, reference_name, access.SECRET_KEY),
            **region,
        },
        options,
    )


def location(s3: Mapping[str, Any]) -> str:
    """As restic spells it."""
    return "s3:" + "/".join(filter(None, (s3["endpoint"].rstrip("/"), s3["bucket"], s3.get("prefix"))))


def tags(backup: Mapping[str, Any], run: str) -> tuple[str, str]:
    """Those of all snapshots of a Backup's run."""
    metadata = backup["metadata"]
    return f"backup={access.kept_as(metadata['namespace'], metadata['name'])}", f"run={run}"


async def _secret(client: Api, namespace: str, name: str) -> dict[str, str]:
    found = await client.get(types.SECRET, namespace, name)
    if found is None:
        raise Unreachable(f"Secret {name} isn't in namespace {namespace}")
    return {key: base64.b64decode(value).decode(errors="replace") for key, value in (found.get("data") or {}).items()}


def _key(data: Mapping[str, str], name: str, key: str) -> str:
    if key not in data:
        raise Unreachable(f"Secret {name} has no key {key}")
    return data[key]
