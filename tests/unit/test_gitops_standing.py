"""The condition Healthy of a GitSource."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from homeport.api.conditions import Health
from homeport.plan.gitops.standing import healthy, unready
from homeport.plan.gitops.types import Standing
from homeport.plan.health import Verdict
from homeport.plan.types import ObjectId

NOW = datetime(2027, 1, 31, tzinfo=UTC)
WEB = ObjectId("shop", "web", "apps", "Deployment")
API = ObjectId("shop", "api", "apps", "Deployment")


@pytest.mark.parametrize(
    ("verdicts", "seconds", "status", "reason"),
    [
        ([], 0, "True", "ReconciliationSucceeded"),
        ([Verdict(Health.PROGRESSING, "starts")], 10, "False", "Progressing"),
        ([Verdict(Health.PROGRESSING, "starts")], 60, "False", "HealthCheckFailed"),
        ([Verdict(Health.DEGRADED, "fails"), Verdict(Health.UNKNOWN)], 0, "False", "HealthCheckFailed"),
        ([Verdict(Health.UNKNOWN, "it hasn't been read yet")], 10, "Unknown", "Progressing"),
        ([Verdict(Health.PROGRESSING), Verdict(Health.UNKNOWN)], 10, "Unknown", "Progressing"),
        ([Verdict(Health.UNKNOWN, "it hasn't been read yet")], 60, "False", "HealthCheckFailed"),
    ],
)
def test_what_it_says(verdicts: list[Verdict], seconds: int, status: str, reason: str) -> None:
    standing = Standing(2 - len(verdicts), 2, tuple(zip((WEB, API), verdicts, strict=False)))
    since = NOW - timedelta(seconds=seconds)
    ((_, told),) = healthy(standing, unready(standing, since, NOW, 30)).items()
    assert (told[2], told[0]) == (status, reason)
    assert told[1].startswith(
        "2 objects ready" if not verdicts else f"{2 - len(verdicts)} of 2 objects ready; Deployment"
    )


def test_it_is_absent_while_nothing_is_applied() -> None:
    assert healthy(Standing(), None) == {}
