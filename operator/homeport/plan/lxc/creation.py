"""What a container is made with."""

from __future__ import annotations

from homeport.plan.lxc import owner as owners
from homeport.plan.lxc.disks import mount_text
from homeport.plan.lxc.wanted import Wanted
from homeport.plan.proxmox import properties, sizes


def creation(wanted: Wanted, *, without_mounts: bool = False) -> dict[str, str | int]:
    """The parameters of the ``POST`` that makes it. It isn't started: what it starts with is looked at before."""
    if wanted.template is None or wanted.root_storage is None or wanted.root_size is None:
        raise ValueError("a container can't be made without a template and a root disk's storage and size")
    out: dict[str, str | int] = {
        "vmid": wanted.owner.vmid,
        "ostemplate": wanted.template,
        "unprivileged": int(wanted.unprivileged is not False),
        "rootfs": sizes.new_volume(wanted.root_storage, str(wanted.root_size)),
        "tags": properties.tags_text(wanted.tags or {owners.TAG}),
        "description": owners.described(wanted.text or "", wanted.owner),
        "start": 0,
    }
    # What an OCI image says of these overwrites what is posted: they are set afterwards. Protection would keep a
    # container that can't be made from being taken away again.
    later = ("entrypoint", "env", "protection")
    out.update({key: value for key, value in wanted.options.items() if value is not None and key not in later})
    if wanted.nesting:
        out["features"] = "nesting=1"
    if wanted.pool:
        out["pool"] = wanted.pool
    if wanted.public_keys:
        out["ssh-public-keys"] = wanted.public_keys
    out.update({f"net{n}": network.render() for n, network in enumerate(wanted.networks.values())})
    if not without_mounts:
        for number, mount in enumerate(wanted.mounts):
            out[f"mp{number}"] = mount_text(mount, sizes.new_volume(mount.storage or "", str(mount.size)))
    return out
