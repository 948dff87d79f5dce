"""The jobs after the checks: gates, publishing, deploying, releasing."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from homeport.pipelines import parts, pins
from homeport.pipelines.checks import PIP, REPORTS, newest
from homeport.pipelines.jobs import IN_IMAGE, Job, Only, Stage, Step, Taken, Toolchain
from homeport.pipelines.model import Pipeline
from homeport.pipelines.parts import Language

RELEASE = "release"
"""The folder with the version and the digests."""
GHCR = "ghcr.io"
# What a pull request is for, or the commit before: each of the systems has one of these variables.
_RANGE = (
    'base="${GITHUB_BASE_REF:-${CHANGE_TARGET:-${CI_MERGE_REQUEST_TARGET_BRANCH_NAME:-}}}"',
    'range="HEAD~1..HEAD"',
    'if [ -n "$base" ]; then',
    '  git rev-parse --quiet --verify "origin/$base" > /dev/null ||',
    '    git fetch --quiet origin "+refs/heads/$base:refs/remotes/origin/$base"',
    '  range="origin/$base..HEAD"',
    "fi",
)
_VERSION = 'version="$(cat release/version)"'


def jobs(pipeline: Pipeline, checks: Sequence[Job]) -> Iterator[Job]:
    """What follows on ``checks``."""
    needs = tuple(job.name for job in checks)
    if pipeline.gates is not None:
        gate = _gate(pipeline, checks)
        yield gate
        needs = (gate.name,)
    branches = pipeline.branches
    if not (pipeline.environments or pipeline.release):
        return
    yield _version(pipeline, needs, branches)
    published: tuple[str, ...] = ()
    if pipeline.images:
        publish = _publish(pipeline, branches)
        yield publish
        published = (publish.name,)
    deployed = []
    for environment in pipeline.environments:
        deploy = _deploy(pipeline, environment, ("version", *published))
        yield deploy
        deployed.append((environment, deploy))
    if pipeline.release is not None:
        before = tuple(job.name for env, job in deployed if pipeline.release.branch in env.branches)
        yield _release(pipeline, pipeline.release, ("version", *(before or published)))


def _python(pipeline: Pipeline) -> Toolchain:
    """Where `homeport` runs."""
    python = pipeline.of_language(Language.python)
    return newest(python[0]) if python else Toolchain(Language.python, ("3.12",))


def _homeport(pipeline: Pipeline) -> Step:
    return Step("Install homeport", (f"{PIP} {shlex.quote(pipeline.homeport)}",))


def _gate(pipeline: Pipeline, checks: Sequence[Job]) -> Job:
    gates = pipeline.gates
    assert gates is not None
    flags: list[str] = []
    judged = gates.security is not None or gates.critical_issues is not None
    for job in checks:
        flags += [f"--coverage {path}" for path in job.expanded(job.coverage) if gates.coverage is not None]
        flags += [f"--sarif {path}" for path in job.sarif if judged]
        flags += [f"--audit {path}" for path in job.audit if judged]
        flags += [f"--locust {path}" for path in job.locust if gates.performance is not None]
    changed = gates.docs is not None and bool(gates.docs.changed)
    if changed:
        flags.append('--range "$range"')
    lines = ["homeport gate check --config pipeline.yaml", *flags, "--summary gates.md"]
    command = " \\\n  ".join(lines)
    run = (*(_RANGE if changed else ()), command)
    show = ('if [ -f gates.md ]; then cat gates.md >> "$GITHUB_STEP_SUMMARY"; fi',)
    summary = Step("Show the verdicts", show, only=Only.github, always=True)
    return Job(
        "gates",
        Stage.gate,
        (_homeport(pipeline), Step("Check the gates", run), summary),
        _python(pipeline),
        needs=tuple(job.name for job in checks),
        takes=tuple(Taken(job.name, REPORTS) for job in checks if REPORTS in job.keeps),
        history=changed,
    )


def _version(pipeline: Pipeline, needs: tuple[str, ...], branches: tuple[str, ...]) -> Job:
    """Which version this is. A commit that asks for no release gets the last version with its own id after it, so that
    nothing that was published is published again with other contents."""
    run = (
        f"mkdir -p {RELEASE}",
        f'version="$(homeport release next {_main(pipeline)})"',
        'tagged="$(git rev-parse --quiet --verify "refs/tags/v$version^{commit}" || true)"',
        'commit="$(git rev-parse HEAD)"',
        'if [ -n "$tagged" ] && [ "$tagged" != "$commit" ]; then',
        '  version="$version-g$(git rev-parse --short=12 HEAD)"',
        "fi",
        "printf '%s\\n' \"$version\" | tee release/version",
    )
    return Job(
        "version",
        Stage.publish,
        (_homeport(pipeline), Step("Find the version by conventional commits", run)),
        _python(pipeline),
        needs=needs,
        keeps=(RELEASE,),
        branches=branches,
        history=True,
    )


def _main(pipeline: Pipeline) -> str:
    """The branch of final versions, as an option."""
    return f"--main {shlex.quote(pipeline.release.branch if pipeline.release else 'main')}"


def _publish(pipeline: Pipeline, branches: tuple[str, ...]) -> Job:
    """The images that were built and scanned are pushed as they are."""
    steps = []
    skopeo = f"{IN_IMAGE} --interactive --env REGISTRY_AUTH_FILE=/work/.auth.json {pins.image(pipeline, 'skopeo')}"
    secrets = {"REGISTRY_USERNAME": pipeline.registry.username, "REGISTRY_PASSWORD": pipeline.registry.password}
    hosts = dict.fromkeys(image.repository.partition("/")[0] for image in pipeline.images)
    for host in hosts:
        mine = [image for image in pipeline.images if image.repository.partition("/")[0] == host]
        run = (
            f"mkdir -p {RELEASE}",
            _VERSION,
            "trap 'rm -f .auth.json' EXIT",
            f"printf '%s' \"$REGISTRY_PASSWORD\" | {skopeo} login "
            f'--username "$REGISTRY_USERNAME" --password-stdin {host}',
            *(
                f"{skopeo} copy --all --preserve-digests --digestfile {RELEASE}/{image.name}.digest "
                f'oci:images/{image.name} "docker://{image.repository}:$version"'
                for image in mine
            ),
        )
        steps.append(Step(f"Push to {host}", run, secrets=secrets, github_token=host == GHCR))
    permissions = {}
    if any(image.repository.startswith(f"{GHCR}/") for image in pipeline.images):
        permissions["packages"] = "images are pushed to GitHub's registry"
    permissions |= {
        "id-token": "the attestation is signed as this workflow",
        "attestations": "the attestation is kept",
    }
    return Job(
        "publish",
        Stage.publish,
        tuple(steps),
        docker=True,
        needs=("version", *(f"image-{image.name}" for image in pipeline.images)),
        takes=(Taken("version", RELEASE), *(Taken(f"image-{image.name}", "images") for image in pipeline.images)),
        keeps=(RELEASE,),
        branches=branches,
        environment="" if _ghcr_only(pipeline) else "registry",
        permissions=permissions,
        attests={f"{RELEASE}/{image.name}.digest": image.repository for image in pipeline.images},
    )


def _ghcr_only(pipeline: Pipeline) -> bool:
    """Whether GitHub's own token is enough."""
    return all(image.repository.startswith(f"{GHCR}/") for image in pipeline.images)


