"""SSH, for real: Debian's sshd in a root of its own, whose /run is a tmpfs. systemd can't run here: a script that
notes what it is asked stands in for systemctl."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from homeport.api.labels import OwnerKey
from homeport.drivers import ssh as driver
from homeport.engine.lxc.shells import Shells, State, Target
from homeport.plan import agent as wire
from homeport.plan import ssh
from localplane import debian

LAYER = debian.Layer(("openssh-server", "bash", "coreutils", "findutils", "grep", "sed", "dash"))
SYSTEMCTL = """#!/bin/sh
echo "$*" >>/var/log/systemctl
case "$*" in
  "restart homeport-software.timer") touch /run/timer; exit 0;;
  "stop homeport-software.timer") rm -f /run/timer; exit 0;;
  is-active*homeport-software.timer) [ -e /run/timer ] && echo active; exit;;
esac
case $1 in
  show) cat /var/lib/shown;;
  is-active) grep -q ActiveState=active /var/lib/shown;;
  restart | start) printf 'ActiveState=active\\nSubState=running\\n' >/var/lib/shown;;
esac
"""
CONFIG = """Port {port}
ListenAddress 127.0.0.1
HostKey /etc/ssh/host
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PidFile none
StrictModes no
"""
KEY = OwnerKey("LXCContainer", "homelab", "web")


class Server:
    """An sshd whose root is a folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.port = root, 0
        self.process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """What maintainer scripts would have made, and no more."""
        with tarfile.open(debian.ensure(LAYER).tar) as archive:
            archive.extractall(self.root, filter="fully_trusted")
        for name in ("proc", "dev", "run", "root/.ssh", "tmp", "var/log", "var/lib", "var/empty", "etc/ssh"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        root, sshd = "root:*:0:0:root:/root:/bin/bash\n", "sshd:*:100:65534::/run/sshd:/usr/sbin/nologin\n"
        (self.root / "etc/passwd").write_text(root + sshd)
        (self.root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
        (self.root / "etc/hosts").write_text("127.0.0.1 localhost\n")
        (self.root / "usr/bin/systemctl").write_text(SYSTEMCTL)
        (self.root / "usr/bin/systemctl").chmod(0o755)
        (self.root / "var/lib/shown").write_text("ActiveState=inactive\nSubState=dead\n")
        self.new_host_key()

    def new_host_key(self) -> None:
        path = self.root / "etc/ssh/host"
        path.write_text(driver.new_key())
        path.chmod(0o600)

    def allow(self, *lines: str) -> None:
        (self.root / "root/.ssh/authorized_keys").write_text("".join(f"{line}\n" for line in lines))

    def start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (self.root / "etc/ssh/sshd_config").write_text(CONFIG.format(port=self.port))
        inside = 'mount -t tmpfs tmpfs "$0/run"; mount --rbind /dev "$0/dev"; mount -t proc proc "$0/proc"; ' \
            'mkdir -m 755 "$0/run/sshd"; exec chroot "$0" /usr/sbin/sshd -D -e'  # fmt: skip
        command = ["unshare", "-m", "-p", "-f", "--kill-child", "sh", "-ec", inside, str(self.root)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if b"Server listening" in line:
                return
        raise AssertionError("sshd ended")

    def stop(self) -> None:
        """And all that it has started."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            assert self.process.stderr is not None
            self.process.stderr.close()
        self.process = None

    def asked(self) -> list[str]:
        """What systemctl was asked to do since the last time."""
        path = self.root / "var/log/systemctl"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line for line in lines if not line.startswith(("show", "is-active"))]

    def inside(self, path: str) -> Path:
        """A file as the server sees it, what is in its tmpfs too."""
        assert self.process is not None
        [first] = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return Path(f"/proc/{first}/root{path}")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    if sys.platform != "linux" or os.geteuid() != 0 or debian.missing() or not shutil.which("unshare"):
        pytest.skip("needs root on a Debian system")
    found = Server(tmp_path / "root")
    found.prepare()
    found.start()
    yield found
    found.stop()


PRIVATE = driver.new_key()


def shells(server: Server) -> tuple[Shells, asyncio.Event]:
    """Shells that look whenever they are asked, and what they wake."""
    woken, moment = asyncio.Event(), iter(range(0, 10**9, 1000))

    async def connect(address: str, private: str, known: str) -> driver.Connection:
        return await driver.connect(address, private, known, port=server.port)

    out = Shells(lambda key: woken.set(), lambda: float(next(moment)), connect)
    out._private = PRIVATE
    return out, woken


async def looked(from_: Shells, target: Target) -> State:
    """One look, to its end."""
    state = from_.look(KEY, target)
    task = from_._known[KEY].task
    assert task is not None
    await task
    return state


def payload(**more: object) -> wire.Payload:
    base = wire.Payload(
        env=wire.variables([("PASSWORD", 'hush-hush "it" $x')]),
        files=(
            wire.File.of("/etc/app/app.conf", b"listen=1\n", mode=0o640),
            wire.File.of("/etc/app/key", b"hush-hush\x00", secret=True),
        ),
        hosts=(wire.HostEntry(address="10.0.0.9", names=("db",)),),
        command=("/usr/bin/app",),
        user=wire.User(uid=1000, gid=1001),
    )
    return base.model_copy(update=more)


def target(given: wire.Payload, host_key: str, readiness: wire.Probe | None = None, **probes: wire.Probe) -> Target:
    given_probes = wire.ProbeSet(readiness=readiness, **probes)
    return Target(2000, "127.0.0.1", host_key, ssh.parcel(given, b"k" * 32), given_probes)


async def _pinned(from_: Shells) -> str:
    state = await looked(from_, target(payload(), ""))
    assert state.problem == "" and state.found is None, "nothing is brought before the host key is known"
    return state.fingerprint


def test_software_is_brought_once_and_its_changes_after_it(server: Server) -> None:
    async def run() -> None:
        server.allow(driver.public_key(PRIVATE))
        place, woken = shells(server)
        pinned = await _pinned(place)
        assert pinned == asyncssh.read_private_key(server.root / "etc/ssh/host").get_fingerprint()
        assert server.asked() == [] and not server.inside("/run/homeport").exists() and woken.is_set()
        state = await looked(place, target(payload(), pinned))
        assert state.problem == "" and state.found is not None and state.found.active == "active", state.problem
        assert server.asked() == ["daemon-reload", f"restart {ssh.UNIT}"]
        conf, secret = server.inside("/etc/app/app.conf"), server.inside("/run/homeport/secrets")
        assert conf.read_bytes() == b"listen=1\n" and conf.stat().st_mode & 0o7777 == 0o640
        assert (server.root / "etc/app").stat().st_mode & 0o777 == 0o755
        [one] = secret.iterdir()
        status = one.stat()
        assert one.read_bytes() == b"hush-hush\x00"
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (1000, 1001, 0o400)
        assert str((server.root / "etc/app/key").readlink()) == f"/run/homeport/secrets/{one.name}"
        env = server.inside("/run/homeport/env")
        assert env.stat().st_mode & 0o777 == 0o600 and env.read_text() == 'PASSWORD="hush-hush \\"it\\" \\$x"\n'
        assert server.inside(f"/run/systemd/system/{ssh.UNIT}").read_text() == ssh.unit(payload())
        assert (server.root / "etc/hosts").read_text() == "127.0.0.1 localhost\n10.0.0.9 db # homeport\n"
        on_disk = subprocess.run(["grep", "-rl", "hush-hush", str(server.root)], check=False, capture_output=True)
        assert on_disk.stdout == b"", "what is secret is on no disk"
        # Once more: nothing is done.
        await looked(place, target(payload(), pinned))
        assert server.asked() == []
        # Other hosts: nothing is restarted. Other files: it is, and what isn't there any more is taken away.
        await looked(place, target(payload(hosts=()), pinned))
        assert server.asked() == ["daemon-reload"]
        assert (server.root / "etc/hosts").read_text() == "127.0.0.1 localhost\n"
        await looked(place, target(payload(hosts=(), files=()), pinned))
        assert server.asked() == ["daemon-reload", f"restart {ssh.UNIT}"]
        assert not list((server.root / "etc/app").iterdir()) and not list(secret.iterdir())
        place.close()

    asyncio.run(run())


def test_after_a_restart_of_the_container_all_of_it_is_brought_again(server: Server) -> None:
    async def run() -> None:
        server.allow(driver.public_key(PRIVATE))
        place, _ = shells(server)
        pinned = await _pinned(place)
        await looked(place, target(payload(), pinned))
        server.asked()
        server.stop()
        away = await looked(place, target(payload(), pinned))
        assert not away.connected and away.problem
        (server.root / "var/lib/shown").write_text("ActiveState=inactive\nSubState=dead\n")
        server.start()
        state = await looked(place, target(payload(), pinned))
        if not state.connected:  # the look before has only found that the connection is gone
            state = await looked(place, target(payload(), pinned))
        assert state.connected and server.asked() == ["daemon-reload", f"restart {ssh.UNIT}"]
        place.close()

    asyncio.run(run())


def test_a_job_is_started_once_for_each_run(server: Server) -> None:
    async def run() -> None:
        server.allow(driver.public_key(PRIVATE))
        place, _ = shells(server)
        pinned = await _pinned(place)
        job = payload(restart_policy="Never", run="one")
        state = await looked(place, target(job, pinned))
        assert f"start {ssh.UNIT}" in server.asked()
        parcel = target(job, pinned).parcel
        assert state.found is not None and state.found.ended(parcel) is None
        shown = "ActiveState=failed\nSubState=failed\nExecMainCode=1\nExecMainStatus=7\n"
        (server.root / "var/lib/shown").write_text(shown)
        state = await looked(place, target(job, pinned))
        assert state.found is not None and state.found.ended(parcel) == 7 and server.asked() == []
        # Brought anew with other variables: the run has been.
        await looked(place, target(payload(restart_policy="Never", run="one", env=()), pinned))
        assert server.asked() == ["daemon-reload"]
        await looked(place, target(payload(restart_policy="Never", run="two"), pinned))
        assert f"start {ssh.UNIT}" in server.asked()
        place.close()

    asyncio.run(run())


def test_another_host_key_is_refused_and_told_nothing(server: Server) -> None:
    async def run() -> None:
        server.allow(driver.public_key(PRIVATE))
        place, _ = shells(server)
        pinned = await _pinned(place)
        place.close()
        server.stop()
        server.new_host_key()
        server.start()
        state = await looked(place, target(payload(), pinned))
        assert state.refused and not state.connected and pinned in state.problem, state.problem
        assert server.asked() == [] and not server.inside("/run/homeport").exists()

    asyncio.run(run())


def test_a_key_that_is_not_taken_is_told_with_the_line_that_is_missing(server: Server) -> None:
    async def run() -> None:
        server.allow(driver.public_key(driver.new_key()))
        place, _ = shells(server)
        state = await looked(place, target(payload(), ""))
        assert state.refused and state.problem.endswith(driver.public_key(PRIVATE)), state.problem
        assert "PRIVATE" not in state.problem

    asyncio.run(run())


def test_a_probe_is_a_command(server: Server) -> None:
    async def run() -> None:
        server.allow(driver.public_key(PRIVATE))
        place, _ = shells(server)
        pinned = await _pinned(place)
        probe = wire.Probe(exec=("test", "-e", "/tmp/is it well"), failure_threshold=2)
        state = await looked(place, target(payload(), pinned, probe))
        assert (state.problem, state.unready, state.failures) == ("", "its readiness probe ends with 1", 1)
        (server.root / "tmp/is it well").touch()
        state = await looked(place, target(payload(), pinned, probe))
        assert (state.unready, state.failures) == ("", 0)
        slow = wire.Probe(exec=("sleep", "60"), timeout_seconds=1)
        state = await looked(place, target(payload(), pinned, slow))
        assert state.unready == "its readiness probe ends with 124"
        place.close()

    asyncio.run(run())


def test_a_container_without_systemd_or_without_a_tmpfs_gets_nothing(server: Server) -> None:
    async def run() -> None:
        server.allow(driver.public_key(PRIVATE))
        place, _ = shells(server)
        pinned = await _pinned(place)
        (server.root / "usr/bin/systemctl").rename(server.root / "usr/bin/gone")
        state = await looked(place, target(payload(), pinned))
        assert state.connected and state.problem == ssh.PROBLEMS[ssh.NO_SYSTEMD]
        (server.root / "usr/bin/gone").rename(server.root / "usr/bin/systemctl")
        stat = server.root / "usr/bin/stat"
        stat.unlink()
        stat.write_text("#!/bin/sh\necho ext2/ext3\n")
        stat.chmod(0o755)
        state = await looked(place, target(payload(), pinned))
        assert state.problem == ssh.PROBLEMS[ssh.NO_TMPFS] and not server.inside("/run/homeport").exists()
        place.close()

    asyncio.run(run())


def test_liveness_restarts_and_the_others_wait_for_startup(server: Server) -> None:
    async def run() -> None:
        server.allow(driver.public_key(PRIVATE))
        place, _ = shells(server)
        pinned = await _pinned(place)
        (server.root / "tmp/alive").touch()
        probes = {
            "startup": wire.Probe(exec=("test", "-e", "/tmp/started"), failure_threshold=5),
            "liveness": wire.Probe(exec=("test", "-e", "/tmp/alive"), failure_threshold=2),
        }
        with socket.create_server(("127.0.0.1", 0)) as listening:
            number = listening.getsockname()[1]
            wanted = target(payload(), pinned, wire.Probe(tcp=number), **probes)
            state = await looked(place, wanted)
            assert state.unready == "its startup probe ends with 1"
            (server.root / "tmp/started").touch()
            state = await looked(place, wanted)
            assert state.unready == "" and f"restart --no-block {ssh.UNIT}" not in server.asked()
        (server.root / "tmp/alive").unlink()
        state = await looked(place, wanted)
        assert state.unready.startswith(f"its readiness probe fails: port 127.0.0.1:{number}: "), state.unready
        state = await looked(place, wanted)
        assert state.unready == "its liveness probe ends with 1; it was restarted"
        assert server.asked().count(f"restart --no-block {ssh.UNIT}") == 1
        place.close()

    asyncio.run(run())


def test_a_schedule_is_a_timer(server: Server) -> None:
    async def run() -> None:
        server.allow(driver.public_key(PRIVATE))
        place, _ = shells(server)
        pinned = await _pinned(place)
        nightly = payload(schedule="0 3 * * *", time_zone="Europe/Rome")
        state = await looked(place, target(nightly, pinned))
        assert state.problem == "" and state.found is not None and state.found.timer == "active", state
        units = server.inside("/run/systemd/system")
        assert "OnCalendar=*-*-* 03:00:00 Europe/Rome\n" in (units / ssh.TIMER).read_text()
        asked = server.asked()
        assert f"restart {ssh.TIMER}" in asked and f"restart {ssh.UNIT}" not in asked
        shown = "ActiveState=failed\nSubState=failed\nExecMainCode=1\nExecMainStatus=7\n"
        (server.root / "var/lib/shown").write_text(shown)
        state = await looked(place, target(nightly, pinned))
        assert state.found is not None and state.found.exit_code == 7 and server.asked() == []
        # What runs all the time has no timer.
        await looked(place, target(payload(), pinned))
        assert server.asked() == [f"stop {ssh.TIMER}", "daemon-reload", f"restart {ssh.UNIT}"]
        assert not (units / ssh.TIMER).exists()
        place.close()

    asyncio.run(run())


def test_mounts_are_given_to_a_group_once(server: Server) -> None:
    async def run() -> None:
        server.allow(driver.public_key(PRIVATE))
        place, _ = shells(server)
        pinned = await _pinned(place)
        folder = server.root / "srv/da ta"
        (folder / "deep").mkdir(parents=True)
        (folder / "deep/file").write_text("x")
        (folder / "deep/link").symlink_to("/etc/passwd")
        before = (server.root / "etc/passwd").stat()
        given = payload(volumes=("/srv/da ta",), user=wire.User(uid=1000, gid=1001, fs_group=2002))
        state = await looked(place, target(given, pinned))
        assert state.problem == "", state.problem
        for name, mode in (("", 0o2770), ("deep", 0o2770), ("deep/file", 0o660)):
            found = (folder / name).stat()
            assert (found.st_gid, found.st_mode & mode) == (2002, mode), name
        assert (server.root / "etc/passwd").stat() == before, "a link isn't followed"
        assert "SupplementaryGroups=2002\n" in server.inside(f"/run/systemd/system/{ssh.UNIT}").read_text()
        # What a person has given to others since is left alone: the top has the group.
        os.chown(folder / "deep/file", 0, 0)
        await looked(place, target(payload(**{**dict(given), "env": ()}), pinned))
        assert (folder / "deep/file").stat().st_gid == 0
        place.close()

    asyncio.run(run())
