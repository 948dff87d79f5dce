"""What a kustomization reads: found by reading kustomization files, before anything runs, and refused there by name.

Only what is found is written where kustomize runs. Fields and where they may point to are those of kustomize 5.8
(https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from homeport.plan.gitops import manifests
from homeport.plan.gitops.build import READ, BuildFailed
from homeport.plan.gitops.checkout import SUBMODULE, SYMLINK, Entry
from homeport.plan.gitops.detect import KUSTOMIZATIONS, joined, parent, symlink
from homeport.plan.gitops.kustomization import Ref, configured, inlined, references, strings
from homeport.plan.gitops.malformed import Malformed

FOLDERS = 500
"""Kustomizations in one source, bases and all."""
_REMOTE = re.compile(r"://|^[^/]*@|^[^/]+:|^(github\.com|gitlab\.com|bitbucket\.org)/|\?(ref|version)=|\.git(/|$)")
_HELM = ("helmCharts", "helmGlobals", "helmChartInflationGenerator")
_FUNCTIONS = ("config.kubernetes.io/function", "config.k8s.io/function")


class Files(Protocol):
    """What is in the commit, as far as kustomizations ask for it."""

    def entry(self, path: str) -> Entry | None:
        """What is there, if it isn't a folder."""

    def is_folder(self, path: str) -> bool:
        """Whether something is below it."""

    def read(self, paths: Collection[str]) -> Mapping[str, bytes]:
        """The contents of files that are there, decrypted."""


@dataclass
class Closure:
    """What one kustomization reads."""

    folder: str
    files: set[str] = field(default_factory=set)
    bases: set[str] = field(default_factory=set)
    """The folders of kustomizations that it is made of, itself left out."""
    remote: list[str] = field(default_factory=list)
    """Places elsewhere."""
    metadata: tuple[str, ...] = ()
    """Its ``buildMetadata``."""
    component: bool = False
    """Whether it is only for others to take in."""


@dataclass
class _Seen:
    """One kustomization file."""

    path: str
    body: Mapping[str, Any]
    text: str
    files: set[str] = field(default_factory=set)
    folders: list[str] = field(default_factory=list)
    remote: list[str] = field(default_factory=list)


class Walk:
    """Reads kustomizations and what they name, each once, a level of all of them at a time."""

    def __init__(self, files: Files, allow_remote: bool) -> None:
        self._files = files
        self._allow_remote = allow_remote
        self._seen: dict[str, _Seen] = {}

    def closures(self, folders: Collection[str]) -> list[Closure]:
        """What each of ``folders`` reads. Raises BuildFailed."""
        waiting = list(dict.fromkeys(folders))
        while waiting:
            if len(self._seen) + len(waiting) > FOLDERS:
                raise BuildFailed(f"{waiting[0]}: more than {FOLDERS} kustomizations are read; {FOLDERS} are allowed")
            level = [self._look(folder, content) for folder, content in self._read(waiting)]
            self._configurations(level)
            waiting = [each for each in dict.fromkeys(f for seen in level for f in seen.folders)
                       if each not in self._seen]  # fmt: skip
        for folder in folders:
            self._no_circle(folder)
        return [self._closure(folder) for folder in folders]

    def _read(self, folders: list[str]) -> Iterator[tuple[str, tuple[str, bytes]]]:
        paths = {folder: kustomization(self._files, folder) for folder in folders}
        contents = self._files.read(list(paths.values()))
        for folder, path in paths.items():
            yield folder, (path, contents[path])

    def _look(self, folder: str, content: tuple[str, bytes]) -> _Seen:
        path, data = content
        body, text = _parsed(path, data)
        seen = self._seen[folder] = _Seen(path, body, text, {path})
        for name in _HELM:
            if body.get(name):
                raise _wrong(seen, name, f"{name} isn't built: charts are rendered by helm alone; put the chart in a "
                             "folder of its own, with its Chart.yaml")  # fmt: skip
        for ref in references(body):
            self._follow(seen, folder, ref)
        return seen

    def _follow(self, seen: _Seen, folder: str, ref: Ref) -> str | None:
        """Where a reference leads to; noted in ``seen``."""
        target = self._resolved(seen, folder, ref)
        if target is None:
            return None
        entry = self._files.entry(target)
        if entry is not None:
            if entry.mode == SYMLINK:
                raise symlink(target)
            if entry.mode == SUBMODULE:
                raise _wrong(seen, ref.target, f"{target} is a submodule; write submodules: true to have it fetched")
            if ref.what == "folder":
                raise _wrong(seen, ref.target, f"{ref.field}: {ref.target} is a file; name a folder")
            seen.files.add(target)
            if len(seen.files) > READ:
                raise _wrong(seen, ref.target, f"more than {READ} files are named")
            return target
        if ref.what != "file" and self._files.is_folder(target):
            seen.folders.append(target)
            return None
        if ref.inline:
            return None
        if self._remote(seen, ref):
            return None
        raise _wrong(seen, ref.target, f"{ref.field}: there is no {target or ref.target}")

    def _resolved(self, seen: _Seen, folder: str, ref: Ref) -> str | None:
        """A path from the root; None for what is no path at all."""
        if "\n" in ref.target or not ref.target:
            return None
        if ref.target.startswith("/"):
            told = f"{ref.field}: {ref.target} is a path from the machine's root; write one from this folder"
            raise _wrong(seen, ref.target, told)
        if "://" in ref.target:
            if not ref.inline:
                self._remote(seen, ref)
            return None
        parts = [part for part in folder.split("/") if part]
        for part in ref.target.split("/"):
            if part == ".." and not parts:
                raise _wrong(seen, ref.target, f"{ref.field}: {ref.target} leads out of the repository")
            if part == "..":
                parts.pop()
            elif part not in ("", "."):
                parts.append(part)
        return "/".join(parts)

    def _remote(self, seen: _Seen, ref: Ref) -> bool:
        if not _REMOTE.search(ref.target):
            return False
        if not self._allow_remote:
            raise _wrong(seen, ref.target, f"{ref.field}: {ref.target} is elsewhere, and only this repository is read; "
                         "copy it here, or write build.allowRemoteBases: true")  # fmt: skip
        seen.remote.append(ref.target)
        return True

    def _configurations(self, level: list[_Seen]) -> None:
        """Generators, transformers and validators: kustomize's own only, and what they name in turn."""
        found = [(seen, name, text) for seen in level for name, text in inlined(seen.body)]
        paths = {path: seen for seen in level for path in seen.files if self._configures(seen, path)}
        contents = self._files.read(list(paths))
        found += [(seen, path, _text(path, contents[path])) for path, seen in paths.items()]
        for seen, name, text in found:
            try:
                bodies = [document.body for document in manifests.documents(text, "")]
            except Malformed as error:
                raise BuildFailed(f"{name if '/' in name or '.' in name else seen.path}: {error}") from None
            for body in bodies:
                _own(seen, name, body)
                for ref in configured(body):
                    self._follow(seen, parent(seen.path), ref)

    def _configures(self, seen: _Seen, path: str) -> bool:
        folder = parent(seen.path)
        return any(
            self._resolved(seen, folder, Ref(name, target)) == path
            for name in ("generators", "transformers", "validators")
            for target in strings(seen.body.get(name))
        )

    def _no_circle(self, folder: str) -> None:
        """Raise BuildFailed where a kustomization is made of itself."""
        done: set[str] = set()
        way: list[str] = []
        stack: list[tuple[str, bool]] = [(folder, False)]
        while stack:
            current, leaving = stack.pop()
            if leaving:
                done.add(way.pop())
                continue
            if current in way:
                circle = [*way[way.index(current) :], current]
                told = " → ".join(each or "." for each in circle)
                raise BuildFailed(f"{self._seen[way[-1]].path}: kustomizations are made of each other: {told}")
            if current in done:
                continue
            way.append(current)
            stack.append((current, True))
            stack += [(each, False) for each in self._seen[current].folders]

    def _closure(self, folder: str) -> Closure:
        seen = self._seen[folder]
        out = Closure(folder, component=seen.body.get("kind") == "Component")
        out.metadata = tuple(strings(seen.body.get("buildMetadata")))
        waiting, reached = [folder], {folder}
        while waiting:
            current = self._seen[waiting.pop()]
            out.files |= current.files
            out.remote += current.remote
            new = [each for each in current.folders if each not in reached]
            reached.update(new)
            waiting += new
        out.bases = reached - {folder}
        return out


