"""Containers, where fakepve is more lenient than pve-container, or leaves something out.

===============================  ======================================================================================
what                             as in
===============================  ======================================================================================
a template that isn't there      the task fails, not the request (Create.pm, restore_archive)
an OCI archive                   the image's entrypoint, env, user and directory replace what was posted, and each
                                 network becomes host-managed (Create.pm, restore_oci_archive)
``env``, ``entrypoint``          are unknown before 9.1
``env``                          is shown to who has VM.Config.Options only (LXC.pm, delete_read_restricted_options)
a bridge that isn't there        a start fails; a change is written, and then refused (Network.pm, read_bridge_mtu)
a bridge with a VLAN             needs SDN.Use on ``/sdn/zones/localnetwork/BRIDGE/TAG``
a storage that isn't on a node   is refused (Storage.pm, storage_check_enabled)
``move_volume``                  to a storage, or to another container on the same node under a new name (API2/LXC.pm)
destroying                       takes the container's privileges and firewall along
a lost quorum                    fails what writes a configuration in a task, too
===============================  ======================================================================================
"""

from __future__ import annotations

import re
import shlex
from typing import Any

from fakepve.lxc import (
    NEW_DISK,
    FakeCt,
    LxcApi,
    mount_type,
    normalise,
    parse_mount,
    print_mount,
    split_props,
)
from fakepve.model import PveError, TaskError

Values = dict[str, Any]
NET = re.compile(r"net\d+")
MOUNT = re.compile(r"rootfs|mp\d+")
NO_QUORUM = "unable to open file '/etc/pve/nodes/{node}/lxc/{vmid}.conf.tmp.{pid}' - Permission denied"

UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"


