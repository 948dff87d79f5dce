"""What goes wrong with a forge."""

from __future__ import annotations


class ForgeFailed(Exception):  # noqa: N818 - what the forge said
    """The message is for people. ``passes``: whether asking again may help without anybody changing a thing;
    ``after``: not before that many seconds. ``code`` is HTTP's, 0 without an answer."""

    def __init__(self, message: str, *, passes: bool, after: float = 0.0, code: int = 0) -> None:
        super().__init__(message)
        self.passes = passes
        self.after = after
        self.code = code
