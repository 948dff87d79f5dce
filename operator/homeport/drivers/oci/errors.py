"""What goes wrong with images.

::

    ImageError
    ├── NoSuchImage      there is none of that name, or not for this architecture
    ├── AccessDenied     the registry wants other credentials
    ├── Unusable         it is there and can't be used: too large, of another kind, not what its digest says
    └── Unavailable      may pass: no answer, too many requests, no room here
"""

from __future__ import annotations


class ImageError(Exception):
    """The message is for people, and names the image."""


class NoSuchImage(ImageError):  # noqa: N818 - what it is
    """There is none of that name, or not for this architecture."""


class AccessDenied(ImageError):  # noqa: N818
    """The registry wants other credentials."""


class Unusable(ImageError):  # noqa: N818
    """It is there, and can't be used."""


class Unavailable(ImageError):  # noqa: N818
    """May pass; not before ``after`` seconds, if the registry says so."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after
