"""Services to components. What depends on values or on the component's name stands as a token until it is written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from homeport.cli.importing import images, links
from homeport.cli.importing.service import Mount, Service
from homeport.cli.importing.source import REQUIRED, Note, Source, slug
from homeport.plan import quantities

NAME, HOST = "HPxNAMEx", "HPxHOSTx"
Component = dict[str, Any]

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
# What Docker gives containers, without those that no standard but privileged allows.
_CAPABILITIES = (
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETFCAP", "SETGID"),
    *("SETPCAP", "SETUID", "SYS_CHROOT"),
)
_OF_THE_NODE = ("/etc", "/var/run", "/run", "/dev", "/proc", "/sys", "/lib/modules", "/boot", "/usr")
_SIZES = {"b": "", "": "", "k": "Ki", "kb": "Ki", "m": "Mi", "mb": "Mi", "g": "Gi", "gb": "Gi"}


@dataclass
class Conversion:
    """An application on its way: what its services become, and what its users may set."""

    source: Source
    services: Mapping[str, Service]
    main: str
    order: list[str]
    parts: dict[str, str]
    """By service: the further component's part; the main one's is empty."""
    components: dict[str, Component] = field(default_factory=dict)
    sizes: dict[str, str] = field(default_factory=dict)
    """Volumes by name, with the default of their value."""
    shared: dict[str, str] = field(default_factory=dict)
    """Volumes that several services mount -> the service whose claim it is."""

    def note(self, service: str, field_: str, text: str, dropped: bool = False) -> None:
        """Say what is changed or left out."""
        self.source.notes.append(Note(service, field_, text, dropped))

    def host(self, service: str) -> str:
        """What siblings call it."""
        return f"{HOST}-{self.parts[service]}" if self.parts[service] else HOST

    def name(self, service: str) -> str:
        """Its component's name."""
        return f"{NAME}-{self.parts[service]}" if self.parts[service] else NAME


def convert(source: Source, services: Mapping[str, Service]) -> Conversion:
    """The components of an application. Raises Failure."""
    from homeport.cli.errors import Failure  # noqa: PLC0415

    main = _main(source, services)
    out = Conversion(source, services, main, _order(services), _parts(source, services, main))
    _known_ports(out)
    hosts = links.Hosts(services, {name: out.host(name) for name in services})
    changed = _linked(out, hosts)
    _find_shared(out)
    found = links.secrets(services, out.order)
    for name in out.order:
        out.components[name] = _component(out, services[name], changed[name], found, hosts)
    left = {links.unset(text) for text in _texts(list(out.components.values())) if REQUIRED in text}
    if left:
        text = f"{source.file}: needs the variable {', '.join(sorted(left))}"
        raise Failure(text, "set it with --var NAME=VALUE, or in a file .env beside it")
    for name, component in out.components.items():
        out.components[name] = _without_unset(out, name, component)
    return out


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    each = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in each for text in _texts(one)]


