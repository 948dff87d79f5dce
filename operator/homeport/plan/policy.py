"""Which changes may be made now: ownership, order, retention and consent. A chain of small checks over the diff.

Order within one component: what nothing runs from, then the migration, then the workload, then what exposes it. A
component's migration and workload wait for the components that it depends on. Drift is mended whatever waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from homeport.api import labels
from homeport.api.conditions import Health, Reason
from homeport.api.labels import OwnerKey
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan import turns as waiting_turns
from homeport.plan.health import PAUSED, verdict
from homeport.plan.types import PHASES, Change, Phase, Verb, Versions
from homeport.plan.world import ChildKey, Decision, Desired

ComponentKey = tuple[str, str]


def decide(
    owner: OwnerKey,
    desired: Desired,
    changes: Sequence[Change],
    *,
    versions: Mapping[str, Versions] | None = None,
    may_replace: bool = False,
) -> Decision:
    """What to do now about ``changes``. ``may_replace``: the user asked for one replacement of immutable objects."""
    steps: list[Change] = []
    held: dict[ChildKey, str] = {}
    problems: list[Outcome] = []
    unready = _unready_components(changes)
    migrating = _unfinished_migrations(changes)
    turns = {key: Wait(Reason.DEPENDENCY_NOT_READY, why) for key, why in waiting_turns.held(changes).items()}
    unsettled: set[str] = set()
    for change in sorted(changes, key=_order):
        child = change.child
        if change.verb is Verb.NOTHING:
            continue
        if child is None:
            # Removals come last: what the new can't take the place of yet goes on.
            if change.verb is Verb.DELETE and change.environment in unsettled:
                held[change.cluster, change.id] = "stays until what takes its place is there"
            else:
                steps.append(change)
            continue
        key = (child.cluster, change.id)
        problem = _ownership(owner, change) or _password(change) or _replacement(change, may_replace)
        if problem is not None:
            problems.append(problem)
            held[key] = problem.message
            unsettled.add(child.environment)
            continue
        if change.drift:
            steps.append(change)
            continue
        wait = _order_of_rollout(change, desired, unready, migrating) or turns.get(key)
        wait = wait or _inputs(change, versions or {})
        if wait is None:
            steps.append(change)
        else:
            held[key] = wait.message
            if wait.reason == Reason.DEPENDENCY_NOT_READY and not _is_sibling_wait(wait):
                problems.append(wait)
                unsettled.add(child.environment)
    return Decision(tuple(steps), held, tuple(problems))


def _order(change: Change) -> tuple[int, str]:
    if change.child is None:
        return len(PHASES), str(change.id)
    return PHASES.index(change.child.phase), str(change.id)


def _unready_components(changes: Sequence[Change]) -> set[ComponentKey]:
    """Components with a workload or a Job that isn't as wanted or isn't healthy; one whose Job is done has none."""
    unready: set[ComponentKey] = set()
    for change in changes:
        child = change.child
        if child is None or child.phase not in (Phase.RUN, Phase.MIGRATE):
            continue
        well = (
            change.live is not None
            and (change.verb is Verb.NOTHING or change.drift)
            and verdict(change.live).health in (Health.HEALTHY, Health.SUSPENDED)
        )
        if not well:
            unready.update((child.environment, name) for name in child.components)
    return unready


def _unfinished_migrations(changes: Sequence[Change]) -> dict[ComponentKey, str]:
    out: dict[ComponentKey, str] = {}
    for change in changes:
        child = change.child
        if child is None or child.phase is not Phase.MIGRATE:
            continue
        state = verdict(change.live) if change.live is not None else None
        if state is None or state.health is not Health.HEALTHY:
            waits = PAUSED if child.paused else "it has not started"
            out[child.environment, child.component] = state.message if state else waits
    return out


def _ownership(owner: OwnerKey, change: Change) -> Stalled | None:
    """Never overwrite what isn't ours."""
    if change.live is None:
        return None
    holder = change.holder
    if holder == owner:
        return None
    whose = f"belongs to {holder.kind} {holder.namespace}/{holder.name}" if holder else "isn't Homeport's"
    return Stalled(
        Reason.NAME_TAKEN,
        f"{change.id.shown} exists and {whose}; rename the component, set spec.namePrefix, or remove that object",
    )


def _password(change: Change) -> Stalled | None:
    """What was generated once is in use somewhere: it is never replaced by another value under a new key."""
    generate = change.child.generate if change.child is not None else None
    data = (change.live or {}).get("data") or {}
    missing = [key for key in generate or () if not data.get(key)]
    if not missing or not data:
        return None
    return Stalled(
        Reason.REPLACEMENT_REQUIRED,
        f"{change.id.shown} has {', '.join(sorted(data))} and no {missing[0]}; what is in use was generated under "
        f"another key: name that in generate.key, put the value under {missing[0]} by hand, or delete the Secret to "
        "have another value made",
    )


