"""What k3s needs of a container, seen from inside; and what an administrator does on the node where it lacks. Pure.

Nothing here can be seen by Proxmox VE's API, and of what lacks a token can set nothing: docs/k3s-on-proxmox.md tells
all of it. The script changes nothing that stays: what it tries (a mount, a link) it takes away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SCRIPT = r"""
PATH=$PATH:/usr/sbin:/sbin
yes() { if "$@" >/dev/null 2>&1; then echo yes; else echo no; fi; }
echo "systemd=$(yes test -d /run/systemd/system)"
echo "machine=$(uname -m)"
echo "idmap=$(awk '{print $2; exit}' /proc/self/uid_map 2>/dev/null)"
echo "cgroups=$(cat /sys/fs/cgroup/cgroup.controllers 2>/dev/null)"
echo "cgroupsWritable=$(yes test -w /sys/fs/cgroup)"
echo "bridge=$(yes test -e /proc/sys/net/bridge/bridge-nf-call-iptables)"
echo "conntrack=$(cat /proc/sys/net/netfilter/nf_conntrack_max 2>/dev/null)"
if [ -e /sys/module/ip_tables ] || [ -e /sys/module/nf_tables ]; then echo tables=yes; else echo tables=no; fi
if [ "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 ]; then echo forward=yes
else echo "forward=$(yes sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward')"; fi
if command -v ip >/dev/null; then
  echo "vxlan=$(yes ip link add homeport-try type vxlan id 4242 dstport 4243)"; ip link del homeport-try 2>/dev/null
fi
mkdir -p /var/lib/rancher; try=$(mktemp -d /var/lib/rancher/try.XXXXXX)
mkdir "$try/l" "$try/u" "$try/w" "$try/m"
echo "overlay=$(yes mount -t overlay overlay -o "lowerdir=$try/l,upperdir=$try/u,workdir=$try/w" "$try/m")"
umount "$try/m" 2>/dev/null; rm -rf "$try"
echo "kmsg=$(yes test -r /dev/kmsg)"
echo "fuse=$(yes test -e /dev/fuse)"
echo "inotify=$(cat /proc/sys/fs/inotify/max_user_instances 2>/dev/null)"
echo "flags=$(cd /proc/sys && cat vm/overcommit_memory kernel/panic kernel/panic_on_oops 2>/dev/null | tr '\n' ' ')"
echo "sysctls=$(yes test -w /proc/sys/kernel/panic)"
echo "free=$(df -Pk /var/lib | awk 'NR==2 {print $4}')"
"""

LEAST_FREE = 2 << 20
"""KiB for k3s and its images."""
LEAST_INOTIFY = 512
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Where:
    """The container that was looked at."""

    name: str
    vmid: int
    node: str
    snapshotter: str = "overlayfs"


def problems(found: Mapping[str, str], where: Where) -> list[str]:
    """What keeps k3s from running there, each with what to do."""
    out = []
    container = f"container {where.vmid} ({where.name})"
    if found.get("systemd") != "yes":
        out.append(f"{container} has no systemd; write a template that has, such as debian-12")
    if found.get("machine") not in MACHINES:
        out.append(f"{container} is a {found.get('machine')}; k3s is for {' and '.join(MACHINES)}")
    controllers = found.get("cgroups", "").split()
    lacking = [one for one in ("cpu", "memory", "pids") if one not in controllers]
    if lacking:
        out.append(
            f"{container} has no cgroup controllers {', '.join(lacking)}: node {where.node} has to run with cgroup v2 "
            "alone; take systemd.unified_cgroup_hierarchy=0 out of its kernel's command line"
        )
    elif found.get("cgroupsWritable") != "yes":
        out.append(f"{container} can't make cgroups of its own; {_features(where, found)}")
    out += _modules(found, where, container)
    if where.snapshotter == "overlayfs" and found.get("overlay") != "yes":
        out.append(
            f"{container} can't mount overlayfs: {_load(where.node, 'overlay')}. If that doesn't help, "
            f"{_nesting(where)}; on a file system that can't (ZFS < 2.2) write snapshotter: native"
        )
    if where.snapshotter == "fuse-overlayfs" and found.get("fuse") != "yes":
        out.append(f"{container} has no /dev/fuse. On {where.node}, as root: pct set {where.vmid} --features "
                   f"nesting=1,fuse=1 && pct reboot {where.vmid}")  # fmt: skip
    if found.get("forward") != "yes":
        out.append(f"{container} can't forward packets. On {where.node}, as root: sysctl -w net.ipv4.ip_forward=1 && "
                   "echo net.ipv4.ip_forward=1 >/etc/sysctl.d/90-k3s.conf")  # fmt: skip
    if _number(found, "inotify", LEAST_INOTIFY) < LEAST_INOTIFY:
        out.append(f"node {where.node} has only {found['inotify']} inotify instances a user. As root there: echo "
                   "fs.inotify.max_user_instances=65536 >/etc/sysctl.d/90-k3s.conf && sysctl --system")  # fmt: skip
    if _number(found, "free", LEAST_FREE) < LEAST_FREE:
        out.append(f"{container} has {int(found['free']) // 1024} MiB free, and k3s needs 2048; write a larger disk")
    return out + _privileged(found, where, container)


def _modules(found: Mapping[str, str], where: Where, container: str) -> list[str]:
    lacking = [
        module
        for module, is_there in (
            ("br_netfilter", found.get("bridge") == "yes"),
            ("nf_conntrack", bool(found.get("conntrack"))),
            ("ip_tables", found.get("tables") == "yes"),
            ("vxlan", found.get("vxlan", "yes") == "yes"),
        )
        if not is_there
    ]
    if not lacking:
        return []
    return [f"{container} lacks the kernel's {', '.join(lacking)}: {_load(where.node, *lacking)}"]


def _privileged(found: Mapping[str, str], where: Where, container: str) -> list[str]:
    """Where root is root, the kubelet insists on what it can do without elsewhere."""
    if found.get("idmap") != "0":
        return []
    out = []
    raw = f"/etc/pve/lxc/{where.vmid}.conf"
    if found.get("kmsg") != "yes":
        line = "lxc.mount.entry: /dev/kmsg dev/kmsg none bind,optional,create=file"
        mend = f"echo '{line}' >>{raw} && pct reboot {where.vmid}"
        out.append(f"{container} is privileged and has no /dev/kmsg. On {where.node}, as root: {mend}; or write "
                   "unprivileged: true")  # fmt: skip
    if found.get("flags", "").split() != ["1", "10", "1"] and found.get("sysctls") != "yes":
        out.append(
            f"{container} is privileged, and the kubelet can't set the kernel's flags. On {where.node}, as root: "
            "printf '%s\\n' vm.overcommit_memory=1 kernel.panic=10 kernel.panic_on_oops=1 >/etc/sysctl.d/91-k3s.conf "
            "&& sysctl --system; or write unprivileged: true"
        )
    return out


def _load(node: str, *modules: str) -> str:
    lines = " ".join(modules)
    each = " && ".join(f"modprobe {one}" for one in modules)
    return f"on {node}, as root: {each} && printf '%s\\n' {lines} >>/etc/modules-load.d/k3s.conf"


def _nesting(where: Where) -> str:
    return f"on {where.node}: pct set {where.vmid} --features nesting=1 && pct reboot {where.vmid}"


def _features(where: Where, found: Mapping[str, str]) -> str:
    return _nesting(where) if found.get("idmap") != "0" else f"as root {_nesting(where)}"


def _number(found: Mapping[str, str], key: str, otherwise: int) -> int:
    text = found.get(key, "")
    return int(text) if text.isdecimal() else otherwise
