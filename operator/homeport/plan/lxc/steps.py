"""What to do next about a container: a chain of rules, of which the first that has something to say decides. Pure.

Each step is safe to be the last before a crash: what is asked for next time follows from what is there then. What can't
be told from what is there (a creation under way, a reboot) is in ``status.task`` before it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable

from homeport.plan.lxc.following import follow, make, reboot_asked
from homeport.plan.lxc.leaving import leave
from homeport.plan.lxc.mending import grow, lost, reboot, run
from homeport.plan.lxc.presence import begin, foreign, locked, missing, observe
from homeport.plan.lxc.replacement import move, replace, retire
from homeport.plan.lxc.taking_back import abandoned, give_up, go_back
from homeport.plan.lxc.trial import configure, revert
from homeport.plan.lxc.verdict import settle
from homeport.plan.lxc.view import Step, View

Rule = Callable[[View], Step | None]

RULES: tuple[Rule, ...] = (
    follow,
    give_up,
    make,
    reboot_asked,
    begin,
    abandoned,
    missing,
    foreign,
    locked,
    observe,
    go_back,
    replace,
    move,
    lost,
    revert,
    configure,
    grow,
    run,
    reboot,
    retire,
    settle,
)
"""In this order; the first that answers decides."""


def next_step(view: View) -> Step:
    """What to do next."""
    for rule in RULES:
        step = rule(view)
        if step is not None:
            return step
    raise AssertionError("settle always answers")


def last_step(view: View) -> Step:
    """What to do next about a container whose resource is being deleted. Ok: it may go."""
    return follow(view) or leave(view)
