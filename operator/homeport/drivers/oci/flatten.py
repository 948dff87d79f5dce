"""An image's layers as one archive of a root filesystem, with init at /sbin/init: for Proxmox VE before 9.1.

Layers are read twice, from disk: once for what stays, once to write it; nothing but names is in memory. What Proxmox
VE's tar needs is kept to: names begin with ``./``, each is there once, folders before what is in them, hard links after
their file, and of extended attributes those that it unpacks. Compressed, so the size isn't known before it is written:
it is in the name, and a file whose size isn't the one in its name is half an upload.

Sources: pve-container 5.2.6 ``LXC/Create.pm``; decision 018.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import re
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from homeport.drivers.oci import archive
from homeport.drivers.oci.errors import Unusable
from homeport.drivers.oci.registry import LAYERS, Blob, Image
from homeport.drivers.oci.rootfs import Tree, folder
from homeport.plan import agent

FORMAT = 1
"""Raised with any change of what is written: names carry it."""
LIMIT = 16 * 1024**3
"""Bytes of what is written, at most."""
UNPACKED = 64 * 1024**3
"""Bytes of an image's files, at most."""
FOLDERS = {"dev": 0o755, "etc": 0o755, "proc": 0o555, "run": 0o755, "sbin": 0o755, "sys": 0o555, "tmp": 0o1777,
           "var": 0o755}  # fmt: skip
"""What a container has to have, whatever the image has; Proxmox VE refuses archives with less than ten entries."""
XATTRS = ("SCHILY.xattr.user.", "SCHILY.xattr.security.capability")
"""Extended attributes that Proxmox VE unpacks."""
PIECE = 1024 * 1024
ENDING = ".tar.gz"


@dataclass(frozen=True)
class Flat:
    """An image that can be written as one root filesystem."""

    stem: str
    """What its file's name begins with; then comes the size."""
    layers: tuple[Blob, ...]
    added: Mapping[str, tuple[bytes, int]] = field(repr=False)
    """Files beside the image's: content and mode, by path."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Symbolic links beside the image's."""

    @property
    def pulled(self) -> int:
        """Bytes that are pulled for it."""
        return sum(one.size for one in set(self.layers))

    @property
    def room(self) -> int:
        """Bytes on this machine while it is made: the layers, and what becomes of them, which is about as much."""
        return 2 * self.pulled + sum(len(content) for content, _ in self.added.values())

    def whole(self, files: Mapping[str, int]) -> str | None:
        """The one among files (with their sizes) that is this."""
        return next((name for name, size in sorted(files.items()) if self._means(name) == size), None)

    def half(self, files: Mapping[str, int]) -> str | None:
        """One that was to become this, and isn't."""
        return next((name for name, size in sorted(files.items()) if self._means(name) not in (None, size)), None)

    def _means(self, name: str) -> int | None:
        found = re.fullmatch(re.escape(self.stem) + r"-(\d+)" + re.escape(ENDING), name)
        return int(found[1]) if found is not None else None

    async def write(self, where: Path, fetch: archive.Fetch) -> tuple[Path, str]:
        """Write it into a folder; the file, and its SHA-256.

        Raises ``Unusable``, OSError, and what ``fetch`` raises.
        """
        fetched: dict[Blob, Path] = {}
        for number, blob in enumerate(dict.fromkeys(self.layers)):
            fetched[blob] = where / f"layer-{number}"
            with fetched[blob].open("wb") as output:
                async for piece in fetch(blob):
                    output.write(piece)
        stop = threading.Event()
        made = where / "rootfs"
        try:
            checksum = await asyncio.to_thread(self._pack, [fetched[blob] for blob in self.layers], made, stop)
        except asyncio.CancelledError:
            stop.set()
            raise
        return made.rename(where / f"{self.stem}-{made.stat().st_size}{ENDING}"), checksum

    def _pack(self, layers: list[Path], made: Path, stop: threading.Event) -> str:
        with made.open("wb") as raw:
            sink = _Sink(raw, LIMIT, stop)
            with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=sink, mtime=0) as packed:
                pairs = [(path, blob.media_type) for path, blob in zip(layers, self.layers, strict=True)]
                flatten(pairs, packed.write, self.added, self.links)
            return sink.summed.hexdigest()


def with_init(image: Image, program: bytes, installation: str, operator: Mapping[str, str]) -> Flat:
    """The image with an init that finds the operator by what ``operator`` says, by the names of its environment."""
    for one in image.layers:
        if LAYERS[one.media_type].endswith("zstd"):
            raise Unusable(
                f"{image.reference} has layers in zstd, which are taken only where the host is Proxmox VE 9.1 or "
                "later; build it with gzip"
            )
    config = {"config": archive.acted_on(image)}
    added = {
        agent.INIT: (program, 0o755),
        agent.IMAGE_FILE: (_json(config), 0o644),
        agent.CLAIM_FILE: (_json(dict(operator)), 0o644),
    }
    parts = [f"{FORMAT}", "flat", *(hashlib.sha256(text).hexdigest() for text, _ in added.values())]
    stem = archive.stem(image, "\n".join(parts), installation)
    return Flat(stem, image.layers, added, {"/sbin/init": agent.INIT})


