"""LXC containers: what is seen becomes a step (``plan.lxc``), and a step becomes one request to the host.

What a request makes has its name in the status before it is sent, so that a crash at any moment is mended by looking.
A task is begun and followed by its UPID; nothing waits for it here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from homeport.api.conditions import Reason
from homeport.api.lxccontainer import LXCContainerSpec
from homeport.api.resource import Resource
from homeport.drivers.proxmox import errors
from homeport.engine.backups import proxmoxhold
from homeport.engine.context import Context
from homeport.engine.lxc import doing, given, software
from homeport.engine.lxc import ground as grounds
from homeport.engine.lxc import place as places
from homeport.engine.lxc.ground import Ground
from homeport.engine.lxc.looking import Looking
from homeport.engine.lxc.remembered import UnreadableStatusError, remembered, written
from homeport.outcome import Ok, Outcome, Stalled, Wait
from homeport.plan.lxc import status as status_plan
from homeport.plan.lxc import steps, taking_back, window
from homeport.plan.lxc.view import Do, Step, View

Container = Resource[LXCContainerSpec]
ROUNDS = 12
"""Looks in one reconciliation at most: each but the last only takes down what has happened."""


@dataclass
class Sought:
    """What came of one reconciliation: the status' own fields, and how it ended."""

    fields: Mapping[str, Any]
    outcome: Outcome


async def seek(resource: Container, context: Context) -> Sought:
    """One reconciliation: look, decide, do at most one thing."""
    try:
        status = remembered(resource)
    except UnreadableStatusError as error:
        return Sought(error.kept, error.outcome)
    return await _Seeking(resource, context, status).go(steps.next_step)


async def leave(resource: Container, context: Context) -> Sought:
    """The same for a container whose resource is being deleted."""
    try:
        status = remembered(resource)
    except UnreadableStatusError as error:
        return Sought(error.kept, error.outcome)
    if status.vmid is None and status.replacing is not None:
        # Nothing of another one was asked for: what was to be replaced is what is left.
        status = status.model_copy(update=taking_back.undone(status))
    asked = given.is_made(status) or resource.spec.adopt is not None
    if status.vmid is None or not status.host or not asked:
        # What was never asked for was never made. One that is taken over may be marked, and not told of yet.
        return Sought(written(resource, status), Ok())
    return await _Seeking(resource, context, status, leaving=True).go(steps.last_step)


