"""``homeport pause``, ``resume`` and ``suspend``: hold a rollout, stop reconciling, and go on.

What others call it: ``kubectl rollout pause`` holds a Deployment's rollout, as ``pause`` does; ``flux suspend`` stops
reconciling, as ``suspend`` does; both have ``resume``.
"""

from __future__ import annotations

import click

from homeport.cli import candidates, edit, kinds, sources, specs
from homeport.cli.cluster import connected, one, run
from homeport.cli.errors import Failure
from homeport.cli.kinds import KindName
from homeport.cli.options import DEBUG, KUBE, NAMESPACE, Options, pass_options, with_options


@click.command()
@edit.APP
@with_options(edit.COMPONENTS, edit.ENVIRONMENTS, NAMESPACE, *KUBE, DEBUG)
@pass_options
def pause(
    options: Options,
    *,
    app: str,
    components: tuple[str, ...],
    environments: tuple[str, ...],
    namespace: str | None,
) -> int:
    """Hold an application's rollouts where they are.

    Pods stay as they are, replicas may still change; a new version, and a migration that hasn't begun, wait for
    `homeport resume`. All that runs all the time, everywhere, unless -c and -e say less; for a cron component that -c
    names: no new runs. To stop everything that Homeport does to it, see `homeport suspend`.
    """
    return run(edit.change(options, app, namespace, lambda spec: specs.pause(spec, components, environments)))


@click.command()
@click.argument("words", metavar="APP|KIND/NAME", nargs=-1, required=True, shell_complete=candidates.applications)
@with_options(edit.COMPONENTS, edit.ENVIRONMENTS, NAMESPACE, edit.WAIT, edit.TIMEOUT, *KUBE, DEBUG)
@pass_options
def resume(
    options: Options,
    *,
    words: tuple[str, ...],
    components: tuple[str, ...],
    environments: tuple[str, ...],
    namespace: str | None,
    wait: bool,
    timeout: int,
) -> int:
    """Go on with what was paused or suspended.

    For an application both, unless -c and -e name what was paused; for KIND/NAME what was suspended. A GitSource
    (source NAME) follows its reference again if it was pinned.
    """
    kind, name = _object(words)
    if kind is sources.SOURCE:
        return run(sources.resume(options, name, namespace, timeout if wait else None))
    if kind.kind != "Application":
        return run(_suspend(options, kind, name, namespace, False))
    return run(
        edit.change(
            options,
            name,
            namespace,
            lambda spec: specs.resume(spec, components, environments),
            wait=wait,
            patience=timeout,
        )
    )


@click.command()
@click.argument("words", metavar="APP|KIND/NAME", nargs=-1, required=True, shell_complete=candidates.applications)
@with_options(NAMESPACE, *KUBE, DEBUG)
@pass_options
def suspend(options: Options, *, words: tuple[str, ...], namespace: str | None) -> int:
    """Stop to reconcile an object, until `homeport resume`.

    What runs runs on, changes by hand stay, and deletion still works. It sets spec.suspend, of that object and of
    nothing else. To hold only rollouts, see `homeport pause`.
    """
    kind, name = _object(words)
    return run(_suspend(options, kind, name, namespace, True))


def _object(words: tuple[str, ...]) -> tuple[KindName, str]:
    """``APP``, ``KIND/NAME`` or ``KIND NAME``."""
    if len(words) == 1 and "/" not in words[0]:
        return edit.APPLICATION, words[0]
    kind, names = kinds.split(words)
    if kind is None or len(names) != 1:
        raise Failure("write one object: an application's name, or KIND/NAME", "for example environment/production")
    return kinds.find(kind), names[0]


async def _suspend(options: Options, kind: KindName, name: str, namespace: str | None, wanted: bool) -> int:
    async with connected(options) as connection:
        # A Project's namespace is known: it has the same name.
        here = namespace or (name if kind.kind == "Project" else connection.namespace)
        body = await one(connection.client, kind, here, name)
        told = "suspended: nothing is reconciled until it is resumed" if wanted else "no longer suspended"
        if bool((body.get("spec") or {}).get("suspend")) == wanted:
            edit.say(body, [f"already {told}" if wanted else "it isn't suspended"])
            return 0
        patch = {"spec": {"suspend": wanted}}
        await connection.client.patch(kind.gvk, here, name, patch, manager=edit.MANAGER)
        edit.say(body, [told])
        edit.warn_of_git(body)
        return 0
