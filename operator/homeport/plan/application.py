"""An Application's plan: its components in each of its environments. Pure.

What that makes of its status is in ``application_status``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.api.resource import InvalidSpec
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan import catalog as catalog_items
from homeport.plan import edge, edge_gateway, render
from homeport.plan.application_jobs import App, done_and_gone
from homeport.plan.proxmox_app import guests
from homeport.plan.route_claims import claims, still_served, taken_hosts
from homeport.plan.types import Child, ObjectId, Place, Versions
from homeport.plan.world import ApplicationWorld, Desired, Live, Missing


def desired(app: App, world: ApplicationWorld) -> Desired:
    """Every object that the application wants, in all environments that can be used."""
    problems: list[Outcome] = [missing.outcome for missing in world.missing if not _at_peace(missing, world)]
    if world.catalog is not None and world.catalog.waits:
        return Desired(
            problems=(Wait(Reason.DEPENDENCY_NOT_READY, "; ".join(world.catalog.waits)),),
            complete=False,
            unplanned=frozenset(place.name for place in world.places),
            places=tuple(world.places),
        )
    try:
        _check(app, world)
    except InvalidSpec as error:
        return Desired(
            problems=(Stalled(Reason.INVALID_SPEC, str(error)),),
            complete=False,
            unplanned=frozenset(place.name for place in world.places),
            places=tuple(world.places),
        )
    children: list[Child] = []
    claimed: list[tuple[str, str, str]] = []
    needs: dict[tuple[str, str], tuple[str, ...]] = {}
    unplanned: set[str] = set()
    held_back: frozenset[ObjectId] = frozenset()
    done = done_and_gone(app, world.live)
    for place in world.places:
        try:
            there = guests.of(world.live, place.name) if place.on_proxmox else guests.NO_GUESTS
            rendered = render.render(
                app, place, world.versions.get(place.name, Versions()), done, catalog=world.catalog, guests=there,
                resting=frozenset(name for where, name in world.quiesced if where == place.name),
            )  # fmt: skip
            _check_quota(place, rendered, world)
            for component in render.components(app, place.name, world.catalog):
                if component.depends_on:
                    needs[place.name, component.name] = tuple(component.depends_on)
        except InvalidSpec as error:
            problems.append(Stalled(Reason.INVALID_SPEC, str(error)))
            unplanned.add(place.name)
            continue
        claimed.extend(claims(rendered))
        if _lacks_gateway(app, place, world.catalog):
            problems.append(Wait(Reason.DEPENDENCY_NOT_READY, f"{place.name}: {edge_gateway.NOT_SERVED}"))
            # What serves until then goes on.
            held_back |= {
                key[1]
                for key, found in world.live.items()
                if key[1].kind == "Ingress" and key[0] == place.cluster and _environment_of(found) == place.name
            }
        taken = taken_hosts(rendered, place, world)
        problems.extend(taken.values())
        children.extend(child for child in rendered if child.id not in taken)
        held_back |= still_served([child for child in rendered if child.id in taken], world)
    return Desired(
        tuple(children),
        tuple(problems),
        needs,
        spared=_spared(world, unplanned) | held_back,
        unplanned=frozenset(unplanned),
        places=tuple(world.places),
        claims=tuple(claimed),
    )


def _check(app: App, world: ApplicationWorld) -> None:
    """What can be told before any environment is looked at. Raises InvalidSpec."""
    if world.catalog is not None:
        accepted = app.annotations.get(labels.CATALOG_SOURCE, "")
        swapped = catalog_items.swapped(app.namespace, sources(app), world.catalog.sources, accepted)
        if swapped:
            raise InvalidSpec(swapped)
    render.check(app.spec, world.catalog)


def _check_quota(place: Place, rendered: Sequence[Child], world: ApplicationWorld) -> None:
    """Containers have no admission that counts their CPU and memory: the plan does. Raises InvalidSpec."""
    bound = place.spec.quota
    if not place.on_proxmox or bound is None:
        return
    others = world.neighbours.get(place.name, guests.Used())
    problem = guests.over_quota(bound, [child.manifest for child in rendered], others, place.name)
    if problem:
        raise InvalidSpec([problem])


def sources(app: App) -> dict[str, str]:
    """Where its catalog items came from when they were last used, from status."""
    return {entry["name"]: entry["source"] for entry in app.status.get("catalog") or ()}


def _at_peace(missing: Missing, world: ApplicationWorld) -> bool:
    """Whether it makes no difference that an environment isn't there: nothing would run in it, and nothing does."""
    if not (world.archived and missing.absent):
        return False
    there = ((found["metadata"].get("labels") or {}).get(labels.ENVIRONMENT) for found in world.live.values())
    return missing.name not in there


def _spared(world: ApplicationWorld, unplanned: set[str]) -> frozenset[ObjectId]:
    """What is there in environments of which nothing can be told for now."""
    unknown = unplanned | {entry.name for entry in world.missing if not entry.known}
    if not unknown:
        return frozenset()
    return frozenset(key[1] for key, found in world.live.items() if "" in unknown or _environment_of(found) in unknown)


def _environment_of(found: Live) -> str | None:
    marks: Mapping[str, str] = found["metadata"].get("labels") or {}
    return marks.get(labels.ENVIRONMENT)


def _lacks_gateway(app: App, place: Place, catalog: render.Catalog | None) -> bool:
    """Whether routes are to be HTTPRoutes, and the cluster doesn't know such a thing."""
    there = place.capabilities
    if not edge.uses_gateway(place.spec, there, place.way) or edge_gateway.is_there(there):
        return False
    return any(component.routes for component in render.components(app, place.name, catalog))
