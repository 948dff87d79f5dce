"""The jobs that look at a change: linters, tests with coverage, scans, load tests."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

from homeport.pipelines import parts, pins
from homeport.pipelines.jobs import IN_IMAGE, VERSION, Job, Only, Stage, Step, Tool, Toolchain
from homeport.pipelines.model import Pipeline
from homeport.pipelines.parts import Component, Language, Linter, Runner, Scan

REPORTS = "reports"
PIP = "python -m pip install --disable-pip-version-check --no-input --quiet"
_LINT = {
    Linter.ruff: ("ruff", "ruff check ."),
    Linter.ruff_format: ("ruff", "ruff format --check ."),
    Linter.black: ("black", "black --check ."),
    Linter.flake8: ("flake8", "flake8 ."),
    Linter.mypy: ("mypy", "mypy ."),
    Linter.eslint: ("", "npx --no-install eslint ."),
    Linter.prettier: ("", "npx --no-install prettier --check ."),
    Linter.tsc: ("", "npx --no-install tsc --noEmit"),
}
_CODEQL = {Language.python: "python", Language.node: "javascript-typescript"}


def jobs(pipeline: Pipeline) -> Iterator[Job]:
    """All of them, in the order in which people read them."""
    for component in pipeline.components:
        if component.linters or component.checks:
            yield _lint(pipeline, component)
        if component.test or component.build:
            yield _test(pipeline, component)
    if pipeline.pre_commit:
        yield _pre_commit(pipeline)
    for component in pipeline.components:
        yield from _audits(pipeline, component)
    if Scan.gitleaks in pipeline.scans:
        yield _gitleaks(pipeline)
    if Scan.trivy in pipeline.scans:
        yield _trivy(pipeline)
    if Scan.codeql in pipeline.scans:
        yield from _codeql(pipeline)
    if pipeline.load_test:
        yield _load(pipeline, pipeline.load_test)
    for image in pipeline.images:
        yield _image(pipeline, image)


def newest(component: Component) -> Toolchain:
    """The version that everything but the tests uses."""
    return Toolchain(component.language, component.versions[-1:])


def up(component: Component, path: str) -> str:
    """``path`` of the repository, seen from the component's folder."""
    return os.path.relpath(path, component.folder)


def _install(component: Component) -> Step:
    if component.language is Language.node:
        return Step("Install dependencies", ("npm ci --no-audit --no-fund",), component.folder)
    files = " ".join(f"--requirement {shlex.quote(file)}" for file in component.requirements)
    return Step("Install dependencies", (f"{PIP} {files}",), component.folder)


def _lint(pipeline: Pipeline, component: Component) -> Job:
    steps = [_install(component)]
    programs = list(dict.fromkeys(_LINT[linter][0] for linter in component.linters if _LINT[linter][0]))
    if programs:
        wanted = " ".join(shlex.quote(pins.program(pipeline, name)) for name in programs)
        steps.append(Step("Install linters", (f"{PIP} {wanted}",), component.folder))
    steps += [Step(f"Lint with {linter}", (_LINT[linter][1],), component.folder) for linter in component.linters]
    steps += [Step(f"Check: {check}", (check,), component.folder) for check in component.checks]
    return Job(f"lint-{component.name}", Stage.check, tuple(steps), newest(component))


def _test(pipeline: Pipeline, component: Component) -> Job:
    steps = [_install(component)]
    coverage: tuple[str, ...] = ()
    if component.test:
        step, coverage = (_python_test if component.language is Language.python else _node_test)(
            component, component.test
        )
        if component.language is Language.python:
            wanted = shlex.quote(pins.program(pipeline, "coverage"))
            steps.append(Step("Install coverage", (f"{PIP} {wanted}",), component.folder))
        steps += step
    if component.build:
        steps.append(Step("Build", component.build, component.folder))
    return Job(
        f"test-{component.name}",
        Stage.check,
        tuple(steps),
        Toolchain(component.language, component.versions),
        keeps=(REPORTS,) if component.test else (),
        coverage=coverage,
    )


