"""Layers of files out of Debian packages: fetched with an apt of our own, merged into one tar, nothing installed.

The packages' closure is computed as for an empty system, with the machine's own apt sources, in folders of ours; the
system's package lists, cache and database are only read, never written. Maintainer scripts don't run: what they would
have made (users, links) is part of whoever uses the layer.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from localplane.locks import file_lock
from localplane.tools import cache_directory, goplatform

FORMAT = 2  # of what is cached; a change of this module that changes layers raises it
NEEDED = ("apt-get", "dpkg-deb")
# Bookworm's packages still name /bin, /lib and /sbin, which are links into /usr.
# https://wiki.debian.org/UsrMerge
MERGED = frozenset({"bin", "sbin", "lib", "lib32", "lib64", "libx32"})
# What only maintainer scripts use, which don't run.
SCRIPTS = frozenset(
    {
        "adduser", "debconf", "dpkg", "init-system-helpers", "libfile-find-rule-perl", "libjson-perl",
        "libnumber-compare-perl", "libperl5.36", "libtext-glob-perl", "lsb-base", "passwd", "perl", "perl-base",
        "perl-modules-5.36", "sensible-utils", "tar", "ucf", "usrmerge",
    }
)  # fmt: skip
MODULES = ("/usr/lib/python3", "/usr/lib/python3.11")
DROPPED = (
    "usr/share/doc/", "usr/share/man/", "usr/share/info/", "usr/share/locale/", "usr/share/lintian/", "usr/share/bug/",
    "usr/share/doc-base/", "usr/share/bash-completion/", "usr/share/i18n/", "usr/share/javascript/", "var/cache/",
)  # fmt: skip


class DebianError(RuntimeError):
    """The packages can't be had here; the message says what apt said."""


@dataclass(frozen=True)
class Layer:
    """The files of packages and of all that they depend on.

    `without`: packages that are left out although something depends on them. `on`: the layer below, whose packages
    aren't repeated.
    """

    packages: tuple[str, ...]
    without: tuple[str, ...] = ()
    on: Layer | None = None
    compiled: bool = False  # Python's modules, as their maintainer scripts would do; needs root

    @property
    def key(self) -> str:
        """Tells cached layers apart."""
        below = self.on.key if self.on else ""
        parts = [
            str(FORMAT),
            goplatform(),
            below,
            *sorted(self.packages),
            "-",
            *sorted(self.without),
            str(self.compiled),
        ]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Built:
    """A layer in the cache."""

    tar: Path
    digest: str
    packages: tuple[str, ...]


def missing() -> list[str]:
    """The programs of Debian that aren't here."""
    return [name for name in NEEDED if not shutil.which(name)]


def ensure(layer: Layer) -> Built:
    """The layer's tar, made when it isn't in the cache: whole or not there."""
    folder = cache_directory() / "layers" / layer.key
    found = _load(folder)
    if found:
        return found
    below = ensure(layer.on).packages if layer.on else ()
    with file_lock(cache_directory() / "locks" / "layers.lock"):
        found = _load(folder)
        if found:
            return found
        archives = [path for path in _fetch(layer) if path.name not in below]
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / ".layer.tar"
        with temporary.open("wb") as output:
            _merge(archives, output)
        if layer.compiled:
            _compile(layer, temporary)
        digest = _digest(temporary)
        temporary.rename(folder / "layer.tar")
        packages = sorted({*below, *(path.name for path in archives)})
        (folder / ".layer.json").write_text(json.dumps({"digest": digest, "packages": packages}, indent=1))
        (folder / ".layer.json").rename(folder / "layer.json")
    made = _load(folder)
    assert made
    return made


def tree(layer: Layer) -> Path:
    """The layer's files in a folder, shared and not to be written to. Needs root, as files keep their owners."""
    built = ensure(layer)
    folder = built.tar.parent / "root"
    with file_lock(cache_directory() / "locks" / f"tree-{layer.key}.lock"):
        if not folder.exists():
            temporary = folder.with_name(".root")
            shutil.rmtree(temporary, ignore_errors=True)
            with tarfile.open(built.tar) as archive:
                archive.extractall(temporary, filter="fully_trusted")  # nosec B202 - Debian signed what is in it
            temporary.rename(folder)
    return folder


def libraries(tree: Path) -> str:
    """Where the libraries of an unpacked layer are, as the dynamic linker takes it (LD_LIBRARY_PATH, an RPATH)."""
    return ":".join(map(str, sorted((tree / "usr/lib").glob("*-linux-gnu"))))


def _compile(layer: Layer, tar: Path) -> None:
    """Add the byte code of all modules to a layer's tar: without it each start of a process would compile them anew."""
    root = tar.with_name(".compiled")
    shutil.rmtree(root, ignore_errors=True)
    below = [ensure(layer.on).tar] if layer.on else []
    for part in (*below, tar):
        with tarfile.open(part) as archive:
            archive.extractall(root, filter="fully_trusted")  # nosec B202 - the same
    command = ["python3", "-m", "compileall", "-q", "-j1", "--invalidation-mode", "unchecked-hash", *MODULES]
    done = subprocess.run(
        ["chroot", str(root), *command], check=False, capture_output=True, text=True, env={"PATH": "/usr/bin:/usr/sbin"}
    )
    made = sorted(root.joinpath("usr/lib").rglob("*.pyc"))
    if not made:
        raise DebianError(f"compiling the Python modules failed: {(done.stderr or done.stdout).strip()[-300:]}")
    with tarfile.open(tar, "a", format=tarfile.GNU_FORMAT) as archive:
        for path in made:
            content = path.read_bytes()
            info = tarfile.TarInfo(str(path.relative_to(root)))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    shutil.rmtree(root)


