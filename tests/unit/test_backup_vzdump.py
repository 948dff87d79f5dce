"""Marks, logs, choices and comparisons of containers' backups: pure, without a host."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.plan.backup import vzdump
from homeport.plan.backup.proxmoxmarks import REJECTED, Mark, Owner, mark, retained, runs
from homeport.plan.backup.proxmoxrestore import As, NoSuchRun, Scratch, choose, differences, networks, params
from homeport.plan.backup.vzdump import Told, read, verdict
from homeport.plan.proxmox import archives
from homeport.plan.proxmox.archives import Archive, parse_config, retention, vmid_of
from homeport.plan.proxmox.config import container_config
from homeport.plan.proxmox.tasks import End, TaskStatus, Upid

OWNER = Owner("lab-plane", "home", "nightly")
START = datetime(2026, 11, 1, 3, tzinfo=UTC)
UPID = Upid.parse("UPID:pve1:0000ABCD:00001234:6721F2A0:vzdump:210:homeport@pve!operator:")
NAMES = st.from_regex(r"[a-z][-a-z0-9]{0,20}[a-z0-9]", fullmatch=True)


def archive(run: str, part: str = "dns", number: int = 1, total: int = 1, hours: int = 0, **more: object) -> Archive:
    told = Mark(OWNER, run, part, number, total)
    time = START + timedelta(hours=hours)
    volume = f"pbs:backup/ct/210/{run}-{part}"
    fields = {"volume": volume, "vmid": 210, "size": 10, "time": time, "notes": told.notes()}
    return Archive(**{**fields, **more})  # type: ignore[arg-type]


MARKS = st.builds(Mark, st.builds(Owner, NAMES, NAMES, NAMES), NAMES, NAMES, st.integers(1, 64), st.integers(1, 64))


@given(MARKS)
def test_a_mark_is_read_as_it_was_written(told: Mark) -> None:
    assert mark(told.notes()) == told and "\n" not in told.notes()
    assert told.template() == told.notes(), "nothing in it has a meaning to vzdump"
    assert mark(f"by hand {told.text} and more") == told
    assert mark(f"{told.text} {told.text}") is None, "two marks prove nothing"


@pytest.mark.parametrize(
    "notes", ["", "by hand", "homeport.dev/backup=a/b/c/d/e", "homeport.dev/backup=a/b/c/d/e/1of1x"]
)
def test_what_is_no_mark(notes: str) -> None:
    assert mark(notes) is None


def test_runs_are_what_carries_this_backups_mark() -> None:
    other = Mark(Owner("lab-plane", "home", "weekly"), "w", "dns", 1, 1).notes()
    elsewhere = Mark(Owner("other", "home", "nightly"), "x", "dns", 1, 1).notes()
    found = runs(
        [
            archive("whole", "db", 1, 2, hours=1), archive("whole", "web", 2, 2, hours=2),
            archive("half", "db", 1, 2, hours=5),
            archive("broken", hours=6, verification="failed"), archive("proven", hours=3, verification="ok"),
            archive("other", notes=other), archive("elsewhere", notes=elsewhere), archive("mine", notes="by hand"),
            archive("twice", hours=8), archive("twice", hours=9, volume="pbs:second"),
            archive("rejected", hours=10, notes=f"{Mark(OWNER, 'rejected', 'dns', 1, 1).text} {REJECTED}=mode"),
        ],
        OWNER,
    )  # fmt: skip
    assert [one.run for one in found] == ["rejected", "twice", "broken", "half", "proven", "whole"]
    assert {one.run for one in found if one.good} == {"twice", "proven", "whole"}
    twice = found[1]
    assert twice.parts["dns"].volume == "pbs:second" and len(twice.archives) == 2
    told = {run.id: run.verified for run in retained(found, {"whole", "half"})}
    assert [run for run, verified in told.items() if verified] == ["proven", "whole"], "what is half is never proven"


LOG = """INFO: trying to get global lock - waiting...
INFO: got global lock
INFO: starting new backup job: vzdump 210 --notes-template 'homeport.dev/backup=lab-plane/home/nightly/one/dns/1of1 x'
INFO: status = running
INFO: including mount point rootfs ('/') in backup
INFO: excluding bind mount point mp0 ('/srv/media') from backup (not a volume)
INFO: excluding volume mount point mp1 ('/var/cache') from backup (disabled)
INFO: mode failure - some volumes do not support snapshots
INFO: trying 'suspend' mode instead
INFO: excluding volume mount point mp1 ('/var/cache') from backup (disabled)
INFO: backup mode: suspend
INFO: creating vzdump archive '/mnt/pve/nas/dump/vzdump-lxc-210-2026_11_01-03_00_00.tar.zst'
INFO: Finished Backup of VM 210 (00:01:07)""".splitlines()


def test_a_log_tells_what_was_done() -> None:
    told = read(LOG, "nas")
    assert told.mode == "suspend" and told.was_running and not told.failed
    assert told.volume == "nas:backup/vzdump-lxc-210-2026_11_01-03_00_00.tar.zst"
    assert [entry.split(":")[0] for entry in told.left_out] == ["/srv/media (mp0)", "/var/cache (mp1)"]
    server = read(["INFO: creating Proxmox Backup Server archive 'ct/210/2026-11-01T03:00:00Z'"], "pbs")
    assert server.volume == "pbs:backup/ct/210/2026-11-01T03:00:00Z"


def test_whose_a_task_is() -> None:
    one, two = (Mark(OWNER, run, "dns", 1, 1) for run in ("one", "two"))
    assert vzdump.is_of(LOG, one) is True and vzdump.is_of(LOG, two) is False
    assert vzdump.is_of(LOG[:1], one) is None, "it queues: nothing is known yet"
    assert vzdump.queued(LOG[:1]) and not vzdump.queued(LOG[:2]) and not vzdump.queued([])


@pytest.mark.parametrize(
    ("end", "told", "strict", "reason"),
    [
        (End.OK, Told("snapshot"), True, ""),
        (End.OK, Told("suspend"), False, ""),
        (End.OK, Told("suspend"), True, "OtherMode"),
        (End.OK, Told("stop", was_running=False), True, ""),
        (End.WARNINGS, Told("snapshot", warnings=("unable to add notes",)), True, ""),
        (End.UNKNOWN, Told(), False, "TaskLost"),
        (End.FAILED, Told(failed="CT is locked (snapshot)"), False, "Locked"),
        (End.FAILED, Told(failed="command 'tar' failed (No space left on device)"), False, "RepositoryFull"),
        (End.FAILED, Told(failed="There is a max backup limit of 3 enforced"), False, "StorageRetention"),
        (End.FAILED, Told(failed="Permission check failed (/vms/210, VM.Backup)"), False, "AccessDenied"),
        (End.FAILED, Told(failed="exit code 2"), False, "BackupFailed"),
    ],
)
def test_verdicts(end: End, told: Told, strict: bool, reason: str) -> None:
    found = verdict(TaskStatus(UPID, end, "job errors"), told, "snapshot", require_mode=strict)
    assert found.reason == reason and bool(found.message) == bool(reason)
    assert bool(found.notes) == (not reason and (bool(told.warnings) or (told.mode == "suspend")))


def test_what_is_sent() -> None:
    found = vzdump.params(Mark(OWNER, "one", "dns", 1, 1), 210, "pbs", mode="stop", compress="none", protected=True)
    assert found == {
        "vmid": "210", "storage": "pbs", "mode": "stop", "compress": "0", "remove": False, "protected": True,
        "notes-template": "homeport.dev/backup=lab-plane/home/nightly/one/dns/1of1 (Homeport: dns, kept by the "
        "Backup's retention)",
    }  # fmt: skip
    with pytest.raises(ValueError, match="braces"):
        Mark(Owner("{{vmid}}", "a", "b"), "c", "d", 1, 1).template()


ARCHIVED = """#names
#
#homeport.dev/owner=lab-plane/home/dns/210
arch: amd64
hostname: dns
memory: 512
mp0: local-lvm:vm-210-disk-1,mp=/var/lib/data,backup=1,size=4G
mp1: local-lvm:vm-210-disk-2,mp=/var/cache,size=1536M
net0: name=eth0,bridge=vmbr0,gw=10.20.0.1,hwaddr=BC:24:11:00:00:01,ip=10.20.0.10/16,tag=20,type=veth
net1: name=eth1,bridge=vmbr1,hwaddr=BC:24:11:00:00:02,ip=dhcp,type=veth
onboot: 1
protection: 1
rootfs: local-lvm:vm-210-disk-0,size=8G
unprivileged: 1
lxc.init.cwd: /app

