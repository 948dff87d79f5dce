"""GitSource: a folder of a Git repository that is the truth about what should be there."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt

from homeport.api.base import (
    ATOMIC,
    FREE_FORM,
    SET,
    HostName,
    Label,
    ListMap,
    Model,
    NameRef,
    ObjectName,
    Rule,
    SecretKeyRef,
    ShortText,
    Text,
    Token,
    interval_between,
    matches,
)
from homeport.api.git import NO_PASSWORD_IN_CLEAR_TEXT, GitCommit, GitRefName, GitUrl, inside
from homeport.api.status import Inventory, Status

VariableName = Annotated[str, Field(min_length=1, max_length=128)]
Variables = Annotated[
    dict[VariableName, Annotated[str, Field(max_length=4096)]],
    Field(max_length=64),
    Rule(
        "self.all(name, name.matches('^[A-Za-z_][A-Za-z0-9_]*$'))",
        "name variables with letters, digits and '_', such as LOG_LEVEL",
        lambda names: all(name.isascii() and name.isidentifier() for name in names),
    ),
]


class SourceRef(Model):
    """Which commit is meant."""

    branch: GitRefName | None = None
    """A branch; followed as it moves."""
    tag: GitRefName | None = None
    """A tag."""
    semver: (
        Annotated[
            str,
            Field(min_length=1, max_length=128),
            matches(
                r"^[-0-9A-Za-z.+*<>=!~^|, ]+$", "write a range of versions such as >=1.2.0 <2.0.0, ^1.4, ~1.4.0 or 1.x"
            ),
        ]
        | None
    ) = None
    """A range: the newest version among the tags that it holds, with or without a leading v."""
    commit: GitCommit | None = None
    """A commit, by its whole id."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.branch), has(self.tag), has(self.semver), has(self.commit)].filter(x, x).size() == 1",
            "write exactly one of branch, tag, semver and commit",
            lambda s: sum(each is not None for each in (s.branch, s.tag, s.semver, s.commit)) == 1,
        ),
    )


class VariablesFrom(Model):
    """Variables that an object beside it holds."""

    kind: Literal["ConfigMap", "Secret"]
    """What it is."""
    name: ObjectName
    """The object's name."""
    optional: StrictBool = False
    """True: it may be missing."""


class ValuesFrom(Model):
    """Values of a chart that an object beside it holds, as YAML in one key."""

    kind: Literal["ConfigMap", "Secret"]
    """What it is."""
    name: ObjectName
    """The object's name."""
    key: Annotated[str, Field(min_length=1, max_length=253)] = "values.yaml"
    """The key that holds the values."""
    optional: StrictBool = False
    """True: it may be missing."""


class HelmBuild(Model):
    """How a folder with Chart.yaml is rendered."""

    release_name: (
        Annotated[
            str,
            Field(min_length=1, max_length=53),
            matches(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "write lower-case letters, digits and '-'"),
        ]
        | None
    ) = None
    """The release's name; absent means the source's."""
    namespace: Label | None = None
    """The release's namespace; absent means the source's."""
    values: Annotated[dict[str, Any], FREE_FORM] | None = None
    """Values, over those of the chart and of valuesFrom."""
    values_from: Annotated[tuple[ValuesFrom, ...], Field(max_length=16), ATOMIC] = ()
    """Values from objects beside it; later ones win."""
    include_crds: StrictBool = Field(default=True, alias="includeCRDs")
    """Whether the chart's crds folder is applied."""


class Build(Model):
    """How objects are made of the folder. What it holds tells what is done: kustomization.yaml, Chart.yaml, *.j2, else
    plain YAML."""

    variables: Variables | None = None
    """Variables for templates (*.j2) and, with substitute, for everything."""
    variables_from: Annotated[tuple[VariablesFrom, ...], Field(max_length=16), ATOMIC] = ()
    """Variables from objects beside it; later ones win, and variables over them."""
    environment_ref: NameRef | None = None
    """An Environment whose variables are taken too; with environment, project, namespace and domain."""
    substitute: StrictBool = False
    """Whether ${NAME} is replaced in what isn't a template; $${NAME} stays ${NAME}."""
    helm: HelmBuild | None = None
    """For a chart."""
    allow_remote_bases: StrictBool = False
    """Whether kustomizations may name bases elsewhere; they are fetched anew each time, and verify
    doesn't cover them."""


