"""Changing the spec of an application that is there, onto the very version that was looked at.

The API server's resourceVersion is the precondition. The field manager is ``homeport-cli``, so that an activity log
says who it was, and a later ``kubectl apply --server-side`` of a file that says otherwise is told of the conflict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from homeport.api import labels
from homeport.cli import candidates, kinds, standing
from homeport.cli.cluster import Connection, connected, one
from homeport.cli.errors import Failure
from homeport.cli.kinds import KindName
from homeport.cli.options import Decorator, Options
from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.protocol import Api
from homeport.drivers.kubernetes.types import Manifest

MANAGER = "homeport-cli"
TRIES = 3
APPLICATION = kinds.find("application")

Edit = Callable[[Mapping[str, Any]], tuple[dict[str, Any], list[str]]]
"""From a spec to the spec that is wanted, and what that means, in lines. Raises Failure."""

APP: Decorator = click.argument("app", metavar="APP", shell_complete=candidates.applications)
COMPONENTS: Decorator = click.option(
    "-c", "--component", "components", metavar="NAME", multiple=True, help="Only this component; may be given again."
)
ENVIRONMENTS: Decorator = click.option(
    "-e", "--environment", "environments", metavar="NAME", multiple=True, help="Only there; may be given again."
)
WAIT: Decorator = click.option("--wait", is_flag=True, help="Wait until it is Ready.")
TIMEOUT: Decorator = click.option(
    "--timeout", type=click.IntRange(1), default=300, show_default=True, metavar="SECONDS", help="How long to wait."
)


def name_of(app: str) -> str:
    """``shop``, ``app/shop`` or ``application/shop`` as the name. Raises Failure for another kind."""
    kind, slash, name = app.rpartition("/")
    if slash and kinds.find(kind).kind != "Application":
        raise Failure(f"{app} is no application", f"write the application's name, such as {name or 'shop'}")
    return name


def only(words: Sequence[str]) -> str:
    """``APP`` or ``application APP`` as the application. Raises Failure for more."""
    if len(words) == 1:
        return words[0]
    if len(words) == 2 and kinds.find(words[0]).kind == "Application":
        return words[1]
    raise Failure("write one application, by its name", "or source NAME for a GitSource")


async def found(connection: Connection, app: str, namespace: str | None) -> Manifest:
    """The Application. Raises Failure that says where it is instead."""
    return await one(connection.client, APPLICATION, namespace or connection.namespace, name_of(app))


async def write(client: Api, body: Manifest, spec: Mapping[str, Any]) -> Manifest:
    """Replace the spec of the very version in ``body``. Raises Conflict when it has changed meanwhile."""
    metadata = body["metadata"]
    patch: list[Manifest] = [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
        {"op": "replace", "path": "/spec", "value": dict(spec)},
    ]
    gvk = types.gvk_of(body)
    return await client.patch(gvk, metadata["namespace"], metadata["name"], patch, kind="json", manager=MANAGER)


async def change(
    options: Options, app: str, namespace: str | None, edit: Edit, *, wait: bool = False, patience: float = 300.0
) -> int:
    """Make ``edit`` on an application that somebody else may be changing, say what came of it; the exit code.

    ``patience`` is in seconds.
    """
    async with connected(options) as connection:
        client = connection.client
        for attempt in range(TRIES):
            body = await found(connection, app, namespace)
            spec, lines = edit(body["spec"])
            if spec == body["spec"]:
                say(body, lines or ["nothing to change"])
                return 0
            try:
                body = await write(client, body, spec)
                break
            except errors.Conflict:
                if attempt == TRIES - 1:
                    raise
        if spec.get("suspend"):
            lines.append("it is suspended, so nothing comes of this until `homeport resume`")
        say(body, lines)
        warn_of_git(body)
        return 0 if not wait or await settled(client, APPLICATION, body, patience) else 1


def say(body: Manifest, lines: list[str]) -> None:
    """What was done to an application, a line each."""
    for line in lines:
        click.echo(f"{body['metadata']['name']}: {line}")


# --- who else writes it -----------------------------------------------------------------------------------------------

_GIT_MANAGERS = {
    "argocd-controller": "Argo CD",
    "argocd-application-controller": "Argo CD",
    "kustomize-controller": "Flux",
    "helm-controller": "Flux",
    labels.SOURCE_MANAGER: "a GitSource",
}
_GIT_MARKS = {
    "argocd.argoproj.io/tracking-id": "Argo CD",
    "argocd.argoproj.io/instance": "Argo CD",
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "helm.toolkit.fluxcd.io/name": "Flux",
}


def kept_by(body: Manifest) -> str:
    """Who writes this object from Git, and would put its own spec back; empty for nobody that is known."""
    metadata = body["metadata"]
    for entry in metadata.get("managedFields") or ():
        who = _GIT_MANAGERS.get(str(entry.get("manager")))
        if who and not entry.get("subresource"):
            return who
    marks = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    return next((who for mark, who in _GIT_MARKS.items() if mark in marks), "")


def warn_of_git(body: Manifest) -> None:
    """Say that a change here won't last, if it won't."""
    who = kept_by(body)
    if who:
        text = f"{who} writes this application from Git and will put back what Git says: change it there, too"
        click.echo(f"{click.style('warning:', fg='yellow', bold=True)} {text}", err=True)


# --- what comes of it -------------------------------------------------------------------------------------------------


async def settled(client: Api, kind: KindName, body: Manifest, timeout: float) -> bool:  # noqa: ASYNC109
    """Wait until the spec in ``body`` is Ready, telling how it goes. False: it can't be, or not in ``timeout`` s."""
    metadata, last = body["metadata"], ""
    try:
        async with asyncio.timeout(timeout):
            while True:
                async for seen in states(client, kind, metadata["namespace"], metadata["name"]):
                    if int(seen["metadata"].get("generation", 0)) < int(metadata.get("generation", 0)):
                        continue
                    now = standing.of(seen)
                    line = f"{now.reason or 'Waiting'}: {now.message}" if now.ready != "Unknown" else now.message
                    if line != last:
                        click.echo(line, err=not now.is_ready)
                        last = line
                    stalled = standing.condition(seen, "Stalled")
                    if now.is_ready or (now.ready == "False" and stalled and stalled.get("status") == "True"):
                        return now.is_ready
    except TimeoutError:
        click.echo(f"not Ready after {timeout:g} s; `homeport status -n {metadata['namespace']}` says more", err=True)
        return False


