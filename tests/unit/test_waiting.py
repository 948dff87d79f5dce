"""What ``homeport wait`` says of an object, whatever it is like; the rest is tried on a real API server."""

from __future__ import annotations

import re
from typing import Any

import pytest

from homeport.cli import main
from homeport.cli.errors import Failure
from homeport.cli.wait import seconds
from homeport.cli.waiting import State, Want, look

SHA = "0123456789abcdef0123456789abcdef01234567"


def app(version: str = "1.4.0", ready: str = "True", seen: int = 2, **more: Any) -> dict[str, Any]:
    """Generation 2 of an Application with two environments, of which one has a version of its own."""
    spec = {"version": version, "environments": [{"name": "staging"}, {"name": "production", "version": "1.0.0"}]}
    conditions = [{"type": "Ready", "status": ready, "reason": "Ready", "message": "all is well"}]
    if more.get("stalled"):
        conditions.append({"type": "Stalled", "status": "True", "reason": "InvalidSpec", "message": more["stalled"]})
    places = [
        {"name": "staging", "version": more.get("runs", version), "ready": more.get("staging", True), "message": "m"},
        {"name": "production", "version": "1.0.0", "ready": True},
    ]
    status = {"observedGeneration": seen, "conditions": conditions, "environments": places}
    metadata = {"name": "shop", "namespace": "shop", "generation": 2}
    return {"kind": "Application", "metadata": metadata, "spec": spec, "status": status}


@pytest.mark.parametrize(
    ("body", "want", "state", "told"),
    [
        (app(), Want(version="1.4.0"), "Done", "all is well"),
        (app(), Want(), "Done", "all is well"),
        (None, Want(version="1.4.0"), "Waiting", "it isn't there yet"),
        # Ready is that of the version before.
        (app("1.3.0"), Want(version="1.4.0"), "Waiting", "it is still at version 1.3.0"),
        (app(seen=1), Want(version="1.4.0"), "Waiting", "hasn't looked at it yet"),
        (app(runs="1.3.0"), Want(version="1.4.0"), "Waiting", "staging is still at version 1.3.0"),
        (app(ready="False"), Want(version="1.4.0"), "Waiting", "Ready: all is well"),
        (app(ready="False", stalled="no such image"), Want(version="1.4.0"), "Stalled", "InvalidSpec: no such image"),
        # What stalled may be the version before.
        (app("1.3.0", "False", stalled="bad"), Want(version="1.4.0"), "Waiting", "still at version 1.3.0"),
        (app(ready="False", seen=1, stalled="bad"), Want(version="1.4.0"), "Waiting", "hasn't looked"),
        (app(ready="False"), Want(version="1.4.0", environment="staging"), "Done", "staging is ready"),
        (app(), Want(version="1.4.0", environment="production"), "Waiting", "still at version 1.0.0"),
        (app(), Want(version="1.0.0", environment="production"), "Done", "production is ready"),
        (app(staging=False), Want(environment="staging"), "Waiting", "m"),
        (app(), Want(version="1.4.0", environment="nowhere"), "Waiting", "no environment nowhere"),
        (app(staging=False, stalled="production/web: x"), Want(environment="staging"), "Waiting", "m"),
        (app(staging=False, stalled="staging/web: x"), Want(environment="staging"), "Stalled", "staging/web: x"),
        (app(), Want("Stalled", "True"), "Waiting", "no condition Stalled"),
        (app(), Want("Stalled", "False"), "Done", ""),
        (app(ready="False", stalled="x"), Want("Ready", "False"), "Done", ""),
        (app(), Want(deleted=True), "Waiting", "still there"),
        (None, Want(deleted=True), "Done", "deleted"),
    ],
)  # fmt: skip
def test_an_application(body: Any, want: Want, state: str, told: str) -> None:
    found = look(body, want)
    assert (found.state, told in found.message) == (state, True), found


def test_an_application_that_lists_no_environments_is_in_all() -> None:
    body = app()
    del body["spec"]["environments"]
    assert look(body, Want(version="1.4.0", environment="staging")).state is State.DONE


