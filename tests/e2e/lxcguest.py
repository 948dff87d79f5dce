"""Unprivileged containers under the real LXC, as Proxmox VE starts them, with a root filesystem of Debian packages.

LXC's own programs are Debian packages too, unpacked into the cache and never installed: each container is started in a
mount namespace that has them as its root. A container's disk is an overlay over a shared tree; it outlives restarts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import software

from localplane import debian
from localplane.debian import Layer
from localplane.locks import file_lock
from localplane.tools import cache_directory

SHIFT = 100000  # as Proxmox VE maps root of an unprivileged container
TOOLS = Layer(("lxc", "lxc-templates", "iproute2", "coreutils", "dash", "mount", "util-linux", "libc-bin"))
GUEST = (
    software.BASE,
    software.PYTHON,
    Layer(("redis-server", "redis-tools", "procps", "util-linux"), on=software.BASE),
)
USERS = {"root": 0, "redis": 999, "app": 1000}
PROGRAMS = ("unshare", "ip", "mount", "sh", "pivot_root", "chroot", "umount")
START = """
set -e
mount --make-rprivate /
cd {directory}
mount -t overlay overlay -o lowerdir={tools},upperdir=tools-up,workdir=tools-work root
for name in proc sys dev; do mkdir -p {directory}/root/$name; mount --rbind /$name {directory}/root/$name; done
mkdir -p {directory}/root{directory}
mount --bind {directory} {directory}/root{directory}
mount -t overlay overlay -o lowerdir={base},upperdir=up,workdir=work {directory}/root{directory}/rootfs
cd {directory}/root
pivot_root . .
umount -l .
exec chroot . /usr/bin/lxc-start -F -n {name} -P {directory}/lxc -f {directory}/config -L {directory}/console \\
  -o {directory}/lxc.log -l INFO </dev/null
"""


def obstacles() -> list[str]:
    """What this machine lacks; empty when it can have such containers."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return ["it needs root on Linux"]
    found = [f"it needs the program {name}" for name in (*PROGRAMS, *debian.missing()) if not shutil.which(name)]
    if "overlay" not in Path("/proc/filesystems").read_text():
        found.append("it needs overlayfs")
    return found


def base() -> Path:
    """The files that all guests share, owned as an unprivileged container's."""
    key = "-".join(layer.key for layer in GUEST)[:60]
    folder = cache_directory() / "guests" / key
    with file_lock(cache_directory() / "locks" / f"guest-{key}.lock"):
        if not folder.exists():
            temporary = folder.with_name(f".{key}")
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            for layer in GUEST:
                with tarfile.open(debian.ensure(layer).tar) as archive:
                    archive.extractall(temporary, filter=_shifted)
            for name in ("proc", "sys", "dev", "run", "tmp", "root", "etc", "data"):
                (temporary / name).mkdir(exist_ok=True)
            passwd = "".join(f"{name}:x:{uid}:{uid}::/home/{name}:/bin/sh\n" for name, uid in USERS.items())
            group = "".join(f"{name}:x:{uid}:\n" for name, uid in USERS.items()) + "extra:x:2000:app\n"
            (temporary / "etc/passwd").write_text(passwd)
            (temporary / "etc/group").write_text(group)
            for path in (temporary, *(temporary / name for name in ("etc", "run", "tmp", "root", "data"))):
                os.chown(path, SHIFT, SHIFT)
            (temporary / "tmp").chmod(0o1777)
            temporary.rename(folder)
    return folder


