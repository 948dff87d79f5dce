"""Notification: who is told of what happens in a project, by which way, and how often at most."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt

from homeport.api.base import (
    ATOMIC,
    SET,
    Model,
    NameRef,
    Rule,
    SecretKeyRef,
    ShortText,
    Text,
    Token,
    interval_between,
    matches,
)
from homeport.api.status import Status

PLACES = ("time", "severity", "kind", "namespace", "name", "reason", "message")
"""What ``${…}`` in a template may name."""

NameGlob = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matches(
        r"^[-a-z0-9.*?]+$", "write an object's name: lower-case letters, digits, '-' and '.'; * and ? stand for others"
    ),
]
KindName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matches(r"^[A-Z][A-Za-z0-9]*$", "write a kind as manifests do, such as Application"),
]
ReasonName = Annotated[
    str,
    Field(min_length=1, max_length=128),
    matches(r"^[A-Z][A-Za-z0-9]*$", "write a reason as conditions do, such as HealthCheckFailed"),
]


class EventFilter(Model):
    """Events that are told of: those that fit everything that is written here."""

    kinds: Annotated[tuple[KindName, ...], Field(max_length=32), SET] = ()
    """Kinds of Homeport; absent means all."""
    names: Annotated[tuple[NameGlob, ...], Field(max_length=32), SET] = ()
    """Names, in which * and ? stand for others; absent means all."""
    severity: Literal["Info", "Warning"] = "Info"
    """The least severe that is told: Info is everything, Warning what went wrong."""
    reasons: Annotated[tuple[ReasonName, ...], Field(max_length=32), SET] = ()
    """Condition reasons; absent means all."""


class Webhook(Model):
    """Events as JSON, by POST."""

    url: Annotated[
        str,
        Field(min_length=8, max_length=1024),
        matches(
            r"^https?://[^ @/?#]+([/?][^ #]*)?$",
            "write an address such as https://hooks.example.com/homeport, without a name or a password",
        ),
    ]
    """Where it is sent to. Redirects aren't followed."""
    secret_ref: SecretKeyRef | None = None
    """What the body is signed with, by HMAC-SHA256, in the header X-Signature."""
    headers_secret_ref: NameRef | None = None
    """A Secret whose keys and values are sent as headers, such as Authorization."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.headersSecretRef) || !self.url.startsWith('http://')",
            "http would send the headers in clear text; write an address that begins with https://",
            lambda s: s.headers_secret_ref is None or not s.url.startswith("http://"),
            ".url",
        ),
    )


class Slack(Model):
    """An incoming webhook of Slack, or of what understands the same: Mattermost, Rocket.Chat, Discord (/slack)."""

    url_secret_ref: SecretKeyRef
    """The webhook's address: whoever knows it can write there, so it is a secret."""
    channel: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """The channel, where the webhook lets one choose."""


MailAddress = Annotated[
    str,
    Field(min_length=3, max_length=254),
    matches(r"^[^ @<>,;:]+@[^ @<>,;:]+$", "write a mail address such as team@example.com, without a name"),
]


