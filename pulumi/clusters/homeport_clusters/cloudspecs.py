"""The blocks ``eks``, ``gke`` and ``aks`` of a cluster, in each cloud's own words.

They have what most clusters need. Credentials are never here: each cloud's package takes them from the environment, as
its own command line does.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from homeport_clusters.model import Model, Name, refused

Count = Annotated[int, Field(ge=0, le=1000)]


class EksNodeGroup(Model):
    """A managed node group."""

    name: Name = "default"
    """Its name."""
    instance_type: Annotated[str, Field(min_length=1, max_length=64)] = "t3.large"
    """The EC2 instance type of its nodes."""
    min_size: Count = 1
    """Nodes at least."""
    max_size: Count = 4
    """Nodes at most."""
    desired_capacity: Count = 2
    """Nodes to start with; an autoscaler changes it between minSize and maxSize."""
    volume_size: Annotated[int, Field(ge=20, le=16384)] = 80
    """GiB of each node's root volume."""
    spot: bool = False
    """Whether its nodes are spot instances."""

    @model_validator(mode="after")
    def _ordered(self) -> EksNodeGroup:
        if not self.min_size <= self.desired_capacity <= self.max_size:
            raise refused("desiredCapacity must be between minSize and maxSize")
        return self


class Eks(Model):
    """Elastic Kubernetes Service of AWS, by the package pulumi-eks. Credentials: as the AWS command line finds them."""

    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
    """The AWS region, such as eu-central-1."""
    version: Annotated[str, Field(pattern=r"^1\.\d{2}$")] | None = None
    """The Kubernetes version, such as "1.33". Default: what EKS takes for new clusters."""
    node_groups: Annotated[tuple[EksNodeGroup, ...], Field(min_length=1, max_length=20)] = (EksNodeGroup(),)
    """Its managed node groups."""
    vpc_id: Annotated[str, Field(pattern=r"^vpc-[0-9a-f]+$")] | None = None
    """A VPC that is there. Default: the account's default VPC."""
    subnet_ids: Annotated[tuple[str, ...], Field(max_length=20)] = ()
    """Subnets of that VPC, in two availability zones at least; needed with vpcId."""
    private_endpoint: bool = False
    """Whether the API server answers inside the VPC only; then `up` has to run there."""
    tags: Annotated[dict[str, str], Field(max_length=40)] = Field(default_factory=dict)
    """Tags of everything that is made in AWS."""

    @model_validator(mode="after")
    def _network(self) -> Eks:
        if self.vpc_id and len(self.subnet_ids) < 2:
            raise refused("vpcId needs subnetIds: two at least, in different availability zones")
        if self.subnet_ids and not self.vpc_id:
            raise refused("subnetIds needs vpcId: the VPC that the subnets are in")
        return self


class GkeNodePool(Model):
    """A node pool."""

    name: Name = "default"
    """Its name."""
    machine_type: Annotated[str, Field(min_length=1, max_length=64)] = "e2-standard-2"
    """The Compute Engine machine type of its nodes."""
    min_node_count: Count = 1
    """Nodes at least, in each zone."""
    max_node_count: Count = 3
    """Nodes at most, in each zone."""
    disk_size_gb: Annotated[int, Field(ge=20, le=65536)] = 80
    """GB of each node's disk."""
    spot: bool = False
    """Whether its nodes are Spot VMs."""

    @model_validator(mode="after")
    def _ordered(self) -> GkeNodePool:
        if self.min_node_count > self.max_node_count:
            raise refused("minNodeCount must not be more than maxNodeCount")
        return self


class Gke(Model):
    """Google Kubernetes Engine, by the package pulumi-gcp. Credentials: as gcloud's application default."""

    project: Annotated[str, Field(pattern=r"^[a-z][-a-z0-9]{4,28}[a-z0-9]$")]
    """The Google Cloud project's ID."""
    location: Annotated[str, Field(pattern=r"^[a-z]+-[a-z]+\d+(-[a-z])?$")]
    """A region, such as europe-west3, or a zone, such as europe-west3-a."""
    release_channel: Annotated[str, Field(pattern="^(RAPID|REGULAR|STABLE|EXTENDED)$")] = "REGULAR"
    """The release channel that upgrades come from."""
    version: Annotated[str, Field(pattern=r"^1\.\d{2}")] | None = None
    """The lowest Kubernetes version of the control plane. Default: the channel's."""
    node_pools: Annotated[tuple[GkeNodePool, ...], Field(min_length=1, max_length=20)] = (GkeNodePool(),)
    """Its node pools."""
    network: Annotated[str, Field(max_length=256)] = "default"
    """The VPC network."""
    subnetwork: Annotated[str, Field(max_length=256)] | None = None
    """The subnetwork. Default: the network's own of the region."""
    deletion_protection: bool = True
    """Whether Google Cloud refuses to delete the cluster. `destroy` needs it off: write false and run `up` first."""
    labels: Annotated[dict[str, str], Field(max_length=40)] = Field(default_factory=dict)
    """Resource labels of the cluster."""


class AksNodePool(Model):
    """A node pool, which Azure's API calls an agent pool."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,11}$")] = "default"
    """Its name: at most 12 lower-case letters and digits, as Azure wants it."""
    vm_size: Annotated[str, Field(min_length=1, max_length=64)] = "Standard_D2s_v5"
    """The VM size of its nodes."""
    mode: Annotated[str, Field(pattern="^(System|User)$")] = "System"
    """System pools run the cluster's own Pods; there is one at least."""
    min_count: Count = 1
    """Nodes at least."""
    max_count: Count = 4
    """Nodes at most."""
    os_disk_size_gb: Annotated[int, Field(ge=30, le=2048, alias="osDiskSizeGB")] = 80
    """GB of each node's disk."""

    @model_validator(mode="after")
    def _ordered(self) -> AksNodePool:
        if self.min_count > self.max_count:
            raise refused("minCount must not be more than maxCount")
        return self


class Aks(Model):
    """Azure Kubernetes Service, by the package pulumi-azure-native. Credentials: as the Azure command line's."""

    location: Annotated[str, Field(pattern=r"^[a-z0-9]+$")]
    """The Azure region, such as germanywestcentral."""
    resource_group: Annotated[str, Field(min_length=1, max_length=90)] | None = None
    """A resource group that is there. Default: one is made, with the cluster's name."""
    version: Annotated[str, Field(pattern=r"^1\.\d{2}")] | None = None
    """The Kubernetes version. Default: what AKS takes for new clusters."""
    node_pools: Annotated[tuple[AksNodePool, ...], Field(min_length=1, max_length=20)] = (AksNodePool(),)
    """Its node pools."""
    tier: Annotated[str, Field(pattern="^(Free|Standard|Premium)$")] = "Free"
    """The pricing tier of the control plane; Standard and Premium come with an uptime SLA."""
    tags: Annotated[dict[str, str], Field(max_length=40)] = Field(default_factory=dict)
    """Tags of everything that is made in Azure."""

    @model_validator(mode="after")
    def _system(self) -> Aks:
        if not any(pool.mode == "System" for pool in self.node_pools):
            raise refused("nodePools needs one of mode System at least: the cluster's own Pods run there")
        return self
