"""Backups of containers, of which fakepve has nothing but the lock.

===============================  ======================================================================================
what                             as in
===============================  ======================================================================================
``POST vzdump``                  one task a node at a time, the others queue (VZDump.pm, getlock); a guest on another
                                 node is passed over with ``OK`` instead of a task (API2/VZDump.pm)
the mode                         snapshot becomes suspend, without an error, where a volume can't be snapshotted; what
                                 doesn't run is dumped as with stop (VZDump.pm, exec_backup_task)
mounts                           those without ``backup=1``, bind mounts and devices are left out (Config.pm,
                                 mountpoint_backup_enabled)
a failure                        is told in the log, and the task ends with ``job errors`` (exec_backup)
notes                            of several lines are listed with the first only (Content.pm)
``remove``                       on by default: the storage's own retention, by VMID; off, that is a limit instead
``extractconfig``                the archive's configuration as text
``POST lxc`` with ``restore``    options that aren't posted are the archive's, networks too; with ``unique`` those are
                                 the archive's even when posted; raw ``lxc.`` lines are dropped with a warning, but for
                                 root@pam (Create.pm, sanitize_and_merge_config). ``force`` is refused loudly: Homeport
                                 must never send it
===============================  ======================================================================================

A storage of the type ``pbs`` names its archives as Proxmox Backup Server does, and has their verification.
"""

from __future__ import annotations

import asyncio
import copy
import re
import shlex
import urllib.parse
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from fakepve.lxc import SNAPSHOT_STORAGE, FakeCt, mount_type, normalise, parse_mount, parse_size, print_mount
from fakepve.model import PveError, TaskError
from fakepve.routing import split_list

from localpve.containers import NET, NO_QUORUM, Containers, Values

