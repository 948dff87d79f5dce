"""k3s brought into containers by SSH, with the stack's own key, which they were made with."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import os
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from homeport.drivers import ssh
from homeport_clusters import k3s_checks, k3s_install
from homeport_clusters.k3s_install import Node
from homeport_clusters.providers.base import ProviderError

SSHD = 180.0
"""Seconds until a container that was started lets us in."""
READY = 600.0
"""Seconds until a k3s that was started is ready: it unpacks its images first."""
AGAIN = 1.0
FETCH = 60.0
"""Seconds for each answer of a mirror."""
PIECE = 1 << 20


@dataclass(frozen=True)
class Access:
    """How a container is reached."""

    address: str
    private: str = field(repr=False)
    host_key: str = ""
    """Of its sshd; empty learns it."""


@dataclass(frozen=True)
class Files:
    """What is brought: sources as cluster.yaml has them (paths are absolute), and their SHA-256."""

    binary: str
    binary_sha256: str
    images: str = ""
    images_sha256: str = ""

    @property
    def digests(self) -> dict[str, str]:
        """By what they are."""
        return {"binary": self.binary_sha256, "images": self.images_sha256}


@dataclass(frozen=True)
class Installed:
    """What came of it."""

    host_key: str
    digest: str
    kubeconfig: str = field(default="", repr=False)


async def install(
    node: Node,
    access: Access,
    where: k3s_checks.Where,
    files: Files,
    server: Access | None,
    others: Sequence[Access] = (),
) -> Installed:
    """Have k3s run there, and be ready. ``server``: where a joining node is asked for; None for the first server.

    ``others``: the other servers, of which the first one that lost its data joins one.
    """
    async with _entered(access) as shell:
        found = k3s_checks.problems(k3s_install.told(await _said(shell, "sh -s", k3s_checks.SCRIPT)), where)
        if found:
            raise ProviderError(_listed(f"k3s can't run in container {where.vmid} ({node.name}) yet", found))
        if server is None:
            node = await _belonging(node, shell, others)
        elif not k3s_install.told(await _said(shell, k3s_install.look(node))).get("digest"):
            # New here: one of this name that is lost may not have been forgotten, and no second one is let in.
            async with _entered(server) as other:
                await _forget(node.name, other)
        await _bring(shell, node, files)
        mark = k3s_install.digest(node, *files.digests.values())
        await _said(shell, "sh -s", k3s_install.script(node, mark))
        if node.role == "server":
            await _until(shell, k3s_install.API_READY, "ok", f"the API server on {node.name} isn't ready", node)
        if server is None:
            await _until(shell, k3s_install.ready_command(node.name), "True", f"node {node.name} isn't Ready", node)
        else:
            async with _entered(server) as other:
                ready = k3s_install.ready_command(node.name)
                await _until(other, ready, "True", f"node {node.name} hasn't joined, or isn't Ready", node, shell)
        text = await _said(shell, f"cat {k3s_install.KUBECONFIG}") if node.role == "server" else ""
        return Installed(shell.fingerprint, mark, text)


async def _belonging(node: Node, shell: ssh.Connection, others: Sequence[Access]) -> Node:
    """The first server as it is to be started: with data it goes on as it is; without, it joins another server that has
    the cluster's, and begins one only where none has.

    Raises ProviderError when that can't be told: it would begin a second cluster, and an empty one.
    """
    own = k3s_install.told(await _said(shell, "sh -s", k3s_install.HAS_DATA))
    if own.get("data"):
        joined = own.get("server", "")
        return replace(node, join=joined, cluster_init=node.cluster_init and not joined)
    why = []
    for other in others:
        try:
            if await _has_room(node.name, other):
                return replace(node, join=k3s_install.server_url(literal(other.address)), cluster_init=False)
        except ProviderError as error:
            why.append(f"server {other.address}: {error}")
    if not why:
        return node
    raise ProviderError(
        _listed(f"{node.name} has no data, and beginning now would make a second cluster, which is empty", why)
        + "\nHave the other servers run and be reached, and run up again. Where too few are left for a quorum, restore "
        "etcd on one that is (k3s server --cluster-reset; https://docs.k3s.io/cli/etcd-snapshot) first"
    )


async def _has_room(name: str, other: Access) -> bool:
    """Whether a server has a cluster's data; a node of this name is forgotten there, so that another one may join.

    Raises ProviderError when it can't be asked, or can't forget.
    """
    async with _entered(other) as shell:
        if not k3s_install.told(await _said(shell, "sh -s", k3s_install.HAS_DATA)).get("data"):
            return False
        await _forget(name, shell)
        return True


async def _forget(name: str, shell: ssh.Connection) -> None:
    done = await shell.run(k3s_install.forget_command(name), seconds=120.0)
    if done.exit_code != 0:
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        raise ProviderError(f"the cluster can't forget a lost {name}: {said}")


async def look(node: Node, access: Access) -> dict[str, str]:
    """What is there; ``unreachable`` when nobody can tell."""
    try:
        shell = await ssh.connect(access.address, access.private, access.host_key)
    except ssh.SshError as error:
        return {"unreachable": str(error)}
    try:
        return k3s_install.told(await _said(shell, k3s_install.look(node)))
    finally:
        shell.close()


async def leave(name: str, server: Access) -> str:
    """Have the cluster forget a node; why it couldn't be asked to, which is no reason to keep the container."""
    try:
        shell = await ssh.connect(server.address, server.private, server.host_key)
    except ssh.SshError as error:
        return str(error)
    try:
        done = await shell.run(k3s_install.leave_command(name), seconds=180.0)
        return "" if done.exit_code == 0 else (done.stderr.strip() or f"exit code {done.exit_code}")
    except ssh.SshError as error:
        return str(error)
    finally:
        shell.close()


