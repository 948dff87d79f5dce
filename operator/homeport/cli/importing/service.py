"""One Compose service with its short forms written out.

Source: https://docs.docker.com/reference/compose-file/services/
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from homeport.cli.errors import Failure
from homeport.cli.importing.source import Note, Source, unset, without_unset

# What Homeport does by itself, or what says nothing about how it runs.
_SILENT = frozenset({"image"})
_READ = frozenset(
    {
        *("command", "entrypoint", "environment", "ports", "expose", "volumes", "depends_on", "healthcheck"),
        *("cap_add", "cap_drop", "sysctls", "network_mode", "links", "user", "working_dir", "read_only", "privileged"),
        *("tmpfs", "stop_grace_period", "container_name", "hostname", "networks", "deploy", "scale", "mem_limit"),
        *("mem_reservation", "cpus", "shm_size", "labels", "build", "restart"),
    }
)
_DEPLOY = frozenset({"replicas", "resources"})
_TOP = frozenset({"version", "name", "services", "volumes", "networks", "secrets", "configs"})
_WHY = {
    "env_file": "the file isn't part of the import; write its variables in environment, or in the component's env",
    "secrets": "write a Secret and the component's secretFiles or env",
    "configs": "write the component's files",
    "devices": "a Pod has no devices of its node; a device plugin offers them as resources",
    "extra_hosts": "write the names in the cluster's DNS, or a patch with hostAliases",
    "dns": "Pods use the cluster's DNS",
    "logging": "logs go where the cluster sends them",
    "pid": "Pods don't share the node's processes",
    "ipc": "Pods don't share the node's memory; /dev/shm is theirs",
    "ulimits": "limits are the node's",
    "security_opt": "what the environment's podSecurity allows holds",
    "runtime": "a patch may set runtimeClassName",
    "group_add": "write securityContext.supplementalGroups beside catalog",
    "mac_address": "Pods have no address of their own to choose",
    "stop_signal": "it is the image's",
    "profiles": "it runs always; leave the component out with a component list of your own",
    "pull_policy": "write imagePullPolicy beside catalog",
    "init": "the image's own first process runs",
    "tty": "there is no terminal",
    "stdin_open": "there is no terminal",
    "attach": "logs are shown by kubectl logs",
}


@dataclass(frozen=True)
class Mount:
    """One entry of ``volumes``."""

    kind: str
    """volume, bind or tmpfs."""
    source: str
    target: str
    read_only: bool = False
    size: str = ""


@dataclass
class Service:
    """A service with everything in one form."""

    name: str
    image: str
    raw: Mapping[str, Any]
    env: dict[str, str] = field(default_factory=dict)
    ports: dict[tuple[int, str], None] = field(default_factory=dict)
    mounts: list[Mount] = field(default_factory=list)
    needs: dict[str, str] = field(default_factory=dict)
    """Services that come first -> the condition."""
    command: list[str] | None = None
    args: list[str] | None = None
    aliases: dict[str, str] = field(default_factory=dict)
    """Other names by which it calls a service."""
    names: set[str] = field(default_factory=set)
    """Names by which others may call it."""
    host_network: bool = False


_WAITS = frozenset({"environment", "command", "entrypoint", "healthcheck"})
"""Where a variable that nobody has set may turn out to be a generated secret."""


def services(source: Source) -> dict[str, Service]:
    """Every service. Raises Failure for those that can't be run: nothing but ``build``, circles, unknown names."""
    out = {
        name: _service(name, _settled(name, raw, source), source) for name, raw in source.compose["services"].items()
    }
    for service in out.values():
        for need in [*service.needs]:
            if need not in out:
                raise Failure(f"{source.file}: services.{service.name}.depends_on names {need}, which isn't a service")
    _refuse_circles(out, source)
    for field_, value in source.compose.items():
        if value and (field_ in _WHY or field_ not in _TOP) and not field_.startswith("x-"):
            text = _WHY.get(field_, "`docker compose config` writes it all into one file; import that")
            source.notes.append(Note("", field_, text, dropped=True))
    return out


