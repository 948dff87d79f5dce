"""Markers in YAML files: which values an ImageUpdate writes, and how it writes nothing else.

A marker is a comment behind a value, on the same line::

    image: ghcr.io/team/shop:1.4.0    # {"$homeport": "shop/web"}
    tag: "1.4.0"                      # {"$homeport": "shop/web:tag"}

It names an ImageUpdate and one of its images, and what is written: the whole image (nothing), its ``tag``, its
``name`` or its ``digest``. Those of Flux (``{"$imagepolicy": "namespace:policy:tag"}``) are understood too, where the
policy's name means one image. YAML's own scanner says where values begin and end, so what looks like a marker inside a
text isn't one; only the value's own characters are replaced: comments, quotes, order, line ends stay as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

OURS, FLUX = "$homeport", "$imagepolicy"
PARTS = ("", "tag", "name", "digest")
LIMIT = 512 * 1024
"""Characters of a file with markers: the scanner takes its time."""
_COMMENT = re.compile(r"[ \t]*,?[ \t]+#[ \t]*(\{.*\})[ \t]*\Z")
_OURS = re.compile(r"([a-z0-9][-a-z0-9.]*)/([a-z0-9][-a-z0-9]*)(?::([a-z]+))?\Z")
_FLUX = re.compile(r"([a-z0-9][-a-z0-9]*):([a-z0-9][-a-z0-9.]*)(?::([a-z]+))?\Z")
_LINE_END = re.compile(r"[\r\n\x85\u2028\u2029]")
_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./:@+-]*\Z")


@dataclass(frozen=True)
class NewImage:
    """What is written for an image."""

    image: str
    """Its name, without tag and digest."""
    tag: str
    digest: str = ""

    @property
    def shown(self) -> str:
        """All of it."""
        return f"{self.image}:{self.tag}{'@' + self.digest if self.digest else ''}"

    def part(self, name: str) -> str:
        """What a marker asks for."""
        tag = f"{self.tag}@{self.digest}" if self.digest else self.tag
        return {"": self.shown, "tag": tag, "name": self.image, "digest": self.digest}[name]


@dataclass(frozen=True)
class Marks:
    """Whose markers are looked for: an ImageUpdate's, and those of Flux that mean one of its images."""

    update: str
    namespace: str
    images: Mapping[str, NewImage | None]
    """By name; None for one of which nothing is known yet: its markers count, and aren't written."""
    flux: frozenset[str] = frozenset()
    """Names of images that no other ImageUpdate of the same repository and namespace has."""

    def image(self, owner: str, name: str, is_flux: bool) -> bool:
        """Whether a marker is one of these."""
        if is_flux:
            return owner == self.namespace and name in self.flux and name in self.images
        return owner == self.update and name in self.images


@dataclass(frozen=True)
class Replaced:
    """One value that is another now."""

    line: int
    image: str
    before: str
    after: str


@dataclass(frozen=True)
class Edited:
    """A file with new values. ``problems`` are markers that can't be written, with their lines."""

    text: str
    replaced: tuple[Replaced, ...] = ()
    problems: tuple[str, ...] = ()
    markers: int = 0


def concerns(content: bytes) -> bool:
    """Whether a file may have markers: the cheap question, asked of every file."""
    return OURS.encode() in content or FLUX.encode() in content


def edit(text: str, marks: Marks) -> Edited:
    """A file with the new images in it. One that can't be read is a problem only if it names this ImageUpdate."""
    named = OURS in text and f"{marks.update}/" in text
    if len(text) > LIMIT:
        told = f"it is larger than {LIMIT // 1024} KiB, and isn't looked through for markers"
        return Edited(text, problems=(told,) if named else ())
    pieces: list[str] = []
    replaced: list[Replaced] = []
    problems: list[str] = []
    place = markers = 0
    try:
        for token, comment in _marked(text):
            line = token.start_mark.line + 1
            found = _read(comment, marks)
            if isinstance(found, str):
                problems.append(f"line {line}: {found}")
            if found is None or isinstance(found, str):
                continue
            markers += 1
            name, part = found
            new = marks.images[name]
            if new is None:
                continue
            value = new.part(part)
            if not value:
                problems.append(f"line {line}: {name} has no digest; write digest: true in the ImageUpdate")
            elif token.value != value:
                start, end = token.start_mark.index, token.end_mark.index
                pieces += [text[place:start], written(value, token)]
                place = end
                replaced.append(Replaced(line, name, str(token.value), value))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        told = f"{where}it isn't YAML that can be read, so its markers are left alone"
        return Edited(text, problems=(told,) if named else ())
    return Edited("".join([*pieces, text[place:]]), tuple(replaced), tuple(problems), markers)


def _marked(text: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Values with a comment behind them that is a JSON object."""
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        if not isinstance(token, yaml.ScalarToken) or token.style in ("|", ">"):
            continue
        end = token.end_mark.index
        stop = _LINE_END.search(text, end)
        found = _COMMENT.match(text, end, stop.start() if stop else len(text))
        if found is None or token.start_mark.line != token.end_mark.line:
            continue
        try:
            comment = json.loads(found[1])
        except ValueError:
            continue
        if isinstance(comment, dict):
            yield token, comment


def _read(comment: Mapping[str, Any], marks: Marks) -> tuple[str, str] | str | None:
    """(image, part) of a marker that is meant; what is wrong with it; or None when it is somebody else's."""
    key = next((key for key in (OURS, FLUX) if key in comment), None)
    if key is None:
        return None
    text = str(comment[key])
    found = (_OURS if key == OURS else _FLUX).match(text)
    if found is None:
        return f"{text!r} is no marker; write imageupdate/image, with :tag, :name or :digest" if key == OURS else None
    owner, name, part = found[1], found[2], found[3] or ""
    if not marks.image(owner, name, key == FLUX):
        if key == OURS and owner == marks.update:
            return f"ImageUpdate {owner} has no image {name}"
        return None
    if part not in PARTS:
        return f"{part!r} is no part of an image; write tag, name or digest"
    return name, part


def written(value: str, token: Any) -> str:
    """A value as YAML, in the quotes that were there; in quotes where it would be a number or the like without."""
    if token.style == "'":
        return "'" + value.replace("'", "''") + "'"
    if token.style == '"' or not _is_text(value):
        return json.dumps(value)
    return value


def _is_text(value: str) -> bool:
    if not _PLAIN.match(value) or value.endswith(":"):
        return False
    # Of YAML 1.2 too, which reads 0o17 as a number and doesn't know 1_000 for one.
    if re.match(r"[-+]?(0[ox][0-9a-fA-F]+|[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?)\Z", value):
        return False
    loaded: Any = yaml.safe_load(value)
    return bool(loaded == value)
