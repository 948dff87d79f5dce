"""What the bench says of a fleet, of the figures that it reads."""

from __future__ import annotations

import sys

from manifests import ROOT

sys.path.insert(0, str(ROOT / "tests" / "bench"))
import fleet


def test_what_git_took_is_all_its_requests_and_nothing_else() -> None:
    samples = {
        'homeport_git_request_seconds_sum{ok="true",what="look"}': 0.25,
        'homeport_git_request_seconds_sum{ok="true",what="fetch"}': 0.5,
        'homeport_git_request_seconds_count{ok="true",what="fetch"}': 7.0,
        "homeport_leader": 1.0,
    }
    assert fleet.git_seconds(samples) == 0.75


def test_writes_are_told_by_name() -> None:
    made = {"gitsources/status": 3, "configmaps": 1, "applications": 1}
    assert fleet.named(made) == "3 gitsources/status, 1 applications, 1 configmaps"
