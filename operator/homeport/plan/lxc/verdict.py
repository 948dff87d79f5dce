"""How a container is, when nothing is left to do."""

from __future__ import annotations

from homeport.api.conditions import Reason
from homeport.outcome import Ok, Outcome, Stalled, Wait
from homeport.plan.lxc.common import node_of
from homeport.plan.lxc.differences import Diff
from homeport.plan.lxc.view import Step, View


def settle(view: View) -> Step:
    """Nothing is left to do: say how it is."""
    return Step(outcome=_verdict(view), remember={"mounts": view.diff.mounts} if not view.moving else {})


def _verdict(view: View) -> Outcome:
    return _amiss(view) or _under_way(view) or _as_it_is(view)


def _amiss(view: View) -> Outcome | None:
    """What a person has to decide."""
    vmid, reverted = view.wanted.owner.vmid, view.status.reverted
    if reverted is not None and reverted.hash == view.digest:
        return Stalled(
            Reason.HEALTH_CHECK_FAILED, f"{reverted.message}; it was taken back. Write another configuration"
        )
    if view.spec.vmid not in (None, vmid) and view.status.replacing is None:
        text = (
            f"vmid: {view.spec.vmid} is named, and its container has {vmid}, which Proxmox VE can't change; write "
            f"vmid: {vmid}, or leave it out"
        )
        return Stalled(Reason.INVALID_SPEC, text)
    if view.diff.recreate:
        return _needs_replacement(view, view.diff)
    if view.stuck:
        names = ", ".join(sorted(view.stuck))
        text = f"Proxmox VE takes {names} and shows something else afterwards: see status.drift; write what it shows"
        return Stalled(Reason.APPLY_FAILED, text)
    return None


def _under_way(view: View) -> Outcome | None:
    """What comes about by itself, or doesn't."""
    if not view.seen.running or view.wants_running is False:
        return None
    if view.health.asked and view.health.well is False:
        return Wait(Reason.HEALTH_CHECK_FAILED, view.health.message, 15.0)
    if view.health.asked and view.health.well is None:
        return Wait(Reason.PROGRESSING, view.health.message or "waits for its first health check", 5.0)
    if not view.addresses and any(network.ip == "dhcp" for network in view.wanted.networks.values()):
        return Wait(Reason.PROGRESSING, "waits for an address by DHCP", 5.0)
    return None


def _as_it_is(view: View) -> Outcome:
    vmid, node, found = view.wanted.owner.vmid, node_of(view), view.diff
    state = "running" if view.seen.running else "stopped"
    if view.archived:
        return Ok(f"the project is archived; {state} as {vmid} on {node}", reason=Reason.ARCHIVED)
    if view.finished and view.exit_code:
        return Stalled(Reason.HEALTH_CHECK_FAILED, f"its command ended with exit code {view.exit_code}")
    if view.finished and not view.seen.running:
        return Ok(f"its command has ended well; stopped as {vmid} on {node}")
    text = f"{state} as {vmid} on {node}"
    if found.pending:
        text += f"; waits for a reboot: {', '.join(found.pending)}"
    differs = [d.field for d in found.differences if not d.sends]
    if differs:
        text += f"; differs: {', '.join(differs)}"
    for one in view.by_hand:
        how = f"on {node}: pct migrate {vmid} {one.wanted}" if one.field == "node" else "in Proxmox VE"
        text += (
            f"; {one.field}: {one.wanted} is wanted, and Homeport changes that of no container that is there ({how})"
        )
    return Ok(text)


def _needs_replacement(view: View, found: Diff) -> Outcome:
    shrunk = [d for d in found.recreate if d.field.endswith(".size")]
    if shrunk:
        fields = ", ".join(f"{d.field} is {d.found}" for d in shrunk)
        return Stalled(Reason.INVALID_SPEC, f"{fields}, and a disk can't shrink; write at least that")
    if view.status.refused is not None:
        text = f"a replacement was taken back: {view.status.refused.message}; when that is mended, set the annotation "
        return Stalled(Reason.REPLACEMENT_REQUIRED, f"{text}homeport.dev/replace-at to a new value")
    fields = ", ".join(f"{d.field} ({d.found} instead of {d.wanted})" for d in found.recreate)
    how = "set the annotation homeport.dev/replace-at to a new value"
    if view.spec.vmid is not None:
        how = f"leave vmid out, for the new one has another, and {how}"
    text = f"only a new container can have another {fields}; to have this one replaced, {how}"
    return Stalled(Reason.REPLACEMENT_REQUIRED, text)
