"""The init as PID 1 of real unprivileged containers under LXC, against the operator's own server."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import os
import subprocess
import tarfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import lxcguest
import pytest
import software
from lxcguest import Bridge, Guest

from homeport.drivers.oci import archive
from homeport.drivers.oci.reference import Reference
from homeport.drivers.oci.registry import Blob, Image
from homeport.engine import agentkeys
from homeport.engine.agentkeys import Keys
from homeport.engine.agents import Agents
from homeport.plan.agent import (
    AgentId,
    File,
    HostEntry,
    HttpCheck,
    Output,
    Payload,
    Peer,
    Probe,
    ProbeSet,
    Process,
    Result,
    State,
    User,
    variables,
)
from localplane import debian, initprogram
from localplane.images import write_archive

pytestmark = pytest.mark.e2e
SECRET = "correct horse battery staple"
PYTHON = ("python3", "-u", "-c")
# Writes down that it ran and what it got, and ends as it is told.
REPORT = """
import json, os, signal, sys, time
def stop(number, frame):
    print("got", number, flush=True); sys.exit(0)
for number in (signal.SIGTERM, signal.SIGINT): signal.signal(number, stop)
facts = {"uid": os.getuid(), "gid": os.getgid(), "groups": sorted(os.getgroups()), "cwd": os.getcwd(),
         "env": dict(os.environ), "argv": sys.argv[1:], "umask": os.umask(0o022)}
with open("/data/runs", "a") as runs: runs.write(json.dumps(facts) + "\\n")
while True: time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def init() -> Path:
    if lacking := lxcguest.obstacles():
        pytest.skip(f"LXC containers can't run here: {'; '.join(lacking)}")
    try:
        lxcguest.base()
        debian.tree(lxcguest.TOOLS)
    except debian.DebianError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the Debian packages can't be had: {error}")
    return initprogram.ensure()


@pytest.fixture(scope="module")
def bridge(init: Path) -> Iterator[Bridge]:
    with lxcguest.bridge() as made:
        yield made


class Home:
    """A container and its operator."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.id = AgentId("homelab", "web", 210)
        self.changed = asyncio.Event()
        self.keys = Keys.new()
        self.agents = self._operator()
        self.peer = Peer("uid", Agents.new_claim())
        self.payload: Payload | None = None

    def _operator(self) -> Agents:
        return Agents(lambda key: self.changed.set(), time.monotonic)

    async def serve(self, port: int = 0) -> None:
        await self.agents.start(self.keys, f"0.0.0.0:{port}")
        self.agents.url = f"https://{self.guest.bridge.address}:{self.agents.port}"
        self.agents.expect(self.id, self.peer)

    async def start(self, payload: Payload | None = None) -> State | None:
        environment = self.agents.environment(self.id, self.peer)
        assert isinstance(environment, dict)
        await self.guest.start(environment)
        return await self.deliver(payload) if payload is not None else None

    async def until(self, condition: Callable[[State | None], bool], seconds: float = 60.0) -> State:
        """Wait as a reconciliation does: look, keep the credential, deliver what is wanted, be woken."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    self.changed.clear()
                    session = self.agents.session(self.id)
                    if session.connected and not self.peer.pinned:
                        self.peer = Peer(self.peer.uid, self.peer.claim, session.fingerprint)
                        self.agents.expect(self.id, self.peer)
                    if self.payload is not None:
                        await self.agents.deliver(self.id, self.payload)
                    if condition(session.state if session.connected else None):
                        return session.state or State(phase="Waiting")
                    await self.changed.wait()
        except TimeoutError:
            session = self.agents.session(self.id)
            pytest.fail(f"it didn't come to that; {session}\n{self.guest.told()}")

    async def deliver(self, payload: Payload, condition: Callable[[State], bool] = lambda state: True) -> State:
        self.payload = payload
        digest = self.keys.digest(payload.model_dump_json(by_alias=True))
        return await self.until(lambda state: state is not None and state.digest == digest and condition(state))

    async def shell(self, text: str, **options: Any) -> str:
        result = await self.agents.exec(self.id, ["sh", "-c", text], **options)
        assert result.ok, f"{result.error} {result.stderr.decode()}"
        return result.stdout.decode()

    def runs(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.guest.path("/data/runs").read_text().splitlines()]

    async def ran(self, count: int) -> list[dict[str, Any]]:
        """What the process wrote down, once it ran so often."""
        await self.shell(f"until [ $(wc -l </data/runs) -ge {count} ]; do sleep 0.1; done", root=True)
        return self.runs()


