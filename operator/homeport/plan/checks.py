"""What neither the CRD's schema nor its CEL rules can know of an application; each problem says what to write."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from homeport.api import labels
from homeport.api.application import ApplicationSpec
from homeport.api.component import Component, Cors, Route
from homeport.api.pod import GeneratedSecret, Probe
from homeport.plan import edge, monitoring, names, quantities, storage
from homeport.plan.types import Place

# A CronJob's name gets 11 characters more in its Jobs, a StatefulSet's 11 in its Pods' labels.
# Source: https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ (schedule syntax, names)
_LIMITS = {"cron": 52, "stateful": 52}
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_OURS = (f"{labels.GROUP}/", labels.MANAGED_BY)


def problems(spec: ApplicationSpec, components: Sequence[Component], place: Place | None) -> list[str]:
    """What is wrong with ``components``, which are the application's in one environment (``place``, if it is known)."""
    out: list[str] = []
    if any(component.depends_on for component in components):
        out += _cycles({component.name: tuple(component.depends_on or ()) for component in components})
    prefix = spec.name_prefix or ""
    for component in components:
        for problem in _of_component(component, prefix):
            out.append(f"spec.components[{component.name}]{problem}")
    if any(component.routes for component in components):
        out += _routes(components, place)
    if any(component.secrets for component in components):
        out += _secrets(components)
    return out


def twins(kind: str, name: str, first: str, second: str) -> str:
    """What to say of two objects with one name."""
    whose = f"components {first} and {second}" if first != second else f"component {first}"
    return f"spec.components: {whose} would make the {kind} {name!r} twice; give one of them, or a volume, another name"


# --- one component --------------------------------------------------------------------------------------------------


def _of_component(component: Component, prefix: str) -> Iterable[str]:
    limit = _LIMITS.get(component.type)
    length = len(prefix) + len(component.name)
    if limit is not None and length > limit:
        yield (
            f".name: namePrefix and name have {length} characters together, and a {component.type} component may have "
            f"{limit}; write a shorter name"
        )
    if component.ports:
        yield from _ports(component)
    if component.volumes or component.files or component.secret_files:
        yield from _mounts(component)
    if component.resources is not None:
        yield from _resources(component)
    if component.probes is not None:
        yield from _probes(component)
    if component.metrics is not None and not _port_known(component, component.metrics.port):
        yield f".metrics.port: {component.metrics.port or 'it'} is not among ports; write {_ports_shown(component)}"
    if component.metrics is not None:
        yield from monitoring.problems(component)
    if component.init_containers or component.sidecars:
        yield from _containers(component)
    if component.labels or component.annotations:
        yield from _marks(component)
    if component.strategy is not None:
        yield from _strategy(component)
    for network in component.egress or ():
        try:
            ipaddress.ip_network(network.cidr)
        except ValueError as error:
            yield f".egress: {error}; write a network such as 10.20.0.0/24 or fd00:20::/64"


def _marks(component: Component) -> Iterable[str]:
    for field, given in (("labels", component.labels), ("annotations", component.annotations)):
        for key, value in (given or {}).items():
            if key.startswith(_OURS):
                yield f".{field}: {key} is set by Homeport; take it out"
            elif field == "labels" and names.label_value(value) != value:
                yield (
                    f".labels: {key} is {value!r}, which can't be a label; write at most 63 letters, digits, '-', '_' "
                    "and '.', or make it an annotation"
                )


def _strategy(component: Component) -> Iterable[str]:
    strategy = component.strategy
    assert strategy is not None
    pace = strategy.rolling_update
    if component.type == "stateful":
        if strategy.type == "Recreate":
            yield ".strategy.type: a stateful component's Pods are replaced one after the other; leave Recreate out"
        if pace is not None:
            # maxUnavailable is behind a feature gate: API servers without it drop the field, and it would never settle.
            yield ".strategy.rollingUpdate: a stateful component's Pods are replaced one after the other; leave it out"
    elif strategy.type == "Recreate" and pace is not None:
        yield ".strategy: Recreate has no rollingUpdate; leave one of them out"
    if pace is not None and {pace.max_surge, pace.max_unavailable} <= {"0", "0%"}:
        yield ".strategy.rollingUpdate: maxSurge and maxUnavailable can't both be 0: nothing could move; raise one"