def _python_test(component: Component, test: parts.Test) -> tuple[list[Step], tuple[str, ...]]:
    programs = {
        Runner.pytest: "-m pytest",
        Runner.unittest: "-m unittest",
        Runner.django: "manage.py test",
    }
    report = f"{REPORTS}/coverage-{component.name}-${VERSION}.xml"
    arguments = "".join(f" {shlex.quote(argument)}" for argument in test.arguments)
    sources = shlex.quote(",".join(test.sources))
    run = (*test.before, f"python -m coverage run --source {sources} {programs[test.runner]}{arguments}")
    written = (f"mkdir -p {up(component, REPORTS)}", f'python -m coverage xml -o "{up(component, report)}"')
    return [
        Step("Test", run, component.folder, test.environment),
        Step("Report coverage", written, component.folder),
    ], (report,)


def _node_test(component: Component, test: parts.Test) -> tuple[list[Step], tuple[str, ...]]:
    folder = f"{REPORTS}/coverage-{component.name}-${VERSION}"
    there = f'"{up(component, folder)}"'
    arguments = "".join(f" {shlex.quote(argument)}" for argument in test.arguments)
    commands = {
        Runner.vitest: "npx --no-install vitest run --coverage.enabled --coverage.reporter=cobertura "
        f"--coverage.reportsDirectory={there}",
        Runner.jest: f"npx --no-install jest --ci --coverage --coverageReporters=cobertura --coverageDirectory={there}",
        Runner.node: f"npx --no-install c8 --reporter=text --reporter=cobertura --reports-dir={there} node --test",
    }
    run = (*test.before, commands[test.runner] + arguments)
    step = Step("Test", run, component.folder, test.environment)
    return [step], (f"{folder}/cobertura-coverage.xml",)


def _pre_commit(pipeline: Pipeline) -> Job:
    python = pipeline.of_language(Language.python)
    versions = python[0].versions[-1:] if python else ("3.12",)
    run = (
        f"{PIP} {shlex.quote(pins.program(pipeline, 'pre-commit'))}",
        "pre-commit run --all-files --show-diff-on-failure",
    )
    return Job("pre-commit", Stage.check, (Step("Run the hooks", run),), Toolchain(Language.python, versions))


def _audits(pipeline: Pipeline, component: Component) -> Iterator[Job]:
    """Dependencies with known vulnerabilities, and Bandit. The gates judge what is found; here only a scanner that
    couldn't do its work fails, which shows by a report that isn't there."""
    name, folder = component.name, component.folder
    steps: list[Step] = []
    run: tuple[str, ...]
    audit: tuple[str, ...] = ()
    sarif: tuple[str, ...] = ()
    prepare = f"mkdir -p {up(component, REPORTS)}"
    if component.language is Language.python:
        if Scan.pip_audit in pipeline.scans:
            report = f"{REPORTS}/pip-audit-{name}.json"
            audit = (report,)
            files = " ".join(f"--requirement {shlex.quote(file)}" for file in component.requirements)
            found = up(component, report)
            run = (
                prepare,
                f"{PIP} {shlex.quote(pins.program(pipeline, 'pip-audit'))}",
                f"pip-audit {files} --format json --output {found} || test -s {found}",
            )
            steps.append(Step("Audit dependencies (pip-audit)", run, folder))
        if Scan.bandit in pipeline.scans:
            report = f"{REPORTS}/bandit-{name}.sarif"
            sarif = (report,)
            run = (
                prepare,
                f"{PIP} {shlex.quote(pins.program(pipeline, 'bandit'))}",
                "bandit --recursive . --exclude ./.venv,./tests --format sarif "
                f"--output {up(component, report)} --exit-zero",
            )
            steps.append(Step("Look for unsafe code (Bandit)", run, folder))
    elif Scan.npm_audit in pipeline.scans:
        report = f"{REPORTS}/npm-audit-{name}.json"
        audit = (report,)
        found = up(component, report)
        run = (prepare, f"npm audit --json > {found} || test -s {found}")
        steps.append(Step("Audit dependencies (npm audit)", run, folder))
    if steps:
        yield Job(
            f"audit-{name}", Stage.check, tuple(steps), newest(component), keeps=(REPORTS,), audit=audit, sarif=sarif
        )


def _gitleaks(pipeline: Pipeline) -> Job:
    report = f"{REPORTS}/gitleaks.sarif"
    run = f"gitleaks git --no-banner --redact --report-format sarif --report-path {report} ."
    return _scan(pipeline, "gitleaks", "Look for secrets in the history (Gitleaks)", run, report, history=True)