class DriftTarget(Model):
    """The objects that an exception is for; what is absent means any."""

    group: Annotated[str, Field(max_length=253)] | None = None
    """The API group; empty for the core's."""
    kind: Annotated[str, Field(max_length=63)] | None = None
    """The kind."""
    name: Annotated[str, Field(max_length=253)] | None = None
    """The name."""
    namespace: Annotated[str, Field(max_length=63)] | None = None
    """The namespace."""


class DriftIgnore(Model):
    """Fields that others may change."""

    paths: Annotated[
        tuple[
            Annotated[
                str,
                Field(min_length=1, max_length=512),
                matches(r"^(/([^~/]|~0|~1)+)+$", "write a JSON pointer such as /spec/replicas; '/' in a key is ~1"),
            ],
            ...,
        ],
        Field(max_length=32),
        SET,
    ] = ()
    """Fields as JSON pointers; what is below them is meant too."""
    managers: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=128)], ...], Field(max_length=16), SET] = ()
    """Field managers: whatever they own is left to them."""
    target: DriftTarget | None = None
    """The objects; absent means all of the source's."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.paths) && self.paths.size() > 0) || (has(self.managers) && self.managers.size() > 0)",
            "write paths, such as [/spec/replicas], or managers",
            lambda s: bool(s.paths or s.managers),
        ),
    )


class DriftDetection(Model):
    """What is done when somebody else changes what was applied."""

    mode: Literal["Enabled", "Warn", "Disabled"] = "Enabled"
    """Enabled: it is mended. Warn: it is told, and left until the repository changes it. Disabled: nobody looks."""
    ignore: Annotated[tuple[DriftIgnore, ...], Field(max_length=32), ATOMIC] = ()
    """Fields that others may change; they are written once, when an object is made."""


class Decryption(Model):
    """How files that SOPS encrypted are read."""

    key_secret_ref: NameRef
    """A Secret with age keys, in keys that end in .agekey."""


class Verification(Model):
    """Whose signatures are asked for."""

    keys_secret_ref: NameRef
    """A Secret with public keys: of GPG in keys that end in .asc, of SSH as allowed_signers or in keys that end in
    .pub."""


class WebhookSecret(Model):
    """How a push event proves where it comes from."""

    secret_ref: NameRef
    """A Secret whose key token is what the forge signs events with."""


class Dependency(Model):
    """Something that has to be ready first."""

    api_version: Annotated[
        str,
        Field(max_length=253),
        matches(
            r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?v[0-9]+((alpha|beta)[0-9]+)?$", "write an API version such as apps/v1"
        ),
    ] = "homeport.dev/v1alpha1"
    """The object's API version."""
    kind: Annotated[
        str,
        Field(min_length=1, max_length=63),
        matches(r"^[A-Z][A-Za-z0-9]*$", "write a kind as manifests do, such as GitSource"),
    ] = "GitSource"
    """The object's kind."""
    name: ObjectName
    """The object's name."""
    namespace: Label | None = None
    """The object's namespace; absent means the source's."""
    ready_expr: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """When it counts as ready, in CEL: dep is the object, self this source. Absent: as kstatus has it; a GitSource also
    has to have applied its present spec."""


