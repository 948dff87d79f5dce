"""Services to components: which is the main one, in which order, and how they call each other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from homeport.cli.importing import component, entries, images, links
from homeport.cli.importing.conversion import NAME, Conversion
from homeport.cli.importing.service import PORTS, Service
from homeport.cli.importing.source import Source, slug
from homeport.cli.importing.variables import REQUIRED, needed, texts, unset, without_unset


def convert(source: Source, services: Mapping[str, Service]) -> Conversion:
    """The components of an application. Raises Failure."""
    main = _main(source, services)
    out = Conversion(source, services, main, _order(services), _parts(source, services, main))
    _known_ports(out)
    hosts = links.Hosts(services, {name: out.host(name) for name in services})
    changed = _linked(out, hosts)
    _say_what_is_unknown(out)
    entries.say_what_is_left(source, services[main])
    _find_shared(out)
    found = links.secrets(services, out.order)
    for name in out.order:
        out.components[name] = component.of_service(out, services[name], changed[name], found, hosts)
    left = {unset(text) for text in texts(list(out.components.values())) if REQUIRED in text}
    if left:
        raise needed(source, left)
    for name, made in out.components.items():
        out.components[name] = _without_unset(out, name, made)
    return out


def _without_unset(of: Conversion, service: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_unset(of, service, each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_unset(of, service, each) for each in value]
    return without_unset(value, of.source, service) if isinstance(value, str) else value


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


_LISTENS = re.compile(r"(?:^|_)(?:PORT|LISTEN|LISTEN_ADDR(?:ESS)?|BIND|BIND_ADDR(?:ESS)?)$")
_HERE = re.compile(r"(?:localhost|127\.0\.0\.1):(\d{2,5})\b")


def _known_ports(of: Conversion) -> None:
    """Ports that are said elsewhere: in a catalog's entry, in its own settings, or known of the image."""
    entry = of.source.entry.get("ports")
    for service in of.services.values():
        declared = dict(service.ports)
        told = [*(entry if isinstance(entry, list) and service.name == of.main else ())]
        for port in [*told, *_own_ports(service), *images.ports(service.image)]:
            number, _, protocol = str(port).partition("/")
            if number.isdecimal() and 0 < int(number) < 65536 and len(service.ports) < PORTS:
                service.ports.setdefault((int(number), (protocol or "TCP").upper()))
        added = [f"{number}/{protocol}" for number, protocol in service.ports if (number, protocol) not in declared]
        if added:
            where = "the entry, its settings or what is known of the image says so"
            of.note(service.name, "ports", f"{', '.join(added)} added: {where}")


def _own_ports(service: Service) -> list[str]:
    """Ports that a service's own settings name: PORT and its like, and what its healthcheck asks."""
    out = []
    for variable, value in service.env.items():
        port = value.rpartition(":")[2]
        if _LISTENS.search(variable.upper()) and port.isdecimal():
            # DB_PORT and its like are another's.
            own = variable.upper() == "PORT" or ":" in value
            out += [port] if own else []
    test = (service.raw.get("healthcheck") or {}).get("test")
    words = test if isinstance(test, list) else [test or ""]
    return [*out, *(found for word in words for found in _HERE.findall(str(word)))]


def _linked(of: Conversion, hosts: links.Hosts) -> dict[str, dict[str, str]]:
    """Every service's variables with siblings' names changed; ports that siblings name are added to those known."""
    out: dict[str, dict[str, str]] = {}
    for name, service in of.services.items():
        out[name] = {}
        for variable, value in service.env.items():
            secret = links.is_secret(variable, value)
            text, named = (value, []) if secret else hosts.linked(value, service, variable)
            for target, port in named:
                pair = re.sub(r"(?i)(?:HOST(?:NAME)?|SERVER|ENDPOINT|ADDR(?:ESS)?)$", "PORT", variable)
                other = service.env.get(pair if pair != variable else f"{variable}_PORT", "")
                other = other or service.env.get(f"{variable}_PORT", "")
                number = port or (int(other) if other.isdecimal() else 0)
                ports = of.services[target].ports
                if target != name and 0 < number < 65536 and (number, "TCP") not in ports and len(ports) < PORTS:
                    ports[number, "TCP"] = None
                    of.note(target, "ports", f"{number}/TCP added: {name}.environment.{variable} says so")
                if target != name:
                    of.named.add((name, target))
            out[name][variable] = text
    for name, service in of.services.items():
        for variable, value in out[name].items() if service.host_network else ():
            out[name][variable], seen = hosts.local(value, service)
            if seen:
                of.note(name, f"environment.{variable}", f"localhost there is {', '.join(seen)}, by its port")
    return out


def _say_what_is_unknown(of: Conversion) -> None:
    """Services without a port, and those that are needed by others that don't say under which name they look."""
    for name, service in of.services.items():
        wanted = any(name in other.needs for other in of.services.values())
        if not service.ports and not _is_done(of, name):
            text = "none is declared, and none is known of the image; if it listens, write ports beside catalog"
            if wanted:
                text += "; siblings reach it under its name at any port"
            of.note(name, "ports", text)
        for need in service.needs:
            words = " ".join([*(service.command or ()), *(service.args or ())])
            named = (name, need) in of.named or any(alias in words for alias in of.services[need].names)
            called = of.name(need).replace(NAME, of.source.name)
            if not named and not _is_done(of, need) and called != need:
                text = f"nothing in its settings names {need}; if its image looks for that name, tell it {called}"
                of.note(name, f"depends_on.{need}", text)


def _is_done(of: Conversion, name: str) -> bool:
    """Whether a service is one that others wait for until it has ended."""
    return any(s.needs.get(name) == "service_completed_successfully" for s in of.services.values())


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
