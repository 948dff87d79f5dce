"""``homeport init``: a small project to start from."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

import shlex
from pathlib import Path

import click

from homeport.cli import documents
from homeport.cli.errors import Failure
from homeport.cli.options import DEBUG, with_options
from homeport.cli.options import output as output_option
from homeport.cli.output import print_json

PROJECT = """\
# {name}: a namespace is a project's home, and its Project is named as it.
apiVersion: v1
kind: Namespace
metadata: {{name: {name}}}
---
apiVersion: homeport.dev/v1alpha1
kind: Project
metadata: {{name: {name}, namespace: {name}}}
spec:
  title: {title}
  description: What it is for, in a sentence
  # Who works on it becomes RBAC in the project's namespaces; `homeport explain project.spec.members` has the roles.
  # members:
  #   - {{kind: User, name: lead@example.com, role: lead}}
  milestones:
    - name: first-steps
      title: It runs
      requires:                     # derived from what runs, never typed in
        - {{application: {name}, environment: development}}
"""

ENVIRONMENT = """\
# Applications run in the namespace {name}-development, which Homeport makes. Copy this for staging and production.
apiVersion: homeport.dev/v1alpha1
kind: Environment
metadata: {{name: development, namespace: {name}}}
spec:
  tier: Development                 # Development | Staging | Production | Preview
  variables: {{LOG_LEVEL: DEBUG}}     # every component gets these
  ingress:
    domain: {name}.localhost        # the host of routes that name none
  # secrets:                        # copied from the project's namespace, and kept in step
  #   - {{name: db-credentials}}
"""

APPLICATION = """\
# What runs. No environments are named, so it runs in every one of the project.
apiVersion: homeport.dev/v1alpha1
kind: Application
metadata: {{name: {name}, namespace: {name}}}
spec:
  version: 0.1.0                    # an image without a tag takes it as its tag
  components:
    - name: web
      image: nginxinc/nginx-unprivileged:1.27
      replicas: 2
      ports: [{{name: http, port: 8080}}]
      probes:
        readiness: {{path: /}}
      resources:
        requests: {{cpu: 20m, memory: 32Mi}}
        limits: {{cpu: 200m, memory: 64Mi}}
      routes:
        - {{path: /}}
      # securityContext: {{readOnlyRootFilesystem: false}}   # Pods are restricted unless you say otherwise
  # environments:                   # name them to make them differ
  #   - name: development
  #     overrides:
  #       web: {{replicas: 1}}
"""

FILES = {"00-project.yaml": PROJECT, "environments.yaml": ENVIRONMENT, "application.yaml": APPLICATION}


@click.command()
@click.argument("name")
@with_options(
    click.option("--dir", "folder", metavar="DIR", default=None, help="Where to write; default: a folder named NAME."),
    output_option("text", "json"),
    DEBUG,
)
def init(name: str, folder: str | None, output: str) -> int:
    """Write a small project to start from.

    A project, an environment and an application, with comments. Nothing is ever overwritten.
    """
    texts = render(name)
    target = Path(folder or name)
    taken = [target / file for file in texts if (target / file).exists()]
    if taken:
        shown = ", ".join(str(path) for path in taken)
        raise Failure(f"{shown} exists already, and nothing is overwritten", "name another folder with --dir")
    target.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        # "x": should somebody make the file meanwhile, theirs stays.
        with (target / file).open("x", encoding="utf-8") as stream:
            stream.write(text)
    steps = _steps(name, target)
    if output == "json":
        print_json({"project": name, "files": [str(target / file) for file in texts], "next": steps})
        return 0
    for file in texts:
        click.echo(f"wrote {target / file}")
    click.echo("\nnext:")
    for step in steps:
        click.echo(f"  {step}")
    return 0


def render(name: str) -> dict[str, str]:
    """The files' texts. Raises Failure for a name that no project may have."""
    from homeport.cli.checks import check

    title = name.replace("-", " ").title()
    texts = {file: text.format(name=name, title=title) for file, text in FILES.items()}
    found: list[documents.Document] = []
    wrong: list[documents.Problem] = []
    for file, text in texts.items():
        parsed, problems = documents.parse(text, file)
        found += parsed
        wrong += problems
    wrong += check(found).errors
    if wrong:
        raise Failure(
            f"{name!r} can't be a project's name: {wrong[0].message}",
            "write lower-case letters, digits and '-', starting with a letter, such as shop",
        )
    return texts


def _steps(name: str, target: Path) -> list[str]:
    folder = shlex.quote(str(target))
    return [
        f"homeport validate -f {folder}",
        f"homeport plan -f {folder}",
        f"kubectl apply -f {folder}",
        f"homeport status -n {name} -w",
        f"homeport tree project/{name}",
    ]
