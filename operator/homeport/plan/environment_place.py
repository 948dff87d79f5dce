"""Where an Environment is: its namespace, its cluster, and whether a namespace is its own. Pure."""

from __future__ import annotations

from homeport.api import labels
from homeport.api.environment import EnvironmentSpec
from homeport.api.resource import Resource
from homeport.plan.capabilities import NONE, Capabilities, Way
from homeport.plan.types import Place
from homeport.plan.world import Live

Env = Resource[EnvironmentSpec]


def namespace_of(env: Env) -> str:
    """The namespace that the environment's applications run in."""
    place = env.spec.kubernetes
    return (place.namespace if place else None) or f"{env.namespace}-{env.name}"


def cluster_of(env: Env) -> str:
    """The reference to the cluster that it is in: ``<namespace>/<secret>/<key>`` of its kubeconfig, or empty."""
    place = env.spec.kubernetes
    ref = place.kubeconfig_secret_ref if place is not None else None
    return f"{env.namespace}/{ref.name}/{ref.key}" if ref is not None else ""


def place_of(env: Env, archived: bool, cluster: str = "", capabilities: Capabilities = NONE) -> Place:
    """The environment as an Application's rendering needs it; ``cluster`` is the identity of where it is."""
    return Place(env.namespace, env.name, namespace_of(env), env.spec, archived, cluster, capabilities, way_of(env))


def way_of(env: Env) -> Way | None:
    """What the environment's class was found to be, as its status remembers it."""
    known = env.status.get("ingress") or {}
    return Way(known["className"], known["kind"]) if known.get("className") and known.get("kind") else None


def is_ours(namespace: Live, env: Env, plane: str = "") -> bool:
    """Whether this control plane, which is called ``plane`` there, made this namespace for this environment."""
    found = namespace["metadata"].get("labels") or {}
    return (
        found.get(labels.MANAGED_BY) == labels.MANAGER
        and found.get(labels.PROJECT) == env.namespace
        and found.get(labels.ENVIRONMENT) == env.name
        and labels.plane_of(namespace) == plane
    )


def is_lent(namespace: Live, env: Env) -> bool:
    """Whether an administrator lets this project's environments live in this namespace."""
    found = namespace["metadata"].get("labels") or {}
    return bool(found.get(labels.ALLOW_PROJECT) == env.namespace)