def test_what_is_suspended_or_leaves_does_not_come() -> None:
    body = app(ready="False")
    assert look({**body, "spec": {**body["spec"], "suspend": True}}, Want()).state is State.STALLED
    gone = {**body, "metadata": {**body["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert look(gone, Want()).state is State.STALLED


NEXT = "f" * 40


def source(
    attempted: str, ready: str, *history: str, digest: str = "", stalled: str = "", **spec: Any
) -> dict[str, Any]:
    """``history`` is newest first; ``digest`` is of what was begun last, by default the newest's in it."""
    conditions = [{"type": "Ready", "status": ready, "reason": "R", "message": ""}]
    conditions += [{"type": "Healthy", "status": "True", "reason": "R", "message": ""}]
    conditions += [{"type": "Stalled", "status": "True", "reason": "R", "message": stalled}] if stalled else []
    status: dict[str, Any] = {"observedGeneration": 1, "conditions": conditions}
    status["lastAttemptedRevision"] = f"main@sha1:{attempted}"
    status["lastAttemptedDigest"] = digest or f"of {history[0]}" if history else digest or None
    status["history"] = [{"revision": f"main@sha1:{one}", "digest": f"of {one}"} for one in history]
    if history:
        status["lastAppliedRevision"] = status["history"][0]["revision"]
    return {"kind": "GitSource", "metadata": {"name": "fleet", "generation": 1}, "spec": spec, "status": status}


def archived(body: dict[str, Any]) -> dict[str, Any]:
    """It failed with that commit, and then its project was archived."""
    body["status"]["conditions"][0]["reason"] = "Archived"
    return body


@pytest.mark.parametrize(
    ("body", "state", "told"),
    [
        (source(SHA, "True", SHA), "Done", ""),
        # Its inventory is written, and nothing else is yet: Ready is that of the commit before, or of none.
        (source(SHA, "True", NEXT, digest="of it"), "Waiting", f"it is still at main@sha1:{NEXT}"),
        (source(SHA, "True"), "Waiting", "it is still at no commit"),
        (source(SHA, "True", NEXT, dryRun=True), "Stalled", "it is a dry run"),
        (source(SHA, "True", SHA, dryRun=True), "Done", ""),
        # It changes nothing, and that was written down with something else.
        (source(SHA, "True", NEXT), "Done", ""),
        (source(SHA, "False", NEXT), "Waiting", "it is still at"),
        (archived(source(SHA, "True", NEXT)), "Waiting", "it is still at"),
        (source(NEXT, "True", NEXT), "Waiting", f"it is still at main@sha1:{NEXT}"),
        # It went on already; what is applied now has that commit in it.
        (source(NEXT, "True", NEXT, SHA), "Done", ""),
        (source(SHA, "False", SHA), "Waiting", "R: "),
        (source(SHA, "False", stalled="bad"), "Stalled", "R: bad"),
        (source(SHA, "False", NEXT, stalled="bad"), "Stalled", "R: bad"),
        # What stalled is the commit before, which this one may mend.
        (source(NEXT, "False", stalled="bad"), "Waiting", "it is still at"),
        (source(NEXT, "True", suspend=True), "Stalled", "it is suspended"),
    ],
)
def test_a_source(body: Any, state: str, told: str) -> None:
    found = look(body, Want(revision=SHA[:12].upper()))
    assert (found.state, told in found.message) == (state, True), found


def test_a_sources_other_conditions_are_of_the_commit_too() -> None:
    healthy, stalled = Want("Healthy", revision=SHA), Want("Stalled", revision=SHA)
    # What stays applied is well, and is another commit.
    assert look(source(SHA, "True", NEXT, digest="of it"), healthy).state is State.WAITING
    assert look(source(SHA, "False", NEXT), healthy).state is State.WAITING
    assert look(source(SHA, "False", NEXT, stalled="bad"), healthy).state is State.STALLED
    assert look(source(SHA, "False", SHA), healthy).state is State.DONE
    assert look(source(SHA, "False", NEXT, stalled="bad"), stalled).state is State.DONE
    assert look(source(NEXT, "False", NEXT, stalled="bad"), stalled).state is State.WAITING


@pytest.mark.parametrize(("text", "wanted"), [("90", 90), ("10m", 600), ("1h30m", 5400), ("1.5s", 1.5), ("0", 0)])
def test_times(text: str, wanted: float) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "m", "10 m", "1d", "-1s", "1m30"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(Failure, match="is no time"):
        seconds(text)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["shop"], "there is no kind|write what to wait for"),
        (["project/shop", "--version", "1.0.0"], "a Project has no version"),
        (["application/shop", "--revision", "abcd"], "an Application has no|Application has no revision"),
        (["gitsource/fleet", "--revision", "main"], "'main' is no commit"),
        (["application/shop", "--for", "Ready=maybe"], "is no condition"),
        (["application/shop", "--for", "delete", "--version", "1.0.0"], "what is deleted has no version"),
        (["application/shop", "--for", "Stalled", "-e", "dev"], "an environment is Ready, or isn't"),
        (["application/shop", "--timeout", "soon"], "'soon' is no time"),
    ],
)
def test_usage(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wait", *words]) == 1
    assert re.search(told, capsys.readouterr().err)
