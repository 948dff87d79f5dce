"""What the operator says of itself: /healthz, /readyz, /metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from homeport import handlers, main
from homeport.api import labels
from homeport.api.resource import parse
from homeport.drivers.kubernetes import types
from homeport.engine.metrics import Metrics
from homeport.engine.serve import Server, parse_bind
from homeport.outcome import Ok
from homeport.plan.catalog import Entry
from homeport.settings import Settings, lease_name


class Pages:
    """A server, and what is wrong with it."""

    def __init__(self) -> None:
        self.sick: list[str] = []
        self.busy: list[str] = []
        self.metrics = Metrics()
        self.server = Server(
            "127.0.0.1:0", health=lambda: self.sick, ready=lambda: self.busy, metrics=self.metrics.render
        )

    async def get(self, path: str) -> tuple[int, str]:
        address = f"http://127.0.0.1:{self.server.port}{path}"
        async with aiohttp.ClientSession() as session, session.get(address) as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def pages() -> AsyncIterator[Pages]:
    pages = Pages()
    await pages.server.start()
    yield pages
    await pages.server.stop()


async def test_health_and_readiness(pages: Pages) -> None:
    assert await pages.get("/healthz") == await pages.get("/readyz") == (200, "ok\n")
    pages.busy.append("the caches are not filled yet")
    assert await pages.get("/readyz") == (503, "the caches are not filled yet\n")
    assert (await pages.get("/healthz"))[0] == 200
    pages.sick += ["one thing", "another"]
    assert await pages.get("/healthz") == (503, "one thing\nanother\n")


async def test_metrics(pages: Pages) -> None:
    metrics = pages.metrics
    metrics.observe_reconcile("Application", "Ok", 0.02)
    metrics.observe_call("apply", types.DEPLOYMENT, 200, 0.01)
    metrics.observe_call("apply", types.DEPLOYMENT, 429, 0.01)
    metrics.observe_call("get", None, 0, 0.01)
    metrics.observe_wait(0.3)
    metrics.mended("Application", 2)
    metrics.queue_depth, metrics.queue_oldest, metrics.leader = lambda: 3, lambda: 1.5, lambda: True
    metrics.watch_ages = lambda: {"Deployment": 7.0}
    metrics.resources = lambda: {("Application", True): 4, ("Application", False): 1}
    code, text = await pages.get("/metrics")
    assert code == 200
    for line in (
        'homeport_reconcile_outcomes_total{kind="Application",outcome="Ok"} 1.0',
        'homeport_reconcile_duration_seconds_bucket{kind="Application",le="0.025"} 1.0',
        'homeport_reconcile_duration_seconds_bucket{kind="Application",le="0.01"} 0.0',
        'homeport_api_calls_total{code="200",kind="Deployment",verb="apply"} 1.0',
        'homeport_api_calls_total{code="429",kind="Deployment",verb="apply"} 1.0',
        'homeport_api_calls_total{code="0",kind="",verb="get"} 1.0',
        "homeport_queue_wait_seconds_count 1.0",
        'homeport_drift_mended_total{kind="Application"} 2.0',
        "homeport_queue_depth 3.0",
        "homeport_queue_oldest_seconds 1.5",
        "homeport_leader 1.0",
        'homeport_watch_age_seconds{kind="Deployment"} 7.0',
        'homeport_resources{kind="Application",ready="true"} 4.0',
        'homeport_resources{kind="Application",ready="false"} 1.0',
    ):
        assert line in text.splitlines(), line
    assert metrics.writes() == 2


@pytest.mark.parametrize(
    ("bind", "expected"),
    [(":8080", ("", 8080)), ("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:9", ("::1", 9))],
)
def test_addresses(bind: str, expected: tuple[str, int]) -> None:
    assert parse_bind(bind) == expected


@pytest.mark.parametrize("bind", ["", "8080", "host", "host:x", "host:70000"])
def test_what_is_no_address(bind: str) -> None:
    with pytest.raises(ValueError, match="write host:port"):
        parse_bind(bind)


@pytest.fixture
async def operator(tmp_path: Path) -> AsyncIterator[main.Operator]:
    path = tmp_path / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "x", "cluster": {"server": "http://127.0.0.1:1"}}],
                "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
                "users": [{"name": "x", "user": {}}],
                "current-context": "x",
            }
        )
    )
    operator = main.Operator(Settings(kubeconfig=str(path)))
    yield operator
    await operator.client.close()


async def test_ready_once_the_caches_are_filled(operator: main.Operator) -> None:
    assert operator.readiness() == ["the caches are not filled yet"]
    assert operator.health() == []
    operator.synced = True
    assert operator.readiness() == []
    operator.stopping.set()
    assert operator.readiness() == ["stopping"]


async def test_unhealthy_when_a_watch_has_gone_silent(operator: main.Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator.cluster, "ages", lambda: {"Deployment": 200.0, "Service": 5.0})
    assert operator.health() == [], "nothing is silent before it has spoken"
    operator.synced = True
    assert operator.health() == ["watch Deployment silent for 200 s"]
    operator.behind = ["Application/shop/web"]
    assert len(operator.health()) == 1, "it is opened anew first"
    operator._reopened = 3
    assert "behind: Application/shop/web" in operator.health()[1]


async def test_resources_are_counted_by_readiness(operator: main.Operator) -> None:
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    for number, status in enumerate((ready, ready, {}, None)):
        metadata = {"name": f"app-{number}", "namespace": "shop", "uid": str(number), "resourceVersion": "1"}
        body = {"apiVersion": labels.API_VERSION, "kind": "Application", "metadata": metadata, "status": status}
        operator.engine.seen(body)
    operator._connect_metrics()
    text = operator.metrics.render().decode()
    assert 'homeport_resources{kind="Application",ready="true"} 2.0' in text
    assert 'homeport_resources{kind="Application",ready="false"} 2.0' in text


async def test_whoever_took_over_meanwhile_ends_us(operator: main.Operator) -> None:
    """Leadership that was merely lost out of sight is taken up again; after another's term it is not."""

    class Leader:
        transitions = 4

    operator.leader = Leader()  # type: ignore[assignment]
    operator._started()
    assert operator.leading
    await operator._stopped()
    assert not operator.leading and not operator.stopping.is_set()
    Leader.transitions = 5  # given back, and taken again
    operator._started()
    assert operator.leading and not operator.stopping.is_set()
    await operator._stopped()
    Leader.transitions = 7
    operator._started()
    assert operator.stopping.is_set() and not operator.leading
    await operator.engine.stop(0.1)


