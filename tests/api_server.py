"""A few calls to an API server, for tests that ask it what it accepts. It isn't the driver: that is what's tested."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import config

from manifests import ROOT, load_all

PLURALS = {
    "Namespace": "namespaces",
    "Secret": "secrets",
    "ClusterRole": "clusterroles",
    "CustomResourceDefinition": "customresourcedefinitions",
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
    "Project": "projects",
    "Environment": "environments",
    "Application": "applications",
    "ProxmoxHost": "proxmoxhosts",
    "CatalogItem": "catalogitems",
    "LXCContainer": "lxccontainers",
    "BackupRepository": "backuprepositories",
    "Backup": "backups",
    "BackupRun": "backupruns",
    "Restore": "restores",
    "GitSource": "gitsources",
    "ImageUpdate": "imageupdates",
    "Notification": "notifications",
}
NAMESPACED = frozenset({"Secret", "Project", "Environment", "Application", "CatalogItem", "LXCContainer"}) | {
    "BackupRepository",
    "Backup",
    "BackupRun",
    "Restore",
    "GitSource",
    "ImageUpdate",
    "Notification",
}
MANAGER = "homeport-test"


class RefusedError(Exception):
    """The API server said no; ``str`` is its message, ``code`` its HTTP code."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


class ApiServer:
    """Creates, applies and deletes by manifest."""

    def __init__(self, kubeconfig: str) -> None:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        self.acting_as = ""
        """A user in whose name requests are made; empty for the kubeconfig's own."""
        self._client = config.new_client_from_config(config_file=str(kubeconfig), persist_config=False)

    def call(self, method: str, path: str, body: Any = None, content_type: str = "", **query: str) -> Any:
        """One request; raises RefusedError for an answer of 400 and more."""
        url = self._client.configuration.host + path + ("?" + urlencode(query) if query else "")
        headers = {"Accept": "application/json", "Content-Type": content_type or "application/json"}
        if self.acting_as:
            headers["Impersonate-User"] = self.acting_as
        self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        answer = self._client.call_api(method, url, headers, body)
        data = json.loads(answer.read() or b"{}")
        if answer.status >= 400:
            raise RefusedError(answer.status, data.get("message", ""))
        return data

    def lines(self, path: str, **query: str) -> list[bytes]:
        """The lines of an answer that is a stream, once it has ended."""
        url = self._client.configuration.host + path + "?" + urlencode(query)
        headers = {"Accept": "application/json"}
        self._client.update_params_for_auth(headers, [], ["BearerToken"], path, "GET", None)
        answer = self._client.call_api("GET", url, headers)
        data: bytes = answer.read()
        if answer.status >= 400:
            raise RefusedError(answer.status, data.decode())
        return [line for line in data.splitlines() if line]

    def create(self, manifest: dict[str, Any], dry: bool = False) -> Any:
        """Create it, with strict field validation."""
        return self.call("POST", _collection(manifest), manifest, **_options(dry))

    def replace(self, manifest: dict[str, Any], dry: bool = False) -> Any:
        """Replace what has its name."""
        return self.call("PUT", _path(manifest), manifest, **_options(dry))

    def apply(self, manifest: dict[str, Any], dry: bool = False, manager: str = MANAGER) -> Any:
        """Server-side apply, with strict field validation."""
        options = {**_options(dry), "fieldManager": manager, "force": "true"}
        return self.call("PATCH", _path(manifest), manifest, "application/apply-patch+yaml", **options)

    def patch(self, manifest: dict[str, Any], body: Any, subresource: str = "") -> Any:
        """A merge patch on what has this manifest's name."""
        path = _path(manifest) + (f"/{subresource}" if subresource else "")
        return self.call("PATCH", path, body, "application/merge-patch+json")

    def get(self, manifest: dict[str, Any]) -> Any:
        """What has this manifest's name."""
        return self.call("GET", _path(manifest))

    def delete(self, manifest: dict[str, Any], dry: bool = False) -> None:
        """Delete it; nothing when it isn't there."""
        try:
            self.call("DELETE", _path(manifest), **({"dryRun": "All"} if dry else {}))
        except RefusedError as error:
            if error.code != 404:
                raise

    def install(self, *folders: str) -> None:
        """Apply what is in these folders of the repository."""
        for folder in folders:
            for _, manifest in load_all(ROOT / folder):
                self.apply(manifest)


def _options(dry: bool) -> dict[str, str]:
    return {"fieldValidation": "Strict", **({"dryRun": "All"} if dry else {})}


def _collection(manifest: dict[str, Any]) -> str:
    version = manifest["apiVersion"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    kind = manifest["kind"]
    scope = f"/namespaces/{manifest['metadata']['namespace']}" if kind in NAMESPACED else ""
    return f"{root}{scope}/{PLURALS[kind]}"


def _path(manifest: dict[str, Any]) -> str:
    return f"{_collection(manifest)}/{manifest['metadata']['name']}"


def eventually(check: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Wait until ``check`` holds: the API server's own caches follow a write after a moment."""
    until = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < until, f"after {seconds} s still not: {what}"
        time.sleep(0.1)
