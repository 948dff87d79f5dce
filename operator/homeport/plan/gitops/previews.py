"""Previews of pull requests: which ones there are, and what they are made of. Pure.

What a pull request says is taken for what a stranger says. Of its objects only Applications are followed, bound to an
Environment that is made from the template in the cluster, whatever the pull request holds in its place.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from homeport.api import labels
from homeport.api.environment import EnvironmentSpec
from homeport.api.resource import InvalidSpec, Resource, parse
from homeport.plan.gitops.pulls import Firm, Pull
from homeport.plan.gitops.strangers import COMMIT, Limits, component
from homeport.plan.types import Manifest

APPLICATIONS = 16
"""Applications of one preview."""
VARIABLES = 64
"""Variables that an Environment may have; a template with as many keeps its own."""


class Stage(StrEnum):
    """How far a pull request's preview is, as its status says."""

    WAITING = "Waiting"
    BUILDING = "Building"
    RUNNING = "Running"
    FAILED = "Failed"
    EXPIRED = "Expired"


@dataclass(frozen=True)
class Known:
    """What is known of a pull request's preview from before."""

    revision: str
    since: str
    there: bool
    """Whether its Environment is there."""


@dataclass(frozen=True)
class Ticket:
    """Whether a pull request has a preview now. ``keeps``: what is there of an earlier commit stays as it is."""

    pull: Pull
    admitted: bool
    since: str = ""
    stage: Stage = Stage.WAITING
    message: str = ""
    keeps: bool = False


def tickets(
    pulls: Sequence[Pull],
    held_back: Mapping[int, str],
    known: Mapping[int, Known],
    limit: int,
    ttl: timedelta,
    now: datetime,
) -> list[Ticket]:
    """One for each open pull request, by number. ``held_back``: why one isn't let in, by number.

    Those that have a preview keep their place; the others come by number.
    """
    out: list[Ticket] = []
    used = 0
    for pull in sorted(pulls, key=lambda one: (not _there(known, one), one.number)):
        before = known.get(pull.number)
        same = before is not None and before.revision == pull.head
        since = before.since if before is not None and same and before.since else now.strftime("%Y-%m-%dT%H:%M:%SZ")
        ticket = Ticket(pull, True, since, Stage.BUILDING)
        if (why := held_back.get(pull.number)) is not None:
            there = _there(known, pull) and not isinstance(why, Firm)
            ticket = Ticket(pull, False, before.since if before else "", Stage.WAITING, why, keeps=there)
            used += there
        elif now - moment(since, now) >= ttl:
            text = "its time to live is over; push a commit for another"
            ticket = Ticket(pull, False, since, Stage.EXPIRED, text)
        elif used >= limit:
            text = f"there are {used} previews, and max is {limit}; it is made when another one goes"
            ticket = Ticket(pull, False, "", Stage.WAITING, text)
        else:
            used += 1
        out.append(ticket)
    return sorted(out, key=lambda ticket: ticket.pull.number)


def _there(known: Mapping[int, Known], pull: Pull) -> bool:
    return pull.number in known and known[pull.number].there


def moment(text: str, otherwise: datetime) -> datetime:
    """A time as a status has it; ``otherwise`` for what isn't one."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return otherwise


@dataclass(frozen=True)
class Preview:
    """What a pull request's preview is made of."""

    environment: Manifest
    applications: tuple[Manifest, ...]
    said: tuple[str, ...] = ()
    """What of the pull request isn't followed, and why."""

    @property
    def objects(self) -> tuple[Manifest, ...]:
        """All of it."""
        return (self.environment, *self.applications)


def environment_name(number: int) -> str:
    """``pr-7``."""
    return f"pr-{number}"


def variables(pull: Pull) -> dict[str, str]:
    """What a preview's build knows beside the source's variables: PREVIEW_NUMBER, PREVIEW_COMMIT and PREVIEW_BRANCH."""
    return {**_running(pull), COMMIT: pull.head}


