"""The words that applying a source's objects is told in: what is wanted, what would change, what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from homeport.outcome import Outcome
from homeport.plan.health import Verdict
from homeport.plan.types import Manifest, ObjectId, Verb

DriftMode = Literal["Enabled", "Warn", "Disabled"]


class Built(Protocol):
    """One object as a build made it, and where in the repository it is written. ``line`` is 0 when that isn't known."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """The object."""
        ...

    @property
    def file(self) -> str:
        """The file, from the repository's root."""
        ...

    @property
    def line(self) -> int:
        """The line that the object begins at."""
        ...


class Entry(NamedTuple):
    """One object of an inventory: whose status says ``{id, v}``."""

    id: ObjectId
    version: str
    """The version of its group ("v1") that it was applied in."""

    def as_status(self) -> dict[str, str]:
        """As a status has it."""
        return {"id": str(self.id), "v": self.version}

    @property
    def api_version(self) -> str:
        """As a manifest spells it."""
        return f"{self.id.group}/{self.version}" if self.id.group else self.version


def inventory_of(status: Mapping[str, Any]) -> tuple[Entry, ...]:
    """The inventory that a status tells of; what can't be read of it is left out."""
    found = []
    for entry in (status.get("inventory") or {}).get("entries") or ():
        try:
            found.append(Entry(ObjectId.parse(entry["id"]), str(entry.get("v", "v1"))))
        except (ValueError, KeyError, TypeError):
            continue
    return tuple(found)


@dataclass(frozen=True)
class IgnoreRule:
    """Fields that others may change: of objects that ``kind``, ``name``, ... name (None: any). They are written once,
    when an object is made.

    ``paths`` are JSON pointers ("/spec/replicas"), and what is under one counts, too; ``managers`` are field managers
    to whom all that they own is left.
    """

    paths: tuple[str, ...] = ()
    managers: tuple[str, ...] = ()
    group: str | None = None
    kind: str | None = None
    name: str | None = None
    namespace: str | None = None

    def covers(self, id: ObjectId) -> bool:
        """Whether it is about this object."""
        asked = ((self.group, id.group), (self.kind, id.kind), (self.name, id.name), (self.namespace, id.namespace))
        return all(wanted is None or wanted == found for wanted, found in asked)


@dataclass(frozen=True)
class Options:
    """How a source wants its objects treated."""

    namespace: str
    """Where objects go that name no namespace."""
    digest: str = ""
    """Of what was built; the same digest means the same objects."""
    settled: bool = False
    """Whether the status says that just this was applied whole before: what differs now, somebody has changed since."""
    mend: bool = False
    """Whether somebody asked for a sync now: drift is mended whatever ``drift`` says."""
    prune: bool = True
    allow_prune: bool = False
    """Whether ``homeport.dev/allow-prune-at`` has a value that wasn't acted on yet: the guard lets one removal pass."""
    applied: int = 0
    """How many objects the last revision had that was applied whole; 0 for none. An inventory may have more: what a
    later revision made before it failed."""
    drift: DriftMode = "Enabled"
    ignore: tuple[IgnoreRule, ...] = ()
    timeout: float = 120.0
    """Seconds that one application of everything may take."""
    aside: bool = False
    """Whether this is asked on the side, as for a pull request: what is remembered of the source stays as it is."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """The source's own spec: a repository may hold its own source, and not turn it to something else."""


@dataclass(frozen=True)
class Wanted:
    """One object as it will be applied."""

    manifest: Manifest = field(repr=False)
    id: ObjectId
    where: str
    """"apps/web.yaml:12", or empty."""
    digest: str
    """Of all that it declares."""

    @property
    def entry(self) -> Entry:
        """In an inventory."""
        return Entry(self.id, str(self.manifest["apiVersion"]).rpartition("/")[2])

    @property
    def annotations(self) -> Mapping[str, str]:
        """Its annotations."""
        return self.manifest["metadata"].get("annotations") or {}


@dataclass(frozen=True)
class Drifted:
    """A field that isn't as it was applied, and who changed it."""

    object: ObjectId
    field: str
    """"spec.replicas"; empty when the object itself was deleted."""
    manager: str = ""
    """The field manager that owns it now; empty when that isn't known."""
    mended: bool = False

    def as_status(self) -> dict[str, Any]:
        """As a status has it."""
        out: dict[str, Any] = {"object": self.object.shown, "field": self.field, "mended": self.mended}
        return {**out, "manager": self.manager} if self.manager else out


