"""What a folder in Git holds, told from its files' names: kustomizations, charts, templates, plain manifests.

A folder with a kustomization file is a kustomization, else one with Chart.yaml a chart; everything below it is its own
business. In any other folder manifests and templates are read, and its folders are looked at in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pathspec import GitIgnoreSpec

from homeport.plan.gitops.build import FILES, IGNORE, BuildFailed
from homeport.plan.gitops.checkout import SUBMODULE, SYMLINK, Entry
from homeport.plan.gitops.manifests import SUFFIXES

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
"""Source: https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/"""
CHART = "Chart.yaml"
TEMPLATE = ".j2"


@dataclass(frozen=True)
class Parts:
    """What is built of a path; all from the repository's root, in order."""

    plain: tuple[str, ...] = ()
    """Files that are read as they are."""
    templates: tuple[str, ...] = ()
    """Files that are rendered."""
    included: tuple[str, ...] = ()
    """Every template, those that are there for others to include among them."""
    kustomizations: tuple[str, ...] = ()
    """Folders."""
    charts: tuple[str, ...] = ()
    """Folders."""
    submodules: tuple[str, ...] = ()
    """What isn't here, as submodules weren't asked for."""


def parent(path: str) -> str:
    """The folder that something is in; that of what is in the root is "" ."""
    return path.rpartition("/")[0]


def joined(folder: str, name: str) -> str:
    """A path in a folder, which may be the root."""
    return f"{folder}/{name}" if folder else name


def ignore_files(listing: Mapping[str, Entry]) -> list[str]:
    """The files that say what isn't read."""
    return [path for path, entry in listing.items() if path.rpartition("/")[2] == IGNORE and _regular(entry)]


def ignoring(files: Mapping[str, str]) -> Callable[[str], bool]:
    """Whether a path isn't read. ``files`` are the contents of ``ignore_files``; the deepest has the last word."""
    lines: list[str] = []
    for path in sorted(files, key=lambda each: (each.count("/"), each)):
        lines += [_anchored(line, parent(path)) for line in files[path].splitlines()]
    if not lines:
        return lambda path: False
    try:
        spec = GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise BuildFailed(f"{min(files)}: {error}") from None
    return spec.match_file


def _anchored(line: str, folder: str) -> str:
    """A line of a file in ``folder`` as the root's would have it.

    Source: https://git-scm.com/docs/gitignore: a pattern with a slash before its end is relative to its file's folder;
    any other matches at every depth below that.
    """
    if not line.strip() or line.startswith("#") or not folder:
        return line
    no, pattern = ("!", line[1:]) if line.startswith("!") else ("", line)
    pattern = pattern if "/" in pattern.rstrip().rstrip("/") else f"**/{pattern}"
    return f"{no}/{_literal(folder)}/{pattern.lstrip('/')}"


def _literal(folder: str) -> str:
    return "".join(f"\\{each}" if each in "*?[]!#\\ " else each for each in folder)


def parts(listing: Mapping[str, Entry], path: str, ignored: Callable[[str], bool]) -> Parts:
    """What is to be built of ``path``, of which ``listing`` is. Raises BuildFailed."""
    if len(listing) > FILES:
        raise BuildFailed(f"{path or 'the repository'} holds {len(listing)} files; {FILES} are allowed; name a folder")
    seen = {name: entry for name, entry in listing.items() if not _hidden(name, path) and not ignored(name)}
    units = _Units(seen, path)
    plain, templates, included, submodules = [], [], [], []
    for name, entry in seen.items():
        if units.over(parent(name)) is not None:
            continue
        base = name.rpartition("/")[2]
        if entry.mode == SUBMODULE:
            submodules.append(name)
        elif entry.mode == SYMLINK:
            # One without an ending may lead to a folder.
            if "." not in base or base.endswith((*SUFFIXES, TEMPLATE)):
                raise symlink(name)
        elif base.endswith(TEMPLATE):
            included.append(name)
            if not base.startswith("_") and base.removesuffix(TEMPLATE).endswith(SUFFIXES):
                templates.append(name)
        elif base.endswith(SUFFIXES):
            plain.append(name)
    return Parts(tuple(plain), tuple(templates), tuple(included), units.kustomizations, units.charts, tuple(submodules))


def symlink(path: str) -> BuildFailed:
    """That nobody follows a symbolic link."""
    return BuildFailed(
        f"{path}: this is a symbolic link, which isn't followed; put the file itself there, or name it in {IGNORE}"
    )


class _Units:
    """The folders that are kustomizations or charts, the topmost on each way down."""

    def __init__(self, listing: Mapping[str, Entry], path: str) -> None:
        self._path = path
        self._over: dict[str, str | None] = {}
        kustomizations: dict[str, str] = {}
        charts: set[str] = set()
        for name in listing:
            folder, _, base = name.rpartition("/")
            if base in KUSTOMIZATIONS:
                if folder in kustomizations:
                    told = f"{joined(folder, kustomizations[folder])} and {base} are both there; leave one out"
                    raise BuildFailed(told)
                kustomizations[folder] = base
            elif base == CHART:
                charts.add(folder)
        self._units = {*kustomizations, *charts}
        top = sorted(each for each in self._units if self.over(each) == each)
        self.kustomizations = tuple(each for each in top if each in kustomizations)
        self.charts = tuple(each for each in top if each not in kustomizations)

    def over(self, folder: str) -> str | None:
        """The topmost unit that a folder is in, or is; None when it is in none."""
        way = []
        # Not by recursion: folders in a repository can be thousands deep.
        while folder not in self._over:
            way.append(folder)
            if folder in ("", self._path):
                self._over[folder] = folder if folder in self._units else None
            else:
                folder = parent(folder)
        for each in reversed(way):
            above = self._over[parent(each)] if each not in ("", self._path) else None
            self._over[each] = above if above is not None else each if each in self._units else None
        return self._over[way[0] if way else folder]


def _hidden(name: str, path: str) -> bool:
    inner = name[len(path) + 1 :] if path else name
    return inner.startswith(".") or "/." in inner


def _regular(entry: Entry) -> bool:
    return entry.mode not in (SYMLINK, SUBMODULE)
