"""Manifests: a stream of YAML that somebody else wrote, kept as one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from homeport.runner import stream
from homeport.runner.job import Existing
from homeport.runner.methods.base import Part, Saved, Source, one_path
from homeport.runner.result import Failure, Reason

_FILE = "/manifests.yaml"


class Manifests(Source):
    """The objects of a project. ``/dev/stdin`` as the path reads the runner's own input."""

    def parts(self) -> Iterator[Part]:
        """The file, unless it holds nothing."""
        path = one_path(self.job.source, "source")
        copy = self.context.scratch / "manifests.yaml"
        try:
            # Read whole: an empty stream is a failure of who wrote it, and mustn't become a snapshot.
            content = path.read_bytes()
        except OSError as error:
            raise Failure(Reason.SOURCE_UNREACHABLE, f"{path} can't be read: {error.strerror}") from None
        if not any(line.startswith(b"kind:") for line in content.splitlines()):
            raise Failure(Reason.SOURCE_DAMAGED, f"{path} holds no manifest: no line begins with `kind:`")
        copy.write_bytes(content)
        yield Part("manifests", _FILE, input=copy)
        copy.unlink()

    def restore(self, parts: Sequence[Saved]) -> list[dict[str, Any]]:
        """Write the file."""
        path = one_path(self.job.target, "target")
        if path.exists() and path.stat().st_size and self.job.target.existing is Existing.REFUSE:
            raise Failure(Reason.TARGET_NOT_EMPTY, f"{path} exists; write elsewhere, or say `existing: Replace`")
        part = parts[0]
        self.context.progress.begin(part.name)
        beside = path.with_name(f".{path.name}.homeport-restore")
        self.fetch(part, beside)
        beside.replace(path)
        self.context.progress.end(part.bytes)
        return [{"part": part.name, "path": str(path), "bytes": part.bytes}]

    def prove(self, part: Saved) -> None:
        """Read it to its end."""
        with Path("/dev/null").open("wb") as nowhere:
            stream.to_file(self.context.restic, part.snapshot, part.file, nowhere, self.context.progress, part.bytes)
