"""The demo's Git server as a background process, and the GitSource ``examples`` that makes its repository the truth."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from localplane.beside import Beside, PartError
from localplane.processes import write_atomically
from localplane.tools import CHECKOUT

EXAMPLES = CHECKOUT / "examples"
SOURCE = "examples"
"""The repository, and the GitSource that reads it."""
NAMESPACE = "platform"
SEEDED = "refs/homeport/seeded"
"""The last commit that was made from the checkout: what is newer on the branch is the user's."""
_WHO = {key: value for role in ("AUTHOR", "COMMITTER") for key, value in (
    (f"GIT_{role}_NAME", "make demo"), (f"GIT_{role}_EMAIL", "demo@example.com"))}  # fmt: skip


class GitHost(Beside):
    """The Git server of one state folder, and what is in its repository."""

    name, called, grace = "git", "the Git server", 5.0

    @property
    def url(self) -> str:
        """The repository's address; empty when it was never started."""
        return f"http://127.0.0.1:{self.port}/{SOURCE}.git" if self.port else ""

    def start(self, timeout: float = 15.0) -> bool:
        """Start it unless it runs; False when it was left as it was."""
        return self._run("localgit", (), timeout)

    # -- the repository -------------------------------------------------------------------------------------------

    def seed(self) -> str:
        """Put the checkout's examples into the repository, and say what was done.

        What a user has pushed is left as it is: then the repository is the truth, and no longer the checkout.
        """
        bare = self._directory / f"{SOURCE}.git"
        if not bare.exists():
            _git(self._directory, "init", "--quiet", "--bare", "--initial-branch=main", str(bare))
            _git(bare, "config", "http.receivepack", "true")
        main, seeded = _commit(bare, "refs/heads/main"), _commit(bare, SEEDED)
        if main != seeded:
            return "as you pushed it"
        tree = self._tree(bare)
        if main and _git(bare, "rev-parse", f"{main}^{{tree}}") == tree:
            return "as it was"
        made = _git(bare, "commit-tree", tree, *(["-p", main] if main else []), "-m", "The examples of this checkout")
        for name in ("refs/heads/main", SEEDED):
            _git(bare, "update-ref", name, made)
        return "new" if not main else "with what changed in examples/"

    @staticmethod
    def _tree(bare: Path) -> str:
        """The id of the examples' tree."""
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder) / "work"
            shutil.copytree(EXAMPLES, work)
            places = {"GIT_DIR": str(bare), "GIT_WORK_TREE": str(work), "GIT_INDEX_FILE": str(Path(folder) / "index")}
            _git(work, "add", "--all", environment=places)
            return _git(work, "write-tree", environment=places)

    # -- the source -----------------------------------------------------------------------------------------------

    def objects(self) -> list[dict[str, Any]]:
        """The GitSource, the account that it acts as, and the Secret that pushes are signed with."""
        text = (Path(__file__).parent / "gitsource.yaml").read_text()
        return list(yaml.safe_load_all(text.replace("$URL", self.url).replace("$TOKEN", self._token())))

    def _token(self) -> str:
        path = self._directory / "token"
        if not path.exists():
            write_atomically(path, secrets.token_hex(16))
        return path.read_text()

    def tell(self, webhook: str) -> None:
        """Tell the operator of pushes, at this address; empty for nobody."""
        hooks = [{"url": webhook, "token": self._token()}] if webhook else []
        write_atomically(self._directory / "hooks.json", json.dumps(hooks))


def _commit(bare: Path, name: str) -> str:
    return _git(bare, "for-each-ref", "--format=%(objectname)", name)


def _git(folder: Path, *words: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        ["git", *words],
        cwd=folder,
        env={**os.environ, **_WHO, "GIT_CONFIG_GLOBAL": os.devnull, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise PartError(f"git {words[0]}: {done.stderr.strip()}")
    return done.stdout.strip()
