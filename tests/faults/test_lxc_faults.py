"""What goes wrong on a Proxmox VE host, one thing at a time: what is wanted comes about all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from containers_lab import PROJECT, STORIES, USES, before, begun, cleaned, container, foreign, problems

from homeport.drivers.kubernetes import types
from localpve.faults import ANSWERS, PASSING, TASKS, Answer, Fault
from localpve.lab import ALL, SECRET, TOKEN
from memory_world import play
from proxmox_inside import Lab, LabRunning, settle

pytestmark = pytest.mark.faults
Tell = Callable[[str, int, int], None]

CREATE = STORIES["create"]
WRITES = {
    "create": ("create", "POST", "/nodes/*/lxc"),
    "start": ("create", "POST", "/nodes/*/status/start"),
    "configure": ("resize", "PUT", "/nodes/*/config"),
    "resize": ("resize", "PUT", "/nodes/*/resize"),
    "shut down": ("stop", "POST", "/nodes/*/status/shutdown"),
    "destroy": ("delete", "DELETE", "/nodes/*/lxc/*"),
}
READS = ("/cluster/resources", "/nodes/*/config", "/nodes/*/pending", "/nodes/*/tasks/*/status", "/cluster/nextid",
         "/cluster/status", "/nodes/*/interfaces", "/nodes/*/network")  # fmt: skip


def status(lab: Lab, name: str = "dns") -> dict[str, Any]:
    found: dict[str, Any] = lab.get(types.LXC_CONTAINER, PROJECT, name).get("status") or {}
    return found


def ready(lab: Lab, name: str = "dns") -> tuple[str, str, str]:
    found = lab.condition(types.LXC_CONTAINER, PROJECT, name)
    return found["status"], found["reason"], found["message"]


async def story(name: str, *faults: Fault) -> tuple[Lab, Lab]:
    """A story with faults, and the same without."""
    start, step = await before(STORIES[name]), STORIES[name][-1]
    clean, lab = start.clone(), start.clone()
    await play(clean, step)
    lab.pve.script.faults.extend(faults)
    await play(lab, step)
    return lab, clean


@pytest.mark.parametrize("write", WRITES)
async def test_every_answer_to_a_write(write: str, tell: Tell) -> None:
    """Once each, before the deed: 595, 596, proxies' words, and PVE's sentences with a 500."""
    name, method, path = WRITES[write]
    start, step = await before(STORIES[name]), STORIES[name][-1]
    clean, wrong = start.clone(), []
    await play(clean, step)
    for answer in PASSING:
        lab = start.clone()
        fault = lab.pve.script.add(method, path, answer)
        await play(lab, step)
        assert fault.seen, f"nothing asked {method} {path}"
        wrong.extend(f"{answer}: {problem}" for problem in problems(lab, clean))
    tell(f"{write}: each answer", len(PASSING), len(wrong))
    assert not wrong, "\n".join(wrong[:30])


@pytest.mark.parametrize("path", READS)
async def test_every_answer_to_a_read(path: str, tell: Tell) -> None:
    start, step = await before(CREATE), CREATE[-1]
    clean, wrong = start.clone(), []
    await play(clean, step)
    for answer in PASSING:
        lab = start.clone()
        lab.quiet = 90.0  # twice in a row: the second time is waited for longer
        lab.pve.script.add("GET", path, answer, nth=2, times=2)
        await play(lab, step)
        wrong.extend(f"{answer}: {problem}" for problem in problems(lab, clean))
    tell(f"GET {path}: each answer", len(PASSING), len(wrong))
    assert not wrong, "\n".join(wrong[:30])


@pytest.mark.parametrize("after", [False, True], ids=["before the deed", "after the deed"])
@pytest.mark.parametrize("kind", ["vzcreate", "vzstart"])
async def test_tasks_that_fail(kind: str, after: bool, tell: Tell) -> None:
    start, step = await before(CREATE), CREATE[-1]
    clean, wrong = start.clone(), []
    await play(clean, step)
    for message in TASKS:
        lab = start.clone()
        lab.pve.script.fail_task(kind, message, after=after)
        await play(lab, step)
        wrong.extend(f"{message}: {problem}" for problem in problems(lab, clean, tasks=False))
    tell(f"{kind} fails {'after' if after else 'before'} its deed", len(TASKS), len(wrong))
    assert not wrong, "\n".join(wrong[:30])


# --- away for a while -----------------------------------------------------------------------------------------------


async def away(lab: Lab, running: LabRunning, seconds: float = 300.0) -> None:
    """Work on for so long."""
    end = lab.clock.seconds + seconds
    while lab.clock.seconds < end:
        await lab.rest()
        if not (await lab.controllers() or await running.step()):
            lab.clock.seconds += 1.0


def gone(lab: Lab, there: bool) -> None:
    lab.gone = not there


def revoked(lab: Lab, there: bool) -> None:
    lab.pve.apitokens[TOKEN] = SECRET if there else "another"


def without_quorum(lab: Lab, there: bool) -> None:
    lab.pve.quorate = there


def offline(lab: Lab, there: bool) -> None:
    lab.pve.set_node_offline("pve1", not there)


def unprivileged(lab: Lab, there: bool) -> None:
    lab.pve.acl[TOKEN] = [("/", set(ALL) if there else {"Sys.Audit", "Datastore.Audit"})]


AWAY = {"the host": gone, "the token": revoked, "the quorum": without_quorum, "a node": offline, "VM.*": unprivileged}


@pytest.mark.parametrize("moment", ["at first", "before a create", "while it is made", "at rest"])
@pytest.mark.parametrize("what", AWAY)
async def test_away_for_five_minutes(what: str, moment: str) -> None:
    start, step = await before(CREATE), CREATE[-1]
    clean = start.clone()
    await play(clean, step)
    lab = start.clone() if moment != "at rest" else clean.clone()
    running = await lab.operator()
    if moment == "at first":
        AWAY[what](lab, False)
    if moment != "at rest":
        await step(lab)
    if moment == "before a create":
        await away(lab, running, 3)
    if moment == "while it is made":
        for _ in range(60):
            await away(lab, running, 1)
            if lab.pve.running:
                break
        assert lab.pve.running
    AWAY[what](lab, False)
    await away(lab, running)
    AWAY[what](lab, True)
    await running.settle()
    await running.stop()
    found = problems(lab, clean, tasks=False)
    assert not found, found


# --- persons --------------------------------------------------------------------------------------------------------


async def made() -> tuple[Lab, Lab]:
    """A lab with both containers, and the same again."""
    lab = await before((*CREATE, CREATE[-1]))
    return lab, lab.clone()


async def looked_at(lab: Lab) -> LabRunning:
    running = await lab.operator()
    await running.settle()
    await running.stop()
    return running


def ours(lab: Lab, name: str = "dns") -> Any:
    return lab.pve.ct(status(lab, name)["vmid"])


async def test_a_person_stops_it() -> None:
    lab, clean = await made()
    ct = ours(lab)
    ct.status, ct.pid = "stopped", None
    await looked_at(lab)
    found = problems(lab, clean, tasks=False)
    assert not found, found


async def test_it_moves_to_another_node() -> None:
    lab, _ = await made()
    ours(lab, "git").node = "pve1"
    await looked_at(lab)
    assert status(lab, "git")["node"] == "pve1" and ready(lab, "git")[0] == "True"
    assert begun(lab)["vzcreate"] == 2


async def test_a_person_deletes_it() -> None:
    lab, _ = await made()
    lab.pve._drop(ours(lab))
    await looked_at(lab)
    assert ready(lab)[0] == "False" and begun(lab)["vzcreate"] == 2, "it isn't made anew unless that was asked for"
    body = container("dns", node="pve1", onMissing="Recreate", deletionPolicy="Delete")
    await lab.client.patch(types.LXC_CONTAINER, PROJECT, "dns", {"spec": {"onMissing": body["spec"]["onMissing"]}})
    await looked_at(lab)
    assert ready(lab)[0] == "True" and begun(lab)["vzcreate"] == 3


async def test_a_lost_privilege_is_no_deletion() -> None:
    lab, clean = await made()
    body = {"spec": {"onMissing": "Recreate"}}
    await lab.client.patch(types.LXC_CONTAINER, PROJECT, "dns", body)
    lab.pve.acl[TOKEN] = [("/", set(ALL) - {"VM.Audit"})]
    await looked_at(lab)
    assert begun(lab) == begun(clean)
    lab.pve.acl[TOKEN] = [("/", set(ALL))]
    await looked_at(lab)
    assert begun(lab) == begun(clean) and ready(lab)[0] == "True"


async def test_a_person_edits_the_configuration() -> None:
    lab, clean = await made()
    ours(lab).config.update(memory=64, cores=7)
    await looked_at(lab)
    found = problems(lab, clean, tasks=False)
    assert not found, found


async def test_a_person_takes_the_tag_away() -> None:
    lab, clean = await made()
    ours(lab).config["tags"] = "mine"
    await looked_at(lab)
    found = problems(lab, clean, tasks=False)
    assert not found, found


async def test_a_person_takes_the_mark_away() -> None:
    """Without its owner in the description it isn't ours any more: it is left alone, and that is said."""
    lab, _ = await made()
    ours(lab).config.update(description="mine now", memory=64)
    running = await looked_at(lab)
    assert not [write for write in running.gate.writes if write.startswith(("PUT /", "POST /", "DELETE /"))]
    assert ready(lab)[0] == "False"


