"""A Project's plan: its members' rights, and what its environments and applications make of its status."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, TypeVar

import semver

from homeport.api import labels
from homeport.api.application import ApplicationSpec
from homeport.api.base import Model
from homeport.api.conditions import Health, Reason, worst_health
from homeport.api.project import Milestone, ProjectSpec, Requirement
from homeport.api.resource import Resource
from homeport.outcome import Ok, Outcome, Stalled, Wait, worst
from homeport.plan.backup import final
from homeport.plan.environment_objects import owned, role_bindings
from homeport.plan.types import Child
from homeport.plan.world import Desired, ProjectWorld, Report

Project = Resource[ProjectSpec]
SpecT = TypeVar("SpecT", bound=Model)
ACTIVITY_LIMIT = 50


def desired(project: Project, world: ProjectWorld) -> Desired:
    """Every object that the project wants: RoleBindings in its own namespace."""
    if project.name != project.namespace:
        return Desired(
            problems=(
                Stalled(
                    Reason.INVALID_SPEC,
                    f"a Project is named as its namespace: name it {project.namespace}, or create it in a namespace "
                    f"called {project.name}",
                ),
            ),
            complete=False,
        )
    holder = None
    if world.namespace is not None:
        # It may be another control plane's, too.
        holder = labels.owner_of(world.namespace, labels.plane_of(world.namespace))
    if holder is not None:
        return Desired(
            problems=(
                Stalled(
                    Reason.NAMESPACE_TAKEN,
                    f"namespace {project.namespace} is where {holder.kind} {holder.namespace}/{holder.name} runs; a "
                    "project needs a namespace of its own: create one and put the Project there",
                ),
            ),
            complete=False,
        )
    bindings = role_bindings(project.key, project.name, project.namespace, project.spec.members or (), False, None)
    return Desired(tuple(Child(binding) for binding in bindings))


def namespace_marks(project: Project, archived: bool) -> dict[str, Any]:
    """The label and annotation on the project's own namespace, which the admission policies read."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": project.namespace,
            "labels": {labels.PROJECT: project.name},
            "annotations": {labels.ARCHIVED: "true" if archived else "false"},
        },
    }


def lasting(resources: Iterable[Resource[SpecT]]) -> list[Resource[SpecT]]:
    """What isn't a pull request's preview: those come and go, and what is wrong with one is no fault of the project."""
    return [found for found in resources if labels.PREVIEW_OF not in found.labels]


def is_archived(project: Project, world: ProjectWorld) -> bool:
    """Whether archiving is over: every application says that it is scaled to zero."""
    archived = all(_ready_reason(app) == Reason.ARCHIVED for app in world.applications)
    return final.lets_go(project) and archived and not world.invalid


def status(project: Project, world: ProjectWorld, wanted: Desired, report: Report) -> tuple[dict[str, Any], Outcome]:
    """The kind's own status fields, and how the reconciliation ended."""
    applications = lasting(world.applications)
    environments = [
        {"name": env.name, "ready": _is_ready(env)} for env in sorted(lasting(world.environments), key=lambda e: e.name)
    ]
    ready = sum(_is_ready(app) for app in applications)
    milestones = [milestone_status(m, world) for m in project.spec.milestones or ()]
    fields: dict[str, Any] = {
        "health": str(health(project, world)),
        "applications": {"ready": ready, "total": len(applications)},
        "environments": environments,
    }
    if milestones:
        fields["milestones"] = milestones
        fields["progress"] = progress(project.spec.milestones or (), milestones)
    activity = merge_activity(project.status.get("activity") or (), world.activity)
    if activity:
        fields["activity"] = activity
    last = last_backups(project, world)
    fields |= last.fields
    outcomes: list[Outcome] = [*wanted.problems, *report.problems]
    if last.outcome is not None:
        outcomes.append(last.outcome)
    after = _until_tomorrow(world.now) if milestones else None
    outcome = worst([*outcomes, Ok(after=after)])
    if not isinstance(outcome, Ok):
        return fields, outcome
    if project.spec.archived:
        if not is_archived(project, world):
            left = [app.name for app in world.applications if _ready_reason(app) != Reason.ARCHIVED]
            return fields, Wait(Reason.PROGRESSING, f"archiving: {', '.join(sorted(left)[:5])} not scaled to zero yet")
        return fields, Ok("archived: scaled to zero, data kept", after, Reason.ARCHIVED)
    total, places = len(applications), len(environments)
    text = (
        f"{ready} of {total} application{'s' if total != 1 else ''} ready "
        f"in {places} environment{'s' if places != 1 else ''}"
    )
    return fields, Ok(text, after)


