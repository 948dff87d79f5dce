"""The parts of a component that have a namesake in a Pod: environment, resources, probes, volumes, security.

Inside them Kubernetes's own names, units and defaults hold.
Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt

from homeport.api.base import (
    ATOMIC,
    SET,
    IntOrPercent,
    Label,
    ListMap,
    Model,
    ObjectName,
    PortRef,
    Quantity,
    Rule,
    SecretKeyRef,
    ShortText,
    matches,
)

EnvName = Annotated[
    str,
    Field(min_length=1, max_length=128),
    matches(r"^[-._a-zA-Z][-._a-zA-Z0-9]*$", "write a variable's name: letters, digits, '_', '-' and '.'"),
]
AbsolutePath = Annotated[
    str,
    Field(min_length=1, max_length=512),
    Rule(
        "self.startsWith('/') && !self.contains('..') && !self.contains(':')",
        "write an absolute path without '..' or ':'",
        lambda path: path.startswith("/") and ".." not in path and ":" not in path,
    ),
]
EnvValue = Annotated[str, Field(max_length=32768)]
Argument = Annotated[str, Field(max_length=8192)]
Command = Annotated[tuple[Argument, ...], Field(max_length=64), ATOMIC]


class Port(Model):
    """A port that the component listens on."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=15),
        matches(
            r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "write a port name of at most 15 lower-case letters, digits and '-'"
        ),
    ]
    """The port's name, by which probes, routes and metrics refer to it."""
    port: Annotated[StrictInt, Field(ge=1, le=65535)]
    """The number that the container listens on, and the Service's too unless servicePort says otherwise."""
    service_port: Annotated[StrictInt, Field(ge=1, le=65535)] | None = None
    """The number on the Service, under which siblings reach it; absent means port."""
    protocol: Literal["TCP", "UDP", "SCTP"] | None = None
    """The transport; absent means TCP."""


class KeySelector(Model):
    """One key of a Secret or ConfigMap, as in a Pod."""

    name: ObjectName
    """The object's name."""
    key: Annotated[str, Field(min_length=1, max_length=253)]
    """The key in its data."""
    optional: StrictBool | None = None
    """True lets the Pod start without it."""


class FieldSelector(Model):
    """A field of the Pod itself."""

    field_path: Annotated[str, Field(min_length=1, max_length=253)]
    """Such as metadata.name or status.podIP."""
    api_version: ShortText | None = None
    """The version of the schema that fieldPath is written in; absent means v1."""


class ResourceFieldSelector(Model):
    """One of the container's own requests or limits."""

    resource: ShortText
    """Such as limits.memory."""
    container_name: ShortText | None = None
    """Absent means this container."""
    divisor: Quantity | None = None
    """The unit of the result; absent means 1."""


class EnvSource(Model):
    """Where a variable's value comes from."""

    secret_key_ref: KeySelector | None = None
    """A key of a Secret in the environment's namespace."""
    config_map_key_ref: KeySelector | None = None
    """A key of a ConfigMap in the environment's namespace."""
    field_ref: FieldSelector | None = None
    """A field of the Pod."""
    resource_field_ref: ResourceFieldSelector | None = None
    """A request or limit of the container."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef), "
            "has(self.resourceFieldRef)].exists_one(x, x)",
            "write exactly one of secretKeyRef, configMapKeyRef, fieldRef and resourceFieldRef",
            lambda s: (
                sum(x is not None for x in (s.secret_key_ref, s.config_map_key_ref, s.field_ref, s.resource_field_ref))
                == 1
            ),
        ),
    )


class EnvVar(Model):
    """One environment variable."""

    name: EnvName
    """The variable's name."""
    value: EnvValue | None = None
    """Its value; $(OTHER) refers to variables defined before it."""
    value_from: EnvSource | None = None
    """Where the value comes from, instead of value."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.value) && has(self.valueFrom))",
            "write value or valueFrom, not both",
            lambda s: s.value is None or s.value_from is None,
        ),
    )


class OptionalRef(Model):
    """Names an object that may be allowed to be missing."""

    name: ObjectName
    """The object's name."""
    optional: StrictBool | None = None
    """True lets the Pod start without it."""


