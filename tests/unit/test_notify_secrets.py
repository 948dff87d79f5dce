"""A Notification sends no Secret that only the operator is to read: a repository may write one, and may read none."""

from __future__ import annotations

from typing import Any

import pytest

from gitops_world import URL
from homeport.api.labels import API_VERSION
from homeport.drivers.kubernetes import types
from update_world import UpdateWorld


def ours(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "spec": spec}


@pytest.mark.parametrize(
    "spec",
    [
        {"slack": {"urlSecretRef": {"name": "git", "key": "password"}}},
        {"webhook": {"url": "https://a.example.com", "headersSecretRef": {"name": "git"}}},
        {"webhook": {"url": "https://a.example.com", "secretRef": {"name": "git", "key": "password"}}},
        {
            "email": {
                "server": "a.example.com:25",
                "from": "a@b",
                "to": ["a@b"],
                "credentialsSecretRef": {"name": "git"},
            }
        },
    ],
)
async def test_what_a_source_logs_in_with_is_not_sent(spec: dict[str, Any]) -> None:
    world = UpdateWorld()
    world.ours = (*world.ours, types.NOTIFICATION)
    data = {"username": "dQ==", "password": "cA=="}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git", "namespace": "shop"}, "data": data}
    source = {"url": URL, "ref": {"branch": "main"}, "credentialsSecretRef": {"name": "git"}, "suspend": True}
    await world.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}, secret])
    await world.apply(
        [ours("Project", "shop", {}), ours("GitSource", "fleet", source), ours("Notification", "ops", spec)]
    )
    running = await world.operator()
    await running.settle()
    desk = running.engine.context.notices.desk(running.engine.store.keys("Notification")[0])
    assert desk is not None
    assert desk.way is None
    found = world.condition(types.NOTIFICATION, "shop", "ops")
    assert found["reason"] == "AccessDenied"
    assert found["message"].startswith("Secret git isn't sent anywhere: GitSource fleet ")
    await running.stop()
