"""Repositories and servers that are up to something, against git's own server: docs/gitops.md has the table."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mirror_world import MirrorWorld, login

from git_server import GitServer, Repository
from homeport.drivers.git import GitFailed, Ref
from homeport.drivers.git.checkout import MirrorCheckout
from homeport.drivers.git.mirror import Mirror
from homeport.drivers.git.refs import Target
from homeport.drivers.git.types import MIB, MIRROR_LIMITS, Limits
from homeport.outcome import Outcome, Stalled
from homeport.plan.gitops.checkout import SYMLINK

pytestmark = pytest.mark.integration


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    (tmp_path / "served").mkdir()
    running = GitServer(tmp_path / "served")
    yield running
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


# --- trees ------------------------------------------------------------------------------------------------------------


def forged(repository: Repository, tree: bytes) -> str:
    """A commit of a tree that git itself would never make."""

    def made(kind: str, content: bytes) -> str:
        command = ["git", "hash-object", "-w", "-t", kind, "--literally", "--stdin"]
        done = subprocess.run(command, cwd=repository.path, input=content, check=True, capture_output=True)
        return done.stdout.decode().strip()

    who = b"a <a@example.com> 1700000000 +0000"
    commit = made("commit", b"tree %s\nauthor %s\ncommitter %s\n\nx\n" % (made("tree", tree).encode(), who, who))
    repository.git("update-ref", "refs/heads/forged", commit, cwd=repository.path)
    return commit


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (b"..", "the name '..' in tree"),
        (b".", "the name '.' in tree"),
        (b".git", "the name '.git' in tree"),
        (b".GIT", "the name '.GIT' in tree"),
        (b"../../etc/cron.d/x", "holds a slash"),
        (b"/etc/passwd", "holds a slash"),
        (b"a\\b", "holds a slash"),
        (b"a\nb", "holds a control character"),
        (b"a\x1b[2Jb", "holds a control character"),
        (b"\xff\xfe", "isn't UTF-8"),
    ],
)
async def test_names_that_lead_out_or_deceive(
    world: MirrorWorld, fleet: Repository, url: str, name: bytes, says: str
) -> None:
    fleet.commit({"a.yaml": "1"})
    blob = bytes.fromhex(fleet.git("rev-parse", "main:a.yaml", cwd=fleet.path))
    forged(fleet, b"100644 %s\0%s" % (name, blob))
    checkout = await world.checkout(url, Ref(branch="forged"))
    with pytest.raises(GitFailed) as caught:
        checkout.listing("")
    assert says in str(caught.value)
    assert not caught.value.passes
    assert str(caught.value).isprintable(), "what is told is harmless on a terminal"


def test_a_name_that_is_there_twice(fleet: Repository, url: str, tmp_path: Path) -> None:
    fleet.commit({"a.yaml": "1"})
    blob = bytes.fromhex(fleet.git("rev-parse", "main:a.yaml", cwd=fleet.path))
    commit = forged(fleet, b"100644 a.yaml\0%s100755 a.yaml\0%s" % (blob, blob))
    mirror = Mirror(tmp_path / "m", url)
    with pytest.raises(GitFailed, match=r"the name 'a\.yaml' in tree \w+ is there twice"):
        read(mirror, commit)
    mirror.close()


async def test_links_are_entries_and_never_followed(world: MirrorWorld, fleet: Repository, url: str) -> None:
    fleet.commit({"a/b.yaml": "1"}, links={"a/out": "/etc/passwd", "a/up": "../../..", "dir": "a"})
    checkout = await world.checkout(url)
    listing = checkout.listing("a")
    assert {path: entry.mode for path, entry in listing.items()} == {
        "a/b.yaml": "100644",
        "a/out": SYMLINK,
        "a/up": SYMLINK,
    }
    with pytest.raises(GitFailed, match="a/out is a symbolic link, and not a file"):
        await world.read(checkout, "a/out")
    assert checkout.digest("dir") == "", "a link to a folder is no folder"
    with pytest.raises(GitFailed, match=r"there is no file dir/b\.yaml"):
        await world.read(checkout, "dir/b.yaml")


async def test_names_that_differ_in_case_are_two_files(world: MirrorWorld, fleet: Repository, url: str) -> None:
    fleet.commit({"App.yaml": "1", "app.yaml": "2"})
    checkout = await world.checkout(url)
    assert await world.read(checkout) == {"App.yaml": b"1", "app.yaml": b"2"}


def read(mirror: Mirror, commit: str, *paths: str) -> dict[str, bytes]:
    mirror.fetch([Target(commit, "main", commit)])
    checkout = MirrorCheckout(mirror, commit)
    return checkout.read(paths or list(checkout.listing("")))


def test_a_file_of_100_mib(fleet: Repository, url: str, tmp_path: Path) -> None:
    """It is small on the wire, which is the trick."""
    commit = fleet.commit({"apps/web.yaml": "1", "big.yaml": b"\0" * 100 * MIB})
    mirror = Mirror(tmp_path / "m", url)
    assert read(mirror, commit, "apps/web.yaml") == {"apps/web.yaml": b"1"}, "whoever doesn't read it has no trouble"
    with pytest.raises(GitFailed, match=r"big\.yaml has 100\.0 MiB; 16 MiB are allowed for a file") as caught:
        read(mirror, commit, "big.yaml")
    assert not caught.value.passes
    mirror.close()


def test_many_files_that_are_too_much_together(fleet: Repository, url: str, tmp_path: Path) -> None:
    commit = fleet.commit({f"{number}.yaml": bytes([number]) * MIB for number in range(5)})
    mirror = Mirror(tmp_path / "m", url, limits=replace(MIRROR_LIMITS, total=4 * MIB))
    with pytest.raises(GitFailed, match="what is read together has more than 4 MiB"):
        read(mirror, commit)
    mirror.close()


def test_a_million_files(fleet: Repository, url: str, tmp_path: Path) -> None:
    """A thousand folders that are one and the same tree of a thousand files: a million for three objects."""
    fleet.commit({"small/a.yaml": "1"})
    blob = fleet.git("rev-parse", "main:small/a.yaml", cwd=fleet.path)

    def tree(lines: list[str]) -> str:
        given = "\n".join(lines).encode()
        done = subprocess.run(["git", "mktree"], cwd=fleet.path, input=given, check=True, capture_output=True)
        return done.stdout.decode().strip()

    inner = tree([f"100644 blob {blob}\t{number}.yaml" for number in range(1000)])
    small = fleet.git("rev-parse", "main:small", cwd=fleet.path)
    outer = tree([*(f"040000 tree {inner}\td{number}" for number in range(1000)), f"040000 tree {small}\tsmall"])
    commit = fleet.git("commit-tree", outer, "-m", "x", cwd=fleet.path)
    fleet.git("update-ref", "refs/heads/main", commit, cwd=fleet.path)
    mirror = Mirror(tmp_path / "m", url)
    mirror.fetch([Target(commit, "main", commit)])
    checkout = MirrorCheckout(mirror, commit)
    assert set(checkout.listing("small")) == {"small/a.yaml"}, "other folders are nobody's trouble"
    with pytest.raises(GitFailed, match="the root holds more than 50000 files and folders; name a smaller folder"):
        checkout.listing("")
    mirror.close()


def test_a_pack_that_is_too_large(fleet: Repository, url: str, tmp_path: Path) -> None:
    fleet.configure("uploadpack.allowFilter", "false")
    commit = fleet.commit({"a.yaml": "1", "big": os.urandom(6 * MIB)})
    mirror = Mirror(tmp_path / "m", url, limits=replace(MIRROR_LIMITS, fetched=2 * MIB))
    with pytest.raises(GitFailed, match="larger than 2 MiB in one commit") as caught:
        read(mirror, commit)
    assert not caught.value.passes
    assert mirror.size() < 3 * MIB, "what was written of it is gone"
    mirror.close()


def test_a_mirror_that_grows_too_large(fleet: Repository, url: str, tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "m", url, limits=Limits(60, 8 * MIB, 1000, 4 * MIB, 8 * MIB, 6 * MIB))
    commits = []
    for _ in range(4):
        commits.append(fleet.commit({"a.txt": os.urandom(MIB).hex()}))
        read(mirror, commits[-1])
    commits.append(fleet.commit({"a.txt": "1"}))
    mirror.prune(commits[3:])
    assert read(mirror, commits[-1]) == {"a.txt": b"1"}, "what nobody keeps makes room"
    with pytest.raises(GitFailed, match=r"its mirror has \d+ MiB of 6; use fewer or smaller files") as caught:
        for _ in range(8):
            read(mirror, fleet.commit({"a.txt": os.urandom(MIB).hex()}))
    assert not caught.value.passes
    mirror.close()


# --- submodules -------------------------------------------------------------------------------------------------------


def with_module(outer: Repository, path: str, commit: str, declared: str, files: dict[str, str | bytes]) -> str:
    """Commit a submodule as somebody would who doesn't care what ``git submodule add`` allows."""
    outer.commit(files)
    (outer.work / ".gitmodules").write_text(declared)
    outer.git("add", ".gitmodules")
    outer.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    outer.git("commit", "--quiet", "-m", "module")
    outer.git("push", "--quiet", "--force", str(outer.path), "main")
    return outer.git("rev-parse", "HEAD")


