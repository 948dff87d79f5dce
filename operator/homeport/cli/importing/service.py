"""One Compose service with its short forms written out.

Source: https://docs.docker.com/reference/compose-file/services/
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from homeport.cli.errors import Failure
from homeport.cli.importing import mounts, shapes, variables
from homeport.cli.importing.mounts import Mount
from homeport.cli.importing.source import WRITTEN_OUT, Source
from homeport.cli.importing.variables import needed, unset, without_unset

_DEPLOY = frozenset({"replicas", "resources"})
_WAITS = frozenset({"environment", "command", "entrypoint", "healthcheck"})
"""Where a variable that nobody has set may turn out to be a generated secret."""


class Say(Protocol):
    """Takes note of something about a field of the service."""

    def __call__(self, field: str, text: str, dropped: bool = ...) -> None:
        """``dropped``: it isn't carried over."""


@dataclass
class Service:
    """A service with everything in one form."""

    name: str
    image: str
    raw: Mapping[str, Any]
    env: dict[str, str] = field(default_factory=dict)
    ports: dict[tuple[int, str], None] = field(default_factory=dict)
    mounts: list[Mount] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    """Files by path: what configs become."""
    secret_files: dict[str, str] = field(default_factory=dict)
    """Files by path -> the name of the secret that is in them."""
    needs: dict[str, str] = field(default_factory=dict)
    """Services that come first -> the condition."""
    optional: set[str] = field(default_factory=set)
    """Those of them that needn't be there."""
    command: list[str] | None = None
    args: list[str] | None = None
    aliases: dict[str, str] = field(default_factory=dict)
    """Other names by which it calls a service."""
    names: set[str] = field(default_factory=set)
    """Names by which others may call it."""
    host_network: bool = False


def services(source: Source) -> dict[str, Service]:
    """Every service. Raises Failure for those that can't be run: nothing but ``build``, circles, unknown names."""
    found = {name: _settled(name, raw, source) for name, raw in source.compose["services"].items()}
    out = {name: _service(name, raw, source) for name, raw in found.items()}
    for service in out.values():
        _check_needs(service, out, source)
    _refuse_circles(out, source)
    for field_, value in source.compose.items():
        if value and field_ not in shapes.TOP and not field_.startswith("x-"):
            source.say("", field_, f"{shapes.NO_FIELD}; {WRITTEN_OUT}", dropped=True)
    networks = shapes.mapping(f"{source.file}: networks", source.compose.get("networks"))
    for name, settings in networks.items():
        for option in settings or {} if isinstance(settings, Mapping) else ():
            source.say("", f"networks.{name}.{option}", "components reach each other in the cluster's network", True)
    return out


def _check_needs(service: Service, out: Mapping[str, Service], source: Source) -> None:
    for need in [*service.needs]:
        if need in out:
            continue
        if need in service.optional:
            source.say(service.name, f"depends_on.{need}", "it isn't there, and isn't required", dropped=True)
            del service.needs[need]
            continue
        raise Failure(
            f"{source.file}: services.{service.name}.depends_on names {need}, which isn't a service",
            f"there is {', '.join(out)}",
        )


