"""The file: a tar of a folder, as it is, packed by gzip, or by the zstd program."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from homeport.cli.errors import Failure

HEADER = "homeport-export.json"
VERSION = 1
REPOSITORY = "repository"
PACKED = (".tar", ".tar.gz", ".tgz", ".tar.zst")


def check_name(file: Path) -> None:
    """Raises Failure for a name that doesn't say how to pack, or that can't be packed here."""
    if not file.name.endswith(PACKED):
        raise Failure(f"{file} doesn't say how it is packed", f"let its name end in one of {', '.join(PACKED)}")
    if file.name.endswith(".zst"):
        _zstd()


def _zstd() -> str:
    program = shutil.which("zstd")
    if program is None:
        raise Failure(
            "the zstd program isn't installed here",
            "install it, or write a name that ends in .tar.gz; what restic keeps is packed already",
        )
    return program


def pack(folder: Path, file: Path) -> None:
    """Write ``folder`` as ``file``; a file that is there already is replaced only by a whole one. Raises OSError."""
    partial = file.with_name(f".{file.name}.partial")
    try:
        if file.name.endswith(".zst"):
            with partial.open("wb") as out:
                process = subprocess.Popen([_zstd(), "-q", "-c"], stdin=subprocess.PIPE, stdout=out)
                assert process.stdin is not None
                with tarfile.open(fileobj=process.stdin, mode="w|") as tar:
                    _add(tar, folder)
                process.stdin.close()
                if process.wait():
                    raise Failure(f"zstd failed with exit code {process.returncode}")
        else:
            with tarfile.open(partial, "w" if file.name.endswith(".tar") else "w:gz") as tar:
                _add(tar, folder)
        partial.chmod(0o600)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _add(tar: tarfile.TarFile, folder: Path) -> None:
    # The header first: whoever looks into a large file sees at once what it is.
    tar.add(folder / HEADER, HEADER)
    for path in sorted(folder.iterdir()):
        if path.name != HEADER:
            tar.add(path, path.name)


def unpack(file: Path, folder: Path) -> dict[str, Any]:
    """Take ``file`` apart into ``folder``; what it says it is. Raises Failure for what isn't an export."""
    if not file.is_file():
        raise Failure(f"{file} isn't there")
    try:
        if file.name.endswith(".zst"):
            process = subprocess.Popen([_zstd(), "-q", "-d", "-c", str(file)], stdout=subprocess.PIPE)
            with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
                tar.extractall(folder, filter="data")
            if process.wait():
                raise Failure(f"{file} is damaged: zstd can't read it to its end")
        else:
            with tarfile.open(file, "r:*") as tar:
                tar.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise Failure(f"{file} can't be read: {error}", "it must be a file that `homeport export` wrote") from None
    try:
        header: dict[str, Any] = json.loads((folder / HEADER).read_text())
    except (OSError, ValueError):
        raise Failure(f"{file} is no export: {HEADER} isn't in it", "`homeport export project` writes one") from None
    if header.get("version") != VERSION:
        raise Failure(
            f"{file} is of another version ({header.get('version')}; this program reads {VERSION})",
            "read it with the homeport that wrote it, or a newer one",
        )
    return header


def write_header(folder: Path, header: Mapping[str, Any]) -> None:
    """Say what the folder is."""
    (folder / HEADER).write_text(json.dumps({"version": VERSION, **header}, indent=2, ensure_ascii=False) + "\n")
