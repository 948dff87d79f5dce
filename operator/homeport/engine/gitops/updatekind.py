"""ImageUpdates as the reconciler sees them: tags are looked at, files looked through, and what is newer is pushed.

What takes a while goes on in the background (``registries``, ``mirrors``, ``updates``); each look takes the next step
with what is known. A commit is written into ``status.pushing`` before it is pushed, and into ``lastPushed`` after.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from homeport.api.base import interval_seconds
from homeport.api.conditions import Reason
from homeport.api.gitsource import GitSourceSpec
from homeport.api.imageupdate import ImageUpdateSpec, WatchedImage
from homeport.api.labels import OwnerKey
from homeport.api.resource import InvalidSpec, Resource
from homeport.drivers.git import Ref
from homeport.drivers.oci.credentials import CONFIG_KEY, Login, logins
from homeport.engine import observe
from homeport.engine.context import Context
from homeport.engine.gitops import forgeplaces
from homeport.engine.gitops.inputs import Lacking
from homeport.engine.gitops.mirrors import Found, Want
from homeport.engine.gitops.registries import Seen
from homeport.engine.gitops.updates import Proposal, Push, Work
from homeport.engine.plainkind import Plain
from homeport.engine.queue import RESYNC
from homeport.engine.status import timestamp
from homeport.outcome import Ok, Outcome, Stalled, Transient, Wait, worst
from homeport.plan.gitops import updates as plan
from homeport.plan.gitops.checkout import Checkout
from homeport.plan.gitops.markers import Marks, NewImage
from homeport.plan.gitops.tags import BadPolicy, choose
from homeport.plan.gitops.updates import Edits
from homeport.plan.world import ChildKey, Desired, Live, Report

Update = Resource[ImageUpdateSpec]
Source = Resource[GitSourceSpec]

PULLS_AGAIN = 60.0
"""Seconds between two looks whether the pull request is still open, at least."""


@dataclasses.dataclass(frozen=True)
class UpdateWorld:
    """What is known of it. It makes nothing in the cluster, so nothing of it is live."""

    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    outcome: Outcome = dataclasses.field(default_factory=Ok)
    unwritten: bool = False
    """Whether a commit waits to be in the status before it is pushed."""
    live: dict[ChildKey, Live] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class _Images:
    """What the registries say of all images."""

    entries: list[dict[str, Any]]
    new: dict[str, NewImage | None]
    problems: list[Outcome]
    busy: bool


class ImageUpdateKind(Plain):
    """ImageUpdates."""

    def observe(self, resource: Update, context: Context) -> UpdateWorld:
        """Nothing yet; changes of its source wake it."""
        readers = context.readers.setdefault(("GitSource", resource.namespace, resource.spec.source_ref.name), set())
        readers.add(resource.key)
        return UpdateWorld()

    async def prepare(self, resource: Update, world: UpdateWorld, context: Context) -> UpdateWorld:
        """Take the next step."""
        fields = _before(resource)
        try:
            outcome = await self._step(resource, fields, context)
        except Lacking as error:
            outcome = error.outcome
        work = context.gitops.updates.work(resource.key)
        stored = resource.status.get("pushing")
        if work.announced is not None and stored == work.announced:
            work.written.set()
        unwritten = work.push is not None and work.announced is not None and stored != work.announced
        return dataclasses.replace(world, fields=fields, outcome=outcome, unwritten=unwritten)

    async def _step(self, resource: Update, fields: dict[str, Any], context: Context) -> Outcome:
        project = observe.project_of(context.store, resource.namespace)
        if project is not None and project.spec.archived:
            context.gitops.rest(resource.key)
            return Ok("the project is archived: no registry is asked", reason=Reason.ARCHIVED)
        source = _source(resource, context)
        if isinstance(source, Outcome):
            return source
        images = await self._images(resource, context)
        fields["images"] = images.entries
        branch = resource.spec.git.branch or source.spec.ref.branch
        ask = await _proposal(resource, source, branch, context)
        if branch is None or isinstance(ask, Outcome):
            return ask if isinstance(ask, Outcome) else _no_branch(source)
        if source.spec.verify is not None and ask is None:
            text = f"GitSource {source.name} asks for signed commits, which these aren't; write git.pullRequest"
            return Stalled(Reason.INVALID_SPEC, text)
        found = context.gitops.mirrors.want(resource.key, await _want(resource, source, branch, context))
        head = self._head(resource, found, ask, context)
        if isinstance(head, Outcome):
            return worst([head, *images.problems])
        return self._write(resource, source, fields, images, head, found, branch, ask, context)

    # -- images ---------------------------------------------------------------------------------------------------

    async def _images(self, resource: Update, context: Context) -> _Images:
        registries, known = context.gitops.registries, {e["name"]: e for e in resource.status.get("images") or ()}
        pairs = []
        token = resource.reconcile_token
        if token is not None and token != resource.status.get("lastHandledReconcileAt"):
            registries.again(resource.key)
        for image in resource.spec.images:
            pairs.append((image, await _logins(resource, image, context)))
        registries.keep(resource.key, [(image.image, found) for image, found in pairs])
        out = _Images([], {}, [], False)
        looks = [self._look(resource, image, found, known, context, False) for image, found in pairs]
        if any(seen.busy for seen, _ in looks):
            # What is new at once becomes one commit, so all are asked at once.
            looks = [self._look(resource, image, found, known, context, True) for image, found in pairs]
        for (image, _), (seen, (entry, new, problem)) in zip(pairs, looks, strict=True):
            out.entries.append(entry)
            out.new[image.name] = new
            out.busy = out.busy or seen.busy
            out.problems += [problem] if problem is not None else []
        return out

    def _look(
        self,
        resource: Update,
        image: WatchedImage,
        found: tuple[Login, ...],
        known: Mapping[str, Any],
        context: Context,
        together: bool,
    ) -> tuple[Seen, tuple[dict[str, Any], NewImage | None, Outcome | None]]:
        registries, interval = context.gitops.registries, interval_seconds(resource.spec.interval)
        before = known.get(image.name) or {}
        tags = (str(before["tag"]),) if image.digest and before.get("tag") else ()
        seen = registries.look(resource.key, image.image, found, interval, tags, together)
        tag = _newest(image, seen)
        if image.digest and tag and tag not in tags:
            seen = registries.look(resource.key, image.image, found, interval, (tag,), together)
        return seen, _chosen(image, seen, before)

    # -- Git ------------------------------------------------------------------------------------------------------

    def _head(self, resource: Update, found: Found, ask: Proposal | None, context: Context) -> Checkout | Outcome:
        """What is written on top of: the branch, or what its pull request has already."""
        if found.checkout is None:
            return found.problem or Wait(Reason.PROGRESSING, "the repository hasn't been read yet")
        if ask is None:
            return found.checkout
        updates, mirrors = context.gitops.updates, context.gitops.mirrors
        every = max(PULLS_AGAIN, interval_seconds(resource.spec.interval))
        work = updates.proposed(resource.key, ask, every)
        if not work.pulls_known:
            return work.pulls_problem or Wait(Reason.PROGRESSING, "pull requests haven't been read yet")
        ref = f"refs/heads/{ask.branch}"
        if work.pull is not None and work.pull.head:
            return mirrors.at(resource.key, work.pull.head, ref)
        pushing = resource.status.get("pushing") or {}
        if work.push is None and pushing.get("branch") == ask.branch:
            # It was pushed, or not, when an operator ended: its pull request isn't open.
            there = mirrors.at(resource.key, str(pushing["commit"]), ref)
            if not isinstance(there, Stalled | Transient):
                return there
        return found.checkout

    def _write(
        self,
        resource: Update,
        source: Source,
        fields: dict[str, Any],
        images: _Images,
        head: Checkout,
        found: Found,
        branch: str,
        ask: Proposal | None,
        context: Context,
    ) -> Outcome:
        """Push what isn't there yet; what that comes to."""
        updates = context.gitops.updates
        work = updates.work(resource.key)
        _note_pull(fields, work, ask)
        if work.push is not None:
            fields["pushing"] = work.announced or fields.get("pushing")
            return Wait(Reason.PROGRESSING, f"pushing to {ask.branch if ask else branch}")
        if work.pushed is not None:
            fields["lastPushed"], work.pushed = work.pushed, None
            fields.pop("pushing", None)
        marks = Marks(resource.name, resource.namespace, images.new, _flux(resource, source, context))
        paths = resource.spec.paths or (source.spec.path,)
        made = updates.edits(resource.key, head, paths, marks)
        if made is None:
            return Wait(Reason.PROGRESSING, "looking through the files for markers")
        if isinstance(made, Outcome):
            return made
        fields["markers"] = made.markers
        if work.pushed_base == made.base and (found.fetched_at or 0.0) <= work.pushed_at:
            return Wait(Reason.PROGRESSING, "waiting to see what was pushed")
        proposal_lacks = ask is not None and work.pull is None and head is not found.checkout
        if not made.files and not proposal_lacks:
            return self._in_step(resource, fields, images, made, found, work)
        if images.busy:
            return Wait(Reason.PROGRESSING, "asking the registries")
        if work.problem is not None and work.failed_base == made.base and context.clock() < work.retry_at:
            context.enqueue(resource.key, RESYNC, work.retry_at - context.clock())
            return worst([work.problem, *images.problems])
        self._begin(resource, made, images, branch, ask, context)
        return worst([work.problem or Wait(Reason.PROGRESSING, _brings(made, images)), *images.problems])

    def _begin(
        self,
        resource: Update,
        made: Edits,
        images: _Images,
        branch: str,
        ask: Proposal | None,
        context: Context,
    ) -> None:
        before, author = resource.status.get("pushing") or {}, resource.spec.git.author
        shown = {name: new.shown for name, new in images.new.items() if new is not None}
        there = not made.files
        brought = list(before.get("images") or ()) if there else [shown[name] for name in made.images]
        target = ask.branch if ask is not None else branch
        # At a second try it is the same commit, if nothing else has changed: it has the same date.
        again = before.get("branch") == target and before.get("images") == brought
        at = str(before["time"]) if again else timestamp(context.now())
        when = int(datetime.strptime(at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
        text = plan.message(resource.spec, resource.namespace, resource.name, made, brought)
        push = Push(made, target, text, f"{author.name} <{author.email}>", when, there)

        def tell(commit: str) -> Mapping[str, Any]:
            return {"commit": commit, "branch": target, "time": at, "images": brought}

        context.gitops.updates.begin(resource.key, push, tell, ask)

    def _in_step(
        self,
        resource: Update,
        fields: dict[str, Any],
        images: _Images,
        made: Edits,
        found: Found,
        work: Work,
    ) -> Outcome:
        """Nothing is left to be written."""
        if "pushing" in fields and not images.busy and all(images.new.values()):
            # It was pushed just before an operator ended, for the files are as it left them.
            fields["lastPushed"] = fields.pop("pushing")
        work.problem = None
        if made.problems:
            return worst([Stalled(Reason.INVALID_SPEC, "; ".join(made.problems)), *images.problems])
        if not made.markers:
            example = f'# {{"$homeport": "{resource.name}/{resource.spec.images[0].name}"}}'
            where = ", ".join(resource.spec.paths) or "the source's path"
            text = f"no file in {where} has a marker of these images; write {example} behind an image"
            return worst([Stalled(Reason.INVALID_SPEC, text), *images.problems])
        problems = [*images.problems, *([found.problem] if found.problem else [])]
        if problems:
            return worst(problems)
        if images.busy and not all(images.new.values()):
            return Wait(Reason.PROGRESSING, "asking the registries")
        shown = ", ".join(f"{name} {new.tag}" for name, new in sorted(images.new.items()) if new is not None)
        return Ok(f"{shown}; {made.markers} markers" if made.markers != 1 else f"{shown}; 1 marker")

    # -- what is said of it ---------------------------------------------------------------------------------------

    def desired(self, resource: Update, world: UpdateWorld, context: Context) -> Desired:
        """Nothing is made of it."""
        return Desired()

    def status(
        self, resource: Update, world: UpdateWorld, desired: Desired, report: Report
    ) -> tuple[dict[str, Any], Outcome]:
        """Which images are the newest, and what was pushed."""
        return dict(world.fields), world.outcome

    async def after(
        self, resource: Update, world: UpdateWorld, desired: Desired, outcome: Outcome, context: Context
    ) -> None:
        """Look again when a registry is to be asked; at once, when a commit waits for being written down."""
        if world.unwritten:
            context.enqueue(resource.key, RESYNC, 0.0)
            return
        due, now = context.gitops.registries.due(resource.key), context.clock()
        if due is not None and due > now:
            # What is overdue wasn't asked for this time, for something else that has to come first.
            context.enqueue(resource.key, RESYNC, due - now)


def _before(resource: Update) -> dict[str, Any]:
    names = ("images", "pushing", "lastPushed", "pullRequest", "markers")
    return {name: resource.status[name] for name in names if resource.status.get(name) is not None}


def _source(resource: Update, context: Context) -> Source | Outcome:
    name = resource.spec.source_ref.name
    try:
        found = context.store.resource(OwnerKey("GitSource", resource.namespace, name))
    except InvalidSpec as error:
        return Wait(Reason.DEPENDENCY_NOT_READY, f"GitSource {name} can't be used: {error}")
    if found is None or found.deleted_at is not None:
        return Wait(Reason.DEPENDENCY_NOT_READY, f"GitSource {name} doesn't exist beside it; create it")
    return found


def _no_branch(source: Source) -> Outcome:
    text = f"GitSource {source.name} follows no branch, so there is none to commit to; write git.branch"
    return Stalled(Reason.INVALID_SPEC, text)


async def _logins(resource: Update, image: WatchedImage, context: Context) -> tuple[Login, ...]:
    ref = image.credentials_secret_ref
    if ref is None:
        return ()
    content = await context.gitops.inputs.content(resource.key, "Secret", ref.name)
    assert content is not None
    try:
        return logins(content.data[CONFIG_KEY].decode())
    except KeyError:
        raise Lacking(Wait(Reason.DEPENDENCY_NOT_READY, f"Secret {ref.name} has no key {CONFIG_KEY}")) from None
    except ValueError as error:
        raise Lacking(Stalled(Reason.INVALID_SPEC, f"Secret {ref.name}: {error}")) from None


def _newest(image: WatchedImage, seen: Seen) -> str | None:
    try:
        return choose(image.policy, image.filter, seen.tags or ()).tag
    except BadPolicy:
        return None


def _chosen(
    image: WatchedImage, seen: Seen, before: Mapping[str, Any]
) -> tuple[dict[str, Any], NewImage | None, Outcome | None]:
    """(what the status says of it, what is written, what is wrong)."""
    entry = {key: value for key, value in before.items() if key != "message"} | {"name": image.name}
    if seen.tags is None:
        return entry, None, seen.problem
    try:
        choice = choose(image.policy, image.filter, seen.tags)
    except BadPolicy as error:
        return {**entry, "message": str(error)}, None, Stalled(Reason.INVALID_SPEC, f"{image.name}: {error}")
    if choice.tag is None:
        text = f"none of {len(seen.tags)} tags of {image.image} fits its policy"
        return {**entry, "message": text}, None, Wait(Reason.DEPENDENCY_NOT_READY, f"{image.name}: {text}", 3600.0)
    digest = seen.digests.get(choice.tag, "") if image.digest else ""
    if image.digest and not digest:
        return entry, None, seen.problem or Wait(Reason.PROGRESSING, f"asking for the digest of {image.name}")
    new = NewImage(image.image, choice.tag, digest)
    if entry.get("tag") != choice.tag:
        entry = {"name": image.name, "tag": choice.tag, "tags": choice.counted, "previous": entry.get("tag")}
    entry["image"] = new.shown
    problem = seen.problem
    if problem is not None:
        entry["message"] = problem.message
    return {key: value for key, value in entry.items() if value is not None}, new, problem


async def _want(resource: Update, source: Source, branch: str, context: Context) -> Want:
    spec = source.spec
    return Want(
        url=spec.url,
        ref=Ref(branch=branch),
        credentials=await context.gitops.inputs.credentials(source),
        interval=interval_seconds(spec.interval),
        timeout=interval_seconds(spec.timeout),
    )


async def _proposal(
    resource: Update, source: Source, branch: str | None, context: Context
) -> Proposal | Outcome | None:
    asked = resource.spec.git.pull_request
    if asked is None or not asked.enabled or branch is None:
        return None
    head = asked.branch or f"homeport/{resource.namespace}-{resource.name}"
    if head == branch:
        return Stalled(Reason.INVALID_SPEC, f"a pull request out of {head} into itself isn't one; write another branch")
    return Proposal(await forgeplaces.place(source, resource.key, context), branch, head)


def _flux(resource: Update, source: Source, context: Context) -> frozenset[str]:
    """Which of its images Flux's markers may mean."""
    others = []
    for other in context.store.valid("ImageUpdate", resource.namespace):
        its = _source(other, context)
        if other.name != resource.name and not isinstance(its, Outcome) and its.spec.url == source.spec.url:
            others.append([image.name for image in other.spec.images])
    return plan.flux_names([image.name for image in resource.spec.images], others)


def _note_pull(fields: dict[str, Any], work: Work, ask: Proposal | None) -> None:
    if ask is None or (work.pulls_known and work.pull is None):
        fields.pop("pullRequest", None)
    elif work.pull is not None:
        fields["pullRequest"] = {"number": work.pull.number, "url": work.pull.url}


def _brings(made: Edits, images: _Images) -> str:
    shown = ", ".join(new.shown for name in made.images if (new := images.new.get(name)) is not None)
    return f"pushing {shown}"
