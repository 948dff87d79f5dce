"""The GitOps story whole: a Gitea, a control plane, and the operator, as a team would use them.

A repository holds an application. A push reaches production by a webhook; a pull request has a preview, a plan as a
comment and commit statuses, which follow what is pushed; merged, its preview is gone and production is changed.
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

pytestmark = pytest.mark.e2e

PATIENCE = 120.0
V1ALPHA1 = "homeport.dev/v1alpha1"
KINDS = {gvk.kind: gvk for gvk in types.KINDS}


def ours(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": V1ALPHA1, "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def application(name: str, version: str = "1.0.0", replicas: int = 1, **component: Any) -> str:
    """An Application as a file; its image has no tag, so that it is of the version, or of a preview's commit."""
    part = {
        "name": name,
        "image": f"registry.example.com/shop/{name}",
        "replicas": replicas,
        "ports": [{"name": "http", "port": 8080}],
        "routes": [{"path": f"/{name}" if name != "web" else "/"}],
        **component,
    }
    return yaml.safe_dump(ours("Application", name, version=version, components=[part]))


class Shop:
    """What the story is about, as its team sees it."""

    def __init__(self, api: ApiServer, repository: GiteaRepository) -> None:
        self.api = api
        self.repository = repository

    def find(self, kind: str, name: str, namespace: str | None = "shop") -> dict[str, Any]:
        """The object; empty when it isn't there."""
        found = self.api.call("GET", KINDS[kind].path(namespace), fieldSelector=f"metadata.name={name}")["items"]
        return dict(found[0]) if found else {}

    def ready(self, kind: str, name: str) -> bool:
        body = self.find(kind, name)
        current = (body.get("status") or {}).get("observedGeneration") == (body.get("metadata") or {}).get("generation")
        return current and any(c["type"] == "Ready" and c["status"] == "True" for c in body["status"]["conditions"])

    def preview(self, number: int) -> dict[str, Any]:
        """What the source's status says of a pull request."""
        status = self.find("GitSource", "fleet").get("status") or {}
        return next((dict(entry) for entry in status.get("previews") or () if entry["number"] == number), {})

    def image(self, namespace: str, name: str = "web") -> str:
        """What runs."""
        found = self.find("Deployment", name, namespace)
        return str(found["spec"]["template"]["spec"]["containers"][0]["image"]) if found else ""

    def until(self, check: Callable[[], Any], what: str) -> Any:
        """What ``check`` answers once that is true."""
        end = time.monotonic() + PATIENCE
        while not (found := check()):
            seen = json.dumps(self.find("GitSource", "fleet").get("status") or {})[:3000]
            assert time.monotonic() < end, f"still not: {what}. {seen}"
            time.sleep(0.05)
        return found


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane"), ephemeral=True) as found:
        install(Kubectl(found.kubectl, str(found.kubeconfig)))
        yield found