@asynccontextmanager
async def _entered(access: Access) -> AsyncIterator[ssh.Connection]:
    """A connection; waits for the sshd of a container that was started only now."""
    end = time.monotonic() + SSHD
    while True:
        try:
            shell = await ssh.connect(access.address, access.private, access.host_key)
            break
        except (ssh.KeyRefusedError, ssh.HostKeyChangedError) as error:
            raise ProviderError(str(error)) from None
        except ssh.SshError as error:
            if time.monotonic() > end:
                raise ProviderError(
                    f"{error}, {SSHD:.0f} s after it was started. This machine needs a route to it, and its template "
                    "an sshd that is started (debian-12-standard has one; alpine's hasn't)"
                ) from None
            await asyncio.sleep(AGAIN)
    try:
        yield shell
    except ssh.SshError as error:
        raise ProviderError(f"{access.address}: {error}") from None
    finally:
        shell.close()


async def _said(shell: ssh.Connection, command: str, stdin: str = "") -> str:
    done = await shell.run(command, stdin, seconds=120.0)
    if done.exit_code != 0:
        raise ProviderError(f"a command ended with {done.exit_code}: {done.stderr.strip()[-500:] or 'it said nothing'}")
    return done.stdout


async def _bring(shell: ssh.Connection, node: Node, files: Files) -> None:
    there = k3s_install.told(await _said(shell, k3s_install.look(node)))
    for key in k3s_install.missing_files(there, files.digests):
        source, digest = (files.binary, files.binary_sha256) if key == "binary" else (files.images, files.images_sha256)
        path = await asyncio.to_thread(fetched, source, digest)
        ending = "".join(Path(source).suffixes[-2:])
        target = k3s_install.BINARY if key == "binary" else f"{k3s_install.IMAGES}/homeport{ending}"
        try:
            await shell.put(path, target, 0o755 if key == "binary" else 0o600)
        except OSError as error:
            raise ProviderError(f"{path} can't be read: {error.strerror}") from None


async def _until(
    shell: ssh.Connection, command: str, wanted: str, why: str, node: Node, journal: ssh.Connection | None = None
) -> None:
    end = time.monotonic() + READY
    while True:
        done = await shell.run(command, seconds=60.0)
        if done.exit_code == 0 and done.stdout.strip() == wanted:
            return
        if time.monotonic() > end:
            break
        await asyncio.sleep(AGAIN)
    tail = (await (journal or shell).run(f"journalctl -u {node.unit} -n 8 --no-pager -o cat 2>&1")).stdout
    said = " ".join((done.stderr or done.stdout).split())[-300:]
    told = tail.replace(node.token, "…") if node.token else tail
    raise ProviderError(
        f"{why} after {READY:.0f} s: {said}. The end of `journalctl -u {node.unit}` there:\n{told.strip()}"
    )


def fetched(source: str, sha256: str) -> Path:
    """The file, with the digest that it must have: a path, or what is behind a URL, which is kept for the next time."""
    if not source.startswith(("https://", "http://")):
        path = Path(source)
        return _checked(path, sha256, source)
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "homeport" / "downloads"
    kept = folder / sha256
    if kept.is_file() and _digest(kept) == sha256:
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{sha256}.{os.getpid()}.{time.monotonic_ns()}"
    try:
        with urllib.request.urlopen(source, timeout=FETCH) as answer, part.open("wb") as out:  # noqa: S310  # nosec B310 - http(s)
            while piece := answer.read(PIECE):
                out.write(piece)
        _checked(part, sha256, source).replace(kept)
    except (urllib.error.URLError, OSError) as error:
        raise ProviderError(f"{source} can't be fetched: {getattr(error, 'reason', error)}") from None
    finally:
        part.unlink(missing_ok=True)
    return kept


def _checked(path: Path, sha256: str, source: str) -> Path:
    try:
        found = _digest(path)
    except OSError as error:
        raise ProviderError(f"{source} can't be read: {error.strerror}") from None
    if found != sha256:
        raise ProviderError(f"{source} has the SHA-256 {found}, and cluster.yaml says {sha256}; it isn't used")
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _listed(title: str, entries: list[str]) -> str:
    return "\n".join([f"{title}:", *(f"  - {entry}" for entry in entries)])


def literal(address: str) -> str:
    """An address or a name as it is written in a URL."""
    try:
        return f"[{address}]" if ipaddress.ip_address(address).version == 6 else address
    except ValueError:
        return address


def node_of(told: Mapping[str, object], token: str) -> Node:
    """A node as an input tells it."""
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
    return Node(**given, token=token)  # type: ignore[arg-type]
