"""Mirrors against real servers: git's own, over smart HTTP and over SSH."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import pytest
from mirror_world import MirrorWorld, key, login

import ssh_git
from api_server import eventually
from git_server import GitServer, Repository
from homeport.drivers.git import GitFailed, Ref
from homeport.drivers.git.checkout import MirrorCheckout
from homeport.drivers.git.mirror import PACKS, Mirror
from homeport.drivers.git.refs import Target
from homeport.outcome import Outcome, Stalled, Transient

pytestmark = pytest.mark.integration


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    (tmp_path / "served").mkdir()
    running = GitServer(tmp_path / "served")
    yield running
    if running.stalled is not None:
        running.stalled.set()
    running.close()


@pytest.fixture
def fleet(server: GitServer) -> Repository:
    return Repository(server.root, "fleet")


@pytest.fixture
def url(server: GitServer) -> str:
    return server.url("fleet")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[MirrorWorld]:
    made = MirrorWorld(tmp_path / "data")
    yield made
    await made.mirrors.stop()


@pytest.fixture
async def again(tmp_path: Path) -> AsyncIterator[MirrorWorld]:
    """The operator after a restart, on the same disk."""
    made = MirrorWorld(tmp_path / "data")
    yield made
    await made.mirrors.stop()


def mirrors(world: MirrorWorld) -> list[Path]:
    assert world.mirrors.folder is not None
    return list((world.mirrors.folder / "mirrors").glob("*"))


# --- one repository, many sources -----------------------------------------------------------------------------------


async def test_300_sources_of_one_repository_cost_one_look(
    world: MirrorWorld, fleet: Repository, server: GitServer, url: str
) -> None:
    first = fleet.commit({f"{number}/{part}.yaml": f"{number} {part}" for number in range(300) for part in "abcd"})
    wants = {f"s{number}": str(number) for number in range(300)}
    for name, path in wants.items():
        world.want(url, name=name, path=path)
    await world.until(lambda: len(set(world.woken)) == 300)
    await world.turn(0.0)
    assert (world.calls, len(mirrors(world))) == ([("poll", True)], 1)
    asked = server.requests
    assert asked == 6, "for its references, for the commit with its trees, and for all files: each by a greeting first"
    for name, path in wants.items():
        checkout = await world.checkout(url, name=name, path=path)
        listing = checkout.listing(path)
        assert checkout.commit == first
        assert checkout.read(list(listing)) == {f"{path}/{part}.yaml": f"{path} {part}".encode() for part in "abcd"}
    assert server.requests == asked, "everything was there already"

    world.woken.clear()
    world.calls.clear()
    for _ in range(60):
        await world.turn(10.0)
    assert len(world.calls) == 10, "one in each minute, for 300 sources"
    assert server.requests == asked + 20
    assert not world.woken, "nothing has changed, so nobody is told"

    before = (await world.checkout(url, name="s7", path="7")).digest("7")
    second = fleet.commit({"7/a.yaml": "new"})
    world.mirrors.poke(key("s7"))
    await world.until(lambda: len(set(world.woken)) == 300)
    checkout = await world.checkout(url, name="s7", path="7")
    assert checkout.commit == second
    assert checkout.digest("7") != before
    asked = server.requests
    assert checkout.read(["7/a.yaml", "8/a.yaml"]) == {"7/a.yaml": b"new", "8/a.yaml": b"8 a"}
    assert server.requests == asked
    other = await world.checkout(url, name="s8", path="8")
    assert other.digest("8") == (await world.checkout(url, name="s8", path="8")).digest("8")


async def test_other_credentials_have_a_mirror_of_their_own(
    world: MirrorWorld, fleet: Repository, server: GitServer, url: str
) -> None:
    fleet.commit({"a.yaml": "1"})
    server.password = "open-sesame"
    good = login(username="reader", password="open-sesame")
    assert (await world.checkout(url, credentials=good)).commit
    told = await world.problem(url, name="stranger")
    assert told.startswith("Stalled FetchFailed: ")
    assert "it refuses the credentials" in told, "what somebody may read is nobody else's"
    assert len(mirrors(world)) == 2
    assert not any("open-sesame" in text for path in mirrors(world) for text in _texts(path)), "no secret on the disk"


def _texts(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield f"{path} {path.read_bytes().decode(errors='replace')}"


@pytest.mark.parametrize("old", [False, True], ids=["protocol 2", "protocol 0"])
@pytest.mark.parametrize("filters", [True, False], ids=["filters", "no filters"])
async def test_every_kind_of_server(
    world: MirrorWorld, fleet: Repository, server: GitServer, url: str, old: bool, filters: bool
) -> None:
    server.old = old
    fleet.configure("uploadpack.allowFilter", str(filters).lower())
    first = fleet.commit({"a/x.txt": "1", "b/y.txt": "2"}, tag="v1.0.0")
    checkout = await world.checkout(url)
    assert set(checkout.listing("a")) == {"a/x.txt"}
    entry = checkout.listing("a")["a/x.txt"]
    assert entry.size == (None if filters else 1)
    assert await world.read(checkout) == {"a/x.txt": b"1", "b/y.txt": b"2"}
    second = fleet.commit({"a/x.txt": "3"})
    checkout = (await world.looked(url)).checkout
    assert checkout is not None
    assert checkout.commit == second
    assert await world.read(checkout) == {"a/x.txt": b"3", "b/y.txt": b"2"}
    assert (await world.checkout(url, Ref(tag="v1.0.0"), "tagged")).commit == first


async def test_missing_files_come_in_one_request(
    world: MirrorWorld, fleet: Repository, server: GitServer, url: str
) -> None:
    fleet.commit({f"{number}.txt": str(number) for number in range(200)})
    checkout = await world.checkout(url)
    asked = server.requests
    assert len(await world.read(checkout)) == 200
    assert server.requests == asked + 2
    await asyncio.gather(*(world.read(checkout, f"{number}.txt") for number in range(200)))
    assert server.requests == asked + 2, "from then on it is here"


# --- references -----------------------------------------------------------------------------------------------------


async def test_who_asks_during_a_look_that_fails_is_heard_next(
    world: MirrorWorld, fleet: Repository, server: GitServer, url: str
) -> None:
    fleet.commit({"a.yaml": "1"})
    server.close()
    looks: list[str] = []

    def during(what: str, _good: bool, _seconds: float) -> None:
        looks.append(what)
        if len(looks) == 1:
            world.mirrors.poke(key())

    world.mirrors.observe = during
    world.want(url)
    await world.turn(1.0)
    assert isinstance(world.want(url).problem, Transient)
    assert len(looks) == 2, "a delivery that came meanwhile isn't put off with what failed"
    await world.turn(0.1)
    assert len(looks) == 2, "and nothing else is tried before its time"


def test_who_waits_for_the_server_is_asked_for_together(tmp_path: Path, fleet: Repository, url: str) -> None:
    commit = fleet.commit({f"{number}.txt": str(number) for number in range(8)})
    mirror = Mirror(tmp_path / "mirror", url)
    mirror.fetch([Target(commit, "main", commit)])
    listing = MirrorCheckout(mirror, commit).listing("")
    blobs = {path.removesuffix(".txt"): entry.blob for path, entry in listing.items()}
    blobs["lost"] = "1" * len(commit)
    answers: dict[str, str] = {}

    def fill(name: str) -> None:
        try:
            mirror.fill([blobs[name]], commit)
            answers[name] = "here"
        except GitFailed as error:
            answers[name] = str(error)

    def all_at_once(names: Iterable[str]) -> int:
        before = mirror.fetches
        threads = [threading.Thread(target=fill, args=(name,)) for name in names]
        with mirror.alone():
            for thread in threads:
                thread.start()
            # Each asks what is here first, and then waits for its turn.
            eventually(lambda: len(mirror._waiting) == len(threads), "all wait")
        for thread in threads:
            thread.join()
        return mirror.fetches - before

    try:
        assert all_at_once("0123") == 1
        all_at_once([*"4567", "lost"])
        del answers["lost"], blobs["lost"]
        assert answers == dict.fromkeys("01234567", "here"), "what the server doesn't have is nobody else's loss"
        assert mirror.objects.sizes(list(blobs.values())).keys() == set(blobs.values())
        assert not mirror._waiting
    finally:
        mirror.close()


async def test_branches_tags_ranges_commits_and_full_names(
    world: MirrorWorld, fleet: Repository, server: GitServer, url: str
) -> None:
    made = {}
    for version in ("v1.0.0", "v1.4.2", "1.5.0", "v2.0.0-rc.1", "v2.0.0", "not-a-version"):
        made[version] = fleet.commit({"version": version}, tag=version)
    fleet.git("update-ref", "refs/pull/7/head", made["v1.0.0"], cwd=fleet.path)
    fleet.git("tag", "v1.4.9", made["v1.0.0"], cwd=fleet.path)
    for ref, name, version in (
        (Ref(branch="main"), "main", "not-a-version"),
        (Ref(tag="v1.4.2"), "v1.4.2", "v1.4.2"),
        (Ref(semver="^1.0"), "1.5.0", "1.5.0"),
        (Ref(semver="~1.4"), "v1.4.9", "v1.0.0"),
        (Ref(semver=">=1.0.0-0"), "v2.0.0", "v2.0.0"),
        (Ref(semver=">=2.0.0-0 <2.0.0"), "v2.0.0-rc.1", "v2.0.0-rc.1"),
        (Ref(commit=made["v1.0.0"]), "", "v1.0.0"),
        (Ref(name="refs/pull/7/head"), "refs/pull/7/head", "v1.0.0"),
    ):
        found = await world.found(url, ref, ref.shown)
        assert (found.problem, found.name, found.commit) == (None, name, made[version]), ref
        assert found.revision == (f"{name}@sha1:{found.commit}" if name else f"sha1:{found.commit}")
    assert len(mirrors(world)) == 1
    assert "no tag in the range ^9" in await world.problem(url, Ref(semver="^9"), "nine")
    told = await world.problem(url, Ref(semver="latest"), "nonsense")
    assert told == (
        "Stalled FetchFailed: 'latest' is no range of versions; write such as >=1.4.0 <2.0.0, 1.4.x, ~1.4.2 or ^1.4.2"
    )
    good = await world.looked(url, Ref(branch="main"), "branch main")
    assert good.problem is None, "what others can't have is nothing to it"
    missing = "0" * 39 + "1"
    assert "the reference isn't there" in await world.problem(url, Ref(commit=missing), "missing")
    tree = fleet.git("rev-parse", "main^{tree}", cwd=fleet.path)
    assert "is no commit" in await world.problem(url, Ref(commit=tree), "tree")
    assert (await world.looked(url, Ref(branch="main"), "branch main")).problem is None


async def test_a_deleted_branch_is_told_and_what_was_found_stays(
    world: MirrorWorld, fleet: Repository, server: GitServer, url: str
) -> None:
    ref = Ref(branch="feature")
    first = fleet.commit({"a.yaml": "1"}, branch="feature")
    assert (await world.checkout(url, ref)).commit == first
    fleet.remove_branch("feature")
    found = await world.looked(url, ref)
    assert found.problem == Stalled("FetchFailed", f"{url} has no branch feature")
    assert found.checkout is not None
    assert (found.commit, await world.read(found.checkout)) == (first, {"a.yaml": b"1"})
    second = fleet.commit({"a.yaml": "2"}, branch="feature")
    found = await world.looked(url, ref)
    assert (found.problem, found.commit) == (None, second), "it is back"


async def test_rewritten_history_is_followed_and_told(
    world: MirrorWorld, fleet: Repository, server: GitServer, url: str
) -> None:
    first = fleet.commit({"a.yaml": "1"})
    await world.checkout(url)
    for number in range(3):
        second = fleet.commit({"a.yaml": f"2 {number}"})
    found = await world.looked(url)
    assert (found.commit, found.note) == (second, ""), "more than one commit at once is nothing special"
    fleet.git("reset", "--quiet", "--hard", first)
    third = fleet.commit({"a.yaml": "3"})
    await world.looked(url)
    note = f"history was rewritten: {third[:12]} doesn't come after {second[:12]}, which was found before"
    found = await world.until(lambda: found if (found := world.want(url)).note else None)
    assert (found.commit, found.note, found.problem) == (third, note, None)
    fourth = fleet.commit({"a.yaml": "4"})
    found = await world.looked(url)
    assert (found.commit, found.note) == (fourth, "")


# --- servers that fail ----------------------------------------------------------------------------------------------


async def test_the_last_good_stays_in_use_and_failures_are_tried_with_growing_pauses(
    world: MirrorWorld, fleet: Repository, server: GitServer, url: str
) -> None:
    first = fleet.commit({"a.yaml": "1"})
    await world.checkout(url)
    server.failing = True
    found = await world.looked(url)
    assert isinstance(found.problem, Transient)
    assert "503" in found.problem.message
    assert (found.commit, found.checkout is not None) == (first, True)
    world.woken.clear()
    world.calls.clear()
    for _ in range(240):
        await world.turn(5.0)
    assert 6 <= len(world.calls) <= 11, "after 5, 10, 20, … seconds, and then each 300"
    assert not world.woken, "that it still fails is no news"
    server.failing = False
    second = fleet.commit({"a.yaml": "2"})
    for _ in range(61):
        await world.turn(5.0)
    found = world.want(url)
    assert (found.problem, found.commit) == (None, second)


async def test_what_is_known_survives_a_restart_while_the_server_is_down(
    world: MirrorWorld, again: MirrorWorld, fleet: Repository, server: GitServer, url: str
) -> None:
    first = fleet.commit({"a.yaml": "1"})
    await world.read(await world.checkout(url))
    second = fleet.commit({"a.yaml": "2"})
    found = await world.looked(url)
    assert found.checkout is not None
    await world.read(found.checkout)
    await world.mirrors.stop()

    server.failing = True
    found = await again.found(url, keep=(first,))
    assert isinstance(found.problem, Transient)
    assert found.checkout is not None
    assert (found.commit, found.name) == (second, "main")
    assert await again.read(found.checkout) == {"a.yaml": b"2"}
    for commit in (first, first[:8]):
        pinned = await again.at(commit)
        assert not isinstance(pinned, Outcome), pinned
        assert (pinned.commit, await again.read(pinned)) == (first, {"a.yaml": b"1"}), "rolled back without the server"


async def test_an_expired_credential(world: MirrorWorld, fleet: Repository, server: GitServer, url: str) -> None:
    first = fleet.commit({"a.yaml": "1"})
    server.password = "old-sesame"
    credentials = login(username="reader", password="old-sesame")
    await world.checkout(url, credentials=credentials)
    server.password = "new-sesame"
    found = await world.looked(url, credentials=credentials)
    assert isinstance(found.problem, Stalled)
    assert "it refuses the credentials; write username and password" in found.problem.message
    assert "sesame" not in found.problem.message
    assert found.commit == first, "what was found stays in use"
    fresh = login(username="reader", password="new-sesame")
    assert (await world.checkout(url, credentials=fresh)).commit == first


async def test_a_redirect_to_another_host_is_not_followed(
    world: MirrorWorld, fleet: Repository, server: GitServer, url: str, tmp_path: Path
) -> None:
    fleet.commit({"a.yaml": "1"})
    other = GitServer(server.root)
    try:
        server.redirect = other.url("x").removesuffix("/x.git")
        told = await world.problem(url, credentials=login(username="reader", password="open-sesame"))
    finally:
        other.close()
    assert "it redirects elsewhere, which isn't followed; write the new address" in told
    assert other.requests == 0, "nobody went there, with or without the password"


async def test_a_server_that_stops_in_the_middle(
    world: MirrorWorld, fleet: Repository, server: GitServer, url: str
) -> None:
    fleet.commit({"a.yaml": "1"})
    server.stalled = threading.Event()
    told = await world.problem(url, timeout=2.0)
    assert told == f"Transient FetchFailed: {url} took longer than 2 s"
    server.stalled.set()
    server.stalled = None
    found = await world.looked(url)
    assert found.problem is None
    assert found.checkout is not None
    assert await world.read(found.checkout) == {"a.yaml": b"1"}


# --- processes that are killed ----------------------------------------------------------------------------------------

_FETCH = """
import sys
from pathlib import Path
from homeport.drivers.git.mirror import Mirror
from homeport.drivers.git.refs import Target
Mirror(Path(sys.argv[1]), sys.argv[2]).fetch([Target(sys.argv[3], "main", sys.argv[3])])
"""


def test_a_killed_fetch_leaves_a_usable_mirror(fleet: Repository, server: GitServer, url: str, tmp_path: Path) -> None:
    """First git is killed alone, then the operator alone: its git goes on, and nobody gets between."""
    first = fleet.commit({"a.yaml": os.urandom(100_000).hex()})
    folder = tmp_path / "mirror"
    server.stalled, command = threading.Event(), [sys.executable, "-c", _FETCH, str(folder), url, first]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    operator = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    assert server.stalls.wait(60)
    operator.kill()
    operator.wait()
    mirror = Mirror(folder, url)
    with pytest.raises(GitFailed, match="another process is at work in its mirror") as caught:
        mirror.fetch([Target(first, "main", first)])
    assert caught.value.passes
    children = [int(found) for found in _git_of(folder)]
    assert children, "the git of the operator that was killed"
    for process in children:
        os.kill(process, signal.SIGKILL)
    for _ in range(600):
        if not any(_git_of(folder)):
            break
        time.sleep(0.1)
    repository = folder / "repository"
    (repository / "shallow.lock").touch()
    (repository / "objects" / "pack" / "tmp_pack_x").write_bytes(b"half")
    server.stalled.set()
    server.stalled = None
    mirror.fetch([Target(first, "main", first)])
    assert mirror.has(first)
    assert not list(repository.glob("**/*.lock")) + list(repository.glob("**/tmp_*")), "what was left is gone"
    mirror.close()


def _git_of(folder: Path) -> Iterator[str]:
    """The processes that work below a folder."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                yield process.name
        except OSError:
            continue


