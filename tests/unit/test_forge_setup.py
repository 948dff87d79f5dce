"""Setting up on GitHub and GitLab against a stand-in that keeps documents as their published descriptions have them.

Every body sent to GitHub is checked against GitHub's own description (tests/samples/forge), to GitLab against the
attributes that its documentation lists. That shows what is asked, and that what was put is what is observed; not that a
real GitHub or GitLab does what they publish. Of Gitea a real one is asked: tests/integration/test_pipeline_gitea.py.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aiohttp import web

from homeport.drivers.forge import PROVIDERS, ForgeFailed, Http
from homeport.drivers.forge.setup import HINTS, Setup, blob_id, differing, mark, patient, setup

nacl = pytest.importorskip("nacl.public")

SHAPES = json.loads((Path(__file__).parents[1] / "samples" / "forge" / "github.json").read_text())
# https://docs.gitlab.com/api/: what each request may have.
GITLAB = {
    r"POST /projects": "name path namespace_id topics initialize_with_readme default_branch description visibility "
    "only_allow_merge_if_pipeline_succeeds merge_method",
    r"PUT /projects/[^/]+": "description visibility default_branch only_allow_merge_if_pipeline_succeeds merge_method",
    r"POST /projects/[^/]+/protected_branches": "name push_access_level merge_access_level allow_force_push "
    "code_owner_approval_required",
    r"PATCH /projects/[^/]+/protected_branches/[^/]+": "allow_force_push code_owner_approval_required",
    r"POST /projects/[^/]+/environments": "name",
    r"POST /projects/[^/]+/variables": "key value environment_scope masked protected raw",
    r"PUT /projects/[^/]+/variables/[^/]+": "value masked protected raw",
    r"(POST|PUT) /projects/[^/]+/hooks(/\d+)?": "url token push_events merge_requests_events enable_ssl_verification",
    r"(POST|PUT) /projects/[^/]+/labels(/\d+)?": "name color description",
    r"POST /projects/[^/]+/members": "user_id access_level",
    r"PUT /projects/[^/]+/members/\d+": "access_level",
    r"POST /projects/[^/]+/repository/commits": "branch start_branch commit_message actions",
}


class StandIn:
    """Keeps what is sent to it, at the path of each thing, and answers with it."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.writes: list[tuple[str, str, Any]] = []
        self.key = nacl.PrivateKey.generate()
        self.fail: list[int] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        path, method = request.rel_url.raw_path, request.method
        body = await request.json() if request.can_read_body else None
        if self.fail:
            return web.json_response({"message": "later"}, status=self.fail.pop(0))
        if method == "GET":
            return self.get(path, request)
        self.writes.append((method, path, body))
        self.check(method, path, body)
        return self.write(method, path, body)

    def get(self, path: str, request: web.Request) -> web.Response:
        if path in self.documents:
            return web.json_response(self.documents[path])
        below = [one for name, one in self.documents.items() if name.rpartition("/")[0] == path]
        known = path.rpartition("/")[2] in ("rulesets", "hooks", "labels", "collaborators", "invitations", "members")
        if below or known or path.endswith(("/environments", "/users")):
            return web.json_response(below if request.query.get("page", "1") == "1" else [])
        return web.json_response({"message": "Not Found"}, status=404)

    def check(self, method: str, path: str, body: Any) -> None:
        raise NotImplementedError

    def write(self, method: str, path: str, body: Any) -> web.Response:
        if method == "DELETE":
            self.documents.pop(path, None)
            return web.Response(status=204)
        key = path
        if method == "POST":
            name = (body or {}).get("name") if path.endswith("variables") else None
            key = f"{path}/{name or (body or {}).get('key') or len(self.documents) + 1}"
        old = self.documents.get(key, {})
        self.documents[key] = {"id": old.get("id") or len(self.documents) + 1, **old, **(body or {})}
        return web.json_response(self.documents[key], status=201)


