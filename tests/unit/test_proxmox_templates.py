"""Templates: which one a name means, which are to be fetched, and how that goes step by step, whatever happens."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.api.kinds import BY_NAME
from homeport.api.resource import Resource, parse
from homeport.drivers.proxmox import errors
from homeport.engine.downloads import AGAIN, Downloads
from homeport.plan.proxmox import changes, templates
from homeport.plan.proxmox.readings import ClusterStatus, Node, Resources, Storage, Version, Volume
from homeport.plan.proxmox.tasks import End, TaskStatus, Upid
from homeport.plan.proxmox.templates import Entry, Lack, Missing, NoTemplate, Template
from homeport.plan.world import HostReading

D7 = "debian-12-standard_12.7-1_amd64.tar.zst"
D12 = "debian-12-standard_12.12-1_amd64.tar.zst"
D13 = "debian-13-standard_13.1-2_amd64.tar.zst"
ALPINE = "alpine-3.22-default_20250617_amd64.tar.xz"
WORDPRESS = "debian-12-turnkey-wordpress_18.2-1_amd64.tar.gz"
ALL = [D7, D12, D13, ALPINE, WORDPRESS]


# --- which one a name means -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("debian-12", D12),
        ("debian-12-standard", D12),
        ("debian", D13),
        ("alpine", ALPINE),
        ("alpine-3.22", ALPINE),
        (D7, D7),
        ("debian-12-standard_12.7-1_amd64", D7),
        ("debian-12-turnkey-wordpress", WORDPRESS),
        ("debian-1", None),
        ("debian-12-turnkey", None),
        ("ubuntu", None),
    ],
)
def test_a_name_means_the_newest_of_its_package(name: str, file: str | None) -> None:
    assert templates.newest(name, ALL) == file


def test_another_architecture_is_meant_only_where_there_is_no_other() -> None:
    arm = "debian-12-standard_99.0-1_arm64.tar.zst"
    assert templates.newest("debian-12", [D7, arm]) == D7
    assert templates.newest("debian-12", [arm]) == arm


def test_names_of_files_are_taken_apart() -> None:
    assert Template.parse(D12) == ("debian-12-standard", "12.12-1", "amd64")
    assert Template.parse("nginx_1.27.tar") == ("nginx", "1.27", "")
    assert Template.parse("mine.tar.gz") == ("mine", "", "")


def test_versions_compare_as_debians_do() -> None:
    ascending = ["", "1.0~rc1", "1.0", "1.0-1", "1.0-2", "1.0-10", "1.0a", "1.1", "1.2.3", "9", "10", "20240908"]
    descending = ascending[::-1]
    assert sorted(descending, key=templates.order) == ascending


@given(st.lists(st.text("0123456789abz.-~+", max_size=8), min_size=2, max_size=6))
def test_any_versions_can_be_compared(versions: list[str]) -> None:
    keys = sorted(map(templates.order, versions))
    assert all(not later < earlier for earlier, later in itertools.pairwise(keys))


def a_reading(*storages: Storage, **volumes: Sequence[str]) -> HostReading:
    nodes = (Node("a", True, 8, 2**33), Node("b", True, 8, 2**33))
    found = {node.name: tuple(Volume(one, "vztmpl", 1) for one in volumes.get(node.name, ())) for node in nodes}
    cluster = ClusterStatus("lab", True, {"a": True, "b": True}, "a")
    return HostReading(Version(9, 1, 3, "9.1.3"), cluster, {}, found, Resources(nodes, storages))


def local(node: str, name: str = "local", shared: bool = False, content: str = "vztmpl") -> Storage:
    return Storage(node, name, "dir", frozenset({content}), shared, True)


def test_a_host_is_searched() -> None:
    found = a_reading(a=[f"local:vztmpl/{D7}", f"nfs:vztmpl/{D12}"], b=[f"local:vztmpl/{D13}", f"nfs:vztmpl/{D12}"])
    assert templates.find("debian-12", found) == f"nfs:vztmpl/{D12}"
    assert templates.find("debian-12", found, storage="local") == f"local:vztmpl/{D7}"
    assert templates.find("debian", found, node="a") == f"nfs:vztmpl/{D12}"
    assert templates.find("debian", found, nodes=["b"]) == f"local:vztmpl/{D13}"
    assert templates.find(f"local:vztmpl/{D7}", found) == f"local:vztmpl/{D7}"
    assert templates.find("debian-13", found, node="a") == NoTemplate(
        f"there is no template debian-13: node a has local:vztmpl/{D7}, nfs:vztmpl/{D12}; write one of these, or have "
        "an administrator add {name: debian-13, storage: …} to the ProxmoxHost's spec.templates"
    )
    said = templates.find(f"local:vztmpl/{ALPINE}", found)
    assert isinstance(said, NoTemplate) and f"{{name: {ALPINE}, storage: …}}" in said.text


def test_a_template_that_came_is_noticed() -> None:
    before, after = a_reading(a=["x"]).templates, a_reading(a=["x", "y"]).templates
    assert changes.templates(before, after) and not changes.templates(after, before)
    assert not changes.templates(after, after)


# --- what is to be fetched ------------------------------------------------------------------------------------------


def test_what_is_missing_where() -> None:
    found = a_reading(local("a"), local("b"), a=[f"local:vztmpl/{D7}"])
    assert templates.missing([Entry("debian-12", "local")], found) == ([Missing("debian-12", "local", "b")], [])
    assert templates.missing([Entry("debian-12", "local", ["a"])], found) == ([], [])
    asked = [Entry("debian-12", "local", ["b"]), Entry("debian-12", "local"), Entry("alpine", "local", ["a"])]
    assert templates.missing(asked, found)[0] == [Missing("debian-12", "local", "b"), Missing("alpine", "local", "a")]


def test_a_shared_storage_is_fetched_to_once() -> None:
    found = a_reading(local("a", "nfs", True), local("b", "nfs", True), local("a"), a=[f"local:vztmpl/{D7}"])
    assert templates.missing([Entry("debian-12", "nfs")], found) == ([Missing("debian-12", "nfs", "a")], [])


def test_storages_that_can_not_have_templates() -> None:
    found = a_reading(local("a", "ssd", content="rootdir"))
    assert templates.missing([Entry("alpine", "ssd"), Entry("alpine", "none")], found) == (
        [],
        [
            Lack("alpine", "ssd", "the storage ssd isn't for templates; add vztmpl to its content in Proxmox VE"),
            Lack("alpine", "none", "no node that is online has the storage none"),
        ],
    )


def test_progress_is_wgets() -> None:
    log = ["downloading …", "     0K ........ ........  26% 45.2M 1s", " 32768K ........ ........  53% 45.2M 1s"]
    assert (templates.percent(log), templates.percent(log[:1]), templates.percent([])) == (53, 0, 0)


# --- step by step ---------------------------------------------------------------------------------------------------


class Fetcher:
    """A node that fetches, as far as the steps ask."""

    def __init__(self) -> None:
        self.offered: tuple[str, ...] = tuple(ALL)
        self.tasks: dict[str, TaskStatus] = {}
        self.begun: list[str] = []
        self.faults: list[Exception] = []
        self.slots: dict[str, Upid] = {}
        self.lose = False

    def _fault(self) -> None:
        if self.faults:
            raise self.faults.pop(0)

    async def appliances(self, node: str) -> tuple[str, ...]:
        self._fault()
        return self.offered

    async def active(self, node: str, kind: str) -> tuple[Upid, ...]:
        self._fault()
        return tuple(t.upid for t in self.tasks.values() if t.running and t.upid.node == node and t.upid.type == kind)

    async def begin(self, owner: str, method: str, *segments: str | int, params: Any = None) -> Upid:
        self._fault()
        assert (method, segments[0], segments[2]) == ("POST", "nodes", "aplinfo")
        number = len(self.begun)
        text = f"UPID:{segments[1]}:0000{number:04X}:00000000:00000000:download:{params['template']}:u@pve!t:"
        self.tasks[text] = TaskStatus(Upid.parse(text), End.RUNNING)
        self.begun.append(f"{params['template']} {params['storage']}")
        if self.lose:
            self.lose = False
            raise errors.OutcomeUnknown(596, "no answer")
        self.slots[owner] = self.tasks[text].upid
        return self.tasks[text].upid

    def resume(self, owner: str, upid: Upid) -> None:
        self.slots[owner] = upid

    def release(self, owner: str) -> None:
        self.slots.pop(owner)

    async def task(self, upid: Upid) -> TaskStatus:
        self._fault()
        if upid.text not in self.tasks:
            raise errors.NotFound(500, "no such task")
        return self.tasks[upid.text]

    async def task_log(self, upid: Upid, lines: int = 20) -> tuple[str, ...]:
        return ("     0K ........  27% 1M",)

    def end(self, end: End = End.OK, message: str = "") -> None:
        self.tasks = {text: TaskStatus(task.upid, end, message) for text, task in self.tasks.items()}


class World:
    """A ProxmoxHost whose status is all that a restart leaves."""

    def __init__(self, *asked: dict[str, Any]) -> None:
        self.node = Fetcher()
        self.time = 0.0
        self.asked = list(asked) or [{"name": "debian-12", "storage": "local"}]
        self.status: list[dict[str, Any]] = []
        self.reading = a_reading(local("a"))
        self.token: str | None = None
        self.restart()

    def restart(self) -> None:
        self.downloads = Downloads(lambda: self.time)

    def host(self) -> Resource[Any]:
        annotations = {"homeport.dev/reconcile-at": self.token} if self.token else {}
        return parse(
            {
                "apiVersion": "homeport.dev/v1alpha1",
                "kind": "ProxmoxHost",
                "metadata": {"name": "lab", "uid": "1", "generation": 1, "annotations": annotations},
                "spec": {
                    "endpoints": ["https://pve1.lab:8006"],
                    "credentialsSecretRef": {"namespace": "system", "name": "token"},
                    "tls": {"insecure": True},
                    "templates": self.asked,
                },
                "status": {"downloads": self.status},
            }
        )

    async def step(self, *, crash: bool = False) -> tuple[list[str], bool]:
        """One step. ``crash``: what came of it isn't written."""
        driver: Any = self.node
        found, said, arrived = await self.downloads.step(self.host(), driver, self.reading)
        BY_NAME["ProxmoxHost"].status.model_validate({"downloads": found})
        if crash:
            self.restart()
        else:
            self.status = found
        return said, arrived