def stem_of(file: str) -> str:
    """The part of a template's name that is known before it is made."""
    return re.sub(r"-\d+" + re.escape(ENDING) + "$", "", file)


def flatten(
    layers: list[tuple[Path, str]],
    put: Callable[[bytes], object],
    added: Mapping[str, tuple[bytes, int]],
    links: Mapping[str, str],
) -> None:
    """Write one archive of layers (a file and its media type each, the lowest first), and what is added to them."""
    tree = Tree()
    unpacked = 0
    for layer, (path, kind) in enumerate(layers):
        with _entries(path, kind) as entries:
            for number, (info, _) in enumerate(entries):
                unpacked += info.size if info.isreg() else 0
                if unpacked > UNPACKED:
                    raise Unusable(f"the image's files are larger than {UNPACKED // 1024**3} GiB")
                tree.add(info, layer, number)
    own = list(added)
    _complete(tree, added, links, len(layers))
    paths: dict[tuple[int, int], list[str]] = {}
    for name, node in tree.paths():
        if node.content is None:
            put(_header(name, node.info))
        elif node.content[0] == len(layers):
            content, mode = added[own[node.content[1]]]
            put(_header(name, _file(mode, len(content))) + content + bytes(-len(content) % tarfile.BLOCKSIZE))
        else:
            paths.setdefault(node.content, []).append(name)
    for layer, (path, kind) in enumerate(layers):
        _write_files(path, kind, {number: names for (of, number), names in paths.items() if of == layer}, put)
    put(bytes(2 * tarfile.BLOCKSIZE))


def _complete(tree: Tree, added: Mapping[str, tuple[bytes, int]], links: Mapping[str, str], layer: int) -> None:
    """What isn't the image's."""
    for name, mode in FOLDERS.items():
        tree.ensure(name, mode, layer)
    tree.empty("dev")
    for number, path in enumerate(added):
        tree.place(path, _file(0, 0), (layer, number), layer)
    for path, target in links.items():
        info = tarfile.TarInfo()
        info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, target
        tree.place(path, info, None, layer)


def _write_files(path: Path, kind: str, wanted: Mapping[int, list[str]], put: Callable[[bytes], object]) -> None:
    if not wanted:
        return
    with _entries(path, kind) as entries:
        for number, (info, content) in enumerate(entries):
            if (names := wanted.get(number)) is None:
                continue
            first, *others = names
            put(_header(first, info))
            left = info.size
            with content() as data:
                while left and (piece := data.read(min(PIECE, left))):
                    left -= len(piece)
                    put(piece)
            if left:
                raise Unusable("a layer of the image ends before its time")
            put(bytes(-info.size % tarfile.BLOCKSIZE))
            for other in others:
                link = tarfile.TarInfo()
                link.type, link.linkname, link.mode = tarfile.LNKTYPE, f"./{first}", info.mode
                link.uid, link.gid, link.mtime = info.uid, info.gid, info.mtime
                put(_header(other, link))


@contextmanager
def _entries(path: Path, kind: str) -> Iterator[Iterator[tuple[tarfile.TarInfo, Callable[[], IO[bytes]]]]]:
    """The entries of a layer, one after the other, each with what opens its content until the next one comes."""
    with path.open("rb") as raw:
        plain = gzip.GzipFile(fileobj=raw) if LAYERS[kind].endswith("gzip") else raw
        try:
            with tarfile.open(fileobj=plain, mode="r|", errorlevel=2) as tar:
                yield _one_by_one(tar)
        except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, UnicodeError) as error:
            raise Unusable(f"a layer of the image can't be read: {error or type(error).__name__}") from None


def _one_by_one(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, Callable[[], IO[bytes]]]]:
    while (info := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all

        def content(info: tarfile.TarInfo = info) -> IO[bytes]:
            found = tar.extractfile(info)
            assert found is not None
            return found

        yield info, content


def _file(mode: int, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.mode, info.size = mode, size
    return info


def _header(path: str, given: tarfile.TarInfo) -> bytes:
    """An entry's header, with what is kept of it."""
    info = folder() if given.isdir() else tarfile.TarInfo()
    info.name = f"./{path}"
    info.type = tarfile.REGTYPE if given.isreg() else given.type
    info.mode, info.uid, info.gid, info.mtime = given.mode & 0o7777, given.uid, given.gid, int(given.mtime)
    info.linkname = given.linkname if given.issym() or given.islnk() else ""
    info.size = given.size if given.isreg() else 0
    info.pax_headers = {name: value for name, value in given.pax_headers.items() if name.startswith(XATTRS)}
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


class _Sink:
    """Counts and sums what is written, and ends when nobody wants it any more."""

    def __init__(self, to: IO[bytes], limit: int, stop: threading.Event) -> None:
        self.summed = hashlib.sha256()
        self._to, self._left, self._stop = to, limit, stop

    def write(self, piece: bytes) -> int:
        if self._stop.is_set():
            raise OSError("nobody wants it any more")
        self._left -= len(piece)
        if self._left < 0:
            raise Unusable("as one archive the image is too large")
        self.summed.update(piece)
        return self._to.write(piece)

    def flush(self) -> None:
        self._to.flush()


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
