"""Which of an image's tags is the newest, by an ImageUpdate's policy. A function of the tags alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

import re2

from homeport.api.imageupdate import ImagePolicy, TagFilter
from homeport.plan.gitops import ranges

_NUMBER = re.compile(r"[0-9]{1,64}(?:[.][0-9]{1,64})?\Z")
_GROUP = re.compile(r"\$(?:(\$)|\{(\w+)\}|(\w+))", re.ASCII)
_MEMORY = 1 << 20
"""Bytes that one expression may take."""


class BadPolicy(ValueError):  # noqa: N818 - what is wrong
    """A policy that can't be carried out; the message says what to write."""


@dataclass(frozen=True)
class Choice:
    """The newest tag, and how many there were to choose from."""

    tag: str | None
    counted: int


def choose(policy: ImagePolicy, filter_: TagFilter | None, tags: Iterable[str]) -> Choice:
    """The newest tag; of several that are equally new the last by its name. Raises BadPolicy."""
    compared = _compared(filter_, tags)
    if policy.semver is not None:
        return _semver(policy.semver.range, compared)
    if policy.numerical is not None:
        numbers = {tag: Decimal(text) for tag, text in compared.items() if _NUMBER.match(text)}
        return Choice(_last(numbers, policy.numerical.order), len(numbers))
    assert policy.alphabetical is not None
    return Choice(_last(compared, policy.alphabetical.order), len(compared))


def _semver(text: str, compared: Mapping[str, str]) -> Choice:
    try:
        counted = [
            tag
            for tag, what in compared.items()
            if (one := ranges.version(what)) is not None and ranges.contains(text, one)
        ]
        best = ranges.highest(text, {compared[tag] for tag in counted})
    except ranges.BadRange as error:
        raise BadPolicy(str(error)) from None
    return Choice(max((tag for tag in counted if compared[tag] == best), default=None), len(counted))


def _last(compared: Mapping[str, Decimal] | Mapping[str, str], order: str) -> str | None:
    if not compared:
        return None
    end = (max if order == "asc" else min)(compared.values())
    return max(tag for tag, what in compared.items() if what == end)


def _compared(filter_: TagFilter | None, tags: Iterable[str]) -> dict[str, str]:
    """What of each tag is compared; those that don't fit the filter are left out."""
    if filter_ is None:
        return {tag: tag for tag in tags}
    options = re2.Options()
    options.max_mem, options.log_errors = _MEMORY, False
    try:
        pattern = re2.compile(filter_.pattern, options)
    except re2.error as error:
        said = error.args[0] if error.args else ""
        told = said.decode() if isinstance(said, bytes) else said
        raise BadPolicy(f"filter.pattern is no regular expression: {told}") from None
    out = {}
    for tag in tags:
        match = pattern.search(tag)
        if match is not None:
            out[tag] = tag if filter_.extract is None else _extracted(filter_.extract, match)
    return out


def _extracted(template: str, match: re2._Match) -> str:
    """The template with the match's groups; a group that there isn't is a fault, one that didn't match is empty."""

    def group(found: re.Match[str]) -> str:
        name = found[2] or found[3]
        if found[1]:
            return "$"
        try:
            return match.group(int(name) if name.isdecimal() else name) or ""
        except (IndexError, KeyError):
            raise BadPolicy(f"filter.extract names {name}, which is no group of filter.pattern") from None

    return _GROUP.sub(group, template)
