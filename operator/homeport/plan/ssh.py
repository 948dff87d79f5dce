"""What SSH brings into a container that has a system of its own: one shell script, and a unit for systemd. Pure.

The script is read from standard input and is whole or not run; it can be run any number of times. What is secret is in
``/run``, which has to be a tmpfs: so nothing of it gets onto a disk, and after a restart of the container it is brought
anew. How systemd reads units and environment files: https://www.freedesktop.org/software/systemd/man/systemd.exec.html,
``systemd.service`` and ``systemd.syntax`` beside it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from homeport.plan import agent as wire
from homeport.plan import oncalendar

UNIT = "homeport-software.service"
TIMER = "homeport-software.timer"
MARK = " # homeport"
"""The end of each line of /etc/hosts that is ours."""
NO_SYSTEMD, NO_TMPFS, NO_TIMER = 65, 66, 67
"""Exit codes of the script."""
PROBLEMS = {
    NO_SYSTEMD: "the container has no systemd, by which software is run; write a template that has, or an image with "
    "delivery: Agent",
    NO_TMPFS: "/run isn't a tmpfs in the container, so that secrets would get onto a disk; nothing was brought",
    NO_TIMER: "systemd doesn't take the schedule; install the package tzdata in the container if timeZone isn't UTC, "
    "and look at: systemctl status homeport-software.timer",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PROGRAM = re.compile(r"/[^\x00-\x20\x7f$%\"'\\]+|[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_SHOWN = ("LoadState", "ActiveState", "SubState", "Result", "ExecMainCode", "ExecMainStatus", "ExecMainStartTimestamp")

LOOK = (
    "TZ=UTC LC_ALL=C; export TZ LC_ALL; "
    'echo "digest=$(cat /run/homeport/digest 2>/dev/null)"; echo "run=$(cat /var/lib/homeport/run 2>/dev/null)"; '
    f'echo "timer=$(systemctl is-active {TIMER} 2>/dev/null)"; '
    f"command -v systemctl >/dev/null || exit {NO_SYSTEMD}; systemctl show {UNIT} -p {','.join(_SHOWN)}"
)
"""The command that tells how it is; ``found`` reads its output."""


@dataclass(frozen=True)
class Parcel:
    """What is to be brought."""

    digest: str
    script: str = field(repr=False)
    run: str = ""
    """Names a job's run; empty for what runs all the time."""
    scheduled: bool = False
    """Whether a timer starts it."""


@dataclass(frozen=True)
class Found:
    """How it is in the container."""

    digest: str = ""
    """Of what was brought last, since the container started."""
    run: str = ""
    active: str = ""
    sub: str = ""
    result: str = ""
    exit_code: int | None = None
    """Of a process that has ended, as a shell says it."""
    started_at: str | None = None
    timer: str = ""

    def in_force(self, parcel: Parcel) -> bool:
        """Whether it was brought, and is run."""
        if parcel.scheduled:
            return self.digest == parcel.digest and self.timer == "active"
        return self.digest == parcel.digest and (bool(parcel.run) or self.active not in ("inactive", "failed", ""))

    def ended(self, parcel: Parcel) -> int | None:
        """How a job has ended; None while it hasn't. 255: it was broken off with its container."""
        if not parcel.run or self.run != parcel.run or not self.in_force(parcel):
            return None
        if self.active == "failed" or (self.active, self.sub) == ("active", "exited"):
            return 255 if self.exit_code is None else self.exit_code
        return 255 if self.active == "inactive" else None


def found(output: str) -> Found:
    """What LOOK printed."""
    said = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    return Found(
        said.get("digest", ""),
        said.get("run", ""),
        said.get("ActiveState", ""),
        said.get("SubState", ""),
        said.get("Result", ""),
        _exit_code(said.get("ExecMainCode", ""), said.get("ExecMainStatus", "")),
        _moment(said.get("ExecMainStartTimestamp", "")),
        said.get("timer", ""),
    )


def _exit_code(code: str, status: str) -> int | None:
    """systemd tells ``si_code`` of waitid: 1 exited, 2 killed, 3 dumped."""
    if not status.isdecimal() or code not in ("1", "2", "3"):
        return None
    return int(status) if code == "1" else 128 + int(status)


