"""Notifications with the real operator: to a real HTTP receiver and a real SMTP server, across a restart, at rest."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from homes import Home, eventually, told, written

from operators import Operator
from receivers import MailServer, Receiver

pytestmark = pytest.mark.integration


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def about(receiver: Receiver, kind: str, name: str) -> list[str]:
    """The reasons that were told of an object."""
    return [e["reason"] for e in receiver.events() if (e["kind"], e["name"]) == (kind, name)]


def listen(home: Home, receiver: Receiver, **spec: Any) -> None:
    home.own("Notification", "ops", {"webhook": {"url": f"{receiver.url}/hook"}, **spec})
    home.ready("Notification", "ops")


def broken(home: Home, name: str = "shop") -> None:
    """An application that can't be carried out as it is written."""
    home.application({"name": "web", "catalog": {"name": f"no-{name}"}}, name=name)
    home.until("Application", name, "False", "InvalidSpec")


def test_what_happens_is_told_by_severity_and_noted(home: Home, receiver: Receiver) -> None:
    listen(home, receiver, events=[{"kinds": ["Application"], "severity": "Warning"}])
    home.application(name="well")
    home.ready("Application", "well")
    broken(home)
    eventually(lambda: about(receiver, "Application", "shop"), "the warning arrives")
    assert about(receiver, "Application", "shop") == ["InvalidSpec"]
    assert about(receiver, "Application", "well") == [], "that is no warning"
    eventually(lambda: home.mine("Notification", "ops")["status"].get("lastSent"), "it is noted")
    status = home.mine("Notification", "ops")["status"]
    assert status["lastSent"]["about"] == "Application shop: InvalidSpec"
    assert (status["sent"], status.get("failures", 0), status.get("dropped", 0)) == (1, 0, 0)
    (event,) = receiver.events()
    assert (event["namespace"], event["severity"]) == (home.name, "Warning")
    assert event["message"] == told(home.mine("Application"))[2]


def test_nothing_is_written_while_nothing_happens(home: Home, receiver: Receiver, audit_log: Path) -> None:
    listen(home, receiver, events=[{"kinds": ["Backup"]}])
    offset = audit_log.stat().st_size
    home.application()
    home.ready("Application", "shop")
    home.settled("Notification", "ops")
    found = written(audit_log, offset, [home.name])
    assert found["patch notifications/status"] == 1, "the token's echo"
    assert receiver.tries == 0


def test_a_receiver_that_fails_is_told_and_gets_it_later(home: Home, receiver: Receiver) -> None:
    receiver.always = 503
    listen(home, receiver, events=[{"kinds": ["Application"], "severity": "Warning"}])
    broken(home)
    home.until("Notification", "ops", "False", "NotDelivered", "127.0.0.1 answers 503")
    receiver.always = 200
    eventually(lambda: about(receiver, "Application", "shop") == ["InvalidSpec"], "it arrives after all")
    home.ready("Notification", "ops")


def test_a_new_process_tells_what_the_last_could_not(
    home: Home, receiver: Receiver, restart: Callable[[], None], operator: Operator
) -> None:
    receiver.always = 503
    listen(home, receiver, events=[{"kinds": ["Application"], "severity": "Warning"}])
    broken(home, "first")
    home.until("Notification", "ops", "False", "NotDelivered")
    restart()
    receiver.always = 200
    eventually(lambda: about(receiver, "Application", "first") == ["InvalidSpec"], "it is told")
    broken(home, "second")
    eventually(lambda: about(receiver, "Application", "second") == ["InvalidSpec"], "and what comes after")
    eventually(lambda: home.mine("Notification", "ops")["status"].get("sent", 0) >= 2, "it is noted")
    restart()
    home.settled("Notification", "ops")
    assert about(receiver, "Application", "first") == ["InvalidSpec"], "once"
    assert about(receiver, "Application", "second") == ["InvalidSpec"]


def test_a_message_to_try_it_and_what_is_missing(home: Home, receiver: Receiver) -> None:
    spec = {"slack": {"urlSecretRef": {"name": "chat", "key": "url"}, "channel": "#ops"}}
    home.own("Notification", "ops", spec)
    home.until("Notification", "ops", "False", "DependencyNotReady", "Secret chat doesn't exist beside it")
    home.secret("chat", url=f"{receiver.url}/services/T0/s3cret")
    home.ready("Notification", "ops")
    token = uuid.uuid4().hex
    home.annotate("Notification", "ops", notify_test=token)

    def tried() -> Any:
        return (home.mine("Notification", "ops")["status"].get("lastTest") or {}).get("token") == token

    eventually(tried, "it was sent")
    body = home.mine("Notification", "ops")
    assert body["status"]["lastTest"]["delivered"] is True
    assert receiver.taken[0].json["channel"] == "#ops"
    assert "s3cret" not in str(body["status"])


def test_a_mail_arrives(home: Home) -> None:
    server = MailServer()
    try:
        email = {"server": f"127.0.0.1:{server.port}", "from": "a@example.com", "to": ["b@example.com"], "tls": "None"}
        home.own("Notification", "ops", {"email": email, "events": [{"severity": "Warning"}]})
        home.ready("Notification", "ops")
        broken(home)
        eventually(lambda: server.inbox.mails, "the mail arrives")
        assert server.inbox.mails[0]["Subject"] == f"[{home.name}] Application shop: InvalidSpec"
    finally:
        server.close()


def test_a_suspended_one_tells_nobody_not_even_later(home: Home, receiver: Receiver) -> None:
    listen(home, receiver, events=[{"kinds": ["Application"]}])
    home.set("Notification", "ops", suspend=True)
    home.settled("Notification", "ops")
    broken(home, "meanwhile")
    home.set("Notification", "ops", suspend=False)
    home.ready("Notification", "ops")
    broken(home, "after")
    eventually(lambda: about(receiver, "Application", "after"), "it tells again")
    assert about(receiver, "Application", "meanwhile") == []
