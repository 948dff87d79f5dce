"""What is looked at in one reconciliation of a container."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from homeport.api import labels
from homeport.api.lxccontainer import LXCContainerSpec
from homeport.api.lxcstatus import LXCContainerStatus
from homeport.api.resource import Resource
from homeport.drivers.proxmox.protocol import ProxmoxHost
from homeport.engine.context import Context
from homeport.engine.lxc import ground as grounds
from homeport.engine.lxc import place as places
from homeport.engine.lxc import software, tasks
from homeport.engine.lxc.checks import Looked
from homeport.engine.lxc.ground import Ground
from homeport.engine.lxc.known import Containers
from homeport.outcome import Outcome
from homeport.plan.lxc import owner, reachable, taking_back, window
from homeport.plan.lxc.view import Absence, Seen, View
from homeport.plan.lxc.wanted import Place, wanted

Container = Resource[LXCContainerSpec]


class Looking:
    """What one reconciliation of one container knows, and how it finds out more."""

    def __init__(
        self, resource: Container, context: Context, status: LXCContainerStatus, leaving: bool = False
    ) -> None:
        self.resource, self.context, self.leaving = resource, context, leaving
        self.known: Containers = context.containers
        self.kept = self.known.sight.kept(resource.key)
        self.status = status
        self.handed_out = False
        """Whether something was handed out in this pass, which the status in the API server doesn't have yet."""
        self.driver: ProxmoxHost | None = None
        task = self.known.tasks.get(resource.key)
        if task is not None and (self.status.task is None or self.status.task.upid is None):
            self.remember({"task": task})

    def remember(self, updates: Mapping[str, Any]) -> None:
        """Take down what goes into the status."""
        self.status = self.status.model_copy(update=dict(updates))

    async def view(self, on: Ground, template: str | None) -> View | Outcome:
        """All that a step is decided by; what to wait for while that can't be known."""
        resource, status = self.resource, self.status
        found = (
            places.last_place(resource, status, on, self.context)
            if self.leaving
            else places.place(resource, status, on, self.context, template)
        )
        if not isinstance(found, Place):
            return found
        if not self.leaving:
            prepared = await software.prepared(resource, status, found, on, self.context)
            if not isinstance(prepared, Place):
                return prepared
            found = prepared
        task = await tasks.standing(status.task, resource.key, on.driver)
        # What a task is at work on is looked at when that has ended.
        at_work = task is not None and task.running
        seen = Seen() if at_work else await self.see(on, found.vmid, status.node or "", self._may_be_there())
        tried = status.trial is not None and status.trial.snapshot
        if (tried and not self.leaving) or (self.leaving and resource.spec.deletion_policy == "Delete"):
            seen = await self._with_snapshots(seen, on)
        asked = await tasks.asked(
            status.task, seen, on.driver, self.known, resource.key, self.context.now(), self.leaving
        )
        old = Seen()
        if status.replacing is not None and not at_work:
            old = await self._old(on, seen)
        addresses: tuple[str, ...] = ()
        looked = Looked()
        if not self.leaving and seen.here and status.created:
            nets = seen.config.networks if seen.config is not None else {}
            if seen.running:
                told = await self.known.sight.addresses(resource.key, seen, on.driver) if reachable.asks(nets) else ()
                addresses = reachable.of(nets, told)
            checked = reachable.checkable(nets, addresses, found.cidr)
            looked = await software.looked(resource, status, found, on, seen.running, checked, self.context)
            self.remember(looked.remember)
        return View(
            name=resource.name,
            spec=resource.spec,
            status=self.status,
            place=found,
            wanted=wanted(resource.name, resource.spec, found, adopted=bool(status.adopted)),
            seen=seen,
            now=self.context.now(),
            old=old,
            task=task,
            asked=asked,
            health=looked.health,
            addresses=addresses,
            replace_at=resource.annotations.get(labels.REPLACE_AT),
            old_fits=not self.leaving and software.old_fits(resource, status, on, old, self.context),
            window_open=self._window_open(),
            may_adopt=places.may_adopt(resource, on, found.vmid),
            listed=next((guest for guest in on.reading.resources.guests if guest.vmid == found.vmid), None),
            software_changed=software.changed(resource, status, found),
            archived=grounds.is_archived(on.project, self.context),
            confirmed=resource.annotations.get(labels.CONFIRM_DELETE),
            finished=looked.finished,
            exit_code=looked.exit_code,
        )

    async def is_given_up(self, on: Ground) -> bool:
        """Whether a replacement that nothing was asked for yet isn't wanted any more; also while it can't be begun,
        since there is no VMID, or no template."""
        status = self.status
        if status.replacing is None or status.created or status.task is not None:
            return False
        old = await self.see(on, status.replacing.vmid, status.replacing.node)
        mark = grounds.owner_of(self.resource, status.replacing.vmid, self.context)
        if old.config is None or not owner.is_ours(old.config.description, mark):
            return False
        if not software.old_fits(self.resource, status, on, old, self.context):
            return False
        if status.vmid is not None:
            new = await self.see(on, status.vmid, status.node or "")
            if new.absence is not Absence.GONE:
                return False
        self.remember(taking_back.undone(status))
        return True

    async def _old(self, on: Ground, seen: Seen) -> Seen:
        """The container that is being replaced; with its snapshots, as long as they decide."""
        replacing = self.status.replacing
        assert replacing is not None
        old = await self.see(on, replacing.vmid, replacing.node)
        if self.leaving:
            return await self._with_snapshots(old, on)
        decides = seen.here and (old.running if replacing.phase in ("Creating", "Moving") else True)
        return await self._with_snapshots(old, on) if decides else old

    async def _with_snapshots(self, seen: Seen, on: Ground) -> Seen:
        if not seen.here or self.resource.spec.management_policy == "Observe":
            return seen
        assert seen.guest is not None
        return dataclasses.replace(seen, snapshots=await on.driver.snapshots(seen.guest.node, seen.guest.vmid))

    def _window_open(self) -> bool:
        if self.resource.spec.reboot_window is None:
            return False
        return window.is_open(self.resource.spec.reboot_window, self.context.now())

    async def see(self, on: Ground, vmid: int, node: str, made: bool = True) -> Seen:
        """One container, as it was read last, or is."""
        key, resources = self.resource.key, on.reading.resources
        reads = (self.resource.uid, self.resource.generation, self.resource.reconcile_token)
        return await self.known.sight.see(key, vmid, node, on.driver, resources, reads, made=made)

    def _may_be_there(self) -> bool:
        """Whether anything says that there is a container: what was never asked for needs no search."""
        spec, status = self.resource.spec, self.status
        exists = spec.adopt is not None or spec.management_policy == "Observe"
        begun = status.task is not None and status.task.upid is not None
        return bool(self.leaving or exists or begun or status.created or status.replacing)
