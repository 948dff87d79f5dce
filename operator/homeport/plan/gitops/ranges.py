"""Ranges of versions, in the syntax that users of Flux and Helm know (Masterminds' semver).

| range | means |
| --- | --- |
| `1.4.2`, `=1.4.2` | this version |
| `>=1.4.0 <2.0.0`, `>=1.4.0, <2.0.0` | both hold |
| `<1.0.0 \\|\\| >=2.0.0` | one of them holds |
| `!=1.4.1` | any other |
| `1.4.x`, `1.4.*`, `1.4` | `>=1.4.0 <1.5.0` |
| `*` | any |
| `~1.4.2`, `~>1.4.2` | `>=1.4.2 <1.5.0`; `~1` is `>=1.0.0 <2.0.0` |
| `^1.4.2` | `>=1.4.2 <2.0.0`; `^0.4.2` is `>=0.4.2 <0.5.0`; `^0.0.2` is `0.0.2` |
| `1.2 - 1.4.5` | `>=1.2 <=1.4.5` |

A pre-release (`1.5.0-rc.1`) is in a range only when one of the parts that must hold together names one: `>=1.4.0-0`
takes them, `>=1.4.0` doesn't. Versions may begin with a `v`. Build metadata doesn't count, save to tell equals apart.

Source: https://github.com/Masterminds/semver (README, "Checking Version Constraints"); written anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from semver import Version

_NUMBER = r"(?:0|[1-9][0-9]*|[xX*])"
_VERSION = (
    rf"v?({_NUMBER})(?:\.({_NUMBER}))?(?:\.({_NUMBER}))?"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)
_PART = re.compile(rf"\s*(!=|>=|=>|<=|=<|~>|~|\^|=|>|<)?\s*({_VERSION})(?=$|[\s,])")
_HYPHEN = re.compile(rf"\s*({_VERSION})\s+-\s+({_VERSION})\s*")
_LIMIT = 512
"""Characters of a range."""


class BadRange(ValueError):  # noqa: N818 - what is wrong
    """A range that can't be read; the message says what to write."""


@dataclass(frozen=True)
class _Part:
    """One thing that must hold. ``pre``: whether it names a pre-release."""

    holds: Callable[[Version], bool]
    pre: bool


def version(text: str) -> Version | None:
    """A version, with or without a leading ``v``; None when it isn't one with all of its three numbers."""
    try:
        return Version.parse(text.removeprefix("v"))
    except (ValueError, TypeError):
        return None


def contains(text: str, one: Version) -> bool:
    """Whether a range holds a version. Raises BadRange."""
    for together in parsed(text):
        if one.prerelease and not any(part.pre for part in together):
            continue
        if all(part.holds(one) for part in together):
            return True
    return False


def highest(text: str, names: Iterable[str]) -> str | None:
    """The name (of a tag) with the highest version in a range; names that are no versions don't count.

    Of versions that differ in build metadata only, and of ``v1.0.0`` beside ``1.0.0``, the last by name.
    Raises BadRange.
    """
    parsed(text)
    best: tuple[Version, str] | None = None
    for name in names:
        one = version(name)
        if one is None or not contains(text, one):
            continue
        if best is None or (order := one.compare(best[0])) > 0 or (order == 0 and name > best[1]):
            best = one, name
    return best[1] if best else None


@lru_cache(maxsize=1024)
def parsed(text: str) -> tuple[tuple[_Part, ...], ...]:
    """Alternatives, and in each what must hold together. Raises BadRange."""
    if len(text) > _LIMIT:
        raise BadRange(f"a range of versions is at most {_LIMIT} characters long")
    return tuple(_together(one, text) for one in text.split("||"))


def _together(text: str, whole: str) -> tuple[_Part, ...]:
    hyphen = _HYPHEN.fullmatch(text)
    if hyphen:
        groups = hyphen.groups()
        return _part(">=", groups[1:6]), _part("<=", groups[7:12])
    found, place = [], 0
    while place < len(text):
        match = _PART.match(text, place)
        if match is None:
            break
        found.append(_part(match[1] or "", match.groups()[2:]))
        place = match.end()
        rest = text[place:].lstrip()
        if rest.startswith(","):
            place = len(text) - len(rest) + 1
        elif not rest:
            place = len(text)
    if not found or text[place:].strip() or text.rstrip().endswith(","):
        raise BadRange(f"{whole!r} is no range of versions; write such as >=1.4.0 <2.0.0, 1.4.x, ~1.4.2 or ^1.4.2")
    return tuple(found)


def _part(operator: str, groups: tuple[str | None, ...]) -> _Part:
    given = [group for group in groups[:3] if group is not None]
    numbers: list[int] = []
    for group in given:
        if group in ("x", "X", "*"):
            break
        numbers.append(int(group))
    pre, exact = groups[3] or "", len(numbers) == 3
    low = _version(numbers, pre)
    return _Part(_check(operator, low, numbers, exact), bool(pre))


def _check(operator: str, low: Version, numbers: list[int], exact: bool) -> Callable[[Version], bool]:
    """``numbers`` are those that were written; what they leave open is open."""
    if not numbers:
        # A star: everything is at least and at most that, and nothing is more, less, or something else.
        return lambda one: operator not in (">", "<", "!=")
    top = _next(low, len(numbers))
    match operator:
        case ">=" | "=>":
            return lambda one: one >= low
        case "<":
            return lambda one: one < low
        case ">":
            return (lambda one: one > low) if exact else (lambda one: one >= top)
        case "<=" | "=<":
            return (lambda one: one <= low) if exact else (lambda one: one < top)
        case "!=":
            return (lambda one: one.compare(low) != 0) if exact else (lambda one: not low <= one < top)
        case "~" | "~>":
            end = _next(low, min(2, len(numbers)))
            # Masterminds' own exception: every version is about 0.0.0.
            return lambda one: low <= one and (one < end or numbers == [0, 0, 0])
        case "^":
            end = _caret(low, numbers)
            return lambda one: low <= one < end
    return (lambda one: one.compare(low) == 0) if exact else (lambda one: low <= one < top)


def _next(low: Version, count: int) -> Version:
    """The lowest pre-release after all that begin with the first ``count`` numbers of ``low``."""
    numbers = [low.major, low.minor, low.patch][:count]
    numbers[-1] += 1
    return _version(numbers, "0")


def _version(numbers: list[int], pre: str) -> Version:
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return Version(major, minor, patch, pre or None)


def _caret(low: Version, numbers: list[int]) -> Version:
    """Up to a change of the first number that isn't zero; of the last that was written when all are."""
    for place, number in enumerate(numbers, 1):
        if number:
            return _next(low, place)
    return _next(low, len(numbers))
