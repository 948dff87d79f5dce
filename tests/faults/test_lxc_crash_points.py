"""Any write may be the last before a crash, to the host as to the API server: the operator is killed at each.

A clean run tells which writes there are. Then, for each: the same run, dead before that write or after it, and a new
operator on what is left; and, for those to the host, the same with the answer lost instead. It must come to the very
same end: exactly the wanted containers, none of them twice, none orphaned, none that isn't ours touched, no task begun
twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from containers_lab import STORIES, before, problems
from killing import killed

from localpve.faults import LOST, Answer, Fault
from memory_world import play

pytestmark = pytest.mark.faults
Tell = Callable[[str, int, int], None]

SILENT = Answer(596, "Connection timed out")
UNKNOWN = {
    "lost before": (LOST, False),
    "lost after": (LOST, True),
    "596 before": (SILENT, False),
    "596 after": (SILENT, True),
}


def host_writes(writes: list[str]) -> list[str]:
    """Those of a gate's writes that went to the host."""
    return [write for write in writes if write.split(" ", 1)[0].isupper()]


@pytest.mark.parametrize("story", STORIES)
async def test_killed_at_every_write(story: str, tell: Tell) -> None:
    start, step = await before(STORIES[story]), STORIES[story][-1]
    clean = start.clone()
    writes = (await play(clean, step)).gate.writes
    assert host_writes(writes), "nothing was asked of the host"
    wrong, points = [], 0
    async for what, lab in killed(start, step, writes):
        points += 1
        wrong.extend(f"{what}: {problem}" for problem in problems(lab, clean))
    tell(f"{story}: killed before and after each write", points, len(wrong))
    assert not wrong, f"{len(wrong)} of {points} points:\n" + "\n".join(wrong[:40])


@pytest.mark.parametrize("story", STORIES)
async def test_answers_lost_at_every_write_to_the_host(story: str, tell: Tell) -> None:
    start, step = await before(STORIES[story]), STORIES[story][-1]
    clean = start.clone()
    writes = host_writes((await play(clean, step)).gate.writes)
    wrong, points = [], 0
    seen: Counter[str] = Counter()
    for write in writes:
        method, path = write.split(" ", 1)
        seen[write] += 1
        for name, (answer, after) in UNKNOWN.items():
            lab = start.clone()
            points += 1
            lab.pve.script.faults.append(Fault(method, path, answer, after=after, nth=seen[write]))
            await play(lab, step)
            wrong.extend(f"{name} {write}: {problem}" for problem in problems(lab, clean))
    tell(f"{story}: answers lost, 596", points, len(wrong))
    assert not wrong, f"{len(wrong)} of {points} points:\n" + "\n".join(wrong[:40])


@pytest.mark.parametrize("story", STORIES)
async def test_a_new_operator_has_nothing_to_do(story: str) -> None:
    lab = await before(STORIES[story])
    await play(lab, STORIES[story][-1])
    again = await lab.operator()
    await again.settle()
    await again.stop()
    assert again.gate.writes == []
