"""What the API server can answer other than yes.

::

    ApiError                     any answer of 400 and above that is none of the following
    ├── Unauthorized             401  the credentials are not accepted (any more)
    ├── Forbidden                403  RBAC or an admission policy says no
    ├── NotFound                 404  the object, its namespace or its kind isn't there
    ├── AlreadyExists            409  create of a name that is taken
    ├── Conflict                 409  a stale resourceVersion or uid, or fields of another manager (``managers``)
    ├── Gone                     410  the resourceVersion is too old to watch or page from: list again
    ├── Invalid                  422  the object breaks its schema; ``causes`` says which fields
    ├── TooManyRequests          429  slow down; ``retry_after`` seconds
    └── ServerUnavailable        5xx, no connection, no answer in time; ``outcome_unknown`` for a write
"""

# ruff: noqa: N818 - these are Kubernetes's own words for what it answers
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

SILENT = "Silent"
"""The reason of a ServerUnavailable for a watch on which nothing has come for long, which need not be a fault."""

_MANAGER = re.compile(r'conflict with "((?:[^"\\]|\\.)*)"')


class Cause(NamedTuple):
    """One of several things wrong: the field's path (".spec.replicas", may be empty), what is wrong, a reason word."""

    field: str
    message: str
    reason: str = ""


class ApiError(Exception):
    """The API server refused. ``status`` is the HTTP code (0: no answer), ``reason`` Kubernetes's word for it.

    ``message`` is the server's own sentence; ``causes`` names the fields when it does.
    """

    def __init__(self, status: int, reason: str = "", message: str = "", causes: tuple[Cause, ...] = ()) -> None:
        super().__init__(status, reason, message, causes)
        self.status = status
        self.reason = reason
        self.message = message
        self.causes = causes

    def __str__(self) -> str:
        return self.message or self.reason or f"HTTP {self.status}"


class Unauthorized(ApiError):
    """401: the credentials are not accepted."""


class Forbidden(ApiError):
    """403: RBAC or an admission policy says no; the message says which."""


class NotFound(ApiError):
    """404: the object, its namespace or its kind isn't there."""


class AlreadyExists(ApiError):
    """409 on create: the name is taken."""


class Conflict(ApiError):
    """409: a stale resourceVersion or uid, or (``managers``) fields that other field managers own."""

    @property
    def managers(self) -> tuple[str, ...]:
        """The field managers that own what a server-side apply without force wanted; empty for other conflicts."""
        found = (_MANAGER.search(cause.message) for cause in self.causes if cause.reason == "FieldManagerConflict")
        return tuple(dict.fromkeys(match[1].replace('\\"', '"') for match in found if match))


class Gone(ApiError):
    """410: the resourceVersion (or the page) has been compacted away; list again."""


class Invalid(ApiError):
    """422: the object breaks its schema or its CEL rules; ``causes`` says where."""


class TooManyRequests(ApiError):
    """429: slow down. ``retry_after`` is in seconds."""

    def __init__(
        self, status: int, reason: str = "", message: str = "", causes: tuple[Cause, ...] = (), retry_after: float = 1.0
    ) -> None:
        super().__init__(status, reason, message, causes)
        self.retry_after = retry_after


class ServerUnavailable(ApiError):
    """5xx, no connection or no answer in time. ``outcome_unknown``: it was a write that may have happened."""

    def __init__(
        self,
        status: int,
        reason: str = "",
        message: str = "",
        causes: tuple[Cause, ...] = (),
        outcome_unknown: bool = False,
    ) -> None:
        super().__init__(status, reason, message, causes)
        self.outcome_unknown = outcome_unknown


_BY_STATUS: dict[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
}


def from_status(code: int, status: Mapping[str, Any], *, retry_after: float = 1.0, write: bool = False) -> ApiError:
    """The error for HTTP ``code`` and a decoded meta/v1 Status (any mapping; missing fields are fine).

    ``retry_after`` is the header's value in seconds; ``write`` says that the request may have changed something.
    """
    reason = str(status.get("reason") or "")
    message = str(status.get("message") or f"HTTP {code}")
    details = status.get("details")
    raw = details.get("causes") if isinstance(details, dict) else None
    causes = tuple(
        Cause(str(cause.get("field", "")), str(cause.get("message", "")), str(cause.get("reason", "")))
        for cause in raw or ()
        if isinstance(cause, dict)
    )
    if code == 409 and reason == "AlreadyExists":
        return AlreadyExists(code, reason, message, causes)
    if code == 429:
        return TooManyRequests(code, reason, message, causes, retry_after)
    if code >= 500:
        return ServerUnavailable(code, reason, message, causes, outcome_unknown=write)
    return _BY_STATUS.get(code, ApiError)(code, reason, message, causes)


def from_response(code: int, body: bytes, *, retry_after: float = 1.0, write: bool = False) -> ApiError:
    """As ``from_status``, from the bytes of an answer; a proxy's HTML or plain text becomes the message, cut short."""
    try:
        status = orjson.loads(body)
    except orjson.JSONDecodeError:
        status = None
    if not isinstance(status, dict):
        text = " ".join(body[:300].decode("utf-8", "replace").split())
        status = {"message": f"HTTP {code}: {text}" if text else f"HTTP {code}"}
    return from_status(code, status, retry_after=retry_after, write=write)
