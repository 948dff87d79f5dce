"""What goes wrong when somebody is to be told."""

from __future__ import annotations


class NotDelivered(Exception):  # noqa: N818 - it says what became of a message
    """The message is for people, and holds nothing secret. ``passes``: whether trying again may help without anybody
    changing a thing; ``after``: not before that many seconds."""

    def __init__(self, message: str, *, passes: bool, after: float = 0.0) -> None:
        super().__init__(message)
        self.passes = passes
        self.after = after
