"""Quality gates, by reports that the tools themselves wrote: each passes, and each can fail."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as generated
from hypothesis import strategies as st

from homeport.gates import audits, coverage, docs, findings, locust, sarif
from homeport.gates.check import Changes, Given, Verdict, judge, markdown
from homeport.gates.config import DocsRule, Gates, Performance
from homeport.gates.findings import Severity
from homeport.gates.reports import BadReport, Report, read

SAMPLES = Path(__file__).parents[1] / "samples" / "reports"


def sample(name: str) -> Report:
    found = read(SAMPLES / name)
    assert not found.problem
    return Report(name, found.content)


def report(content: str | bytes | Any, name: str = "report") -> Report:
    if not isinstance(content, str | bytes):
        content = json.dumps(content)
    return Report(name, content.encode() if isinstance(content, str) else content)


def verdict(gates: dict[str, Any], **given: Any) -> Verdict:
    (found,) = judge(Gates.model_validate(gates), Given(**given))
    return found


# --- coverage ---------------------------------------------------------------------------------------------------------


def test_two_runs_count_as_one_by_lines() -> None:
    alone = [verdict({"coverage": 0}, coverage=[sample(f"coverage-{run}.xml")]).value for run in "ab"]
    both = verdict({"coverage": 95}, coverage=[sample("coverage-a.xml"), sample("coverage-b.xml")])
    # coverage.py itself: 6 of 17 and 11 of 17 lines; all but the six of orders.py together.
    assert [round(value * 17 / 100) for value in alone] == [6, 11]
    assert round(both.value * 17 / 100) == 11
    assert not both.passed
    assert both.figure == "64.7 %"
    assert both.worst == ("/builds/shop/shop/orders.py: 6 of 6 lines didn't run",)
    assert verdict({"coverage": 64}, coverage=[sample("coverage-a.xml"), sample("coverage-b.xml")]).passed


def test_lcov_says_the_same_as_xml_and_is_one_with_it_below_the_repository() -> None:
    xml, lcov = sample("coverage-a.xml"), sample("coverage-a.info")
    assert coverage.read(xml, "/builds/shop") == {f: n for f, n in coverage.read(lcov).items() if n}
    both = verdict({"coverage": 30}, coverage=[xml, lcov], root="/builds/shop")
    assert both.value == verdict({"coverage": 30}, coverage=[lcov]).value


JACOCO = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<!DOCTYPE report PUBLIC "-//JACOCO//DTD Report 1.1//EN" "report.dtd">
<report name="shop"><sessioninfo id="a" start="1" dump="2"/><package name="shop/orders">
<class name="shop/orders/Order" sourcefilename="Order.java"><method name="a" desc="()V" line="3">
<counter type="LINE" missed="0" covered="2"/></method></class>
<sourcefile name="Order.java"><line nr="3" mi="0" ci="2" mb="0" cb="0"/><line nr="4" mi="1" ci="0" mb="0" cb="0"/>
<counter type="LINE" missed="1" covered="1"/></sourcefile></package></report>"""


def test_jacoco_with_its_doctype() -> None:
    assert coverage.read(report(JACOCO)) == {"shop/orders/Order.java": {3: True, 4: False}}


def test_files_that_several_folders_may_hold_keep_both_in_their_name() -> None:
    two = "<coverage><sources><source>/a</source><source>/b</source></sources><packages><package><classes>"
    two += '<class filename="x.py"><lines><line number="1" hits="1"/></lines></class>'
    two += "</classes></package></packages></coverage>"
    assert coverage.read(report(two)) == {"{/a,/b}/x.py": {1: True}}


