"""An Application's plan: its components in each of its environments, and what that makes of its status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from homeport.api import labels
from homeport.api.application import ApplicationSpec
from homeport.api.conditions import Health, Reason, worst_health
from homeport.api.resource import InvalidSpec, Resource
from homeport.outcome import Ok, Outcome, Stalled, Wait, worst
from homeport.plan import edge, names, render
from homeport.plan.health import (
    HEALTHY,
    REPORTING_KINDS,
    UNSCHEDULABLE_GRACE,
    Verdict,
    pod_trouble,
    superseded,
    verdict,
)
from homeport.plan.types import Change, Child, ObjectId, Phase, Place, Verb, Versions
from homeport.plan.world import ApplicationWorld, ChildKey, Desired, Live, Report

App = Resource[ApplicationSpec]


def done_jobs(app: App) -> dict[str, str]:
    """Jobs that have succeeded, from status: ``<environment>/<component>/<migrate|job>`` -> digest."""
    return {entry["id"]: entry["hash"] for entry in app.status.get("doneJobs") or ()}


def desired(app: App, world: ApplicationWorld) -> Desired:
    """Every object that the application wants, in all environments that can be used."""
    problems: list[Outcome] = [missing.outcome for missing in world.missing]
    try:
        render.check(app.spec, world.catalog)
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
    done = _done_and_gone(app, world.live)
    for place in world.places:
        try:
            rendered = render.render(
                app, place, world.versions.get(place.name, Versions()), done, catalog=world.catalog
            )
            for component in render.components(app, place.name, world.catalog):
                if component.depends_on:
                    needs[place.name, component.name] = tuple(component.depends_on)
        except InvalidSpec as error:
            problems.append(Stalled(Reason.INVALID_SPEC, str(error)))
            unplanned.add(place.name)
            continue
        claimed.extend(claims(rendered))
        taken = _taken_hosts(rendered, place, world)
        problems.extend(taken.values())
        children.extend(child for child in rendered if child.id not in taken)
        held_back |= _still_served([child for child in rendered if child.id in taken], world)
    return Desired(
        tuple(children),
        tuple(problems),
        needs,
        spared=_spared(world, unplanned) | held_back,
        unplanned=frozenset(unplanned),
        places=tuple(world.places),
        claims=tuple(claimed),
    )


def _still_served(taken: Sequence[Child], world: ApplicationWorld) -> frozenset[ObjectId]:
    """Ingresses that can't be changed as wanted, because a new route of theirs is somebody else's: as they are, they
    go on serving the routes that are still wanted, unless one that they have is the other's by now."""
    out = set()
    for child in taken:
        found = world.live.get((child.cluster, child.id))
        if found is None:
            continue
        served = set(claims([Child(dict(found), cluster=child.cluster)]))
        if served & set(claims([child])) and not any(claim in world.hosts_taken for claim in served):
            out.add(child.id)
    return frozenset(out)


def _spared(world: ApplicationWorld, unplanned: set[str]) -> frozenset[ObjectId]:
    """What is there in environments of which nothing can be told for now."""
    unknown = unplanned | {entry.name for entry in world.missing if not entry.known}
    if not unknown:
        return frozenset()
    return frozenset(
        key[1]
        for key, found in world.live.items()
        if "" in unknown or (found["metadata"].get("labels") or {}).get(labels.ENVIRONMENT) in unknown
    )


def _done_and_gone(app: App, live: Mapping[ChildKey, Live]) -> dict[str, str]:
    """Jobs that never run again and aren't there any more. One that is there stays, with its Pods' logs, until what
    it runs changes: it is wanted as it is."""
    there = set()
    for (_, found), body in live.items():
        if found.kind == "Job":
            marks = body["metadata"].get("labels") or {}
            there.add(
                (marks.get(labels.ENVIRONMENT), marks.get(labels.COMPONENT), found.name[-names.JOB_HASH_LENGTH :])
            )
    out = {}
    for key, value in done_jobs(app).items():
        environment, component, _ = key.split("/")
        if (environment, component, value[: names.JOB_HASH_LENGTH]) not in there:
            out[key] = value
    return out


