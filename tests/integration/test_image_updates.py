"""ImageUpdates with the real operator, a real registry and a real Git server that is pushed to over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from homes import Home, eventually, told, written

from git_server import GitServer, Repository
from registry_server import PASSWORD, USER, Served, layer

pytestmark = pytest.mark.integration

FILE = """\
# What the team runs.
image: {image}:1.0.0   # {{"$homeport": "images/web"}}
other:   kept          # by hand
tag: "1.0.0"           # {{"$homeport": "images/web:tag"}}
"""


@pytest.fixture(scope="module")
def git(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    server = GitServer(tmp_path_factory.mktemp("git"))
    yield server
    server.close()


@pytest.fixture
def repository(git: GitServer, bare: Home) -> Repository:
    made = Repository(git.root, bare.name)
    made.git("config", "http.receivepack", "true", cwd=made.path)
    return made


def push(registry: Served, path: str, *tags: str) -> str:
    digest = ""
    for tag in tags:
        digest = asyncio.run(registry.push(path, tag, [layer(version=tag.encode())]))
    return digest


def source(home: Home, git: GitServer, **spec: Any) -> None:
    home.project()
    spec = {"url": git.url(home.name), "ref": {"branch": "main"}, "path": "apps", "suspend": True, **spec}
    home.own("GitSource", "fleet", spec)


def update(home: Home, registry: Served, path: str, name: str = "images", **spec: Any) -> None:
    image = {"name": "web", "image": registry.name(path), "policy": {"semver": {"range": ">=1.0.0"}}}
    spec = {"sourceRef": {"name": "fleet"}, "interval": "30s", "images": [{**image, **spec.pop("image", {})}], **spec}
    home.own("ImageUpdate", name, spec)


def head(repository: Repository, branch: str = "main") -> str:
    return repository.git("rev-parse", branch, cwd=repository.path)


def content(repository: Repository, path: str, branch: str = "main") -> str:
    return repository.git("show", f"{branch}:{path}", cwd=repository.path) + "\n"


def test_a_newer_tag_is_committed_and_nothing_else_of_the_file_changes(
    bare: Home, git: GitServer, repository: Repository, registry: Served
) -> None:
    path = f"team/{bare.name}"
    push(registry, path, "1.0.0", "1.2.0", "2.0.0-rc.1", "latest")
    before = FILE.format(image=registry.name(path))
    first = repository.commit({"apps/web.yaml": before, "apps/other.yaml": "a: 1 # {}\n", "elsewhere/x.yaml": before})
    source(bare, git)
    update(bare, registry, path, git={"author": {"name": "Robot", "email": "robot@example.com"}})
    body = bare.until("ImageUpdate", "images", "True", says="web 1.2.0; 2 markers")
    assert content(repository, "apps/web.yaml") == before.replace("1.0.0", "1.2.0")
    assert content(repository, "elsewhere/x.yaml") == before
    pushed = body["status"]["lastPushed"]
    assert pushed["commit"] == head(repository)
    assert pushed["images"] == [f"{registry.name(path)}:1.2.0"]
    assert "pushing" not in body["status"]
    log = repository.git("log", "-1", "--format=%an <%ae>%n%P%n%B", cwd=repository.path)
    assert log.splitlines()[:2] == ["Robot <robot@example.com>", first]
    assert log.splitlines()[2] == f"Update {registry.name(path)}:1.2.0"
    assert log.strip().endswith(f"Homeport-ImageUpdate: {bare.name}/images")
    assert body["status"]["images"] == [
        {"name": "web", "image": f"{registry.name(path)}:1.2.0", "tag": "1.2.0", "tags": 2}
    ]


def test_what_is_new_at_once_is_one_commit(
    bare: Home, git: GitServer, repository: Repository, registry: Served
) -> None:
    paths = [f"team/{bare.name}-{name}" for name in ("a", "b", "c")]
    for path in paths:
        push(registry, path, "1.0.0", "1.1.0")
    lines = [f'{p[-1]}: {registry.name(p)}:1.0.0 # {{"$homeport": "images/{p[-1]}"}}' for p in paths]
    repository.commit({"apps/all.yaml": "\n".join(lines) + "\n"})
    source(bare, git)
    policy = {"semver": {"range": "1.x"}}
    images = [{"name": path[-1], "image": registry.name(path), "policy": policy} for path in paths]
    bare.own("ImageUpdate", "images", {"sourceRef": {"name": "fleet"}, "interval": "30s", "images": images})
    bare.ready("ImageUpdate", "images")
    assert content(repository, "apps/all.yaml").count("1.1.0") == 3
    for path in paths:
        push(registry, path, "1.2.0")
    bare.settled("ImageUpdate", "images")
    eventually(lambda: content(repository, "apps/all.yaml").count("1.2.0") == 3, "all follow")
    bare.ready("ImageUpdate", "images")
    assert repository.git("rev-list", "--count", "main", cwd=repository.path) == "3"


def test_nothing_is_written_and_one_poll_is_made_per_interval_when_nothing_is_new(
    bare: Home, git: GitServer, repository: Repository, registry: Served, audit_log: Path
) -> None:
    path = f"team/{bare.name}"
    push(registry, path, "1.0.0")
    repository.commit({"apps/web.yaml": FILE.format(image=registry.name(path))})
    source(bare, git)
    update(bare, registry, path)
    bare.ready("ImageUpdate", "images")
    commit, offset = head(repository), audit_log.stat().st_size
    push(registry, path, "0.9.0", "nightly")
    bare.settled("ImageUpdate", "images")
    found = written(audit_log, offset, [bare.name])
    assert found == {"patch imageupdates/status": 1}, "the token's echo"
    assert head(repository) == commit


def test_a_branch_that_moved_meanwhile_is_not_overwritten(
    bare: Home, git: GitServer, repository: Repository, registry: Served
) -> None:
    path = f"team/{bare.name}"
    push(registry, path, "1.0.0")
    text = FILE.format(image=registry.name(path))
    repository.commit({"apps/web.yaml": text})
    source(bare, git, interval="24h")
    update(bare, registry, path)
    bare.ready("ImageUpdate", "images")
    other = repository.commit({"README.md": "somebody else's"})  # nobody has told the mirror
    push(registry, path, "1.1.0")
    bare.settled("ImageUpdate", "images")
    eventually(lambda: "1.1.0" in content(repository, "apps/web.yaml"), "the update is there")
    bare.ready("ImageUpdate", "images")
    assert repository.git("rev-parse", "main~1", cwd=repository.path) == other
    assert repository.git("rev-list", "--count", "main", cwd=repository.path) == "3"


def test_digests_follow_the_tag(bare: Home, git: GitServer, repository: Repository, registry: Served) -> None:
    path = f"team/{bare.name}"
    digest = push(registry, path, "1.0.0")
    repository.commit({"apps/web.yaml": f'image: x:1 # {{"$imagepolicy": "{bare.name}:web"}}\n'})
    source(bare, git)
    update(bare, registry, path, image={"digest": True})
    bare.ready("ImageUpdate", "images")
    name = registry.name(path)
    assert content(repository, "apps/web.yaml").startswith(f"image: {name}:1.0.0@{digest} #")
    moved = asyncio.run(registry.push(path, "1.0.0", [layer(other=b"content")]))
    assert moved != digest
    bare.settled("ImageUpdate", "images")
    eventually(lambda: moved in content(repository, "apps/web.yaml"), "the new digest is there")


def test_a_private_registry(bare: Home, git: GitServer, repository: Repository, locked: Served) -> None:
    path = f"team/{bare.name}"
    push(locked, path, "1.0.0", "1.3.0")
    repository.commit({"apps/web.yaml": FILE.format(image=locked.name(path))})
    source(bare, git)
    update(bare, locked, path)
    bare.until("ImageUpdate", "images", "False", "AccessDenied", "name a Secret of type kubernetes.io/dockerconfigjson")
    update(bare, locked, path, image={"credentialsSecretRef": {"name": "pull"}})
    bare.until("ImageUpdate", "images", "False", "DependencyNotReady", "Secret pull doesn't exist")
    auth = {"auths": {f"127.0.0.1:{locked.port}": {"username": USER, "password": PASSWORD}}}
    bare.secret("pull", **{".dockerconfigjson": json.dumps(auth)})
    body = bare.ready("ImageUpdate", "images")
    assert "1.3.0" in content(repository, "apps/web.yaml")
    assert PASSWORD not in json.dumps(body)


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        ({"image": {"policy": {"semver": {"range": ">9"}}}}, "DependencyNotReady", "none of 2 tags of"),
        ({"image": {"policy": {"semver": {"range": ">>1"}}}}, "InvalidSpec", "is no range of versions"),
        (
            {"paths": ["nowhere"]},
            "InvalidSpec",
            'no file in nowhere has a marker of these images; write # {"$homeport"',
        ),
        ({"image": {"name": "api"}}, "InvalidSpec", "apps/web.yaml: line 2: ImageUpdate images has no image web"),
        ({"sourceRef": {"name": "other"}}, "DependencyNotReady", "GitSource other doesn't exist beside it"),
        ({"git": {"branch": "nowhere"}}, "", "nowhere"),
        ({"git": {"pullRequest": {}}}, "InvalidSpec", "GitSource fleet names no forge"),
    ],
)
def test_what_is_wrong_is_told(
    bare: Home, git: GitServer, repository: Repository, registry: Served, change: dict[str, Any], reason: str, says: str
) -> None:
    path = f"team/{bare.name}"
    push(registry, path, "1.0.0", "1.1.0")
    repository.commit({"apps/web.yaml": FILE.format(image=registry.name(path))})
    source(bare, git)
    update(bare, registry, path, **change)
    bare.until("ImageUpdate", "images", "False", reason, says)
    assert repository.git("rev-list", "--count", "main", cwd=repository.path) == "1"


def test_a_server_that_takes_no_pushes_is_told(
    bare: Home, git: GitServer, registry: Served, repository: Repository
) -> None:
    path = f"team/{bare.name}"
    push(registry, path, "1.1.0")
    repository.git("config", "http.receivepack", "false", cwd=repository.path)
    repository.commit({"apps/web.yaml": FILE.format(image=registry.name(path))})
    source(bare, git)
    update(bare, registry, path)
    body = bare.until("ImageUpdate", "images", "False", says="the commit can't be pushed to main")
    assert told(body)[1] in ("PushFailed", "ProgressingWithRetry")


def test_a_suspended_one_asks_nobody_and_goes_on_when_it_no_longer_is(
    bare: Home, git: GitServer, repository: Repository, registry: Served, restart: Callable[[], None]
) -> None:
    path = f"team/{bare.name}"
    push(registry, path, "1.0.0")
    repository.commit({"apps/web.yaml": FILE.format(image=registry.name(path))})
    source(bare, git)
    update(bare, registry, path)
    bare.ready("ImageUpdate", "images")
    bare.set("ImageUpdate", "images", suspend=True)
    push(registry, path, "1.4.0")
    restart()
    bare.settled("ImageUpdate", "images")
    assert "1.4.0" not in content(repository, "apps/web.yaml")
    bare.set("ImageUpdate", "images", suspend=False)
    eventually(lambda: "1.4.0" in content(repository, "apps/web.yaml"), "it follows again")
    bare.ready("ImageUpdate", "images")
