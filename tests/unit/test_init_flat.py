"""Init out of a flattened image, started as /sbin/init with nothing but a hostname, against the operator's own server.

In namespaces of its own, without a container runtime. What Proxmox VE and LXC do about it is theirs.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

import pytest
from test_flatten import file, folder, image, layer

from homeport.drivers.oci import flatten
from homeport.engine.agentkeys import Keys
from homeport.engine.agents import Agents
from homeport.plan.agent import AgentId, Interface, Payload, Peer, State
from homeport.plan.agent.hostclaim import Bootstrap
from localplane import initprogram
from localplane.build import BuildError

AGENT = AgentId("homelab", "web", 210)
OPERATOR, FIRST, SECOND = "10.77.0.1/24", "10.77.0.20/24", "10.77.0.21/24"
ROOT = Path("/proc/self/setgroups").read_text() == "allow\n"
"""Whether processes can be started as a user's: not where one user is all there are."""
STARTED = """
set -e
while ! ip link show eth0 >/dev/null 2>&1; do read -r _ < "$1"; done
mount --bind "$2" "$2"
cd "$2"
mount -t proc proc proc
touch dev/null && mount --bind /dev/null dev/null
exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . /sbin/init
"""


def test_it_comes_up_with_a_hostname_alone(tmp_path: Path) -> None:
    mine = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    if subprocess.run([*mine, "unshare", "-mpf", "ip", "link"], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces here")
    try:
        program = initprogram.ensure()
    except BuildError as error:
        pytest.skip(f"no init: {error}")
    done = subprocess.run(
        [*mine, sys.executable, __file__, str(program), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all of it was seen" in done.stdout


class Home:
    """The operator's server, and the container."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.folder, self.program = folder, program
        self.keys, self.changed = Keys.new(), asyncio.Event()
        self.agents = Agents(lambda _: self.changed.set(), time.monotonic)
        self.peer = Peer("uid", Agents.new_claim())
        self.network = Bootstrap("eth0", IPv4Interface(FIRST), IPv4Address("10.77.0.1"))

    async def root(self) -> Path:
        """The image's root filesystem, as it is unpacked on a host."""
        users = file("etc/passwd", b"app:x:0:0::/:/bin/sh\n")
        found, fetch = image(layer(folder("srv"), file("srv/one", b"1"), users, file("sbin/init", b"the image's own")))
        operator = self.agents.whereabouts()
        assert isinstance(operator, dict)
        packed = self.folder / "packed"
        packed.mkdir()
        path, _ = await flatten.with_init(found, self.program.read_bytes(), "here", operator).write(packed, fetch)
        root = self.folder / "root"
        root.mkdir()
        call = ["tar", "xpf", str(path), "--numeric-owner", "--skip-old-files", "-C", str(root)]
        assert await (await asyncio.create_subprocess_exec(*call)).wait() == 0
        return root

    async def start(self, root: Path, hostname: str) -> asyncio.subprocess.Process:
        """Start it as LXC would: with an interface that is down and bare, and its hostname."""
        fifo = self.folder / "go"
        fifo.unlink(missing_ok=True)
        os.mkfifo(fifo)
        setting = f"import socket, os; socket.sethostname({hostname!r}); os.execvp('sh', ['sh', '-c', {STARTED!r}, 'sh', {str(fifo)!r}, {str(root)!r}])"  # noqa: E501
        with (self.folder / "console").open("ab") as console:
            process = await asyncio.create_subprocess_exec(
                "unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--kill-child",
                sys.executable, "-c", setting,
                stdout=console, stderr=console,
            )  # fmt: skip
        with await asyncio.to_thread(fifo.open, "wb") as gate:  # it is in its namespaces now
            (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            _ip("link", "add", "eth0", "netns", child, "type", "veth", "peer", "name", "outside")
            _ip("addr", "add", OPERATOR, "dev", "outside")
            _ip("link", "set", "outside", "up")
            gate.write(b"\n")
        return process

    async def until(self, condition: Any) -> None:
        """Be the reconciliation that pins the credential, until something holds."""
        try:
            async with asyncio.timeout(20):
                while not condition(self.agents.session(AGENT)):
                    await self.changed.wait()
                    self.changed.clear()
        except TimeoutError:
            sys.exit(f"it didn't come to that: {self.agents.session(AGENT)}\n{(self.folder / 'console').read_text()}")

    async def deliver(self, *addresses: str) -> None:
        """Tell it its network, and wait until that is in force."""
        payload = Payload(
            command=("/.homeport/init", "--version"), hostname="web", restart_policy="Never", run="1",
            nameservers=("10.77.0.1",),
            interfaces=(Interface(name="eth0", addresses=addresses, gateways=("10.77.0.1",)),),
        )  # fmt: skip
        digest = self.keys.digest(payload.model_dump_json(by_alias=True))
        await self.until(lambda session: session.connected)
        await self.agents.deliver(AGENT, payload)
        self.changed.set()
        await self.until(lambda session: _ran(session.state, digest))
        state = self.agents.session(AGENT).state
        assert state is not None
        assert state.last is not None
        if ROOT:
            assert state.last.exit_code == 0, state.last


async def inside(program: Path, where: Path) -> None:
    """The whole story."""
    home = Home(where, program)
    await home.agents.start(home.keys, "0.0.0.0:0")
    home.agents.url = f"https://{OPERATOR.partition('/')[0]}:{home.agents.port}"
    home.agents.expect(AGENT, home.peer)
    root = await home.root()
    claim = home.agents.hostname(AGENT, home.peer, home.network)
    assert isinstance(claim, str)
    first = await home.start(root, claim)
    await home.until(lambda session: session.connected)
    home.peer = Peer(home.peer.uid, home.peer.claim, home.agents.session(AGENT).fingerprint)
    home.agents.expect(AGENT, home.peer)
    await home.deliver(FIRST, SECOND)
    assert (root / "etc/resolv.conf").read_text() == "nameserver 10.77.0.1\n"
    name = await home.agents.exec(AGENT, ["/.homeport/init", "--version"])
    assert not ROOT or (name.ok and name.stdout.startswith(b"homeport-init "))
    (child,) = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    names = subprocess.run(["nsenter", "-t", child, "-u", "hostname"], capture_output=True, text=True, check=True)
    assert names.stdout == "web\n", "the claim is nobody's name any more"
    found = subprocess.run(
        ["nsenter", "-t", child, "-n", "ip", "-br", "addr"], capture_output=True, text=True, check=True
    )
    assert FIRST in found.stdout and SECOND in found.stdout
    first.kill()
    await first.wait()
    await home.until(lambda session: not session.connected)
    # Its next start: another hostname, which is no claim, and what it kept.
    second = await home.start(root, "web")
    await home.until(lambda session: session.connected)
    assert home.agents.session(AGENT).fingerprint == home.peer.pinned
    second.kill()
    await second.wait()
    await home.agents.stop()
    sys.stdout.write("all of it was seen\n")


def _ran(state: State | None, digest: str) -> bool:
    return state is not None and state.digest == digest and state.phase == "Exited"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


if __name__ == "__main__":
    asyncio.run(inside(Path(sys.argv[1]), Path(sys.argv[2])))
