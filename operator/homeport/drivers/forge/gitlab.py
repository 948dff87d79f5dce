"""GitLab: merge requests are pull requests. Source: https://docs.gitlab.com/api/ (version 4)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from homeport.drivers.forge import writing
from homeport.drivers.forge.errors import ForgeFailed
from homeport.drivers.forge.http import PER_PAGE, Http
from homeport.plan.gitops.pulls import Labelled, Pull, State, Status

DEVELOPER = 30
"""The access level that may push: https://docs.gitlab.com/api/access_requests/#valid-access-levels"""
_STATES = {State.PENDING: "pending", State.SUCCESS: "success", State.FAILURE: "failed", State.ERROR: "failed"}


class GitLab:
    """One project on a GitLab."""

    def __init__(self, http: Http, repository: str) -> None:
        self.http = http
        self._project = f"/projects/{quote(repository, safe='')}"
        self._ids: dict[str, int] = {}

    @staticmethod
    def headers(token: str) -> dict[str, str]:
        """How a request says who asks."""
        return {"PRIVATE-TOKEN": token}

    async def close(self) -> None:
        """Let go of connections."""
        await self.http.close()

    async def pulls(self, base: str) -> list[Pull]:
        """The open merge requests into a branch, by number."""
        query = {"state": "opened", "target_branch": base, "order_by": "created_at", "sort": "asc"}
        pages = self.http.pages(f"{self._project}/merge_requests", {**query, "per_page": PER_PAGE})
        # One that was just opened has no commit yet: https://docs.gitlab.com/api/merge_requests/#empty-api-fields
        return [self._pull(item) async for item in pages if item.get("sha")]

    async def pull(self, number: int) -> Pull | None:
        """One merge request, if it is open; ``locked`` while it is being merged, which may fail."""
        item = await self.http.get(f"{self._project}/merge_requests/{number}", accept=(404,))
        if item is None or item.get("state") not in ("opened", "locked"):
            return None
        if not item.get("sha"):
            raise ForgeFailed(f"merge request {number} has no commit yet", passes=True)
        return self._pull(item)

    def _pull(self, item: dict[str, Any]) -> Pull:
        number = int(item["iid"])
        author = item.get("author") or {}
        self._remember(author)
        return Pull(
            number=number,
            title=str(item.get("title") or ""),
            author=str(author.get("username") or ""),
            head=str(item["sha"]),
            ref=f"refs/merge-requests/{number}/head",
            base=str(item["target_branch"]),
            fork=item.get("source_project_id") != item.get("target_project_id"),
            labels=frozenset(str(label) for label in item.get("labels") or ()),
            draft=bool(item.get("draft")),
            updated=str(item.get("updated_at") or ""),
            source=str(item.get("source_project_id") or ""),
            branch=str(item.get("source_branch") or ""),
            url=str(item.get("web_url") or ""),
        )

    def _remember(self, user: dict[str, Any]) -> None:
        if user.get("username") and user.get("id") is not None:
            self._ids[str(user["username"])] = int(user["id"])

    async def open(self, branch: str, base: str, title: str, text: str) -> Pull:
        """A merge request out of a branch. Its commit isn't told yet at once."""
        body = {"source_branch": branch, "target_branch": base, "title": title, "description": text}
        made = await self.http.send("POST", f"{self._project}/merge_requests", body)
        return self._pull({**made, "sha": made.get("sha") or ""})

    async def describe(self, pull: int, title: str, text: str) -> None:
        """Another title and text."""
        body = {"title": title, "description": text}
        await self.http.send("PUT", f"{self._project}/merge_requests/{pull}", body)

    async def labelled(self, pull: Pull, label: str) -> Labelled | None:
        """The newest event that put it on; the commit is that of the newest version before it."""
        last = None
        path = f"{self._project}/merge_requests/{pull.number}"
        async for event in self.http.pages(f"{path}/resource_label_events", {"per_page": PER_PAGE}):
            if (event.get("label") or {}).get("name") == label:
                last = event if event.get("action") == "add" else None
        if last is None:
            return None
        user, at = last.get("user") or {}, str(last.get("created_at") or "")
        self._remember(user)
        versions = [item async for item in self.http.pages(f"{path}/versions", {"per_page": PER_PAGE})]
        before = [item for item in versions if str(item.get("created_at") or "") < at]
        newest: dict[str, Any] = max(before, key=lambda item: str(item["created_at"]), default={})
        return Labelled(str(user.get("username") or ""), at, str(newest.get("head_commit_sha") or ""))

    async def may_write(self, user: str) -> bool:
        """Developers and above, by whatever group they are one."""
        return await self._level(self._project, user) >= DEVELOPER

    async def is_member(self, user: str, team: str) -> bool:
        """Developers and above of a group."""
        return await self._level(f"/groups/{quote(team, safe='')}", user) >= DEVELOPER

    async def _level(self, of: str, user: str) -> int:
        number = self._ids.get(user)
        if number is None:
            found = await self.http.get("/users", {"username": user})
            for one in found or ():
                self._remember(one)
            number = self._ids.get(user)
        if number is None:
            return 0
        member = await self.http.get(f"{of}/members/all/{number}", accept=(404,))
        return int((member or {}).get("access_level") or 0) if (member or {}).get("state") == "active" else 0

    async def comment(self, pull: int, marker: str, text: str) -> None:
        """One note of ours."""
        path = f"{self._project}/merge_requests/{pull}/notes"
        notes = self.http.pages(path, {"order_by": "created_at", "sort": "asc", "per_page": PER_PAGE})
        await writing.upsert(self.http, notes, marker, text, (path, path, "PUT"))

    async def status(self, commit: str, status: Status) -> None:
        """A commit status, an external job of the commit's pipeline."""
        wanted = {"state": _STATES[status.state], "name": status.context, "description": status.description[:255]}
        if status.url:
            wanted["target_url"] = status.url
        path = f"{self._project}/repository/commits/{commit}/statuses"
        found = await self.http.get(path, {"name": status.context})
        for known in found or ():
            same = (known.get("status"), known.get("description") or "", known.get("target_url") or "")
            if same == (wanted["state"], wanted["description"], status.url):
                return
        try:
            await self.http.send("POST", f"{self._project}/statuses/{commit}", wanted)
        except ForgeFailed as error:
            # A status that is there already can't be set again, whatever its description says.
            if error.code != 400 or "Cannot transition status" not in str(error):
                raise
