"""What the output of a check has to be: ``>0``, ``>=10``, ``==3``, ``=text``, ``~regular expression``. Pure."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

from homeport.runner.result import Failure, Reason

_NUMBERS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt,
}  # fmt: skip


def problem(expected: str, output: str) -> str:
    """Why the output isn't what was expected; empty when it is. Raises Failure for an expectation that isn't one."""
    text, said = output.strip(), expected.strip()
    if not said:
        return ""
    for sign, holds in _NUMBERS.items():
        if said.startswith(sign):
            bound = _number(said.removeprefix(sign))
            if bound is None:
                raise Failure(
                    Reason.INVALID_JOB, f"check.expect: {said!r} has no number after {sign}; for text write =TEXT"
                )
            found = _number(text)
            if found is None:
                return f"the check printed {_short(text)}, and a number {said} is expected"
            return "" if holds(found, bound) else f"the check printed {_short(text)}, and {said} is expected"
    if said.startswith("~"):
        try:
            fits = re.search(said[1:], text) is not None
        except re.error as error:
            raise Failure(
                Reason.INVALID_JOB, f"check.expect: {said[1:]!r} isn't a regular expression: {error}"
            ) from None
        return "" if fits else f"the check printed {_short(text)}, which {said[1:]!r} doesn't match"
    if said.startswith("="):
        return "" if text == said[1:].strip() else f"the check printed {_short(text)}, and {said[1:]!r} is expected"
    raise Failure(Reason.INVALID_JOB, f"check.expect: {said!r}; write >0, >=10, ==3, !=0, =text or ~regular expression")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _short(text: str) -> str:
    return repr(text if len(text) <= 100 else text[:100] + "…") if text else "nothing"