@pytest.mark.parametrize("part", ["*.pack", "*.idx"])
async def test_a_mirror_that_is_damaged_is_made_anew(
    world: MirrorWorld, again: MirrorWorld, fleet: Repository, server: GitServer, url: str, part: str
) -> None:
    fleet.commit({"a.yaml": "1"})
    await world.read(await world.checkout(url))
    await world.mirrors.stop()
    (folder,) = mirrors(world)
    for path in (folder / "repository" / "objects" / "pack").glob(part):
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:40])
    found = await again.found(url)
    if found.problem is not None:
        assert isinstance(found.problem, Transient), found.problem
        found = await again.looked(url)
    assert found.problem is None
    assert found.checkout is not None
    assert await again.read(found.checkout) == {"a.yaml": b"1"}


# --- what is kept -----------------------------------------------------------------------------------------------------


async def test_what_nobody_needs_goes_and_what_is_kept_stays_readable(
    world: MirrorWorld, fleet: Repository, server: GitServer, url: str
) -> None:
    commits = []
    for number in range(PACKS // 2 + 5):
        commits.append(fleet.commit({"a.txt": str(number), "big": os.urandom(20_000)}))
        found = await world.looked(url, keep=tuple(commits[:2]))
        assert found.checkout is not None
        await world.read(found.checkout)
    (folder,) = mirrors(world)
    packs = folder / "repository" / "objects" / "pack"
    before = sum(path.stat().st_size for path in packs.glob("*.pack"))
    world.now += 3600.0
    await world.looked(url, keep=tuple(commits[:2]))
    assert len(list(packs.glob("*.pack"))) == 1
    assert sum(path.stat().st_size for path in packs.glob("*.pack")) < before / 4
    assert len((folder / "repository" / "shallow").read_text().split()) == 3
    server.failing = True
    for number in (0, 1):
        pinned = await world.at(commits[number])
        assert (await world.read(pinned, "a.txt")) == {"a.txt": str(number).encode()}
    gone = await world.at(commits[7])
    assert isinstance(gone, Transient), "it would have to be fetched"
    server.failing = False
    found = await world.looked(url, keep=tuple(commits[:2]))
    fresh = fleet.commit({"a.txt": "after"})
    found = await world.looked(url, keep=tuple(commits[:2]))
    assert found.commit == fresh
    assert found.checkout is not None
    assert (await world.read(found.checkout, "a.txt")) == {"a.txt": b"after"}


async def test_a_mirror_that_nobody_wants_is_removed(
    world: MirrorWorld, fleet: Repository, server: GitServer, url: str
) -> None:
    fleet.commit({"a.yaml": "1"})
    await world.checkout(url)
    await world.checkout(url, name="other")
    world.mirrors.forget(key())
    for _ in range(30):
        await world.turn(60.0)
    assert len(mirrors(world)) == 1
    world.mirrors.forget(key("other"))
    for _ in range(30):
        await world.turn(60.0)
    assert (len(mirrors(world)), len(world.mirrors)) == (0, 0)
    asked = server.requests
    await world.turn(3600.0)
    assert server.requests == asked


# --- writing ----------------------------------------------------------------------------------------------------------


async def test_a_commit_is_made_on_what_was_read_and_pushed_without_force(
    world: MirrorWorld, fleet: Repository, server: GitServer, url: str
) -> None:
    fleet.git("config", "core.fileMode", "true")
    base = fleet.commit({"apps/web.yaml": "image: web:1\n", "run.sh": "#!/bin/sh\n", "old": "x"})
    await world.checkout(url)
    announced = []

    async def announce(commit: str) -> None:
        announced.append((commit, fleet.git("rev-parse", "main", cwd=fleet.path)))

    files = {"apps/web.yaml": b"image: web:2\n", "old": None, "new/file": b"1"}
    given = (key(), base, "main", files, "Update web\n\nto 2", "Homeport <homeport@example.com>", 1_700_000_000)
    made = await world.mirrors.commit(*given, announce)
    assert announced == [(made, base)], "its id is known before it is pushed"
    assert fleet.git("rev-parse", "main", "main^", cwd=fleet.path).split() == [made, base]
    shape = "--format=%an <%ae> %ad%n%cn %cd%n%B"
    told = fleet.git("log", "-1", "--date=unix", shape, "main", cwd=fleet.path)
    assert told == "Homeport <homeport@example.com> 1700000000\nHomeport 1700000000\nUpdate web\n\nto 2"
    assert fleet.git("diff", "--name-status", "main^", "main", cwd=fleet.path).split("\n") == [
        "M\tapps/web.yaml",
        "A\tnew/file",
        "D\told",
    ]
    found = await world.until(lambda: found if (found := world.want(url)).commit == made else None)
    assert (await world.read(found.checkout, "apps/web.yaml")) == {"apps/web.yaml": b"image: web:2\n"}
    assert await world.mirrors.commit(*given) == made, "the same again is the same commit"

    await world.mirrors.commit(key(), made, "updates/web", {"a": b"1"}, "m", "H <h@example.com>")
    assert fleet.git("rev-parse", "updates/web^", cwd=fleet.path) == made
    with pytest.raises(GitFailed, match="branch main has moved on meanwhile") as caught:
        await world.mirrors.commit(key(), base, "main", {"a": b"2"}, "m", "H <h@example.com>")
    assert caught.value.passes
    assert fleet.git("rev-parse", "main", cwd=fleet.path) == made, "what others wrote stays"


async def test_what_a_commit_may_not_do(world: MirrorWorld, fleet: Repository, server: GitServer, url: str) -> None:
    base = fleet.commit({"a/b": "1"}, links={"link": "a/b"})
    await world.checkout(url)

    async def refused(files: dict[str, bytes | None], branch: str = "main", author: str = "H <h@example.com>") -> str:
        with pytest.raises(GitFailed) as caught:
            await world.mirrors.commit(key(), base, branch, files, "m", author)
        return str(caught.value)

    for path in ("../x", "/x", "a/../../x", "", "a\nb", "./x"):
        assert "is no path of a file in a repository" in await refused({path: b"1"})
    assert "link is no plain file" in await refused({"link": b"1"})
    assert "a is no plain file" in await refused({"a": b"1"})
    assert "is no name of a branch" in await refused({"x": b"1"}, "a..b")
    assert "is no author; write Name <address>" in await refused({"x": b"1"}, author="h\n<x>")
    hook = fleet.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'main is protected' >&2; exit 1\n")
    hook.chmod(0o700)
    told = await refused({"x": b"1"})
    assert "it doesn't take commits on branch main: pre-receive hook declined: main is protected" in told
    assert fleet.git("rev-parse", "main", cwd=fleet.path) == base


# --- SSH --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def sshd(tmp_path: Path, server: GitServer) -> Iterator[ssh_git.SshServer]:
    why = ssh_git.missing()
    if why:
        pytest.skip(why)
    running = ssh_git.SshServer(tmp_path / "ssh", server.root)
    yield running
    running.close()


async def test_ssh(world: MirrorWorld, fleet: Repository, sshd: ssh_git.SshServer, tmp_path: Path) -> None:
    first, url = fleet.commit({"a.yaml": "1"}), sshd.url("fleet")
    good = login(identity=sshd.identity, known_hosts=sshd.known_hosts)
    checkout = await world.checkout(url, credentials=good)
    assert (checkout.commit, await world.read(checkout)) == (first, {"a.yaml": b"1"})
    made = await world.mirrors.commit(key(), first, "main", {"a.yaml": b"2"}, "m", "H <h@example.com>")
    assert fleet.git("rev-parse", "main", cwd=fleet.path) == made

    told = await world.problem(url, name="unknown", credentials=login(identity=sshd.identity))
    assert told == (
        "Stalled FetchFailed: known_hosts is missing, without which nobody knows who answers; write it in the Secret "
        "of credentialsSecretRef"
    )
    stranger, _ = ssh_git.key(tmp_path, "stranger")
    told = await world.problem(url, name="stranger", credentials=login(identity=stranger, known_hosts=sshd.known_hosts))
    assert "it refuses the credentials" in told
    assert "PRIVATE KEY" not in told
    told = await world.problem(url, name="broken", credentials=login(identity="nonsense", known_hosts=sshd.known_hosts))
    assert "the SSH key in identity can't be read; write a private key without a passphrase" in told
    other = sshd.known_hosts.replace(f":{sshd.port}", ":1")
    told = await world.problem(url, name="other", credentials=login(identity=sshd.identity, known_hosts=other))
    assert "its SSH host key isn't known; write it in known_hosts in the Secret of credentialsSecretRef" in told


async def test_an_ssh_host_key_that_changed(world: MirrorWorld, fleet: Repository, sshd: ssh_git.SshServer) -> None:
    first, url = fleet.commit({"a.yaml": "1"}), sshd.url("fleet")
    good = login(identity=sshd.identity, known_hosts=sshd.known_hosts)
    await world.checkout(url, credentials=good)
    fresh = sshd.new_host_key()
    found = await world.looked(url, credentials=good)
    assert isinstance(found.problem, Stalled)
    assert "its SSH host key isn't the one in known_hosts: it was changed, or somebody is in between" in (
        found.problem.message
    )
    assert found.commit == first
    again = login(identity=sshd.identity, known_hosts=fresh)
    assert (await world.checkout(url, credentials=again)).commit == first
