"""``homeport sync``: look now. ``flux reconcile`` and ``argocd app sync``, for those who know these."""

from __future__ import annotations

import click

from homeport.cli import candidates, edit, kinds, sources
from homeport.cli.cluster import run
from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, KUBE, NAMESPACE, Options, pass_options, with_options


@click.command()
@click.argument("words", metavar="SOURCE|KIND/NAME", nargs=-1, required=True, shell_complete=candidates.sources)
@with_options(
    NAMESPACE,
    click.option("--no-wait", is_flag=True, help="Don't wait until it is Ready."),
    edit.TIMEOUT,
    *KUBE,
    DEBUG,
)
@pass_options
def sync(options: Options, *, words: tuple[str, ...], namespace: str | None, no_wait: bool, timeout: int) -> int:
    """Fetch and apply a GitSource now, and wait until it is Ready.

    Drift is mended, too, whatever driftDetection says. For KIND/NAME: has any of Homeport's objects looked at now. It
    sets the annotation homeport.dev/reconcile-at.

    Exit code 0: it is Ready (with --no-wait: it was asked for); 1: an error, or it doesn't get Ready.
    """
    kind, name = sources.SOURCE, words[0]
    if len(words) > 1 or "/" in words[0]:
        which, names = kinds.split(words)
        if which is None or len(names) != 1:
            raise Failure("write one object: a source's name, or KIND/NAME", "for example: homeport sync source/fleet")
        kind, name = kinds.find(which), names[0]
    return run(sources.sync(options, kind, name, namespace, None if no_wait else timeout))