BOMB = '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;">]><coverage>&b;</coverage>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><coverage><sources><source>&x;</source></sources></coverage>'


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "the file is empty"),
        (b"  \n", "the file is empty"),
        (BOMB.encode(), "it declares XML entities"),
        (OUTSIDE.encode(), "it declares XML entities"),
        (b"<coverage><packages>", "it isn't XML"),
        (b"\x00\x01\x02", "it is neither XML nor lcov"),
        (b'<?xml version="1.0" encoding="klingon"?><coverage/>', "it isn't XML"),
        (b"<testsuites/>", "<testsuites> is neither Cobertura's"),
        (b"<coverage/>", "it counts no line"),
        (b'<coverage><class filename="a"><line number="1" hits="many"/></class></coverage>', "are no numbers"),
        (b"SF:a.py\nDA:1,1\n", "it ends within a.py"),
        (b"SF:a.py\nend_of_record\n", "it is neither XML nor lcov"),
        (b'{"totals": {"percent_covered": 100}}', "it is neither XML nor lcov"),
    ],
)
def test_a_report_that_says_nothing_fails_and_says_why(content: bytes, told: str) -> None:
    found = verdict({"coverage": 0}, coverage=[report(content, "c.xml")])
    assert not found.passed
    assert found.figure == "unknown"
    assert found.problems[0].startswith("c.xml: ")
    assert told in found.problems[0]


def test_one_broken_report_among_good_ones_fails_the_gate() -> None:
    found = verdict({"coverage": 0}, coverage=[sample("coverage-a.xml"), report(b"<coverage", "b.xml")])
    assert not found.passed
    assert found.value is not None


def test_no_report_is_no_pass() -> None:
    gates = {"coverage": 0, "security": "E", "criticalIssues": 1000, "performance": 0}
    found = judge(Gates.model_validate(gates), Given())
    assert [one.gate for one in found] == ["coverage", "security", "performance", "criticalIssues"]
    assert not any(one.passed for one in found)
    assert all("no report was given" in one.problems[0] for one in found)


def test_a_figure_just_below_the_threshold_is_not_shown_as_the_threshold() -> None:
    lines = "".join(f"DA:{number},{int(number > 5)}\n" for number in range(100_000))
    found = verdict({"coverage": 100}, coverage=[report(f"SF:a\n{lines}end_of_record\n")])
    assert (found.passed, found.figure) == (False, "99.99 %")


@generated(st.binary(max_size=400))
def test_no_content_breaks_a_reader(content: bytes) -> None:
    for reader in (coverage.read, sarif.read, audits.read, locust.read):
        try:
            reader(report(content))
        except BadReport:
            continue


_NAMES = [
    "version",
    "runs",
    "tool",
    "driver",
    "rules",
    "results",
    "ruleId",
    "locations",
    "suppressions",
    "dependencies",
    "vulns",
    "auditReportVersion",
    "vulnerabilities",
    "via",
    "metadata",
    "SchemaVersion",
    "ArtifactName",
    "Results",
    "metrics",
    "errors",
    "rule",
    "index",
    "properties",
    "security-severity",
    "Vulnerabilities",
]  # fmt: skip
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "x", "9.8", "high"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=4),
    max_leaves=12,
)


@generated(_VALUES)
def test_no_json_breaks_a_reader(value: Any) -> None:
    for base in ({"version": "2.1.0"}, {"auditReportVersion": 2}, {"SchemaVersion": 2, "ArtifactName": "a"}, {}):
        body = {**base, **value} if isinstance(value, dict) else {**base, "runs": value, "Results": value}
        for reader in (sarif.read, audits.read):
            try:
                reader(report(body))
            except BadReport:
                continue


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_file_of_a_gibibyte_is_not_read(tmp_path: Path) -> None:
    large = tmp_path / "large.xml"
    with large.open("wb") as file:
        file.truncate(1024**3)
    found = read(large)
    assert found.content == b""
    assert "larger than 64 MiB" in found.problem


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "it is no file" in read(tmp_path / "pipe").problem
    assert "it is no file" in read(tmp_path).problem
    assert "it is no file" in read(Path("/dev/zero")).problem
    assert "there is no such file" in read(tmp_path / "absent").problem


# --- security ---------------------------------------------------------------------------------------------------------


def test_bandit_in_both_formats() -> None:
    for kind in ({"audits": [sample("bandit.json")]}, {"sarif": [sample("bandit.sarif")]}):
        found = verdict({"security": "A"}, **kind)
        assert (found.passed, found.value) == (False, "D"), kind
        assert "B602" in "".join(found.worst)
        assert found.worst[0].startswith("high: ")
    clean = verdict({"security": "A"}, audits=[sample("bandit-clean.json")], sarif=[sample("bandit-clean.sarif")])
    assert (clean.passed, clean.value) == (True, "A")
    assert verdict({"security": "D"}, audits=[sample("bandit.json")]).passed