def _trivy(pipeline: Pipeline) -> Job:
    report = f"{REPORTS}/trivy-files.sarif"
    run = f"trivy filesystem --quiet --scanners vuln,misconfig --format sarif --output {report} ."
    return _scan(pipeline, "trivy", "Look through the files (Trivy)", run, report)


def _scan(pipeline: Pipeline, program: str, title: str, run: str, report: str, history: bool = False) -> Job:
    """A job that is one run of a program, which is in an image of its own and writes SARIF."""
    return Job(
        program,
        Stage.check,
        (Step(title, (run,)),),
        tool=Tool(pins.image(pipeline, program), program),
        keeps=(REPORTS,),
        sarif=(report,),
        history=history,
    )


def _codeql(pipeline: Pipeline) -> Iterator[Job]:
    for language in dict.fromkeys(_CODEQL[component.language] for component in pipeline.components):
        report = f"{REPORTS}/codeql-{language}.sarif"
        run = (
            f"codeql database create --language={language} --source-root=. codeql-database",
            f"codeql database analyze --format=sarif-latest --output={report} codeql-database",
        )
        steps = tuple(Step("Analyse the code (CodeQL)", run, only=only) for only in (Only.gitlab, Only.jenkins))
        collect = (f"mkdir -p {REPORTS}", f"mv codeql-results/*.sarif {report}")
        yield Job(
            f"codeql-{language}",
            Stage.check,
            (*steps, Step("Hand on what was found", collect, only=Only.github)),
            tool=Tool(pipeline.codeql.image, "codeql") if pipeline.codeql.image else None,
            keeps=(REPORTS,),
            sarif=(report,),
            codeql=language,
            permissions={"security-events": "CodeQL uploads what it finds"},
            minutes=60,
        )


def _load(pipeline: Pipeline, test: parts.LoadTest) -> Job:
    component = pipeline.component(test.component)
    prefix = f"{REPORTS}/locust"
    run = (
        f"mkdir -p {up(component, REPORTS)}",
        f"{PIP} {shlex.quote(pins.program(pipeline, 'locust'))}",
        f"{test.start} &",
        "server=$!",
        "trap 'kill \"$server\"' EXIT",
        f"curl --silent --show-error --fail --output /dev/null --retry 60 --retry-delay 1 --retry-all-errors "
        f"{test.url}{test.ready}",
        f"locust --locustfile {shlex.quote(up(component, test.file))} --headless --host {test.url} "
        f"--users {test.users} --spawn-rate {test.spawn_rate} --run-time {test.duration} "
        f"--csv {up(component, prefix)} --exit-code-on-error 0",
    )
    steps = (_install(component), Step("Load test (Locust)", run, component.folder, test.environment))
    return Job("load-test", Stage.check, steps, newest(component), keeps=(REPORTS,), locust=(f"{prefix}_stats.csv",))


def _image(pipeline: Pipeline, image: parts.Image) -> Job:
    """Built into a folder as an OCI layout: what is scanned is what is published, byte by byte."""
    layout, report = f"images/{image.name}", f"{REPORTS}/trivy-{image.name}.sarif"
    target = f" --target {image.target}" if image.target else ""
    file = shlex.quote(os.path.normpath(f"{image.context}/{image.dockerfile}"))
    build = (
        f"docker buildx create --name pipeline --driver docker-container "
        f"--driver-opt image={pins.image(pipeline, 'buildkit')}",
        f"docker buildx build --builder pipeline --file {file}{target} --provenance mode=max "
        f"--sbom generator={pins.image(pipeline, 'sbom')} "
        f"--output type=oci,tar=false,dest={layout} {shlex.quote(image.context)}",
        "docker buildx rm pipeline",
    )
    steps = [Step("Build the image", (f"mkdir -p {REPORTS} {layout}", *build))]
    if Scan.trivy in pipeline.scans:
        scan = (
            f"{IN_IMAGE} {pins.image(pipeline, 'trivy')} image --quiet --input {layout} "
            f"--format sarif --output {report}",
        )
        steps.append(Step("Scan the image (Trivy)", scan))
    return Job(
        f"image-{image.name}",
        Stage.check,
        tuple(steps),
        docker=True,
        keeps=("images", REPORTS) if Scan.trivy in pipeline.scans else ("images",),
        sarif=(report,) if Scan.trivy in pipeline.scans else (),
        minutes=60,
    )