def _deploy(pipeline: Pipeline, environment: parts.Environment, needs: tuple[str, ...]) -> Job:
    deploy = environment.deploy
    where = f" --environment {deploy.environment}" if deploy.environment else ""
    # All images by one commit: with one for each, some of them would run beside others of the version before.
    command = " \\\n  ".join(
        [
            f"homeport deploy --repo {shlex.quote(deploy.repository)} --file {shlex.quote(deploy.file)} "
            f'--application {deploy.application}{where} --version "$version" '
            f"--branch {shlex.quote(deploy.branch)}{' --pull-request' if deploy.pull_request else ''}",
            *(
                f'--image "{image.component or image.name}={image.repository}@$(cat {RELEASE}/{image.name}.digest)"'
                for image in pipeline.images
            ),
        ]
    )
    steps = [
        _homeport(pipeline),
        Step(
            "Commit the new version to the GitOps repository",
            (_VERSION, command),
            secrets={"HOMEPORT_GIT_TOKEN": deploy.token},
        ),
    ]
    if not deploy.pull_request:
        wait = (
            _VERSION,
            'KUBECONFIG="$(mktemp)"',
            "export KUBECONFIG",
            "trap 'rm -f \"$KUBECONFIG\"' EXIT",
            'printf \'%s\\n\' "$KUBECONFIG_TEXT" > "$KUBECONFIG"',
            f"homeport wait application/{deploy.application} -n {deploy.namespace}{where} "
            f'--version "$version" --timeout {deploy.health_timeout}',
        )
        steps.append(
            Step("Wait until it is Ready (health check)", wait, secrets={"KUBECONFIG_TEXT": deploy.kubeconfig})
        )
    return Job(
        f"deploy-{environment.name}",
        Stage.deploy,
        tuple(steps),
        _python(pipeline),
        needs=needs,
        takes=tuple(Taken(name, RELEASE) for name in needs),
        branches=environment.branches,
        environment=environment.name,
        url=environment.url or "",
    )


