"""What a source's pull requests come to: previews, plans, comments. One step, taken in each reconciliation.

What the forge says is the truth each time: a preview whose pull request is open no more by its word goes. While it
doesn't say, everything stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from homeport.api import labels
from homeport.api.base import interval_seconds
from homeport.api.conditions import Reason
from homeport.api.environment import EnvironmentSpec
from homeport.api.gitsource import GitSourceSpec
from homeport.api.gitsource import PullRequests as PullRequestsSpec
from homeport.api.labels import OwnerKey
from homeport.api.resource import InvalidSpec, Resource
from homeport.drivers.forge import api_url, repository_of
from homeport.engine.gitops import previewobjects as objects
from homeport.engine.gitops.admission import Rules
from homeport.engine.gitops.previewobjects import Standing
from homeport.engine.gitops.pullrequests import Ask, PullRequests, Seen
from homeport.outcome import Outcome, Stalled, Transient, Wait, worst
from homeport.plan.gitops import previews as plan
from homeport.plan.gitops.build import Built
from homeport.plan.gitops.comment import PreviewView
from homeport.plan.gitops.previews import Known, Stage, Ticket
from homeport.plan.gitops.pulls import Pull

if TYPE_CHECKING:
    from homeport.engine.context import Context

Source = Resource[GitSourceSpec]
BuildPull = Callable[[Pull], Built | Outcome | None]
"""Builds a pull request's head without anything secret: what it holds, why it can't be built, or None while that is
found out."""
TITLE = 256
MESSAGE = 512


@dataclass
class Told:
    """What the source's status says of its pull requests."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    problem: Outcome | None = None
    """Why the list isn't known, or nothing can be made."""
    views: list[tuple[Pull, Ticket, PreviewView]] = field(default_factory=list)
    """Each open pull request with how its preview is."""
    trusted: frozenset[int] = frozenset()
    after: float | None = None
    """Seconds after which something runs out."""


async def step(source: Source, token: str, seen_by: PullRequests, build: BuildPull, context: Context) -> Told:
    """Read the list, and have a preview for each pull request that may have one. Nothing waits for a network here but
    writes to the API server."""
    settings = source.spec.pull_requests
    there = objects.standing(source.key, context)
    if settings is None or not settings.enabled:
        seen_by.forget(source.key)
        return await _gone(source, there, context)
    try:
        ask = _ask(source, settings, token)
    except ValueError as error:
        return Told(kept(source), Stalled(Reason.INVALID_SPEC, str(error)))
    before = known(source, there)
    with_preview = {number: one.revision for number, one in before.items() if one.there}
    seen = seen_by.look(source.key, ask, with_preview, before.keys() | there.by_number.keys())
    if seen.pulls is None:
        return Told(kept(source), seen.problem or Wait(Reason.PROGRESSING, "pull requests haven't been read yet"))
    told = await _previews(source, settings, seen, there, build, context)
    told.trusted = seen.trusted
    told.problem = worst([o for o in (seen.problem, told.problem) if o]) if seen.problem or told.problem else None
    return told


def _ask(source: Source, settings: PullRequestsSpec, token: str) -> Ask:
    forge = settings.forge
    return Ask(
        provider=forge.provider,
        url=api_url(forge.provider, forge.url, source.spec.url),
        repository=forge.repository or repository_of(source.spec.url, forge.provider),
        token=token,
        base=source.spec.ref.branch or "",
        rules=Rules(settings.authors, settings.label),
        interval=max(10.0, interval_seconds(source.spec.interval)),
    )


def known(source: Source, there: Standing) -> dict[int, Known]:
    """What was there before: from the Environments themselves, and for what has expired from the status."""
    out = {}
    for entry in source.status.get("previews") or ():
        if entry.get("revision") and entry.get("since"):
            out[int(entry["number"])] = Known(str(entry["revision"]), str(entry["since"]), False)
    for number in there.by_number:
        for body in there.of(number, "Environment"):
            notes = body["metadata"].get("annotations") or {}
            revision, since = str(notes.get(labels.REVISION, "")), str(notes.get(labels.PREVIEW_SINCE, ""))
            out[number] = Known(revision, since, not body["metadata"].get("deletionTimestamp"))
    return out


