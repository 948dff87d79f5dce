"""What an Application's status says: how each environment is, and how the reconciliation ended. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from homeport.api.component import RUNNING_TYPES
from homeport.api.conditions import Health, Reason, worst_health
from homeport.outcome import Ok, Outcome, Wait, worst
from homeport.plan import render
from homeport.plan.application import sources
from homeport.plan.application_components import component_health
from homeport.plan.application_jobs import App, done, done_entry
from homeport.plan.health import SCALED_TO_ZERO, UNSCHEDULABLE_GRACE, Verdict, pod_trouble, verdict
from homeport.plan.proxmox_app import guests
from homeport.plan.types import Change, Place, Verb
from homeport.plan.world import ApplicationWorld, Desired, Report

SOURCES_KEPT = 2048
"""How many catalog items' sources are remembered, as the schema of the status has it."""
GOES_AFTER = 0.5
"""Seconds after which a container that is done is looked at again, and removed: our own status wakes nobody."""


def status(app: App, world: ApplicationWorld, wanted: Desired, report: Report) -> tuple[dict[str, Any], Outcome]:
    """The kind's own status fields, and how the reconciliation ended."""
    by_component = _by_component(report.changes)
    environments = []
    outcomes: list[Outcome] = [*wanted.problems, *report.problems]
    totals = [0, 0]
    for place in wanted.places:
        if place.name in wanted.unplanned:
            state, outcome = _as_it_was(app, place), None
        else:
            state, outcome = _environment(app, place, world, report, by_component)
        environments.append(state)
        if outcome is not None:
            outcomes.append(outcome)
        totals[0] += sum(component["ready"] for component in state["components"])
        totals[1] += sum(component["desired"] for component in state["components"])
    outcomes += _going(report)
    fields: dict[str, Any] = {"environments": environments}
    succeeded = done(app, world, report.changes)
    if succeeded:
        fields["doneJobs"] = [done_entry(key, digests) for key, digests in sorted(succeeded.items())]
    if environments:
        fields["readyReplicas"] = f"{totals[0]}/{totals[1]}"
    fields |= _sources(app, world, wanted)
    url = next((state["url"] for state in environments if state.get("url")), None)
    if url:
        fields["url"] = url
    token = app.annotations.get("homeport.dev/replace-at")
    if token and not _replacements_left(report):
        fields["lastReplaceAt"] = token
    elif app.status.get("lastReplaceAt"):
        fields["lastReplaceAt"] = app.status["lastReplaceAt"]
    outcome = worst(outcomes)
    if isinstance(outcome, Ok):
        if not wanted.places and not world.archived:
            text = f"project {app.namespace} has no environment yet; create one, and this goes on by itself"
            if app.spec.environments:
                text = "spec.environments lists nothing but templates, in which nothing runs; list another environment"
            return fields, Wait(Reason.DEPENDENCY_NOT_READY, text)
        outcome = _all_well(app, wanted.places, world.catalog, outcome, environments)
    return fields, outcome


def _going(report: Report) -> list[Outcome]:
    """What is being removed, and what will be as soon as the status says that it is done."""
    out: list[Outcome] = []
    if report.pruning:
        out.append(Wait(Reason.PROGRESSING, "removing " + ", ".join(entry.shown for entry in report.pruning[:3])))
    if any(_is_done_container(change) for change in report.changes):
        out.append(Ok(after=GOES_AFTER))
    return out


def _is_done_container(change: Change) -> bool:
    """Whether it is a container that ran once and succeeded: once the status has that, nobody wants it any more."""
    child = change.child
    if child is None or child.job_hash is None or change.id.kind != guests.KIND or change.live is None:
        return False
    return verdict(change.live).health is Health.HEALTHY


def _replacements_left(report: Report) -> bool:
    """Whether a replacement was asked for and hasn't been made: the token counts until it has. Claims never are."""
    return any(
        change.verb is Verb.REPLACE
        and change.id.kind != "PersistentVolumeClaim"
        and (change.cluster, change.id) not in report.applied
        for change in report.changes
    )


def _all_well(
    app: App,
    places: Sequence[Place],
    catalog: render.Catalog | None,
    outcome: Ok,
    states: Sequence[Mapping[str, Any]],
) -> Ok:
    if all(place.archived for place in places):
        return Ok("archived: scaled to zero, data kept", outcome.after, Reason.ARCHIVED)
    where = places[0].name if len(places) == 1 else f"{len(places)} environments"
    counts = sorted({len(render.components(app, place.name, catalog)) for place in places})
    count = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    text = f"{count} component{'s' if count != '1' else ''} ready in {where}{_at_rest(states)}"
    return Ok(text + _left_out(app, places, catalog), outcome.after)


