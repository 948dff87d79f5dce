"""What a component's own words say of how it is reached: its image's family, and who may log in with which password.

The families' variables are those of the images' own documentation: https://hub.docker.com/_/postgres,
https://hub.docker.com/_/mariadb, https://hub.docker.com/_/mysql, https://hub.docker.com/_/redis, and of Bitnami's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from homeport.plan.names import REFERENCE
from homeport.plan.types import Manifest

PREFIX = "SOURCE_"
"""Put before the names of the component's variables in the runner's container, where others have theirs."""
SECRETS = "/homeport/source-secrets"
"""Where the runner sees the component's files of secrets."""

_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "Postgres": (
        "postgres", "postgresql", "postgresql-repmgr", "postgis", "pgvector", "pgvecto-rs", "timescaledb",
        "timescaledb-ha",
    ),
    "MySQL": ("mysql", "mysql-server", "mariadb", "mariadb-galera", "percona", "percona-server"),
    "Redis": ("redis", "redis-stack", "redis-stack-server", "valkey"),
}  # fmt: skip
SecretKey = tuple[str, str]
"""A Secret's name, and a key in it."""
PORTS = {"Postgres": 5432, "MySQL": 3306, "Redis": 6379}
_WORD = r"""["']?(\$\(?\{?(?P<name>\w+)\}?\)?|[^\s"']+)"""
_REQUIREPASS = re.compile(rf"--requirepass[=\s]+{_WORD}")


def method_of(image: str) -> str | None:
    """The method that an image's name tells of; None when it tells of none."""
    name = image.partition("@")[0].rsplit("/", 1)[-1].partition(":")[0].lower()
    return next((method for method, known in _FAMILIES.items() if name in known), None)


