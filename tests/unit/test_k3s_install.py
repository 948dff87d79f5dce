"""What k3s is started with, what is judged of a container, and what of the kubeconfig is rewritten."""

from __future__ import annotations

import hashlib
import http.server
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from homeport_clusters import k3s_checks, k3s_install, k3s_nodes
from homeport_clusters.k3s_install import Node
from homeport_clusters.providers.base import ProviderError

SERVER = Node("home-server-1", "server", "10.20.5.11", cluster_init=True, sans=("k8s.lab",), disable=("traefik",),
              args=("--kube-apiserver-arg=audit-log-path=/var/log/%n $x",), token="s3cret")  # fmt: skip
AGENT = Node("home-agent-1", "agent", "10.20.5.21", join="https://10.20.5.11:6443", token="s3cret")
FIT = k3s_install.told(
    "systemd=yes\nmachine=x86_64\nidmap=100000\ncgroups=cpuset cpu io memory pids\ncgroupsWritable=yes\nbridge=yes\n"
    "conntrack=262144\ntables=yes\nforward=yes\nvxlan=yes\noverlay=yes\nkmsg=no\nfuse=no\ninotify=65536\n"
    "flags=0 0 0 \nsysctls=no\nfree=9000000"
)
WHERE = k3s_checks.Where("home-server-1", 210, "pve1")


def test_flags_of_a_server_and_of_an_agent() -> None:
    assert k3s_install.flags(SERVER) == [
        "--node-name=home-server-1",
        "--node-ip=10.20.5.11",
        "--token-file=/etc/rancher/k3s/token",
        "--snapshotter=overlayfs",
        "--kubelet-arg=feature-gates=KubeletInUserNamespace=true",
        "--cluster-init",
        "--write-kubeconfig-mode=0600",
        "--tls-san=10.20.5.11",
        "--tls-san=k8s.lab",
        "--disable=traefik",
        "--kube-apiserver-arg=audit-log-path=/var/log/%n $x",
    ]
    assert k3s_install.flags(AGENT)[-1] == "--server=https://10.20.5.11:6443"
    assert k3s_install.USERNS_GATE not in k3s_install.flags(replace(SERVER, unprivileged=False))


def test_the_unit_is_what_systemd_takes_and_has_nothing_secret() -> None:
    text = k3s_install.unit(SERVER)
    assert "s3cret" not in text and "s3cret" not in repr(SERVER)
    assert '"--kube-apiserver-arg=audit-log-path=/var/log/%%n $$x"' in text
    assert "\nType=notify\n" in text and "\nDelegate=yes\n" in text and "\nKillMode=process\n" in text
    assert "ExecStart=/usr/local/bin/k3s \\\n  server \\\n" in text


def test_the_script_is_one_that_a_shell_takes(tmp_path: Path) -> None:
    text = k3s_install.script(replace(SERVER, registries="mirrors: {}\n"), "ab" * 32)
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0
    assert "s3cret" not in text, "it is encoded: a script that is shown shows no token"
    assert subprocess.run(["sh", "-n"], input=k3s_checks.SCRIPT, text=True, check=False).returncode == 0


def test_anything_else_is_another_digest() -> None:
    first = k3s_install.digest(SERVER, "aa")
    others = [
        k3s_install.digest(SERVER, "bb"),
        k3s_install.digest(replace(SERVER, token="other"), "aa"),
        k3s_install.digest(replace(SERVER, disable=()), "aa"),
        k3s_install.digest(replace(SERVER, registries="x"), "aa"),
    ]
    assert len({first, *others}) == 5 and first == k3s_install.digest(SERVER, "aa")


def test_the_kubeconfig_leads_to_the_server_under_the_clusters_name() -> None:
    text = (
        "apiVersion: v1\nclusters: [{name: default, cluster: {server: 'https://127.0.0.1:6443', "
        "certificate-authority-data: YQ==}}]\nusers: [{name: default, user: {client-key-data: Yg==}}]\n"
    )
    found = yaml.safe_load(k3s_install.kubeconfig(text, "https://10.20.5.11:6443", "home"))
    assert found["clusters"] == [
        {"name": "home", "cluster": {"server": "https://10.20.5.11:6443", "certificate-authority-data": "YQ=="}}
    ]
    assert found["current-context"] == "home" and found["users"][0]["user"] == {"client-key-data": "Yg=="}
    for bad in ("{}", "[", "clusters: []"):
        with pytest.raises(ProviderError, match="isn't a kubeconfig of k3s"):
            k3s_install.kubeconfig(bad, "https://10.20.5.11:6443", "home")


