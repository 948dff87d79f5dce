"""How software is found to be, and what of it is checked from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from homeport.api.lxccontainer import LXCContainerSpec
from homeport.api.resource import Resource
from homeport.engine.lxc.probes import Target
from homeport.plan import payload as payloads
from homeport.plan.lxc.view import UNCHECKED, Health

Container = Resource[LXCContainerSpec]


@dataclass(frozen=True)
class Looked:
    """How the software is."""

    health: Health = UNCHECKED
    finished: bool = False
    """Whether the job is over."""
    exit_code: int | None = None
    remember: Mapping[str, Any] = field(default_factory=dict)


def target(container: Container, addresses: tuple[str, ...]) -> Target | None:
    """What is checked from here."""
    address = addresses[0] if addresses else ""
    check, software = container.spec.health_check, container.spec.software
    if check is not None:
        scheme = check.scheme or "HTTP"
        port = check.tcp or check.port or (443 if scheme == "HTTPS" else 80)
        return Target(address, port, check.path, scheme, float(check.period_seconds), float(check.timeout_seconds),
                      check.failure_threshold)  # fmt: skip
    readiness = software.probes.readiness if software is not None and software.probes is not None else None
    if readiness is None or software is None or readiness.exec is not None:
        return None
    numbers = (float(readiness.period_seconds or 10), float(readiness.timeout_seconds or 1),
               readiness.failure_threshold or 3)  # fmt: skip
    reference = readiness.tcp if readiness.tcp is not None else readiness.port
    port = payloads.port_number(reference, software.ports or ())
    return Target(address, port, readiness.path, readiness.scheme or "HTTP", *numbers)