def _at_rest(states: Sequence[Mapping[str, Any]]) -> str:
    """What is as declared and doesn't run, or not in its newest version, because somebody wants that."""
    resting = [
        f"; {state['name']}/{component['name']}: {component['message']}"
        for state in states
        for component in state["components"]
        if component["health"] == Health.SUSPENDED and component.get("message")
    ]
    more = f"; and {len(resting) - 3} more" if len(resting) > 3 else ""
    return "".join(resting[:3]) + more


def _left_out(app: App, places: Sequence[Place], catalog: render.Catalog | None) -> str:
    """What is declared and not carried out, because what is to do it can't be told: the truth, though Ready."""
    parts: dict[str, list[str]] = {}
    for place in places:
        components = render.components(app, place.name, catalog)
        for component in components:
            for setting, why in render.left_out(component, place, len(components) > 1).items():
                found = parts.setdefault(why, [])
                if (name := f"{component.name}.{setting}") not in found:
                    found.append(name)
    return "".join(f"; not carried out: {', '.join(found)} ({why})" for why, found in parts.items())


def _by_component(changes: Sequence[Change]) -> dict[tuple[str, str], list[Change]]:
    out: dict[tuple[str, str], list[Change]] = {}
    for change in changes:
        if change.child is not None:
            for name in change.child.components:
                out.setdefault((change.child.environment, name), []).append(change)
    return out


def _as_it_was(app: App, place: Place) -> dict[str, Any]:
    """The state of an environment in which the spec can't be carried out: what runs there runs on."""
    known = {state["name"]: state for state in app.status.get("environments") or ()}
    version = render.version_in(app.spec, place.name)
    fresh = {"name": place.name, "version": version, "health": str(Health.UNKNOWN), "components": []}
    return {**known.get(place.name, fresh), "ready": False, "message": "the spec can't be carried out here"}


def _environment(
    app: App,
    place: Place,
    world: ApplicationWorld,
    report: Report,
    by_component: Mapping[tuple[str, str], list[Change]],
) -> tuple[dict[str, Any], Outcome | None]:
    states, verdicts = [], []
    for component in render.components(app, place.name, world.catalog):
        changes = by_component.get((place.name, component.name), [])
        judged = component_health(place, component.name, changes, world, report)
        if place.on_proxmox and component.type in RUNNING_TYPES and judged == Verdict(Health.HEALTHY):
            # Nothing runs of it: the containers that are left, if any, are stopped and hold its data.
            judged = Verdict(Health.SUSPENDED, SCALED_TO_ZERO)
        verdicts.append((component.name, judged))
        state: dict[str, Any] = {
            "name": component.name,
            "ready": judged.ready,
            "desired": judged.desired,
            "health": str(judged.health),
        }
        if judged.message:
            state["message"] = judged.message[:1024]
        states.append(state)
    health = worst_health([judged.health for _, judged in verdicts])
    outcome = _outcome(place, verdicts, world)
    out: dict[str, Any] = {
        "name": place.name,
        "version": render.version_in(app.spec, place.name),
        "ready": outcome is None,
        "health": str(Health.SUSPENDED if place.archived and outcome is None else health),
        "components": states,
    }
    url = render.url(app, place, world.catalog)
    if url:
        out["url"] = url
    if outcome is not None:
        out["message"] = outcome.message[:2048]
    return out, outcome


def _outcome(place: Place, verdicts: Sequence[tuple[str, Verdict]], world: ApplicationWorld) -> Wait | None:
    """What keeps the environment from being ready: what is broken before what is only under way."""
    broken = [(name, judged) for name, judged in verdicts if judged.health is Health.DEGRADED]
    if broken:
        name, judged = broken[0]
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        return Wait(Reason.HEALTH_CHECK_FAILED, f"{place.name}/{name}: {judged.message}{more}")
    going = [(name, judged) for name, judged in verdicts if judged.health in (Health.PROGRESSING, Health.UNKNOWN)]
    if going:
        name, judged = next(((n, j) for n, j in going if not j.message.startswith("waits for ")), going[0])
        more = f" ({len(verdicts) - len(going)} of {len(verdicts)} components ready)" if len(verdicts) > 1 else ""
        # A Pod that can't be scheduled sends no more events: look when its time of grace is over.
        stuck = any(pod_trouble(world.pods.get((place.name, name), ()), None) for name, _ in going)
        after = UNSCHEDULABLE_GRACE if stuck else None
        return Wait(Reason.PROGRESSING, f"{place.name}/{name}: {judged.message}{more}", after)
    return None


def _sources(app: App, world: ApplicationWorld, wanted: Desired) -> dict[str, Any]:
    """Where they come from now. What wasn't used isn't remembered anew, and what is gone isn't forgotten."""
    named = {part.catalog.name for part in render.catalog_components(app.spec) if part.catalog is not None}
    known = sources(app)
    if world.catalog is not None and wanted.complete and wanted.places:
        known |= world.catalog.sources
    used = [{"name": name, "source": known[name]} for name in sorted(named & known.keys())]
    return {"catalog": used[:SOURCES_KEPT]} if used else {}
