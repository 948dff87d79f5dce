"""A checkout of files that are written out, for tests that need no git."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

from homeport.plan.gitops.checkout import FILE, SYMLINK, CheckoutFailed, Entry


class MemoryCheckout:
    """``files`` by their paths from the root; ``links`` are symbolic links and where they lead."""

    def __init__(
        self, files: Mapping[str, str | bytes], links: Mapping[str, str] | None = None, commit: str = ""
    ) -> None:
        self._files = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
        self._entries = {path: Entry(FILE, len(text), _id(text)) for path, text in self._files.items()}
        for path, target in (links or {}).items():
            self._files[path] = target.encode()
            self._entries[path] = Entry(SYMLINK, len(target), _id(target.encode()))
        self.commit = commit or _id(repr(sorted(self._entries.items())).encode())
        self.reads: list[list[str]] = []
        """The paths of each call of ``read``."""

    def digest(self, folder: str) -> str:
        below = self.listing(folder)
        return _id(repr(sorted(below.items())).encode()) if below else ""

    def listing(self, folder: str) -> Mapping[str, Entry]:
        start = f"{folder}/" if folder else ""
        return {path: entry for path, entry in sorted(self._entries.items()) if path.startswith(start)}

    def read(self, paths: Collection[str]) -> dict[str, bytes]:
        self.reads.append(sorted(paths))
        missing = [path for path in paths if path not in self._files]
        if missing:
            raise CheckoutFailed(f"there is no file {missing[0]}", passes=False)
        return {path: self._files[path] for path in paths}


def _id(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()
