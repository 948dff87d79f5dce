"""cluster.yaml: clusters, what goes into each, Homeport's home, and the Git repository that it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from homeport_clusters.addons import Addons
from homeport_clusters.cloudspecs import Aks, Eks, Gke
from homeport_clusters.k3s_config import K3s
from homeport_clusters.model import Json, Model, Name, refused

ClusterType = Literal["kind", "k3s", "existing", "eks", "gke", "aks"]
TYPES: tuple[ClusterType, ...] = ("kind", "k3s", "existing", "eks", "gke", "aks")

Port = Annotated[int, Field(ge=1, le=65535)]


class ConfigError(ValueError):
    """A cluster.yaml that can't be used; the message has a line for each field, and what to write instead."""


class KindRegistry(Model):
    """A container registry beside the nodes, which they pull from as `localhost:PORT`."""

    enabled: bool = False
    """Whether there is one."""
    name: Name = "kind-registry"
    """The name of its container."""
    port: Port = 5001
    """Its port on this machine."""
    image: Annotated[str, Field(max_length=256)] = "registry:3.0.0"
    """Its image."""


class IngressPorts(Model):
    """The ports of this machine that lead to the ingress controller."""

    http: Port = 80
    """The port of plain HTTP."""
    https: Port = 443
    """The port of HTTPS."""

    @model_validator(mode="after")
    def _differ(self) -> IngressPorts:
        if self.http == self.https:
            raise refused("http and https must be two different ports")
        return self


class Mount(Model):
    """A folder of this machine in every node."""

    host_path: Annotated[str, Field(min_length=1, max_length=4096)]
    """The folder on this machine."""
    container_path: Annotated[str, Field(pattern="^/", max_length=4096)]
    """Where the nodes have it."""
    read_only: bool = False
    """Whether the nodes may only read it."""


class Kind(Model):
    """kind: nodes as containers of this machine's Docker or Podman. The program `kind` must be installed."""

    image: Annotated[str, Field(max_length=256)] | None = None
    """The node image with its digest, as kind's release notes list them. Default: the installed kind's."""
    control_planes: Annotated[int, Field(ge=1, le=9)] = 1
    """Control-plane nodes; an odd number, for etcd."""
    workers: Annotated[int, Field(ge=0, le=50)] = 0
    """Worker nodes. Without any, the control plane runs everything."""
    ingress_ports: IngressPorts | None = IngressPorts()
    """Ports of this machine for the ingress controller, on the first node; null for none."""
    registry: KindRegistry = KindRegistry()
    """A local registry."""
    api_server_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """The API server's port on this machine; 0 for any that is free."""
    pod_subnet: Annotated[str, Field(max_length=64)] | None = None
    """The Pods' network. Default: kind's."""
    service_subnet: Annotated[str, Field(max_length=64)] | None = None
    """The Services' network. Default: kind's."""
    mounts: Annotated[tuple[Mount, ...], Field(max_length=20)] = ()
    """Folders of this machine in every node."""
    wait_seconds: Annotated[int, Field(ge=0, le=3600)] = 300
    """Seconds that the control plane may take to be ready."""

    @field_validator("control_planes")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise refused(f"write an odd number: etcd with {value} members survives no more than with {value - 1}")
        return value


class Existing(Model):
    """A cluster that is there. It is never deleted, only what is put into it."""

    kubeconfig: Annotated[str, Field(max_length=4096)] | None = None
    """A kubeconfig file; relative to cluster.yaml. Default: $KUBECONFIG, else ~/.kube/config."""
    context: Annotated[str, Field(max_length=256)] | None = None
    """The context in it. Default: its current one."""


