"""The server that a Backup's source is: under which Service and port it answers, and who logs in. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from homeport.api.backup import BackupSource
from homeport.api.conditions import Reason
from homeport.outcome import Outcome, Stalled
from homeport.plan.backup import connection
from homeport.plan.backup.program import Program
from homeport.plan.backup.source import Server, Source, SourceWorld
from homeport.plan.types import Manifest
from homeport.plan.world import Live


def with_server(common: Source, source: BackupSource, program: Program, world: SourceWorld) -> Source | Outcome:
    """The source with how its server is reached; or what to write so that it can be."""
    service = _service(world.objects, common.workload[1])
    if service is None:
        return Stalled(
            Reason.INVALID_SPEC,
            f"component {common.component} has no Service, so the runner can't reach its server; make it a service or "
            "stateful component with a port",
        )
    host, port, target = _address(service, common, source.port or 0)
    login = connection.login(common.method, program)
    if own := source.credentials:
        refs = [None if ref is None else (ref.name, ref.key) for ref in (own.user_secret_ref, own.password_secret_ref)]
        login = connection.own(login, own.user, *refs)
    server = Server(host, port, login, tuple(source.databases), target)
    return replace(common, server=server)


def _service(objects: Sequence[Live], name: str) -> Live | None:
    found = [one for one in objects if one["kind"] == "Service" and one["spec"].get("ports")]
    own = [one for one in found if one["metadata"]["name"] == name]
    return next(iter(own or found), None)


def _address(service: Live, common: Source, wanted: int) -> tuple[str, int, int]:
    """The host and port to connect to, and the port in the Pods. A headless Service's name is its Pods' own addresses,
    where only their own ports are."""
    usual = connection.PORTS[common.method]
    ports = [(int(port["port"]), _number(port, common.template)) for port in service["spec"]["ports"]]
    by_target = {target: (port, target) for port, target in ports}
    port, target = by_target.get(wanted or usual) or (ports[0] if not wanted else (wanted, wanted))
    headless = service["spec"].get("clusterIP") == "None"
    return f"{service['metadata']['name']}.{common.namespace}.svc", target if headless else port, target


def _number(port: Mapping[str, Any], template: Manifest) -> int:
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    named = (
        entry["containerPort"]
        for container in (template.get("spec") or {}).get("containers") or ()
        for entry in container.get("ports") or ()
        if entry.get("name") == target
    )
    return int(next(named, port["port"]))
