"""delivery: SSH in the engine: keys at creation, the host key in the status before anything is brought, jobs, ends."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from typing import Any

import pytest
from test_containers import NAME, Bench, lab, ready, status

from homeport.drivers import ssh as driver
from homeport.drivers.kubernetes import types
from homeport.engine.lxc.shells import SECRET
from homeport.plan import ssh
from homeport.plan.lxc import creation

KEYS: list[str] = []


class Shells:
    """Systems that are reached by SSH while their container runs. They know what was brought, until it stops."""

    def __init__(self, place: Bench) -> None:
        self.place = place
        self.host_key = "SHA256:first"
        self.digest = self.run_marker = ""
        self.scripts: list[str] = []
        self.exit_code: int | None = None
        self.started_at: Any = None
        self.authorized = KEYS
        """What containers were made with. The stand-in takes it, and keeps it no more than a real host's config."""

    async def connect(self, address: str, private: str, known: str) -> Shell:
        ct = next((ct for ct in self.place.world.pve.cts if ct.vmid == 2000 and ct.status == "running"), None)
        if ct is None:
            raise driver.SshError(f"{address} can't be reached")
        if known not in ("", self.host_key):
            raise driver.HostKeyChangedError(f"{address} shows the SSH host key {self.host_key}")
        assert address == "10.20.0.10" and driver.public_key(private) in self.authorized[-1]
        if self.started_at != ct.started_at:
            self.started_at, self.digest = ct.started_at, ""
        return Shell(self)


class Shell:
    """One connection, which is as good as its system."""

    closed = True

    def __init__(self, of: Shells) -> None:
        self.of, self.fingerprint = of, of.host_key

    async def run(self, command: str, stdin: str = "", seconds: float = 30.0) -> driver.Done:
        of = self.of
        if command != ssh.LOOK:
            known = (await status(of.place.world))["software"]
            assert known["hostKey"] == of.host_key, "nothing is brought before the host key is kept"
            of.scripts.append(stdin)
            of.digest = re.findall(r"echo (\w+) >/run/homeport/digest", stdin)[0]
            of.run_marker = next(iter(re.findall(r"echo (\w+) >/var/lib/homeport/run", stdin)), "")
            return driver.Done(0)
        shown = "ActiveState=inactive\nSubState=dead"
        if of.digest:
            shown = "ActiveState=active\nSubState=running\nExecMainStartTimestamp=Thu 2026-01-15 12:00:00 UTC"
        if of.digest and of.exit_code is not None:
            shown = f"ActiveState=failed\nSubState=failed\nExecMainCode=1\nExecMainStatus={of.exit_code}"
        return driver.Done(0, f"digest={of.digest}\nrun={of.run_marker}\n{shown}\n")

    def close(self) -> None:
        pass


async def bench() -> tuple[Bench, Shells]:
    """A bench whose containers are reached by SSH."""
    out = Bench(*await lab())
    shells = Shells(out)
    out.running.engine.context.containers.shells.connect = shells.connect
    return out, shells


@pytest.fixture(autouse=True)
def _authorized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the keys of the requests that make containers."""
    real = creation.creation

    def noted(*args: Any, **more: Any) -> Any:
        params = real(*args, **more)
        KEYS.append(str(params.get("ssh-public-keys")))
        return params

    KEYS.clear()
    monkeypatch.setattr(creation, "creation", noted)


def software(**more: Any) -> dict[str, Any]:
    """A spec with software."""
    return {"software": {"delivery": "SSH", "command": ["/usr/bin/app"], **more}}


def test_keys_are_there_from_the_start_and_the_host_key_is_kept_before_anything_is_brought() -> None:
    async def run() -> None:
        place, shells = await bench()
        mine = driver.public_key(driver.new_key())
        for name, data in {"db": {"url": "postgres://hush"}, "keys": {"mine": mine}}.items():
            encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded}
            await place.world.client.create(types.SECRET, "homelab", secret)
        env = [{"name": "URL", "valueFrom": {"secretKeyRef": {"name": "db", "key": "url"}}}]
        found = await place.want(**software(env=env), sshKeysSecretRef={"name": "keys", "key": "mine"})
        assert ready(found)[0] == "True", ready(found)
        assert found["software"]["hostKey"] == "SHA256:first" and found["software"]["agent"] == "Connected"
        assert found["software"]["ready"] and found["software"]["startedAt"] == "2026-01-15T12:00:00Z"
        assert mine in KEYS[-1] and len(shells.scripts) == 1
        system = place.running.engine.context.system_namespace
        kept = await place.world.client.get(types.SECRET, system, SECRET)
        assert kept is not None
        private = base64.b64decode(kept["data"]["ssh-privatekey"]).decode()
        everything = json.dumps(await place.world.client.get(types.LXC_CONTAINER, "homelab", NAME))
        assert "hush" not in everything + str(place.running.events) and private not in everything
        place.writes()
        await place.running.settle(quiet=100.0)
        assert place.writes() == [] and len(shells.scripts) == 1

    asyncio.run(run())


def test_changes_are_brought_and_a_restart_brings_all_of_it_again() -> None:
    async def run() -> None:
        place, shells = await bench()
        await place.want(**software(env=[{"name": "A", "value": "1"}]))
        started = place.ct().started_at
        found = await place.want(**software(env=[{"name": "A", "value": "2"}]))
        assert ready(found)[0] == "True" and place.ct().started_at == started and len(shells.scripts) == 2
        found = await place.want(restartAt="now", **software(env=[{"name": "A", "value": "2"}]))
        await place.running.settle(quiet=100.0)
        assert ready(await status(place.world))[0] == "True" and place.ct().started_at != started
        assert len(shells.scripts) == 3

    asyncio.run(run())


def test_another_host_key_is_told_and_nothing_is_brought() -> None:
    async def run() -> None:
        place, shells = await bench()
        await place.want(**software())
        shells.host_key = "SHA256:second"
        found = await place.want(**software(env=[{"name": "A", "value": "2"}]))
        assert ready(found)[0] == "False" and "SHA256:second" in ready(found)[2], ready(found)
        assert len(shells.scripts) == 1 and found["software"]["hostKey"] == "SHA256:first"

    asyncio.run(run())


def test_a_job_ends_with_its_exit_code_and_its_container_stops() -> None:
    async def run() -> None:
        place, shells = await bench()
        shells.exit_code = 3
        found = await place.want(**software(restartPolicy="Never"))
        assert found["software"]["exitCode"] == 3 and place.ct().status == "stopped"
        assert ready(found)[:2] == ("False", "HealthCheckFailed") and "exit code 3" in ready(found)[2]
        place.writes()
        await place.running.settle(quiet=60.0)
        assert place.writes() == []

    asyncio.run(run())


def test_what_it_cannot_do_and_what_is_missing_is_told() -> None:
    async def run() -> None:
        place, shells = await bench()
        found = await place.want(**software(processes=[{"name": "app"}], command=None))
        assert (
            ready(found)[:2] == ("False", "InvalidSpec")
            and "several processes are kept by Homeport's init" in ready(found)[2]
        )
        found = await place.want(**software(), sshKeysSecretRef={"name": "keys", "key": "mine"})
        assert "Secret keys in namespace homelab has no key mine" in ready(found)[2] and not shells.scripts
        found = await place.want(**software(command=["./app"]))
        assert "absolute path" in ready(found)[2], ready(found)

    asyncio.run(run())