class Containers(LxcApi):
    """A mixin of the stand-in."""

    # ------------------------------------------------------------ creation

    async def _lxc_create(self, user: str, v: Values) -> Any:
        self._need_known(v)
        node, vmid, template = v["node"], int(v["vmid"]), str(v["ostemplate"])
        for sid in {v.get("storage") or "local"} if "rootfs" not in v else _storages(v):
            self._check_enabled(sid, node)
        if not v.get("restore"):
            self._recipes[vmid] = (self._find_template(template), template)
        try:
            upid = await super()._lxc_create(user, v)
            if (ct := self.ct(vmid)) is not None:
                ct.start_secs, ct.stop_secs, ct.shutdown_secs = self.power_secs
            return upid
        except PveError:
            self._recipes.pop(vmid, None)
            raise

    def _find_template(self, template: str) -> Values | None:
        sid, _, name = template.partition(":")
        return self._find_volume(sid, name) if sid in self.storages else None

    async def ceph_io(self, vm: Any, keys: list[str] | None = None) -> None:
        """The one thing that fakepve calls between laying down a new container's configuration and starting it."""
        recipe = self._recipes.pop(vm.vmid, None) if isinstance(vm, FakeCt) else None
        if recipe is not None:
            volume, template = recipe
            if volume is None:
                raise TaskError(f"volume '{template}' does not exist")
            if volume.get("oci") is not None:
                imprint(vm.config, volume["oci"])
            if volume.get("operator") is not None:
                self.disks.setdefault(vm.vmid, {})["operator"] = volume["operator"]
        await super().ceph_io(vm, keys)

    # ------------------------------------------------------------ configuration

    async def _lxc_config_get(self, user: str, v: Values) -> Values:
        found: Values = await super()._lxc_config_get(user, v)
        if not self.allowed(user, f"/vms/{v['vmid']}", "VM.Config.Options"):
            found.pop("env", None)
        return found

    async def _lxc_pending(self, user: str, v: Values) -> list[Values]:
        found: list[Values] = await super()._lxc_pending(user, v)
        seen = self.allowed(user, f"/vms/{v['vmid']}", "VM.Config.Options")
        return [entry for entry in found if seen or entry["key"] != "env"]

    def _need_known(self, v: Values) -> None:
        """Before 9.1 containers have no entrypoint and no environment."""
        unknown = {} if self.takes_oci else {key: UNKNOWN for key in ("entrypoint", "env") if key in v}
        if unknown:
            raise PveError(400, "Parameter verification failed.", unknown)

    async def _lxc_config_put(self, user: str, v: Values) -> None:
        self._need_known(v)
        ct = self._find_ct(v["node"], v["vmid"])
        missing = {key: bridge for key, bridge in _bridges(v).items() if bridge not in self.bridges[ct.node]}
        if missing and ct.status == "running":
            raise PveError(400, "Parameter verification failed.", {
                key: f"unable to hotplug {key}: bridge '{bridge}' does not exist" for key, bridge in missing.items()
            })  # fmt: skip
        await super()._lxc_config_put(user, v)
        for bridge in missing.values():
            raise PveError(500, f"bridge '{bridge}' does not exist")

    def _check_bridge(self, user: str, net: str) -> None:
        props = split_props(net)[1]
        if props.get("bridge"):
            tag = f"/{props['tag']}" if props.get("tag") else ""
            self.require(user, f"/sdn/zones/localnetwork/{props['bridge']}{tag}", "SDN.Use")

    # ------------------------------------------------------------ power

    async def _start_steps(self, ct: FakeCt, user: str, skiplock: bool = False) -> None:
        config = {**ct.config, **{key: value for key, value in ct.pending.items() if value is not None}}
        for bridge in _bridges(config).values():
            if bridge not in self.bridges[ct.node]:
                raise TaskError(f"bridge '{bridge}' does not exist")
        await super()._start_steps(ct, user, skiplock)
        ct.started_at = self.clock()

    def _uptime(self, ct: FakeCt) -> int:
        return max(0, int(self.clock() - ct.started_at)) if ct.status == "running" and ct.started_at else 0

    # ------------------------------------------------------------ deletion

    async def _lxc_destroy(self, user: str, v: Values) -> Any:
        if not self.quorate:
            ct = self._find_ct(v["node"], v["vmid"])
            return await self._without_quorum(ct, "vzdestroy", user)
        return await super()._lxc_destroy(user, v)

    def _drop(self, ct: FakeCt) -> None:
        super()._drop(ct)
        self._recipes.pop(ct.vmid, None)
        self.disks.pop(ct.vmid, None)
        for grants in (self.acl or {}).values():
            grants[:] = [entry for entry in grants if entry[0] != f"/vms/{ct.vmid}"]

    async def _lxc_resize(self, user: str, v: Values) -> Any:
        if not self.quorate:
            return await self._without_quorum(self._find_ct(v["node"], v["vmid"]), "resize", user)
        return await super()._lxc_resize(user, v)

    async def _without_quorum(self, ct: FakeCt, kind: str, user: str) -> Any:
        async def body() -> None:
            raise TaskError(NO_QUORUM.format(node=ct.node, vmid=ct.vmid, pid=4711))

        return await self._ct_task(ct, kind, user, body)

    # ------------------------------------------------------------ volumes

    def _routes_moves(self) -> list[tuple[str, str, Any]]:
        return [("POST", "/nodes/{node}/lxc/{vmid}/move_volume", self._move_volume)]

    async def _move_volume(self, v: Values, user: str) -> Any:
        storage, target = v.get("storage"), v.get("target-vmid")
        if bool(storage) == bool(target):
            text = "either set 'storage' or 'target-vmid', but not both" if storage else (
                "both 'storage' and 'target-vmid' missing, either needs to be set")  # fmt: skip
            raise PveError(400, "Parameter verification failed.", {"target-vmid": text, "storage": text})
        return await (self._to_storage(v, user) if storage else self._to_container(v, user))

    async def _to_storage(self, v: Values, user: str) -> Any:
        ct, key, storage = self._find_ct(v["node"], v["vmid"]), v["volume"], v["storage"]
        self.require(user, f"/storage/{storage}", "Datastore.AllocateSpace")
        await self._config_lock(ct)
        try:
            self._ct_check_lock(ct)
            if ct.status == "running":
                raise PveError(500, "cannot move volumes of a running container")
            if key.startswith("unused"):
                text = f"cannot move volume '{key}', only configured volumes can be moved to another storage"
                raise PveError(500, text)
            _check_digest(ct, v.get("digest"))
            if key not in ct.config:
                raise PveError(500, "format error\nvolume: property is missing and it is not optional")
            self._storage_for(storage, user, ct.vmid)
            ct.lock = "disk"
        finally:
            self.release(ct, "config")

        async def body() -> None:
            try:
                mount = parse_mount(ct.config[key])
                old = mount["volume"]
                await self.pause(self.ct_secs["migrate"])
                mount["volume"] = self._allocate(ct.vmid, storage, self._taken_volumes())
                ct.config[key] = print_mount(mount, key == "rootfs")
                if not v.get("delete"):
                    ct.config[self._unused_key(ct.config)] = old
            finally:
                ct.lock = None

        return await self.task(ct.node, "move_volume", ct.vmid, user, body)

    async def _to_container(self, v: Values, user: str) -> Any:
        source, key = int(v["vmid"]), v["volume"]
        target, target_key = int(v["target-vmid"]), v.get("target-volume") or key
        if user != "root@pam":
            self._vm_perm(user, target, None, "VM.Config.Disk")

        def plan() -> tuple[FakeCt, FakeCt, Values]:
            """Every check of ``load_and_check_reassign_configs``, in its order."""
            if "rootfs" in (key, target_key):
                raise PveError(500, "Cannot move to/from 'rootfs'")
            if key.startswith("unused") and not target_key.startswith("unused"):
                raise PveError(500, "Moving an unused volume to a used one is not possible")
            pair = []
            for vmid in (source, target):
                ct = self.ct(vmid)
                if ct is None:
                    raise PveError(500, f"could not find CT {vmid}")
                pair.append(ct)
            one, other = pair
            if one.node != other.node:
                text = f"Both containers need to be on the same node ({one.node} != {other.node})"
                raise PveError(500, text)
            for ct in pair:
                self._ct_check_lock(ct)
            if one.template or other.template:
                raise PveError(500, "Can't move volumes from or to template CT")
            for ct, digest in ((one, v.get("digest")), (other, v.get("target-digest"))):
                _check_digest(ct, digest, f"Container {ct.vmid}: ")
            if key not in one.config:
                raise PveError(500, f"volume '{key}' for container '{source}' does not exist")
            if target_key in other.config:
                text = f"Target volume key '{target_key}' is already in use for container '{target}'"
                raise PveError(500, text)
            mount = parse_mount(one.config[key])
            if any(parse_mount(snap.get(key, "")).get("volume") == mount["volume"] for snap in one.snapshots.values()):
                raise PveError(500, "Cannot move volume used by a snapshot to another container")
            if mount_type(mount["volume"]) != "volume":
                raise PveError(500, "Cannot move a bindmount or device mount to another container")
            if one.status == "running" and not key.startswith("unused"):
                text = "Cannot move in-use volume while the source CT is running - detach or shutdown first"
                raise PveError(500, text)
            return one, other, mount

        _, _, found = plan()
        storage = found["volume"].split(":")[0]
        self.require(user, f"/storage/{storage}", "Datastore.AllocateSpace")

        async def body() -> None:
            one, other = self.ct(source), self.ct(target)
            await self.acquire(one, "move")
            try:
                await self.acquire(other, "move")
                try:
                    one, other, mount = plan()  # once more, now that nobody else changes them
                    await self.pause(self.ct_secs["resize"])
                    mount["volume"] = self._allocate(target, storage, self._taken_volumes())
                    del one.config[key]
                    if target_key.startswith("unused"):
                        other.config[target_key] = mount["volume"]
                    else:
                        other.pending[target_key] = print_mount(mount)
                        self._apply(other, {target_key}, other.status == "running")
                except PveError as refusal:
                    raise TaskError(refusal.message) from refusal
                finally:
                    self.release(other, "move")
            finally:
                self.release(one, "move")

        ident = f"{source}-{key}>{target}-{target_key}"
        log = [f"moving volume '{key}' from container '{source}' to '{target}'"]
        return await self.task(v["node"], "move_volume", ident, user, body, log=log)

    # ------------------------------------------------------------ interfaces

    async def _lxc_interfaces(self, user: str, v: Values) -> list[Values] | None:
        found: list[Values] | None = await super()._lxc_interfaces(user, v)
        if found is None:
            return None
        ct = self._find_ct(v["node"], v["vmid"])
        return [found[0], *(self._addressed(ct, entry) for entry in found[1:])]

    def _addressed(self, ct: FakeCt, entry: Values) -> Values:
        """An interface with the addresses that the guest has given itself, or got by DHCP."""
        nets = (split_props(value)[1] for key, value in ct.config.items() if NET.fullmatch(key))
        props = next(net for net in nets if net.get("name", "eth0") == entry["name"])
        bare = {key: value for key, value in entry.items() if key not in ("inet", "inet6")}
        bare["hwaddr"] = bare["hardware-address"] = str(entry["hwaddr"]).lower()
        bare["ip-addresses"] = []
        custom = ct.config.get("entrypoint") not in (None, "/sbin/init")
        if props.get("link_down") == 1 or (custom and not props.get("host-managed")):
            return bare  # nobody in the guest configures it
        found = {"inet": props.get("ip", ""), "inet6": props.get("ip6", "")}
        if found["inet"] == "dhcp":
            found["inet"] = self.lease(str(props.get("hwaddr", "")))
        for family, cidr in found.items():
            address, slash, prefix = cidr.partition("/")
            if slash:
                bare[family] = cidr
                told = {"ip-address-type": family, "ip-address": address, "prefix": int(prefix)}
                bare["ip-addresses"].append(told)
        return bare

    def lease(self, mac: str) -> str:
        """What the DHCP server of the lab's network gives to a MAC: the same each time."""
        number = self.leases.setdefault(mac.upper(), len(self.leases))
        return f"10.20.1.{number % 250 + 1}/16"


