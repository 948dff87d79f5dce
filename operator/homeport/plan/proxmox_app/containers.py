"""The LXCContainers of a component."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

from homeport.api import labels
from homeport.api.component import Component
from homeport.plan import inputs, names
from homeport.plan.jobs import Done, done_id
from homeport.plan.proxmox_app import sizing, software, together
from homeport.plan.proxmox_app.guests import KIND, Guests
from homeport.plan.scope import Scope
from homeport.plan.types import Child, Manifest, Phase

HOSTS_KEPT = 32
"""How many containers one name in /etc/hosts may stand for, as the LXCContainer's schema has it."""


def name_of(stem: str, ordinal: int) -> str:
    """The name of one replica's container."""
    return f"{stem}-{ordinal}"


def replicas(of: Scope) -> int:
    """How many containers are to run now."""
    return 0 if of.place.archived else of.replicas


def names_of(of: Scope) -> list[str]:
    """The names of the containers that are to run."""
    if together.is_inside(of):
        return [together.name_of(of)] if together.runs(of) else []
    return [name_of(of.name, number) for number in range(replicas(of))]


def hosts(scopes: Sequence[Scope]) -> list[Manifest]:
    """The names under which components find each other: each stands for all containers of its component that run."""
    out = []
    for of in scopes:
        if of.component.type in ("service", "stateful") and (members := names_of(of)):
            out.append({"name": of.name, "containers": members[:HOSTS_KEPT]})
    return out


def shared(scopes: Sequence[Scope], hosts: Sequence[Manifest]) -> Child | None:
    """The container of the components that are placed together."""
    inside = [of for of in scopes if together.is_inside(of)]
    if not inside:
        return None
    name = together.name_of(inside[0])
    return together.container(inside, _around(inside[0], name, once=False), hosts)


def running(of: Scope, hosts: Sequence[Manifest], guests: Guests) -> Iterable[Child]:
    """One container for each replica, and those beyond them that hold data: these are stopped, as claims stay."""
    wanted = replicas(of)
    for number in range(wanted):
        yield _running(of, number, hosts, "Running")
    if sizing.kept(of.component):
        there = {_ordinal(of.name, name) for name, guest in guests.items() if guest.component == of.component.name}
        for number in sorted(found for found in there if found is not None and found >= wanted):
            yield _running(of, number, hosts, "Stopped")


def _ordinal(stem: str, name: str) -> int | None:
    rest = name.removeprefix(f"{stem}-")
    return int(rest) if rest != name and rest.isdecimal() else None


def _running(of: Scope, number: int, hosts: Sequence[Manifest], state: str) -> Child:
    name = name_of(of.name, number)
    spec = _spec(of, name, state)
    spec["software"] = software.of(of, name, hosts)
    if of.component.restart_at:
        spec["restartAt"] = of.component.restart_at
    return _child(of, name, spec, Phase.RUN, turn=_turn(of.component))


def _turn(component: Component) -> Literal["", "Rolling", "Ordered"]:
    if component.type == "stateful":
        return "Ordered"
    given = component.strategy
    return "" if given is not None and given.type == "Recreate" else "Rolling"


def cron(of: Scope, hosts: Sequence[Manifest]) -> Child:
    """The container of a cron component: it is there all the time, and runs the command by its schedule."""
    name = name_of(of.name, 0)
    suspended = bool(of.component.suspend) or of.place.archived
    spec = _spec(of, name, "Stopped" if suspended else "Running")
    spec["software"] = software.cron(of, name, hosts)
    return _child(of, name, spec, Phase.RUN)


def migration(of: Scope, hosts: Sequence[Manifest], done: Done) -> Child | None:
    """The container that must succeed before the component's change; None when it has."""
    assert of.component.migrate is not None
    stem = f"{of.name}-migrate"
    return _once(of, stem, software.migration(of, stem, hosts), of.component.migrate.restart_at, Phase.MIGRATE, done)


def job(of: Scope, hosts: Sequence[Manifest], done: Done) -> Child | None:
    """The container of a job component; None when what it runs has succeeded."""
    return _once(of, of.name, software.job(of, of.name, hosts), of.component.restart_at, Phase.RUN, done)


def _once(of: Scope, stem: str, runs: dict[str, Any], token: str | None, phase: Phase, done: Done) -> Child | None:
    """A container that runs once for what it runs: its name has a digest of that, without the siblings' names and
    how often it is tried."""
    left = ("hosts", *software.TRIES)
    digest = names.digest_of([{key: value for key, value in runs.items() if key not in left}, token or ""])
    name = names.job(stem, digest)
    spec = _spec(of, name, "Running", once=True)
    spec["software"] = runs
    child = replace(_child(of, name, spec, phase), job_hash=digest)
    return None if digest in done.get(done_id(child), ()) else child


def _child(of: Scope, name: str, spec: Manifest, phase: Phase, turn: Literal["", "Rolling", "Ordered"] = "") -> Child:
    digest = inputs.inputs_hash(of) if phase is Phase.RUN and of.component.type != "job" else None
    if digest is not None:
        # In the spec: a container is well again only with what it reads now, and then it is the next one's turn.
        spec["software"] = {**spec["software"], "inputs": digest}
    manifest = of.manifest(labels.API_VERSION, KIND, name=name, spec=spec)
    if of.component.annotations:
        manifest["metadata"]["annotations"] = dict(of.component.annotations)
    return of.child(manifest, phase, deletion=spec["deletionPolicy"], reads=inputs.reads(of), turn=turn)


def _spec(of: Scope, name: str, state: str, *, once: bool = False) -> Manifest:
    """All of a container but what runs in it. What runs ``once`` keeps nothing, and never runs again by itself."""
    mounts = [] if once else sizing.mounts(of)
    out: Manifest = {
        **_around(of, name, once=once),
        **sizing.of(of.component),
        "rootfs": sizing.root_disk(of),
        "state": state,
        "onMissing": "Stall" if mounts or once else "Recreate",
        "deletionPolicy": "Retain" if mounts and sizing.retains(of) else "Delete",
    }
    if mounts:
        out["mounts"] = mounts
    return out


def _around(of: Scope, name: str, *, once: bool) -> Manifest:
    """What every container of the environment has."""
    network: Manifest = {"name": "eth0"}
    if of.place.spec.isolation == "Strict":
        network["firewall"] = True
    return {
        "environmentRef": {"name": of.place.name},
        "hostname": name,
        "networks": [network],
        "onBoot": not once,
        "rebootPolicy": "WhenPending",
    }
