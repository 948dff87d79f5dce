"""What the engine is told of a container's agent."""

from __future__ import annotations

from dataclasses import dataclass

from homeport.plan.agent.frames import State


@dataclass(frozen=True)
class ExecResult:
    """How a command ended."""

    exit_code: int
    """-1 when there is none: see ``error``."""
    stdout: bytes = b""
    stderr: bytes = b""
    dropped: int = 0
    timed_out: bool = False
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether it ran and exited 0."""
        return self.exit_code == 0 and not self.error


@dataclass(frozen=True)
class Session:
    """What is known of a container's agent now."""

    connected: bool = False
    fingerprint: str = ""
    """Of the credential that connected; to be kept as ``Peer.pinned`` when that is empty."""
    state: State | None = None
    """What it said last; None before it said anything. Kept while it is away, and lost with the operator's process."""
    features: tuple[str, ...] = ()
    """What its init can do beyond the protocol's first version."""
    problem: str = ""
    """Why somebody who claimed to be this container was turned away, as a sentence; empty when nobody was."""