def _settled(name: str, raw: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """The service with variables that nobody has set as nothing, where no secret can be meant."""
    image = str(raw.get("image") or "")
    if unset(image):
        raise needed(source, [unset(image)])

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
    def note(field: str, text: str, dropped: bool = True) -> None:
        source.say(name, field, text, dropped)

    image, where = raw.get("image"), f"{source.file}: services.{name}"
    if not image:
        what = "only build" if raw.get("build") else "no image"
        text = f"{where} has {what}: Homeport runs images and doesn't build them"
        raise Failure(text, "build it, push it to a registry, and write `image:` in its service")
    if raw.get("build"):
        note("build", f"the image {image} is taken as it is in its registry")
    shapes.check(where, raw)
    for key in raw:
        if key not in shapes.SILENT and key not in shapes.READ and not key.startswith("x-"):
            note(key, shapes.WHY.get(key, shapes.NO_FIELD))
    out = Service(name, _tagged(str(image)), raw)
    out.env = {**_env_files(raw.get("env_file"), source, note), **_environment(raw.get("environment"), note)}
    for port in [*_list(raw.get("ports")), *_list(raw.get("expose"))]:
        _port(port, out, note)
    out.mounts = mounts.of_service(name, raw, source, note)
    out.files = mounts.configs(raw, source, note)
    out.secret_files = mounts.secrets(raw, source)
    out.args, out.command = _words(raw.get("command"), where), _words(raw.get("entrypoint"), where)
    _needs(out, note)
    _names(out, note)
    _fate(raw, note)
    mode = raw.get("network_mode")
    out.host_network = mode == "host"
    if out.host_network:
        note("network_mode", "host: it has an address of its own, and is reached under its name at its ports", False)
    elif mode not in (None, "bridge", "default"):
        note("network_mode", f"{mode}: every component has an address of its own")
    return out


def _needs(out: Service, note: Say) -> None:
    needs = out.raw.get("depends_on") or {}
    if isinstance(needs, Mapping):
        for need, told in needs.items():
            settings = told if isinstance(told, Mapping) else {}
            out.needs[str(need)] = str(settings.get("condition") or "")
            if not settings.get("required", True):
                out.optional.add(str(need))
            if settings.get("restart"):
                note(f"depends_on.{need}.restart", "a component isn't started again because of another")
    else:
        out.needs = {str(need): "" for need in needs}
    for link in _list(out.raw.get("links")):
        target, _, alias = str(link).partition(":")
        out.aliases[alias or target] = target
        out.needs.setdefault(target, "")


def _names(out: Service, note: Say) -> None:
    raw = out.raw
    out.names = {out.name, *(str(raw[f]) for f in ("container_name", "hostname") if raw.get(f))}
    for field_ in ("container_name", "hostname"):
        if raw.get(field_) not in (None, out.name):
            note(field_, "it is called after its component; references to the old name are changed", False)
    networks = raw.get("networks")
    for name, network in networks.items() if isinstance(networks, Mapping) else ():
        settings = shapes.mapping(f"networks.{name}", network)
        out.names.update(str(alias) for alias in _list(settings.get("aliases")))
        for option in settings:
            if option != "aliases":
                note(f"networks.{name}.{option}", "Pods have no address of their own to choose")
    if networks:
        note("networks", "all components of an application reach each other; isolation: Strict keeps others out", False)


def _fate(raw: Mapping[str, Any], note: Say) -> None:
    """What else decides how it runs."""
    labels = raw.get("labels")
    if labels:
        texts = [f"{k}={v}" for k, v in labels.items()] if isinstance(labels, Mapping) else [str(e) for e in labels]
        rules = [rule for text in texts if (rule := re.search(r"^traefik\.(?:http|tcp)\.routers\..*\.rule=(.+)", text))]
        note("labels", "they are for other tools; routes say what a proxy's labels say")
        for rule in rules:
            note("labels[traefik]", f"write routes beside catalog for {rule.group(1)[:200]}")
    if str(raw.get("restart", "always")).lower() not in ("always", "unless-stopped"):
        note("restart", f"{str(raw['restart']).lower()}: a component is always started again", False)
    deploy = raw.get("deploy") or {}
    for field_, value in deploy.items():
        if field_ not in _DEPLOY and value:
            note(f"deploy.{field_}", "it is for Swarm; write strategy, affinity or labels beside catalog")
    for kind, amounts in (deploy.get("resources") or {}).items():
        for amount in shapes.mapping(f"deploy.resources.{kind}", amounts):
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


def _env_files(value: Any, source: Source, note: Say) -> dict[str, str]:
    """The variables of files beside the Compose file; a later one wins."""
    out: dict[str, str] = {}
    for each in _list(value):
        settings = each if isinstance(each, Mapping) else {"path": each}
        name = str(settings.get("path") or "")
        path = source.beside(name)
        if path is not None:
            read = variables.dotenv(path)
            out |= {key: variables.interpolate(text, source.known, source) for key, text in read.items()}
            note("env_file", f"{name}: its {len(read)} variables are written into env", False)
        else:
            note(
                "env_file", f"{name}: there is no such file beside this one; write its variables in the component's env"
            )
    return out


def _environment(value: Any, note: Say) -> dict[str, str]:
    out: dict[str, str] = {}
    pairs = value.items() if isinstance(value, Mapping) else (str(e).partition("=")[::2] for e in _list(value))
    bare = set() if isinstance(value, Mapping) else {str(e) for e in _list(value) if "=" not in str(e)}
    for name, given in pairs:
        if given is None or name in bare:
            note(f"environment.{name}", "its value would come from the shell that runs Compose; write it in env")
        elif isinstance(given, Mapping | list):
            note(f"environment.{name}", "its value isn't a text")
        else:
            out[str(name)] = str(given).lower() if isinstance(given, bool) else str(given)
    return out


_PORT = re.compile(r"^(?:(?:[0-9.]+|\[[0-9a-fA-F:]+\]):)?(?:(\d*)(?:-(\d+))?:)?(\d+)(?:-(\d+))?(?:/(tcp|udp|sctp))?$")
_PORT_FIELDS = frozenset({"target", "published", "protocol"})
PORTS = 16


def _port(given: Any, out: Service, note: Say) -> None:
    if isinstance(given, Mapping):
        for field_, value in given.items():
            if field_ not in _PORT_FIELDS:
                note(f"ports.{field_}", f"{value}: write routes for HTTP from outside")
        published = given.get("published")
        text = f"{published}:{given.get('target')}" if published else str(given.get("target"))
        given = f"{text}/{given.get('protocol') or 'tcp'}"
    match = _PORT.match(str(given).strip())
    if match is None or not all(0 < int(number) < 65536 for number in match.group(3, 4) if number):
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


def _words(value: Any, where: str) -> list[str] | None:
    if value is None:
        return None
    try:
        words = [str(word) for word in value] if isinstance(value, list) else shlex.split(str(value))
    except ValueError as error:
        raise Failure(f"{where}: {value!r} can't be split into words: {error}", "write it as a list") from None
    # $(NAME) would be filled in by Kubernetes.
    return [word.replace("$(", "$$(") for word in words]
