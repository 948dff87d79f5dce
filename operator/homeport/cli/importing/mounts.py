"""What a Compose service mounts: volumes, folders, tmpfs, configs and secrets.

Source: https://docs.docker.com/reference/compose-file/services/#volumes
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from homeport.cli.errors import Failure
from homeport.cli.importing import shapes
from homeport.cli.importing.source import Source

if TYPE_CHECKING:
    from homeport.cli.importing.service import Say

FILES_LIMIT = 96 * 1024
"""Bytes of all configs of one service."""
_FIELDS = frozenset({"type", "source", "target", "read_only", "tmpfs", "volume"})
_MODES = frozenset({"ro", "rw", "z", "Z", "cached", "delegated", "consistent", "nocopy"})


@dataclass(frozen=True)
class Mount:
    """One entry of ``volumes``."""

    kind: str
    """volume, bind or tmpfs."""
    source: str
    target: str
    read_only: bool = False
    size: str = ""
    sub_path: str = ""


def of_service(name: str, raw: Mapping[str, Any], source: Source, note: Say) -> list[Mount]:
    """All that a service mounts, but configs and secrets. Raises Failure."""
    out = [_mount(entry, f"{source.file}: services.{name}.volumes", note) for entry in raw.get("volumes") or ()]
    given = raw.get("tmpfs")
    for entry in given if isinstance(given, list) else [given] if given else ():
        path, _, options = str(entry).partition(":")
        found = dict(option.partition("=")[::2] for option in options.split(",") if option)
        for option in found.keys() - {"size"}:
            note("tmpfs", f"{path}: {option} is the cluster's to say")
        out.append(Mount("tmpfs", "", path, size=found.get("size", "")))
    if raw.get("shm_size"):
        out.append(Mount("tmpfs", "", "/dev/shm", size=str(raw["shm_size"])))  # noqa: S108  # nosec B108
    return out


def _mount(entry: Any, where: str, note: Say) -> Mount:
    if isinstance(entry, Mapping):
        return _long(entry, where, note)
    parts = str(entry).split(":")
    if len(parts) == 1:
        parts = ["", *parts]
    modes = parts[2].split(",") if len(parts) > 2 else []
    for mode in modes:
        if mode not in _MODES:
            note(f"volumes[{parts[0]}]", f"{mode!r} is the node's to say")
    kind = "bind" if parts[0].startswith((".", "/", "~")) else "volume"
    if not parts[1].startswith("/"):
        raise Failure(
            f"{where}: {entry!r} has no absolute path in the container", "write it as in `data:/var/lib/data`"
        )
    return Mount(kind, parts[0], parts[1], "ro" in modes)


def _long(entry: Mapping[str, Any], where: str, note: Say) -> Mount:
    target = str(entry.get("target") or "")
    if not target.startswith("/"):
        raise Failure(f"{where}: {dict(entry)} has no absolute target", "write `target: /var/lib/data`")
    volume = shapes.mapping(f"{where}.volume", entry.get("volume"))
    tmpfs = shapes.mapping(f"{where}.tmpfs", entry.get("tmpfs"))
    for field in (*(entry.keys() - _FIELDS), *(f"volume.{f}" for f in volume.keys() - {"subpath", "nocopy"})):
        note(f"volumes[{target}].{field}", "it is the node's to say")
    return Mount(
        str(entry.get("type") or "volume"),
        str(entry.get("source") or ""),
        target,
        bool(entry.get("read_only")),
        str(tmpfs.get("size") or ""),
        str(volume.get("subpath") or ""),
    )


def _grants(raw: Mapping[str, Any], field: str, above: str) -> Iterator[tuple[str, str]]:
    """The configs or secrets of a service: (name, path in the container)."""
    for entry in raw.get(field) or ():
        name = str(entry.get("source") if isinstance(entry, Mapping) else entry)
        target = str(entry.get("target") or name) if isinstance(entry, Mapping) else name
        yield name, target if target.startswith("/") else f"{above}{target}"


def _defined(field: str, name: str, source: Source) -> Mapping[str, Any]:
    found = shapes.mapping(f"{source.file}: {field}", source.compose.get(field)).get(name)
    if found is None:
        raise Failure(f"{source.file}: a service names {field}.{name}, which isn't there", f"write it under `{field}:`")
    return shapes.mapping(f"{source.file}: {field}.{name}", found)


def configs(raw: Mapping[str, Any], source: Source, note: Say) -> dict[str, str]:
    """Files by path: what configs hold, if that is in the file or beside it."""
    out: dict[str, str] = {}
    for name, path in _grants(raw, "configs", "/"):
        told = _defined("configs", name, source)
        text = told.get("content")
        file = source.beside(str(told["file"])) if told.get("file") else None
        if text is None and file is not None and file.stat().st_size <= FILES_LIMIT:
            try:
                text = file.read_text(encoding="utf-8")
            except ValueError:
                text = None
        if told.get("environment"):
            text = source.known.get(str(told["environment"]))
        if text is None or sum(len(each) for each in (*out.values(), str(text))) > FILES_LIMIT:
            note(f"configs.{name}", f"its content isn't here, or too large; write {path} in files beside catalog")
        else:
            out[path] = str(text)
            note(f"configs.{name}", f"its content is the component's file {path}", False)
    return out


def secrets(raw: Mapping[str, Any], source: Source) -> dict[str, str]:
    """Files by path, with the names of the secrets that they hold. Raises Failure for one that isn't there."""
    out = {}
    for name, path in _grants(raw, "secrets", "/run/secrets/"):
        _defined("secrets", name, source)
        out[path] = name
    return out