def _replacement(change: Change, may_replace: bool) -> Stalled | None:
    """An immutable field changed: replaced only when asked, and never a claim, which is the data itself."""
    if change.verb is not Verb.REPLACE:
        return None
    if change.id.kind == "PersistentVolumeClaim":
        return Stalled(
            Reason.REPLACEMENT_REQUIRED,
            f"{change.id.shown}: {change.reason}; undo the change, or add a volume of another name and move the data",
        )
    if may_replace:
        return None
    return Stalled(
        Reason.REPLACEMENT_REQUIRED,
        f"{change.id.shown}: {change.reason}; undo the change, or set the annotation {labels.REPLACE_AT} to a new "
        "value to have it deleted and made anew (its volumes are kept)",
    )


_WAITS_FOR = "waits for "


def _is_sibling_wait(wait: Wait) -> bool:
    return wait.message.startswith((_WAITS_FOR, PAUSED))


def _order_of_rollout(
    change: Change, desired: Desired, unready: set[ComponentKey], migrating: Mapping[ComponentKey, str]
) -> Wait | None:
    child = change.child
    if child is None or child.phase is Phase.PREPARE:
        return None
    if child.paused and child.phase is Phase.MIGRATE and change.live is None:
        return Wait(Reason.DEPENDENCY_NOT_READY, f"{PAUSED}: its migration waits for that")
    environment, own = child.environment, child.components
    needs = dict.fromkeys(n for name in own for n in desired.needs.get((environment, name), ()) if n not in own)
    blockers = [n for n in needs if (environment, n) in unready]
    if blockers:
        return Wait(Reason.DEPENDENCY_NOT_READY, _WAITS_FOR + " and ".join(blockers))
    # A workload that is there and held starts no Pods of the new version, and can be told to hold before it migrates.
    held = child.paused and child.phase is Phase.RUN and change.live is not None
    migration = next((migrating[environment, name] for name in own if (environment, name) in migrating), None)
    if child.phase is not Phase.MIGRATE and migration is not None and not held:
        return Wait(Reason.DEPENDENCY_NOT_READY, f"{_WAITS_FOR}its migration: {migration}")
    return None


def _inputs(change: Change, versions: Mapping[str, Versions]) -> Wait | None:
    """A Pod can't start without the Secrets and ConfigMaps that it names: say which is missing before it tries."""
    child = change.child
    if child is None or not child.reads:
        return None
    there = versions.get(child.environment, Versions()).objects
    missing = [f"{kind} {name}" for kind, name in child.reads if (kind, name) not in there]
    if not missing:
        return None
    namespace = child.manifest["metadata"].get("namespace", "")
    return Wait(
        Reason.DEPENDENCY_NOT_READY,
        f"{child.environment}/{child.component} needs {' and '.join(missing)} in namespace {namespace}; create it "
        "there, or list it in the environment's spec.secrets to have it copied from the project's namespace",
    )


def prune(owner: OwnerKey, left: Mapping[ChildKey, Mapping[str, object]]) -> tuple[Change, ...]:
    """What is there and no longer wanted: deleted, or kept because a policy says so.

    A namespace never goes this way, with all that is in it: only the deletion of its Environment removes it.
    """
    return tuple(
        removal(key, left[key])
        for key in sorted(left)
        if labels.owner_of(left[key], labels.plane_of(left[key])) == owner and key[1].kind != "Namespace"
    )


def _has_mounts(found: Mapping[str, object]) -> bool:
    spec = found.get("spec")
    return found.get("kind") == "LXCContainer" and isinstance(spec, Mapping) and bool(spec.get("mounts"))


def removal(key: ChildKey, found: Mapping[str, object]) -> Change:
    """How an object that nobody wants any more goes: deleted, or kept because its annotations say so."""
    metadata: Mapping[str, Mapping[str, str]] = found["metadata"]  # type: ignore[assignment]
    annotations = metadata.get("annotations") or {}
    if annotations.get(labels.PRUNE) == "Disabled":
        return Change(Verb.KEEP, key[1], f"{labels.PRUNE}: Disabled", live=found, cluster=key[0])
    if annotations.get(labels.DELETION_POLICY) == "Retain" or labels.RETAINED in annotations:
        return Change(Verb.KEEP, key[1], "deletionPolicy: Retain", live=found, cluster=key[0])
    return Change(
        Verb.DELETE,
        key[1],
        "no longer declared",
        live=found,
        cluster=key[0],
        loses_data=key[1].kind in ("PersistentVolumeClaim", "Secret") or _has_mounts(found),
    )
