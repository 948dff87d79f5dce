"""Containers: environment, resources, probes, mounts, and the hardening that is there unless a component says
otherwise (the ``restricted`` Pod Security Standard and a read-only root with a writable /tmp).

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.api.component import Component
from homeport.api.pod import EnvVar, Probe, Resources, SecurityContext
from homeport.plan import canonical, names, quantities
from homeport.plan.canonical import int_or_string
from homeport.plan.scope import Scope
from homeport.plan.types import Manifest

CPU_REQUEST, CPU_LIMIT = "50m", "500m"
MEMORY_REQUEST, MEMORY_LIMIT = "64Mi", "256Mi"
TMP_VOLUME = f"{names.RESERVED_VOLUME_PREFIX}tmp"

_PROBES = (("livenessProbe", "liveness"), ("readinessProbe", "readiness"), ("startupProbe", "startup"))
_PROBE_NUMBERS = (
    ("initialDelaySeconds", "initial_delay_seconds"),
    ("periodSeconds", "period_seconds"),
    ("timeoutSeconds", "timeout_seconds"),
    ("successThreshold", "success_threshold"),
    ("failureThreshold", "failure_threshold"),
    ("terminationGracePeriodSeconds", "termination_grace_period_seconds"),
)


def main_container(scope: Scope, mounts: list[Manifest]) -> Manifest:
    """The component's own container."""
    component = scope.component
    image = names.image(component.image or "", scope.version)
    out: Manifest = {"name": component.name, "image": image}
    out["imagePullPolicy"] = component.image_pull_policy or names.pull_policy(image)
    if component.command:
        out["command"] = list(component.command)
    if component.args:
        out["args"] = list(component.args)
    if component.working_dir:
        out["workingDir"] = component.working_dir
    if component.ports:
        out["ports"] = [
            {"name": port.name, "containerPort": port.port, "protocol": port.protocol or "TCP"}
            for port in component.ports
        ]
    env = environment(component.env or (), scope.place.spec.variables or {})
    if env:
        out["env"] = env
    if component.env_from:
        out["envFrom"] = [_env_from(source) for source in component.env_from]
    out["resources"] = resources(component.resources)
    if component.probes is not None:
        for field, attribute in _PROBES:
            described: Probe | None = getattr(component.probes, attribute)
            if described is not None:
                out[field] = probe(described, component)
    out["securityContext"] = container_security(component.security_context)
    if mounts:
        out["volumeMounts"] = mounts
    return out


# --- environment --------------------------------------------------------------------------------------------------


def environment(own: tuple[EnvVar, ...], variables: Mapping[str, str]) -> list[Manifest]:
    """The environment's variables by name, then the component's in its own order, which win.

    ``$(OTHER)`` refers to what stands before it, so a variable that another one refers to is moved before that one.
    """
    taken = {variable.name for variable in own}
    out: list[Manifest] = []
    for name in _in_order({name: value for name, value in variables.items() if name not in taken}):
        out.append(_literal(name, variables[name]))
    for variable in own:
        if variable.value_from is None:
            out.append(_literal(variable.name, variable.value or ""))
        else:
            out.append({"name": variable.name, "valueFrom": _env_source(variable)})
    return out


def _literal(name: str, value: str) -> Manifest:
    # An empty value is never stored: the field is left out, which means the same.
    return {"name": name, "value": value} if value else {"name": name}


def _in_order(variables: Mapping[str, str]) -> list[str]:
    ordered = sorted(variables)
    if not any("$(" in value for value in variables.values()):
        return ordered
    out: dict[str, None] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in out or name in above:
            return
        for other in names.REFERENCE.findall(variables[name]):
            if other in variables:
                visit(other, (*above, name))
        out[name] = None

    for name in ordered:
        visit(name, ())
    return list(out)


