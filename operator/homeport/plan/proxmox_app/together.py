"""``placement: Together``: one container for an application's components, each of which is a process in it. Pure.

In it is what runs all the time or by a schedule. What ends (a job, a migration) has a container of its own, as with
Separate. Containers have one image: so have the components.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from homeport.api import labels
from homeport.api.application import ApplicationSpec
from homeport.api.component import Component
from homeport.plan import inputs, names
from homeport.plan import payload as payloads
from homeport.plan.proxmox_app import sizing, software
from homeport.plan.proxmox_app.guests import KIND
from homeport.plan.scope import Scope
from homeport.plan.types import Child, Manifest, Phase

_INSIDE = frozenset({"service", "worker", "stateful", "cron"})
_HOSTNAME = 63


def is_inside(of: Scope) -> bool:
    """Whether a component is a process of its application's container."""
    return of.app.spec.placement == "Together" and of.component.type in _INSIDE


def name_of(of: Scope) -> str:
    """The container's name."""
    return _name(of.app.spec, of.app.name)


def _name(spec: ApplicationSpec, application: str) -> str:
    return f"{spec.name_prefix or ''}{application}-0"


def runs(of: Scope) -> bool:
    """Whether its process is wanted now."""
    if of.component.type == "cron":
        return not (of.component.suspend or of.place.archived)
    return bool(of.replicas) and not of.place.archived


def container(scopes: Sequence[Scope], spec: Manifest, hosts: Sequence[Manifest]) -> Child | None:
    """The container of the components that are in it; None when nothing of it is wanted. ``spec``: all of it but its
    disks, size and software."""
    inside = [of for of in scopes if is_inside(of)]
    active = [of for of in inside if runs(of)]
    mounts = [mount for of in inside for mount in sizing.mounts(of)]
    if not active and not mounts:
        return None
    members = active or inside
    retains = any(sizing.retains(of) for of in inside)
    spec |= {
        **sizing.of(*(of.component for of in members)),
        "rootfs": sizing.root_disk(*members),
        "state": "Running" if active else "Stopped",
        "onMissing": "Stall" if mounts else "Recreate",
        "deletionPolicy": "Retain" if mounts and retains else "Delete",
        "software": _software(members, hosts),
    }
    if mounts:
        spec["mounts"] = mounts
    first = members[0]
    manifest = first.manifest(labels.API_VERSION, KIND, name=name_of(first), spec=spec)
    manifest["metadata"]["labels"] = _labels(members)
    if annotations := {key: value for of in members for key, value in (of.component.annotations or {}).items()}:
        manifest["metadata"]["annotations"] = annotations
    reads = tuple(sorted({ref for of in members for ref in inputs.reads(of)}))
    child = first.child(manifest, Phase.RUN, deletion=spec["deletionPolicy"], reads=reads, turn="Rolling")
    paused = any(of.component.paused for of in members)
    return replace(child, members=tuple(of.component.name for of in members), paused=paused)


def _labels(members: Sequence[Scope]) -> dict[str, str]:
    """What is true of all of them, and of no single one."""
    first = members[0]
    own = (labels.COMPONENT, labels.APP_COMPONENT, labels.APP_NAME)
    common = {
        key: value
        for key, value in first.labels.items()
        if key not in own and all(of.labels.get(key) == value for of in members)
    }
    return {**common, labels.APP_NAME: names.label_value(first.app.name)}


def _software(members: Sequence[Scope], hosts: Sequence[Manifest]) -> Manifest:
    inside = {of.component.name for of in members}
    first = members[0]
    out: Manifest = {"image": names.image(first.component.image or "", first.version)}
    pull = dict.fromkeys(secret.name for of in members for secret in of.component.image_pull_secrets or ())
    if pull:
        out["imagePullSecrets"] = [{"name": name} for name in pull]
    out["processes"] = [_process(of, name_of(first), inside) for of in members]
    if hosts:
        out["hosts"] = list(hosts)
    read = {of.component.name: digest for of in members if (digest := inputs.inputs_hash(of)) is not None}
    if read:
        out["inputs"] = names.digest_of(read)
    return out


