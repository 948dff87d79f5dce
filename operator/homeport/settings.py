"""What the operator is told on the command line."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

LEASE = "homeport-operator"


@dataclass(frozen=True)
class Settings:
    """What the operator is told on the command line. Times are in seconds."""

    concurrency: int = 16
    resync_seconds: float = 600.0
    namespaces: tuple[str, ...] = ()
    shard: str | None = None
    log_format: str = "human"
    log_level: str = "info"
    listen: str = "0.0.0.0:8080"
    kubeconfig: str | None = None
    context: str | None = None
    lease_namespace: str = "homeport-system"
    leader_election: bool = True
    control_plane: str = ""
    identity: str | None = None
    agent_listen: str = "0.0.0.0:8443"
    agent_url: str = ""
    webhook_listen: str = ""
    data_dir: str = ""
    init_dir: str = ""
    registry_mirror: tuple[str, ...] = ()
    notify_allow: tuple[str, ...] = ()
    runner_image: str = ""


def lease_name(settings: Settings) -> str:
    """The Lease of all replicas that do the same work; operators of different shards don't wait for each other."""
    if not settings.shard and not settings.namespaces:
        return LEASE
    scope = "\n".join((settings.shard or "", *sorted(settings.namespaces)))
    return f"{LEASE}-{hashlib.sha256(scope.encode()).hexdigest()[:8]}"
