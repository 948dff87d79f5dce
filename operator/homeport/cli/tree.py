"""``homeport tree``: an object and all that belongs to it."""

from __future__ import annotations

import click
from rich.text import Text
from rich.tree import Tree

from homeport.cli import candidates, kinds, output, sourcetree
from homeport.cli.branches import Branch, Forest
from homeport.cli.cluster import connected, one, run
from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, KUBE, NAMESPACE, Options, pass_options, with_options
from homeport.cli.options import output as output_option

MARKS = {"Healthy": "✔", "Progressing": "…", "Degraded": "✖", "Suspended": "‖", "Unknown": "?"}


@click.command()
@click.argument("words", metavar="KIND/NAME", nargs=-1, required=True, shell_complete=candidates.kind_slash_names)
@with_options(
    NAMESPACE,
    click.option("--depth", type=click.IntRange(1), metavar="N", help="Show so many levels only."),
    output_option("tree", "json"),
    *KUBE,
    DEBUG,
)
@pass_options
def tree(options: Options, words: tuple[str, ...], namespace: str | None, depth: int | None, output: str) -> int:
    """Show what belongs to an object, down to its Pods.

    A Project's environments, applications and backups; a Backup's runs and restores; an Application's components in
    each environment with the objects that were made for them; the ReplicaSets, Jobs and Pods that came of these. Each
    with its health, and the reason of what isn't healthy in its own words. KIND NAME is understood, too.
    """
    kind, names = kinds.split(words)
    if kind is None or len(names) != 1:
        raise Failure("write one object, as KIND/NAME", "for example: homeport tree application/shop")
    branch = run(_grow(options, kinds.find(kind), names[0], namespace))
    if output == "json":
        print_json(branch, depth)
    else:
        print_tree(branch, depth)
    return 0


async def _grow(options: Options, kind: kinds.KindName, name: str, namespace: str | None) -> Branch:
    async with connected(options) as connection:
        # A Project's namespace is known: it has the same name.
        here = namespace or (name if kind.kind == "Project" else connection.namespace)
        body = await one(connection.client, kind, here, name)
        forest = Forest(connection.client)
        if kind.kind == "Project":
            return await forest.project(body)
        if kind.kind == "Environment":
            return await forest.environment(body)
        if kind.kind == "ProxmoxHost":
            return forest.host(body)
        if kind.kind == "LXCContainer":
            return forest.container(body)
        if kind.kind == "CatalogItem":
            return await forest.item(body)
        if kind.kind == "GitSource":
            return await sourcetree.grow(forest, body)
        if kind.kind in ("ImageUpdate", "Notification"):
            return forest.alone(body)
        if kind.kind in ("BackupRepository", "Backup", "BackupRun", "Restore"):
            return await forest.made(body)
        if kind.kind == "Backup":
            return await forest.backup(body)
        if kind.kind in ("BackupRepository", "BackupRun", "Restore"):
            return await forest.run(body)
        return await forest.application(body)


def cut(branch: Branch, depth: int | None) -> None:
    """Take away what is deeper than ``depth`` levels below ``branch``."""
    if depth is None:
        return
    if depth == 0:
        branch.children = []
    for child in branch.children:
        cut(child, depth - 1)


def print_json(branch: Branch, depth: int | None) -> None:
    """The tree for programs."""
    cut(branch, depth)
    output.print_json(branch.as_json())


def print_tree(branch: Branch, depth: int | None = None) -> None:
    """The tree for people."""
    cut(branch, depth)
    root = Tree(label(branch, ""), guide_style="dim")
    _add(root, branch)
    output.console().print(root)


def _add(node: Tree, branch: Branch) -> None:
    for child in branch.children:
        _add(node.add(label(child, branch.place or branch.namespace)), child)


def label(branch: Branch, above: str) -> Text:
    """A line: health, kind, name; the namespace where it isn't that of the line above; facts; and what is wrong."""
    style = output.HEALTH_STYLES.get(branch.health, "dim")
    line = Text()
    line.append(f"{MARKS.get(branch.health, '·')} ", style)
    line.append(f"{branch.kind} ", "dim")
    line.append(branch.name, "bold")
    if branch.namespace and branch.namespace != above:
        line.append(f" in {branch.namespace}", "dim")
    if branch.note:
        line.append(f"  {branch.note}", "cyan")
    if branch.health and branch.health != "Healthy":
        line.append(f"  {branch.health}", style)
    if branch.message:
        line.append(": " if branch.health not in ("", "Healthy") else "  ", style)
        line.append(branch.message, style)
    return line
