"""What the tests with the operator's image share: Pods that find the API server, a Git server, what operators said."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from systems import System

from charts import SYSTEM
from homeport import __version__
from localplane.controlplane import ControlPlane
from localplane.nodefiles import ADDRESS

ROOT = Path(__file__).resolve().parents[2]
IMAGE = f"homeport:{__version__}"
OPERATORS = "app.kubernetes.io/component=operator"
# Serves one repository, made of the ConfigMap that is mounted at /files: a slash is written `__` there.
SERVE = """
import os, pathlib, subprocess, sys
sys.path.insert(0, "/code")
work, bare = pathlib.Path("/tmp/work"), "/tmp/served/fleet.git"
for path in pathlib.Path("/files").iterdir():
    if not path.name.startswith(".."):
        to = work / path.name.replace("__", "/")
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(path.read_bytes())
for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "first"],
              ["clone", "-q", "--bare", ".", bare]):
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *words], cwd=work, check=True)
subprocess.run(["git", "config", "uploadpack.allowFilter", "true"], cwd=bare, check=True)
import localgit.__main__ as server
server.serve(pathlib.Path("/tmp/served"), "0.0.0.0", 8000)
"""


def show_the_api_server(plane: ControlPlane, live: System) -> None:
    """The API server is outside of the node's network, and writes no endpoints for itself: Pods find the relay."""
    port = urlsplit(yaml.safe_load(plane.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]).port
    live.apply(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "kubernetes"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": True}}],
        }
    )


def operators(system: System) -> list[dict[str, Any]]:
    found = system.list("Pod", SYSTEM, OPERATORS)
    return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]


def said(system: System) -> str:
    """What operators' Pods look like, and the end of their logs."""
    out = []
    for pod in system.list("Pod", SYSTEM, OPERATORS):
        out.append(str(pod["status"].get("containerStatuses") or pod["status"].get("conditions")))
        try:
            out.append(system.kubectl.run("logs", "-n", SYSTEM, pod["metadata"]["name"], "--tail=20"))
        except Exception as error:
            out.append(str(error))
    return "\n".join(out)


def serve(system: System, space: str, files: dict[str, str]) -> str:
    """A Git server in that namespace, of the same image: it has Python, git and git's http-backend. Answers the URL."""
    code = {path.name: path.read_text() for path in sorted((ROOT / "hack/localgit").glob("*.py"))}
    flat = {name.replace("/", "__"): text for name, text in files.items()}
    for name, data in (("git-code", code), ("git-files", flat)):
        metadata = {"name": name, "namespace": space}
        system.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    confined = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    mounts = [("git-code", "/code/localgit"), ("git-files", "/files"), ("tmp", "/tmp")]
    pod = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "git", "image": IMAGE, "command": ["python3", "-c", SERVE], "securityContext": confined,
                "volumeMounts": [{"name": name, "mountPath": path} for name, path in mounts],
                "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
            }
        ],
        "volumes": [
            {"name": "git-code", "configMap": {"name": "git-code"}},
            {"name": "git-files", "configMap": {"name": "git-files"}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }  # fmt: skip
    metadata = {"name": "git", "namespace": space, "labels": {"app": "git"}}
    system.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod})
    spec = {"selector": {"app": "git"}, "ports": [{"port": 8000}]}
    system.apply({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    return f"http://git.{space}.svc:8000/fleet.git"