def declared(path: str, url: str, more: str = "") -> str:
    return f'[submodule "m"]\n\tpath = "{path}"\n\turl = "{url}"\n{more}'


async def test_submodules_are_read_when_asked_for(
    world: MirrorWorld, fleet: Repository, server: GitServer, url: str
) -> None:
    base = Repository(server.root, "base")
    inner = base.commit({"deploy/a.yaml": "1", "b.yaml": "2"})
    with_module(fleet, "libs/base", inner, declared("libs/base", "../base.git"), {"apps/web.yaml": "3"})
    plain = await world.checkout(url, name="plain")
    assert plain.listing("libs")["libs/base"].mode == "160000"
    with pytest.raises(GitFailed, match="libs/base is another repository, and not a file"):
        await world.read(plain, "libs/base")
    whole = await world.checkout(url, submodules=True)
    assert set(whole.listing("libs")) == {"libs/base/b.yaml", "libs/base/deploy/a.yaml"}
    assert await world.read(whole, "libs/base/deploy/a.yaml", "apps/web.yaml") == {
        "libs/base/deploy/a.yaml": b"1",
        "apps/web.yaml": b"3",
    }
    assert set(whole.listing("libs/base/deploy")) == {"libs/base/deploy/a.yaml"}
    before = whole.digest("libs"), whole.digest("apps")
    moved = base.commit({"deploy/a.yaml": "4"})
    fleet.git("update-index", "--cacheinfo", f"160000,{moved},libs/base")
    fleet.git("commit", "--quiet", "-m", "newer")
    fleet.git("push", "--quiet", str(fleet.path), "main")
    found = await world.looked(url, submodules=True)
    assert found.checkout is not None
    assert found.checkout.digest("libs") != before[0]
    assert found.checkout.digest("apps") == before[1]
    assert await world.read(found.checkout, "libs/base/deploy/a.yaml") == {"libs/base/deploy/a.yaml": b"4"}


