"""``homeport backup``: list, run, verify, prune and coverage."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

from typing import Any

import click

from homeport.cli import candidates
from homeport.cli.backups import common, following
from homeport.cli.cluster import connected, run
from homeport.cli.errors import Failure
from homeport.cli.options import ALL_NAMESPACES, DEBUG, KUBE, NAMESPACE, Options, pass_options, with_options
from homeport.cli.options import output as output_option
from homeport.drivers.kubernetes.types import Manifest

RETENTION = tuple(
    click.option(f"--keep-{unit}", type=click.IntRange(0), default=None, metavar="N", help=f"Try keeping N {words}.")
    for unit, words in (
        ("last", "of the newest"),
        ("hourly", "hours' newest"),
        ("daily", "days' newest"),
        ("weekly", "weeks' newest"),
        ("monthly", "months' newest"),
        ("yearly", "years' newest"),
    )
)


@click.group()
@with_options(DEBUG)
def backup() -> None:
    """Look at backups, take one now, prove one, see what is kept and what isn't covered."""


@backup.command("list")
@click.argument("name", metavar="[BACKUP]", required=False, shell_complete=candidates.backups)
@with_options(NAMESPACE, ALL_NAMESPACES, output_option("table", "json"), *KUBE, DEBUG)
@pass_options
def list_(options: Options, *, name: str | None, namespace: str | None, all_namespaces: bool, output: str) -> int:
    """Show how old the newest good backups are, whether they are proven, and when the next ones come.

    With BACKUP: that one, with the runs that its repository has.
    """
    from homeport.cli.backups import listing

    if name is not None and all_namespaces:
        raise Failure("with a BACKUP, write one namespace")
    return listing.show(options, name, namespace, all_namespaces, output)


@backup.command("run")
@common.NAME
@with_options(
    click.option("--protect", is_flag=True, help="Keep it, whatever the retention says."),
    following.WAIT,
    following.TIMEOUT,
    NAMESPACE,
    *KUBE,
    DEBUG,
)
@pass_options
def run_(options: Options, *, name: str, protect: bool, wait: bool, timeout: int, namespace: str | None) -> int:
    """Take a backup now.

    Makes a BackupRun and tells how it goes. Exit code 0: it is good; 3: it is incomplete; 1: it failed, or isn't over
    in time.
    """
    spec: dict[str, Any] = {"protected": True} if protect else {}
    return run(_make(options, common.RUN, name, namespace, "", spec, wait, timeout))


@backup.command()
@common.NAME
@with_options(following.WAIT, following.TIMEOUT, NAMESPACE, *KUBE, DEBUG)
@pass_options
def verify(options: Options, *, name: str, wait: bool, timeout: int, namespace: str | None) -> int:
    """Prove the newest backup now: a drill, as the Backup's verify says.

    Makes a Restore into a scratch place, which is gone afterwards. Exit code 0: it is proven; 1: it isn't.
    """
    return run(_make(options, common.RESTORE, name, namespace, "-drill", {"target": {"drill": {}}}, wait, timeout))


async def _make(
    options: Options,
    kind: Any,
    name: str,
    namespace: str | None,
    suffix: str,
    spec: dict[str, Any],
    wait: bool,
    timeout: int,  # noqa: ASYNC109
) -> int:
    """Make a BackupRun or a drill of a Backup, and see how it goes; the exit code."""
    async with connected(options) as connection:
        body = await common.found(connection, name, namespace)
        refuse_suspended(body)
        here, backup_name = body["metadata"]["namespace"], body["metadata"]["name"]
        wanted = common.manifest(
            kind.kind, here, common.new_name(f"{backup_name}{suffix}"), {"backupRef": {"name": backup_name}, **spec}
        )
        made = await connection.client.create(kind.gvk, here, wanted, manager=common.MANAGER)
        click.echo(f"{kind.kind} {made['metadata']['name']} created", err=wait)
        return await following.follow(connection.client, kind, made, timeout) if wait else 0


def refuse_suspended(body: Manifest) -> None:
    """Raises Failure for a Backup of which nothing is reconciled."""
    if body["spec"].get("suspend"):
        name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
        raise Failure(f"{name} is suspended", f"`homeport resume backup/{name} -n {namespace}` first")


@backup.command()
@common.NAME
@with_options(
    click.option("--dry-run", is_flag=True, help="Only show what would be kept and what would go, and why."),
    click.option("-y", "--yes", is_flag=True, help="Don't ask."),
    click.option("--no-wait", is_flag=True, help="Ask for it, and don't wait until it is done."),
    following.TIMEOUT,
    *RETENTION,
    NAMESPACE,
    output_option("table", "json"),
    *KUBE,
    DEBUG,
)
@pass_options
def prune(
    options: Options,
    /,
    *,
    name: str,
    dry_run: bool,
    yes: bool,
    no_wait: bool,
    timeout: int,
    namespace: str | None,
    output: str,
    **keep: int | None,
) -> int:
    """Remove the runs that the Backup's retention doesn't keep, now and not after the next good run.

    What goes is shown first, and has to be confirmed, or --yes. --dry-run only shows it; with that, --keep-last,
    --keep-daily and so on try another policy. Data that no run needs any more goes with the repository's own prune.
    """
    from homeport.cli.backups import pruning
    from homeport.plan.backup.retention import Policy

    tried = any(number is not None for number in keep.values())
    if tried and not dry_run:
        raise Failure(
            "another policy than the Backup's own can only be tried",
            "add --dry-run; or write it to spec.retention of the Backup, and prune then",
        )
    body = run(_look(options, name, namespace))
    own = Policy(*(keep[f"keep_{unit}"] or 0 for unit in pruning.UNITS)) if tried else pruning.policy_of(body["spec"])
    if not dry_run:
        refuse_suspended(body)
    if dry_run or output == "table":
        pruning.show(body, own, output)
    return 0 if dry_run else run(_prune(options, body, yes, None if no_wait else timeout, output))


async def _prune(options: Options, body: Manifest, yes: bool, timeout: int | None, output: str) -> int:  # noqa: ASYNC109
    from homeport.cli.backups import pruning

    if not yes:
        pruning.confirm()
    async with connected(options) as connection:
        return await pruning.have_done(connection.client, body, timeout, output)


async def _look(options: Options, name: str, namespace: str | None) -> Manifest:
    async with connected(options) as connection:
        return await common.found(connection, name, namespace)


@backup.command("coverage")
@with_options(
    NAMESPACE,
    click.option(
        "--exit-code/--no-exit-code", default=True, help="Exit with 1 when something isn't covered (the default)."
    ),
    output_option("table", "json"),
    *KUBE,
    DEBUG,
)
@pass_options
def coverage(options: Options, *, namespace: str | None, exit_code: bool, output: str) -> int:
    """Show which volumes and containers of a project are in a backup, and which aren't.

    A volume or mount that says backup: false is left out on purpose. Exit code 1 when something isn't covered.
    """
    from homeport.cli.backups import covering

    return 0 if covering.show(options, namespace, output) or not exit_code else 1
