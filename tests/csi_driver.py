"""A CSI driver and its sidecars, played on folders: volumes for claims of its class, and snapshots by copying.

It does to the API server what external-provisioner and external-snapshotter do: PersistentVolumes with a claimRef,
which the real controller binds, VolumeSnapshotContents, and the status of VolumeSnapshots. What a real driver promises,
that a snapshot is of one moment, is here a copy of a folder that nobody writes to meanwhile.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from api_server import ApiServer, RefusedError
from backup_world import BackupWorld

Manifest = dict[str, Any]
DRIVER, CLASS = "csi.example.com", "fast"
GROUP = "/apis/snapshot.storage.k8s.io/v1"
_CLAIMS, _VOLUMES = "/api/v1/persistentvolumeclaims", "/api/v1/persistentvolumes"


class CsiDriver:
    """Looks for claims and snapshots while it runs."""

    def __init__(self, api: ApiServer, world: BackupWorld, folder: Path) -> None:
        self.api = api
        self.world = world
        self.folder = folder
        self.error = ""
        """What it says instead of making a snapshot."""
        self.made: list[str] = []
        """Snapshots that were taken, by namespace and name."""
        self._stopped = threading.Event()

    def classes(self) -> None:
        """Its StorageClass and VolumeSnapshotClass."""
        storage = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": CLASS}}
        binding = {"volumeBindingMode": "Immediate", "reclaimPolicy": "Delete"}
        self.api.call("POST", "/apis/storage.k8s.io/v1/storageclasses", {**storage, "provisioner": DRIVER, **binding})
        snapshots = {"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass"}
        body = {**snapshots, "metadata": {"name": "snaps"}, "driver": DRIVER, "deletionPolicy": "Delete"}
        self.api.call("POST", f"{GROUP}/volumesnapshotclasses", body)

    @contextmanager
    def running(self) -> Iterator[CsiDriver]:
        """Until it is left."""
        thread = threading.Thread(target=self._look, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stopped.set()
            thread.join(30)

    def _look(self) -> None:
        while not self._stopped.wait(0.2):
            try:
                for snapshot in self.api.call("GET", f"{GROUP}/volumesnapshots")["items"]:
                    self._snapshot(snapshot)
                for claim in self.api.call("GET", _CLAIMS)["items"]:
                    self._provision(claim)
            except RefusedError as error:
                if error.code not in (404, 409):
                    raise

    def _held(self, namespace: str, name: str) -> Path:
        return self.folder / namespace / name

    def _snapshot(self, snapshot: Manifest) -> None:
        metadata, status = snapshot["metadata"], snapshot.get("status") or {}
        if metadata.get("deletionTimestamp") or status.get("readyToUse"):
            return
        path = f"{GROUP}/namespaces/{metadata['namespace']}/volumesnapshots/{metadata['name']}/status"
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if self.error:
            told: Manifest = {"readyToUse": False, "error": {"message": self.error, "time": now}}
            if (status.get("error") or {}).get("message") != self.error:
                self.api.call("PATCH", path, {"status": told}, "application/merge-patch+json")
            return
        source = self.world.volume(metadata["namespace"], snapshot["spec"]["source"]["persistentVolumeClaimName"])
        shutil.copytree(source, self._held(metadata["namespace"], metadata["name"]), dirs_exist_ok=True)
        self.made.append(f"{metadata['namespace']}/{metadata['name']}")
        told = {"readyToUse": True, "creationTime": now, "restoreSize": "1Gi", "error": None}
        self.api.call("PATCH", path, {"status": told}, "application/merge-patch+json")

    def _provision(self, claim: Manifest) -> None:
        metadata, spec = claim["metadata"], claim["spec"]
        if spec.get("storageClassName") != CLASS or spec.get("volumeName") or metadata.get("deletionTimestamp"):
            return
        namespace, name = metadata["namespace"], metadata["name"]
        if source := spec.get("dataSource"):
            held = self._held(namespace, source["name"])
            if not held.exists():
                return
            shutil.copytree(held, self.world.volume(namespace, name), dirs_exist_ok=True)
        body = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"csi-{metadata['uid']}"},
            "spec": {
                "accessModes": spec["accessModes"],
                "capacity": {"storage": spec["resources"]["requests"]["storage"]},
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": CLASS,
                "claimRef": {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "name": name,
                             "namespace": namespace, "uid": metadata["uid"]},
                "csi": {"driver": DRIVER, "volumeHandle": metadata["uid"]},
            },
        }  # fmt: skip
        self.api.call("POST", _VOLUMES, body)
