"""A folder of a repository, read once: what CatalogItems need of Git, by a mirror that isn't kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from homeport.drivers.git import refs
from homeport.drivers.git.checkout import MirrorCheckout
from homeport.drivers.git.mirror import Mirror
from homeport.drivers.git.refs import Target
from homeport.drivers.git.types import MIRROR_LIMITS, Credentials, GitFailed, Limits, Ref
from homeport.plan.gitops.checkout import EXECUTABLE, FILE, SYMLINK, Entry, normal


class Git:
    """Reads from remote repositories. Blocks; threads may share it."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()

    def resolve(self, url: str, ref: Ref, credentials: Credentials) -> str:
        """The commit that ``ref`` means now. Raises GitFailed."""
        with tempfile.TemporaryDirectory(prefix="homeport-git-") as folder:
            mirror = Mirror(Path(folder), url, credentials, self.limits)
            found = refs.target(ref, mirror.listing([ref]))
        if found is None:
            raise GitFailed(f"{url} has no {ref.shown}", passes=False)
        return found.commit

    def files(
        self, url: str, ref: Ref, commit: str, path: str, credentials: Credentials, wanted: Callable[[str], bool]
    ) -> dict[str, bytes]:
        """The ``wanted`` files below ``path`` in ``commit``, by their paths below it. Raises GitFailed."""
        with tempfile.TemporaryDirectory(prefix="homeport-git-") as folder:
            # How many files there are is counted among those that are wanted.
            mirror = Mirror(Path(folder), url, credentials, replace(self.limits, files=MIRROR_LIMITS.files))
            try:
                mirror.fetch([Target(commit, ref.shown, commit)], "" if ref.commit else ref.full)
                checkout, inner = MirrorCheckout(mirror, commit), normal(path)
                if not checkout.digest(inner):
                    raise GitFailed(f"{ref.shown} of {url} has no folder {path}", passes=False)
                start = f"{inner}/" if inner else ""
                listing = checkout.listing(inner)
                chosen = _chosen(listing, path, start, wanted, self.limits)
                mirror.fill([listing[name].blob for name in chosen], commit)
                # Sizes are known of what is here.
                read = checkout.read(_chosen(checkout.listing(inner), path, start, wanted, self.limits))
                return {name.removeprefix(start): content for name, content in read.items()}
            finally:
                mirror.close()


def _chosen(
    listing: Mapping[str, Entry], path: str, start: str, wanted: Callable[[str], bool], limits: Limits
) -> list[str]:
    """The files that are wanted. Raises GitFailed for what can't be read, or is too much."""
    total = 0
    chosen: list[str] = []
    for name, entry in listing.items():
        inner = name.removeprefix(start)
        if not wanted(inner):
            continue
        if entry.mode not in (FILE, EXECUTABLE):
            what = "a symbolic link" if entry.mode == SYMLINK else "another repository"
            raise GitFailed(f"{name} is {what}; put the file itself there", passes=False)
        total += entry.size or 0
        if (entry.size or 0) > limits.file or total > limits.total or len(chosen) >= limits.files:
            told = f"{limits.files} files of {limits.file // 1024} KiB, {limits.total // 1024} KiB together"
            raise GitFailed(f"{path} holds too much at {inner}; {told} are allowed", passes=False)
        chosen.append(name)
    return chosen