def test_pip_audit_without_severities_counts_as_high() -> None:
    found = verdict({"security": "C"}, audits=[sample("pip-audit.json")])
    assert (found.passed, found.value, found.worst) == (False, "D", ("high: PYSEC-2019-217 in jinja2 2.10",))
    assert verdict({"security": "A"}, audits=[sample("pip-audit-clean.json")]).passed


def test_a_pip_audit_that_audited_nothing_fails() -> None:
    found = verdict({"security": "E"}, audits=[sample("pip-audit-skipped.json")])
    assert not found.passed
    assert "audited no package at all: Dependency not found on PyPI" in found.problems[0]


def test_npm_audit_counts_each_advisory_once() -> None:
    found = verdict({"criticalIssues": 0}, audits=[sample("npm-audit.json")])
    assert (found.passed, found.value) == (False, 1)
    assert found.worst == ("critical: GHSA-jf85-cpcp-j695 in lodash <4.17.12",)
    # mkdirp is concerned by minimist's advisory, which is counted there.
    assert len(audits.read(sample("npm-audit.json"))) == 2
    assert verdict({"criticalIssues": 1}, audits=[sample("npm-audit.json")]).passed
    assert verdict({"security": "A"}, audits=[sample("npm-audit-clean.json")]).passed


def test_an_npm_audit_that_failed_is_no_pass() -> None:
    found = verdict({"security": "E"}, audits=[sample("npm-audit-failed.json")])
    assert not found.passed
    assert "the audit failed: 405 Method Not Allowed" in found.problems[0]


TRIVY = {
    "SchemaVersion": 2,
    "ArtifactName": "shop:1.4.0",
    "ArtifactType": "container_image",
    "Results": [
        {
            "Target": "shop:1.4.0 (debian 12.5)",
            "Class": "os-pkgs",
            "Vulnerabilities": [
                {"VulnerabilityID": "CVE-1", "PkgName": "zlib1g", "InstalledVersion": "1.2", "Severity": "CRITICAL"},
                {"VulnerabilityID": "CVE-2", "PkgName": "tar", "InstalledVersion": "1.34", "Severity": "LOW"},
            ],
        },
        {
            "Target": "Dockerfile",
            "Class": "config",
            "Misconfigurations": [
                {"ID": "DS002", "Severity": "HIGH", "Status": "FAIL", "CauseMetadata": {"StartLine": 3}},
                {"ID": "DS026", "Severity": "LOW", "Status": "PASS"},
            ],
        },
        {"Target": "app.env", "Class": "secret", "Secrets": [{"RuleID": "aws", "Severity": "HIGH", "StartLine": 7}]},
        {"Target": "clean", "Class": "lang-pkgs"},
    ],
}


def test_trivy() -> None:
    assert [one.shown for one in findings.together(audits.read(report(TRIVY)))] == [
        "critical: CVE-1 in zlib1g 1.2 (shop:1.4.0 (debian 12.5))",
        "high: DS002 in Dockerfile:3",
        "high: aws in app.env:7",
        "low: CVE-2 in tar 1.34 (shop:1.4.0 (debian 12.5))",
    ]
    # As it is with --list-all-pkgs where nothing is found; without, nothing says that anything was looked at.
    packages = {"Target": "requirements.txt", "Class": "lang-pkgs", "Packages": [{"Name": "flask"}]}
    assert not audits.read(report({**TRIVY, "Results": [packages]}))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("{", "it isn't JSON"),
        ("[]", "no tool that is known wrote it"),
        ({}, "no tool that is known wrote it"),
        ({"dependencies": []}, "audited no package at all"),
        ({"auditReportVersion": 1}, "version 2 of npm's report"),
        ({"SchemaVersion": 1, "ArtifactName": "a"}, "version 2 of Trivy's report"),
        (TRIVY | {"Results": None}, "Trivy names nothing that it looked at in shop:1.4.0"),
        (TRIVY | {"Results": []}, "write it with --list-all-pkgs"),
        ({"SchemaVersion": 2, "ArtifactName": "."}, "Trivy names nothing"),
        ({"results": [], "metrics": {"_totals": {"loc": 0}}}, "Bandit scanned no line"),
        ({"results": [], "metrics": {}, "errors": [{"filename": "a.py", "reason": "syntax"}]}, "couldn't read a.py"),
        ({"dependencies": [{"name": "a"}]}, "it isn't as its tool writes it"),
    ],
)
def test_audits_that_say_nothing(body: Any, told: str) -> None:
    found = verdict({"security": "E"}, audits=[report(body)])
    assert not found.passed
    assert told in found.problems[0]


