"""``homeport notify``: whether a Notification's messages arrive."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import click

from homeport.api import labels
from homeport.cli import edit, kinds, sources
from homeport.cli.cluster import Connection, connected, one, run
from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, KUBE, NAMESPACE, Options, pass_options, with_options
from homeport.cli.standing import condition
from homeport.drivers.kubernetes.types import Manifest

NOTIFICATION = kinds.find("notification")


@click.group()
@with_options(DEBUG)
def notify() -> None:
    """Try a Notification."""


@notify.command("test")
@click.argument("name", metavar="NOTIFICATION")
@with_options(NAMESPACE, edit.TIMEOUT, *KUBE, DEBUG)
@pass_options
def test(options: Options, *, name: str, namespace: str | None, timeout: int) -> int:
    """Have the operator send one message, and say whether it was taken.

    It sets the annotation homeport.dev/notify-test. Exit code 0: the receiver has taken it; 1: it hasn't, or nobody
    sent it.
    """
    return run(_test(options, name, namespace, timeout))


async def _test(options: Options, name: str, namespace: str | None, patience: float) -> int:
    async with connected(options) as connection:
        body = await one(connection.client, NOTIFICATION, namespace or connection.namespace, name)
        spec = body.get("spec") or {}
        if "commitStatus" in spec:
            raise Failure(
                f"{name} marks commits, and sends no messages", f"`homeport get notification {name}` says how that goes"
            )
        if spec.get("suspend"):
            raise Failure(f"{name} is suspended", f"`homeport resume notification/{name}` first")
        token = datetime.now(UTC).isoformat()
        await sources.annotate(connection, body, {labels.NOTIFY_TEST: token})
        sent = await _sent(connection, body, token, patience)
        ready = condition(await one(connection.client, NOTIFICATION, body["metadata"]["namespace"], name), "Ready")
    if sent is None:
        why = f": {ready['message']}" if ready and ready["status"] == "False" else ""
        raise Failure(f"nobody has sent it after {patience:g} s{why}", "`homeport status` says what is at work")
    if not sent.get("delivered"):
        raise Failure(f"it wasn't taken: {sent.get('message', '')}")
    more = f" ({sent['message']})" if sent.get("message") else ""
    click.echo(f"{name}: the message was taken{more}")
    return 0


async def _sent(connection: Connection, body: Manifest, token: str, patience: float) -> dict[str, Any] | None:
    """How the message went; None when nobody has sent it in time."""
    metadata = body["metadata"]
    try:
        async with asyncio.timeout(patience):
            while True:
                async for seen in edit.states(
                    connection.client, NOTIFICATION, metadata.get("namespace") or "", metadata["name"]
                ):
                    found = (seen.get("status") or {}).get("lastTest") or {}
                    if found.get("token") == token:
                        return dict(found)
    except TimeoutError:
        return None