def test_operators_of_different_scopes_do_not_wait_for_each_other() -> None:
    scopes = [{}, {"shard": "homeport.dev/shard=a"}, {"shard": "homeport.dev/shard=b"}, {"namespaces": ("a", "b")}]
    names = {lease_name(Settings(**scope)) for scope in scopes}
    assert len(names) == 4 and "homeport-operator" in names
    assert lease_name(Settings(namespaces=("b", "a"))) in names


@pytest.mark.parametrize(("namespaces", "shard"), [(("shop",), None), ((), "homeport.dev/shard=a")])
async def test_everybodys_items_are_seen_and_left_to_others(
    operator: main.Operator, namespaces: tuple[str, ...], shard: str | None
) -> None:
    operator.settings = dataclasses.replace(operator.settings, namespaces=namespaces, shard=shard)
    assert "homeport.dev/catalogitems" not in str(handlers.settings(shard).watching.label_selectors)

    def item(namespace: str, kind: str = "CatalogItem", **marks: str) -> dict[str, Any]:
        metadata = {"name": "it", "namespace": namespace, "uid": "u", "generation": 1, "resourceVersion": "1"}
        spec = {"git": {"url": "https://a/b", "ref": {"branch": "main"}}}
        return {"apiVersion": labels.API_VERSION, "kind": kind, "metadata": {**metadata, "labels": marks}, "spec": spec}

    everybodys, mark = item("homeport-system"), {"homeport.dev/shard": "a"}
    assert operator._selects(everybodys)
    assert not operator._reports(parse(everybodys))
    assert operator._reports(parse(item("shop", **mark)))
    if namespaces:
        assert not operator._selects(item("homeport-system", "Application"))
        assert not operator._selects(item("other"))


async def test_what_another_operator_answers_for_is_only_read(operator: main.Operator) -> None:
    operator.settings = dataclasses.replace(operator.settings, namespaces=("shop",))
    metadata = {"name": "it", "namespace": "homeport-system", "uid": "u", "generation": 1, "resourceVersion": "1"}
    versions = [{"name": "1", "image": "team/it:1"}]
    item = {"title": "It", "description": "It.", "category": "Test", "versions": versions}
    spec = {"item": item, "templates": {"main": "name: {{ name }}\ntype: worker\nimage: {{ image | tojson }}\n"}}
    body = {"apiVersion": labels.API_VERSION, "kind": "CatalogItem", "metadata": metadata, "spec": spec}
    operator.engine.seen(body)
    outcome = await operator.engine.process(labels.OwnerKey("CatalogItem", "homeport-system", "it"))
    assert isinstance(outcome, Ok), "no API server is there to be written to"
    found, source = operator.engine.context.catalog_items.find("shop", "it")
    assert (isinstance(found, Entry), source) == (True, "Shared")
