"""Submodules: other repositories at commits that a tree names, from where ``.gitmodules`` says.

That file is written by whoever writes the repository. So nothing of it is taken but paths and addresses; addresses are
held to the same rules as any other; and credentials go to the host that they are for, and to no other.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from homeport.drivers.git import address
from homeport.drivers.git.checkout import MirrorCheckout, WithSubmodules
from homeport.drivers.git.mirror import Mirror
from homeport.drivers.git.refs import Target
from homeport.drivers.git.types import MIB, Credentials, GitFailed
from homeport.plan.gitops.checkout import SUBMODULE, Checkout, normal

DEPTH = 4
"""Submodules in submodules."""
NUMBER = 32
"""Submodules of one repository."""
FILE = ".gitmodules"

Follow = Callable[[Mirror, str], MirrorCheckout]
"""Makes a checkout of a commit that a mirror has."""


@dataclass(frozen=True)
class Module:
    """What ``.gitmodules`` says of one."""

    path: str
    url: str


def follow(mirror: Mirror, outer: MirrorCheckout, make: Follow, depth: int = 0) -> Checkout:
    """A commit with its submodules; those that aren't here are fetched. Raises GitFailed."""
    declared = outer.find(FILE)
    if declared is None or declared.mode.zfill(6) not in ("100644", "100755"):
        return outer
    if depth == DEPTH:
        raise GitFailed(f"{mirror.url}: submodules are {DEPTH} deep in one another; use fewer", passes=False)
    modules: dict[str, Checkout] = {}
    text = outer.read([FILE])[FILE]
    for module in declarations(mirror, text):
        child = outer.find(module.path)
        if child is None or child.mode != SUBMODULE:
            continue  # It is declared, and isn't in this commit: git passes over that, too.
        inner = _mirror(mirror, module)
        try:
            inner.fetch([Target(child.id, f"submodule {module.path}", child.id)])
            modules[module.path] = follow(inner, make(inner, child.id), make, depth + 1)
        except GitFailed as error:
            raise GitFailed(f"submodule {module.path}: {error}", error.passes) from None
    return WithSubmodules(outer, modules, declared.id) if modules else outer


def declarations(mirror: Mirror, text: bytes) -> list[Module]:
    """What ``.gitmodules`` says, read by git's own parser, without what it would include. Raises GitFailed."""
    if len(text) > MIB:
        raise GitFailed(f"{mirror.url}: {FILE} has more than 1 MiB", passes=False)
    out = mirror.local().git("config", "--file", "-", "--no-includes", "--null", "--list", given=text)
    found: dict[str, dict[str, str]] = {}
    for line in out.decode(errors="replace").split("\0"):
        key, _, value = line.partition("\n")
        if key.startswith("submodule.") and key.count(".") > 1:
            name, _, field = key.removeprefix("submodule.").rpartition(".")
            if field in ("path", "url"):
                found.setdefault(name, {})[field] = value
    modules = [Module(each["path"], each["url"]) for each in found.values() if each.keys() == {"path", "url"}]
    if len(modules) > NUMBER:
        raise GitFailed(f"{mirror.url}: {FILE} names {len(modules)} submodules; {NUMBER} are allowed", passes=False)
    for module in modules:
        _check(mirror, module)
    return [Module(normal(module.path), absolute(mirror.url, module.url)) for module in modules]


def _check(mirror: Mirror, module: Module) -> None:
    try:
        good = bool(normal(module.path))
    except ValueError:
        good = False
    if not good:
        raise GitFailed(f"{mirror.url}: {FILE} puts a submodule at {module.path!r}, which leads out", passes=False)
    wrong = address.refused(absolute(mirror.url, module.url), _told(mirror, module))
    if wrong:
        raise GitFailed(f"{mirror.url}: {FILE}, submodule {module.path}: {wrong}", passes=False)


def absolute(base: str, url: str) -> str:
    """Where a submodule is whose address begins with ``./`` or ``../``: beside the repository that names it.

    Source: git-submodule(1), "add".
    """
    if not url.startswith(("./", "../")):
        return url
    parts = urlsplit(base)
    path = posixpath.normpath(posixpath.join(parts.path, url))
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def _told(mirror: Mirror, module: Module) -> Credentials:
    """What a submodule's host is told: nothing, unless it is the one that the credentials are for."""
    same = address.origin(absolute(mirror.url, module.url)) == address.origin(mirror.url)
    # known_hosts says whom to trust, and isn't told to anybody.
    return mirror.credentials if same else Credentials(known_hosts=mirror.credentials.known_hosts)


def _mirror(outer: Mirror, module: Module) -> Mirror:
    """A submodule's mirror, in the folder of the one that names it, whose credentials it may have."""
    credentials = _told(outer, module)
    name = hashlib.sha256(f"{module.url} {credentials == outer.credentials}".encode()).hexdigest()[:16]
    known = outer.modules.get(name)
    if known is None:
        folder = outer.folder / "modules" / name
        known = Mirror(folder, module.url, credentials, outer.limits, outer.running)
        outer.modules[name] = known
    return known
