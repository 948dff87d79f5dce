"""EKS, GKE and AKS, by the packages of each cloud. They are large, and imported only when they are used.

Each answers a kubeconfig that fetches its credentials when it is used (EKS, GKE: by the cloud's own program), so that
none that expires is in the state. AKS has credentials that don't.
"""

from __future__ import annotations

import base64
import importlib
import json
from types import ModuleType
from typing import Any

import pulumi

from homeport_clusters import kubeconfigs
from homeport_clusters.cloudspecs import AksNodePool, Eks, EksNodeGroup, Gke, GkeNodePool
from homeport_clusters.components import ClusterComponent
from homeport_clusters.model import Json
from homeport_clusters.providers.base import MARK

TAG = MARK.replace("clusters.homeport.dev/", "homeport-clusters-")
"""Our mark where a cloud takes neither dots nor slashes in names."""
GKE_PLUGIN_HINT = "https://cloud.google.com/kubernetes-engine/docs/how-to/cluster-access-for-kubectl#install_plugin"


class MissingPackageError(ValueError):
    """A cloud's package isn't installed; the message says how to get it."""


def package(name: str, extra: str) -> ModuleType:
    """A cloud's package. Raises MissingPackageError."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and not name.startswith(error.name.partition(".")[0]):
            raise
        raise MissingPackageError(
            f"clusters of type {extra} need the package {name}: pip install 'homeport[pulumi,{extra}]'"
        ) from None


class EksCluster(ClusterComponent):
    """A cluster of Elastic Kubernetes Service, with managed node groups and the EBS driver."""

    def make(self) -> pulumi.Input[str]:
        """Declares the cluster, its node groups and the add-on that volumes need."""
        eks, aws = package("pulumi_eks", "eks"), package("pulumi_aws", "eks")
        spec = self.cluster.eks
        assert spec is not None
        provider = aws.Provider(f"{self.cluster.name}-aws", region=spec.region, opts=self.child)
        options = pulumi.ResourceOptions(parent=self, provider=provider)
        made = eks.Cluster(
            self.cluster.name,
            name=self.cluster.name,
            opts=pulumi.ResourceOptions(parent=self, providers={"aws": provider}),
            version=spec.version,
            vpc_id=spec.vpc_id,
            subnet_ids=list(spec.subnet_ids) or None,
            skip_default_node_group=True,
            create_oidc_provider=True,
            endpoint_private_access=spec.private_endpoint,
            endpoint_public_access=not spec.private_endpoint,
            authentication_mode=eks.AuthenticationMode.API,
            tags=self._tags(spec),
        )
        role = self._node_role(aws, options)
        groups = [self._group(eks, made, role, spec, group) for group in spec.node_groups]
        aws.eks.Addon(
            f"{self.cluster.name}-ebs",
            addon_name="aws-ebs-csi-driver",
            cluster_name=self.cluster.name,
            opts=pulumi.ResourceOptions.merge(options, pulumi.ResourceOptions(depends_on=groups)),
        )
        return pulumi.Output.all(made.kubeconfig_json, [group.urn for group in groups]).apply(
            lambda found: eks_kubeconfig(self.cluster.name, spec.region, json.loads(found[0]))
        )

    def _tags(self, spec: Eks) -> dict[str, str]:
        return {**spec.tags, TAG: self.context.stack}

    def _node_role(self, aws: Any, options: pulumi.ResourceOptions) -> Any:
        """What nodes may do in AWS: join, have addresses, pull images, make volumes."""
        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
            ],
        }
        name = f"{self.cluster.name}-nodes"
        role = aws.iam.Role(name, assume_role_policy=json.dumps(trust), opts=options)
        for policy in (
            "AmazonEKSWorkerNodePolicy",
            "AmazonEKS_CNI_Policy",
            "AmazonEC2ContainerRegistryReadOnly",
            "service-role/AmazonEBSCSIDriverPolicy",
        ):
            aws.iam.RolePolicyAttachment(
                f"{name}-{policy.rpartition('/')[2]}", role=role.name, policy_arn=f"arn:aws:iam::aws:policy/{policy}",
                opts=options,
            )  # fmt: skip
        return role

    def _group(self, eks: Any, made: Any, role: Any, spec: Eks, group: EksNodeGroup) -> Any:
        return eks.ManagedNodeGroup(
            f"{self.cluster.name}-{group.name}",
            cluster=made,
            node_role=role,
            instance_types=[group.instance_type],
            capacity_type="SPOT" if group.spot else "ON_DEMAND",
            disk_size=group.volume_size,
            scaling_config={
                "min_size": group.min_size, "max_size": group.max_size, "desired_size": group.desired_capacity,
            },
            # An autoscaler's figure isn't drift.
            ignore_scaling_changes=True,
            tags=self._tags(spec),
            opts=self.child,
        )  # fmt: skip


def eks_kubeconfig(name: str, region: str, given: Json) -> str:
    """The package's own, with the region in its command, as `aws eks update-kubeconfig` writes it."""
    command = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "aws",
        "args": ["--region", region, "eks", "get-token", "--cluster-name", name, "--output", "json"],
    }
    return kubeconfigs.dumped(name, given["clusters"][0]["cluster"], {"exec": command})


