"""Containers of the stand-in Proxmox VE that are systems one gets into: each is a root of its own with Debian's sshd.

What a guest is made with (address, root's authorized_keys) is what the stand-in was sent. systemd can't run here: a
script stands in for systemctl, and runs what the unit says. What the kernel shows of itself is in files of ours
(``kernel``), so that a test can take a module away. The k3s in it is ``k3s_stand_in.sh``: see there what it does and
doesn't.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from homeport.drivers import ssh as driver
from localplane import binaries, debian
from localpve import StandIn

LAYER = debian.Layer(
    (
        "openssh-server",
        "bash",
        "coreutils",
        "findutils",
        "grep",
        "sed",
        "dash",
        "mawk",
        "mount",
        "openssl",
        "procps",
        "util-linux",
    )
)
PROGRAMS = ("etcd", "kube-apiserver", "kubectl")
K3S = Path(__file__).parent / "k3s_stand_in.sh"
SYSTEMCTL = r"""#!/bin/sh
echo "$*" >>/var/log/systemctl
for name; do :; done
file=/etc/systemd/system/$name.service
alive() { [ -s "/run/$name.pid" ] && kill -0 "$(cat "/run/$name.pid")" 2>/dev/null; }
case "$*" in
  is-active*) if alive; then echo active; else echo inactive; exit 3; fi;;
  restart*)
    if alive; then kill -- "-$(cat "/run/$name.pid")"; fi
    command=$(sed -n '/^ExecStart=/,/^$/p' "$file" | sed 's/^ExecStart=//; s/\\$//' | tr '\n' ' ' | sed 's/%%/%/g')
    setsid sh -c "exec $command" </dev/null >"/var/log/$name.log" 2>&1 &
    echo $! >"/run/$name.pid";;
esac
"""
JOURNALCTL = '#!/bin/sh\ntail -n 8 "/var/log/$2.log"\n'
CONFIG = """Port 22
ListenAddress {address}
HostKey /etc/ssh/host
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PidFile none
StrictModes no
"""
KERNEL = {
    "proc/net/bridge/bridge-nf-call-iptables": "1\n",
    "proc/net/netfilter/nf_conntrack_max": "262144\n",
    "proc/net/ipv4/ip_forward": "1\n",
    "proc/fs/inotify/max_user_instances": "65536\n",
    "proc/vm/overcommit_memory": "1\n",
    "proc/kernel/panic": "10\n",
    "proc/kernel/panic_on_oops": "1\n",
    "sys/module/ip_tables/refcnt": "1\n",
    "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
}
"""What a node that is set up as docs/k3s-on-proxmox.md says shows in its containers: /proc/sys and /sys."""


def missing() -> str:
    """Why there can be no guests here; empty when there can."""
    if sys.platform != "linux" or os.geteuid() != 0 or debian.missing() or not shutil.which("unshare"):
        return "needs root on a Debian system"
    return ""


class Guest:
    """A root, and an sshd in it."""

    def __init__(self, root: Path, address: str, keys: str, kernel: dict[str, str]) -> None:
        self.root, self.address = root, address
        self.process: subprocess.Popen[bytes] | None = None
        root.mkdir()
        # A process of its own: Pulumi's program, on the same interpreter, leaves little of it to a thread beside.
        subprocess.run(["tar", "-xf", str(debian.ensure(LAYER).tar), "-C", str(root)], check=True)
        for name in ("proc", "sys", "dev", "run", "root/.ssh", "tmp", "var/log", "var/lib", "var/empty", "etc/ssh",
                     "etc/systemd/system", "usr/local/bin", "opt/bin", "kernel"):  # fmt: skip
            (root / name).mkdir(parents=True, exist_ok=True)
        lines = "root:*:0:0:root:/root:/bin/bash\n", "sshd:*:100:65534::/run/sshd:/usr/sbin/nologin\n"
        (root / "etc/passwd").write_text("".join(lines))
        (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
        for name, content in (("systemctl", SYSTEMCTL), ("journalctl", JOURNALCTL)):
            (root / "usr/bin" / name).write_text(content)
            (root / "usr/bin" / name).chmod(0o755)
        for path, content in kernel.items():
            (root / "kernel" / path).parent.mkdir(parents=True, exist_ok=True)
            (root / "kernel" / path).write_text(content)
        (root / "root/.ssh/authorized_keys").write_text(keys)
        (root / "etc/ssh/host").write_text(driver.new_key())
        (root / "etc/ssh/host").chmod(0o600)
        (root / "etc/ssh/sshd_config").write_text(CONFIG.format(address=address))

    def start(self) -> None:
        """As a container starts: what was in memory is gone."""
        inside = (
            'mount -t tmpfs tmpfs "$0/run"; mount --rbind /dev "$0/dev"; mount -t proc proc "$0/proc"; '
            'mount --bind "$0/kernel/proc" "$0/proc/sys"; mount --bind "$0/kernel/sys" "$0/sys"; '
            'mkdir -p "$0/var/lib/rancher"; mount -t tmpfs tmpfs "$0/var/lib/rancher"; '
            'for one in etcd kube-apiserver kubectl; do touch "$0/opt/bin/$one"; done; '
            'mount --bind "$1" "$0/opt/bin/etcd"; mount --bind "$2" "$0/opt/bin/kube-apiserver"; '
            'mount --bind "$3" "$0/opt/bin/kubectl"; '
            'mkdir -p -m 755 "$0/run/sshd" "$0/run/systemd/system"; exec chroot "$0" /usr/sbin/sshd -D -e'
        )
        found = binaries.ensure(PROGRAMS)
        programs = [str(found[name]) for name in PROGRAMS]
        # What is killed takes its guests along: the next run has the same addresses.
        command = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "unshare",
            "-m",
            "-p",
            "-f",
            "--kill-child",
            "sh",
            "-ec",
            inside,
            str(self.root),
            *programs,
        ]
        log = (self.root / "var/log/sshd").open("ab")
        self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        log.close()

    def stop(self) -> None:
        """And all that it has started."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def log(self, name: str) -> str:
        """A file in /var/log."""
        path = self.root / "var/log" / name
        return path.read_text(errors="replace") if path.exists() else ""


