"""Quantities as the API server writes them: ``0.5`` is stored as ``500m``, ``1024Mi`` as ``1Gi``, ``1000`` as ``1k``.

The diff compares what is declared with what is stored, so everything is declared in the stored form.
Source: https://pkg.go.dev/k8s.io/apimachinery/pkg/api/resource#Quantity (the canonical form)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal, localcontext
from functools import lru_cache

_QUANTITY = re.compile(r"^([+-]?(?:[0-9]+(?:[.][0-9]*)?|[.][0-9]+))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]{1,2}))?$")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_NANO = 10**9


@lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[int, str]:
    """``text`` in units of 10^-9 (smaller parts are rounded up, as the API server does) and its family of suffixes."""
    match = _QUANTITY.match(text)
    if match is None:
        raise ValueError(f"{text!r} isn't a quantity; write one such as 500m, 2, 512Mi or 10Gi")
    number, suffix, exponent = match.groups()
    with localcontext() as context:
        context.prec = 64
        value = Decimal(number) * _NANO
        if exponent is not None:
            value, family = value.scaleb(int(exponent)), "exponent"
        elif suffix and suffix.endswith("i"):
            value, family = value * 1024 ** _BINARY.index(suffix), "binary"
        else:
            value, family = value.scaleb(_DECIMAL[suffix or ""]), "decimal"
        return int(value.to_integral_value(ROUND_CEILING)), family


def _format(nanos: int, family: str) -> str:
    if nanos == 0:
        return "0"
    if family == "binary" and nanos % _NANO == 0 and abs(nanos) >= 1024 * _NANO:
        number, power = nanos // _NANO, 0
        while number % 1024 == 0 and power < len(_BINARY) - 1:
            number, power = number // 1024, power + 1
        return f"{number}{_BINARY[power]}"
    number, scale = nanos, -9
    while number % 1000 == 0 and (scale < 18 or family == "exponent"):
        number, scale = number // 1000, scale + 3
    if family == "exponent":
        return f"{number}e{scale}" if scale else str(number)
    return f"{number}{_DECIMAL_SUFFIX[scale]}"


@lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """``text`` in the form in which the API server stores it. Raises ValueError when it isn't a quantity."""
    return _format(*_parse(text))


def nanos(text: str) -> int:
    """``text`` as a number that can be compared, in units of 10^-9."""
    return _parse(text)[0]


@lru_cache(maxsize=1024)
def times(text: str, factor: int) -> str:
    """``factor`` times ``text``, in its own family of suffixes."""
    value, family = _parse(text)
    return _format(value * factor, family)


def least(first: str, second: str) -> str:
    """The smaller of two quantities."""
    return first if nanos(first) <= nanos(second) else second


def most(first: str, second: str) -> str:
    """The larger of two quantities."""
    return second if nanos(first) < nanos(second) else first


def canonical_map(quantities: Mapping[str, object]) -> dict[str, str]:
    """Every value of ``quantities`` in canonical form; numbers are accepted, as in YAML."""
    return {name: canonical(str(value)) for name, value in quantities.items()}
