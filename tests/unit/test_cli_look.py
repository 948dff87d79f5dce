"""status, get and tree: what is read from the cluster and how it is shown, on the memory driver."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from rich.console import Console

from homeport import cli
from homeport.api import labels
from homeport.cli import branches, get, kinds, lease, output, standing, status
from homeport.cli.branches import Branch, Forest
from homeport.cli.cluster import Connection
from homeport.cli.tree import cut, label
from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.types import GVK
from homeport.drivers.memory import MemoryClient

NOW = datetime(2027, 1, 1, 12, tzinfo=UTC)


def resource(
    kind: str = "Application", name: str = "shop", ready: str | None = "True", **status_: Any
) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready, "reason": "R", "message": "m  \n n"}] if ready else []
    conditions += status_.pop("conditions", [])
    metadata = {"name": name, "namespace": "shop", "generation": 2, "creationTimestamp": "2027-01-01T11:00:00Z"}
    body = {"observedGeneration": 2, "conditions": conditions, **status_}
    return {"apiVersion": labels.API_VERSION, "kind": kind, "metadata": metadata, "spec": {}, "status": body}


def is_true(name: str) -> dict[str, str]:
    return {"type": name, "status": "True"}


@pytest.mark.parametrize(
    ("body", "ready", "health"),
    [
        (resource(), "True", "Healthy"),
        (resource(ready="False"), "False", "Degraded"),
        (resource(ready="False", conditions=[is_true("Reconciling")]), "False", "Progressing"),
        (resource(ready="False", conditions=[is_true("Stalled")]), "False", "Degraded"),
        (resource(conditions=[is_true("Suspended")]), "True", "Suspended"),
        (resource(ready=None), "Unknown", "Unknown"),
        (resource(observedGeneration=1), "Unknown", "Unknown"),
        (resource("Project", health="Degraded"), "True", "Degraded"),
        (resource(environments=[{"health": "Healthy"}, {"health": "Degraded"}]), "True", "Degraded"),
        (resource(ready="False", environments=[{"health": "Healthy"}]), "False", "Progressing"),
    ],
)
def test_standing(body: dict[str, Any], ready: str, health: str) -> None:
    row = standing.of(body)
    assert (row.ready, row.health) == (ready, health)


def test_a_deleted_resource_is_not_ready() -> None:
    body = resource()
    body["metadata"]["deletionTimestamp"] = "2027-01-01T11:00:00Z"
    assert standing.of(body).ready == "False"


def test_messages_are_one_line() -> None:
    assert standing.of(resource()).message == "m n"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (150, "2m30s"), (3600, "60m"), (3 * 3600, "3h"), (3 * 3600 + 60, "3h1m"),
     (47 * 3600, "47h"), (49 * 3600, "2d1h"), (30 * 86400, "30d")],
)  # fmt: skip
def test_durations_are_as_kubectl_shows_them(seconds: int, shown: str) -> None:
    assert output.duration(seconds) == shown
    then = (NOW - timedelta(seconds=seconds)).isoformat()
    assert output.age(then, NOW) == shown


@pytest.mark.parametrize("text", [None, "", "soon"])
def test_no_age(text: str | None) -> None:
    assert output.age(text) == ""


# --- the operator -----------------------------------------------------------------------------------------------------


def a_lease(holder: str, seconds: float, duration: int = 10) -> dict[str, Any]:
    renewed = (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"spec": {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": duration}}


@pytest.mark.parametrize(
    ("found", "state", "words"),
    [
        (("me", 1), "alive", "alive, me, renewed "),
        (("me", 600), "silent", "SILENT"),
        (("", 60), "stopped", "stopped"),
    ],
)
def test_operator(found: tuple[str, float], state: str, words: str) -> None:
    operator = lease.read(a_lease(*found))
    assert operator.state == state
    assert words in operator.text.plain


async def test_operator_that_never_led_or_cannot_be_seen() -> None:
    client = MemoryClient()
    assert (await lease.look(client, "homeport-system")).state == "absent"
    client.fail(lambda call: True, errors.Forbidden(403, "Forbidden", "no"))
    assert (await lease.look(client, "homeport-system")).state == "unknown"


# --- commands on the memory driver ------------------------------------------------------------------------------------


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> MemoryClient:
    client = MemoryClient()

    @asynccontextmanager
    async def connected(options: Any, **_: Any) -> AsyncIterator[Connection]:
        yield Connection(client, "shop", "https://memory")

    for module in ("status", "get", "tree"):
        monkeypatch.setattr(f"homeport.cli.{module}.connected", connected)
    return client


async def put(client: MemoryClient, body: dict[str, Any]) -> dict[str, Any]:
    gvk = types.gvk_of(body)
    metadata = body["metadata"]
    fresh = {k: v for k, v in metadata.items() if k != "generation"}
    made = await client.create(gvk, metadata.get("namespace"), {**body, "metadata": fresh, "status": {}})
    if "status" in body:
        made = await client.patch(
            gvk, metadata.get("namespace"), metadata["name"], {"status": body["status"]}, subresource="status"
        )
    return dict(made)


def fill(client: MemoryClient, *found: dict[str, Any]) -> None:

    async def work() -> None:
        for body in found:
            await put(client, body)

    asyncio.run(work())


def test_status_of_nothing_is_well(memory: MemoryClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status"]) == 0
    out = capsys.readouterr().out
    assert "nothing of Homeport's is in this cluster" in out
    assert "none has ever led here" in out


def test_status_says_what_is_not_ready(memory: MemoryClient, capsys: pytest.CaptureFixture[str]) -> None:
    fill(memory, resource("Project"), resource("Application", ready="False"))
    assert cli.main(["status"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == list(status.HEADER)
    assert [line.split()[0] for line in lines[1:3]] == ["Project", "Application"]
    assert "1 of 2 ready" in lines
    assert cli.main(["status", "--no-exit-code", "--not-ready"]) == 0
    assert "Project" not in capsys.readouterr().out
    assert cli.main(["status", "-n", "elsewhere"]) == 0


def test_lines_are_whole_where_there_is_no_terminal(memory: MemoryClient, capsys: pytest.CaptureFixture[str]) -> None:
    body = resource(ready="False")
    body["status"]["conditions"][0]["message"] = "x" * 500
    fill(memory, body)
    cli.main(["status"])
    assert "x" * 500 in capsys.readouterr().out


def test_a_narrow_terminal_leaves_columns_out() -> None:
    view = status.View(None, False, "homeport-system", False)
    body = resource(ready="False", url="https://shop.example.com/a/long/path")
    body["status"]["conditions"][0]["message"] = "the message that counts " * 3
    view.found = {row.key: row for row in [standing.of(body)]}
    shown = {}
    for width in (80, 200):
        out = io.StringIO()
        Console(file=out, width=width, force_terminal=True, color_system=None).print(view.live(width, 20))
        shown[width] = out.getvalue()
    assert "URL" not in shown[80]
    assert "URL" in shown[200]
    assert "READY" in shown[80]


@pytest.mark.parametrize(
    "arguments", [["app"], ["hpapp"], ["applications", "shop"], ["Application/shop"], ["all", "-A"]]
)
def test_get(memory: MemoryClient, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    fill(memory, resource())
    assert cli.main(["get", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "NAME" in lines[0]
    assert "shop" in lines[1]


def test_get_as_data(memory: MemoryClient, capsys: pytest.CaptureFixture[str]) -> None:

    fill(memory, resource(), resource("Project"))
    cli.main(["get", "-o", "name"])
    assert capsys.readouterr().out.split() == ["projects.homeport.dev/shop", "applications.homeport.dev/shop"]
    cli.main(["get", "app", "shop", "-o", "json"])
    assert json.loads(capsys.readouterr().out)["kind"] == "Application"
    cli.main(["get", "app", "-o", "yaml"])
    assert yaml.safe_load(capsys.readouterr().out)["kind"] == "List"


def test_what_is_not_there_is_said_with_what_is(memory: MemoryClient, capsys: pytest.CaptureFixture[str]) -> None:
    fill(memory, resource())
    assert cli.main(["get", "app", "shpo"]) == 1
    assert "there are: shop" in capsys.readouterr().err
    assert cli.main(["get", "app", "shop", "-n", "other"]) == 1
    assert "there is one in shop: add -n shop" in capsys.readouterr().err


def test_kinds_that_are_not_installed(memory: MemoryClient, capsys: pytest.CaptureFixture[str]) -> None:
    memory.fail(lambda call: call.verb == "list", errors.NotFound(404, "NotFound", "no such kind"), times=3)
    assert cli.main(["status"]) == 1
    err = capsys.readouterr().err
    assert "Homeport's kinds aren't installed" in err
    assert "kubectl apply --server-side -f crds/" in err


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ('.status.conditions[?(@.type=="Ready")].status', "True"),
        ('.status.conditions[?(@.type=="None")].status', None),
        (".metadata.name", "shop"),
        (".spec.absent.deep", None),
    ],
)
def test_json_paths_of_columns(path: str, value: Any) -> None:
    assert get.json_path(resource(), path) == value


# --- trees ------------------------------------------------------------------------------------------------------------

MARKS = {
    labels.OWNER_KIND: "Application",
    labels.OWNER_NAME: "shop",
    labels.APPLICATION: "shop",
    labels.COMPONENT: "web",
    labels.ENVIRONMENT: "dev",
    labels.PROJECT: "shop",
}


def made(gvk: GVK, name: str, owner: dict[str, Any] | None = None, **parts: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "shop-dev", "labels": dict(MARKS)}
    if owner:
        metadata["ownerReferences"] = [
            {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
             "uid": owner["metadata"]["uid"]}
        ]  # fmt: skip
    return {"apiVersion": gvk.api_version, "kind": gvk.kind, "metadata": metadata, **parts}


async def a_shop(client: MemoryClient) -> dict[str, Any]:
    entries = [
        {"id": "shop-dev_web_apps_Deployment", "v": "v1", "environment": "dev"},
        {"id": "shop-dev_gone__Service", "v": "v1", "environment": "dev"},
        {"id": "other_web__Service", "v": "v1", "environment": "far"},
    ]
    environments = [{"name": "dev", "version": "1.0.0", "health": "Degraded", "message": "web: bad",
                     "components": [{"name": "web", "ready": 0, "desired": 1, "health": "Degraded"}]}]  # fmt: skip
    body = await put(client, resource(ready="False", inventory={"entries": entries}, environments=environments))
    for name, spec in (("dev", {}), ("far", {"kubernetes": {"kubeconfigSecretRef": {"name": "k", "key": "k"}}})):
        await put(client, {**resource("Environment", name), "spec": spec})
    web = await put(client, made(types.DEPLOYMENT, "web", spec={"replicas": 1}))
    rs = await put(client, made(types.REPLICA_SET, "web-1", web, spec={"replicas": 1}))
    await put(client, made(types.REPLICA_SET, "web-0", web, spec={"replicas": 0}))
    waiting = {"name": "web", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}
    await put(client, made(types.POD, "web-1-x", rs, status={"phase": "Pending", "containerStatuses": [waiting]}))
    return body


def flat(branch: Branch, depth: int = 0) -> list[tuple[int, str, str]]:
    out = [(depth, f"{branch.kind}/{branch.name}", branch.health)]
    for child in branch.children:
        out += flat(child, depth + 1)
    return out


async def test_an_application_down_to_its_pods() -> None:
    client = MemoryClient()
    body = await a_shop(client)
    tree = await Forest(client, NOW).application(body)
    assert flat(tree) == [
        (0, "Application/shop", "Degraded"),
        (1, "Environment/dev", "Degraded"),
        (2, "Component/web", "Degraded"),
        (3, "Deployment/web", "Progressing"),
        (4, "ReplicaSet/web-1", "Progressing"),
        (5, "Pod/web-1-x", "Degraded"),
        (2, "Service/gone", "Degraded"),
        (1, "Environment/far", ""),
        (2, "Service/web", "Unknown"),
    ]
    pod = tree.children[0].children[0].children[0].children[0].children[0]
    assert pod.message == "ImagePullBackOff: not found"
    assert tree.children[1].children[0].message == "in another cluster"


async def test_an_application_on_proxmox_down_to_its_containers() -> None:
    client = MemoryClient()
    entries = [{"id": "shop-dev_web-0_homeport.dev_LXCContainer", "v": "v1alpha1", "environment": "dev"}]
    environments = [{"name": "dev", "version": "1.0.0", "health": "Healthy",
                     "components": [{"name": "web", "ready": 1, "desired": 1, "health": "Healthy"}]}]  # fmt: skip
    body = await put(client, resource(inventory={"entries": entries}, environments=environments))
    place = {"runtime": "Proxmox", "proxmox": {"hostRef": {"name": "lab"}}}
    await put(client, {**resource("Environment", "dev"), "spec": place})
    found = {"observedGeneration": 1, "vmid": 210, "node": "pve1", "address": "10.20.0.10",
             "conditions": [{"type": "Ready", "status": "True"}]}  # fmt: skip
    await put(client, made(types.LXC_CONTAINER, "web-0", spec={"state": "Running"}, status=found))
    tree = await Forest(client, NOW).application(body)
    assert flat(tree)[1:] == [
        (1, "Environment/dev", "Healthy"),
        (2, "Component/web", "Healthy"),
        (3, "LXCContainer/web-0", "Healthy"),
    ]
    assert tree.children[0].children[0].children[0].note == "210 pve1 10.20.0.10"


async def test_what_may_not_be_seen_is_said() -> None:
    client = MemoryClient()
    body = await a_shop(client)
    client.fail(lambda call: call.gvk == types.DEPLOYMENT, errors.Forbidden(403, "Forbidden", "no deployments"))
    tree = await Forest(client, NOW).application(body)
    assert ("Unknown", "can't be seen: no deployments") in [(b.health, b.message) for b in tree.children[0].children]


async def test_a_project_holds_environments_and_applications() -> None:
    client = MemoryClient()
    await a_shop(client)
    project = await put(client, resource("Project"))
    tree = await Forest(client, NOW).project(project)
    assert [f"{b.kind}/{b.name}" for b in tree.children] == ["Environment/dev", "Environment/far", "Application/shop"]


def test_depth_cuts() -> None:
    tree = Branch("A", "a", children=[Branch("B", "b", children=[Branch("C", "c")])])
    cut(tree, 1)
    assert flat(tree) == [(0, "A/a", ""), (1, "B/b", "")]


def test_a_line_of_the_tree() -> None:
    line = label(Branch("Pod", "x", "ns", "Degraded", "OOMKilled", "2 restarts"), "other")
    assert line.plain == "✖ Pod x in ns  2 restarts  Degraded: OOMKilled"
    assert label(Branch("Pod", "x", "ns", "Healthy"), "ns").plain == "✔ Pod x"


@pytest.mark.parametrize(
    ("state", "health", "message"),
    [
        ({"phase": "Running", "conditions": [is_true("Ready")]}, "Healthy", ""),
        ({"phase": "Succeeded"}, "Healthy", ""),
        ({"phase": "Failed", "reason": "Evicted", "message": "disk"}, "Degraded", "Evicted: disk"),
        ({"phase": "Failed",
          "containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 3, "reason": "Error"}}}]},
         "Degraded", "a: Error (exit code 3)"),
        ({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]},
         "Progressing", "ContainerCreating"),
        ({"phase": "Pending"}, "Progressing", "Pending"),
    ],
)  # fmt: skip
def test_pods(state: dict[str, Any], health: str, message: str) -> None:
    assert branches.pod({"metadata": {}, "status": state}, NOW)[:2] == (health, message)


def test_tree_command(memory: MemoryClient, capsys: pytest.CaptureFixture[str]) -> None:

    asyncio.run(a_shop(memory))
    assert cli.main(["tree", "app/shop"]) == 0
    assert "Pod web-1-x  Degraded: ImagePullBackOff" in capsys.readouterr().out
    assert cli.main(["tree", "app", "shop", "-o", "json", "--depth", "1"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["children"][0]["children"] == []
    assert cli.main(["tree", "app"]) == 1


def test_the_tree_of_a_host(memory: MemoryClient, capsys: pytest.CaptureFixture[str]) -> None:
    status = {
        "observedGeneration": 1,
        "version": "9.1.3",
        "clusterName": "lab",
        "conditions": [{"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded", "message": "fine"}],
        "nodes": [
            {"name": "pve1", "status": "online", "cpus": 4, "memory": "8Gi"},
            {"name": "pve2", "status": "offline"},
        ],
        "storages": [{"name": "local", "content": ["vztmpl"], "nodes": ["pve1"]}],
    }
    body = {"apiVersion": "homeport.dev/v1alpha1", "kind": "ProxmoxHost", "metadata": {"name": "lab"}, "status": status}
    asyncio.run(memory.create(types.PROXMOX_HOST, None, body))
    assert cli.main(["tree", "hppve/lab", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["note"], found["health"]) == ("lab 9.1.3", "Healthy")
    assert [(n["name"], n["health"], n["note"]) for n in found["children"]] == [
        ("pve1", "Healthy", "4 CPUs, 8Gi"),
        ("pve2", "Degraded", ""),
    ]
    assert [s["name"] for s in found["children"][0]["children"]] == ["local"]
    assert cli.main(["get", "pve"]) == 0
    assert "9.1.3" in capsys.readouterr().out
    assert cli.main(["get", "pve", "attic"]) == 1
    assert "there is no ProxmoxHost attic" in capsys.readouterr().err


def test_all_kinds_are_known_to_the_tree() -> None:
    known = {"Project", "Environment", "Application", "CatalogItem", "ProxmoxHost", "LXCContainer"}
    known |= {"BackupRepository", "Backup", "BackupRun", "Restore", "GitSource", "ImageUpdate", "Notification"}
    assert {kind.kind for kind in kinds.ALL} == known
