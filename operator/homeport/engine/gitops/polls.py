"""One look at a repository: what all that is asked of it means now, fetched and verified. Blocks; runs in a thread.

What was found last is written beside the mirror, so that it is known after a restart while the server is down.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from homeport.drivers.git import GitFailed, Ref, history, lfs, refs, signatures, submodules
from homeport.drivers.git.checkout import MirrorCheckout
from homeport.drivers.git.mirror import Mirror
from homeport.drivers.git.refs import Target
from homeport.plan.gitops.checkout import Checkout
from homeport.plan.gitops.ranges import BadRange

REMEMBERED = "found.json"
_CHECKOUTS = 4096
"""Of each thing that is remembered of a mirror: checkouts, signatures, trees."""
MANIFESTS = (".yaml", ".yml", ".json", ".j2", ".tpl", ".env")
"""Ends of names of what is fetched before anybody asks."""
PREFETCHED = 20_000
"""Files at most that are fetched before anybody asks."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a mirror; sources that ask the same are answered by one look."""

    ref: Ref
    submodules: bool = False
    lfs: bool = False
    verify_keys: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Answer:
    """What was found. ``error`` says why not; the rest may be of a look before, then."""

    target: Target | None = None
    checkout: Checkout | None = None
    signed_by: str = ""
    at: float | None = None
    """When the server said so; seconds since the epoch."""
    error: GitFailed | None = None


