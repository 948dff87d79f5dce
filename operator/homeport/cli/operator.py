"""``homeport operator``: runs the operator. Everything can be set from the environment, as HOMEPORT_…."""

from __future__ import annotations

import importlib
import re
from typing import Any

import click

from homeport.cli.options import DEBUG, Options, pass_options, with_options

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([0-9]+(?:[.][0-9]+)?)(ms|s|m|h|d)")
_LABEL = r"[A-Za-z0-9./_-]+"
_REQUIREMENT = re.compile(rf"^(!?{_LABEL}|{_LABEL}\s*(==|=|!=)\s*[A-Za-z0-9._-]*|{_LABEL}\s+(in|notin)\s+\([^()]*\))$")


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3
    """A duration such as 30s, 10m or 1h30m, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds."""
        if isinstance(value, int | float):
            return float(value)
        parts = _PART.findall(value)
        if not parts or "".join(number + unit for number, unit in parts) != value:
            self.fail(f"{value!r} is not a duration; write one such as 30s, 10m or 1h30m", param, ctx)
        return sum(float(number) * _UNITS[unit] for number, unit in parts)


class Listen(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3
    """Where to listen, as HOST:PORT."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The value as it is."""
        host, colon, port = str(value).rpartition(":")
        if not colon or not port.isdecimal() or int(port) > 65535 or (":" in host and not host.startswith("[")):
            self.fail(f"{value!r} is not HOST:PORT; write one such as 0.0.0.0:8080 or [::]:8080", param, ctx)
        return str(value)


class Selector(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3
    """A label selector."""

    name = "label selector"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The value as it is."""
        for part in re.split(r",(?![^()]*\))", str(value)):
            if not _REQUIREMENT.match(part.strip()):
                self.fail(f"{part!r} is not a label selector; write one such as homeport.dev/shard=a", param, ctx)
        return str(value)


@click.command(context_settings={"show_default": True})
@with_options(
    click.option(
        "--concurrency",
        type=click.IntRange(1, 1000),
        default=16,
        envvar="HOMEPORT_CONCURRENCY",
        help="How many objects are reconciled at a time.",
    ),
    click.option(
        "--resync",
        type=Duration(),
        default="10m",
        envvar="HOMEPORT_RESYNC",
        help="How often everything is looked at again.",
    ),
    click.option(
        "--namespace",
        "namespaces",
        metavar="NAME",
        multiple=True,
        envvar="HOMEPORT_NAMESPACE",
        help="Only the projects in this namespace; may be given several times. Default: all.",
    ),
    click.option(
        "--shard",
        metavar="SELECTOR",
        type=Selector(),
        default=None,
        envvar="HOMEPORT_SHARD",
        help="Only objects whose labels match, such as homeport.dev/shard=a.",
    ),
    click.option(
        "--log-format",
        type=click.Choice(["human", "json"]),
        default="human",
        envvar="HOMEPORT_LOG_FORMAT",
        help="How the log is written.",
    ),
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
        default="info",
        envvar="HOMEPORT_LOG_LEVEL",
        help="What is logged.",
    ),
    click.option(
        "--listen",
        metavar="HOST:PORT",
        type=Listen(),
        default="0.0.0.0:8080",
        envvar="HOMEPORT_LISTEN",
        help="Where /healthz, /readyz and /metrics are served.",
    ),
    click.option(
        "--kubeconfig",
        metavar="FILE",
        default=None,
        envvar="HOMEPORT_KUBECONFIG",
        help="The kubeconfig; by default $KUBECONFIG, the Pod's own, or ~/.kube/config.",
    ),
    click.option(
        "--context", metavar="NAME", default=None, envvar="HOMEPORT_CONTEXT", help="The kubeconfig's context to use."
    ),
    click.option(
        "--lease-namespace",
        metavar="NAME",
        default="homeport-system",
        envvar="HOMEPORT_LEASE_NAMESPACE",
        help="Where the Lease is that decides which replica works.",
    ),
    click.option(
        "--leader-election/--no-leader-election",
        default=True,
        envvar="HOMEPORT_LEADER_ELECTION",
        help="Whether a Lease decides which replica works. Without it, run one replica only.",
    ),
    click.option(
        "--identity",
        metavar="NAME",
        default=None,
        envvar="HOMEPORT_IDENTITY",
        help="This replica's name in the Lease. Default: made of the host's name and the process.",
    ),
    DEBUG,
)
@pass_options
def operator(options: Options, /, **given: Any) -> int:
    """Run the operator.

    It stops on SIGTERM: what is in flight is finished, the Lease given back, and the exit code is 0. Every option can
    be set in the environment, too: HOMEPORT_CONCURRENCY, HOMEPORT_RESYNC and so on.
    """
    # Not an import statement: main is above this package, and wires it up.
    main: Any = importlib.import_module("homeport.main")
    given["resync_seconds"] = given.pop("resync")
    given["kubeconfig"] = given["kubeconfig"] or options.kubeconfig
    given["context"] = given["context"] or options.context
    answer: int = main.run(main.Settings(**given))
    return answer
