"""Files: the folders of volumes, by restic itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from homeport.runner.job import Existing
from homeport.runner.methods.base import Part, Saved, Source, fits, one_path
from homeport.runner.restic import Line
from homeport.runner.result import Failure, Outcome, Reason

_PART = "files"
_OF_THE_DISK = {"lost+found"}


class Files(Source):
    """One folder."""

    def parts(self) -> Iterator[Part]:
        """The folder as it is, or some paths below one. What changes while it is read is in it as it was then."""
        source = self.job.source
        paths = [Path(path) for path in source.paths] if source.root else [one_path(source, "source")]
        for path in paths:
            if not path.is_absolute():
                raise Failure(Reason.INVALID_JOB, f"job.source.paths: {path} isn't absolute")
            if source.root and not path.is_relative_to(source.root):
                raise Failure(Reason.INVALID_JOB, f"job.source.paths: {path} isn't below {source.root}")
            if not path.exists():
                raise Failure(Reason.SOURCE_UNREACHABLE, f"{path} doesn't exist: is the volume mounted there?")
        whole = tuple(map(str, paths)) or (source.root,)
        yield Part(_PART, source.root or whole[0], paths=whole, exclude=source.exclude)

    def restore(self, parts: Sequence[Saved]) -> list[dict[str, Any]]:
        """The folder's content into another, whole or only the selected paths."""
        target = one_path(self.job.target, "target")
        replace = self.job.target.existing is Existing.REPLACE
        there = {path.name for path in target.iterdir()} - _OF_THE_DISK if target.is_dir() else set()
        if there and not replace:
            raise Failure(
                Reason.TARGET_NOT_EMPTY,
                f"{target} holds {', '.join(sorted(there)[:5])}; restore into an empty folder, or say `existing: "
                "Replace`",
            )
        wanted = self.job.select.paths if self.job.select else ()
        part = parts[0]
        self._look_for_room(part, target, wanted)
        self.context.progress.begin(part.name, part.bytes)
        includes = [f"--include=/{path.strip('/')}" for path in wanted]
        # Only what differs is written, and what was written is read again.
        options = ["--overwrite=if-changed", "--verify", f"--target={target}", *includes]
        summary = self._run("restore", "--no-lock", *options, f"{part.snapshot}:{part.file}")
        if wanted and not summary.get("files_restored") and not summary.get("files_skipped"):
            raise Failure(Reason.SNAPSHOT_MISSING, f"the run has no {', '.join(wanted)}")
        restored = int(summary.get("bytes_restored", 0))
        self.context.progress.end(restored)
        return [{"part": part.name, "path": str(target), "bytes": restored, "files": summary.get("files_restored", 0)}]

    def _look_for_room(self, part: Saved, target: Path, wanted: Sequence[str]) -> None:
        """Raise Failure where not all can be written: what is there is replaced file by file, and would be left half
        replaced."""
        try:
            fits(target, part.bytes, Reason.TARGET_TOO_SMALL, "the files")
        except Failure:
            # That much is needed where nothing is there, and all is wanted.
            fits(target, self._needed(part, target, wanted), Reason.TARGET_TOO_SMALL, "the files")

    def _needed(self, part: Saved, target: Path, wanted: Sequence[str]) -> int:
        """By how many bytes what is there grows: nothing of it is removed, and a file is written over in place. Files
        that are linked to one another are counted once."""
        needed, known = 0, set[int]()
        with self.context.restic.started("ls", "--no-lock", f"{part.snapshot}:{part.file}") as process:
            assert process.stdout
            for line in process.stdout:
                node = json.loads(line)
                if node.get("type") != "file" or node.get("inode") in known or not _is_wanted(node["path"], wanted):
                    continue
                known.add(node.get("inode"))
                there = target / node["path"].lstrip("/")
                needed += max(0, node.get("size", 0) - (there.stat().st_size if there.is_file() else 0))
        return needed

    def _run(self, *arguments: str) -> Line:
        def each(line: Line) -> None:
            if line.get("message_type") == "status":
                self.context.progress.advance(int(line.get("bytes_restored", 0)), int(line.get("total_bytes", 0)))

        try:
            lines = self.context.restic.run(*arguments, each=each)
        except Failure as failure:
            if failure.reason is Reason.REPOSITORY_FULL:
                raise Failure(
                    Reason.TARGET_TOO_SMALL,
                    "the target has no space left, and holds a part of what was to be restored: make room there, and "
                    "restore again",
                ) from None
            if failure.reason is Reason.REPOSITORY_DENIED:
                raise Failure(
                    Reason.TARGET_DENIED, f"not all could be restored: {failure.message}", Outcome.INCOMPLETE
                ) from None
            raise
        return next((line for line in lines if line.get("message_type") == "summary"), {})

    def folder(self) -> Path | None:
        """The target's only path."""
        return one_path(self.job.target, "target")

    def prove(self, part: Saved) -> None:
        """Read every file of the snapshot."""
        with self.context.restic.started("dump", "--no-lock", part.snapshot, part.file) as process:
            assert process.stdout
            done = 0
            while chunk := process.stdout.read(1024 * 1024):
                done += len(chunk)
                self.context.progress.advance(done, max(part.bytes, done))


def _is_wanted(path: str, wanted: Sequence[str]) -> bool:
    return not wanted or any(f"{path}/".startswith(f"/{one.strip('/')}/") for one in wanted)