def _settled(name: str, raw: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """The service with variables that nobody has set as nothing, where no secret can be meant."""
    image = str(raw.get("image") or "")
    if unset(image):
        raise source.needs([unset(image)])

    def settled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: settled(each) for key, each in value.items()}
        if isinstance(value, list):
            return [settled(each) for each in value]
        return without_unset(value, source, name) if isinstance(value, str) else value

    return {key: value if key in _WAITS else settled(value) for key, value in raw.items()}


def _refuse_circles(found: Mapping[str, Service], source: Source) -> None:
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            circle = " -> ".join((*above[above.index(name) :], name))
            text = f"{source.file}: depends_on goes in a circle ({circle}), so none of them could start"
            raise Failure(text, "take one of these out")
        if name not in done:
            for need in found[name].needs:
                visit(need, (*above, name))
            done.add(name)

    for name in found:
        visit(name, ())


def _service(name: str, raw: Mapping[str, Any], source: Source) -> Service:
    def note(field_: str, text: str, dropped: bool = True) -> None:
        source.notes.append(Note(name, field_, text, dropped))

    image = raw.get("image")
    if not image:
        what = "only build" if raw.get("build") else "no image"
        text = f"{source.file}: services.{name} has {what}: Homeport runs images and doesn't build them"
        raise Failure(text, "build it, push it to a registry, and write `image:` in its service")
    if raw.get("build"):
        note("build", f"the image {image} is taken as it is in its registry")
    for key in raw:
        if key not in _SILENT and key not in _READ and not key.startswith("x-"):
            note(key, _WHY.get(key, "Homeport has no such field"))
    out = Service(name, _tagged(str(image)), raw)
    out.env = _environment(raw.get("environment"), note)
    for port in [*_list(raw.get("ports")), *_list(raw.get("expose"))]:
        _port(port, out, note)
    out.mounts = _mounts(name, raw, source)
    out.args, out.command = _words(raw.get("command")), _words(raw.get("entrypoint"))
    _needs(out)
    _names(out, note)
    _fate(raw, note)
    mode = raw.get("network_mode")
    out.host_network = mode == "host"
    if out.host_network:
        note("network_mode", "host: it has an address of its own, and is reached under its name at its ports", False)
    elif mode not in (None, "bridge", "default"):
        note("network_mode", f"{mode}: every component has an address of its own")
    return out


def _mounts(name: str, raw: Mapping[str, Any], source: Source) -> list[Mount]:
    out = [_mount(entry, name, source) for entry in _list(raw.get("volumes"))]
    out += [Mount("tmpfs", "", str(entry).partition(":")[0]) for entry in _list(raw.get("tmpfs"))]
    if raw.get("shm_size"):
        out.append(Mount("tmpfs", "", "/dev/shm", size=str(raw["shm_size"])))  # noqa: S108
    return out


def _needs(out: Service) -> None:
    needs = out.raw.get("depends_on") or {}
    if isinstance(needs, Mapping):
        conditions = {str(need): v.get("condition", "") if isinstance(v, Mapping) else "" for need, v in needs.items()}
        out.needs = {need: str(condition) for need, condition in conditions.items()}
    else:
        out.needs = {str(need): "" for need in _list(needs)}
    for link in _list(out.raw.get("links")):
        target, _, alias = str(link).partition(":")
        out.aliases[alias or target] = target
        out.needs.setdefault(target, "")


def _names(out: Service, note: Any) -> None:
    raw = out.raw
    out.names = {out.name, *(str(raw[f]) for f in ("container_name", "hostname") if raw.get(f))}
    if raw.get("container_name") not in (None, out.name):
        note("container_name", "it is called after its component; references to the old name are changed", False)
    networks = raw.get("networks")
    for network in networks.values() if isinstance(networks, Mapping) else ():
        out.names.update(str(a) for a in (network or {}).get("aliases") or ())
    if networks:
        note("networks", "all components of an application reach each other; isolation: Strict keeps others out", False)


