"""Messages: a batch as JSON for a webhook, as text for a channel, and as a mail. Nothing in them is markup."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from homeport.api import conditions
from homeport.api.conditions import ConditionType
from homeport.plan.notify.happenings import Happening
from homeport.plan.notify.outbox import Batch

TEMPLATE = "${severity}: ${kind} ${namespace}/${name}: ${reason}: ${message}"
SHOWN = 20
"""Events that are written out for people; programs get all."""
COLOURS = {"Warning": "#d93f0b", "Info": "#2da44e"}
_PLACE = re.compile(r"\$(?:\$|\{([a-z]+)\})")
_CALLS = re.compile(r"@(?=all\b|channel\b|here\b|everyone\b)", re.IGNORECASE)


@dataclass(frozen=True)
class Mail:
    """A mail, without who gets it."""

    subject: str
    text: str
    id: str


def line(happening: Happening, template: str | None) -> str:
    """One event as text."""
    values = asdict(happening)
    return _PLACE.sub(lambda found: str(values[found[1]]) if found[1] else "$", template or TEMPLATE)


def batch_id(batch: Batch) -> str:
    """The same for the same events, however often they are sent: who was told twice can tell."""
    return hashlib.sha256("\n".join(one.id for one in batch.happenings).encode()).hexdigest()[:32]


def text(batch: Batch, template: str | None) -> str:
    """The newest events in lines; what is more is counted."""
    shown = batch.happenings[-SHOWN:]
    left = batch.happenings[: -len(shown)]
    lines = []
    if left:
        counts = Counter((one.severity, one.kind, one.reason) for one in left)
        told = ", ".join(f"{count} × {kind} {reason}" for (_, kind, reason), count in counts.most_common(5))
        lines.append(f"{len(left)} more before: {told}{', …' if len(counts) > 5 else ''}")
    lines += [line(one, template) for one in shown]
    if batch.dropped:
        lines.append(f"{batch.dropped} events before were never told: there were too many, or nobody took them")
    return "\n".join(lines)


def payload(batch: Batch, project: str, sent_at: str, template: str | None) -> dict[str, Any]:
    """What a webhook gets."""
    return {
        "id": batch_id(batch),
        "sentAt": sent_at,
        "project": project,
        "text": text(batch, template),
        "dropped": batch.dropped,
        "events": [asdict(one) for one in batch.happenings],
    }


def slack(batch: Batch, channel: str | None, template: str | None) -> dict[str, Any]:
    """What an incoming webhook of Slack takes. Nobody is called by what an object's message says.

    Source: https://docs.slack.dev/messaging/formatting-message-text (escaping), https://docs.slack.dev/reference/messaging/attachments
    """
    said = text(batch, template).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    said = _CALLS.sub("@\u200b", said)
    worst = "Warning" if any(one.severity == "Warning" for one in batch.happenings) else "Info"
    body: dict[str, Any] = {
        "text": "",
        "attachments": [{"color": COLOURS[worst], "text": said, "fallback": said.splitlines()[-1], "mrkdwn_in": []}],
    }
    return {**body, "channel": channel} if channel else body


def mail(batch: Batch, project: str, template: str | None) -> Mail:
    """Subject and text."""
    newest = batch.happenings[-1]
    subject = newest.about
    if len(batch.happenings) > 1:
        warnings = sum(one.severity == "Warning" for one in batch.happenings)
        subject = f"{len(batch.happenings)} events" + (f", {warnings} of them warnings" if warnings else "")
    return Mail(" ".join(f"[{project}] {subject}".split())[:200], text(batch, template) + "\n", batch_id(batch))


def commit_state(status: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """(commit, pending or success or failure, why) of a GitSource; None before it has read a commit."""
    _, _, commit = str(status.get("lastAttemptedRevision") or "").rpartition(":")
    if not commit:
        return None
    state, reason, message = conditions.ready(status) or ("Unknown", "", "")
    stalled = any(entry.get("type") == ConditionType.STALLED for entry in status.get("conditions") or ())
    word = "success" if state == "True" else "failure" if stalled else "pending"
    return commit, word, f"{reason}: {message}"
