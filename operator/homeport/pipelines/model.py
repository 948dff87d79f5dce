"""``pipeline.yaml``: a pipeline described once, whatever CI system runs it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from homeport.api.base import Model
from homeport.gates.config import Gates
from homeport.pipelines import parts
from homeport.pipelines.repository import Repository

_RUNNERS = {
    parts.Language.python: {parts.Runner.pytest, parts.Runner.unittest, parts.Runner.django},
    parts.Language.node: {parts.Runner.vitest, parts.Runner.jest, parts.Runner.node},
}
_LINTERS = {
    parts.Language.python: {
        parts.Linter.ruff,
        parts.Linter.ruff_format,
        parts.Linter.black,
        parts.Linter.flake8,
        parts.Linter.mypy,
    },
    parts.Language.node: {parts.Linter.eslint, parts.Linter.prettier, parts.Linter.tsc},
}


class System(StrEnum):
    """A CI system."""

    github = "github"
    jenkins = "jenkins"
    gitlab = "gitlab"


class Pipeline(Model):
    """A pipeline: what is built, tested, scanned, judged, published and deployed, and by which CI systems."""

    name: parts.Name
    """Its name, as people see it in the CI system."""
    systems: Annotated[tuple[System, ...], Field(min_length=1, max_length=3)] = (System.github,)
    """The CI systems that it is rendered for."""
    homeport: parts.Requirement
    """The package that gates, deploys and releases, at one version, such as `homeport==0.1.0`."""
    components: Annotated[tuple[parts.Component, ...], Field(min_length=1, max_length=30)]
    """The parts of the repository, each in one language."""
    pre_commit: bool = False
    """Whether the hooks of .pre-commit-config.yaml must be clean on all files."""
    scans: Annotated[tuple[parts.Scan, ...], Field(max_length=10)] = ()
    """What is looked for: in dependencies (pip-audit, npm-audit), in code (bandit, codeql), in files and images
    (trivy), in the history (gitleaks)."""
    codeql: parts.CodeQL = parts.CodeQL()
    """CodeQL where it isn't GitHub's own."""
    load_test: parts.LoadTest | None = None
    """A load test."""
    images: Annotated[tuple[parts.Image, ...], Field(max_length=30)] = ()
    """The images: built and scanned for every change, published (the same bytes, with provenance and an SBOM) when the
    gates have passed."""
    registry: parts.Registry = parts.Registry()
    """Who pushes them."""
    gates: Gates | None = None
    """What must be true before anything is published or deployed."""
    environments: Annotated[tuple[parts.Environment, ...], Field(max_length=10)] = ()
    """Which branch goes where."""
    release: parts.Release | None = None
    """Versions, tags and notes."""
    pull_request: parts.PullRequest = parts.PullRequest()
    """The pull-request template."""
    repository: Repository | None = None
    """The repository on its forge: who may merge, environments, secrets, webhooks; `homeport pipeline up` makes it."""
    pins: parts.Pins = parts.Pins()
    """Versions of your own in place of Homeport's table."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        problems = [*_twice(self), *_components(self), *_delivery(self)]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def branches(self) -> tuple[str, ...]:
        """The branches whose pushes run it, in the order of the environments."""
        named = [branch for environment in self.environments for branch in environment.branches]
        return tuple(dict.fromkeys([*named, self.release.branch if self.release else "main"]))

    def component(self, name: str) -> parts.Component:
        """A component by its name."""
        return next(component for component in self.components if component.name == name)

    def of_language(self, language: parts.Language) -> tuple[parts.Component, ...]:
        """The components in one language."""
        return tuple(component for component in self.components if component.language is language)


def _twice(pipeline: Pipeline) -> Iterable[str]:
    for field in ("components", "images", "environments"):
        seen: set[str] = set()
        for item in getattr(pipeline, field):
            if item.name in seen:
                yield f"{field}[{item.name}].name: {item.name} is there twice; names are unique among {field}"
            seen.add(item.name)
    runs: dict[str, str] = {}
    for image in pipeline.images:
        component = image.component or image.name
        if component in runs:
            yield (
                f"images[{image.name}].component: {component} runs {runs[component]} already; "
                "write another component of the Application"
            )
        runs.setdefault(component, image.name)
    for field in ("systems", "scans"):
        values = getattr(pipeline, field)
        if len(set(values)) != len(values):
            yield f"{field}: one is there twice; write each once"
    owners: dict[str, str] = {}
    for environment in pipeline.environments:
        for branch in environment.branches:
            if branch in owners:
                yield (
                    f"environments[{environment.name}].branches: {branch} goes to {owners[branch]} already; "
                    "write each branch under one environment"
                )
            owners.setdefault(branch, environment.name)


def _components(pipeline: Pipeline) -> Iterable[str]:
    for component in pipeline.components:
        where, language = f"components[{component.name}]", component.language
        if component.test and component.test.runner not in _RUNNERS[language]:
            runners = ", ".join(sorted(_RUNNERS[language]))
            yield f"{where}.test.runner: {component.test.runner} isn't for {language}; write one of {runners}"
        wrong = [linter for linter in component.linters if linter not in _LINTERS[language]]
        if wrong:
            linters = ", ".join(sorted(_LINTERS[language]))
            yield f"{where}.linters: {wrong[0]} isn't for {language}; write some of {linters}"
    languages = {component.language for component in pipeline.components}
    for scan, language in (
        (parts.Scan.pip_audit, parts.Language.python),
        (parts.Scan.bandit, parts.Language.python),
        (parts.Scan.npm_audit, parts.Language.node),
    ):
        if scan in pipeline.scans and language not in languages:
            yield f"scans: {scan} is for {language}, and no component is written in it; leave it out"
    if parts.Scan.codeql in pipeline.scans and not pipeline.codeql.image and set(pipeline.systems) != {System.github}:
        yield (
            "scans: on GitLab and Jenkins codeql needs an image that has the program codeql; write it as codeql.image, "
            "or leave codeql out"
        )


def _delivery(pipeline: Pipeline) -> Iterable[str]:
    test = pipeline.load_test
    names = {component.name: component for component in pipeline.components}
    if test is not None and (
        test.component not in names or names[test.component].language is not parts.Language.python
    ):
        python = ", ".join(component.name for component in pipeline.of_language(parts.Language.python))
        yield f"loadTest.component: write the name of a Python component: {python or 'there is none'}"
    if pipeline.environments and not pipeline.images:
        yield "images: an environment is deployed to, so write the images that are; or leave environments out"
    if pipeline.gates is None:
        return
    if pipeline.gates.coverage is not None and not any(component.test for component in pipeline.components):
        yield "gates.coverage: no component has a test, so nothing measures it; write one under components"
    if pipeline.gates.performance is not None and test is None:
        yield "gates.performance: nothing measures it; write loadTest"
    judged = pipeline.gates.security is not None or pipeline.gates.critical_issues is not None
    if judged and not pipeline.scans:
        yield "gates.security: nothing is looked for; write scans"
