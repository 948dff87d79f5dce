"""Container images without a registry: layers of Debian packages and of own files, as one archive to import.

The archive is an OCI image layout in a tar, as `ctr images import` reads it; images share the layers below them.
https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from localplane import debian
from localplane.debian import Layer
from localplane.tools import goplatform

PATH = "/usr/local/bin:/usr/bin:/usr/sbin"
LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
PROGRAMS = (b"#!", b"\x7fELF")
PASSWD = "root:x:0:0:root:/root:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"


@dataclass(frozen=True)
class Image:
    """One image: its references, the layer of packages, and what is written over that.

    `files` maps paths to contents; scripts that begin with `#!`, and programs, are executable. `users` maps names to
    numbers, for programs that want to know who they are.
    """

    names: tuple[str, ...]
    layer: Layer
    files: Mapping[str, bytes] = field(default_factory=dict)
    users: Mapping[str, int] = field(default_factory=dict)
    folders: Mapping[str, int] = field(default_factory=dict)  # path to owner
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    workdir: str = "/"
    stop_signal: str = ""


def write_archive(images: Iterable[Image], output: IO[bytes]) -> None:
    """Write all images as one archive."""
    with tarfile.open(fileobj=output, mode="w|", format=tarfile.GNU_FORMAT) as archive:
        written: set[str] = set()
        manifests = [entry for image in images for entry in _add(archive, image, written)]
        _put(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        index = {"schemaVersion": 2, "manifests": manifests}
        _put(archive, "index.json", json.dumps(index).encode())


def reference(name: str) -> str:
    """A name as the container runtime completes it: `redis:7` is `docker.io/library/redis:7`.

    https://github.com/distribution/reference/blob/main/normalize.go
    """
    first, _, rest = name.partition("/")
    if rest and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"docker.io/{name}" if rest else f"docker.io/library/{name}"


def _add(archive: tarfile.TarFile, image: Image, written: set[str]) -> list[dict[str, Any]]:
    """Add an image's blobs; its entries of the index, one for each name."""
    layers = []
    for layer in _chain(image.layer):
        built = debian.ensure(layer)
        size = built.tar.stat().st_size
        if built.digest not in written:
            written.add(built.digest)
            with built.tar.open("rb") as content:
                info = tarfile.TarInfo(_blob(built.digest))
                info.size = size
                archive.addfile(info, content)
        layers.append({"mediaType": LAYER, "digest": built.digest, "size": size})
    top = _own_files(image)
    layers.append(_put_blob(archive, LAYER, top, written))
    config = _put_blob(archive, CONFIG, _config(image, [str(layer["digest"]) for layer in layers]), written)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
    entry = _put_blob(archive, MANIFEST, json.dumps(manifest, sort_keys=True).encode(), written)
    return [
        {
            **entry,
            "annotations": {"io.containerd.image.name": reference(name), "org.opencontainers.image.ref.name": name},
        }
        for name in image.names
    ]


def _chain(layer: Layer) -> list[Layer]:
    return [*(_chain(layer.on) if layer.on else ()), layer]


def _config(image: Image, digests: list[str]) -> bytes:
    environment = {"PATH": PATH, **image.environment}
    system, machine = goplatform().split("/")
    process = {
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Entrypoint": list(image.entrypoint),
        "Cmd": list(image.command),
        "WorkingDir": image.workdir,
        "User": image.user,
        "StopSignal": image.stop_signal,
    }
    document = {
        "architecture": machine,
        "os": system,
        "config": {key: value for key, value in process.items() if value},
        "rootfs": {"type": "layers", "diff_ids": digests},
    }
    return json.dumps(document, sort_keys=True).encode()


def _own_files(image: Image) -> bytes:
    passwd = PASSWD + "".join(f"{name}:x:{uid}:{uid}:{name}:/:/usr/sbin/nologin\n" for name, uid in image.users.items())
    group = "root:x:0:\n" + "".join(f"{name}:x:{uid}:\n" for name, uid in image.users.items())
    files = {"etc/passwd": passwd.encode(), "etc/group": group.encode(), **image.files}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as layer:
        folders = {"tmp": (0o1777, 0), "run": (0o755, 0), "root": (0o700, 0), "etc": (0o755, 0)}
        folders |= {path.strip("/"): (0o755, owner) for path, owner in image.folders.items()}
        for path, (mode, owner) in sorted(folders.items()):
            info = tarfile.TarInfo(path)
            info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, mode, owner, owner
            layer.addfile(info)
        for path, content in sorted(files.items()):
            info = tarfile.TarInfo(path.strip("/"))
            info.size, info.mode = len(content), 0o755 if content.startswith(PROGRAMS) else 0o644
            layer.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _put_blob(archive: tarfile.TarFile, media: str, content: bytes, written: set[str]) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if digest not in written:
        written.add(digest)
        _put(archive, _blob(digest), content)
    return {"mediaType": media, "digest": digest, "size": len(content)}


def _put(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def folder_files(folder: Path, at: str) -> dict[str, bytes]:
    """The files under a folder, to be put at a path of an image."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    return {f"{at.strip('/')}/{path.relative_to(folder)}": path.read_bytes() for path in paths}