class GitHubLike(StandIn):
    def check(self, method: str, path: str, body: Any) -> None:
        if method == "DELETE":
            return
        for name, shape in SHAPES.items():
            verb, template = name.split(" ")
            if verb == method and re.fullmatch(
                re.sub(r"\{ref\}", ".+", template).replace("{", "(?P<").replace("}", ">[^/]+)"), path
            ):
                jsonschema.validate(body, shape)
                return
        raise AssertionError(f"GitHub publishes no {method} {path}")

    def get(self, path: str, request: web.Request) -> web.Response:
        if path.endswith("/secrets/public-key"):
            key = base64.b64encode(bytes(self.key.public_key)).decode()
            return web.json_response({"key_id": "7", "key": key})
        if path.endswith("/deployment-branch-policies"):
            found = [one for name, one in self.documents.items() if name.startswith(path + "/")]
            return web.json_response({"total_count": len(found), "branch_policies": found})
        return super().get(path, request)

    def write(self, method: str, path: str, body: Any) -> web.Response:
        if path in ("/user/repos", "/orgs/team/repos"):
            about = {"id": 1, "default_branch": "main", "topics": [], "visibility": "private", **body}
            self.documents["/repos/team/fleet"] = about
            self.documents["/repos/team/fleet/git/ref/heads/main"] = {"object": {"sha": "a" * 40}}
            return web.json_response(about, status=201)
        if path.endswith("/topics"):
            self.documents["/repos/team/fleet"]["topics"] = body["names"]
            return web.json_response(body)
        if method == "POST" and path.endswith("/labels"):
            self.documents[f"{path}/{body['name']}"] = body
            return web.json_response(body, status=201)
        if "/collaborators/" in path and method == "PUT":
            login = path.rpartition("/")[2]
            granted = {name: name == body["permission"] for name in ("admin", "push", "pull")}
            self.documents[path] = {"login": login, "permissions": granted}
            return web.Response(status=204)
        if re.fullmatch(r".*/environments/[^/]+", path) and method == "PUT":
            rules: list[Any] = [{"type": "wait_timer", "wait_timer": body["wait_timer"]}] if body["wait_timer"] else []
            people = {1: {"login": "ann"}, 2: {"html_url": "https://github.com/orgs/team/teams/ops", "slug": "ops"}}
            if body["reviewers"]:
                them = [{"type": one["type"], "reviewer": people[one["id"]]} for one in body["reviewers"]]
                rules.append({"type": "required_reviewers", "reviewers": them})
            kept = {"protection_rules": rules, "deployment_branch_policy": body["deployment_branch_policy"]}
            self.documents[path] = {"name": path.rpartition("/")[2], **kept}
            return web.json_response(self.documents[path])
        return super().write(method, path, body)


class GitLabLike(StandIn):
    def check(self, method: str, path: str, body: Any) -> None:
        if method == "DELETE" or path.endswith("/stop"):
            return
        for pattern, allowed in GITLAB.items():
            if re.fullmatch(pattern, f"{method} {path}"):
                assert set(body) <= set(allowed.split()), f"{method} {path}: {set(body) - set(allowed.split())}"
                return
        raise AssertionError(f"GitLab documents no {method} {path}")

    def write(self, method: str, path: str, body: Any) -> web.Response:
        if method == "POST" and path == "/projects":
            self.documents["/projects/team%2Ffleet"] = body
            return web.json_response(body, status=201)
        if method == "POST" and path.endswith("/protected_branches"):
            levels = [{"id": 1, "access_level": body["push_access_level"]}]
            self.documents[f"{path}/{body['name'].replace('/', '%2F')}"] = {**body, "push_access_levels": levels}
            return web.json_response(body, status=201)
        if method == "POST" and path.endswith("/stop"):
            self.documents[path.removesuffix("/stop")]["state"] = "stopped"
            return web.json_response({})
        answer = super().write(method, path, body)
        if method == "POST" and path.endswith("/members"):
            self.documents[f"{path}/{body['user_id']}"] = {"id": body["user_id"], "username": "ann", **body}
        return answer


@pytest.fixture(params=["GitHub", "GitLab"])
async def both(request: pytest.FixtureRequest) -> AsyncIterator[tuple[StandIn, Setup]]:
    async for found in _standing(request.param):
        yield found


@pytest.fixture
async def github() -> AsyncIterator[tuple[StandIn, Setup]]:
    async for found in _standing("GitHub"):
        yield found


@pytest.fixture
async def gitlab() -> AsyncIterator[tuple[StandIn, Setup]]:
    async for found in _standing("GitLab"):
        yield found


async def _standing(provider: str) -> AsyncIterator[tuple[StandIn, Setup]]:
    server = GitHubLike() if provider == "GitHub" else GitLabLike()
    server.documents |= {
        "/users/ann": {"id": 1, "login": "ann"},
        "/orgs/team/teams/ops": {"id": 2, "slug": "ops"},
        "/users": [{"id": 1, "username": "ann"}],
        "/user": {"login": "ann"},
        "/namespaces/team": {"id": 9},
    }
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    http = Http(server.url, PROVIDERS[provider].headers("t0ken"), hints=HINTS)
    yield server, setup(provider, http, "team/fleet")
    await http.close()
    await runner.cleanup()


