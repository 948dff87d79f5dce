"""Messages on their real ways: HTTP and SMTP servers on loopback, which an administrator has allowed or not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fakepve.certs import make_cert

from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource, parse
from homeport.drivers.forge import ForgeFailed
from homeport.drivers.notify import Guard, Http, NotDelivered
from homeport.engine.gitops.forgeplaces import Place
from homeport.engine.notify.commitstatus import CommitStatuses, Mark
from homeport.engine.notify.notices import Notices
from homeport.engine.notify.ways import SecretMissing, Way, Ways, named, way
from homeport.outcome import Stalled, Transient
from homeport.plan.gitops.pulls import Status
from homeport.plan.notify.happenings import Happening
from homeport.plan.notify.outbox import Batch
from receivers import MailServer, Receiver

NOW = datetime(2026, 11, 21, 18, 0, 5, tzinfo=UTC)
LOCAL = ["127.0.0.0/8"]


def happened(number: int = 1, reason: str = "HealthCheckFailed") -> Happening:
    time = f"2026-11-21T18:00:{number % 60:02}Z"
    return Happening(
        f"shop/web.{number}", time, "Warning", "Application", "shop", "web", "u1", reason, f"broke {number}"
    )


def notification(generation: int = 1, **spec: Any) -> Resource[Any]:
    metadata = {"name": "ops", "namespace": "shop", "uid": "u-ops", "generation": generation}
    metadata["creationTimestamp"] = "2026-11-21T17:00:00Z"
    return parse({"apiVersion": "homeport.dev/v1alpha1", "kind": "Notification", "metadata": metadata, "spec": spec})


def secret(**data: str) -> dict[str, Any]:
    return {"data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
async def ways() -> AsyncIterator[Ways]:
    made = Ways(Guard(LOCAL))
    yield made
    await made.close()


async def carried(ways: Ways, spec: dict[str, Any], secrets: dict[str, Any] | None = None) -> str:
    found = way(notification(**spec).spec, "shop", secrets or {})
    return await ways.carry(found, Batch((happened(),), 0, (0.0,)), NOW)


# --- HTTP -------------------------------------------------------------------------------------------------------------


async def test_a_webhook_is_signed_and_has_the_headers_of_its_secret(ways: Ways, receiver: Receiver) -> None:
    spec = {"webhook": {"url": f"{receiver.url}/hook?a=b", "secretRef": {"name": "hook", "key": "token"}}}
    await carried(ways, spec, {"hook": secret(token="key")})
    (posted,) = receiver.taken
    assert posted.path == "/hook?a=b"
    assert posted.headers["X-Signature"] == "sha256=" + hmac.new(b"key", posted.body, hashlib.sha256).hexdigest()
    assert posted.json["sentAt"] == "2026-11-21T18:00:05Z"
    assert posted.json["id"] == posted.headers["X-Homeport-Id"]
    assert posted.json["events"][0]["message"] == "broke 1"


async def test_headers_of_a_secret_are_sent(receiver: Receiver) -> None:
    ways = Ways(Guard(LOCAL))
    spec = notification(webhook={"url": "https://example.com", "headersSecretRef": {"name": "headers"}}).spec
    found = way(spec, "shop", {"headers": secret(Authorization="Bearer t0ken\n")})
    assert found.headers == (("Authorization", "Bearer t0ken"),)
    # http isn't let in by the API server; here it saves a certificate.
    await ways.carry(Way(spec, "shop", receiver.url, b"", found.headers), Batch((happened(),), 0, (0.0,)), NOW)
    assert receiver.taken[0].headers["Authorization"] == "Bearer t0ken"
    await ways.close()


@pytest.mark.parametrize("name", ["Host", "Content-Length", "X-Signature", "a b", "a:b"])
def test_headers_that_would_be_another_request_are_refused(name: str) -> None:
    spec = notification(webhook={"url": "https://example.com", "headersSecretRef": {"name": "headers"}}).spec
    with pytest.raises(SecretMissing, match="can't be sent as a header"):
        way(spec, "shop", {"headers": secret(**{name: "x"})})


async def test_slack_gets_a_text_and_its_address_is_never_told(ways: Ways, receiver: Receiver) -> None:
    spec = {"slack": {"urlSecretRef": {"name": "chat", "key": "url"}, "channel": "#ops"}}
    await carried(ways, spec, {"chat": secret(url=f"{receiver.url}/services/T0/secret\n")})
    assert receiver.taken[0].json["channel"] == "#ops"
    receiver.always = 404
    with pytest.raises(NotDelivered) as caught:
        await carried(ways, spec, {"chat": secret(url=f"{receiver.url}/services/T0/secret")})
    assert "secret" not in str(caught.value)
    assert not caught.value.passes


@pytest.mark.parametrize(
    ("code", "passes", "says"),
    [(500, True, "answers 500"), (429, True, "answers 429"), (403, False, "answers 403"), (410, False, "answers 410"),
     (302, False, "redirects to 10.0.0.1, which isn't followed"), (408, True, "answers 408")],
)  # fmt: skip
async def test_what_a_receiver_answers(ways: Ways, receiver: Receiver, code: int, passes: bool, says: str) -> None:
    receiver.always, receiver.headers = code, {"Retry-After": "17", "Location": "http://10.0.0.1/x"}
    with pytest.raises(NotDelivered, match=says) as caught:
        await carried(ways, {"webhook": {"url": receiver.url}})
    assert caught.value.passes is passes
    assert caught.value.after == (0.0 if code == 302 else 17.0)
    assert receiver.tries == 1, "nothing was followed"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433"])
async def test_this_machine_is_not_sent_to(receiver: Receiver, host: str) -> None:
    http = Http(Guard())
    port = receiver.url.rpartition(":")[2]
    with pytest.raises(NotDelivered):
        await http.post(f"http://{host}:{port}/", b"{}", {})
    await http.close()
    assert receiver.tries == 0


async def test_a_name_is_judged_by_what_it_means_when_it_is_connected_to(receiver: Receiver, monkeypatch: Any) -> None:
    """A name that meant something harmless before is resolved once, and that is connected to."""
    guard, asked = Guard(), []

    async def addresses(host: str, port: int, family: Any = 0) -> list[str]:
        asked.append(host)
        guard.check(host, "127.0.0.1")
        return ["127.0.0.1"]

    monkeypatch.setattr(guard, "addresses", addresses)
    http = Http(guard)
    with pytest.raises(NotDelivered, match=r"rebound\.example\.com is 127\.0\.0\.1, which isn't sent to"):
        await http.post(f"http://rebound.example.com:{receiver.url.rpartition(':')[2]}/", b"{}", {})
    assert (asked, receiver.tries) == (["rebound.example.com"], 0)
    await http.close()


async def test_a_secret_address_without_tls_is_refused_outside_of_what_is_allowed() -> None:
    http = Http(Guard())
    with pytest.raises(NotDelivered, match="which http would send in clear text"):
        await http.post("http://10.255.255.1/services/secret", b"{}", {}, secret_url=True)
    await http.close()


@pytest.mark.parametrize(
    ("spec", "secrets", "says"),
    [
        ({"slack": {"urlSecretRef": {"name": "a", "key": "b"}}}, {}, "Secret a doesn't exist"),
        ({"slack": {"urlSecretRef": {"name": "a", "key": "b"}}}, {"a": secret(c="d")}, "nothing in the key b"),
        (
            {"email": {"server": "a:1", "from": "a@b", "to": ["a@b"], "credentialsSecretRef": {"name": "a"}}},
            {"a": secret(username="x")},
            "lacks username or password",
        ),
    ],
)
def test_what_is_missing_is_told(spec: dict[str, Any], secrets: dict[str, Any], says: str) -> None:
    made = notification(**spec).spec
    assert named(made) == ["a"]
    with pytest.raises(SecretMissing, match=says):
        way(made, "shop", secrets)


# --- mail -------------------------------------------------------------------------------------------------------------


def mail(server: MailServer, host: str = "127.0.0.1", **more: Any) -> dict[str, Any]:
    to = ["team@example.com", "boss@example.com"]
    return {"email": {"server": f"{host}:{server.port}", "from": "homeport@example.com", "to": to, **more}}


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    cert, key = make_cert(tmp_path)[:2]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(str(cert), str(key))
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    return context


@pytest.fixture
def postbox() -> Iterator[Callable[..., MailServer]]:
    made: list[MailServer] = []

    def start(*args: Any, **kwargs: Any) -> MailServer:
        made.append(MailServer(*args, **kwargs))
        return made[-1]

    yield start
    for server in made:
        server.close()


async def test_a_mail_arrives(ways: Ways, postbox: Callable[..., MailServer]) -> None:
    server = postbox()
    assert await carried(ways, mail(server, tls="None")) == ""
    (found,) = server.inbox.mails
    assert (found["Subject"], found["From"]) == ("[shop] Application web: HealthCheckFailed", "homeport@example.com")
    assert found["To"] == "team@example.com, boss@example.com"
    assert found["Auto-Submitted"] == "auto-generated"
    assert found.get_content().splitlines() == ["Warning: Application shop/web: HealthCheckFailed: broke 1"]
    await carried(ways, mail(server, tls="None"))
    assert server.inbox.mails[1]["Message-ID"] == found["Message-ID"], "one that came twice can be told"


async def test_a_receiver_that_is_refused_does_not_hold_back_the_others(
    ways: Ways, postbox: Callable[..., MailServer]
) -> None:
    server = postbox()
    server.inbox.refuse = "boss@example.com"
    assert await carried(ways, mail(server, tls="None")) == "127.0.0.1 refuses boss@example.com; others got it"
    assert len(server.inbox.mails) == 1


async def test_a_server_that_puts_off_is_asked_again(ways: Ways, postbox: Callable[..., MailServer]) -> None:
    server = postbox()
    server.inbox.later = 1
    with pytest.raises(NotDelivered, match="answers 451") as caught:
        await carried(ways, mail(server, tls="None"))
    assert caught.value.passes


async def test_tls_is_not_given_up(ways: Ways, postbox: Callable[..., MailServer]) -> None:
    server = postbox()
    with pytest.raises(NotDelivered, match="STARTTLS") as caught:
        await carried(ways, mail(server))
    assert not caught.value.passes
    assert server.inbox.mails == []


@pytest.mark.parametrize("tls", ["StartTLS", "TLS"])
async def test_a_password_goes_over_tls_to_a_server_that_is_trusted(
    ways: Ways, postbox: Callable[..., MailServer], certificate: ssl.SSLContext, tls: str
) -> None:
    server = postbox(certificate, "s3cret", implicit=tls == "TLS")
    spec = mail(server, tls=tls, credentialsSecretRef={"name": "smtp"})
    await carried(ways, spec, {"smtp": secret(username="robot", password="s3cret")})
    assert len(server.inbox.mails) == 1
    with pytest.raises(NotDelivered, match="refuses the name or the password") as caught:
        await carried(ways, spec, {"smtp": secret(username="robot", password="wrong-one")})
    assert "wrong-one" not in str(caught.value)
    assert not caught.value.passes


async def test_a_certificate_that_nobody_knows_is_refused(
    ways: Ways, postbox: Callable[..., MailServer], certificate: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    server = postbox(certificate)
    with pytest.raises(NotDelivered, match="its certificate isn't trusted"):
        await carried(ways, mail(server))
    assert server.inbox.mails == []


async def test_a_mail_server_on_this_machine_is_not_connected_to(postbox: Callable[..., MailServer]) -> None:
    server, ways = postbox(), Ways(Guard())
    with pytest.raises(NotDelivered, match="which isn't sent to"):
        await carried(ways, mail(server, tls="None"))
    assert server.inbox.mails == []
    await ways.close()


# --- desks ------------------------------------------------------------------------------------------------------------


def event(
    number: int, reason: str = "HealthCheckFailed", name: str = "web", kind: str = "Application"
) -> dict[str, Any]:
    about = {"apiVersion": "homeport.dev/v1alpha1", "kind": kind, "name": name, "namespace": "shop", "uid": name}
    return {
        "metadata": {"name": f"{name}.{number}", "namespace": "shop"},
        "involvedObject": about,
        "reportingComponent": "homeport",
        "type": "Warning",
        "reason": "HealthCheckFailed",
        "message": f"broke {number}",
        "firstTimestamp": f"2026-11-21T18:00:{number % 60:02}Z",
    }


class Woken:
    def __init__(self) -> None:
        self.keys: list[OwnerKey] = []
        self.event = asyncio.Event()

    def __call__(self, key: OwnerKey, priority: int = 0, after: float = 0.0) -> None:
        self.keys.append(key)
        self.event.set()

    async def until(self, check: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not check():
                self.event.clear()
                await self.event.wait()


@pytest.fixture
async def office() -> AsyncIterator[tuple[Notices, Woken]]:
    woken = Woken()
    made = Notices(woken, asyncio.get_running_loop().time, lambda: NOW, "homeport-system")
    made.ways = Ways(Guard(LOCAL))
    yield made, woken
    await made.close()


async def test_what_fits_is_sent_and_noted(office: tuple[Notices, Woken], receiver: Receiver) -> None:
    notices, woken = office
    resource = notification(
        webhook={"url": receiver.url}, events=[{"names": ["web"]}], rate={"messages": 100, "per": "1s"}
    )
    desk = notices.open(resource, {})
    desk.way = way(resource.spec, "shop", {})
    notices.heard(event(1))
    notices.heard(event(2, name="other"))
    notices.heard({**event(3), "reportingComponent": "kubelet"})
    notices.heard(event(4, kind="Notification", name="ops"))
    await woken.until(lambda: desk.sent == 1)
    assert [e["id"] for e in receiver.events()] == ["shop/web.1"]
    assert (desk.until, desk.handled) == ("2026-11-21T18:00:01Z", ("shop/web.1",))
    assert desk.last == {"time": "2026-11-21T18:00:05Z", "events": 1, "about": "Application web: HealthCheckFailed"}


async def test_a_receiver_that_fails_gets_it_later_and_once(office: tuple[Notices, Woken], receiver: Receiver) -> None:
    notices, woken = office
    receiver.answers = [500]
    resource = notification(webhook={"url": receiver.url}, rate={"messages": 100, "per": "1s"})
    desk = notices.open(resource, {})
    desk.way = way(resource.spec, "shop", {})
    notices.heard(event(1))
    await woken.until(lambda: desk.problem is not None)
    assert isinstance(desk.problem, Transient)
    assert (desk.problem.reason, desk.outbox.failures) == (Reason.NOT_DELIVERED, 1)
    notices.heard(event(2))
    await woken.until(lambda: desk.sent == 1)
    assert [e["id"] for e in receiver.events()] == ["shop/web.1", "shop/web.2"], "in their order, in one message"
    assert (desk.problem, desk.outbox.failures) == (None, 0)


async def test_a_new_process_tells_what_nobody_was_told_of(office: tuple[Notices, Woken], receiver: Receiver) -> None:
    notices, woken = office
    resource = notification(webhook={"url": receiver.url})
    status = {"handledUntil": "2026-11-21T18:00:02Z", "handled": ["shop/web.2"], "sent": 7, "dropped": 3}
    desk = notices.open(resource, status)
    desk.way = way(resource.spec, "shop", {})
    notices.heard(event(4))
    notices.late(desk, [event(number) for number in (4, 3, 2, 1)])
    await woken.until(lambda: len(receiver.events()) >= 2)
    assert sorted(e["id"] for e in receiver.events()) == ["shop/web.3", "shop/web.4"]
    assert (desk.sent >= 8, desk.dropped) == (True, 3)


async def test_a_test_message_goes_beside_what_waits(office: tuple[Notices, Woken], receiver: Receiver) -> None:
    notices, woken = office
    resource = notification(webhook={"url": receiver.url})
    desk = notices.open(resource, {})
    desk.way = way(resource.spec, "shop", {})
    notices.test(desk, "now", happened(reason="Test"))
    await woken.until(lambda: desk.tested is not None)
    assert desk.tested == {"token": "now", "delivered": True, "message": ""}
    receiver.always = 403
    notices.test(desk, "again", happened(reason="Test"))
    await woken.until(lambda: (desk.tested or {}).get("token") == "again")
    assert desk.tested == {"token": "again", "delivered": False, "message": "127.0.0.1 answers 403 (no)"}
    assert json.loads(receiver.taken[0].body)["events"][0]["reason"] == "Test"


# --- commits ----------------------------------------------------------------------------------------------------------


class PlayedForge:
    def __init__(self) -> None:
        self.marks: list[tuple[str, Status]] = []
        self.error: Exception | None = None

    async def status(self, commit: str, status: Status) -> None:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        self.marks.append((commit, status))

    async def close(self) -> None: ...


async def test_a_commit_is_marked_once_per_state() -> None:
    forge, woken = PlayedForge(), Woken()
    marks = CommitStatuses(woken, asyncio.get_running_loop().time, lambda *_: forge)  # type: ignore[arg-type, return-value]
    key, place = OwnerKey("Notification", "shop", "ops"), Place("Gitea", "https://x", "a/b", "t")
    pending = Mark("abc", "pending", "Progressing: a", "homeport/shop/fleet")
    assert marks.look(key, place, pending, None) == (None, None)
    await woken.until(lambda: len(forge.marks) == 1)
    assert marks.look(key, place, pending, None) == ({"revision": "abc", "state": "pending"}, None)
    forge.error = ForgeFailed("the token may not do that", passes=False)
    failure = Mark("abc", "failure", "HealthCheckFailed: b", "homeport/shop/fleet")
    marks.look(key, place, failure, None)
    woken.event.clear()
    await woken.event.wait()
    sent, problem = marks.look(key, place, failure, None)
    assert sent == {"revision": "abc", "state": "pending"}
    assert isinstance(problem, Stalled)
    assert "can't be marked: the token may not do that" in problem.message
    assert len(forge.marks) == 1, "not at once"
    await marks.stop()
    fresh = CommitStatuses(woken, asyncio.get_running_loop().time, lambda *_: forge)  # type: ignore[arg-type, return-value]
    known = {"revision": "abc", "state": "pending"}
    assert fresh.look(key, place, pending, known) == (known, None), "a new process sends nothing twice"
    await asyncio.sleep(0)
    assert len(forge.marks) == 1
    await fresh.stop()
