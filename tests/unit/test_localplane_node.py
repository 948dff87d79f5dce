"""What a real node is made of: layers out of packages, images, the relay, volumes; without a node."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from localplane import cgroups, debian, images, node, noderelay, nodevolumes
from localplane.debian import Built, Layer
from localplane.images import Image

needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb isn't here")


def package(folder: Path, name: str, files: dict[str, str]) -> Path:
    """A Debian package with these files."""
    root = folder / name
    (root / "DEBIAN").mkdir(parents=True)
    control = (
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\nDescription: x\n"
    )
    (root / "DEBIAN/control").write_text(control)
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    out = folder / f"{name}_1_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", str(root), str(out)], check=True, capture_output=True)
    return out


def merged(folder: Path, archives: list[Path]) -> Path:
    tar = folder / "layer.tar"
    with tar.open("wb") as output:
        debian._merge(archives, output)
    return tar


@needs_dpkg
def test_packages_become_one_tar_with_merged_paths_and_without_documentation(tmp_path: Path):
    one = package(tmp_path, "one", {"bin/sh": "shell", "usr/share/doc/one/copyright": "text", "etc/one.conf": "1"})
    two = package(tmp_path, "two", {"usr/bin/two": "second", "etc/one.conf": "2"})
    with tarfile.open(merged(tmp_path, [one, two])) as tar:
        files = {info.name: tar.extractfile(info).read() for info in tar if info.isreg()}  # type: ignore[union-attr]
        links = {info.name: info.linkname for info in tar if info.issym()}
        assert {info.mtime for info in tar} == {0}
    assert files == {"usr/bin/sh": b"shell", "usr/bin/two": b"second", "etc/one.conf": b"2"}
    assert links == {"bin": "usr/bin"}


@needs_dpkg
def test_the_same_packages_make_the_same_layer(tmp_path: Path):
    digests = set()
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        archives = [package(tmp_path / run, name, {f"usr/bin/{name}": name}) for name in ("one", "two")]
        digests.add(debian._digest(merged(tmp_path / run, archives)))
    assert len(digests) == 1


@needs_dpkg
def test_what_is_no_package_is_an_error_that_names_it(tmp_path: Path):
    (tmp_path / "broken_1_all.deb").write_text("not a package")
    with pytest.raises((debian.DebianError, tarfile.TarError), match=r"broken|empty"):
        merged(tmp_path, [tmp_path / "broken_1_all.deb"])


def test_a_layers_key_says_all_that_its_content_depends_on():
    base = Layer(("a",))
    keys = [
        base,
        Layer(("b",)),
        Layer(("a",), without=("c",)),
        Layer(("a",), on=Layer(("b",))),
        Layer(("a",), compiled=True),
    ]
    assert len({layer.key for layer in keys}) == len(keys)
    assert Layer(("a", "b")).key == Layer(("b", "a")).key


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("redis:7", "docker.io/library/redis:7"),
        ("team/app:1", "docker.io/team/app:1"),
        ("registry.example.com/app:1", "registry.example.com/app:1"),
        ("localhost/app:1", "localhost/app:1"),
        ("host:5000/app:1", "host:5000/app:1"),
    ],
)
def test_a_name_is_completed_as_the_runtime_completes_it(name: str, whole: str):
    assert images.reference(name) == whole


def test_an_archive_is_an_image_layout_whose_digests_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    content = b"a layer, as far as this test cares"
    tar = tmp_path / "layer.tar"
    tar.write_bytes(content)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    monkeypatch.setattr(debian, "ensure", lambda layer: Built(tar, digest, ()))
    shared = Layer(("a",))
    script = {"usr/bin/run": b"#!/bin/sh\n", "app/data": b"x"}
    made = [Image(("one:1", "one:latest"), shared, files=script, users={"me": 1000}, command=("run",), user="1000"),
            Image(("two:1",), Layer(("b",), on=shared))]  # fmt: skip
    buffer = io.BytesIO()
    images.write_archive(made, buffer)
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as archive:
        names = archive.getnames()
        blobs = {name: archive.extractfile(name).read() for name in names}  # type: ignore[union-attr]
    assert len(names) == len(set(names))
    assert json.loads(blobs["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    for name, blob in blobs.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}"
    entries = json.loads(blobs["index.json"])["manifests"]
    assert [entry["annotations"]["io.containerd.image.name"] for entry in entries] == [
        "docker.io/library/one:1", "docker.io/library/one:latest", "docker.io/library/two:1"]  # fmt: skip

    def blob(entry: dict[str, Any]) -> bytes:
        return blobs["blobs/" + entry["digest"].replace(":", "/")]

    manifest = json.loads(blob(entries[0]))
    config = json.loads(blob(manifest["config"]))
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert (config["config"]["User"], config["config"]["Cmd"]) == ("1000", ["run"])
    with tarfile.open(fileobj=io.BytesIO(blob(manifest["layers"][-1]))) as top:
        modes = {info.name: info.mode for info in top}
        passwd = top.extractfile("etc/passwd")
        assert passwd and b"me:x:1000:1000:" in passwd.read()
    assert (modes["usr/bin/run"], modes["app/data"], modes["tmp"]) == (0o755, 0o644, 0o1777)


async def test_the_relay_connects_where_it_is_asked_to_and_says_when_it_can_not(tmp_path: Path):
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"echo " + await reader.readline())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    path = tmp_path / "relay.sock"
    machine = os.open("/proc/self/ns/net", os.O_RDONLY)
    relay = asyncio.create_task(noderelay.serve(machine, 0, [], path))

    async def ask(line: bytes, then: bytes = b"") -> bytes:
        while not path.exists():
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(line + b"\r\nHost: x\r\n\r\n" + then)
        await writer.drain()
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer

    try:
        good = await ask(f"CONNECT 127.0.0.1:{port} HTTP/1.1".encode(), b"hello\n")
        assert good == b"HTTP/1.1 200 OK\r\n\r\necho hello\n"
        server.close()
        assert (await ask(f"CONNECT 127.0.0.1:{port} HTTP/1.1".encode())).startswith(b"HTTP/1.1 502 ")
        assert (await ask(b"GET / HTTP/1.1")).startswith(b"HTTP/1.1 502 ")
    finally:
        relay.cancel()
        os.close(machine)


class Api:
    """As much of an API server as volumes take."""

    def __init__(self, volumes: list[dict[str, Any]]) -> None:
        self.volumes = volumes
        self.asked: list[tuple[str, str]] = []

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        self.asked.append((method, path))
        if method == "POST":
            self.volumes.append(body)
            return 201, body
        return 200, {"items": self.volumes}


CLAIM: dict[str, Any] = {
    "metadata": {
        "name": "data", "namespace": "shop", "uid": "u1",
        "annotations": {nodevolumes.PROVISIONED_BY: "homeport.dev/directory", nodevolumes.SELECTED: "homeport-node"},
    },
    "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "standard",
    },
}  # fmt: skip


def test_a_claim_gets_a_folder_and_a_volume_on_the_node(tmp_path: Path):
    api = Api([])
    volumes = nodevolumes.Volumes(api, tmp_path)  # type: ignore[arg-type]
    volumes._provision(CLAIM)
    assert (tmp_path / "pvc-u1").is_dir()
    spec = api.volumes[0]["spec"]
    assert spec["local"] == {"path": "/var/lib/volumes/pvc-u1"}
    assert (spec["claimRef"]["name"], spec["capacity"]) == ("data", {"storage": "1Gi"})


@pytest.mark.parametrize(
    "annotations", [{}, {nodevolumes.PROVISIONED_BY: "homeport.dev/directory"}, {nodevolumes.SELECTED: "homeport-node"}]
)
def test_a_claim_of_others_or_without_a_pod_is_left_alone(tmp_path: Path, annotations: dict[str, str]):
    api = Api([])
    claim = {**CLAIM, "metadata": {**CLAIM["metadata"], "annotations": annotations}}
    nodevolumes.Volumes(api, tmp_path)._provision(claim)  # type: ignore[arg-type]
    assert (api.volumes, list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize(
    ("phase", "policy", "kept"),
    [("Released", "Delete", False), ("Released", "Retain", True), ("Bound", "Delete", True)],
)
def test_a_released_volume_goes_with_its_folder_unless_it_is_retained(
    tmp_path: Path, phase: str, policy: str, kept: bool
):
    volume = nodevolumes.volume("pvc-u1", CLAIM)
    volume["spec"]["persistentVolumeReclaimPolicy"] = policy
    volume["status"] = {"phase": phase}
    (tmp_path / "pvc-u1").mkdir()
    api = Api([volume])
    nodevolumes.Volumes(api, tmp_path)._release()  # type: ignore[arg-type]
    assert (tmp_path / "pvc-u1").exists() is kept
    assert (("DELETE", "/api/v1/persistentvolumes/pvc-u1") in api.asked) is not kept


def test_what_a_machine_lacks_for_a_node_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    found = node.obstacles()
    assert {"it needs root", "it needs the program apt-get", "it needs the program nsenter"} <= set(found)
    monkeypatch.setattr("sys.platform", "darwin")
    assert node.obstacles() == ["it needs Linux"]


def test_a_node_is_not_started_where_it_can_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(node, "obstacles", lambda: ["it needs root"])
    one = node.Node(tmp_path / "node", None, None, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(node.NodeError, match="a real node can't run here: it needs root"):
        one.start(1, None)  # type: ignore[arg-type]


def test_the_second_hierarchy_of_a_hybrid_system_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    for name in ("cpu", "memory", "unified"):
        (tmp_path / name).mkdir()
    assert [path.name for path in cgroups.hierarchies()] == ["cpu", "memory"]
    (tmp_path / "cgroup.controllers").write_text("cpu memory")
    assert cgroups.hierarchies() == [tmp_path]
    assert cgroups.name(Path("/a")) != cgroups.name(Path("/b"))
