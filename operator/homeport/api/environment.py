"""Environment: a place where applications run, on Kubernetes or on Proxmox."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt

from homeport.api.base import (
    Duration,
    HostName,
    Label,
    ListMap,
    Model,
    NameRef,
    ObjectName,
    Quantity,
    Rule,
    SecretKeyRef,
    ShortText,
    matches,
)
from homeport.api.pod import EnvValue
from homeport.api.status import Inventory, Status

CIDR = matches(r"^[0-9]{1,3}([.][0-9]{1,3}){3}/[0-9]{1,2}$", "write an IPv4 network such as 10.20.0.0/24")
_ADDRESS = matches(r"^[0-9]{1,3}([.][0-9]{1,3}){3}$", "write an IPv4 address such as 10.20.0.1")


class KubernetesPlace(Model):
    """Where on Kubernetes."""

    namespace: Label | None = None
    """Absent means <project>-<environment>; immutable."""
    kubeconfig_secret_ref: SecretKeyRef | None = None
    """Another cluster: an inline server, CA and token or client certificate; exec, files and proxies are refused.
    Absent means this cluster; immutable."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.__namespace__) == has(oldSelf.__namespace__) && "
            "(!has(self.__namespace__) || self.__namespace__ == oldSelf.__namespace__)",
            "namespace can't be changed; make a new Environment and move the applications",
            None,
            ".namespace",
        ),
        Rule(
            "has(self.kubeconfigSecretRef) == has(oldSelf.kubeconfigSecretRef) && "
            "(!has(self.kubeconfigSecretRef) || self.kubeconfigSecretRef == oldSelf.kubeconfigSecretRef)",
            "the cluster can't be changed; make a new Environment and move the applications",
            None,
            ".kubeconfigSecretRef",
        ),
    )


class ProxmoxNetwork(Model):
    """The network of an environment's containers."""

    bridge: ShortText
    """The bridge on the node."""
    cidr: Annotated[str, Field(max_length=18), CIDR] | None = None
    """Where addresses are allocated from."""
    gateway: Annotated[str, Field(max_length=15), _ADDRESS] | None = None
    """The default gateway."""
    vlan: Annotated[StrictInt, Field(ge=1, le=4094)] | None = None
    """The VLAN tag."""


class VmidRange(Model):
    """Which VMIDs may be used."""

    min: Annotated[StrictInt, Field(ge=100, le=999999999)]
    """The lowest."""
    max: Annotated[StrictInt, Field(ge=100, le=999999999)]
    """The highest."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self.max >= self.min", "max must be at least min; raise max or lower min", lambda s: s.max >= s.min),
    )


class ProxmoxPlace(Model):
    """Where on Proxmox."""

    host_ref: NameRef
    """The ProxmoxHost; immutable."""
    node: ShortText | None = None
    """Absent means that the operator places by free memory."""
    pool: ShortText | None = None
    """The resource pool."""
    storage: ShortText | None = None
    """The storage of root disks and volumes."""
    delivery: Literal["Agent", "Plain", "SSH"] | None = None
    """How software gets into a container; absent means Agent."""
    template: ShortText | None = None
    """The template of containers, resolved against the host's."""
    template_storage: ShortText | None = None
    """The storage of templates."""
    network: ProxmoxNetwork | None = None
    """The containers' network."""
    vmid_range: VmidRange | None = None
    """Which VMIDs may be used."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.hostRef == oldSelf.hostRef",
            "the host can't be changed: its containers are there; make a new Environment and move the applications",
            None,
            ".hostRef",
        ),
    )


class CopiedSecret(Model):
    """A Secret that is copied from the project's namespace and kept in step."""

    name: ObjectName
    """Its name in the environment."""
    from_: ObjectName | None = Field(default=None, alias="from")
    """Its name in the project's namespace; absent means the same."""


class IngressTls(Model):
    """Where certificates come from."""

    secret_name: ObjectName | None = None
    """A Secret of type kubernetes.io/tls in the environment."""
    issuer: ObjectName | None = None
    """A cert-manager ClusterIssuer, which then makes the Secret."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.secretName) != has(self.issuer)",
            "write exactly one of secretName and issuer",
            lambda s: (s.secret_name is None) != (s.issuer is None),
        ),
    )


class GatewayRef(Model):
    """A Gateway that is there."""

    name: ObjectName
    """Its name."""
    namespace: Label | None = None
    """Its namespace; absent means the environment's."""
    section_name: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """One of its listeners; absent means all that fit. Named https, or https-…, it says that addresses are https."""