@pytest.mark.parametrize(
    ("path", "where", "says"),
    [
        ("m", "file:///etc", "only https, http and ssh are allowed"),
        ("m", "ext::sh -c 'touch /tmp/homeport-owned'", "only https, http and ssh are allowed"),
        ("m", "-u./payload", "only https, http and ssh are allowed"),
        ("m", "ssh://-oProxyCommand=touch/x", "begins with a dash"),
        ("m", "https://me:open-sesame@h.example/x", "holds a name or a password"),
        ("../../etc", "../base.git", "puts a submodule at '../../etc', which leads out"),
        ("/etc", "../base.git", "puts a submodule at '/etc', which leads out"),
        (".", "../base.git", "puts a submodule at '.', which leads out"),
    ],
)
async def test_tricks_in_gitmodules(
    world: MirrorWorld, fleet: Repository, url: str, path: str, where: str, says: str
) -> None:
    with_module(fleet, "m", "1" * 40, declared(path, where), {"a.yaml": "1"})
    told = await world.problem(url, submodules=True)
    assert told.startswith("Stalled FetchFailed: ")
    assert says in told
    assert "open-sesame" not in told
    assert (await world.checkout(url, name="plain")).commit, "who doesn't ask for submodules isn't troubled"


async def test_gitmodules_includes_nothing(
    world: MirrorWorld, fleet: Repository, server: GitServer, url: str, tmp_path: Path
) -> None:
    inner = Repository(server.root, "base").commit({"a": "1"})
    (tmp_path / "evil").write_text('[submodule "n"]\n\tpath = n\n\turl = file:///etc\n')
    more = f"[include]\n\tpath = {tmp_path / 'evil'}\n[submodule]\n\trecurse = true\n"
    more += '[submodule "m"]\n\tupdate = !touch /tmp/homeport-owned\n'
    with_module(fleet, "m", inner, declared("m", "../base.git", more), {"a.yaml": "1"})
    checkout = await world.checkout(url, submodules=True)
    assert set(checkout.listing("m")) == {"m/a"}
    assert not Path("/tmp/homeport-owned").exists()


