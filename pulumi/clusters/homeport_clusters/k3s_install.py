"""k3s in a container: what it is started with, the script that puts it there, and what of its kubeconfig is rewritten.
Pure.

Files, flags and the unit are k3s' own, as its documentation and its install.sh have them; that script isn't run, since
it fetches the program itself. Everything is in the unit's command line but what is secret: the token is in a file.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from homeport_clusters.providers.base import ProviderError

BINARY = "/usr/local/bin/k3s"
FOLDER = "/etc/rancher/k3s"
TOKEN = f"{FOLDER}/token"
KUBECONFIG = f"{FOLDER}/k3s.yaml"
REGISTRIES = f"{FOLDER}/registries.yaml"
IMAGES = "/var/lib/rancher/k3s/agent/images"
DATABASE = "/var/lib/rancher/k3s/server/db"
STATE = "/var/lib/homeport"
PORT = 6443
USERNS_GATE = "--kubelet-arg=feature-gates=KubeletInUserNamespace=true"
"""In a container without privileges the kubelet can't read /dev/kmsg nor set the kernel's flags: with this it goes on
without (pkg/kubelet/kubelet.go, pkg/kubelet/cm/container_manager_linux.go). k3s sets it for --rootless only."""


@dataclass(frozen=True)
class Node:
    """One k3s."""

    name: str
    role: str
    """``server`` or ``agent``."""
    address: str
    join: str = ""
    """The URL of the server that it joins; empty for the first server."""
    cluster_init: bool = False
    """Whether it begins an etcd that others join."""
    unprivileged: bool = True
    snapshotter: str = "overlayfs"
    sans: tuple[str, ...] = ()
    disable: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    token: str = field(default="", repr=False)
    registries: str = field(default="", repr=False)

    @property
    def unit(self) -> str:
        """The unit's name."""
        return "k3s" if self.role == "server" else "k3s-agent"


def flags(node: Node) -> list[str]:
    """What it is started with."""
    out = [f"--node-name={node.name}", f"--node-ip={node.address}", f"--token-file={TOKEN}",
           f"--snapshotter={node.snapshotter}"]  # fmt: skip
    if node.unprivileged:
        out.append(USERNS_GATE)
    if node.join:
        out.append(f"--server={node.join}")
    if node.role == "server":
        if node.cluster_init:
            out.append("--cluster-init")
        out.append("--write-kubeconfig-mode=0600")
        out += [f"--tls-san={name}" for name in dict.fromkeys((node.address, *node.sans))]
        out += [f"--disable={name}" for name in sorted(node.disable)]
    return [*out, *node.args]


def unit(node: Node) -> str:
    """The unit for systemd, as k3s' install.sh writes it."""
    # What systemd would expand is doubled (systemd.service(5), systemd.unit(5)).
    words = [_word(word) for word in (BINARY, node.role, *flags(node))]
    command = " \\\n  ".join(words)
    notify = "notify" if node.role == "server" else "exec"
    return f"""[Unit]
Description=Lightweight Kubernetes ({node.role}), set up by homeport cluster
Wants=network-online.target
After=network-online.target

[Service]
Type={notify}
KillMode=process
Delegate=yes
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s
ExecStart={command}

[Install]
WantedBy=multi-user.target
"""


