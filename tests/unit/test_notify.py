"""Notifications without a cluster: what fits, what waits and is dropped (on a clock that is turned by hand), words."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.api.notification import EventFilter
from homeport.api.resource import parse
from homeport.drivers.notify.guard import Guard, NotAllowed
from homeport.drivers.notify.http import signature
from homeport.engine.notify.ways import way
from homeport.plan.notify import happenings, messages
from homeport.plan.notify.happenings import Happening
from homeport.plan.notify.outbox import AGE, SIZE, Batch, Outbox

V1 = "homeport.dev/v1alpha1"


def happened(reason: str = "HealthCheckFailed", uid: str = "u1", message: str = "it broke", **fields: Any) -> Happening:
    values = {
        "id": f"shop/{uid}-{reason}-{message}",
        "time": "2026-11-21T18:00:00Z",
        "severity": "Warning" if "Failed" in reason else "Info",
        "kind": "Application",
        "namespace": "shop",
        "name": f"web-{uid}",
        "uid": uid,
        "reason": reason,
        "message": message,
    }
    return Happening(**{**values, **fields})


def event(name: str, time: str = "2026-11-21T18:00:00Z", **fields: Any) -> dict[str, Any]:
    about = {
        "apiVersion": "homeport.dev/v1alpha1",
        "kind": "Application",
        "name": "web",
        "namespace": "shop",
        "uid": "u",
    }
    return {
        "metadata": {"name": name, "namespace": "shop"},
        "involvedObject": about,
        "reportingComponent": "homeport",
        "type": "Warning",
        "reason": "HealthCheckFailed",
        "message": "it broke",
        "firstTimestamp": time,
        **fields,
    }


# --- which events -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "yes"),
    [
        (None, True),
        ([{}], True),
        ([{"kinds": ["Backup"]}], False),
        ([{"kinds": ["Backup"]}, {"kinds": ["Application"]}], True),
        ([{"names": ["web-*"]}], True),
        ([{"names": ["web"]}], False),
        ([{"names": ["we?-u1"], "reasons": ["BackupFailed"]}], False),
        ([{"severity": "Warning"}], True),
        ([{"severity": "Info"}], True),
    ],
)
def test_a_filter_lets_through_what_fits_all_of_it(filters: Any, yes: bool) -> None:
    models = None if filters is None else [EventFilter.model_validate(one) for one in filters]
    assert happenings.fits(happened(), models) is yes


def test_a_filter_of_warnings_keeps_what_went_well() -> None:
    assert not happenings.fits(happened("ReconciliationSucceeded"), [EventFilter(severity="Warning")])


def test_events_of_others_are_not_told() -> None:
    assert happenings.of_event(event("a", reportingComponent="kubelet")) is None
    pod = {"apiVersion": "v1", "kind": "Pod", "name": "web", "namespace": "shop"}
    assert happenings.of_event(event("a", involvedObject=pod)) is None
    found = happenings.of_event(event("a"))
    assert found is not None
    assert (found.id, found.severity, found.kind) == ("shop/a", "Warning", "Application")


def test_after_a_restart_is_told_what_nobody_was_told_of() -> None:
    events = [event("c", "2026-11-21T18:00:02Z"), event("old", "2026-11-21T17:59:59Z"), event("a"), event("b")]
    found = happenings.missed(events, "2026-11-21T18:00:00Z", ["shop/a"])
    assert [one.id for one in found] == ["shop/b", "shop/c"]


# --- what waits -------------------------------------------------------------------------------------------------------


def told(box: Outbox, now: float) -> list[str]:
    batch = box.take(now)
    if batch is None:
        return []
    box.sent()
    return [one.message for one in batch.happenings]


def test_the_same_is_told_once_in_a_while() -> None:
    box = Outbox(repeat=600, messages=10, per=60)
    box.add(happened(), 0)
    assert told(box, 0) == ["it broke"]
    box.add(happened(), 10)
    assert box.due(10) == 600, "it is looked at when the time is over"
    assert told(box, 10) == []
    assert told(box, 600) == [], "nothing else was told of it meanwhile: whoever read it knows"
    assert box.due(600) is None
    box.add(happened(), 601)
    assert told(box, 601) == ["it broke"]


def test_the_last_that_is_told_of_an_object_is_how_it_is() -> None:
    box = Outbox(repeat=600, messages=100, per=1)
    box.add(happened(), 0)
    box.add(happened("ReconciliationSucceeded", message="well"), 1)
    assert told(box, 1) == ["it broke", "well"]
    box.add(happened(), 2)
    assert told(box, 2) == [], "it flaps"
    assert told(box, 600) == ["it broke"], "and stayed broken"


def test_other_objects_and_messages_are_told() -> None:
    box = Outbox(repeat=600, messages=10, per=60)
    for one in (happened(), happened(uid="u2"), happened(message="another")):
        box.add(one, 0)
    assert len(told(box, 0)) == 3


def test_a_flood_is_gathered_into_the_messages_that_are_agreed() -> None:
    box = Outbox(repeat=1, messages=2, per=60)
    sizes = []
    for second in range(120):
        box.add(happened(message=str(second)), second)
        found = told(box, second)
        if found:
            sizes.append((second, len(found)))
    assert sizes == [(0, 1), (1, 1), (60, 59), (61, 1)]


def test_what_nobody_takes_is_tried_again_later_and_later() -> None:
    box = Outbox(repeat=1, messages=1000, per=1)
    box.add(happened(), 0)
    now, tries = 0.0, []
    while now < 1200:
        if box.take(now) is not None:
            tries.append(now)
            box.failed(now)
        due = box.due(now)
        assert due is not None
        now = due
    pauses = [round(b - a) for a, b in pairwise(tries)]
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert box.failures == len(tries)
    box.take(now)
    box.sent()
    assert (box.failures, box.dropped, box.idle) == (0, 0, True)


def test_a_receiver_that_asks_for_patience_gets_it() -> None:
    box = Outbox(repeat=1, messages=10, per=1)
    box.add(happened(), 0)
    box.take(0)
    box.failed(0, after=90)
    assert box.take(89) is None
    assert told(box, 90) == ["it broke"]


def test_what_comes_while_one_is_under_way_waits_for_it() -> None:
    box = Outbox(repeat=1, messages=10, per=1)
    box.add(happened(message="first"), 0)
    assert box.take(0) is not None
    box.add(happened(message="second"), 0)
    assert box.take(0) is None
    box.failed(0)
    assert told(box, 5) == ["first", "second"], "in their order"


def test_nobody_is_told_of_what_is_an_hour_old() -> None:
    box = Outbox(repeat=1, messages=10, per=1)
    box.add(happened(), 0)
    box.take(0)
    box.failed(0, after=AGE)
    box.add(happened(message="new"), AGE)
    batch = box.take(AGE)
    assert batch is not None
    assert [one.message for one in batch.happenings] == ["new"]
    assert (batch.dropped, box.dropped) == (1, 1)
    assert "1 events before were never told" in messages.text(batch, None)


def test_no_more_waits_than_there_is_room() -> None:
    box = Outbox(repeat=1, messages=1, per=3600)
    for number in range(SIZE + 50):
        box.add(happened(message=str(number)), 0)
    batch = box.take(0)
    assert batch is not None
    assert (len(batch.happenings), batch.dropped, batch.happenings[0].message) == (SIZE, 50, "50")


steps = st.lists(
    st.tuples(st.sampled_from(["add", "send", "fail"]), st.integers(0, 3), st.integers(0, 2), st.integers(0, 400)),
    max_size=80,
)


@given(steps)
def test_everything_is_told_held_dropped_or_waits(taken: Iterable[tuple[str, int, int, int]]) -> None:
    """Whatever happens: the rate is kept, and the newest of each object is told at last unless it was dropped."""
    box, now = Outbox(repeat=300, messages=3, per=100), 0.0
    sends: list[float] = []
    newest: dict[str, str] = {}
    shown: dict[str, str] = {}

    def attempt(ok: bool) -> None:
        batch = box.take(now)
        if batch is None:
            return
        sends.append(now)
        if not ok:
            box.failed(now)
            return
        box.sent()
        shown.update({one.uid: one.message for one in batch.happenings})

    for what, uid, message, pause in taken:
        now += pause
        if what == "add":
            one = happened(uid=str(uid), message=str(message))
            newest[one.uid] = one.message
            box.add(one, now)
        else:
            attempt(what == "send")
    for _ in range(2000):
        due = box.due(now)
        if due is None:
            break
        now = max(now, due)
        attempt(True)
    assert box.idle
    for first, fourth in zip(sends, sends[3:], strict=False):
        assert fourth - first >= 100, "three in a hundred seconds"
    if box.dropped == 0:
        assert shown == newest


# --- in which words ---------------------------------------------------------------------------------------------------


def batch(*which: Happening, dropped: int = 0) -> Batch:
    return Batch(which, dropped, tuple(0.0 for _ in which))


def test_a_webhook_gets_everything_and_the_same_id_twice() -> None:
    both = batch(happened(), happened("BackupFailed", uid="u2"))
    found = messages.payload(both, "shop", "2026-11-21T18:00:05Z", "${kind} ${name}: ${reason} for $$5")
    assert found["text"] == "Application web-u1: HealthCheckFailed for $5\nApplication web-u2: BackupFailed for $5"
    assert [one["reason"] for one in found["events"]] == ["HealthCheckFailed", "BackupFailed"]
    assert found["id"] == messages.payload(both, "shop", "later", None)["id"]
    assert found["id"] != messages.payload(batch(happened()), "shop", "later", None)["id"]
    json.dumps(found)


def test_people_get_the_newest_and_a_count() -> None:
    text = messages.text(batch(*(happened(uid=str(number)) for number in range(50))), None)
    lines = text.splitlines()
    assert lines[0] == "30 more before: 30 × Application HealthCheckFailed"
    assert len(lines) == 21
    assert lines[-1] == "Warning: Application shop/web-49: HealthCheckFailed: it broke"


def test_a_message_calls_nobody_and_is_no_markup() -> None:
    said = messages.slack(
        batch(happened(message="<!channel> @all @here a@example.com <https://x|y> & *")), "#ops", None
    )
    text = said["attachments"][0]["text"]
    assert "&lt;!channel&gt; @\u200ball @\u200bhere a@example.com &lt;https://x|y&gt; &amp; *" in text
    assert (said["channel"], said["attachments"][0]["color"]) == ("#ops", messages.COLOURS["Warning"])


def test_a_mail_has_one_line_of_subject() -> None:
    one = messages.mail(batch(happened(message="a\r\nBcc: x@example.com")), "shop", None)
    assert one.subject == "[shop] Application web-u1: HealthCheckFailed"
    several = messages.mail(batch(happened(), happened("ReconciliationSucceeded", uid="u2")), "shop", None)
    assert several.subject == "[shop] 2 events, 1 of them warnings"


def test_a_name_with_lines_breaks_no_subject() -> None:
    assert "\n" not in messages.mail(batch(happened(name="a\nBcc: b")), "shop", None).subject


def test_a_body_is_signed_as_others_do() -> None:
    # echo -n '{}' | openssl dgst -sha256 -hmac key
    assert signature(b"{}", b"key") == "sha256=a777724d943eb48dc69bca8a4a6d57a04db3f9ec7e1de4e581e860265bdf3032"


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({}, None),
        ({"lastAttemptedRevision": "main@sha1:abc", "conditions": [{"type": "Ready", "status": "True"}]}, "success"),
        ({"lastAttemptedRevision": "main@sha1:abc", "conditions": [{"type": "Ready", "status": "False"}]}, "pending"),
        (
            {
                "lastAttemptedRevision": "sha1:abc",
                "conditions": [{"type": "Ready", "status": "False"}, {"type": "Stalled", "status": "True"}],
            },
            "failure",
        ),
    ],
)
def test_a_commit_is_as_its_source_is(status: Any, state: str | None) -> None:
    found = messages.commit_state(status)
    assert (found and found[:2]) == (state and ("abc", state))


# --- where to ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "169.254.169.254", "::1", "::", "fe80::1", "fe80::1%eth0",
     "::ffff:127.0.0.1", "::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200", "224.0.0.1", "ff02::1",
     "64:ff9b::7f00:1", "2002:7f00:1::", "255.255.255.255", "168.63.129.16"],
)  # fmt: skip
def test_what_only_this_machine_can_reach_is_not_sent_to(address: str) -> None:
    with pytest.raises(NotAllowed, match="which isn't sent to"):
        Guard().check("name", address)


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "192.168.1.10", "172.16.0.1", "93.184.216.34", "fd12::1", "2606:2800::1"]
)
def test_networks_of_ones_own_and_everybodys_are_sent_to(address: str) -> None:
    Guard().check("name", address)


def test_an_administrator_may_open_a_network() -> None:
    guard = Guard(["127.0.0.0/8"])
    guard.check("name", "127.0.0.1")
    guard.check("name", "::ffff:127.0.0.1")
    assert guard.named("127.0.0.1")
    assert not guard.named("10.0.0.1")
    with pytest.raises(NotAllowed):
        guard.check("name", "::1")


def test_the_password_of_a_mail_is_nowhere_to_be_seen() -> None:
    spec = parse(
        {
            "apiVersion": "homeport.dev/v1alpha1",
            "kind": "Notification",
            "metadata": {"name": "ops", "namespace": "shop"},
            "spec": {
                "email": {
                    "server": "smtp.example.com:587",
                    "from": "a@example.com",
                    "to": ["b@example.com"],
                    "credentialsSecretRef": {"name": "smtp"},
                }
            },
        }
    ).spec
    found = way(spec, "shop", {"smtp": {"data": {"username": "dXNlcg==", "password": "c2VjcmV0"}}})
    assert found.password == "secret"
    assert "secret" not in repr(found).replace("credentials_secret_ref", "")
