"""How an Application's components are: the worst of their objects, with their Pods' own words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from homeport.api import labels
from homeport.api.conditions import Health, worst_health
from homeport.plan.health import HEALTHY, PAUSED, REPORTING_KINDS, Verdict, of_process, pod_trouble, superseded, verdict
from homeport.plan.proxmox_app import guests
from homeport.plan.types import Change, Phase, Place, Verb
from homeport.plan.world import ApplicationWorld, Live, Report


def component_health(
    place: Place, name: str, changes: Sequence[Change], world: ApplicationWorld, report: Report
) -> Verdict:
    """How one component is: the worst of its objects, with its Pods' own words for what is stuck."""
    result = Verdict(Health.HEALTHY)
    ready = total = 0
    for change in changes:
        child = change.child
        assert child is not None
        key = (child.cluster, change.id)
        judged = _object(change, report.held.get(key), key in report.applied)
        if child.members and change.live is not None:
            judged = of_process(change.live, name, judged)
        if child.phase in (Phase.RUN, Phase.MIGRATE):
            if child.phase is Phase.RUN:
                ready, total = ready + judged.ready, total + judged.desired
            if judged.health is Health.PROGRESSING and change.id.kind != "Job":
                trouble = pod_trouble(world.pods.get((place.name, name), ()), world.now)
                if trouble:
                    judged = Verdict(Health.DEGRADED, trouble)
        if worst_health([result.health, judged.health]) is not result.health:
            result = judged
    return Verdict(result.health, result.message, ready, total)


def _object(change: Change, held: str | None, applied: bool) -> Verdict:
    if held is not None:
        seen = verdict(change.live) if change.live is not None else Verdict(Health.PROGRESSING)
        paused = change.child is not None and change.child.paused and PAUSED in held
        return Verdict(
            Health.SUSPENDED if paused else Health.PROGRESSING, held, seen.ready, seen.desired or _replicas(change)
        )
    if applied and change.id.kind not in REPORTING_KINDS:
        return HEALTHY
    if change.live is None:
        return Verdict(Health.PROGRESSING, f"{change.id.kind} is being made", 0, _replicas(change))
    seen = verdict(change.live)
    if applied or change.verb is not Verb.NOTHING:
        return Verdict(Health.PROGRESSING, f"{change.id.kind} is being updated", seen.ready, seen.desired)
    return seen


def _replicas(change: Change) -> int:
    child = change.child
    if child is None or child.phase is not Phase.RUN:
        return 0
    if child.scale_to is not None:
        return child.scale_to
    if change.id.kind in ("Deployment", "StatefulSet"):
        return int((child.manifest.get("spec") or {}).get("replicas", 1))
    if change.id.kind == guests.KIND:
        return 0 if (child.manifest.get("spec") or {}).get("state") == "Stopped" else 1
    return 1 if change.id.kind == "Job" else 0


def abandoned(world: ApplicationWorld) -> list[tuple[str, Live]]:
    """Pods that can't start and are of a version that their StatefulSet has left: (cluster, Pod).

    Its controller waits for them to become ready before it replaces them, which they never do.
    Source: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback
    """
    out: list[tuple[str, Live]] = []
    for (cluster, found), live in world.live.items():
        if found.kind == "StatefulSet":
            marks = live["metadata"].get("labels") or {}
            key = marks.get(labels.ENVIRONMENT, ""), marks.get(labels.COMPONENT, "")
            out.extend((cluster, pod) for pod in superseded(live, world.pods.get(key, ())))
    return out
