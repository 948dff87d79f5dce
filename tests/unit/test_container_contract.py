"""api.md's own ProxmoxHost and LXCContainer, kept word for word in ``tests/contract``, do what their comments say."""

from __future__ import annotations

import base64
import copy

from test_containers import ready, status

from homeport.drivers.kubernetes import types
from localpve.lab import SECRET, TOKEN
from manifests import ROOT
from memory_world import Manifest, load
from proxmox_inside import SYSTEM, Lab

KEYS = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAdJ3jHn8u6nGq4o0Q0f7a3nTg1nGm9kq3oJ3l0pWc0v admin"

AS_WRITTEN = {
    "hostname": "pihole",
    "cores": 1,
    "memory": 512,
    "swap": 256,
    "rootfs": "local-lvm:vm-210-disk-0,size=8G",
    "mp0": "local-lvm:vm-210-disk-1,backup=1,mp=/var/lib/data,size=20G",
    "net0": "name=eth0,bridge=vmbr0,firewall=1,gw=10.20.0.1,ip=10.20.0.10/24,tag=20,type=veth",
    "nameserver": "10.20.0.1",
    "searchdomain": "lab",
    "features": "nesting=1",
    "unprivileged": 1,
    "onboot": 1,
    "tags": "dns;homeport",
    "description": "homeport.dev/owner=uid-1/homelab/pihole/210",
    "ostype": "debian",
    "arch": "amd64",
    "pool": "homelab",
    "node": "pve1",
    "status": "running",
    "pending": {},
}


def contract(kind: str) -> Manifest:
    """The manifest as api.md has it."""
    (body,) = load(ROOT / f"tests/contract/{kind}.yaml")
    return body


def secret(namespace: str, name: str, **data: str) -> Manifest:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": encoded}


async def apply(lab: Lab, *documents: Manifest) -> None:
    """The contract's two, and what they refer to."""
    named = {"apiVersion": "v1", "kind": "Namespace"}
    await lab.apply(
        [
            *({**named, "metadata": {"name": name}} for name in ("kube-system", SYSTEM, "homelab")),
            {"apiVersion": "homeport.dev/v1alpha1", "kind": "Project",
             "metadata": {"name": "homelab", "namespace": "homelab"}, "spec": {}},
            secret(SYSTEM, "lab-token", tokenId=TOKEN, tokenSecret=SECRET),
            secret(SYSTEM, "lab-ca", **{"ca.crt": "-----BEGIN CERTIFICATE-----\n"}),
            secret("homelab", "admin-keys", authorized_keys=KEYS),
            *documents,
        ]
    )  # fmt: skip


async def test_the_contracts_container_runs_on_the_contracts_host() -> None:
    lab = Lab()
    lab.pve.pools["homelab"] = set()
    foreign = lab.containers()
    await apply(lab, contract("proxmoxhost"), contract("lxccontainer"))
    operator = await lab.operator()
    await operator.settle()
    assert ready(await status(lab)) == ("True", "ReconciliationSucceeded", "running as 210 on pve1")
    host = lab.get(types.PROXMOX_HOST, "", "lab")["status"]
    assert (host["version"], host["clusterName"], host["containers"]) == (
        "9.1.3",
        "lab",
        {"managed": 1, "unmanaged": 3},
    )
    made = lab.containers()
    assert made.pop(210) == AS_WRITTEN
    assert made == foreign
    await operator.stop()


async def test_whoever_has_the_vmid_keeps_it() -> None:
    lab = Lab()
    lab.pve.pools["homelab"] = set()
    lab.pve.add_ct(210, "pihole", node="pve1", status="running")
    before = copy.deepcopy(lab.containers()[210])
    await apply(lab, contract("proxmoxhost"), contract("lxccontainer"))
    operator = await lab.operator()
    await operator.settle()
    status_, reason, message = ready(await status(lab))
    assert (status_, reason) == ("False", "NameTaken") and "210" in message
    assert lab.containers()[210] == before
    adopting = contract("lxccontainer")
    adopting["spec"]["adopt"] = {"expectHostname": "pihole"}  # as the comment has it
    await lab.apply([adopting])
    await operator.settle()
    assert ready(await status(lab))[0] == "True"
    await operator.stop()