class EnvFrom(Model):
    """All keys of a ConfigMap or Secret as variables."""

    config_map_ref: OptionalRef | None = None
    """A ConfigMap in the environment's namespace."""
    secret_ref: OptionalRef | None = None
    """A Secret in the environment's namespace."""
    prefix: Annotated[str, Field(max_length=128)] | None = None
    """Put before each name."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.configMapRef) != has(self.secretRef)",
            "write exactly one of configMapRef and secretRef",
            lambda s: (s.config_map_ref is None) != (s.secret_ref is None),
        ),
    )


class SecretFile(Model):
    """A file whose content is one key of a Secret."""

    path: AbsolutePath
    """Where the file appears, read-only."""
    secret_ref: SecretKeyRef
    """The Secret in the environment's namespace and the key in it."""


class Resources(Model):
    """What the component asks for and may use at most."""

    requests: Annotated[dict[str, Quantity], Field(max_length=16)] | None = None
    """What the scheduler reserves; absent parts are set from the defaults in docs/kinds/application.md."""
    limits: Annotated[dict[str, Quantity], Field(max_length=16)] | None = None
    """What it may use at most."""


class Probe(Model):
    """A health check: an HTTP path, a TCP port or a command."""

    path: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """An HTTP GET of this path must answer 200 to 399."""
    scheme: Literal["HTTP", "HTTPS"] | None = None
    """For path; absent means HTTP."""
    http_headers: Annotated[tuple[HttpHeader, ...], Field(max_length=16), ATOMIC] | None = None
    """Headers to send with path."""
    port: PortRef | None = None
    """For path; absent means the first port."""
    tcp: PortRef | None = None
    """This port must accept a connection."""
    exec: Command | None = None
    """This command must exit 0."""
    initial_delay_seconds: Annotated[StrictInt, Field(ge=0)] | None = None
    """Seconds before the first check."""
    period_seconds: Annotated[StrictInt, Field(ge=1)] | None = None
    """Seconds between checks."""
    timeout_seconds: Annotated[StrictInt, Field(ge=1)] | None = None
    """Seconds after which a check counts as failed."""
    success_threshold: Annotated[StrictInt, Field(ge=1)] | None = None
    """Successes in a row that make it healthy."""
    failure_threshold: Annotated[StrictInt, Field(ge=1)] | None = None
    """Failures in a row that make it unhealthy."""
    termination_grace_period_seconds: Annotated[StrictInt, Field(ge=1)] | None = None
    """For liveness and startup: how long a failing container gets to stop."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.path), has(self.tcp), has(self.exec)].exists_one(x, x)",
            "write exactly one of path, tcp and exec",
            lambda s: sum(x is not None for x in (s.path, s.tcp, s.exec)) == 1,
        ),
        Rule(
            "!has(self.path) || self.path.startsWith('/')",
            "path must start with '/'",
            lambda s: s.path is None or s.path.startswith("/"),
        ),
    )


class HttpHeader(Model):
    """One HTTP header."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    """The header's name."""
    value: Annotated[str, Field(max_length=1024)]
    """Its value."""


class Probes(Model):
    """The three probes of a Pod."""

    liveness: Probe | None = None
    """When it fails, the container is restarted."""
    readiness: Probe | None = None
    """While it fails, no traffic arrives."""
    startup: Probe | None = None
    """Until it succeeds, the other two wait."""