def _shifted(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
    return member.replace(uid=member.uid + SHIFT, gid=member.gid + SHIFT, deep=False)


def unpacked(archive: Path, into: Path) -> Path:
    """The root filesystem of an OCI archive, as Proxmox VE unpacks one for an unprivileged container."""
    into.mkdir()
    os.chown(into, SHIFT, SHIFT)
    with tarfile.open(archive) as outer:

        def document(name: str) -> Any:
            found = outer.extractfile(name)
            assert found is not None
            return json.load(found)

        (entry,) = document("index.json")["manifests"]
        for layer in document("blobs/" + entry["digest"].replace(":", "/"))["layers"]:
            with tarfile.open(fileobj=outer.extractfile("blobs/" + layer["digest"].replace(":", "/"))) as inner:
                inner.extractall(into, filter=_shifted)
    return into


class Bridge:
    """A network that leads nowhere but to this machine."""

    def __init__(self, number: int) -> None:
        self.name, self.number = f"hpt{number}", number
        self.address = f"10.213.{number}.1"
        self._guests = 1

    def __enter__(self) -> Bridge:
        for command in (
            ("link", "add", self.name, "type", "bridge"),
            ("addr", "add", f"{self.address}/24", "dev", self.name),
            ("link", "set", self.name, "up"),
        ):
            _ip(*command)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            _ip("link", "del", self.name)

    def next_address(self) -> str:
        self._guests += 1
        return f"10.213.{self.number}.{self._guests}"


def _ip(*arguments: str) -> None:
    if os.spawnvp(os.P_WAIT, "ip", ["ip", *arguments]):
        raise OSError(f"ip {' '.join(arguments)} failed")


class Guest:
    """One container. ``image``: an image's configuration by the names of the OCI; None for a ``tree`` that has all."""

    def __init__(
        self, directory: Path, bridge: Bridge, init: Path, image: Mapping[str, Any] | None, tree: Path | None = None
    ) -> None:
        self.directory, self.bridge, self.tree = directory, bridge, tree
        self.address = bridge.next_address()
        self.name = self.address.replace(".", "-")
        self.process: asyncio.subprocess.Process | None = None
        for name in ("up", "work", "tools-up", "tools-work", "root", "rootfs", "lxc"):
            (directory / name).mkdir(parents=True)
        directory.chmod(0o755)
        os.chown(directory / "up", SHIFT, SHIFT)
        if image is None:
            return
        ours = directory / "up/.homeport"
        ours.mkdir()
        shutil.copy(init, ours / "init")
        (ours / "init").chmod(0o755)
        (ours / "image.json").write_text(json.dumps({"config": dict(image)}))
        for path in (ours, *ours.iterdir()):
            os.chown(path, SHIFT, SHIFT)

    async def start(self, environment: Mapping[str, str]) -> None:
        """Start it, as Proxmox VE does with an entrypoint and an env."""
        (self.directory / "config").write_text(self._config(environment))
        script = START.format(directory=self.directory, tools=_tools(), base=self.tree or base(), name=self.name)
        with (self.directory / "start.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                "unshare", "--mount", "sh", "-c", script, stdout=log, stderr=log, start_new_session=True
            )

    def _config(self, environment: Mapping[str, str]) -> str:
        lines = [
            "lxc.include = /usr/share/lxc/config/common.conf",
            "lxc.include = /usr/share/lxc/config/userns.conf",
            f"lxc.idmap = u 0 {SHIFT} 65536",
            f"lxc.idmap = g 0 {SHIFT} 65536",
            "lxc.uts.name = guest",
            f"lxc.rootfs.path = dir:{self.directory}/rootfs",
            "lxc.apparmor.profile = unconfined",
            "lxc.net.0.type = veth",
            "lxc.net.0.name = eth0",
            "lxc.net.0.flags = up",
            f"lxc.net.0.link = {self.bridge.name}",
            f"lxc.net.0.ipv4.address = {self.address}/24",
            "lxc.init.cmd = /.homeport/init",
            *(f"lxc.environment = {name}={value}" for name, value in environment.items()),
        ]
        return "".join(f"{line}\n" for line in lines)

    def init_pid(self) -> int:
        """Of PID 1 inside, as this machine counts."""
        assert self.process is not None
        for child in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text().strip() == "init":
                return int(child)
        raise LookupError("its init doesn't run")

    def path(self, inside: str) -> Path:
        """A file of the running container."""
        return Path(f"/proc/{self.init_pid()}/root{inside}")

    def console(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.directory / "console").read_text(errors="replace")
        return ""

    async def shutdown(self) -> int:
        """As `pct shutdown` does: SIGPWR to PID 1, and wait. LXC's exit code."""
        os.kill(self.init_pid(), signal.SIGPWR)
        return await self.ended()

    async def ended(self) -> int:
        """When it has ended by itself."""
        assert self.process is not None
        async with asyncio.timeout(60):
            return await self.process.wait()

    async def kill(self) -> None:
        """A power cut, as far as it is there at all."""
        if self.process is None or self.process.returncode is not None:
            return
        with contextlib.suppress(LookupError, OSError):
            os.kill(self.init_pid(), signal.SIGKILL)
        try:
            async with asyncio.timeout(15):
                await self.process.wait()
        except TimeoutError:
            os.killpg(self.process.pid, signal.SIGKILL)
            await self.process.wait()

    def told(self) -> str:
        """What there is to read when something went wrong."""
        parts = [self.console()]
        for name in ("start.log", "lxc.log"):
            with contextlib.suppress(FileNotFoundError):
                parts.append((self.directory / name).read_text(errors="replace")[-2000:])
        return "\n--\n".join(parts)


def _tools() -> Path:
    tree = debian.tree(TOOLS)
    for name in ("proc", "sys", "dev", "tmp", "run", "etc", "var/lib/lxc"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    return tree


def bridge() -> Bridge:
    """One with a number that nobody has."""
    free = (number for number in range(1, 255) if not Path(f"/sys/class/net/hpt{number}").exists())
    return Bridge(next(free))
