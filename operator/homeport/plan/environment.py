"""An Environment's plan on Kubernetes: its namespace and what guards it, its members' rights, its copied Secrets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.api.environment import EnvironmentSpec, Quota
from homeport.api.labels import OwnerKey
from homeport.api.project import Member
from homeport.api.resource import Resource
from homeport.outcome import Ok, Outcome, Stalled, Wait, worst
from homeport.plan.diff import quantity
from homeport.plan.quantities import canonical
from homeport.plan.types import Child, Manifest, ObjectId, Place
from homeport.plan.world import Desired, EnvironmentWorld, Live, Report

Env = Resource[EnvironmentSpec]

# From tight to loose: https://kubernetes.io/docs/concepts/security/pod-security-standards/
_LEVELS = ("restricted", "baseline", "privileged")


def namespace_of(env: Env) -> str:
    """The namespace that the environment's applications run in."""
    place = env.spec.kubernetes
    return (place.namespace if place else None) or f"{env.namespace}-{env.name}"


def cluster_of(env: Env) -> str:
    """The reference to the cluster that it is in: ``<namespace>/<secret>/<key>`` of its kubeconfig, or empty."""
    place = env.spec.kubernetes
    ref = place.kubeconfig_secret_ref if place is not None else None
    return f"{env.namespace}/{ref.name}/{ref.key}" if ref is not None else ""


def place_of(env: Env, archived: bool, cluster: str = "") -> Place:
    """The environment as an Application's rendering needs it; ``cluster`` is the identity of where it is."""
    return Place(env.namespace, env.name, namespace_of(env), env.spec, archived, cluster)


def is_ours(namespace: Live, env: Env) -> bool:
    """Whether Homeport made this namespace for this environment."""
    found = namespace["metadata"].get("labels") or {}
    return (
        found.get(labels.MANAGED_BY) == labels.MANAGER
        and found.get(labels.PROJECT) == env.namespace
        and found.get(labels.ENVIRONMENT) == env.name
    )


def is_lent(namespace: Live, env: Env) -> bool:
    """Whether an administrator lets this project's environments live in this namespace."""
    found = namespace["metadata"].get("labels") or {}
    return bool(found.get(labels.ALLOW_PROJECT) == env.namespace)


def desired(env: Env, world: EnvironmentWorld) -> Desired:
    """Every object that the environment wants."""
    obstacle = _obstacle(env, world)
    if obstacle is not None:
        return Desired(problems=(obstacle,), complete=False)
    if env.spec.template:
        return Desired()
    assert world.project is not None
    namespace, cluster = namespace_of(env), world.cluster
    children: list[Child] = []
    if world.namespace is None or is_ours(world.namespace, env):
        children.append(Child(_namespace(env, namespace), env.name, cluster=cluster))
    if env.spec.isolation == "Strict":
        children.extend(Child(policy, env.name, cluster=cluster) for policy in _isolation(env, namespace))
    if env.spec.quota is not None:
        children.append(Child(_quota(env, namespace, env.spec.quota), env.name, cluster=cluster))
    members = world.project.spec.members or ()
    children.extend(
        Child(binding, env.name, cluster=cluster)
        for binding in role_bindings(
            env.key, env.namespace, namespace, members, env.spec.tier == "Production", env.name
        )
    )
    problems: list[Outcome] = []
    waiting: list[ObjectId] = []
    for secret in env.spec.secrets or ():
        source = secret.from_ or secret.name
        if source in world.private:
            problems.append(
                Stalled(Reason.ACCESS_DENIED, f"Secret {source} is never copied: {world.private[source]}; use another")
            )
        elif source not in world.secrets:
            # What runs on the copy runs on.
            waiting.append(ObjectId(namespace, secret.name, "", "Secret"))
            problems.append(
                Wait(
                    Reason.DEPENDENCY_NOT_READY,
                    f"Secret {source} doesn't exist in namespace {env.namespace}; create it, and it is copied at once",
                )
            )
        else:
            children.append(_copy(env, (cluster, namespace), secret.name, source, world.secrets[source]))
    return Desired(tuple(children), tuple(problems), spared=frozenset(waiting))


def _obstacle(env: Env, world: EnvironmentWorld) -> Outcome | None:
    """Why nothing can be made for this environment, if so."""
    if world.project is None:
        return Wait(
            Reason.DEPENDENCY_NOT_READY,
            f"Project {env.namespace} doesn't exist in namespace {env.namespace}; "
            "create it, and this goes on by itself",
        )
    if env.spec.runtime == "Proxmox":
        return Stalled(Reason.INVALID_SPEC, "this version carries out runtime: Kubernetes only; Proxmox is to come")
    if world.unreachable is not None:
        return world.unreachable
    if env.spec.template:
        return None
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
    if world.namespace is None or is_ours(world.namespace, env) or is_lent(world.namespace, env):
        if world.namespace is not None and world.namespace["metadata"].get("deletionTimestamp"):
            return Wait(Reason.DEPENDENCY_NOT_READY, f"namespace {name} is being deleted; it is made anew after that")
        return None
    found = world.namespace["metadata"].get("labels") or {}
    whose = found.get(labels.PROJECT)
    belongs = f"belongs to project {whose}" if whose else "wasn't made by Homeport"
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
    for field in ("cpu", "memory", "pods", "storage"):
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