async def test_somebody_takes_the_vmid_between_choosing_and_creating() -> None:
    start, step = await before(CREATE), CREATE[-1]
    clean, lab = start.clone(), start.clone()
    await play(clean, step)
    taken: list[int] = []

    def take(pve: Any) -> None:
        vmid = next(number for number in (2000, 2001) if pve.ct(number) is None)
        taken.append(vmid)
        pve.add_ct(vmid, "theirs", node="pve1", status="running")

    lab.pve.script.add("POST", "/nodes/*/lxc", doing=take)
    await play(lab, step)
    assert len(taken) == 1 and lab.pve.ct(taken[0]).config["hostname"] == "theirs"
    assert Counter(ct.name for ct in lab.pve.cts) == Counter(("pihole", "gitea", "media", "theirs", "dns", "git"))
    assert {ready(lab)[0], ready(lab, "git")[0]} == {"True"} and foreign(lab) == foreign(clean)


@pytest.mark.parametrize("lock", ["backup", "snapshot", "migrate", "disk", "create"])
async def test_a_lock_is_waited_for(lock: str) -> None:
    start, step = await before(STORIES["resize"]), STORIES["resize"][-1]
    clean, lab = start.clone(), start.clone()
    await play(clean, step)
    ours(lab).lock = lock
    running = await lab.operator()
    await step(lab)
    await away(lab, running, 120)
    assert ready(lab)[0] == "False" and lock in ready(lab)[2], ready(lab)
    ours(lab).lock = None
    await running.settle()
    await running.stop()
    found = problems(lab, clean, tasks=False)
    assert not found, found