async def states(client: Api, kind: KindName, namespace: str, name: str) -> Any:
    """An object as it is now, and each time that it changes, until the watch ends."""
    items, version = await client.list(kind.gvk, namespace, fields=f"metadata.name={name}")
    for item in items:
        yield item
    if not items:
        raise Failure(f"{kind.kind} {name} is gone from namespace {namespace}")
    try:
        async for told, item in client.watch(
            kind.gvk, namespace, fields=f"metadata.name={name}", resource_version=version
        ):
            if told == "DELETED":
                raise Failure(f"{kind.kind} {name} has been deleted")
            if told != "BOOKMARK":
                yield item
    except (errors.Gone, errors.ServerUnavailable):
        await asyncio.sleep(1.0)


def refuse_at_rest(body: Manifest, project: Manifest | None) -> None:
    """Raises Failure where a change of the spec would come to nothing, for nothing is reconciled or nothing runs."""
    name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
    if (body.get("spec") or {}).get("suspend"):
        raise Failure(
            f"{name} is suspended: nothing would come of it", f"`homeport resume {name} -n {namespace}` first"
        )
    if project is not None and (project.get("spec") or {}).get("archived"):
        raise Failure(
            f"project {namespace} is archived: nothing of it runs", "set archived: false in the Project's spec first"
        )


async def project_of(client: Api, namespace: str) -> Manifest | None:
    """The Project whose home a namespace is; None when it can't be seen."""
    try:
        return await client.get(kinds.find("project").gvk, namespace, namespace)
    except errors.Forbidden:
        return None
