"""``homeport restart``: new Pods, one after the other."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from homeport.cli import edit, specs
from homeport.cli.cluster import run
from homeport.cli.options import DEBUG, KUBE, NAMESPACE, Options, pass_options, with_options


@click.command()
@edit.APP
@with_options(edit.COMPONENTS, edit.ENVIRONMENTS, NAMESPACE, edit.WAIT, edit.TIMEOUT, *KUBE, DEBUG)
@pass_options
def restart(
    options: Options,
    *,
    app: str,
    components: tuple[str, ...],
    environments: tuple[str, ...],
    namespace: str | None,
    wait: bool,
    timeout: int,
) -> int:
    """Replace an application's Pods, one after the other, as its strategy says.

    All that runs all the time, everywhere, unless -c and -e say less. A job runs again if -c names it. It sets
    restartAt in the spec to the time, as `kubectl rollout restart` does in a Deployment. No revision is made.
    """
    token = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return run(
        edit.change(
            options,
            app,
            namespace,
            lambda spec: specs.restart(spec, components, environments, token),
            wait=wait,
            patience=timeout,
        )
    )
