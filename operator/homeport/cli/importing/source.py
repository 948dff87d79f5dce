"""Reading what is imported: JSON entries with a ``docker_compose`` inside, and Compose files with their variables."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from homeport.cli.errors import Failure

FILE_LIMIT = 1024 * 1024
NODES = 50_000
COMPOSE_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
UNSET, REQUIRED = "\x01unset:", "\x01required:"
END = "\x02"
"""A variable that nobody has set stands as UNSET or REQUIRED + name + END until it is known whether it is a secret."""


@dataclass(frozen=True)
class Note:
    """What an import changed or left out: said per field, never silently."""

    service: str
    field: str
    text: str
    dropped: bool = False

    @property
    def shown(self) -> str:
        """In one line."""
        where = f"{self.service}.{self.field}" if self.service else self.field
        return f"{where}: {'not carried over: ' if self.dropped else ''}{self.text}"


@dataclass
class Source:
    """One application to import."""

    name: str
    file: Path
    entry: Mapping[str, Any]
    """What a JSON catalog says beside its ``docker_compose``."""
    compose: Mapping[str, Any]
    notes: list[Note] = field(default_factory=list)
    required: dict[str, str] = field(default_factory=dict)
    """Variables that must be set and aren't, with what the file says of it."""

    def needs(self, names: Iterable[str]) -> Failure:
        """What to say when variables must be set."""
        shown = ", ".join(f"{n} ({self.required[n]})" if self.required.get(n) else n for n in sorted(set(names)))
        return Failure(
            f"{self.file}: needs the variable {shown}", "set it with --var NAME=VALUE, or in a file .env beside it"
        )


def find(path: Path) -> Iterator[Path]:
    """The files to import at ``path``. Raises Failure when there are none."""
    if not path.exists():
        raise Failure(f"{path}: there is no such file or folder")
    if path.is_file():
        yield path
        return
    compose = next((path / name for name in COMPOSE_NAMES if (path / name).is_file()), None)
    found = [compose] if compose is not None else sorted(path.glob("*.json"))
    if not found:
        found = [sub / name for sub in sorted(path.iterdir()) for name in COMPOSE_NAMES if (sub / name).is_file()]
    if not found:
        raise Failure(f"{path}: holds neither JSON entries nor Compose files", f"it may be one of {COMPOSE_NAMES}")
    yield from found


