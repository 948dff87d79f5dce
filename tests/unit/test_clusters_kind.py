"""kind clusters: the exact configuration, and the exact commands, against a program that plays kind and docker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from homeport.drivers.kubernetes import types
from homeport.drivers.kubernetes.types import GVK, Manifest
from homeport_clusters import programs
from homeport_clusters.config import Kind
from homeport_clusters.providers import base, kind

PLAYED = """#!/bin/sh
# Plays kind and docker: a folder is the machine.
cd "$MACHINE"
echo "$(basename "$0") $*" >> commands
case "$(basename "$0") $1 $2" in
  "kind get clusters") [ ! -f clusters ] || cat clusters ;;
  "kind get kubeconfig") echo "kubeconfig of $4" ;;
  "kind get nodes") echo "$4-control-plane" ;;
  "kind create cluster") echo "$4" >> clusters; cp "$6" config ;;
  "kind delete cluster") sed -i "/^$4\\$/d" clusters ;;
  "docker inspect "*) [ -f registry ] && cat registry || exit 1 ;;
  "docker run "*) echo '[{"Config": {"Labels": {"clusters.homeport.dev/stack": "lab"}},
      "NetworkSettings": {"Networks": {"bridge": {}}}}]' > registry ;;
  "docker exec "*) [ "$3" = mkdir ] || [ "$2" = "-i" ] || cat > hosts.toml ;;
  "docker rm "*) rm registry ;;
esac
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("kind", "docker"):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(PLAYED)
        path.chmod(0o755)
        monkeypatch.setenv(f"HOMEPORT_{name.upper()}", str(path))
    folder = tmp_path / "machine"
    folder.mkdir()
    monkeypatch.setenv("MACHINE", str(folder))
    return folder


def props(spec: Kind) -> dict[str, Any]:
    values = spec.model_dump(by_alias=True, exclude_none=True)
    return {"name": "local", "stack": "lab", "spec": values, "config": kind.config(spec, "lab"), "kubeconfig": None}


def node(mark: str, *, ready: bool = True) -> Manifest:
    metadata = {"name": "local", "labels": {base.MARK: mark}}
    return {"metadata": metadata, "status": {"conditions": [{"type": "Ready", "status": str(ready)}]}}


def holds(monkeypatch: pytest.MonkeyPatch, nodes: list[Manifest], namespaces: Sequence[str] = ("default",)) -> None:
    """What the API server of every cluster says that there is."""
    found = {types.NODE: nodes, types.NAMESPACE: [{"metadata": {"name": name}} for name in namespaces]}

    async def listed(_: str, gvk: GVK) -> list[Manifest]:
        return found[gvk]

    monkeypatch.setattr(kind, "_listed", listed)


def commands(machine: Path) -> list[str]:
    return [line.rstrip() for line in (machine / "commands").read_text().splitlines()]


def test_the_configuration_is_kinds_own() -> None:
    spec = Kind.model_validate(
        {
            "image": "kindest/node:v1.35.0",
            "controlPlanes": 3,
            "workers": 1,
            "ingressPorts": {"http": 8080, "https": 8443},
            "registry": {"enabled": True},
            "apiServerPort": 6443,
            "podSubnet": "10.1.0.0/16",
            "mounts": [{"hostPath": "/srv", "containerPath": "/data"}],
        }
    )
    found = kind.config(spec, "lab")
    mount = {"hostPath": "/srv", "containerPath": "/data", "readOnly": False}
    node = {"image": "kindest/node:v1.35.0", "labels": {base.MARK: "lab"}, "extraMounts": [mount]}
    first = {
        "role": "control-plane",
        **node,
        "labels": {base.MARK: "lab", "homeport.dev/ingress": "true"},
        "extraPortMappings": [
            {"containerPort": 80, "hostPort": 8080, "protocol": "TCP"},
            {"containerPort": 443, "hostPort": 8443, "protocol": "TCP"},
        ],
    }
    assert found["nodes"] == [
        first, {"role": "control-plane", **node}, {"role": "control-plane", **node}, {"role": "worker", **node},
    ]  # fmt: skip
    assert found["networking"] == {"podSubnet": "10.1.0.0/16", "apiServerPort": 6443}
    assert found["apiVersion"] == "kind.x-k8s.io/v1alpha4" and found["kind"] == "Cluster"
    assert 'config_path = "/etc/containerd/certs.d"' in found["containerdConfigPatches"][0]


def test_a_cluster_is_made_with_its_registry(machine: Path) -> None:
    spec = Kind.model_validate({"registry": {"enabled": True}})
    made = kind.KindProvider().create(props(spec))
    assert made.id == "local" and made.outs and made.outs["kubeconfig"] == "kubeconfig of local\n"
    assert yaml.safe_load((machine / "config").read_text()) == kind.config(spec, "lab")
    create = next(line for line in commands(machine) if line.startswith("kind create"))
    assert "--name local --config" in create and "--wait 300s" in create and "--kubeconfig" in create
    assert (
        "docker run --detach --restart=always --label clusters.homeport.dev/stack=lab --publish 127.0.0.1:5001:5000 "
        "--network bridge --name kind-registry registry:3.0.0" in commands(machine)
    )
    assert "docker network connect kind kind-registry" in commands(machine)
    assert (machine / "hosts.toml").read_text() == '[host."http://kind-registry:5000"]\n'


