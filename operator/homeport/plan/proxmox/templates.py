"""Container templates by name: which of a host's volumes one means, and which of those that can be fetched. Pure.

A template's file is ``<package>_<version>_<architecture>.tar.zst``, such as
``debian-12-standard_12.7-1_amd64.tar.zst`` (pve-manager ``APLInfo.pm``; ``pveam available`` lists them). A name means a
package: ``debian-12-standard`` that one; ``debian-12``, and ``debian``, the standard (or default) one of it. Of several
versions the newest is meant, compared as Debian compares versions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from homeport.plan.proxmox.readings import Volume
from homeport.plan.world import HostReading

ARCHITECTURE = "amd64"
"""What is taken when there are several: Proxmox VE itself runs on nothing else."""
_ENDING = re.compile(r"\.tar(\.(gz|xz|zst|bz2))?$")
_PLAIN = re.compile(r"[0-9.]*-?(standard|default)?|[0-9.]+")
_DIGITS = re.compile(r"([0-9]+)")
SHOWN = 5
"""How many templates a message names."""


class Template(NamedTuple):
    """What a template's file name says."""

    package: str
    version: str
    architecture: str

    @classmethod
    def parse(cls, file: str) -> Template:
        """What isn't said is empty; every name is one."""
        package, _, rest = _ENDING.sub("", file).partition("_")
        version, _, architecture = rest.partition("_")
        return cls(package, version, architecture)


class NoTemplate(NamedTuple):
    """There is none of the name; ``text`` says which there are."""

    text: str


def file_of(volume: str) -> str:
    """``local:vztmpl/FILE``: the file."""
    return volume.rpartition("/")[2]


def storage_of(volume: str) -> str:
    """``STORAGE:vztmpl/file``: the storage."""
    return volume.partition(":")[0]


def newest(name: str, files: Iterable[str]) -> str | None:
    """The file among ``files`` that a name means; one that is a file's whole name, with or without ending, means it."""
    found = sorted(set(files))
    exact = next((file for file in found if name in (file, _ENDING.sub("", file))), None)
    if exact is not None:
        return exact
    parsed = [(file, Template.parse(file)) for file in found]
    named = [(file, it) for file, it in parsed if it.package == name] or [
        (file, it) for file, it in parsed if _is_plain(name, it.package)
    ]
    ours = [(file, it) for file, it in named if it.architecture in (ARCHITECTURE, "")] or named
    return max(ours, key=lambda one: (order(one[1].package), order(one[1].version), one[0]))[0] if ours else None


def _is_plain(name: str, package: str) -> bool:
    """Whether ``package`` is ``name`` and no more than a version and the word standard."""
    return package.startswith(f"{name}-") and _PLAIN.fullmatch(package[len(name) + 1 :]) is not None


def order(version: str) -> tuple[Any, ...]:
    """A key that sorts versions as ``dpkg --compare-versions`` does (deb-version(7)); ``~`` comes before the end."""
    upstream, hyphen, revision = version.rpartition("-")
    return (_parts(upstream), _parts(revision)) if hyphen else (_parts(version), _parts(""))


def _parts(text: str) -> tuple[Any, ...]:
    """Text and numbers by turns; what has no number at its end compares as if 0 followed."""
    found = _DIGITS.split(text)
    out = [int(part) if number % 2 else (*map(_rank, part), 0) for number, part in enumerate(found)]
    return (*out, 0) if len(out) % 2 else tuple(out)


def _rank(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256


def find(
    name: str,
    reading: HostReading,
    *,
    node: str | None = None,
    nodes: Sequence[str] | None = None,
    storage: str | None = None,
) -> str | NoTemplate:
    """The volume that ``name`` means, a volume's id or a name as above, on a host or one node of it.

    ``nodes`` are those that may be used, None for all; ``storage`` the one that it must be on, if any.
    """
    volumes: dict[str, Volume] = {}
    for where, found in reading.templates.items():
        if (node is None or where == node) and (nodes is None or where in nodes):
            volumes.update({one.id: one for one in found if storage is None or storage_of(one.id) == storage})
    if ":" in name:
        if name in volumes:
            return name
    else:
        chosen = newest(name, map(file_of, volumes))
        if chosen is not None:
            # Of several storages that have it, the first by name: the answer must not change by itself.
            return min(volume for volume in volumes if file_of(volume) == chosen)
    place = f"node {node} has" if node is not None else "the host has"
    if storage is not None:
        place += f" on storage {storage}"
    there = sorted(volumes)
    listed = ", ".join(there[:SHOWN]) + (f" and {len(there) - SHOWN} more" if len(there) > SHOWN else "")
    fetch = name if ":" not in name else file_of(name)
    return NoTemplate(
        f"there is no template {name}: {place} {listed or 'none'}; write one of these, or have an administrator add "
        f"{{name: {fetch}, storage: …}} to the ProxmoxHost's spec.templates"
    )


# --- what is to be fetched --------------------------------------------------------------------------------------------


class Missing(NamedTuple):
    """A template that is to be on a node's storage, and isn't."""

    name: str
    storage: str
    node: str
    """Of a shared storage: the node that fetches it for all."""


class Lack(NamedTuple):
    """Why a template can't be there."""

    name: str
    storage: str
    text: str


class Entry(NamedTuple):
    """A template that a ProxmoxHost asks for."""

    name: str
    storage: str
    nodes: Sequence[str] | None = None


def missing(asked: Iterable[Entry], reading: HostReading) -> tuple[list[Missing], list[Lack]]:
    """What is to be fetched, in the order in which it is asked for; and what can't be."""
    out: list[Missing] = []
    lacks: list[Lack] = []
    for entry in asked:
        online = {node.name for node in reading.resources.nodes if node.online}
        places = [one for one in reading.resources.storages if one.name == entry.storage and one.node in online]
        places = [one for one in places if entry.nodes is None or one.node in entry.nodes]
        if not places:
            lacks.append(Lack(entry.name, entry.storage, f"no node that is online has the storage {entry.storage}"))
            continue
        if not any("vztmpl" in place.content for place in places):
            text = f"the storage {entry.storage} isn't for templates; add vztmpl to its content in Proxmox VE"
            lacks.append(Lack(entry.name, entry.storage, text))
            continue
        for place in places:
            if "vztmpl" not in place.content or not place.available or place.node not in reading.templates:
                continue
            here = [file_of(one.id) for one in reading.templates[place.node] if storage_of(one.id) == entry.storage]
            if newest(entry.name, here) is None:
                out.append(Missing(entry.name, entry.storage, place.node))
            if place.shared:
                break
    return list(dict.fromkeys(out)), lacks


_PERCENT = re.compile(r"\b([0-9]{1,3})%")


def percent(log: Sequence[str]) -> int:
    """How far a download is, by the end of its task's log (wget's lines of dots)."""
    for line in reversed(log):
        found = _PERCENT.findall(line)
        if found:
            return min(int(found[-1]), 100)
    return 0


def appliances(raw: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The answer of ``/nodes/{node}/aplinfo``: the files that can be fetched."""
    return tuple(sorted(str(entry["template"]) for entry in raw if entry.get("template")))
