"""Why nothing can be made for an Environment: a name that is taken, a cap, a quota that is used up. Pure."""

from __future__ import annotations

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan import environment_proxmox
from homeport.plan.diff import quantity
from homeport.plan.environment_place import Env, cluster_of, is_lent, is_ours, namespace_of
from homeport.plan.world import EnvironmentWorld

_COUNTED = {"Kubernetes": ("cpu", "memory", "pods", "storage"), "Proxmox": ("cpu", "memory", "containers")}
# From tight to loose: https://kubernetes.io/docs/concepts/security/pod-security-standards/
_LEVELS = ("restricted", "baseline", "privileged")


def obstacle(env: Env, world: EnvironmentWorld) -> Outcome | None:
    """Why nothing can be made for this environment, if so."""
    if world.project is None:
        return Wait(
            Reason.DEPENDENCY_NOT_READY,
            f"Project {env.namespace} doesn't exist in namespace {env.namespace}; "
            "create it, and this goes on by itself",
        )
    if world.unreachable is not None:
        return world.unreachable
    if env.spec.template:
        return None
    if env.spec.proxmox is not None and (problem := environment_proxmox.obstacle(env, world.host)) is not None:
        return problem
    return _name_obstacle(env, world) or _cap(env, world) or _quota_obstacle(env, world)


def _name_obstacle(env: Env, world: EnvironmentWorld) -> Outcome | None:
    name = namespace_of(env)
    if len(name) > 63:
        return Stalled(
            Reason.INVALID_SPEC,
            f"the namespace {name} would have {len(name)} characters and 63 are allowed; "
            "shorten the environment's name, or name a namespace in spec.kubernetes.namespace",
        )
    for other in world.siblings:
        same_place = namespace_of(other) == name and cluster_of(other) == cluster_of(env)
        if other.name != env.name and same_place and _older(other, env):
            return Stalled(Reason.NAMESPACE_TAKEN, f"namespace {name} is environment {other.name}'s; name another")
    if world.namespace is None or is_ours(world.namespace, env, world.plane) or is_lent(world.namespace, env):
        if world.namespace is not None and world.namespace["metadata"].get("deletionTimestamp"):
            return Wait(Reason.DEPENDENCY_NOT_READY, f"namespace {name} is being deleted; it is made anew after that")
        return None
    found = world.namespace["metadata"].get("labels") or {}
    whose = found.get(labels.PROJECT)
    belongs = f"belongs to project {whose}" if whose else "wasn't made by Homeport"
    if whose and labels.plane_of(world.namespace) != world.plane:
        belongs += f" of another control plane ({labels.plane_of(world.namespace) or 'the one in that cluster'})"
    return Stalled(
        Reason.NAMESPACE_TAKEN,
        f"namespace {name} exists and {belongs}; name another in spec.kubernetes.namespace, or have an administrator "
        f"label it {labels.ALLOW_PROJECT}={env.namespace}",
    )


def _older(one: Env, other: Env) -> bool:
    return (one.created, one.name) < (other.created, other.name)


def _cap(env: Env, world: EnvironmentWorld) -> Outcome | None:
    """An administrator's label on the project's namespace caps what an environment may ask for."""
    if world.project_namespace is None:
        return None
    cap = (world.project_namespace["metadata"].get("labels") or {}).get(labels.POD_SECURITY_CAP)
    if cap not in _LEVELS or _LEVELS.index(env.spec.pod_security) <= _LEVELS.index(cap):
        return None
    return Stalled(
        Reason.ACCESS_DENIED,
        f"podSecurity: {env.spec.pod_security} is looser than {cap}, which an administrator allows for namespace "
        f"{env.namespace} (label {labels.POD_SECURITY_CAP}); write {cap}",
    )


def _quota_obstacle(env: Env, world: EnvironmentWorld) -> Outcome | None:
    """The project's quota bounds the sum of its environments', older ones first."""
    assert world.project is not None
    bound = world.project.spec.quota
    if bound is None:
        return None
    for field in _COUNTED[env.spec.runtime]:
        limit = quantity(getattr(bound, field)) if getattr(bound, field) is not None else None
        if limit is None:
            continue
        own = getattr(env.spec.quota, field) if env.spec.quota else None
        if own is None:
            return Stalled(
                Reason.INVALID_SPEC,
                f"the project has a quota for {field}; "
                f"write spec.quota.{field} to say how much of it is this environment's",
            )
        others = [o for o in world.siblings if o.name != env.name and o.spec.quota is not None and _older(o, env)]
        used = sum(quantity(getattr(o.spec.quota, field) or 0) or 0 for o in others)
        if used + (quantity(own) or 0) > limit:
            return Stalled(
                Reason.INVALID_SPEC,
                f"spec.quota.{field} is {own}, and with the other environments' that is more than the project's "
                f"{getattr(bound, field)}; lower it, or raise the project's quota",
            )
    return None
