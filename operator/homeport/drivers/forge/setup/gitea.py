"""Setting up on Gitea, and Forgejo. Source: the swagger document that a Gitea serves at /swagger.v1.json (1.26)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import quote

from homeport.drivers.forge.http import Http
from homeport.drivers.forge.setup import likegithub
from homeport.drivers.forge.setup.common import Part, Spec, begun


class _Owned(likegithub.Owned):
    size = "limit"


class Repositories(_Owned, likegithub.Repositories):
    """The repository itself."""

    def creation(self, spec: Spec) -> Spec:
        """The document that makes it."""
        return {**super().creation(spec), "default_branch": spec["defaultBranch"], "description": begun(self.full_name)}

    def topics(self, names: list[str]) -> Spec:
        """The document of its topics."""
        return {"topics": names}

    async def branch(self, name: str, base: str) -> None:
        """Make a branch, unless it is there."""
        if await self.http.get(f"{self.base}/branches/{quote(name, safe='')}", accept=(404,)) is None:
            body = {"new_branch_name": name, "old_branch_name": base}
            await self.http.send("POST", f"{self.base}/branches", body, accept=(409,))


class Protections(_Owned):
    """Protected branches by the rule's name, which is the branch or the pattern."""

    async def observe(self, key: str) -> Spec | None:
        """What is there."""
        found = await self.http.get(self._one(key), accept=(404,))
        if found is None:
            return None
        return {
            "requiredChecks": list(found.get("status_check_contexts") or ()) if found["enable_status_check"] else [],
            "reviews": int(found.get("required_approvals") or 0),
            "dismissStale": bool(found.get("dismiss_stale_approvals")),
            "signed": bool(found.get("require_signed_commits")),
            "push": bool(found.get("enable_push")),
            "noForce": not found.get("enable_force_push"),
        }

    async def put(self, key: str, spec: Spec, value: str, found: Spec | None) -> None:
        """Make or change it."""
        body = {
            "enable_status_check": bool(spec["requiredChecks"]),
            "status_check_contexts": list(spec["requiredChecks"]),
            "required_approvals": int(spec["reviews"]),
            "dismiss_stale_approvals": spec["dismissStale"],
            "require_signed_commits": spec["signed"],
            "enable_push": spec["push"],
            "enable_force_push": not spec["noForce"],
        }
        if found is None:
            await self.http.send("POST", f"{self.base}/branch_protections", {"rule_name": key, **body})
        else:
            await self.http.send("PATCH", self._one(key), body)

    async def remove(self, key: str) -> None:
        """Take it away."""
        await self.http.send("DELETE", self._one(key), accept=(404,))

    def _one(self, key: str) -> str:
        return f"{self.base}/branch_protections/{quote(key, safe='')}"


class Secrets(_Owned):
    """Secrets of Actions by name. Their values are never told."""

    async def observe(self, key: str) -> Spec | None:
        """That it is there."""
        names = [str(one.get("name")).upper() for one in await self.all("/actions/secrets")]
        return {} if key.upper() in names else None

    async def put(self, key: str, spec: Spec, value: str, found: Spec | None) -> None:
        """Write its value."""
        await self.http.send("PUT", f"{self.base}/actions/secrets/{quote(key)}", {"data": value})

    async def remove(self, key: str) -> None:
        """Take it away."""
        await self.http.send("DELETE", f"{self.base}/actions/secrets/{quote(key)}", accept=(404,))


class Variables(_Owned):
    """Variables of Actions by name."""

    async def observe(self, key: str) -> Spec | None:
        """What is there."""
        found = await self.http.get(self._one(key), accept=(404,))
        return None if found is None else {"value": str(found.get("data") or "")}

    async def put(self, key: str, spec: Spec, value: str, found: Spec | None) -> None:
        """Make or change it."""
        await self.http.send("POST" if found is None else "PUT", self._one(key), {"value": spec["value"]})

    async def remove(self, key: str) -> None:
        """Take it away."""
        await self.http.send("DELETE", self._one(key), accept=(404,))

    def _one(self, key: str) -> str:
        return f"{self.base}/actions/variables/{quote(key)}"


class Labels(_Owned, likegithub.Labels):
    """Labels by name."""


class Webhooks(_Owned, likegithub.Webhooks):
    """Webhooks by address."""

    events = {"push": ["push"], "pullRequest": ["pull_request", "pull_request_label", "pull_request_sync"]}  # noqa: RUF012
    first = {"type": "gitea"}  # noqa: RUF012


class Collaborators(_Owned):
    """People by login."""

    async def observe(self, key: str) -> Spec | None:
        """What they may do, if it was given to them in this repository."""
        path = f"{self.base}/collaborators/{quote(key)}"
        names = [str(one.get("login")).lower() for one in await self.all("/collaborators")]
        if key.lower() not in names:
            return None
        found = await self.http.get(f"{path}/permission", accept=(404,))
        return {"permission": str((found or {}).get("permission") or "read")}

    async def put(self, key: str, spec: Spec, value: str, found: Spec | None) -> None:
        """Let them in."""
        await self.http.send("PUT", f"{self.base}/collaborators/{quote(key)}", {"permission": spec["permission"]})

    async def remove(self, key: str) -> None:
        """Let them in no more."""
        await self.http.send("DELETE", f"{self.base}/collaborators/{quote(key)}", accept=(404,))


class GiteaSetup(_Owned, likegithub.Tree):
    """One repository on a Gitea. It has no environments."""

    def __init__(self, http: Http, repository: str) -> None:
        super().__init__(http, repository)
        self.parts: Mapping[str, Part] = {
            "repository": Repositories(http, repository),
            "protection": Protections(http, repository),
            "secret": Secrets(http, repository),
            "variable": Variables(http, repository),
            "webhook": Webhooks(http, repository),
            "label": Labels(http, repository),
            "collaborator": Collaborators(http, repository),
        }

    async def commit(self, branch: str, base: str, message: str, changes: Mapping[str, str | None]) -> None:
        """One commit with all changes."""
        there = await self.tree(base or branch) or {}
        files = []
        for path, text in changes.items():
            if text is None and path not in there:
                continue
            file: Spec = {"path": path, "operation": "create"}
            if path in there:
                file |= {"operation": "delete" if text is None else "update", "sha": there[path]}
            if text is not None:
                file["content"] = base64.b64encode(text.encode()).decode()
            files.append(file)
        body: Spec = {"branch": base or branch, "message": message, "files": files}
        await self.http.send("POST", f"{self.base}/contents", body | ({"new_branch": branch} if base else {}))