def _running(pull: Pull) -> dict[str, str]:
    """What its components know: what no push changes, for with it all of them would roll."""
    branch = {"PREVIEW_BRANCH": pull.branch} if pull.branch else {}
    return {"PREVIEW_NUMBER": str(pull.number), **branch}


def preview(
    source: str,
    ticket: Ticket,
    template: Resource[EnvironmentSpec],
    objects: Sequence[Mapping[str, Any]],
    secrets: Sequence[str],
    ttl: str,
) -> Preview:
    """What a pull request's objects become. ``secrets``: the list of the GitSource; a fork gets none of them."""
    pull = ticket.pull
    said: list[str] = []
    offered = {entry.name for entry in template.spec.secrets or ()}
    for name in sorted(set(secrets) - offered):
        said.append(
            f"Secret {name} is on the list of environment.secrets, and the template {template.name} has none so."
        )
    secrets = [name for name in secrets if name in offered]
    environment = _environment(source, ticket, template, () if pull.fork else secrets, ttl)
    spec = environment["spec"]
    limits = Limits(
        number=pull.number,
        commit=pull.head,
        domain=str((template.raw_spec.get("ingress") or {}).get("domain") or ""),
        secrets=frozenset(entry["name"] for entry in spec.get("secrets") or ()),
        fork=pull.fork,
    )
    if pull.fork and secrets:
        said.append("It comes from a fork, so its preview gets no Secrets.")
    applications: dict[str, Manifest] = {}
    others: Counter[str] = Counter()
    for found in objects:
        if found.get("kind") != "Application" or found.get("apiVersion") != labels.API_VERSION:
            others[str(found.get("kind"))] += 1
            said += _on_template(found, template)
            continue
        made = _application(source, ticket, template, found, limits, said)
        if made is not None and len(applications) >= APPLICATIONS:
            said.append(f"Application {_name(found)} is left out: a preview has {APPLICATIONS} at most.")
        elif made is not None:
            applications[made["metadata"]["name"]] = made
    if others:
        listed = ", ".join(f"{number} {kind}" for kind, number in sorted(others.items())[:12])
        said.append(f"Only Applications are in a preview; left out: {listed}.")
    return Preview(environment, tuple(applications[name] for name in sorted(applications)), tuple(dict.fromkeys(said)))


def _name(found: Mapping[str, Any]) -> str:
    return str((found.get("metadata") or {}).get("name") or "without a name")


def _on_template(found: Mapping[str, Any], template: Resource[EnvironmentSpec]) -> list[str]:
    if found.get("kind") != "Environment" or _name(found) != template.name:
        return []
    try:
        if parse(found).spec == template.spec:
            return []
    except (InvalidSpec, AttributeError, TypeError):
        pass  # what can't be read is otherwise
    text = f"Environment {template.name}, the template of previews, is otherwise here than in the cluster"
    return [f"{text}; previews follow the one in the cluster until this is merged."]


def _marks(source: str, ticket: Ticket) -> dict[str, Any]:
    # By managed-by the policy homeport-data-delete tells what Homeport made, and may remove with its data.
    return {
        "labels": {
            labels.MANAGED_BY: labels.MANAGER,
            labels.PREVIEW_OF: source,
            labels.PULL_REQUEST: str(ticket.pull.number),
        },
        "annotations": {labels.REVISION: ticket.pull.head},
    }


