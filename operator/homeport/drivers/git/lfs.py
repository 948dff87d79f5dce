"""Files kept by Git LFS: pointers in the repository are replaced by what they point to, asked of the same server.

The server's batch API says where each content is; what came is held against the pointer's size and SHA-256, and kept
with the mirror. ``.lfsconfig``, which the repository's writers write, isn't read.

Source: https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md and docs/spec.md
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from homeport.drivers.git.mirror import Mirror
from homeport.drivers.git.types import MIB, GitFailed

_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:ext-.*\n)*oid sha256:([0-9a-f]{64})\nsize ([0-9]{1,15})\n"
)
_TYPE = "application/vnd.git-lfs+json"
_TIMEOUT = 15.0
_ANSWER = 8 * MIB
"""Bytes that are read of what the batch API answers."""


@dataclass(frozen=True)
class Pointer:
    """What stands in the repository for a large file."""

    oid: str
    size: int


def pointer(content: bytes) -> Pointer | None:
    """What a file points to; None for one that is no pointer."""
    found = _POINTER.fullmatch(content) if len(content) < 1024 else None
    return Pointer(found[1].decode(), int(found[2])) if found else None


def replaced(mirror: Mirror, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """``files`` with the pointers among them replaced by what they point to. Raises GitFailed."""
    pointers = {path: found for path, content in files.items() if (found := pointer(content)) is not None}
    if not pointers:
        return dict(files)
    limits, total = mirror.limits, 0
    for path, one in pointers.items():
        total += one.size
        if one.size > limits.file or total > limits.total:
            told = f"{path} has {one.size / MIB:.1f} MiB in LFS; {limits.file // MIB} MiB are allowed for a file"
            raise GitFailed(f"{mirror.url}: {told}, {limits.total // MIB} MiB for all", passes=False)
    folder = mirror.folder / "lfs"
    missing = {one.oid: one for one in pointers.values() if not (folder / one.oid).exists()}
    if missing:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _fetch(mirror, folder, missing)
    return {**files, **{path: (folder / one.oid).read_bytes() for path, one in pointers.items()}}


def _fetch(mirror: Mirror, folder: Path, missing: Mapping[str, Pointer]) -> None:
    if not mirror.url.startswith(("https://", "http://")):
        raise GitFailed(f"{mirror.url}: LFS is read over https only; write an https address", passes=False)
    with _client(mirror) as client:
        body = {
            "operation": "download",
            "transfers": ["basic"],
            "objects": [{"oid": one.oid, "size": one.size} for one in missing.values()],
        }
        address = f"{mirror.url.removesuffix('/').removesuffix('.git')}.git/info/lfs/objects/batch"
        headers = {"Accept": _TYPE, "Content-Type": _TYPE, **_bearer(mirror)}
        options = {**_options(mirror), "stream": True}
        with client.post(address, json=body, auth=_basic(mirror), headers=headers, **options) as answer:
            _well(mirror, answer, "its LFS server")
            listed = _json(mirror, answer)
        for entry in listed:
            one = missing.get(str(entry.get("oid")))
            if one is not None:
                _one(mirror, client, folder, one, entry)
    gone = [oid for oid in missing if not (folder / oid).exists()]
    if gone:
        raise GitFailed(f"{mirror.url}: its LFS server doesn't tell where {gone[0][:12]} is", passes=False)


def _one(mirror: Mirror, client: requests.Session, folder: Path, one: Pointer, entry: Mapping[str, Any]) -> None:
    action = (entry.get("actions") or {}).get("download") or {}
    href = str(action.get("href") or "")
    if not href.startswith(("https://", "http://")) or (mirror.url.startswith("https") and href.startswith("http:")):
        why = (entry.get("error") or {}).get("message") or "it names no address over https"
        raise GitFailed(f"{mirror.url}: its LFS server has no {one.oid[:12]}: {str(why)[:200]}", passes=False)
    # The server's own words say how to log in there; ours go to nobody but the repository's server.
    headers = {str(name): str(value) for name, value in (action.get("header") or {}).items()}
    with client.get(href, headers=headers, stream=True, **_options(mirror)) as answer:
        _well(mirror, answer, f"LFS object {one.oid[:12]}")
        digest, size, until = hashlib.sha256(), 0, time.monotonic() + mirror.limits.seconds
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            try:
                for chunk in answer.iter_content(65536):
                    size += len(chunk)
                    digest.update(chunk)
                    if size > one.size:
                        break
                    if time.monotonic() > until:
                        told = f"LFS object {one.oid[:12]} took longer than {mirror.limits.seconds:g} s"
                        raise GitFailed(f"{mirror.url}: {told}", passes=True)
                    file.write(chunk)
                if size != one.size or digest.hexdigest() != one.oid:
                    told = f"LFS object {one.oid[:12]} isn't what its pointer says (size or SHA-256 differ)"
                    raise GitFailed(f"{mirror.url}: {told}", passes=False)
                os.replace(file.name, folder / one.oid)  # noqa: PTH105 - whole or not at all
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise


@contextmanager
def _client(mirror: Mirror) -> Iterator[requests.Session]:
    with requests.Session() as client, tempfile.TemporaryDirectory(prefix="homeport-lfs-") as folder:
        client.trust_env = False
        client.proxies = requests.utils.get_environ_proxies(mirror.url)
        if mirror.credentials.ca:
            path = Path(folder, "ca.crt")
            path.write_text(mirror.credentials.ca)
            client.verify = str(path)
        try:
            yield client
        except requests.RequestException as error:
            raise GitFailed(f"{mirror.url}: its LFS server can't be read: {type(error).__name__}", True) from None


def _options(mirror: Mirror) -> dict[str, Any]:
    return {"timeout": min(_TIMEOUT, mirror.limits.seconds), "allow_redirects": False}


def _basic(mirror: Mirror) -> tuple[str, str] | None:
    known = mirror.credentials
    return (known.username, known.password) if known.password else None


def _bearer(mirror: Mirror) -> dict[str, str]:
    token = mirror.credentials.token
    return {"Authorization": f"Bearer {token}"} if token and mirror.url.startswith("https://") else {}


def _well(mirror: Mirror, answer: requests.Response, what: str) -> None:
    if answer.status_code != 200:
        told = f"{what} answers {answer.status_code}"
        if answer.status_code in (301, 302, 303, 307, 308):
            told = f"{what} redirects elsewhere, which isn't followed"
        raise GitFailed(f"{mirror.url}: {told}", passes=answer.status_code >= 500 or answer.status_code == 429)


def _json(mirror: Mirror, answer: requests.Response) -> list[Mapping[str, Any]]:
    try:
        found = json.loads(answer.raw.read(_ANSWER, decode_content=True)).get("objects")
        return [entry for entry in found if isinstance(entry, Mapping)]
    except (ValueError, AttributeError, TypeError):
        raise GitFailed(f"{mirror.url}: what its LFS server answers can't be read", passes=True) from None
