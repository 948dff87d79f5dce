"""From an Application to the objects of one environment, which become Pods or, on Proxmox VE, LXC containers.

One page: components of the environment -> their objects -> patches -> names of Jobs -> Pod Security. Pure: the same
application, place, versions and done Jobs always give the same objects, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any

from homeport.api.application import ApplicationEnvironment, ApplicationSpec
from homeport.api.component import Component
from homeport.api.resource import InvalidSpec, Resource
from homeport.plan import catalog as catalog_items
from homeport.plan import (
    checks,
    edge,
    edge_gateway,
    edge_ingress,
    jobs,
    monitoring,
    names,
    network,
    overrides,
    patches,
    podsecurity,
    routing,
    scaling,
    storage,
    workloads,
)
from homeport.plan.proxmox_app import checks as proxmox_checks
from homeport.plan.proxmox_app import containers as proxmox_containers
from homeport.plan.proxmox_app import objects as proxmox_objects
from homeport.plan.proxmox_app import omissions
from homeport.plan.proxmox_app.guests import NO_GUESTS, Guests
from homeport.plan.scope import ObjectRef, Scope, scope
from homeport.plan.types import Child, Place, Versions

Catalog = Callable[[Component, str], tuple[Component, ...]]
"""Turns a component that names a catalog item into those that it stands for, its own first; the text is the
application's name prefix. Raises InvalidSpec."""

COMPONENTS = 32
"""How many components an application may have, those that catalog items make included."""

NO_VERSIONS = Versions()


def render(
    app: Resource[ApplicationSpec],
    place: Place,
    versions: Versions = NO_VERSIONS,
    done: jobs.Done | None = None,
    *,
    catalog: Catalog | None = None,
    guests: Guests = NO_GUESTS,
    resting: Set[str] = frozenset(),
) -> tuple[Child, ...]:
    """Every object that ``app`` wants in ``place``. Raises InvalidSpec with what to write instead.

    ``versions`` are those of Secrets and ConfigMaps that others make; ``done`` has the digests of Jobs that have
    succeeded (``<environment>/<component>/<migrate|job>``), which aren't rendered again; ``guests`` are the
    application's containers that are there, on Proxmox VE; ``resting`` are components that don't run for now.
    """
    parts = tuple(_at_rest(part) if part.name in resting else part for part in components(app, place.name, catalog))
    for part in parts:
        if part.catalog is not None:
            raise InvalidSpec([_no_catalog(part)])
    problems = checks.problems(app.spec, parts, place)
    if place.on_proxmox:
        problems += proxmox_checks.problems(app, parts, place, runtimes_of(catalog))
    if problems:
        raise InvalidSpec(problems)
    version = version_in(app.spec, place.name)
    made: dict[ObjectRef, str] = {
        ("Secret", secret.name): names.digest_of(secret.template) if secret.template else ""
        for part in parts
        for secret in part.secrets or ()
    }
    scopes = [scope(app, place, part, version=version, versions=versions, made=made) for part in parts]
    if place.on_proxmox:
        hosts = proxmox_containers.hosts(scopes)
        children = [child for of in scopes for child in proxmox_objects.of(of, hosts, guests, done or {})]
        children += proxmox_objects.shared(scopes, hosts)
    else:
        children = [child for of in scopes for child in _objects(of)]
    entry = environment(app.spec, place.name)
    if entry is not None and entry.patches:
        children = patches.patched(children, entry)
    podsecurity.enforce(children, place)
    return _finished(children, done or {})


def _at_rest(component: Component) -> Component:
    """A component as it is while its data is restored: nothing of it starts, and all else stays."""
    return component.model_copy(update={"suspend": True} if component.type == "cron" else {"replicas": 0})


def _objects(of: Scope) -> Iterable[Child]:
    """The objects of one component."""
    component, place = of.component, of.place
    yield from storage.secret_children(of)
    yield from storage.file_children(of)
    if place.spec.isolation == "Strict":
        yield network.policy(of)
    if component.type == "stateful":
        yield network.service(of)
    else:
        yield from storage.claim_children(of)
        if component.type == "service":
            yield network.service(of)
    yield from monitoring.children(of)
    if not of.runs:
        if component.type == "cron":
            yield jobs.cron_job(of)
        elif not place.archived:
            yield jobs.job(of)
        return
    if component.migrate is not None and not place.archived:
        yield jobs.migration(of)
    yield workloads.workload(of)
    if of.autoscaled:
        yield scaling.autoscaler(of)
    if scaling.may_be_several(of):
        yield scaling.disruption_budget(of)
    yield from routing.routes(of)


