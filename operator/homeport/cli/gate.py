"""``homeport gate``: whether a change is good enough to be deployed."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from homeport.cli import output as out
from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, with_options
from homeport.cli.options import output as output_option

if TYPE_CHECKING:
    from homeport.gates.check import Changes, Verdict
    from homeport.gates.config import Gates

FAILED = 2
"""The exit code when a gate fails; 1 is an error of usage."""
_FILE = click.Path(path_type=Path)


def _reports(name: str, help: str) -> Any:
    return click.option(f"--{name}", name, metavar="FILE", multiple=True, type=_FILE, help=help)


@click.group()
@with_options(DEBUG)
def gate() -> None:
    """Check quality gates: tests, security, performance, documentation."""


@gate.command()
@with_options(
    click.option(
        "--config", default="pipeline.yaml", show_default=True, metavar="FILE", type=_FILE, help="Where the gates are."
    ),
    _reports("coverage", "Cobertura's or JaCoCo's XML, or lcov; several count as one."),
    _reports("sarif", "What a scanner found, as SARIF."),
    _reports("audit", "JSON of pip-audit, npm audit, Trivy or Bandit."),
    _reports("locust", "Locust's PREFIX_stats.csv."),
    click.option("--docs", metavar="PATH", multiple=True, help="A file or folder that must be there, too."),
    click.option("--range", "commits", metavar="BASE..HEAD", help="The commits that docs.changed is about."),
    click.option("--only", metavar="GATE", multiple=True, help="Check this gate only; may be given again."),
    output_option("table", "json", "markdown"),
    click.option("--summary", metavar="FILE", type=_FILE, help="Append the verdicts as Markdown, too."),
    DEBUG,
)
def check(
    config: Path,
    coverage: tuple[Path, ...],
    sarif: tuple[Path, ...],
    audit: tuple[Path, ...],
    locust: tuple[Path, ...],
    docs: tuple[str, ...],
    commits: str | None,
    only: tuple[str, ...],
    output: str,
    summary: Path | None,
) -> int:
    """Judge reports by the gates of pipeline.yaml.

    Each gate passes or fails, with the figure, the threshold and where it failed most. A report that is missing, empty
    or broken fails its gate.

    Exit code 0: all gates pass; 1: an error of usage; 2: a gate fails.
    """
    from homeport.gates.check import Given, judge, markdown
    from homeport.gates.reports import read

    gates = chosen(load(config), only)
    _warn(gates, {"coverage": coverage, "security": (*sarif, *audit), "performance": locust})
    exist = [*(gates.docs.exist if gates.docs else ()), *docs]
    given = Given(
        coverage=[read(path) for path in coverage],
        sarif=[read(path) for path in sarif],
        audits=[read(path) for path in audit],
        locust=[read(path) for path in locust],
        there=[path for path in exist if _holds_something(Path(path))],
        docs=docs,
        changes=changes(commits) if commits and gates.docs and gates.docs.changed else None,
        root=str(Path.cwd()),
    )
    verdicts = judge(gates, given)
    if summary is not None:
        with summary.open("a", encoding="utf-8") as file:
            file.write(markdown(verdicts))
    if output == "json":
        out.print_json({"passed": all(v.passed for v in verdicts), "gates": [v.as_json() for v in verdicts]})
    elif output == "markdown":
        click.echo(markdown(verdicts), nl=False)
    else:
        _table(verdicts)
    return 0 if all(verdict.passed for verdict in verdicts) else FAILED


def load(path: Path) -> Gates:
    """The ``gates`` block of a pipeline.yaml. Raises Failure."""
    import yaml
    from pydantic import ValidationError

    from homeport.gates.config import Gates

    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Failure(f"{path} isn't YAML that can be read: {error}") from None
    block = body.get("gates") if isinstance(body, dict) else None
    if not isinstance(block, dict) or not block:
        raise Failure(f"{path} has no gates, so there is nothing to check", "write, for example: gates: {coverage: 95}")
    try:
        return Gates.model_validate(block)
    except ValidationError as error:
        lines = {f"gates.{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()}
        raise Failure(f"{path}: {'; '.join(sorted(lines))}", "docs/gates.md has all fields") from None


def chosen(gates: Gates, only: Sequence[str]) -> Gates:
    """Those of the gates that ``only`` names; all for nothing. Raises Failure for one that isn't written."""
    names = {field.alias or name: name for name, field in type(gates).model_fields.items()}
    written = [alias for alias, name in names.items() if getattr(gates, name) is not None]
    for one in only:
        if one not in written:
            raise Failure(f"there is no gate {one!r} to check", f"written are: {', '.join(written)}")
    if not only:
        return gates
    return gates.model_copy(update={names[one]: None for one in written if one not in only})


def _warn(gates: Gates, given: dict[str, tuple[Path, ...]]) -> None:
    """Say which reports no gate looks at."""
    judged = {"coverage": gates.coverage is not None, "performance": gates.performance is not None}
    judged["security"] = gates.security is not None or gates.critical_issues is not None
    for name, files in given.items():
        if files and not judged[name]:
            told = f"{', '.join(map(str, files))}: no gate judges this; write {name} among the gates"
            click.echo(f"{click.style('warning:', fg='yellow', bold=True)} {told}", err=True)


def _holds_something(path: Path) -> bool:
    """Whether a file isn't empty, or a folder has such a file."""
    try:
        if path.is_dir():
            return any(one.is_file() and one.stat().st_size for one in path.rglob("*"))
        return path.is_file() and path.stat().st_size > 0
    except OSError:
        return False


def changes(commits: str) -> Changes:
    """What commits touch, as a pull request shows it: since BASE and HEAD went apart."""
    from homeport.gates.check import Changes
    from homeport.release.repository import BadRepository, Repository

    base, dots, head = commits.partition("..")
    try:
        changed, written = Repository(Path()).touched(base, head.removeprefix(".") if dots else "HEAD")
    except BadRepository as error:
        return Changes(problem=f"--range {commits}: {error}")
    return Changes(changed, written)


def _table(verdicts: Sequence[Verdict]) -> None:
    from rich.text import Text

    console = out.console()
    rows: list[list[str | Text]] = []
    for one in verdicts:
        mark = Text("pass", "green") if one.passed else Text("FAIL", "bold red")
        first, *more = [*one.problems, *one.worst] or [""]
        rows.append([mark, one.gate, one.figure, one.threshold, first])
        rows += [["", "", "", "", text] for text in more]
    out.table(console, ("", "GATE", "FIGURE", "THRESHOLD", "WHERE"), rows, flexible=4)
    bad = sum(not one.passed for one in verdicts)
    console.print(f"\n{len(verdicts) - bad} of {len(verdicts)} gates pass", soft_wrap=True)
