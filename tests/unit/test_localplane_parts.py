"""Ports, locks, pid records, certificates and the cache's paths."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from localplane import binaries, certificates, tools
from localplane.components import Layout, node
from localplane.locks import file_lock
from localplane.ports import RANGE, Ports, free_port, is_free
from localplane.processes import Processes, Record, birth, command_digest

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def processes(tmp_path: Path):
    found = Processes(tmp_path / "pids", tmp_path / "logs")
    yield found
    found.kill_all()


def test_a_free_port_is_in_range_and_not_one_that_is_taken():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert not is_free(server.getsockname()[1])
    upper = set(list(RANGE)[5000:])
    assert free_port(set(RANGE) - upper) in upper
    with pytest.raises(OSError, match="no free port"):
        free_port(RANGE)


def test_ports_are_kept_and_chosen_anew_only_when_taken(tmp_path: Path):
    ports = Ports(tmp_path / "ports.json")
    first = {name: ports[name] for name in ("etcd", "kube-apiserver")}
    again = Ports(tmp_path / "ports.json")
    assert {name: again[name] for name in first} == first
    assert again.known("kwok") == 0
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", first["etcd"]))
        thief.listen()
        again.renew(first)
    assert again["etcd"] != first["etcd"]
    assert again["kube-apiserver"] == first["kube-apiserver"]


def test_a_broken_ports_file_is_no_obstacle(tmp_path: Path):
    (tmp_path / "ports.json").write_text("{broken")
    assert Ports(tmp_path / "ports.json")["etcd"] in RANGE


def test_a_recycled_pid_is_not_ours():
    mine = Record("etcd", os.getpid(), birth(os.getpid()), "", time.time())
    recycled = Record("etcd", os.getpid(), "12345", "", time.time())
    assert mine.alive
    assert not recycled.alive
    assert not recycled.signal(signal.SIGTERM)
    assert not Record("etcd", os.getpid(), "", "", 0.0).alive


def test_a_zombie_counts_as_gone():
    child = subprocess.Popen([sys.executable, "-c", ""])
    deadline = time.monotonic() + 10
    while birth(child.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert birth(child.pid) == ""
    child.wait()


def test_processes_are_found_again_and_stopped_by_another(processes: Processes):
    record = processes.start("sleeper", SLEEP, port=1234)
    other = Processes(Path(processes.mark), processes.log("x").parent)
    found = other.alive("sleeper")
    assert found == record
    assert found.digest == command_digest(SLEEP)
    os.kill(record.pid, signal.SIGSTOP)  # a paused one ends too
    other.stop(["sleeper"], grace=5)
    assert not other.records()
    assert not record.alive


def test_what_does_not_end_is_ended(processes: Processes):
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    record = processes.start("stubborn", [sys.executable, "-c", stubborn])
    while "up" not in processes.tail("stubborn"):
        time.sleep(0.02)
    processes.stop(["stubborn"], grace=0.3)
    assert not record.alive


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_without_a_record_is_found_by_its_mark(processes: Processes):
    record = processes.start("sleeper", SLEEP)
    (Path(processes.mark) / "sleeper.json").unlink()
    until = time.monotonic() + 10
    while not (found := processes.strays()) and time.monotonic() < until:
        pass  # a process that was only just started has no environment yet that anybody could read
    assert found == [record.pid]
    processes.kill_all()
    assert not record.alive


def test_a_lock_waits_says_so_and_gives_up(tmp_path: Path):
    said: list[str] = []
    entered = threading.Event()
    with file_lock(tmp_path / "lock"):
        with (
            pytest.raises(TimeoutError, match="locked by another process"),
            file_lock(tmp_path / "lock", waiting=lambda: said.append("waiting"), timeout=0.2),
        ):
            pass
        thread = threading.Thread(target=lambda: _hold(tmp_path / "lock", entered))
        thread.start()
        assert not entered.wait(0.2)
    assert entered.wait(5)
    thread.join()
    assert said == ["waiting"]


def _hold(path: Path, entered: threading.Event) -> None:
    with file_lock(path):
        entered.set()


def test_the_cache_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("HOMEPORT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert tools.cache_directory() == tmp_path / "xdg" / "homeport"
    monkeypatch.setenv("HOMEPORT_CACHE", str(tmp_path / "own"))
    assert tools.cache_directory() == tmp_path / "own"
    monkeypatch.delenv("HOMEPORT_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert tools.cache_directory() == Path.home() / ".cache" / "homeport"


def test_a_build_is_cached_by_version_and_by_what_it_was_built_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOMEPORT_CACHE", str(tmp_path))
    tool = tools.TOOLS["kube-apiserver"]
    path = tools.built_path(tool)
    assert path.parts[-3:] == ("kube-apiserver", f"v1.35.4-{tool.digest}", "kube-apiserver")
    assert tools.Tool(tool.name, tool.version, tool.module, tool.package, "-s").digest != tool.digest
    assert tools.TOOLS["kubectl"].digest != tool.digest
    monkeypatch.setattr(tools, "BUILD_FLAGS", ("-race",))
    assert tools.built_path(tool) != path


def test_every_tool_is_pinned_by_its_module():
    for tool in tools.TOOLS.values():
        text = (tool.directory / "go.mod").read_text()
        assert tool.version in text, tool.name
        assert (tool.directory / "go.sum").exists()
        assert (1, 24) <= tool.go < (2,)


def test_a_folder_that_the_user_named_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOMEPORT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.delenv("HOMEPORT_BIN", raising=False)
    assert binaries.find("etcd") is None
    cached = tools.built_path(tools.TOOLS["etcd"])
    for path in (cached, tmp_path / "assets" / "etcd", tmp_path / "bin" / "etcd"):
        path.parent.mkdir(parents=True)
        path.touch(mode=0o755)
    assert binaries.find("etcd") == cached
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    assert binaries.find("etcd") == tmp_path / "assets" / "etcd"
    monkeypatch.setenv("HOMEPORT_BIN", str(tmp_path / "bin"))
    assert binaries.find("etcd") == tmp_path / "bin" / "etcd"
    assert binaries.ensure(["etcd"]) == {"etcd": tmp_path / "bin" / "etcd"}


@pytest.mark.parametrize("make", [certificates.make_with_cryptography, certificates.make_with_openssl])
def test_certificates_verify_and_kubeconfigs_are_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make):
    monkeypatch.setattr(certificates, "_maker", lambda: make)
    layout = Layout(tmp_path)
    certs = layout.certificates
    certs.ensure()
    before = certs.file("ca.crt").read_bytes()
    certs.ensure()
    assert certs.file("ca.crt").read_bytes() == before
    certs.kubeconfig(layout.kubeconfig, certificates.ADMIN, 4711)
    document = json.loads(layout.kubeconfig.read_text())
    assert document["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:4711"
    assert layout.kubeconfig.stat().st_mode & 0o077 == 0
    _handshake(certs)


def _handshake(certs: certificates.Certificates) -> None:
    """Both sides present and check certificates of the same authority."""
    authority = str(certs.file("ca.crt"))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(certs.file("server.crt"), certs.file("server.key"))
    client = ssl.create_default_context(cafile=authority)
    client.load_cert_chain(certs.file("admin.crt"), certs.file("admin.key"))
    left, right = socket.socketpair()
    seen: list[object] = []

    def serve() -> None:
        with server.wrap_socket(left, server_side=True) as stream:
            seen.append(stream.getpeercert())
            stream.sendall(b"!")

    thread = threading.Thread(target=serve)
    thread.start()
    with client.wrap_socket(right, server_hostname="127.0.0.1") as stream:
        assert stream.recv(1) == b"!"
    thread.join()
    assert "system:masters" in str(seen)


def test_nodes_spread_over_zones():
    zones = {node(index)["metadata"]["labels"]["topology.kubernetes.io/zone"] for index in range(3)}  # type: ignore[index]
    assert zones == {"zone-a", "zone-b", "zone-c"}
