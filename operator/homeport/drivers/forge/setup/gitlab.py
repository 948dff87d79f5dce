"""Setting up on GitLab. Source: https://docs.gitlab.com/api/ (version 4).

What GitLab has for a whole project only (merge by fast-forward alone, merge after a good pipeline alone) is part of the
project. Secrets are CI/CD variables that are masked in logs; unlike on the other forges, maintainers can read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from homeport.drivers.forge.errors import ForgeFailed
from homeport.drivers.forge.http import Http
from homeport.drivers.forge.setup import common
from homeport.drivers.forge.setup.common import Part, Spec, mark, split

_LEVELS = {"read": 20, "write": 30, "admin": 40}
"""Reporter, Developer, Maintainer: https://docs.gitlab.com/api/access_requests/#valid-access-levels"""
_NOBODY, _DEVELOPER, _MAINTAINER = 0, 30, 40


class _Owned(common.Owned):
    def __init__(self, http: Http, repository: str) -> None:
        super().__init__(http, repository, f"/projects/{quote(repository, safe='')}")


class Repositories(_Owned):
    """The project itself; the key is empty."""

    async def observe(self, key: str) -> Spec | None:
        """What is there."""
        found = await self.http.get(self.base, accept=(404,))
        if found is None:
            return None
        topics = [str(topic) for topic in found.get("topics") or ()]
        return {
            "description": str(found.get("description") or ""),
            "visibility": str(found.get("visibility") or "private"),
            "defaultBranch": str(found.get("default_branch") or ""),
            "mergeChecks": bool(found.get("only_allow_merge_if_pipeline_succeeds")),
            "linearHistory": found.get("merge_method") == "ff",
            "made": mark(self.full_name) in topics,
            "topics": topics,
        }

    async def put(self, key: str, spec: Spec, value: str, found: Spec | None) -> None:
        """Make it with its mark, or change it."""
        if found is None:
            namespace = await self.http.get(f"/namespaces/{quote(self.owner, safe='')}", accept=(404,))
            if namespace is None:
                raise ForgeFailed(f"GitLab has no group or user {self.owner}; make it first", passes=False)
            topics = [mark(self.full_name)]
            about = {"name": self.name, "path": self.name, "namespace_id": namespace["id"], "topics": topics}
            first = {"initialize_with_readme": True, "default_branch": spec["defaultBranch"]}
            await self.http.send("POST", "/projects", {**about, **first, **self._document(spec)})
            return
        if found["defaultBranch"] != spec["defaultBranch"]:
            await self._branch(spec["defaultBranch"], found["defaultBranch"])
        body = {**self._document(spec), "default_branch": spec["defaultBranch"]}
        await self.http.send("PUT", self.base, body)

    async def _branch(self, name: str, base: str) -> None:
        path = f"{self.base}/repository/branches"
        if await self.http.get(f"{path}/{quote(name, safe='')}", accept=(404,)) is None:
            await self.http.send("POST", path, {"branch": name, "ref": base})

    def _document(self, spec: Spec) -> Spec:
        return {
            "description": spec["description"],
            "visibility": spec["visibility"],
            "only_allow_merge_if_pipeline_succeeds": spec["mergeChecks"],
            "merge_method": "ff" if spec["linearHistory"] else "merge",
        }

    async def remove(self, key: str) -> None:
        """The project with all that is in it."""
        await self.http.send("DELETE", self.base, accept=(404,))


