"""What is Proxmox VE's own about an Environment: the host, what of it the project may use, and isolation."""

from __future__ import annotations

from homeport.api import conditions
from homeport.api.conditions import Reason
from homeport.api.environment import EnvironmentSpec
from homeport.api.proxmoxhost import ProxmoxHostSpec
from homeport.api.resource import Resource
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan.proxmox import grants

Env = Resource[EnvironmentSpec]
Host = Resource[ProxmoxHostSpec]

COUNT = "count/lxccontainers.homeport.dev"
"""Source: https://kubernetes.io/docs/concepts/policy/resource-quotas/#quota-on-object-count"""


def host_of(spec: EnvironmentSpec) -> str | None:
    """The ProxmoxHost that an environment names; None on Kubernetes."""
    return spec.proxmox.host_ref.name if spec.proxmox is not None else None


def obstacle(env: Env, host: Host | None) -> Outcome | None:
    """Why nothing can run in an environment on Proxmox VE, if so."""
    name = host_of(env.spec)
    if host is None:
        return Wait(
            Reason.DEPENDENCY_NOT_READY,
            f"ProxmoxHost {name} doesn't exist; an administrator makes it, and this goes on by itself",
        )
    problems = _problems(env, host)
    if problems:
        return Stalled(Reason.ACCESS_DENIED, "; ".join(problems))
    told = conditions.ready(host.status)
    if told is None or told[0] != "True":
        said = (told[2] if told is not None else "") or "it hasn't been read yet"
        return Wait(Reason.DEPENDENCY_NOT_READY, f"ProxmoxHost {name} isn't ready: {said}")
    return _isolation(env, host)


def _problems(env: Env, host: Host) -> tuple[str, ...]:
    """What of the host the environment asks and its project may not use."""
    place = env.spec.proxmox
    assert place is not None
    network = place.network
    plugs = [grants.Attachment("eth0", network.bridge, network.vlan)] if network is not None else []
    storages = [place.storage] if place.storage is not None else []
    asked = grants.Request(
        env.namespace, host.name, node=place.node, storages=storages, networks=plugs, pool=place.pool
    )
    use = grants.use_of(host.spec, env.namespace)
    return (*grants.check(use, asked), *grants.check_range(use, place.vmid_range, asked))


def _isolation(env: Env, host: Host) -> Outcome | None:
    """Strict needs the datacenter's firewall: without it, an interface's firewall flag does nothing.

    Source: pve-firewall, https://pve.proxmox.com/pve-docs/chapter-pve-firewall.html (Enabling the Firewall)
    """
    if env.spec.isolation != "Strict" or host.status.get("firewall"):
        return None
    return Stalled(
        Reason.INVALID_SPEC,
        f"isolation: Strict needs Proxmox VE's firewall, which is off in the datacenter of ProxmoxHost {host.name}; "
        "have an administrator turn it on (Datacenter, Firewall, Options), or write isolation: Open",
    )


def remark(env: Env) -> str:
    """What isolation means here, for the message of a Ready environment."""
    if env.spec.proxmox is None or env.spec.isolation != "Strict":
        return ""
    return "; isolation: Strict puts containers behind Proxmox VE's firewall, whose rules are the administrator's"
