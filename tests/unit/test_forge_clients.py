"""GitHub's, GitLab's and Gitea's clients against answers in the shape of their published API descriptions.

That shows what is asked and how answers are read, and not that a real GitHub or GitLab answers so; of Gitea a real one
is asked in tests/integration/test_forge_gitea.py.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from homeport.drivers.forge import Forge, ForgeFailed, Gitea, GitHub, GitLab, Http, api_url, connect, repository_of
from homeport.plan.gitops.pulls import Pull, State, Status

HEAD, OLD = "a" * 40, "b" * 40


@dataclass
class Server:
    """A forge that answers as it is told, and remembers what it was asked."""

    url: str = ""
    answers: dict[tuple[str, str], Any] = field(default_factory=dict)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def say(self, method: str, path: str, answer: Any) -> None:
        self.answers[method, path] = answer

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.text()
        self.asked.append((request.method, request.path_qs, json.loads(body) if body else None))
        self.headers.append(dict(request.headers))
        answer = self.answers.get((request.method, request.raw_path.partition("?")[0]))
        if isinstance(answer, Callable):
            return answer(request)
        if answer is None:
            return web.json_response({"message": "Not Found"}, status=404)
        if isinstance(answer, list) and request.query.get("page", "1") != "1":
            answer = []
        return web.json_response(answer)

    def writes(self) -> list[tuple[str, str, Any]]:
        return [asked for asked in self.asked if asked[0] != "GET"]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    out = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", out.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    out.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield out
    await runner.cleanup()


@pytest.fixture
async def forges(server: Server) -> AsyncIterator[Callable[[str], Forge]]:
    made: list[Forge] = []

    def make(provider: str) -> Forge:
        made.append(connect(provider, server.url, "team/fleet", "t0ken"))
        return made[-1]

    yield make
    for forge in made:
        await forge.close()


def pull(**fields: Any) -> Pull:
    known = {"number": 7, "title": "t", "author": "eve", "head": HEAD, "ref": "refs/pull/7/head", "base": "main"}
    return Pull(**{**known, "fork": True, "source": "eve/fleet", "branch": "topic", **fields})


# A pull request as github.com's and Gitea's descriptions have it, without what isn't read.
LIKE_GITHUB = {
    "number": 7,
    "title": "A page",
    "user": {"login": "eve"},
    "head": {"sha": HEAD, "ref": "topic", "repo": {"full_name": "eve/fleet"}},
    "base": {"ref": "main", "sha": OLD, "repo": {"full_name": "team/fleet"}},
    "labels": [{"name": "preview"}, {"name": "docs"}],
    "draft": False,
    "updated_at": "2026-11-20T10:00:00Z",
}


@pytest.mark.parametrize("provider", ["GitHub", "Gitea"])
async def test_open_pull_requests(provider: str, server: Server, forges: Callable[[str], Forge]) -> None:
    own = {**LIKE_GITHUB, "number": 8, "head": {**LIKE_GITHUB["head"], "repo": {"full_name": "Team/Fleet"}}}
    gone = {**LIKE_GITHUB, "number": 9, "head": {**LIKE_GITHUB["head"], "repo": None}, "user": None}
    server.say("GET", "/repos/team/fleet/pulls", [LIKE_GITHUB, own, gone])
    found = await forges(provider).pulls("main")
    assert [(one.number, one.fork, one.author) for one in found] == [(7, True, "eve"), (8, False, "eve"), (9, True, "")]
    assert found[0] == pull(title="A page", labels=frozenset({"preview", "docs"}), updated="2026-11-20T10:00:00Z")
    sent = server.headers[0]["Authorization"]
    assert sent == ("Bearer t0ken" if provider == "GitHub" else "token t0ken")


@pytest.mark.parametrize("provider", ["GitHub", "Gitea"])
async def test_one_pull_request(provider: str, server: Server, forges: Callable[[str], Forge]) -> None:
    forge = forges(provider)
    server.say("GET", "/repos/team/fleet/pulls/7", {**LIKE_GITHUB, "state": "open"})
    found = await forge.pull(7)
    assert found == pull(title="A page", labels=frozenset({"preview", "docs"}), updated="2026-11-20T10:00:00Z")
    server.say("GET", "/repos/team/fleet/pulls/7", {**LIKE_GITHUB, "state": "closed", "merged": True})
    assert await forge.pull(7) is None
    assert await forge.pull(8) is None, "404"
    server.say("GET", "/repos/team/fleet/pulls/7", lambda _: web.json_response({}, status=500))
    with pytest.raises(ForgeFailed):
        await forge.pull(7)


async def test_one_merge_request(server: Server, forges: Callable[[str], Forge]) -> None:
    item = {"iid": 7, "target_branch": "main", "sha": HEAD, "source_project_id": 1, "target_project_id": 1}
    path, forge = "/projects/team%2Ffleet/merge_requests/7", forges("GitLab")
    for state, is_open in (("opened", True), ("locked", True), ("closed", False), ("merged", False)):
        server.say("GET", path, {**item, "state": state})
        assert (await forge.pull(7) is not None) is is_open
    assert await forge.pull(8) is None
    server.say("GET", path, {**item, "state": "opened", "sha": None})
    with pytest.raises(ForgeFailed, match="no commit yet"):
        await forge.pull(7)


async def test_pull_requests_into_another_branch_arent_gitea_s_to_sort_out(
    server: Server, forges: Callable[[str], Forge]
) -> None:
    server.say("GET", "/repos/team/fleet/pulls", [{**LIKE_GITHUB, "base": {"ref": "release"}}])
    assert await forges("Gitea").pulls("main") == []


async def test_merge_requests(server: Server, forges: Callable[[str], Forge]) -> None:
    item = {
        "id": 155, "iid": 7, "title": "A page", "author": {"id": 3, "username": "eve"}, "sha": HEAD,
        "source_branch": "topic", "target_branch": "main", "source_project_id": 2, "target_project_id": 1,
        "labels": ["preview"], "draft": True, "updated_at": "2026-11-20T10:00:00.000Z",
    }  # fmt: skip
    server.say("GET", "/projects/team%2Ffleet/merge_requests", [item, {**item, "iid": 8, "sha": None}])
    (found,) = await forges("GitLab").pulls("main")
    assert (found.number, found.ref, found.fork, found.draft) == (7, "refs/merge-requests/7/head", True, True)
    assert "target_branch=main" in server.asked[0][1]
    assert server.headers[0]["PRIVATE-TOKEN"] == "t0ken"


async def test_github_tells_the_commit_of_a_label_by_when_it_was_pushed(
    server: Server, forges: Callable[[str], Forge]
) -> None:
    def event(kind: str, at: str, label: str = "preview") -> dict[str, Any]:
        return {"event": kind, "created_at": at, "actor": {"login": "ann"}, "label": {"name": label}}

    events = [
        event("labeled", "2026-11-20T09:00:00Z"),
        event("unlabeled", "2026-11-20T09:30:00Z"),
        event("labeled", "2026-11-20T10:00:00Z"),
        event("labeled", "2026-11-20T11:00:00Z", "docs"),
        {"event": "closed", "created_at": "2026-11-20T12:00:00Z"},
    ]
    server.say("GET", "/repos/team/fleet/issues/7/events", events)
    pushes = [
        {"after": HEAD, "timestamp": "2026-11-20T10:00:00Z", "activity_type": "push"},
        {"after": OLD, "timestamp": "2026-11-20T08:00:00Z", "activity_type": "push"},
    ]
    server.say("GET", "/repos/eve/fleet/activity", pushes)
    found = await forges("GitHub").labelled(pull(), "preview")
    assert found is not None
    assert (found.by, found.at, found.commit) == ("ann", "2026-11-20T10:00:00Z", OLD), "in doubt it was pushed after"
    assert "ref=refs/heads/topic" in server.asked[-1][1]
    server.answers.pop(("GET", "/repos/eve/fleet/activity"))
    hidden = await forges("GitHub").labelled(pull(), "preview")
    assert hidden is not None
    assert (hidden.commit, hidden.moved) == ("", None)
    events.append(event("unlabeled", "2026-11-20T13:00:00Z"))
    assert await forges("GitHub").labelled(pull(), "preview") is None


async def test_gitea_tells_whether_there_was_a_push_after_a_label(
    server: Server, forges: Callable[[str], Forge]
) -> None:
    label = {"type": "label", "body": "1", "label": {"name": "preview"}, "user": {"login": "ann"}, "created_at": "x"}
    push = {"type": "pull_push", "body": json.dumps({"is_force_push": False, "commit_ids": [HEAD]})}
    path = "/repos/team/fleet/issues/7/timeline"
    for events, moved in (([push, label], False), ([label, push], True), ([label, push, {**label, "by": 2}], False)):
        server.say("GET", path, events)
        found = await forges("Gitea").labelled(pull(), "preview")
        assert found is not None
        assert (found.by, found.moved) == ("ann", moved)
    server.say("GET", path, [label, {**label, "body": ""}])
    assert await forges("Gitea").labelled(pull(), "preview") is None


async def test_gitlab_tells_the_commit_of_a_label_by_its_versions(
    server: Server, forges: Callable[[str], Forge]
) -> None:
    path = "/projects/team%2Ffleet/merge_requests/7"
    event = {"action": "add", "label": {"name": "preview"}, "user": {"id": 1, "username": "ann"}}
    server.say("GET", f"{path}/resource_label_events", [{**event, "created_at": "2026-11-20T10:00:00.500Z"}])
    versions = [
        {"head_commit_sha": HEAD, "created_at": "2026-11-20T10:00:00.900Z"},
        {"head_commit_sha": OLD, "created_at": "2026-11-20T09:00:00.000Z"},
    ]
    server.say("GET", f"{path}/versions", versions)
    found = await forges("GitLab").labelled(pull(), "preview")
    assert found is not None
    assert (found.by, found.commit) == ("ann", OLD)


@pytest.mark.parametrize(("permission", "writes"), [("admin", True), ("write", True), ("read", False), ("none", False)])
@pytest.mark.parametrize("provider", ["GitHub", "Gitea"])
async def test_who_may_write(
    provider: str, permission: str, writes: bool, server: Server, forges: Callable[[str], Forge]
) -> None:
    server.say("GET", "/repos/team/fleet/collaborators/ann/permission", {"permission": permission})
    assert await forges(provider).may_write("ann") is writes
    assert await forges(provider).may_write("nobody") is False


async def test_who_may_write_on_gitlab(server: Server, forges: Callable[[str], Forge]) -> None:
    server.say("GET", "/users", [{"id": 5, "username": "ann"}])
    path = "/projects/team%2Ffleet/members/all/5"
    for level, state, writes in ((30, "active", True), (20, "active", False), (40, "blocked", False)):
        server.say("GET", path, {"id": 5, "access_level": level, "state": state})
        assert await forges("GitLab").may_write("ann") is writes
    server.say("GET", "/groups/team%2Fweb/members/all/5", {"access_level": 30, "state": "active"})
    assert await forges("GitLab").is_member("ann", "team/web")


async def test_teams(server: Server, forges: Callable[[str], Forge]) -> None:
    server.say("GET", "/orgs/team/teams/web/memberships/ann", {"state": "active", "role": "member"})
    server.say("GET", "/orgs/team/teams/web/memberships/bob", {"state": "pending", "role": "member"})
    assert await forges("GitHub").is_member("ann", "team/web")
    assert not await forges("GitHub").is_member("bob", "team/web")
    server.say("GET", "/orgs/team/teams", [{"id": 4, "name": "webbers"}, {"id": 5, "name": "Web"}])
    server.say("GET", "/teams/5/members/ann", {"login": "ann"})
    assert await forges("Gitea").is_member("ann", "team/web")
    assert not await forges("Gitea").is_member("bob", "team/web")


COMMENTS = {"GitHub": "/repos/team/fleet/issues/7/comments", "Gitea": "/repos/team/fleet/issues/7/comments",
            "GitLab": "/projects/team%2Ffleet/merge_requests/7/notes"}  # fmt: skip
EDITS = {"GitHub": ("PATCH", "/repos/team/fleet/issues/comments/"),
         "Gitea": ("PATCH", "/repos/team/fleet/issues/comments/"),
         "GitLab": ("PUT", "/projects/team%2Ffleet/merge_requests/7/notes/")}  # fmt: skip


@pytest.mark.parametrize("provider", ["GitHub", "GitLab", "Gitea"])
async def test_one_comment_is_edited(provider: str, server: Server, forges: Callable[[str], Forge]) -> None:
    forge, path = forges(provider), COMMENTS[provider]
    method, edit = EDITS[provider]
    server.say("GET", path, [{"id": 1, "body": "nice"}])
    server.say("POST", path, {"id": 2})
    await forge.comment(7, "<!-- m -->", "one")
    assert server.writes() == [("POST", server.writes()[0][1], {"body": "<!-- m -->\none"})]
    server.say("GET", path, [{"id": 1, "body": "nice"}, {"id": 2, "body": "<!-- m -->\r\none\r\n"}])
    await forge.comment(7, "<!-- m -->", "one")
    assert len(server.writes()) == 1, "it says that already"
    server.say(method, f"{edit}2", {"id": 2})
    await forge.comment(7, "<!-- m -->", "two")
    assert (server.writes()[-1][0], server.writes()[-1][2]) == (method, {"body": "<!-- m -->\ntwo"})
    # Somebody else wrote our marker first: that one can't be changed, ours is.
    server.say("GET", path, [{"id": 9, "body": "<!-- m -->\nha"}, {"id": 2, "body": "<!-- m -->\ntwo"}])
    server.say(method, f"{edit}9", lambda request: web.json_response({"message": "no"}, status=403))
    await forge.comment(7, "<!-- m -->", "three")
    assert [one[0] for one in server.writes()] == ["POST", method, method, method]
    assert server.writes()[-1][2] == {"body": "<!-- m -->\nthree"}
    # Where the token says whose it is, nobody else's is tried: what we may change, they may change as well.
    server.say("GET", "/user", {"login": "bot", "username": "bot"})
    by = "author" if provider == "GitLab" else "user"
    theirs = {"id": 9, "body": "<!-- m -->\nha", by: {"login": "eve", "username": "eve"}}
    mine = {"id": 2, "body": "<!-- m -->\nthree", by: {"login": "bot", "username": "bot"}}
    server.say("GET", path, [theirs, mine])
    await forge.comment(7, "<!-- m -->", "four")
    assert len(server.writes()) == 5
    assert server.writes()[-1][1].endswith("/2")


@pytest.mark.parametrize("provider", ["GitHub", "Gitea"])
async def test_commit_statuses(provider: str, server: Server, forges: Callable[[str], Forge]) -> None:
    forge, read = forges(provider), f"/repos/team/fleet/commits/{HEAD}/status"
    field = "state" if provider == "GitHub" else "status"
    server.say("GET", read, {"state": "pending", "statuses": []})
    server.say("POST", f"/repos/team/fleet/statuses/{HEAD}", {"id": 1})
    status = Status("homeport/fleet", State.SUCCESS, "x" * 200, "https://pr-7.example.com")
    await forge.status(HEAD, status)
    sent = server.writes()[-1][2]
    assert sent == {"state": "success", "context": "homeport/fleet", "description": "x" * 140,
                    "target_url": "https://pr-7.example.com"}  # fmt: skip
    known = {"context": "homeport/fleet", field: "success", "description": "x" * 140, "target_url": status.url}
    server.say("GET", read, {"statuses": [known]})
    await forge.status(HEAD, status)
    assert len(server.writes()) == 1


async def test_commit_statuses_of_gitlab(server: Server, forges: Callable[[str], Forge]) -> None:
    forge = forges("GitLab")
    server.say("GET", f"/projects/team%2Ffleet/repository/commits/{HEAD}/statuses", [])
    server.say("POST", f"/projects/team%2Ffleet/statuses/{HEAD}", {"id": 1})
    await forge.status(HEAD, Status("homeport/fleet", State.FAILURE, "no"))
    assert server.writes()[-1][2] == {"state": "failed", "name": "homeport/fleet", "description": "no"}
    message = {"message": "Cannot transition status via :enqueue from :pending"}
    server.say("POST", f"/projects/team%2Ffleet/statuses/{HEAD}", lambda _: web.json_response(message, status=400))
    await forge.status(HEAD, Status("homeport/fleet", State.PENDING, "again"))


async def test_nothing_new_costs_no_document(server: Server, forges: Callable[[str], Forge]) -> None:
    def answer(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == '"1"':
            return web.Response(status=304)
        return web.json_response([LIKE_GITHUB], headers={"ETag": '"1"'})

    server.say("GET", "/repos/team/fleet/pulls", answer)
    forge = forges("GitHub")
    first = await forge.pulls("main")
    assert await forge.pulls("main") == first
    assert server.headers[-1]["If-None-Match"] == '"1"'


async def test_a_rate_limit_is_kept(server: Server) -> None:
    now = [1000.0]
    http = Http(server.url, GitHub.headers("t"), lambda: now[0])
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1090"}
    server.say(
        "GET", "/x", lambda _: web.json_response({"message": "API rate limit exceeded"}, status=403, headers=headers)
    )
    for _ in range(2):
        with pytest.raises(ForgeFailed, match="takes no more questions for 90 s") as found:
            await http.get("/x")
        assert found.value.passes
        assert found.value.after == 90.0
    assert len(server.asked) == 1, "it isn't asked again before the time"
    now[0] = 1091.0
    server.say("GET", "/x", {"ok": True})
    assert await http.get("/x") == {"ok": True}
    await http.close()


@pytest.mark.parametrize(
    ("status", "headers", "passes", "said"),
    [
        (401, {}, False, "the token isn't good"),
        (403, {}, False, r"may not do that.*\(Must have rights\)"),
        (404, {}, False, "check forge.url and forge.repository"),
        (500, {}, True, "it answers 500"),
        (502, {}, True, "it answers 502"),
        (301, {"Location": "https://elsewhere.example.com/x"}, False, "redirects to elsewhere.example.com"),
        (429, {"Retry-After": "7"}, True, "takes no more questions for 7 s"),
    ],
)
async def test_failures_in_words(server: Server, status: int, headers: dict[str, str], passes: bool, said: str) -> None:
    http = Http(server.url, GitLab.headers("s3cret"))
    server.say(
        "GET", "/x", lambda _: web.json_response({"message": "Must have rights"}, status=status, headers=headers)
    )
    with pytest.raises(ForgeFailed, match=said) as found:
        await http.get("/x")
    assert found.value.passes is passes
    assert "s3cret" not in str(found.value)
    assert len(server.asked) == 1
    await http.close()


async def test_no_answer_and_no_json(server: Server) -> None:
    http = Http(server.url, Gitea.headers("t"))
    server.say("GET", "/x", lambda _: web.Response(text="<html>", content_type="text/html"))
    with pytest.raises(ForgeFailed, match=r"isn't JSON; check forge\.url"):
        await http.get("/x")
    await http.close()
    nobody = Http("http://127.0.0.1:1", {})
    with pytest.raises(ForgeFailed, match="doesn't answer") as found:
        await nobody.get("/x")
    assert found.value.passes
    await nobody.close()


async def test_gitea_tells_only_administrators_who_may_write(server: Server, forges: Callable[[str], Forge]) -> None:
    path = "/repos/team/fleet/collaborators/ann/permission"
    server.say("GET", path, lambda _: web.json_response({"message": "Only admins"}, status=403))
    with pytest.raises(ForgeFailed, match="use a token of one, or name people in authors"):
        await forges("Gitea").may_write("ann")


@pytest.mark.parametrize(
    ("provider", "url", "clone", "api"),
    [
        ("GitHub", None, "https://github.com/team/fleet.git", "https://api.github.com"),
        ("GitHub", "https://api.github.com", "https://github.com/team/fleet.git", "https://api.github.com"),
        ("GitHub", None, "ssh://git@ghe.example.com:2222/team/fleet.git", "https://ghe.example.com/api/v3"),
        ("GitLab", None, "https://gitlab.example.com:8443/a/b/fleet.git", "https://gitlab.example.com:8443/api/v4"),
        ("Gitea", "http://gitea:3000", "http://gitea:3000/team/fleet.git", "http://gitea:3000/api/v1"),
        ("Gitea", "https://x.example.com/git/api/v1/", "https://x/git/t/f.git", "https://x.example.com/git/api/v1"),
    ],
)
def test_where_a_forge_answers(provider: str, url: str | None, clone: str, api: str) -> None:
    assert api_url(provider, url, clone) == api


def test_which_repository_an_address_means() -> None:
    assert repository_of("https://github.com/team/fleet.git", "GitHub") == "team/fleet"
    assert repository_of("https://gitlab.com/a/b/c/fleet.git", "GitLab") == "a/b/c/fleet"
    assert repository_of("https://example.com/gitea/team/fleet/", "Gitea") == "team/fleet"
    with pytest.raises(ValueError, match=r"write them in pullRequests\.forge\.repository"):
        repository_of("https://example.com/fleet.git", "GitHub")