class Volume(Model):
    """A place for data."""

    name: Label
    """The volume's name; its claim is <component>-<name>."""
    path: AbsolutePath
    """Where it is mounted."""
    size: Quantity | None = None
    """How large the claim is; a claim can grow and never shrinks."""
    storage_class: ObjectName | None = None
    """Absent means the cluster's default."""
    access_modes: (
        Annotated[
            tuple[Literal["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"], ...],
            Field(min_length=1, max_length=4),
            SET,
        ]
        | None
    ) = None
    """Absent means ReadWriteOnce."""
    existing_claim: ObjectName | None = None
    """Use this claim instead of making one; it is never changed or deleted."""
    ephemeral: StrictBool | None = None
    """True makes an empty directory that goes with the Pod; size then limits it."""
    sub_path: Annotated[str, Field(max_length=256)] | None = None
    """Mount only this folder of the volume."""
    read_only: StrictBool | None = None
    """Mount it read-only."""
    deletion_policy: Literal["Delete", "Retain"] | None = None
    """What happens to the claim when it leaves the desired set; absent means the environment's policy (Retain)."""
    backup: StrictBool | None = None
    """False says that it needs no backup: `homeport backup coverage` counts it as left out, and on Proxmox VE vzdump
    leaves it out. Absent means true."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.existingClaim) ? !has(self.size) && !has(self.ephemeral) : "
            "(has(self.size) || (has(self.ephemeral) && self.ephemeral))",
            "write a size (for a new claim), or existingClaim, or ephemeral: true",
            lambda s: (
                s.size is None and s.ephemeral is None
                if s.existing_claim is not None
                else s.size is not None or bool(s.ephemeral)
            ),
        ),
        Rule(
            "!(has(self.ephemeral) && self.ephemeral) || (!has(self.storageClass) && !has(self.accessModes) "
            "&& !has(self.deletionPolicy))",
            "an ephemeral volume has no storageClass, accessModes or deletionPolicy; leave them out",
            lambda s: (
                not s.ephemeral or (s.storage_class is None and s.access_modes is None and s.deletion_policy is None)
            ),
        ),
    )


class Capabilities(Model):
    """Linux capabilities, as in a container."""

    add: Annotated[tuple[ShortText, ...], Field(max_length=64), ATOMIC] | None = None
    """Capabilities added after all are dropped."""
    drop: Annotated[tuple[ShortText, ...], Field(max_length=64), ATOMIC] | None = None
    """Absent means ALL."""


class SeccompProfile(Model):
    """A seccomp profile."""

    type: Literal["RuntimeDefault", "Localhost", "Unconfined"]
    """Which kind of profile."""
    localhost_profile: ShortText | None = None
    """For Localhost: the file on the node."""


class Sysctl(Model):
    """A namespaced kernel parameter."""

    name: ShortText
    """Such as net.ipv4.ip_unprivileged_port_start."""
    value: ShortText
    """Its value."""


class SecurityContext(Model):
    """How the Pod runs. Pod-level and container-level fields stand side by side; what is absent is restricted."""

    run_as_user: Annotated[StrictInt, Field(ge=0)] | None = None
    """The user id; absent means the image's own user, or 65532 when runAsNonRoot can't be known."""
    run_as_group: Annotated[StrictInt, Field(ge=0)] | None = None
    """The group id; absent means the user id when that is set."""
    run_as_non_root: StrictBool | None = None
    """Absent means true."""
    fs_group: Annotated[StrictInt, Field(ge=0)] | None = None
    """The group that volumes belong to."""
    fs_group_change_policy: Literal["OnRootMismatch", "Always"] | None = None
    """When volumes' ownership is changed; absent means OnRootMismatch if fsGroup is set."""
    supplemental_groups: Annotated[tuple[StrictInt, ...], Field(max_length=16), ATOMIC] | None = None
    """More groups of the process."""
    read_only_root_filesystem: StrictBool | None = None
    """Absent means true, with a writable /tmp."""
    allow_privilege_escalation: StrictBool | None = None
    """Absent means false."""
    privileged: StrictBool | None = None
    """Needs an environment whose podSecurity is privileged."""
    capabilities: Capabilities | None = None
    """Absent means all dropped."""
    seccomp_profile: SeccompProfile | None = None
    """Absent means RuntimeDefault."""
    sysctls: Annotated[tuple[Sysctl, ...], Field(max_length=16), ListMap("name")] | None = None
    """Namespaced kernel parameters."""


class RollingUpdate(Model):
    """The pace of a rolling update."""

    max_surge: IntOrPercent | None = None
    """How many Pods may be there beyond the wanted number."""
    max_unavailable: IntOrPercent | None = None
    """How many Pods may be missing."""


SecretText = Annotated[str, Field(max_length=1024)]


class GeneratedSecret(Model):
    """A Secret that Homeport makes once and never changes or shows."""

    name: ObjectName
    """The Secret's name in the environment's namespace."""
    generate: Generate
    """What is generated."""
    template: Annotated[dict[str, SecretText], Field(max_length=16)] | None = None
    """More keys, in which $(KEY) stands for the generated one, such as url: postgres://app:$(password)@db:5432/app."""


class Generate(Model):
    """What a generated Secret holds."""

    length: Annotated[StrictInt, Field(ge=8, le=256)] = 32
    """How many letters and digits."""
    key: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """The key in the Secret's data; absent means password."""
