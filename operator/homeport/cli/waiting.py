"""Whether an object is what somebody waits for. Functions of the object as it was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from homeport.api.conditions import Reason
from homeport.cli import standing


class State(StrEnum):
    """How it goes."""

    DONE = "Done"
    WAITING = "Waiting"
    STALLED = "Stalled"
    """It won't come by itself."""
    TIMEOUT = "Timeout"


@dataclass(frozen=True)
class Want:
    """What is waited for."""

    condition: str = "Ready"
    status: str = "True"
    deleted: bool = False
    version: str = ""
    """Of an Application: not before it has this one."""
    environment: str = ""
    """Of an Application: only there."""
    revision: str = ""
    """Of a GitSource: the commit, or its first digits."""


@dataclass(frozen=True)
class Look:
    """What one look at an object says."""

    state: State
    message: str
    version: str = ""


def look(body: Mapping[str, Any] | None, want: Want) -> Look:
    """How an object stands to what is wanted; None for one that isn't there."""
    if want.deleted:
        return Look(State.DONE, "deleted") if body is None else Look(State.WAITING, "it is still there")
    if body is None:
        return Look(State.WAITING, "it isn't there yet")
    spec, status = body.get("spec") or {}, body.get("status") or {}
    if want.version:
        has = _version(spec, want.environment)
        if has != want.version:
            return Look(State.WAITING, f"it is still at version {has or 'none'}", has)
    now = standing.of(body)
    if now.suspended or spec.get("suspend"):
        return Look(State.STALLED, "it is suspended: nothing comes of it until `homeport resume`")
    # Of an older generation, what the status says is about the version before.
    old = int(status.get("observedGeneration", -1)) < int(body["metadata"].get("generation", 0))
    if old:
        return Look(State.WAITING, "the operator hasn't looked at it yet")
    if body["metadata"].get("deletionTimestamp"):
        return Look(State.STALLED, "it is being deleted")
    if want.revision and not _is_applied(body, status, want.revision):
        return _before(body, status, want)
    found = _condition(body, status, want)
    return found if found.state is State.DONE else _stalled(body, want) or found


def _version(spec: Mapping[str, Any], environment: str) -> str:
    """The version that the spec asks for; an environment that isn't in it has the application's."""
    entries = spec.get("environments") or ()
    own = next((one.get("version") for one in entries if environment and one.get("name") == environment), None)
    return str(own or spec.get("version") or "")


def _is_applied(body: Mapping[str, Any], status: Mapping[str, Any], revision: str) -> bool:
    """Whether a commit is applied, or was before what is now.

    What was attempted last may be applied just now, while the conditions still are those of the commit before, or have
    failed. It is there when nothing failed, and what was begun last is what was applied last.
    """
    history: Sequence[Mapping[str, Any]] = status.get("history") or ()
    seen = [status.get("lastAppliedRevision"), *(one.get("revision") for one in history)]
    ready = standing.condition(body, "Ready") or {}
    whole = bool(history) and history[0].get("digest") == status.get("lastAttemptedDigest") is not None
    # In an archived project it is Ready whatever was attempted before.
    well = ready.get("status") == "True" and ready.get("reason") != Reason.ARCHIVED
    if whole and well and not (body.get("spec") or {}).get("dryRun"):
        seen.append(status.get("lastAttemptedRevision"))
    return any(_means(one, revision) for one in seen)


def _means(revision: object, commit: str) -> bool:
    """Whether ``main@sha1:…`` is this commit, of which the first digits are given."""
    return str(revision or "").rpartition(":")[2].startswith(commit.lower())


def _before(body: Mapping[str, Any], status: Mapping[str, Any], want: Want) -> Look:
    """A source that hasn't applied the commit: it may have failed to, or not have come to it."""
    if (body.get("spec") or {}).get("dryRun"):
        return Look(State.STALLED, "it is a dry run: nothing is applied until spec.dryRun is false")
    if _means(status.get("lastAttemptedRevision"), want.revision):
        found = _condition(body, status, want) if want.condition == "Stalled" else _stalled(body, want)
        if found is not None:
            return found
    at = str(status.get("lastAppliedRevision") or "no commit")
    return Look(State.WAITING, f"it is still at {at}", at)


def _condition(body: Mapping[str, Any], status: Mapping[str, Any], want: Want) -> Look:
    if want.environment:
        return _place(status, want)
    found = standing.condition(body, want.condition) or {}
    message = " ".join(str(found.get("message") or "").split())
    shown = (
        f"{found.get('reason') or want.condition}: {message}" if found else f"there is no condition {want.condition}"
    )
    if found.get("status", "False" if want.condition != "Ready" else "Unknown") != want.status:
        return Look(State.WAITING, shown, want.version)
    lagging = _lagging(body.get("spec") or {}, status, want.version)
    return Look(State.WAITING, lagging) if lagging else Look(State.DONE, shown, want.version)


def _lagging(spec: Mapping[str, Any], status: Mapping[str, Any], version: str) -> str:
    """Which environment hasn't the version yet, of those that have none of their own."""
    own = {entry.get("name") for entry in spec.get("environments") or () if entry.get("version")}
    for entry in status.get("environments") or ():
        if version and entry.get("name") not in own and entry.get("version") != version:
            return f"{entry.get('name')} is still at version {entry.get('version') or 'none'}"
    return ""


def _place(status: Mapping[str, Any], want: Want) -> Look:
    entry = next((one for one in status.get("environments") or () if one.get("name") == want.environment), None)
    if entry is None:
        return Look(State.WAITING, f"its status has no environment {want.environment} yet")
    has = str(entry.get("version") or "")
    if want.version and has != want.version:
        return Look(State.WAITING, f"{want.environment} is still at version {has or 'none'}", has)
    if entry.get("ready") is not True:
        return Look(State.WAITING, str(entry.get("message") or f"{want.environment} isn't ready"), has)
    return Look(State.DONE, f"{want.environment} is ready", has)


def _stalled(body: Mapping[str, Any], want: Want) -> Look | None:
    found = standing.condition(body, "Stalled")
    if not found or found.get("status") != "True" or want.condition == "Stalled":
        return None
    message = " ".join(str(found.get("message") or "").split())
    places = {str(entry.get("name")) for entry in (body.get("spec") or {}).get("environments") or ()}
    if want.environment and message.partition("/")[0] in places - {want.environment}:
        # It is about another environment.
        return None
    return Look(State.STALLED, f"{found.get('reason')}: {message}", want.version)
