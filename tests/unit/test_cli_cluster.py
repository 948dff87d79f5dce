"""`homeport cluster` without an engine: what it asks for, what it says, and what is found of it."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from homeport.cli import engine
from homeport.cli.app import root
from homeport.cli.errors import Failure


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without Pulumi's engine."""
    for name in (engine.PROGRAM, "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(engine, "_of_checkout", lambda: None)
    return tmp_path


def written(folder: Path, name: str = "lab") -> Path:
    path = folder / "cluster.yaml"
    path.write_text(f"name: {name}\nclusters: [{{name: here, type: existing}}]\n")
    return path


def test_without_an_engine_it_says_how_to_get_one(bare: Path) -> None:
    answer = CliRunner().invoke(root, ["cluster", "up", "lab", "-f", str(written(bare))])
    assert isinstance(answer.exception, Failure)
    assert "there is no program `pulumi`" in str(answer.exception)
    assert "https://www.pulumi.com/docs/install/" in answer.exception.hint and engine.PROGRAM in answer.exception.hint


def test_a_named_engine_must_be_a_program(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(engine.PROGRAM, str(bare / "none"))
    with pytest.raises(Failure, match="which isn't a program"):
        engine.find()
    (bare / "pulumi").write_text("#!/bin/sh\n")
    (bare / "pulumi").chmod(0o755)
    monkeypatch.delenv(engine.PROGRAM)
    assert engine.find() == bare / "pulumi"


def test_the_name_must_be_the_files_own(bare: Path) -> None:
    answer = CliRunner().invoke(root, ["cluster", "up", "other", "-f", str(written(bare))])
    assert isinstance(answer.exception, Failure) and "is for 'lab', not for 'other'" in str(answer.exception)


def test_what_is_wrong_in_the_file_is_said_before_anything_runs(bare: Path) -> None:
    path = written(bare)
    path.write_text("name: lab\nclusters: []\n")
    answer = CliRunner().invoke(root, ["cluster", "up", "lab", "-f", str(path)])
    assert isinstance(answer.exception, Failure)
    assert "clusters: tuple should have at least 1 item" in str(answer.exception)


def test_a_passphrase_is_made_once_and_is_nobody_elses(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bare / "data"
    (path,) = engine.passphrase(folder).values()
    first = Path(path).read_text()
    assert len(first) > 30 and stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    engine.passphrase(folder)
    assert Path(path).read_text() == first and [entry.name for entry in folder.iterdir()] == ["passphrase"]
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "own")
    assert engine.passphrase(folder) == {"PULUMI_CONFIG_PASSPHRASE": "own"}


def test_the_plugin_runs_this_interpreter(bare: Path) -> None:
    (bare / "pulumi").write_text("")
    with engine.installation(bare / "pulumi") as root:
        text = (root / "bin" / "pulumi-resource-pulumi-python").read_text()
        assert text.startswith("#!/bin/sh\nexec ") and text.endswith('-u -m pulumi.dynamic "$@"\n')
    assert not root.exists()


def lock(pid: int, host: str = socket.gethostname()) -> str:
    return f"the stack is currently locked by 1 lock(s).\n  file:///x: created by me@{host} (pid {pid}) at now"


def test_only_a_lock_of_a_dead_run_of_this_machine_is_taken_off() -> None:
    ended = os.fork()
    if ended == 0:
        os._exit(0)
    os.waitpid(ended, 0)
    assert engine.locked_by_dead(lock(ended))
    assert not engine.locked_by_dead(lock(ended, "elsewhere"))
    assert not engine.locked_by_dead("something else")
    # This process is no engine: the number was used again.
    assert engine.locked_by_dead(lock(os.getpid()))