async def _previews(
    source: Source,
    settings: PullRequestsSpec,
    seen: Seen,
    there: Standing,
    build: BuildPull,
    context: Context,
) -> Told:
    environment, told = settings.environment, Told()
    ttl = timedelta(seconds=interval_seconds(environment.ttl))
    pulls = seen.pulls or ()
    tickets = plan.tickets(pulls, seen.held_back, known(source, there), environment.max, ttl, context.now())
    template = _template(source, environment.template_ref.name, context)
    removed: list[Outcome | None] = []
    for ticket in tickets:
        if not ticket.admitted and not ticket.keeps and there.by_number.get(ticket.pull.number):
            removed.append(await objects.remove(there.by_number[ticket.pull.number], context))
        view = await _one(source, settings, ticket, template, there, build, context)
        told.views.append((ticket.pull, ticket, view))
        told.entries.append(_entry(ticket, view, there))
    left = there.by_number.keys() - {ticket.pull.number for ticket in tickets}
    told.entries += [entry for entry in kept(source) if entry["number"] in left - seen.closed]
    for number in sorted(left & seen.closed):
        removed.append(await objects.remove(there.by_number[number], context))
        told.entries.append(_removing(source, number))
    told.entries.sort(key=lambda entry: entry["number"])
    told.problem = worst([problem for problem in removed if problem is not None]) if any(removed) else None
    told.after = _runs_out(tickets, ttl, context)
    return told


def _runs_out(tickets: Sequence[Ticket], ttl: timedelta, context: Context) -> float | None:
    now = context.now()
    left = [(plan.moment(t.since, now) + ttl - now).total_seconds() for t in tickets if t.admitted]
    return max(1.0, min(left)) if left else None


async def _one(
    source: Source,
    settings: PullRequestsSpec,
    ticket: Ticket,
    template: Resource[EnvironmentSpec] | Outcome,
    there: Standing,
    build: BuildPull,
    context: Context,
) -> PreviewView:
    """One pull request's preview, as far as it comes now."""
    number = ticket.pull.number
    if not ticket.admitted:
        return PreviewView(ticket.stage, message=ticket.message)
    if not isinstance(template, Resource):
        return PreviewView(Stage.FAILED, message=template.message)
    built = build(ticket.pull)
    if built is None:
        return _running(PreviewView(Stage.BUILDING, message="its commit is being built"), number, there)
    if not isinstance(built, Built):
        passes = isinstance(built, Wait | Transient)
        return PreviewView(Stage.BUILDING if passes else Stage.FAILED, message=built.message)
    made = plan.preview(
        source.name,
        ticket,
        template,
        [found.manifest for found in built.objects],
        settings.environment.secrets,
        settings.environment.ttl,
    )
    problem = await objects.bring(source.key, made.objects, there.by_number.get(number, ()), context)
    if problem is not None:
        passes = isinstance(problem, Wait | Transient)
        if isinstance(problem, Wait) and problem.after is not None:
            context.enqueue(source.key, after=problem.after)
        return PreviewView(Stage.BUILDING if passes else Stage.FAILED, message=problem.message, said=made.said)
    if not made.applications:
        text = "it holds no Application that a preview could be made of"
        return PreviewView(Stage.FAILED, message=text, said=made.said)
    return _stands(ticket, made, objects.standing(source.key, context))


def _running(view: PreviewView, number: int, there: Standing) -> PreviewView:
    """What is there of an earlier commit is still reached."""
    return replace(view, url=objects.address(there.of(number, "Application")))