def run(*results: dict[str, Any], rules: list[dict[str, Any]] | None = None, **more: Any) -> Report:
    driver = {"name": "scan", "rules": rules or []}
    return report({"version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": list(results), **more}]})


@pytest.mark.parametrize(
    ("score", "severity"),
    [("9.8", 4), ("9.0", 4), ("8.9", 3), ("7.0", 3), ("6.9", 2), ("4.0", 2), ("3.9", 1), ("0.1", 1), ("0.0", 0)],
)
def test_security_severity_as_github_reads_it(score: str, severity: int) -> None:
    rules = [{"id": "R1", "properties": {"security-severity": score}}]
    (found,) = sarif.read(run({"ruleId": "R1", "level": "note"}, rules=rules))
    assert found.severity == severity


@pytest.mark.parametrize("score", ["nan", "inf", "11", "-1", "high", "", None, []])
def test_a_score_that_is_none_leaves_it_to_the_level(score: Any) -> None:
    rules = [{"id": "R1", "properties": {"security-severity": score}}]
    (found,) = sarif.read(run({"ruleId": "R1", "level": "error"}, rules=rules))
    assert found.severity is Severity.HIGH


def test_levels_come_from_the_result_the_rule_or_the_standard() -> None:
    rules = [{"id": "R1", "defaultConfiguration": {"level": "error"}}, {"id": "R2"}]
    results = [
        {"ruleId": "R1"},
        {"ruleIndex": 1},
        {"ruleId": "R1/part"},
        {"ruleId": "R1", "level": "none"},
        {"ruleId": "X"},
    ]
    assert [one.severity.name for one in sarif.read(run(*results, rules=rules))] == [
        "HIGH", "MEDIUM", "HIGH", "NONE", "MEDIUM",
    ]  # fmt: skip


def test_rules_of_extensions_as_codeql_has_them() -> None:
    rule = {"id": "py/sql-injection", "properties": {"security-severity": "9.8"}}
    driver, extension = {"name": "CodeQL", "rules": []}, {"name": "codeql/python-queries", "rules": [rule]}
    place = {"physicalLocation": {"artifactLocation": {"uri": "a%20b.py"}, "region": {"startLine": 4}}}
    result = {"rule": {"id": rule["id"], "index": 0, "toolComponent": {"index": 0}}, "locations": [place]}
    tool = {"driver": driver, "extensions": [extension]}
    (found,) = sarif.read(report({"version": "2.1.0", "runs": [{"tool": tool, "results": [result]}]}))
    assert found.shown == "critical: CodeQL py/sql-injection in a b.py:4"


@pytest.mark.parametrize(
    ("more", "counts"),
    [
        ({}, True),
        ({"suppressions": []}, True),
        ({"suppressions": [{"kind": "inSource"}]}, False),
        ({"suppressions": [{"kind": "external", "status": "accepted"}]}, False),
        ({"suppressions": [{"kind": "inSource"}, {"kind": "external", "status": "underReview"}]}, True),
        ({"suppressions": [{"kind": "external", "status": "rejected"}]}, True),
        ({"kind": "pass"}, False),
        ({"kind": "fail"}, True),
        ({"baselineState": "absent"}, False),
        ({"baselineState": "unchanged"}, True),
    ],
)
def test_what_is_suppressed_or_gone_does_not_count(more: dict[str, Any], counts: bool) -> None:
    assert bool(sarif.read(run({"ruleId": "R", **more}))) is counts


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"version": "2.0.0", "runs": []}, "it isn't SARIF 2.1.0"),
        ({"version": "2.1.0", "runs": []}, "it has no runs"),
        ({"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "a"}}}]}, "a didn't scan"),
        ({"version": "2.1.0", "runs": [{"results": []}]}, "as the standard has it"),
        (
            {
                "version": "2.1.0",
                "runs": [{"tool": {"driver": {}}, "results": [], "invocations": [{"executionSuccessful": False}]}],
            },
            "says itself that it failed",
        ),
    ],
)
def test_scans_that_say_nothing(body: Any, told: str) -> None:
    found = verdict({"security": "E"}, sarif=[report(body)])
    assert not found.passed
    assert told in found.problems[0]


