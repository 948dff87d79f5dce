"""A source's pull requests and webhook in one reconciliation: what they are read with, built from and planned by."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from homeport.api.conditions import ConditionType, Reason
from homeport.api.gitsource import GitSourceSpec
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.drivers.kubernetes import types
from homeport.engine.gitops import accounts, previewobjects, previews, pullplans
from homeport.engine.gitops.assembling import Assembler
from homeport.engine.gitops.building import Builder
from homeport.engine.gitops.inputs import Lacking
from homeport.engine.gitops.previews import Told
from homeport.engine.gitops.pullplans import Heads, Plans
from homeport.engine.gitops.pullrequests import PullRequests
from homeport.engine.queue import CHILD, RESYNC
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan.gitops import source as plan
from homeport.plan.gitops.build import BuildSpec, Built, BuiltObject
from homeport.plan.gitops.checkout import Checkout
from homeport.plan.gitops.previews import variables
from homeport.plan.gitops.pulls import Pull
from homeport.plan.gitops.types import Entry, SourcePlan

if TYPE_CHECKING:
    from homeport.engine.context import Context

log = logging.getLogger(__name__)

Source = Resource[GitSourceSpec]
_BASE = "base"


@dataclass
class Pulling:
    """What pull requests of all sources share."""

    context: Context
    pulls: PullRequests = field(init=False)
    plans: Plans = field(init=False)
    builder: Builder = field(init=False)
    without: set[OwnerKey] = field(default_factory=set)
    """Sources that have no previews, and were looked at whether one of before was left."""
    _builds: dict[OwnerKey, set[OwnerKey]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pulls = PullRequests(self._wake_after, self.context.clock)
        self.plans = Plans(self._woken)
        self.builder = Builder(self._built, Assembler())

    def _wake_after(self, key: OwnerKey, priority: int = RESYNC, after: float = 0.0) -> None:
        self.context.enqueue(key, priority if after else CHILD, after)

    def _woken(self, key: OwnerKey) -> None:
        self.context.enqueue(key, CHILD)

    def _built(self, key: OwnerKey) -> None:
        self._woken(_source_of(key))

    def build(self, source: OwnerKey, name: str, checkout: Checkout, spec: BuildSpec) -> Built | Outcome | None:
        """A build of its own beside the source's; ``source`` is woken when it ends."""
        key = OwnerKey(source.kind, source.namespace, f"{source.name}#{name}")
        self._builds.setdefault(source, set()).add(key)
        return self.builder.built(key, checkout, spec)

    def keep(self, source: OwnerKey, names: Sequence[str]) -> None:
        """Let go of builds of pull requests that are closed."""
        kept = {f"{source.name}#{name}" for name in names}
        for key in [key for key in self._builds.get(source, ()) if key.name not in kept]:
            self._builds[source].discard(key)
            self.builder.forget(key)

    def forget(self, source: OwnerKey) -> None:
        """A source is gone, or has no pull requests any more."""
        self.keep(source, ())
        self._builds.pop(source, None)
        self.without.discard(source)
        self.pulls.forget(source)
        self.plans.forget(source)

    async def stop(self) -> None:
        """Break off what is under way."""
        await self.pulls.stop()
        await self.plans.stop()
        await self.builder.stop()


def _source_of(key: OwnerKey) -> OwnerKey:
    return key._replace(name=key.name.partition("#")[0])


# --- one reconciliation -----------------------------------------------------------------------------------------------


async def step(
    source: Source, base: Checkout | None, entries: Sequence[Entry], context: Context
) -> tuple[Told, dict[str, tuple[str, str, str]]]:
    """Bring previews, plans and comments up to date; conditions that say more than Ready. Raises ApiError."""
    settings, pulling = source.spec.pull_requests, context.gitops.pulling
    if settings is None or not settings.enabled:
        if source.key in pulling.without and not source.status.get("previews"):
            return Told(), {}
        told = await previews.step(source, "", pulling.pulls, lambda pull: None, context)
        pulling.forget(source.key)
        context.gitops.mirrors.heads(source.key, ())
        if not told.entries:
            pulling.without.add(source.key)
        return told, _condition(told.problem)
    pulling.without.discard(source.key)
    try:
        token = await _token(source, context)
        heads = await _heads(source, base, entries, context)
    except Lacking as error:
        return Told(previews.kept(source), error.outcome), _condition(error.outcome)
    told = await previews.step(source, token, pulling.pulls, heads.preview, context)
    numbers = [pull.number for pull, _, _ in told.views]
    if told.views or told.problem is None:
        context.gitops.mirrors.heads(source.key, {pull.head for pull, _, _ in told.views})
    pulling.keep(source.key, [_BASE, *(f"{n}-{way}" for n in numbers for way in ("whole", "public", "preview"))])
    unwritten = pullplans.beside(source.key, told, heads, pulling.plans, pulling.pulls, settings.comment)
    if unwritten and told.problem is None:
        told.problem = Wait(Reason.ACCESS_DENIED, f"nothing can be written beside pull requests: {unwritten}")
    if told.problem is None and (other := _before(source, context)):
        text = f"GitSource {other} has previews, too; {previewobjects.ONE_REPOSITORY}"
        told.problem = Stalled(Reason.NAME_TAKEN, text)
    waits = [after for after in (told.after, pulling.pulls.due_in(source.key)) if after is not None]
    if waits:
        context.enqueue(source.key, RESYNC, min(waits))
    return told, _condition(told.problem)


