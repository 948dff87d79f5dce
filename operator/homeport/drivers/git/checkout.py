"""One commit in a mirror, as builds see it (``plan.gitops.checkout``)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping

from homeport.drivers.git.mirror import Mirror
from homeport.drivers.git.objects import Child, Objects
from homeport.drivers.git.types import MIB, GitFailed, MirrorBroken
from homeport.plan.gitops.checkout import EXECUTABLE, FILE, SUBMODULE, SYMLINK, Checkout, Entry

Large = Callable[[Mapping[str, bytes]], dict[str, bytes]]
"""Takes files and gives them back with LFS's pointers replaced by what they point to; blocks."""
_KINDS = {SYMLINK: "a symbolic link", SUBMODULE: "another repository", "40000": "a folder"}


class MirrorCheckout:
    """A commit that its mirror keeps."""

    def __init__(self, mirror: Mirror, commit: str, large: Large | None = None) -> None:
        self._mirror = mirror
        self._large = large
        self.commit = commit
        head = mirror.objects.content(commit, MIB).partition(b"\n")[0].split()
        if len(head) != 2 or head[0] != b"tree":
            raise GitFailed(f"{mirror.url}: {commit} is no commit", passes=False)
        self._tree = head[1].decode()

    def digest(self, folder: str) -> str:
        """The folder's tree id; "" when there is none."""
        child = self.find(folder)
        return child.id if child is not None and child.is_tree else ""

    def find(self, path: str) -> Child | None:
        """What is at a path, if anything."""
        return self._objects().find(self._tree, path)

    def _objects(self) -> Objects:
        """Raises GitFailed when the mirror has let go of the commit: that isn't damage."""
        if not self._mirror.has(self.commit):
            told = f"commit {self.commit[:12]} isn't kept any more; it is fetched again when somebody needs it"
            raise GitFailed(f"{self._mirror.url}: {told}", passes=True)
        return self._mirror.objects

    def listing(self, folder: str) -> Mapping[str, Entry]:
        """All files below a folder; nothing is fetched."""
        tree = self.digest(folder)
        if not tree:
            return {}
        objects = self._objects()
        found = dict(sorted(objects.walk(tree, folder, self._mirror.limits.files)))
        sizes = objects.sizes(list({child.id for child in found.values() if child.mode != SUBMODULE}))
        return {path: Entry(child.mode.zfill(6), sizes.get(child.id), child.id) for path, child in found.items()}

    def read(self, paths: Collection[str]) -> dict[str, bytes]:
        """The files' contents; what isn't in the mirror yet is fetched in one request."""
        blobs = {path: self._blob(path) for path in paths}
        self._mirror.fill(blobs.values(), self.commit)
        # To make room for them it may have been given up itself.
        objects, limits = self._objects(), self._mirror.limits
        sizes = objects.sizes(list(set(blobs.values())))
        total = 0
        for path, blob in blobs.items():
            size = sizes.get(blob)
            if size is None:
                self._mirror.suspect()
                raise MirrorBroken(self._mirror.url)
            total += size
            if size > limits.file:
                told = f"{path} has {size / MIB:.1f} MiB; {limits.file // MIB} MiB are allowed for a file"
                raise GitFailed(f"{self._mirror.url}: {told}", passes=False)
            if total > limits.total:
                told = f"what is read together has more than {limits.total // MIB} MiB at {path}; use smaller folders"
                raise GitFailed(f"{self._mirror.url}: {told}", passes=False)
        contents = {path: objects.content(blob, limits.file) for path, blob in blobs.items()}
        return self._large(contents) if self._large is not None else contents

    def _blob(self, path: str) -> str:
        child = self.find(path)
        if child is None:
            raise GitFailed(f"{self._mirror.url}: there is no file {path} in {self.commit[:12]}", passes=False)
        mode = child.mode.zfill(6)
        if mode not in (FILE, EXECUTABLE, "100664"):
            what = _KINDS.get(child.mode.zfill(5), "something else")
            raise GitFailed(f"{self._mirror.url}: {path} is {what}, and not a file", passes=False)
        return child.id


class WithSubmodules:
    """A commit together with those of other repositories that its ``.gitmodules`` names."""

    def __init__(self, outer: MirrorCheckout, modules: Mapping[str, Checkout], declared: str) -> None:
        self._outer = outer
        self._modules = dict(sorted(modules.items()))
        self._declared = declared
        self.commit = outer.commit

    def digest(self, folder: str) -> str:
        """The tree's id, and where submodules are in it, what declares them too."""
        inside = self._inside(folder)
        if inside is not None:
            return self._modules[inside].digest(folder[len(inside) :].strip("/"))
        tree = self._outer.digest(folder)
        if not tree or not self._below(folder):
            return tree
        # The tree has the commits of its submodules, and not from where these are read.
        return hashlib.sha256(f"{tree} {self._declared}".encode()).hexdigest()

    def listing(self, folder: str) -> Mapping[str, Entry]:
        """All files below a folder, those of submodules among them."""
        inside = self._inside(folder)
        if inside is not None:
            return _within(inside, self._modules[inside].listing(folder[len(inside) :].strip("/")))
        found = {path: entry for path, entry in self._outer.listing(folder).items() if path not in self._modules}
        for path in self._below(folder):
            found |= _within(path, self._modules[path].listing(""))
        return found

    def read(self, paths: Collection[str]) -> dict[str, bytes]:
        """The files' contents, by one request for each repository that has some of them."""
        groups: dict[str | None, list[str]] = {}
        for path in paths:
            groups.setdefault(self._inside(path), []).append(path)
        found: dict[str, bytes] = {}
        for module, group in groups.items():
            if module is None:
                found |= self._outer.read(group)
            else:
                inner = self._modules[module].read([path[len(module) + 1 :] for path in group])
                found |= {f"{module}/{path}": content for path, content in inner.items()}
        return found

    def _inside(self, path: str) -> str | None:
        return next((one for one in self._modules if path == one or path.startswith(f"{one}/")), None)

    def _below(self, folder: str) -> list[str]:
        return [one for one in self._modules if not folder or one.startswith(f"{folder}/")]


def _within(folder: str, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    return {f"{folder}/{path}": entry for path, entry in entries.items()}
