"""cluster.yaml: what is accepted, what is refused with which words, and what the examples and the schema say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from homeport_clusters import addons, components, config, kubeconfigs
from manifests import ROOT

FOLDER = ROOT / "pulumi" / "clusters"
EXAMPLES = sorted((FOLDER / "examples").glob("*.yaml"))
SCHEMA = json.loads((FOLDER / "cluster.schema.json").read_text())
HERE = {"name": "here", "type": "existing"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_accepted_by_models_and_schema(path: Path) -> None:
    file = config.load(path)
    jsonschema.Draft202012Validator(SCHEMA).validate(yaml.safe_load(path.read_text()))
    assert config.ClusterFile.model_validate(file.model_dump(by_alias=True)) == file


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert not list(_undescribed(SCHEMA))


def _undescribed(node: Any, path: str = "") -> Any:
    for name, block in node.get("$defs", {}).items():
        yield from _undescribed(block, name)
    for name, field in node.get("properties", {}).items():
        if not field.get("description"):
            yield f"{path}.{name}"


def said(clusters: Any, **more: Any) -> str:
    with pytest.raises(config.ConfigError) as refused:
        config.parse({"name": "lab", "clusters": clusters, **more})
    return str(refused.value)


GIT = {"url": "https://git.example.com/a.git"}
REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "unknown type": (
        [{"name": "a", "type": "kidn"}],
        {},
        "clusters[0].type: must be one of 'kind', 'k3s', 'existing', 'eks', 'gke' or 'aks'",
    ),
    "another type's block": (
        [{"name": "a", "type": "kind", "eks": {"region": "eu-central-1"}}],
        {},
        "clusters[0]: the block 'eks' belongs to type eks: take it out, or write type: eks",
    ),
    "no block": ([{"name": "a", "type": "eks"}], {}, "clusters[0]: type eks needs a block 'eks' with the region"),
    "unknown field": ([{**HERE, "kubeconfig": "x"}], {}, "clusters[0].kubeconfig: there is no such field"),
    "even control planes": (
        [{"name": "a", "type": "kind", "kind": {"controlPlanes": 2}}],
        {},
        "clusters[0].kind.controlPlanes: write an odd number: etcd with 2 members survives no more than with 1",
    ),
    "one port twice": (
        [{"name": "a", "type": "kind", "kind": {"ingressPorts": {"http": 80, "https": 80}}}],
        {},
        "clusters[0].kind.ingressPorts: http and https must be two different ports",
    ),
    "one name twice": ([HERE, HERE], {}, "two clusters are called 'here': give each its own name"),
    "no such home": ([HERE], {"home": "there"}, "home: there is no cluster 'there'; there are: here"),
    "a source without Homeport": (
        [HERE],
        {"homeport": {"enabled": False}, "gitSource": GIT},
        "gitSource needs Homeport: take it out, or write homeport.enabled: true",
    ),
    "data lost by a value": (
        [HERE],
        {"homeport": {"values": {"crds": {"keep": False}}}},
        "homeport.values: crds.keep: false would delete every Project with the release: "
        "write deleteData: true beside it",
    ),
    "half a VPC": (
        [{"name": "a", "type": "eks", "eks": {"region": "eu-central-1", "vpcId": "vpc-0a"}}],
        {},
        "clusters[0].eks: vpcId needs subnetIds: two at least, in different availability zones",
    ),
    "too few nodes wanted": (
        [{"name": "a", "type": "eks", "eks": {"region": "eu-central-1", "nodeGroups": [{"desiredCapacity": 9}]}}],
        {},
        "clusters[0].eks.nodeGroups[0]: desiredCapacity must be between minSize and maxSize",
    ),
    "no system pool": (
        [{"name": "a", "type": "aks", "aks": {"location": "westeurope", "nodePools": [{"mode": "User"}]}}],
        {},
        "clusters[0].aks: nodePools needs one of mode System at least: the cluster's own Pods run there",
    ),
    "two references": (
        [HERE],
        {"gitSource": {**GIT, "ref": {"branch": "main", "tag": "v1"}}},
        "gitSource.ref: name one of branch, tag, semver and commit",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_said_with_what_to_write(case: str) -> None:
    clusters, more, message = REFUSED[case]
    assert said(clusters, **more) == f"cluster.yaml: {message}"


def test_all_that_is_wrong_is_said_at_once() -> None:
    found = said([{"name": "A", "type": "existing"}, {"type": "existing"}])
    assert [line.split(": ")[1] for line in found.splitlines()] == ["clusters[0].name", "clusters[1].name"]


def test_a_file_that_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match="No such file"):
        config.load(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(config.ConfigError, match="has no cluster: write name and clusters"):
        config.load(tmp_path / "list.yaml")


def test_addons_by_type_and_by_word() -> None:
    assert addons.wanted("kind", "ingress", None) and not addons.wanted("existing", "ingress", None)
    assert addons.wanted("existing", "ingress", True) and not addons.wanted("kind", "ingress", False)


def test_own_values_count_before_homeports() -> None:
    found = addons.values("kind", "ingress", {"ports": {"web": {"hostPort": 8080}}})
    assert found["ports"] == {"web": {"hostPort": 8080}, "websecure": {"hostPort": 443}}
    assert found["ingressClass"] == {"enabled": True, "isDefaultClass": True}


def test_a_storage_class_needs_a_provisioner_that_is_known() -> None:
    made = addons.storage_class("eks", addons.StorageClass())
    assert made["provisioner"] == "ebs.csi.aws.com" and made["parameters"]["type"] == "gp3"
    own = addons.storage_class("eks", addons.StorageClass(provisioner="example.com/x"))
    assert "parameters" not in own, "the API server takes empty ones for a change of none"
    with pytest.raises(ValueError, match=r"addons.storageClass.provisioner is needed for clusters of type existing"):
        addons.storage_class("existing", addons.StorageClass())


def test_the_chart_is_found_and_paths_are_the_files_own(tmp_path: Path) -> None:
    assert (components.chart_folder() / "Chart.yaml").exists()
    context = components.Context("lab", tmp_path)
    (tmp_path / "mine").mkdir()
    assert context.path("mine") == str(tmp_path / "mine")
    assert context.path("traefik") == "traefik" and context.path("oci://r.example/x") == "oci://r.example/x"


KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: b
contexts:
  - {name: a, context: {cluster: a, user: a}}
  - {name: b, context: {cluster: b, user: b}}
clusters:
  - {name: a, cluster: {server: "https://a.example:6443", certificate-authority: ca.crt}}
  - {name: b, cluster: {server: "https://b.example:6443"}}
users:
  - {name: a, user: {tokenFile: token}}
  - name: b
    user:
      exec:
        apiVersion: client.authentication.k8s.io/v1
        command: PROGRAM
        env: [{name: ANSWER, value: abc}]
"""


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    (tmp_path / "ca.crt").write_text("authority")
    (tmp_path / "token").write_text("t0ken\n")
    program = tmp_path / "login"
    program.write_text('#!/bin/sh\necho "{\\"status\\": {\\"token\\": \\"$ANSWER\\"}}"\n')
    program.chmod(0o755)
    (tmp_path / "config").write_text(KUBECONFIG.replace("PROGRAM", str(program)))
    return tmp_path / "config"


