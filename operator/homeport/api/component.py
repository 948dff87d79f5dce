"""A component: one part of an application, and what it becomes is decided by its type."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt

from homeport.api.base import (
    ATOMIC,
    FREE_FORM,
    SET,
    Duration,
    HostName,
    Label,
    ListMap,
    Model,
    NameRef,
    ObjectName,
    PortRef,
    Rule,
    ShortText,
    kubernetes_type,
    matches,
)
from homeport.api.pod import (
    AbsolutePath,
    Command,
    EnvFrom,
    EnvVar,
    GeneratedSecret,
    Port,
    Probes,
    Resources,
    RollingUpdate,
    SecretFile,
    SecurityContext,
    Volume,
)

# What a reference may look like: https://pkg.go.dev/github.com/distribution/reference (without the full grammar's
# length rules; the registry has the last word).
IMAGE_PATTERN = (
    r"^([a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?(:[0-9]+)?/)?"
    r"[a-z0-9]+(([.]|_|__|-+|/)[a-z0-9]+)*"
    r"(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?(@sha256:[a-f0-9]{64})?$"
)
Image = Annotated[
    str,
    Field(min_length=1, max_length=512),
    matches(IMAGE_PATTERN, "write an image such as nginx:1.27, registry.example.com/team/app:1.4.0 or app@sha256:…"),
]

CRON_PATTERN = r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|[^ \t@]+([ \t]+[^ \t]+){4})$"
CronSchedule = Annotated[
    str,
    Field(min_length=1, max_length=128),
    matches(
        CRON_PATTERN,
        "write five fields (minute hour day-of-month month day-of-week), such as '0 3 * * *', or @daily; "
        "there is no field for seconds",
    ),
]

ComponentName = Annotated[
    str,
    Field(min_length=1, max_length=40),
    matches(
        r"^[a-z]([-a-z0-9]*[a-z0-9])?$",
        "write at most 40 lower-case letters, digits and '-', starting with a letter: siblings reach it by this name",
    ),
]

RateLimit = Annotated[
    str,
    Field(min_length=3, max_length=32),
    matches(
        r"^[1-9][0-9]*/(s|m|h|d)$", "write a number of requests per s, m, h or d and client, such as 50/s or 200/d"
    ),
]

FILES_LIMIT = 131072
DASHBOARDS_LIMIT = 524288
"""Bytes of a component's Grafana dashboards together: a ConfigMap may hold 1 MiB, and so may the Application."""


class CatalogRef(Model):
    """Names an item of the catalog."""

    name: Label
    """The item's name."""
    version: ShortText | None = None
    """One of the item's versions; absent means its newest."""


class Autoscaling(Model):
    """Keeps the number of replicas between two bounds by measured load."""

    min: Annotated[StrictInt, Field(ge=1, le=1000)]
    """At least this many replicas."""
    max: Annotated[StrictInt, Field(ge=1, le=1000)]
    """At most this many replicas."""
    cpu: Annotated[StrictInt, Field(ge=1, le=1000)] | None = None
    """Wanted average CPU use, in percent of the request."""
    memory: Annotated[StrictInt, Field(ge=1, le=1000)] | None = None
    """Wanted average memory use, in percent of the request."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self.max >= self.min", "max must be at least min; raise max or lower min", lambda s: s.max >= s.min),
        Rule(
            "has(self.cpu) || has(self.memory)",
            "say what to scale by: cpu, memory or both, in percent of the request",
            lambda s: s.cpu is not None or s.memory is not None,
        ),
    )


class Migrate(Model):
    """A Job that must succeed before this component's new Pods start; it runs once per version."""

    command: Command
    """The command, in the component's image with its environment and files."""
    args: Command | None = None
    """The command's arguments."""
    backoff_limit: Annotated[StrictInt, Field(ge=0, le=100)] | None = None
    """How many times a failed Pod is tried again; absent means 3."""
    timeout: Duration | None = None
    """How long it may take in all; absent means 10m."""
    resources: Resources | None = None
    """Absent means the component's."""
    restart_at: Annotated[str, Field(max_length=128)] | None = None
    """A token: a new value runs the migration once more, such as after the database was restored from a backup."""


class RouteHeaders(Model):
    """Response headers of a route."""

    preset: Literal["Secure"] | None = None
    """Secure sets HSTS, X-Content-Type-Options, X-Frame-Options, Referrer-Policy and a conservative CSP."""
    set: Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=32)] | None = None
    """More headers, which win over the preset's; an empty value leaves that header of the preset out."""