@dataclass(frozen=True)
class Program:
    """What runs: from a Pod's template, or from an LXCContainer's software."""

    image: str
    words: tuple[str, ...] = ()
    """Its command and arguments."""
    env: tuple[Manifest, ...] = ()
    env_from: tuple[Manifest, ...] = ()
    secret_files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Path -> the Secret and its key; a path that ends in a slash is a folder of all keys, and the key is empty."""


class Login(NamedTuple):
    """Who logs in, and what the runner's container needs to know for that."""

    user: Manifest | None = None
    """As the runner's job has it: ``{env: NAME}`` and so on."""
    password: Manifest | None = None
    env: tuple[Manifest, ...] = ()
    env_from: tuple[Manifest, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    """(Secret, key) of what is to be at ``SECRETS/<Secret>/<key>``."""


def login(method: str, program: Program) -> Login:
    """Who may read everything of a server, as far as its own words tell."""
    taken = _Taken(program)
    user, password = _LOGINS[method](taken, program)
    return taken.login(user, password)


def own(login: Login, user: str | None, user_ref: SecretKey | None, password_ref: SecretKey | None) -> Login:
    """The login with what a Backup says of it itself."""
    if user is not None:
        login = login._replace(user={"value": user})
    if user_ref is not None:
        login = login._replace(user={"env": f"{PREFIX}OWN_USER"}, env=(*login.env, _entry("OWN_USER", user_ref)))
    if password_ref is not None:
        entry = _entry("OWN_PASSWORD", password_ref)
        login = login._replace(password={"env": entry["name"]}, env=(*login.env, entry))
    return login


def _entry(name: str, ref: SecretKey) -> Manifest:
    return {"name": f"{PREFIX}{name}", "valueFrom": {"secretKeyRef": {"name": ref[0], "key": ref[1]}}}


class _Taken:
    """Variables that are taken over, each under its name with ``PREFIX``."""

    def __init__(self, program: Program) -> None:
        self._env = {str(entry["name"]): entry for entry in program.env}
        self._program = program
        self._entries: dict[str, Manifest] = {}
        self._whole = False
        self._files: dict[tuple[str, str], None] = {}

    def find(self, *names: str) -> Manifest | None:
        """Where the first of these variables is that the component sets, itself or as ``<name>_FILE``."""
        for name in names:
            if name in self._env and _says_something(self._env[name]):
                return self.variable(name)
            path = str(self._env.get(f"{name}_FILE", {}).get("value", ""))
            if path and (found := self._file(path)):
                return found
        return None

    def guess(self, name: str, default: str = "") -> Manifest | None:
        """Where a variable is that one of the component's whole Secrets or ConfigMaps may hold."""
        if not self._program.env_from:
            return None
        self._whole = True
        return {"env": f"{PREFIX}{name}", "default": default}

    def variable(self, name: str) -> Manifest:
        """A variable, with those that its value refers to before it."""
        self._take(name, ())
        return {"env": f"{PREFIX}{name}"}

    def knows(self, name: str) -> bool:
        """Whether the component sets a variable itself."""
        return name in self._env

    def literal(self, name: str, value: str) -> Manifest:
        """A variable of our own with a value that the component's words have in plain text."""
        self._entries[name] = {"name": f"{PREFIX}{name}", "value": value}
        return {"env": f"{PREFIX}{name}"}

    def _take(self, name: str, above: tuple[str, ...]) -> None:
        if name in self._entries or name in above or name not in self._env:
            return
        entry = self._env[name]
        copied: Manifest = {**entry, "name": f"{PREFIX}{name}"}
        if value := entry.get("value"):
            for other in REFERENCE.findall(value):
                self._take(other, (*above, name))
            copied["value"] = REFERENCE.sub(
                lambda found: f"$({PREFIX}{found[1]})" if found[1] in self._env else found[0], value
            )
        self._entries[name] = copied

    def _file(self, path: str) -> Manifest | None:
        found = self._program.secret_files.get(path)
        if found is None:
            folder, _, name = path.rpartition("/")
            there = self._program.secret_files.get(f"{folder}/")
            found = (there[0], name) if there else None
        if found is None:
            return None
        self._files[found] = None
        return {"file": f"{SECRETS}/{found[0]}/{found[1]}"}

    def login(self, user: Manifest | None, password: Manifest | None) -> Login:
        whole = [{**entry, "prefix": f"{PREFIX}{entry.get('prefix', '')}"} for entry in self._program.env_from]
        return Login(
            user, password, tuple(self._entries.values()), tuple(whole) if self._whole else (), tuple(self._files)
        )


def _says_something(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("value") or entry.get("valueFrom"))


def _postgres(taken: _Taken, program: Program) -> tuple[Manifest | None, Manifest | None]:
    # Bitnami's images have a password for the superuser beside that of the ordinary user.
    if password := taken.find("POSTGRESQL_POSTGRES_PASSWORD", "POSTGRES_POSTGRES_PASSWORD"):
        return {"value": "postgres"}, password
    bitnami = "postgresql" in program.image.rsplit("/", 1)[-1]
    first = "POSTGRESQL" if bitnami else "POSTGRES"
    names = ("POSTGRESQL", "POSTGRES") if bitnami else ("POSTGRES", "POSTGRESQL")
    user = taken.find("POSTGRES_USER", "POSTGRESQL_USERNAME")
    password = taken.find(*(f"{name}_PASSWORD" for name in names))
    if password is None and not taken.knows("POSTGRES_HOST_AUTH_METHOD"):
        password = taken.guess(f"{first}_PASSWORD")
    name = "POSTGRESQL_USERNAME" if bitnami else "POSTGRES_USER"
    return user or taken.guess(name, "postgres") or {"value": "postgres"}, password


def _mysql(taken: _Taken, program: Program) -> tuple[Manifest | None, Manifest | None]:
    names = ("MARIADB", "MYSQL") if "mariadb" in program.image else ("MYSQL", "MARIADB")
    if password := taken.find(*(f"{name}_ROOT_PASSWORD" for name in names)):
        return taken.find(*(f"{name}_ROOT_USER" for name in names)) or {"value": "root"}, password
    if any(
        taken.knows(f"{name}_{word}")
        for name in names
        for word in ("ALLOW_EMPTY_ROOT_PASSWORD", "ALLOW_EMPTY_PASSWORD")
    ):
        return {"value": "root"}, None
    user, password = (taken.find(*(f"{name}_{word}" for name in names)) for word in ("USER", "PASSWORD"))
    if user and password:
        return user, password
    return {"value": "root"}, taken.guess(f"{names[0]}_ROOT_PASSWORD")


def _redis(taken: _Taken, program: Program) -> tuple[Manifest | None, Manifest | None]:
    for found in _required(program.words):
        name = found["name"]
        if name is None:
            return None, taken.literal("PASSWORD", found[1])
        return None, taken.variable(name) if taken.knows(name) else taken.guess(name)
    names = ("VALKEY_PASSWORD", "REDIS_PASSWORD") if "valkey" in program.image else ("REDIS_PASSWORD",)
    return None, taken.find(*names, "REDISCLI_AUTH") or taken.guess(names[0])


def _required(words: Sequence[str]) -> Iterator[re.Match[str]]:
    """``--requirepass`` in arguments, or in the text of a shell."""
    if found := _REQUIREPASS.search(" ".join(words)):
        yield found


_LOGINS = {"Postgres": _postgres, "MySQL": _mysql, "Redis": _redis}