@pytest.fixture
async def home(init: Path, bridge: Bridge, tmp_path: Path) -> AsyncIterator[Home]:
    image = {
        "Cmd": [*PYTHON, REPORT],
        "Env": ["FROM_IMAGE=yes", "OVERRIDDEN=image"],
        "User": "app",
        "WorkingDir": "/tmp",
        "StopSignal": "SIGINT",
    }
    made = Home(Guest(tmp_path / "guest", bridge, init, image))
    data = tmp_path / "guest/up/data"
    data.mkdir()
    data.chmod(0o777)
    os.chown(data, lxcguest.SHIFT, lxcguest.SHIFT)
    await made.serve()
    yield made
    await made.guest.kill()
    await made.agents.stop()


def running(state: State | None) -> bool:
    return state is not None and state.phase == "Running"


class TestPayload:
    async def test_what_an_image_says_and_what_the_payload_says(self, home: Home) -> None:
        payload = Payload(
            env=variables([("OVERRIDDEN", "payload"), ("PASSWORD", SECRET), ("LINES", "one\ntwo")]),
            files=(
                File.of("/etc/app/settings.toml", b"workers = 4\n"),
                File.of("/etc/app/key", SECRET.encode(), secret=True),
            ),
            hosts=(HostEntry(address="10.0.0.9", names=("db",)),),
            nameservers=("10.0.0.53",),
        )
        await home.start(payload)
        await home.until(running)
        (facts,) = await home.ran(1)
        assert (facts["uid"], facts["gid"], facts["groups"], facts["cwd"]) == (1000, 1000, [2000], "/tmp")
        environment = facts["env"]
        assert environment["FROM_IMAGE"] == "yes"
        assert (environment["OVERRIDDEN"], environment["LINES"]) == ("payload", "one\ntwo")
        assert (environment["PASSWORD"], environment["HOME"]) == (SECRET, "/home/app")
        assert not [name for name in environment if name.startswith("HOMEPORT")]
        assert await home.shell("cat /etc/app/settings.toml /etc/app/key") == f"workers = 4\n{SECRET}"
        assert await home.shell("stat -L -c '%U %a' /etc/app/settings.toml /etc/app/key") == "root 644\napp 400\n"
        assert await home.shell("stat -f -L -c %T /etc/app/key") == "tmpfs\n"
        assert "10.0.0.9 db" in await home.shell("cat /etc/hosts")
        assert await home.shell("cat /etc/resolv.conf") == "nameserver 10.0.0.53\n"

    async def test_no_secret_is_on_the_disk_or_in_what_others_may_read(self, home: Home) -> None:
        payload = Payload(
            env=variables([("PASSWORD", SECRET)]), files=(File.of("/etc/key", SECRET.encode(), secret=True),)
        )
        await home.start(payload)
        await home.until(running)
        await home.ran(1)
        disk = str(home.guest.directory / "up")
        found = subprocess.run(["grep", "-rlF", SECRET, disk], check=False, capture_output=True)
        # What the process wrote down itself is there: so the search finds what there is.
        assert found.stdout.decode().splitlines() == [f"{disk}/data/runs"]
        assert SECRET not in home.guest.console()
        own = Path(f"/proc/{home.guest.init_pid()}/environ").read_bytes()
        assert SECRET.encode() not in own
        assert b"HOMEPORT_CLAIM" in own  # which is spent
        kept = home.guest.path("/.homeport/state/kept.json")
        assert kept.stat().st_mode & 0o777 == 0o600
        refused = await home.agents.exec(home.id, ["cat", "/.homeport/state/kept.json"])
        assert refused.exit_code == 1

    async def test_hosts_change_while_it_runs_and_env_restarts_it(self, home: Home) -> None:
        await home.start(Payload(hosts=(HostEntry(address="10.0.0.9", names=("db",)),)))
        await home.until(running)
        await home.ran(1)
        before = home.guest.path("/etc/hosts").read_text()
        await home.deliver(Payload(hosts=(HostEntry(address="10.0.0.10", names=("db", "database")),)))
        assert home.guest.path("/etc/hosts").read_text() == before.replace("10.0.0.9 db", "10.0.0.10 db database")
        assert len(home.runs()) == 1
        await home.deliver(Payload(env=variables([("NEW", "1")])), running)
        runs = await home.ran(2)
        assert runs[1]["env"]["NEW"] == "1"
        assert "10.0.0.10" not in home.guest.path("/etc/hosts").read_text()
        assert home.agents.session(home.id).state.restarts == 0  # type: ignore[union-attr]

    async def test_files_that_are_gone_are_removed(self, home: Home) -> None:
        await home.start(Payload(files=(File.of("/etc/one", b"1"), File.of("/etc/two", b"2", secret=True))))
        await home.deliver(Payload(files=(File.of("/etc/one", b"3"),)), running)
        assert await home.shell("cat /etc/one; ls /etc/two 2>&1 || true") == (
            "3ls: cannot access '/etc/two': No such file or directory\n"
        )
        assert await home.shell("ls /.homeport/secrets", root=True) == ""

    async def test_user_group_folder_command_and_volume_by_numbers(self, home: Home) -> None:
        payload = Payload(
            user=User(uid=4321, gid=4322, fs_group=4323),
            volumes=("/data",),
            working_dir="/data",
            command=(*PYTHON, REPORT),
            args=("--flag", "value"),
        )
        await home.start(payload)
        await home.until(running)
        (facts,) = await home.ran(1)
        assert (facts["uid"], facts["gid"], facts["groups"]) == (4321, 4322, [4323])
        assert (facts["cwd"], facts["argv"]) == ("/data", ["--flag", "value"])
        assert await home.shell("stat -c '%g %A' /data") == "4323 drwxrwsrwx\n"

    async def test_what_cant_be_done_is_said_and_the_last_one_stays(self, home: Home) -> None:
        await home.start(Payload())
        await home.until(running)
        home.payload = Payload(schedule="never", command=("true",))
        state = await home.until(lambda state: state is not None and bool(state.error))
        assert state.error.startswith("schedule: ")
        assert state.phase == "Running"
        await home.deliver(Payload(), lambda state: running(state) and not state.error)