async def test_submodules_in_a_circle_end(world: MirrorWorld, fleet: Repository, server: GitServer, url: str) -> None:
    """A commit can't hold its own id, so it is a chain: each repository names the next, one deeper than allowed."""
    commit = Repository(server.root, "r0").commit({"a": "1"})
    for number in range(1, 7):
        repository = Repository(server.root, f"r{number}")
        commit = with_module(repository, "m", commit, declared("m", f"../r{number - 1}.git"), {"a": str(number)})
    with_module(fleet, "m", commit, declared("m", "../r6.git"), {"a.yaml": "1"})
    told = await world.problem(url, submodules=True)
    assert "submodules are 4 deep in one another; use fewer" in told


async def test_a_submodule_elsewhere_is_not_told_the_password(
    world: MirrorWorld, fleet: Repository, server: GitServer, url: str
) -> None:
    other = GitServer(server.root)
    try:
        inner = Repository(server.root, "base").commit({"a": "1"})
        with_module(fleet, "m", inner, declared("m", other.url("base")), {"a.yaml": "1"})
        server.password = "open-sesame"
        credentials = login(username="reader", password="open-sesame")
        checkout = await world.checkout(url, submodules=True, credentials=credentials)
        assert await world.read(checkout, "m/a") == {"m/a": b"1"}
        assert server.authorizations
        assert other.requests > 0
        assert not other.authorizations, "another port is another origin"
        other.password = "open-sesame"
        # Another mirror, which has nothing yet.
        fresh = replace(credentials, known_hosts="x")
        told = await world.problem(url, submodules=True, credentials=fresh, name="again")
        assert "submodule m: " in told
        assert "it refuses the credentials" in told
        assert not other.authorizations, "not even when it asks"
    finally:
        other.close()


# --- Git LFS ----------------------------------------------------------------------------------------------------------


def pointer(content: bytes, size: int | None = None) -> str:
    oid = hashlib.sha256(content).hexdigest()
    length = len(content) if size is None else size
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {length}\n"


async def test_large_files_are_read_when_asked_for(
    world: MirrorWorld, fleet: Repository, server: GitServer, url: str
) -> None:
    content = b"kind: ConfigMap\n" * 1000
    server.large[hashlib.sha256(content).hexdigest()] = content
    server.password = "open-sesame"
    login_ = login(username="reader", password="open-sesame")
    fleet.commit({"a.yaml": pointer(content), "b.yaml": "2", ".lfsconfig": "[lfs]\n\turl = http://127.0.0.1:1/\n"})
    plain = await world.checkout(url, name="plain", credentials=login_)
    assert (await world.read(plain, "a.yaml"))["a.yaml"].startswith(b"version https://git-lfs")
    checkout = await world.checkout(url, lfs=True, credentials=login_)
    server.authorizations.clear()
    with pytest.raises(GitFailed, match=r"LFS object .* answers 401"):
        await world.read(checkout, "a.yaml")
    server.password = ""
    assert await world.read(checkout, "a.yaml", "b.yaml") == {"a.yaml": content, "b.yaml": b"2"}
    server.failing = True
    assert await world.read(checkout, "a.yaml") == {"a.yaml": content}, "from then on it is here"