[vzdump]
memory: 64
"""
WISH = As(Scratch("lab-plane", "home", "back", 9000), "dns-back", "a drill")


def test_the_configuration_in_an_archive() -> None:
    found = parse_config(ARCHIVED)
    assert found.memory == 512 and found.hostname == "dns" and found.options["lxc"] == [["lxc.init.cwd", "/app"]]
    assert found.description == "names\n\nhomeport.dev/owner=lab-plane/home/dns/210"
    assert [str(why) for why in vzdump.not_restorable(found)] == ["its raw lines are dropped (lxc.init.cwd: /app)"]
    ours = parse_config(ARCHIVED.replace("arch: amd64", "entrypoint: /.homeport/init"))
    assert not vzdump.not_restorable(ours), "init does what the raw lines say"
    worse = "hookscript: local:snippets/x\ndev0: /dev/kvm\nmp2: /srv,mp=/srv\n" + ARCHIVED.replace(
        "unprivileged: 1\n", ""
    )
    assert len(vzdump.not_restorable(parse_config(worse))) == 5


@pytest.mark.parametrize("bridge", [None, "vmbr9"])
def test_what_is_restored_is_cut_off(bridge: str | None) -> None:
    archived = parse_config(ARCHIVED)
    wish = As(WISH.scratch, WISH.hostname, WISH.what, bridge=bridge, address="10.99.0.1/24" if bridge else None)
    found = networks(archived, wish)
    assert found.keys() == archived.networks.keys(), "what isn't posted is taken from the archive"
    for network in found.values():
        assert network.hwaddr is None and network.gw is None and "10.20" not in network.render()
        assert network.link_down or network.bridge == "vmbr9"
    assert [bool(network.link_down) for network in found.values()] == ([False, True] if bridge else [True, True])
    sent = params("nas:backup/x", archived, wish)
    assert not {"unique", "force"} & sent.keys() and sent["restore"] and not sent["start"]
    assert sent["rootfs"] == "local-lvm:8" and sent["mp1"] == "local-lvm:1.5,mp=/var/cache"
    assert sent["onboot"] is False and sent["protection"] is False


def test_what_came_out_is_compared() -> None:
    archived = parse_config(ARCHIVED)
    sent = params("nas:backup/x", archived, WISH)
    good = {
        "description": sent["description"], "unprivileged": 1, "onboot": 0,
        "rootfs": "local-lvm:vm-9000-disk-0,size=8G",
        "mp0": "local-lvm:vm-9000-disk-1,mp=/var/lib/data,backup=1,size=4G",
        "mp1": "local-lvm:vm-9000-disk-2,mp=/var/cache,size=1536M",
        "net0": f"{sent['net0']},hwaddr=BC:24:11:AA:00:01,type=veth",
        "net1": f"{sent['net1']},hwaddr=BC:24:11:AA:00:02,type=veth",
    }  # fmt: skip
    assert differences(container_config(good), archived, WISH) == ()
    for change in (
        {"net0": archived.networks["net0"].render()}, {"net2": "name=eth2,bridge=vmbr0,ip=dhcp"}, {"onboot": 1},
        {"net1": f"{sent['net1']},hwaddr=BC:24:11:00:00:02"}, {"protection": 1}, {"description": "names"},
        {"unprivileged": 0}, {"hookscript": "local:snippets/x"}, {"dev0": "/dev/kvm"}, {"mp3": "/srv,mp=/srv"},
        {"lxc": [["lxc.cap.drop", ""]]},
        {"description": f"{sent['description']}\nhomeport.dev/owner=lab-plane/home/dns/9000"},
    ):  # fmt: skip
        assert len(differences(container_config({**good, **change}), archived, WISH)) >= 1, change


def test_which_run_is_meant() -> None:
    found = runs([archive("old", hours=1), archive("new", hours=9), archive("half", "db", 1, 2, hours=12)], OWNER)
    newest = choose(found, None, None)
    assert not isinstance(newest, NoSuchRun) and newest.run == "new", "what is half is never the latest"
    named = choose(found, "pbs:backup/ct/210/old-dns", None)
    assert not isinstance(named, NoSuchRun) and named.run == "old"
    before = choose(found, "latest", "2026-11-01T05:00:00Z")
    assert not isinstance(before, NoSuchRun) and before.run == "old"
    lost = choose(found, "pbs:backup/ct/210/gone", None)
    assert isinstance(lost, NoSuchRun) and "pbs:backup/ct/210/new-dns" in lost.text
    assert isinstance(choose((), None, None), NoSuchRun)


def test_scratch_marks() -> None:
    mine = WISH.scratch
    assert mine.owns(mine.describe("x")) and not mine.owns("x")
    assert not mine._replace(vmid=9001).owns(mine.describe("x"))


def test_a_storages_own_retention() -> None:
    jobs = [{"id": "all", "storage": "nas", "prune-backups": {"keep-last": "3"}, "enabled": 1},
            {"id": "off", "storage": "nas", "prune-backups": "keep-last=3", "enabled": 0},
            {"id": "kept", "storage": "nas", "prune-backups": "keep-all=1"},
            {"id": "other", "storage": "pbs", "prune-backups": "keep-last=1"}]  # fmt: skip
    assert retention("nas", {"prune-backups": "keep-last=3"}, jobs) == ("keep-last=3", ("all",))
    assert retention("nas", {"prune-backups": "keep-all=1"}, []) == ("", ())


def test_what_is_listed() -> None:
    entry = {"volid": "pbs:backup/ct/210/2026-11-01T03:00:00Z", "content": "backup", "size": 5, "ctime": 1793502000,
             "protected": 1, "verification": {"state": "ok", "upid": "x"}, "notes": "n"}  # fmt: skip
    (found,) = archives.archives([entry, {"volid": "nas:iso/x.iso", "content": "iso"}])
    assert found.vmid == 210 and found.protected and found.verification == "ok" and found.storage == "pbs"
    assert vmid_of("nas:backup/vzdump-lxc-42-2026_11_01-03_00_00.tar.zst") == 42 and vmid_of("nas:iso/x.iso") is None
