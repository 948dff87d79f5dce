"""An image as an OCI archive: its layers as they are, and with an agent one more, which has the init.

The archive of the same image with the same init is the same to the byte, and its size is known before anything is
fetched: so a file of that name and size on a storage is this archive. Proxmox VE (9.1) acts on the image's user,
folder, environment and stop signal itself, and would start the init as the image's user: so these go into a file that
init reads, and the archive's own configuration has an entrypoint only.

Source: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from homeport.drivers.oci.registry import LAYERS, Blob, Image
from homeport.plan import agent, uploaded

FORMAT = 1
"""Raised with any change of what is written: names carry it."""
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
ACTED_ON = ("Env", "Entrypoint", "Cmd", "User", "WorkingDir", "StopSignal")
"""What of an image's configuration init does instead of Proxmox VE."""

Fetch = Callable[[Blob], AsyncIterator[bytes]]


@dataclass(frozen=True)
class Entry:
    """One file of the archive: what is in it, or the blob that is."""

    name: str
    size: int
    content: bytes = field(default=b"", repr=False)
    blob: Blob | None = None


@dataclass(frozen=True)
class Archive:
    """An archive that can be written."""

    name: str
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """Of the file, in bytes."""
        used = sum(tarfile.BLOCKSIZE + _padded(entry.size, tarfile.BLOCKSIZE) for entry in self.entries)
        return _padded(used + 2 * tarfile.BLOCKSIZE, tarfile.RECORDSIZE)

    @property
    def stem(self) -> str:
        """What its file's name is known by before it is made: all of it."""
        return self.name

    @property
    def pulled(self) -> int:
        """Bytes that are pulled for it, and a few."""
        return self.size

    @property
    def room(self) -> int:
        """Bytes on this machine while it is made."""
        return self.size

    def whole(self, files: Mapping[str, int]) -> str | None:
        """The one among files (with their sizes) that is this."""
        return self.name if files.get(self.name) == self.size else None

    def half(self, files: Mapping[str, int]) -> str | None:
        """One that was to become this, and isn't."""
        return self.name if files.get(self.name, self.size) != self.size else None

    async def write(self, where: Path, fetch: Fetch) -> tuple[Path, str]:
        """Write it into a folder, blob after blob; the file, and its SHA-256. Raises OSError and what ``fetch``
        raises."""
        path, summed = where / self.name, hashlib.sha256()
        with path.open("wb") as output:

            def put(piece: bytes) -> None:
                summed.update(piece)
                output.write(piece)

            for entry in self.entries:
                put(_header(entry.name, entry.size))
                if entry.blob is None:
                    put(entry.content)
                else:
                    async for piece in fetch(entry.blob):
                        put(piece)
                put(bytes(-entry.size % tarfile.BLOCKSIZE))
            put(bytes(self.size - output.tell()))
        return path, summed.hexdigest()


def with_init(image: Image, program: bytes, installation: str) -> Archive:
    """The image with an init as its entrypoint; its name says whose it is."""
    config = json.loads(json.dumps(image.config))
    process = config.get("config") or {}
    kept = acted_on(image)
    config["config"] = {
        name: value for name, value in process.items() if name not in ACTED_ON and name != "Healthcheck"
    }
    config["config"]["Entrypoint"] = [agent.INIT]
    layer = _init_layer(program, kept)
    config["rootfs"]["diff_ids"].append(_digest(layer))
    if config.get("history"):
        config["history"].append({"created_by": "homeport", "comment": "init"})
    return _compose(image, config, layer, f"agent\n{_digest(program)}", installation)


def as_it_is(image: Image, installation: str) -> Archive:
    """The image, unchanged; its name says whose it is."""
    return _compose(image, image.config, None, "plain", installation)


def acted_on(image: Image) -> dict[str, Any]:
    """What init does of an image's configuration."""
    process = image.config.get("config") or {}
    return {name: process[name] for name in ACTED_ON if process.get(name)}


def _compose(image: Image, config: Any, layer: bytes | None, variant: str, installation: str) -> Archive:
    blobs = [Entry(_path(one.digest), one.size, blob=one) for one in dict.fromkeys(image.layers)]
    layers = [{"mediaType": LAYERS[one.media_type], "digest": one.digest, "size": one.size} for one in image.layers]
    if layer is not None:
        blobs.append(Entry(_path(_digest(layer)), len(layer), layer))
        layers.append(_described(LAYER, layer))
    config_text = _json(config)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": _described(CONFIG, config_text), "layers": layers}
    manifest_text = _json(manifest)
    index = {
        "schemaVersion": 2,
        "manifests": [
            {**_described(MANIFEST, manifest_text), "platform": {"os": "linux", "architecture": config["architecture"]}}
        ],
    }
    small = [
        Entry(name, len(text), text)
        for name, text in (
            ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
            ("index.json", _json(index)),
            (_path(_digest(manifest_text)), manifest_text),
            (_path(_digest(config_text)), config_text),
        )
    ]
    return Archive(stem(image, f"{FORMAT}\n{variant}", installation) + ".tar", (*small, *blobs))


def stem(image: Image, variant: str, installation: str) -> str:
    """A file name without its ending: a person knows the image by it, and nothing else can be meant, nor anybody
    else's."""
    last = re.sub(r"[^a-z0-9]+", "-", image.reference.repository.rpartition("/")[2])[:40]
    digest = image.manifest.removeprefix("sha256:")[:16]
    ours = uploaded.prefix(installation)
    return f"{ours}{last}-{digest}-{hashlib.sha256(variant.encode()).hexdigest()[:8]}"


def _init_layer(program: bytes, process: dict[str, Any]) -> bytes:
    folder = agent.INIT.rpartition("/")[0].lstrip("/")
    text = _json({"config": process})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as layer:
        top = tarfile.TarInfo(folder)
        top.type, top.mode = tarfile.DIRTYPE, 0o755
        layer.addfile(top)
        for path, content, mode in ((agent.INIT, program, 0o755), (agent.IMAGE_FILE, text, 0o644)):
            info = tarfile.TarInfo(path.lstrip("/"))
            info.size, info.mode = len(content), mode
            layer.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.GNU_FORMAT)


def _padded(size: int, block: int) -> int:
    return size + -size % block


def _path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _described(kind: str, text: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": _digest(text), "size": len(text)}


def _digest(text: bytes) -> str:
    return f"sha256:{hashlib.sha256(text).hexdigest()}"


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
