"""The pure parts of reading from Git: ranges, references, addresses, names, what is said of signatures."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.drivers.git import Credentials, GitFailed, Ref, address, lfs, program, refs, signatures, submodules
from homeport.drivers.git.objects import Objects, children, wrong_name
from homeport.drivers.git.refs import Target
from homeport.drivers.git.types import MIRROR_LIMITS
from homeport.plan.gitops import checkout, ranges

TABLE = Path(__file__).parent / "golden" / "gitops" / "semver-ranges.tsv"


# --- ranges -----------------------------------------------------------------------------------------------------------


def test_ranges_hold_what_masterminds_says() -> None:
    """The table was made by Masterminds/semver v3.5.0: in each line a range, and the versions that it holds."""
    *rows, (_, versions) = (line.split("\t") for line in TABLE.read_text().splitlines())
    assert len(rows) > 50
    for text, held in rows:
        found = [one for one in versions.split() if ranges.contains(text, ranges.version(one))]  # type: ignore[arg-type]
        assert " ".join(found) == held, text


@pytest.mark.parametrize(
    "text", ["latest", "", ">=", "1.2.3,", "||", ">=1.0.0 ||", "1.2.3.4", "=>>1", "^1 - 2", "x" * 600]
)
def test_what_is_no_range_says_so(text: str) -> None:
    with pytest.raises(ranges.BadRange, match=r"is no range of versions; write such as|at most 512 characters"):
        ranges.parsed(text)


@given(st.text(alphabet="0123456789.xX*<>=!~^|, -va+", max_size=40))
def test_any_text_is_a_range_or_refused(text: str) -> None:
    try:
        found = ranges.parsed(text)
    except ranges.BadRange:
        return
    assert found
    assert all(found)


def test_the_highest_of_a_range() -> None:
    names = ["v1.0.0", "1.0.0", "v1.10.0", "v1.9.0", "v2.0.0-rc.1", "main", "v1.11", "1.10.0+b", "v01.0.0"]
    assert ranges.highest("^1", names) == "v1.10.0"
    assert ranges.highest("1.0.x", names) == "v1.0.0"
    assert ranges.highest(">=1.0.0-0", names) == "v2.0.0-rc.1"
    assert ranges.highest("^3", names) is None


# --- references -------------------------------------------------------------------------------------------------------


def test_one_question_for_all_references() -> None:
    branch, tag, span = Ref(branch="main"), Ref(tag="v1"), Ref(semver="^1")
    assert refs.question([Ref(commit="a" * 40)]) is None
    assert refs.question([branch]) == ["--heads", "--", "refs/heads/main", "refs/heads/main^{}"]
    assert refs.question([tag, branch, tag]) == [
        "--heads", "--tags", "--", "refs/heads/main", "refs/heads/main^{}", "refs/tags/v1", "refs/tags/v1^{}",
    ]  # fmt: skip
    assert refs.question([span]) == ["--tags", "--", "refs/tags/*"]
    pull = refs.question([branch, Ref(name="refs/pull/7/head")])
    assert pull is not None
    assert pull[0] == "--", "what is neither has the server send all"
    assert refs.words(["--heads", "--", "refs/heads/x"], "https://h/r") == [
        "ls-remote", "--quiet", "--heads", "--", "https://h/r", "refs/heads/x",
    ]  # fmt: skip


def test_what_references_mean() -> None:
    listing = refs.listed(
        b"c1\trefs/heads/main\nt1\trefs/tags/v1.0.0\nc2\trefs/tags/v1.0.0^{}\nc3\trefs/tags/v1.1.0\nbroken\nc4\trefs/heads/x/main\n"
    )
    assert refs.target(Ref(branch="main"), listing) == Target("c1", "main", "c1")
    assert refs.target(Ref(tag="v1.0.0"), listing) == Target("c2", "v1.0.0", "t1"), "a tag of its own is fetched"
    assert refs.target(Ref(semver="~1.0"), listing) == Target("c2", "v1.0.0", "t1")
    assert refs.target(Ref(semver="1.x"), listing) == Target("c3", "v1.1.0", "c3")
    assert refs.target(Ref(commit="c9"), {}) == Target("c9", "", "c9")
    assert refs.target(Ref(branch="gone"), listing) is None


# --- addresses --------------------------------------------------------------------------------------------------------

KNOWN = Credentials(known_hosts="h ssh-ed25519 AAAA")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("file:///etc", "only https, http and ssh are allowed"),
        ("ext::sh -c date", "only https, http and ssh are allowed"),
        ("/etc", "only https, http and ssh are allowed"),
        ("-oProxyCommand=date", "only https, http and ssh are allowed"),
        ("--upload-pack=date", "only https, http and ssh are allowed"),
        ("git://h/r", "only https, http and ssh are allowed"),
        ("HTTPS://h/r", "only https, http and ssh are allowed"),
        ("git@h:team/r.git", "write ssh://user@host/path instead of user@host:path"),
        ("ssh://-oProxyCommand=date/r", "begins with a dash"),
        ("ssh://-oProxyCommand=date@h/r", "begins with a dash"),
        ("https://", "write https://… or ssh://…"),
        ("https:///r", "no host"),
        ("https://h:port/r", "can't be read"),
        ("https://me:open-sesame@h/r", "holds a name or a password; write it in the Secret of credentialsSecretRef"),
        ("https://open-sesame@h/r", "holds a name or a password; write it in the Secret of credentialsSecretRef"),
        ("ssh://git:open-sesame@h/r", "holds a password; write it in the Secret of credentialsSecretRef"),
        ("https://h/a b", "a space, a control character or a backslash"),
        ("https://h/a\nb", "a space, a control character or a backslash"),
        ("https://h/a%0ab", "a space, a control character or a backslash"),
        ("https://h\\r", "a space, a control character or a backslash"),
    ],
)
def test_addresses_that_are_refused_are_not_repeated(url: str, says: str) -> None:
    told = address.refused(url, KNOWN)
    assert says in told
    assert "open-sesame" not in told


def test_what_else_addresses_need() -> None:
    assert not address.refused("ssh://git@h:22/-rf", KNOWN), "a repository may be called so"
    assert not address.refused("https://h/-rf/--upload-pack=x.git", Credentials())
    assert "known_hosts is missing" in address.refused("ssh://git@h/r", Credentials(identity="k"))
    assert "clear text" in address.refused("http://h/r", Credentials("me", "open-sesame"))
    assert "clear text" in address.refused("http://h/r", Credentials(token="open-sesame"))
    assert address.origin("https://H:443/a") == ("https", "h", 443)


def test_credentials_show_nothing() -> None:
    told = repr(Credentials("me", "open-sesame", "open-key", "known", "open-token"))
    assert "open-" not in told


# --- names ------------------------------------------------------------------------------------------------------------


def test_names_in_trees() -> None:
    for name in (b"a", b".gitignore", "ü".encode(), b"-rf", b"a b", b"...", b"$(date)"):
        assert not wrong_name(name), name
    for name in (b"", b".", b"..", b".git", b".GIT", b"a/b", b"a\\b", b"a\nb", b"\x7f", b"\xff", b"../x"):
        assert wrong_name(name), name


def test_a_tree_is_taken_apart() -> None:
    one = bytes(range(20))
    data = b"40000 dir\0" + one + b"100644 a b\0" + one
    found = dict(children(data, 20))
    assert [(name, child.mode, child.is_tree) for name, child in found.items()] == [
        (b"dir", "40000", True),
        (b"a b", "100644", False),
    ]
    assert found[b"dir"].id == one.hex()


@pytest.mark.parametrize("tree", [b"100644 a.yaml", b"nonsense", b"\xff\xff \0", b"100644 a\0short"])
def test_a_tree_that_is_broken_is_told(tmp_path: Path, tree: bytes) -> None:
    """git's own server sends none; who sends one isn't git."""
    subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path)], check=True)
    command = ["git", "hash-object", "-w", "-t", "tree", "--literally", "--stdin"]
    done = subprocess.run(command, cwd=tmp_path, input=tree, check=True, capture_output=True)
    objects = Objects(program.local(tmp_path, "https://h/r", MIRROR_LIMITS))
    with pytest.raises(GitFailed, match=r"https://h/r: (tree \w+ can't be read|the name .* in tree)"):
        objects.tree(done.stdout.decode().strip())
    objects.rest()


def test_the_process_that_reads_is_given_back(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path)], check=True)
    running = program.Running()
    objects = Objects(program.local(tmp_path, "https://h/r", MIRROR_LIMITS, running))
    assert objects.size("1" * 40) is None
    objects.rest(3600.0)
    assert running.count == 1, "it was used just now"
    objects.rest()
    assert running.count == 0
    assert objects.size("1" * 40) is None, "and is there when it is needed"
    running.end()
    objects.rest()
    assert running.count == 0


def test_paths_are_normal_or_refused() -> None:
    assert [checkout.normal(path) for path in ("", ".", "./a//b/", "a/./b")] == ["", "", "a/b", "a/b"]
    for path in ("..", "a/../b", "/a"):
        with pytest.raises(ValueError, match="leads out of the repository"):
            checkout.normal(path)


# --- signatures -------------------------------------------------------------------------------------------------------

GOOD = """[GNUPG:] NEWSIG
[GNUPG:] GOODSIG 0123456789ABCDEF Ada <ada@example.com>
[GNUPG:] VALIDSIG 00 2026-01-01 1 0 4 0 22 8 00 00
"""


@pytest.mark.parametrize(
    ("said", "who", "why"),
    [
        (GOOD, "Ada <ada@example.com> (OpenPGP 0123456789ABCDEF)", ""),
        (GOOD.replace("[GNUPG:] VALIDSIG", "x"), "", "0 4 0 22"),
        (GOOD.replace("GOODSIG", "EXPKEYSIG"), "", "key 0123456789ABCDEF has expired"),
        (GOOD.replace("GOODSIG", "REVKEYSIG"), "", "key 0123456789ABCDEF was revoked"),
        (GOOD.replace("GOODSIG", "EXPSIG"), "", "it has expired"),
        (GOOD.replace("GOODSIG", "BADSIG"), "", "somebody changed it after it was signed with key 0123456789ABCDEF"),
        ("[GNUPG:] ERRSIG ABCD 22 8 00 1 9\n[GNUPG:] NO_PUBKEY ABCD\n", "", "made with key ABCD, which isn't in the"),
        (
            'Good "git" signature for ada@example.com with ED25519 key SHA256:abc\n',
            "ada@example.com (SSH SHA256:abc)",
            "",
        ),
        (
            'Good "git" signature with ED25519 key SHA256:abc\nNo principal matched.\n',
            "",
            "the SSH key SHA256:abc, which",
        ),
        ("Could not verify signature.\n", "", "somebody changed it"),
        ("", "", "it can't be read"),
    ],
)
def test_what_git_says_of_signatures(said: str, who: str, why: str) -> None:
    found, reason = signatures.judged(said)
    assert found == who
    assert why in reason


def test_public_keys_become_allowed_signers() -> None:
    text = "# team\nssh-ed25519 AAAA ada@example.com\nssh-rsa BBBB\n"
    text += 'bo@example.com namespaces="git" ssh-ed25519 CCCC\nx y\n'
    assert list(signatures.allowed_signers("team.pub", text)) == [
        'ada@example.com namespaces="git" ssh-ed25519 AAAA',
        'team.pub namespaces="git" ssh-rsa BBBB',
        'bo@example.com namespaces="git" ssh-ed25519 CCCC',
    ]
    assert list(signatures.allowed_signers("k", "ssh-ed25519 AAAA * evil")) == [
        '--evil namespaces="git" ssh-ed25519 AAAA'
    ]


# --- submodules and LFS -----------------------------------------------------------------------------------------------


def test_where_submodules_are() -> None:
    base = "https://h.example/team/fleet.git"
    assert submodules.absolute(base, "../base.git") == "https://h.example/team/base.git"
    assert submodules.absolute(base, "./in.git") == "https://h.example/team/fleet.git/in.git"
    assert submodules.absolute("ssh://git@h/team/fleet.git", "../../x") == "ssh://git@h/x"
    assert submodules.absolute(base, "../../../../x") == "https://h.example/x", "no further up than the host"
    assert submodules.absolute(base, "https://o.example/x") == "https://o.example/x"


def test_pointers_of_lfs() -> None:
    oid = "a" * 64
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12\n".encode()
    assert lfs.pointer(text) == lfs.Pointer(oid, 12)
    for other in (b"", b"kind: A\n", text + b"more\n", text.replace(b"sha256", b"md5"), text + b" " * 2000):
        assert lfs.pointer(other) is None