class Cors(Model):
    """Cross-origin access to a route."""

    origins: Annotated[tuple[ShortText, ...], Field(min_length=1, max_length=32), SET]
    """Origins that may read answers, such as https://app.example.com."""
    methods: Annotated[tuple[ShortText, ...], Field(max_length=16), SET] | None = None
    """Absent means GET, POST, PUT, PATCH, DELETE and OPTIONS."""
    headers: Annotated[tuple[ShortText, ...], Field(max_length=32), SET] | None = None
    """Request headers that are allowed; absent means the usual ones, Authorization and Content-Type among them."""
    credentials: StrictBool | None = None
    """Whether cookies may be sent."""


class Route(Model):
    """A path of the environment's host that leads to this component."""

    host: HostName = ""
    """Absent means the environment's ingress.domain."""
    path: Annotated[str, Field(min_length=1, max_length=512)]
    """The path's start."""
    path_type: Literal["Prefix", "Exact"] | None = None
    """Absent means Prefix."""
    port: PortRef | None = None
    """The component's port, by name or number; absent means the first."""
    rate_limit: RateLimit | None = None
    """Requests per client address and time, such as 50/s."""
    rate_limits: Annotated[tuple[RateLimit, ...], Field(max_length=4), SET] | None = None
    """More of them, such as [200/d, 50/h]; all hold, rateLimit too."""
    websocket: StrictBool | None = None
    """Lets connections be upgraded and stay open."""
    headers: RouteHeaders | None = None
    """Response headers."""
    compress: StrictBool | None = None
    """Compress answers."""
    cors: Cors | None = None
    """Cross-origin access."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self.path.startsWith('/')", "path must start with '/'", lambda s: s.path.startswith("/")),
    )


class Egress(Model):
    """A network that the component calls, where isolation is Strict."""

    cidr: Annotated[
        str,
        Field(max_length=43),
        matches(r"^[0-9a-fA-F:.]+/[0-9]{1,3}$", "write a network such as 10.20.0.0/24 or fd00:20::/64"),
    ]
    """The network."""
    ports: Annotated[tuple[Annotated[StrictInt, Field(ge=1, le=65535)], ...], Field(max_length=16), SET] | None = None
    """TCP ports; absent means every port."""


class Metrics(Model):
    """Where Prometheus scrapes this component."""

    port: PortRef | None = None
    """The port, by name or number; absent means the first."""
    path: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Absent means /metrics."""
    interval: Duration | None = None
    """Absent means Prometheus's own default."""
    headless: StrictBool | None = None
    """True makes a Service <component>-metrics whose name stands for every single Pod, for a Prometheus that finds
    what to scrape by DNS; a stateful component's own Service is such a one already."""
    labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=16)] | None = None
    """More labels on the ServiceMonitor or PodMonitor, for a Prometheus that selects by them, such as release."""
    dashboards: (
        Annotated[dict[str, Annotated[str, Field(max_length=DASHBOARDS_LIMIT)]], Field(max_length=16)] | None
    ) = None
    """Grafana dashboards: name -> the dashboard's JSON, 512 KiB together. They become a ConfigMap with the label
    grafana_dashboard: "1", by which Grafana's sidecar finds it."""


class Strategy(Model):
    """How new Pods replace old ones."""

    type: Literal["RollingUpdate", "Recreate"] | None = None
    """Absent means RollingUpdate, or Recreate when a volume can be mounted by one Pod only."""
    rolling_update: RollingUpdate | None = None
    """The pace of a rolling update."""


Containers = Annotated[
    tuple[Annotated[dict[str, Any], kubernetes_type("V1Container")], ...],
    Field(max_length=16),
    ListMap("name"),
]
StringMap = Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=64)]
FileMap = Annotated[
    dict[str, Annotated[str, Field(max_length=1572864)]],
    Field(max_length=32),
    Rule(
        f"self.map(path, self[path].size()).sum() <= {FILES_LIMIT}",
        "files may hold 128 KiB together; put large content into the image, a volume or a ConfigMap of its own",
        lambda files: sum(len(content) for content in files.values()) <= FILES_LIMIT,
    ),
    Rule(
        "self.all(path, path.startsWith('/') && !path.contains('..'))",
        "write each file's absolute path, without '..'",
        lambda files: all(path.startswith("/") and ".." not in path for path in files),
    ),
]

RUNNING_TYPES = ("service", "worker", "stateful")


def _runs(component: Component) -> bool:
    return component.type in RUNNING_TYPES


def _port_known(component: Component, ref: str | None) -> bool:
    return (
        ref is None
        or component.catalog is not None
        or any(ref in (port.name, str(port.port)) for port in component.ports or ())
    )


def _service_ports_differ(component: Component) -> bool:
    numbers = [(port.service_port or port.port, port.protocol or "TCP") for port in component.ports or ()]
    return len(set(numbers)) == len(numbers) or all(port.service_port is None for port in component.ports or ())


