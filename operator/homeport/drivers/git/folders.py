"""Where mirrors are on the disk."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import shutil
import time
from functools import lru_cache
from pathlib import Path

from homeport.drivers.git.mirror import locked
from homeport.drivers.git.types import Credentials

UNUSED = 86400.0
"""Seconds after which a mirror is removed that nobody has open, and nobody has used since."""


def name(folder: Path, url: str, credentials: Credentials) -> str:
    """What the mirror of a repository is called with these credentials; it tells neither to somebody who sees it."""
    parts = (url, credentials.username, credentials.password, credentials.identity, credentials.known_hosts,
             credentials.token, credentials.ca)  # fmt: skip
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hmac.new(_salt(folder), text.encode(), "sha256").hexdigest()[:32]


def of(folder: Path, name: str) -> Path:
    """A mirror's own folder."""
    return folder / "mirrors" / name


def sweep(folder: Path) -> None:
    """Remove mirrors that nobody has used for long."""
    for path in (folder / "mirrors").glob("*"):
        lock = path / "lock"
        with contextlib.suppress(OSError):
            if time.time() - (lock if lock.exists() else path).stat().st_mtime < UNUSED:
                continue
            held = locked(lock)
            if held is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(held)


@lru_cache(maxsize=8)
def _salt(folder: Path) -> bytes:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / "salt"
    with contextlib.suppress(FileExistsError), open(file, "xb", opener=_mine) as new:
        # A fragment would be another salt, which costs nothing but mirrors that are made anew.
        new.write(secrets.token_bytes(32))
    return file.read_bytes()


def _mine(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
