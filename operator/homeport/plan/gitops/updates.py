"""What an ImageUpdate writes into a commit: the files with their markers, and the words. A function of its inputs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from homeport.api.imageupdate import ImageUpdateSpec
from homeport.plan.gitops import markers
from homeport.plan.gitops.checkout import EXECUTABLE, FILE, Checkout, CheckoutFailed, Entry, normal
from homeport.plan.gitops.markers import Marks, Replaced

MESSAGE = "Update ${images}\n\n${changes}\n"
TRAILER = "Homeport-ImageUpdate"
"""The line at a commit's end that says whose it is."""
SUFFIXES = (".yaml", ".yml")
FILES = 20_000
"""Files that are looked through, at most."""
FILE_LIMIT = 1024 * 1024
"""Bytes of a file that is looked through; larger ones are no manifests."""
TOLD = 10
"""Problems of files that are told, at most."""
_PLACE = re.compile(r"\$(?:\$|\{([a-z]+)\})")


@dataclass(frozen=True)
class Edits:
    """What has to be written on top of a commit."""

    base: str
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    replaced: tuple[tuple[str, Replaced], ...] = ()
    """(file, value) of everything that is another."""
    problems: tuple[str, ...] = ()
    """Markers that can't be written, with file and line."""
    markers: int = 0

    @property
    def images(self) -> tuple[str, ...]:
        """The names of the images that it brings."""
        return tuple(sorted({one.image for _, one in self.replaced}))


def digests(checkout: Checkout, paths: Sequence[str]) -> tuple[str, ...]:
    """What the paths hold, as digests: while they stay, so do the edits. Raises CheckoutFailed."""
    return tuple(checkout.digest(folder if folder in paths else _above(folder)) for folder in map(normal, paths))


def edits(checkout: Checkout, paths: Sequence[str], marks: Marks) -> Edits:
    """Look all files through. Blocks, on the network too; raises CheckoutFailed."""
    chosen = _chosen(checkout, paths)
    if len(chosen) > FILES:
        raise CheckoutFailed(f"there are more than {FILES} YAML files; name fewer folders in paths", passes=False)
    files: dict[str, bytes] = {}
    replaced: list[tuple[str, Replaced]] = []
    problems: list[str] = []
    count = 0
    for path, content in sorted(checkout.read(chosen).items()):
        if not markers.concerns(content):
            continue
        try:
            text = content.decode()
        except UnicodeDecodeError:
            problems.append(f"{path}: it isn't UTF-8, so its markers are left alone")
            continue
        edited = markers.edit(text, marks)
        count += edited.markers
        problems += [f"{path}: {problem}" for problem in edited.problems]
        if edited.replaced:
            files[path] = edited.text.encode()
            replaced += [(path, one) for one in edited.replaced]
    if len(problems) > TOLD:
        problems = [*problems[:TOLD], f"and {len(problems) - TOLD} more"]
    return Edits(checkout.commit, files, tuple(replaced), tuple(problems), count)


def _above(path: str) -> str:
    return path.rpartition("/")[0]


def _chosen(checkout: Checkout, paths: Iterable[str]) -> set[str]:
    """The files to be looked through: those that are named, and YAML files below folders that are."""
    out: set[str] = set()
    for path in map(normal, paths):
        listing = checkout.listing(path)
        out |= {name for name, entry in listing.items() if name.endswith(SUFFIXES) and _is_file(entry)}
        if not listing and path:
            beside = checkout.listing(_above(path))
            out |= {name for name, entry in beside.items() if name == path and _is_file(entry)}
    return out


def _is_file(entry: Entry) -> bool:
    return entry.mode in (FILE, EXECUTABLE) and (entry.size is None or entry.size <= FILE_LIMIT)


def message(spec: ImageUpdateSpec, namespace: str, name: str, made: Edits, brought: Sequence[str]) -> str:
    """The commit's message. ``brought``: the new images, whole."""
    values = {
        "images": ", ".join(brought),
        "changes": "\n".join(sorted({_change(path, one) for path, one in made.replaced})),
        "name": name,
        "namespace": namespace,
    }
    text = _PLACE.sub(lambda found: values[found[1]] if found[1] else "$", spec.git.message or MESSAGE)
    return f"{text.rstrip()}\n\n{TRAILER}: {namespace}/{name}\n"


def _change(path: str, one: Replaced) -> str:
    return f"- {path}: {one.before} -> {one.after}"


def title(text: str) -> str:
    """A pull request's title: the message's first line."""
    return text.strip().split("\n", 1)[0][:200]


def body(text: str) -> str:
    """A pull request's text: the rest of the message, where nothing calls anybody."""
    rest = text.strip().partition("\n")[2].strip()
    return rest.replace("@", "@\u200b") + "\n\nThis pull request is kept up to date while it is open."


def flux_names(own: Collection[str], others: Iterable[Collection[str]]) -> frozenset[str]:
    """Which of an ImageUpdate's images a marker of Flux may mean: those that no other one of the repository has."""
    taken = {name for names in others for name in names}
    return frozenset(name for name in own if name not in taken)
