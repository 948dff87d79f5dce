"""The client and the webhook receiver against a real Gitea: what it answers, and what it delivers by itself."""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gitea_server import GiteaRepository, GiteaServer
from homeport.api.labels import OwnerKey
from homeport.drivers.forge import Forge, ForgeFailed, api_url, connect, repository_of
from homeport.engine.gitops.admission import SETTLED, Admission, Rules
from homeport.engine.gitops.hooks import Receiver
from homeport.plan.gitops.pulls import State, Status

pytestmark = pytest.mark.integration

KEY = OwnerKey("GitSource", "shop", "fleet")
PATIENCE = 30.0


@pytest.fixture
def repository(gitea: GiteaServer) -> GiteaRepository:
    made = gitea.repository("team", f"fleet-{uuid.uuid4().hex[:8]}")
    made.call("PUT", "/collaborators/ann", {"permission": "write"})
    return made


@pytest.fixture
async def forge(gitea: GiteaServer, repository: GiteaRepository) -> AsyncIterator[Forge]:
    url = api_url("Gitea", None, repository.clone_url)
    made = connect("Gitea", url, repository_of(repository.clone_url, "Gitea"), gitea.token("team"))
    yield made
    await made.close()


async def eventually(check: Callable[[], Any], what: str) -> Any:
    async with asyncio.timeout(PATIENCE):
        while True:
            found = await check()
            if found:
                return found
            await asyncio.sleep(0.1)
    raise AssertionError(what)


async def test_pull_requests_of_branches_and_of_forks(
    gitea: GiteaServer, repository: GiteaRepository, forge: Forge
) -> None:
    assert await forge.pulls("main") == []
    head = repository.commit({"a.yaml": "a: 1\n"}, new_branch="topic", user="ann")
    number = repository.open("topic", "A page", user="ann")
    theirs = repository.fork("eve")
    fork_head = theirs.commit({"b.yaml": "b: 1\n"}, new_branch="theirs")
    other = repository.open("eve:theirs", user="eve")
    found = {pull.number: pull for pull in await forge.pulls("main")}
    mine, their = found[number], found[other]
    assert (mine.head, mine.author, mine.title, mine.fork, mine.base) == (head, "ann", "A page", False, "main")
    assert (their.head, their.author, their.fork, their.source) == (fork_head, "eve", True, theirs.full_name)
    assert repository.call("GET", f"/git/refs/{their.ref.removeprefix('refs/')}")[0]["object"]["sha"] == fork_head
    assert await forge.pulls("another") == []
    repository.close(number)
    assert [pull.number for pull in await forge.pulls("main")] == [other]


async def test_who_may_write(gitea: GiteaServer, repository: GiteaRepository, forge: Forge) -> None:
    assert await forge.may_write("team")
    assert await forge.may_write("ann")
    assert not await forge.may_write("eve")
    assert not await forge.may_write("nobody")
    stranger = connect("Gitea", f"{gitea.url}/api/v1", repository.full_name, gitea.token("eve"))
    with pytest.raises(ForgeFailed, match="to its administrators only"):
        await stranger.may_write("ann")
    await stranger.close()


async def test_teams(gitea: GiteaServer, repository: GiteaRepository, forge: Forge) -> None:
    web = f"web-{uuid.uuid4().hex[:8]}"
    gitea.call("POST", "/orgs", {"username": web}, "team")
    team = gitea.call(
        "POST", f"/orgs/{web}/teams", {"name": "Design", "units": ["repo.code"], "permission": "read"}, "team"
    )
    gitea.call("PUT", f"/teams/{team['id']}/members/eve", None, "team")
    assert await forge.is_member("eve", f"{web}/design")
    assert not await forge.is_member("ann", f"{web}/design")
    assert not await forge.is_member("eve", f"{web}/nothing")