def _condition(problem: Outcome | None) -> dict[str, tuple[str, str, str]]:
    """That something is wrong with pull requests is no fault of what is applied: Ready doesn't tell of it."""
    if problem is None or problem.reason == Reason.PROGRESSING:
        return {}
    return {ConditionType.PULL_REQUESTS: (problem.reason, problem.message[:1024], "False")}


def _before(source: Source, context: Context) -> str:
    """A source of the project that had previews before this one; empty when there is none."""

    def age(one: Source) -> tuple[str, str]:
        return one.created, one.name

    others = context.store.valid("GitSource", source.namespace)
    asks = [o for o in others if o.spec.pull_requests is not None and o.spec.pull_requests.enabled and not o.deleted_at]
    return next((one.name for one in sorted(asks, key=age) if age(one) < age(source)), "")


async def _token(source: Source, context: Context) -> str:
    assert source.spec.pull_requests is not None
    ref = source.spec.pull_requests.forge.token_secret_ref
    content = await context.gitops.inputs.content(source.key, "Secret", ref.name)
    token = content.data.get(ref.key, b"").decode(errors="replace").strip() if content is not None else ""
    if not token:
        text = f"Secret {ref.name} has no key {ref.key} with a token for the forge"
        raise Lacking(Wait(Reason.DEPENDENCY_NOT_READY, text))
    return token


async def _heads(source: Source, base: Checkout | None, entries: Sequence[Entry], context: Context) -> Heads:
    hub, key = context.gitops, source.key
    serves = await hub.serves()
    public = await hub.inputs.build(source, serves, secrets=False)
    whole = await hub.inputs.build(source, serves)
    if _same(whole, public):
        whole = public
    values = set(whole.variables.values()) - set(public.variables.values())

    def built(pull: Pull, way: str, spec: BuildSpec) -> Built | Outcome | None:
        checkout = hub.mirrors.at(key, pull.head, pull.ref, pull=True)
        if isinstance(checkout, Outcome):
            return checkout
        return hub.pulling.build(key, f"{pull.number}-{way}", checkout, spec)

    def preview(pull: Pull) -> Built | Outcome | None:
        inputs = f"{public.inputs}#{pull.number}@{pull.head}"
        return built(pull, "preview", replace(public, variables={**public.variables, **variables(pull)}, inputs=inputs))

    async def planned(objects: Sequence[BuiltObject], digest: str) -> SourcePlan:
        refused = await hub.accounts.ensure(source)
        if refused is not None:
            return SourcePlan(refused=(refused,))
        options = replace(plan.options(source, digest, False), settled=False, allow_prune=False, aside=True)
        return await hub.applier.plan(key, objects, accounts.user_of(source), entries, options)

    return Heads(
        whole=lambda pull: built(pull, "public" if whole is public else "whole", whole),
        public=lambda pull: built(pull, "public", public),
        preview=preview,
        base=lambda: hub.pulling.build(key, _BASE, base, public) if base is not None else None,
        plan=planned,
        applied=(source.generation, source.status.get("lastAttemptedDigest")),
        secrets=tuple(values),
    )


def _same(whole: BuildSpec, public: BuildSpec) -> bool:
    """Whether nothing secret goes into the source's builds: then one build does for both."""
    return replace(whole, inputs="", sealed=False) == replace(public, inputs="", sealed=False)


# --- its webhook ------------------------------------------------------------------------------------------------------


def webhook(source: Source, context: Context) -> tuple[dict[str, Any], dict[str, tuple[str, str, str]]]:
    """Take its deliveries, and say where; a condition when none can be taken."""
    hooks, settings = context.gitops.hooks, source.spec.webhook
    if settings is None:
        hooks.forget(source.key)
        return {}, {}
    name = settings.secret_ref.name
    context.readers.setdefault(("Secret", source.namespace, name), set()).add(source.key)
    secret = context.cluster.metadata(types.SECRET, source.namespace, name)
    if secret is None or not hooks.listens:
        hooks.forget(source.key)
        text = f"Secret {name} doesn't exist in namespace {source.namespace}; create it with the key token"
        if not hooks.listens:
            text = "this operator was started without --webhook-listen, so no delivery reaches it; the source is polled"
        return {}, {ConditionType.WEBHOOK: (Reason.DEPENDENCY_NOT_READY, text, "False")}
    branch = source.spec.ref.branch or ""
    path = hooks.expect(source.key, source.uid, name, str(secret["metadata"]["uid"]), branch)
    return {"webhookPath": path}, {}
