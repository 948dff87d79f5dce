"""Pulumi's engine: where the program is, its folder of plugins, the passphrase of its secrets, locks of dead runs."""

from __future__ import annotations

import importlib
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from homeport.cli.errors import Failure

PROGRAM = "HOMEPORT_PULUMI"
"""The environment variable that names the program."""
PACKAGES_HINT = "install it: pip install 'homeport[pulumi]'"
ENGINE_HINT = (
    f"install it as https://www.pulumi.com/docs/install/ says, or name the program with {PROGRAM}; "
    "in a checkout of Homeport, `make pulumi` builds it"
)
_LOCK = re.compile(r"created by (?P<user>\S+)@(?P<host>\S+) \(pid (?P<pid>\d+)\)")


def data_folder() -> Path:
    """Where state and passphrase are kept unless the user names others: $XDG_DATA_HOME/homeport/pulumi."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home).expanduser() / "homeport" / "pulumi"


def find() -> Path:
    """The program. Raises Failure that says how to get it."""
    if named := os.environ.get(PROGRAM):
        path = Path(named).expanduser().absolute()
        if not os.access(path, os.X_OK):
            raise Failure(f"{PROGRAM} names {named}, which isn't a program", ENGINE_HINT)
        return path
    if found := shutil.which("pulumi"):
        return Path(found).absolute()
    if built := _of_checkout():
        return built
    raise Failure("Pulumi's engine isn't installed: there is no program `pulumi`", ENGINE_HINT)


def _of_checkout() -> Path | None:
    """The one that a checkout has built; the module that knows it isn't part of an installed Homeport."""
    try:
        binaries = importlib.import_module("localplane.binaries")
    except ModuleNotFoundError:
        return None
    found: Path | None = binaries.find("pulumi")
    return found


@contextmanager
def installation(engine: Path) -> Iterator[Path]:
    """A folder whose ``bin`` has the engine and the plugin of dynamic providers, for as long as it is used.

    The plugin is two lines of shell in Pulumi's own distribution, too; here it runs this very interpreter.
    """
    with tempfile.TemporaryDirectory(prefix="homeport-pulumi-") as name:
        folder = Path(name) / "bin"
        folder.mkdir()
        (folder / "pulumi").symlink_to(engine)
        plugin = folder / "pulumi-resource-pulumi-python"
        plugin.write_text(f'#!/bin/sh\nexec "{sys.executable}" -u -m pulumi.dynamic "$@"\n')
        plugin.chmod(0o755)
        yield Path(name)


def python_path() -> str:
    """What plugins have to find modules at, which is what this process has."""
    return os.pathsep.join(dict.fromkeys(entry for entry in sys.path if entry))


def passphrase(folder: Path) -> dict[str, str]:
    """The variables by which the engine opens and locks the secrets in its state.

    The user's own, else a file of this user's that is made once. Whoever loses it loses the secrets in the state.
    """
    names = ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE")
    if own := {name: os.environ[name] for name in names if name in os.environ}:
        return own
    path = folder / "passphrase"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # Whole or not at all, and never replaced: two first runs at once agree on one.
        descriptor, temporary = tempfile.mkstemp(prefix=".passphrase-", dir=folder)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            Path(temporary).unlink()
    return {"PULUMI_CONFIG_PASSPHRASE_FILE": str(path)}


def locked_by_dead(message: str) -> bool:
    """Whether what the engine says of a lock names only processes of this machine that are no more."""
    holders = list(_LOCK.finditer(message))
    return bool(holders) and all(
        holder["host"] == socket.gethostname() and not _is_engine(int(holder["pid"])) for holder in holders
    )


def _is_engine(pid: int) -> bool:
    """Whether a process is there, and is an engine: numbers of processes are used again."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    command = Path(f"/proc/{pid}/cmdline")
    return not command.exists() or b"pulumi" in command.read_bytes()