def _word(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if all(one.isalnum() or one in "-_./:=,+%$@" for one in text) else f'"{escaped}"'


def digest(node: Node, *files: str) -> str:
    """Of everything that it is started with; ``files``: digests of what is brought. The token can't be told from it."""
    parts = (unit(node), hashlib.sha256(node.token.encode()).hexdigest(), node.registries, *files)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def script(node: Node, mark: str) -> str:
    """Put it there, and have it run. It is read from standard input, and can be run any number of times."""
    name = node.unit
    return f"""set -eu
umask 077
mkdir -p {FOLDER} {STATE}
{_file(TOKEN, node.token)}
{_file(REGISTRIES, node.registries) if node.registries else f"rm -f {REGISTRIES}"}
{_file(f"/etc/systemd/system/{name}.service", unit(node), 0o644)}
if [ "$(cat {STATE}/k3s.digest 2>/dev/null)" = {mark} ] && systemctl is-active -q {name}; then exit 0; fi
for one in kubectl crictl ctr; do [ -e /usr/local/bin/$one ] || ln -s {BINARY} /usr/local/bin/$one; done
systemctl daemon-reload
systemctl enable {name} >/dev/null 2>&1
systemctl restart --no-block {name}
echo {mark} >{STATE}/k3s.digest
"""


def _file(path: str, content: str, mode: int = 0o600) -> str:
    encoded = base64.b64encode(content.encode()).decode()
    return f"base64 -d >{path}.part <<'EOF'\n{encoded}\nEOF\nchmod {mode:o} {path}.part; mv -f {path}.part {path}"


def look(node: Node) -> str:
    """The command that tells what is there; ``told`` reads its output."""
    return (
        f'echo "digest=$(cat {STATE}/k3s.digest 2>/dev/null)"; '
        f'echo "active=$(systemctl is-active {node.unit} 2>/dev/null)"; '
        f'echo "binary=$(sha256sum {BINARY} 2>/dev/null | cut -d" " -f1)"; '
        f'for one in {IMAGES}/*; do [ -f "$one" ] && echo "images=$(sha256sum "$one" | cut -d" " -f1)"; done; true'
    )


def told(output: str) -> dict[str, str]:
    """``key=value`` lines; of several of one key the values are joined by spaces."""
    out: dict[str, str] = {}
    for line in output.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            out[key] = f"{out[key]} {value}" if out.get(key) else value
    return out


def ready_command(name: str) -> str:
    """On a server: whether a node is Ready."""
    path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    return f"{BINARY} kubectl get node {shlex.quote(name)} -o {shlex.quote(path)}"


API_READY = f"{BINARY} kubectl get --raw=/readyz"


HAS_DATA = (
    f'if [ -n "$(ls -A {DATABASE}/etcd/member/wal 2>/dev/null)" ] || [ -s {DATABASE}/state.db ]; then echo data=yes; '
    "fi; "
    "sed -n 's/.*--server=\\([^ \"]*\\).*/server=\\1/p' /etc/systemd/system/k3s.service 2>/dev/null; true"
)
"""Whether a server has a cluster's data (etcd's log, or SQLite's file, as k3s names them), and which one it joined."""


def forget_command(name: str) -> str:
    """On a server: forget a node that is lost. k3s takes its etcd member away, and the password of that name, without
    which a new container of the same name isn't let in. It fails where the cluster has no quorum."""
    return f"{BINARY} kubectl delete node {shlex.quote(name)} --ignore-not-found --timeout=60s"


def leave_command(name: str) -> str:
    """On a server: have a node's Pods move, and forget it; of a server's node etcd forgets the member, too."""
    quoted = shlex.quote(name)
    return (
        f"{BINARY} kubectl drain {quoted} --ignore-daemonsets --delete-emptydir-data --force --timeout=60s "
        f">/dev/null 2>&1; "
        f"{forget_command(name)}"
    )


def kubeconfig(text: str, server: str, name: str) -> str:
    """k3s' kubeconfig for others: with the address by which it is reached, and the cluster's name instead of default.

    Raises ProviderError when it isn't one.
    """
    try:
        found: Mapping[str, Any] = yaml.safe_load(text)
        cluster = {**found["clusters"][0]["cluster"], "server": server}
        user = found["users"][0]["user"]
    except (yaml.YAMLError, LookupError, TypeError):
        raise ProviderError(f"{KUBECONFIG} isn't a kubeconfig of k3s") from None
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        },
        sort_keys=False,
    )


def server_url(address: str) -> str:
    """Where an API server is."""
    return f"https://{address}:{PORT}"


def missing_files(found: Mapping[str, str], wanted: Mapping[str, str]) -> Sequence[str]:
    """Which of ``binary`` and ``images`` aren't there as they should be, by digest."""
    return [key for key, value in wanted.items() if value and value not in found.get(key, "").split()]
