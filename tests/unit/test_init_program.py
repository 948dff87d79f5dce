"""The containers' init: its own tests, and that it is what it says to be."""

from __future__ import annotations

import re
import subprocess

import pytest

from homeport.plan import agent
from localplane import initprogram
from localplane.toolchain import ToolchainError, find_go


@pytest.fixture(scope="module", autouse=True)
def toolchain() -> None:
    try:
        find_go(initprogram.GO, lambda text: None)
    except ToolchainError as error:
        pytest.skip(f"no Go: {error}")


def test_its_own_tests() -> None:
    assert "ok" in initprogram.go("test", "./...")


def test_vet_finds_nothing() -> None:
    initprogram.go("vet", "./...")


def test_it_is_static_and_says_its_version() -> None:
    program = initprogram.ensure()
    done = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    assert done.stdout == f"homeport-init {initprogram.digest()}\n"
    assert b"/lib64/ld-linux" not in program.read_bytes()


def test_both_sides_have_the_same_numbers() -> None:
    text = "".join((initprogram.SOURCE / name).read_text() for name in ("wire.go", "kept.go", "link.go"))
    names = re.search(r"claimNames = \[\]string{(.*?)}", text)
    assert names is not None
    assert tuple(re.findall(r'"(\w+)"', names[1])) == agent.ENVIRONMENT
    assert f'protocolPath = "{agent.PATH}"' in text
    assert 'home      = "/.homeport"' in text
    assert agent.INIT.startswith("/.homeport/")
