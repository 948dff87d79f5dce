"""The probes of what is reached by SSH, as the kubelet has them: the others wait for startup, liveness restarts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from homeport.plan import agent as wire

Check = Callable[[wire.Probe], Awaitable[str]]
"""Makes a check once: what is wrong, as what follows "its liveness probe"; empty for nothing."""
_EARLY = 0.5
"""Seconds by which a look may come before a probe's time, and makes it all the same."""


class Watch:
    """What the probes have said of one start of the process. ``since`` names the start."""

    def __init__(self, since: str | None, probes: wire.ProbeSet, clock: Callable[[], float]) -> None:
        self.since = since
        self._clock, self._at = clock, clock()
        self._started = probes.startup is None
        self._failures: dict[str, int] = {}
        self._checked: dict[str, float] = {}
        self._unready = "waits for its probes" if probes.startup is not None or probes.readiness is not None else ""

    async def look(
        self, probes: wire.ProbeSet, inside: Check, outside: Check, restart: Callable[[], Awaitable[None]]
    ) -> tuple[str, int]:
        """Make the checks that are due; why it isn't ready, and how often readiness has failed in a row.

        ``inside`` runs commands, ``outside`` asks ports and paths; ``restart`` restarts the process.
        """

        async def said(kind: str, probe: wire.Probe) -> str | None:
            if not self._is_due(kind, probe):
                return None
            wrong = await (inside if probe.exec is not None else outside)(probe)
            self._failures[kind] = min(self._failures.get(kind, 0) + 1, probe.failure_threshold) if wrong else 0
            return f"its {kind} probe {wrong}" if wrong else ""

        if probes.startup is not None and not self._started:
            wrong = await said("startup", probes.startup)
            self._started = wrong == ""
            if not self._started:
                self._unready = wrong or self._unready
                await self._restart_after("startup", probes.startup, restart)
                return self._unready, 0
        if probes.liveness is not None:
            wrong = await said("liveness", probes.liveness)
            if wrong and await self._restart_after("liveness", probes.liveness, restart):
                self._unready = f"{wrong}; it was restarted"
                return self._unready, 0
        wrong = await said("readiness", probes.readiness) if probes.readiness is not None else ""
        self._unready = self._unready if wrong is None else wrong
        return self._unready, self._failures.get("readiness", 0)

    def _is_due(self, kind: str, probe: wire.Probe) -> bool:
        now = self._clock()
        if now - self._at < probe.initial_delay_seconds:
            return False
        if now - self._checked.get(kind, float("-inf")) < probe.period_seconds - _EARLY:
            return False
        self._checked[kind] = now
        return True

    async def _restart_after(self, kind: str, probe: wire.Probe, restart: Callable[[], Awaitable[None]]) -> bool:
        """Whether a probe has failed so often that the process was restarted."""
        if self._failures.get(kind, 0) < probe.failure_threshold:
            return False
        self._failures[kind] = 0
        await restart()
        return True
