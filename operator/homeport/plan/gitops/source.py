"""What a GitSource comes to, of all that was found out about it: status fields and outcome. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from homeport.api import labels
from homeport.api.base import interval_seconds
from homeport.api.conditions import ConditionType, Reason
from homeport.api.gitsource import GitSourceSpec
from homeport.api.resource import Resource
from homeport.outcome import Ok, Outcome, Stalled, Wait, worst
from homeport.plan.gitops import standing
from homeport.plan.gitops.standing import NAMED
from homeport.plan.gitops.types import Applied, Drifted, DriftMode, Entry, IgnoreRule, Options, SourcePlan, Standing
from homeport.plan.types import Verb

Source = Resource[GitSourceSpec]

HISTORY = 5
"""Builds that are kept in the status."""
PLAN_ENTRIES = 50
DRIFT_ENTRIES = 20


@dataclass(frozen=True)
class Seen:
    """What one reconciliation has found of a source."""

    now: datetime
    revision: str = ""
    """What is meant now, as ``main@sha1:…``; empty when that isn't known."""
    digest: str = ""
    """Of what was built of it; empty when nothing could be."""
    problem: Outcome | None = None
    """Why it went no further."""
    plan: SourcePlan | None = None
    applied: Applied | None = None
    """None when nothing was to be written, or nothing could be."""
    entries: tuple[Entry, ...] = ()
    """What there is of it now."""
    standing: Standing = field(default_factory=Standing)
    unready_since: datetime | None = None
    """Since when something isn't ready."""
    notes: tuple[str, ...] = ()
    """What a person should know though nothing is wrong."""
    archived: bool = False
    """Whether its project is, so that nothing was looked at."""


def pin_of(source: Source) -> str:
    """The commit that it is held at; empty when it follows its reference."""
    return source.annotations.get(labels.PIN, "").strip().lower()


def secrets_of(spec: GitSourceSpec) -> Iterator[tuple[str, str]]:
    """(name, what it is for) of the Secrets that are a source's own: they are never copied into environments."""
    if spec.credentials_secret_ref is not None:
        yield spec.credentials_secret_ref.name, "logs in with it"
    if spec.decryption is not None:
        yield spec.decryption.key_secret_ref.name, "decrypts with it"
    if spec.webhook is not None:
        yield spec.webhook.secret_ref.name, "knows push events by it"
    if spec.pull_requests is not None:
        yield spec.pull_requests.forge.token_secret_ref.name, "talks to its forge with it"


def settled(source: Source, digest: str) -> bool:
    """Whether the status says that just this was the last to be begun, and was applied whole."""
    history = source.status.get("history") or ()
    return bool(digest and history and history[0]["digest"] == digest == source.status.get("lastAttemptedDigest"))


def allows_prune(source: Source) -> bool:
    """Whether somebody said anew that the guard is to let a removal pass."""
    token = source.annotations.get(labels.ALLOW_PRUNE_AT)
    return bool(token) and token != source.status.get("lastHandledAllowPruneAt")


def options(source: Source, digest: str, sync: bool) -> Options:
    """How its objects are treated; ``sync`` when somebody asked for that just now."""
    drift = source.spec.drift_detection
    mode: DriftMode = drift.mode if drift is not None else "Enabled"
    history = source.status.get("history") or ()
    return Options(
        namespace=source.namespace,
        digest=digest,
        settled=settled(source, digest),
        mend=sync,
        prune=source.spec.prune,
        allow_prune=allows_prune(source),
        applied=int(history[0].get("objects") or 0) if history else 0,
        drift=mode,
        ignore=tuple(
            IgnoreRule(paths=rule.paths, managers=rule.managers, **(rule.target.model_dump() if rule.target else {}))
            for rule in (drift.ignore if drift is not None else ())
        ),
        timeout=interval_seconds(source.spec.timeout),
        spec=source.raw_spec,
    )


