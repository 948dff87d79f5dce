"""What is written to a forge, as far as it is the same for all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from homeport.drivers.forge.errors import ForgeFailed
from homeport.drivers.forge.http import Http
from homeport.plan.gitops.pulls import Status

DESCRIPTION = 140
"""Characters of a commit status on GitHub: https://docs.github.com/en/rest/commits/statuses"""
_FOREIGN = 5
"""Comments with our marker that aren't ours, and are passed over at most."""


async def upsert(http: Http, comments: AsyncIterator[Any], marker: str, text: str, where: tuple[str, str, str]) -> None:
    """Change our comment that begins with ``marker``, or write it. ``where``: the path of all comments, that of one
    without its number, and the method that changes one.

    Anybody can write a comment with our marker, and on some forges we may change it; then it would be theirs to change,
    too. So only a comment of ours counts, or, where a token doesn't say whose it is, one that it may change.
    """
    wanted = f"{marker}\n{text}"
    create, edit, method = where
    me = await _me(http)
    foreign = 0
    async for comment in comments:
        body = str(comment.get("body") or "")
        if not body.startswith(marker) or (me and _author(comment) != me):
            continue
        # Forges keep line ends as a browser sends them.
        if body.replace("\r\n", "\n").strip() == wanted.strip():
            return
        try:
            await http.send(method, f"{edit}/{comment['id']}", {"body": wanted})
        except ForgeFailed as error:
            foreign += 1
            if error.code not in (401, 403, 404) or foreign > _FOREIGN:
                raise
        else:
            return
    await http.send("POST", create, {"body": wanted})


async def _me(http: Http) -> str:
    """The login whose the token is; empty when it doesn't say, such as an app's on GitHub."""
    found = await http.get("/user", accept=(401, 403, 404))
    return str((found or {}).get("login") or (found or {}).get("username") or "")


def _author(comment: Any) -> str:
    by = comment.get("user") or comment.get("author") or {}
    return str(by.get("login") or by.get("username") or "")


def is_told(known: Iterable[Mapping[str, Any]], status: Status, state: str) -> bool:
    """Whether a commit's newest status of that context says the same. ``state``: the forge's key for it."""
    found = next((one for one in known if one.get("context") == status.context), None)
    if found is None:
        return False
    told = (found.get(state), found.get("description") or "", found.get("target_url") or "")
    return told == (status.state, status.description[:DESCRIPTION], status.url)


def status_body(status: Status) -> dict[str, str]:
    """A commit status as GitHub and Gitea take it."""
    body = {"state": str(status.state), "context": status.context, "description": status.description[:DESCRIPTION]}
    return {**body, "target_url": status.url} if status.url else body