class Component(Model):
    """One part of an application."""

    name: ComponentName
    """The name: objects are called by it, and siblings reach a service under it."""
    type: Literal["service", "worker", "stateful", "cron", "job"] = "service"
    """service: replicas behind a name; worker: replicas nobody calls; stateful: replicas with an identity and volumes
    of their own; cron: a Job by schedule; job: a Job once per version."""
    image: Image | None = None
    """The container image; without a tag it takes the version as its tag."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """Absent means Kubernetes's default."""
    catalog: CatalogRef | None = None
    """A catalog item instead of an image."""
    enabled: StrictBool | None = None
    """False leaves the component out, and an override may say otherwise for one environment; absent means true."""
    values: Annotated[dict[str, Any], FREE_FORM] | None = None
    """The catalog item's settings, checked against its schema."""
    replicas: Annotated[StrictInt, Field(ge=0, le=1000)] | None = None
    """How many; absent means 1. 0 stops it, beside autoscaling too."""
    command: Command | None = None
    """Replaces the image's entrypoint."""
    args: Command | None = None
    """Replaces the image's command."""
    working_dir: Annotated[str, Field(max_length=1024)] | None = None
    """The working directory; absent means the image's."""
    ports: Annotated[tuple[Port, ...], Field(max_length=16), ListMap("name")] | None = None
    """The ports it listens on."""
    env: Annotated[tuple[EnvVar, ...], Field(max_length=64), ListMap("name")] | None = None
    """Environment variables; they win over the environment's variables."""
    env_from: Annotated[tuple[EnvFrom, ...], Field(max_length=16), ATOMIC] | None = None
    """Variables from whole ConfigMaps and Secrets."""
    files: FileMap | None = None
    """Files by absolute path, from a ConfigMap, read-only."""
    secret_files: Annotated[tuple[SecretFile, ...], Field(max_length=32), ListMap("path")] | None = None
    """Files whose content is a key of a Secret."""
    secrets: Annotated[tuple[GeneratedSecret, ...], Field(max_length=16), ListMap("name")] | None = None
    """Secrets that are generated once."""
    volumes: Annotated[tuple[Volume, ...], Field(max_length=16), ListMap("name")] | None = None
    """Places for data."""
    resources: Resources | None = None
    """CPU and memory; absent parts have defaults."""
    probes: Probes | None = None
    """Health checks."""
    autoscaling: Autoscaling | None = None
    """Replicas by load, instead of replicas."""
    migrate: Migrate | None = None
    """A Job that must succeed before the rollout."""
    routes: Annotated[tuple[Route, ...], Field(max_length=32), ListMap("host", "path")] | None = None
    """Paths that lead here from outside."""
    egress: Annotated[tuple[Egress, ...], Field(max_length=16), ListMap("cidr")] | None = None
    """Private networks that it calls; the internet and its siblings need no word."""
    metrics: Metrics | None = None
    """Where to scrape metrics."""
    depends_on: Annotated[tuple[ComponentName, ...], Field(max_length=32), SET] | None = None
    """Components that must be ready first."""
    strategy: Strategy | None = None
    """How new Pods replace old ones."""
    paused: StrictBool | None = None
    """True holds a rollout where it is, and a migration that hasn't begun; replicas may still change."""
    restart_at: Annotated[str, Field(max_length=128)] | None = None
    """A token: a new value restarts the Pods once, one after the other."""
    schedule: CronSchedule | None = None
    """For cron: when it runs."""
    time_zone: ShortText | None = None
    """For cron: the time zone of schedule, such as Europe/Rome; absent means the cluster's."""
    concurrency_policy: Literal["Allow", "Forbid", "Replace"] | None = None
    """For cron: what happens when the last run isn't over; absent means Forbid."""
    suspend: StrictBool | None = None
    """For cron: no new runs."""
    starting_deadline_seconds: Annotated[StrictInt, Field(ge=0)] | None = None
    """For cron: how late a run may start."""
    successful_jobs_history_limit: Annotated[StrictInt, Field(ge=0, le=100)] | None = None
    """For cron: how many done runs are kept."""
    failed_jobs_history_limit: Annotated[StrictInt, Field(ge=0, le=100)] | None = None
    """For cron: how many failed runs are kept."""
    backoff_limit: Annotated[StrictInt, Field(ge=0, le=100)] | None = None
    """For cron and job: how many times a failed Pod is tried again; absent means 3."""
    active_deadline_seconds: Annotated[StrictInt, Field(ge=1)] | None = None
    """For cron and job: how long a run may take."""
    security_context: SecurityContext | None = None
    """How it runs; what is absent is restricted."""
    service_account_name: ObjectName | None = None
    """The Pods' service account; absent means the namespace's default, without a token."""
    image_pull_secrets: Annotated[tuple[NameRef, ...], Field(max_length=8), ListMap("name")] | None = None
    """Secrets with registry credentials."""
    labels: StringMap | None = None
    """More labels on the objects and Pods."""
    annotations: StringMap | None = None
    """More annotations on the Pods."""
    node_selector: StringMap | None = None
    """Labels that a node must have."""
    tolerations: (
        Annotated[tuple[Annotated[dict[str, Any], kubernetes_type("V1Toleration")], ...], Field(max_length=32), ATOMIC]
        | None
    ) = None
    """Taints that are tolerated."""
    affinity: Annotated[dict[str, Any], kubernetes_type("V1Affinity")] | None = None
    """Where Pods go, as in a Pod."""
    termination_grace_period_seconds: Annotated[StrictInt, Field(ge=0, le=86400)] | None = None
    """How long a Pod gets to stop; absent means 30."""
    init_containers: Containers | None = None
    """Containers that run before, as in a Pod."""
    sidecars: Containers | None = None
    """Containers that run beside, as in a Pod."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.image) != has(self.catalog)",
            "write exactly one of image and catalog",
            lambda s: (s.image is None) != (s.catalog is None),
        ),
        Rule(
            "!has(self.values) || has(self.catalog)",
            "values are a catalog item's settings; name the item in catalog, or use env",
            lambda s: s.values is None or s.catalog is not None,
            ".values",
        ),
        Rule(
            "self.type != 'service' || has(self.catalog) || (has(self.ports) && size(self.ports) > 0)",
            "a service needs at least one port; write ports, or type: worker for what nobody calls",
            lambda s: s.type != "service" or s.catalog is not None or bool(s.ports),
        ),
        Rule(
            "self.type == 'service' || has(self.catalog) || !has(self.ports) || "
            "!self.ports.exists(p, has(p.servicePort))",
            "servicePort is for type service: a stateful component's siblings reach its Pods themselves, on port, and "
            "the others have no Service; leave servicePort out",
            lambda s: (
                s.type == "service" or s.catalog is not None or all(p.service_port is None for p in s.ports or ())
            ),
            ".ports",
        ),
        Rule(
            "!has(self.ports) || !self.ports.exists(p, has(p.servicePort)) || self.ports.all(p, "
            "self.ports.exists_one(q, (has(q.servicePort) ? q.servicePort : q.port) == "
            "(has(p.servicePort) ? p.servicePort : p.port) && "
            "(has(q.protocol) ? q.protocol : 'TCP') == (has(p.protocol) ? p.protocol : 'TCP')))",
            "two ports have the same number on the Service; write another servicePort for one of them",
            _service_ports_differ,
            ".ports",
        ),
        Rule(
            "(self.type == 'cron') == has(self.schedule)",
            "write a schedule for type cron, and only there",
            lambda s: (s.type == "cron") == (s.schedule is not None),
        ),
        Rule(
            "!(has(self.autoscaling) && has(self.replicas) && self.replicas > 0)",
            "write replicas or autoscaling, not both; in an override, `without: [autoscaling]` leaves it out; only "
            "replicas: 0 may stand beside it, and scales to zero until it is taken away",
            lambda s: s.autoscaling is None or not s.replicas,
        ),
        Rule(
            "self.type in ['service', 'worker', 'stateful'] || "
            "!(has(self.autoscaling) || has(self.replicas) || has(self.migrate) || has(self.routes) || "
            "has(self.probes) || has(self.strategy))",
            "a cron or job has no replicas, autoscaling, migrate, routes, probes or strategy; leave them out",
            lambda s: (
                _runs(s)
                or all(x is None for x in (s.autoscaling, s.replicas, s.migrate, s.routes, s.probes, s.strategy))
            ),
        ),
        Rule(
            "!has(self.routes) || has(self.catalog) || self.type == 'worker' || self.routes.all(r, !has(r.port) || "
            "(has(self.ports) && self.ports.exists(p, string(r.port) == p.name || string(r.port) == string(p.port))))",
            "a route's port is not among ports; write the name or number of one of them",
            lambda s: s.type == "worker" or all(_port_known(s, route.port) for route in s.routes or ()),
            ".routes",
        ),
        Rule(
            "!has(self.routes) || self.type != 'worker'",
            "nobody calls a worker; write type: service to give it routes",
            lambda s: s.routes is None or s.type != "worker",
            ".routes",
        ),
        Rule(
            "!has(self.dependsOn) || !self.dependsOn.exists(d, d == self.name)",
            "a component can't depend on itself; take its name out of dependsOn",
            lambda s: s.name not in (s.depends_on or ()),
            ".dependsOn",
        ),
    )


class ComponentOverride(Model):
    """What differs in one environment. It has every field of a component except name, nothing is required and
    nothing has a default; lists merge by their key. The generator fills its schema in from Component."""

    without: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=140)], ...], Field(max_length=64), SET] = ()
    """Fields of the base to leave out, such as autoscaling or env.NAME."""


__all__ = ["AbsolutePath", "Component", "ComponentOverride"]
