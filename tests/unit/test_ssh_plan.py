"""What SSH brings: the script and the unit as they are sent, what can't be written in them, and what is read back."""

from __future__ import annotations

from pathlib import Path

import pytest

from homeport.api.software import Software
from homeport.plan import agent as wire
from homeport.plan import delivery, ssh
from homeport.plan.proxmox.readings import Version

GOLDEN = Path(__file__).parent / "golden" / "ssh"
KEY = b"k" * 32
PAYLOAD = wire.Payload(
    env=wire.variables([("A", "1"), ("QUOTES", 'a "b" \\ $HOME `x` 100%\nnext')]),
    files=(wire.File.of("/etc/app/app.conf", b"listen=1\n"), wire.File.of("/etc/app/key", b"hush", secret=True)),
    hosts=(wire.HostEntry(address="10.0.0.9", names=("db",)),),
    command=("/usr/bin/app", "--say", "it's 5 % of $PATH", 'a "quoted" \\ word', ";", "two\nlines"),
    working_dir="/srv/app",
    user=wire.User(uid=1000, gid=1001),
)
SCHEDULE = PAYLOAD.model_copy(
    update={"schedule": "30 4 1 * 5", "volumes": ("/srv/data",), "user": wire.User(uid=1000, fs_group=2002)}
)
JOB = PAYLOAD.model_copy(update={"restart_policy": "Never", "run": "uid/1"})


@pytest.mark.parametrize(("name", "payload"), [("service", PAYLOAD), ("job", JOB), ("schedule", SCHEDULE)])
def test_what_is_sent(name: str, payload: wire.Payload, update_golden: bool) -> None:
    text = "\n".join([ssh.unit(payload), ssh.environment(payload.env), ssh.parcel(payload, KEY).script])
    path = GOLDEN / f"{name}.txt"
    if update_golden:
        path.write_text(text)
    assert text == path.read_text()
    assert "hush" not in text


def test_only_what_the_process_is_started_with_restarts_it() -> None:
    def process(payload: wire.Payload) -> str:
        script = ssh.parcel(payload, KEY).script
        return next(line for line in script.splitlines() if line.endswith(">/run/homeport/process"))

    other_hosts = PAYLOAD.model_copy(update={"hosts": ()})
    assert process(other_hosts) == process(PAYLOAD)
    assert ssh.parcel(other_hosts, KEY).digest != ssh.parcel(PAYLOAD, KEY).digest
    assert process(PAYLOAD.model_copy(update={"env": ()})) != process(PAYLOAD)
    assert ssh.parcel(PAYLOAD, b"other").digest != ssh.parcel(PAYLOAD, KEY).digest, "it is keyed"


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        ({"env": wire.variables([("A-B", "hush")])}, "letters, digits and _"),
        ({"env": wire.variables([("A", "hush\x07")])}, "control characters"),
        ({"command": ("./app",)}, "absolute path"),
        ({"command": ()}, "absolute path"),
        ({"working_dir": "srv"}, "absolute path"),
        ({"schedule": "0 3 L * *"}, "no L"),
        ({"files": (wire.File.of("/a\nb", b""),)}, "control characters"),
    ],
)
def test_what_cannot_be_sent(payload: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why) as found:
        ssh.parcel(PAYLOAD.model_copy(update=payload), KEY)
    assert "hush" not in str(found.value)


def _shown(active: str, sub: str, code: str = "0", status: str = "0", run: str = "", digest: str = "") -> ssh.Found:
    return ssh.found(
        f"digest={digest}\nrun={run}\nLoadState=loaded\nActiveState={active}\nSubState={sub}\nResult=success\n"
        f"ExecMainCode={code}\nExecMainStatus={status}\nExecMainStartTimestamp=Sat 2026-11-21 12:39:35 UTC\n"
    )


def test_what_systemd_says_is_understood() -> None:
    job = ssh.parcel(JOB, KEY)
    known = {"run": job.run, "digest": job.digest}
    assert _shown("active", "running", **known).started_at == "2026-11-21T12:39:35Z"
    assert _shown("active", "running", **known).ended(job) is None
    assert _shown("active", "exited", "1", "0", **known).ended(job) == 0
    assert _shown("failed", "failed", "1", "7", **known).ended(job) == 7
    assert _shown("failed", "failed", "2", "9", **known).ended(job) == 137
    assert _shown("inactive", "dead", **known).ended(job) == 255, "the container was restarted under it"
    assert _shown("failed", "failed", "1", "7").ended(job) is None, "of another run"
    service = ssh.parcel(PAYLOAD, KEY)
    assert _shown("activating", "auto-restart", digest=service.digest).in_force(service)
    assert not _shown("inactive", "dead", digest=service.digest).in_force(service), "stopped by hand: started again"
    assert not ssh.found("digest=\nrun=\n").in_force(service)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"command": ["app"]}, None),
        ({}, "write software.command"),
        ({"command": ["app"], "schedule": "0 3 * * *"}, None),
        ({"command": ["app"], "user": {"fsGroup": 5}, "probes": {"liveness": {"tcp": "80"}}}, None),
    ],
)
def test_what_it_cannot_do_is_told(given: dict[str, object], why: str | None) -> None:
    software = Software.model_validate({"delivery": "SSH", **given})
    found = delivery.refusal("SSH", software, Version.parse("8.4.1"), "pve")
    assert found is None if why is None else why in str(found)


def test_an_image_is_not_for_it() -> None:
    software = Software.model_validate({"image": "nginx:1.27", "command": ["app"]})
    assert "runs in a template" in str(delivery.refusal("SSH", software, Version.parse("9.1.1"), "pve"))
