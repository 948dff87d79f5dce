"""From a pipeline to the files of its repository, by Jinja2 templates; pure."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import jinja2

from homeport.pipelines import checks, delivery, pins
from homeport.pipelines.jobs import IN_IMAGE, VERSION, Job, Only, Stage, Step
from homeport.pipelines.model import Pipeline, System
from homeport.pipelines.parts import Language

FILES: Mapping[System, str] = {
    System.github: ".github/workflows/pipeline.yml",
    System.jenkins: "Jenkinsfile",
    System.gitlab: ".gitlab-ci.yml",
}
TEMPLATES: Mapping[System, str] = {
    System.github: "github.yml.j2",
    System.jenkins: "Jenkinsfile.j2",
    System.gitlab: "gitlab.yml.j2",
}
PULL_REQUEST: Mapping[System, str] = {
    System.github: ".github/pull_request_template.md",
    System.gitlab: ".gitlab/merge_request_templates/Default.md",
}


def files(pipeline: Pipeline) -> dict[str, str]:
    """Every file, by its path in the repository. Raises UnknownPin."""
    made = jobs(pipeline)
    out = {}
    for system in pipeline.systems:
        template = _templates().get_template(TEMPLATES[system])
        out[FILES[system]] = template.render(_words(pipeline, system, made))
        if system in PULL_REQUEST:
            template = _templates().get_template("pull_request.md.j2")
            out[PULL_REQUEST[system]] = template.render(p=pipeline)
    return out


def jobs(pipeline: Pipeline) -> tuple[Job, ...]:
    """The jobs, whatever runs them. Raises UnknownPin."""
    first = tuple(checks.jobs(pipeline))
    return (*first, *delivery.jobs(pipeline, first))


def _words(pipeline: Pipeline, system: System, made: tuple[Job, ...]) -> dict[str, Any]:
    """What templates have to say things with."""
    only = Only(system.value)
    mine = [job for job in made if any(step.only in (None, only) for step in job.steps) or job.codeql]
    return {
        "p": pipeline,
        "jobs": mine,
        "stages": {stage: [job for job in mine if job.stage is stage] for stage in Stage},
        "steps": lambda job: [step for step in job.steps if step.only in (None, only)],
        "runs": runs,
        "action": lambda name: pins.action(pipeline, name),
        "image": lambda name: pins.image(pipeline, name),
        "container": lambda job, version="": _container(pipeline, job, version),
        "github_run": _github_run,
        "secret_of": _github_secret,
        "wrappers": _jenkins_wrappers,
        "pattern": _pattern,
        "takes": lambda job: {taken.job for taken in job.takes},
        "VERSION": VERSION,
        "by_name": {job.name: job for job in mine},
    }


def runs(job: Job) -> Iterator[tuple[str, str]]:
    """The job's names and versions: one, or one for each version."""
    if not job.versions:
        yield job.name, job.toolchain.last if job.toolchain else ""
    for version in job.versions:
        yield f"{job.name}-{version}", version


def _container(pipeline: Pipeline, job: Job, version: str) -> str:
    """The image that the job runs in, where it runs in one."""
    if job.tool:
        return job.tool.image
    if job.toolchain:
        return pins.image(pipeline, f"{job.toolchain.language}:{version or job.toolchain.last}")
    return pins.image(pipeline, "docker") if job.docker else ""


def _github_run(job: Job, step: Step) -> str:
    """The commands; those of a tool are run in its image."""
    if job.tool is None or step.only is not None:
        return step.script
    inside = f"{IN_IMAGE} {job.tool.image}"
    return f"mkdir -p {' '.join(job.keeps)}\n" + re.sub(
        f"(?m)^{re.escape(job.tool.program)} ", f"{inside} ", step.script
    )


def _pattern(branches: tuple[str, ...]) -> str:
    """Branches as a regular expression of GitLab's."""
    each = "|".join(
        re.escape(branch).replace("/", "\\/").replace("\\*", ".+").replace("\\-", "-") for branch in branches
    )
    return f"/^({each})$/"


def _jenkins_wrappers(step: Step) -> list[str]:
    """What is around the shell of a step, from the outside in."""
    out = []
    if step.environment:
        out.append(f"withEnv([{', '.join(_groovy(f'{name}={value}') for name, value in step.environment.items())}])")
    if step.secrets:
        each = (f"string(credentialsId: {_groovy(s)}, variable: {_groovy(v)})" for v, s in step.secrets.items())
        out.append(f"withCredentials([{', '.join(each)}])")
    if step.folder != ".":
        out.append(f"dir({_groovy(step.folder)})")
    return out


def _github_secret(step: Step, variable: str) -> str:
    if not step.github_token:
        return f"${{{{ secrets.{step.secrets[variable]} }}}}"
    return "${{ github.actor }}" if "USERNAME" in variable else "${{ github.token }}"


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("homeport.pipelines"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701  # nosec B701 - no HTML; each value is quoted for where it stands
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "yaml": _yaml,
        "block": lambda text, width: textwrap.indent(text, " " * width),
        "groovy": _groovy,
        "groovy_text": lambda text: text.replace("\\", "\\\\").replace("'''", "\\'\\'\\'"),
        "shell": shlex.quote,
    }
    environment.tests["node"] = lambda job: job.toolchain is not None and job.toolchain.language is Language.node
    environment.tests["python"] = lambda job: job.toolchain is not None and job.toolchain.language is Language.python
    return environment


_PLAIN = re.compile(r"[A-Za-z./_][A-Za-z0-9 ./_()@-]*[A-Za-z0-9./_()-]|[A-Za-z]\Z")
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def _yaml(value: str) -> str:
    """A scalar that YAML reads as this text: plain where that is safe, else quoted as JSON is."""
    plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS and value.strip() == value
    return value if plain else json.dumps(value, ensure_ascii=False)


def _groovy(value: str) -> str:
    """A Groovy string in single quotes, in which nothing is expanded."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"
