"""Writing to Git: a commit made of plumbing, without a work tree, and pushed without force."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from homeport.drivers.git.checkout import MirrorCheckout
from homeport.drivers.git.mirror import Mirror
from homeport.drivers.git.refs import Target
from homeport.drivers.git.types import GitFailed
from homeport.plan.gitops.checkout import EXECUTABLE, FILE, normal

_AUTHOR = re.compile(r"([^<>\n]*[^<>\s])[ \t]*<([^<>\s]+)>")


def make(mirror: Mirror, base: str, files: Mapping[str, bytes | None], message: str, author: str, when: int) -> str:
    """A commit on top of ``base`` with ``files`` written (None removes one), in the mirror; its id. Raises GitFailed.

    The same arguments make the same commit.
    """
    written = _AUTHOR.fullmatch(author.strip())
    if written is None:
        raise GitFailed(f"{author!r} is no author; write Name <address>", passes=False)
    mirror.fetch([Target(base, "", base)])
    checkout = MirrorCheckout(mirror, base)
    names = {"NAME": written[1], "EMAIL": written[2], "DATE": f"@{when} +0000"}
    environment = {f"GIT_{who}_{what}": text for who in ("AUTHOR", "COMMITTER") for what, text in names.items()}
    with mirror.alone(), tempfile.TemporaryDirectory(prefix="homeport-index-") as scratch:
        git = mirror.local()
        index = {"GIT_INDEX_FILE": str(Path(scratch, "index"))}
        git.told("read-tree", base, also=index)
        lines = []
        for path, content in sorted(files.items()):
            mode = _mode(mirror, checkout, path)
            if content is None:
                lines.append(f"0 {'0' * len(base)}\t{path}\0")
            else:
                blob = git.git("hash-object", "-w", "--no-filters", "--stdin", given=content).decode().strip()
                lines.append(f"{mode} {blob}\t{path}\0")
        git.told("update-index", "-z", "--index-info", given="".join(lines).encode(), also=index)
        tree = git.told("write-tree", "--missing-ok", also=index).out.decode().strip()
        made = git.told("commit-tree", tree, "-p", base, "-F", "-", given=message.encode(), also=environment)
    commit = made.out.decode().strip()
    mirror.hold(commit)
    return commit


def _mode(mirror: Mirror, checkout: MirrorCheckout, path: str) -> str:
    try:
        plain = normal(path) == path and path != "" and not re.search(r"[\x00-\x1f\x7f]", path)
    except ValueError:
        plain = False
    if not plain:
        raise GitFailed(f"{path!r} is no path of a file in a repository", passes=False)
    there = checkout.find(path)
    if there is None:
        return FILE
    mode = there.mode.zfill(6)
    if mode not in (FILE, EXECUTABLE):
        raise GitFailed(f"{mirror.url}: {path} is no plain file, and isn't written over", passes=False)
    return mode


def push(mirror: Mirror, commit: str, branch: str) -> None:
    """Push a commit to a branch, which is made if it isn't there. Raises GitFailed.

    One that ``passes`` when the branch has moved on from what the commit is made on.
    """
    full = f"refs/heads/{branch}"
    if mirror.local().told("check-ref-format", full, anyhow=True).code != 0:
        raise GitFailed(f"{branch!r} is no name of a branch", passes=False)
    with mirror.remote() as session:
        said = session.told(
            "push", "--porcelain", "--no-thin", "--no-signed", "origin", f"{commit}:{full}",
            settings=(f"remote.origin.url={mirror.url}",),
            anyhow=True,
        )  # fmt: skip
    if said.code == 0:
        return
    told = f"{said.out.decode(errors='replace')}\n{said.text}"
    if re.search(r"fetch first|non-fast-forward|stale info|cannot lock ref|incorrect old value", told):
        raise GitFailed(f"{mirror.url}: branch {branch} has moved on meanwhile", passes=True)
    if "shallow update not allowed" in told:
        # It has the commit, and nothing leads to it: history was rewritten.
        raise GitFailed(f"{mirror.url}: what {commit[:12]} is made on isn't in any branch any more", passes=True)
    refused = re.search(r"\[remote rejected\].*\((.*)\)", told)
    if refused:
        remote = " ".join(line.removeprefix("remote:").strip() for line in told.splitlines() if "remote:" in line)
        why = " ".join(f"{refused[1]}: {remote}".split())[:300].rstrip(": ")
        raise GitFailed(f"{mirror.url}: it doesn't take commits on branch {branch}: {why}", passes=False)
    raise session.failed(said.text)
