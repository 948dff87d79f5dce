"""The root filesystem that an image's layers make together: which entry of which layer stays. Pure; names only.

A path through a symbolic link means where that leads, within the root. A whiteout hides what lower layers have, and
nothing of its own layer, in whatever order they come. A hard link is the file that it was made to, also when another
takes that one's place later.

Source: https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field

from homeport.drivers.oci.errors import Unusable

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
ENTRIES = 2_000_000
"""Files and folders of an image, at most: their names are in memory."""
_FOLLOWED = 40
"""Symbolic links in one path, at most, as the kernel has it."""

Content = tuple[int, int]
"""Where a file's bytes are: which layer, and which of its entries."""


@dataclass
class Node:
    """What is at a path. ``layer``: the one that put it there."""

    info: tarfile.TarInfo
    layer: int
    content: Content | None = None
    """Of a file; the same for its hard links."""
    children: dict[str, Node] = field(default_factory=dict)

    @property
    def is_folder(self) -> bool:
        """Whether it is one."""
        return self.info.isdir()


def folder(mode: int = 0o755) -> tarfile.TarInfo:
    """A folder that nobody has described."""
    info = tarfile.TarInfo()
    info.type, info.mode = tarfile.DIRTYPE, mode
    return info


class Tree:
    """Layers are added from the lowest to the topmost; entries in their layer's order."""

    def __init__(self) -> None:
        self.root = Node(folder(), -1)
        self.entries = 0

    def add(self, info: tarfile.TarInfo, layer: int, number: int) -> None:
        """An entry of a layer, its ``number``-th. Raises ``Unusable``."""
        parts = parts_of(info.name)
        if not parts:
            return
        *above, name = parts
        if name == OPAQUE:
            parent = self._find(above)
            if parent is not None:
                _hide_all(parent, layer)
        elif name.startswith(WHITEOUT):
            parent = self._find(above)
            if parent is not None:
                _hide(parent, name.removeprefix(WHITEOUT), layer)
        else:
            self._put(above, name, info, layer, number)

    def _put(self, above: list[str], name: str, info: tarfile.TarInfo, layer: int, number: int) -> None:
        if info.ischr() or info.isblk():
            if above[:1] == ["dev"]:
                return  # the runtime has its own
            raise Unusable(f"the image has a device, /{'/'.join((*above, name))}, which a container can't make")
        self.entries += 1
        if self.entries > ENTRIES:
            raise Unusable(f"the image has more than {ENTRIES} files")
        parent = self._folder(above, layer)
        before = parent.children.get(name)
        if info.isdir():
            if before is not None and before.is_folder:
                before.info, before.layer = info, layer
            else:
                parent.children[name] = Node(info, layer)
        elif info.islnk():
            parent.children[name] = self._linked(info, layer)
        elif info.isreg():
            parent.children[name] = Node(info, layer, (layer, number))
        elif info.issym() or info.isfifo():
            parent.children[name] = Node(info, layer)
        else:
            raise Unusable(f"the image has /{'/'.join((*above, name))} of a kind that isn't known: {info.type!r}")

    def _linked(self, info: tarfile.TarInfo, layer: int) -> Node:
        target = self._find(parts_of(info.linkname), follow_last=False)
        if target is None or target.is_folder:
            raise Unusable(f"the image has a hard link, /{info.name}, to {info.linkname}, which is no file of it")
        return Node(target.info, layer, target.content)

    def place(self, path: str, info: tarfile.TarInfo, content: Content | None, layer: int) -> None:
        """Put something there, whatever was. Raises ``Unusable`` where a file is in its way."""
        *above, name = parts_of(path)
        self._folder(above, layer).children[name] = Node(info, layer, content)

    def ensure(self, path: str, mode: int, layer: int) -> None:
        """Have a folder there, unless one is, or a link to one."""
        found = self._find(parts_of(path))
        if found is None or not found.is_folder:
            self._folder(parts_of(path), layer, folder(mode))

    def empty(self, path: str) -> None:
        """Leave out what is in a folder."""
        found = self._find(parts_of(path), follow_last=False)
        if found is not None:
            found.children.clear()

    def _find(self, parts: list[str], *, follow_last: bool = True) -> Node | None:
        """What is at a path; None for nothing."""
        found = self._walk(parts, follow_last=follow_last)
        return found if isinstance(found, Node) else None

    def _folder(self, parts: list[str], layer: int, info: tarfile.TarInfo | None = None) -> Node:
        """The folder at a path, made where it isn't. Raises ``Unusable``."""
        while not isinstance(found := self._walk(parts), Node):
            parent, name = found
            parent.children[name] = Node(info if info is not None else folder(), layer)
        if not found.is_folder:
            raise Unusable(f"the image has something else where /{'/'.join(parts)} is to be a folder")
        return found

    def _walk(self, parts: list[str], *, follow_last: bool = True) -> Node | tuple[Node, str]:
        """What is at a path, or the folder in which its first missing part is missing. Raises ``Unusable``."""
        left = list(reversed(parts))
        way = [self.root]
        followed = 0
        while left:
            part = left.pop()
            if part == "..":
                way = way[:-1] or way
                continue
            if not way[-1].is_folder:
                raise Unusable(f"the image has something else where /{'/'.join(parts)} needs a folder")
            found = way[-1].children.get(part)
            if found is None:
                return way[-1], part
            if found.info.issym() and (left or follow_last):
                followed += 1
                if followed > _FOLLOWED:
                    raise Unusable(f"the image's symbolic links at /{'/'.join(parts)} lead nowhere")
                target = found.info.linkname
                way = way[:1] if target.startswith("/") else way
                left.extend(reversed([one for one in target.split("/") if one not in ("", ".")]))
                continue
            way.append(found)
        return way[-1]

    def paths(self) -> Iterator[tuple[str, Node]]:
        """Everything but the root, folders before what is in them; each path without a slash before it."""
        waiting = [("", self.root)]
        while waiting:
            path, node = waiting.pop()
            if path:
                yield path, node
            for name in sorted(node.children, reverse=True):
                waiting.append((f"{path}/{name}" if path else name, node.children[name]))


def parts_of(path: str) -> list[str]:
    """The parts of a path within the root. Raises ``Unusable`` for one that leaves it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Unusable(f"the image has an entry {path!r}, which leads out of it")
    return parts


def _hide(parent: Node, name: str, layer: int) -> None:
    """Take away what lower layers have there."""
    child = parent.children.get(name)
    if child is None:
        return
    _hide_all(child, layer)
    if child.layer < layer and not child.children:
        del parent.children[name]


def _hide_all(parent: Node, layer: int) -> None:
    """Take away what lower layers have in a folder, however deep. No deeper than a path can be long."""
    order, waiting = [], [parent]
    while waiting:
        node = waiting.pop()
        order.append(node)
        waiting.extend(node.children.values())
    for node in reversed(order):
        gone = [name for name, child in node.children.items() if child.layer < layer and not child.children]
        for name in gone:
            del node.children[name]
