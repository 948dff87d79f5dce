"""A repository set up by ``pipeline up`` leads into Homeport: its webhook wakes a GitSource, with no poll and no token.

A real Gitea, Pulumi's real engine, a control plane and the operator.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from api_server import ApiServer
from gitea_server import GiteaRepository, GiteaServer
from homeport.drivers.kubernetes import types
from localplane.commands import install
from localplane.controlplane import ControlPlane
from localplane.kubectl import Kubectl
from operators import Operator
from stack_cli import Cli

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
pytest.importorskip("pulumi")

PATIENCE = 180.0
SIGNS = "what-signs-deliveries"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane"), ephemeral=True) as found:
        install(Kubectl(found.kubectl, str(found.kubeconfig)))
        yield found


@pytest.fixture(scope="module")
def receiver(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the operator takes webhooks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    process = Operator(plane.kubeconfig, tmp_path_factory.mktemp("operator") / "log", "--webhook-listen", listen)
    process.start()
    try:
        asyncio.run(process.wait_leading())
        yield f"http://{listen}"
    finally:
        process.kill(signal.SIGTERM)


@pytest.fixture
def cli(plane: ControlPlane, gitea: GiteaServer, tmp_path: Path) -> Cli:
    made = Cli(tmp_path, "pipeline")
    made.environment |= {"HOMEPORT_FORGE_TOKEN": gitea.token("team"), "KUBECONFIG": str(plane.kubeconfig)}
    return made


def ours(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop"}
    return {"apiVersion": "homeport.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def pipeline(gitea: GiteaServer, receiver: str) -> dict[str, Any]:
    """A pipeline.yaml whose repository tells GitSource shop/fleet of pushes."""
    hook = {
        "name": "homeport",
        "gitSource": {"namespace": "shop", "name": "fleet", "receiver": receiver},
        "secret": {"secret": {"namespace": "shop", "name": "hook"}},
    }
    where = {"forge": "gitea", "url": gitea.url, "owner": "team", "name": "fleet", "visibility": "public"}
    return {
        "name": "fleet",
        "homeport": "homeport==0.1.0",
        "components": [{"name": "web", "language": "python", "versions": ["3.11"]}],
        "repository": {**where, "webhooks": [hook]},
    }


def test_a_push_reaches_the_cluster_by_the_webhook_that_up_made(
    plane: ControlPlane,
    gitea: GiteaServer,
    receiver: str,
    cli: Cli,
    record_property: Callable[[str, object], None],
) -> None:
    api = ApiServer(str(plane.kubeconfig))

    def status() -> dict[str, Any]:
        return dict(api.call("GET", types.GIT_SOURCE.path("shop"))["items"][0].get("status") or {})

    def until(check: Callable[[], Any], what: str) -> Any:
        end = time.monotonic() + PATIENCE
        while not (found := check()):
            assert time.monotonic() < end, f"still not: {what}. {json.dumps(status())}"
            time.sleep(0.02)
        return found

    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    metadata = {"name": "hook", "namespace": "shop"}
    api.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": SIGNS}})
    cli.write(pipeline(gitea, receiver))
    assert "webhook homeport: there is no GitSource shop/fleet" in cli.run("up", code=1)
    source = {
        "url": f"{gitea.url}/team/fleet.git",
        "ref": {"branch": "main"},
        "path": "./apps",
        # Nothing that this story tells is from a poll.
        "interval": "24h",
        "webhook": {"secretRef": {"name": "hook"}},
    }
    for manifest in (ours("Project", "shop"), ours("Environment", "production"), ours("GitSource", "fleet", **source)):
        api.apply(manifest)
    path = until(lambda: status().get("webhookPath"), "the source says where it takes deliveries")

    cli.run("up")
    repository = GiteaRepository(gitea, "team", "fleet")
    (made,) = repository.call("GET", "/hooks")
    assert made["config"]["url"] == f"{receiver}{path}"

    component = {"name": "web", "image": "registry.example.com/shop/web", "ports": [{"name": "http", "port": 8080}]}
    application = ours("Application", "web", version="1.1.0", components=[component])
    pushed = repository.commit({"apps/web.yaml": yaml.safe_dump(application)})
    until(lambda: api.call("GET", types.APPLICATION.path("shop"))["items"], "the pushed application is there")
    until(lambda: pushed in str(status().get("lastAppliedRevision")), "the source tells of the pushed commit")

    # How long it takes, told and not asserted: from a push to the deployment's new image, and to Ready at that commit.
    until(lambda: _ready_at(status(), pushed), "the source is Ready at that commit")
    application["spec"]["version"] = "1.2.0"
    began = time.perf_counter()
    pushed = repository.commit({"apps/web.yaml": yaml.safe_dump(application)})
    accepted = time.perf_counter()
    until(lambda: _image(api).endswith(":1.2.0"), "the deployment has the new image")
    applied = time.perf_counter()
    until(lambda: _ready_at(status(), pushed), "the source is Ready at that commit")
    converged = time.perf_counter()
    record_property("push", round(accepted - began, 2))
    record_property("from push to deployment", round(applied - accepted, 2))
    record_property("from push to Ready", round(converged - accepted, 2))


def _ready_at(status: dict[str, Any], commit: str) -> bool:
    ready = [one for one in status.get("conditions") or () if one["type"] == "Ready" and one["status"] == "True"]
    return bool(ready) and commit in str(status.get("lastAppliedRevision"))


def _image(api: ApiServer) -> str:
    found = api.call("GET", types.DEPLOYMENT.path("shop-production"))["items"]
    return str(found[0]["spec"]["template"]["spec"]["containers"][0]["image"]) if found else ""
