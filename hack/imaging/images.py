"""Homeport's images as this checkout would have them: built once for what they are made of, kept in the cache."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from homeport import __version__
from imaging.buildah import BASE, EPOCH, SUITE, Buildah
from imaging.contents import Layout
from localplane.locks import file_lock
from localplane.tools import CHECKOUT, cache_directory, goplatform

KEPT = 3
"""How many builds of an image stay in the cache."""


@dataclass(frozen=True)
class Recipe:
    """An image: its Dockerfile, and what of the checkout goes into it."""

    name: str
    dockerfile: str
    made_of: tuple[str, ...]
    arguments: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """Tells builds of different contents apart."""
        found = hashlib.sha256(f"{SUITE} {EPOCH} {goplatform()} {self.arguments}".encode())
        for path in self._files():
            found.update(f"{path.relative_to(CHECKOUT)}\0".encode() + path.read_bytes())
        return found.hexdigest()[:16]

    def _files(self) -> list[Path]:
        named = [CHECKOUT / part for part in (self.dockerfile, ".dockerignore", *self.made_of)]
        every = [path for part in named for path in ([part] if part.is_file() else part.rglob("*"))]
        return sorted({p for p in every if p.is_file() and "__pycache__" not in p.parts and p.suffix != ".pyc"})


OPERATOR = Recipe(
    "homeport", "operator/Dockerfile",
    ("LICENSE", "README.md", "catalog", "hack/tools/helm", "hack/tools/kustomize", "hack/tools/sops",
     "operator/build.lock", "operator/homeport", "operator/image", "operator/init", "operator/requirements.lock",
     "policies", "pulumi", "pyproject.toml"),
    (("VERSION", __version__),),
)  # fmt: skip

RUNNER = Recipe(
    "homeport-runner", "operator/runner/Dockerfile",
    ("hack/tools/restic", "operator/homeport/__init__.py", "operator/homeport/plan/__init__.py",
     "operator/homeport/plan/backup/__init__.py", "operator/homeport/plan/backup/retention.py",
     "operator/homeport/runner", "operator/image"),
    # What Debian's own archive has.
    (("VERSION", __version__), ("POSTGRESQL", "17"), ("PGDG", "")),
)  # fmt: skip


def folder(recipe: Recipe) -> Path:
    """Where a build of what is in the checkout now is kept."""
    return cache_directory() / "images" / recipe.name / recipe.key


def ensure(recipe: Recipe = OPERATOR) -> Layout:
    """The image, built when it isn't there. Raises ImageError, DebianError."""
    target = folder(recipe)
    with file_lock(cache_directory() / "locks" / "buildah.lock"):
        if not (target / "index.json").exists():
            build(recipe, target)
            _forget(target.parent)
    return Layout(target)


def build(recipe: Recipe, target: Path, tool: Buildah | None = None) -> Layout:
    """Build an image into an OCI layout; whole or not there."""
    tool = tool or Buildah()
    tool.tidy()
    tool.base()
    name = f"localhost/{recipe.name}:{recipe.key}"
    tool.build(CHECKOUT / recipe.dockerfile, name, dict(recipe.arguments))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}")
    tool.export(name, temporary)
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)
    return Layout(target)


def again(recipe: Recipe, scratch: Path) -> Layout:
    """The image built anew with no step of an earlier build; what it takes meanwhile is in a folder that is deleted.

    From the same base, of which nothing comes into the image, and with Go's own cache of compiled packages.
    """
    tool = Buildah(scratch / "storage")
    try:
        with file_lock(cache_directory() / "locks" / "buildah.lock"):
            tool.load(Buildah().export(BASE, scratch / "base"), BASE)
            return build(recipe, scratch / "image", tool)
    finally:
        tool.discard()
        shutil.rmtree(scratch / "base", ignore_errors=True)


def _forget(kept: Path) -> None:
    """Drop the builds that nobody has asked for lately."""
    builds = sorted((path for path in kept.iterdir() if path.is_dir()), key=lambda path: -path.stat().st_mtime)
    for path in builds[KEPT:]:
        shutil.rmtree(path, ignore_errors=True)
