"""``homeport wait``: until objects are Ready, at the version or commit that was deployed."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click

from homeport.cli import kinds
from homeport.cli import output as out
from homeport.cli.cluster import Connection, connected, missing, run
from homeport.cli.errors import Failure
from homeport.cli.kinds import KindName
from homeport.cli.options import DEBUG, KUBE, NAMESPACE, Options, pass_options, with_options
from homeport.cli.options import output as output_option
from homeport.cli.waiting import Look, State, Want, look

CODES = {State.DONE: 0, State.TIMEOUT: 2, State.STALLED: 3}
"""Exit codes; 1 is an error."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


@dataclass(frozen=True)
class Object:
    """What is waited for."""

    kind: KindName
    namespace: str
    name: str
    want: Want

    @property
    def shown(self) -> str:
        """For people."""
        return f"{self.kind.names[0]}/{self.name}"


@click.command()
@click.argument("words", metavar="KIND/NAME…", nargs=-1, required=True)
@with_options(
    NAMESPACE,
    click.option(
        "--for",
        "condition",
        default="Ready",
        show_default=True,
        metavar="CONDITION",
        help="Or CONDITION=False; delete.",
    ),
    click.option("--version", default="", metavar="V", help="Of an Application: Ready at this version."),
    click.option("-e", "--environment", default="", metavar="NAME", help="Of an Application: there only."),
    click.option("--revision", default="", metavar="SHA", help="Of a GitSource: Ready at this commit."),
    click.option("--timeout", default="10m", show_default=True, metavar="TIME", help="How long: 90s, 10m, 1h."),
    output_option("text", "json"),
    *KUBE,
    DEBUG,
)
@pass_options
def wait(
    options: Options,
    *,
    words: tuple[str, ...],
    namespace: str | None,
    condition: str,
    version: str,
    environment: str,
    revision: str,
    timeout: str,
    output: str,
) -> int:
    """Wait until objects are Ready, telling how it goes.

    The status of an older generation doesn't count: with --version, Ready is that version's, and not that of the one
    before. With --revision, that commit was applied; one that changes nothing for the source is only known to be there
    after `homeport sync`. What isn't there yet is waited for, too.

    Exit code 0: all are; 1: an error; 2: not in time; 3: it won't come by itself, for it is stalled or suspended.
    """
    wanted = _want(condition, version.removeprefix("v"), environment, revision)
    found = _objects(words, wanted)
    return run(_wait(options, found, namespace, seconds(timeout), output))


def seconds(text: str) -> float:
    """``1m30s``, or a number of seconds, as seconds. Raises Failure."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text or (len(parts) > 1 and parts[-1][1] == ""):
        raise Failure(f"{text!r} is no time", "write it as 90s, 10m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _want(condition: str, version: str, environment: str, revision: str) -> Want:
    name, _, status = condition.removeprefix("condition=").partition("=")
    if status.lower() not in ("", "true", "false", "unknown"):
        raise Failure(f"{condition!r} is no condition", "write Ready, Ready=False, or delete")
    if name == "delete":
        if version or environment or revision:
            raise Failure("what is deleted has no version, environment or revision", "leave them out")
        return Want(deleted=True)
    if environment and (name != "Ready" or status.lower() not in ("", "true")):
        raise Failure("an environment is Ready, or isn't: it has no other conditions", "leave --for or -e out")
    if revision and not re.fullmatch(r"[0-9a-fA-F]{4,64}", revision):
        raise Failure(f"{revision!r} is no commit", "write the commit, or its first digits")
    return Want(name, status.capitalize() or "True", False, version, environment, revision)


def _objects(words: Sequence[str], want: Want) -> list[tuple[KindName, str, Want]]:
    """The objects that are named. Raises Failure where a version or commit is asked of a kind that has none."""
    pairs = [word.partition("/") for word in words]
    if not all(slash and name for _, slash, name in pairs):
        which, names = kinds.split(words)
        if which is None or not names:
            raise Failure("write what to wait for, as KIND/NAME", "for example: homeport wait application/shop")
        pairs = [(which, "/", name) for name in names]
    out = []
    for kind, _, name in pairs:
        found = kinds.find(kind)
        if (want.version or want.environment) and found.kind != "Application":
            raise Failure(f"a {found.kind} has no version", "--version and -e are for Applications")
        if want.revision and found.kind != "GitSource":
            raise Failure(f"a {found.kind} has no revision", "--revision is for GitSources")
        out.append((found, name, want))
    return out


async def _wait(
    options: Options,
    named: Sequence[tuple[KindName, str, Want]],
    namespace: str | None,
    patience: float,
    output: str,
) -> int:
    begun = time.monotonic()
    async with connected(options) as connection:
        objects = [
            Object(kind, namespace or (name if kind.kind == "Project" else connection.namespace), name, want)
            for kind, name, want in named
        ]
        looks = await asyncio.gather(*(_until(connection, one, patience) for one in objects))
    took = time.monotonic() - begun
    if output == "json":
        out.print_json([_json(one, seen, took) for one, seen in zip(objects, looks, strict=True)])
    else:
        for one, seen in zip(objects, looks, strict=True):
            mark = {State.DONE: "ready" if not one.want.deleted else "deleted"}.get(seen.state, seen.state.lower())
            click.echo(f"{one.shown}: {mark}: {seen.message}", err=seen.state is not State.DONE)
    return max((CODES[seen.state] for seen in looks), default=0)


async def _until(connection: Connection, one: Object, patience: float) -> Look:
    """The last look at an object: it is done, it is stalled, or time is up."""
    last = Look(State.WAITING, "")
    try:
        async with asyncio.timeout(patience):
            async for body in _bodies(connection, one):
                seen = look(body, one.want)
                if seen.state is not State.WAITING:
                    return seen
                if seen.message != last.message:
                    click.echo(f"{one.shown}: {seen.message}", err=True)
                last = seen
    except TimeoutError:
        pass
    told = last.message or "the cluster hasn't answered yet"
    return replace(last, state=State.TIMEOUT, message=f"not after {patience:g} s: {told}")


async def _bodies(connection: Connection, one: Object) -> AsyncIterator[Any]:
    """An object as it is, and each time that it changes, for ever; None while it isn't there."""
    from homeport.drivers.kubernetes import errors

    client, gvk = connection.client, one.kind.gvk
    namespace = one.namespace if gvk.namespaced else None
    about, answered = f"metadata.name={one.name}", False
    while True:
        try:
            items, version = await client.list(gvk, namespace, fields=about)
            answered = True
            yield items[0] if items else None
            async for told, item in client.watch(gvk, namespace, fields=about, resource_version=version):
                if told != "BOOKMARK":
                    yield None if told == "DELETED" else item
        except errors.NotFound:
            raise missing(one.kind) from None
        except (errors.Gone, errors.ServerUnavailable):
            # A cluster that never answered won't; one that did is being restarted.
            if not answered:
                raise
            await asyncio.sleep(1.0)


def _json(one: Object, seen: Look, took: float) -> dict[str, Any]:
    return {
        "kind": one.kind.kind,
        "namespace": one.namespace,
        "name": one.name,
        "state": seen.state.value,
        "message": seen.message,
        "version": seen.version,
        "seconds": round(took, 1),
    }