@dataclass(frozen=True)
class SourceChange:
    """One object that isn't as it is wanted, and what is done about that. Nothing secret is in it."""

    verb: Verb
    id: ObjectId
    reason: str = ""
    where: str = ""
    fields: tuple[str, ...] = ()
    loses_data: bool = False
    wanted: Wanted | None = field(default=None, repr=False)
    uid: str = ""
    """Of what is there."""
    drift: tuple[Drifted, ...] = ()
    unseen: bool = False
    """Whether the server can't be asked yet: its kind or its namespace is only about to be made."""

    def as_status(self) -> dict[str, Any]:
        """As ``status.plan.entries`` has it."""
        return {
            "object": self.id.shown,
            "verb": str(self.verb),
            "reason": self.reason,
            **({"dataLoss": True} if self.loses_data else {}),
        }


@dataclass(frozen=True)
class SourcePlan:
    """What would be done so that the cluster is as the source says."""

    wanted: tuple[Wanted, ...] = ()
    """All objects, in the order in which they are applied."""
    changes: tuple[SourceChange, ...] = ()
    """What is made, changed and replaced, in that order; drift that is only told of isn't in it."""
    pruned: tuple[SourceChange, ...] = ()
    """What is removed, in that order, and what stays although it left (``Verb.KEEP``)."""
    refused: tuple[Outcome, ...] = ()
    """Why nothing may be applied: what the server, the account or a rule refuses. Each names file, line and object."""
    conflicts: tuple[Outcome, ...] = ()
    """Objects that belong to somebody else. Nothing is applied while there is one."""
    guard: str = ""
    """What the guard against mass removal says; empty when it lets all pass."""
    drift: tuple[Drifted, ...] = ()
    """What somebody changed, mended or not."""
    inventory: tuple[Entry, ...] = ()
    """What was in the status's inventory."""
    owner: Any = None
    account: str = ""
    options: Options = field(default_factory=lambda: Options(""))

    @property
    def problems(self) -> tuple[Outcome, ...]:
        """Why nothing is applied."""
        return (*self.refused, *self.conflicts)

    @property
    def stops(self) -> bool:
        """Whether nothing may be applied now: for a problem, or because it is asked first whether that much may go.

        Were the new applied meanwhile, it would count as applied, and what goes would no longer be the most of it.
        """
        return bool(self.problems or self.guard)

    @property
    def data_loss(self) -> tuple[SourceChange, ...]:
        """The changes that would lose data."""
        return tuple(change for change in (*self.changes, *self.pruned) if change.loses_data)

    @property
    def empty(self) -> bool:
        """Whether everything is as wanted."""
        return not self.changes and not any(change.verb is Verb.DELETE for change in self.pruned)

    def union(self) -> tuple[Entry, ...]:
        """What the inventory has to say before anything is made: all that was there, and all that will be."""
        return merged(self.inventory, [wanted.entry for wanted in self.wanted])

    def counts(self) -> dict[str, int]:
        """How many objects are made, changed, replaced and deleted."""
        verbs = [change.verb for change in (*self.changes, *self.pruned)]
        names = {"create": Verb.CREATE, "update": Verb.UPDATE, "replace": Verb.REPLACE, "delete": Verb.DELETE}
        return {name: verbs.count(verb) for name, verb in names.items()}


@dataclass
class Applied:
    """What came of a plan."""

    entries: tuple[Entry, ...] = ()
    """The inventory now: every object that is there, or may be, or is on its way out. Sorted."""
    problems: list[Outcome] = field(default_factory=list)
    written: int = 0
    """Objects that were written or deleted."""
    removing: tuple[ObjectId, ...] = ()
    """Objects that are being removed and are still there."""
    complete: bool = False
    """Whether everything was applied: only then is the revision the one that was last applied."""


@dataclass(frozen=True)
class Standing:
    """How what a source applied is."""

    ready: int = 0
    total: int = 0
    unready: tuple[tuple[ObjectId, Verdict], ...] = ()
    """The worst first."""


def merged(*parts: Sequence[Entry]) -> tuple[Entry, ...]:
    """Several inventories as one, sorted, each object once: the last part's version counts."""
    found = {entry.id: entry for part in parts for entry in part}
    return tuple(found[key] for key in sorted(found))