class TestCommands:
    async def test_exit_codes_outputs_and_times(self, home: Home) -> None:
        await home.start(Payload())
        await home.until(running)
        agents, one = home.agents, home.id
        result = await agents.exec(one, ["sh", "-c", "echo out; echo err >&2; cat; id -u; exit 7"], stdin=b"in\n")
        assert (result.exit_code, result.stdout, result.stderr) == (7, b"out\nin\n1000\n", b"err\n")
        killed = await agents.exec(one, ["sh", "-c", "kill -9 $$"])
        assert killed.exit_code == 137
        missing = await agents.exec(one, ["no-such-program"])
        assert (missing.exit_code, "no such program" in missing.error) == (127, True)
        late = await agents.exec(one, ["sh", "-c", "echo begun; sleep 60 & sleep 60"], 1.0)
        assert (late.timed_out, late.stdout, late.exit_code) == (True, b"begun\n", 137)
        assert await home.shell("pgrep -x sleep || echo none", root=True) == "none\n"
        daemon = await agents.exec(one, ["sh", "-c", "setsid sleep 60 & echo begun"])
        assert (daemon.exit_code, daemon.stdout) == (0, b"begun\n")

    async def test_large_outputs(self, home: Home) -> None:
        await home.start(Payload())
        await home.until(running)
        program = [*PYTHON, "import sys; sys.stdout.write('x' * 5_000_000 + 'end')"]
        bounded = await home.agents.exec(home.id, program)
        assert bounded.stdout.endswith(b"xend")
        assert len(bounded.stdout) + bounded.dropped == 5_000_003
        assert len(bounded.stdout) == 256 * 1024
        size = 0
        async for piece in home.agents.stream(home.id, program, 30.0):
            if isinstance(piece, Output):
                size += len(base64.b64decode(piece.data))
            else:
                assert isinstance(piece, Result)
                assert piece.exit_code == 0
        assert size == 5_000_003

    async def test_the_log(self, home: Home) -> None:
        await home.start(Payload(command=("sh", "-c", "echo first; echo second >&2; exec sleep 1000")))
        await home.until(running)
        await home.shell("true")
        async with asyncio.timeout(20):
            while "second" not in (lines := await home.agents.log(home.id)):
                pass
        assert "first" in lines
        assert await home.agents.log(home.id, 1) == lines[-1:]
        assert "second" in home.guest.console()