def _release(pipeline: Pipeline, release: parts.Release, needs: tuple[str, ...]) -> Job:
    # Git asks the helper, which answers from the environment: the token gets into no file and no command line.
    helper = '!f() { printf "username=x-access-token\\npassword=%s\\n" "$RELEASE_TOKEN"; }; f'
    tag = (
        _VERSION,
        f'homeport release notes --version "$version" {_main(pipeline)} > {RELEASE}/notes.md',
        "git remote set-url --push origin \"$(git remote get-url origin | sed 's#://[^@/]*@#://#')\"",
        f"git config --local credential.helper {shlex.quote(helper)}",
        f"homeport release tag --push {_main(pipeline)}",
    )
    there = 'gh release view "v$version" > /dev/null 2>&1'
    publish = f'gh release create "v$version" --verify-tag --title "v$version" --notes-file {RELEASE}/notes.md'
    github = (
        _VERSION,
        'if git rev-parse --quiet --verify "refs/tags/v$version" > /dev/null; then',
        f"  {there} || {publish}",
        "fi",
    )
    # The token comes by standard input: a command line is seen by every process of the machine.
    gitlab = (
        _VERSION,
        'if git rev-parse --quiet --verify "refs/tags/v$version" > /dev/null; then',
        '  answer="$(mktemp)"',
        '  status="$(printf \'JOB-TOKEN: %s\\n\' "$CI_JOB_TOKEN" | curl --silent --show-error --header @- '
        "--output \"$answer\" --write-out '%{http_code}' "
        f'--data-urlencode "tag_name=v$version" --data-urlencode "description@{RELEASE}/notes.md" '
        '"$CI_API_V4_URL/projects/$CI_PROJECT_ID/releases")"',
        '  case "$status" in',
        "    201) ;;",
        '    409) echo "v$version is released already" ;;',
        '    *) echo "GitLab answered $status:"; cat "$answer"; exit 1 ;;',
        "  esac",
        "fi",
    )
    return Job(
        "release",
        Stage.release,
        (
            _homeport(pipeline),
            Step(
                "Write the notes and tag the version", tag, secrets={"RELEASE_TOKEN": release.token}, github_token=True
            ),
            Step(
                "Publish the release", github, secrets={"GH_TOKEN": release.token}, github_token=True, only=Only.github
            ),
            Step("Publish the release", gitlab, only=Only.gitlab),
        ),
        _python(pipeline),
        needs=needs,
        takes=(Taken("version", RELEASE),),
        keeps=(RELEASE,),
        branches=(release.branch,),
        history=True,
        permissions={"contents": "the tag and the release are made"},
    )
