"""The Pod Security Standards, checked on what is rendered, after overrides and patches.

The API server would refuse the Pods later and out of sight, in the events of a ReplicaSet; here the Application says
which field of which container it is, what to write, or which podSecurity the environment would need.
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from homeport.api.resource import InvalidSpec
from homeport.plan.types import Child, Manifest, Place

LEVELS = ("restricted", "baseline", "privileged")

_CAPABILITIES = frozenset(
    {"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP"}
    | {"SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"}
)
_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)
_SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
_VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
_CONFINED = ("RuntimeDefault", "Localhost")
_NOTHING: Mapping[str, Any] = {}


class Violation(NamedTuple):
    """One field that a standard doesn't allow. ``needs`` is the strictest standard that does."""

    container: str
    field: str
    found: str
    instead: str
    needs: str


def pod_template(manifest: Mapping[str, Any]) -> Manifest | None:
    """The Pod template in ``manifest``, wherever its kind has it."""
    spec = manifest.get("spec")
    if manifest.get("kind") == "CronJob" and isinstance(spec, Mapping):
        spec = (spec.get("jobTemplate") or {}).get("spec")
    template = spec.get("template") if isinstance(spec, Mapping) else None
    return template if isinstance(template, dict) and isinstance(template.get("spec"), dict) else None


def enforce(children: Iterable[Child], place: Place) -> None:
    """Raise InvalidSpec when a Pod wouldn't be let into the environment."""
    level = place.spec.pod_security
    if level == "privileged":
        return
    problems = []
    for child in children:
        template = pod_template(child.manifest)
        if template is not None:
            problems += [_sentence(child, found, level, place) for found in violations(template["spec"], level)]
    if problems:
        raise InvalidSpec(problems)


def _sentence(child: Child, found: Violation, level: str, place: Place) -> str:
    kind, name = child.manifest["kind"], child.manifest["metadata"]["name"]
    where = f"container {found.container} of {kind} {name}" if found.container else f"the Pods of {kind} {name}"
    return (
        f"spec.components[{child.component}]: {found.field} of {where} is {found.found}, which podSecurity {level} of "
        f"environment {place.name} forbids; {found.instead}, or set podSecurity: {found.needs} on the environment"
    )


def violations(pod: Mapping[str, Any], level: str) -> list[Violation]:
    """What in a Pod's spec the standard ``level`` doesn't allow."""
    if level == "privileged":
        return []
    out = list(_baseline(pod))
    if level == "restricted":
        out += _restricted(pod)
    return out


