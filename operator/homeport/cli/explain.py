"""``homeport explain``: kinds, fields and condition reasons."""

from __future__ import annotations

import json
from typing import Any

import click
from click.shell_completion import CompletionItem
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from homeport.cli import candidates, output
from homeport.cli.fields import Field, find, overview, reasons
from homeport.cli.options import DEBUG, with_options
from homeport.cli.options import output as output_option

REASONS = "reasons"


def _complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    found = candidates.kinds(incomplete)
    if REASONS.startswith(incomplete):
        found.append(CompletionItem(REASONS))
    kind, dot, rest = incomplete.rpartition(".")
    if dot:
        found += [CompletionItem(f"{kind}.{f.name}") for f in find(kind).fields if f.name.startswith(rest)]
    return found


@click.command()
@click.argument("path", metavar="[KIND[.FIELD...] | reasons]", required=False, shell_complete=_complete)
@with_options(
    click.option("--recursive", is_flag=True, help="Show all fields below, by name and type."),
    output_option("text", "json"),
    DEBUG,
)
def explain(path: str | None, recursive: bool, output: str) -> int:
    """Describe kinds, fields and condition reasons.

    Without an argument: the kinds. KIND.FIELD.FIELD: that field, its type, default, bounds and rules, and the fields
    below it. reasons: what each condition reason means. No cluster is asked.
    """
    if path is None:
        _kinds(output == "json")
    elif path == REASONS or path.startswith(f"{REASONS}."):
        _reasons(path.partition(".")[2], output == "json")
    else:
        found = find(path)
        if output == "json":
            _json(found, recursive)
        else:
            _show(found, recursive)
    return 0


def _kinds(as_json: bool) -> None:
    found = overview()
    if as_json:
        output.print_json(found)
        return
    rows = [[entry["kind"], entry["shortName"], entry["summary"]] for entry in found]
    output.table(output.console(), ("KIND", "SHORT", "WHAT IT IS"), rows, flexible=2)
    click.echo("\nhomeport explain KIND.FIELD tells more; homeport explain reasons: why a condition has its status.")


def _reasons(wanted: str, as_json: bool) -> None:
    found = {name: text for name, text in reasons().items() if not wanted or name.lower() == wanted.lower()}
    if as_json:
        output.print_json(found)
    else:
        output.table(output.console(), ("REASON", "MEANING"), list(map(list, found.items())), flexible=1)


def _json(found: Field, recursive: bool) -> None:
    answer = found.as_json()
    if not recursive:
        for child in answer["fields"]:
            child["fields"] = [entry["path"].rpartition(".")[2] for entry in child["fields"]]
    output.print_json(answer)


def _show(found: Field, recursive: bool) -> None:
    out = output.console()
    head = Text(found.path, "bold")
    head.append(f"  <{found.type}>", "cyan")
    if found.required:
        head.append("  required", "red")
    out.print(head)
    _facts(out, found, 2)
    if not found.fields:
        return
    out.print(Text("\nFIELDS", "bold"))
    if recursive:
        for depth, entry in found.walk():
            out.print(_line(entry, 2 + 2 * depth))
        return
    for entry in found.fields:
        out.print(_line(entry, 2))
        _facts(out, entry, 6)


def _line(entry: Field, indent: int) -> Text:
    line = Text(" " * indent)
    line.append(entry.name, "bold")
    line.append(f"  <{entry.type}>", "cyan")
    if entry.required:
        line.append("  required", "red")
    return line


def _facts(out: Console, entry: Field, indent: int) -> None:
    def say(text: str, style: str = "") -> None:
        out.print(Padding(Text(text, style), (0, 0, 0, indent), expand=False))

    if entry.description:
        say(entry.description)
    if entry.default is not None:
        say(f"default: {_value(entry.default)}", "green")
    if entry.bounds:
        say("; ".join(entry.bounds), "dim")
    for rule in entry.rules:
        say(f"rule: {rule}", "yellow")


def _value(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)
