"""Which hosts and paths Ingresses and HTTPRoutes claim, and which of them another application has. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from homeport.api.conditions import Reason
from homeport.outcome import Outcome, Stalled
from homeport.plan.types import Child, ObjectId, Place
from homeport.plan.world import ApplicationWorld


def claims(children: Sequence[Child]) -> list[tuple[str, str, str]]:
    """The (cluster, host, path) that the Ingresses and HTTPRoutes among ``children`` claim."""
    out: list[tuple[str, str, str]] = []
    for child in children:
        served = _SERVED.get(child.manifest["kind"])
        # Whoever writes an object by hand, or patches one, may leave anything out that Kubernetes lets them.
        for host, path in served(child.manifest.get("spec") or {}) if served is not None else ():
            # A prefix means the same with and without a slash at its end.
            out.append((_place_of_claims(child.cluster), host, path.rstrip("/") or "/"))
    return out


def _by_ingress(spec: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for rule in spec.get("rules") or ():
        for path in (rule.get("http") or {}).get("paths") or ():
            yield rule.get("host") or "", str(path.get("path") or "/")


def _by_http_route(spec: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for rule in spec.get("rules") or ():
        matches: Sequence[Mapping[str, Any]] = rule.get("matches") or ({},)
        for match in matches:
            for host in spec.get("hostnames") or ("",):
                yield host, str((match.get("path") or {}).get("value") or "/")


_SERVED: dict[str, Callable[[Mapping[str, Any]], Iterable[tuple[str, str]]]] = {
    "Ingress": _by_ingress,
    "HTTPRoute": _by_http_route,
}
"""What a kind's spec serves: hosts ("" is any) and paths."""


def _place_of_claims(cluster: str) -> str:
    """The cluster that a host is claimed in, whichever project's connection leads there."""
    return cluster.rpartition(":")[2]


def taken_hosts(children: Sequence[Child], place: Place, world: ApplicationWorld) -> dict[ObjectId, Outcome]:
    """The Ingresses and HTTPRoutes that claim what another application has: they are left out until it lets go."""
    out: dict[ObjectId, Outcome] = {}
    for child in children:
        for claim in claims([child]):
            if claim in world.hosts_taken:
                _, host, path = claim
                out[child.id] = Stalled(
                    Reason.HOST_TAKEN,
                    f"{place.name}: {host or 'any host'}{path} is served by {world.hosts_taken[claim]}; "
                    "write another host or path in routes, or remove it there",
                )
    return out


def still_served(taken: Sequence[Child], world: ApplicationWorld) -> frozenset[ObjectId]:
    """Ingresses and HTTPRoutes that can't be changed as wanted, because a new route of theirs is somebody else's: as
    they are, they go on serving the routes that are still wanted, unless one that they have is the other's by now."""
    out = set()
    for child in taken:
        found = world.live.get((child.cluster, child.id))
        if found is None:
            continue
        served = set(claims([Child(dict(found), cluster=child.cluster)]))
        if served & set(claims([child])) and not any(claim in world.hosts_taken for claim in served):
            out.add(child.id)
    return frozenset(out)
