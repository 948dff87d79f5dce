"""Tells how many points a module has tried, and how many of them came out wrong; `make faults` shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

Tell = Callable[[str, int, int], None]


@pytest.fixture(scope="module")
def tell(request: pytest.FixtureRequest) -> Iterator[Tell]:
    """Takes a line of the table that is shown at the end: what, how many points, and how many were wrong."""
    rows: dict[str, tuple[int, int]] = {}

    def note(what: str, points: int, wrong: int) -> None:
        rows[what] = points, wrong

    yield note
    if not rows:
        return
    table = [f"{'what goes wrong':44} points  wrong"]
    table += [f"{what:44} {points:6} {wrong:6}" for what, (points, wrong) in (*rows.items(), ("all", _sum(rows)))]
    module = request.node.path.stem
    kept = request.config.rootpath / ".homeport" / "faults" / f"{module}.txt"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(f"{module}\n" + "\n".join(table) + "\n")
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.ensure_newline()
        for line in table:
            reporter.write_line(line)


def _sum(rows: dict[str, tuple[int, int]]) -> tuple[int, int]:
    return sum(points for points, _ in rows.values()), sum(wrong for _, wrong in rows.values())