def _moment(text: str) -> str | None:
    try:
        moment = datetime.strptime(text, "%a %Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
    except ValueError:
        return None
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


# --- what is brought --------------------------------------------------------------------------------------------------


def parcel(payload: wire.Payload, key: bytes) -> Parcel:
    """The payload as a script. ``key`` makes a digest that tells nothing of a short password in it.

    Raises ValueError, with a sentence, for what systemd can't be told.
    """
    # Without defaults: a field that a later version adds restarts nothing.
    text = payload.model_dump_json(by_alias=True, exclude_defaults=True)
    if len(text) > wire.PAYLOAD_LIMIT:
        raise ValueError(
            f"environment and files together are {len(text) // 1024} KiB as they are sent, and "
            f"{wire.PAYLOAD_LIMIT // 1024} KiB is the most; put large files into the template or a mount"
        )
    for file in payload.files:
        if re.search(r"[\x00-\x1f\x7f]", file.path):
            raise ValueError(f"the path {file.path!r} has control characters in it; write another one")
    digest = _keyed(key, "payload", text)
    # What restarts the process: all but the lines of /etc/hosts and the probes.
    started = {"hosts": (), "probes": wire.ProbeSet(), "hostname": ""}
    process = _keyed(
        key, "process", payload.model_copy(update=started).model_dump_json(by_alias=True, exclude_defaults=True)
    )
    run = hashlib.sha256(payload.run.encode()).hexdigest()[:32] if payload.restart_policy == "Never" else ""
    script = "\n".join(_script(payload, digest, process, run)) + "\n"
    return Parcel(digest, script, run, payload.schedule is not None)


def _keyed(key: bytes, purpose: str, text: str) -> str:
    return hmac.new(key, f"homeport ssh {purpose} v1\n{text}".encode(), hashlib.sha256).hexdigest()[:32]


_HEAD = f"""\
set -eu
umask 077
put() {{
  (umask 022; mkdir -p -- "$(dirname -- "$1")")
  base64 -d >"$1.homeport-new"
  chmod "$2" "$1.homeport-new"
  if [ -n "$3" ]; then chown "$3" "$1.homeport-new"; fi
  mv -fT -- "$1.homeport-new" "$1"
}}
main() {{
command -v systemctl >/dev/null || exit {NO_SYSTEMD}
[ "$(stat -f -c %T /run)" = tmpfs ] || exit {NO_TMPFS}
(umask 022; mkdir -p /run/systemd/system; mkdir -p -m 711 /run/homeport /run/homeport/secrets)
mkdir -p -m 700 /var/lib/homeport
export TMPDIR=/run/homeport  # where bash keeps what is between two '.'
touch /var/lib/homeport/files"""

_CLEAN = """\
while IFS= read -r path; do
  grep -qxF -e "$path" /run/homeport/files || rm -f -- "$path"
done </var/lib/homeport/files
cat /run/homeport/files >/var/lib/homeport/files.homeport-new
mv -fT /var/lib/homeport/files.homeport-new /var/lib/homeport/files
for one in /run/homeport/secrets/*; do
  grep -qxF -e "$one" /run/homeport/kept || rm -f -- "$one"
done"""

_SERVICE = """\
if [ "$(cat /run/homeport/process 2>/dev/null)" != {process} ] || ! systemctl is-active -q {unit}; then
  systemctl restart {unit} || true
fi
echo {process} >/run/homeport/process"""

_JOB = """\
if [ "$(cat /var/lib/homeport/run 2>/dev/null)" != {run} ]; then
  systemctl stop {unit} || true
  systemctl reset-failed {unit} || true
  echo {run} >/var/lib/homeport/run
  sync /var/lib/homeport/run
  systemctl start {unit} || true
fi"""


_SCHEDULED = """\
if [ "$(cat /run/homeport/process 2>/dev/null)" != {process} ] || ! systemctl is-active -q {timer}; then
  systemctl reset-failed {unit} || true
  systemctl restart {timer} || exit {no_timer}
fi
echo {process} >/run/homeport/process"""

_NO_TIMER = """\
if [ -e /run/systemd/system/{timer} ]; then
  systemctl stop {timer} || true
  rm -f /run/systemd/system/{timer}
fi"""

_GIVE = """\
give() {{
  if [ "$(stat -c %g -- "$1")" = {group} ] && [ -g "$1" ]; then return 0; fi
  find "$1" -xdev -mindepth 1 -exec chgrp -h {group} {{}} +
  find "$1" -xdev -mindepth 1 -type d -exec chmod g+rwxs {{}} +
  find "$1" -xdev -mindepth 1 -type f -exec chmod g+rw {{}} +
  chgrp {group} -- "$1"; chmod g+rwxs -- "$1"
}}"""
"""The top last: while it isn't the group's, what was broken off is done again."""


def _script(payload: wire.Payload, digest: str, process: str, run: str) -> Iterator[str]:
    owner = _owner(payload.user)
    secrets = {file.path: f"/run/homeport/secrets/{_short(file.path)}" for file in payload.files if file.secret}
    paths = "".join(f"{file.path}\n" for file in payload.files)
    yield _HEAD
    yield _put("/run/homeport/files", paths)
    yield _put("/run/homeport/kept", "".join(f"{target}\n" for target in secrets.values()))
    # Noted before any is written: whatever breaks this off, none is left behind that nobody knows of.
    yield "cat /run/homeport/files >>/var/lib/homeport/files"
    for file in payload.files:
        content = file.content
        if not file.secret:
            yield _put64(file.path, content, file.mode)
            continue
        target, path = secrets[file.path], shlex.quote(file.path)
        yield _put64(target, content, file.mode, owner)
        yield f'(umask 022; mkdir -p -- "$(dirname -- {path})"); ln -sfnT {target} {path}'
    yield _CLEAN
    yield "sed '/ # homeport$/d' /etc/hosts >/etc/hosts.homeport-new"
    yield "base64 -d >>/etc/hosts.homeport-new <<'.'"
    yield _encoded("".join(f"{one.address} {' '.join(one.names)}{MARK}\n" for one in payload.hosts))
    yield "."
    yield "chmod 644 /etc/hosts.homeport-new; mv -fT /etc/hosts.homeport-new /etc/hosts"
    yield _put("/run/homeport/env", environment(payload.env))
    if payload.user.fs_group is not None and payload.volumes:
        yield _GIVE.format(group=payload.user.fs_group)
        yield from (f"give {shlex.quote(path)}" for path in payload.volumes)
    yield _put(f"/run/systemd/system/{UNIT}", unit(payload), 0o644)
    if payload.schedule is not None:
        yield _put(f"/run/systemd/system/{TIMER}", timer(payload.schedule, payload.time_zone), 0o644)
    else:
        yield _NO_TIMER.format(timer=TIMER)
    yield "systemctl daemon-reload"
    how = _SCHEDULED if payload.schedule is not None else _JOB if run else _SERVICE
    yield how.format(unit=UNIT, timer=TIMER, process=process, run=run, no_timer=NO_TIMER)
    yield f"echo {digest} >/run/homeport/digest"
    yield "}"
    yield "main </dev/null"


def _short(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()[:16]


def _owner(user: wire.User) -> str:
    if user.uid is None and user.gid is None:
        return ""
    return f"{0 if user.uid is None else user.uid}{f':{user.gid}' if user.gid is not None else ''}"


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _put(path: str, text: str, mode: int = 0o600) -> str:
    return _put64(path, _encoded(text), mode)


def _put64(path: str, content: str, mode: int, owner: str = "") -> str:
    return f"put {shlex.quote(path)} {mode:o} '{owner}' <<'.'\n{content}\n."


# --- for systemd ------------------------------------------------------------------------------------------------------


def unit(payload: wire.Payload) -> str:
    """The unit that runs the command. Raises ValueError for what can't be written in one."""
    words = [*(payload.command or ()), *(payload.args or ())]
    user, job = payload.user, payload.restart_policy == "Never"
    lines = [
        "[Unit]",
        "Description=What Homeport runs here",
        "Wants=network-online.target",
        "After=network-online.target",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=exec",
        "EnvironmentFile=/run/homeport/env",
        f"ExecStart={command(words)}",
        f"TimeoutStopSec={payload.termination_grace_period_seconds}",
    ]
    # A job that has succeeded stays "active": else systemd forgets how it ended.
    if payload.schedule is not None:
        lines += ["Restart=no"]
    else:
        if job and payload.active_deadline_seconds is not None:
            lines.append(f"RuntimeMaxSec={payload.active_deadline_seconds}")
        lines += ["Restart=no", "RemainAfterExit=yes"] if job else ["Restart=always", "RestartSec=1"]
    if user.uid is not None:
        lines.append(f"User={user.uid}")
    if user.gid is not None:
        lines.append(f"Group={user.gid}")
    if user.fs_group is not None:
        lines.append(f"SupplementaryGroups={user.fs_group}")
    if payload.working_dir is not None:
        lines.append(f"WorkingDirectory={_folder(payload.working_dir)}")
    return "\n".join(lines) + "\n"


def timer(schedule: str, time_zone: str | None) -> str:
    """The timer that starts the unit; a run that isn't over is not started twice. Raises ValueError."""
    times = (f"OnCalendar={line}" for line in oncalendar.lines(schedule, time_zone))
    return "\n".join(["[Unit]", "Description=When Homeport's runs", "", "[Timer]", *times, "AccuracySec=1s"]) + "\n"


def _folder(path: str) -> str:
    if not path.startswith("/") or re.search(r"[\x00-\x1f\x7f\\]", path) or path != path.strip():
        raise ValueError("workingDir must be an absolute path, without line breaks and backslashes; write another one")
    return path.replace("%", "%%")


def command(words: Sequence[str]) -> str:
    """A command as ExecStart takes it: nothing in it is expanded."""
    if not words or not _PROGRAM.fullmatch(words[0]):
        raise ValueError("software.command must begin with an absolute path, or the name of a program; write that")
    return " ".join([words[0], *(_quoted(word) for word in words[1:])])


def _quoted(word: str) -> str:
    if "\0" in word:
        raise ValueError("a word of software.command has a NUL in it; leave it out")
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return '"' + re.sub(r"[\x01-\x1f\x7f]", lambda one: f"\\x{ord(one[0]):02x}", escaped) + '"'


def environment(variables: Sequence[wire.Variable]) -> str:
    """Variables as EnvironmentFile takes them: nothing in them is expanded. Raises ValueError; no value is in it."""
    lines = []
    for one in variables:
        if not _NAME.fullmatch(one.name):
            raise ValueError(
                f"env {one.name}: systemd takes letters, digits and _ in a variable's name; write another name"
            )
        if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", one.value):
            raise ValueError(f"env {one.name}: its value has control characters, which systemd doesn't take")
        escaped = re.sub(r'(["\\$`])', r"\\\1", one.value)
        lines.append(f'{one.name}="{escaped}"\n')
    return "".join(lines)