def _finished(children: Iterable[Child], done: jobs.Done) -> tuple[Child, ...]:
    """The children with Jobs under their own names and without those that are done. Raises InvalidSpec for twins."""
    out: list[Child] = []
    seen: dict[tuple[str, str], Child] = {}
    for child in children:
        final = jobs.named(child, done) if child.manifest["kind"] == "Job" else child
        if final is None:
            continue
        key = final.manifest["kind"], final.manifest["metadata"]["name"]
        twin = seen.setdefault(key, final)
        if twin is not final:
            raise InvalidSpec([checks.twins(*key, twin.component, final.component)])
        out.append(final)
    return tuple(out)


# --- what an application is in one environment ----------------------------------------------------------------------


def environment(spec: ApplicationSpec, name: str) -> ApplicationEnvironment | None:
    """The application's own words about an environment, if it has any."""
    for entry in spec.environments or ():
        if entry.name == name:
            return entry
    return None


def components(
    app: Resource[ApplicationSpec], environment_name: str, catalog: Catalog | None = None
) -> tuple[Component, ...]:
    """The components as they are in one environment, those of catalog items in the items' places when ``catalog`` is
    there. Raises InvalidSpec, naming the override or item that can't be."""
    return components_of(app.spec, environment_name, catalog)


_MERGED_LIMIT = 512
_merged: dict[tuple[int, str], tuple[ApplicationSpec, Catalog | None, tuple[Component, ...]]] = {}
"""What merging, parsing and expanding gave, by the identity of the frozen spec: one reconciliation asks three times."""


def components_of(
    spec: ApplicationSpec, environment_name: str, catalog: Catalog | None = None
) -> tuple[Component, ...]:
    """As ``components``, for a spec that isn't in a resource."""
    entry = environment(spec, environment_name)
    given = (entry.overrides if entry is not None else None) or {}
    catalog = catalog if uses_catalog(spec) else None
    if not given and catalog is None and all(component.enabled is None for component in spec.components):
        return spec.components
    key = id(spec), environment_name
    known = _merged.get(key)
    if known is not None and known[0] is spec and known[1] is catalog:
        return known[2]
    problems: list[str] = []
    out: list[Component] = []
    off = {component.name for component in spec.components if not _enabled(component, given.get(component.name))}
    for component in spec.components:
        if component.name in off:
            continue
        where = f"spec.environments[{environment_name}].overrides[{component.name}]"
        try:
            out.extend(_effective(component, given.get(component.name), where, catalog, spec.name_prefix or ""))
        except InvalidSpec as error:
            problems.extend(error.problems)
    out = [_without_needs(component, off) for component in out]
    if not problems and catalog is not None:
        problems = _crowded(out)
    if problems:
        raise InvalidSpec(problems)
    if len(_merged) >= _MERGED_LIMIT:
        _merged.pop(next(iter(_merged)))
    _merged[key] = spec, catalog, tuple(out)
    return tuple(out)


def _enabled(component: Component, override: Mapping[str, Any] | None) -> bool:
    """Whether a component of a spec is there in an environment at all."""
    given = override or {}
    own = None if "enabled" in (given.get("without") or ()) else component.enabled
    return given.get("enabled", own) is not False


def _without_needs(component: Component, off: Set[str]) -> Component:
    """The component, waiting for nothing that isn't there."""
    needs = component.depends_on or ()
    if off.isdisjoint(needs):
        return component
    return component.model_copy(update={"depends_on": tuple(name for name in needs if name not in off)})


def _effective(
    component: Component, override: Mapping[str, Any] | None, where: str, catalog: Catalog | None, prefix: str
) -> tuple[Component, ...]:
    """What one component of a spec is in an environment. What an override says of the item's values is for the item,
    the rest for what the item makes."""
    if component.catalog is None or catalog is None:
        return (overrides.overridden(component, override, where) if override else component,)
    values, rest = catalog_items.split(override or {})
    main, *parts = catalog(overrides.overridden(component, values, where) if values else component, prefix)
    return (overrides.overridden(main, rest, where) if rest else main, *parts)


