"""What a host refuses in a part of a restore that can't simply fail: a swap, and what is removed at the end.

Nothing is undone then, and nothing given up: it is told what was refused and by whom, it is tried again later and later
(5 minutes apart at most), and goes on from the step that is in the status once the host lets it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.api.restore import RestoreStatus
from homeport.outcome import Ok, Outcome, Transient

KEEP_AGAIN = 600.0
"""Seconds between tries to destroy an original whose time has come: the restore is long over."""
_Doing = Callable[[RestoreStatus], str]
_DOING: Mapping[str, _Doing] = {
    "Halt": lambda of: f"to stop {of.vmid}, which was restored",
    "Stop": lambda of: f"to stop the original {of.previous_vmid}",
    "Release": lambda of: f"to mark the original {of.previous_vmid} as kept",
    "Move": lambda of: f"to move what backups leave out from {of.previous_vmid} to {of.vmid}",
    "Take": lambda of: f"to give {of.vmid} the names, networks and addresses of the original {of.previous_vmid}",
    "Return": lambda of: f"to give the original {of.previous_vmid} its mark back",
    "Keep": lambda of: f"to destroy the original {of.previous_vmid}, whose time has come",
    "Clean": lambda of: f"to remove {of.vmid}, which was made for this",
}


def waits(status: RestoreStatus) -> bool:
    """Whether a refusal is waited out here."""
    return status.phase == "Swapping" or status.step in ("Clean", "Keep")


def told(status: RestoreStatus, host: str, why: str) -> Outcome:
    """What is said of a refusal for good: ``why`` is the host's own sentence, or what is made of it."""
    step = str(status.step)
    doing = _DOING[step](status) if step in _DOING else f"step {step}"
    text = f"ProxmoxHost {host} refuses {doing}: {why}"
    if step == "Keep":
        return Ok(f"{status.message}; {text}; it is tried again", KEEP_AGAIN)
    if status.phase == "Swapping" and step not in ("Halt", "Clean"):
        text += (
            f". Both are there, the original {status.previous_vmid} and the restored {status.vmid}, and LXCContainer "
            f"{status.restored_to.container if status.restored_to is not None else ''} waits; the annotation "
            f"{labels.CALL_OFF} with this Restore's name calls it off"
        )
    return Transient(Reason.PROGRESSING_WITH_RETRY, f"{text}. It is tried again, and goes on from there")