def _probes(component: Component) -> Iterable[str]:
    for name in ("liveness", "readiness", "startup"):
        described: Probe | None = getattr(component.probes, name)
        if described is not None:
            yield from _probe(component, described, f".probes.{name}")


def _ports(component: Component) -> Iterable[str]:
    seen: dict[tuple[int, str], str] = {}
    for port in component.ports or ():
        first = seen.setdefault((port.port, port.protocol or "TCP"), port.name)
        if first != port.name:
            number = f"{port.port}/{port.protocol or 'TCP'}"
            yield f".ports: {first} and {port.name} are both {number}; leave one of them out"


def _mounts(component: Component) -> Iterable[str]:
    seen: dict[str, str] = {}
    for volume in component.volumes or ():
        if volume.name.startswith(names.RESERVED_VOLUME_PREFIX):
            yield f".volumes[{volume.name}].name: names that start with homeport- are taken; write another"
    mounts = [(volume.path, f"volumes[{volume.name}]") for volume in component.volumes or ()]
    mounts += [(path, f"files[{path}]") for path in component.files or ()]
    mounts += [(file.path, f"secretFiles[{file.path}]") for file in component.secret_files or ()]
    for path, where in mounts:
        first = seen.setdefault(path.rstrip("/"), where)
        if first != where:
            yield f".{where}: {first} is mounted at {path} too; write another path"
        if path.rstrip("/") == "":
            yield f".{where}: nothing can be mounted over the whole root; write a path below /"
        elif path.endswith("/") and not where.startswith("volumes"):
            yield f".{where}: write the file's path, without a slash at its end"
        elif ":" in path:
            yield f".{where}: a path may not hold a colon; write another path"


def _resources(component: Component) -> Iterable[str]:
    given = component.resources
    assert given is not None
    for name, limit in (given.limits or {}).items():
        request = (given.requests or {}).get(name)
        if request is not None and quantities.nanos(request) > quantities.nanos(limit):
            yield f".resources: the {name} request {request} is more than the limit {limit}; raise the limit"


def _probe(component: Component, probe: Probe, where: str) -> Iterable[str]:
    if probe.path is not None and probe.port is None and not component.ports:
        yield f"{where}: there are no ports to ask at; write ports, or the probe's port"
    for ref in (probe.port, probe.tcp):
        if ref is not None and not ref.isdecimal() and not _port_known(component, ref):
            yield f"{where}: {ref!r} is not among ports; write {_ports_shown(component)}"


def _port_known(component: Component, ref: str | None) -> bool:
    ports = component.ports or ()
    if ref is None:
        return bool(ports) or component.catalog is not None
    return component.catalog is not None or any(ref in (port.name, str(port.port)) for port in ports)


def _ports_shown(component: Component) -> str:
    shown = ", ".join(f"{port.name} or {port.port}" for port in component.ports or ())
    return shown or "ports first: there are none"


def _containers(component: Component) -> Iterable[str]:
    seen = {component.name: "the component"}
    for field, containers in (("initContainers", component.init_containers), ("sidecars", component.sidecars)):
        for container in containers or ():
            name = str(container.get("name") or "")
            if name in seen:
                yield f".{field}[{name}].name: {seen[name]} has that name in the Pod; write another"
            seen[name] = f"{field}[{name}]"
            for amount in _amounts(container):
                try:
                    quantities.canonical(amount)
                except ValueError as error:
                    yield f".{field}[{name}].resources: {error}"


def _amounts(container: Mapping[str, Any]) -> Iterable[str]:
    given = container.get("resources") or {}
    for field in ("requests", "limits"):
        yield from (str(amount) for amount in (given.get(field) or {}).values())


# --- across components ----------------------------------------------------------------------------------------------


