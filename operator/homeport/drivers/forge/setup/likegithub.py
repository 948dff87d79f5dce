"""What GitHub's API and Gitea's have in common when a repository is set up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from homeport.drivers.forge.http import Http
from homeport.drivers.forge.setup import common
from homeport.drivers.forge.setup.common import Spec, begun, mark


class Owned(common.Owned):
    """A part below ``/repos/<owner>/<name>``."""

    method = "PATCH"

    def __init__(self, http: Http, repository: str) -> None:
        super().__init__(http, repository, f"/repos/{repository}")


class Repositories(Owned):
    """The repository itself; the key is empty. ``made``: whether it carries Homeport's mark."""

    async def observe(self, key: str) -> Spec | None:
        """What is there."""
        found = await self.http.get(self.base, accept=(404,))
        if found is None:
            return None
        description = str(found.get("description") or "")
        return {
            "description": description,
            "visibility": str(found.get("visibility") or ("private" if found.get("private") else "public")),
            "defaultBranch": str(found.get("default_branch") or ""),
            "made": mark(self.full_name) in (found.get("topics") or ()) or description == begun(self.full_name),
            "topics": [str(topic) for topic in found.get("topics") or ()],
        }

    async def put(self, key: str, spec: Spec, value: str, found: Spec | None) -> None:
        """Make it with the mark in its description, give it the topic, and only then what it shall be."""
        if found is None:
            me = await self.http.get("/user")
            mine = str((me or {}).get("login") or "").lower() == self.owner.lower()
            path = "/user/repos" if mine else f"/orgs/{quote(self.owner)}/repos"
            await self.http.send("POST", path, self.creation(spec))
            found = await self.observe("") or {}
        topic = mark(self.full_name)
        if found.get("made") and topic not in found.get("topics", ()):
            await self.http.send("PUT", f"{self.base}/topics", self.topics([*found.get("topics", ()), topic]))
        if found.get("defaultBranch") != spec["defaultBranch"]:
            await self.branch(spec["defaultBranch"], str(found.get("defaultBranch") or ""))
        await self.http.send("PATCH", self.base, self.change(spec))

    async def remove(self, key: str) -> None:
        """The repository with all that is in it."""
        await self.http.send("DELETE", self.base, accept=(404,))

    def creation(self, spec: Spec) -> Spec:
        """The document that makes it."""
        return {
            "name": self.name,
            "description": begun(self.full_name),
            "private": spec["visibility"] != "public",
            "auto_init": True,
        }

    def topics(self, names: list[str]) -> Spec:
        """The document of its topics."""
        return {"names": names}

    def change(self, spec: Spec) -> Spec:
        """The document that changes it."""
        return {
            "description": spec["description"],
            "private": spec["visibility"] != "public",
            "default_branch": spec["defaultBranch"],
        }

    async def branch(self, name: str, base: str) -> None:
        """Make a branch, unless it is there."""
        raise NotImplementedError


class Labels(Owned):
    """Labels by name."""

    async def find(self, key: str) -> Any:
        """The forge's document."""
        return next((one for one in await self.all("/labels") if str(one["name"]).lower() == key.lower()), None)

    async def observe(self, key: str) -> Spec | None:
        """What is there."""
        found = await self.find(key)
        if found is None:
            return None
        color = "#" + str(found.get("color") or "").removeprefix("#").lower()
        return {"color": color, "description": str(found.get("description") or "")}

    async def put(self, key: str, spec: Spec, value: str, found: Spec | None) -> None:
        """Make or change it. Both forges take a colour without its ``#``."""
        body = {"color": spec["color"].removeprefix("#"), "description": spec["description"]}
        await self.write("/labels", await self.find(key), body, {"name": key})

    async def remove(self, key: str) -> None:
        """Take it away."""
        await self.drop("/labels", await self.find(key))


class Webhooks(Owned):
    """Webhooks by their address: what they are signed with is never told."""

    events = {"push": ["push"], "pullRequest": ["pull_request"]}  # noqa: RUF012 - read only
    first: Mapping[str, str] = {}
    """What only making one takes."""

    def config(self, key: str, spec: Spec, value: str) -> Spec:
        """Where it goes and how, as the forge takes it."""
        return {"url": key, "content_type": "json", "secret": value}

    async def find(self, key: str) -> Any:
        """The forge's document."""
        return next((one for one in await self.all("/hooks") if (one.get("config") or {}).get("url") == key), None)

    async def observe(self, key: str) -> Spec | None:
        """What is there."""
        found = await self.find(key)
        if found is None:
            return None
        events = [name for name, theirs in self.events.items() if theirs[0] in (found.get("events") or ())]
        tls = str((found.get("config") or {}).get("insecure_ssl") or "0") == "0"
        return {"events": events, "active": bool(found.get("active")), "verifyTls": tls}

    async def put(self, key: str, spec: Spec, value: str, found: Spec | None) -> None:
        """Make or change it."""
        events = [theirs for name in spec["events"] for theirs in self.events[name]]
        body = {"config": self.config(key, spec, value), "events": events, "active": spec["active"]}
        await self.write("/hooks", await self.find(key), body, self.first)

    async def remove(self, key: str) -> None:
        """Take it away."""
        await self.drop("/hooks", await self.find(key))


class Tree(Owned):
    """The repository's files."""

    async def commits(self, branch: str) -> int:
        """0, 1, or 2 for more. A repository without a commit answers 409."""
        query = {"sha": branch, self.size: 2}
        found = await self.http.get(f"{self.base}/commits", query, accept=(404, 409))
        return min(len(found or ()), 2)

    async def tree(self, branch: str) -> dict[str, str] | None:
        """Path -> blob id. Of a branch that isn't there GitHub answers 404, and Gitea 400; without any commit 409."""
        path = f"{self.base}/git/trees/{quote(branch, safe='')}"
        found = await self.http.get(path, {"recursive": "1"}, accept=(400, 404, 409))
        if found is None:
            return None
        return {str(one["path"]): str(one["sha"]) for one in found.get("tree") or () if one.get("type") == "blob"}