GITHUB_RULE = {
    "requiredChecks": ["test", "lint"], "reviews": 1, "dismissStale": True, "codeOwners": True, "signed": True,
    "linearHistory": True, "push": False, "noForce": True, "noDelete": True, "active": True,
}  # fmt: skip
GITHUB_OPEN = {**GITHUB_RULE, "requiredChecks": [], "reviews": 0, "codeOwners": False, "signed": False, "push": True}
HOOK = {"events": ["push", "pullRequest"], "active": True, "verifyTls": True}
REPOSITORY = {"description": "Ships", "visibility": "private", "defaultBranch": "main"}
COMMON: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "label": ("preview", [{"color": "#0e8a16", "description": "Has one"}, {"color": "#000000", "description": ""}]),
    "collaborator": ("ann", [{"permission": "write"}, {"permission": "read"}]),
    "variable": ("REGION", [{"value": "eu"}, {"value": "us"}]),
    "webhook": ("https://hooks.example.com/hooks/1", [HOOK, {**HOOK, "events": ["push"], "verifyTls": False}]),
}
PARTS = {
    "GitHub": {
        **COMMON,
        "protection": ("release/*", [GITHUB_RULE, GITHUB_OPEN]),
        "environment": (
            "production",
            [
                {"reviewers": ["ann", "team/ops"], "branches": ["main", "release/*"], "waitMinutes": 5},
                {"reviewers": [], "branches": ["main"], "waitMinutes": 0},
            ],
        ),
        "repository": ("", [REPOSITORY, {**REPOSITORY, "description": "Sails", "visibility": "public"}]),
    },
    "GitLab": {
        **COMMON,
        "protection": (
            "release/*",
            [
                {"push": False, "noForce": True, "codeOwners": True},
                {"push": False, "noForce": False, "codeOwners": True},
                {"push": True, "noForce": True, "codeOwners": False},
            ],
        ),
        "environment": ("production", [{}]),
        "repository": (
            "",
            [
                {**REPOSITORY, "mergeChecks": True, "linearHistory": True},
                {**REPOSITORY, "mergeChecks": False, "linearHistory": False},
            ],
        ),
    },
}


@pytest.mark.parametrize(("provider", "kind"), [(p, kind) for p, parts in PARTS.items() for kind in parts])
async def test_what_is_put_is_what_is_observed(provider: str, kind: str) -> None:
    key, specs = PARTS[provider][kind]
    async for server, client in _standing(provider):
        part = client.parts[kind]
        await part.remove(key)
        server.writes.clear()
        assert await part.observe(key) is None
        for spec in specs:
            await part.put(key, spec, "s3cret-enough", await part.observe(key))
            found = await part.observe(key)
            assert found is not None
            assert differing(spec, found) == []
            if kind == "repository":
                assert found["made"], "it carries the mark"
        documents = len(server.documents)
        # A second run that finds nothing of the first's in the state makes no second one.
        await part.put(key, specs[-1], "s3cret-enough", await part.observe(key))
        assert len(server.documents) == documents
        await part.remove(key)
        assert await part.observe(key) is None
        await part.remove(key)


@pytest.mark.parametrize("key", ["REGISTRY", "production/REGISTRY"])
async def test_github_gets_secrets_sealed(github: tuple[GitHubLike, Setup], key: str) -> None:
    server, client = github
    await client.parts["secret"].put(key, {}, "s3cret", None)
    ((_, path, body),) = server.writes
    place = "environments/production/secrets" if "/" in key else "actions/secrets"
    assert path == f"/repos/team/fleet/{place}/REGISTRY"
    assert body["key_id"] == "7"
    assert nacl.SealedBox(server.key).decrypt(base64.b64decode(body["encrypted_value"])) == b"s3cret"
    assert await client.parts["secret"].observe(key) == {}


async def test_gitlab_s_secrets_are_masked_or_refused(gitlab: tuple[GitLabLike, Setup]) -> None:
    server, client = gitlab
    await client.parts["secret"].put("production/REGISTRY", {}, "long-enough", None)
    ((_, path, body),) = server.writes
    assert (path, body["masked"], body["environment_scope"]) == ("/projects/team%2Ffleet/variables", True, "production")
    with pytest.raises(ForgeFailed, match="GitLab masks only values of at least 8 characters") as caught:
        await client.parts["secret"].put("REGISTRY", {}, "sh ort", None)
    assert "sh ort" not in str(caught.value)
    # One of an environment is for protected branches alone; what somebody made otherwise is seen.
    part, protected = client.parts["secret"], {"protected": True}
    found = await part.observe("production/REGISTRY")
    assert found is not None and differing(protected, found) == ["protected"]
    await part.put("production/REGISTRY", protected, "long-enough", found)
    assert server.writes[-1][2]["protected"] is True


