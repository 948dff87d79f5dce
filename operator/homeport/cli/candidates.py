"""What a shell may complete: kinds, names, namespaces, contexts. Silent, and soon over, when there is no cluster."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from homeport.cli.options import Options

PATIENCE = 1.0
"""Seconds that a person waits for a completion."""


def _matching(values: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(value) for value in dict.fromkeys(values) if value.startswith(incomplete)]


def contexts(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """The contexts of the kubeconfig."""
    with contextlib.suppress(Exception):
        import yaml

        named = _options(ctx).kubeconfig or os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
        content = yaml.safe_load(Path(named or Path.home() / ".kube" / "config").expanduser().read_text())
        return _matching((entry["name"] for entry in content["contexts"]), incomplete)
    return []


def namespaces(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """The namespaces that hold a Project."""
    return _matching((namespace for namespace, _ in _names(ctx, "project", None)), incomplete)


def kinds(incomplete: str) -> list[CompletionItem]:
    """The kinds, by their usual and short names."""
    from homeport.cli.kinds import ALL

    return _matching((name for kind in ALL for name in kind.names[:3]), incomplete)


def kinds_and_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """``KIND``, ``KIND/NAME``, or the names after a kind."""
    given = ctx.params.get(parameter.name or "") or ()
    words = [given] if isinstance(given, str) else list(given)
    if "/" in incomplete:
        kind, _, start = incomplete.partition("/")
        names = _names(ctx, kind, _namespace(ctx, kind))
        return _matching((f"{kind}/{name}" for _, name in names if name.startswith(start)), incomplete)
    if words and "/" not in words[0]:
        return _matching((name for _, name in _names(ctx, words[0], _namespace(ctx, words[0]))), incomplete)
    return kinds(incomplete)


def applications(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The applications of the namespace."""
    return _matching((name for _, name in _names(ctx, "application", _namespace(ctx, "application"))), incomplete)


def sources(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The GitSources of the namespace."""
    return _matching((name for _, name in _names(ctx, "gitsource", _namespace(ctx, "gitsource"))), incomplete)


def backups(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The Backups of the namespace."""
    return _matching((name for _, name in _names(ctx, "backup", _namespace(ctx, "backup"))), incomplete)


def kind_slash_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """``KIND/`` and then ``KIND/NAME``."""
    if "/" in incomplete:
        return kinds_and_names(ctx, parameter, incomplete)
    from homeport.cli.kinds import ALL

    return _matching((f"{kind.names[0]}/" for kind in ALL), incomplete)


def _options(ctx: click.Context) -> Options:
    return ctx.ensure_object(Options)


def _namespace(ctx: click.Context, kind: str) -> str | None:
    """The namespace on the command line; "" for the context's; None for all."""
    if ctx.params.get("all_namespaces"):
        return None
    with contextlib.suppress(Exception):
        from homeport.cli.kinds import find

        if find(kind).kind == "Project" and not ctx.params.get("namespace"):
            return None
    return ctx.params.get("namespace") or ""


def _names(ctx: click.Context, kind: str, namespace: str | None) -> list[tuple[str, str]]:
    """(namespace, name) of all resources of a kind, within PATIENCE; nothing when anything is in the way."""
    with contextlib.suppress(Exception):
        return asyncio.run(_ask(_options(ctx), kind, namespace))
    return []


async def _ask(options: Options, kind: str, namespace: str | None) -> list[tuple[str, str]]:
    from homeport.cli.cluster import connected
    from homeport.cli.kinds import find

    async with asyncio.timeout(PATIENCE), connected(options, timeout=PATIENCE) as connection:
        where = connection.namespace if namespace == "" else namespace
        items, _ = await connection.client.list(find(kind).gvk, where, metadata_only=True)
        return sorted((item["metadata"].get("namespace") or "", item["metadata"]["name"]) for item in items)
