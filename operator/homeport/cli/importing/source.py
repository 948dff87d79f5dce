"""One application to import: a JSON entry with a ``docker_compose`` inside, or a Compose file, as plain data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from homeport.cli.errors import Failure
from homeport.cli.importing import merging, variables
from homeport.cli.importing.files import COMPOSE_NAMES, Found, NotAnEntry, content, parsed

NODES = 50_000
WRITTEN_OUT = "`docker compose config` writes it all into one file; import that"


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
    known: Mapping[str, str] = field(default_factory=dict)
    """Variables that are set."""

    def say(self, service: str, field_: str, text: str, dropped: bool = False) -> None:
        """Take note of what is changed or left out."""
        self.notes.append(Note(service, field_, text, dropped))

    def beside(self, name: str) -> Path | None:
        """A file that the application names, if it is in its own folder; None for any other."""
        folder = self.file.parent.resolve()
        try:
            path = (folder / name).resolve()
            return path if path.is_file() and path.is_relative_to(folder) else None
        except (OSError, ValueError):  # a name that no file can have
            return None


def read(found: Found | Path, given: Mapping[str, str]) -> Source:
    """The application in a file, with variables put in. Raises Failure, NotAnEntry for a file that holds none."""
    found = Found(found) if isinstance(found, Path) else found
    path = found.path
    body = content(path)
    if not isinstance(body, Mapping):
        what = "is empty" if body is None else "is neither a Compose file nor a catalog's entry"
        raise NotAnEntry(f"{path}: {what}", "write `services:` with an image for each")
    entry: Mapping[str, Any] = {}
    compose: Any = body
    if "docker_compose" in body:
        entry, compose = {k: v for k, v in body.items() if k != "docker_compose"}, body["docker_compose"]
        if isinstance(compose, str):
            compose = parsed(compose, f"{path}: docker_compose")
        if not isinstance(compose, Mapping):
            raise Failure(f"{path}: docker_compose isn't a mapping", "write a Compose file's content there")
    source = Source(_name(path, entry, compose), path, entry, {}, known=_known(path, given))
    compose = _services_at_top(compose, source)
    if found.override is not None:
        over = content(found.override)
        if not isinstance(over, Mapping):
            raise Failure(f"{found.override}: isn't a Compose file")
        source.say("", found.override.name, "is merged into it, as Compose does")
        compose = merging.merged(compose, over)
    if compose.get("include"):
        raise Failure(f"{path}: includes other files", WRITTEN_OUT)
    budget = iter(range(NODES))
    compose = _walk(compose, lambda text: variables.interpolate(text, source.known, source), budget, path)
    source.compose = {**compose, "services": _extended(compose.get("services"), path)}
    return source


def _known(path: Path, given: Mapping[str, str]) -> dict[str, str]:
    return {**variables.dotenv(path.parent / ".env"), **given}


def _name(path: Path, entry: Mapping[str, Any], compose: Mapping[str, Any]) -> str:
    folder = path.resolve().parent.name if path.name in COMPOSE_NAMES else path.stem
    given = compose.get("name")
    told = given if isinstance(given, str) and "$" not in given else None
    return slug(str(entry.get("id") or entry.get("name") or told or folder)) or "app"


def _services_at_top(compose: Mapping[str, Any], source: Source) -> Mapping[str, Any]:
    """A file of the first format has its services at the top, without a heading."""
    if "services" in compose or "include" in compose:
        return compose
    if compose and all(isinstance(v, Mapping) and ("image" in v or "build" in v) for v in compose.values()):
        source.say("", "version", "this is Compose's first format: every key at the top is a service")
        return {"services": dict(compose)}
    raise NotAnEntry(f"{source.file}: has no services; is it a Compose file?", "write `services:`, with an image each")


def slug(text: str, limit: int = 40) -> str:
    """``text`` as a name: lower-case letters, digits and '-', beginning with a letter."""
    out = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    out = re.sub(r"^[^a-z]+", "", out)
    return out[:limit].strip("-")


def _walk(value: Any, change: Callable[[str], str], budget: Iterator[int], path: Path) -> Any:
    """``value`` with every text in it changed. Anchors may make something very large out of a small file."""
    if next(budget, None) is None:
        raise Failure(
            f"{path}: has more than {NODES} entries when its anchors are written out", "write what is needed out"
        )
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {str(key): _walk(each, change, budget, path) for key, each in value.items()}
    if isinstance(value, list):
        return [_walk(each, change, budget, path) for each in value]
    return value


def _extended(services: Any, path: Path) -> dict[str, Any]:
    """The services with what they extend put in. Raises Failure for circles and for other files."""
    if not isinstance(services, Mapping) or not services:
        raise NotAnEntry(f"{path}: has no services", "write `services:` with an image for each")
    out: dict[str, Any] = {}

    def resolve(name: str, above: tuple[str, ...]) -> Any:
        if name in above:
            raise Failure(
                f"{path}: services extend each other in a circle ({' -> '.join((*above, name))})",
                "take one of these out",
            )
        if name not in services:
            raise Failure(f"{path}: {above[-1]} extends {name}, which isn't there", f"there is {', '.join(services)}")
        own = services[name]
        if not isinstance(own, Mapping):
            raise Failure(f"{path}: services.{name} isn't a mapping", "write an image in it, at least")
        base = own.get("extends")
        if base is None:
            return dict(own)
        if isinstance(base, Mapping) and base.get("file"):
            raise Failure(f"{path}: services.{name} extends a service of another file ({base['file']})", WRITTEN_OUT)
        other = base.get("service") if isinstance(base, Mapping) else base
        return merging.merged(
            resolve(str(other), (*above, name)), {k: v for k, v in own.items() if k != "extends"}, ("services", name)
        )

    for name in services:
        out[str(name)] = resolve(name, ())
    return out