# --- many -----------------------------------------------------------------------------------------------------------


def many(count: int) -> list[dict[str, Any]]:
    net = {"name": "eth0", "bridge": "vmbr0", "address": "dhcp"}
    disk = {"storage": "local-lvm", "size": "1Gi"}
    return [cleaned(container(f"ct-{n:03d}", rootfs=disk, networks=[net], memory="64Mi")) for n in range(count)]


async def test_more_at_once_than_the_host_takes() -> None:
    """A hundred of them are in `make bench`."""
    lab = Lab()
    await lab.furnish(USES, tasks=4)
    running = await lab.operator()
    await lab.apply(many(12))
    await running.settle(limit=6000)
    calls = Counter(method for method, _ in running.calls)
    await running.stop()
    names = Counter(ct.name for ct in lab.pve.cts if ct.vmid >= 2000)
    assert len(names) == 12 and set(names.values()) == {1}
    assert begun(lab) == {"vzcreate": 12, "vzstart": 12} and lab.pve.busiest == 4
    assert {ready(lab, f"ct-{n:03d}")[0] for n in range(12)} == {"True"}
    assert calls["POST"] == 24


async def test_two_installations_race_for_vmids() -> None:
    """One range, two operators that know nothing of each other: everybody gets what is theirs."""
    lab = Lab()
    other = lab.neighbour()
    operators = []
    for one in (lab, other):
        await one.furnish(USES)
        operators.append(await one.operator())
        await one.apply(many(6))
    await settle(operators, limit=6000)
    for running in operators:
        await running.stop()
    names = Counter(ct.name for ct in lab.pve.cts if ct.vmid >= 2000)
    assert len(names) == 6 and set(names.values()) == {2}
    vmids = [status(one, f"ct-{n:03d}")["vmid"] for one in (lab, other) for n in range(6)]
    assert len(set(vmids)) == 12
    assert begun(lab)["vzcreate"] == 12 and {
        ready(one, f"ct-{n:03d}")[0] for one in (lab, other) for n in range(6)
    } == {"True"}


def test_the_table_of_answers_is_whole() -> None:
    assert len(ANSWERS) == len(set(ANSWERS.values())) and all(isinstance(given, Answer) for given in ANSWERS.values())