class TestProcess:
    async def test_it_is_started_again(self, home: Home) -> None:
        await home.start(Payload(command=("sh", "-c", "echo x >>/data/tries; exit 3")))
        state = await home.until(lambda state: state is not None and state.restarts >= 2)
        assert state.last is not None
        assert (state.last.exit_code, state.last.reason) == (3, "Error")
        assert len(home.guest.path("/data/tries").read_text()) >= 4

    async def test_one_that_cant_be_started(self, home: Home) -> None:
        await home.start(Payload(command=("/no/such/program",)))
        state = await home.until(lambda state: state is not None and state.last is not None)
        assert state.last is not None
        assert (state.last.exit_code, state.last.reason) == (127, "CannotStart")
        assert "/no/such/program" in state.last.message
        assert state.phase == "Backoff"

    async def test_it_is_stopped_with_the_images_signal(self, home: Home) -> None:
        await home.start(Payload())
        await home.until(running)
        await home.ran(1)
        assert await home.guest.shutdown() == 0
        assert "got 2\n" in home.guest.console()

    async def test_one_that_doesnt_listen_is_killed(self, home: Home) -> None:
        deaf = "trap '' INT TERM; echo x >>/data/tries; while true; do sleep 1; done"
        await home.start(Payload(command=("sh", "-c", deaf), termination_grace_period_seconds=1))
        await home.until(running)
        await home.shell("until [ -e /data/tries ]; do sleep 0.1; done")
        assert await home.guest.shutdown() == 0
        assert "didn't end within 1s: killing it" in home.guest.console()

    async def test_orphans_are_reaped_and_what_is_left_behind_is_killed(self, home: Home) -> None:
        leaves = "setsid sh -c 'sleep 777 & sleep 0.1' & sleep 1; echo x >>/data/tries"
        await home.start(Payload(command=("sh", "-c", leaves)))
        await home.until(lambda state: state is not None and state.restarts >= 1)
        assert await home.shell("ps -eo stat,args | grep -E '^Z|sleep 777' | grep -v grep || echo none") == "none\n"


