"""A shop on a Proxmox VE host that is only known by its status: for tests of applications in memory."""

from __future__ import annotations

import copy
from typing import Any

from memory_world import Manifest, Running, World, load

NAMESPACE = "shop-lab"
PLACE = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: homeport.dev/v1alpha1
kind: Project
metadata: {name: shop, namespace: shop}
spec: {}
---
apiVersion: v1
kind: Secret
metadata: {name: signing, namespace: shop}
data: {key: c2VjcmV0}
---
apiVersion: homeport.dev/v1alpha1
kind: Environment
metadata: {name: lab, namespace: shop}
spec:
  runtime: Proxmox
  proxmox: {hostRef: {name: lab}, storage: local-lvm, network: {bridge: vmbr0, cidr: 10.20.0.0/24}}
  secrets: [{name: signing}]
  ingress: {className: traefik, domain: shop.lab}
  quota: {cpu: "8", memory: 8Gi, containers: 6}
"""
APP = """
apiVersion: homeport.dev/v1alpha1
kind: Application
metadata: {name: shop, namespace: shop}
spec:
  version: 1.0.0
  components:
    - name: web
      image: example/shop
      replicas: 3
      ports: [{name: http, port: 8000}]
      secretFiles: [{path: /etc/key, secretRef: {name: signing, key: key}}]
      migrate: {command: [migrate]}
      routes: [{path: /}]
      dependsOn: [db]
    - name: db
      type: stateful
      image: postgres:16
      replicas: 2
      ports: [{name: postgres, port: 5432}]
      volumes: [{name: data, path: /data, size: 1Gi}]
"""
HOST: Manifest = {
    "apiVersion": "homeport.dev/v1alpha1",
    "kind": "ProxmoxHost",
    "metadata": {"name": "lab", "uid": "h", "generation": 1, "resourceVersion": "1"},
    "spec": {
        "endpoints": ["https://pve1.lab:8006"],
        "credentialsSecretRef": {"namespace": "system", "name": "token"},
        "tls": {"insecure": True},
        "projects": [{"name": "shop", "storages": ["local-lvm"], "bridges": ["vmbr0"]}],
    },
    "status": {
        "firewall": True,
        "conditions": [{"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded"}],
    },
}


def host(**changes: Any) -> Manifest:
    body = copy.deepcopy(HOST)
    body["spec"] |= changes.pop("spec", {})
    body["status"] |= changes
    return body


def app(**web: Any) -> list[Manifest]:
    (body,) = load(APP)
    body["spec"]["version"] = web.pop("version", "1.0.0")
    body["spec"]["components"][0] |= web
    return [body]


class LabWorld(World):
    """A world with the host ``lab``, which every operator knows of."""

    def clone(self) -> LabWorld:
        """As ``World.clone``."""
        other = LabWorld()
        self._copy_to(other)
        return other

    async def operator(self) -> Running:
        """A new process, that has seen the host."""
        running = await super().operator()
        running.engine.store.put(HOST)
        return running
