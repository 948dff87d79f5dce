"""What is wrong with a text."""

from __future__ import annotations


class Malformed(Exception):  # noqa: N818 - it says what the text is
    """What is wrong with a text, and on which line; 0 where that isn't known."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