def imprint(config: Values, image: Values) -> None:
    """What creating from an OCI archive makes of a configuration, whatever was posted."""
    init = [*(image.get("Entrypoint") or ()), *(image.get("Cmd") or ())]
    if init and init[0] != "/sbin/init":
        config["entrypoint"] = shlex.join(init)
        config["cmode"] = "console"
        for key in [key for key in config if NET.fullmatch(key)]:
            if "host-managed" not in split_props(config[key])[1]:
                config[key] = normalise(key, f"{config[key]},host-managed=1")
    raw = [] if not image.get("User") else [["lxc.init.uid", str(image["User"]).partition(":")[0]]]
    if image.get("WorkingDir"):
        raw.append(["lxc.init.cwd", image["WorkingDir"]])
    if image.get("Env"):
        config["env"] = "\0".join(image["Env"])
    raw.append(["lxc.signal.halt", image.get("StopSignal") or "SIGTERM"])
    config["lxc"] = raw


def _bridges(values: Values) -> dict[str, str]:
    found = {key: split_props(value)[1].get("bridge") for key, value in values.items() if NET.fullmatch(key)}
    return {key: bridge for key, bridge in found.items() if bridge}


def _storages(values: Values) -> set[str]:
    """The storages that mounts to be made lie on."""
    out = set()
    for key, value in values.items():
        if MOUNT.fullmatch(key) and (new := NEW_DISK.match(parse_mount(value).get("volume", ""))):
            out.add(new.group(1))
    return out


def _check_digest(ct: FakeCt, digest: str | None, who: str = "") -> None:
    if digest and digest != ct.digest():
        raise PveError(500, f"{who}detected modified configuration - file changed by other user? Try again.")
