"""From an Application to the Kubernetes objects of one environment.

One page: components of the environment -> their objects -> patches -> names of Jobs -> Pod Security. Pure: the same
application, place, versions and done Jobs always give the same objects, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from homeport.api.application import ApplicationEnvironment, ApplicationSpec
from homeport.api.component import Component
from homeport.api.resource import InvalidSpec, Resource
from homeport.plan import checks, jobs, network, overrides, patches, podsecurity, scaling, storage, workloads
from homeport.plan.scope import ObjectRef, Scope, scope
from homeport.plan.types import Child, Place, Versions

Catalog = Callable[[Component], Component]
"""Turns a component that names a catalog item into one that can be rendered. Raises InvalidSpec."""

NO_VERSIONS = Versions()


def render(
    app: Resource[ApplicationSpec],
    place: Place,
    versions: Versions = NO_VERSIONS,
    done: Mapping[str, str] | None = None,
    *,
    catalog: Catalog | None = None,
) -> tuple[Child, ...]:
    """Every object that ``app`` wants in ``place``. Raises InvalidSpec with what to write instead.

    ``versions`` are those of Secrets and ConfigMaps that others make; ``done`` has the digests of Jobs that have
    succeeded (``<environment>/<component>/<migrate|job>``), which aren't rendered again.
    """
    parts = tuple(from_catalog(part, catalog) for part in components(app, place.name))
    problems = checks.problems(app.spec, parts, place)
    if problems:
        raise InvalidSpec(problems)
    version = version_in(app.spec, place.name)
    made: frozenset[ObjectRef] = frozenset(("Secret", secret.name) for part in parts for secret in part.secrets or ())
    children = [
        child
        for part in parts
        for child in _objects(scope(app, place, part, version=version, versions=versions, made=made))
    ]
    entry = environment(app.spec, place.name)
    if entry is not None and entry.patches:
        children = patches.patched(children, entry)
    podsecurity.enforce(children, place)
    return _finished(children, done or {})


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
    if not of.runs:
        if component.type == "cron":
            yield jobs.cron_job(of)
        elif not place.archived:
            yield jobs.job(of)
        return
    if component.migrate is not None and not place.archived:
        yield jobs.migration(of)
    yield workloads.workload(of)
    if not place.archived:
        if component.autoscaling is not None:
            yield scaling.autoscaler(of)
        if of.replicas >= 2:
            yield scaling.disruption_budget(of)
    yield from network.ingresses(of)


def _finished(children: Iterable[Child], done: Mapping[str, str]) -> tuple[Child, ...]:
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


def components(app: Resource[ApplicationSpec], environment_name: str) -> tuple[Component, ...]:
    """The components as they are in one environment. Raises InvalidSpec, naming the override that can't be."""
    return components_of(app.spec, environment_name)


_MERGED_LIMIT = 512
_merged: dict[tuple[int, str], tuple[ApplicationSpec, tuple[Component, ...]]] = {}
"""What merging and parsing overrides gave, by the identity of the frozen spec: one reconciliation asks three times."""


def components_of(spec: ApplicationSpec, environment_name: str) -> tuple[Component, ...]:
    """As ``components``, for a spec that isn't in a resource."""
    entry = environment(spec, environment_name)
    if entry is None or not entry.overrides:
        return spec.components
    key = id(spec), environment_name
    known = _merged.get(key)
    if known is not None and known[0] is spec:
        return known[1]
    problems: list[str] = []
    out: list[Component] = []
    for component in spec.components:
        override = entry.overrides.get(component.name)
        try:
            where = f"spec.environments[{entry.name}].overrides[{component.name}]"
            out.append(component if not override else overrides.overridden(component, override, where))
        except InvalidSpec as error:
            problems.extend(error.problems)
    if problems:
        raise InvalidSpec(problems)
    if len(_merged) >= _MERGED_LIMIT:
        _merged.pop(next(iter(_merged)))
    _merged[key] = spec, tuple(out)
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


def url(app: Resource[ApplicationSpec], place: Place) -> str | None:
    """The address of the application's first route with a host; None when nothing leads to it from outside."""
    settings = place.spec.ingress
    for component in components(app, place.name):
        for route in component.routes or ():
            host = route.host or (settings.domain if settings is not None else None)
            if host and not host.startswith("*"):
                return f"{'https' if settings is not None and settings.tls is not None else 'http'}://{host}"
    return None


def from_catalog(component: Component, catalog: Catalog | None) -> Component:
    """``component`` as its catalog item makes it. Raises InvalidSpec when there is no such item."""
    item = component.catalog
    if item is None:
        return component
    if catalog is not None:
        return catalog(component)
    version = f" version {item.version!r}" if item.version else ""
    raise InvalidSpec(
        [
            f"spec.components[{component.name}].catalog: the catalog has no item {item.name!r}{version}: "
            "this Homeport has no catalog items yet; write image, ports and volumes instead"
        ]
    )


def check(spec: ApplicationSpec) -> None:
    """What neither the schema nor CEL can know, in every environment that the application names. Raises InvalidSpec."""
    problems = dict.fromkeys(checks.problems(spec, spec.components, None))
    for entry in spec.environments or ():
        if entry.overrides:
            try:
                parts = components_of(spec, entry.name)
            except InvalidSpec as error:
                problems |= dict.fromkeys(error.problems)
            else:
                problems |= dict.fromkeys(checks.problems(spec, parts, None))
        problems |= dict.fromkeys(patches.problems(entry))
    if problems:
        raise InvalidSpec(list(problems))