def _without_unset(of: Conversion, service: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_unset(of, service, each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_unset(of, service, each) for each in value]
    while isinstance(value, str) and links.unset(value):
        of.note(service, f"${{{links.unset(value)}}}", "nobody has set it, so it is empty; --var NAME=VALUE sets it")
        value = re.sub("\x01unset:[^\x02]*\x02", "", value)
    return value


def _main(source: Source, services: Mapping[str, Service]) -> str:
    """The service that the application is about."""
    plain = re.sub(r"[^a-z0-9]", "", source.name)
    for name in services:
        if re.sub(r"[^a-z0-9]", "", name.lower()) == plain:
            return name
    needed = {need for service in services.values() for need in service.needs}
    tops = [name for name in services if name not in needed] or list(services)
    return max(
        tops,
        key=lambda name: (
            bool(services[name].raw.get("ports")),
            slug(name).startswith(source.name),
            len(services[name].needs),
        ),
    )


def _parts(source: Source, services: Mapping[str, Service], main: str) -> dict[str, str]:
    out, taken = {main: ""}, {""}
    for name in services:
        if name == main:
            continue
        part = slug(name)
        part = part.removeprefix(f"{source.name}-") or part or "part"
        while part in taken:
            part += "-2"
        taken.add(part)
        out[name] = part
    return out


def _order(services: Mapping[str, Service]) -> list[str]:
    """What others need comes first."""
    out: dict[str, None] = {}

    def visit(name: str) -> None:
        for need in services[name].needs:
            if need not in out:
                visit(need)
        out[name] = None

    for name in services:
        visit(name)
    return list(out)


def _known_ports(of: Conversion) -> None:
    """Ports that are said elsewhere: in a catalog's entry, or known of the image."""
    entry = of.source.entry.get("ports")
    for service in of.services.values():
        told = [*(entry if isinstance(entry, list) and service.name == of.main else ())]
        for port in [*images.ports(service.image), *told]:
            number, _, protocol = str(port).partition("/")
            if number.isdecimal() and len(service.ports) < 16:
                service.ports.setdefault((int(number), (protocol or "TCP").upper()))


def _linked(of: Conversion, hosts: links.Hosts) -> dict[str, dict[str, str]]:
    """Every service's variables with siblings' names changed; ports that siblings name are added to those known."""
    out: dict[str, dict[str, str]] = {}
    for name, service in of.services.items():
        out[name] = {}
        for variable, value in service.env.items():
            secret = links.is_secret(variable, value)
            text, named = (value, []) if secret else hosts.linked(value, service, variable)
            for target, port in named:
                pair = re.sub(r"HOST(NAME)?$|SERVER$", "PORT", variable)
                other = service.env.get(pair, "") if pair != variable else ""
                number = port or (int(other) if other.isdecimal() else 0)
                if target != name and 0 < number < 65536 and len(of.services[target].ports) < 16:
                    of.services[target].ports.setdefault((number, "TCP"))
            out[name][variable] = text
    for name, service in of.services.items():
        for variable, value in out[name].items() if service.host_network else ():
            out[name][variable], seen = hosts.local(value, service)
            if seen:
                of.note(name, f"environment.{variable}", f"localhost there is {', '.join(seen)}, by its port")
    return out


def _find_shared(of: Conversion) -> None:
    users: dict[str, list[str]] = {}
    for name in of.order:
        for mount in of.services[name].mounts:
            if mount.kind == "volume" and mount.source and name not in users.setdefault(mount.source, []):
                users[mount.source].append(name)
    of.shared = {volume: names[0] for volume, names in users.items() if len(names) > 1}
    for volume in of.shared:
        text = f"{', '.join(users[volume])} share it: its storage class must offer ReadWriteMany, or set sharedAccess"
        of.note("", f"volumes.{volume}", text)


def _component(
    of: Conversion, service: Service, env: Mapping[str, str], found: list[links.Secret], hosts: links.Hosts
) -> Component:
    out: Component = {"name": of.name(service.name), "type": "", "image": f"HPxIMAGEx{of.parts[service.name]}x"}
    out["command"] = [hosts.linked(word, service)[0] for word in service.command or ()]
    out["args"] = [hosts.linked(word, service)[0] for word in service.args or ()]
    raw = service.raw
    if raw.get("working_dir"):
        out["workingDir"] = str(raw["working_dir"])
    out["ports"] = [_port(*port) for port in service.ports]
    out["env"] = _env(of, service, env, found, out)
    out["secrets"] = [
        {"name": f"{HOST}-{secret.name}", "generate": {"length": max(16, min(64, len(secret.value)))}}
        for secret in found
        if secret.users[0] == service.name
    ]
    out["volumes"] = _volumes(of, service)
    out["resources"] = _resources(of, service)
    out["probes"] = _probes(of, service)
    out["securityContext"] = _security(of, service)
    out["dependsOn"] = [of.name(need) for need in service.needs]
    grace = _seconds(raw.get("stop_grace_period"))
    if grace is not None:
        out["terminationGracePeriodSeconds"] = grace
    count = (raw.get("deploy") or {}).get("replicas", raw.get("scale"))
    if isinstance(count, int):
        out["replicas"] = count
    out["type"] = _type(of, service, out)
    if out["type"] == "job":
        for name in ("probes", "replicas"):
            out.pop(name, None)
    return {key: value for key, value in out.items() if value not in ([], {}, None)}


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


def _volumes(of: Conversion, service: Service) -> list[Component]:
    out: list[Component] = []
    taken: set[str] = set()
    targets: set[str] = set()
    for mount in service.mounts:
        if not mount.target or mount.target.rstrip("/") in targets:
            of.note(service.name, "volumes", f"{mount.target or mount.source}: it is mounted twice", dropped=True)
            continue
        volume = _volume(of, service, mount)
        if volume is not None:
            targets.add(mount.target.rstrip("/"))
            while volume["name"] in taken:
                volume["name"] += "-2"
            taken.add(volume["name"])
            out.append(volume)
    return out


def _carried(of: Conversion, service: Service, mount: Mount, where: str) -> bool:
    """Whether a mount becomes a volume; if not, why is said."""
    if mount.kind == "bind":
        if mount.source.startswith(_OF_THE_NODE) or mount.source.endswith(".sock"):
            why = "a component can't read its node's files"
            if "localtime" in mount.source or "timezone" in mount.source:
                why += "; set the variable TZ"
            elif mount.source.endswith(".sock"):
                why += ", and this socket would make it the node's root"
            of.note(service.name, where, why, dropped=True)
            return False
        if PurePosixPath(mount.target).suffix and PurePosixPath(mount.source).suffix:
            of.note(
                service.name, where, f"write the file's content in files beside catalog: {mount.target}", dropped=True
            )
            return False
        of.note(service.name, where, "is a new, empty volume; what is in the folder isn't copied")
    elif mount.kind != "volume":
        of.note(service.name, where, f"there are no volumes of type {mount.kind}", dropped=True)
        return False
    return True


def _volume(of: Conversion, service: Service, mount: Mount) -> Component | None:
    where = f"volumes[{mount.source or mount.target}]"
    if mount.kind == "tmpfs":
        size = _size(mount.size)
        return {
            "name": slug(f"tmp-{mount.target}"),
            "path": mount.target,
            "ephemeral": True,
            **({"size": size} if size else {}),
        }
    if not _carried(of, service, mount, where):
        return None
    named = mount.kind == "volume" and mount.source
    key = slug(mount.source if named else f"{service.name}-{mount.target}", 40) or "data"
    settings = (of.source.compose.get("volumes") or {}).get(mount.source) if named else None
    for option in settings or {} if isinstance(settings, Mapping) else ():
        of.note(
            "",
            f"volumes.{mount.source}.{option}",
            "the storage class decides; a claim that is there: existingClaim",
            dropped=True,
        )
    of.sizes.setdefault(key, "2Gi")
    out: Component = {"name": key, "path": mount.target}
    owner = of.shared.get(mount.source) if named else None
    if owner is not None and owner != service.name:
        out["existingClaim"] = f"{of.host(owner)}-{key}"
    else:
        out["size"] = f"HPxSIZEx{key}x"
        if owner is not None:
            out["accessModes"] = ["HPxACCESSx"]
    if images.wants_an_empty_folder(service.image):
        out["subPath"] = "data"
    if mount.read_only:
        out["readOnly"] = True
    return out


def _resources(of: Conversion, service: Service) -> Component:
    raw = service.raw
    deploy = (raw.get("deploy") or {}).get("resources") or {}
    entry = of.source.entry if service.name == of.main else {}
    limits = deploy.get("limits") or {}
    reserved = deploy.get("reservations") or {}
    least = entry.get("min_memory")
    memory = _size(limits.get("memory") or raw.get("mem_limit")) or (f"{least}Mi" if least else "1Gi")
    cpu = str(limits.get("cpus") or raw.get("cpus") or entry.get("min_cpu") or 1)
    asked = _size(reserved.get("memory") or raw.get("mem_reservation")) or quantities.least("128Mi", memory)
    requests = {"cpu": str(reserved.get("cpus") or quantities.least("50m", cpu)), "memory": asked}
    return {"requests": requests, "limits": {"cpu": cpu, "memory": memory}}


def _size(value: Any) -> str:
    """Compose's 512m as Kubernetes's 512Mi; empty for what isn't an amount."""
    match = re.match(r"^(\d+(?:\.\d+)?)\s*([a-zA-Z]*)$", str(value or "").strip())
    unit = _SIZES.get(match.group(2).lower()) if match else None
    return f"{match.group(1)}{unit}" if match and unit is not None else ""


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
    given = raw.get("sysctls") or {}
    pairs = given.items() if isinstance(given, Mapping) else (str(each).partition("=")[::2] for each in given)
    out["sysctls"] = [{"name": str(name), "value": str(value)} for name, value in pairs]
    return {key: value for key, value in out.items() if value != []}
