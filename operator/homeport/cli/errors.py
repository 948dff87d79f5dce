"""From exceptions to sentences that say what to do."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

import click

CRDS_HINT = (
    "install them with `kubectl apply --server-side -f crds/`, or start a cluster that has them with `homeport up`"
)


class Failure(Exception):  # noqa: N818 - it is shown, not caught
    """An error that was expected: what happened, and (``hint``) what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def describe(error: BaseException) -> tuple[str, str]:
    """What happened, and what to do about it."""
    if isinstance(error, BaseExceptionGroup):
        return describe(error.exceptions[0])
    if isinstance(error, Failure):
        return str(error), error.hint
    from homeport.api.resource import InvalidSpec
    from homeport.drivers.catalog import WorkerLost
    from homeport.drivers.kubernetes.config import KubeconfigError
    from homeport.drivers.kubernetes.errors import ApiError
    from homeport.release.repository import BadRepository

    if isinstance(error, BadRepository):
        return str(error), error.hint
    if isinstance(error, KubeconfigError):
        return str(error), "name one with --kubeconfig or KUBECONFIG, or start a local cluster with `homeport up`"
    if isinstance(error, ApiError):
        return _refused(error)
    if isinstance(error, InvalidSpec):
        return str(error), ""
    if isinstance(error, WorkerLost):
        return str(error), "try again in a moment; if it stays so, look for loops in the item's templates"
    if isinstance(error, TimeoutError):
        return f"the cluster took too long: {error or 'no answer in time'}", "try again in a moment"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}", ""
    return (
        f"this is a fault in homeport: {type(error).__name__}: {error}",
        "run it again with --debug to see where, and report what that prints",
    )


def _refused(error: Exception) -> tuple[str, str]:
    from homeport.drivers.kubernetes import errors

    match error:
        case errors.ServerUnavailable(status=0):
            return str(error), (
                "is the cluster running? `homeport up` starts a local one; --kubeconfig, --context or KUBECONFIG "
                "name another"
            )
        case errors.Unauthorized():
            return f"the cluster doesn't accept the kubeconfig's credentials: {error}", (
                "they may have expired; log in anew, or name another with --context"
            )
        case errors.Forbidden():
            return f"you lack the right for this: {error}", (
                "ask the project's lead for a role in it, or look at one namespace with -n"
            )
        case errors.TooManyRequests():
            return f"the API server is busy: {error}", "try again in a moment"
    return f"the API server refused: {error}", ""


def show(error: BaseException) -> None:
    """Write ``error`` to standard error, without a traceback."""
    message, hint = describe(error)
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)
    if hint:
        click.echo(f"  {hint}", err=True)
