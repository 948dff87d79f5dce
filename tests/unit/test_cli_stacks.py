"""A stack's operations without an engine: what is looked at before one begins."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.cli import stacks
from homeport.cli.errors import Failure

PREFIX = "urn:pulumi:lab::homeport-clusters::"
STACK = f"{PREFIX}pulumi:pulumi:Stack::homeport-clusters-lab"
RELEASE = f"{PREFIX}homeport:clusters:Homeport$pulumi-python:dynamic/homeport:Release::here/homeport"


class Played:
    """A stack with a state; it notes what runs."""

    name = "lab"

    def __init__(self, resources: list[str], pending: list[tuple[str, str]]) -> None:
        operations = [{"type": type_, "resource": {"urn": urn}} for type_, urn in pending]
        self.state = {"resources": [{"urn": urn} for urn in resources], "pending_operations": operations}
        self.ran: list[str] = []

    def export_stack(self) -> Any:
        return type("Deployment", (), {"version": 3, "deployment": self.state})

    def destroy(self, **_: Any) -> None:
        self.ran.append("destroy")

    def up(self, **_: Any) -> None:
        self.ran.append("up")

    def outputs(self) -> dict[str, Any]:
        return {}


def session(stack: Played) -> stacks.Session:
    return stacks.Session(stack, lambda _: None)  # type: ignore[arg-type]


def test_destroy_is_refused_while_it_isnt_known_whether_something_was_made() -> None:
    stack = Played([STACK], [("creating", RELEASE)])
    with pytest.raises(Failure, match="was killed while it made Release here/homeport") as refused:
        session(stack).run("destroy")
    assert stack.ran == [] and "run `up` first" in refused.value.hint
    session(stack).run("up")
    assert stack.ran == ["up"]


@pytest.mark.parametrize(
    ("resources", "pending"),
    [
        pytest.param([STACK], [], id="nothing is pending"),
        pytest.param([STACK, RELEASE], [("creating", RELEASE)], id="a later up has made it"),
        pytest.param([STACK, RELEASE], [("updating", RELEASE), ("deleting", RELEASE)], id="it is in the state"),
        pytest.param([], [("creating", RELEASE)], id="it was destroyed since"),
    ],
)
def test_destroy_goes_on_where_everything_is_known(resources: list[str], pending: list[tuple[str, str]]) -> None:
    stack = Played(resources, pending)
    session(stack).run("destroy")
    assert stack.ran == ["destroy"]
