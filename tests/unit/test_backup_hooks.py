"""Hooks: what is said of one that ends, that fails, that takes too long, and that can't be run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from homeport.api.backup import BackupHook
from homeport.api.resource import parse_spec
from homeport.drivers.kubernetes import errors
from homeport.engine.backups import hooks

COMMANDS = ("slow", "freeze", "broken", "gone", "last")
SAID = {
    "slow": "it hadn't ended after 90s",
    "broken": "it ended with exit code 3",
    "gone": "it couldn't be run: no Pod of component db runs",
}


async def execute(command: Sequence[str], limit: float) -> int:
    (name,) = command
    if name == "slow":
        assert limit == 90.0
        raise TimeoutError
    if name == "gone":
        raise hooks.HookError("no Pod of component db runs")
    return 3 if name == "broken" else 0


def written(*names: str) -> list[BackupHook]:
    return [parse_spec(BackupHook, {"exec": [name], "timeout": "90s"}) for name in names]


async def test_after_a_run_all_are_tried_and_each_says_what_came_of_it() -> None:
    states = await hooks.run("after", written(*COMMANDS), execute)
    assert [state["hook"] for state in states] == [f"after[{number}]" for number in range(len(COMMANDS))]
    assert [state.get("message") for state in states] == [SAID.get(name) for name in COMMANDS]
    assert [state.get("exitCode") for state in states] == [None, 0, 3, None, 0]
    assert hooks.failure(states).startswith("hook after[0]: it hadn't ended after 90s; hook after[2]: ")


@pytest.mark.parametrize("name", sorted(SAID))
async def test_before_a_run_the_first_that_fails_is_the_last(name: str) -> None:
    states = await hooks.run("before", written("freeze", name, "last"), execute)
    assert [state["hook"] for state in states] == ["before[0]", "before[1]"]
    assert hooks.failure(states) == f"hook before[1]: {SAID[name]}"


async def test_what_the_api_server_refuses_is_told_and_cut_short() -> None:
    async def refused(command: Sequence[str], limit: float) -> int:
        raise errors.Forbidden(403, "Forbidden", "no " * 1000)

    (state,) = await hooks.run("before", written("freeze"), refused)
    assert state["message"].startswith("it couldn't be run: ") and len(state["message"]) < 600