class _Seeking(Looking):
    """One reconciliation of one container."""

    async def go(self, decide: Any) -> Sought:
        if (held := self._held()) is not None:
            return held
        try:
            outcome = await self._go(decide)
        except errors.ProxmoxError as error:
            self.known.sight.stale(self.resource.key)
            outcome = doing.told(error, str(self.status.host or ""), self.context)
        finally:
            if self.driver is not None:
                self.driver.pass_on(str(self.resource.key))
        return Sought(written(self.resource, self.status), outcome)

    async def _go(self, decide: Any) -> Outcome:
        on = self._ground()
        if not isinstance(on, Ground):
            return on
        self.driver = on.driver
        template: str | None = None
        if not self.leaving:
            if await self.is_given_up(on):
                return Wait(Reason.PROGRESSING, "isn't replaced: it is as wanted", 0.0)
            found = await self._given(on)
            if isinstance(found, Outcome):
                return found
            template = found
        for _ in range(ROUNDS):
            view = await self.view(on, template)
            if not isinstance(view, View):
                return view
            outcome = await self._step(self._without_stuck(view), on, decide)
            if outcome is not None:
                return outcome
        return Wait(Reason.PROGRESSING, "the container changes all the time", 5.0)

    async def _step(self, view: View, on: Ground, decide: Any) -> Outcome | None:
        """Decide, and do it. None: look again."""
        key, step = self.resource.key, decide(view)
        if step.do is not Do.NOTHING and (waits := self._room(step, on)) is not None:
            return waits
        if step.do not in (Do.NOTHING, Do.CREATE) and self._is_kept(view):
            self.known.sight.stale(key)
            return None
        self.remember(step.remember)
        if "task" in step.remember:
            self.known.tasks.pop(key, None)
        if step.again:
            return None
        if step.do is Do.NOTHING:
            self.known.repeats.pop(key, None)
            self.remember(status_plan.found(view))
            return self._watched(step.outcome)
        if self.known.is_vain(key, step):
            return self._give_up(view, step)
        done = await doing.carry_out(step, self.resource, self.status, on, self.context)
        if done.outcome is not None:
            self.remember({**status_plan.found(view), **done.remember})
        return done.outcome

    def _room(self, step: Step, on: Ground) -> Outcome | None:
        """What is waited for before a step: that what was handed out is written down, and room for its task."""
        if self.handed_out:
            return Wait(Reason.PROGRESSING, f"is given VMID {self.status.vmid} on {self.status.node}", 0.0)
        full = on.driver.full(str(self.resource.key)) if step.do is not Do.CONFIGURE else ""
        return Wait(Reason.PROGRESSING, full, doing.ROOM) if full else None

    def _without_stuck(self, view: View) -> View:
        """The view without the options that were sent in vain, as long as it is the same that would be sent."""
        stuck = self.known.stuck.get(self.resource.key)
        if not stuck or not view.seen.here:
            return view
        still = {one.field: one.send for one in view.diff.sendable if stuck.get(one.field, "") == one.send}
        self.known.stuck[self.resource.key] = still
        return dataclasses.replace(view, stuck=frozenset(still))

    def _give_up(self, view: View, step: Step) -> Outcome | None:
        """A change is taken and doesn't show, again and again: leave it be, and say so. None: go on without it."""
        sent = {one.field: one.send for one in view.diff.sendable} if view.seen.here else {}
        if step.detail == ", ".join(sent):
            self.known.stuck[self.resource.key] = {**self.known.stuck.get(self.resource.key, {}), **sent}
            return None
        text = f"Proxmox VE takes a change of container {step.vmid} ({step.detail}), and doesn't show it afterwards"
        return Stalled(Reason.APPLY_FAILED, text)

    def _held(self) -> Sought | None:
        """Whether a Restore is putting another container into its place: waits, and goes on with that one then."""
        held = proxmoxhold.hold(self.resource, self.context)
        if held is None or isinstance(held, Outcome):
            return None if held is None else Sought(written(self.resource, self.status), held)
        self.remember(held)
        self.known.sight.forget(self.resource.key)
        text = f"goes on as {self.status.vmid}"
        return Sought(written(self.resource, self.status), Wait(Reason.PROGRESSING, text, 0.0))

    def _is_kept(self, view: View) -> bool:
        """Whether it was read before this pass. Whose a container is, and what is on it, may have changed since:
        nothing is done to one that wasn't read anew just before. (To make one, Proxmox VE itself has to find none.)"""
        return view.seen.reading in self.kept or view.old.reading in self.kept

    def _ground(self) -> Ground | Outcome:
        """What it stands on. A container that goes needs its host alone, whatever became of its environment."""
        if not self.leaving:
            return grounds.ground(self.resource, self.context)
        return grounds.last_ground(self.resource, str(self.status.host), self.context)

    async def _given(self, on: Ground) -> str | Outcome | None:
        """Hand out what it has to have before it is made; the template that it is made of."""
        if (refused := software.refused(self.resource, on)) is not None:
            return refused
        if (opens := self.resource.spec.reboot_window) is not None and (problem := window.problem(opens)):
            return Stalled(Reason.INVALID_SPEC, f"spec.rebootWindow: {problem}")
        template = places.resolve_template(self.resource, self.status, on)
        if isinstance(template, Outcome):
            return template
        told = await given.allocate(self.resource, self.status, on, self.context, template)
        if not isinstance(told, Mapping):
            return told
        told = {**told, **software.claimed(self.resource, self.status, on, self.context)}
        if told:
            # Written down before it is used.
            self.remember(told)
            self.handed_out = True
        if software.image_of(self.resource) is None:
            return template
        found = await software.template(self.resource, self.status, on, self.context)
        if isinstance(found, Outcome):
            return found
        self.remember(found[1])
        return found[0]

    def _watched(self, outcome: Outcome) -> Outcome:
        """A container that is as it should be is looked at again by the audit, or by its next health check."""
        if not isinstance(outcome, Ok) or self.status.vmid is None:
            return outcome
        after = self.known.sight.due_in(self.resource.key, self.status.vmid)
        after = min(after, self.known.prober.due_in(self.resource.key), self.known.shells.due_in(self.resource.key))
        if self.resource.spec.reboot_window is not None and self.status.pending_reboot:
            opens = window.opens(self.resource.spec.reboot_window, self.context.now())
            after = min(after, opens + 1.0) if opens is not None else after
        return Ok(outcome.message, after if outcome.after is None else outcome.after, outcome.reason)
