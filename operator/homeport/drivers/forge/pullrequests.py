"""What GitHub's API and Gitea's, which was made after it, have in common: pull requests as documents."""

from __future__ import annotations

from typing import Any

from homeport.drivers.forge.http import Http
from homeport.plan.gitops.pulls import Pull


class PullRequestForge:
    """One repository on a forge whose pull requests are at ``/repos/<owner>/<name>/pulls``."""

    def __init__(self, http: Http, repository: str) -> None:
        self.http = http
        self._repo = f"/repos/{repository}"
        self._name = repository

    async def close(self) -> None:
        """Let go of connections."""
        await self.http.close()

    async def pull(self, number: int) -> Pull | None:
        """One pull request, if it is open."""
        item = await self.http.get(f"{self._repo}/pulls/{number}", accept=(404,))
        return self._pull(item) if item is not None and item.get("state") == "open" else None

    def _pull(self, item: dict[str, Any]) -> Pull:
        head = item["head"]
        source = str((head.get("repo") or {}).get("full_name") or "")
        number = int(item["number"])
        return Pull(
            number=number,
            title=str(item.get("title") or ""),
            author=str((item.get("user") or {}).get("login") or ""),
            head=str(head["sha"]),
            ref=f"refs/pull/{number}/head",
            base=str(item["base"]["ref"]),
            fork=source.lower() != self._name.lower(),
            labels=frozenset(str(label["name"]) for label in item.get("labels") or ()),
            draft=bool(item.get("draft")),
            updated=str(item.get("updated_at") or ""),
            source=source,
            branch=str(head.get("ref") or ""),
            url=str(item.get("html_url") or ""),
        )

    async def open(self, branch: str, base: str, title: str, text: str) -> Pull:
        """A pull request out of a branch."""
        body = {"head": branch, "base": base, "title": title, "body": text}
        return self._pull(await self.http.send("POST", f"{self._repo}/pulls", body))

    async def describe(self, pull: int, title: str, text: str) -> None:
        """Another title and text."""
        await self.http.send("PATCH", f"{self._repo}/pulls/{pull}", {"title": title, "body": text})
