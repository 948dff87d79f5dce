"""Gitea, and Forgejo. Source: the swagger document that a Gitea serves at /swagger.v1.json (1.26)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from homeport.drivers.forge import writing
from homeport.drivers.forge.errors import ForgeFailed
from homeport.drivers.forge.http import PER_PAGE
from homeport.drivers.forge.pullrequests import PullRequestForge
from homeport.plan.gitops.pulls import Labelled, Pull, Status

_WRITES = ("owner", "admin", "write")


class Gitea(PullRequestForge):
    """One repository on a Gitea."""

    @staticmethod
    def headers(token: str) -> dict[str, str]:
        """How a request says who asks."""
        return {"Authorization": f"token {token}"}

    async def pulls(self, base: str) -> list[Pull]:
        """The open pull requests into a branch, by number."""
        query = {"state": "open", "sort": "oldest", "limit": PER_PAGE}
        found = [self._pull(item) async for item in self.http.pages(f"{self._repo}/pulls", query)]
        return sorted((pull for pull in found if pull.base == base), key=lambda pull: pull.number)

    async def labelled(self, pull: Pull, label: str) -> Labelled | None:
        """The newest time that it was put on, and whether somebody has pushed after that."""
        last, moved = None, False
        path = f"{self._repo}/issues/{pull.number}/timeline"
        async for event in self.http.pages(path, {"limit": PER_PAGE}):
            if event.get("type") == "label" and (event.get("label") or {}).get("name") == label:
                # The body is "1" when it was put on, and empty when it was taken off.
                last, moved = (event, False) if event.get("body") == "1" else (None, False)
            elif event.get("type") == "pull_push":
                moved = True
        if last is None:
            return None
        return Labelled(str((last.get("user") or {}).get("login") or ""), str(last.get("created_at") or ""), "", moved)

    async def may_write(self, user: str) -> bool:
        """By the permission, in which organisations' teams count. To ask of others takes an administrator's token."""
        try:
            found = await self.http.get(f"{self._repo}/collaborators/{quote(user)}/permission", accept=(404,))
        except ForgeFailed as error:
            if error.code != 403:
                raise
            text = "Gitea tells who may write to a repository to its administrators only"
            raise ForgeFailed(
                f"{text}; use a token of one, or name people in authors", passes=False, code=403
            ) from None
        return (found or {}).get("permission") in _WRITES

    async def is_member(self, user: str, team: str) -> bool:
        """Of a team of an organisation."""
        organisation, _, name = team.partition("/")
        # Its search finds only teams of who asks.
        async for one in self.http.pages(f"/orgs/{organisation}/teams", {"limit": PER_PAGE}, accept=(404,)):
            if str(one.get("name", "")).lower() == name.lower():
                member = await self.http.get(f"/teams/{one['id']}/members/{quote(user)}", accept=(404,))
                return member is not None
        return False

    async def comment(self, pull: int, marker: str, text: str) -> None:
        """One comment of ours."""
        path = f"{self._repo}/issues/{pull}/comments"
        comments = await self.http.get(path)

        async def each() -> Any:
            for comment in comments or ():
                yield comment

        await writing.upsert(self.http, each(), marker, text, (path, f"{self._repo}/issues/comments", "PATCH"))

    async def status(self, commit: str, status: Status) -> None:
        """A commit status."""
        found = await self.http.get(f"{self._repo}/commits/{commit}/status", {"limit": PER_PAGE})
        if not writing.is_told((found or {}).get("statuses") or (), status, "status"):
            await self.http.send("POST", f"{self._repo}/statuses/{commit}", writing.status_body(status))