class Repository:
    """A mirror, and what was found in it; its methods block, and one thread at a time is in ``look``."""

    def __init__(self, mirror: Mirror, now: Callable[[], float] = time.time) -> None:
        self.mirror = mirror
        self._now = now
        self._checkouts: dict[tuple[str, bool, bool], Checkout] = {}
        self._verified: dict[tuple[str, str, Any], str] = {}
        self._remembered: dict[str, dict[str, Any]] | None = None
        self._prefetched: dict[str, bool] = {}
        """Trees whose manifests were asked for."""

    def known(self, commit: str, asked: Asked) -> Checkout | None:
        """A checkout that was made before; reads nothing, so it is for the event loop too."""
        found = self._checkouts.get((commit, asked.submodules, asked.lfs))
        return found if found is not None and self.mirror.keeps(found.commit) else None

    def look(
        self, asked: Collection[Asked], seconds: float, paths: Mapping[Asked, Collection[str]] | None = None
    ) -> dict[Asked, Answer]:
        """Ask the server once for all of ``asked``; ``paths`` are the folders that will be read."""
        self.mirror.limits = replace(self.mirror.limits, seconds=seconds)
        failed: GitFailed | None = None
        listing: dict[str, str] = {}
        try:
            listing = self.mirror.listing([one.ref for one in asked])
        except GitFailed as error:
            failed = error
        answers = {one: self._meant(one, listing, failed) for one in asked}
        self._fetch(answers)
        found = {one: self._checked(one, answer) for one, answer in answers.items()}
        self._remember(found)
        self._prefetch(found, paths or {})
        self.mirror.used()
        return found

    def at(self, commit: str, asked: Asked, ref: str, seconds: float, verify: bool, loose: bool = False) -> Checkout:
        """A commit, from the mirror or the server; ``commit`` may be the beginning of one that is here."""
        self.mirror.limits = replace(self.mirror.limits, seconds=seconds)
        whole = self.mirror.whole(commit)
        if not self.mirror.has(whole):
            self.mirror.fetch([Target(whole, "", whole)], ref, loose)
        elif not loose:
            self.mirror.firm(whole)
        if verify and asked.verify_keys is not None:
            self._verify(whole, asked)
        return self._checkout(whole, asked)

    def also(self, name: str, checkout: Checkout, asked: Asked) -> None:
        """A checkout is known under another name, too: the beginning of its commit's id."""
        _bounded(self._checkouts)[name, asked.submodules, asked.lfs] = checkout

    def rewritten(self, old: str, new: str) -> str:
        """What is to be said when a branch moved to a commit that doesn't have the one before it in its history."""
        try:
            fine = history.descends(self.mirror, old, new)
        except GitFailed:
            return ""
        if fine is False:
            return f"history was rewritten: {new[:12]} doesn't come after {old[:12]}, which was found before"
        return ""

    # -- the parts of a look ---------------------------------------------------------------------------------------

    def _meant(self, one: Asked, listing: Mapping[str, str], failed: GitFailed | None) -> Answer:
        before = self._before(one)
        if failed is not None and not one.ref.commit:
            return replace(before, error=failed)
        try:
            target = refs.target(one.ref, listing)
        except BadRange as error:
            return replace(before, error=GitFailed(str(error), passes=False))
        if target is None:
            told = f"{self.mirror.url} has no {one.ref.shown}"
            return replace(before, error=GitFailed(told, passes=False))
        return Answer(target, at=self._now())

    def _fetch(self, answers: dict[Asked, Answer]) -> None:
        """All at once; what stands in the way of all is found by asking one by one."""
        fresh = {one: answer for one, answer in answers.items() if answer.error is None}
        targets = {answer.target for answer in fresh.values() if answer.target is not None}
        try:
            self.mirror.fetch(targets)
            return
        except GitFailed as error:
            if len(targets) == 1 or error.passes:
                for one in fresh:
                    answers[one] = replace(self._before(one), error=error)
                return
        for one, answer in fresh.items():
            assert answer.target is not None
            try:
                self.mirror.fetch([answer.target])
            except GitFailed as error:
                answers[one] = replace(self._before(one), error=error)

    def _checked(self, one: Asked, answer: Answer) -> Answer:
        """With its signature verified, and its checkout; what was found before when one of these fails."""
        if answer.target is None:
            return answer
        try:
            return self._with_checkout(one, answer)
        except GitFailed as error:
            before = self._before(one)
            if answer.error is not None or before.target is None or before.target == answer.target:
                return Answer(error=answer.error or error)
            with contextlib.suppress(GitFailed):
                return replace(self._with_checkout(one, before), error=error)
            return Answer(error=error)

    def _with_checkout(self, one: Asked, answer: Answer) -> Answer:
        assert answer.target is not None
        commit = answer.target.commit
        if answer.error is not None and not self.mirror.has(commit):
            return Answer(error=answer.error)
        signed = self._verify(commit, one) if one.verify_keys is not None else ""
        return replace(answer, checkout=self._checkout(commit, one), signed_by=signed)

    def _verify(self, commit: str, one: Asked) -> str:
        # The tag counts where a tag is what was asked for.
        tag = self.mirror.tag_object(commit) if one.ref.tag or one.ref.semver else ""
        key = (commit, tag, one.verify_keys)
        if key not in self._verified:
            signed = signatures.verified(self.mirror, commit, tag, one.verify_keys or ())
            _bounded(self._verified)[key] = signed
        return self._verified[key]

    def _checkout(self, commit: str, one: Asked) -> Checkout:
        key = (commit, one.submodules, one.lfs)
        known = self._checkouts.get(key)
        if known is None:
            make = partial(_made, large=one.lfs)
            outer = make(self.mirror, commit)
            known = submodules.follow(self.mirror, outer, make) if one.submodules else outer
            _bounded(self._checkouts)[key] = known
        return known

    def _prefetch(self, found: Mapping[Asked, Answer], paths: Mapping[Asked, Collection[str]]) -> None:
        """Bring manifests here that will be read, all in one request: each source would make one of its own."""
        blobs: set[str] = set()
        some = ""
        for one, folders in paths.items():
            checkout = found[one].checkout if one in found else None
            if isinstance(checkout, MirrorCheckout):
                some = checkout.commit
                for folder in folders:
                    with contextlib.suppress(GitFailed):
                        blobs |= self._manifests(checkout, folder)
        # What doesn't come now comes when it is read, or is told then.
        with contextlib.suppress(GitFailed):
            if 0 < len(blobs) <= PREFETCHED:
                self.mirror.fill(blobs, some)

    def _manifests(self, checkout: MirrorCheckout, folder: str) -> set[str]:
        tree = checkout.digest(folder)
        if not tree or tree in self._prefetched:
            return set()
        _bounded(self._prefetched)[tree] = True
        entries = checkout.listing(folder).items()
        return {entry.blob for path, entry in entries if entry.size is None and path.endswith(MANIFESTS)}

    # -- over a restart --------------------------------------------------------------------------------------------

    @property
    def _file(self) -> Path:
        return self.mirror.folder / REMEMBERED

    def _before(self, one: Asked) -> Answer:
        """What was found last, if anything."""
        if self._remembered is None:
            try:
                self._remembered = dict(json.loads(self._file.read_text()))
            except (OSError, ValueError):
                self._remembered = {}
        last = self._remembered.get(one.ref.shown)
        if last is None:
            return Answer()
        return Answer(Target(str(last["commit"]), str(last["name"]), str(last["object"])), at=float(last["at"]))

    def last(self, one: Asked) -> str:
        """The commit that was found last; empty for none."""
        target = self._before(one).target
        return target.commit if target is not None else ""

    def _remember(self, found: Mapping[Asked, Answer]) -> None:
        changed = False
        for one, answer in found.items():
            target = answer.target
            if target is None or answer.error is not None or self._before(one).target == target:
                continue
            assert self._remembered is not None
            self._remembered.pop(one.ref.shown, None)
            _bounded(self._remembered)[one.ref.shown] = {
                "commit": target.commit, "name": target.name, "object": target.object, "at": answer.at,
            }  # fmt: skip
            changed = True
        if changed:
            fresh = self._file.with_suffix(".new")
            with contextlib.suppress(OSError):
                fresh.write_text(json.dumps(self._remembered))
                fresh.replace(self._file)

    def let_go(self, commits: Collection[str]) -> None:
        """Keep ``commits`` and no other."""
        for key in [key for key in self._checkouts if key[0] not in commits]:
            del self._checkouts[key]
        self.mirror.prune(commits)


def _made(mirror: Mirror, commit: str, large: bool) -> MirrorCheckout:
    return MirrorCheckout(mirror, commit, partial(lfs.replaced, mirror) if large else None)


def _bounded(cache: dict[Any, Any]) -> dict[Any, Any]:
    """With room for one more: the oldest goes."""
    while len(cache) >= _CHECKOUTS:
        del cache[next(iter(cache))]
    return cache
