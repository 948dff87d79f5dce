"""The webhook receiver: real requests over a socket, signed as each forge signs them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from homeport.api.labels import OwnerKey
from homeport.engine.gitops import hooks
from homeport.engine.gitops.hooks import BODY_LIMIT, Receiver, path_of

KEY = OwnerKey("GitSource", "shop", "fleet")
SECRET = b"s3cret"
PUSH = json.dumps({"ref": "refs/heads/main", "after": "a" * 40}).encode()


@dataclass
class World:
    """A receiver that listens, and what it told."""

    receiver: Receiver
    path: str
    clock: list[float]
    told: list[tuple[str, OwnerKey]] = field(default_factory=list)
    secret: dict[str, Any] = field(default_factory=dict)
    leading: bool = True
    reads: int = 0

    async def post(self, body: bytes, headers: dict[str, str], path: str = "") -> int:
        url = f"http://127.0.0.1:{self.receiver.port}{path or self.path}"
        async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
            return answer.status


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = [1000.0]
    out: World

    async def read(namespace: str, name: str) -> dict[str, Any]:
        out.reads += 1
        return out.secret

    receiver = Receiver(
        read,
        lambda namespace, name: "1" if (namespace, name) == ("shop", "hook") else None,
        pushed=lambda key: out.told.append(("push", key)),
        pulled=lambda key: out.told.append(("pull", key)),
        refused=lambda key, why: out.told.append((why, key)),
        leading=lambda: out.leading,
        clock=lambda: clock[0],
        now=lambda: clock[0],
    )
    path = receiver.expect(KEY, "source-uid", "hook", "secret-uid", "main")
    out = World(receiver, path, clock, secret={"data": {"token": base64.b64encode(SECRET + b"\n").decode()}})
    await receiver.start("127.0.0.1:0")
    yield out
    await receiver.stop()


def signed(body: bytes, secret: bytes = SECRET) -> str:
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


def github(body: bytes, event: str = "push", number: str = "1", secret: bytes = SECRET) -> dict[str, str]:
    return {
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": number,
        "X-Hub-Signature-256": f"sha256={signed(body, secret)}",
        "Content-Type": "application/json",
    }


def gitea(body: bytes, event: str = "push", number: str = "1") -> dict[str, str]:
    # As services/webhook/deliver.go sends them: GitHub's headers, too.
    return {**github(body, event, number), "X-Gitea-Event": event, "X-Gitea-Delivery": number,
            "X-Gitea-Signature": signed(body)}  # fmt: skip


def standard(body: bytes, moment: float, key: bytes = SECRET, number: str = "msg_1") -> dict[str, str]:
    mac = hmac.new(key, f"{number}.{int(moment)}.".encode() + body, hashlib.sha256).digest()
    return {
        "X-Gitlab-Event": "Push Hook",
        "webhook-id": number,
        "webhook-timestamp": str(int(moment)),
        "webhook-signature": "v1,AAAA v1," + base64.b64encode(mac).decode(),
    }


async def test_the_path_is_stable_and_of_both_uids(world: World) -> None:
    assert world.path == path_of("source-uid", "secret-uid") == "/hooks/" + world.path[7:]
    assert len(world.path) == 47
    assert path_of("source-uid", "another") != world.path
    again = world.receiver.expect(KEY, "source-uid", "hook", "remade", "main")
    assert await world.post(PUSH, github(PUSH)) == 404, "the old path is nobody's any more"
    assert await world.post(PUSH, github(PUSH), again) == 202


@pytest.mark.parametrize("headers", [github, gitea])
async def test_a_signed_push_looks_at_the_repository(world: World, headers: Any) -> None:
    assert await world.post(PUSH, headers(PUSH)) == 202
    assert world.told == [("push", KEY)]


async def test_gitlab_by_its_token_and_by_its_signing_token(world: World) -> None:
    token = {"X-Gitlab-Token": "s3cret", "X-Gitlab-Event": "Merge Request Hook", "X-Gitlab-Event-UUID": "a"}
    assert await world.post(b"{}", token) == 202
    assert world.told == [("pull", KEY)]
    assert await world.post(b"{}", {**token, "X-Gitlab-Event-UUID": "b", "X-Gitlab-Token": "wrong"}) == 401
    assert await world.post(PUSH, standard(PUSH, world.clock[0])) == 202
    assert world.told[-1] == ("push", KEY)


async def test_a_signing_token_of_gitlab_is_base64(world: World) -> None:
    key = b"k" * 32
    world.secret = {"data": {"token": base64.b64encode(b"whsec_" + base64.b64encode(key)).decode()}}
    assert await world.post(PUSH, standard(PUSH, world.clock[0], key)) == 202


async def test_an_old_signature_is_refused(world: World) -> None:
    assert await world.post(PUSH, standard(PUSH, world.clock[0] - 301)) == 401
    assert await world.post(PUSH, standard(PUSH, world.clock[0] + 301, number="msg_2")) == 401
    assert await world.post(PUSH, standard(PUSH, world.clock[0] - 299, number="msg_3")) == 202


async def test_what_comes_again_is_refused(world: World) -> None:
    assert await world.post(PUSH, github(PUSH)) == 202
    assert await world.post(PUSH, github(PUSH)) == 409
    assert await world.post(PUSH, github(PUSH, number="2")) == 409, "the number isn't signed, the body is"
    other = PUSH + b" "
    assert await world.post(other, github(other, number="3")) == 202
    assert world.told == [("push", KEY)] * 2


async def test_a_wrong_signature_is_refused_and_told_of_once_an_hour(world: World) -> None:
    for _ in range(3):
        assert await world.post(PUSH, github(PUSH, secret=b"guess")) == 401
    assert await world.post(PUSH, {"X-GitHub-Event": "push"}) == 401
    assert len(world.told) == 1
    assert world.told[0] == (
        "a webhook delivery was refused: its signature isn't made with the secret of spec.webhook",
        KEY,
    )
    world.clock[0] += 3601
    assert await world.post(PUSH, github(PUSH, secret=b"guess")) == 401
    assert len(world.told) == 2
    assert world.receiver.count["refused"] == 5
    assert await world.post(PUSH, github(PUSH)) == 202, "what is right isn't shut out"


async def test_wrong_ones_are_limited_and_right_ones_still_pass(world: World) -> None:
    codes = [await world.post(PUSH, {}, "/hooks/" + "0" * 40) for _ in range(12)]
    assert codes == [404] * 10 + [429] * 2
    assert await world.post(PUSH, github(PUSH)) == 202
    world.clock[0] += 10
    assert await world.post(PUSH, {}, "/hooks/" + "0" * 40) == 404


async def test_right_ones_are_limited_too(world: World) -> None:
    bodies = [b'{"ref":"refs/heads/main","n":%d}' % number for number in range(32)]
    codes = [await world.post(body, github(body, number=str(n))) for n, body in enumerate(bodies)]
    assert codes == [202] * 30 + [429] * 2
    assert world.reads == 1, "the Secret is read once as long as it stays"


async def test_a_large_body_and_a_standby(world: World) -> None:
    large = b"x" * (BODY_LIMIT + 1)
    assert await world.post(large, github(large)) == 413
    world.leading = False
    assert await world.post(PUSH, github(PUSH)) == 503
    assert world.told == []


async def test_a_push_to_another_branch_and_other_events_say_nothing(world: World) -> None:
    body = PUSH.replace(b"main", b"topic")
    assert await world.post(body, github(body)) == 202
    assert await world.post(b"{}", github(b"{}", "ping", "9")) == 202
    assert world.told == []
    tag = PUSH.replace(b"heads/main", b"tags/v1")
    assert await world.post(tag, github(tag, number="7")) == 202
    assert world.told == [("push", KEY)]


async def test_a_form_is_read_as_well(world: World) -> None:
    body = b"payload=%7B%22ref%22%3A%22refs%2Fheads%2Ftopic%22%7D"
    headers = {**github(body), "Content-Type": "application/x-www-form-urlencoded"}
    assert await world.post(body, headers) == 202
    assert world.told == []


async def test_without_its_secret_nothing_is_taken(world: World) -> None:
    world.secret = {"data": {"one": "YQ==", "two": "Yg=="}}
    assert await world.post(PUSH, github(PUSH, secret=b"")) == 401
    assert hooks.KEY in world.told[0][0]
    world.receiver.forget(KEY)
    assert await world.post(PUSH, github(PUSH)) == 404
