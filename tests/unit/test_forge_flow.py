"""A source's pull requests on a cluster, a repository and a forge in memory: from opening one to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from gitops_world import source
from homeport.api import labels
from homeport.drivers.forge import ForgeFailed
from homeport.drivers.kubernetes import errors, types
from homeport.plan.gitops.pulls import Labelled
from preview_world import TEMPLATE, WEB, PreviewRunning, PreviewWorld, secret


@asynccontextmanager
async def home(**fields: Any) -> AsyncIterator[tuple[PreviewWorld, PreviewRunning]]:
    world = PreviewWorld()
    await world.begin(**fields)
    running = await world.operator()
    try:
        await running.settle()
        yield world, running
    finally:
        await running.stop()


def run(play: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(play(), 120))


async def look(world: PreviewWorld, running: PreviewRunning) -> None:
    """The next look at the forge, and what comes of it."""
    await running.until(world.clock.seconds + 12.0)
    await running.settle()


def app(world: PreviewWorld, name: str = "web-pr-7") -> dict[str, Any]:
    return world.get(types.APPLICATION, "shop", name)


def test_a_previews_build_knows_which_pull_request_it_is() -> None:
    async def play() -> None:
        text = WEB.replace("web\n      replicas", "web:${PREVIEW_NUMBER}-${PREVIEW_COMMIT}\n      replicas")
        world = PreviewWorld()
        await world.begin()
        given = {"PREVIEW_NUMBER": "none", "PREVIEW_COMMIT": "main"}
        spec = {**world.source()["spec"], "build": {"substitute": True, "variables": given}}
        await world.apply([source(**spec)])
        world.repository.push({"web.yaml": text % 1})
        running = await world.operator()
        try:
            await running.settle()
            image = "registry.example.com/shop/web"
            assert app(world, "web")["spec"]["components"][0]["image"] == f"{image}:none-main"
            head = world.propose({"web.yaml": text % 2}, branch="topic").head
            await look(world, running)
            assert app(world)["spec"]["components"][0]["image"] == f"{image}:7-{head}"
            assert "PREVIEW_COMMIT" not in str(app(world)["spec"]), "it isn't of the commit by itself"
            deployment = world.get(types.DEPLOYMENT, "shop-pr-7", "web")
            env = {e["name"]: e.get("value") for e in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
            assert (env["PREVIEW_NUMBER"], env["PREVIEW_BRANCH"]) == ("7", "topic")
            comment = world.forge.comments[-1][2]
            assert "none-main" not in comment and f"7-{head}" not in comment, "the plan is production's"
        finally:
            await running.stop()

    run(play)


def test_a_pull_request_has_a_preview_that_follows_it_and_goes_with_it() -> None:
    async def play() -> None:
        async with home() as (world, running):
            assert world.made() == set()
            head = world.propose({"web.yaml": WEB % 2}).head
            await look(world, running)
            assert world.made() == {"Environment pr-7", "Application web-pr-7"}
            assert app(world)["spec"]["components"][0]["image"] == f"registry.example.com/shop/web:{head}"
            deployment = world.get(types.DEPLOYMENT, "shop-pr-7", "web")
            assert deployment["spec"]["template"]["spec"]["containers"][0]["image"].endswith(f":{head}")
            assert world.get(types.SECRET, "shop-pr-7", "db")["data"] == {"password": "aHVudGVyMjI="}
            entry = world.previews()[7]
            assert (entry["state"], entry["ready"], entry["environment"]) == ("Running", True, "pr-7")
            assert entry["url"] == "http://pr-7.preview.example.com"
            assert entry["revision"] == head
            comment = world.forge.comments[-1][2]
            assert "| ~ | `Application shop/web` | changed; `spec.components" in comment
            assert "<http://pr-7.preview.example.com>" in comment
            found = {status.context: (str(status.state), status.url) for commit, status in world.forge.statuses}
            assert found == {
                "homeport/shop/fleet/plan": ("success", ""),
                "homeport/shop/fleet/preview": ("success", "http://pr-7.preview.example.com"),
            }

            newer = world.propose({"web.yaml": WEB % 3}).head
            await look(world, running)
            assert app(world)["spec"]["components"][0]["replicas"] == 3
            assert world.previews()[7]["revision"] == newer
            assert world.forge.statuses[-1][0] == newer

            writes = len(running.gate.writes)
            beside = len(world.forge.comments) + len(world.forge.statuses)
            for _ in range(3):
                await look(world, running)
            assert running.gate.writes[writes:] == [], "nothing is written as long as nothing changes"
            assert len(world.forge.comments) + len(world.forge.statuses) == beside

            world.close()
            await look(world, running)
            assert world.made() == set()
            assert world.previews() == {}
            assert not [key for key in world.client._objects if key[1] == "shop-pr-7" or key[2] == "shop-pr-7"]

    run(play)


def test_a_restart_writes_nothing_and_says_nothing_again() -> None:
    async def play() -> None:
        async with home() as (world, running):
            world.propose({"web.yaml": WEB % 2})
            await look(world, running)
            again = await world.operator()
            await again.settle()
            await look(world, again)
            assert again.gate.writes == []
            await again.stop()

    run(play)


def test_a_stranger_waits_for_the_label_and_a_fork_gets_no_secrets() -> None:
    async def play() -> None:
        async with home() as (world, running):
            pull = world.propose({"web.yaml": WEB % 2}, author="eve", fork=True)
            await look(world, running)
            assert world.made() == set()
            assert world.previews()[7]["state"] == "Waiting"
            assert "eve isn't among the authors" in world.previews()[7]["message"]
            assert "nothing secret was read or decrypted" in world.forge.comments[-1][2]

            labelled = replace(pull, labels=frozenset({"preview"}), updated="2")
            world.forge.open = [labelled]
            world.forge.labels[7] = Labelled("bob", "t", "", False)
            await look(world, running)
            assert world.made() == {"Environment pr-7", "Application web-pr-7"}
            assert (types.SECRET, "shop-pr-7", "db") not in world.client._objects
            first = app(world)["metadata"]["annotations"][labels.REVISION]

            world.propose({"web.yaml": WEB % 9}, author="eve", fork=True, labels=frozenset({"preview"}), updated="3")
            world.forge.labels[7] = Labelled("bob", "t", "", True)
            await look(world, running)
            assert app(world)["metadata"]["annotations"][labels.REVISION] == first, "what was let in stays, no more"
            assert "there was a push after the label" in world.previews()[7]["message"]

            world.propose({"web.yaml": WEB % 9}, author="eve", fork=True, updated="4")
            await look(world, running)
            assert world.made() == set(), "without the label it is gone"

    run(play)


def test_while_the_forge_is_away_previews_stay_and_production_is_ready() -> None:
    async def play() -> None:
        async with home() as (world, running):
            world.propose({"web.yaml": WEB % 2})
            await look(world, running)
            world.forge.failing = ForgeFailed("git.example.com doesn't answer", passes=True)
            await look(world, running)
            assert world.made() == {"Environment pr-7", "Application web-pr-7"}
            assert world.condition(types.GIT_SOURCE, "shop", "fleet")["status"] == "True"
            found = world.condition(types.GIT_SOURCE, "shop", "fleet", "PullRequests")
            assert found["status"] == "False"
            assert "git.example.com doesn't answer" in found["message"]
            world.forge.failing = None
            await look(world, running)
            assert "PullRequests" not in {entry["type"] for entry in world.status()["conditions"]}

    run(play)


def test_mirrors_are_told_which_heads_are_open() -> None:
    async def play() -> None:
        async with home() as (world, running):
            world.propose({"web.yaml": WEB % 2})
            await look(world, running)
            newer = world.propose({"web.yaml": WEB % 3}).head
            await look(world, running)
            assert list(running.mirrors.pulls.values()) == [{newer}]
            world.forge.failing = ForgeFailed("git.example.com doesn't answer", passes=True)
            await look(world, running)
            assert list(running.mirrors.pulls.values()) == [{newer}]
            world.forge.failing = None
            world.close()
            await look(world, running)
            assert list(running.mirrors.pulls.values()) == [set()]

    run(play)


def test_a_list_that_shifts_takes_no_preview_away() -> None:
    async def play() -> None:
        async with home() as (world, running):
            world.propose({"web.yaml": WEB % 2})
            await look(world, running)
            uid = world.get(types.ENVIRONMENT, "shop", "pr-7")["metadata"]["uid"]
            world.forge.missed = {7}
            await look(world, running)
            await look(world, running)
            assert world.get(types.ENVIRONMENT, "shop", "pr-7")["metadata"]["uid"] == uid
            assert world.previews()[7]["state"] == "Running"
            await running.stop()
            again = await world.operator()
            await again.settle()
            await look(world, again)
            assert world.get(types.ENVIRONMENT, "shop", "pr-7")["metadata"]["uid"] == uid, (
                "it was in no list it has read"
            )
            world.close()
            await look(world, again)
            assert world.made() == set(), "it is closed by the forge's word"
            await again.stop()

    run(play)


def test_its_time_runs_out_and_a_push_brings_it_back() -> None:
    async def play() -> None:
        async with home() as (world, running):
            world.propose({"web.yaml": WEB % 2})
            await look(world, running)
            await running.until(world.clock.seconds + 3700.0)
            await running.settle()
            assert world.made() == set()
            assert world.previews()[7]["state"] == "Expired"
            await look(world, running)
            assert world.made() == set(), "it isn't made again for the same commit"
            world.propose({"web.yaml": WEB % 3})
            await look(world, running)
            assert world.made() == {"Environment pr-7", "Application web-pr-7"}

    run(play)


def test_no_more_than_max_and_without_the_setting_none() -> None:
    async def play() -> None:
        async with home() as (world, running):
            for number in (1, 2, 3):
                world.propose({"web.yaml": WEB % (number + 1)}, number)
            await look(world, running)
            assert {entry["state"] for entry in world.previews().values()} == {"Running", "Waiting"}
            assert "max is 2" in world.previews()[3]["message"]
            world.close(1)
            await look(world, running)
            assert world.previews()[3]["state"] == "Running"
            await world.apply([{**world_source(world, enabled=False)}])
            await running.settle()
            assert world.made() == set()
            assert world.previews() == {}

    run(play)


def world_source(world: PreviewWorld, **fields: Any) -> dict[str, Any]:
    found = world.source()
    spec = {**found["spec"], "pullRequests": {**found["spec"]["pullRequests"], **fields}}
    metadata = {"name": "fleet", "namespace": "shop"}
    return {"apiVersion": found["apiVersion"], "kind": "GitSource", "metadata": metadata, "spec": spec}


def test_a_webhook_has_a_path_when_it_can_be_heard() -> None:
    async def play() -> None:
        async with home() as (world, running):
            await world.apply(
                [world_source(world) | {"spec": {**world.source()["spec"], "webhook": {"secretRef": {"name": "hook"}}}}]
            )
            await running.settle()
            assert "webhookPath" not in world.status()
            found = world.condition(types.GIT_SOURCE, "shop", "fleet", "Webhook")
            assert "was started without --webhook-listen" in found["message"]
            running.engine.context.gitops.hooks.listens = True
            await running.until(world.clock.seconds + 700.0)
            found = world.condition(types.GIT_SOURCE, "shop", "fleet", "Webhook")
            assert "Secret hook doesn't exist in namespace shop" in found["message"]
            await world.apply([secret("hook", token="czNjcmV0")])
            await running.settle()
            assert world.status()["webhookPath"].startswith("/hooks/")
            assert "Webhook" not in {entry["type"] for entry in world.status()["conditions"]}
            assert world.condition(types.GIT_SOURCE, "shop", "fleet")["status"] == "True"

    run(play)


def test_previews_go_with_their_source() -> None:
    async def play() -> None:
        async with home() as (world, running):
            world.propose({"web.yaml": WEB % 2})
            await look(world, running)
            await world.delete(types.GIT_SOURCE, "shop", "fleet")
            await running.settle()
            assert world.made() == set()
            assert (types.GIT_SOURCE, "shop", "fleet") not in world.client._objects
            assert not [key for key in world.client._objects if key[2] == "shop-pr-7"]

    run(play)


def test_what_cant_be_built_or_has_no_template_is_said() -> None:
    async def play() -> None:
        async with home() as (world, running):
            world.propose({"web.yaml": "kind: [\n"})
            world.propose({"a.txt": "nothing"}, 8)
            await look(world, running)
            assert world.previews()[7]["state"] == "Failed"
            assert "web.yaml:" in world.previews()[7]["message"]
            assert world.previews()[8]["state"] == "Failed"
            await world.delete(types.ENVIRONMENT, "shop", "preview")
            await look(world, running)
            assert (
                "Environment preview, the template of previews, isn't in namespace shop"
                in world.previews()[8]["message"]
            )
            await world.apply([{**TEMPLATE, "spec": {**TEMPLATE["spec"], "template": False}}])
            await look(world, running)
            assert "isn't a template" in world.previews()[8]["message"]

    run(play)


def test_what_is_somebody_elses_stays() -> None:
    async def play() -> None:
        async with home() as (world, running):
            theirs = {**TEMPLATE, "metadata": {"name": "pr-7", "namespace": "shop"}, "spec": {"isolation": "Open"}}
            await world.apply([theirs])
            await running.settle()
            world.propose({"web.yaml": WEB % 2})
            await look(world, running)
            assert world.made() == set()
            assert "Environment pr-7 is there and isn't a preview's" in world.previews()[7]["message"]
            assert world.get(types.ENVIRONMENT, "shop", "pr-7")["spec"] == {"isolation": "Open"}

    run(play)


def test_what_cant_be_removed_is_said_and_the_rest_goes() -> None:
    async def play() -> None:
        async with home() as (world, running):
            world.propose({"web.yaml": WEB % 2})
            await look(world, running)
            refusal = errors.Forbidden(403, "Forbidden", "a policy says no", ())
            world.client.fail(lambda call: (call.verb, call.name) == ("delete", "web-pr-7"), refusal, 1000)
            await running.until(world.clock.seconds + 3700.0)
            await running.settle()
            assert world.previews()[7]["state"] == "Expired"
            assert world.made() == {"Application web-pr-7"}, "the Environment goes, whatever is refused of the rest"
            found = world.condition(types.GIT_SOURCE, "shop", "fleet", "PullRequests")
            assert (found["status"], found["reason"]) == ("False", "AccessDenied")
            assert "a policy says no" in found["message"]

    run(play)


def test_what_a_commit_has_no_more_goes_whatever_is_refused_of_the_rest() -> None:
    async def play() -> None:
        async with home() as (world, running):
            world.propose({"web.yaml": WEB % 2, "db.yaml": (WEB % 1).replace("name: web}", "name: db}")})
            await look(world, running)
            assert "Application db-pr-7" in world.made()
            refusal = errors.Invalid(422, "Invalid", "no such thing", ())
            world.client.fail(lambda call: (call.verb, call.name) == ("apply", "web-pr-7"), refusal, 1000)
            world.propose({"web.yaml": WEB % 3})
            await look(world, running)
            assert "no such thing" in world.previews()[7]["message"]
            assert world.made() == {"Environment pr-7", "Application web-pr-7"}

    run(play)


def test_a_second_source_with_previews_is_told_at_once() -> None:
    async def play() -> None:
        async with home() as (world, running):
            settings = world.source()["spec"]["pullRequests"]
            await world.apply([source("second", pullRequests=settings, interval="10s")])
            await running.settle()
            told = world.condition(types.GIT_SOURCE, "shop", "second", "PullRequests")
            assert (told["status"], told["reason"]) == ("False", "NameTaken")
            assert told["message"].startswith(
                "GitSource fleet has previews, too; previews are named by their pull request's"
            )
            first = {entry["type"] for entry in world.status()["conditions"]}
            assert "PullRequests" not in first, "the first has them"

            world.propose({"web.yaml": WEB % 2})
            await look(world, running)
            assert world.previews()[7]["state"] == "Running"
            (entry,) = world.status("second")["previews"]
            assert (
                entry["state"] == "Failed"
                and "is a preview's of GitSource fleet; previews are named" in entry["message"]
            )
            assert app(world)["metadata"]["labels"][labels.PREVIEW_OF] == "fleet"

            await world.apply([source("second", interval="10s")])
            await running.settle()
            assert world.previews()[7]["state"] == "Running", "the other's isn't touched"
            second = {entry["type"] for entry in world.status("second")["conditions"]}
            assert "PullRequests" not in second

    run(play)
