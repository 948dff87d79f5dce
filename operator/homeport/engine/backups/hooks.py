"""Hooks: commands in the source, before and after a run. They run in the background, for they may take minutes.

What is known of them dies with the process; then they run once more, which is why each may run more than once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from homeport.api.backup import BackupHook
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import errors
from homeport.plan.names import seconds

log = logging.getLogger(__name__)

Execute = Callable[[Sequence[str], float], Awaitable[int]]
"""Runs a command for so many seconds at most, and answers its exit code. Raises ApiError, TimeoutError, HookError."""
State = dict[str, Any]
_SAID = 500
"""Characters of an error that are kept."""


class HookError(Exception):
    """A hook can't be run; the message says why."""


@dataclass
class Hooks:
    """Those that run, by whose they are. ``wake`` is told when they are done."""

    wake: Callable[[OwnerKey], None]
    _tasks: dict[tuple[OwnerKey, str], asyncio.Task[list[State]]] = field(default_factory=dict)

    def look(self, key: OwnerKey, when: str, hooks: Sequence[BackupHook], execute: Execute) -> list[State] | None:
        """What came of ``hooks``; None while they run, which begins now if it hasn't."""
        task = self._tasks.get((key, when))
        if task is None:
            task = asyncio.create_task(run(when, hooks, execute), name=f"hooks {when} {key}")
            task.add_done_callback(lambda _: self.wake(key))
            self._tasks[key, when] = task
        return task.result() if task.done() and not task.cancelled() else None

    def forget(self, key: OwnerKey) -> None:
        """It is over, or gone."""
        for found in [found for found in self._tasks if found[0] == key]:
            self._tasks.pop(found).cancel()


async def run(when: str, hooks: Sequence[BackupHook], execute: Execute) -> list[State]:
    """Run them one after the other. Before a run the first that fails is the last; after one, all are tried."""
    out: list[State] = []
    for number, hook in enumerate(hooks):
        state: State = {"hook": f"{when}[{number}]"}
        try:
            state["exitCode"] = await execute(hook.exec, seconds(hook.timeout))
            if state["exitCode"]:
                # Without what it said: that may be anything.
                state["message"] = f"it ended with exit code {state['exitCode']}"
        except TimeoutError:
            state["message"] = f"it hadn't ended after {hook.timeout}"
        except (errors.ApiError, HookError) as error:
            state["message"] = f"it couldn't be run: {str(error)[:_SAID]}"
        out.append(state)
        if when == "before" and state.get("message"):
            break
    return out


def failure(states: Sequence[State]) -> str:
    """What went wrong, as a sentence; empty when all went well."""
    return "; ".join(f"hook {state['hook']}: {state['message']}" for state in states if state.get("message"))