def _fate(raw: Mapping[str, Any], note: Any) -> None:
    """What else decides how it runs."""
    if raw.get("labels"):
        note("labels", "they are for other tools; routes say what a proxy's labels say")
    if str(raw.get("restart", "always")).lower() not in ("always", "unless-stopped"):
        note("restart", f"{str(raw['restart']).lower()}: a component is always started again", False)
    for field_, value in (raw.get("deploy") or {}).items():
        if field_ not in _DEPLOY and value:
            note(f"deploy.{field_}", "it is for Swarm; write strategy, affinity or labels beside catalog")
    for kind, amounts in ((raw.get("deploy") or {}).get("resources") or {}).items():
        for amount in amounts or ():
            if amount not in ("cpus", "memory"):
                note(f"deploy.resources.{kind}.{amount}", "write resources beside catalog")


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _tagged(image: str) -> str:
    """Without a tag Compose takes latest; Homeport would take the application's version."""
    last = image.rpartition("/")[2]
    return image if ":" in last or "@" in last else f"{image}:latest"


def _environment(value: Any, note: Any) -> dict[str, str]:
    out: dict[str, str] = {}
    pairs = value.items() if isinstance(value, Mapping) else (str(e).partition("=")[::2] for e in _list(value))
    bare = set() if isinstance(value, Mapping) else {str(e) for e in _list(value) if "=" not in str(e)}
    for name, given in pairs:
        if given is None or name in bare:
            note(f"environment.{name}", "its value would come from the shell that runs Compose; write it in env")
        else:
            out[str(name)] = str(given).lower() if isinstance(given, bool) else str(given)
    return out


_PORT = re.compile(r"^(?:(?:[0-9.]+|\[[0-9a-fA-F:]+\]):)?(?:(\d*)(?:-(\d+))?:)?(\d+)(?:-(\d+))?(?:/(tcp|udp|sctp))?$")
PORTS = 16


def _port(given: Any, out: Service, note: Any) -> None:
    if isinstance(given, Mapping):
        published = given.get("published")
        text = f"{published}:{given.get('target')}" if published else str(given.get("target"))
        given = f"{text}/{given.get('protocol') or 'tcp'}"
    match = _PORT.match(str(given).strip())
    if match is None:
        note("ports", f"{given!r} isn't a port")
        return
    published, _, first, last, protocol = match.groups()
    numbers = range(int(first), int(last or first) + 1)
    for number in numbers:
        key = number, (protocol or "tcp").upper()
        if key not in out.ports and len(out.ports) >= PORTS:
            note("ports", f"{given}: a component has at most {PORTS} ports")
            return
        out.ports[key] = None
    if published:
        note("ports", f"{given}: reached at {first} inside; write routes for HTTP from outside", False)


def _mount(entry: Any, name: str, source: Source) -> Mount:
    if isinstance(entry, Mapping):
        kind = str(entry.get("type") or "volume")
        size = str((entry.get("tmpfs") or {}).get("size") or "")
        target = str(entry.get("target") or "")
        return Mount(kind, str(entry.get("source") or ""), target, bool(entry.get("read_only")), size)
    parts = str(entry).split(":")
    if len(parts) == 1:
        return Mount("volume", "", parts[0])
    modes = parts[2].split(",") if len(parts) > 2 else []
    kind = "bind" if parts[0].startswith((".", "/", "~")) else "volume"
    if not parts[1].startswith("/"):
        raise Failure(f"{source.file}: services.{name}.volumes: {entry!r} has no absolute path in the container")
    return Mount(kind, parts[0], parts[1], "ro" in modes)


def _words(value: Any) -> list[str] | None:
    if value is None:
        return None
    words = shlex.split(value) if isinstance(value, str) else [str(word) for word in value]
    # $(NAME) would be filled in by Kubernetes.
    return [word.replace("$(", "$$(") for word in words]
