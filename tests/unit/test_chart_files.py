"""The chart's files: what is generated into it, and what its alerts and dashboard read."""

from __future__ import annotations

import json
import re

import click
import promql_parser
import pytest
import yaml

import charting
from homeport.cli.operator import operator
from manifests import ROOT

CHART = ROOT / "charts" / "homeport"
OPERATING = (ROOT / "docs" / "operating.md").read_text()
METRIC = re.compile(r"\bhomeport_[a-z_]+\b")
TEXT = """\
# -- What it is.
# @schema {"minimum": 1}
size: 3
# -- A group.
group:
  # -- Inside,
  # on two lines.
  name: x
"""


def alerts() -> list[dict[str, str]]:
    text = (CHART / "files" / "alerts.yaml").read_text().replace("{{ .days }}", "14")
    found: list[dict[str, str]] = yaml.safe_load(re.sub(r"\{\{ `(.*?)` \}\}", r"\1", text))
    return found


def test_every_flag_is_a_value() -> None:
    names = {str(option.name) for option in operator.params if isinstance(option, click.Option)}
    values = yaml.safe_load((CHART / "values.yaml").read_text())["operator"]
    assert {charting.camel(name) for name in names - set(charting.DECIDED)} <= set(values)
    assert not set(values) - {charting.camel(name) for name in names} - {"extraArgs"}


def test_values_are_read_with_their_descriptions() -> None:
    size, group, name = charting.described(TEXT)
    assert (size.name, size.default, size.text, size.schema) == ("size", 3, "What it is.", {"minimum": 1})
    assert group.parent and (name.name, name.text) == ("group.name", "Inside, on two lines.")
    schema = charting.schema([size, group, name])["properties"]
    assert schema["size"] == {"description": "What it is.", "type": "integer", "minimum": 1, "default": 3}
    assert schema["group"]["additionalProperties"] is False
    assert '| `group.name` | `"x"` | Inside, on two lines. |' in charting.table([size, group, name])


@pytest.mark.parametrize("text", ["size: 3\n", "# About.\nsize: 3\n"])
def test_a_value_without_a_description_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write above size what it is"):
        list(charting.described(text))


def test_helm_leaves_braces_of_others_alone() -> None:
    assert charting._plain("a {{ b }}") == "a {{ `{{` }} b {{ `}}` }}"


def test_alerts_are_those_of_the_page() -> None:
    assert [alert["alert"] for alert in alerts()] == re.findall(
        r"^\| `(Homeport[A-Za-z]+)` \|", OPERATING, re.MULTILINE
    )


def told() -> list[str]:
    """What alerts and dashboard ask Prometheus."""
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
    asked = [alert["expr"] for alert in alerts()]
    return asked + [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


@pytest.mark.parametrize("expression", told())
def test_what_is_asked_is_promql(expression: str) -> None:
    """By Prometheus's own grammar and types."""
    parsed = promql_parser.parse(expression)
    assert not isinstance(parsed, (promql_parser.NumberLiteral, promql_parser.StringLiteral))


@pytest.mark.parametrize("wrong", ["sum by kind (homeport_resources)", "rate(homeport_api_calls_total)", "a >"])
def test_what_is_not_promql_is_seen(wrong: str) -> None:
    with pytest.raises(ValueError):
        promql_parser.parse(wrong)


def test_alerts_and_dashboard_read_metrics_that_there_are() -> None:
    known = set(METRIC.findall(OPERATING.partition("## Metrics")[2].partition("Worth an alert")[0]))
    used = {name.removesuffix("_bucket") for expr in told() for name in METRIC.findall(expr)}
    assert used and not used - known