NOTED = {
    "level": "error",
    "message": {"text": "syntax error while parsing\nAST from file"},
    "locations": [{"physicalLocation": {"artifactLocation": {"uri": "shop/orders.py"}}}],
}
"""As Bandit has it for a file that isn't Python; it says executionSuccessful all the same."""


@pytest.mark.parametrize("kind", ["toolExecutionNotifications", "toolConfigurationNotifications"])
def test_a_scan_that_skipped_a_file_fails(kind: str) -> None:
    body = json.loads(sample("bandit-clean.sarif").content)
    body["runs"][0]["invocations"][0][kind] = [NOTED]
    found = verdict({"security": "E"}, sarif=[report(body)])
    assert not found.passed
    told = "Bandit couldn't do all of its work: syntax error while parsing AST from file (shop/orders.py)"
    assert told in found.problems[0]
    for milder in ({"level": "warning"}, {"level": None}):
        body["runs"][0]["invocations"][0][kind] = [{**NOTED, **milder}]
        assert verdict({"security": "A"}, sarif=[report(body)]).passed
    body["runs"][0]["invocations"][0][kind] = [{"level": "error"}]
    assert "it doesn't say why" in verdict({"security": "E"}, sarif=[report(body)]).problems[0]


def test_a_bandit_that_was_given_no_code_fails() -> None:
    body = json.loads(sample("bandit-clean.sarif").content)
    body["runs"][0]["properties"]["metrics"] = {"_totals": {"loc": 0, "nosec": 0}}
    found = verdict({"security": "E"}, sarif=[report(body)])
    assert (found.passed, "Bandit scanned no line at all" in found.problems[0]) == (False, True)


@pytest.mark.parametrize(("severity", "grade"), list(zip(Severity, "ABCDE", strict=True)))
def test_grades(severity: Severity, grade: str) -> None:
    assert findings.grade([findings.Finding(severity, "r", "p"), findings.Finding(Severity.NONE, "r", "q")]) == grade


def test_one_finding_in_two_reports_counts_once() -> None:
    found = verdict({"criticalIssues": 1}, audits=[sample("npm-audit.json"), sample("npm-audit.json")])
    assert (found.passed, found.value) == (True, 1)


# --- performance ------------------------------------------------------------------------------------------------------


def test_a_quick_server_passes_and_a_slow_one_fails() -> None:
    quick = verdict({"performance": 90}, locust=[sample("locust-fast_stats.csv")])
    assert (quick.passed, quick.value, quick.worst) == (True, 100.0, ())
    slow = verdict({"performance": 90}, locust=[sample("locust-slow_stats.csv")])
    # p95 of 950 ms where 500 are wanted, and 12 of 428 failed where 1 % may.
    assert slow.value == pytest.approx(100 * (500 / 950) * (1 / (100 * 12 / 428)))
    assert not slow.passed
    assert slow.worst == ("GET /orders: p95 950 ms, 12 of 59 failed",)
    lenient = {"score": 90, "p95": "1s", "errors": 5}
    assert verdict({"performance": lenient}, locust=[sample("locust-slow_stats.csv")]).passed


def test_several_load_tests_are_added_up_and_the_slowest_counts() -> None:
    loads = [locust.read(sample(f"locust-{which}_stats.csv")) for which in ("fast", "slow")]
    total = locust.together(loads).total
    assert (total.count, total.failed, total.p95) == (804 + 428, 12, 950)