class Email(Model):
    """A mail."""

    server: Annotated[
        str,
        Field(min_length=3, max_length=260),
        matches(
            r"^([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\]):[0-9]{1,5}$",
            "write the mail server's host and port, such as smtp.example.com:587",
        ),
    ]
    """The mail server, as host:port."""
    from_: MailAddress = Field(alias="from")
    """Who sends it."""
    to: Annotated[tuple[MailAddress, ...], Field(min_length=1, max_length=16), SET]
    """Who gets it."""
    tls: Literal["StartTLS", "TLS", "None"] = "StartTLS"
    """StartTLS: asked for after connecting, and required (port 587). TLS: from the first byte (port 465). None: clear
    text, without credentials only."""
    credentials_secret_ref: NameRef | None = None
    """A Secret with username and password."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.credentialsSecretRef) || self.tls != 'None'",
            "without TLS the password would go in clear text; write tls: StartTLS or TLS",
            lambda s: s.credentials_secret_ref is None or s.tls != "None",
            ".tls",
        ),
    )


class CommitStatus(Model):
    """The commit that a GitSource applies is marked on its forge: pending, success or failure."""

    source_ref: NameRef
    """The GitSource; the forge is that of its pullRequests.forge."""
    context: (
        Annotated[
            str,
            Field(min_length=1, max_length=100),
            matches(r"^[A-Za-z0-9]([-A-Za-z0-9_./ ]*[A-Za-z0-9])?$", "write letters, digits, '-', '_', '.' and '/'"),
        ]
        | None
    ) = None
    """What the status is called there; absent means homeport/<namespace>/<source>."""


class Rate(Model):
    """How often somebody is told. What is more is gathered into one message."""

    messages: Annotated[StrictInt, Field(ge=1, le=1000)] = 10
    """So many messages …"""
    per: Annotated[str, Field(min_length=2, max_length=16), interval_between("1s", "24h", "1m or 1h")] = "1m"
    """… in this time."""


class NotificationSpec(Model):
    """Who is told of what: exactly one of webhook, slack, email and commitStatus."""

    events: Annotated[tuple[EventFilter, ...], Field(min_length=1, max_length=32), ATOMIC] | None = None
    """What is told: events that fit one of these; absent means all of the project's."""
    webhook: Webhook | None = None
    """Events as JSON, by POST."""
    slack: Slack | None = None
    """A message in Slack, Mattermost and the like."""
    email: Email | None = None
    """A mail."""
    commit_status: CommitStatus | None = None
    """The status of the commit that is applied."""
    template: (
        Annotated[
            str,
            Field(min_length=1, max_length=2048),
            matches(
                rf"^([^\x24]|\x24\x24|\x24[{{]({'|'.join(PLACES)})[}}])*$",
                f"write ${{…}} with one of {', '.join(PLACES)}; $$ is a dollar sign",
            ),
        ]
        | None
    ) = None
    """An event as text, such as "${kind} ${name}: ${message}"."""
    repeat_after: Annotated[str, Field(min_length=2, max_length=16), interval_between("1s", "24h", "10m or 1h")] = "10m"
    """The same of the same object isn't told again before."""
    rate: Rate = Rate()
    """How often somebody is told at most."""
    suspend: StrictBool = False
    """True: nobody is told, not even later."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.webhook), has(self.slack), has(self.email), has(self.commitStatus)].filter(x, x).size() == 1",
            "write exactly one of webhook, slack, email and commitStatus",
            lambda s: sum(each is not None for each in (s.webhook, s.slack, s.email, s.commit_status)) == 1,
        ),
        Rule(
            "!has(self.commitStatus) || (!has(self.events) && !has(self.template))",
            "a commit's status follows its GitSource; leave events and template out",
            lambda s: s.commit_status is None or (s.events is None and s.template is None),
        ),
    )


class LastSent(Model):
    """The newest message that was taken."""

    time: ShortText
    """When."""
    events: Annotated[StrictInt, Field(ge=1)]
    """How many events it told of."""
    about: Text
    """The newest of them: kind, name and reason."""


class SentStatus(Model):
    """The commit's status that the forge has taken."""

    revision: ShortText
    """The commit."""
    state: Literal["pending", "success", "failure"]
    """Its status."""


class TestSent(Model):
    """How a message that was asked for went."""

    token: Token
    """The value of the annotation homeport.dev/notify-test that asked for it."""
    delivered: StrictBool = False
    """Whether it was taken."""
    message: Text = ""
    """Why not."""


class NotificationStatus(Status):
    """Whether whoever is to be told is told."""

    last_sent: LastSent | None = None
    """The newest message that was taken."""
    handled_until: ShortText | None = None
    """The time of the newest event that was told, or from which on events are told: a new operator goes on there."""
    handled: Annotated[tuple[ShortText, ...], Field(max_length=64), ATOMIC] = ()
    """The events of that very second that were told."""
    sent: Annotated[StrictInt, Field(ge=0)] = 0
    """How many messages were taken."""
    failures: Annotated[StrictInt, Field(ge=0)] = 0
    """How many tries have failed since the last one that was taken."""
    dropped: Annotated[StrictInt, Field(ge=0)] = 0
    """How many events were never told: there were too many, or nobody took them within an hour."""
    last_test: TestSent | None = None
    """The newest message that `homeport notify test` asked for."""
    commit_status: SentStatus | None = None
    """The commit's status that the forge has taken."""
