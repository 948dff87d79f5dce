"""Where the init is that goes into images: one program for each architecture, in one folder."""

from __future__ import annotations

from pathlib import Path


def folder(given: str = "") -> Path:
    """What the operator was told, else where the package keeps it."""
    return Path(given) if given else Path(__file__).resolve().parents[2] / "programs"


def read(where: Path, architecture: str) -> bytes:
    """The init for an architecture as Go names it. Raises LookupError."""
    path = where / f"homeport-init-{architecture}"
    try:
        return path.read_bytes()
    except OSError:
        raise LookupError(f"this operator has no init for {architecture} (it would be {path.name})") from None
