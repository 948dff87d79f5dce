"""What a Compose field may be: its types, and what is said of a field that becomes nothing.

Source: https://docs.docker.com/reference/compose-file/services/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.cli.errors import Failure

_TEXT, _LIST, _MAP = "text", "a list", "a mapping"
_SHAPES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "image": ((_TEXT,), "image: nginx:1.27"),
    "command": ((_TEXT, _LIST), "command: [serve, --port, '80']"),
    "entrypoint": ((_TEXT, _LIST), "entrypoint: [/entrypoint.sh]"),
    "environment": ((_LIST, _MAP), "environment: {NAME: value}"),
    "env_file": ((_TEXT, _LIST), "env_file: [settings.env]"),
    "ports": ((_LIST,), "ports: ['8080:80']"),
    "expose": ((_LIST,), "expose: ['80']"),
    "volumes": ((_LIST,), "volumes: ['data:/data']"),
    "tmpfs": ((_TEXT, _LIST), "tmpfs: [/run]"),
    "depends_on": ((_LIST, _MAP), "depends_on: [db]"),
    "links": ((_LIST,), "links: [db]"),
    "networks": ((_LIST, _MAP), "networks: [backend]"),
    "healthcheck": ((_MAP,), "healthcheck: {test: [CMD, true]}"),
    "deploy": ((_MAP,), "deploy: {replicas: 2}"),
    "cap_add": ((_LIST,), "cap_add: [NET_ADMIN]"),
    "cap_drop": ((_LIST,), "cap_drop: [ALL]"),
    "group_add": ((_LIST,), "group_add: [1000]"),
    "sysctls": ((_LIST, _MAP), "sysctls: {net.core.somaxconn: 1024}"),
    "labels": ((_LIST, _MAP), "labels: {name: value}"),
    "annotations": ((_LIST, _MAP), "annotations: {name: value}"),
    "configs": ((_LIST,), "configs: [settings]"),
    "secrets": ((_LIST,), "secrets: [password]"),
    "user": ((_TEXT,), "user: '1000:1000'"),
    "working_dir": ((_TEXT,), "working_dir: /app"),
    "container_name": ((_TEXT,), "container_name: web"),
    "hostname": ((_TEXT,), "hostname: web"),
    "network_mode": ((_TEXT,), "network_mode: host"),
}
_INNER: Mapping[tuple[str, str], tuple[tuple[str, ...], str]] = {
    ("healthcheck", "test"): ((_TEXT, _LIST), "test: [CMD, true]"),
    ("deploy", "resources"): ((_MAP,), "resources: {limits: {memory: 512M}}"),
    ("deploy", "labels"): ((_LIST, _MAP), "labels: {name: value}"),
}

# What Homeport does by itself, or what says nothing about how a service runs.
SILENT = frozenset({"image"})
READ = frozenset(
    {
        *("command", "entrypoint", "environment", "ports", "expose", "volumes", "depends_on", "healthcheck"),
        *("cap_add", "cap_drop", "sysctls", "network_mode", "links", "user", "working_dir", "read_only", "privileged"),
        *("tmpfs", "stop_grace_period", "container_name", "hostname", "networks", "deploy", "scale", "mem_limit"),
        *("mem_reservation", "cpus", "shm_size", "labels", "build", "restart", "env_file", "configs", "secrets"),
        *("group_add", "pull_policy", "annotations"),
    }
)
TOP = frozenset({"version", "name", "services", "volumes", "networks", "secrets", "configs"})
WHY = {
    "devices": "a Pod has no devices of its node; a device plugin offers them as resources",
    "extra_hosts": "write the names in the cluster's DNS, or a patch with hostAliases",
    "dns": "Pods use the cluster's DNS",
    "dns_search": "Pods use the cluster's DNS",
    "domainname": "a component's name in the cluster is <component>.<namespace>.svc",
    "external_links": "write the other application's name in the environment variable that needs it",
    "logging": "logs go where the cluster sends them",
    "pid": "Pods don't share the node's processes",
    "ipc": "Pods don't share the node's memory; /dev/shm is theirs",
    "ulimits": "limits are the node's",
    "security_opt": "what the environment's podSecurity allows holds",
    "runtime": "a patch may set runtimeClassName",
    "gpus": "write resources with the device plugin's name beside catalog",
    "mac_address": "Pods have no address of their own to choose",
    "stop_signal": "it is the image's",
    "profiles": "it runs always; leave the component out with a component list of your own",
    "platform": "write nodeSelector {kubernetes.io/arch: …} beside catalog",
    "init": "the image's own first process runs",
    "tty": "there is no terminal",
    "stdin_open": "there is no terminal",
    "attach": "logs are shown by kubectl logs",
    "develop": "it is for building while one works",
    "oom_score_adj": "it follows from resources",
    "mem_swappiness": "it is the node's",
    "memswap_limit": "it is the node's",
    "cpu_shares": "write resources beside catalog",
    "cpu_quota": "write resources beside catalog",
    "cpuset": "which CPUs is the node's to say",
    "pids_limit": "it is the node's",
    "userns_mode": "it is the node's",
    "volumes_from": "write the other service's volumes by their names",
}
NO_FIELD = "Homeport has no such field"


def check(where: str, raw: Mapping[str, Any]) -> None:
    """Raises Failure for a field of a type that it can't have; ``where`` names the service."""
    for field, value in raw.items():
        if field in _SHAPES and value is not None:
            _check(f"{where}.{field}", value, *_SHAPES[field])
        for inner, each in value.items() if isinstance(value, Mapping) else ():
            if (field, inner) in _INNER and each is not None:
                _check(f"{where}.{field}.{inner}", each, *_INNER[field, inner])


def _check(where: str, value: Any, kinds: tuple[str, ...], example: str) -> None:
    kind = _MAP if isinstance(value, Mapping) else _LIST if isinstance(value, list) else _TEXT
    if kind not in kinds:
        raise Failure(f"{where}: is {kind}, not {' or '.join(kinds)}", f"write it as in `{example}`")
    if kind == _LIST and field_of_texts(where):
        for number, each in enumerate(value):
            if isinstance(each, Mapping | list):
                raise Failure(f"{where}[{number}]: isn't a text", f"write it as in `{example}`")
    if kind == _LIST and any(each is None for each in value):
        raise Failure(f"{where}: has an empty entry", f"write it as in `{example}`")


def field_of_texts(where: str) -> bool:
    """Whether a field's list may have nothing but texts and numbers in it."""
    return where.rpartition(".")[2] not in ("ports", "volumes", "env_file", "configs", "secrets")


def mapping(where: str, value: Any) -> Mapping[str, Any]:
    """``value``, if it is a mapping; empty for nothing. Raises Failure."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Failure(f"{where}: isn't a mapping", "write keys and values, or leave it out")
    return value