def _load(folder: Path) -> Built | None:
    try:
        document = json.loads((folder / "layer.json").read_text())
    except (OSError, ValueError):
        return None
    return Built(folder / "layer.tar", document["digest"], tuple(document["packages"]))


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return "sha256:" + hashlib.file_digest(content, "sha256").hexdigest()


# Fetching


def _fetch(layer: Layer) -> list[Path]:
    """The archives of the closure, in apt's order."""
    root = cache_directory() / "apt"
    for name in ("lists/partial", "archives/partial", "none/partial"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "status").touch()
    try:
        return _archives(root, layer)
    except DebianError:
        _apt(root, "update")  # no lists yet, or ones that name what is gone
        return _archives(root, layer)


def _archives(root: Path, layer: Layer) -> list[Path]:
    left_out = SCRIPTS.union(layer.without) - set(layer.packages)
    wanted = {name: pin for name, pin in _closure(root, layer.packages) if name.split("_")[0] not in left_out}
    absent = [pin for name, pin in wanted.items() if not (root / "archives" / name).exists()]
    if absent:
        _apt(root, "download", *absent, cwd=root / "archives")
    if gone := [name for name in wanted if not (root / "archives" / name).exists()]:
        raise DebianError(f"apt-get download did not bring {', '.join(gone)}")
    return [root / "archives" / name for name in wanted]


def _closure(root: Path, packages: Sequence[str]) -> list[tuple[str, str]]:
    """(file name, package=version) of what installing into an empty system would fetch."""
    # With an empty folder of archives: what is there already isn't printed.
    output = _apt(root, "install", "-o", f"Dir::Cache::archives={root / 'none'}", "--print-uris", "-y", *packages)
    # 'URI' NAME SIZE HASH, one a line; a name's epoch is written %3a.
    names = re.findall(r"^'[^']+' (\S+\.deb) \d+", output, re.MULTILINE)
    return [(name, "{}={}".format(*unquote(name).split("_")[:2])) for name in names]


def _apt(root: Path, *command: str, cwd: Path | None = None) -> str:
    options = {
        "Dir::State::Lists": root / "lists",
        "Dir::State::status": root / "status",
        "Dir::Cache::archives": root / "archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "true",
        "Acquire::Retries": "3",
    }
    arguments = [argument for key, value in options.items() for argument in ("-o", f"{key}={value}")]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    done = subprocess.run(
        ["apt-get", "-q", *arguments, *command], check=False, capture_output=True, text=True, cwd=cwd,
        env=environment, timeout=600,
    )  # fmt: skip
    if done.returncode:
        raise DebianError(f"apt-get {' '.join(command[:4])} failed: {(done.stderr or done.stdout).strip()[-600:]}")
    return done.stdout


# Merging


def _merge(archives: list[Path], output: io.BufferedWriter) -> None:
    """One tar of all the packages' files, the same for the same packages: sorted, without times."""
    entries: dict[str, tuple[tarfile.TarInfo, int]] = {}
    scratch = Path(output.name).with_name(".scratch")
    try:
        _collect(archives, scratch, entries)
        with tarfile.open(fileobj=output, mode="w", format=tarfile.GNU_FORMAT) as layer, scratch.open("rb") as content:
            for name in sorted(MERGED & _merged_of(entries)):
                layer.addfile(_link(name, f"usr/{name}"))
            for name in sorted(entries):
                info, offset = entries[name]
                content.seek(offset)
                layer.addfile(info, content if info.isreg() else None)
    finally:
        scratch.unlink(missing_ok=True)


def _merged_of(entries: dict[str, tuple[tarfile.TarInfo, int]]) -> set[str]:
    return {parts[1] for name in entries if len(parts := PurePosixPath(name).parts) > 1 and parts[0] == "usr"}


def _collect(archives: list[Path], scratch: Path, entries: dict[str, tuple[tarfile.TarInfo, int]]) -> None:
    with scratch.open("wb") as content:
        for archive in archives:
            for info, data in _members(archive):
                known = entries.get(info.name)
                if known and known[0].isdir() and info.isdir():
                    continue
                entries[info.name] = (info, content.tell())
                content.write(data)


def _members(archive: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """A package's files under their merged names."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        with contextlib.closing(tarfile.open(fileobj=process.stdout, mode="r|")) as tar:
            for info in tar:
                name = _merged_name(info.name)
                if not name or f"{name}/".startswith(DROPPED):
                    continue
                data = b""
                if info.isreg():
                    found = tar.extractfile(info)
                    data = found.read() if found else b""
                info.name, info.mtime, info.uname, info.gname = name, 0, "", ""
                info.pax_headers = {}
                if info.islnk():
                    info.linkname = _merged_name(info.linkname)
                yield info, data
    if process.returncode:
        raise DebianError(f"dpkg-deb can't read {archive.name}")


def _merged_name(name: str) -> str:
    path = name.removeprefix("./").strip("/")
    first = path.split("/", 1)[0]
    if first in MERGED and path == first:
        return ""
    return f"usr/{path}" if first in MERGED else path if path != "." else ""


def _link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
    return info
