"""How many tasks run on a host, and who is told when there is room."""

from __future__ import annotations

from homeport.drivers.proxmox.slots import Slots
from homeport.plan.proxmox.tasks import Upid


def upid(number: int) -> Upid:
    return Upid.parse(f"UPID:pve1:{number:08X}:00000001:65000000:vzstart:{number}:root@pam!t:")


def full(limit: int) -> tuple[Slots, list[str]]:
    slots, told = Slots(limit), list[str]()
    slots.room = told.append
    for number in range(limit):
        slots.fill(f"runs {number}", upid(number))
    return slots, told


def test_the_first_in_line_is_told_and_no_more_than_there_is_room_for() -> None:
    slots, told = full(2)
    for owner in ("a", "b", "c"):
        assert not slots.take(owner)
        slots.wait(owner)
    slots.ended(upid(0))
    assert told == ["a"] and slots.take("a")
    slots.ended(upid(1))
    assert told == ["a", "b"] and slots.take("b") and not slots.take("c")


def test_who_comes_too_late_keeps_its_place() -> None:
    slots, told = full(1)
    slots.wait("a")
    slots.wait("b")
    slots.ended(upid(0))
    assert told == ["a"] and slots.take("somebody else")
    slots.wait("a")
    slots.free("somebody else")
    assert told == ["a", "a"]


def test_who_was_told_and_does_not_come_holds_nobody_up() -> None:
    slots, told = full(2)
    slots.wait("never comes")
    slots.wait("b")
    slots.ended(upid(0))
    slots.ended(upid(1))
    assert told == ["never comes", "b"]


def test_who_leaves_is_not_told() -> None:
    slots, told = full(1)
    slots.wait("a")
    slots.wait("b")
    slots.leave("a")
    slots.ended(upid(0))
    assert told == ["b"]


def test_a_slot_is_held_for_what_its_owner_does_next() -> None:
    slots, told = full(1)
    slots.wait("a")
    slots.ended(upid(0), hold=True)
    assert told == [] and not slots.take("a") and "runs 0" not in slots
    assert slots.take("runs 0")
    slots.fill("runs 0", upid(7))
    slots.pass_on("runs 0")
    assert len(slots) == 1 and told == []
    slots.ended(upid(7), hold=True)
    slots.pass_on("runs 0")
    assert told == ["a"] and slots.take("a")