class Cluster(Model):
    """A cluster: where it comes from, and what it comes with."""

    name: Name
    """Its name, once in the file."""
    region: Name | None = None
    """Where it is, in your words: a label of its objects and of the Secret with its kubeconfig. Default: its name."""
    type: ClusterType
    """Where it comes from; the block of that name has the details."""
    kind: Kind | None = None
    """For type kind."""
    k3s: Annotated[K3s | None, Field(alias="k3s")] = None
    """For type k3s."""
    existing: Existing | None = None
    """For type existing."""
    eks: Eks | None = None
    """For type eks."""
    gke: Gke | None = None
    """For type gke."""
    aks: Aks | None = None
    """For type aks."""
    addons: Addons = Addons()
    """What it comes with beside Homeport."""

    @model_validator(mode="before")
    @classmethod
    def _blocks(cls, value: Any) -> Any:
        """The block of the type is there, with its defaults; no other one is."""
        if not isinstance(value, Mapping) or value.get("type") not in TYPES:
            return value
        kind = value["type"]
        others = [name for name in TYPES if name != kind and value.get(name) is not None]
        if others:
            raise refused(
                f"the block {others[0]!r} belongs to type {others[0]}: take it out, or write type: {others[0]}"
            )
        if value.get(kind) is None and kind in REQUIRED_BLOCKS:
            raise refused(f"type {kind} needs a block {kind!r} with {REQUIRED_BLOCKS[kind]}")
        return {**value, kind: value.get(kind) if value.get(kind) is not None else {}}

    @property
    def label(self) -> str:
        """The region's name, for labels."""
        return self.region or self.name


REQUIRED_BLOCKS: dict[str, str] = {
    "k3s": "proxmox, template, storage, network and release",
    "eks": "the region",
    "gke": "the project and the location",
    "aks": "the location",
}
"""The types whose block has no default, and what it has to say."""


class Homeport(Model):
    """Homeport's chart, in the home cluster."""

    enabled: bool = True
    """Whether it is installed. Without it the clusters are made, and nothing else of Homeport."""
    chart: Annotated[str, Field(max_length=1024)] | None = None
    """The chart: a folder or .tgz (relative to this file), an oci:// or https:// address. Default: Homeport's own."""
    version: Annotated[str, Field(max_length=64)] | None = None
    """The chart's version, for an address."""
    namespace: Name = "homeport-system"
    """The namespace of its release."""
    release_name: Name = "homeport"
    """The name of its release."""
    values: Json = Field(default_factory=dict)
    """The chart's values, as charts/homeport/README.md lists them."""
    timeout_seconds: Annotated[int, Field(ge=10, le=3600)] = 600
    """Seconds that its Pods may take to be ready."""
    delete_data: bool = False
    """Whether `homeport cluster destroy --delete-data` deletes Homeport's kinds and all objects of them, the root
    GitSource, its Project and the projects' namespaces that were made; both ask."""

    @field_validator("values")
    @classmethod
    def _kept(cls, value: Json) -> Json:
        crds = value.get("crds")
        if isinstance(crds, Mapping) and crds.get("keep") is False:
            raise refused(
                "crds.keep: false would delete every Project with the release: write deleteData: true beside it"
            )
        return value


class SecretReference(Model):
    """A Secret in the root GitSource's namespace."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
    """Its name."""


RefKind = Literal["branch", "tag", "semver", "commit"]


def _main() -> dict[RefKind, str]:
    return {"branch": "main"}


class GitSource(Model):
    """The root GitSource: the folder in Git from which everything else of Homeport comes."""

    enabled: bool = True
    """Whether it is made."""
    name: Name = "root"
    """Its name, and its Project's and namespace's unless `project` says another."""
    project: Name | None = None
    """The Project that it is in; it is made with its namespace. Default: its own name."""
    url: Annotated[str, Field(min_length=1, max_length=2048)]
    """The repository's address, as git takes it; without a user or password in it."""
    ref: dict[RefKind, str] = Field(default_factory=_main)
    """What of it: a branch, a tag, a range of versions (semver) or a commit."""
    path: Annotated[str, Field(max_length=1024)] = "."
    """The folder in it."""
    interval: Annotated[str, Field(pattern=r"^\d+(s|m|h)$")] = "1m"
    """How often it is looked at."""
    credentials_secret_ref: SecretReference | None = None
    """A Secret with the repository's credentials, which you make in the namespace of the project."""
    wait_seconds: Annotated[int, Field(ge=0, le=3600)] = 0
    """Seconds to wait until it is Ready; 0 for not waiting."""
    spec: Json = Field(default_factory=dict)
    """More fields of the GitSource's spec, as docs/kinds/gitsource.md has them."""

    @field_validator("ref")
    @classmethod
    def _one(cls, value: dict[RefKind, str]) -> dict[RefKind, str]:
        if len(value) != 1:
            raise refused("name one of branch, tag, semver and commit")
        return value

    @property
    def namespace(self) -> str:
        """The namespace that it is in, which is its Project's name."""
        return self.project or self.name