class Forge(Model):
    """The API that pull requests are read of."""

    provider: Literal["GitHub", "GitLab", "Gitea"]
    """What speaks it; Gitea means Forgejo too."""
    url: (
        Annotated[
            str,
            Field(max_length=512),
            matches(r"^https?://[^ @?#]+$", "write the API's address such as https://api.github.com, without a name"),
        ]
        | None
    ) = None
    """The API's address; absent means that of the repository's host."""
    repository: (
        Annotated[
            str,
            Field(min_length=3, max_length=512),
            matches(r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+$", "write owner and name, such as team/fleet"),
        ]
        | None
    ) = None
    """Owner and name; absent means what the source's url says."""
    token_secret_ref: SecretKeyRef
    """A token that may read pull requests, and write comments and commit statuses."""


class PreviewEnvironment(Model):
    """What an open pull request gets."""

    template_ref: NameRef
    """An Environment with template: true."""
    ttl: Annotated[str, Field(min_length=2, max_length=16), interval_between("10m", "8760h", "72h")] = "72h"
    """How long it lives after the newest commit."""
    max: Annotated[StrictInt, Field(ge=1, le=50)] = 5
    """How many there may be at a time."""
    secrets: Annotated[tuple[ObjectName, ...], Field(max_length=32), SET] = ()
    """Which of the template's Secrets a preview gets."""


class PullRequests(Model):
    """A preview environment for each open pull request, and a plan as a comment."""

    enabled: StrictBool = True
    """False: previews are removed."""
    forge: Forge
    """Where pull requests are."""
    authors: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=128)], ...], Field(max_length=64), SET] = ()
    """Who gets a preview at once: users; teams as organisation/team; team for whoever may push. Others wait for the
    label."""
    label: Annotated[str, Field(min_length=1, max_length=64)] = "preview"
    """The label that lets in a pull request of somebody else, for the commit that it was put on."""
    comment: StrictBool = True
    """Whether the plan is written as a comment."""
    environment: PreviewEnvironment
    """What a pull request gets."""


class GitSourceSpec(Model):
    """Where it is read from, how it is built, and how it is applied."""

    url: GitUrl
    """The repository's address."""
    ref: SourceRef
    """Which commit is meant."""
    path: Annotated[
        str,
        Field(min_length=1, max_length=512),
        inside("a folder as seen from the repository's root, such as ./projects/shop"),
    ] = "."
    """The folder that is applied."""
    interval: Annotated[str, Field(min_length=2, max_length=16), interval_between("10s", "24h", "1m or 1h")] = "1m"
    """How often is looked whether the reference has moved; a webhook tells at once."""
    credentials_secret_ref: NameRef | None = None
    """A Secret beside it with username and password (https), or with identity (an SSH key) and known_hosts."""
    submodules: StrictBool = False
    """Whether submodules are read too, with the same credentials on the same host only."""
    lfs: StrictBool = False
    """Whether files kept by Git LFS are fetched."""
    verify: Verification | None = None
    """Asks for signed commits; of a tag its own signature counts too."""
    build: Build | None = None
    """How objects are made of the folder."""
    decryption: Decryption | None = None
    """How files that SOPS encrypted are read."""
    prune: StrictBool = True
    """Whether what leaves the repository is removed; and all of it with this object."""
    dry_run: StrictBool = False
    """True: nothing is changed, and status.plan says what would be."""
    drift_detection: DriftDetection | None = None
    """What is done when somebody else changes what was applied; absent means that it is mended."""
    depends_on: Annotated[tuple[Dependency, ...], Field(max_length=32), ATOMIC] = ()
    """What has to be ready before a new revision is applied."""
    timeout: Annotated[str, Field(min_length=2, max_length=16), interval_between("10s", "24h", "2m or 10m")] = "2m"
    """How long building and applying may take, and objects to become ready before that is a failure."""
    service_account_name: ObjectName | None = None
    """The account that it is applied as: what that may not do, the repository may not. Absent means one that may write
    Homeport's kinds in this namespace and nothing else. Naming one needs the right to impersonate it."""
    webhook: WebhookSecret | None = None
    """Push events of GitHub, GitLab and Gitea; status.webhookPath says where to."""
    pull_requests: PullRequests | None = None
    """Previews of pull requests."""
    suspend: StrictBool = False
    """True stops reconciliation of this object: nothing is fetched, applied or mended."""

    rules: ClassVar[tuple[Rule, ...]] = (
        NO_PASSWORD_IN_CLEAR_TEXT,
        Rule(
            "!self.url.startsWith('ssh://') || has(self.credentialsSecretRef)",
            "ssh asks for a key and for known_hosts; name their Secret in credentialsSecretRef",
            lambda s: not s.url.startswith("ssh://") or s.credentials_secret_ref is not None,
            ".credentialsSecretRef",
        ),
        Rule(
            "!has(self.pullRequests) || has(self.ref.branch)",
            "pull requests are those into a branch; write ref.branch",
            lambda s: s.pull_requests is None or s.ref.branch is not None,
            ".pullRequests",
        ),
    )


