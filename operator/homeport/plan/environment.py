"""An Environment's plan: its namespace and what guards it, its members' rights, its copied Secrets.

On Proxmox VE the namespace, which is in this cluster, holds the LXCContainers of its applications; what is Proxmox's
own about it is in ``environment_proxmox``.
"""

from __future__ import annotations

from typing import Any

from homeport.api.conditions import Health, Reason
from homeport.api.resource import InvalidSpec
from homeport.outcome import Ok, Outcome, Stalled, Wait, worst
from homeport.plan import edge, edge_gateway, environment_proxmox
from homeport.plan.environment_objects import copied_secret, gateway, manifests, role_bindings
from homeport.plan.environment_obstacles import obstacle
from homeport.plan.environment_place import Env, is_ours, namespace_of, way_of
from homeport.plan.health import verdict
from homeport.plan.types import Child, Manifest, ObjectId
from homeport.plan.world import Desired, EnvironmentWorld, Report


def desired(env: Env, world: EnvironmentWorld) -> Desired:
    """Every object that the environment wants."""
    problem = obstacle(env, world)
    if problem is not None:
        return Desired(problems=(problem,), complete=False)
    if env.spec.template:
        return Desired()
    assert world.project is not None
    namespace, cluster = namespace_of(env), world.cluster
    lent = world.namespace is not None and not is_ours(world.namespace, env, world.plane)
    children = [
        Child(manifest, env.name, cluster=cluster)
        for manifest in manifests(env)
        if not (lent and manifest["kind"] == "Namespace")
    ]
    members = world.project.spec.members or ()
    children.extend(
        Child(binding, env.name, cluster=cluster)
        for binding in role_bindings(
            env.key, env.namespace, namespace, members, env.spec.tier == "Production", env.name
        )
    )
    edges, problems = _with_gateway(env, world)
    children.extend(Child(manifest, env.name, cluster=cluster) for manifest in edges)
    # What can't be told for now stays as it is: a Gateway, what runs on a Secret's copy.
    waiting = [key[1] for key in world.live if problems and key[1].group == edge_gateway.GROUP]
    for secret in env.spec.secrets or ():
        source = secret.from_ or secret.name
        if source in world.private:
            problems.append(
                Stalled(Reason.ACCESS_DENIED, f"Secret {source} is never copied: {world.private[source]}; use another")
            )
        elif source not in world.secrets:
            waiting.append(ObjectId(namespace, secret.name, "", "Secret"))
            problems.append(
                Wait(
                    Reason.DEPENDENCY_NOT_READY,
                    f"Secret {source} doesn't exist in namespace {env.namespace}; create it, and it is copied at once",
                )
            )
        else:
            children.append(copied_secret(env, (cluster, namespace), secret.name, source, world.secrets[source]))
    return Desired(tuple(children), tuple(problems), spared=frozenset(waiting))


def _with_gateway(env: Env, world: EnvironmentWorld) -> tuple[list[Manifest], list[Outcome]]:
    """The Gateway, or why it can't be made."""
    try:
        found = gateway(env, world.applications, world.capabilities)
    except InvalidSpec as error:
        return [], [Stalled(Reason.INVALID_SPEC, str(error))]
    if found and not edge_gateway.is_there(world.capabilities):
        return [], [Wait(Reason.DEPENDENCY_NOT_READY, edge_gateway.NOT_SERVED)]
    return found, []


def status(env: Env, world: EnvironmentWorld, wanted: Desired, report: Report) -> tuple[dict[str, Any], Outcome]:
    """The kind's own status fields, and how the reconciliation ended."""
    outcomes: list[Outcome] = [*wanted.problems, *report.problems]
    fields: dict[str, Any] = {"runtime": env.spec.runtime}
    secured = wanted.children or (wanted.complete and not env.spec.template)
    taken = any(problem.reason == Reason.NAMESPACE_TAKEN for problem in wanted.problems)
    if not secured and not taken and env.status.get("namespace") == namespace_of(env):
        # What was set up is there, even if nothing can be told of it for now; deletion must not take it for nothing.
        fields["namespace"] = namespace_of(env)
    found = edge.way(env.spec, world.capabilities, way_of(env))
    if found is not None:
        fields["ingress"] = {"className": found.class_name, "kind": found.kind}
    if secured and not env.spec.template:
        fields["namespace"] = namespace_of(env)
        copied = {child.id.name for child in wanted.children if child.copy_of}
        secrets = [{"name": s.name, "ready": s.name in copied} for s in env.spec.secrets or ()]
        if secrets:
            fields["secrets"] = secrets
    outcomes.extend(_troubles(report))
    outcome = worst(outcomes)
    if isinstance(outcome, Ok):
        if env.spec.template:
            return fields, Ok("a pattern for previews: nothing runs in it", outcome.after)
        text = f"namespace {namespace_of(env)} is set up"
        outcome = Ok(text + environment_proxmox.remark(env), outcome.after)
    return fields, outcome


def _troubles(report: Report) -> list[Outcome]:
    """What the Gateway's controller says of it. One that nobody answers for is well: there may be none yet."""
    out: list[Outcome] = []
    for change in report.changes:
        seen = verdict(change.live) if change.live is not None and change.id.kind in ("Gateway", "HTTPRoute") else None
        if seen is not None and seen.health is not Health.HEALTHY:
            broken = seen.health is Health.DEGRADED
            out.append(Wait(Reason.HEALTH_CHECK_FAILED if broken else Reason.PROGRESSING, seen.message))
    return out
