"""What a container is told to run: its ``software`` with every reference resolved, as the agent's payload. Pure.

Environments are put together as the kubelet does: whole ConfigMaps and Secrets first, then ``env`` in its order, in
which ``$(NAME)`` stands for what was defined before and ``$$(NAME)`` for itself; so do command and arguments.
Source: https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from homeport.api.lxcparts import ContainerDns
from homeport.api.pod import EnvVar, KeySelector, Port, Probe, Probes
from homeport.api.software import Program, Software
from homeport.plan import agent

_REFERENCE = re.compile(r"\$(\$|\([-._a-zA-Z][-._a-zA-Z0-9]*\))")
_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")

ObjectRef = tuple[str, str]
"""Secret or ConfigMap, and its name in the container's namespace."""
Values = Mapping[ObjectRef, Mapping[str, bytes]]
"""The data of what is there."""


@dataclass(frozen=True)
class Around:
    """What of the container beside its software is in the payload."""

    name: str
    """The LXCContainer's."""
    hostname: str
    volumes: Sequence[str] = ()
    """The paths of its mounts."""
    addresses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Of the LXCContainers of the namespace that ``hosts`` names, as far as they are known."""
    run: str = ""
    """The name of a job's run."""
    namespace: str = ""
    suspended: bool = False
    interfaces: tuple[agent.Interface, ...] | None = None
    """Where Proxmox VE sets up no network: what init does."""
    dns: ContainerDns | None = None
    """Whom it asks for names, then."""


class Missing(Exception):  # noqa: N818 - what a person has to mend
    """Something that the software names isn't there; the message says what to create."""


def references(software: Software) -> dict[ObjectRef, bool]:
    """The Secrets and ConfigMaps that the software reads, and whether it can't be without them."""
    out: dict[ObjectRef, bool] = {}

    def note(kind: str, name: str, optional: bool | None) -> None:
        out[kind, name] = out.get((kind, name), False) or not optional

    for program in software.programs:
        for variable in program.env or ():
            for kind, selector in _selectors(variable):
                note(kind, selector.name, selector.optional)
        for whole in program.env_from or ():
            kind, ref = ("Secret", whole.secret_ref) if whole.secret_ref else ("ConfigMap", whole.config_map_ref)
            if ref is not None:
                note(kind, ref.name, ref.optional)
        for file in program.secret_files or ():
            note("Secret", file.secret_ref.name, False)
    return out


def _selectors(variable: EnvVar) -> Iterable[tuple[str, KeySelector]]:
    source = variable.value_from
    if source is not None and source.secret_key_ref is not None:
        yield "Secret", source.secret_key_ref
    if source is not None and source.config_map_key_ref is not None:
        yield "ConfigMap", source.config_map_key_ref


def payload(software: Software, around: Around, values: Values) -> agent.Payload:
    """The payload. Raises Missing for what isn't there."""
    ports = software.ports or ()
    one = _program(software, ports, around, values) if software.processes is None else {}
    return agent.Payload(
        **one,
        hosts=_hosts(software, around),
        hostname=around.hostname,
        nameservers=(around.dns.servers or ()) if around.dns is not None else (),
        search=(around.dns.domain,) if around.dns is not None and around.dns.domain else (),
        interfaces=around.interfaces,
        volumes=tuple(around.volumes),
        restart_policy=software.restart_policy or "Always",
        run=around.run,
        backoff_limit=software.backoff_limit or 0,
        active_deadline_seconds=software.active_deadline_seconds,
        processes=tuple(
            agent.Process(
                name=process.name,
                depends_on=process.depends_on or (),
                restart=process.restart_at or "",
                **_program(process, ports, around, values),
            )
            for process in software.processes or ()
        ),
    )


def _program(program: Program, ports: Sequence[Port], around: Around, values: Values) -> dict[str, Any]:
    """What a process is started as, by the names of ``agent.Program``."""
    env = _environment(program, around, values)
    user, grace = program.user, program.termination_grace_period_seconds
    return {
        "env": tuple(agent.Variable(name=name, value=value) for name, value in env.items()),
        "files": tuple(_files(program, values)),
        "command": _expanded(program.command, env),
        "args": _expanded(program.args, env),
        "working_dir": program.working_dir,
        "user": agent.User(uid=user.run_as_user, gid=user.run_as_group, fs_group=user.fs_group)
        if user
        else agent.User(),
        "probes": _probes(program.probes, ports),
        "schedule": program.schedule,
        "time_zone": program.time_zone,
        "suspend": around.suspended,
        "termination_grace_period_seconds": agent.DEFAULT_GRACE if grace is None else grace,
    }