def status(source: Source, seen: Seen) -> tuple[dict[str, Any], Outcome]:
    """Its own status fields, and how it ended."""
    fields = {key: source.status[key] for key in _KEPT if source.status.get(key) is not None}
    if seen.archived:
        return fields, Ok("the project is archived: nothing is fetched, applied or mended", reason=Reason.ARCHIVED)
    _attempted(source, seen, fields)
    _applied(source, seen, fields)
    pinned = pin_of(source)
    if pinned:
        fields["pinned"] = pinned
    if seen.plan is not None:
        _planned(source, seen, seen.plan, fields)
    if seen.entries or source.status.get("resources"):
        fields["resources"] = {"ready": seen.standing.ready, "total": seen.standing.total}
    outcome = _outcome(source, seen, fields)
    if isinstance(outcome, Ok) and seen.revision and not source.spec.dry_run:
        # Something is written anyway: then it says which commit was looked at last. Nothing is written for that alone.
        was = source.status.get("conditions") or ()
        ready = any(entry.get("type") == ConditionType.READY and entry.get("status") == "True" for entry in was)
        asked = source.reconcile_token and source.reconcile_token != source.status.get("lastHandledReconcileAt")
        if asked or not ready:
            fields["lastAttemptedRevision"] = seen.revision
    return fields, outcome


_KEPT = (
    "webhookPath", "lastAttemptedRevision", "lastAttemptedDigest", "lastAppliedRevision", "history", "previews",
    "lastHandledAllowPruneAt", "resources", "drift", "plan",
)  # fmt: skip


def _attempted(source: Source, seen: Seen, fields: dict[str, Any]) -> None:
    """The commit that was last worked on; one that changes nothing of this source isn't worth a write."""
    failed = isinstance(seen.problem, Stalled) or (seen.plan is not None and bool(seen.plan.problems))
    if seen.revision and (failed or (seen.digest and not settled(source, seen.digest))):
        fields["lastAttemptedRevision"] = seen.revision
    if seen.applied is not None and seen.digest:
        fields["lastAttemptedDigest"] = seen.digest


def _applied(source: Source, seen: Seen, fields: dict[str, Any]) -> None:
    """What was applied whole goes to the front of the history."""
    if not is_whole(source, seen) or settled(source, seen.digest):
        return
    entry = {
        "revision": seen.revision,
        "at": seen.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "objects": len(seen.plan.wanted) if seen.plan is not None else 0,
        "digest": seen.digest,
    }
    others = [known for known in source.status.get("history") or () if known["digest"] != seen.digest]
    fields["history"] = [entry, *others][:HISTORY]
    fields["lastAppliedRevision"] = seen.revision
    fields["lastAttemptedRevision"] = seen.revision
    fields["lastAttemptedDigest"] = seen.digest


def is_whole(source: Source, seen: Seen) -> bool:
    """Whether all of what was built is there now."""
    if seen.plan is None or seen.plan.problems or source.spec.dry_run or not seen.digest:
        return False
    return seen.applied.complete if seen.applied is not None else seen.plan.empty


def _planned(source: Source, seen: Seen, plan: SourcePlan, fields: dict[str, Any]) -> None:
    """Drift; and what waits: for leave, or because nothing is to be written."""
    fields.pop("plan", None)
    drift = [entry.as_status() for entry in plan.drift[:DRIFT_ENTRIES]]
    fields.pop("drift", None)
    if drift:
        fields["drift"] = drift
    elif _was_mended(source) and plan.empty:
        # What was mended stays told until something else is: seen for a moment only, nobody would ever see it.
        fields["drift"] = source.status["drift"]
    if source.spec.dry_run or plan.guard or plan.problems:
        fields["plan"] = as_status(plan, seen.revision)
    allowed = source.annotations.get(labels.ALLOW_PRUNE_AT)
    done = not seen.applied.problems if seen.applied is not None else plan.empty
    if plan.options.allow_prune and allowed and done and not plan.problems and not source.spec.dry_run:
        # Also when there was nothing to remove: else it would let the next removal pass, which nobody has seen yet.
        fields["lastHandledAllowPruneAt"] = allowed


def _was_mended(source: Source) -> bool:
    known = source.status.get("drift") or ()
    return bool(known) and all(entry.get("mended") for entry in known)


def as_status(plan: SourcePlan, revision: str) -> dict[str, Any]:
    """A plan, as ``status.plan`` has it. Nothing secret is in it: paths of fields, never values."""
    steps = [*plan.changes, *(step for step in plan.pruned if step.verb is not Verb.NOTHING)]
    counts = plan.counts()
    touched = {step.id for step in plan.changes}
    out: dict[str, Any] = {"revision": revision, **{verb: number for verb, number in counts.items() if number}}
    unchanged = sum(wanted.id not in touched for wanted in plan.wanted)
    if unchanged:
        out["unchanged"] = unchanged
    if plan.problems:
        out["refused"] = len(plan.problems)
    entries = [{key: _short(value) for key, value in step.as_status().items() if value} for step in steps]
    if entries:
        out["entries"] = entries[:PLAN_ENTRIES]
    return out


