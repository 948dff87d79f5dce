"""SQLite: copied by its own online backup API, checked, and streamed; never the file as it lies there.

A copy of the file alone may miss what is in the write-ahead log, or catch a page half written.
https://www.sqlite.org/backup.html, https://www.sqlite.org/howtocorrupt.html
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from homeport.runner.job import Existing
from homeport.runner.methods.base import Part, Saved, Source, fits, one_path
from homeport.runner.result import Failure, Reason

_PART = "database/"
_HEADER = b"SQLite format 3\0"
_WAL = 2  # bytes 18 and 19 of the header; https://www.sqlite.org/fileformat.html
_BUSY = 60.0  # seconds to wait for somebody who writes
_BESIDE = ("-wal", "-shm", "-journal")


class SQLite(Source):
    """SQLite databases, each a file."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._copy = self.context.scratch / "copy.sqlite"

    def parts(self) -> Iterator[Part]:
        """Each file, copied when its turn comes."""
        if not self.job.source.paths:
            raise Failure(Reason.INVALID_JOB, "job.source.paths is needed: the files of the databases")
        self.context.facts["client"] = f"SQLite {sqlite3.sqlite_version}"
        for text in self.job.source.paths:
            path = Path(text)
            self._take(path)
            yield Part(f"{_PART}{quote(path.name, safe='')}", f"/sqlite/{path.name}", input=self._copy)
            self.close()

    def _take(self, path: Path) -> None:
        """Copy a database as of one moment, and see whether the copy is sound."""
        wal = _is_wal(path)
        writable = os.access(path.parent, os.W_OK) and os.access(path, os.W_OK)
        if wal and not writable:
            raise Failure(
                Reason.SOURCE_DENIED,
                f"{path} is in WAL mode, which a reader can't take part in without writing beside it: mount the volume "
                "writable, on the node where the application runs",
            )
        needed = sum(Path(f"{path}{end}").stat().st_size for end in ("", "-wal") if Path(f"{path}{end}").exists())
        fits(self.context.scratch, needed, Reason.SCRATCH_FULL, f"the copy of {path.name}")
        address = f"file:{quote(str(path))}?mode={'rw' if writable else 'ro'}"
        try:
            with (
                closing(sqlite3.connect(address, uri=True, timeout=_BUSY)) as source,
                closing(sqlite3.connect(self._copy)) as copy,
            ):
                source.backup(copy, pages=-1)  # in one go: steps begin anew with every write of others
                # What is kept is one file, whichever mode the copy inherited.
                copy.execute("pragma journal_mode = delete")
        except sqlite3.OperationalError as error:
            reason = Reason.SOURCE_UNREACHABLE if "locked" in str(error) else Reason.SOURCE_DENIED
            if "full" in str(error):
                reason = Reason.SCRATCH_FULL
            raise Failure(reason, f"{path} can't be read: {error}") from None
        except sqlite3.DatabaseError as error:
            raise Failure(Reason.SOURCE_DAMAGED, f"{path} is damaged: {error}") from None
        if problem := _problem(self._copy):
            raise Failure(Reason.SOURCE_DAMAGED, f"{path} is damaged, and nothing was saved of it: {problem}")

    def restore(self, parts: Sequence[Saved]) -> list[dict[str, Any]]:
        """Write each file beside its place, check it, and give it its name."""
        done = []
        for part, path in self._places(parts):
            self.context.progress.begin(part.name)
            fits(path.parent, part.bytes, Reason.TARGET_TOO_SMALL, path.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f".{path.name}.homeport-restore")
            self.fetch(part, beside)
            if problem := _problem(beside):
                raise Failure(Reason.CHECK_FAILED, f"what was restored of {path.name} isn't sound: {problem}")
            for end in _BESIDE:  # of the database that was there: a journal would be played into the new one
                Path(f"{path}{end}").unlink(missing_ok=True)
            beside.replace(path)
            _sync(path.parent)
            done.append({"part": part.name, "path": str(path), "bytes": part.bytes})
            self.context.progress.end(part.bytes)
        return done

    def _places(self, parts: Sequence[Saved]) -> list[tuple[Saved, Path]]:
        """Where each part goes. Raises Failure when there is something that may not go."""
        folder = one_path(self.job.target, "target")
        whole = [(part, folder / Path(part.file).name) for part in parts]
        taken = [str(path) for _, path in whole if path.exists() and path.stat().st_size]
        if taken and self.job.target.existing is Existing.REFUSE:
            raise Failure(
                Reason.TARGET_NOT_EMPTY,
                f"{', '.join(taken)} exists; restore into another folder, or say `existing: Replace`",
            )
        return whole

    def folder(self) -> Path | None:
        """The target's only path."""
        return one_path(self.job.target, "target")

    def prove(self, part: Saved) -> None:
        """integrity_check of a copy."""
        fits(self.context.scratch, part.bytes, Reason.SCRATCH_FULL, part.name)
        self.fetch(part, self._copy)
        if problem := _problem(self._copy):
            raise Failure(Reason.CHECK_FAILED, f"{part.name} isn't sound: {problem}")
        self.close()

    def close(self) -> None:
        """Remove the copy."""
        for end in ("", *_BESIDE):
            Path(f"{self._copy}{end}").unlink(missing_ok=True)


def _is_wal(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            header = file.read(20)
    except OSError as error:
        raise Failure(Reason.SOURCE_UNREACHABLE, f"{path} can't be read: {error.strerror}") from None
    if header[:16] != _HEADER:
        raise Failure(Reason.INVALID_JOB, f"{path} isn't a SQLite database; use the method Files for other files")
    return _WAL in header[18:20]


def _problem(path: Path) -> str:
    """What integrity_check says; empty when the file is sound."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as copy:
            words = [str(row[0]) for row in copy.execute("pragma integrity_check(5)")]
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if words == ["ok"] else "; ".join(words)[:300]


def _sync(folder: Path) -> None:
    """Make a rename last."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