class TestOperatorAway:
    async def test_it_runs_on_and_comes_back(self, home: Home) -> None:
        await home.start(Payload())
        await home.until(running)
        await home.ran(1)
        port = home.agents.port
        await home.agents.stop()
        home.agents = home._operator()  # a new process: it knows the status, and no session
        await home.serve(port)
        state = await home.until(running)
        assert (state.restarts, len(home.runs())) == (0, 1)

    async def test_a_process_that_ends_meanwhile_is_started_again(self, home: Home) -> None:
        await home.start(Payload())
        await home.until(running)
        await home.ran(1)
        port = home.agents.port
        await home.agents.stop()
        os.kill(_child(home.guest.init_pid()), 9)
        home.agents = home._operator()
        await home.serve(port)
        state = await home.until(lambda state: running(state) and state.restarts == 1)  # type: ignore[union-attr]
        assert state.last is not None
        assert state.last.exit_code == 137

    async def test_after_a_restart_the_container_waits_for_it(self, home: Home) -> None:
        secret = File.of("/etc/key", SECRET.encode(), secret=True)
        await home.start(Payload(files=(secret,)))
        await home.until(running)
        await home.ran(1)
        environment = home.agents.environment(home.id, home.peer)
        assert isinstance(environment, dict)
        assert await home.guest.shutdown() == 0
        await home.until(lambda state: state is None)
        port = home.agents.port
        await home.agents.stop()
        await home.guest.start(environment)
        async with asyncio.timeout(30):
            while "nothing is started before the operator has said what" not in home.guest.console():
                await asyncio.sleep(0.1)
        assert len(home.runs()) == 1
        home.agents = home._operator()
        await home.serve(port)
        await home.until(running)
        assert len(await home.ran(2)) == 2
        assert await home.shell("cat /etc/key") == SECRET

    async def test_another_container_with_the_same_claim_gets_nothing(
        self, home: Home, init: Path, bridge: Bridge, tmp_path: Path
    ) -> None:
        await home.start(Payload(env=variables([("PASSWORD", SECRET)])))
        await home.until(running)
        thief = Guest(tmp_path / "thief", bridge, init, {})
        environment = home.agents.environment(home.id, home.peer)
        assert isinstance(environment, dict)
        await thief.start(environment)
        try:
            async with asyncio.timeout(30):
                while "refused: its claim has been used before" not in thief.console():
                    await asyncio.sleep(0.1)
            assert "has been used before" in home.agents.session(home.id).problem
            assert running(home.agents.session(home.id).state)
        finally:
            await thief.kill()

    async def test_another_certificate_hears_nothing(self, home: Home) -> None:
        environment = home.agents.environment(home.id, home.peer)
        assert isinstance(environment, dict)
        port = home.agents.port
        await home.agents.stop()
        between = home._operator()
        await between.start(Keys.new(), f"0.0.0.0:{port}")
        between.expect(home.id, home.peer)
        try:
            await home.guest.start(environment)
            async with asyncio.timeout(30):
                while "certificate isn't the one" not in home.guest.console():
                    await asyncio.sleep(0.1)
            assert between.session(home.id).problem == ""  # no hello has come
        finally:
            await between.stop()

    async def test_a_new_certificate_that_was_announced(self, home: Home) -> None:
        following = Keys.new()
        home.keys = Keys(home.keys.key, home.keys.certificate, home.keys.private, following.certificate)
        port = home.agents.port
        await home.agents.stop()
        home.agents = home._operator()
        await home.serve(port)
        await home.start(Payload())
        await home.until(running)
        await home.agents.stop()
        home.keys = Keys(home.keys.key, following.certificate, following.private)
        home.agents = home._operator()
        await home.serve(port)
        await home.until(running)
        assert agentkeys.fingerprint(following.certificate) in home.guest.path("/.homeport/state/kept.json").read_text()


