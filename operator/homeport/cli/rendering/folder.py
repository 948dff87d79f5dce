"""Writing a folder so that it can be written again: what somebody changed by hand isn't overwritten unasked."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from homeport.cli.errors import Failure

MARK = ".homeport-render.json"
"""In a folder that we wrote: each file with a digest of what we wrote into it."""


def write(folder: Path, files: Mapping[str, str], *, force: bool = False) -> None:
    """Write ``files`` (path -> text) into ``folder``; what an earlier rendering wrote and this one doesn't is removed.

    A new folder appears whole or not at all. In one that is there each file is replaced whole, and whatever else is in
    it stays. Raises Failure for a folder that isn't ours, or with files that were changed since, unless ``force``.
    """
    if folder.exists() and not folder.is_dir():
        raise Failure(f"{folder} is a file", "name a folder with --output-dir")
    try:
        if folder.is_dir() and any(folder.iterdir()):
            _update(folder, files, force)
        else:
            _create(folder, files)
    except OSError as error:
        raise Failure(
            f"{error.filename or folder}: {error.strerror}", "name another folder with --output-dir"
        ) from None


def _create(folder: Path, files: Mapping[str, str]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        temporary.chmod(0o755)
        for path, text in {**files, MARK: _mark(files)}.items():
            _put(temporary / path, text)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _update(folder: Path, files: Mapping[str, str], force: bool) -> None:
    known = _known(folder)
    if known is None and not force:
        raise Failure(
            f"{folder} isn't empty and wasn't written by `homeport render`",
            "name another with --output-dir, or write into it with --force",
        )
    known = known or {}
    changed = [path for path in _theirs(folder, files, known) if path in files or path in known]
    if changed and not force:
        raise Failure(
            f"{folder} has files that were changed by hand: {', '.join(sorted(changed)[:10])}",
            "keep your changes apart (a kustomization or a values file of your own), or lose them with --force",
        )
    for path, text in files.items():
        _put(folder / path, text)
    for path in known:
        if path not in files and path not in changed:
            (folder / path).unlink(missing_ok=True)
    _put(folder / MARK, _mark(files))


def _theirs(folder: Path, files: Mapping[str, str], known: Mapping[str, str]) -> list[str]:
    """Files that are neither as we left them nor as they are to be."""
    out = []
    for path in {**known, **files}:
        file = folder / path
        if file.exists() and _digest(file.read_bytes()) not in (
            known.get(path),
            _digest(files[path].encode()) if path in files else None,
        ):
            out.append(path)
    return out


def _known(folder: Path) -> dict[str, str] | None:
    try:
        found = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    files = found.get("files") if isinstance(found, dict) else None
    if not isinstance(files, dict):
        return None
    # A mark that somebody wrote must not lead out of the folder.
    return {path: str(digest) for path, digest in files.items() if _within(path)}


def _within(path: str) -> bool:
    return not Path(path).is_absolute() and ".." not in Path(path).parts


def _mark(files: Mapping[str, str]) -> str:
    digests = {path: _digest(text.encode()) for path, text in sorted(files.items())}
    return json.dumps({"writtenBy": "homeport render", "files": digests}, indent=1) + "\n"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _put(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.new")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, file)  # noqa: PTH105 - Path.replace is the same
