"""Packs of a mirror: one is made of many, and what a process has left that was killed is removed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from homeport.drivers.git.program import Session


def number(repository: Path) -> int:
    """How many there are."""
    return len(list((repository / "objects" / "pack").glob("*.pack")))


def repack(repository: Path, local: Session, kept: Mapping[str, str]) -> None:
    """One pack of what references lead to, in place of all others. ``kept``: what they name, and its commit.

    ``git gc`` would keep all that a server once sent to a partial clone.
    """
    folder = repository / "objects" / "pack"
    old = list(folder.glob("pack-*"))
    names = local.git("rev-list", "--objects", "--no-object-names", "--missing=allow-any", "--all")
    tags = "".join(f"{one}\n" for one in kept).encode()
    made = set()
    if names:
        stems = local.git("pack-objects", "--quiet", "objects/pack/pack", given=names + tags).decode().split()
        made = {f"pack-{one}" for one in stems}
        for one in made:
            # So that a fetch takes what is missing for what the server has.
            (folder / f"{one}.promisor").touch()
    # Indexes first: a pack without one isn't seen, an index without its pack is damage.
    for path in sorted(old, key=lambda path: path.suffix != ".idx"):
        if path.stem not in made:
            path.unlink(missing_ok=True)
    local.git("prune-packed", "--quiet")
    _write_shallow(repository, set(kept.values()))


def _write_shallow(repository: Path, kept: set[str]) -> None:
    """Forget the ends of histories that are gone: they are sent along with each request."""
    file = repository / "shallow"
    if file.exists():
        lines = [line for line in file.read_text().splitlines() if line in kept]
        fresh = file.with_name("shallow.new")
        fresh.write_text("".join(f"{line}\n" for line in lines))
        fresh.replace(file)


def tidy(repository: Path) -> None:
    """Remove what a process has left that was killed. None may be at work there."""
    for pattern in ("*.lock", "refs/**/*.lock", "objects/pack/tmp_*", "objects/pack/*.keep", "objects/*/tmp_*"):
        for path in repository.glob(pattern):
            path.unlink(missing_ok=True)