@pytest.fixture(scope="module")
def webhooks() -> str:
    """Where the operator listens for them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="module")
def operator(plane: ControlPlane, webhooks: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    log = Path(tmp_path_factory.mktemp("operator")) / "operator.log"
    process = Operator(plane.kubeconfig, log, "--webhook-listen", webhooks)
    process.start()
    try:
        asyncio.run(process.wait_leading())
        yield process
    finally:
        process.kill(signal.SIGTERM)


@pytest.fixture(scope="module")
def shop(plane: ControlPlane, gitea: GiteaServer, operator: Operator, webhooks: str) -> Shop:
    """A project whose production follows the repository's branch main, with previews and a webhook."""
    repository = gitea.repository("team", "fleet")
    repository.call("PUT", "/collaborators/ann", {"permission": "write"})
    repository.commit({"apps/web.yaml": application("web")})
    found = Shop(ApiServer(str(plane.kubeconfig)), repository)
    secrets = {
        "forge": {"token": gitea.token("team")},
        "hook": {"token": "s3cret"},
        "db": {"url": "postgres://preview"},
    }
    found.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    for name, data in secrets.items():
        metadata = {"name": name, "namespace": "shop"}
        found.api.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})
    for manifest in (
        ours("Project", "shop"),
        ours("Environment", "production", tier="Production", ingress={"domain": "shop.example.com"}),
        ours(
            "Environment",
            "preview",
            tier="Preview",
            template=True,
            ingress={"domain": "preview.example.com"},
            secrets=[{"name": "db"}],
            quota={"cpu": "2", "memory": "2Gi", "pods": 10},
        ),
        ours(
            "GitSource",
            "fleet",
            url=repository.clone_url,
            ref={"branch": "main"},
            path="./apps",
            # Nothing that this story tells is from a poll.
            interval="24h",
            webhook={"secretRef": {"name": "hook"}},
            pullRequests={
                "forge": {"provider": "Gitea", "tokenSecretRef": {"name": "forge", "key": "token"}},
                "authors": ["team"],
                "environment": {"templateRef": {"name": "preview"}, "ttl": "24h", "max": 3, "secrets": ["db"]},
            },
        ),
    ):
        found.api.apply(manifest)
    path = found.until(lambda: found.find("GitSource", "fleet").get("status", {}).get("webhookPath"), "webhookPath")
    repository.hook(f"http://{webhooks}{path}", "s3cret")
    found.until(lambda: found.ready("GitSource", "fleet"), "the source is ready")
    found.until(lambda: found.ready("Application", "web"), "production is ready")
    return found


def test_a_push_reaches_production_by_the_webhook(
    shop: Shop, record_testsuite_property: Callable[[str, object], None]
) -> None:
    shop.repository.commit({"apps/web.yaml": application("web", "1.1.0")})
    pushed = time.monotonic()
    shop.until(lambda: shop.image("shop-production").endswith("web:1.1.0"), "production follows main")
    record_testsuite_property("push_to_deployment_seconds", round(time.monotonic() - pushed, 2))


def test_a_pull_request_is_an_environment_until_it_is_merged(shop: Shop) -> None:
    repository = shop.repository
    # One that is kept where it is anything but a preview's.
    kept = {
        "name": "data",
        "path": "/data",
        "size": "1Gi",
        "accessModes": ["ReadWriteMany"],
        "deletionPolicy": "Retain",
    }
    files = {
        "apps/web.yaml": application("web", "2.0.0"),
        "apps/api.yaml": application("api", replicas=2, volumes=[kept]),
    }
    head = repository.commit(files, new_branch="topic", user="ann")
    number = repository.open("topic", "An API", user="ann")
    name = f"pr-{number}"

    # Its preview: an environment of its own, with the commit's images, the listed Secret and its own host.
    found = shop.until(lambda: (e := shop.preview(number)).get("ready") and e, "the preview is ready")
    assert (found["revision"], found["environment"], found["author"]) == (head, name, "ann")
    assert found["url"] == f"http://{name}.preview.example.com"
    assert shop.image(f"shop-{name}") == f"registry.example.com/shop/web:{head}"
    assert shop.image(f"shop-{name}", "api") == f"registry.example.com/shop/api:{head}"
    assert shop.find("Secret", "db", f"shop-{name}")
    assert shop.ready("Application", f"api-{name}")
    assert shop.find("PersistentVolumeClaim", "api-data", f"shop-{name}")
    assert shop.image("shop-production").endswith("web:1.1.0"), "production isn't touched"
    assert not shop.find("Deployment", "web", "shop-preview"), "nothing runs in the template"

    # The comment and the statuses.
    def said() -> str:
        ours = [text for text in repository.comments(number) if text.startswith("<!-- homeport:shop/fleet -->")]
        assert len(ours) <= 1, "one comment"
        return ours[0] if ours else ""

    comment = shop.until(lambda: "Ready." in said() and said(), "the comment says Ready")
    assert "| + | `Application shop/api` | made |" in comment
    assert "| ~ | `Application shop/web` | changed; `spec.version`" in comment
    assert f"<http://{name}.preview.example.com>" in comment
    statuses = repository.statuses(head)
    assert statuses["homeport/shop/fleet/plan"]["status"] == "success"
    assert statuses["homeport/shop/fleet/plan"]["description"] == "1 made, 1 changed"
    assert statuses["homeport/shop/fleet/preview"]["target_url"] == f"http://{name}.preview.example.com"

    # A push: all of it follows.
    files["apps/api.yaml"] = application("api", replicas=3, volumes=[kept])
    newer = repository.commit(files, branch="topic", user="ann")
    shop.until(lambda: shop.image(f"shop-{name}", "api").endswith(newer), "the preview follows the push")
    shop.until(lambda: (e := shop.preview(number)).get("ready") and e["revision"] == newer, "it is ready again")
    shop.until(lambda: newer[:12] in said() and "Ready." in said(), "the same comment is of the new commit")
    assert repository.statuses(newer)["homeport/shop/fleet/plan"]["status"] == "success"

    # Merged: its preview is gone, volumes, namespace and all, and production is changed.
    repository.merge(number)
    shop.until(lambda: shop.image("shop-production").endswith("web:2.0.0"), "production is changed")
    shop.until(lambda: shop.ready("Application", "api"), "what it added is in production")
    shop.until(lambda: not shop.find("Environment", name), "the preview's environment is gone")
    shop.until(lambda: not shop.find("Application", f"web-{name}"), "and its applications")
    shop.until(lambda: not shop.find("Namespace", f"shop-{name}", None), "and its namespace")
    assert not shop.find("PersistentVolumeClaim", "api-data", f"shop-{name}")
    assert shop.find("PersistentVolumeClaim", "api-data", "shop-production"), "production's volume isn't touched"
    shop.until(lambda: not shop.preview(number), "and the status tells of it no more")
    assert shop.ready("GitSource", "fleet")