class TestSeveral:
    """Several processes of one image: the Applications that are placed together."""

    async def test_each_has_its_own_and_they_come_and_go_in_order(self, home: Home) -> None:
        loop = "trap 'echo -$0 >>/data/order; exit 0' INT; echo +$0 >>/data/order; while :; do sleep 0.1; done"
        redis = ("redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--dir", "/data", "--save", "")
        cache = Process(
            name="cache", command=redis, user=User(uid=999, gid=999),
            files=(File.of("/etc/cache.key", SECRET.encode(), secret=True),),
            probes=ProbeSet(readiness=Probe(tcp=6379, period_seconds=1)),
        )  # fmt: skip
        web = Process(
            name="web", command=(*PYTHON, REPORT), env=variables([("WHO", "web")]), depends_on=("cache",),
            files=(File.of("/etc/web.key", SECRET.encode(), secret=True),),
        )  # fmt: skip
        last = Process(name="last", command=("sh", "-c", loop, "last"), depends_on=("web",))
        digest = Process(name="digest", command=("true",), schedule="0 3 * * *")
        await home.start(Payload(processes=(web, last, cache, digest)))
        state = await home.until(lambda state: state is not None and state.ready and state.phase == "Running")
        assert [(one.name, one.phase) for one in state.processes] == [
            ("web", "Running"), ("last", "Running"), ("cache", "Running"), ("digest", "Idle"),
        ]  # fmt: skip
        begun = {one.name: one.started_at for one in state.processes}
        assert begun["cache"] <= begun["web"] <= begun["last"]
        (facts,) = await home.ran(1)
        assert (facts["uid"], facts["env"]["WHO"], facts["env"]["FROM_IMAGE"]) == (1000, "web", "yes")
        assert [name for name in facts["env"] if name.startswith("HOMEPORT")] == ["HOMEPORT_PROCESS"]
        beside = await home.agents.exec(home.id, ["sh", "-c", "id -u; cat /etc/cache.key"], process="cache")
        assert beside.stdout.decode() == f"999\n{SECRET}"
        other = await home.agents.exec(home.id, ["cat", "/etc/cache.key"], process="web")
        assert other.exit_code == 1, "a secret file is its own process's"
        assert (await home.agents.exec(home.id, ["id", "-u"])).stdout == b"1000\n", "without a name: the first"
        missing = await home.agents.exec(home.id, ["id"], process="db")
        assert "there is no process db here" in missing.error
        await home.shell("until grep -q +last /data/order; do sleep 0.1; done", root=True)
        assert await home.guest.shutdown() == 0
        assert home.guest.console().index("last: the process ended") < home.guest.console().index("web: the process")
        assert home.guest.console().index("web: the process ended") < home.guest.console().index("cache: the process")
        assert "[cache] " in home.guest.console()
        assert "-last" in (home.guest.directory / "up/data/order").read_text()

    async def test_one_that_fails_is_started_again_alone(self, home: Home) -> None:
        leaves = "setsid sleep 777 & setsid sleep 776 & sleep 1; exit 3"
        steady = Process(name="steady", command=("sh", "-c", "setsid sleep 888 & exec sleep 1000"))
        failing = Process(name="failing", command=("sh", "-c", leaves))
        await home.start(Payload(processes=(steady, failing)))
        state = await home.until(lambda state: state is not None and state.phase == "Backoff")
        one, other = state.processes
        assert (one.ready, one.restarts, state.ready) == (True, 0, False)
        assert other.last is not None and other.last.exit_code == 3
        assert state.unready == "failing: its command ends again and again, with exit code 3"
        found = await home.agents.exec(home.id, ["pgrep", "-a", "sleep"], root=True)
        assert b"sleep 888" in found.stdout and b"sleep 1000" in found.stdout
        assert b"sleep 77" not in found.stdout, "what it left behind is killed, and nothing else"

    async def test_a_change_restarts_the_one_and_a_single_one_comes_back(self, home: Home) -> None:
        web = Process(name="web", command=(*PYTHON, REPORT))
        other = Process(name="other", command=("sleep", "1000"), files=(File.of("/etc/other", b"1"),))
        await home.start(Payload(processes=(web, other)))
        before = await home.until(lambda state: state is not None and state.ready)
        changed = other.model_copy(update={"env": variables([("NEW", "1")])})
        after = await home.deliver(Payload(processes=(web, changed)), lambda state: state.ready)
        assert len(await home.ran(1)) == 1 and after.processes[0] == before.processes[0]
        single = await home.deliver(Payload(), lambda state: state.ready)
        assert single.processes == ()
        assert len(await home.ran(2)) == 2
        assert await home.shell("ls /etc/other 2>&1 || true") == (
            "ls: cannot access '/etc/other': No such file or directory\n"
        )


