"""sync, diff, history, rollback, suspend and resume of GitSources, on a cluster in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gitops_world import config, namespace, source
from homeport import cli
from homeport.api import labels
from homeport.cli.cluster import Connection
from homeport.drivers.kubernetes import types
from homeport.drivers.memory import MemoryClient

OLD, NEW = "a" * 40, "b" * 40
HISTORY = [
    {"revision": f"main@sha1:{NEW}", "at": "2026-01-02T00:00:00Z", "objects": 3, "digest": "2"},
    {"revision": f"main@sha1:{OLD}", "at": "2026-01-01T00:00:00Z", "objects": 2, "digest": "1"},
]


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> MemoryClient:
    client = MemoryClient()

    @asynccontextmanager
    async def connected(options: Any, **_: Any) -> AsyncIterator[Connection]:
        yield Connection(client, "shop", "https://memory")

    for module in ("sources", "history", "rollback", "pause", "diff"):
        monkeypatch.setattr(f"homeport.cli.{module}.connected", connected)
    asyncio.run(client.create(types.NAMESPACE, None, namespace()))
    return client


def made(client: MemoryClient, history: list[Any] = HISTORY, pin: str = "", **spec: Any) -> None:
    body = source(annotations={labels.PIN: pin} if pin else None, **spec)
    body["status"] = {"history": history, "conditions": [], "observedGeneration": 1}
    asyncio.run(client.create(types.GIT_SOURCE, "shop", body))


def now(client: MemoryClient) -> dict[str, Any]:
    (found,) = client.objects(types.GIT_SOURCE)
    return found


def pin(client: MemoryClient) -> str | None:
    found: str | None = (now(client)["metadata"].get("annotations") or {}).get(labels.PIN)
    return found


def test_history(memory: MemoryClient, capsys: pytest.CaptureFixture[str]) -> None:
    made(memory, pin=OLD)
    assert cli.main(["history", "source", "fleet"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[:3] for line in out.splitlines()[1:3]] == [
        ["1", "*", f"main@sha1:{NEW[:12]}"], ["2", f"main@sha1:{OLD[:12]}", out.splitlines()[2].split()[2]],
    ]  # fmt: skip
    assert f"pinned to {OLD[:12]}; `homeport resume source fleet` follows branch main again" in out
    assert cli.main(["history", "gitsource/fleet", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == HISTORY


@pytest.mark.parametrize(
    ("arguments", "commit"),
    [([], OLD), (["--to", "2"], OLD), (["--to", "aaaa"], OLD), (["--to", f"main@sha1:{OLD[:12]}"], OLD),
     (["--to", "c" * 40], "c" * 40)],
)  # fmt: skip
def test_rollback(memory: MemoryClient, arguments: list[str], commit: str) -> None:
    made(memory)
    assert cli.main(["rollback", "source", "fleet", "--no-wait", *arguments]) == 0
    assert pin(memory) == commit


@pytest.mark.parametrize(
    ("history", "arguments", "says"),
    [
        (HISTORY, ["--to", "ccccccc"], "'ccccccc' is none of the commits of fleet"),
        (HISTORY, ["--to", "aa"], "'aa' is none of the commits of fleet"),
        (HISTORY[:1], [], "there is nothing to roll fleet back to: nothing else was applied"),
    ],
)
def test_rollback_that_cannot_be(
    memory: MemoryClient, capsys: pytest.CaptureFixture[str], history: list[Any], arguments: list[str], says: str
) -> None:
    made(memory, history)
    assert cli.main(["rollback", "source", "fleet", "--no-wait", *arguments]) == 1
    assert says in capsys.readouterr().err
    assert pin(memory) is None


def test_a_dry_rollback_writes_nothing(memory: MemoryClient) -> None:
    made(memory)
    assert cli.main(["rollback", "source/fleet", "--dry-run"]) == 0
    assert pin(memory) is None


def test_suspend_and_resume(memory: MemoryClient, capsys: pytest.CaptureFixture[str]) -> None:
    made(memory, pin=OLD)
    assert cli.main(["suspend", "source", "fleet"]) == 0
    assert now(memory)["spec"]["suspend"] is True
    assert cli.main(["resume", "source", "fleet"]) == 0
    assert (pin(memory), now(memory)["spec"]["suspend"]) == (None, False)
    assert "no longer pinned: follows branch main" in capsys.readouterr().out
    assert cli.main(["resume", "hpgit/fleet"]) == 0
    assert "it is neither pinned nor suspended" in capsys.readouterr().out


def test_sync(memory: MemoryClient, capsys: pytest.CaptureFixture[str]) -> None:
    made(memory)
    assert cli.main(["sync", "fleet", "--no-wait"]) == 0
    assert now(memory)["metadata"]["annotations"][labels.RECONCILE_AT]
    assert cli.main(["sync", "nobody"]) == 1
    assert "nobody" in capsys.readouterr().err


def test_sync_of_what_is_suspended(memory: MemoryClient, capsys: pytest.CaptureFixture[str]) -> None:
    made(memory, suspend=True)
    assert cli.main(["sync", "source/fleet"]) == 1
    assert "`homeport resume gitsource/fleet` first" in capsys.readouterr().err


def test_diff_of_a_folder(memory: MemoryClient, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    made(memory, path="./apps")
    (tmp_path / ".git").mkdir()
    (tmp_path / "apps").mkdir()
    (tmp_path / "apps/a.yaml").write_text(config("a", x="1"))
    assert cli.main(["diff", "fleet", "-f", str(tmp_path)]) == 2
    out = capsys.readouterr().out
    assert "+ ConfigMap shop/a  apps/a.yaml:1" in out
    assert out.splitlines()[-1].endswith(": 1 made")
    body = {"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "labels": {labels.SOURCE_NAMESPACE: "shop", labels.SOURCE_NAME: "fleet"}},
            "data": {"x": "0"}}  # fmt: skip
    asyncio.run(memory.apply(types.CONFIG_MAP, "shop", "a", body, manager=labels.SOURCE_MANAGER))
    assert cli.main(["diff", "source", "fleet", "-f", str(tmp_path / "apps")]) == 2
    out = capsys.readouterr().out
    assert "~ ConfigMap shop/a" in out and "data.x" in out
    assert cli.main(["diff", "fleet", "-f", str(tmp_path), "-o", "json"]) == 2
    assert json.loads(capsys.readouterr().out)["update"] == 1
    assert [call for call in memory.calls if call.verb == "apply" and call.user == "" and not call.dry][1:] == []
    (tmp_path / "apps/a.yaml").write_text("kind: [")
    assert cli.main(["diff", "fleet", "-f", str(tmp_path)]) == 1
    assert "apps/a.yaml:" in capsys.readouterr().err


def test_diff_with_values_out_of_a_secret(
    memory: MemoryClient, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ref = {"kind": "Secret", "name": "values"}
    made(memory, build={"substitute": True, "variablesFrom": [ref]})
    (tmp_path / ".git").mkdir()
    (tmp_path / "a.yaml").write_text(config("a", x="${text}"))
    assert cli.main(["diff", "fleet", "-f", str(tmp_path)]) == 1
    assert "Secret values doesn't exist in namespace shop; create it" in capsys.readouterr().err
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "values"}, "data": {"text": "aG9yc2U="}}
    asyncio.run(memory.apply(types.SECRET, "shop", "values", body, manager="me"))
    assert cli.main(["diff", "fleet", "-f", str(tmp_path)]) == 2
    assert "+ ConfigMap shop/a" in capsys.readouterr().out
    body["metadata"] = {"name": "values", "labels": {labels.PRIVATE: ""}}
    asyncio.run(memory.apply(types.SECRET, "shop", "values", body, manager="me"))
    assert cli.main(["diff", "fleet", "-f", str(tmp_path)]) == 1
    assert "Secret values goes into no object: the label" in capsys.readouterr().err


def test_tree(memory: MemoryClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def connected(options: Any, **_: Any) -> AsyncIterator[Connection]:
        yield Connection(memory, "shop", "https://memory")

    monkeypatch.setattr("homeport.cli.tree.connected", connected)
    body = source()
    entries = [{"id": "shop_a__ConfigMap", "v": "v1"}, {"id": "shop_b__ConfigMap", "v": "v1"},
               {"id": "shop_w_example.com_Widget", "v": "v1"}]  # fmt: skip
    body["status"] = {
        "lastAppliedRevision": f"main@sha1:{NEW}",
        "inventory": {"entries": entries},
        "previews": [{"number": 7, "state": "Running", "ready": True, "url": "https://pr-7.example.com"}],
    }
    asyncio.run(memory.create(types.GIT_SOURCE, "shop", body))
    marks = {labels.SOURCE_NAMESPACE: "shop", labels.SOURCE_NAME: "fleet"}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": marks}}
    asyncio.run(memory.create(types.CONFIG_MAP, "shop", config_map))
    assert cli.main(["tree", "source/fleet"]) == 0
    out = capsys.readouterr().out
    assert f"GitSource fleet in shop  main@sha1:{NEW[:12]}" in out or f"GitSource fleet  main@sha1:{NEW[:12]}" in out
    assert "✔ ConfigMap a" in out
    assert "ConfigMap b  Degraded: isn't there" in out
    assert "Widget w  Unknown: the cluster doesn't serve it in example.com/v1" in out
    assert "PullRequest #7  Running https://pr-7.example.com" in out