async def test_a_label_holds_for_the_commit_that_it_was_put_on(repository: GiteaRepository, forge: Forge) -> None:
    theirs = repository.fork("eve")
    theirs.commit({"b.yaml": "b: 1\n"}, new_branch="theirs")
    number = repository.open("eve:theirs", user="eve")

    async def look(known: dict[int, str] | None = None) -> str:
        """As the operator would, some looks later."""
        now = [0.0]
        admission = Admission(forge, Rules((), "preview"), lambda: now[0])
        await admission.of(await forge.pulls("main"), {})
        now[0] += SETTLED
        held_back, _, _ = await admission.of(await forge.pulls("main"), {})
        return held_back.get(number, "")

    assert "isn't among the authors" in await look()
    label = repository.label(number, "preview", user="ann")
    assert await look() == ""
    theirs.commit({"b.yaml": "b: 2\n"}, branch="theirs")

    async def moved() -> bool:
        return "there was a push after" in await look()

    await eventually(moved, "Gitea wrote down the push")
    repository.unlabel(number, label)
    assert "isn't among the authors" in await look()
    repository.label(number, "preview", user="ann")
    assert await look() == ""


async def test_one_comment_and_one_status(repository: GiteaRepository, forge: Forge) -> None:
    head = repository.commit({"a.yaml": "a: 1\n"}, new_branch="topic")
    number = repository.open("topic")
    repository.call("POST", f"/issues/{number}/comments", {"body": "<!-- homeport:shop/fleet -->\nha"}, "eve")
    for text in ("one", "two", "two"):
        await forge.comment(number, "<!-- homeport:shop/fleet -->", text)
    assert repository.comments(number) == [
        "<!-- homeport:shop/fleet -->\nha",
        "<!-- homeport:shop/fleet -->\ntwo",
    ]
    for state, text in ((State.PENDING, "wait"), (State.SUCCESS, "done"), (State.SUCCESS, "done")):
        await forge.status(head, Status("homeport/fleet", state, text, "https://pr-1.example.com"))
    (status,) = repository.statuses(head).values()
    assert (status["status"], status["description"]) == ("success", "done")
    assert status["target_url"] == "https://pr-1.example.com"
    assert len(repository.call("GET", f"/statuses/{head}")) == 2, "the same isn't written again"


async def test_a_wrong_token_is_told_in_words(gitea: GiteaServer, repository: GiteaRepository) -> None:
    forge = connect("Gitea", f"{gitea.url}/api/v1", repository.full_name, "nonsense")
    with pytest.raises(ForgeFailed, match="the token isn't good"):
        await forge.pulls("main")
    await forge.close()


async def test_deliveries(repository: GiteaRepository) -> None:
    told: asyncio.Queue[tuple[str, OwnerKey]] = asyncio.Queue()
    secret = {"data": {"token": base64.b64encode(b"s3cret").decode()}}

    async def read(namespace: str, name: str) -> dict[str, Any]:
        return secret

    receiver = Receiver(
        read,
        lambda namespace, name: "1",
        pushed=lambda key: told.put_nowait(("push", key)),
        pulled=lambda key: told.put_nowait(("pull", key)),
    )
    path = receiver.expect(KEY, "uid", "hook", "secret-uid", "main")
    port = await receiver.start("127.0.0.1:0")

    async def heard(what: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while (await told.get())[0] != what:
                pass

    try:
        hook = await asyncio.to_thread(repository.hook, f"http://127.0.0.1:{port}{path}", "s3cret")
        await asyncio.to_thread(repository.commit, {"a.yaml": "a: 1\n"})
        await heard("push")
        await asyncio.to_thread(repository.commit, {"a.yaml": "a: 2\n"}, new_branch="topic")
        number = await asyncio.to_thread(repository.open, "topic")
        await heard("pull")
        await asyncio.to_thread(repository.label, number, "preview")
        await heard("pull")
        assert receiver.count["refused"] == 0
        await asyncio.to_thread(repository.call, "DELETE", f"/hooks/{hook}")
        await asyncio.to_thread(repository.hook, f"http://127.0.0.1:{port}{path}", "wrong")
        await asyncio.to_thread(repository.commit, {"a.yaml": "a: 3\n"})

        async def refused() -> bool:
            return receiver.count["refused"] > 0

        await eventually(refused, "a delivery with another secret is refused")
    finally:
        await receiver.stop()
