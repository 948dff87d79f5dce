"""A new version in an Application's file: only the value's own characters are replaced, as with ImageUpdates' markers.

Comments, quotes, order and line ends stay as they are. YAML's own parser says where values begin and end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from homeport.api.labels import GROUP
from homeport.plan import names
from homeport.plan.gitops.markers import LIMIT, written

_TAG = re.compile(r"(?P<name>[^@]*?)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]*))?(?:@(?P<digest>\S+))?")


class BadManifest(Exception):  # noqa: N818 - it is shown
    """What can't be written, and (``hint``) what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Wanted:
    """What is deployed."""

    application: str
    version: str
    namespace: str = ""
    """Of the Application; empty: whichever it is, if there is one only."""
    environment: str = ""
    """Where; empty: wherever nothing else is written."""
    images: tuple[tuple[str, str], ...] = ()
    """(component, image) of those whose image is written, too; no image: the one that is there, newly tagged."""


@dataclass(frozen=True)
class Change:
    """One value that is another."""

    field: str
    before: str
    after: str

    @property
    def shown(self) -> str:
        """For people."""
        return f"{self.field}: {self.before} -> {self.after}" if self.before else f"{self.field}: {self.after}"


@dataclass(frozen=True)
class Edited:
    """The file as it is wanted. No changes: it says so already."""

    text: str
    changes: tuple[Change, ...] = ()
    pinned: tuple[str, ...] = ()
    """Components whose image has a tag or digest of its own, and stays."""


@dataclass(frozen=True)
class _Piece:
    start: int
    end: int
    text: str


def edit(text: str, wanted: Wanted) -> Edited:
    """The file with the version in it. Raises BadManifest."""
    if len(text) > LIMIT:
        raise BadManifest(f"the file is larger than {LIMIT // 1024} KiB", "put the Application into a file of its own")
    try:
        roots = [root for root in yaml.compose_all(text, Loader=yaml.SafeLoader) if isinstance(root, MappingNode)]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise BadManifest(
            f"the file isn't YAML that can be read{where}", "a template isn't edited: name its values"
        ) from None
    root = _application(roots, wanted)
    spec = _mapping(root, "spec", "spec")
    found: list[tuple[_Piece, Change]] = []
    here, where = spec, "spec"
    if wanted.environment:
        here, where = _environment(spec, wanted.environment), f"spec.environments[{wanted.environment}]"
    found += _version(text, here, where, wanted.version)
    for component, image in wanted.images:
        found += _image(here, where, wanted, component, image)
    for piece, change in found:
        _alone(roots, piece, change)
    out, place = [], 0
    for piece, _ in sorted(found, key=lambda one: one[0].start):
        out += [text[place : piece.start], piece.text]
        place = piece.end
    pinned = tuple(name for name in _pinned(spec) if name not in dict(wanted.images))
    return Edited("".join([*out, text[place:]]), tuple(change for _, change in found), pinned)


# --- finding ----------------------------------------------------------------------------------------------------------


def _get(node: Node | None, name: str) -> Node | None:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value == name:
                found: Node = value
                return found
    return None


def _text(node: Node | None) -> str:
    return str(node.value) if isinstance(node, ScalarNode) else ""


def _mapping(node: Node, name: str, shown: str) -> MappingNode:
    found = _get(node, name)
    if not isinstance(found, MappingNode):
        raise BadManifest(f"the Application has no {shown} that is a mapping", "`homeport validate` says what is wrong")
    return found


def _items(node: Node | None) -> list[Node]:
    return list(node.value) if isinstance(node, SequenceNode) else []


def _application(roots: list[MappingNode], wanted: Wanted) -> MappingNode:
    known, found = [], []
    for root in roots:
        if _text(_get(root, "kind")) != "Application" or not _text(_get(root, "apiVersion")).startswith(f"{GROUP}/"):
            continue
        metadata = _get(root, "metadata")
        name, namespace = _text(_get(metadata, "name")), _text(_get(metadata, "namespace"))
        known.append(f"{namespace}/{name}" if namespace else name)
        if name == wanted.application and (not wanted.namespace or namespace in ("", wanted.namespace)):
            found.append(root)
    if len(found) == 1:
        return found[0]
    if found:
        raise BadManifest(f"the file has {len(found)} Applications {wanted.application}", "name one with --namespace")
    there = f"it has {', '.join(known)}" if known else "it has none: name the file that does"
    raise BadManifest(f"the file has no Application {wanted.application}", there)


