"""Whether a delivery of a forge is what it says to be: its signature, its age, and whether it was seen before. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qs

TOLERANCE = 300.0
"""Seconds that a signed time may be off, as in https://github.com/standard-webhooks/standard-webhooks."""
_SIGNING = "whsec_"


class About(StrEnum):
    """What a delivery tells of."""

    PUSH = "push"
    PULL = "pull"
    OTHER = "other"


@dataclass(frozen=True)
class Delivery:
    """One that was signed well."""

    about: About
    branch: str
    """The branch of a push; empty for a tag, and when it isn't said."""
    ids: tuple[str, ...]
    """What it is known by when it comes again."""


class Refused(Exception):  # noqa: N818 - what happens to the delivery
    """Not what it says to be; the message is for the forge's log of deliveries, and tells nothing of the secret."""


_PUSHES = {"push", "create", "delete", "push hook", "tag push hook"}
_PULLS = {
    "pull_request", "pull_request_label", "pull_request_sync", "pull_request_comment", "issue_comment", "label",
    "issues",     "merge request hook", "note hook",
}  # fmt: skip


def checked(headers: Mapping[str, str], body: bytes, secret: bytes, now: float) -> Delivery:
    """The delivery, if its signature holds. Raises Refused. ``now`` is in seconds since the epoch.

    Sources: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries,
    https://docs.gitlab.com/user/project/integrations/webhooks/ (secret token; signing token),
    https://docs.gitea.com/usage/webhooks
    """
    ids: tuple[str, ...]
    if "webhook-signature" in headers:
        ids = (_standard(headers, body, secret, now),)
        event = headers.get("X-Gitlab-Event", "")
    elif "X-Gitea-Signature" in headers:
        _same(hmac.new(secret, body, hashlib.sha256).hexdigest(), headers["X-Gitea-Signature"])
        ids, event = _ids(headers.get("X-Gitea-Delivery", ""), body), headers.get("X-Gitea-Event", "")
    elif "X-Hub-Signature-256" in headers:
        _same("sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest(), headers["X-Hub-Signature-256"])
        ids, event = _ids(headers.get("X-GitHub-Delivery", ""), body), headers.get("X-GitHub-Event", "")
    elif "X-Gitlab-Token" in headers:
        _same(secret.decode(errors="surrogateescape"), headers["X-Gitlab-Token"])
        # Whoever sees one has the token: there is nothing that a copy could be told by but its number.
        number = headers.get("Idempotency-Key") or headers.get("X-Gitlab-Event-UUID", "")
        ids, event = (number,) if number else (), headers.get("X-Gitlab-Event", "")
    else:
        raise Refused("it isn't signed; write the secret into the webhook's settings")
    return _read(event.lower(), headers, body, ids)


def _same(ours: str, theirs: str) -> None:
    if not hmac.compare_digest(ours.encode(errors="surrogateescape"), theirs.encode(errors="surrogateescape")):
        raise Refused("its signature isn't made with the secret of spec.webhook")


def _ids(number: str, body: bytes) -> tuple[str, ...]:
    """The number isn't signed, the body is: a copy under another number is still a copy."""
    digest = hashlib.sha256(body).hexdigest()
    return (number, digest) if number else (digest,)


def _standard(headers: Mapping[str, str], body: bytes, secret: bytes, now: float) -> str:
    """Standard Webhooks, which GitLab's signing tokens follow: the number and the time are signed, too."""
    number, moment = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    key = secret
    if secret.startswith(_SIGNING.encode()):
        try:
            key = base64.b64decode(secret[len(_SIGNING) :], validate=True)
        except binascii.Error:
            raise Refused("the secret begins with whsec_ and isn't base64 after that") from None
    signed = hmac.new(key, f"{number}.{moment}.".encode() + body, hashlib.sha256).digest()
    ours = "v1," + base64.b64encode(signed).decode()
    given = headers["webhook-signature"].split()
    if not any(hmac.compare_digest(ours.encode(), one.encode(errors="surrogateescape")) for one in given[:8]):
        raise Refused("its signature isn't made with the secret of spec.webhook")
    if not moment.isdecimal() or abs(now - int(moment)) > TOLERANCE:
        raise Refused("it was signed more than five minutes ago, or the clocks differ by that")
    return number


def _read(event: str, headers: Mapping[str, str], body: bytes, ids: tuple[str, ...]) -> Delivery:
    about = About.PUSH if event in _PUSHES else About.PULL if _is_pull(event) else About.OTHER
    branch = ""
    if about is About.PUSH and event.startswith("push"):
        ref = str(_document(headers, body).get("ref") or "")
        branch = ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else ""
    return Delivery(about, branch, ids)


def _is_pull(event: str) -> bool:
    return event in _PULLS or event.startswith("pull_request")


def _document(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The body as JSON; GitHub and Gitea can send it as a form, too."""
    if headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
        body = (parse_qs(body.decode(errors="replace")).get("payload") or [""])[0].encode()
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class Seen:
    """Deliveries that came already: the newest ``size`` of them."""

    def __init__(self, size: int = 1024) -> None:
        self._size = size
        self._known: OrderedDict[str, None] = OrderedDict()

    def repeats(self, ids: tuple[str, ...]) -> bool:
        """Whether one of these came before; from now on all of them have."""
        before = any(one in self._known for one in ids)
        for one in ids:
            self._known[one] = None
            self._known.move_to_end(one)
        while len(self._known) > self._size:
            self._known.popitem(last=False)
        return before
