"""What Prometheus is told of Backups and their repositories: moments rather than ages, true whenever they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from prometheus_client.core import GaugeMetricFamily

from homeport.plan.backup import times
from homeport.plan.names import seconds

_LABELS = ["project", "backup"]


class BackupState(NamedTuple):
    """A Backup as it was last seen."""

    project: str
    name: str
    spec: Mapping[str, Any]
    status: Mapping[str, Any]


def backup_metrics(backups: Iterable[BackupState]) -> Iterator[GaugeMetricFamily]:
    """The gauges of all Backups; what isn't known of one, or never was, has no sample."""
    families = {
        name: GaugeMetricFamily(f"homeport_backup_{name}", text, None, _LABELS) for name, text in _FAMILIES.items()
    }
    for backup in sorted(backups, key=lambda one: (one.project, one.name)):
        for name, value in _values(backup.spec, backup.status).items():
            if value is not None:
                families[name].add_metric([backup.project, backup.name], value)
    yield from families.values()


class RepositoryState(NamedTuple):
    """A BackupRepository as it was last seen."""

    project: str
    name: str
    status: Mapping[str, Any]


def repository_metrics(repositories: Iterable[RepositoryState]) -> Iterator[GaugeMetricFamily]:
    """The gauges of all BackupRepositories; what isn't known of one has no sample."""
    names = ["project", "repository"]
    families = {
        name: GaugeMetricFamily(f"homeport_backup_repository_{name}", text, None, names)
        for name, text in _OF_REPOSITORIES.items()
    }
    for one in sorted(repositories, key=lambda one: (one.project, one.name)):
        for name, value in _of_repository(one.status).items():
            if value is not None:
                families[name].add_metric([one.project, one.name], value)
    yield from families.values()


_OF_REPOSITORIES = {
    "size_bytes": "How much it holds, as the last prune or check saw it",
    "snapshots": "How many snapshots of restic it holds, as the last prune or check saw it",
    "backups": "How many Backups name it",
    "initialized": "1 when backups can be kept in it",
    "last_check_timestamp_seconds": "When the last check ended",
    "last_check_failed": "1 when the last check failed, 0 when it succeeded",
    "last_prune_timestamp_seconds": "When the last prune ended",
    "last_prune_failed": "1 when the last prune failed, 0 when it succeeded",
}


def _of_repository(status: Mapping[str, Any]) -> dict[str, float | None]:
    out: dict[str, float | None] = {
        "size_bytes": _number(status.get("size")),
        "snapshots": _number(status.get("snapshots")),
        "backups": float(status.get("backups") or 0),
        "initialized": float(bool(status.get("initialized"))),
    }
    for what in ("check", "prune"):
        last = status.get(f"last{what.capitalize()}") or {}
        out[f"last_{what}_timestamp_seconds"] = _moment(last.get("time"))
        out[f"last_{what}_failed"] = float(last["outcome"] != "Succeeded") if last.get("outcome") else None
    return out


_FAMILIES = {
    "last_success_timestamp_seconds": "When the newest good run was begun",
    "last_success_duration_seconds": "How long the newest good run took",
    "last_success_bytes": "How much the newest good run read",
    "last_verified_timestamp_seconds": "When a drill or check last proved a run",
    "recovery_seconds": "How long the last drill's restore took",
    "next_timestamp_seconds": "When the next run is due",
    "max_age_seconds": "How old the newest good run may be",
    "snapshots": "Runs in the repository",
    "failures": "Runs that have failed since the newest good one",
    "drill_failed": "1 when the newest drill failed, 0 when it succeeded",
}


def _values(spec: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, float | None]:
    good, drill = status.get("lastSuccess") or {}, status.get("lastDrill") or {}
    return {
        "last_success_timestamp_seconds": _moment(good.get("time")),
        "last_success_duration_seconds": _span(good.get("duration")),
        "last_success_bytes": _number(good.get("bytes")),
        "last_verified_timestamp_seconds": _moment(status.get("lastVerified")),
        "recovery_seconds": _span(status.get("measuredRTO")),
        "next_timestamp_seconds": _moment(status.get("next")),
        "max_age_seconds": _span(spec.get("maxAge")),
        "snapshots": _number(status.get("snapshots")),
        "failures": float(status.get("failures") or 0),
        "drill_failed": float(drill["phase"] != "Succeeded") if drill.get("phase") else None,
    }


def _moment(text: Any) -> float | None:
    found = times.moment(str(text)) if text else None
    return found.timestamp() if found is not None else None


def _span(text: Any) -> float | None:
    return float(seconds(str(text))) if text else None


def _number(value: Any) -> float | None:
    return float(value) if value is not None else None
