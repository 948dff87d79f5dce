"""``homeport operator``: runs the operator. Everything can be set from the environment, as HOMEPORT_…."""

from __future__ import annotations

import importlib
import re
from ipaddress import ip_network
from typing import Any

import click

from homeport.cli.options import DEBUG, Options, pass_options, with_options
from homeport.settings import Settings

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([0-9]+(?:[.][0-9]+)?)(ms|s|m|h|d)")
_LABEL = r"[A-Za-z0-9./_-]+"
_LABEL_VALUE = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")
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
        """The value as it is; nothing where that means not to listen."""
        if value == "" and param is not None and param.default == "":
            return ""
        host, colon, port = str(value).rpartition(":")
        if not colon or not port.isdecimal() or int(port) > 65535 or (":" in host and not host.startswith("[")):
            self.fail(f"{value!r} is not HOST:PORT; write one such as 0.0.0.0:8080 or [::]:8080", param, ctx)
        return str(value)


class AgentUrl(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3
    """An https address without a path."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The value as it is."""
        if value and not re.fullmatch(r"https://[^/@?#\s]+/?", str(value)):
            self.fail(f"{value!r} isn't an address; write one such as https://10.20.0.2:8443", param, ctx)
        return str(value)


class Network(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3
    """A network, as CIDR."""

    name = "network"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The value as it is."""
        try:
            return str(ip_network(str(value)))
        except ValueError:
            self.fail(f"{value!r} is not a network; write one such as 127.0.0.0/8 or fd00::/8", param, ctx)


class LabelValue(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3
    """What a label may hold."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The value as it is."""
        if value and not _LABEL_VALUE.match(str(value)):
            self.fail(
                f"{value!r} can't be a label's value; write at most 63 letters, digits, '-', '_' and '.'", param, ctx
            )
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
    click.option(
        "--control-plane",
        metavar="ID",
        type=LabelValue(),
        default="",
        envvar="HOMEPORT_CONTROL_PLANE",
        help="What marks its objects in other clusters. Default: the UID of this cluster's namespace kube-system; name "
        "the former one when a new cluster takes over.",
    ),
    click.option(
        "--agent-url",
        metavar="URL",
        type=AgentUrl(),
        default="",
        envvar="HOMEPORT_AGENT_URL",
        help="Where LXC containers reach this operator, such as https://10.20.0.2:8443. Without it containers can't be "
        "delivered to by an agent.",
    ),
    click.option(
        "--agent-listen",
        metavar="HOST:PORT",
        type=Listen(),
        default="0.0.0.0:8443",
        envvar="HOMEPORT_AGENT_LISTEN",
        help="Where containers' agents are listened to, with --agent-url.",
    ),
    click.option(
        "--webhook-listen",
        metavar="HOST:PORT",
        type=Listen(),
        default="",
        envvar="HOMEPORT_WEBHOOK_LISTEN",
        help="Where forges' webhooks are listened to, such as 0.0.0.0:8082. Default: nowhere; sources are polled.",
    ),
    click.option(
        "--data-dir",
        metavar="DIR",
        type=click.Path(file_okay=False, writable=True),
        default="",
        envvar="HOMEPORT_DATA_DIR",
        help="Where mirrors of Git repositories are kept, best on a volume. Default: a temporary folder.",
    ),
    click.option(
        "--init-dir",
        metavar="DIR",
        default="",
        envvar="HOMEPORT_INIT_DIR",
        help="Where homeport-init-amd64 and homeport-init-arm64 are, which go into containers' images. Default: the "
        "package's own folder.",
    ),
    click.option(
        "--registry-mirror",
        metavar="REGISTRY=URL",
        multiple=True,
        envvar="HOMEPORT_REGISTRY_MIRROR",
        help="A URL that is asked for containers' images instead of a registry, such as docker.io=https://mirror.lan; "
        "*=URL for every registry. It gets no credentials.",
    ),
    click.option(
        "--notify-allow",
        metavar="NETWORK",
        type=Network(),
        multiple=True,
        envvar="HOMEPORT_NOTIFY_ALLOW",
        help="A network that Notifications may send to although it is this machine, the link or a cloud's metadata, "
        "such as 127.0.0.0/8; may be given several times.",
    ),
    click.option(
        "--runner-image",
        metavar="IMAGE",
        default="",
        envvar="HOMEPORT_RUNNER_IMAGE",
        help="The image of the backup runner (operator/runner). Without it nothing is backed up on Kubernetes.",
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
    for mirror in given["registry_mirror"]:
        if not re.fullmatch(r"[^=]+=https?://[^/]+", mirror):
            raise click.BadParameter(f"{mirror!r}: write REGISTRY=URL, such as docker.io=https://mirror.lan")
    given["resync_seconds"] = given.pop("resync")
    given["kubeconfig"] = given["kubeconfig"] or options.kubeconfig
    given["context"] = given["context"] or options.context
    answer: int = main.run(Settings(**given))
    return answer
