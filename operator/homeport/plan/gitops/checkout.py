"""What a commit holds, as builds see it: a protocol, so that they need neither git nor a network.

Paths are as seen from the repository's root, without ``./``, ``..`` or a slash at either end; the root itself is "".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

FILE = "100644"
EXECUTABLE = "100755"
SYMLINK = "120000"
SUBMODULE = "160000"
"""Modes of entries, as git writes them."""


class CheckoutFailed(Exception):  # noqa: N818 - it says what can't be had
    """What was asked for can't be had. ``passes``: whether asking again may help without anybody changing a thing."""

    def __init__(self, message: str, passes: bool) -> None:
        super().__init__(message)
        self.passes = passes


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, as a tree names it. ``blob`` is a digest of its content: git's object id."""

    mode: str
    """FILE, EXECUTABLE, SYMLINK (nothing follows it: whoever builds refuses it by name) or SUBMODULE (one that wasn't
    asked for; its content can't be read)."""
    size: int | None
    """In bytes; None while the content isn't here yet, as in a partial clone. ``read`` has a limit of its own."""
    blob: str


class Checkout(Protocol):
    """One commit. All methods raise CheckoutFailed; threads may share it."""

    @property
    def commit(self) -> str:
        """Its id, in full."""

    def digest(self, folder: str) -> str:
        """A digest of all that is below a folder (git's tree id); "" when there is no such folder.

        Reads a handful of objects from the disk, once: milliseconds.
        """

    def listing(self, folder: str) -> Mapping[str, Entry]:
        """All files below a folder, however deep, by their paths from the repository's root. Reads the disk only."""

    def read(self, paths: Collection[str]) -> dict[str, bytes]:
        """The contents of files. What isn't here yet is fetched, all in one request; from then on it is here.

        Blocks, on the network too: never call it on the event loop.
        """


def normal(path: str) -> str:
    """A path as a checkout wants it: ``./projects/shop/`` is ``projects/shop``. Raises ValueError when it leads out."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts:
        raise ValueError(f"{path!r} leads out of the repository; write a path as seen from its root")
    return "/".join(parts)