def test_a_kubeconfig_is_read_whole(kubeconfig: Path) -> None:
    found = yaml.safe_load(kubeconfigs.flattened("config", "a", kubeconfig.parent))
    assert found["clusters"][0]["cluster"]["certificate-authority-data"] == "YXV0aG9yaXR5"
    assert found["users"][0]["user"] == {"token": "t0ken"} and found["current-context"] == "a"
    assert kubeconfigs.server(kubeconfigs.flattened("config", None, kubeconfig.parent)) == "https://b.example:6443"


def test_a_program_for_credentials_is_run(kubeconfig: Path) -> None:
    content = yaml.safe_load(kubeconfigs.flattened("config", "b", kubeconfig.parent))
    assert kubeconfigs.with_credentials(content)["users"][0]["user"] == {"token": "abc"}
    content = yaml.safe_load(kubeconfigs.flattened("config", "b", kubeconfig.parent))
    content["users"][0]["user"]["exec"]["command"] = "no-such-login"
    with pytest.raises(kubeconfigs.KubeconfigError, match="runs no-such-login, which isn't installed"):
        kubeconfigs.with_credentials(content)


def test_a_context_that_isnt_there_is_named_with_those_that_are(kubeconfig: Path) -> None:
    with pytest.raises(kubeconfigs.KubeconfigError, match="has no context 'c'; it has: a, b"):
        kubeconfigs.flattened("config", "c", kubeconfig.parent)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("tokenFile: token", "tokenFile: gone", r"tokenFile of the kubeconfig: gone cannot be read: No such file"),
        ("user: a", "user: z", r"contexts\[a\]\.context\.user of the kubeconfig .*config names a user"),
        ("cluster: a", "cluster: z", r"contexts\[a\]\.context\.cluster of the kubeconfig .*config names a cluster"),
    ],
)
def test_what_a_kubeconfig_names_and_lacks_is_told(kubeconfig: Path, old: str, new: str, told: str) -> None:
    text = kubeconfig.read_text()
    assert old in text
    kubeconfig.write_text(text.replace(old, new))
    with pytest.raises(kubeconfigs.KubeconfigError, match=told):
        kubeconfigs.flattened("config", "a", kubeconfig.parent)