# --- status -----------------------------------------------------------------------------------------------------------

Count = Annotated[StrictInt, Field(ge=0)]


class AppliedRevision(Model):
    """Something that was applied once."""

    revision: ShortText
    """The commit, as branch@sha1:commit."""
    at: ShortText
    """When it was applied."""
    objects: Count
    """How many objects it made."""
    digest: ShortText
    """What was built, as a digest: equal builds have equal ones."""


class PlanEntry(Model):
    """One object that would change."""

    object: Annotated[str, Field(max_length=600)]
    """The object: kind, namespace and name."""
    verb: ShortText
    """create, update, replace, delete, keep, refuse or conflict."""
    reason: Text | None = None
    """Why."""
    data_loss: StrictBool | None = None
    """Whether data would be lost."""


class SourcePlan(Model):
    """What applying would change."""

    revision: ShortText
    """The commit that it is of."""
    create: Count = 0
    """Objects that would be made."""
    update: Count = 0
    """Objects that would be changed."""
    replace: Count = 0
    """Objects that would be deleted and made anew."""
    delete: Count = 0
    """Objects that would be removed."""
    unchanged: Count = 0
    """Objects that are as the repository says."""
    refused: Count = 0
    """Objects that couldn't be applied."""
    entries: Annotated[tuple[PlanEntry, ...], Field(max_length=50), ATOMIC] = ()
    """The first 50 of them."""


class DriftEntry(Model):
    """A field that somebody else changed."""

    object: Annotated[str, Field(max_length=600)]
    """The object: kind, namespace and name."""
    field: Annotated[str, Field(max_length=1024)]
    """The field's path; empty when the object was removed."""
    manager: ShortText | None = None
    """Who: the field manager."""
    mended: StrictBool | None = None
    """Whether it was mended."""


class Resources(Model):
    """How many of the objects are ready."""

    ready: Count = 0
    """Those that are ready."""
    total: Count = 0
    """All."""


class PreviewState(Model):
    """One pull request and its preview."""

    number: Count
    """The pull request's number."""
    title: Annotated[str, Field(max_length=256)] | None = None
    """Its title."""
    author: ShortText | None = None
    """Who opened it."""
    revision: ShortText | None = None
    """Its newest commit."""
    since: ShortText | None = None
    """Since when there is a preview of that commit: its time to live counts from then."""
    environment: Label | None = None
    """The preview's Environment."""
    url: Annotated[str, Field(max_length=1024)] | None = None
    """Where the preview is reached."""
    host: HostName | None = None
    """The preview's domain."""
    ready: StrictBool | None = None
    """Whether all of it is ready."""
    state: ShortText
    """Waiting, Building, Running, Failed, Expired or Removing."""
    message: Text | None = None
    """What a person needs to know."""


class GitSourceStatus(Status):
    """What is applied, of which commit, and how that goes."""

    webhook_path: Annotated[str, Field(max_length=256)] | None = None
    """Where push events are sent to, below the operator's address for webhooks."""
    last_attempted_revision: ShortText | None = None
    """The commit that was last built or applied, or failed to be, as branch@sha1:commit."""
    last_applied_revision: ShortText | None = None
    """The newest commit that changed something for this source."""
    last_attempted_digest: ShortText | None = None
    """What was last begun to be applied, as a digest; that of history[0] when it was applied whole."""
    pinned: ShortText | None = None
    """The commit that it is held at by homeport.dev/pin."""
    resources: Resources | None = None
    """How many of the objects are ready."""
    history: Annotated[tuple[AppliedRevision, ...], Field(max_length=5), ATOMIC] = ()
    """The five newest builds that were applied, newest first."""
    plan: SourcePlan | None = None
    """What applying would change: with dryRun, and for what waits to be allowed."""
    drift: Annotated[tuple[DriftEntry, ...], Field(max_length=20), ATOMIC] = ()
    """Fields that somebody else changed."""
    last_handled_allow_prune_at: Token | None = None
    """The last value of the annotation homeport.dev/allow-prune-at that was acted on."""
    previews: Annotated[tuple[PreviewState, ...], Field(max_length=64), ListMap("number")] = ()
    """Pull requests and their previews."""
    inventory: Inventory | None = None
    """The objects that were applied."""