def last_backups(project: Project, world: ProjectWorld) -> final.Step:
    """How far the last backups are that come before archiving or deletion."""
    return final.step(project, world.backups, world.runs, world.now)


def health(project: Project, world: ProjectWorld) -> Health:
    """The worst of what the project holds. Unknown while an application has said nothing yet."""
    if project.spec.archived and is_archived(project, world):
        return Health.SUSPENDED
    values = [application_health(app) for app in lasting(world.applications)]
    values.extend(_environment_health(env) for env in lasting(world.environments))
    if world.invalid:
        values.append(Health.DEGRADED)
    return worst_health(values)


def application_health(app: Resource[ApplicationSpec]) -> Health:
    """An application's health, as its status says."""
    if _stalled(app):
        return Health.DEGRADED
    states = app.status.get("environments") or ()
    if not states:
        return Health.UNKNOWN if _condition(app, "Ready") is None else Health.PROGRESSING
    return worst_health([Health(state.get("health") or "Unknown") for state in states])


def _environment_health(env: Resource[Any]) -> Health:
    if _stalled(env):
        return Health.DEGRADED
    if _is_ready(env):
        return Health.HEALTHY
    return Health.UNKNOWN if _condition(env, "Ready") is None else Health.PROGRESSING


def _condition(resource: Resource[Any], kind: str) -> Mapping[str, Any] | None:
    return next((c for c in resource.status.get("conditions") or () if c.get("type") == kind), None)


def _stalled(resource: Resource[Any]) -> bool:
    found = _condition(resource, "Stalled")
    return found is not None and found.get("status") == "True"


def _is_ready(resource: Resource[Any]) -> bool:
    found = _condition(resource, "Ready")
    return (
        found is not None
        and found.get("status") == "True"
        and resource.status.get("observedGeneration") == resource.generation
    )


def _ready_reason(resource: Resource[Any]) -> str | None:
    found = _condition(resource, "Ready")
    return str(found.get("reason")) if found is not None and _is_ready(resource) else None


# --- milestones -----------------------------------------------------------------------------------------------------


def milestone_status(milestone: Milestone, world: ProjectWorld) -> dict[str, Any]:
    """How far a milestone is: the share of its requirements that hold, or what was ticked by hand."""
    if milestone.requires:
        held = sum(_holds(requirement, world) for requirement in milestone.requires)
        share = 100 * held // len(milestone.requires)
    else:
        share = 100 if milestone.complete else 0
    due = _day(milestone.due_date)
    overdue = due is not None and share < 100 and world.now.date() > due
    return {"name": milestone.name, "progress": share, "overdue": overdue}


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None


def _holds(requirement: Requirement, world: ProjectWorld) -> bool:
    for app in world.applications:
        if app.name != requirement.application:
            continue
        for state in app.status.get("environments") or ():
            if state.get("name") == requirement.environment:
                return bool(state.get("ready")) and in_range(str(state.get("version", "")), requirement.version)
    return False


def in_range(version: str, wanted: str | None) -> bool:
    """Whether a semantic version is in a range such as ``>=1.0.0 <2.0.0``; any version is in no range."""
    if not wanted:
        return True
    try:
        parsed = semver.Version.parse(version)
        return all(parsed.match(term) for term in wanted.replace(",", " ").split())
    except ValueError:
        return False


def progress(milestones: Sequence[Milestone], states: Sequence[Mapping[str, Any]]) -> int:
    """The milestones' progress together, by weight, in percent."""
    total = sum(m.weight for m in milestones)
    done = sum(m.weight * state["progress"] for m, state in zip(milestones, states, strict=True))
    return int(done // total) if total else 0


def _until_tomorrow(now: datetime) -> float:
    tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=1, microsecond=0)
    return (tomorrow - now).total_seconds()


# --- activity -------------------------------------------------------------------------------------------------------


def merge_activity(known: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The newest 50 entries, newest first; an entry that is known already isn't taken twice.

    Both are newest first. Times are whole seconds; within one their order is kept, and ``new`` comes first.
    """
    there = {_identity(entry) for entry in known}
    fresh = {_identity(entry): dict(entry) for entry in new if _identity(entry) not in there}
    entries = [*fresh.values(), *(dict(entry) for entry in known)]
    return sorted(entries, key=lambda entry: str(entry["time"]), reverse=True)[:ACTIVITY_LIMIT]


def _identity(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(entry["time"]), str(entry["object"]), str(entry["verb"])


__all__ = ["desired", "is_archived", "namespace_marks", "owned", "status"]