async def test_a_template_is_fetched() -> None:
    world = World()
    await world.step()
    assert world.status == [{"name": "debian-12", "storage": "local", "node": "a", "template": D12, "progress": 0}]
    assert world.node.begun == []  # it is written down first
    await world.step()
    assert world.node.begun == [f"{D12} local"] and world.status[0]["task"].startswith("UPID:a:")
    assert await world.step() == ([], False)
    assert world.status[0]["progress"] == 25
    world.node.end()
    assert await world.step() == ([], True) and world.status == []


async def test_whoever_crashes_where_it_is_fetched_once() -> None:
    for where in range(4):
        world = World()
        for number in range(6):
            await world.step(crash=number == where)
        assert world.node.begun == [f"{D12} local"], where
        assert len(world.node.slots) == 1
        world.node.end()
        assert (await world.step())[1]


async def test_an_answer_that_is_lost_is_looked_for() -> None:
    world = World()
    await world.step()
    world.node.lose = True
    for _ in range(3):
        assert await world.step() == ([], False)
    assert world.node.begun == [f"{D12} local"] and "task" in world.status[0]


async def test_two_that_are_asked_for_are_two_downloads() -> None:
    world = World({"name": "debian-12", "storage": "local"}, {"name": "alpine", "storage": "local"})
    for _ in range(3):
        await world.step()
    assert world.node.begun == [f"{D12} local", f"{ALPINE} local"]