def _crowded(parts: Sequence[Component]) -> list[str]:
    """What is wrong with components together, now that catalog items have added theirs."""
    names = [part.name for part in parts]
    for name in names:
        if names.count(name) > 1:
            return [f"spec.components: a catalog item makes {name}, and there is a component of that name; rename it"]
    if len(parts) > COMPONENTS:
        return [
            f"spec.components: with what catalog items make there are {len(parts)} components, and {COMPONENTS} are "
            "allowed; move some to another Application"
        ]
    missing = [(p.name, need) for p in parts for need in p.depends_on or () if need not in names]
    return [f"spec.components[{name}].dependsOn: there is no component {need}" for name, need in missing]


def uses_catalog(spec: ApplicationSpec) -> bool:
    """Whether any component comes from the catalog."""
    return any(component.catalog is not None for component in spec.components)


def runtimes_of(catalog: Catalog | None) -> Mapping[str, Sequence[str]]:
    """Where catalog items run, by their names, as far as that is known."""
    return catalog.runtimes if isinstance(catalog, catalog_items.Expansion) else {}


def catalog_components(spec: ApplicationSpec) -> tuple[Component, ...]:
    """Every component that names a catalog item, as its values are in any environment: all that has to be rendered."""
    out = [component for component in spec.components if component.catalog is not None]
    for entry in spec.environments or ():
        for component in spec.components if entry.overrides else ():
            values, _ = catalog_items.split((entry.overrides or {}).get(component.name) or {})
            if component.catalog is not None and values:
                try:
                    out.append(overrides.overridden(component, values, ""))
                except InvalidSpec:
                    continue  # it is said where the components are asked for
    return tuple(out)


def version_in(spec: ApplicationSpec, environment_name: str) -> str:
    """The version that is wanted in one environment."""
    entry = environment(spec, environment_name)
    return entry.version if entry is not None and entry.version is not None else spec.version


def target_environments(spec: ApplicationSpec, every: Sequence[str]) -> tuple[str, ...]:
    """Where the application runs: what it lists, or ``every`` environment of the project.

    ``every`` is without templates and previews, which are never part of it. A listed environment may not be there.
    """
    return tuple(every) if spec.environments is None else tuple(entry.name for entry in spec.environments)


def url(app: Resource[ApplicationSpec], place: Place, catalog: Catalog | None = None) -> str | None:
    """The address of the application's first route with a host; None when nothing leads to it from outside."""
    settings = place.spec.ingress
    for component in components(app, place.name, catalog):
        for route in component.routes or ():
            host = edge.host_of(place.spec, route)
            if host and not host.startswith("*"):
                return f"{'https' if edge.is_secure(settings) else 'http'}://{host}"
    return None


def left_out(component: Component, place: Place, siblings: bool = True) -> dict[str, str]:
    """What a component declares and can't be carried out in ``place``: the setting, and what to do about it.
    ``siblings``: whether there are components that may reach it by its name."""
    out: dict[str, str] = {}
    for route in component.routes or ():
        if edge.uses_gateway(place.spec, place.capabilities, place.way):
            found = edge_gateway.missing(route, place.capabilities)
        else:
            found = edge_ingress.dialect(place).missing(route)
        out |= {f"routes.{setting}": why for setting, why in found.items()}
    out |= monitoring.left_out(component, place)
    return out | omissions.of(component, place, siblings) if place.on_proxmox else out


def _no_catalog(component: Component) -> str:
    item = component.catalog
    assert item is not None
    version = f" version {item.version!r}" if item.version else ""
    return (
        f"spec.components[{component.name}].catalog: the catalog has no item {item.name!r}{version}: "
        "there is no catalog here; write image, ports and volumes instead"
    )


def check(spec: ApplicationSpec, catalog: Catalog | None = None) -> None:
    """What neither the schema nor CEL can know, in every environment that the application names. Raises InvalidSpec."""
    problems: dict[str, None] = {}
    for name in ("", *(entry.name for entry in spec.environments or () if entry.overrides)):
        try:
            parts = components_of(spec, name, catalog)
        except InvalidSpec as error:
            problems |= dict.fromkeys(error.problems)
        else:
            problems |= dict.fromkeys(checks.problems(spec, parts, None))
    for entry in spec.environments or ():
        problems |= dict.fromkeys(patches.problems(entry))
    if problems:
        raise InvalidSpec(list(problems))
