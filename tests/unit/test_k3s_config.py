"""The block k3s: what is wrong is said from the file alone, with what to write instead."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from homeport_clusters import config
from homeport_clusters.k3s_config import K3s, SecretText, host_config, machines

DIGEST = "ab" * 32
BLOCK: dict[str, Any] = {
    "proxmox": {
        "endpoints": [{"url": "https://pve1.lab:8006", "fingerprint": ":".join(["AB"] * 32)}],
        "tokenId": "homeport@pve!clusters",
        "tokenSecret": {"env": "PVE_TOKEN_SECRET"},
    },
    "template": "debian-12",
    "storage": "local-lvm",
    "network": {"bridge": "vmbr0", "cidr": "10.20.5.0/24", "gateway": "10.20.5.1"},
    "servers": {"count": 3, "addresses": ["10.20.5.11", "10.20.5.12", "10.20.5.13"]},
    "agents": {"count": 2, "addresses": ["10.20.5.21", "10.20.5.22"]},
    "release": {"version": "v1.33.5+k3s1", "binary": {"source": "https://mirror.lab/k3s", "sha256": DIGEST}},
}


def block(path: str = "", value: Any = None) -> dict[str, Any]:
    """BLOCK with one field set; None takes it out."""
    out = copy.deepcopy(BLOCK)
    if path:
        *above, last = path.split(".")
        at = out
        for part in above:
            at = at.setdefault(part, {})
        if value is None:
            del at[last]
        else:
            at[last] = value
    return out


WRONG = [
    (
        "servers.count",
        2,
        "servers.count is 2: of an even number of servers no more may fail than of one less, and etcd "
        "stops without a majority; write 1 or 3",
    ),
    (
        "servers.addresses",
        ["10.20.5.11"],
        "servers.addresses has 1 addresses and servers.count is 3; write one for each, "
        "or take network.cidr out, and addresses come by DHCP",
    ),
    (
        "agents.addresses",
        ["10.20.5.21", "10.20.6.22"],
        "agents.addresses: 10.20.6.22 is outside network.cidr 10.20.5.0/24",
    ),
    (
        "agents.addresses",
        ["10.20.5.21", "10.20.5.11"],
        "agents.addresses: 10.20.5.11 is among servers.addresses already; write another one",
    ),
    (
        "agents.addresses",
        ["10.20.5.21", "10.20.5.1"],
        "agents.addresses: 10.20.5.1 is the gateway's; write another one",
    ),
    (
        "agents.addresses",
        ["10.20.5.21", "10.20.5.255"],
        "agents.addresses: 10.20.5.255 is the network's own or its broadcast address; write another one",
    ),
    (
        "agents.addresses",
        ["10.20.5.21", "10.20.5.22/24"],
        "agents.addresses: '10.20.5.22/24' isn't an IPv4 address; write one such as 10.20.5.11, without prefix",
    ),
    ("network.gateway", "10.20.9.1", "network.gateway 10.20.9.1 is outside network.cidr 10.20.5.0/24"),
    (
        "network.cidr",
        "10.20.5.7/24",
        "network.cidr: '10.20.5.7/24' isn't an IPv4 subnet; write one such as 10.20.5.0/24",
    ),
    ("network", {"bridge": "vmbr0"}, "servers.addresses needs network.cidr, the subnet that they are in"),
    ("servers.memory", "256Mi", "servers.memory 256Mi is too little for k3s; write at least 1Gi"),
    ("servers.disk", "much", "'much' isn't a size; write one such as 4Gi"),
    (
        "release.binary",
        {"source": "k3s", "sha256": "12"},
        "sha256 is 64 hexadecimal digits; `sha256sum FILE` prints them",
    ),
    (
        "release.binary",
        {"source": "ftp://x/k3s", "sha256": DIGEST},
        "'ftp://x/k3s': write an https:// or http:// URL, or a path",
    ),
    ("proxmox.tokenId", "root", "tokenId isn't a token's id; write one such as homeport@pve!operator"),
    ("proxmox.tokenSecret", {}, "write exactly one of env and file"),
    (
        "proxmox.endpoints",
        [{"url": "https://pve1.lab:8006"}],
        "say how https://pve1.lab:8006 is known: write exactly one of fingerprint and ca",
    ),
    ("serverArgs", ["--token=x"], "--token is set by Homeport; take it out"),
    ("serverArgs", ["-v"], "'-v' isn't a flag; write it as --name=value"),
    ("vmids", {"min": 300, "max": 200}, "vmids: min 300 is above max 200"),
]


@pytest.mark.parametrize(
    ("path", "value", "message"), WRONG, ids=[f"{path}-{number}" for number, (path, *_) in enumerate(WRONG)]
)
def test_what_is_wrong_is_said_with_what_to_write(path: str, value: Any, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        K3s.model_validate(block(path, value))
    assert message in [entry["msg"] for entry in caught.value.errors()]


def test_several_servers_by_dhcp_need_a_name_that_stays() -> None:
    given = block("network", {"bridge": "vmbr0"})
    given["servers"] = {"count": 3}
    given["agents"] = {"count": 0}
    with pytest.raises(ValidationError, match="several servers with addresses by DHCP"):
        K3s.model_validate(given)
    assert K3s.model_validate({**given, "apiAddress": "k8s.lab"}).servers.count == 3


def test_the_file_says_where(tmp_path: Path) -> None:
    content = {"name": "lab", "clusters": [{"name": "home", "type": "k3s", "k3s": block("servers.count", 4)}]}
    with pytest.raises(config.ConfigError, match=r"clusters\[0\]\.k3s\.servers: servers\.count is 4"):
        config.parse(content)
    with pytest.raises(config.ConfigError, match="type k3s needs a block 'k3s' with proxmox, template"):
        config.parse({"name": "lab", "clusters": [{"name": "home", "type": "k3s"}]})


def test_containers_in_their_order() -> None:
    found = [(name, role, number) for name, role, _, number in machines(K3s.model_validate(BLOCK), "home")]
    assert found == [("home-server-1", "server", 0), ("home-server-2", "server", 1), ("home-server-3", "server", 2),
                     ("home-agent-1", "agent", 0), ("home-agent-2", "agent", 1)]  # fmt: skip


def test_secrets_are_read_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    assert SecretText(file="token").read(tmp_path) == "s3cret"
    monkeypatch.delenv("PVE_TOKEN_SECRET", raising=False)
    with pytest.raises(ValueError, match="the environment variable PVE_TOKEN_SECRET is empty or not set; export it"):
        SecretText(env="PVE_TOKEN_SECRET").read(tmp_path)
    with pytest.raises(ValueError, match="can't be read: No such file"):
        SecretText(file="none").read(tmp_path)


def test_what_a_provider_is_told_is_what_the_driver_gets(tmp_path: Path) -> None:
    told = K3s.model_validate(BLOCK).proxmox.host(tmp_path)
    found = host_config({**told, "concurrentTasks": 4.0}, "s3cret")
    assert (found.endpoints[0].url, found.token.secret, found.concurrent_tasks) == (
        "https://pve1.lab:8006",
        "s3cret",
        4,
    )
    assert "s3cret" not in repr(told)