def _environment(spec: MappingNode, name: str) -> MappingNode:
    entries = _items(_get(spec, "environments"))
    for entry in entries:
        if isinstance(entry, MappingNode) and _text(_get(entry, "name")) == name:
            return entry
    there = ", ".join(_text(_get(entry, "name")) for entry in entries) or "none"
    raise BadManifest(f"spec.environments has no {name}", f"there are: {there}; write it there first")


# --- values -----------------------------------------------------------------------------------------------------------


def _scalar(node: Node, field: str) -> ScalarNode:
    if not isinstance(node, ScalarNode) or node.style in ("|", ">") or node.start_mark.line != node.end_mark.line:
        raise BadManifest(f"{field} isn't text on one line", "write it as one, such as version: 1.4.0")
    return node


def _replaced(node: Node, field: str, value: str) -> list[tuple[_Piece, Change]]:
    scalar = _scalar(node, field)
    if scalar.value == value:
        return []
    piece = _Piece(scalar.start_mark.index, scalar.end_mark.index, written(value, scalar))
    return [(piece, Change(field, str(scalar.value), value))]


def _version(text: str, here: MappingNode, where: str, version: str) -> list[tuple[_Piece, Change]]:
    found = _get(here, "version")
    if found is not None:
        return _replaced(found, f"{where}.version", version)
    name = _get(here, "name")
    if name is None:
        raise BadManifest(f"{where}.version isn't written", f"write version: {version} there once")
    # Behind the name, on a line of its own where the others are.
    change = Change(f"{where}.version", "", version)
    key = next(key for key, value in here.value if value is name)
    if here.flow_style:
        place = name.end_mark.index
        return [(_Piece(place, place, f", version: {version}"), change)]
    end = re.compile(r"\r\n|\n|\Z").search(text, name.end_mark.index)
    assert end is not None
    line = f"{end[0] or chr(10)}{' ' * key.start_mark.column}version: {version}"
    return [(_Piece(end.start(), end.start(), line), change)]


def _image(here: MappingNode, where: str, wanted: Wanted, component: str, image: str) -> list[tuple[_Piece, Change]]:
    if wanted.environment:
        field = f"{where}.overrides.{component}.image"
        found = _get(_get(_get(here, "overrides"), component), "image")
        if found is None:
            told = "the component's own image is every environment's: write one there first"
            raise BadManifest(f"{field} isn't written", told)
    else:
        field = f"spec.components[{component}].image"
        entries = _items(_get(here, "components"))
        found = _get(next((entry for entry in entries if _text(_get(entry, "name")) == component), None), "image")
        if found is None:
            there = ", ".join(_text(_get(entry, "name")) for entry in entries if _get(entry, "image")) or "none"
            raise BadManifest(f"component {component} has no image in the file", f"those with one are: {there}")
    return _replaced(found, field, image or _tagged(_scalar(found, field).value, wanted.version))


def _tagged(image: str, version: str) -> str:
    """An image with the version as its tag, where it pins one; else as it is, for it takes the version by itself."""
    name, tag, digest = _parts(image)
    return f"{name}:{names.tag(version)}" if tag or digest else image


def _parts(image: str) -> tuple[str, str, str]:
    found = _TAG.fullmatch(image)
    if found is None or "/" in (found["tag"] or ""):
        return image, "", ""
    return found["name"], found["tag"] or "", found["digest"] or ""


def _pinned(spec: MappingNode) -> Iterator[str]:
    for entry in _items(_get(spec, "components")):
        _, tag, digest = _parts(_text(_get(entry, "image")))
        if tag or digest:
            yield _text(_get(entry, "name"))


def _alone(roots: list[MappingNode], piece: _Piece, change: Change) -> None:
    """Raises BadManifest when a value is an anchor's: others would change with it."""
    seen: set[int] = set()
    counts = 0
    waiting: list[Node] = list(roots)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ScalarNode):
            counts += node.start_mark.index == piece.start and piece.end > piece.start
        elif id(node) in seen:
            # What is in a shared node is shared.
            counts += node.start_mark.index <= piece.start <= node.end_mark.index
        else:
            seen.add(id(node))
            pairs = node.value if isinstance(node, MappingNode) else ()
            waiting += [each for pair in pairs for each in pair] or (
                node.value if isinstance(node, SequenceNode) else []
            )
    if counts > (piece.end > piece.start):
        raise BadManifest(f"{change.field} is shared by a YAML anchor", "write it out: others would change with it")
