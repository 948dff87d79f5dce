"""Schedules as systemd's timers have them, held against systemd itself where it is."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime

import pytest

from homeport.plan import oncalendar
from homeport.plan.backup import schedule as schedules

BASE = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
EXPRESSIONS = {
    "0 3 * * *": ["*-*-* 03:00:00 UTC"],
    "*/15 8-10 * * MON-FRI": ["Mon,Tue,Wed,Thu,Fri *-*-* 08,09,10:00,15,30,45:00 UTC"],
    "30 4 1,15 * 5": ["*-*-01,15 04:30:00 UTC", "Fri *-*-* 04:30:00 UTC"],
    "0 0 */2 * 1": None,
    "0 0 1 * 0-6": ["*-*-* 00:00:00 UTC"],
    "0 0 1-31 * 1": ["*-*-* 00:00:00 UTC"],
    "5 4 * 2,3 7": ["Sun *-02,03-* 04:05:00 UTC"],
    "@hourly": ["*-*-* *:00:00 UTC"],
    "@yearly": ["*-01-01 00:00:00 UTC"],
    "* * * * *": ["*-*-* *:*:00 UTC"],
    "0 12 31 * *": ["*-*-31 12:00:00 UTC"],
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_a_timer_is_told(expression: str) -> None:
    wanted = EXPRESSIONS[expression]
    assert wanted is None or oncalendar.lines(expression, None) == wanted
    assert all(line.endswith(" Europe/Rome") for line in oncalendar.lines(expression, "Europe/Rome"))


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_systemd_means_the_same_times(expression: str) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze isn't here")
    schedule, wanted, moment = schedules.parse(expression), [], BASE
    for _ in range(12):
        found = schedule.after(moment)
        assert found is not None
        wanted.append(found)
        moment = found
    told: set[datetime] = set()
    for line in oncalendar.lines(expression, None):
        command = ["systemd-analyze", "calendar", f"--base-time={BASE:%Y-%m-%d %H:%M:%S} UTC", "--iterations=12", line]
        out = subprocess.run(command, check=True, capture_output=True, text=True, env={"TZ": "UTC"}).stdout
        told |= {
            datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
            for text in re.findall(r"(?:Next elapse|Iter\. #\d+|Iteration #\d+): \w+ (\S+ \S+) UTC", out)
        }
    assert sorted(told)[:12] == wanted


@pytest.mark.parametrize(
    ("expression", "why"), [("0 3 L * *", "no L"), ("0 3 * * 1#2", "no #"), ("0 0 3 * * *", "five")]
)
def test_what_a_timer_cant_be_told(expression: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        oncalendar.lines(expression, None)
