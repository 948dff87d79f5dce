"""Published binaries of exactly the pinned versions, where they can be downloaded.

They come from the projects' own release pages, not from the envtest archive: that one lacks the controller manager
and the scheduler, and isn't made for every patch version (KUBEBUILDER_ASSETS names an envtest folder that is there).
Nothing is taken whose published SHA-256 doesn't match, and one failed probe switches all of this off: offline it
costs a few seconds at most.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import tarfile
import tempfile
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from localplane.locks import file_lock
from localplane.tools import Tool, cache_directory, goplatform, released_path

PROBE_SECONDS = 3.0


@dataclass(frozen=True)
class Release:
    """Where a tool's release is: the file, the list of checksums, the program's name when the file is an archive."""

    url: str
    checksums: str
    member: str = ""


def release(tool: Tool) -> Release | None:
    """The published release of a tool; None where it has none for this machine."""
    system, machine = goplatform().split("/")
    if system != "linux" or machine not in ("amd64", "arm64"):
        return None
    if tool.module == "kubernetes":
        url = f"https://dl.k8s.io/release/{tool.version}/bin/linux/{machine}/{tool.name}"
        return Release(url, f"{url}.sha256")
    if tool.name == "etcd":
        base = f"https://github.com/etcd-io/etcd/releases/download/{tool.version}"
        stem = f"etcd-{tool.version}-linux-{machine}"
        return Release(f"{base}/{stem}.tar.gz", f"{base}/SHA256SUMS", f"{stem}/etcd")
    return None


class Downloads:
    """Downloads releases until the first failure."""

    def __init__(self) -> None:
        self._off = os.environ.get("HOMEPORT_NO_DOWNLOAD", "") not in ("", "0")
        self._probed: set[str] = set()

    def get(self, tool: Tool) -> Path | None:
        """The downloaded program, or None when it isn't to be had."""
        found = release(tool)
        if self._off or found is None:
            return None
        host = found.url.split("/")[2]
        if host not in self._probed and not _answers(found.checksums):
            self._off = True
            return None
        self._probed.add(host)
        target = released_path(tool)
        with file_lock(cache_directory() / "locks" / f"{tool.name}-{tool.version}-release.lock"):
            if target.exists():
                return target
            try:
                content = _verified(found)
            except (OSError, ValueError, KeyError, tarfile.TarError):
                self._off = True
                return None
            return _install(content, target)


def _answers(url: str) -> bool:
    """Whether a URL answers within the probe's time, name lookup included."""
    answered = threading.Event()

    def ask() -> None:
        # At the interpreter's end, and in tests that take the network away, urlopen may be gone: no answer either way.
        with (
            contextlib.suppress(OSError, ValueError, TypeError),
            urllib.request.urlopen(url, timeout=PROBE_SECONDS) as response,  # nosec B310 - the addresses are constants
        ):
            if response.status == 200:
                answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return answered.is_set()


def _verified(found: Release) -> bytes:
    sums = _read(found.checksums).decode()
    name = re.escape(found.url.rsplit("/", 1)[1])
    line = re.search(rf"^([0-9a-f]{{64}})(?:\s+\*?{name})?\s*$", sums, re.MULTILINE)
    if not line:
        raise ValueError(f"no checksum published for {found.url}")
    content = _read(found.url)
    if hashlib.sha256(content).hexdigest() != line.group(1):
        raise ValueError(f"{found.url} does not match its published checksum")
    if not found.member:
        return content
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        member = archive.extractfile(found.member)
        if member is None:
            raise ValueError(f"{found.url} holds no {found.member}")
        return member.read()


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as response:  # nosec B310 - likewise
        content: bytes = response.read()
        return content


def _install(content: bytes, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    Path(name).chmod(0o755)
    Path(name).rename(target)
    return target