def _env_source(variable: EnvVar) -> Manifest:
    source = variable.value_from
    assert source is not None
    for field, selector in (("secretKeyRef", source.secret_key_ref), ("configMapKeyRef", source.config_map_key_ref)):
        if selector is not None:
            key: Manifest = {"name": selector.name, "key": selector.key}
            if selector.optional is not None:
                key["optional"] = selector.optional
            return {field: key}
    if source.field_ref is not None:
        return {
            "fieldRef": {"apiVersion": source.field_ref.api_version or "v1", "fieldPath": source.field_ref.field_path}
        }
    reference = source.resource_field_ref
    assert reference is not None
    # The divisor's default is stored as "0".
    divisor = quantities.canonical(reference.divisor) if reference.divisor else "0"
    out: Manifest = {"resource": reference.resource, "divisor": divisor}
    if reference.container_name:
        out["containerName"] = reference.container_name
    return {"resourceFieldRef": out}


def _env_from(source: Any) -> Manifest:
    field, ref = ("configMapRef", source.config_map_ref) if source.config_map_ref else ("secretRef", source.secret_ref)
    target: Manifest = {"name": ref.name}
    if ref.optional is not None:
        target["optional"] = ref.optional
    return {"prefix": source.prefix, field: target} if source.prefix else {field: target}


# --- resources ----------------------------------------------------------------------------------------------------


def resources(described: Resources | None) -> Manifest:
    """Requests and limits, all four set: see ``complete``."""
    if described is None:
        return complete({}, {})
    return complete(
        quantities.canonical_map(described.requests or {}), quantities.canonical_map(described.limits or {})
    )


def complete(requests: Mapping[str, str], limits: Mapping[str, str]) -> Manifest:
    """Requests and limits with what is absent filled in.

    A request defaults to 50m and 64Mi, and never to more than a limit that is given. A memory limit defaults to twice
    the request that is given, a CPU limit to 500m or twice the request, whichever is more. Of extended resources
    (GPUs, huge pages) Kubernetes wants both alike, so one stands for the other.
    """
    wanted, bound = dict(requests), dict(limits)
    if "cpu" not in wanted:
        wanted["cpu"] = quantities.least(CPU_REQUEST, bound["cpu"]) if "cpu" in bound else CPU_REQUEST
    if "memory" not in wanted:
        wanted["memory"] = quantities.least(MEMORY_REQUEST, bound["memory"]) if "memory" in bound else MEMORY_REQUEST
    if "cpu" not in bound:
        bound["cpu"] = quantities.most(CPU_LIMIT, quantities.times(wanted["cpu"], 2))
    if "memory" not in bound:
        bound["memory"] = quantities.times(requests["memory"], 2) if "memory" in requests else MEMORY_LIMIT
    for name in {*wanted, *bound} - {"cpu", "memory", "ephemeral-storage"}:
        if name in wanted and name not in bound:
            bound[name] = wanted[name]
        wanted.setdefault(name, bound[name])
    return {"requests": wanted, "limits": bound}


# --- probes -------------------------------------------------------------------------------------------------------


def probe(described: Probe, component: Component) -> Manifest:
    """A probe; a path without a port is asked for at the first port."""
    out: Manifest
    if described.path is not None:
        port = described.port or (component.ports[0].name if component.ports else "")
        # The scheme is declared because a default once filled in would stay behind when path gives way to tcp.
        get: Manifest = {
            "path": described.path,
            "port": int_or_string(port),
            "scheme": described.scheme or "HTTP",
        }
        if described.http_headers:
            get["httpHeaders"] = [{"name": header.name, "value": header.value} for header in described.http_headers]
        out = {"httpGet": get}
    elif described.tcp is not None:
        out = {"tcpSocket": {"port": int_or_string(described.tcp)}}
    else:
        out = {"exec": {"command": list(described.exec or ())}}
    for field, attribute in _PROBE_NUMBERS:
        number = getattr(described, attribute)
        if number:  # an initial delay of 0 isn't stored
            out[field] = number
    return out


# --- security -----------------------------------------------------------------------------------------------------