class Protections(_Owned):
    """Protected branches by name or pattern."""

    async def observe(self, key: str) -> Spec | None:
        """What is there."""
        found = await self.http.get(self._one(key), accept=(404,))
        if found is None:
            return None
        levels = [int(one.get("access_level") or 0) for one in found.get("push_access_levels") or ()]
        return {
            "codeOwners": bool(found.get("code_owner_approval_required")),
            "push": any(level > _NOBODY for level in levels),
            "noForce": not found.get("allow_force_push"),
        }

    async def put(self, key: str, spec: Spec, value: str, found: Spec | None) -> None:
        """Make or change it. Who may push is changed by protecting the branch anew: GitLab has no other way for all
        its tiers, and nothing protects the branch between the two requests."""
        flags: Spec = {"allow_force_push": not spec["noForce"]}
        if spec["codeOwners"] or (found or {}).get("codeOwners"):
            flags["code_owner_approval_required"] = spec["codeOwners"]
        if found is not None and found["push"] == spec["push"]:
            await self.http.send("PATCH", self._one(key), flags)
            return
        if found is not None:
            await self.http.send("DELETE", self._one(key), accept=(404,))
        level = _MAINTAINER if spec["push"] else _NOBODY
        body = {"name": key, "push_access_level": level, "merge_access_level": _DEVELOPER, **flags}
        await self.http.send("POST", f"{self.base}/protected_branches", body)

    async def remove(self, key: str) -> None:
        """Take it away."""
        await self.http.send("DELETE", self._one(key), accept=(404,))

    def _one(self, key: str) -> str:
        return f"{self.base}/protected_branches/{quote(key, safe='')}"


class Environments(_Owned):
    """Environments by name."""

    async def _find(self, key: str) -> Any:
        return next((one for one in await self.all("/environments", name=key) if one.get("name") == key), None)

    async def observe(self, key: str) -> Spec | None:
        """That it is there."""
        return None if await self._find(key) is None else {}

    async def put(self, key: str, spec: Spec, value: str, found: Spec | None) -> None:
        """Make it."""
        if found is None:
            await self.http.send("POST", f"{self.base}/environments", {"name": key})

    async def remove(self, key: str) -> None:
        """Stop it, for only a stopped one can go, and take it away."""
        found = await self._find(key)
        if found is None:
            return
        path = f"{self.base}/environments/{found['id']}"
        if found.get("state") != "stopped":
            await self.http.send("POST", f"{path}/stop", accept=(404,))
        await self.http.send("DELETE", path, accept=(404,))


class Variables(_Owned):
    """CI/CD variables by name, for all environments or for one."""

    masked = False

    async def observe(self, key: str) -> Spec | None:
        """What is there."""
        found = await self.http.get(self._one(key), self._filter(key), accept=(404,))
        if found is None:
            return None
        if self.masked and found.get("masked"):
            return {"masked": True, "protected": bool(found.get("protected"))}
        return {"value": str(found.get("value") or "")}

    async def put(self, key: str, spec: Spec, value: str, found: Spec | None) -> None:
        """Make or change it."""
        environment, name = split(key)
        body = {"value": value if self.masked else spec["value"], "masked": self.masked, "raw": True}
        body |= {name: spec[name] for name in ("protected",) if name in spec}
        if self.masked and (len(value) < 8 or len(value.split()) != 1):
            raise ForgeFailed(
                f"secret {name}: GitLab masks only values of at least 8 characters without spaces or line ends; "
                "choose another value",
                passes=False,
            )
        if await self.http.get(self._one(key), self._filter(key), accept=(404,)) is None:
            about = {"key": name, "environment_scope": environment or "*"}
            await self.http.send("POST", f"{self.base}/variables", {**about, **body})
        else:
            await self.http.send("PUT", self._one(key), body, query=self._filter(key))

    async def remove(self, key: str) -> None:
        """Take it away."""
        await self.http.send("DELETE", self._one(key), query=self._filter(key), accept=(404,))

    def _one(self, key: str) -> str:
        return f"{self.base}/variables/{quote(split(key)[1])}"

    def _filter(self, key: str) -> dict[str, str]:
        return {"filter[environment_scope]": split(key)[0] or "*"}


class Secrets(Variables):
    """Masked variables; ``protected`` ones are for jobs of protected branches and tags alone."""

    masked = True


class Webhooks(_Owned):
    """Webhooks by address."""

    async def _find(self, key: str) -> Any:
        return next((one for one in await self.all("/hooks") if one.get("url") == key), None)

    async def observe(self, key: str) -> Spec | None:
        """What is there."""
        found = await self._find(key)
        if found is None:
            return None
        theirs = {"push": "push_events", "pullRequest": "merge_requests_events"}
        events = [name for name, field in theirs.items() if found.get(field)]
        verify = bool(found.get("enable_ssl_verification"))
        return {"events": events, "active": found.get("alert_status") != "disabled", "verifyTls": verify}

    async def put(self, key: str, spec: Spec, value: str, found: Spec | None) -> None:
        """Make or change it."""
        body = {
            "url": key,
            "token": value,
            "push_events": "push" in spec["events"],
            "merge_requests_events": "pullRequest" in spec["events"],
            "enable_ssl_verification": spec["verifyTls"],
        }
        await self.write("/hooks", await self._find(key), body)

    async def remove(self, key: str) -> None:
        """Take it away."""
        await self.drop("/hooks", await self._find(key))