MIB = 2**20
MOUNT = re.compile(r"rootfs|mp\d+")
PBS_NAME = re.compile(r"backup/(?P<type>[^\s_/]+)/(?P<id>\d+)/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
ROOT_ONLY = ("tmpdir", "dumpdir", "script", "job-id")
PASSING = ("lock", "snapshots", "parent", "pending", "digest")
NOT_MERGED = ("digest", "rootfs", "snapshots", "unprivileged", "parent", "template", "lxc")
EXTENSIONS = {"0": "tar", "1": "tar.lzo", "lzo": "tar.lzo", "gzip": "tar.gz", "zstd": "tar.zst"}


class Vzdump(Containers):
    """A mixin of the stand-in."""

    dump_secs: float
    wall: Callable[[], float]
    clock: Callable[[], float]
    refused: list[str]
    disks: dict[int, dict[str, str]]
    backup_jobs: list[Values]
    """The datacenter's own backup jobs."""

    def _start_vzdump(self) -> None:
        self._dumping: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._merges: dict[int, tuple[Values, Values, str]] = {}
        self._warned: dict[int, int] = {}
        self.backup_jobs = []

    def _routes_vzdump(self) -> list[tuple[str, str, Any]]:
        return [("POST", "/nodes/{node}/vzdump", self._vzdump),
                ("GET", "/nodes/{node}/vzdump/extractconfig", self._extract),
                ("GET", "/nodes/{node}/vzdump/defaults", self._defaults),
                ("GET", "/cluster/backup", self._jobs)]  # fmt: skip

    async def _defaults(self, v: Values, user: str) -> Values:
        storage = v.get("storage") or "local"
        path = f"/storage/{storage}"
        if not self.allowed(user, path, "Datastore.Audit"):
            self.require(user, path, "Datastore.AllocateSpace")
        store = self._store(storage)
        if "backup" not in split_list(store.get("content")):
            raise PveError(500, f"can't use storage '{storage}' for backups - wrong content type")
        return {"storage": storage, "prune-backups": store.get("prune-backups") or "keep-all=1"}

    async def _jobs(self, v: Values, user: str) -> list[Values]:
        return self.backup_jobs

    # ------------------------------------------------------------ backup

    async def _vzdump(self, v: Values, user: str) -> str:
        node, storage = v["node"], v.get("storage") or "local"
        if user != "root@pam":
            self._may_dump(v, user, storage)
        _check_template_of_notes(v.get("notes-template") or "")
        if not v.get("vmid"):
            raise PveError(400, "Parameter verification failed.", {"vmid": "property is missing"})
        guests = [int(vmid) for vmid in split_list(v["vmid"])]
        here = [vmid for vmid in guests if (ct := self.ct(vmid)) is None or ct.node == node]
        if not here:
            return "OK"
        self.require(user, f"/storage/{storage}", "Datastore.AllocateSpace")
        log: list[str] = []

        async def body() -> None:
            await self._dump_all(node, storage, here, v, user, log)

        ident = here[0] if len(here) == 1 else ""
        upid: str = await self.task(node, "vzdump", ident, user, body, log=log)
        return upid

    def _may_dump(self, v: Values, user: str, storage: str) -> None:
        for key in ROOT_ONLY:
            if key in v:
                raise PveError(400, "Parameter verification failed.", {key: "Only root may set this option."})
        if any(v.get(key) is not None for key in ("bwlimit", "ionice", "performance")):
            self.require(user, "/", "Sys.Modify")
        if v.get("prune-backups") is not None:
            self.require(user, f"/storage/{storage}", "Datastore.Allocate")

    async def _dump_all(self, node: str, storage: str, guests: list[int], v: Values, user: str, log: list[str]) -> None:
        store = self.storages.get(storage)
        if store is None:
            raise TaskError(f"could not get storage information for '{storage}': storage '{storage}' does not exist")
        if "backup" not in split_list(store.get("content")):
            text = f"can't use storage '{storage}' for backups - wrong content type"
            raise TaskError(f"could not get storage information for '{storage}': {text}")
        await self._global_lock(node, v.get("lockwait", 180) * 60, log)
        try:
            told = {key: value for key, value in v.items() if key not in ("node", "vmid")}
            line = " ".join(f"--{key} {shlex.quote(str(value))}" for key, value in sorted(told.items()))
            log.append(f"INFO: starting new backup job: vzdump {' '.join(map(str, guests))} {line}")
            failed = warnings = 0
            for vmid in guests:
                if self.ct(vmid) is not None:
                    self._require_in_task(user, f"/vms/{vmid}", "VM.Backup")
                try:
                    warnings += await self._dump(node, storage, vmid, v, log)
                except TaskError as refusal:
                    failed += 1
                    log.append(f"ERROR: Backup of VM {vmid} failed - {refusal}")
            log.append("INFO: Backup job finished with errors" if failed else "INFO: Backup job finished successfully")
            if failed:
                raise TaskError("job errors")
            if warnings:
                raise TaskError(f"WARNINGS: {warnings}")
        finally:
            self._dumping[node].release()

    def _require_in_task(self, user: str, path: str, privilege: str) -> None:
        try:
            self.require(user, path, privilege)
        except PveError as refusal:
            raise TaskError(refusal.message) from None

    async def _global_lock(self, node: str, seconds: float, log: list[str]) -> None:
        """One vzdump a node."""
        lock = self._dumping[node]
        if not lock.locked():
            await lock.acquire()
            return
        log.append("INFO: trying to get global lock - waiting...")
        got, late = asyncio.ensure_future(lock.acquire()), asyncio.ensure_future(self.pause(seconds))
        await asyncio.wait({got, late}, return_when=asyncio.FIRST_COMPLETED)
        if not got.done():
            got.cancel()
            log.append("ERROR: can't acquire lock '/var/run/vzdump.lock' - got timeout")
            raise TaskError("unexpected status")
        late.cancel()
        log.append("INFO: got global lock")

    async def _dump(self, node: str, storage: str, vmid: int, v: Values, log: list[str]) -> int:
        ct = self.ct(vmid)
        if ct is None:
            raise TaskError(f"unable to find VM '{vmid}'")
        store, began = self.storages[storage], self.wall()
        self._limited(store, vmid, v)
        log += [f"INFO: Starting Backup of VM {vmid} (lxc)", f"INFO: Backup started at {_local(began)}",
                f"INFO: status = {ct.status}"]  # fmt: skip
        if not self.quorate:
            raise TaskError(NO_QUORUM.format(node=node, vmid=vmid, pid=4711))
        if ct.lock:
            raise TaskError(f"CT is locked ({ct.lock})")
        was_running, mode = ct.status == "running", self._mode(ct, v.get("mode") or "snapshot", log)
        included = _say_mounts(ct, log)
        log.append(f"INFO: backup mode: {mode}")
        if mode == "stop" and was_running:
            log.append("INFO: stopping virtual guest")
            ct.status, ct.pid = "stopped", None
            self.changed()
        ct.lock = "backup"
        held = self._contents(ct, included)  # what is written from now on isn't in it
        config = {key: copy.deepcopy(value) for key, value in ct.config.items() if key not in PASSING}
        try:
            await self.pause(self.dump_secs)
            size = 64 * MIB + sum(16 * MIB for key in included) + sum(map(len, held.values()))
            return self._write_archive(node, storage, ct, v, began, log, size, config, held)
        finally:
            ct.lock = None
            if mode == "stop" and was_running:
                log.append("INFO: restarting vm")
                ct.status, ct.pid, ct.started_at = "running", next(self._ct_pids), self.clock()
            self.changed()

    def _mode(self, ct: FakeCt, asked: str, log: list[str]) -> str:
        if ct.status != "running":
            return "stop"
        if asked == "snapshot" and not all(
            self.storages[mount["volume"].split(":")[0]].get("type") in SNAPSHOT_STORAGE
            for key, mount in ct.volumes()
            if MOUNT.fullmatch(key) and _included(key, mount)[0]
        ):
            log += ["INFO: mode failure - some volumes do not support snapshots",
                    "INFO: trying 'suspend' mode instead"]  # fmt: skip
            return "suspend"
        return asked

    def _contents(self, ct: FakeCt, included: dict[str, str]) -> dict[str, str]:
        """What guests keep on the disks that are dumped."""
        mounts = {key: parse_mount(ct.config[key]).get("mp", "") for key in ct.config if re.fullmatch(r"mp\d+", key)}
        left_out = [path.rstrip("/") + "/" for key, path in mounts.items() if key not in included]
        disk = self.disks.get(ct.vmid, {})
        return {path: value for path, value in disk.items() if not any(path.startswith(out) for out in left_out)}

    def _write_archive(
        self, node: str, storage: str, ct: FakeCt, v: Values, began: float, log: list[str], size: int,
        config: Values, held: dict[str, str],
    ) -> int:  # fmt: skip
        """Write the archive; how often it warned."""
        store, warnings = self.storages[storage], 0
        if store.get("avail") is not None and store["avail"] < size:
            log.append("INFO: zstd: error 70 : Write error : cannot write block : No space left on device")
            raise TaskError("command 'set -o pipefail && tar cpf - ...' failed: exit code 70")
        if not store.get("active", 1):
            raise TaskError(f"storage '{storage}' is not online")
        name, form = _volume_name(store, ct.vmid, began, str(v.get("compress") or "0"))
        target = name.removeprefix("backup/")
        kind = "Proxmox Backup Server" if store.get("type") == "pbs" else "vzdump"
        where = target if kind != "vzdump" else f"{self._base_path(storage)}/dump/{target}"
        log += [f"INFO: creating {kind} archive '{where}'", f"INFO: archive file size: {size // MIB}MB"]
        volume = {"content": "backup", "format": form, "size": size, "vmid": ct.vmid, "ctime": int(began),
                  "subtype": "lxc", "archive": {"config": config, "disk": held, "node": node}}  # fmt: skip
        store.setdefault("volumes", {})[name] = volume
        if store.get("avail") is not None:
            store["avail"] -= size
        if v.get("notes-template"):
            log.append("INFO: adding notes to backup")
            if store.get("unwritable_notes"):
                log.append("WARN: unable to add notes - update failed")
                warnings += 1
            else:
                volume["notes"] = self._notes(v["notes-template"], ct)
        if v.get("protected"):
            log.append("INFO: marking backup as protected")
            volume["protected"] = True
        if v.get("remove", 1):
            self._prune(store, ct.vmid, log)
        log.append(f"INFO: Finished Backup of VM {ct.vmid} (00:00:{int(self.dump_secs):02d})")
        return warnings

    def _limited(self, store: Values, vmid: int, v: Values) -> None:
        limit = _keeps(store)
        mine = [volume for volume in store.get("volumes", {}).values()
                if volume.get("content") == "backup" and volume.get("vmid") == vmid]  # fmt: skip
        if v.get("protected"):
            most = int(store.get("max-protected-backups") or -1)
            if -1 < most <= sum(bool(volume.get("protected")) for volume in mine):
                raise TaskError(f"The number of protected backups per guest is limited to {most} on storage")
        elif limit and not v.get("remove", 1) and sum(not volume.get("protected") for volume in mine) >= limit:
            raise TaskError(
                f"There is a max backup limit of {limit} enforced by the target storage or the vzdump parameters. "
                "Either increase the limit or delete old backups."
            )

    def _prune(self, store: Values, vmid: int, log: list[str]) -> None:
        """The storage's own retention, coarsely: the newest of a VMID, whoever made them."""
        keep = _keeps(store)
        volumes = store["volumes"]
        mine = [name for name, volume in volumes.items() if volume.get("content") == "backup"
                and volume.get("vmid") == vmid and not volume.get("protected")]  # fmt: skip
        for name in sorted(mine, key=lambda one: volumes[one]["ctime"])[:-keep] if keep else ():
            del volumes[name]
            log.append(f"INFO: removing backup '{name}'")

    def _notes(self, template: str, ct: FakeCt) -> str:
        text = re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], template)
        values = {"cluster": self.cluster_name, "guestname": ct.name, "node": ct.node, "vmid": str(ct.vmid)}
        return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], text)

    # ------------------------------------------------------------ what is there

    async def _content_list(self, v: Values, user: str) -> list[Values]:
        found: list[Values] = await super()._content_list(v, user)
        store = self._store(v["storage"])
        volumes = store.get("volumes", {})
        names = {entry["volid"]: volumes.get(entry["volid"].partition(":")[2]) for entry in found}
        return [entry for entry in found if _is_on(names[entry["volid"]], store, v["node"])]

    def _volume_target(self, v: Values) -> Any:
        """What is on another node's own storage isn't there."""
        target = super()._volume_target(v)
        volume = target[3].get("volumes", {}).get(target[1])
        if not _is_on(volume, target[3], v["node"]):
            raise PveError(500, f"volume_size_info on '{target[2]}' failed - no such volume")
        return target

    def _item(self, name: str, volname: str, vol: Values) -> Values:
        item: Values = super()._item(name, volname, vol)
        if "notes" in item:
            item["notes"] = str(item["notes"]).split("\n", 1)[0]
        for key in ("subtype", "verification", "encrypted"):
            if vol.get(key) is not None:
                item[key] = vol[key]
        if not item.get("protected"):
            item.pop("protected", None)
        return item

    def _parse_volname(self, store: Values, volname: str) -> Any:
        if store.get("type") == "pbs":
            found = PBS_NAME.fullmatch(volname)
            if found is None:
                raise PveError(500, f"unable to parse PBS volume name '{volname}'")
            return "backup", int(found["id"]), f"pbs-{found['type']}"
        return super()._parse_volname(store, volname)

    async def _content_put(self, v: Values, user: str) -> None:
        sid, volname, volid, store, vtype, owner, _ = self._volume_target(v)
        if store.get("type") != "pbs":
            await super()._content_put(v, user)
            return
        self._check_access(user, sid, vtype, owner, volid)
        volume = store.setdefault("volumes", {}).get(volname)
        if volume is None:
            raise PveError(500, f"Error: unable to update {volname}: no such snapshot")
        volume.update({key: v[key] for key in ("notes", "protected") if key in v})

    async def _extract(self, v: Values, user: str) -> str:
        sid, volname = self._archive(v["volume"])
        _, owner, _ = self._parse_volname(self._store(sid), volname)
        self._check_access(user, sid, "backup", owner, v["volume"])
        if owner:
            self.require(user, f"/vms/{owner}", "VM.Backup")
        volume = self._find_volume(sid, volname)
        if volume is None or "archive" not in volume or not _is_on(volume, self.storages[sid], v["node"]):
            raise PveError(500, f"command 'tar -xOf {volname} ./etc/vzdump/pct.conf' failed: exit code 2")
        return text_of(volume["archive"]["config"])

    def _archive(self, volid: str) -> tuple[str, str]:
        sid, colon, volname = str(volid).partition(":")
        if not colon:
            raise PveError(500, "Only root can pass arbitrary filesystem paths.")
        self._store(sid)
        return sid, volname

    # ------------------------------------------------------------ restore

    async def _lxc_create(self, user: str, v: Values) -> Any:
        if not v.get("restore"):
            return await super()._lxc_create(user, v)
        if v.get("force"):
            self.refused.append(f"POST /nodes/{v['node']}/lxc: force=1 destroys what is there before it extracts")
            raise PveError(500, "this stand-in refuses force=1: it destroys all present volumes before it extracts")
        sid, volname = self._archive(v["ostemplate"])
        volume = self._find_volume(sid, volname)
        if not _is_on(volume, self.storages[sid], v["node"]):
            volume = None
        if volume is not None:
            self._check_access(user, sid, "backup", volume.get("vmid"), v["ostemplate"])
        archive = (volume or {}).get("archive") or {"config": {}, "disk": {}}
        config, posted = archive["config"], {key: value for key, value in v.items() if value is not None}
        given = dict(v)
        if "rootfs" not in posted and volume is not None:
            given.update(self._as_before(config, v.get("storage") or "local", user))
        if v.get("unprivileged") is None and config.get("unprivileged"):
            given["unprivileged"] = 1
        elif not (v.get("unprivileged") or config.get("unprivileged")) and volume is not None:
            self.require(user, "/", "Sys.Modify")
        vmid = int(v["vmid"])
        self._merges[vmid] = (volume or {}, posted, user)
        try:
            return await super()._lxc_create(user, given)
        except PveError:
            self._merges.pop(vmid, None)
            raise

    def _as_before(self, config: Values, storage: str, user: str) -> Values:
        """The archive's mounts, on one storage: all of them, those without content too."""
        out = {}
        for key in (key for key in config if MOUNT.fullmatch(key)):
            mount = parse_mount(config[key])
            if mount_type(mount["volume"]) != "volume":
                if user != "root@pam":
                    raise PveError(500, f"restoring '{key}' to bind mount is only possible for root")
                continue
            size = (parse_size(mount.pop("size", "4G")) or 4 * 2**30) / 2**30
            mount["volume"] = f"{storage}:{size:g}"
            out[key] = print_mount(mount, key == "rootfs")
        return out

    async def ceph_io(self, vm: Any, keys: list[str] | None = None) -> None:
        """Between laying down a new container's configuration and starting it."""
        merge = self._merges.pop(vm.vmid, None) if isinstance(vm, FakeCt) else None
        if merge is not None:
            volume, posted, user = merge
            if "archive" not in volume:
                raise TaskError(f"volume '{posted['ostemplate']}' does not exist")
            self._merge(vm, volume["archive"], posted, user)
        await super().ceph_io(vm, keys)

    def _merge(self, ct: FakeCt, archive: Values, posted: Values, user: str) -> None:
        """The archive's options under those that were posted, as ``sanitize_and_merge_config`` does."""
        for key, value in archive["config"].items():
            if key in NOT_MERGED or MOUNT.fullmatch(key) or re.fullmatch(r"unused\d+", key):
                continue
            if NET.fullmatch(key) and posted.get("unique"):
                bare = ",".join(part for part in value.split(",") if not part.startswith("hwaddr="))
                ct.config[key] = normalise(key, bare)
            elif key not in posted:
                if NET.fullmatch(key):
                    try:
                        self._check_bridge(user, value)
                    except PveError as refusal:
                        raise TaskError(refusal.message) from None
                ct.config[key] = copy.deepcopy(value)
        if archive["config"].get("lxc"):
            if user.startswith("root@pam") and "!" not in user:
                ct.config["lxc"] = copy.deepcopy(archive["config"]["lxc"])
            else:
                self._warned[ct.vmid] = 1
        self.disks[ct.vmid] = dict(archive["disk"])

    def _drop(self, ct: FakeCt) -> None:
        super()._drop(ct)
        self._merges.pop(ct.vmid, None)
        self._warned.pop(ct.vmid, None)

    def warned(self, kind: str, ident: Any) -> None:
        """End a restoration that warned as PVE does. Raises TaskError."""
        if kind == "vzrestore" and (count := self._warned.pop(int(ident), 0)):
            raise TaskError(f"WARNINGS: {count}")


