"""What the commands about backups share: the resources, new names, sizes and moments."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from homeport.api import labels
from homeport.cli import candidates, kinds, output
from homeport.cli.cluster import Connection, one
from homeport.cli.errors import Failure
from homeport.cli.options import Decorator
from homeport.drivers.kubernetes.types import Manifest

BACKUP = kinds.find("backup")
RUN = kinds.find("backuprun")
RESTORE = kinds.find("restore")
MANAGER = "homeport-cli"
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")

NAME: Decorator = click.argument("name", metavar="BACKUP", shell_complete=candidates.backups)


def name_of(text: str) -> str:
    """``nightly`` or ``backup/nightly`` as the name. Raises Failure for another kind."""
    kind, slash, name = text.rpartition("/")
    if slash and kinds.find(kind).kind != "Backup":
        raise Failure(f"{text} is no Backup", f"write the Backup's name, such as {name or 'nightly'}")
    return name


async def found(connection: Connection, name: str, namespace: str | None) -> Manifest:
    """The Backup. Raises Failure that says where it is instead."""
    return await one(connection.client, BACKUP, namespace or connection.namespace, name_of(name))


def new_name(stem: str) -> str:
    """A name that isn't taken, as ``generateName`` makes one; known beforehand, so that it can be shown."""
    return f"{stem}-{''.join(secrets.choice(_LETTERS) for _ in range(5))}"


def manifest(kind: str, namespace: str, name: str, spec: Mapping[str, Any]) -> Manifest:
    """A resource of ours."""
    return {
        "apiVersion": labels.API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": dict(spec),
    }


def status(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The status, empty when there is none."""
    return body.get("status") or {}


def size(number: Any) -> str:
    """Bytes for people, in binary units; empty for nothing."""
    if not isinstance(number, int):
        return ""
    value, unit = float(number), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 100 else f"{value:.1f} {_UNITS[unit]}"


def until(text: str | None, now: datetime | None = None) -> str:
    """How long until a moment; ``now`` when it has passed, empty when there is none."""
    then = output.parse_time(text)
    if then is None:
        return ""
    seconds = (then - (now or datetime.now(UTC))).total_seconds()
    return "now" if seconds <= 0 else output.duration(seconds)


def day(text: str | None) -> str:
    """A moment as people write it, in UTC, to the minute."""
    then = output.parse_time(text)
    return text or "" if then is None else then.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