async def test_a_repository_is_marked_before_it_is_anything_else(github: tuple[GitHubLike, Setup]) -> None:
    """Killed after any write, the next run knows that it is ours."""
    server, client = github
    part = client.parts["repository"]
    await part.put("", REPOSITORY, "", None)
    assert [(method, path) for method, path, _ in server.writes] == [
        ("POST", "/orgs/team/repos"),
        ("PUT", "/repos/team/fleet/topics"),
        ("PATCH", "/repos/team/fleet"),
    ]
    assert server.writes[0][2]["description"] == f"Homeport is setting this repository up ({mark('team/fleet')})"
    assert server.writes[1][2]["names"] == [mark("team/fleet")]


async def test_a_topic_that_people_write_makes_no_repository_ours(both: tuple[StandIn, Setup]) -> None:
    server, client = both
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,34}", mark("team/fleet")), "as Gitea takes topics, the strictest"
    for topic in ("homeport", mark("team/template")):
        about = {"topics": [topic], "description": "Homeport is setting this repository up", "default_branch": "main"}
        server.documents |= {"/repos/team/fleet": about, "/projects/team%2Ffleet": about}
        found = await client.parts["repository"].observe("")
        assert found is not None and not found["made"]
    server.documents["/repos/team/fleet"]["topics"].append(mark("Team/Fleet"))
    found = await client.parts["repository"].observe("")
    assert found is not None and found["made"]


async def test_files_are_one_commit_on_github(github: tuple[GitHubLike, Setup]) -> None:
    server, client = github
    repo = "/repos/team/fleet"
    server.documents |= {
        f"{repo}/git/ref/heads/main": {"object": {"sha": "a" * 40}},
        f"{repo}/git/commits/{'a' * 40}": {"tree": {"sha": "b" * 40}},
        f"{repo}/git/trees/{'a' * 40}": {"tree": [{"path": "old", "type": "blob", "sha": blob_id("x")}]},
    }
    server.write = lambda method, path, body: web.json_response({"sha": "c" * 40}, status=201)  # type: ignore[method-assign]
    await client.commit("topic", "main", "why", {"Jenkinsfile": "x", "old": None, "never": None})
    assert [(method, path) for method, path, _ in server.writes] == [
        ("POST", f"{repo}/git/trees"),
        ("POST", f"{repo}/git/commits"),
        ("POST", f"{repo}/git/refs"),
    ]
    assert [(one["path"], one.get("content")) for one in server.writes[0][2]["tree"]] == [
        ("Jenkinsfile", "x"),
        ("old", None),
    ]
    server.writes.clear()
    await client.commit("main", "", "why", {"Jenkinsfile": "y"})
    assert server.writes[-1] == ("PATCH", f"{repo}/git/refs/heads/main", {"sha": "c" * 40, "force": False})


async def test_files_are_one_commit_on_gitlab(gitlab: tuple[GitLabLike, Setup]) -> None:
    server, client = gitlab
    project = "/projects/team%2Ffleet/repository"
    server.documents |= {
        f"{project}/branches/main": {"name": "main"},
        f"{project}/tree": [{"path": "Jenkinsfile", "type": "blob", "id": blob_id("x")}],
    }
    await client.commit("topic", "main", "why", {"Jenkinsfile": "y", "new": "z", "gone": None})
    ((_, _, body),) = server.writes
    assert (body["branch"], body["start_branch"]) == ("topic", "main")
    assert [(one["action"], one["file_path"]) for one in body["actions"]] == [
        ("update", "Jenkinsfile"),
        ("create", "new"),
    ]
    assert await client.tree("nowhere") is None


async def test_words_are_those_of_pipeline_yaml_and_what_passes_is_tried_again(both: tuple[StandIn, Setup]) -> None:
    server, client = both
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    server.fail = [500, 502]
    assert await patient(lambda: client.parts["label"].observe("x"), sleep) is None
    assert waits == [0.5, 1.0]
    for code, words in ((401, "repository.token"), (403, "docs/pipelines.md")):
        server.fail = [code]
        with pytest.raises(ForgeFailed, match=words):
            await patient(lambda: client.parts["label"].observe("x"), sleep)
    assert len(waits) == 2, "what doesn't pass isn't tried again"


def test_a_blob_s_id_is_git_s() -> None:
    assert blob_id("hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"
