"""Tags of images: page by page, with tokens, ETags and patience, once for all who ask. The registry is a small server
that answers as the distribution specification says; the real one is in tests/integration/test_image_updates.py."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.drivers.oci import errors, tags
from homeport.drivers.oci.credentials import Login
from homeport.drivers.oci.reference import Reference
from homeport.drivers.oci.registry import Registry
from homeport.engine.gitops.registries import Registries
from homeport.outcome import Stalled, Transient

ONE, TWO = (OwnerKey("ImageUpdate", "shop", name) for name in ("one", "two"))
DIGEST = "sha256:" + "b" * 64


class Server:
    def __init__(self) -> None:
        self.tags = ["1.0.0"]
        self.page = 1000
        self.etag = False
        self.private = False
        self.asked: list[str] = []
        self.codes: list[int] = []
        self.headers: dict[str, str] = {}
        self.next = "/v2/{name}/tags/list?last={last}&n={n}"
        self.port = 0

    @property
    def image(self) -> str:
        return f"127.0.0.1:{self.port}/team/web"

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.add_routes([web.get("/v2/team/web/tags/list", self._list), web.get("/token", self._token)])
        app.add_routes([web.head("/v2/team/web/manifests/{tag}", self._manifest)])
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        return runner

    async def _token(self, request: web.Request) -> web.Response:
        wanted = "Basic " + base64.b64encode(b"robot:pw").decode()
        if request.headers.get("Authorization") != wanted:
            return web.Response(status=401)
        return web.json_response({"token": f"t-{request.query['scope']}"})

    def _refused(self, request: web.Request) -> web.Response | None:
        if self.codes:
            return web.Response(status=self.codes.pop(0), headers=self.headers)
        if self.private and request.headers.get("Authorization") != "Bearer t-repository:team/web:pull":
            realm = f'Bearer realm="http://127.0.0.1:{self.port}/token",service="here"'
            return web.Response(status=401, headers={"WWW-Authenticate": realm})
        return None

    async def _list(self, request: web.Request) -> web.Response:
        self.asked.append(request.query_string)
        if (refused := self._refused(request)) is not None:
            return refused
        etag = f'"{hash(tuple(self.tags))}"'
        if self.etag and request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        last = request.query.get("last", "")
        left = [tag for tag in sorted(self.tags) if tag > last]
        headers = {"ETag": etag} if self.etag else {}
        if len(left) > self.page:
            target = self.next.format(name="team/web", last=left[self.page - 1], n=self.page)
            headers["Link"] = f'<{target}>; rel="next"'
        return web.json_response({"name": "team/web", "tags": left[: self.page]}, headers=headers)

    async def _manifest(self, request: web.Request) -> web.Response:
        self.asked.append(f"HEAD {request.match_info['tag']}")
        return self._refused(request) or web.Response(headers={"Docker-Content-Digest": DIGEST})


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    runner = await made.start()
    yield made
    await runner.cleanup()


async def listed(server: Server, *logins: Login, before: tags.Listed | None = None) -> tags.Listed:
    registry = Registry(logins)
    try:
        return await tags.tags(registry, Reference.parse(server.image), before)
    finally:
        await registry.close()


async def test_all_pages_are_read(server: Server) -> None:
    server.tags, server.page = [f"{number:04}" for number in range(25)], 10
    assert list((await listed(server)).tags) == server.tags
    assert server.asked == ["n=1000", "n=10&last=0009", "n=10&last=0019"]


async def test_a_page_that_leads_elsewhere_is_asked_for_here(server: Server) -> None:
    server.tags, server.page = ["a", "b"], 1
    server.next = "http://169.254.169.254/latest?last={last}&n={n}&secret=x"
    assert (await listed(server)).tags == ("a", "b")
    assert server.asked == ["n=1000", "n=1&last=a"]


async def test_pages_in_a_circle_end(server: Server) -> None:
    server.tags, server.page = ["a", "b"], 1
    server.next = "/v2/{name}/tags/list?n={n}"
    assert (await listed(server)).tags == ("a",)


async def test_nothing_is_sent_again_that_has_an_etag(server: Server) -> None:
    server.etag = True
    first = await listed(server)
    assert await listed(server, before=first) is first
    server.tags.append("1.1.0")
    assert (await listed(server, before=first)).tags == ("1.0.0", "1.1.0")


async def test_a_token_is_fetched_with_the_credentials_for_this_registry(server: Server) -> None:
    server.private = True
    with pytest.raises(errors.AccessDenied):
        await listed(server)
    assert (await listed(server, Login(f"127.0.0.1:{server.port}", "robot", "pw"))).tags == ("1.0.0",)
    with pytest.raises(errors.AccessDenied):
        await listed(server, Login("elsewhere.example.com", "robot", "pw"))


async def test_names_that_are_no_tags_do_not_count(server: Server) -> None:
    server.tags = ["ok", "a b", "x" * 200, "../etc", ""]
    assert (await listed(server)).tags == ("ok",)


class Clock:
    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Watching:
    def __init__(self) -> None:
        self.clock, self.woken = Clock(), asyncio.Event()
        self.keys: list[OwnerKey] = []
        self.registries = Registries(self._wake, self.clock, lambda: 0.5)

    def _wake(self, key: OwnerKey) -> None:
        self.keys.append(key)
        self.woken.set()

    async def ended(self, *keys: OwnerKey) -> None:
        async with asyncio.timeout(30):
            while not set(keys) <= set(self.keys):
                self.woken.clear()
                await self.woken.wait()
        self.keys.clear()


@pytest.fixture
async def watching() -> AsyncIterator[Watching]:
    made = Watching()
    yield made
    await made.registries.stop()


async def test_one_poll_for_all_who_ask_by_the_shortest_interval(server: Server, watching: Watching) -> None:
    look, clock = watching.registries.look, watching.clock
    assert look(ONE, server.image, (), 300.0).tags is None
    assert look(TWO, server.image, (), 60.0).busy
    await watching.ended(ONE, TWO)
    assert look(ONE, server.image, (), 300.0).tags == look(TWO, server.image, (), 60.0).tags == ("1.0.0",)
    clock.seconds += 59
    look(ONE, server.image, (), 300.0)
    assert len(server.asked) == 1
    clock.seconds = watching.registries.due(ONE) or 0.0
    assert look(TWO, server.image, (), 60.0).busy
    await watching.ended(ONE, TWO)
    assert len(server.asked) == 2
    look(ONE, server.image, (Login("other", "a", "b"),), 300.0)
    await watching.ended(ONE)
    assert len(server.asked) == 3, "other credentials may see other tags"


async def test_a_registry_that_asks_for_patience_gets_it_and_what_was_known_stays(
    server: Server, watching: Watching
) -> None:
    look, clock = watching.registries.look, watching.clock
    look(ONE, server.image, (), 60.0)
    await watching.ended(ONE)
    server.codes, server.headers = [429], {"Retry-After": "900"}
    clock.seconds += 70
    look(ONE, server.image, (), 60.0)
    await watching.ended(ONE)
    seen = look(ONE, server.image, (), 60.0)
    assert seen.tags == ("1.0.0",)
    assert isinstance(seen.problem, Transient)
    assert "answers 429" in seen.problem.message
    clock.seconds += 890
    assert not look(ONE, server.image, (), 60.0).busy
    clock.seconds += 11
    assert look(ONE, server.image, (), 60.0).busy
    await watching.ended(ONE)
    assert look(ONE, server.image, (), 60.0).problem is None


async def test_a_failure_is_tried_again_later_and_later_but_within_the_interval(
    server: Server, watching: Watching
) -> None:
    look, clock = watching.registries.look, watching.clock
    server.codes, pauses = [500] * 6, []
    for _ in range(6):
        look(ONE, server.image, (), 300.0)
        await watching.ended(ONE)
        due = watching.registries.due(ONE) or 0.0
        pauses.append(round(due - clock.seconds))
        clock.seconds = due
    assert pauses == [30, 60, 120, 240, 300, 300]


async def test_digests_of_tags_that_are_asked_for_and_no_others(server: Server, watching: Watching) -> None:
    look = watching.registries.look
    server.tags = ["1.0.0", "1.1.0"]
    look(ONE, server.image, (), 60.0)
    await watching.ended(ONE)
    assert look(ONE, server.image, (), 60.0, ("1.1.0",)).busy, "it isn't known, so it is asked for at once"
    await watching.ended(ONE)
    assert look(ONE, server.image, (), 60.0, ("1.1.0",)).digests == {"1.1.0": DIGEST}
    assert not look(ONE, server.image, (), 60.0, ("1.1.0", "gone")).busy, "what isn't there has none"
    assert [what for what in server.asked if what.startswith("HEAD")] == ["HEAD 1.1.0"]


async def test_who_is_refused_is_told_what_to_write(server: Server, watching: Watching) -> None:
    server.private = True
    watching.registries.look(ONE, server.image, (), 60.0)
    await watching.ended(ONE)
    problem = watching.registries.look(ONE, server.image, (), 60.0).problem
    assert isinstance(problem, Stalled)
    assert problem.reason == Reason.ACCESS_DENIED
    assert "credentialsSecretRef" in problem.message


async def test_who_no_longer_asks_costs_nothing(server: Server, watching: Watching) -> None:
    look, clock = watching.registries.look, watching.clock
    look(ONE, server.image, (), 60.0)
    await watching.ended(ONE)
    watching.registries.forget(ONE)
    assert watching.registries.due(ONE) is None
    clock.seconds += 1000
    await asyncio.sleep(0)
    assert len(server.asked) == 1
