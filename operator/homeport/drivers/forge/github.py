"""GitHub, and GitHub Enterprise Server. Source: https://github.com/github/rest-api-description (version 2022-11-28)."""

from __future__ import annotations

from urllib.parse import quote

from homeport.drivers.forge import writing
from homeport.drivers.forge.http import PER_PAGE
from homeport.drivers.forge.pullrequests import PullRequestForge
from homeport.plan.gitops.pulls import Labelled, Pull, Status

_WRITES = ("admin", "write", "maintain")


class GitHub(PullRequestForge):
    """One repository on GitHub."""

    @staticmethod
    def headers(token: str) -> dict[str, str]:
        """How a request says who asks."""
        version = {"X-GitHub-Api-Version": "2022-11-28", "Accept": "application/vnd.github+json"}
        return {"Authorization": f"Bearer {token}", **version}

    async def pulls(self, base: str) -> list[Pull]:
        """The open pull requests into a branch, by number."""
        query = {"state": "open", "base": base, "sort": "created", "direction": "asc", "per_page": PER_PAGE}
        return [self._pull(item) async for item in self.http.pages(f"{self._repo}/pulls", query)]

    async def labelled(self, pull: Pull, label: str) -> Labelled | None:
        """The newest event that put it on; the commit is the branch's newest push before that.

        When a commit was made is for its author to say, and isn't asked; when it was pushed is GitHub's word.
        """
        last = None
        path = f"{self._repo}/issues/{pull.number}/events"
        async for event in self.http.pages(path, {"per_page": PER_PAGE}):
            if (event.get("label") or {}).get("name") != label:
                continue
            last = event if event.get("event") == "labeled" else None
        if last is None:
            return None
        by, at = str((last.get("actor") or {}).get("login") or ""), str(last.get("created_at") or "")
        return Labelled(by, at, await self._head_at(pull, at))

    async def _head_at(self, pull: Pull, at: str) -> str:
        if not pull.source or not pull.branch:
            return ""
        query = {"ref": f"refs/heads/{pull.branch}", "direction": "desc", "per_page": PER_PAGE}
        found = await self.http.get(f"/repos/{pull.source}/activity", query, accept=(403, 404, 422))
        for activity in found or ():
            # GitHub's times are in whole seconds: a push in the very second counts as after the label.
            if str(activity.get("timestamp") or "")[:19] < at[:19]:
                return str(activity.get("after") or "")
        return ""

    async def may_write(self, user: str) -> bool:
        """By the collaborator's permission, in which teams and the organisation count."""
        found = await self.http.get(f"{self._repo}/collaborators/{quote(user)}/permission", accept=(404,))
        return (found or {}).get("permission") in _WRITES

    async def is_member(self, user: str, team: str) -> bool:
        """Of a team of an organisation."""
        organisation, _, slug = team.partition("/")
        path = f"/orgs/{organisation}/teams/{slug}/memberships/{quote(user)}"
        return ((await self.http.get(path, accept=(404,))) or {}).get("state") == "active"

    async def comment(self, pull: int, marker: str, text: str) -> None:
        """One comment of ours."""
        path = f"{self._repo}/issues/{pull}/comments"
        comments = self.http.pages(path, {"per_page": PER_PAGE})
        await writing.upsert(self.http, comments, marker, text, (path, f"{self._repo}/issues/comments", "PATCH"))

    async def status(self, commit: str, status: Status) -> None:
        """A commit status."""
        path = f"{self._repo}/commits/{commit}/status"
        found = await self.http.get(path, {"per_page": 100})
        if not writing.is_told((found or {}).get("statuses") or (), status, "state"):
            await self.http.send("POST", f"{self._repo}/statuses/{commit}", writing.status_body(status))
