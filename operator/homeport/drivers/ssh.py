"""SSH to containers, with the operator's own key, as root. Nothing of this machine's own SSH is read.

A host key is compared with the one that is known, and nothing else; with none known it is learned. Outputs are bounded:
what is at the other end isn't trusted.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

PORT = 22
CONNECT = 10.0
"""Seconds that a connection gets until a command can be run."""
OUTPUT = 256 * 1024
"""Bytes of each output of a command, at most."""
PIECE = 1024 * 1024
"""Bytes of a file that are read at once."""
# In one order always: a server with several keys shows the same one each time.
HOST_KEYS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256")


class SshError(Exception):
    """No command could be run; the message is a sentence for people."""


class KeyRefusedError(SshError):
    """There is a server, and it doesn't take the operator's key."""


class HostKeyChangedError(SshError):
    """Another host key than the one that is known; nothing was said to it."""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    exit_code: int
    stdout: str = ""
    stderr: str = ""


def new_key() -> str:
    """A private key, ed25519, as OpenSSH writes it."""
    key = asyncssh.generate_private_key("ssh-ed25519", comment="homeport")
    return key.export_private_key("openssh").decode()


def public_key(private: str) -> str:
    """A private key's line for authorized_keys. Raises ValueError for what isn't one."""
    try:
        return asyncssh.import_private_key(private).export_public_key("openssh").decode().strip()
    except asyncssh.KeyImportError as error:
        raise ValueError(str(error)) from None


def fingerprint(line: str) -> str:
    """The fingerprint of a line of authorized_keys, as ``ssh-keygen -l`` shows it. Raises ValueError."""
    try:
        return asyncssh.import_public_key(line).get_fingerprint()
    except asyncssh.KeyImportError as error:
        raise ValueError(str(error)) from None


class _Client(asyncssh.SSHClient):
    def __init__(self, known: str) -> None:
        self.known, self.fingerprint = known, ""

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.fingerprint = key.get_fingerprint()
        return self.known in ("", self.fingerprint)


class Connection:
    """To one container."""

    def __init__(self, connection: Any, fingerprint: str) -> None:
        self._connection = connection
        self.fingerprint = fingerprint
        """Of the host key: ``SHA256:`` and base64, as OpenSSH shows it."""

    @property
    def closed(self) -> bool:
        """Whether it is gone."""
        return bool(self._connection.is_closed())

    async def run(self, command: str, stdin: str = "", seconds: float = 30.0) -> Done:
        """Run a command with a shell. Raises SshError when that couldn't be done, or nobody knows how it ended."""
        try:
            async with asyncio.timeout(seconds):
                async with self._connection.create_process(command, encoding=None) as process:
                    # A command that reads nothing may have ended by now: its exit code says how.
                    with contextlib.suppress(OSError):
                        process.stdin.write(stdin.encode())
                        process.stdin.write_eof()
                    out, err = await asyncio.gather(_read(process.stdout), _read(process.stderr))
                    await process.wait_closed()
        except TimeoutError:
            self.close()
            raise SshError(f"a command didn't end within {seconds:.0f} s") from None
        except (asyncssh.Error, OSError) as error:
            self.close()
            raise SshError(f"the connection broke off: {error}") from None
        if process.exit_status is not None and process.exit_status >= 0:
            return Done(process.exit_status, out, err)
        if process.exit_signal is not None:
            return Done(128, out, err)
        self.close()
        raise SshError("the connection broke off: no exit code came")

    async def put(self, source: Path, target: str, mode: int = 0o644, seconds: float = 600.0) -> None:
        """Bring a file: it is at ``target``, a path without quotes, whole or not at all. Raises SshError, OSError."""
        part = f"{target}.part"
        command = f"umask 077; mkdir -p '{posixpath.dirname(target)}' && cat >'{part}' && chmod {mode:o} '{part}' && " \
            f"mv -f '{part}' '{target}'"  # fmt: skip
        try:
            async with asyncio.timeout(seconds):
                async with self._connection.create_process(command, encoding=None) as process:
                    with source.open("rb") as content:
                        while piece := await asyncio.to_thread(content.read, PIECE):
                            process.stdin.write(piece)
                            await process.stdin.drain()
                    process.stdin.write_eof()
                    error = await _read(process.stderr)
                    await process.wait_closed()
        except TimeoutError:
            self.close()
            raise SshError(f"{target} wasn't brought within {seconds:.0f} s") from None
        except (asyncssh.Error, BrokenPipeError, ConnectionError) as broken:
            self.close()
            raise SshError(f"the connection broke off while {target} was brought: {broken}") from None
        if process.exit_status != 0:
            raise SshError(f"{target} can't be written: {error.strip() or 'no reason was given'}")

    def close(self) -> None:
        """Close it; returns at once."""
        self._connection.abort()


async def _read(stream: Any) -> str:
    """All of an output: what is over the limit is read, and dropped."""
    kept = bytearray()
    while piece := await stream.read(32 * 1024):
        kept += piece[: max(0, OUTPUT - len(kept))]
    return kept.decode(errors="replace")


async def connect(address: str, private: str, known: str, *, port: int = PORT) -> Connection:
    """Log in as root. ``known``: the fingerprint of the host key; empty learns it. Raises SshError."""
    client = _Client(known)
    try:
        async with asyncio.timeout(CONNECT):
            connection, _ = await asyncssh.create_connection(
                lambda: client,
                address,
                port,
                username="root",
                client_keys=[asyncssh.import_private_key(private)],
                preferred_auth="publickey",
                known_hosts=b"",
                server_host_key_algs=HOST_KEYS,
                agent_path=None,
                config=None,
                gss_auth=False,
                gss_kex=False,
                keepalive_interval=20,
            )
    except TimeoutError:
        raise SshError(f"no answer from {address} port {port} within {CONNECT:.0f} s") from None
    except asyncssh.HostKeyNotVerifiable as error:
        if client.fingerprint:
            raise HostKeyChangedError(
                f"{address} shows the SSH host key {client.fingerprint}, and {known} is the one that was learned: this "
                "is another system, or its keys were made anew. Nothing was said to it"
            ) from None
        raise SshError(f"{address}: {error}") from None
    except asyncssh.PermissionDenied:
        raise KeyRefusedError(
            f"sshd at {address} doesn't take the operator's key for root; put this line into root's authorized_keys: "
            f"{public_key(private)}"
        ) from None
    except (asyncssh.Error, OSError) as error:
        raise SshError(f"{address} port {port} can't be reached by SSH: {error}") from None
    return Connection(connection, client.fingerprint)