def _environment(
    source: str, ticket: Ticket, template: Resource[EnvironmentSpec], secrets: Sequence[str], ttl: str
) -> Manifest:
    """The template, with a namespace, a domain and Secrets of its own."""
    spec: dict[str, Any] = copy.deepcopy(dict(template.raw_spec))
    for field in ("template", "promotion", "suspend", "secrets"):
        spec.pop(field, None)
    place = {key: value for key, value in (spec.pop("kubernetes", None) or {}).items() if key != "namespace"}
    origins = {entry.name: entry.from_ or entry.name for entry in template.spec.secrets or ()}
    copied = [
        {"name": name, **({"from": origins[name]} if origins.get(name, name) != name else {})}
        for name in sorted(secrets)
    ]
    domain = (spec.get("ingress") or {}).get("domain")
    if domain:
        spec["ingress"] = {**spec["ingress"], "domain": f"{environment_name(ticket.pull.number)}.{domain}"}
    # A dollar sign that begins no reference: a branch's name is a stranger's.
    known = {name: value.replace("$", "$$") for name, value in _running(ticket.pull).items()}
    given = spec.get("variables") or {}
    if len(known.keys() | given.keys()) <= VARIABLES:
        spec["variables"] = {**known, **given}
    spec |= {"tier": "Preview", "deletionPolicy": "Delete", "ttl": ttl}
    spec |= {"kubernetes": place} if place else {}
    spec |= {"secrets": copied} if copied else {}
    marks = _marks(source, ticket)
    marks["annotations"][labels.PREVIEW_SINCE] = ticket.since
    name = environment_name(ticket.pull.number)
    return {
        "apiVersion": labels.API_VERSION,
        "kind": "Environment",
        "metadata": {"name": name, "namespace": template.namespace, **marks},
        "spec": spec,
    }


def _application(
    source: str,
    ticket: Ticket,
    template: Resource[EnvironmentSpec],
    found: Mapping[str, Any],
    limits: Limits,
    said: list[str],
) -> Manifest | None:
    metadata = found.get("metadata") or {}
    name, namespace = _name(found), str(metadata.get("namespace") or template.namespace)
    if namespace != template.namespace:
        said.append(
            f"Application {name} is left out: it is for namespace {namespace}, and a preview is of this project."
        )
        return None
    spec: dict[str, Any] = copy.deepcopy(dict(found.get("spec") or {}))
    notes: list[str] = []
    entry = _entry(spec, template.name)
    made_here = _generated(spec)
    try:
        spec["components"] = [component(part, limits, made_here, notes) for part in spec.get("components") or ()]
        overrides = {
            str(part): component(changed, limits, made_here, notes)
            for part, changed in (entry.get("overrides") or {}).items()
        }
    except (AttributeError, TypeError, KeyError, ValueError):
        said.append(f"Application {name} is left out: its components can't be read.")
        return None
    spec.pop("deletionPolicy", None)
    if entry.get("patches"):
        notes.append("patches aren't applied in previews")
    target = {"name": environment_name(ticket.pull.number)}
    target |= {"version": entry["version"]} if entry.get("version") else {}
    spec["environments"] = [{**target, **({"overrides": overrides} if overrides else {})}]
    manifest = {
        "apiVersion": labels.API_VERSION,
        "kind": "Application",
        "metadata": {
            "name": f"{name}-{environment_name(ticket.pull.number)}",
            "namespace": template.namespace,
            **_marks(source, ticket),
        },
        "spec": spec,
    }
    try:
        parse(manifest)
    except InvalidSpec as error:
        said.append(f"Application {name} is left out: {error}")
        return None
    said += [f"Application {name}: {note}." for note in dict.fromkeys(notes)]
    return manifest


def _entry(spec: Mapping[str, Any], template: str) -> Mapping[str, Any]:
    """What the application says of the template among its environments: that is how it is in previews."""
    for entry in spec.get("environments") or ():
        if isinstance(entry, Mapping) and entry.get("name") == template:
            return entry
    return {}


def _generated(spec: Mapping[str, Any]) -> frozenset[str]:
    """Secrets that the application makes itself."""
    return frozenset(
        str(secret.get("name"))
        for part in spec.get("components") or ()
        if isinstance(part, Mapping)
        for secret in part.get("secrets") or ()
        if isinstance(secret, Mapping)
    )
