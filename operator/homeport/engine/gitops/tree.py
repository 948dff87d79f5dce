"""A commit as one build sees it: what is where, contents decrypted, and which of it was looked at."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from contextlib import ExitStack

from homeport.drivers.build import ProgramFailed, Programs, Scratch
from homeport.engine.gitops.memory import Memory
from homeport.plan.gitops import sops
from homeport.plan.gitops.build import FILE, READ, TOTAL, BuildFailed, BuildSpec
from homeport.plan.gitops.checkout import SUBMODULE, SYMLINK, Checkout, Entry
from homeport.plan.gitops.detect import parent, symlink

SMALL = 256 * 1024
"""Bytes of a file that is kept after it was read."""


class Tree:
    """One commit, for one build. ``memory`` holds contents by blob."""

    def __init__(self, checkout: Checkout, spec: BuildSpec, programs: Programs, memory: Memory[bytes]) -> None:
        self._checkout = checkout
        self._spec = spec
        self._programs = programs
        self._memory = memory
        self._entries: dict[str, Entry] = {}
        self._folders: set[str] = set()
        self._loaded: set[str] = set()
        self._read: set[str] = set()
        self._total = 0
        self.secret: set[str] = set()
        """The files that were encrypted."""
        self.keys = _fingerprint(spec.keys)

    def listing(self, folder: str) -> Mapping[str, Entry]:
        """All files below a folder."""
        self._load(folder)
        if self._loaded == {folder}:
            return self._entries
        start = f"{folder}/" if folder else ""
        return {path: entry for path, entry in self._entries.items() if path.startswith(start)}

    def entry(self, path: str) -> Entry | None:
        """What is there, if it isn't a folder."""
        self._load(parent(path))
        return self._entries.get(path)

    def is_folder(self, path: str) -> bool:
        """Whether something is below it."""
        self._load(path)
        return path in self._folders

    def digests(self) -> dict[str, str]:
        """Every folder that was looked at, and its digest: when they are the same, so is the build."""
        return {folder: self._checkout.digest(folder) for folder in sorted(self._loaded)}

    def blob(self, path: str) -> str:
        """What tells a file's content from any other."""
        blob = self._entries[path].blob
        # The blob is the pointer's, whichever of the two is read.
        return f"{blob}+lfs" if self._spec.lfs else blob

    def _load(self, folder: str) -> None:
        above = folder
        while above not in self._loaded:
            if not above:
                break
            above = parent(above)
        else:
            return
        found = self._checkout.listing(folder)
        self._loaded.add(folder)
        self._entries.update(found)
        new: set[str] = {folder} if found else set()
        for path in found:
            where = parent(path)
            while where not in new:
                new.add(where)
                where = parent(where)
        self._folders |= new

    # --- contents -----------------------------------------------------------------------------------------------------

    def read(self, paths: Collection[str]) -> dict[str, bytes]:
        """Contents, decrypted. Raises BuildFailed, CheckoutFailed."""
        out: dict[str, bytes] = {}
        missing = []
        for path in dict.fromkeys(paths):
            self._allowed(path)
            held = self._memory.get(("file", self.blob(path)))
            if held is None:
                missing.append(path)
            else:
                out[path] = held
        if missing:
            for path, content in self._checkout.read(missing).items():
                self._bounded(path, len(content))
                out[path] = content
                if len(content) <= SMALL:
                    self._memory.put(("file", self.blob(path)), content, len(content))
        return {path: self._decrypted(path, out[path]) for path in out}

    def _allowed(self, path: str) -> None:
        entry = self._entries[path]
        if entry.mode == SYMLINK:
            raise symlink(path)
        if entry.mode == SUBMODULE:
            raise BuildFailed(f"{path} is a submodule; write submodules: true to have it fetched")
        # Before it is fetched, where its size is known.
        self._bounded(path, entry.size or 0)
        if path not in self._read:
            self._read.add(path)
            self._total += entry.size or 0
        if len(self._read) > READ:
            raise BuildFailed(f"{path}: more than {READ} files would be read; {READ} are allowed")
        if self._total > TOTAL:
            raise BuildFailed(f"{path}: more than {TOTAL // 1024**2} MiB would be read; use several sources")

    def _bounded(self, path: str, size: int) -> None:
        if size > FILE:
            told = f"this is {size / 1024**2:.1f} MiB; {FILE // 1024**2} MiB are allowed"
            raise BuildFailed(f"{path}: {told}; split it, or name it in .homeport-ignore")

    def _decrypted(self, path: str, content: bytes) -> bytes:
        if not sops.encrypted(content):
            return content
        self.secret.add(path)
        if self._spec.keys is None and self._spec.sealed:
            return content
        if self._spec.keys is None:
            raise BuildFailed(sops.locked(path, content))
        key = "plain", self.blob(path), self.keys, sops.kind_of(path)
        held = self._memory.get(key)
        if held is None:
            held = self._open(path, content)
            self._memory.put(key, held, len(held))
        return held

    def _open(self, path: str, content: bytes) -> bytes:
        identities = sops.identities(self._spec.keys or {})
        if not identities:
            raise BuildFailed(
                f"{path}: the Secret of decryption.keySecretRef holds no age key; put one there, such as age.agekey"
            )
        kind = sops.kind_of(path)
        with ExitStack() as stack:
            scratch = stack.enter_context(Scratch(private=True))
            # A file that has no name: the keys are in memory, and nobody finds them by a path.
            keys = os.memfd_create("keys") if hasattr(os, "memfd_create") else -1
            if keys < 0:
                raise BuildFailed(f"{path}: encrypted files are read on Linux only")
            stack.callback(os.close, keys)
            os.write(keys, identities + b"\n")
            try:
                return self._programs.run(
                    "sops",
                    ["decrypt", "--input-type", kind, "--output-type", kind, "/dev/stdin"],
                    scratch,
                    given=content,
                    environment={"SOPS_AGE_KEY_FILE": f"/dev/fd/{keys}"},
                    passed=[keys],
                    seconds=self._spec.timeout,
                )
            except ProgramFailed as error:
                raise BuildFailed(_why(path, content, error), error.passes) from None


def _why(path: str, content: bytes, error: ProgramFailed) -> str:
    said = str(error)
    if "isn't there" in said or "takes" in said:
        return f"{path}: sops: {said}"
    return sops.refused(path, content, said)


def _fingerprint(keys: Mapping[str, bytes] | None) -> str:
    """What tells keys from other ones; it stays in this process."""
    if not keys:
        return ""
    return hashlib.sha256(repr(sorted(keys.items())).encode()).hexdigest()
