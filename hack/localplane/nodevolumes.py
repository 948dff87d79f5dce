"""Volumes of a real node: a folder for each claim of our storage class, as a `local` volume, until it's released.

A `local` volume is what the kubelet sets the owner of (fsGroup), so that Pods that aren't root can write to it.
https://kubernetes.io/docs/concepts/storage/volumes/#local
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from localplane.api import Client
from localplane.nodefiles import NODE, PROVISIONER, VOLUMES

CLAIMS = "/api/v1/persistentvolumeclaims"
RELEASED = "/api/v1/persistentvolumes"
SELECTED = "volume.kubernetes.io/selected-node"
MARK = "pv.kubernetes.io/provisioned-by"
PROVISIONED_BY = "volume.kubernetes.io/storage-provisioner"
ROUND = 5  # seconds between looks for released volumes


class Volumes:
    """Makes and removes them."""

    def __init__(self, client: Client, folder: Path) -> None:
        self._client = client
        self._folder = folder

    def run(self) -> None:
        """Forever: claims as they come, released volumes every few seconds."""
        while True:
            try:
                self._release()
                status, answer = self._client.request("GET", CLAIMS)
                if status == 200:
                    for claim in answer["items"]:
                        self._provision(claim)
                    self._watch(answer["metadata"]["resourceVersion"])
            except (OSError, KeyError, ValueError) as error:
                print(f"volumes: {type(error).__name__}: {error}", flush=True)
                time.sleep(1)

    def _watch(self, version: str) -> None:
        path = f"{CLAIMS}?watch=1&resourceVersion={version}&timeoutSeconds={ROUND}"
        for line in self._client.lines(path, timeout=ROUND + 5):
            event = json.loads(line)
            if event["type"] in ("ADDED", "MODIFIED"):
                self._provision(event["object"])

    def _provision(self, claim: dict[str, Any]) -> None:
        metadata, spec = claim["metadata"], claim["spec"]
        marks = metadata.get("annotations") or {}
        ours = marks.get(PROVISIONED_BY) == PROVISIONER and marks.get(SELECTED) == NODE
        if not ours or spec.get("volumeName") or metadata.get("deletionTimestamp"):
            return
        name = f"pvc-{metadata['uid']}"
        (self._folder / name).mkdir(parents=True, exist_ok=True)
        status, answer = self._client.request("POST", RELEASED, volume(name, claim))
        if status not in (201, 409):
            print(f"volumes: {name} was refused with {status}: {answer}", flush=True)

    def _release(self) -> None:
        status, answer = self._client.request("GET", RELEASED)
        if status != 200:
            return
        for item in answer["items"]:
            ours = (item["metadata"].get("annotations") or {}).get(MARK) == PROVISIONER
            deleted = item["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
            if ours and deleted and item["status"].get("phase") == "Released":
                shutil.rmtree(self._folder / item["metadata"]["name"], ignore_errors=True)
                self._client.request("DELETE", f"{RELEASED}/{item['metadata']['name']}")


def volume(name: str, claim: dict[str, Any]) -> dict[str, Any]:
    """The volume for a claim."""
    metadata, spec = claim["metadata"], claim["spec"]
    affinity = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {MARK: PROVISIONER}},
        "spec": {
            "accessModes": spec["accessModes"],
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec["storageClassName"],
            "volumeMode": spec.get("volumeMode", "Filesystem"),
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            },
            "local": {"path": f"{VOLUMES}/{name}"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [affinity]}]}},
        },
    }  # fmt: skip


if __name__ == "__main__":
    Volumes(Client(Path(sys.argv[1])), Path(sys.argv[2])).run()
