"""What survives when the stand-in ends: the cluster as its files and disks would have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fakepve.lxc import FakeCt

from localpve.server import StandIn

PARTS = ("cluster_name", "version", "release_version", "nodes", "pools", "pool_info", "acl", "storages", "apitokens",
         "leases", "disks", "bridges")  # fmt: skip
PASSING = ("lock_holder", "lock_released")
TASKS = 2000
"""How many of the newest tasks are kept."""
BROKEN_OFF = "unexpected status"
"""What PVE says of a task whose process is gone without a word."""


def save(pve: StandIn, path: Path) -> None:
    """Write all of it, or nothing."""
    containers = [{key: value for key, value in vars(ct).items() if key not in PASSING} for ct in pve.cts]
    state = {part: getattr(pve, part) for part in PARTS}
    text = json.dumps({**state, "containers": containers, "tasks": pve.tasklog[-TASKS:]}, default=_as_json)
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.chmod(0o600)  # the tokens' secrets are in it
    temporary.replace(path)


def load(pve: StandIn, path: Path) -> bool:
    """Take over what was written; whether there was anything. Raises ValueError for what isn't whole."""
    if not path.exists():
        return False
    state = json.loads(path.read_text(), object_hook=_from_json)
    for part in PARTS:
        found = getattr(pve, part)
        if isinstance(found, dict):
            found.clear()
            found.update(state[part])
        else:
            setattr(pve, part, state[part])
    pve.leases = dict(pve.leases)
    pve.disks = {int(vmid): disk for vmid, disk in state["disks"].items()}
    if pve.acl is not None:
        pve.acl = {user: [(place, set(privs)) for place, privs in entries] for user, entries in pve.acl.items()}
    for fields in state["containers"]:
        ct = FakeCt(fields["vmid"], defaults=False)
        vars(ct).update(fields)
        pve.cts.append(ct)
    for task in state["tasks"]:
        if task["status"] == "running":
            task |= {"status": "stopped", "exitstatus": BROKEN_OFF}
        pve.tasklog.append(task)
        pve.tasks[task["upid"]] = task
    return True


def _as_json(value: Any) -> Any:
    if isinstance(value, set):
        return {"set": sorted(value)}
    raise TypeError(f"{value!r} isn't kept")


def _from_json(value: dict[str, Any]) -> Any:
    return set(value["set"]) if value.keys() == {"set"} else value
