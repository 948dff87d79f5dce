"""What commands change in a spec."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from homeport.cli import specs
from homeport.cli.errors import Failure

HPA = {"min": 2, "max": 5, "cpu": 70}
SPEC: dict[str, Any] = {
    "version": "1.0.0",
    "components": [
        {"name": "web", "type": "service", "autoscaling": HPA},
        {"name": "db", "type": "stateful"},
        {"name": "cache", "catalog": {"name": "redis"}},
        {"name": "seed", "type": "job"},
        {"name": "nightly", "type": "cron"},
    ],
    "environments": [
        {"name": "dev", "overrides": {"db": {"replicas": 2, "restartAt": "old"}}},
        {"name": "live"},
    ],
}


def part(spec: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in spec["components"] if entry["name"] == name)


def override(spec: dict[str, Any], environment: str, name: str) -> Any:
    entry = next(entry for entry in spec["environments"] if entry["name"] == environment)
    return entry.get("overrides", {}).get(name)


@pytest.fixture(autouse=True)
def unchanged() -> Any:
    before = copy.deepcopy(SPEC)
    yield
    assert before == SPEC, "nothing is changed in place"


def test_restart_all_that_runs_also_where_an_override_says_otherwise() -> None:
    spec, lines = specs.restart(SPEC, [], [], "now")
    assert [entry["name"] for entry in spec["components"] if entry.get("restartAt")] == ["web", "db", "cache"]
    assert override(spec, "dev", "db")["restartAt"] == "now"
    assert lines == ["web, db, cache will be restarted"]


def test_restart_one_in_one_place() -> None:
    spec, lines = specs.restart(SPEC, ["web"], ["live"], "now")
    assert override(spec, "live", "web") == {"restartAt": "now"}
    assert spec["components"] == SPEC["components"]
    assert lines == ["web will be restarted in live"]


def test_a_job_runs_again_when_it_is_named() -> None:
    assert part(specs.restart(SPEC, ["seed"], [], "now")[0], "seed")["restartAt"] == "now"


def test_pause_and_resume_are_each_others_reverse() -> None:
    for components, environments in (([], []), (["web"], []), (["web", "nightly"], ["live"]), (["nightly"], [])):
        held, lines = specs.pause(SPEC, components, environments)
        assert held != SPEC and "`homeport resume` goes on" in lines[0]
        assert specs.resume(held, components, environments)[0] == SPEC


def test_a_cron_component_is_paused_by_its_own_word() -> None:
    assert part(specs.pause(SPEC, ["nightly"], [])[0], "nightly")["suspend"] is True


def test_resume_in_one_place_only() -> None:
    held, _ = specs.pause(SPEC, ["web"], [])
    spec, lines = specs.resume(held, ["web"], ["live"])
    assert part(spec, "web")["paused"] is True
    assert override(spec, "live", "web") == {"paused": False}
    assert lines == ["web goes on in live"]
    assert specs.resume(spec, [], [])[0] == SPEC


def test_resume_of_a_suspended_application() -> None:
    spec, lines = specs.resume({**SPEC, "suspend": True}, [], [])
    assert spec["suspend"] is False and lines == ["no longer suspended"]
    assert specs.resume({**SPEC, "suspend": True}, ["web"], [])[0]["suspend"] is True


def test_nothing_to_resume() -> None:
    assert specs.resume(SPEC, [], []) == (SPEC, ["nothing is paused or suspended"])


def test_scale() -> None:
    spec, lines = specs.scale(SPEC, {"db": 3}, [])
    assert part(spec, "db")["replicas"] == 3
    assert lines == ["db: 3 replicas", "dev keeps 2 of db, as its override says; -e dev changes that"]
    assert override(specs.scale(SPEC, {"db": 1}, ["dev"])[0], "dev", "db") == {"replicas": 1, "restartAt": "old"}


def test_zero_stops_an_autoscaled_one_and_auto_goes_on() -> None:
    spec, _ = specs.scale(SPEC, {"web": 0}, [])
    assert part(spec, "web") == {"name": "web", "type": "service", "autoscaling": HPA, "replicas": 0}
    assert specs.scale(spec, {"web": None}, []) == (SPEC, ["web: as the spec says"])
    there, _ = specs.scale(SPEC, {"web": 0}, ["live"])
    assert override(there, "live", "web") == {"replicas": 0}
    assert specs.scale(there, {"web": None}, ["live"])[0] == SPEC


def test_a_fixed_number_in_one_place_and_back() -> None:
    spec, lines = specs.scale(SPEC, {"web": 4}, ["live"])
    assert override(spec, "live", "web") == {"replicas": 4, "without": ["autoscaling"]}
    assert lines == ["web: 4 replicas in live"]
    assert specs.scale(spec, {"web": None}, ["live"])[0] == SPEC


def test_what_else_an_override_leaves_out_stays_out() -> None:
    spec = copy.deepcopy(SPEC)
    spec["environments"][1]["overrides"] = {"web": {"without": ["env.DEBUG"]}}
    there, _ = specs.scale(spec, {"web": 4}, ["live"])
    assert override(there, "live", "web") == {"replicas": 4, "without": ["env.DEBUG", "autoscaling"]}
    assert specs.scale(there, {"web": None}, ["live"])[0] == spec


@pytest.mark.parametrize(
    ("work", "says"),
    [
        (lambda: specs.restart(SPEC, ["wbe"], [], "t"), "there is no component 'wbe'"),
        (lambda: specs.restart(SPEC, ["nightly"], [], "t"), "nightly is a cron component"),
        (lambda: specs.pause(SPEC, ["seed"], []), "seed is a job, which can't be paused"),
        (lambda: specs.pause(SPEC, [], ["prod"]), "the application doesn't run in 'prod'"),
        (lambda: specs.pause({"components": SPEC["components"]}, [], ["live"]), "lists no environments"),
        (lambda: specs.pause({"components": SPEC["components"][3:]}, [], []), "no component runs all the time"),
        (lambda: specs.scale(SPEC, {"web": 3}, []), "web is autoscaled between 2 and 5"),
        (lambda: specs.scale(SPEC, {"seed": 1}, []), "seed is a job component, which has no replicas"),
    ],
)
def test_what_cannot_be_done_is_said(work: Any, says: str) -> None:
    with pytest.raises(Failure, match=says) as failure:
        work()
    assert failure.value.hint or "job" in says