class Guests:
    """The guests of a stand-in, kept in step with what runs there (takes the place of ``localpve.guests.Guests``)."""

    def __init__(self, pve: K3sStandIn, folder: Path) -> None:
        self.pve, self.folder = pve, folder
        # What takes long is done now: the stand-in waits while a guest starts.
        debian.ensure(LAYER)
        binaries.ensure(PROGRAMS)
        folder.mkdir(parents=True, exist_ok=True)
        self.kernel = dict(KERNEL)
        """What the kernel shows in guests that are made from now on."""
        self.failing: set[str] = set()
        self.all: dict[int, Guest] = {}

    def settle(self) -> None:
        """Start and end guests."""
        containers = {ct.vmid: ct for ct in self.pve.cts if ct.vmid in self.pve.keys}
        for vmid, guest in list(self.all.items()):
            if vmid not in containers or containers[vmid].status != "running":
                guest.stop()
            if vmid not in containers:
                shutil.rmtree(guest.root, ignore_errors=True)
                del self.all[vmid]
        for vmid, ct in containers.items():
            address = re.search(r"ip=([0-9.]+)/", str(ct.config.get("net0")))
            if ct.status != "running" or address is None:
                continue
            if vmid not in self.all:
                self.all[vmid] = Guest(self.folder / str(vmid), address[1], self.pve.keys[vmid], self.kernel)
            if self.all[vmid].process is None:
                self.all[vmid].start()

    def stop(self) -> None:
        """End all of them."""
        for guest in self.all.values():
            guest.stop()


class K3sStandIn(StandIn):
    """A stand-in that remembers with which keys its containers were made."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.keys: dict[int, str] = {}
        self.made: list[dict[str, Any]] = []
        """What was posted for each container."""

    async def _lxc_create(self, user: str, v: dict[str, Any]) -> Any:
        self.made.append(dict(v))
        done = await super()._lxc_create(user, v)
        self.keys[int(v["vmid"])] = str(v.get("ssh-public-keys") or "")
        return done
