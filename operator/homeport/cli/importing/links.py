"""Who is meant by a host name in a value, and which values are secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from homeport.cli.importing.service import Service
from homeport.cli.importing.source import slug

_SECRET = re.compile(
    r"(?:(?:^|_)(?:PASSWORD|PASSWD|PASSPHRASE|PASS|PWD|SECRET|TOKEN|API_?KEY|PRIVATE_KEY|ENCRYPTION_KEY|SECRET_KEY|"
    r"SECRET_KEY_BASE|SECRET_ACCESS_KEY|MASTER_KEY|APP_KEY|AUTH_KEY|SALT)|(?<!BY)(?:PASS|PASSWORD|PASSWD))$"
)
_NO_SECRETS = frozenset({"", "true", "false", "yes", "no", "0", "1", "none", "null", "on", "off"})
_FILE = "\x00file:"
_HOSTY = re.compile(r"(HOST|HOSTNAME|SERVER|SERVERS|ADDR|ADDRESS|ENDPOINT|URL|URI|DSN|BROKER|NODES?|UPSTREAM)$")
_CREDENTIALS = (
    re.compile(r"(?P<before>://[^:/@\s]*:)(?P<value>[^@/\s]+)(?P<after>@)"),
    re.compile(
        r"(?P<before>(?:^|[?&; ])(?:p|pass|password|passwd|pwd)=)(?P<value>[^@/\s&;]+)(?P<after>(?=[&; ]|$))",
        re.IGNORECASE,
    ),
)
"""A password in a URL, and in its query or a connection string."""
_FLAG = re.compile(r"^--?(?P<name>requirepass|masterauth|password|passwd|admin-password)(?:=(?P<value>.+))?$")
"""A password among a command's words: after the option, or in it."""


def is_secret(name: str, value: str) -> bool:
    """Whether a variable looks like a password: by its name, and by having a value worth it."""
    if value.lower() in _NO_SECRETS or "://" in value or value.startswith(("/", "$(")):
        return False
    return bool(_SECRET.search(name.upper().replace(".", "_").replace("-", "_")))


@dataclass
class Secret:
    """One generated Secret: every service that had its value reads it."""

    name: str
    value: str
    users: list[str] = field(default_factory=list)

    @property
    def length(self) -> int:
        """How long what is generated is: as long as what was written down, within reason."""
        if self.value.startswith(("base64:", _FILE)):
            # Laravel's key for AES-256 is 32 characters, if it isn't base64.
            return 32
        return max(16, min(64, len(self.value)))


def secrets(services: Mapping[str, Service], order: Sequence[str]) -> list[Secret]:
    """Values that look like passwords, each once, in the order in which services start."""
    found: dict[str, Secret] = {}
    taken: set[str] = set()

    def note(value: str, variable: str, service: str) -> None:
        secret = found.get(value)
        if secret is None:
            name = slug(variable, 30) or "secret"
            while name in taken:
                name += "-2"
            taken.add(name)
            secret = found[value] = Secret(name, value)
        if service not in secret.users:
            secret.users.append(service)

    for name in order:
        for variable, value in services[name].env.items():
            if is_secret(variable, value):
                note(value, variable, name)
    for name in order:
        for variable, value in services[name].env.items():
            for match in (match for pattern in _CREDENTIALS for match in pattern.finditer(value)):
                if match["value"].lower() not in _NO_SECRETS and not match["value"].startswith("$("):
                    note(match["value"], f"{variable}_PASSWORD", name)
        for flag, value in _flags([*(services[name].command or ()), *(services[name].args or ())]):
            note(value, flag, name)
        for secret in services[name].secret_files.values():
            note(f"{_FILE}{secret}", secret, name)
    return list(found.values())


def of_file(secret: str, found: Sequence[Secret]) -> Secret:
    """The generated Secret that stands for one of Compose's."""
    return next(each for each in found if each.value == f"{_FILE}{secret}")


def _flags(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Passwords in a command: (the option's name, the password)."""
    for word, following in zip(words, [*words, ""][1:], strict=True):
        match = _FLAG.match(word)
        value = (match["value"] or following) if match is not None else ""
        if match is not None and len(value) >= 4 and not value.startswith(("$", "-", "/")):
            yield match["name"], value


def with_references(value: str, by_value: Mapping[str, Secret], variable: Mapping[str, str]) -> tuple[str, set[str]]:
    """``value`` with passwords inside URLs as ``$(VARIABLE)``, and the names of the secrets that it then needs."""
    used: set[str] = set()

    def put(match: re.Match[str]) -> str:
        secret = by_value.get(match["value"])
        if secret is None:
            return match.group(0)
        used.add(secret.name)
        return f"{match['before']}$({variable[secret.name]}){match['after']}"

    for pattern in _CREDENTIALS:
        value = pattern.sub(put, value)
    return value, used


class Hosts:
    """The names of services, and what to write for them."""

    def __init__(self, services: Mapping[str, Service], hosts: Mapping[str, str]) -> None:
        self._services = services
        self._hosts = hosts
        self._by_alias = {alias: name for name, s in services.items() for alias in s.names}
        self._by_alias |= {name: name for name in services}

    def linked(self, text: str, service: Service, variable: str = "") -> tuple[str, list[tuple[str, int | None]]]:
        """``text`` as ``service`` has it with siblings' names as components' names; whom it named, at which port."""
        aliases = {**self._by_alias, **service.aliases}
        named: list[tuple[str, int | None]] = []
        names = "|".join(sorted((re.escape(alias) for alias in aliases), key=len, reverse=True))
        hosty = bool(_HOSTY.search(variable.upper()))

        def put(match: re.Match[str]) -> str:
            before, alias, port = match.group("before") or "", match.group("alias"), match.group("port")
            target = aliases[alias]
            named.append((target, int(port) if port else None))
            return f"{before}{self._hosts[target]}{f':{port}' if port else ''}"

        pattern = rf"(?P<before>://|@|=(?=\S+$))?(?<![\w.-])(?P<alias>{names})(?![\w-])(?!\.[A-Za-z])(?::(?P<port>\d{{1,5}})(?!\d))?"

        def maybe(match: re.Match[str]) -> str:
            alone = match.group(0) == text or (hosty and "," in text)
            sure = match.group("port") or match.group("before") in ("://", "@")
            plain = alone and (hosty or "-" in match.group("alias") or "_" in match.group("alias"))
            return put(match) if sure or plain else match.group(0)

        return re.sub(pattern, maybe, text), named

    def local(self, text: str, service: Service) -> tuple[str, list[str]]:
        """With ``network_mode: host`` siblings are at localhost: told by the port, if only one listens there."""
        seen: list[str] = []

        def put(match: re.Match[str]) -> str:
            port = int(match.group(2))
            listening = [s.name for s in self._services.values() if (port, "TCP") in s.ports]
            if len(listening) != 1 or listening[0] == service.name:
                return match.group(0)
            seen.append(listening[0])
            return f"{self._hosts[listening[0]]}:{port}"

        return re.sub(r"\b(localhost|127\.0\.0\.1):(\d{1,5})\b", put, text), seen
