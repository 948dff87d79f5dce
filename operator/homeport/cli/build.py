"""``homeport build``: what a GitSource would make of a folder, before it is pushed."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from homeport.cli import output
from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, with_options
from homeport.cli.options import output as output_option

if TYPE_CHECKING:
    from homeport.plan.gitops.build import BuildSpec, Built, BuiltObject

HIDDEN = "(encrypted in the repository; --show-secrets prints it)"


@click.command()
@click.argument(
    "folder", metavar="[FOLDER]", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@with_options(
    output_option("yaml", "json"),
    click.option("-n", "--namespace", metavar="NAME", default="default", help="The source's namespace."),
    click.option("--name", metavar="NAME", default=None, help="The source's name; default: the folder's."),
    click.option("--set", "variables", metavar="NAME=VALUE", multiple=True, help="A variable; several may be given."),
    click.option("--substitute", is_flag=True, help="Replace ${NAME} in what isn't a template."),
    click.option(
        "--values",
        metavar="FILE",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Values for a chart; several may be given, and later ones win.",
    ),
    click.option("--release", metavar="NAME", default="", help="The release's name of a chart."),
    click.option("--kube-version", metavar="VERSION", default="", help="The cluster's version, for charts."),
    click.option(
        "-a", "--api-versions", "apis", metavar="API", multiple=True, help="An API that the cluster serves, for charts."
    ),
    click.option(
        "--age-key",
        metavar="FILE",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A file with age keys, for what SOPS encrypted.",
    ),
    click.option("--allow-remote-bases", is_flag=True, help="Let kustomizations name bases elsewhere."),
    click.option("--show-secrets", is_flag=True, help="Print what was encrypted."),
    DEBUG,
)
def build(
    folder: Path,
    *,
    output: str,
    namespace: str,
    name: str | None,
    variables: tuple[str, ...],
    substitute: bool,
    values: tuple[Path, ...],
    release: str,
    kube_version: str,
    apis: tuple[str, ...],
    age_key: tuple[Path, ...],
    allow_remote_bases: bool,
    show_secrets: bool,
) -> int:
    """Print the objects that a GitSource would make of a folder.

    What the folder holds tells what is done: kustomization.yaml, Chart.yaml, *.j2, else plain YAML. It is read as it is
    on the disk, with all of its repository around it; nothing is fetched and no cluster asked. kustomize, helm and sops
    have to be on PATH where they are needed.
    """
    from homeport.plan.gitops.build import Helm, Serves

    helm = Helm(release, values=tuple(_values(file) for file in values))
    found = built(
        folder,
        name=name or folder.resolve().name.lower() or "source",
        namespace=namespace,
        variables=_variables(variables),
        substitute=substitute,
        helm=helm,
        allow_remote_bases=allow_remote_bases,
        keys={file.name: file.read_bytes() for file in age_key} or None,
        serves=Serves(kube_version, apis),
        reveal=show_secrets,
    )
    for text in (*found.warnings, *(f"left out: {each}" for each in found.left_out)):
        click.echo(f"note: {text}", err=True)
    _print(found, output, show_secrets)
    return 0


def built(folder: Path, **settings: Any) -> Built:
    """What ``folder`` makes. Raises Failure, which has file and line."""
    from homeport.drivers.build import FolderCheckout
    from homeport.engine.gitops.assembling import Assembler
    from homeport.plan.gitops.build import BuildFailed, BuildSpec
    from homeport.plan.gitops.checkout import CheckoutFailed

    root = repository(folder)
    inside = folder.resolve().relative_to(root).as_posix()
    spec: BuildSpec = BuildSpec(path="" if inside == "." else inside, **settings)
    assembler = Assembler()
    try:
        return assembler.build(FolderCheckout(root), spec).built
    except (BuildFailed, CheckoutFailed) as error:
        locked = "decryption.keySecretRef" in str(error)
        raise Failure(str(error), "here, --age-key names a file with keys" if locked else "") from None
    finally:
        assembler.stop()


def repository(folder: Path) -> Path:
    """The folder of the repository that ``folder`` is in; itself where it is in none."""
    here = folder.resolve()
    return next((each for each in (here, *here.parents) if (each / ".git").exists()), here)


def _print(found: Built, how: str, show_secrets: bool) -> None:
    objects = [each if show_secrets else without_secrets(each) for each in found.objects]
    if how == "json":
        output.print_json(
            {
                "digest": found.digest,
                "objects": [
                    {"file": each.file, "line": each.line, "manifest": dict(each.manifest)} for each in objects
                ],
                "leftOut": list(found.left_out),
                "warnings": list(found.warnings),
            }
        )
        return
    texts = [f"# Source: {each.where}\n{output.yaml_text(dict(each.manifest))}" for each in objects]
    click.echo("---\n".join(texts), nl=False)


def without_secrets(each: BuiltObject) -> BuiltObject:
    """An object, without anything that was encrypted in the repository."""
    if not each.secret:
        return each
    shown = ("apiVersion", "kind", "metadata", "type")
    return dataclasses.replace(
        each, manifest={key: value if key in shown else HIDDEN for key, value in each.manifest.items()}
    )


def _variables(given: Sequence[str]) -> dict[str, str]:
    out = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name.isidentifier() or not name.isascii():
            raise Failure(f"--set {each}: write NAME=VALUE, the name of letters, digits and '_'")
        out[name] = value
    return out


def _values(file: Path) -> dict[str, Any]:
    from homeport.plan.gitops import manifests
    from homeport.plan.gitops.malformed import Malformed

    try:
        found = manifests.documents(manifests.text_of(file.read_bytes()), "")
    except Malformed as error:
        raise Failure(f"{file}:{error.line}: {error}") from None
    body = found[0].body if found else {}
    if len(found) > 1 or not isinstance(body, dict):
        raise Failure(f"{file}: values are one mapping of fields")
    return body