# --- objects --------------------------------------------------------------------------------------------------------


def owned(owner: OwnerKey, project: str, environment: str | None, component: str) -> dict[str, str]:
    """The labels of an object that isn't an application's."""
    out = {
        labels.APP_NAME: "homeport",
        labels.APP_INSTANCE: owner.name,
        labels.APP_COMPONENT: component,
        labels.APP_PART_OF: project,
        labels.MANAGED_BY: labels.MANAGER,
        labels.PROJECT: project,
        labels.OWNER_KIND: owner.kind,
        labels.OWNER_NAME: owner.name,
    }
    if environment is not None:
        out[labels.ENVIRONMENT] = environment
    return out


def _namespace(env: Env, name: str) -> Manifest:
    level = env.spec.pod_security
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {
                **owned(env.key, env.namespace, env.name, "namespace"),
                f"{labels.GROUP}/tier": env.spec.tier.lower(),
                labels.POD_SECURITY_ENFORCE: level,
                "pod-security.kubernetes.io/warn": level,
                "pod-security.kubernetes.io/audit": level,
            },
        },
    }


def _isolation(env: Env, namespace: str) -> list[Manifest]:
    """Nothing in and nothing out but DNS; what components need comes from their own policies."""

    def policy(name: str, spec: dict[str, Any]) -> Manifest:
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": owned(env.key, env.namespace, env.name, "isolation"),
            },
            "spec": spec,
        }

    dns = {
        "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}],
    }
    return [
        policy("homeport-default-deny", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
        policy("homeport-allow-dns", {"podSelector": {}, "policyTypes": ["Egress"], "egress": [dns]}),
    ]


def _quota(env: Env, namespace: str, quota: Quota) -> Manifest:
    hard: dict[str, str] = {}
    for name, value in (
        ("requests.cpu", quota.cpu),
        ("requests.memory", quota.memory),
        ("pods", quota.pods),
        ("requests.storage", quota.storage),
    ):
        if value is not None:
            hard[name] = canonical(str(value))
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {
            "name": "homeport",
            "namespace": namespace,
            "labels": owned(env.key, env.namespace, env.name, "quota"),
        },
        "spec": {"hard": hard},
    }


def _copy(env: Env, place: tuple[str, str], name: str, source: str, version: str) -> Child:
    cluster, namespace = place
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": owned(env.key, env.namespace, env.name, "secret"),
            "annotations": {labels.COPIED_FROM: f"{env.namespace}/{source}"},
        },
    }
    return Child(manifest, env.name, cluster=cluster, copy_of=(env.namespace, source), copy_version=version)


def role_bindings(
    owner: OwnerKey,
    project: str,
    namespace: str,
    members: Sequence[Member],
    production: bool,
    environment: str | None,
) -> list[Manifest]:
    """One RoleBinding per role that somebody has. In production a developer has qa's rights: logs and no exec."""
    subjects: dict[str, list[dict[str, str]]] = {}
    for member in sorted(members, key=lambda m: (m.kind, m.name)):
        role = "qa" if production and member.role == "developer" else member.role
        subjects.setdefault(role, []).append(
            {"apiGroup": "rbac.authorization.k8s.io", "kind": member.kind, "name": member.name}
        )
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {
                "name": f"homeport-{role}",
                "namespace": namespace,
                "labels": owned(owner, project, environment, "members"),
            },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": f"homeport-{role}",
            },
            "subjects": who,
        }
        for role, who in sorted(subjects.items())
    ]


# --- status ---------------------------------------------------------------------------------------------------------


def status(env: Env, world: EnvironmentWorld, wanted: Desired, report: Report) -> tuple[dict[str, Any], Outcome]:
    """The kind's own status fields, and how the reconciliation ended."""
    outcomes: list[Outcome] = [*wanted.problems, *report.problems]
    fields: dict[str, Any] = {"runtime": env.spec.runtime}
    secured = wanted.children or (wanted.complete and not env.spec.template)
    taken = any(problem.reason == Reason.NAMESPACE_TAKEN for problem in wanted.problems)
    if not secured and not taken and env.status.get("namespace") == namespace_of(env):
        # What was set up is there, even if nothing can be told of it for now; deletion must not take it for nothing.
        fields["namespace"] = namespace_of(env)
    if secured and not env.spec.template:
        fields["namespace"] = namespace_of(env)
        copied = {child.id.name for child in wanted.children if child.copy_of}
        secrets = [{"name": s.name, "ready": s.name in copied} for s in env.spec.secrets or ()]
        if secrets:
            fields["secrets"] = secrets
    outcome = worst(outcomes)
    if isinstance(outcome, Ok):
        if env.spec.template:
            return fields, Ok("a pattern for previews: nothing runs in it", outcome.after)
        outcome = Ok(f"namespace {namespace_of(env)} is set up", outcome.after)
    return fields, outcome
