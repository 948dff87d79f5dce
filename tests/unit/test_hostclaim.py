"""A claim as a hostname, and the network that a container without one of its own host's is given."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest

from homeport.api.lxccontainer import LXCContainerSpec
from homeport.plan.agent import Interface
from homeport.plan.agent.hostclaim import Bootstrap, hostname, is_claim, shown
from homeport.plan.lxc import bootstrap as bootstraps
from homeport.plan.lxc import diff
from homeport.plan.lxc.owner import Owner
from homeport.plan.lxc.wanted import Place, Unmanaged, wanted
from homeport.plan.proxmox.config import container_config
from localplane import initprogram

NETWORK = Bootstrap("eth0", IPv4Interface("10.0.0.20/24"), IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"))
SPEC = {"hostRef": {"name": "lab"}, "software": {"image": "nginx:1"}}
URL = "https://10.20.0.1:8443"


def test_it_is_what_init_reads() -> None:
    text = (initprogram.SOURCE / "network_test.go").read_text()
    known = re.search(r'aHostClaim = "(\w+)"', text)
    assert known is not None
    assert hostname("0123456789abcdef", "00112233445566778899aabbccddeeff" + "0" * 32, NETWORK) == known[1]


def test_it_is_a_label() -> None:
    name = hostname("f" * 16, "e" * 64, Bootstrap("eth0", IPv4Interface("192.168.7.9/16")))
    assert re.fullmatch(r"[a-z0-9]{63}", name) and is_claim(name) and shown(name) == "…"
    assert shown("web") == "web" and shown(None) == "…" and not is_claim("hp" + "-" * 61) and not is_claim("hp")
    for claim, token in (("f" * 14, "e" * 64), ("f" * 16, "e" * 30), ("x" * 16, "e" * 64)):
        with pytest.raises(ValueError):
            hostname(claim, token, NETWORK)


def place(**more: Any) -> Place:
    fields: dict[str, Any] = {"bridge": "vmbr0", "cidr": "10.20.0.0/16", "gateway": "10.20.0.254",
                              "addresses": {"eth0": "10.20.0.10/16"}, **more}  # fmt: skip
    return Place("lab", "pve1", Owner("here", "homelab", "web", 210), **fields)


def said(spec: dict[str, Any] | None = None, url: str = URL, **more: Any) -> Bootstrap | str:
    given = LXCContainerSpec.model_validate({**SPEC, **(spec or {})})
    return bootstraps.bootstrap("web", given, place(**more), url)


def test_the_address_that_it_was_given() -> None:
    assert said() == Bootstrap("eth0", IPv4Interface("10.20.0.10/16"), IPv4Address("10.20.0.254"))
    dns = {"dns": {"servers": ["fd00::1", "10.20.0.2", "10.20.0.3"]}}
    named = said(dns, "https://operator.lan:8443")
    assert isinstance(named, Bootstrap) and named.nameserver == IPv4Address("10.20.0.2")


def test_the_interface_by_which_the_operator_is_reached() -> None:
    networks = [
        {"name": "eth0", "address": "10.1.0.5/24"},
        {"name": "eth1", "address": "10.2.0.5/24", "gateway": "10.2.0.1"},
        {"name": "eth2", "address": "10.3.0.5/24", "address6": "fd00::5/64", "gateway6": "fd00::1"},
    ]
    for url, interface in ((URL, "eth1"), ("https://10.3.0.9:1", "eth2"), ("https://10.1.0.9:1", "eth0")):
        found = said({"networks": networks}, url)
        assert isinstance(found, Bootstrap) and found.interface == interface
    spec = LXCContainerSpec.model_validate({**SPEC, "networks": networks})
    assert bootstraps.interfaces("web", spec, place()) == (
        Interface(name="eth0", addresses=("10.1.0.5/24",)),
        Interface(name="eth1", addresses=("10.2.0.5/24",), gateways=("10.2.0.1",)),
        Interface(name="eth2", addresses=("10.3.0.5/24", "fd00::5/64"), gateways=("fd00::1",)),
    )


@pytest.mark.parametrize(
    ("spec", "more", "why"),
    [
        (
            {}, {"cidr": None, "addresses": {}},
            "network eth0 is to have its address by DHCP, and before Proxmox VE 9.1 an image has nobody to ask for it; "
            "write an address, or give the environment a network.cidr",
        ),
        (
            {"networks": [{"name": "eth0", "address": "10.1.0.5/24", "address6": "dhcp"}]}, {},
            "network eth0 is to have its address6 by DHCP, and before Proxmox VE 9.1 an image has nobody to ask for "
            "it; write an address, or slaac",
        ),
        (
            {"networks": [{"name": "eth0", "address": "manual"}]}, {},
            "before Proxmox VE 9.1 init reaches the operator by an IPv4 address that it is given, and no network has "
            "one; write networks with an address, or give the environment a network.cidr",
        ),
        (
            {}, {"url": "https://operator.lan:8443"},
            "before Proxmox VE 9.1 a container doesn't get its node's name servers, and the operator is at "
            "https://operator.lan:8443; write dns.servers with an IPv4 address, or start the operator with an address "
            "in --agent-url",
        ),
        (
            {"networks": [{"name": "a12", "address": "10.1.0.5/24"}, {"name": "a13", "address": "10.2.0.5/24"}]},
            {"monkey": True}, "init can't tell networks a12 and a13 apart; name one of them otherwise",
        ),
    ],
)  # fmt: skip
def test_what_cant_be_set_up(
    spec: dict[str, Any], more: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if more.pop("monkey", False):
        monkeypatch.setattr(bootstraps, "mark", lambda name: 7)
    assert said(spec, **more) == why


def test_a_claim_is_in_no_difference() -> None:
    """Its token would be in the status and in events."""
    claim = hostname("f" * 16, "e" * 64, NETWORK)
    spec = LXCContainerSpec.model_validate(SPEC)
    for now, unmanaged in ((claim, Unmanaged(())), ("web", Unmanaged((), claim))):
        wish = wanted("web", spec, place(unmanaged=unmanaged))
        assert wish.options["ostype"] == "unmanaged" and wish.options["hostname"] != now
        found = diff.compare(wish, container_config({"hostname": now, "digest": "x"}), running=True)
        changed = next(one for one in found.differences if one.field == "hostname")
        assert (changed.wanted, changed.found, changed.send) == ("…", "…", wish.options["hostname"])
