"""How a reconciliation ended: a small closed algebra.

A sub-step answers with one of four outcomes; several combine to the worst of them, so that a page of steps
needs no exceptions for what is expected. The idea of results that combine is koreo-core's ``result.py``.

========= ======================================== ===========================================
outcome   meaning                                  what the engine does
========= ======================================== ===========================================
Ok        the world is as declared                 nothing until something changes
Wait      somebody else has to act first           looks again after ``after`` seconds, or on an event
Transient a fault that may pass                    tries again, backing off with jitter
Stalled   a fault that only the user can mend      nothing until the resource or what it names changes
========= ======================================== ===========================================
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ok:
    """The world is as declared. ``message`` becomes the Ready message; ``after`` (seconds) asks for another look."""

    message: str = ""
    after: float | None = None
    reason: str = "ReconciliationSucceeded"


@dataclass(frozen=True, slots=True)
class Wait:
    """Somebody else has to act first: a Deployment rolls out, a dependency isn't there yet."""

    reason: str
    message: str
    after: float | None = None


@dataclass(frozen=True, slots=True)
class Transient:
    """A fault that may pass by itself: the API server answered 500, the network broke."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Stalled:
    """A fault that only the user can mend; ``message`` says what to write instead."""

    reason: str
    message: str


Outcome = Ok | Wait | Transient | Stalled

_SEVERITY = {Ok: 0, Wait: 1, Transient: 2, Stalled: 3}


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The most severe of ``outcomes``; the first one wins among equals. Ok when there is none.

    Among Ok and Wait the earliest ``after`` is kept, so that no part's wish to be looked at again is lost.
    """
    result: Outcome = Ok()
    after: float | None = None
    for outcome in outcomes:
        if isinstance(outcome, Ok | Wait) and outcome.after is not None:
            after = outcome.after if after is None else min(after, outcome.after)
        if _SEVERITY[type(outcome)] > _SEVERITY[type(result)]:
            result = outcome
    if isinstance(result, Ok):
        return Ok(result.message, after, result.reason)
    if isinstance(result, Wait):
        return Wait(result.reason, result.message, after)
    return result
