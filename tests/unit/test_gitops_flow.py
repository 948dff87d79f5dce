"""A GitSource's life on a cluster and a repository in memory: from a push to its status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gitops_world import GitRunning, GitWorld, config, namespace, source
from homeport.api import labels
from homeport.drivers.kubernetes import types

Play = Callable[[GitWorld, GitRunning], Awaitable[None]]


@asynccontextmanager
async def home(files: dict[str, str], **spec: Any) -> AsyncIterator[tuple[GitWorld, GitRunning]]:
    """A namespace, a repository with these files, a source that reads it, and an operator."""
    world = GitWorld()
    await world.apply([namespace()])
    world.repository.push(files)
    await world.apply([source(**spec)])
    running = await world.operator()
    try:
        await running.settle()
        yield world, running
    finally:
        await running.stop()


def run(play: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(play(), 60))


def ready(world: GitWorld, name: str = "fleet") -> tuple[str, str, str]:
    found = world.condition(types.GIT_SOURCE, "shop", name)
    return found["status"], found["reason"], found["message"]


def healthy(world: GitWorld, name: str = "fleet") -> tuple[str, str, str]:
    found = world.condition(types.GIT_SOURCE, "shop", name, "Healthy")
    return found["status"], found["reason"], found["message"]


def there(world: GitWorld) -> dict[str, Any]:
    return {name: found.get("data") for (gvk, ns, name), found in world.client._objects.items()
            if gvk == types.CONFIG_MAP and ns == "shop"}  # fmt: skip


TWO = {"a.yaml": config("a", x="1"), "b.yaml": config("b", x="1")}


def test_a_push_is_applied_and_told() -> None:
    async def play() -> None:
        async with home(TWO) as (world, running):
            assert there(world) == {"a": {"x": "1"}, "b": {"x": "1"}}
            status = world.status()
            revision = f"main@sha1:{world.repository.head}"
            assert ready(world) == ("True", "ReconciliationSucceeded", f"{revision[:22]}: 2 objects applied and ready")
            assert status["lastAppliedRevision"] == status["lastAttemptedRevision"] == revision
            assert world.inventory() == ["shop_a__ConfigMap", "shop_b__ConfigMap"]
            assert status["resources"] == {"ready": 2, "total": 2}
            assert [entry["objects"] for entry in status["history"]] == [2]
            marks = world.get(types.CONFIG_MAP, "shop", "a")["metadata"]["labels"]
            assert (marks[labels.SOURCE_NAMESPACE], marks[labels.SOURCE_NAME]) == ("shop", "fleet")

            world.repository.push({**TWO, "a.yaml": config("a", x="2")})
            await running.settle()
            assert there(world)["a"] == {"x": "2"}
            assert [entry["revision"] for entry in world.status()["history"]] == [
                f"main@sha1:{world.repository.head}", revision,
            ]  # fmt: skip

    run(play)


def test_what_changes_nothing_writes_nothing() -> None:
    async def play() -> None:
        async with home({**TWO, "other/readme.md": "1"}, path="./") as (world, running):
            before = len(running.gate.writes)
            version = world.source()["metadata"]["resourceVersion"]
            world.repository.push({**TWO, "other/readme.md": "2"})
            await running.settle()
            assert running.gate.writes[before:] == []
            assert world.source()["metadata"]["resourceVersion"] == version

    run(play)


def test_a_restart_writes_nothing() -> None:
    async def play() -> None:
        async with home(TWO) as (world, _):
            again = await world.operator()
            await again.settle()
            assert again.gate.writes == []
            await again.stop()

    run(play)


def test_a_broken_file_leaves_the_last_good_revision_whole() -> None:
    async def play() -> None:
        async with home(TWO) as (world, running):
            good = world.repository.head
            world.repository.push({"a.yaml": config("a", x="2"), "b.yaml": "kind: ConfigMap\nmetadata: {name: [\n"})
            await running.settle()
            status, reason, message = ready(world)
            assert (status, reason) == ("False", "BuildFailed")
            assert message.startswith("b.yaml:") and message.endswith(f"; main@sha1:{good[:12]} stays applied")
            assert there(world) == {"a": {"x": "1"}, "b": {"x": "1"}}
            assert world.status()["lastAttemptedRevision"] == f"main@sha1:{world.repository.head}"
            assert world.status()["lastAppliedRevision"] == f"main@sha1:{good}"

            # What somebody changes meanwhile is mended all the same.
            await world.client.apply(
                types.CONFIG_MAP, "shop", "a",
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "shop"},
                 "data": {"x": "9"}}, manager="kubectl",
            )  # fmt: skip
            await running.settle()
            assert there(world)["a"] == {"x": "1"}

            world.repository.push(TWO)
            await running.settle()
            assert ready(world)[0] == "True"
            assert world.status()["lastAttemptedRevision"] == f"main@sha1:{world.repository.head}"

    run(play)


def test_what_leaves_is_pruned_and_too_much_is_not() -> None:
    async def play() -> None:
        files = {f"{name}.yaml": config(name, x="1") for name in "abcdef"}
        async with home(files) as (world, running):
            del files["f.yaml"]
            world.repository.push(files)
            await running.settle()
            assert sorted(there(world)) == list("abcde")
            assert len(world.inventory()) == 5

            world.repository.push({"a.yaml": files["a.yaml"]})
            await running.settle()
            status, reason, message = ready(world)
            assert (status, reason) == ("False", "PruneGuard")
            assert labels.ALLOW_PRUNE_AT in message
            assert sorted(there(world)) == list("abcde")
            assert world.status()["plan"]["delete"] == 4

            await world.apply([source(annotations={labels.ALLOW_PRUNE_AT: "now"})])
            await running.settle()
            assert sorted(there(world)) == ["a"]
            assert ready(world)[0] == "True"
            assert world.status()["lastHandledAllowPruneAt"] == "now"
            assert "plan" not in world.status()

            # The same value allows nothing more.
            world.repository.push({})
            await running.settle()
            assert sorted(there(world)) == ["a"]

    run(play)


def test_what_takes_the_place_of_most_is_asked_for_too() -> None:
    """Were the new made meanwhile, the old would be no more than half of what there is at the next look."""

    async def play() -> None:
        async with home({f"{name}.yaml": config(name, x="1") for name in "abcde"}) as (world, running):
            world.repository.push({f"{name}.yaml": config(name, x="1") for name in "vwxyz"})
            await running.settle()
            await running.settle()
            assert ready(world)[1] == "PruneGuard"
            assert sorted(there(world)) == list("abcde"), "neither made nor removed"
            assert len(world.inventory()) == 5
            assert world.status()["plan"]["create"] == world.status()["plan"]["delete"] == 5
            await world.apply([source(annotations={labels.ALLOW_PRUNE_AT: "now"})])
            await running.settle()
            assert sorted(there(world)) == list("vwxyz")

    run(play)


def test_drift_is_mended_and_told() -> None:
    async def play() -> None:
        async with home(TWO) as (world, running):
            await touch(world, "a", x="9")
            await running.settle()
            assert there(world)["a"] == {"x": "1"}
            (entry,) = world.status()["drift"]
            assert (entry["object"], entry["field"], entry["manager"], entry["mended"]) == (
                "ConfigMap shop/a", "data.x", "kubectl", True,
            )  # fmt: skip
            assert any(reason == "DriftDetected" for _, reason, _ in running.events)

    run(play)


def test_drift_is_told_only_when_that_is_asked_for() -> None:
    async def play() -> None:
        async with home(TWO, driftDetection={"mode": "Warn"}) as (world, running):
            await touch(world, "a", x="9")
            await running.settle()
            assert there(world)["a"] == {"x": "9"}
            assert world.status()["drift"][0].get("mended", False) is False
            status, _, message = ready(world)
            assert status == "True" and "not as in Git: ConfigMap shop/a data.x (kubectl)" in message
            before = len(running.gate.writes)
            await running.settle(30)
            assert running.gate.writes[before:] == []

            await world.apply([source(driftDetection={"mode": "Warn"}, annotations={labels.RECONCILE_AT: "1"})])
            await running.settle()
            assert there(world)["a"] == {"x": "1"}, "a sync mends"
            assert world.status()["lastHandledReconcileAt"] == "1"
            assert running.mirrors.pokes == [running.mirrors.pokes[0]]

    run(play)


async def touch(world: GitWorld, name: str, **data: str) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}, "data": data}
    await world.client.apply(types.CONFIG_MAP, "shop", name, body, manager="kubectl")


def test_a_dry_run_changes_nothing_and_says_what_would_be() -> None:
    async def play() -> None:
        async with home(TWO, dryRun=True) as (world, running):
            assert there(world) == {}
            assert world.status()["plan"]["create"] == 2
            assert [entry["object"] for entry in world.status()["plan"]["entries"]] == [
                "ConfigMap shop/a", "ConfigMap shop/b",
            ]  # fmt: skip
            assert ready(world)[0] == "True"
            assert "2 made" in ready(world)[2]
            made = {write for write in running.gate.writes if "GitSource" not in write}
            assert made == {"apply ServiceAccount shop/homeport-source", "apply RoleBinding shop/homeport-source"}, (
                "the account that is asked as"
            )

    run(play)


def test_pinned_it_stays_though_git_is_down() -> None:
    async def play() -> None:
        async with home(TWO) as (world, running):
            old = world.repository.head
            world.repository.push({**TWO, "a.yaml": config("a", x="2")})
            await running.settle()
            world.repository.down = True
            await world.apply([source(annotations={labels.PIN: old})])
            await running.settle()
            assert there(world)["a"] == {"x": "1"}
            status, _, message = ready(world)
            assert status == "True" and f"pinned to {old[:12]}" in message
            assert world.status()["pinned"] == old
            assert world.status()["history"][0]["revision"] == f"main@sha1:{old}"
            assert len(world.status()["history"]) == 2, "deduplicated"

            world.repository.down = False
            await world.apply([source()])
            await running.settle()
            assert there(world)["a"] == {"x": "2"}
            assert "pinned" not in world.status()

    run(play)


def test_git_that_is_down_is_told_and_takes_nothing_away() -> None:
    async def play() -> None:
        async with home(TWO) as (world, running):
            world.repository.down = True
            world.repository.tell()
            await running.until(world.clock.seconds + 5)
            assert ready(world)[:2] == ("False", "FetchFailed")
            assert len(there(world)) == 2
            assert healthy(world) == ("True", "ReconciliationSucceeded", "2 objects ready")

    run(play)


SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: LoadBalancer, ports: [{port: 80}]}\n"


def test_what_is_applied_is_healthy_or_not_whatever_becomes_of_newer_commits() -> None:
    async def play() -> None:
        async with home({"web.yaml": SERVICE}, timeout="30s") as (world, running):
            assert healthy(world)[:2] == ("False", "Progressing")
            assert "0 of 1 objects ready; Service shop/web" in healthy(world)[2]
            await running.until(world.clock.seconds + 40)
            assert healthy(world)[:2] == ready(world)[:2] == ("False", "HealthCheckFailed")

            balancer = {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}
            await world.client.patch(types.SERVICE, "shop", "web", {"status": balancer}, subresource="status")
            world.repository.push({"web.yaml": SERVICE, "broken.yaml": "a: [b"})
            await running.settle()
            assert ready(world)[:2] == ("False", "BuildFailed")
            assert healthy(world) == ("True", "ReconciliationSucceeded", "1 object ready")

    run(play)


@pytest.mark.parametrize(("prune", "left"), [(True, []), (False, ["a", "b"])])
def test_deletion(prune: bool, left: list[str]) -> None:
    async def play() -> None:
        async with home(TWO, prune=prune) as (world, running):
            await world.delete(types.GIT_SOURCE, "shop", "fleet")
            await running.settle()
            assert sorted(there(world)) == left
            kinds = {gvk.kind for gvk, _, _ in world.client._objects}
            assert "GitSource" not in kinds
            assert not kinds & {"ServiceAccount", "RoleBinding"}, "the account goes with the last source"

    run(play)


def test_the_account_is_made_once_and_goes_with_the_last() -> None:
    async def play() -> None:
        async with home({"a.yaml": config("a", x="1")}) as (world, running):
            binding = world.get(types.ROLE_BINDING, "shop", "homeport-source")
            assert binding["roleRef"]["name"] == "homeport-source"
            assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "homeport-source", "namespace": "shop"}]
            await world.apply([source("second", path="./none", dependsOn=[{"name": "fleet"}])])
            await running.settle()
            assert sum("ServiceAccount" in write for write in running.gate.writes) == 1
            await world.delete(types.GIT_SOURCE, "shop", "second")
            await running.settle()
            world.get(types.SERVICE_ACCOUNT, "shop", "homeport-source")

    run(play)


def test_it_waits_for_what_it_depends_on() -> None:
    async def play() -> None:
        async with home(TWO, dependsOn=[{"name": "base"}]) as (world, running):
            assert there(world) == {}
            assert ready(world)[1:] == ("DependencyNotReady", "waits for GitSource base, which isn't there")
            await world.apply([source("base", dependsOn=[{"name": "fleet"}])])
            await running.settle()
            told = "sources wait for each other: shop/fleet → shop/base → shop/fleet; take one"
            assert ready(world)[1] == "DependencyCycle" and ready(world)[2].startswith(told)
            await world.apply([source("base", path="./empty")])
            world.repository.push({**TWO, "empty/c.yaml": config("c", x="1")})
            await running.settle()
            assert ready(world, "base")[0] == "True"
            assert ready(world)[:2] == ("False", "Conflict"), "c is the other's"

    run(play)


def test_a_condition_on_any_object() -> None:
    async def play() -> None:
        expression = "dep.data.go == 'yes'"
        wanted = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "flag", "readyExpr": expression}]
        async with home(TWO, dependsOn=wanted) as (world, running):
            await touch(world, "flag", go="no")
            await running.settle()
            assert ready(world)[1:] == ("DependencyNotReady", f"waits for ConfigMap flag: {expression} isn't true")
            await touch(world, "flag", go="yes")
            await running.settle()
            assert ready(world)[0] == "True"

    run(play)


def test_archived_with_its_project_and_not_by_its_own() -> None:
    project = "apiVersion: homeport.dev/v1alpha1\nkind: Project\nmetadata: {name: shop}\nspec: {archived: %s}\n"

    async def play() -> None:
        other = {"x/c.yaml": config("c", x="1")}
        async with home({"main/project.yaml": project % "false", **other}, path="./main") as (world, running):
            await world.apply([source("other", path="./x")])
            await running.settle()
            world.repository.push({"main/project.yaml": project % "true", **other})
            await running.settle()
            assert ready(world, "other")[1] == "Archived"
            assert [key.name for key in running.mirrors.wants] == ["fleet"], "nobody asks Git for it"
            assert ready(world)[1] != "Archived", "only the source of the Project itself can undo it"
            world.repository.push({"main/project.yaml": project % "false", **other})
            await running.settle()
            assert ready(world, "other")[1] == "ReconciliationSucceeded"

    run(play)


def test_what_it_names_is_waited_for() -> None:
    async def play() -> None:
        async with home(TWO, credentialsSecretRef={"name": "git"}) as (world, running):
            told = "Secret git doesn't exist in namespace shop; create it"
            assert ready(world)[1:] == ("DependencyNotReady", told)
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git", "namespace": "shop"},
                      "data": {"username": "dQ==", "password": "cA=="}}  # fmt: skip
            await world.apply([secret])
            await running.settle()
            assert ready(world)[0] == "True"
            (want,) = running.mirrors.wants.values()
            assert (want.credentials.username, want.credentials.password) == ("u", "p")

    run(play)


def test_a_source_of_another_shard_isnt_gone() -> None:
    """Another operator looks after it: that it isn't in our store says nothing."""

    async def play() -> None:
        world = GitWorld()
        await world.apply([namespace(), source("other"), source()])
        marks = {labels.SOURCE_NAMESPACE: "shop", labels.SOURCE_NAME: "other", labels.MANAGED_BY: labels.MANAGER}
        theirs = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"x": "theirs"}}
        await world.apply([{**theirs, "metadata": {"name": "a", "namespace": "shop", "labels": marks}}])
        adopting = config("a", x="ours").replace(
            "  name: a\n", '  name: a\n  annotations: {homeport.dev/adopt: "true"}\n'
        )
        world.repository.push({"a.yaml": adopting})
        running = GitRunning(world)
        running.engine._selects = lambda body: body["metadata"].get("name") != "other"
        await running.start()
        try:
            await running.settle()
            assert there(world) == {"a": {"x": "theirs"}}
            assert "belongs to GitSource shop/other" in ready(world)[2]
            world.client._objects.pop((types.GIT_SOURCE, "shop", "other"))
            running.mirrors._told()
            await running.until(world.clock.seconds + 3600.0)
            await running.settle()
            assert there(world) == {"a": {"x": "ours"}}
        finally:
            await running.stop()

    run(play)
