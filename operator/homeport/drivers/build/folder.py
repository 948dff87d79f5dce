"""A folder on this machine as a checkout: what ``homeport build`` reads, before anything is pushed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from homeport.plan.gitops.checkout import EXECUTABLE, FILE, SYMLINK, CheckoutFailed, Entry


class FolderCheckout:
    """What is in a folder now, ``.git`` left out. Files are read when they are asked for."""

    commit = ""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listed: dict[str, Mapping[str, Entry]] = {}

    def digest(self, folder: str) -> str:
        """A digest of names, sizes and times."""
        found = self.listing(folder)
        return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest() if found else ""

    def listing(self, folder: str) -> Mapping[str, Entry]:
        """All files below a folder."""
        if folder not in self._listed:
            self._listed[folder] = dict(sorted(self._walked(folder)))
        return self._listed[folder]

    def _walked(self, folder: str) -> list[tuple[str, Entry]]:
        out = []
        for where, folders, files in os.walk(self._root / folder):
            folders[:] = [name for name in folders if name != ".git"]
            links = [name for name in folders if (Path(where) / name).is_symlink()]
            for name in (*files, *links):
                path = Path(where) / name
                out.append((path.relative_to(self._root).as_posix(), _entry(path)))
        return out

    def read(self, paths: Collection[str]) -> dict[str, bytes]:
        """The contents of files. Raises CheckoutFailed."""
        out = {}
        for path in paths:
            try:
                out[path] = (self._root / path).read_bytes()
            except OSError as error:
                raise CheckoutFailed(f"{path}: {error.strerror}", passes=False) from None
        return out


def _entry(path: Path) -> Entry:
    about = path.lstat()
    mode = SYMLINK if path.is_symlink() else EXECUTABLE if about.st_mode & 0o100 else FILE
    # Whoever keeps what was read by its digest sees a changed file as another one.
    told = f"{path}\0{about.st_size}\0{about.st_mtime_ns}\0{about.st_ino}"
    return Entry(mode, about.st_size, hashlib.sha256(told.encode()).hexdigest())