def test_a_fit_container_has_nothing_against_it() -> None:
    assert k3s_checks.problems(FIT, WHERE) == []


LACKS = [
    ({"bridge": "no", "vxlan": "no"}, "lacks the kernel's br_netfilter, vxlan: on pve1, as root: modprobe br_netfilter "
     "&& modprobe vxlan && printf '%s\\n' br_netfilter vxlan >>/etc/modules-load.d/k3s.conf"),
    ({"conntrack": ""}, "modprobe nf_conntrack"),
    ({"overlay": "no"}, "can't mount overlayfs: on pve1, as root: modprobe overlay"),
    ({"forward": "no"}, "sysctl -w net.ipv4.ip_forward=1"),
    ({"cgroups": "cpu memory"}, "no cgroup controllers pids"),
    ({"cgroupsWritable": "no"}, "pct set 210 --features nesting=1 && pct reboot 210"),
    ({"systemd": "no"}, "has no systemd; write a template that has, such as debian-12"),
    ({"machine": "riscv64"}, "is a riscv64"),
    ({"inotify": "128"}, "fs.inotify.max_user_instances=65536"),
    ({"free": "1000000"}, "has 976 MiB free, and k3s needs 2048; write a larger disk"),
    ({"idmap": "0", "flags": "1 10 1 "}, "echo 'lxc.mount.entry: /dev/kmsg dev/kmsg none bind,optional,create=file' "
     ">>/etc/pve/lxc/210.conf && pct reboot 210"),
    ({"idmap": "0", "kmsg": "yes"}, "vm.overcommit_memory=1 kernel.panic=10 kernel.panic_on_oops=1"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "told"), LACKS)
def test_what_lacks_is_said_with_the_command(change: dict[str, str], told: str) -> None:
    [problem] = k3s_checks.problems({**FIT, **change}, WHERE)
    assert told in problem


def test_fuse_is_asked_for_where_it_is_used() -> None:
    where = replace(WHERE, snapshotter="fuse-overlayfs")
    [problem] = k3s_checks.problems({**FIT, "overlay": "no"}, where)
    assert "pct set 210 --features nesting=1,fuse=1 && pct reboot 210" in problem
    assert k3s_checks.problems({**FIT, "overlay": "no"}, replace(WHERE, snapshotter="native")) == []


def test_files_that_are_there_are_not_sent_again() -> None:
    found = k3s_install.told("binary=aa\nimages=bb\nimages=cc\n")
    assert k3s_install.missing_files(found, {"binary": "aa", "images": "cc"}) == []
    assert k3s_install.missing_files(found, {"binary": "dd", "images": ""}) == ["binary"]


def test_a_file_has_the_digest_that_was_said_or_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "k3s"
    path.write_bytes(b"k3s")
    good = "6a1d4cde8a2ab42b1a4a24d5ff6b5fdb4d8f3d0e".ljust(64, "0")
    with pytest.raises(ProviderError, match=rf"has the SHA-256 [0-9a-f]{{64}}, and cluster\.yaml says {good}"):
        k3s_nodes.fetched(str(path), good)
    with pytest.raises(ProviderError, match="can't be read: No such file"):
        k3s_nodes.fetched(str(tmp_path / "none"), good)
    assert k3s_nodes.fetched(str(path), hashlib.sha256(b"k3s").hexdigest()) == path
    assert k3s_nodes.literal("fd00::1") == "[fd00::1]" and k3s_nodes.literal("k8s.lab") == "k8s.lab"


def test_what_is_behind_a_url_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Mirror(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if self.path == "/k3s" else 404)
            self.end_headers()
            self.wfile.write(b"k3s")

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is told."""

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    good = hashlib.sha256(b"k3s").hexdigest()
    with http.server.HTTPServer(("127.0.0.1", 0), Mirror) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        kept = k3s_nodes.fetched(f"{url}/k3s", good)
        assert kept.read_bytes() == b"k3s" and k3s_nodes.fetched(f"{url}/k3s", good) == kept and asked == ["/k3s"]
        with pytest.raises(ProviderError, match="it isn't used"):
            k3s_nodes.fetched(f"{url}/k3s", "ab" * 32)
        with pytest.raises(ProviderError, match="can't be fetched"):
            k3s_nodes.fetched(f"{url}/none", "cd" * 32)
        server.shutdown()
    assert [path.name for path in kept.parent.iterdir()] == [good], "what isn't as it should be isn't kept"
