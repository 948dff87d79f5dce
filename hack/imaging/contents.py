"""What is in an image: an OCI layout in a folder, read without any container program.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from localplane.images import reference


class Layout:
    """An OCI layout of one image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.digest: str = json.loads((folder / "index.json").read_text())["manifests"][0]["digest"]
        self.manifest: dict[str, Any] = json.loads(self.blob(self.digest).read_text())
        self.config: dict[str, Any] = json.loads(self.blob(self.manifest["config"]["digest"]).read_text())

    def blob(self, digest: str) -> Path:
        """Where a blob is."""
        return self.folder / "blobs" / digest.replace(":", "/")

    @property
    def compressed(self) -> int:
        """Bytes to pull."""
        return sum(int(layer["size"]) for layer in self.manifest["layers"])

    def entries(self) -> Iterator[tarfile.TarInfo]:
        """The files of all layers, the lowest first."""
        for layer in self.manifest["layers"]:
            with tarfile.open(self.blob(layer["digest"])) as archive:
                yield from archive

    def unpack(self, to: Path) -> Path:
        """Write its files into a folder, which is emptied before; owners and modes as they are where we are root."""
        shutil.rmtree(to, ignore_errors=True)
        for layer in self.manifest["layers"]:
            with tarfile.open(self.blob(layer["digest"])) as archive:
                archive.extractall(to, filter="fully_trusted")  # nosec B202 - we built it
        return to

    def write_archive(self, name: str, output: IO[bytes]) -> None:
        """Write it as one tar for `ctr images import`, under a name."""
        entry = {
            "mediaType": self.manifest.get("mediaType", "application/vnd.oci.image.manifest.v1+json"),
            "digest": self.digest,
            "size": self.blob(self.digest).stat().st_size,
            "annotations": {"io.containerd.image.name": reference(name), "org.opencontainers.image.ref.name": name},
        }
        index = {"schemaVersion": 2, "manifests": [entry]}
        with tarfile.open(fileobj=output, mode="w|", format=tarfile.GNU_FORMAT) as archive:
            for digest in dict.fromkeys(
                [layer["digest"] for layer in self.manifest["layers"]]
                + [self.manifest["config"]["digest"], self.digest]
            ):
                archive.add(self.blob(digest), "blobs/" + digest.replace(":", "/"))
            for path, text in {
                "oci-layout": '{"imageLayoutVersion": "1.0.0"}',
                "index.json": json.dumps(index),
            }.items():
                info = tarfile.TarInfo(path)
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text.encode()))