class IngressSettings(Model):
    """How routes reach the environment."""

    kind: Literal["Ingress", "Gateway"] | None = None
    """What routes become: Ingresses, or HTTPRoutes of the Gateway API. Absent means Gateway when there is a gatewayRef,
    or when className is a GatewayClass of the cluster and no IngressClass; else Ingress."""
    class_name: ObjectName | None = None
    """The IngressClass, of which absent means the cluster's default; for kind Gateway the GatewayClass of the Gateway
    that Homeport makes."""
    gateway_ref: GatewayRef | None = None
    """For kind Gateway: a Gateway that is there, instead of one that Homeport makes."""
    domain: HostName | None = None
    """The host of routes that name none."""
    tls: IngressTls | None = None
    """Where certificates come from; absent means plain HTTP."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.gatewayRef) || !has(self.kind) || self.kind == 'Gateway'",
            "a gatewayRef is for kind Gateway; leave one of them out",
            lambda s: s.gateway_ref is None or s.kind in (None, "Gateway"),
        ),
        Rule(
            "!has(self.gatewayRef) || !has(self.className)",
            "the Gateway that gatewayRef names has its own class; leave className out",
            lambda s: s.gateway_ref is None or s.class_name is None,
        ),
        Rule(
            "!has(self.gatewayRef) || !has(self.tls)",
            "the Gateway that gatewayRef names has its own certificates; leave tls out",
            lambda s: s.gateway_ref is None or s.tls is None,
        ),
        Rule(
            "!has(self.kind) || self.kind != 'Gateway' || has(self.className) || has(self.gatewayRef)",
            "name a GatewayClass in className, or a Gateway that is there in gatewayRef",
            lambda s: s.kind != "Gateway" or s.class_name is not None or s.gateway_ref is not None,
        ),
    )


class Quota(Model):
    """Bounds on what may be used."""

    cpu: Quantity | None = None
    """CPU requests together."""
    memory: Quantity | None = None
    """Memory requests together."""
    pods: Annotated[StrictInt, Field(ge=0)] | None = None
    """Pods together."""
    storage: Quantity | None = None
    """Requested volume sizes together."""
    containers: Annotated[StrictInt, Field(ge=0)] | None = None
    """LXC containers together."""


class Promotion(Model):
    """Where versions come from before they arrive here."""

    from_: Label = Field(alias="from")
    """The environment before this one."""


class EnvironmentSpec(Model):
    """What the environment is."""

    tier: Literal["Development", "Staging", "Production", "Preview"] = "Development"
    """What it is for; Production is protected by stricter roles."""
    runtime: Annotated[
        Literal["Kubernetes", "Proxmox"],
        Rule("self == oldSelf", "runtime can't be changed; make a new Environment and move the applications"),
    ] = "Kubernetes"
    """Where applications run; immutable."""
    template: Annotated[
        StrictBool,
        Rule("self == oldSelf", "template can't be changed: what runs in it would go; make a new Environment instead"),
    ] = False
    """True makes it only a pattern for pull-request previews."""
    kubernetes: KubernetesPlace | None = None
    """Where, when runtime is Kubernetes."""
    proxmox: ProxmoxPlace | None = None
    """Where, when runtime is Proxmox."""
    variables: Annotated[dict[str, EnvValue], Field(max_length=64)] | None = None
    """Variables of every component."""
    secrets: Annotated[tuple[CopiedSecret, ...], Field(max_length=64), ListMap("name")] | None = None
    """Secrets copied from the project's namespace and kept in step; Pods roll when one changes."""
    ingress: IngressSettings | None = None
    """How routes reach the environment."""
    isolation: Literal["Strict", "Open"] = "Strict"
    """Strict: default-deny NetworkPolicies plus what the components declare."""
    pod_security: Literal["restricted", "baseline", "privileged"] = "restricted"
    """The Pod Security Standard that is enforced on the namespace."""
    quota: Quota | None = None
    """Bounds on what may be used."""
    deletion_policy: Literal["Delete", "Retain"] | None = None
    """For the volumes in it; absent means Retain, and Delete for tier Preview."""
    promotion: Promotion | None = None
    """Where versions come from."""
    ttl: Duration | None = None
    """For previews: how long it lives."""
    suspend: StrictBool = False
    """True stops reconciliation of this object."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(self.runtime == 'Proxmox') == has(self.proxmox)",
            "write proxmox (at least its hostRef) when runtime is Proxmox, and only then",
            lambda s: (s.runtime == "Proxmox") == (s.proxmox is not None),
        ),
        Rule(
            "self.runtime == 'Kubernetes' || !has(self.kubernetes)",
            "kubernetes is for runtime Kubernetes; leave it out",
            lambda s: s.runtime == "Kubernetes" or s.kubernetes is None,
        ),
        Rule(
            "has(self.kubernetes) == has(oldSelf.kubernetes) || "
            "(has(self.kubernetes) ? "
            "!has(self.kubernetes.__namespace__) && !has(self.kubernetes.kubeconfigSecretRef) : "
            "!has(oldSelf.kubernetes.__namespace__) && !has(oldSelf.kubernetes.kubeconfigSecretRef))",
            "the namespace and the cluster can't be changed; make a new Environment and move the applications",
            None,
            ".kubernetes",
        ),
    )


class CopiedSecretStatus(Model):
    """How one copied Secret is."""

    name: ObjectName
    """Its name in the environment."""
    ready: StrictBool
    """Whether the copy is in step."""


class IngressStatus(Model):
    """What the class of ingress.className was found to be; it stays that while the name does."""

    class_name: ShortText
    """The class."""
    kind: ShortText
    """Ingress or Gateway."""


class EnvironmentStatus(Status):
    """How the environment is."""

    namespace: ShortText | None = None
    """Where its applications run."""
    runtime: ShortText | None = None
    """Kubernetes or Proxmox."""
    secrets: Annotated[tuple[CopiedSecretStatus, ...], Field(max_length=64), ListMap("name")] = ()
    """The copied Secrets."""
    ingress: IngressStatus | None = None
    """What routes become."""
    inventory: Inventory | None = None
    """Every object that was made."""
