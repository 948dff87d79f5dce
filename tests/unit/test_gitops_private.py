"""What only the operator is to read goes into no object: a repository says where values go to, which many read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gitops_world import GitWorld, config, namespace, source
from homeport.api import labels
from homeport.drivers.kubernetes import types

FILES = {"main/a.yaml": config("a", x="${TOKEN}"), "leak/a.yaml": config("leak", x="${TOKEN}")}
FORGE = {
    "forge": {"provider": "Gitea", "tokenSecretRef": {"name": "forge", "key": "TOKEN"}},
    "authors": ["team"],
    "environment": {"templateRef": {"name": "preview"}},
    "enabled": False,
}


def secret(name: str, marks: dict[str, str] | None = None) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "labels": marks or {}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"TOKEN": "aHVudGVyMg=="}}


def values(way: str, name: str) -> dict[str, Any]:
    ref = {"kind": "Secret", "name": name}
    return {
        "substitute": True,
        **({"variablesFrom": [ref]} if way == "variablesFrom" else {"helm": {"valuesFrom": [ref]}}),
    }


def told(world: GitWorld) -> tuple[str, str]:
    found = world.condition(types.GIT_SOURCE, "shop", "leak")
    return found["reason"], found["message"]


@pytest.mark.parametrize("way", ["variablesFrom", "valuesFrom"])
def test_the_token_of_another_source_goes_into_no_object(way: str) -> None:
    async def play() -> None:
        world = GitWorld()
        world.repository.push(FILES)
        await world.apply([namespace(), secret("forge")])
        await world.apply([source(path="./main", pullRequests=FORGE)])
        await world.apply([source("leak", path="./leak", build=values(way, "forge"))])
        running = await world.operator()
        await running.settle()
        text = "Secret forge goes into no object: GitSource fleet talks to its forge with it; make one for this"
        assert told(world) == ("AccessDenied", text)
        assert world.inventory("leak") == []
        assert not any("leak" in str(entry) for entry in world.inventory())
        await running.stop()

    asyncio.run(asyncio.wait_for(play(), 60))


def test_what_a_label_keeps_is_free_once_the_label_is_gone() -> None:
    async def play() -> None:
        world = GitWorld()
        world.repository.push(FILES)
        await world.apply([namespace(), secret("own", {labels.PRIVATE: "true"})])
        await world.apply([source("leak", path="./leak", build=values("variablesFrom", "own"))])
        running = await world.operator()
        await running.settle()
        assert told(world)[0] == "AccessDenied" and labels.PRIVATE in told(world)[1]
        await world.apply([secret("own")])
        await running.settle()
        assert told(world)[0] == "ReconciliationSucceeded"
        assert world.get(types.CONFIG_MAP, "shop", "leak")["data"] == {"x": "hunter2"}
        await running.stop()

    asyncio.run(asyncio.wait_for(play(), 60))
