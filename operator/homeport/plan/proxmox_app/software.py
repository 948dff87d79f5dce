"""What runs in a container: the component's image, command, environment, files, user, ports and probes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from homeport.api.component import Component
from homeport.plan import containers, jobs, names
from homeport.plan.scope import Scope
from homeport.plan.types import Manifest

FIELDS = ("metadata.name", "metadata.namespace")
"""What a fieldRef may name: all that is known of a container before it is there."""


def of(scope: Scope, container: str, hosts: Iterable[Manifest]) -> Manifest:
    """The ``software`` of ``container``, one of a component's that runs all the time."""
    component = scope.component
    out = _common(scope, container)
    if component.command:
        out["command"] = list(component.command)
    if component.args:
        out["args"] = list(component.args)
    if component.ports:
        out["ports"] = [
            {"name": port.name, "port": port.port, "protocol": port.protocol or "TCP"} for port in component.ports
        ]
    if component.probes is not None and (probes := _wire(component.probes)):
        out["probes"] = probes
    return out | _hosts(hosts)


def job(scope: Scope, container: str, hosts: Iterable[Manifest]) -> Manifest:
    """The ``software`` of a job component: its command, once."""
    component = scope.component
    out = {**of(scope, container, hosts), "restartPolicy": "Never"}
    return out | _tries(component.backoff_limit, component.active_deadline_seconds)


def cron(scope: Scope, container: str, hosts: Iterable[Manifest]) -> Manifest:
    """The ``software`` of a cron component: its command, by its schedule."""
    out = {**of(scope, container, hosts), "schedule": scope.component.schedule or ""}
    if scope.component.time_zone:
        out["timeZone"] = scope.component.time_zone
    return out


def migration(scope: Scope, container: str, hosts: Iterable[Manifest]) -> Manifest:
    """The ``software`` of a component's migration: the component's, with another command, once."""
    migrate = scope.component.migrate
    assert migrate is not None
    out = {**_common(scope, container), "command": list(migrate.command), "restartPolicy": "Never"}
    if migrate.args:
        out["args"] = list(migrate.args)
    limit = names.seconds(migrate.timeout) if migrate.timeout else jobs.MIGRATE_TIMEOUT
    return out | _tries(migrate.backoff_limit, limit) | _hosts(hosts)


TRIES = ("backoffLimit", "activeDeadlineSeconds")
"""What says how often and how long something is tried, and nothing of what it does."""


def _tries(limit: int | None, deadline: int | None) -> Manifest:
    out: Manifest = {"backoffLimit": jobs.BACKOFF_LIMIT if limit is None else limit}
    return out if deadline is None else {**out, "activeDeadlineSeconds": int(deadline)}


def _common(scope: Scope, container: str) -> Manifest:
    component = scope.component
    out: Manifest = {"image": names.image(component.image or "", scope.version)}
    if component.image_pull_secrets:
        out["imagePullSecrets"] = [{"name": secret.name} for secret in component.image_pull_secrets]
    if component.working_dir:
        out["workingDir"] = component.working_dir
    env = [
        _resolved(entry, scope, container)
        for entry in containers.environment(component.env or (), scope.place.spec.variables or {})
    ]
    if env:
        out["env"] = env
    for field, given in (("envFrom", component.env_from), ("secretFiles", component.secret_files)):
        if given:
            out[field] = [_wire(entry) for entry in given]
    if component.files:
        out["files"] = dict(component.files)
    if user := _user(component):
        out["user"] = user
    if component.termination_grace_period_seconds is not None:
        out["terminationGracePeriodSeconds"] = component.termination_grace_period_seconds
    return out


def _resolved(entry: Manifest, scope: Scope, container: str) -> Manifest:
    """A variable whose value is a field of the Pod: of the container here, which is known now."""
    field = (entry.get("valueFrom") or {}).get("fieldRef")
    if field is None:
        return entry
    known: Mapping[str, str] = {"metadata.name": container, "metadata.namespace": scope.place.namespace}
    return {"name": entry["name"], "value": known[field["fieldPath"]]}


def _user(component: Component) -> Manifest:
    given = component.security_context
    if given is None:
        return {}
    found = {"runAsUser": given.run_as_user, "runAsGroup": given.run_as_group, "fsGroup": given.fs_group}
    return {name: number for name, number in found.items() if number is not None}


def _hosts(hosts: Iterable[Manifest]) -> Manifest:
    return {"hosts": found} if (found := list(hosts)) else {}


def _wire(model: Any) -> Manifest:
    """A part of the API as it is written, without what is absent."""
    out: Manifest = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return out