class Registration(Model):
    """How the other clusters are made known to Homeport: a Secret with a kubeconfig for each."""

    enabled: bool = True
    """Whether they are."""
    namespaces: Annotated[tuple[Name, ...], Field(max_length=50)] = ()
    """The projects' namespaces that get the Secrets. Default: the root GitSource's."""


class ClusterFile(Model):
    """Clusters, and Homeport in one of them."""

    name: Name
    """What these clusters are called together: the name of the Pulumi stack, and the mark of what it makes."""
    clusters: Annotated[tuple[Cluster, ...], Field(min_length=1, max_length=50)]
    """The clusters; several regions are several clusters."""
    home: Name | None = None
    """The cluster that Homeport runs in. Default: the first."""
    homeport: Homeport = Homeport()
    """Homeport, in the home cluster."""
    git_source: GitSource | None = None
    """The root GitSource, in the home cluster. Default: none."""
    registration: Registration = Registration()
    """How the other clusters are made known to Homeport."""

    @model_validator(mode="after")
    def _together(self) -> ClusterFile:
        names = [cluster.name for cluster in self.clusters]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise refused(f"two clusters are called {twice[0]!r}: give each its own name")
        if self.home is not None and self.home not in names:
            raise refused(f"home: there is no cluster {self.home!r}; there are: {', '.join(names)}")
        if self.git_source and self.git_source.enabled and not self.homeport.enabled:
            raise refused("gitSource needs Homeport: take it out, or write homeport.enabled: true")
        return self

    @property
    def home_cluster(self) -> Cluster:
        """The cluster that Homeport runs in."""
        name = self.home or self.clusters[0].name
        return next(cluster for cluster in self.clusters if cluster.name == name)

    @property
    def other_clusters(self) -> tuple[Cluster, ...]:
        """The clusters that Homeport doesn't run in."""
        return tuple(cluster for cluster in self.clusters if cluster is not self.home_cluster)


def load(path: Path) -> ClusterFile:
    """The file's content. Raises ConfigError, with a line for each field that is wrong."""
    import yaml  # noqa: PLC0415 - the models are imported where no file is read

    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from None
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path} has no cluster: write name and clusters, as `homeport cluster --help` shows")
    return parse(content, str(path))


def parse(content: Mapping[str, Any], source: str = "cluster.yaml") -> ClusterFile:
    """``content`` as models. Raises ConfigError."""
    try:
        return ClusterFile.model_validate(content)
    except ValidationError as error:
        found = error.errors(include_input=False)
        # What has a wrong item is left without items, and pydantic complains of that as well.
        lost = {entry["loc"] for entry in found if entry["type"] == "too_short"}
        inside = {entry["loc"][:length] for entry in found for length in range(len(entry["loc"]))}
        told = [entry for entry in found if entry["loc"] not in lost & inside]
        lines = [f"{source}: {_where(entry['loc'])}{_said(entry)}" for entry in told]
        raise ConfigError("\n".join(lines)) from None


def _where(location: tuple[int | str, ...]) -> str:
    """`clusters[0].kind.workers: `."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return f"{text}: " if text else ""


def _said(entry: Mapping[str, Any]) -> str:
    match entry["type"]:
        case "missing":
            return "is needed"
        case "extra_forbidden":
            return "there is no such field"
        case "literal_error":
            return f"must be one of {entry['ctx']['expected']}"
    return str(entry["msg"][:1].lower() + entry["msg"][1:])
