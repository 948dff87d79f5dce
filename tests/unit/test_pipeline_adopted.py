"""An adopted repository: what was there before stays, and what Homeport made goes, also after a run that was killed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pulumi")
import pulumi

from homeport.drivers.forge.setup import Spec
from homeport.pipelines.repository import Repository
from homeport_pipelines import program, provider
from pulumi_mocks import mocked

COMMON = {"forge": {}, "repository": "team/fleet"}
ABOUT = {**COMMON, "spec": {"description": ""}, "adopt": True, "protect": True}


class Part:
    """One kind of thing, kept by key."""

    def __init__(self, there: dict[str, Spec]) -> None:
        self.there = there

    async def observe(self, key: str) -> Spec | None:
        """What is there."""
        return self.there.get(key)

    async def put(self, key: str, spec: Spec, value: str, found: Spec | None) -> None:
        """Keep it."""
        self.there[key] = dict(spec)

    async def remove(self, key: str) -> None:
        """Drop it."""
        self.there.pop(key, None)


class Client:
    """A repository of somebody's, with a label of theirs."""

    def __init__(self) -> None:
        self.labels = {"bug": {"color": "#ff0000"}}
        about = {"description": "", "made": False, "topics": []}
        self.parts = {"repository": Part({"": about}), "label": Part(self.labels)}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    found = Client()

    @asynccontextmanager
    async def connected(props: Any) -> AsyncIterator[Any]:
        yield found, None

    monkeypatch.setattr(provider, "connected", connected)
    return found


def label(name: str, repository: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a label."""
    more = {"kind": "label", "key": name, "label": f"label {name}", "spec": {"color": "#00ff00"}, "adopted": True}
    return {**COMMON, **more, "before": repository["before"]}


def test_what_a_killed_run_made_goes_and_what_was_there_stays(client: Client) -> None:
    repository = provider.RepositoryProvider().create({**ABOUT, "settings": ["label/bug", "label/preview"]}).outs
    assert repository["before"] == ["label/bug"]
    settings = provider.SettingProvider()
    settings.create(label("preview", repository))  # killed here: the state has nothing of it
    made = [settings.create(label(name, repository)) for name in ("bug", "preview")]
    assert {one.id: one.outs["kept"] for one in made} == {"label/bug": True, "label/preview": False}
    # Changed, and refreshed, it is whose it was.
    for one in made:
        one.outs = settings.update(one.id, one.outs, label(one.outs["key"], repository)).outs
        settings.delete(one.id, settings.read(one.id, one.outs).outs)
    assert set(client.labels) == {"bug"}


def test_what_is_wanted_later_is_looked_for_then(client: Client) -> None:
    repository = provider.RepositoryProvider()
    olds = repository.create({**ABOUT, "settings": ["label/bug", "label/preview"]}).outs
    provider.SettingProvider().create(label("preview", olds))
    client.labels["theirs"] = {"color": "#0000ff"}
    news = {**ABOUT, "settings": ["label/bug", "label/preview", "label/theirs", "label/new"]}
    assert repository.diff("team/fleet", olds, news).changes
    outs = repository.update("team/fleet", olds, news).outs
    assert outs["before"] == ["label/bug", "label/theirs"]
    # Killed while the update's own answer is kept: it is done again, and nothing has been made meanwhile.
    assert repository.update("team/fleet", olds, news).outs == outs
    assert repository.update("team/fleet", outs, {**ABOUT, "settings": ["label/new"]}).outs["before"] == []


def test_in_one_of_homeport_s_own_everything_is_its_own(client: Client) -> None:
    client.parts["repository"].there[""]["made"] = True
    given = {**ABOUT, "adopt": False, "settings": []}
    client.parts["repository"].there[""]["topics"] = [provider.mark("team/fleet")]
    repository = provider.RepositoryProvider().create(given).outs
    assert repository["before"] == []
    made = provider.SettingProvider().create({**label("bug", repository), "adopted": False})
    provider.SettingProvider().delete(made.id, made.outs)
    assert client.labels == {}


class Engine(pulumi.runtime.Mocks):
    """Takes everything; the repository had one label before."""

    def __init__(self) -> None:
        self.inputs: dict[str, dict[str, Any]] = {}

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        """A resource with its inputs as outputs."""
        self.inputs[args.name] = dict(args.inputs)
        more = {"made": False, "before": ["label/bug"]} if args.typ.endswith("Repository") else {}
        return args.name, {**args.inputs, **more}

    def call(self, args: pulumi.runtime.MockCallArgs) -> Any:
        """None is expected."""
        raise AssertionError(args.token)


@pytest.mark.parametrize("adopt", [True, False])
def test_settings_are_told_what_was_there(adopt: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOMEPORT_FORGE_TOKEN", "t")
    labels = [{"name": "bug"}, {"name": "preview"}]
    block = Repository.model_validate(
        {"forge": "github", "owner": "team", "name": "fleet", "adopt": adopt, "labels": labels}
    )
    engine = mocked(Engine(), project="homeport-pipelines", stack="fleet")
    pulumi.runtime.test(lambda: program.declare(program.prepare(block, tmp_path, {"Jenkinsfile": "x"})))()
    assert engine.inputs["team/fleet"]["settings"] == (["label/bug", "label/preview"] if adopt else [])
    for name in ("bug", "preview"):
        assert engine.inputs[name]["before"] == (["label/bug"] if adopt else [])
    assert engine.inputs["pipeline"]["made"] is False
