"""Which files there are to import, and what is in one: JSON entries and YAML, read strictly."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from homeport.cli.documents import Loader
from homeport.cli.errors import Failure
from homeport.plan.gitops.places import line_of

FILE_LIMIT = 1024 * 1024
COMPOSE_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_OVERRIDES = tuple(name.replace(".y", ".override.y") for name in COMPOSE_NAMES)
_SUFFIXES = (".json", ".yaml", ".yml")


class NotAnEntry(Failure):
    """A file that holds no application at all: an error if it was named, a note if it lay in a folder."""


@dataclass(frozen=True)
class Found:
    """A file to import; ``override`` is the one that Compose puts over it by itself."""

    path: Path
    override: Path | None = None
    named: bool = True
    """Whether it was named itself, and not its folder."""


@dataclass
class Findings:
    """What there is to import, and what was passed over, with the reason."""

    found: list[Found] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)


def find(paths: Iterable[Path]) -> Findings:
    """The files at ``paths``: each a file, or a folder with entries, Compose files, or folders that hold one.

    Raises Failure for a path that isn't there or holds nothing.
    """
    out = Findings()
    for path in paths:
        if not path.exists():
            raise Failure(f"{path}: there is no such file or folder")
        if path.is_file():
            out.found.append(Found(path, _override(path.parent) if path.name in COMPOSE_NAMES else None))
            continue
        before = len(out.found)
        _in_folder(path, out)
        if len(out.found) == before:
            raise Failure(f"{path}: holds neither JSON entries nor Compose files", f"it may be one of {COMPOSE_NAMES}")
    return out


def _in_folder(folder: Path, out: Findings) -> None:
    compose = next((folder / name for name in COMPOSE_NAMES if (folder / name).is_file()), None)
    others = [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix in _SUFFIXES]
    if compose is not None:
        override = _override(folder)
        out.found.append(Found(compose, override, named=False))
        for path in others:
            if path not in (compose, override) and path.suffix != ".json":
                out.skipped.append((path, f"{compose.name} beside it is the application; name this file to import it"))
        return
    out.found += [Found(path, named=False) for path in others]
    for sub in sorted(path for path in folder.iterdir() if path.is_dir()):
        inner = next((sub / name for name in COMPOSE_NAMES if (sub / name).is_file()), None)
        if inner is not None:
            out.found.append(Found(inner, _override(sub), named=False))


def _override(folder: Path) -> Path | None:
    return next((folder / name for name in _OVERRIDES if (folder / name).is_file()), None)


class ComposeLoader(Loader):
    """YAML as Compose reads it: ``yes``, ``no``, ``on`` and ``off`` are texts."""


ComposeLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:bool"]
    for first, found in Loader.yaml_implicit_resolvers.items()
}
ComposeLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"),
                                    list("tTfF"))  # fmt: skip


def content(path: Path) -> Any:
    """What a file holds. Raises Failure: too large, not YAML or JSON, a key written twice, several documents."""
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise Failure(f"{path}: is larger than {FILE_LIMIT // 1024} KiB")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Failure(f"{path}: isn't UTF-8 text", "write a Compose file or a catalog's JSON entry") from None
    except OSError as error:
        raise Failure(f"{path}: can't be read: {error.strerror}") from None
    return parsed(text, str(path), json_=path.suffix == ".json")


def parsed(text: str, where: str, json_: bool = False) -> Any:
    """``text`` as data. Raises Failure."""
    try:
        return json.loads(text, object_pairs_hook=_once) if json_ else _yaml(text, where)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        problem = " ".join(str(error).split())[:300]
        hint = ""
        if "but found another document" in problem:
            problem, hint = "holds several documents", "write each application into a file of its own"
        elif "could not determine a constructor" in problem:
            problem, hint = "has a tag (!…) that only Compose knows", "`docker compose config` writes it all out"
        else:
            problem = f"can't be read: {problem}"
        raise Failure(f"{where}: {problem}", hint) from None


def _yaml(text: str, where: str) -> Any:
    loader = ComposeLoader(text)
    try:
        out = loader.get_single_data()
    finally:
        loader.dispose()
    for key, first in loader.twice:
        raise Failure(f"{where}:{line_of(key)}: {key.value!r} is written twice, on line {first} too; leave one out")
    return out


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} is written twice; leave one out")
    return out