def _environment(software: Program, around: Around, values: Values) -> dict[str, str]:
    out: dict[str, str] = {}
    for whole in software.env_from or ():
        kind, ref = ("Secret", whole.secret_ref) if whole.secret_ref else ("ConfigMap", whole.config_map_ref)
        assert ref is not None
        found = values.get((kind, ref.name))
        if found is None and not ref.optional:
            raise Missing(f"{kind} {ref.name} doesn't exist in namespace {around.namespace}; create it")
        for key, content in sorted((found or {}).items()):
            name = f"{whole.prefix or ''}{key}"
            if _NAME.fullmatch(name):
                out[name] = _text(content, kind, ref.name, key)
    for variable in software.env or ():
        value = _value(variable, around, values)
        if value is not None:
            out[variable.name] = expanded(value, out) if variable.value_from is None else value
    return out


def _value(variable: EnvVar, around: Around, values: Values) -> str | None:
    source = variable.value_from
    if source is None:
        return variable.value or ""
    for kind, selector in (("Secret", source.secret_key_ref), ("ConfigMap", source.config_map_key_ref)):
        if selector is not None:
            found = values.get((kind, selector.name), {}).get(selector.key)
            if found is None and selector.optional:
                return None
            if found is None:
                raise Missing(_lacking(kind, selector.name, selector.key, around.namespace, values))
            return _text(found, kind, selector.name, selector.key)
    path = source.field_ref.field_path if source.field_ref is not None else ""
    known = {"metadata.name": around.name, "metadata.namespace": around.namespace}
    if path in known:
        return known[path]
    raise Missing(f"env {variable.name}: {path or 'resourceFieldRef'} isn't known of a container; write a value")


def _lacking(kind: str, name: str, key: str, namespace: str, values: Values) -> str:
    if (kind, name) in values:
        return f"{kind} {name} in namespace {namespace} has no key {key}; add it"
    return f"{kind} {name} doesn't exist in namespace {namespace}; create it, with the key {key}"


def _text(value: bytes, kind: str, name: str, key: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Missing(f"{kind} {name}: what is under {key} isn't text, which a variable must be") from None


def expanded(text: str, known: Mapping[str, str]) -> str:
    """``text`` with each ``$(NAME)`` that is known replaced; what isn't stays as it is, and ``$$`` stands for ``$``."""

    def one(found: re.Match[str]) -> str:
        inner = found[1]
        return "$" if inner == "$" else known.get(inner[1:-1], found[0])

    return _REFERENCE.sub(one, text)


def _expanded(words: Sequence[str] | None, env: Mapping[str, str]) -> tuple[str, ...] | None:
    return None if words is None else tuple(expanded(word, env) for word in words)


def _files(software: Program, values: Values) -> Iterable[agent.File]:
    for path, content in sorted((software.files or {}).items()):
        yield agent.File.of(path, content.encode())
    for file in software.secret_files or ():
        found = values.get(("Secret", file.secret_ref.name), {}).get(file.secret_ref.key)
        if found is None:
            raise Missing(f"{file.path}: Secret {file.secret_ref.name} has no key {file.secret_ref.key}; add it")
        yield agent.File.of(file.path, found, secret=True)


def _hosts(software: Software, around: Around) -> tuple[agent.HostEntry, ...]:
    """A line for each address; a name whose containers have none yet has no line."""
    return tuple(
        agent.HostEntry(address=address, names=(entry.name,))
        for entry in software.hosts or ()
        for container in entry.containers
        for address in around.addresses.get(container, ())[:1]
    )


# --- probes ---------------------------------------------------------------------------------------------------------


def _probes(given: Probes | None, ports: Sequence[Port]) -> agent.ProbeSet:
    if given is None:
        return agent.ProbeSet()
    return agent.ProbeSet(
        liveness=_probe(given.liveness, ports),
        readiness=_probe(given.readiness, ports),
        startup=_probe(given.startup, ports),
    )


def _probe(given: Probe | None, ports: Sequence[Port]) -> agent.Probe | None:
    if given is None:
        return None
    numbers = {
        "initial_delay_seconds": given.initial_delay_seconds,
        "period_seconds": given.period_seconds,
        "timeout_seconds": given.timeout_seconds,
        "success_threshold": given.success_threshold,
        "failure_threshold": given.failure_threshold,
        "termination_grace_period_seconds": given.termination_grace_period_seconds,
    }
    said = {name: number for name, number in numbers.items() if number is not None}
    if given.exec is not None:
        return agent.Probe(exec=tuple(given.exec), **said)
    if given.tcp is not None:
        return agent.Probe(tcp=port_number(given.tcp, ports), **said)
    headers = tuple(agent.Variable(name=header.name, value=header.value) for header in given.http_headers or ())
    check = agent.HttpCheck(
        port=port_number(given.port, ports), path=given.path or "/", scheme=given.scheme or "HTTP", headers=headers
    )
    return agent.Probe(http=check, **said)


def port_number(reference: str | None, ports: Sequence[Port]) -> int:
    """The number of a port, by its name or number; the first when there is none. Raises Missing."""
    if reference is None:
        if not ports:
            raise Missing("a probe has a path and no port, and there are no ports; write one")
        return ports[0].port
    if reference.isdecimal():
        return int(reference)
    for port in ports:
        if port.name == reference:
            return port.port
    raise Missing(f"a probe names port {reference}, which is not among ports; write one of them, or its number")
