"""Pull requests beside a repository and a cluster in memory: previews without a forge, by their own clock."""

from __future__ import annotations

from typing import Any

from gitops_world import Builds, GitRunning, GitWorld, namespace, source
from homeport.api.labels import API_VERSION
from homeport.drivers.kubernetes import types
from homeport.plan.gitops.pulls import Pull
from played_forge import Played, pull

MINE = {
    "enabled": True,
    "forge": {"provider": "Gitea", "tokenSecretRef": {"name": "forge", "key": "token"}},
    "authors": ["ann"],
    "environment": {"templateRef": {"name": "preview"}, "ttl": "1h", "max": 2, "secrets": ["db"]},
}


def ours(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop"}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def secret(name: str, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}


TEMPLATE = ours(
    "Environment", "preview", tier="Preview", template=True, ingress={"domain": "preview.example.com"},
    isolation="Open", secrets=[{"name": "db"}],
)  # fmt: skip
START = [
    namespace(),
    ours("Project", "shop"),
    ours("Environment", "production", isolation="Open"),
    TEMPLATE,
    secret("forge", token="dDBrZW4="),
    secret("db", password="aHVudGVyMjI="),
]
WEB = """
apiVersion: homeport.dev/v1alpha1
kind: Application
metadata: {name: web}
spec:
  version: 1.0.0
  components:
    - name: web
      image: registry.example.com/shop/web
      replicas: %d
      ports: [{name: http, port: 8080}]
      routes: [{path: /}]
"""


class PreviewRunning(GitRunning):
    """An operator that asks the played forge."""

    def __init__(self, world: PreviewWorld) -> None:
        super().__init__(world)
        pulling: Any = self.engine.context.gitops.pulling
        pulling.builder = Builds()
        pulling.pulls._connect = lambda *_: world.forge


class PreviewWorld(GitWorld):
    """A cluster, a repository and a forge."""

    def __init__(self) -> None:
        super().__init__()
        self.forge = Played(writers={"ann", "bob"})

    def clone(self) -> PreviewWorld:
        other = PreviewWorld()
        other.ours, other.played = self.ours, dict(self.played)
        self._copy_to(other)
        other.repository.commits = dict(self.repository.commits)
        other.repository.head, other.repository.down = self.repository.head, self.repository.down
        other.forge.open, other.forge.labels = list(self.forge.open), dict(self.forge.labels)
        return other

    async def operator(self) -> PreviewRunning:
        running = PreviewRunning(self)
        await running.start()
        return running

    async def begin(self, **fields: Any) -> None:
        """A project with a template, and a source that looks for pull requests."""
        await self.apply(START)
        self.repository.push({"web.yaml": WEB % 1})
        await self.apply([source(pullRequests={**MINE, **fields}, interval="10s")])

    def propose(self, files: dict[str, str], number: int = 7, **fields: Any) -> Pull:
        """A pull request whose head holds these files; or another head of it."""
        main = self.repository.head
        head = self.repository.push(files)
        self.repository.head = main
        made = pull(number, **{"author": "ann", "fork": False, "head": head, **fields})
        self.forge.open = sorted(
            [one for one in self.forge.open if one.number != number] + [made], key=lambda p: p.number
        )
        return made

    def close(self, number: int = 7) -> None:
        """It is closed or merged."""
        self.forge.open = [one for one in self.forge.open if one.number != number]

    def previews(self) -> dict[int, dict[str, Any]]:
        """What the source's status says of them."""
        return {entry["number"]: entry for entry in self.status().get("previews") or ()}

    def made(self) -> set[str]:
        """The previews' objects that are there."""
        return {
            f"{gvk.kind} {name}"
            for (gvk, _, name), found in self.client._objects.items()
            if gvk in (types.ENVIRONMENT, types.APPLICATION)
            and "homeport.dev/preview-of" in (found["metadata"].get("labels") or {})
        }
