"""checkov over all that is rendered for the example systems: what fails has a reason in docs/security.md."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from localplane.locks import file_lock
from localplane.tools import MODULES, cache_directory
from manifests import ROOT
from rendered import applications, homeport

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
LOCK = MODULES / "checkov" / "requirements.lock"
VERSION = re.search(r"^checkov==(\S+)", LOCK.read_text(), re.MULTILINE)
EVERYWHERE = "all"


@pytest.fixture(scope="module")
def checkov() -> Path:
    """checkov in an environment of its own, for it pins half of what there is; cached outside the tree."""
    assert VERSION is not None
    folder = cache_directory() / "checkov" / f"{VERSION[1]}-py{sys.version_info.major}.{sys.version_info.minor}"
    program = folder / "bin" / "checkov"
    with file_lock(folder.with_suffix(".lock")):
        if not (folder / ".ready").exists():
            _install(folder)
    return program


def _install(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    uv = [sys.executable, "-m", "uv"]
    made = subprocess.run(
        [*uv, "venv", "-q", "--python", sys.executable, str(folder)], check=False, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    command = [*uv, "pip", "install", "-q", "--python", str(folder / "bin" / "python"), "--require-hashes", "-r"]
    done = subprocess.run([*command, str(LOCK)], check=False, capture_output=True, text=True, timeout=600)
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"checkov can't be installed here: {done.stderr.strip()[-300:]}")
    (folder / ".ready").touch()


def reasons() -> dict[str, set[str]]:
    """Checks that may fail, and where: from the table under "checkov" in docs/security.md."""
    text = (ROOT / "docs" / "security.md").read_text().partition("### Checks of checkov that fail")[2]
    table = text.partition("\n#")[0]
    rows = re.findall(r"^\| `(CKV\w+)` [^|]*\| ([^|]+) \| [^|]+ \|$", table, re.MULTILINE)
    assert rows
    return {check: {name.strip("` ") for name in where.split(",")} for check, where in rows}


def test_no_check_fails_without_a_reason(checkov: Path, tmp_path: Path) -> None:
    systems = []
    for example, app, environments in applications():
        for environment in environments:
            folder = tmp_path / "all" / f"{example}--{environment}"
            homeport("render", app, "-f", ROOT / "examples" / example, "-e", environment, "-d", folder)
            systems.append(folder)
    assert len(systems) >= 5
    command = [str(checkov), "-d", str(tmp_path / "all"), "--framework", "kubernetes", "--compact", "-o", "json"]
    ran = subprocess.run(
        [*command, "--skip-download", "--quiet"], check=False, capture_output=True, text=True, timeout=600, cwd=tmp_path
    )
    report = json.loads(ran.stdout)
    summary = report["summary"]
    assert summary["parsing_errors"] == 0
    assert summary["passed"] > 100 * len(systems), "it has looked at them"
    failed: dict[str, set[str]] = {}
    for check in report["results"]["failed_checks"]:
        failed.setdefault(check["check_id"], set()).add(_where(check))
    known = reasons()
    unexplained = {
        check: found - known.get(check, set())
        for check, found in failed.items()
        if EVERYWHERE not in known.get(check, set())
    }
    assert {check: sorted(found) for check, found in unexplained.items() if found} == {}
    stale = {
        check: sorted(where - failed.get(check, set()) - ({EVERYWHERE} if check in failed else set()))
        for check, where in known.items()
    }
    assert {check: where for check, where in stale.items() if where} == {}, "docs/security.md excuses what doesn't fail"


def _where(check: dict[str, str]) -> str:
    """``system/component`` of a failed check."""
    system = check["file_path"].strip("/").partition("--")[0]
    name = check["resource"].rpartition(".")[2]
    migration = re.fullmatch(r"(.+?)(-migrate)?-[0-9a-f]{8}", name)
    return f"{system}/{migration[1] if migration else name}"