@pytest.mark.parametrize(
    ("p95", "failed", "score"), [(500, 0, 100), (1000, 0, 50), (500, 2, 50), (1000, 2, 25), (0, 0, 100), (1, 1, 100)]
)
def test_the_score(p95: float, failed: int, score: float) -> None:
    assert locust.score(locust.Requests("a", 100, failed, p95), Performance()) == pytest.approx(score)


def test_no_error_is_allowed_where_none_is() -> None:
    assert locust.score(locust.Requests("a", 100, 1, 1), Performance(errors=0)) == 0


HEAD = "Type,Name,Request Count,Failure Count,95%\n"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("Name,Count\na,1\n", "it isn't Locust's statistics"),
        (HEAD, "it isn't Locust's statistics"),
        (f"{HEAD}GET,/,10,0,5\n", "it has no row Aggregated"),
        (f"{HEAD},Aggregated,10\n", "has no figures"),
        (f"{HEAD},Aggregated,0,0,N/A\n", "0 requests say too little"),
        (f"{HEAD},Aggregated,99,0,5\n", "99 requests say too little"),
        (f"{HEAD},Aggregated,200,300,5\n", "figures that can't be"),
        (f"{HEAD},Aggregated,200,0,nan\n", "figures that can't be"),
        (f"{HEAD},Aggregated,200,0,-4\n", "figures that can't be"),
        (b"\xff\xfe\x00", "it isn't CSV"),
    ],
)
def test_load_tests_that_say_nothing(content: str | bytes, told: str) -> None:
    found = verdict({"performance": 0}, locust=[report(content)])
    assert not found.passed
    assert told in found.problems[0]


# --- docs -------------------------------------------------------------------------------------------------------------


def test_documentation_that_is_not_there() -> None:
    gates = {"docs": {"exist": ["README.md", "docs"]}}
    found = verdict(gates, there=["README.md"], docs=["CHANGELOG.md"])
    assert not found.passed
    assert found.worst == ("docs isn't there, or holds nothing", "CHANGELOG.md isn't there, or holds nothing")
    assert verdict(gates, there=["README.md", "docs"]).passed


def test_documentation_that_must_change_with_the_code() -> None:
    gates = {"docs": {"changed": [{"when": ["src/**", "!src/tests/**"], "then": ["docs/**", "CHANGELOG.md"]}]}}
    assert "give --range" in verdict(gates).problems[0]
    assert "shallow" in verdict(gates, changes=Changes(problem="shallow")).problems[0]
    code = ("src/a.py", "src/b.py", "src/c.py", "src/d.py")
    found = verdict(gates, changes=Changes(code, code))
    assert not found.passed
    told = "src/a.py, src/b.py, src/c.py and 1 more changed, and nothing in docs/**, CHANGELOG.md did"
    assert found.worst == (told,)
    assert verdict(gates, changes=Changes((*code, "CHANGELOG.md"), (*code, "CHANGELOG.md"))).passed
    # A page that is removed documents nothing.
    assert not verdict(gates, changes=Changes((*code, "docs/a.md"), code)).passed
    assert verdict(gates, changes=Changes(("src/tests/test_a.py",), ())).passed
    assert not docs.outdated([DocsRule(when=("src/",), then=("docs/",))], ["other"], [])


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_what_is_told_of_a_report_is_one_line_without_controls() -> None:
    evil = {"ruleId": "a\n::add-mask::x\r\x1b[31m\u202e" + "y" * 1000, "level": "error"}
    (line,) = verdict({"security": "A"}, sarif=[run(evil)]).worst
    assert line.startswith("high: scan a ::add-mask::x  [31m ")
    assert len(line) == 400
    broken = verdict({"coverage": 0}, coverage=[report(b"<a/>", "b\n::error::x.xml")])
    assert broken.problems[0].startswith("b ::error::x.xml: ")


def test_markdown_has_no_markup_of_a_report() -> None:
    evil = {"ruleId": "<img src=x>|@team `x`\n## big", "level": "error"}
    text = markdown([verdict({"security": "A"}, sarif=[run(evil)])])
    assert text.splitlines()[4].count("|") == 6
    for bad in ("<img", "@team", "`", "\n## big"):
        assert bad not in text
    assert "0 of 1 gates pass." in text
