"""The stand-in as Proxmox VE 8.4: what it refuses, and how its simulated guests learn who they are."""

from __future__ import annotations

import asyncio
import json
from ipaddress import IPv4Interface
from pathlib import Path

import pytest
from fakepve.model import PveError
from test_flatten import OPERATOR, SYSTEM, layer, made

from homeport.plan import agent as wire
from homeport.plan.agent import hostclaim
from homeport.plan.agent.hostclaim import Bootstrap
from localpve import guests, templates
from proxmox_inside import Lab

NETWORK = Bootstrap("eth0", IPv4Interface("10.0.0.20/24"))


@pytest.mark.parametrize(("version", "refused"), [("8.4.1", True), ("9.0.11", True), ("9.1.3", False)])
def test_containers_have_no_environment(version: str, refused: bool) -> None:
    async def run() -> None:
        world = Lab()
        world.pve.version = version
        for values in ({"env": "A=1"}, {"entrypoint": "/init"}):
            if not refused:
                world.pve._need_known(values)
                continue
            with pytest.raises(PveError, match="Parameter verification failed"):
                await world.pve._lxc_config_put("root@pam", {"node": "pve1", "vmid": 210, **values})
            with pytest.raises(PveError, match="Parameter verification failed"):
                await world.pve._lxc_create("root@pam", {"node": "pve1", "vmid": 210, **values})

    asyncio.run(run())


def test_where_the_operator_is_comes_from_the_archive(tmp_path: Path) -> None:
    _, path, _ = made(tmp_path / "made", *SYSTEM)
    assert json.loads(templates.operator_in(path.read_bytes()) or "") == OPERATOR
    assert templates.operator_in(layer()) is None and templates.operator_in(b"nothing") is None


def test_who_it_is_comes_from_its_hostname() -> None:
    disk = {"operator": json.dumps(OPERATOR)}
    assert guests.by_hostname({"hostname": "web"}, disk) == {}, "nobody ever named it"
    first = hostclaim.hostname("a" * 16, "b" * 64, NETWORK)
    assert guests.by_hostname({"hostname": first}, disk) == {
        **OPERATOR, wire.ENV_CONTAINER: "", wire.ENV_CLAIM: f"{'a' * 16}.{'b' * 32}",
    }  # fmt: skip
    disk["credential"] = "kept"
    assert guests.by_hostname({"hostname": "web"}, disk)[wire.ENV_CLAIM] == f"{'a' * 16}."
    assert disk["credential"] == "kept"
    guests.by_hostname({"hostname": hostclaim.hostname("c" * 16, "d" * 64, NETWORK)}, disk)
    assert "credential" not in disk, "another claim is another container"
    assert guests.by_hostname({"hostname": first}, {}) == {}, "there is no init in it"
