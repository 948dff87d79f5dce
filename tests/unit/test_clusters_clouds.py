"""EKS, GKE and AKS: what is declared with each cloud's package, and which kubeconfigs come of it. None is asked."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from homeport_clusters import clouds, components
from homeport_clusters.components import Context
from homeport_clusters.config import Cluster
from homeport_clusters.model import Json
from pulumi_mocks import mocked

ADMIN = {"clusters": [{"name": "a", "cluster": {"server": "https://aks.example"}}], "current-context": "a"}


class Cloud(pulumi.runtime.Mocks):
    """Takes everything, and answers what a cloud would have made up."""

    def __init__(self) -> None:
        self.made: list[tuple[str, str, Json]] = []

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        """A resource with its inputs as outputs."""
        self.made.append((args.typ, args.name, dict(args.inputs)))
        outs = dict(args.inputs)
        if args.typ == "gcp:container/cluster:Cluster":
            outs |= {"endpoint": "gke.example", "masterAuth": {"clusterCaCertificate": "Q0E="}}
        if args.typ == "eks:index:Cluster":
            cluster = {"server": "https://eks.example", "certificate-authority-data": "Q0E="}
            outs["kubeconfigJson"] = json.dumps({"clusters": [{"name": "kubernetes", "cluster": cluster}]})
        return f"{args.name}-id", outs

    def call(self, args: pulumi.runtime.MockCallArgs) -> dict[Any, Any]:
        """AKS's credentials."""
        assert args.token.endswith("listManagedClusterAdminCredentials")
        text = base64.b64encode(yaml.safe_dump(ADMIN).encode()).decode()
        return {"kubeconfigs": [{"name": "clusterAdmin", "value": text}]}

    def of(self, type_: str) -> list[Json]:
        """The inputs of all resources of a type."""
        return [inputs for typ, _, inputs in self.made if typ == type_]


@pytest.fixture
def cloud() -> Cloud:
    return mocked(Cloud(), project="homeport-clusters", stack="lab")


def declared(cluster: Json, tmp_path: Path) -> Json:
    """The kubeconfig of a cluster that is declared."""
    found: list[str] = []

    def program() -> None:
        made = components.cluster(Cluster.model_validate(cluster), Context("lab", tmp_path))
        made.kubeconfig.apply(found.append)

    pulumi.runtime.test(program)()
    loaded: Json = yaml.safe_load(found[0])
    return loaded


def test_eks(cloud: Cloud, tmp_path: Path) -> None:
    group = {"name": "big", "instanceType": "m7i.large", "minSize": 2, "desiredCapacity": 3, "maxSize": 5, "spot": True}
    spec = {"region": "eu-central-1", "version": "1.33", "nodeGroups": [group], "tags": {"team": "a"}}
    found = declared({"name": "central", "type": "eks", "eks": spec}, tmp_path)
    (made,) = cloud.of("eks:index:Cluster")
    assert made["name"] == "central" and made["version"] == "1.33" and made["skipDefaultNodeGroup"] is True
    assert made["tags"] == {"team": "a", "homeport-clusters-stack": "lab"}
    (nodes,) = cloud.of("eks:index:ManagedNodeGroup")
    assert nodes["scalingConfig"] == {"minSize": 2, "maxSize": 5, "desiredSize": 3}
    assert nodes["instanceTypes"] == ["m7i.large"] and nodes["capacityType"] == "SPOT"
    assert [addon["addonName"] for addon in cloud.of("aws:eks/addon:Addon")] == ["aws-ebs-csi-driver"]
    assert len(cloud.of("aws:iam/rolePolicyAttachment:RolePolicyAttachment")) == 4
    user = found["users"][0]["user"]["exec"]
    assert [user["command"], *user["args"]] == [
        "aws", "--region", "eu-central-1", "eks", "get-token", "--cluster-name", "central", "--output", "json",
    ]  # fmt: skip
    assert found["clusters"][0]["cluster"] == {"server": "https://eks.example", "certificate-authority-data": "Q0E="}


def test_gke(cloud: Cloud, tmp_path: Path) -> None:
    spec = {"project": "example-project", "location": "europe-west3", "deletionProtection": False}
    found = declared({"name": "south", "type": "gke", "gke": spec}, tmp_path)
    (made,) = cloud.of("gcp:container/cluster:Cluster")
    assert made["project"] == "example-project" and made["removeDefaultNodePool"] is True
    assert made["deletionProtection"] is False and made["releaseChannel"] == {"channel": "REGULAR"}
    assert made["resourceLabels"] == {"homeport-clusters-stack": "lab"}
    (pool,) = cloud.of("gcp:container/nodePool:NodePool")
    assert pool["autoscaling"] == {"minNodeCount": 1, "maxNodeCount": 3}
    assert pool["nodeConfig"]["machineType"] == "e2-standard-2"
    assert found["users"][0]["user"]["exec"]["command"] == "gke-gcloud-auth-plugin"
    assert found["clusters"][0]["cluster"]["server"] == "https://gke.example"


def test_aks(cloud: Cloud, tmp_path: Path) -> None:
    spec = {"location": "westeurope", "nodePools": [{"vmSize": "Standard_D4s_v5", "minCount": 2}]}
    found = declared({"name": "west", "type": "aks", "aks": spec}, tmp_path)
    (group,) = cloud.of("azure-native:resources:ResourceGroup")
    assert group["resourceGroupName"] == "west" and group["tags"] == {"homeport-clusters-stack": "lab"}
    (made,) = cloud.of("azure-native:containerservice:ManagedCluster")
    (pool,) = made["agentPoolProfiles"]
    assert pool["vmSize"] == "Standard_D4s_v5" and pool["count"] == 2 and pool["enableAutoScaling"] is True
    assert made["identity"] == {"type": "SystemAssigned"}
    assert found == ADMIN


def test_a_cloud_whose_package_isnt_there_is_told(cloud: Cloud) -> None:
    with pytest.raises(clouds.MissingPackageError, match=r"need the package pulumi_nimbus: pip install 'homeport\["):
        clouds.package("pulumi_nimbus", "eks")
