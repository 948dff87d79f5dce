"""The commands by name. Their one-line help is here, so that the list needs none of their modules."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import NamedTuple

import click
import click.shell_completion

from homeport import __version__
from homeport.cli.options import DEBUG, KUBE, with_options


class Entry(NamedTuple):
    """A command: its section of the help, its module and name there, and what it does in a line."""

    section: str
    module: str
    name: str
    help: str


LOOK, WRITE, LIVE, KEEP, RUN, MORE = "Look", "Write", "Change what runs", "Back up and bring back", "Run", "More"

COMMANDS: Mapping[str, Entry] = {
    "status": Entry(LOOK, "status", "status", "Show whether everything is Ready, and why not."),
    "get": Entry(LOOK, "get", "get", "List projects, environments, applications and all else."),
    "tree": Entry(LOOK, "tree", "tree", "Show what belongs to an object, down to its Pods."),
    "init": Entry(WRITE, "init", "init", "Write a small project to start from."),
    "validate": Entry(WRITE, "validate", "validate", "Check files without a cluster."),
    "build": Entry(WRITE, "build", "build", "Show what a GitSource makes of a folder."),
    "plan": Entry(WRITE, "plan", "plan", "Show what applying files would change."),
    "render": Entry(WRITE, "render", "render", "Write plain manifests, a kustomization or a Helm chart."),
    "catalog": Entry(WRITE, "catalog", "catalog", "Look through the catalog, use its items, import others."),
    "proxmox": Entry(WRITE, "proxmox", "proxmox", "Print the role that a Proxmox VE host's token needs."),
    "policy": Entry(WRITE, "policy", "policy", "Try the admission policies of a cluster."),
    "gate": Entry(WRITE, "gate", "gate", "Check quality gates: tests, security, performance, documentation."),
    "release": Entry(WRITE, "release", "release", "Version, describe and tag what is released."),
    "deploy": Entry(WRITE, "deploy", "deploy", "Write an application's new version into its GitOps repository."),
    "pipeline": Entry(WRITE, "pipeline", "pipeline", "Render a pipeline for GitHub, Jenkins and GitLab, and check it."),
    "explain": Entry(WRITE, "explain", "explain", "Describe kinds, fields and condition reasons."),
    "wait": Entry(LIVE, "wait", "wait", "Wait until objects are Ready, at the version that was deployed."),
    "history": Entry(LIVE, "history", "history", "Show the revisions of an application, or of a GitSource."),
    "rollback": Entry(LIVE, "rollback", "rollback", "Bring an earlier revision back."),
    "diff": Entry(LIVE, "diff", "diff", "Show what applying a GitSource now would change."),
    "sync": Entry(LIVE, "sync", "sync", "Fetch and apply a GitSource now."),
    "restart": Entry(LIVE, "restart", "restart", "Replace an application's Pods, one after the other."),
    "scale": Entry(LIVE, "scale", "scale", "Change how many replicas components have."),
    "pause": Entry(LIVE, "pause", "pause", "Hold an application's rollouts where they are."),
    "resume": Entry(LIVE, "pause", "resume", "Go on with what was paused or suspended."),
    "suspend": Entry(LIVE, "pause", "suspend", "Stop to reconcile an object, until it is resumed."),
    "notify": Entry(LIVE, "notify", "notify", "See whether a Notification's messages arrive."),
    "backup": Entry(KEEP, "backups.command", "backup", "See, take and prove backups; see what isn't covered."),
    "restore": Entry(KEEP, "restore", "restore", "Bring a backup back, beside the original or over it."),
    "export": Entry(KEEP, "transfer.command", "export", "Write a project with its data into one file."),
    "import": Entry(KEEP, "transfer.command", "import_", "Bring an exported project to this cluster."),
    "up": Entry(RUN, "local", "up", "Start the local control plane and the operator."),
    "down": Entry(RUN, "local", "down", "Stop the local control plane."),
    "cluster": Entry(RUN, "clustering", "cluster", "Make clusters with Homeport in them."),
    "operator": Entry(RUN, "operator", "operator", "Run the operator."),
    "completion": Entry(MORE, "completion", "completion", "Print the completion script of a shell."),
    "version": Entry(MORE, "version", "version", "Show the versions of client, server and operator."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = importlib.import_module(f"homeport.cli.{entry.module}")
        command: click.Command = getattr(module, entry.name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command, or an error that names the nearest."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            ctx.fail(f"there is no command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[click.shell_completion.CompletionItem]:
        """Commands by their names, without importing any of them."""
        found = [
            click.shell_completion.CompletionItem(name, help=entry.help)
            for name, entry in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands under the headings of their sections."""
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            with formatter.section(section):
                formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items() if entry.section == section])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Exit codes: 0 well, 1 an error or something isn't Ready; plan: 2 there are changes.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@with_options(*KUBE, DEBUG)
def root() -> None:
    """One control plane for applications, containers and backups on Kubernetes and Proxmox VE."""