def _is_on(volume: Values | None, store: Values, node: str) -> bool:
    """Whether a node sees an archive: one on a storage of its own is on the node that made it."""
    made = (volume or {}).get("archive", {}).get("node")
    return bool(store.get("shared")) or made in (None, node)


def _included(key: str, mount: Values) -> tuple[bool, str]:
    if key == "rootfs":
        return True, "rootfs"
    if mount_type(mount["volume"]) != "volume":
        return False, "not a volume"
    return (True, "enabled") if str(mount.get("backup") or "0") in ("1", "yes", "true", "on") else (False, "disabled")


def _say_mounts(ct: FakeCt, log: list[str]) -> dict[str, str]:
    """By key: the paths of the mounts that are dumped."""
    out = {}
    log.append(f"INFO: CT Name: {ct.name}")
    for key in sorted((key for key in ct.config if MOUNT.fullmatch(key)), key=lambda one: (one != "rootfs", one)):
        mount = parse_mount(ct.config[key])
        path, (included, why) = "/" if key == "rootfs" else mount.get("mp", ""), _included(key, mount)
        if included:
            out[key] = path
            log.append(f"INFO: including mount point {key} ('{path}') in backup")
        else:
            kind = mount_type(mount["volume"])
            log.append(f"INFO: excluding {kind} mount point {key} ('{path}') from backup ({why})")
    return out


