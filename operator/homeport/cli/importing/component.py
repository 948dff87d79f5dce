"""One service as a component: environment, probes, resources, security."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from homeport.cli.errors import Failure
from homeport.cli.importing import links, volumes
from homeport.cli.importing.conversion import END, HOST, IMAGE, Component, Conversion
from homeport.cli.importing.service import Service
from homeport.plan import quantities

_PORT_NAMES = {
    80: "http",
    443: "https",
    22: "ssh",
    53: "dns",
    25: "smtp",
    5432: "postgres",
    3306: "mysql",
    6379: "redis",
}
_PULL = {"always": "Always", "missing": "IfNotPresent", "if_not_present": "IfNotPresent", "never": "Never"}
# What Docker gives containers, without those that no standard but privileged allows.
_CAPABILITIES = (
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETFCAP", "SETGID"),
    *("SETPCAP", "SETUID", "SYS_CHROOT"),
)


def of_service(
    of: Conversion, service: Service, env: Mapping[str, str], found: list[links.Secret], hosts: links.Hosts
) -> Component:
    """What a service becomes; ``env`` are its variables with siblings under their new names."""
    out: Component = {"name": of.name(service.name), "type": "", "image": f"{IMAGE}{of.parts[service.name]}{END}"}
    out["command"] = [hosts.linked(word, service)[0] for word in service.command or ()]
    out["args"] = [hosts.linked(word, service)[0] for word in service.args or ()]
    raw = service.raw
    if raw.get("working_dir"):
        out["workingDir"] = str(raw["working_dir"])
    out["ports"] = [_port(*port) for port in service.ports]
    out["env"] = _env(of, service, env, found, out)
    out["secrets"] = [
        {"name": f"{HOST}-{secret.name}", "generate": {"length": secret.length}}
        for secret in found
        if secret.users[0] == service.name
    ]
    out["files"] = {path: text.replace("\r\n", "\n") for path, text in service.files.items()}
    out["secretFiles"] = [
        {"path": path, "secretRef": {"name": f"{HOST}-{links.of_file(name, found).name}", "key": "password"}}
        for path, name in service.secret_files.items()
    ]
    out["volumes"] = volumes.volumes(of, service)
    out["resources"] = _resources(of, service)
    out["probes"] = _probes(of, service)
    out["securityContext"] = _security(of, service)
    out["dependsOn"] = [of.name(need) for need in service.needs]
    grace = _seconds(raw.get("stop_grace_period"))
    if grace is not None:
        out["terminationGracePeriodSeconds"] = grace
    pull = str(raw.get("pull_policy") or "")
    if pull:
        out["imagePullPolicy"] = _PULL.get(pull)
        if pull not in _PULL:
            of.note(service.name, "pull_policy", f"{pull}: write imagePullPolicy beside catalog", dropped=True)
    out["annotations"] = {k: "" if v is None else str(v) for k, v in pairs(raw.get("annotations"))}
    count = (raw.get("deploy") or {}).get("replicas", raw.get("scale"))
    if isinstance(count, int):
        out["replicas"] = count
    out["type"] = _type(of, service, out)
    if out["type"] == "job":
        for name in ("probes", "replicas"):
            out.pop(name, None)
    return {key: value for key, value in out.items() if value not in ([], {}, None)}


def pairs(value: Any) -> list[tuple[str, Any]]:
    """What is written as a mapping, or as a list of NAME=VALUE."""
    given = value or {}
    found = given.items() if isinstance(given, Mapping) else (str(each).partition("=")[::2] for each in given)
    return [(str(name), value) for name, value in found]


def _type(of: Conversion, service: Service, made: Component) -> str:
    if any(s.needs.get(service.name) == "service_completed_successfully" for s in of.services.values()):
        return "job"
    owner = any(of.shared.get(mount.source) == service.name for mount in service.mounts if mount.kind == "volume")
    data = any("size" in volume and not volume.get("ephemeral") for volume in made["volumes"])
    wanted = any(service.name in s.needs for s in of.services.values())
    if owner or not data:
        # Who shares a claim refers to it by a name that only a Deployment's claims have.
        if not made["ports"] and wanted and not owner:
            return "stateful"
        return "service" if made["ports"] else "worker"
    return "stateful"


def _port(number: int, protocol: str) -> Component:
    name = _PORT_NAMES.get(number, f"port-{number}")
    return {"name": name if protocol == "TCP" else f"{protocol.lower()}-{number}", "port": number, "protocol": protocol}


def _env(
    of: Conversion, service: Service, env: Mapping[str, str], found: list[links.Secret], out: Component
) -> list[Component]:
    by_value = {secret.value: secret for secret in found}
    variable = {secret.name: f"HOMEPORT_{secret.name.upper().replace('-', '_')}" for secret in found}
    made: list[Component] = []
    extra: dict[str, None] = {}
    for name, value in env.items():
        secret = by_value.get(service.env[name]) if links.is_secret(name, service.env[name]) else None
        if secret is not None:
            made.append(_from_secret(name, secret.name))
            continue
        text, used = links.with_references(value.replace("$(", "$$("), by_value, variable)
        extra.update(dict.fromkeys(sorted(used)))
        made.append({"name": name, "value": text})
    for field_ in ("args", "command"):
        for number, word in enumerate(out[field_]):
            for value, secret in by_value.items():
                if len(value) >= 4 and service.name in secret.users and (word == value or word.endswith(f"={value}")):
                    out[field_][number] = f"{word[: len(word) - len(value)]}$({variable[secret.name]})"
                    extra[secret.name] = None
    for secret in found:
        if service.name in secret.users and secret.users[0] == service.name:
            of.note(service.name, "environment", f"a generated Secret <component>-{secret.name} takes the place of a "
                    f"password that was written down, for {', '.join(secret.users)}")  # fmt: skip
    return [*(_from_secret(variable[name], name) for name in extra), *made]


def _from_secret(variable: str, secret: str) -> Component:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": f"{HOST}-{secret}", "key": "password"}}}


def _resources(of: Conversion, service: Service) -> Component:
    raw = service.raw
    deploy = (raw.get("deploy") or {}).get("resources") or {}
    entry = of.source.entry if service.name == of.main else {}
    limits = deploy.get("limits") or {}
    reserved = deploy.get("reservations") or {}
    least = entry.get("min_memory")
    memory = volumes.size(limits.get("memory") or raw.get("mem_limit")) or (f"{least}Mi" if least else "1Gi")
    cpu = _cpus(of, limits.get("cpus") or raw.get("cpus") or entry.get("min_cpu") or 1)
    asked = volumes.size(reserved.get("memory") or raw.get("mem_reservation")) or quantities.least("128Mi", memory)
    requests = {"cpu": _cpus(of, reserved.get("cpus") or quantities.least("50m", cpu)), "memory": asked}
    return {"requests": requests, "limits": {"cpu": cpu, "memory": memory}}


def _cpus(of: Conversion, value: Any) -> str:
    try:
        quantities.nanos(str(value))
    except ValueError:
        raise Failure(
            f"{of.source.file}: cpus: {value!r} isn't a number of CPUs", "write it as in `cpus: 0.5`"
        ) from None
    return str(value)


def _seconds(value: Any) -> int | None:
    if value is None:
        return None
    found = re.findall(r"(\d+(?:\.\d+)?)(ms|us|h|m|s)", str(value)) or (
        [(str(value), "s")] if str(value).isdecimal() else []
    )
    factor = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 0.000001}
    return max(1, round(sum(float(number) * factor[unit] for number, unit in found))) if found else None


def _probes(of: Conversion, service: Service) -> Component:
    check = service.raw.get("healthcheck")
    if not isinstance(check, Mapping) or check.get("disable"):
        return {}
    test = check.get("test")
    if isinstance(test, str):
        test = ["CMD-SHELL", test]
    if not test or test[0] == "NONE":
        return {}
    command = ["sh", "-c", *map(str, test[1:])] if test[0] == "CMD-SHELL" else [str(word) for word in test[1:]]
    for name, value in service.env.items():
        if links.is_secret(name, value) and any(value in word for word in command):
            # A probe's command isn't filled in with variables; a shell's is.
            line = command[2] if test[0] == "CMD-SHELL" else shlex.join(command)
            command = ["sh", "-c", line.replace(f"'{value}'", value).replace(value, f'"${name}"')]
    probe: Component = {"exec": command}
    for field_, ours in (("interval", "periodSeconds"), ("timeout", "timeoutSeconds")):
        seconds = _seconds(check.get(field_))
        probe[ours] = seconds if seconds is not None else 30
    probe["failureThreshold"] = int(check.get("retries") or 3)
    out: Component = {"readiness": probe, "liveness": {**probe}}
    start = _seconds(check.get("start_period"))
    if start is not None:
        tries = max(1, -(-start // int(probe["periodSeconds"]))) + probe["failureThreshold"]
        out["startup"] = {**probe, "failureThreshold": tries}
    if check.get("start_interval"):
        of.note(service.name, "healthcheck.start_interval", "the interval holds from the start", dropped=True)
    return out


def _security(of: Conversion, service: Service) -> Component:
    raw = service.raw
    user, _, group = str(raw.get("user") or "").partition(":")
    out: Component = {"runAsNonRoot": False, "readOnlyRootFilesystem": bool(raw.get("read_only"))}
    if user.isdecimal():
        out["runAsNonRoot"] = int(user) != 0
        out["runAsUser"] = int(user)
        out["fsGroup"] = int(group) if group.isdecimal() else int(user)
        if group.isdecimal():
            out["runAsGroup"] = int(group)
    elif user:
        of.note(service.name, "user", f"{user}: write its number in securityContext.runAsUser", dropped=True)
    dropped = {str(c).upper().removeprefix("CAP_") for c in raw.get("cap_drop") or ()}
    kept = [] if "ALL" in dropped else [c for c in _CAPABILITIES if c not in dropped]
    added = [str(c).upper().removeprefix("CAP_") for c in raw.get("cap_add") or ()]
    if raw.get("privileged"):
        out["privileged"] = True
    else:
        out["capabilities"] = {"drop": ["ALL"], "add": sorted({*kept, *added})}
    out["sysctls"] = [{"name": name, "value": str(value)} for name, value in pairs(raw.get("sysctls"))]
    groups = [str(group) for group in raw.get("group_add") or ()]
    out["supplementalGroups"] = [int(group) for group in groups if group.isdecimal()]
    for group in groups:
        if not group.isdecimal():
            text = f"{group}: write its number in securityContext.supplementalGroups beside catalog"
            of.note(service.name, "group_add", text, dropped=True)
    return {key: value for key, value in out.items() if value != []}