def _stands(ticket: Ticket, made: plan.Preview, there: Standing) -> PreviewView:
    """How what was made is, by its own word."""
    number = ticket.pull.number
    bodies = there.of(number, "Environment") + there.of(number, "Application")
    found = {(body["kind"], body["metadata"]["name"]): body for body in bodies}
    waiting = []
    for manifest in made.objects:
        name = (manifest["kind"], manifest["metadata"]["name"])
        body = found.get(name)
        notes = ((body or {}).get("metadata") or {}).get("annotations") or {}
        ready, message = objects.condition(body) if body is not None else (False, "it is being made")
        if not ready or notes.get(labels.REVISION) != ticket.pull.head:
            waiting.append(f"{' '.join(name)}: {message or 'it is under way'}")
    url = objects.address(there.of(number, "Application"))
    return PreviewView(Stage.RUNNING, url, "; ".join(waiting)[:MESSAGE], not waiting, made.said)


def _template(source: Source, name: str, context: Context) -> Resource[EnvironmentSpec] | Outcome:
    context.readers.setdefault(("Environment", source.namespace, name), set()).add(source.key)
    try:
        found = context.store.resource(OwnerKey("Environment", source.namespace, name))
    except InvalidSpec as error:
        return Stalled(Reason.INVALID_SPEC, f"Environment {name}, the template of previews, can't be used: {error}")
    if found is None or found.deleted_at is not None:
        text = f"Environment {name}, the template of previews, isn't in namespace {source.namespace}; create it"
        return Wait(Reason.DEPENDENCY_NOT_READY, text)
    if not found.spec.template:
        text = f"Environment {name} isn't a template; write template: true into one that nothing runs in, and name that"
        return Stalled(Reason.INVALID_SPEC, text)
    if found.spec.runtime != "Kubernetes":
        text = f"Environment {name} is on {found.spec.runtime}; previews are on Kubernetes only, so name another"
        return Stalled(Reason.INVALID_SPEC, text)
    return found


def _entry(ticket: Ticket, view: PreviewView, there: Standing) -> dict[str, Any]:
    pull = ticket.pull
    entry: dict[str, Any] = {
        "number": pull.number,
        "title": pull.title[:TITLE],
        "author": pull.author,
        "revision": pull.head,
        "state": str(view.stage),
        "ready": view.ready,
    }
    if ticket.since:
        entry["since"] = ticket.since
    if ticket.admitted or there.by_number.get(pull.number):
        entry["environment"] = plan.environment_name(pull.number)
    if view.url:
        entry["url"] = view.url
    if view.message and not view.ready:
        entry["message"] = view.message[:MESSAGE]
    return {key: value for key, value in entry.items() if value != ""}


def _removing(source: Source, number: int) -> dict[str, Any]:
    before: Mapping[str, Any] = next((e for e in source.status.get("previews") or () if e.get("number") == number), {})
    kept = {key: before[key] for key in ("title", "author", "revision") if before.get(key)}
    name = plan.environment_name(number)
    return {"number": number, **kept, "environment": name, "state": "Removing", "ready": False}


def kept(source: Source) -> list[dict[str, Any]]:
    """What the status said before."""
    return [dict(entry) for entry in source.status.get("previews") or ()]


async def _gone(source: Source, there: Standing, context: Context) -> Told:
    """No previews are wanted."""
    problems = [await objects.remove(bodies, context) for bodies in there.by_number.values()]
    found = [problem for problem in problems if problem is not None]
    return Told([_removing(source, number) for number in sorted(there.by_number)], worst(found) if found else None)


async def leave(source: OwnerKey, context: Context) -> tuple[list[str], Outcome | None]:
    """Remove all previews of a source that goes; what of them is still there, and what is in the way."""
    there = objects.standing(source, context)
    problems = [await objects.remove(bodies, context) for bodies in there.by_number.values()]
    found = [problem for problem in problems if problem is not None]
    left = [f"{body['kind']} {body['metadata']['name']}" for bodies in there.by_number.values() for body in bodies]
    return sorted(left), worst(found) if found else None