def claims(children: Sequence[Child]) -> list[tuple[str, str, str]]:
    """The (cluster, host, path) that the Ingresses among ``children`` claim."""
    out: list[tuple[str, str, str]] = []
    for child in children:
        if child.manifest["kind"] != "Ingress":
            continue
        # Whoever writes an Ingress by hand, or patches one, may leave anything out that Kubernetes lets them.
        for rule in (child.manifest.get("spec") or {}).get("rules") or ():
            paths = (rule.get("http") or {}).get("paths") or ()
            # A prefix means the same with and without a slash at its end.
            routes = (str(path.get("path") or "/").rstrip("/") or "/" for path in paths)
            out.extend((_place_of_claims(child.cluster), rule.get("host") or "", route) for route in routes)
    return out


def _place_of_claims(cluster: str) -> str:
    """The cluster that a host is claimed in, whichever project's connection leads there."""
    return cluster.rpartition(":")[2]


def _taken_hosts(children: Sequence[Child], place: Place, world: ApplicationWorld) -> dict[ObjectId, Outcome]:
    """The Ingresses that claim what another application has: they are left out until it lets go."""
    out: dict[ObjectId, Outcome] = {}
    for child in children:
        for claim in claims([child]):
            if claim in world.hosts_taken:
                _, host, path = claim
                out[child.id] = Stalled(
                    Reason.HOST_TAKEN,
                    f"{place.name}: {host or 'any host'}{path} is served by {world.hosts_taken[claim]}; "
                    "write another host or path in routes, or remove it there",
                )
    return out


# --- status ---------------------------------------------------------------------------------------------------------


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
    if report.pruning:
        left = ", ".join(entry.shown for entry in report.pruning[:3])
        outcomes.append(Wait(Reason.PROGRESSING, f"removing {left}"))
    fields: dict[str, Any] = {"environments": environments}
    done = _done(app, world, report.changes)
    if done:
        fields["doneJobs"] = [{"id": key, "hash": value} for key, value in sorted(done.items())]
    if environments:
        fields["readyReplicas"] = f"{totals[0]}/{totals[1]}"
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
        if not wanted.places:
            return fields, Wait(
                Reason.DEPENDENCY_NOT_READY,
                f"project {app.namespace} has no environment yet; create one, and this goes on by itself",
            )
        outcome = _all_well(app, wanted.places, world.catalog, outcome)
    return fields, outcome


def _replacements_left(report: Report) -> bool:
    """Whether a replacement was asked for and hasn't been made: the token counts until it has. Claims never are."""
    return any(
        change.verb is Verb.REPLACE
        and change.id.kind != "PersistentVolumeClaim"
        and (change.cluster, change.id) not in report.applied
        for change in report.changes
    )


def _all_well(app: App, places: Sequence[Place], catalog: render.Catalog | None, outcome: Ok) -> Ok:
    if all(place.archived for place in places):
        return Ok("archived: scaled to zero, data kept", outcome.after, Reason.ARCHIVED)
    where = places[0].name if len(places) == 1 else f"{len(places)} environments"
    count = len(render.components(app, places[0].name, catalog))
    text = f"{count} component{'s' if count != 1 else ''} ready in {where}{_left_out(app, places, catalog)}"
    return Ok(text, outcome.after)


def _left_out(app: App, places: Sequence[Place], catalog: render.Catalog | None) -> str:
    """What is declared and not carried out, because an ingress controller can't be told: the truth, though Ready."""
    parts: dict[str, None] = {}
    for place in places:
        settings = place.spec.ingress
        class_name = settings.class_name if settings is not None else None
        for component in render.components(app, place.name, catalog):
            for name in edge.left_out(component, class_name):
                parts[f"{component.name}.routes.{name} (ingress class {class_name or 'default'})"] = None
    return f"; not carried out: {', '.join(parts)}" if parts else ""