def _short(value: Any) -> Any:
    return f"{value[:1020]}…" if isinstance(value, str) and len(value) > 1024 else value


def _outcome(source: Source, seen: Seen, fields: Mapping[str, Any]) -> Outcome:
    stays = fields.get("lastAppliedRevision")
    problems = [_staying(outcome, stays) for outcome in _problems(seen)]
    if problems:
        return worst(problems)
    if source.spec.dry_run and seen.plan is not None:
        return Ok(f"dry run of {short(seen.revision)}: {told(seen.plan)}")
    waits = _removing(seen) or unready(source, seen)
    if waits is not None:
        return waits
    return Ok("; ".join(_said(source, seen, stays)))


def _problems(seen: Seen) -> list[Outcome]:
    out: list[Outcome] = [seen.problem] if seen.problem is not None else []
    if seen.plan is not None:
        out += _joined(seen.plan.problems)
        if seen.plan.guard:
            out.append(Stalled(Reason.PRUNE_GUARD, seen.plan.guard))
    if seen.applied is not None:
        out += _joined(seen.applied.problems)
    return out


def _joined(problems: Sequence[Outcome]) -> list[Outcome]:
    """Several of one sort as one that names the first few."""
    if len(problems) < 2:
        return list(problems)
    first = worst(problems)
    others = [problem.message for problem in problems if problem is not first][: NAMED - 1]
    more = len(problems) - 1 - len(others)
    text = "; ".join([first.message, *others, *([f"and {more} more"] if more else [])])
    if isinstance(first, Ok):
        return [first]
    if isinstance(first, Wait):
        return [Wait(first.reason, text, first.after)]
    return [type(first)(first.reason, text)]


def _staying(outcome: Outcome, stays: Any) -> Outcome:
    """A problem with something new doesn't take away what is there; that is said."""
    if not stays or isinstance(outcome, Ok) or outcome.reason not in _NEW:
        return outcome
    text = f"{outcome.message}; {short(str(stays))} stays applied"
    if isinstance(outcome, Wait):
        return Wait(outcome.reason, text, outcome.after)
    return type(outcome)(outcome.reason, text)


_NEW = frozenset(
    {
        Reason.FETCH_FAILED, Reason.UNSIGNED, Reason.BUILD_FAILED, Reason.DRY_RUN_FAILED, Reason.CONFLICT,
        Reason.PRUNE_GUARD,
    }
)  # fmt: skip


def _removing(seen: Seen) -> Wait | None:
    gone = seen.applied.removing if seen.applied is not None else ()
    if not gone:
        return None
    return Wait(Reason.PROGRESSING, f"removing {_names([each.shown for each in gone])}")


def unready(source: Source, seen: Seen) -> Wait | None:
    """What isn't ready of what is applied."""
    return standing.unready(seen.standing, seen.unready_since, seen.now, interval_seconds(source.spec.timeout))


def _said(source: Source, seen: Seen, stays: Any) -> list[str]:
    number = seen.standing.total
    out = [f"{short(str(stays or seen.revision))}: {number} object{'s' if number != 1 else ''} applied and ready"]
    pinned = pin_of(source)
    if pinned:
        out.append(f"pinned to {pinned[:12]}, so that {_reference(source)} isn't followed")
    loose = [entry for entry in seen.plan.drift if not entry.mended] if seen.plan is not None else []
    if loose:
        out.append(f"not as in Git: {_names([drifted(entry) for entry in loose])}")
    return [*out, *seen.notes]


def drifted(entry: Drifted) -> str:
    """One field that isn't as it was applied, for people."""
    who = f" ({entry.manager})" if entry.manager else ""
    return f"{entry.object.shown} {entry.field}{who}" if entry.field else f"{entry.object.shown} was deleted{who}"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _reference(source: Source) -> str:
    ref = source.spec.ref
    return f"branch {ref.branch}" if ref.branch else f"tag {ref.tag}" if ref.tag else ref.semver or "its reference"


def told(plan: SourcePlan) -> str:
    """How much a plan would do, in words."""
    counts = plan.counts()
    words = {"create": "made", "update": "changed", "replace": "replaced", "delete": "removed"}
    parts = [f"{counts[verb]} {word}" for verb, word in words.items() if counts[verb]]
    return f"{', '.join(parts)}" if parts else "nothing would change"


def short(revision: str) -> str:
    """A revision with a commit that people can read: ``main@sha1:0123abc``."""
    name, colon, commit = revision.rpartition(":")
    return f"{name}{colon}{commit[:12]}" if colon else revision[:12]