def kustomization(files: Files, folder: str) -> str:
    """The kustomization file of a folder. Raises BuildFailed."""
    there = [path for path in (joined(folder, name) for name in KUSTOMIZATIONS) if files.entry(path) is not None]
    if not there:
        raise BuildFailed(f"{folder or '.'}: there is no kustomization.yaml in it")
    if len(there) > 1:
        raise BuildFailed(f"{there[0]} and {there[1]} are both there; leave one out")
    entry = files.entry(there[0])
    if entry is not None and entry.mode == SYMLINK:
        raise symlink(there[0])
    return there[0]


def _own(seen: _Seen, name: str, body: Any) -> None:
    """Raise BuildFailed for a plugin that would run something."""
    if not isinstance(body, Mapping):
        return
    kind = str(body.get("kind"))
    annotations = (body.get("metadata") or {}).get("annotations") if isinstance(body.get("metadata"), Mapping) else None
    if any(each in (annotations or {}) for each in _FUNCTIONS):
        raise _wrong(seen, name, f"{kind} is a KRM function, which would run a program or a container; nothing of a "
                     "repository is executed")  # fmt: skip
    if body.get("apiVersion") != "builtin":
        raise _wrong(seen, name, f"{body.get('apiVersion')} {kind} is a plugin, which would run a program; only "
                     "kustomize's own (apiVersion: builtin) are allowed")  # fmt: skip
    if kind == "HelmChartInflationGenerator":
        raise _wrong(seen, name, f"{kind} isn't built: put the chart in a folder of its own, with its Chart.yaml")


def _parsed(path: str, data: bytes) -> tuple[Mapping[str, Any], str]:
    text = _text(path, data)
    try:
        found = manifests.documents(text, "")
    except Malformed as error:
        raise BuildFailed(f"{path}:{error.line}: {error}" if error.line else f"{path}: {error}") from None
    if len(found) != 1 or not isinstance(found[0].body, dict):
        raise BuildFailed(f"{path}: a kustomization is one mapping of fields; {len(found)} documents are there")
    return found[0].body, text


def _text(path: str, data: bytes) -> str:
    try:
        return manifests.text_of(data)
    except Malformed as error:
        raise BuildFailed(f"{path}:{error.line}: {error}") from None


def _wrong(seen: _Seen, target: str, message: str) -> BuildFailed:
    lines = seen.text.splitlines()
    line = next((number for number, text in enumerate(lines, 1) if target.splitlines()[0] in text), 1)
    return BuildFailed(f"{seen.path}:{line}: {message}")