async def test_large_files_that_are_not_what_they_say(
    world: MirrorWorld, fleet: Repository, server: GitServer, url: str
) -> None:
    good = b"x" * 100
    oid = hashlib.sha256(good).hexdigest()
    huge = b"y"
    fleet.commit({"a": pointer(good), "gone": pointer(b"gone"), "huge": pointer(huge, 10**12)})
    checkout = await world.checkout(url, lfs=True)
    for wrong in (b"x" * 99 + b"z", b"x" * 99, b"x" * 10_000):
        server.large[oid] = wrong
        with pytest.raises(GitFailed, match=r"isn't what its pointer says \(size or SHA-256 differ\)"):
            await world.read(checkout, "a")
    server.large[oid] = good
    assert await world.read(checkout, "a") == {"a": good}
    with pytest.raises(GitFailed, match=r"its LFS server has no .*: Object does not exist"):
        await world.read(checkout, "gone")
    with pytest.raises(GitFailed, match=r"huge has 953674\.3 MiB in LFS; 16 MiB are allowed for a file"):
        await world.read(checkout, "huge")


# --- signatures -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Public keys by name; ``home`` is where the private ones are."""
    home = tmp_path_factory.mktemp("keys")
    found = {"home": str(home)}
    for name in ("ada", "eve"):
        path = home / name
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{name}@example.com", "-f", str(path)]
        subprocess.run(command, check=True)
        found[f"{name}.pub"] = path.with_suffix(".pub").read_text()
        (home / "gnupg").mkdir(mode=0o700, exist_ok=True)
        gpg = ["gpg", "--homedir", str(home / "gnupg"), "--batch", "--quiet", "--passphrase", ""]
        subprocess.run([*gpg, "--quick-generate-key", f"{name} <{name}@example.com>", "ed25519", "sign"], check=True)
        done = subprocess.run([*gpg, "--armor", "--export", f"{name}@example.com"], check=True, capture_output=True)
        found[f"{name}.asc"] = done.stdout.decode()
    yield found  # type: ignore[misc]
    subprocess.run(["gpgconf", "--homedir", str(home / "gnupg"), "--kill", "all"], check=False)


def signed(fleet: Repository, keys: dict[str, str], who: str, form: str, what: str = "commit", tag: str = "") -> str:
    """A commit or a tag with a signature, pushed."""
    home = Path(keys["home"])
    options = ["-c", f"user.signingKey={home / who}", "-c", "gpg.format=ssh"]
    if form == "openpgp":
        options = ["-c", f"user.signingKey={who}@example.com", "-c", "gpg.format=openpgp"]
    os.environ["GNUPGHOME"] = str(home / "gnupg")
    try:
        sign = ["-S"] if what == "commit" else []
        fleet.git(*options, "commit", "--quiet", "--allow-empty", *sign, "-m", f"{who} {form} {what}")
        if tag:
            fleet.git(*options, "tag", *(["-s"] if what == "tag" else ["-a"]), "-m", tag, tag)
    finally:
        del os.environ["GNUPGHOME"]
    fleet.git("push", "--quiet", "--force", "--follow-tags", str(fleet.path), "main")
    return fleet.git("rev-parse", "HEAD")