def test_a_second_create_finds_what_the_first_made(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = kind.KindProvider()
    provider.create(props(Kind()))
    holds(monkeypatch, [node("lab")])
    provider.create(props(Kind()))
    assert len([line for line in commands(machine) if line.startswith("kind create")]) == 1


def test_somebody_elses_cluster_is_refused_and_never_deleted(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "clusters").write_text("local\n")
    holds(monkeypatch, [node("another", ready=False)])
    assert kind.KindProvider().read("local", props(Kind())).id == ""
    with pytest.raises(base.ProviderError, match="there is a kind cluster local that this didn't make"):
        kind.KindProvider().create(props(Kind()))
    kind.KindProvider().delete("local", props(Kind()))
    assert (machine / "clusters").read_text() == "local\n"


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param([("lab", True)], id="one of two nodes has joined"),
        pytest.param([("lab", True), ("lab", False)], id="a node isn't ready"),
    ],
)
def test_what_a_killed_run_left_half_made_is_made_anew(
    machine: Path, monkeypatch: pytest.MonkeyPatch, nodes: list[tuple[str, bool]]
) -> None:
    (machine / "clusters").write_text("local\n")
    holds(monkeypatch, [node(mark, ready=ready) for mark, ready in nodes])
    kind.KindProvider().create(props(Kind(workers=1)))
    done = [line.split(" --config")[0] for line in commands(machine) if line.split()[1] in ("delete", "create")]
    assert done == ["kind delete cluster --name local", "kind create cluster --name local"]


def test_a_cluster_without_a_node_yet_may_be_anybodys(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "clusters").write_text("local\n")
    holds(monkeypatch, [])
    with pytest.raises(base.ProviderError, match="there is a kind cluster local that this didn't make: delete it"):
        kind.KindProvider().create(props(Kind()))
    assert (machine / "clusters").read_text() == "local\n"


def test_a_cluster_in_which_something_is_isnt_taken_for_half_made(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine / "clusters").write_text("local\n")
    holds(monkeypatch, [node("lab", ready=False)], ["default", "kube-system", "fleet"])
    with pytest.raises(base.ProviderError, match=r"0 of 1 nodes ready, and namespaces .* \(fleet\)"):
        kind.KindProvider().create(props(Kind()))
    assert (machine / "clusters").read_text() == "local\n"


def test_it_is_deleted_once_and_then_gone(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = kind.KindProvider()
    spec = Kind.model_validate({"registry": {"enabled": True}})
    provider.create(props(spec))
    holds(monkeypatch, [node("lab")])
    assert provider.read("local", props(spec)).id == "local"
    provider.delete("local", props(spec))
    assert not (machine / "registry").exists() and not (machine / "clusters").read_text()
    provider.delete("local", props(spec))
    assert provider.read("local", props(spec)).id == ""


def test_another_registry_waits_until_the_old_one_is_away(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has images that somebody pushed; and left there, nobody would know of it any more."""
    provider = kind.KindProvider()
    olds, news = (props(Kind.model_validate({"registry": {"enabled": True, "port": port}})) for port in (5001, 5002))
    provider.create(olds)
    holds(monkeypatch, [node("lab")])
    with pytest.raises(base.ProviderError, match="docker rm --force --volumes kind-registry` removes it with them"):
        provider.update("local", olds, news)
    assert (machine / "registry").exists()
    (machine / "registry").unlink()
    provider.update("local", olds, news)
    assert any("--publish 127.0.0.1:5002:5000" in line for line in commands(machine))


def test_another_spec_is_another_cluster_and_only_when_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    olds, news = props(Kind()), props(Kind(workers=2))
    for asked in ("", "other,local-2"):
        monkeypatch.setenv(base.REPLACE, asked)
        with pytest.raises(base.ProviderError, match=r"can't change the cluster local \(nodes\).*--replace local$"):
            kind.KindProvider().diff("local", olds, news)
    monkeypatch.setenv(base.REPLACE, "other,local")
    assert kind.KindProvider().diff("local", olds, news).replaces == ["config"]
    monkeypatch.delenv(base.REPLACE)
    waits = kind.KindProvider().diff("local", olds, props(Kind(wait_seconds=5)))
    assert waits.changes and not waits.replaces
    as_floats = json.loads(json.dumps(olds), parse_int=float)
    found = kind.KindProvider().diff("local", as_floats, olds)
    assert not found.changes and not found.replaces


def test_a_machine_without_kind_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOMEPORT_KIND", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(programs.ProgramError, match=r"the program kind isn't installed: see https://kind.sigs.k8s.io"):
        kind.clusters()