def _cycles(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """The first circle among dependencies, from its first name in the order of the spec."""
    done: set[str] = set()
    for start in needs:
        path: list[str] = []
        found = _circle(start, needs, path, done)
        if found:
            return [
                f"spec.components: dependsOn goes in a circle ({' -> '.join(found)}), so none of them could start; "
                "take one of these dependencies out"
            ]
    return []


def _circle(name: str, needs: Mapping[str, Sequence[str]], path: list[str], done: set[str]) -> list[str]:
    if name in path:
        return [*path[path.index(name) :], name]
    if name in done:
        return []
    path.append(name)
    for other in needs.get(name, ()):
        found = _circle(other, needs, path, done)
        if found:
            return found
    path.pop()
    done.add(name)
    return []


def _routes(components: Sequence[Component], place: Place | None) -> Iterable[str]:
    domain = (place.spec.ingress.domain if place is not None and place.spec.ingress is not None else None) or ""
    seen: dict[tuple[str, str], str] = {}
    for component in components:
        where = f"spec.components[{component.name}].routes"
        for number, route in enumerate(component.routes or ()):
            yield from (f"{where}: {problem}" for problem in _route(component, route))
            host = route.host or domain
            first = seen.setdefault((host, route.path), component.name)
            if first != component.name or _earlier(component, number, host, route.path, domain):
                yield (
                    f"spec.components[{component.name}].routes: {host or 'the host'}{route.path} leads to {first} "
                    "already; write another host or path"
                )


# The CEL budget has no room for these under 32 components with 32 routes each.
# Source: https://www.rfc-editor.org/rfc/rfc9110#name-tokens and https://fetch.spec.whatwg.org/#origin-header
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_ORIGIN = re.compile(r"[*]|https?://[A-Za-z0-9*.\[\]:-]+")


def _route(component: Component, route: Route) -> Iterable[str]:
    """What is wrong with a route by itself."""
    if route.port is not None and edge.port_of(component, route) is None and not route.port.isdecimal():
        known = ", ".join(port.name for port in component.ports or ()) or "none"
        yield f"{route.path} leads to port {route.port!r}, and the component has {known}; write the name of one"
    for name, value in ((route.headers.set if route.headers is not None else None) or {}).items():
        if not _TOKEN.fullmatch(name):
            yield f"{route.path} sets {name!r}, which can't be a header's name; write one such as X-Robots-Tag"
        if not value.isprintable():
            yield f"{route.path} sets {name} to more than one line of text; write its value on one line"
    if route.cors is not None:
        yield from (f"{route.path} {problem}" for problem in _cors(route.cors))


def _cors(cors: Cors) -> Iterable[str]:
    for origin in cors.origins:
        if not _ORIGIN.fullmatch(origin):
            yield f"has the origin {origin!r} in cors; write one such as https://app.example.com, without a path"
    for name in (*(cors.methods or ()), *(cors.headers or ())):
        if not _TOKEN.fullmatch(name):
            yield f"has {name!r} in cors, which is no method or header; write one such as GET or X-Requested-With"
    if cors.credentials and "*" in cors.origins:
        yield "lets every origin read answers to signed-in users; name the origins in cors, or leave credentials out"


def _earlier(component: Component, number: int, host: str, path: str, domain: str) -> bool:
    return any((route.host or domain, route.path) == (host, path) for route in (component.routes or ())[:number])


def _secrets(components: Sequence[Component]) -> Iterable[str]:
    seen: dict[str, str] = {}
    for component in components:
        for secret in component.secrets or ():
            yield from _template(secret, f"spec.components[{component.name}].secrets[{secret.name}].template")
            first = seen.setdefault(secret.name, component.name)
            if first != component.name:
                yield (
                    f"spec.components[{component.name}].secrets[{secret.name}]: component {first} makes it already; "
                    "leave it out here, and refer to it by its name"
                )


def _template(secret: GeneratedSecret, where: str) -> Iterable[str]:
    key = storage.generated_key(secret)
    for name, text in (secret.template or {}).items():
        if name == key:
            yield f"{where}: {key} is what is generated; take it out, or name another key in generate.key"
        elif not _DATA_KEY.fullmatch(name):
            yield f"{where}: {name!r} can't be a Secret's key; write letters, digits, '-', '_' and '.'"
        strange = sorted({found for found in names.REFERENCE.findall(text) if found != key})
        if strange:
            yield f"{where}: {name} refers to $({strange[0]}), which isn't generated here; write $({key})"