@pytest.mark.parametrize(("form", "file"), [("ssh", "ada.pub"), ("openpgp", "ada.asc")])
async def test_only_what_is_signed_by_a_known_key_is_used(
    world: MirrorWorld, fleet: Repository, url: str, keys: dict[str, str], form: str, file: str
) -> None:
    fleet.commit({"a.yaml": "1"})
    asked = {"verify_keys": ((file, keys[file]),)}
    told = await world.problem(url, **asked)
    assert told.startswith("Stalled Unsigned: ")
    assert "isn't signed; only what is signed by a key in the Secret of verify.keysSecretRef is used" in told
    good = signed(fleet, keys, "ada", form)
    found = await world.looked(url, **asked)
    assert (found.problem, found.commit) == (None, good)
    assert "ada@example.com" in found.signed_by
    signed(fleet, keys, "eve", form)
    found = await world.looked(url, **asked)
    assert isinstance(found.problem, Stalled)
    assert "which isn't in the Secret of verify.keysSecretRef" in found.problem.message
    assert found.commit == good, "what was found before stays in use"
    pinned = fleet.git("rev-parse", "main~2", cwd=fleet.path)
    got = await world.at(pinned)
    assert isinstance(got, Stalled)
    assert got.reason == "Unsigned", "a pin asks for a signature, too"


async def test_a_commit_that_was_changed_after_it_was_signed(
    world: MirrorWorld, fleet: Repository, url: str, keys: dict[str, str]
) -> None:
    for form, file in (("ssh", "ada.pub"), ("openpgp", "ada.asc")):
        fleet.commit({"a.yaml": form})
        commit = signed(fleet, keys, "ada", form)
        text = fleet.git("cat-file", "commit", commit)
        forged_text = text.replace(f"ada {form} commit", "something else") + "\n"
        command = ["git", "hash-object", "-w", "-t", "commit", "--stdin"]
        done = subprocess.run(command, cwd=fleet.path, input=forged_text.encode(), check=True, capture_output=True)
        fleet.git("update-ref", f"refs/heads/{form}", done.stdout.decode().strip(), cwd=fleet.path)
        told = await world.problem(url, Ref(branch=form), form, verify_keys=((file, keys[file]),))
        assert "somebody changed it after it was signed" in told


async def test_tags_speak_for_their_commits(
    world: MirrorWorld, fleet: Repository, url: str, keys: dict[str, str]
) -> None:
    both = (("ada.pub", keys["ada.pub"]), ("ada.asc", keys["ada.asc"]))
    fleet.commit({"a.yaml": "1"})
    for number, (form, who, what) in enumerate(
        (
            ("ssh", "ada", "tag"),
            ("openpgp", "ada", "tag"),
            ("ssh", "eve", "tag"),
            ("ssh", "ada", "commit"),
            ("ssh", "ada", "none"),
        )
    ):
        signed(fleet, keys, who, form, what, f"v1.0.{number}")
    for number, good in ((0, True), (1, True), (2, False), (3, True), (4, False)):
        tag = f"v1.0.{number}"
        found = await world.found(url, Ref(tag=tag), tag, verify_keys=both)
        assert (found.problem is None) is good, (tag, found)
        assert not good or "ada@example.com" in found.signed_by
    told = await world.problem(url, Ref(tag="v1.0.2"), "v1.0.2", verify_keys=both)
    assert "the SSH signature of tag v1.0.2 doesn't count: it was made with the SSH key SHA256:" in told
    told = await world.problem(url, Ref(tag="v1.0.4"), "v1.0.4", verify_keys=both)
    assert "isn't signed, and its tag isn't either" in told
    told = await world.problem(url, Ref(branch="main"), "branch", verify_keys=both)
    assert "isn't signed; only what" in told, "a tag's signature is for who asks for the tag"


async def test_keys_that_are_none(world: MirrorWorld, fleet: Repository, url: str) -> None:
    fleet.commit({"a.yaml": "1"})
    told = await world.problem(url, verify_keys=(("a", "nonsense"),))
    assert "has no public key; write OpenPGP keys in ASCII armour, SSH public keys, or lines of allowed_signers" in told
    broken = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nnonsense\n-----END PGP PUBLIC KEY BLOCK-----\n"
    outcome = (await world.found(url, name="broken", verify_keys=(("a.asc", broken),))).problem
    assert isinstance(outcome, Outcome)
    assert "isn't signed" in outcome.message or "can't be read" in outcome.message