def _process(of: Scope, container: str, inside: set[str]) -> Manifest:
    component = of.component
    found = software.cron(of, container, ()) if component.type == "cron" else software.of(of, container, ())
    # The ports are the container's together, where names would clash: probes have numbers.
    for left in ("image", "imagePullSecrets", "ports"):
        found.pop(left, None)
    for probe in (found.get("probes") or {}).values():
        if "tcp" in probe:
            probe["tcp"] = str(payloads.port_number(probe["tcp"], component.ports or ()))
        elif "path" in probe:
            probe["port"] = str(payloads.port_number(probe.get("port"), component.ports or ()))
    out: Manifest = {"name": component.name, **found}
    if needs := [name for name in component.depends_on or () if name in inside]:
        out["dependsOn"] = needs
    if component.restart_at:
        out["restartAt"] = component.restart_at
    return out


# --- what can't be ----------------------------------------------------------------------------------------------------


def problems(spec: ApplicationSpec, application: str, components: Sequence[Component], environment: str) -> list[str]:
    """Why components can't be in one container, each with what to write instead."""
    if spec.placement != "Together":
        return []
    inside = [component for component in components if component.type in _INSIDE]
    out = [*_clashes(inside, environment), *_circles(components, {component.name for component in inside})]
    name = _name(spec, application)
    if inside and (len(name) > _HOSTNAME or "." in name):
        out.append(
            f"spec.placement: the container would be called {name}, and a hostname has at most 63 characters without "
            "dots; write placement: Separate, or give the Application another name"
        )
    return out


def _clashes(inside: Sequence[Component], environment: str) -> Iterable[str]:
    images = {component.image or "": component.name for component in reversed(inside)}
    if len(images) > 1:
        listed = ", ".join(f"{name} {image}" for image, name in sorted(images.items(), key=lambda item: item[1]))
        yield (
            f"spec.placement: a container has one image, and in environment {environment} there are {len(images)} "
            f"({listed}); write placement: Separate"
        )
    for component in inside:
        wanted = component.autoscaling.min if component.autoscaling is not None else component.replicas
        if component.type != "cron" and (wanted or 1) > 1 and component.replicas != 0:
            yield (
                f"spec.components[{component.name}].replicas: one container holds each component once, and {wanted} "
                f"are asked for; write replicas: 1 in the overrides of environment {environment}, or placement: "
                "Separate"
            )
    ports = [(f"port {p.port}/{p.protocol or 'TCP'}", c.name) for c in inside for p in c.ports or ()]
    volumes = [(f"a volume {v.name}", c.name) for c in inside for v in sizing.kept(c)]
    paths = [(f"a volume at {v.path}", c.name) for c in inside for v in sizing.kept(c)]
    files = [
        (f"a file {path}", c.name)
        for c in inside
        for path in (*(c.files or ()), *(secret.path for secret in c.secret_files or ()))
    ]
    groups = {
        c.security_context.fs_group: c.name
        for c in inside
        if c.security_context is not None and c.security_context.fs_group is not None
    }
    for what, first, second in _twice([*ports, *volumes, *paths, *files]):
        yield (
            f"spec.placement: {first} and {second} both have {what}, and they share one container; give one of them "
            "another, or write placement: Separate"
        )
    if len(groups) > 1:
        listed = ", ".join(f"{name} {group}" for group, name in sorted(groups.items()))
        yield (
            f"spec.placement: the volumes of one container belong to one group, and there are several fsGroups "
            f"({listed}); write the same, or placement: Separate"
        )


def _twice(found: Sequence[tuple[str, str]]) -> Iterable[tuple[str, str, str]]:
    """(what, whose first, whose second) of what two components have; a component's own twins are refused elsewhere."""
    first: dict[str, str] = {}
    for what, whose in found:
        known = first.setdefault(what, whose)
        if known != whose:
            yield what, known, whose


def _circles(components: Sequence[Component], inside: set[str]) -> Iterable[str]:
    """What would wait for the container that waits for it."""
    needs = {component.name: set(component.depends_on or ()) for component in components}
    for component in components:
        if component.name in inside and component.migrate is not None and (own := needs[component.name] & inside):
            yield (
                f"spec.components[{component.name}].migrate: it runs before the container, and depends on "
                f"{', '.join(sorted(own))} in it; leave that out of dependsOn, or write placement: Separate"
            )
    awaited = {name for one in inside for name in needs[one] if name not in inside}
    for name in sorted(awaited):
        if _reached(name, needs) & inside:
            yield (
                f"spec.components[{name}].dependsOn: the container waits for {name}, which waits for a component in "
                "it; leave one of the two out of dependsOn, or write placement: Separate"
            )


def _reached(name: str, needs: Mapping[str, set[str]]) -> set[str]:
    out: set[str] = set()
    todo = [name]
    while todo:
        for needed in needs.get(todo.pop(), set()) - out:
            out.add(needed)
            todo.append(needed)
    return out
