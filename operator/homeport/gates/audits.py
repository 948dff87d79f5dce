"""Findings in the JSON of pip-audit, npm audit, Trivy and Bandit. Which tool wrote a report is read from its shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from homeport.gates.findings import UNRATED, Finding, rated
from homeport.gates.reports import BadReport, Report, json_of

TOOLS = "`pip-audit -f json`, `npm audit --json` (npm 7 and later), `trivy -f json --list-all-pkgs` or `bandit -f json`"


def read(report: Report) -> list[Finding]:
    """The findings. Raises BadReport for what none of these tools wrote, and where one says that it failed."""
    body = json_of(report)
    reader = _reader(body) if isinstance(body, Mapping) else None
    if reader is None:
        raise BadReport(f"no tool that is known wrote it: write it with {TOOLS}, or give SARIF with --sarif")
    try:
        return list(reader(body))
    except (AttributeError, TypeError, KeyError) as error:
        raise BadReport(f"it isn't as its tool writes it ({type(error).__name__}: {error})") from None


def _reader(body: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Iterator[Finding]] | None:
    if isinstance(body.get("dependencies"), list):
        return _pip_audit
    if "auditReportVersion" in body:
        return _npm
    if "SchemaVersion" in body and "ArtifactName" in body:
        return _trivy
    if isinstance(body.get("results"), list) and isinstance(body.get("metrics"), Mapping):
        return _bandit
    if "error" in body or ("message" in body and "statusCode" in body):
        told = str(body.get("message") or body["error"])[:200]
        raise BadReport(f"the audit failed: {told}; look whether its registry can be reached")
    return None


def _pip_audit(body: Mapping[str, Any]) -> Iterator[Finding]:
    """https://pypi.org/project/pip-audit: it knows no severities."""
    audited = [one for one in body["dependencies"] if "skip_reason" not in one]
    if not audited:
        why = next((f": {one['skip_reason']}" for one in body["dependencies"]), "")
        raise BadReport(f"pip-audit audited no package at all{why}")
    for package in audited:
        for one in package["vulns"]:
            yield Finding(UNRATED, str(one["id"]), f"{package['name']} {package['version']}")


def _npm(body: Mapping[str, Any]) -> Iterator[Finding]:
    """Version 2 of npm's report: https://docs.npmjs.com/cli/v11/commands/npm-audit."""
    if body["auditReportVersion"] != 2:
        raise BadReport("it isn't version 2 of npm's report: use npm 7 or later")
    if not body["metadata"]["dependencies"]["total"]:
        raise BadReport("npm audited no package at all: run it where package-lock.json is")
    for name, package in body["vulnerabilities"].items():
        for via in package["via"]:
            # Text names another package of the report, by which this one is concerned: it counts there.
            if isinstance(via, Mapping):
                rule = str(via.get("url") or via.get("source") or "advisory").rpartition("/")[2]
                yield Finding(rated(via["severity"]), rule, f"{name} {package.get('range') or ''}".strip())


def _trivy(body: Mapping[str, Any]) -> Iterator[Finding]:
    """https://trivy.dev/latest/docs/configuration/reporting/#json: vulnerabilities, misconfigurations, secrets."""
    if body["SchemaVersion"] != 2:
        raise BadReport("it isn't version 2 of Trivy's report: use Trivy 0.20 or later")
    if not body.get("Results"):
        # It leaves out what is clean, too, unless it lists packages: nothing tells that from having looked at nothing.
        raise BadReport(
            f"Trivy names nothing that it looked at in {body['ArtifactName']}: write it with --list-all-pkgs, and look "
            "which folder or image it was given"
        )
    for result in body["Results"]:
        target = str(result["Target"])
        for one in result.get("Vulnerabilities") or ():
            place = f"{one['PkgName']} {one['InstalledVersion']} ({target})"
            yield Finding(rated(one["Severity"]), str(one["VulnerabilityID"]), place)
        for one in result.get("Misconfigurations") or ():
            if one.get("Status", "FAIL") == "FAIL":
                line = (one.get("CauseMetadata") or {}).get("StartLine")
                yield Finding(rated(one["Severity"]), str(one["ID"]), f"{target}:{line}" if line else target)
        for one in result.get("Secrets") or ():
            yield Finding(rated(one["Severity"]), str(one["RuleID"]), f"{target}:{one['StartLine']}")


def _bandit(body: Mapping[str, Any]) -> Iterator[Finding]:
    """https://bandit.readthedocs.io/en/latest/formatters/json.html."""
    for error in body.get("errors") or ():
        raise BadReport(f"Bandit couldn't read {error['filename']}: {error['reason']}")
    if not body["metrics"]["_totals"]["loc"]:
        raise BadReport("Bandit scanned no line at all: look which folders it was given")
    for one in body["results"]:
        rule = f"{one['test_id']} {one['test_name']}"
        yield Finding(rated(one["issue_severity"]), rule, f"{one['filename']}:{one['line_number']}")