class TestProbes:
    async def test_redis_is_ready_by_tcp_and_exec(self, home: Home) -> None:
        probes = ProbeSet(
            startup=Probe(tcp=6379, period_seconds=1, failure_threshold=30),
            readiness=Probe(exec=("redis-cli", "ping"), period_seconds=1, timeout_seconds=5),
            liveness=Probe(exec=("redis-cli", "ping"), period_seconds=1, timeout_seconds=5),
        )
        command = ("redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--dir", "/data", "--save", "")
        await home.start(Payload(command=command, user=User(uid=999, gid=999), probes=probes))
        state = await home.until(lambda state: state is not None and state.ready)
        assert state.started
        assert await home.shell("redis-cli set a b; redis-cli get a") == "OK\nb\n"
        check = await home.agents.check(home.id, Probe(tcp=6380))
        assert (check.exit_code, "refused" in check.error) == (1, True)
        assert (await home.agents.check(home.id, Probe(tcp=6379))).ok

    async def test_http_readiness_comes_and_goes(self, home: Home) -> None:
        serve = "cd /data && exec python3 -m http.server 8080"
        probes = ProbeSet(readiness=Probe(http=HttpCheck(port=8080, path="/ok"), period_seconds=1, failure_threshold=1))
        await home.start(Payload(command=("sh", "-c", serve), probes=probes))
        state = await home.until(lambda state: state is not None and bool(state.unready))
        assert (state.ready, state.phase) == (False, "Running")
        await home.shell("touch /data/ok")
        await home.until(lambda state: state is not None and state.ready)
        await home.shell("rm /data/ok")
        state = await home.until(lambda state: state is not None and not state.ready)
        assert "GET /ok on port 8080: 404" in state.unready
        assert state.restarts == 0

    async def test_liveness_restarts(self, home: Home) -> None:
        probes = ProbeSet(liveness=Probe(exec=("test", "!", "-e", "/data/sick"), period_seconds=1, failure_threshold=2))
        await home.start(Payload(probes=probes))
        await home.until(lambda state: state is not None and state.ready)
        await home.ran(1)
        await home.shell("touch /data/sick")
        state = await home.until(lambda state: state is not None and state.restarts == 1)
        assert "liveness probe failed 2 times: the command exited with 1" in state.unready
        home.guest.path("/data/sick").unlink()
        await home.until(running)
        assert len(await home.ran(2)) == 2


class TestJobs:
    JOB = Payload(command=("sh", "-c", "echo x >>/data/tries; exit 5"), restart_policy="Never", run="migrate-1")

    async def test_it_runs_once_whatever_restarts(self, home: Home) -> None:
        await home.start(self.JOB)
        state = await home.until(lambda state: state is not None and state.phase == "Exited")
        assert state.last is not None
        assert (state.last.exit_code, state.run) == (5, "migrate-1")
        environment = home.agents.environment(home.id, home.peer)
        assert isinstance(environment, dict)
        await home.guest.shutdown()
        await home.until(lambda state: state is None)
        await home.guest.start(environment)
        state = await home.until(lambda state: state is not None and state.phase == "Exited")
        assert state.last is not None
        assert state.last.exit_code == 5
        assert home.guest.path("/data/tries").read_text() == "x\n"
        await home.agents.finish(home.id, "another")
        await home.agents.finish(home.id, "migrate-1")
        assert await home.guest.ended() == 0

    async def test_another_run_runs_again(self, home: Home) -> None:
        await home.start(self.JOB)
        await home.until(lambda state: state is not None and state.phase == "Exited")
        again = self.JOB.model_copy(update={"run": "migrate-2"})
        state = await home.deliver(again, lambda state: state.phase == "Exited" and state.run == "migrate-2")
        assert state.restarts == 0
        assert home.guest.path("/data/tries").read_text() == "x\nx\n"

    async def test_one_that_was_broken_off_isnt_repeated(self, home: Home) -> None:
        job = Payload(command=("sh", "-c", "echo x >>/data/tries; sleep 1000"), restart_policy="Never", run="1")
        await home.start(job)
        await home.until(running)
        await home.shell("until [ -e /data/tries ]; do sleep 0.1; done")
        environment = home.agents.environment(home.id, home.peer)
        assert isinstance(environment, dict)
        await home.guest.kill()
        await home.until(lambda state: state is None)
        await home.guest.start(environment)
        state = await home.until(lambda state: state is not None and state.phase == "Exited")
        assert state.last is not None
        assert (state.last.exit_code, state.last.reason) == (255, "Interrupted")
        assert home.guest.path("/data/tries").read_text() == "x\n"

    async def test_one_that_fails_is_tried_again_as_often_as_it_may(self, home: Home) -> None:
        once = ("sh", "-c", "echo x >>/data/tries; [ $(wc -l </data/tries) -ge 2 ]")
        await home.start(Payload(command=once, restart_policy="Never", run="1", backoff_limit=1))
        state = await home.until(lambda state: state is not None and state.phase == "Backoff")
        assert (state.run, state.restarts) == ("1", 1)
        state = await home.until(lambda state: state is not None and state.phase == "Exited")
        assert state.last is not None and state.last.exit_code == 0
        slow = Payload(command=("sleep", "1000"), restart_policy="Never", run="2", backoff_limit=3)
        slow = slow.model_copy(update={"active_deadline_seconds": 2})
        state = await home.deliver(slow, lambda state: state.phase == "Exited" and state.run == "2")
        assert state.last is not None
        assert (state.last.exit_code, state.last.reason) == (124, "DeadlineExceeded")

    async def test_a_schedule(self, home: Home) -> None:
        payload = Payload(
            command=("sh", "-c", "echo x >>/data/tries; exit 4"), schedule="* * * * *", time_zone="Europe/Rome"
        )
        await home.start(payload)
        state = await home.until(lambda state: state is not None and state.phase == "Idle" and bool(state.next_run))
        assert state.last is None
        state = await home.until(lambda state: state is not None and state.last is not None, 90.0)
        assert state.last is not None
        assert (state.last.exit_code, state.phase) == (4, "Idle")
        suspended = await home.deliver(payload.model_copy(update={"suspend": True}))
        assert suspended.next_run == ""