def container_security(described: SecurityContext | None) -> Manifest:
    """What of a component's security context belongs to the container."""
    if described is None:
        return {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
    given: Manifest = {}
    if described.privileged is not None:
        given["privileged"] = described.privileged
    if described.allow_privilege_escalation is not None:
        given["allowPrivilegeEscalation"] = described.allow_privilege_escalation
    if described.read_only_root_filesystem is not None:
        given["readOnlyRootFilesystem"] = described.read_only_root_filesystem
    if described.capabilities is not None:
        capabilities = {"add": described.capabilities.add, "drop": described.capabilities.drop}
        given["capabilities"] = {key: list(value) for key, value in capabilities.items() if value is not None}
    return harden(given)


def harden(given: Manifest) -> Manifest:
    """A container's security context with what it doesn't say restricted."""
    out = dict(given)
    capabilities = dict(out.pop("capabilities", None) or {})
    added = capabilities.get("add") or []
    privileged = bool(out.get("privileged"))
    # The API server refuses "no escalation" beside either of these: they are escalation.
    if not privileged and not any(name in ("SYS_ADMIN", "CAP_SYS_ADMIN") for name in added):
        out.setdefault("allowPrivilegeEscalation", False)
    if not privileged:
        capabilities.setdefault("drop", ["ALL"])
    capabilities = {key: list(value) for key, value in capabilities.items() if value}
    if capabilities:
        out["capabilities"] = capabilities
    out.setdefault("readOnlyRootFilesystem", True)
    return out


def pod_security(described: SecurityContext | None) -> Manifest:
    """What of a component's security context belongs to the Pod."""
    if described is None:
        return {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    out: Manifest = {"runAsNonRoot": described.run_as_non_root}
    if described.run_as_non_root is None:
        # Whoever asks for user 0 asks for root; a kubelet would refuse to start the contradiction.
        out["runAsNonRoot"] = described.run_as_user != 0
    user = described.run_as_user
    group = described.run_as_group if described.run_as_group is not None else user
    if user is not None:
        out["runAsUser"] = user
    if group is not None:
        out["runAsGroup"] = group
    if described.fs_group is not None:
        out["fsGroup"] = described.fs_group
        out["fsGroupChangePolicy"] = described.fs_group_change_policy or "OnRootMismatch"
    elif described.fs_group_change_policy is not None:
        out["fsGroupChangePolicy"] = described.fs_group_change_policy
    if described.supplemental_groups:
        out["supplementalGroups"] = list(described.supplemental_groups)
    seccomp = described.seccomp_profile
    out["seccompProfile"] = {"type": seccomp.type if seccomp is not None else "RuntimeDefault"}
    if seccomp is not None and seccomp.localhost_profile:
        out["seccompProfile"]["localhostProfile"] = seccomp.localhost_profile
    if described.sysctls:
        out["sysctls"] = [{"name": sysctl.name, "value": sysctl.value} for sysctl in described.sysctls]
    return out


# --- containers that users write as in a Pod ----------------------------------------------------------------------


def extra_container(raw: Mapping[str, Any], scope: Scope, tmp: bool) -> Manifest:
    """An init container or sidecar: as it is written, hardened where it is silent, in the component's image when it
    names none. ``tmp``: the Pod has a writable directory for /tmp, which it gets unless it mounts something there."""
    out: Manifest = canonical.tidy(raw)
    if "image" not in out:
        out["image"] = names.image(scope.component.image or "", scope.version)
    out.setdefault("imagePullPolicy", names.pull_policy(out["image"]))
    given = out.get("resources") or {}
    out["resources"] = {**given, **complete(given.get("requests") or {}, given.get("limits") or {})}
    out["securityContext"] = harden(out.get("securityContext") or {})
    for port in out.get("ports") or ():
        port.setdefault("protocol", "TCP")
    if tmp and all(mount.get("mountPath") != "/tmp" for mount in out.get("volumeMounts") or ()):  # noqa: S108  # nosec B108
        out["volumeMounts"] = [*(out.get("volumeMounts") or ()), {"name": TMP_VOLUME, "mountPath": "/tmp"}]  # noqa: S108  # nosec B108
    return out
