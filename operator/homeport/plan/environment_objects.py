"""An Environment's objects: its namespace and what guards it, its Gateway, its Secrets, its members' rights. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from homeport.api import labels
from homeport.api.application import ApplicationSpec
from homeport.api.component import Component
from homeport.api.environment import Quota
from homeport.api.labels import OwnerKey
from homeport.api.project import Member
from homeport.api.resource import InvalidSpec, Resource
from homeport.plan import edge, edge_gateway, environment_proxmox, render
from homeport.plan.capabilities import Capabilities
from homeport.plan.environment_place import Env, namespace_of, way_of
from homeport.plan.quantities import canonical
from homeport.plan.types import Child, Manifest


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


def manifests(env: Env) -> list[Manifest]:
    """The namespace and what guards it, whoever works in it."""
    namespace = namespace_of(env)
    out = [_namespace(env, namespace)]
    if env.spec.isolation == "Strict" and env.spec.proxmox is None:
        out.extend(_isolation(env, namespace))
    if env.spec.quota is not None and (hard := _hard(env, env.spec.quota)):
        out.append(_quota(env, namespace, hard))
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


def gateway(env: Env, applications: Iterable[Resource[ApplicationSpec]], there: Capabilities) -> list[Manifest]:
    """The Gateway that routes become part of, unless they don't, or a gatewayRef names one. Raises InvalidSpec."""
    settings = env.spec.ingress
    if settings is None or settings.gateway_ref is not None or not edge.uses_gateway(env.spec, there, way_of(env)):
        return []
    parts: list[Component] = []
    for app in applications:
        if env.name not in render.target_environments(app.spec, [env.name]):
            continue
        try:
            parts.extend(render.components_of(app.spec, env.name))
        except InvalidSpec:
            continue  # it is said where the application is
    metadata = {"namespace": namespace_of(env), "labels": owned(env.key, env.namespace, env.name, "gateway")}
    return edge_gateway.gateway(env.spec, edge_gateway.hosts(env.spec, parts), metadata)


def _hard(env: Env, quota: Quota) -> dict[str, str]:
    """What the API server itself can count; what containers take is counted where applications are planned."""
    counted: tuple[tuple[str, str | int | None], ...] = (
        ("requests.cpu", quota.cpu),
        ("requests.memory", quota.memory),
        ("pods", quota.pods),
        ("requests.storage", quota.storage),
    )
    if env.spec.proxmox is not None:
        counted = ((environment_proxmox.COUNT, quota.containers),)
    return {name: canonical(str(value)) for name, value in counted if value is not None}


def _quota(env: Env, namespace: str, hard: dict[str, str]) -> Manifest:
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


def copied_secret(env: Env, place: tuple[str, str], name: str, source: str, version: str) -> Child:
    """The copy of one of the project's Secrets, in the (cluster, namespace) that it is for."""
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
