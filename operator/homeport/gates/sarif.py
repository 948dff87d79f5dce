"""Findings in SARIF 2.1.0, rated as GitHub rates them.

A rule's ``security-severity`` decides where it has one, else the result's level:
https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning.
What is suppressed, isn't there any more, or is no failure doesn't count:
https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html (3.27.9, 3.27.10, 3.27.23, 3.27.24).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from homeport.gates.findings import Finding, Severity
from homeport.gates.reports import BadReport, Report, json_of

_LEVELS = {"error": Severity.HIGH, "warning": Severity.MEDIUM, "note": Severity.LOW, "none": Severity.NONE}
_SCORES = ((9.0, Severity.CRITICAL), (7.0, Severity.HIGH), (4.0, Severity.MEDIUM), (0.0, Severity.LOW))
"""From which score on it is which; a score of 0 is nothing."""


def read(report: Report) -> list[Finding]:
    """The findings. Raises BadReport for what isn't SARIF, and for a scan that didn't run to its end."""
    body = json_of(report)
    if not isinstance(body, Mapping) or not str(body.get("version", "")).startswith("2.1"):
        raise BadReport("it isn't SARIF 2.1.0: let the tool write that, such as `bandit -f sarif` or `trivy -f sarif`")
    runs = body.get("runs")
    if not isinstance(runs, list) or not runs:
        raise BadReport("it has no runs: the tool scanned nothing")
    try:
        return [finding for run in runs for finding in _run(run)]
    except (AttributeError, TypeError, KeyError) as error:
        raise BadReport(f"it isn't SARIF as the standard has it ({error})") from None


def _run(run: Mapping[str, Any]) -> Iterator[Finding]:
    driver = run["tool"]["driver"]
    tool = str(driver.get("name") or "the tool")
    for invocation in run.get("invocations") or ():
        if invocation.get("executionSuccessful") is False:
            raise BadReport(f"{tool} says itself that it failed: see what it printed")
        _refuse_errors(tool, invocation)
    # Bandit tells how much it has read, here as in its JSON.
    if (((run.get("properties") or {}).get("metrics") or {}).get("_totals") or {}).get("loc") == 0:
        raise BadReport(f"{tool} scanned no line at all: look which folders it was given")
    results = run.get("results")
    if not isinstance(results, list):
        # No results at all, as opposed to an empty list, is a scan that didn't start (3.14.23).
        raise BadReport(f"{tool} didn't scan: its run has no results, not even none")
    parts = [driver, *(run["tool"].get("extensions") or ())]
    for result in results:
        if _counts(result):
            rule = _rule(result, parts)
            name = result.get("ruleId") or (result.get("rule") or {}).get("id") or rule.get("id") or "a rule"
            yield Finding(_severity(result, rule), f"{tool} {name}", _place(result))


def _refuse_errors(tool: str, invocation: Mapping[str, Any]) -> None:
    """What a tool couldn't do, such as a file that it couldn't parse, is a notification of level error (3.20.20,
    3.20.21, 3.58.6); ``executionSuccessful`` may say otherwise. Raises BadReport."""
    for kind in ("toolExecutionNotifications", "toolConfigurationNotifications"):
        for one in invocation.get(kind) or ():
            if one.get("level") == "error":
                text = " ".join(str((one.get("message") or {}).get("text") or "it doesn't say why").split())[:200]
                raise BadReport(f"{tool} couldn't do all of its work: {text} ({_place(one)}); mend or exclude that")


def _counts(result: Mapping[str, Any]) -> bool:
    if result.get("kind", "fail") != "fail" or result.get("baselineState") == "absent":
        return False
    suppressions = result.get("suppressions") or ()
    return not suppressions or any(one.get("status", "accepted") != "accepted" for one in suppressions)


def _rule(result: Mapping[str, Any], parts: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """A result's rule: by its index in the tool or in the extension that it names, else by its id."""
    reference = result.get("rule") or {}
    component = (reference.get("toolComponent") or {}).get("index", -1)
    part = parts[component + 1] if 0 <= component + 1 < len(parts) else {}
    rules = part.get("rules") or ()
    index = result.get("ruleIndex", reference.get("index", -1))
    if 0 <= index < len(rules):
        return dict(rules[index])
    name = str(result.get("ruleId") or reference.get("id") or "")
    known = {str(rule.get("id")): rule for each in parts for rule in each.get("rules") or ()}
    # Of a rule with parts, the result may name one: CA1000/1 is CA1000's (3.27.5).
    while name and name not in known:
        name = name.rpartition("/")[0]
    return dict(known.get(name) or {})


def _severity(result: Mapping[str, Any], rule: Mapping[str, Any]) -> Severity:
    score = _score((rule.get("properties") or {}).get("security-severity"))
    if score is not None:
        return (
            next((severity for least, severity in _SCORES if score >= least), Severity.LOW) if score else Severity.NONE
        )
    level = result.get("level") or (rule.get("defaultConfiguration") or {}).get("level") or "warning"
    return _LEVELS.get(str(level), Severity.MEDIUM)


def _score(value: object) -> float | None:
    """0 to 10; None for what is no such number, which GitHub passes over, too."""
    if not isinstance(value, str | int | float):
        return None
    try:
        score = float(value)
    except ValueError:
        return None
    return score if math.isfinite(score) and 0.0 <= score <= 10.0 else None


def _place(result: Mapping[str, Any]) -> str:
    for location in result.get("locations") or ():
        physical = location.get("physicalLocation") or {}
        file = unquote(str((physical.get("artifactLocation") or {}).get("uri") or ""))
        line = (physical.get("region") or {}).get("startLine")
        if file:
            return f"{file}:{line}" if line else file
    return "no place in particular"