async def test_one_that_fails_says_why_and_is_tried_again_later() -> None:
    world = World()
    for _ in range(2):
        await world.step()
    world.node.end(End.FAILED, "download failed: exit code 8")
    said, _ = await world.step()
    assert said == ["template debian-12 isn't on local of a: the download failed: download failed: exit code 8"]
    world.time += AGAIN - 1
    assert (await world.step())[0] == said and len(world.node.begun) == 1
    world.time += 1
    for _ in range(2):
        await world.step()
    assert len(world.node.begun) == 2
    world.node.end(End.FAILED, "again")
    await world.step()
    world.token = "now"
    for _ in range(2):
        await world.step()
    assert len(world.node.begun) == 3


async def test_what_can_not_be_fetched_is_said() -> None:
    world = World({"name": "plan9", "storage": "local"}, {"name": "alpine", "storage": "none"})
    said, _ = await world.step()
    assert said == [
        "template alpine: no node that is online has the storage none",
        "template plan9 isn't on local of a: node a knows of no template plan9 that can be fetched; have an "
        "administrator run pveam update there, or write one that pveam available lists",
    ]


async def test_a_privilege_that_is_missing_is_named() -> None:
    world = World()
    await world.step()
    world.node.faults = [errors.Forbidden(403, "Permission check failed (/storage/local, Datastore.AllocateTemplate)")]
    said, _ = await world.step()
    assert "Permission check failed (/storage/local, Datastore.AllocateTemplate)" in said[0]


@pytest.mark.parametrize(
    "fault", [errors.Busy(0, "4 run"), errors.Unreachable(0, "x"), errors.NodeUnreachable(595, "x")]
)
async def test_what_passes_is_waited_for(fault: Exception) -> None:
    world = World()
    for _ in range(4):
        world.node.faults = [fault]
        before = world.status
        assert await world.step() == ([], False)
        assert not before or world.status == before
        await world.step()
    assert world.node.begun == [f"{D12} local"]


async def test_a_task_that_nobody_remembers_is_begun_anew() -> None:
    world = World()
    for _ in range(2):
        await world.step()
    world.node.tasks.clear()
    await world.step()
    assert "task" not in world.status[0] and not world.node.slots
    await world.step()
    assert len(world.node.begun) == 2


async def test_what_runs_is_followed_to_its_end_whatever_is_asked_by_then() -> None:
    world = World()
    for _ in range(2):
        await world.step()
    world.asked = []
    await world.step()
    assert world.status[0]["progress"] == 25
    world.node.end()
    await world.step()
    assert world.status == []
    # What was only about to begin isn't.
    other = World()
    await other.step()
    other.asked = []
    await other.step()
    assert other.status == [] and other.node.begun == []


async def test_what_is_there_by_now_is_not_fetched() -> None:
    world = World()
    await world.step()
    world.reading = dataclasses.replace(world.reading, templates={"a": (Volume(f"local:vztmpl/{D7}", "vztmpl", 1),)})
    await world.step()
    assert world.status == [] and world.node.begun == []