class Labels(_Owned):
    """Labels by name."""

    async def _find(self, key: str) -> Any:
        return next((one for one in await self.all("/labels", search=key) if one.get("name") == key), None)

    async def observe(self, key: str) -> Spec | None:
        """What is there."""
        found = await self._find(key)
        if found is None:
            return None
        return {"color": str(found.get("color") or "").lower(), "description": str(found.get("description") or "")}

    async def put(self, key: str, spec: Spec, value: str, found: Spec | None) -> None:
        """Make or change it."""
        body = {"color": spec["color"], "description": spec["description"]}
        await self.write("/labels", await self._find(key), body, {"name": key})

    async def remove(self, key: str) -> None:
        """Take it away."""
        await self.drop("/labels", await self._find(key))


class Collaborators(_Owned):
    """Members of the project by username."""

    async def _find(self, key: str) -> Any:
        listed = await self.all("/members", query=key)
        return next((one for one in listed if str(one.get("username")).lower() == key.lower()), None)

    async def observe(self, key: str) -> Spec | None:
        """What they may do, if it was given to them in this project."""
        found = await self._find(key)
        if found is None:
            return None
        level = int(found.get("access_level") or 0)
        return {"permission": next((name for name, one in _LEVELS.items() if one == level), str(level))}

    async def put(self, key: str, spec: Spec, value: str, found: Spec | None) -> None:
        """Let them in."""
        there = await self._find(key)
        users = await self.http.get("/users", {"username": key}) if there is None else [there]
        if not users:
            raise ForgeFailed(f"GitLab has no user {key}; write a username that it has", passes=False)
        level = {"access_level": _LEVELS[spec["permission"]]}
        await self.write("/members", there, level, {"user_id": users[0]["id"]})

    async def remove(self, key: str) -> None:
        """Let them in no more."""
        await self.drop("/members", await self._find(key))


class GitLabSetup(_Owned):
    """One project on a GitLab."""

    def __init__(self, http: Http, repository: str) -> None:
        super().__init__(http, repository)
        self.parts: Mapping[str, Part] = {
            "repository": Repositories(http, repository),
            "protection": Protections(http, repository),
            "environment": Environments(http, repository),
            "secret": Secrets(http, repository),
            "variable": Variables(http, repository),
            "webhook": Webhooks(http, repository),
            "label": Labels(http, repository),
            "collaborator": Collaborators(http, repository),
        }

    async def commits(self, branch: str) -> int:
        """0, 1, or 2 for more."""
        query = {"ref_name": branch, "per_page": 2}
        found = await self.http.get(f"{self.base}/repository/commits", query, accept=(404,))
        return min(len(found or ()), 2)

    async def tree(self, branch: str) -> dict[str, str] | None:
        """Path -> blob id. A branch that isn't there answers 404."""
        if await self.http.get(f"{self.base}/repository/branches/{quote(branch, safe='')}", accept=(404,)) is None:
            return None
        listed = await self.all("/repository/tree", ref=branch, recursive="true")
        return {str(one["path"]): str(one["id"]) for one in listed if one.get("type") == "blob"}

    async def commit(self, branch: str, base: str, message: str, changes: Mapping[str, str | None]) -> None:
        """One commit with all changes."""
        there = await self.tree(base or branch) or {}
        actions = []
        for path, text in changes.items():
            if text is None and path not in there:
                continue
            action = "delete" if text is None else "update" if path in there else "create"
            actions.append({"action": action, "file_path": path, **({} if text is None else {"content": text})})
        body = {"branch": branch, "commit_message": message, "actions": actions}
        start = {"start_branch": base} if base else {}
        await self.http.send("POST", f"{self.base}/repository/commits", body | start)