def _by_component(changes: Sequence[Change]) -> dict[tuple[str, str], list[Change]]:
    out: dict[tuple[str, str], list[Change]] = {}
    for change in changes:
        if change.child is not None:
            out.setdefault((change.child.environment, change.child.component), []).append(change)
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
        judged = _component(place, component.name, changes, world, report)
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


def abandoned(world: ApplicationWorld) -> list[tuple[str, Live]]:
    """Pods that can't start and are of a version that their StatefulSet has left: (cluster, Pod).

    Its controller waits for them to become ready before it replaces them, which they never do.
    Source: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback
    """
    out: list[tuple[str, Live]] = []
    for (cluster, found), live in world.live.items():
        if found.kind == "StatefulSet":
            marks = live["metadata"].get("labels") or {}
            key = marks.get(labels.ENVIRONMENT, ""), marks.get(labels.COMPONENT, "")
            out.extend((cluster, pod) for pod in superseded(live, world.pods.get(key, ())))
    return out


def _component(place: Place, name: str, changes: Sequence[Change], world: ApplicationWorld, report: Report) -> Verdict:
    """How one component is: the worst of its objects, with its Pods' own words for what is stuck."""
    result = Verdict(Health.HEALTHY)
    ready = total = 0
    for change in changes:
        child = change.child
        assert child is not None
        key = (child.cluster, change.id)
        judged = _object(change, report.held.get(key), key in report.applied)
        if child.phase in (Phase.RUN, Phase.MIGRATE):
            if child.phase is Phase.RUN:
                ready, total = ready + judged.ready, total + judged.desired
            if judged.health is Health.PROGRESSING and change.id.kind != "Job":
                trouble = pod_trouble(world.pods.get((place.name, name), ()), world.now)
                if trouble:
                    judged = Verdict(Health.DEGRADED, trouble)
        if worst_health([result.health, judged.health]) is not result.health:
            result = judged
    return Verdict(result.health, result.message, ready, total)


def _object(change: Change, held: str | None, applied: bool) -> Verdict:
    if held is not None:
        seen = verdict(change.live) if change.live is not None else Verdict(Health.PROGRESSING)
        return Verdict(Health.PROGRESSING, held, seen.ready, seen.desired or _replicas(change))
    if applied and change.id.kind not in REPORTING_KINDS:
        return HEALTHY
    if change.live is None:
        return Verdict(Health.PROGRESSING, f"{change.id.kind} is being made", 0, _replicas(change))
    seen = verdict(change.live)
    if applied or change.verb is not Verb.NOTHING:
        return Verdict(Health.PROGRESSING, f"{change.id.kind} is being updated", seen.ready, seen.desired)
    return seen


def _replicas(change: Change) -> int:
    child = change.child
    if child is None or child.phase is not Phase.RUN:
        return 0
    if child.scale_to is not None:
        return child.scale_to
    if change.id.kind in ("Deployment", "StatefulSet"):
        return int((child.manifest.get("spec") or {}).get("replicas", 1))
    return 1 if change.id.kind == "Job" else 0


def _done(app: App, world: ApplicationWorld, changes: Sequence[Change]) -> dict[str, str]:
    """Jobs that never run again, by what ran; those of environments and components that are gone are forgotten.

    An environment that can't be used for now isn't gone: what ran in it must not run again when it is back.
    """
    known = {component.name for component in app.spec.components}
    # What catalog items make is called <name>-<part>.
    items = tuple(f"{component.name}-" for component in app.spec.components if component.catalog is not None)
    there = {place.name for place in world.places} | {missing.name for missing in world.missing}
    out = {}
    for key, value in done_jobs(app).items():
        environment, component, _ = key.split("/")
        if (component in known or component.startswith(items)) and (environment in there or "" in there):
            out[key] = value
    for change in changes:
        child = change.child
        if child is None or child.job_hash is None or change.live is None:
            continue
        if verdict(change.live).health is Health.HEALTHY and change.id.kind == "Job":
            part = "migrate" if child.phase is Phase.MIGRATE else "job"
            out[f"{child.environment}/{child.component}/{part}"] = child.job_hash
    return out