class GkeCluster(ClusterComponent):
    """A cluster of Google Kubernetes Engine, with node pools of its own."""

    def make(self) -> pulumi.Input[str]:
        """Declares the cluster and its node pools."""
        gcp = package("pulumi_gcp", "gke")
        spec = self.cluster.gke
        assert spec is not None
        made = gcp.container.Cluster(
            self.cluster.name,
            name=self.cluster.name,
            project=spec.project,
            location=spec.location,
            network=spec.network,
            subnetwork=spec.subnetwork,
            min_master_version=spec.version,
            release_channel={"channel": spec.release_channel},
            # A cluster can't be made without a pool; this one goes at once, for those that are declared.
            remove_default_node_pool=True,
            initial_node_count=1,
            networking_mode="VPC_NATIVE",
            ip_allocation_policy={},
            workload_identity_config={"workload_pool": f"{spec.project}.svc.id.goog"},
            resource_labels={**spec.labels, TAG: self.context.stack},
            deletion_protection=spec.deletion_protection,
            opts=self.child,
        )
        pools = [self._pool(gcp, made, spec, pool) for pool in spec.node_pools]
        return pulumi.Output.all(made.endpoint, made.master_auth, [pool.urn for pool in pools]).apply(
            lambda found: gke_kubeconfig(self.cluster.name, found[0], _authority(found[1]))
        )

    def _pool(self, gcp: Any, made: Any, spec: Gke, pool: GkeNodePool) -> Any:
        return gcp.container.NodePool(
            f"{self.cluster.name}-{pool.name}",
            name=pool.name,
            project=spec.project,
            location=spec.location,
            cluster=made.name,
            initial_node_count=pool.min_node_count,
            autoscaling={"min_node_count": pool.min_node_count, "max_node_count": pool.max_node_count},
            node_config={
                "machine_type": pool.machine_type,
                "disk_size_gb": pool.disk_size_gb,
                "spot": pool.spot,
                "oauth_scopes": ["https://www.googleapis.com/auth/cloud-platform"],
                "workload_metadata_config": {"mode": "GKE_METADATA"},
            },
            management={"auto_repair": True, "auto_upgrade": True},
            opts=self.child,
        )


def _authority(master_auth: Any) -> str:
    """The certificate, from the package's type or from a plain map."""
    if isinstance(master_auth, dict):
        for key in ("cluster_ca_certificate", "clusterCaCertificate"):
            if key in master_auth:
                return str(master_auth[key])
    return str(master_auth.cluster_ca_certificate)


def gke_kubeconfig(name: str, endpoint: str, authority: str) -> str:
    """As `gcloud container clusters get-credentials` writes it."""
    command = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "gke-gcloud-auth-plugin",
        "installHint": f"see {GKE_PLUGIN_HINT}",
        "provideClusterInfo": True,
    }
    cluster = {"server": f"https://{endpoint}", "certificate-authority-data": authority}
    return kubeconfigs.dumped(name, cluster, {"exec": command})


class AksCluster(ClusterComponent):
    """A cluster of Azure Kubernetes Service."""

    def make(self) -> pulumi.Input[str]:
        """Declares the cluster, and a resource group where none is named."""
        azure = package("pulumi_azure_native", "aks")
        services = importlib.import_module("pulumi_azure_native.containerservice")
        spec = self.cluster.aks
        assert spec is not None
        tags = {**spec.tags, TAG: self.context.stack}
        group: pulumi.Input[str]
        if spec.resource_group:
            group = spec.resource_group
        else:
            resources = importlib.import_module(f"{azure.__name__}.resources")
            group = resources.ResourceGroup(
                self.cluster.name, resource_group_name=self.cluster.name, location=spec.location, tags=tags,
                opts=self.child,
            ).name  # fmt: skip
        made = services.ManagedCluster(
            self.cluster.name,
            resource_name_=self.cluster.name,
            resource_group_name=group,
            location=spec.location,
            dns_prefix=self.cluster.name,
            kubernetes_version=spec.version,
            identity={"type": services.ResourceIdentityType.SYSTEM_ASSIGNED},
            sku={"name": "Base", "tier": spec.tier},
            oidc_issuer_profile={"enabled": True},
            agent_pool_profiles=[_agent_pool(pool) for pool in spec.node_pools],
            tags=tags,
            opts=self.child,
        )
        answered = services.list_managed_cluster_admin_credentials_output(
            resource_group_name=group, resource_name=made.name, opts=pulumi.InvokeOutputOptions(parent=self)
        )
        text: pulumi.Output[str] = answered.apply(lambda found: base64.b64decode(found.kubeconfigs[0].value).decode())
        return text


def _agent_pool(pool: AksNodePool) -> dict[str, Any]:
    return {
        "name": pool.name,
        "mode": pool.mode,
        "type": "VirtualMachineScaleSets",
        "vm_size": pool.vm_size,
        "os_type": "Linux",
        "os_disk_size_gb": pool.os_disk_size_gb,
        "enable_auto_scaling": True,
        "count": pool.min_count,
        "min_count": pool.min_count,
        "max_count": pool.max_count,
    }
