"""PVE's worker tasks: what a POST that takes a while answers with, and how one ended.

Sources: pve-common ``Tools.pm`` (``upid_decode``), pve-manager ``API2/Tasks.pm`` (``status``: ``running`` or
``stopped``; then ``exitstatus``), pve-common ``RESTEnvironment.pm`` (a worker that warned ends in ``WARNINGS: n``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

_UPID = re.compile(
    r"UPID:(?P<node>[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?):(?P<pid>[0-9A-Fa-f]{8}):(?P<pstart>[0-9A-Fa-f]{8,9}):"
    r"(?P<started>[0-9A-Fa-f]{8}):(?P<type>[^:\s]+):(?P<id>[^:\s]*):(?P<user>[^:\s]+):"
)
_WARNINGS = re.compile(r"WARNINGS: (\d+)")


class Upid(NamedTuple):
    """A task's identity; its text is what the API takes. It stays valid when the operator, or the task, has ended."""

    text: str
    node: str
    type: str
    """``vzcreate``, ``vzstart``, ``download``, …"""
    id: str
    """What it works on: a VMID, or empty."""
    user: str
    started: int
    """Seconds since 1970."""

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str) -> Upid:
        """A UPID. Raises ValueError."""
        match = _UPID.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} isn't a task's UPID")
        return cls(text.strip(), match["node"], match["type"], match["id"], match["user"], int(match["started"], 16))


class End(StrEnum):
    """How a task stands."""

    RUNNING = "Running"
    OK = "OK"
    WARNINGS = "Warnings"
    """It did what it should, and wrote warnings into its log."""
    FAILED = "Failed"
    UNKNOWN = "Unknown"
    """It has ended and nothing says how (its node was rebooted): look before anything is repeated."""


class TaskStatus(NamedTuple):
    """A task as it stands."""

    upid: Upid
    end: End
    message: str = ""
    """What it failed with."""
    warnings: int = 0

    @property
    def running(self) -> bool:
        """Whether it is still at work."""
        return self.end is End.RUNNING

    @property
    def succeeded(self) -> bool:
        """Whether it did what it should."""
        return self.end in (End.OK, End.WARNINGS)


def task_status(upid: Upid, raw: Mapping[str, Any]) -> TaskStatus:
    """The answer of ``/nodes/{node}/tasks/{upid}/status``."""
    if raw.get("status") == "running":
        return TaskStatus(upid, End.RUNNING)
    told = raw.get("exitstatus")
    if told is None or told in ("", "unexpected status"):
        return TaskStatus(upid, End.UNKNOWN, str(told or "it ended without saying how"))
    text = str(told)
    if text == "OK":
        return TaskStatus(upid, End.OK)
    warned = _WARNINGS.fullmatch(text)
    if warned is not None:
        return TaskStatus(upid, End.WARNINGS, text, int(warned[1]))
    return TaskStatus(upid, End.FAILED, text)