def test_a_stranger_s_fork_waits_for_the_label_and_gets_no_secrets(shop: Shop) -> None:
    repository = shop.repository
    fork = repository.fork("eve")
    hostile = {
        "apps/web.yaml": application("web", "9.9.9", serviceAccountName="deployer"),
        "apps/evil.yaml": yaml.safe_dump(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": "evil"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "eve"}],
            }
        ),
    }
    head = fork.commit(hostile, new_branch="evil")
    number = repository.open("eve:evil", "harmless", user="eve")
    name = f"pr-{number}"
    found = shop.until(lambda: (e := shop.preview(number)).get("state") == "Waiting" and e, "it waits")
    assert "eve isn't among the authors" in found["message"]

    def said() -> str:
        return "".join(text for text in repository.comments(number) if text.startswith("<!-- homeport:"))

    shop.until(lambda: "nothing secret was read or decrypted" in said(), "the plan is offline, and says so")
    assert not shop.find("Environment", name)

    repository.label(number, "preview", user="ann")
    found = shop.until(lambda: (e := shop.preview(number)).get("ready") and e, "with the label it has a preview")
    assert found["revision"] == head
    assert not shop.find("Secret", "db", f"shop-{name}"), "a fork gets no Secrets"
    pod = shop.find("Deployment", "web", f"shop-{name}")["spec"]["template"]["spec"]
    assert pod.get("serviceAccountName", "default") == "default"
    assert not shop.api.call(
        "GET", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", fieldSelector="metadata.name=evil"
    )["items"]
    shop.until(lambda: "the service account deployer isn't given to previews" in said(), "what isn't followed is said")
    assert "left out: 1 ClusterRoleBinding" in said()

    fork.commit({"apps/web.yaml": application("web", "9.9.10")}, branch="evil")
    found = shop.until(
        lambda: "there was a push after the label" in (e := shop.preview(number)).get("message", "") and e,
        "the label was for the commit before",
    )
    assert shop.image(f"shop-{name}").endswith(head), "what was let in is what runs"
    repository.close(number)
    shop.until(lambda: not shop.find("Namespace", f"shop-{name}", None), "closed, it is gone")
