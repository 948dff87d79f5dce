"""``homeport render``: what the operator would apply, as manifests for people who run without it."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click

from homeport.cli import output
from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, KUBE, NAMESPACE, Options, pass_options, with_options

FORMATS = ("yaml", "kustomize", "helm")


@click.command()
@click.argument("name", metavar="[APP]", required=False)
@with_options(
    click.option(
        "-e", "--environment", metavar="ENV", default=None, help="The environment; default: all (yaml: the only one)."
    ),
    click.option(
        "-f",
        "--filename",
        "sources",
        metavar="FILE|DIR|-",
        multiple=True,
        type=click.Path(allow_dash=True),
        help="Where it is declared; several may be given. Default: what is in the cluster.",
    ),
    NAMESPACE,
    click.option(
        "-o", "--output", "how", type=click.Choice(FORMATS), default="yaml", show_default=True, help="What to write."
    ),
    click.option(
        "-d",
        "--output-dir",
        "folder",
        metavar="DIR",
        type=click.Path(path_type=Path),
        default=None,
        help="The folder to write; for yaml, standard output by default.",
    ),
    click.option(
        "-a",
        "--api-versions",
        "apis",
        metavar="API",
        multiple=True,
        help="An optional API that the cluster serves, such as monitoring.coreos.com/v1; several may be given.",
    ),
    click.option("--force", is_flag=True, help="Write into a folder that isn't ours, or was changed by hand."),
    *KUBE,
    DEBUG,
)
@pass_options
def render(
    options: Options,
    *,
    name: str | None,
    environment: str | None,
    sources: tuple[str, ...],
    namespace: str | None,
    how: str,
    folder: Path | None,
    apis: tuple[str, ...],
    force: bool,
) -> int:
    """Write an application as manifests that apply without the operator.

    yaml: the plain manifests of one environment, in order. kustomize: a base and one overlay for each environment.
    helm: a chart with values for each environment. Nothing secret is written: what must be there before is said on
    standard error and in the folder's README.
    """
    from homeport.cli.rendering import folder as folders
    from homeport.cli.rendering import sources as read
    from homeport.plan.capabilities import Capabilities

    if how != "yaml" and folder is None:
        raise Failure(f"-o {how} writes a folder", f"name it with --output-dir, such as -d {name or 'app'}-{how}")
    declared = read.in_files(sources, namespace or "default") if sources else read.in_cluster(options, namespace)
    try:
        there = Capabilities.of(apis)
    except ValueError as error:
        raise Failure(f"--api-versions: {error}") from error
    chosen = read.choose(declared, name, environment, namespace, there)
    for remark in chosen.remarks:
        click.echo(f"note: {remark}", err=True)
    if how == "yaml":
        if len(chosen.bundles) > 1:
            names = ", ".join(bundle.name for bundle in chosen.bundles)
            raise Failure(f"{chosen.app.name} runs in {len(chosen.bundles)} environments", f"name one with -e: {names}")
        files = _manifests(chosen, folder)
    else:
        files = _files(chosen, how)
    if folder is not None:
        folders.write(folder, files, force=force)
        click.echo(f"{folder}: {len(files)} files", err=True)
    return 0


def _manifests(chosen: Any, folder: Path | None) -> dict[str, str]:
    """One environment's objects: printed, or as one file each, numbered in the order in which they are applied."""
    from homeport.cli.rendering import notes

    bundle = chosen.bundles[0]
    for line in notes.remarks(bundle):
        click.echo(line, err=True)
    texts = [output.yaml_text(manifest) for manifest in bundle.manifests]
    if folder is None:
        click.echo("---\n".join(texts), nl=False)
    width = len(str(len(texts)))
    return {
        f"{number:0{width}}-{m['kind'].lower()}-{m['metadata']['name']}.yaml": text
        for number, (m, text) in enumerate(zip(bundle.manifests, texts, strict=True), 1)
    }


def _files(chosen: Any, how: str) -> dict[str, str]:
    writer = importlib.import_module(f"homeport.cli.rendering.{'chart' if how == 'helm' else how}")
    files: dict[str, str] = writer.files(chosen.app, chosen.bundles)
    return files