def _containers(pod: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from pod.get(field) or ()


# --- baseline -------------------------------------------------------------------------------------------------------


def _baseline(pod: Mapping[str, Any]) -> Iterator[Violation]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield Violation("", field, "true", "leave it out", "privileged")
    for volume in pod.get("volumes") or ():
        if "hostPath" in volume:
            yield Violation("", f"volume {volume.get('name')}", "a hostPath", "write a claim", "privileged")
    security = pod.get("securityContext") or _NOTHING
    for sysctl in security.get("sysctls") or ():
        if sysctl.get("name") not in _SYSCTLS:
            yield Violation("", "securityContext.sysctls", str(sysctl.get("name")), "leave it out", "privileged")
    yield from _baseline_context("", security)
    for container in _containers(pod):
        name = str(container.get("name"))
        yield from _baseline_container(name, container)
        yield from _baseline_context(name, container.get("securityContext") or _NOTHING)


def _baseline_container(name: str, container: Mapping[str, Any]) -> Iterator[Violation]:
    security = container.get("securityContext") or _NOTHING
    if security.get("privileged"):
        yield Violation(name, "securityContext.privileged", "true", "leave it out", "privileged")
    if security.get("procMount") not in (None, "Default"):
        yield Violation(name, "securityContext.procMount", str(security["procMount"]), "leave it out", "privileged")
    for capability in (security.get("capabilities") or _NOTHING).get("add") or ():
        if capability not in _CAPABILITIES:
            yield Violation(name, "securityContext.capabilities.add", str(capability), "take it out", "privileged")
    for port in container.get("ports") or ():
        if port.get("hostPort"):
            yield Violation(name, "ports.hostPort", str(port["hostPort"]), "leave it out", "privileged")
    for field, host in _hosts(container):
        yield Violation(name, field, repr(host), "leave it out", "privileged")


def _hosts(container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Hosts that probes and hooks name: they would be asked by the node, in the node's network."""
    handlers = [(field, container.get(field)) for field in ("livenessProbe", "readinessProbe", "startupProbe")]
    lifecycle = container.get("lifecycle") or _NOTHING
    handlers += [(f"lifecycle.{field}", lifecycle.get(field)) for field in ("postStart", "preStop")]
    for field, handler in handlers:
        for action in ("httpGet", "tcpSocket"):
            host = ((handler or _NOTHING).get(action) or _NOTHING).get("host")
            if host:
                yield f"{field}.{action}.host", str(host)


def _baseline_context(name: str, security: Mapping[str, Any]) -> Iterator[Violation]:
    """What Pods' and containers' security contexts have in common."""
    profile = (security.get("seccompProfile") or _NOTHING).get("type")
    if profile is not None and profile not in _CONFINED:
        yield Violation(
            name, "securityContext.seccompProfile.type", str(profile), "write RuntimeDefault or Localhost", "privileged"
        )
    armor = (security.get("appArmorProfile") or _NOTHING).get("type")
    if armor is not None and armor not in _CONFINED:
        yield Violation(
            name, "securityContext.appArmorProfile.type", str(armor), "write RuntimeDefault or Localhost", "privileged"
        )
    if (security.get("windowsOptions") or _NOTHING).get("hostProcess"):
        yield Violation(name, "securityContext.windowsOptions.hostProcess", "true", "leave it out", "privileged")
    selinux = security.get("seLinuxOptions") or _NOTHING
    if (selinux.get("type") or "") not in _SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
        yield Violation(name, "securityContext.seLinuxOptions", str(dict(selinux)), "leave it out", "privileged")


# --- restricted -----------------------------------------------------------------------------------------------------


def _restricted(pod: Mapping[str, Any]) -> Iterator[Violation]:
    for volume in pod.get("volumes") or ():
        kinds = volume.keys() - {"name"}
        if not kinds <= _VOLUMES and "hostPath" not in volume:
            shown = ", ".join(sorted(kinds - _VOLUMES))
            yield Violation("", f"volume {volume.get('name')}", shown, "write a claim", "baseline")
    security = pod.get("securityContext") or _NOTHING
    non_root = security.get("runAsNonRoot")
    if security.get("runAsUser") == 0:
        yield Violation("", "securityContext.runAsUser", "0", "write another user", "baseline")
    seccomp = "seccompProfile" in security
    containers = list(_containers(pod))
    silent = [c for c in containers if (c.get("securityContext") or _NOTHING).get("runAsNonRoot") is None]
    if non_root is not True and (silent or not containers):
        yield Violation("", "securityContext.runAsNonRoot", str(bool(non_root)).lower(), "write true", "baseline")
    for container in containers:
        yield from _restricted_container(str(container.get("name")), container.get("securityContext") or {}, seccomp)


def _restricted_container(name: str, security: Mapping[str, Any], seccomp: bool) -> Iterator[Violation]:
    if security.get("allowPrivilegeEscalation") is not False:
        found = "true" if security.get("allowPrivilegeEscalation") else "not false"
        yield Violation(name, "securityContext.allowPrivilegeEscalation", found, "write false", "baseline")
    if security.get("runAsNonRoot") is False:
        yield Violation(name, "securityContext.runAsNonRoot", "false", "write true", "baseline")
    if security.get("runAsUser") == 0:
        yield Violation(name, "securityContext.runAsUser", "0", "write another user", "baseline")
    if not seccomp and "seccompProfile" not in security:
        yield Violation(name, "securityContext.seccompProfile", "absent", "write type: RuntimeDefault", "baseline")
    capabilities = security.get("capabilities") or _NOTHING
    dropped: Sequence[str] = capabilities.get("drop") or ()
    if "ALL" not in dropped:
        yield Violation(
            name, "securityContext.capabilities.drop", ", ".join(dropped) or "empty", "write [ALL]", "baseline"
        )
    for capability in capabilities.get("add") or ():
        if capability != "NET_BIND_SERVICE" and capability in _CAPABILITIES:
            yield Violation(name, "securityContext.capabilities.add", str(capability), "take it out", "baseline")