def _keeps(store: Values) -> int:
    """How many of a guest's backups the storage's own retention keeps; 0: all."""
    parts = [part.partition("=") for part in str(store.get("prune-backups") or "").split(",") if part]
    return 0 if any(key == "keep-all" for key, _, _ in parts) else sum(int(count) for _, _, count in parts)


def _volume_name(store: Values, vmid: int, began: float, compress: str) -> tuple[str, str]:
    moment = datetime.fromtimestamp(began, UTC)
    if store.get("type") == "pbs":
        return f"backup/ct/{vmid}/{moment:%Y-%m-%dT%H:%M:%SZ}", "pbs-ct"
    extension = EXTENSIONS[compress]
    return f"backup/vzdump-lxc-{vmid}-{moment:%Y_%m_%d-%H_%M_%S}.{extension}", extension


def _local(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S}"


def _check_template_of_notes(template: str) -> None:
    wrong = [f"escape sequence '\\{found[1]}'" for found in re.finditer(r"\\(.)", template) if found[1] not in "n\\"]
    known = ("cluster", "guestname", "node", "vmid")
    wrong += [f"variable '{found[1]}'" for found in re.finditer(r"\{\{([^\s{}]+)\}\}", template)
              if found[1] not in known]  # fmt: skip
    said = "contains a line feed" if "\n" in template else f"found unknown: {', '.join(wrong)}" if wrong else ""
    if said:
        raise PveError(400, "Parameter verification failed.", {"notes-template": said})


def text_of(config: Values) -> str:
    """A configuration as its file has it: the description as comments, the raw lines last."""
    told = str(config.get("description") or "")
    lines = [f"#{urllib.parse.quote(line, safe=' /=.:-,()')}" for line in told.split("\n")] if told else []
    plain = {key: value for key, value in config.items() if key not in ("description", "lxc")}
    lines += [f"{key}: {value}" for key, value in sorted(plain.items())]
    lines += [f"{key}: {value}" for key, value in config.get("lxc") or ()]
    return "\n".join(lines) + "\n"