def read(path: Path, variables: Mapping[str, str]) -> Source:
    """The application in ``path``. Raises Failure."""
    if path.stat().st_size > FILE_LIMIT:
        raise Failure(f"{path}: is larger than {FILE_LIMIT // 1024} KiB")
    try:
        text = path.read_text(encoding="utf-8")
        body = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise Failure(f"{path}: can't be read: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(body, Mapping):
        raise Failure(f"{path}: is neither a Compose file nor a catalog's entry")
    entry: Mapping[str, Any] = {}
    compose = body
    if "docker_compose" in body:
        entry, compose = {k: v for k, v in body.items() if k != "docker_compose"}, body["docker_compose"]
        if isinstance(compose, str):
            compose = yaml.safe_load(compose)
    folder = path.parent.name if path.name in COMPOSE_NAMES else path.stem
    given = compose.get("name") if isinstance(compose, Mapping) else None
    raw_name = str(entry.get("id") or entry.get("name") or (given if isinstance(given, str) else None) or folder)
    source = Source(slug(raw_name) or "app", path, entry, {})
    if not isinstance(compose, Mapping):
        raise Failure(f"{path}: docker_compose isn't a mapping")
    known = {**_dotenv(path.parent / ".env"), **variables}
    budget = iter(range(NODES))
    compose = _walk(_services_at_top(compose, source), lambda text: interpolate(text, known, source), budget, path)
    source.compose = {**compose, "services": _extended(compose.get("services"), path)}
    return source


def _services_at_top(compose: Mapping[str, Any], source: Source) -> Mapping[str, Any]:
    """A file of the first format has its services at the top, without a heading."""
    if "services" in compose:
        return compose
    if compose and all(isinstance(v, Mapping) and ("image" in v or "build" in v) for v in compose.values()):
        source.notes.append(Note("", "version", "this is Compose's first format: every key at the top is a service"))
        return {"services": dict(compose)}
    raise Failure(f"{source.file}: has no services; is it a Compose file?")


def slug(text: str, limit: int = 40) -> str:
    """``text`` as a name: lower-case letters, digits and '-', beginning with a letter."""
    out = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    out = re.sub(r"^[^a-z]+", "", out)
    return out[:limit].strip("-")


def _dotenv(path: Path) -> dict[str, str]:
    out = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            value = value.strip()
            out[name.strip()] = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
    return out


def _walk(value: Any, change: Callable[[str], str], budget: Iterator[int], path: Path) -> Any:
    """``value`` with every text in it changed. Anchors may make something very large out of a small file."""
    if next(budget, None) is None:
        raise Failure(f"{path}: has more than {NODES} entries when its anchors are written out")
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {str(key): _walk(each, change, budget, path) for key, each in value.items()}
    if isinstance(value, list):
        return [_walk(each, change, budget, path) for each in value]
    return value


# Source: https://docs.docker.com/reference/compose-file/interpolation/
_VARIABLE = re.compile(r"\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:(:?[-?+])((?:[^{}]|\{[^{}]*\})*))?\})")


def interpolate(text: str, variables: Mapping[str, str], source: Source) -> str:
    """``text`` with its variables put in."""

    def put(match: re.Match[str]) -> str:
        dollar, plain, braced, operator, rest = match.groups()
        if dollar:
            return "$"
        name = plain or braced
        value = variables.get(name)
        empty = value is None or (value == "" and (operator or "").startswith(":"))
        rest = interpolate(rest, variables, source) if rest else ""
        kind = (operator or "")[-1:]
        if kind == "+":
            return "" if empty else rest
        if not empty:
            return value or ""
        if kind == "-":
            source.notes.append(Note("", f"${{{name}}}", f"is {rest!r} from now on; --var {name}=… sets another"))
            return rest
        if kind == "?":
            source.required[name] = rest
        return f"{REQUIRED if kind == '?' else UNSET}{name}{END}"

    return _VARIABLE.sub(put, text)


def _extended(services: Any, path: Path) -> dict[str, Any]:
    """The services with what they extend put in. Raises Failure for circles and for other files."""
    if not isinstance(services, Mapping) or not services:
        raise Failure(f"{path}: has no services")
    out: dict[str, Any] = {}

    def resolve(name: str, above: tuple[str, ...]) -> Any:
        if name in above:
            raise Failure(f"{path}: services extend each other in a circle ({' -> '.join((*above, name))})")
        if name not in services:
            raise Failure(f"{path}: {above[-1]} extends {name}, which isn't there")
        own = services[name]
        if not isinstance(own, Mapping):
            raise Failure(f"{path}: services.{name} isn't a mapping")
        base = own.get("extends")
        if base is None:
            return dict(own)
        if isinstance(base, Mapping) and base.get("file"):
            text = f"{path}: services.{name} extends a service of another file ({base['file']})"
            raise Failure(text, "`docker compose config` writes it all into one file; import that")
        other = base.get("service") if isinstance(base, Mapping) else base
        return _merged(resolve(str(other), (*above, name)), {k: v for k, v in own.items() if k != "extends"})

    for name in services:
        out[str(name)] = resolve(name, ())
    return out


def _merged(base: Any, over: Any) -> Any:
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        out = dict(base)
        for key, value in over.items():
            out[key] = _merged(out[key], value) if key in out else value
        return out
    if isinstance(base, list) and isinstance(over, list):
        return [*base, *(each for each in over if each not in base)]
    return over


# --- variables that nobody has set ------------------------------------------------------------------------------------


def unset(text: str) -> str:
    """The first variable in ``text`` that nobody has set."""
    found = re.search(f"(?:{UNSET}|{REQUIRED})([^{END}]*){END}", text)
    return found.group(1) if found else ""


def without_unset(text: str, source: Source, service: str) -> str:
    """``text`` with variables that nobody has set as nothing, which is said. Raises Failure for those that must be."""
    while name := unset(text):
        if f"{REQUIRED}{name}{END}" in text:
            raise source.needs([name])
        note = Note(service, f"${{{name}}}", "nobody has set it, so it is empty; --var NAME=VALUE sets it")
        source.notes.append(note)
        text = text.replace(f"{UNSET}{name}{END}", "")
    return text


def texts(value: Any) -> list[str]:
    """Every text in a value."""
    if isinstance(value, str):
        return [value]
    each = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in each for text in texts(one)]
