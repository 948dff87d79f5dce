"""Kubeconfigs: read whole into one text, named, and opened by Homeport's own client.

A kubeconfig of the person who runs `up` may run a program for its credentials (``exec``), as those of EKS and GKE do;
the operator's client never does that. Here it is run, and what it answers is used for one connection.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from homeport.drivers.kubernetes import config
from homeport.drivers.kubernetes.client import Client
from homeport.drivers.kubernetes.kubeconfigs import KubeconfigError, data_of, default, file_of, read, select
from homeport_clusters.model import Json

EXEC_SECONDS = 60
"""Seconds that a program for credentials may take."""


FRESH = "HOMEPORT_CLUSTERS_KUBECONFIGS"
"""The environment variable with the kubeconfigs that cluster.yaml names, as JSON: the folder that their paths are
relative to, and pairs of a path and a context. Credentials in the state expire; those in the files are kept fresh."""


def flattened(path: str | None, context: str | None, folder: Path) -> str:
    """One context of a kubeconfig file with all that it refers to, as text. ``path`` is relative to ``folder``.

    Raises KubeconfigError.
    """
    file = (default() if path is None else folder / Path(path).expanduser()).absolute()
    chosen = select(read(file), context, f"the kubeconfig {file}")
    cluster = _inlined(chosen.cluster, ("certificate-authority",), file.parent)
    user = _inlined(chosen.user, ("client-certificate", "client-key"), file.parent)
    if token_file := user.pop("tokenFile", None):
        user["token"] = file_of("tokenFile", token_file, file.parent).decode().strip()
    return dumped(chosen.context, cluster, user)


def dumped(name: str, cluster: Json, user: Json) -> str:
    """A kubeconfig of one cluster and one user."""
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": name, "user": user}],
        },
        sort_keys=False,
    )


def server(text: str) -> str:
    """The API server's address in a kubeconfig."""
    content = yaml.safe_load(text)
    return str(content["clusters"][0]["cluster"]["server"])


def named(pairs: Iterable[tuple[str | None, str | None]], folder: Path) -> str:
    """The value of ``FRESH``."""
    return json.dumps([str(folder), [list(pair) for pair in pairs]])


def fresh(text: str) -> str:
    """What the files say now of the server that a kubeconfig of the state leads to; ``text`` where they don't."""
    folder, pairs = json.loads(os.environ.get(FRESH) or '["", []]')
    found = []
    for path, context in pairs:
        try:
            found.append(flattened(path, context, Path(folder)))
        except KubeconfigError:
            continue  # It is needed only when the state's own doesn't do.
    if text in found:
        return text
    return next((one for one in found if server(one) == server(text)), text)


@asynccontextmanager
async def connected(text: str) -> AsyncIterator[Client]:
    """A client of the cluster that a kubeconfig names. Raises KubeconfigError and ApiError."""
    content = with_credentials(yaml.safe_load(fresh(text)))
    client = Client(config.load(content), user_agent="homeport-clusters")
    try:
        yield client
    finally:
        await client.close()


def with_credentials(content: Json) -> Json:
    """``content`` with what its program answers in place of the program. Raises KubeconfigError."""
    for entry in content.get("users", ()):
        asked = entry.get("user", {}).get("exec")
        if asked:
            entry["user"] = _executed(asked)
    return content


def _executed(asked: Mapping[str, Any]) -> Json:
    """By the protocol of client-go: https://kubernetes.io/docs/reference/config-api/client-authentication.v1/"""
    version = asked.get("apiVersion", "client.authentication.k8s.io/v1")
    info = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
    environment = {**os.environ, "KUBERNETES_EXEC_INFO": json.dumps(info)}
    environment |= {item["name"]: item["value"] for item in asked.get("env") or ()}
    command = [str(asked.get("command")), *map(str, asked.get("args") or ())]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=EXEC_SECONDS
        )
    except FileNotFoundError:
        hint = asked.get("installHint") or f"install {command[0]}, or put it on PATH"
        raise KubeconfigError(f"the kubeconfig runs {command[0]}, which isn't installed: {hint}") from None
    except subprocess.TimeoutExpired:
        raise KubeconfigError(f"{command[0]} of the kubeconfig gave no answer in {EXEC_SECONDS} s") from None
    if done.returncode:
        raise KubeconfigError(f"{command[0]} of the kubeconfig failed: {done.stderr.strip()[-500:]}")
    try:
        status = json.loads(done.stdout)["status"]
    except (ValueError, KeyError, TypeError):
        raise KubeconfigError(
            f"{command[0]} of the kubeconfig answered something else than an ExecCredential"
        ) from None
    if status.get("token"):
        return {"token": status["token"]}
    pair = {"client-certificate": status.get("clientCertificateData"), "client-key": status.get("clientKeyData")}
    return {f"{key}-data": base64.b64encode(str(value).encode()).decode() for key, value in pair.items()}


def _inlined(entry: Json, fields: tuple[str, ...], folder: Path) -> Json:
    found = {field: data_of(entry, field, folder) for field in fields}
    data = {f"{field}-data": base64.b64encode(value).decode() for field, value in found.items() if value is not None}
    return {**{name: value for name, value in entry.items() if name not in fields}, **data}