async def test_an_image_with_the_layer_that_the_operator_adds(init: Path, bridge: Bridge, tmp_path: Path) -> None:
    redis = next(one for one in software.images() if one.names == ("redis:7-alpine",))
    redis = dataclasses.replace(redis, user="redis", environment={"FROM_IMAGE": "yes"}, stop_signal="SIGINT")
    layout = tmp_path / "layout.tar"
    with layout.open("wb") as output:
        write_archive([redis], output)
    with tarfile.open(layout) as tar:

        def content(name: str) -> bytes:
            found = tar.extractfile(name)
            assert found is not None
            return found.read()

        (entry,) = json.loads(content("index.json"))["manifests"]
        manifest = json.loads(content(_blob(entry["digest"])))
        image = Image(
            Reference.parse(f"redis@{entry['digest']}"),
            entry["digest"],
            entry["digest"],
            json.loads(content(_blob(manifest["config"]["digest"]))),
            tuple(Blob(one["digest"], one["size"], one["mediaType"]) for one in manifest["layers"]),
        )

        async def fetch(blob: Blob) -> AsyncIterator[bytes]:
            yield content(_blob(blob.digest))

        made = archive.with_init(image, init.read_bytes(), "test")
        await made.write(tmp_path, fetch)
    assert (tmp_path / made.name).stat().st_size == made.size
    tree = lxcguest.unpacked(tmp_path / made.name, tmp_path / "tree")
    home = Home(Guest(tmp_path / "guest", bridge, init, None, tree))
    await home.serve()
    try:
        probes = ProbeSet(readiness=Probe(tcp=6379, period_seconds=1))
        options = ("redis-server", "--save", "", "--protected-mode", "no", "--bind", "0.0.0.0")
        await home.start(Payload(args=options, probes=probes))
        await home.until(lambda state: state is not None and state.ready)
        told = await home.agents.exec(home.id, ["sh", "-c", "echo $FROM_IMAGE; cat /proc/self/status"])
        assert told.stdout.startswith(b"yes\n")
        assert b"Uid:\t999\t999" in told.stdout
        assert await home.guest.shutdown() == 0
        assert "User requested shutdown" in home.guest.console()
    finally:
        await home.guest.kill()
        await home.agents.stop()


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _child(pid: int) -> int:
    threads = Path(f"/proc/{pid}/task").iterdir()
    (child,) = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    return child
