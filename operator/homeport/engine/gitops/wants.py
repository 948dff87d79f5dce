"""What sources want of repositories, what was found of it, and what is kept of both while an operator runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.drivers.git import Credentials, GitFailed, Ref, Unsigned
from homeport.engine.gitops.polls import Answer, Asked, Repository
from homeport.outcome import Outcome, Stalled, Transient
from homeport.plan.gitops.checkout import Checkout


@dataclass(frozen=True)
class Want:
    """What one source reads."""

    url: str
    ref: Ref
    credentials: Credentials = field(default_factory=Credentials, repr=False)
    interval: float = 60.0
    """Seconds between two looks, at most; more often when another source of the same repository asks for it."""
    timeout: float = 60.0
    """Seconds that one call of git may take."""
    submodules: bool = False
    lfs: bool = False
    verify_keys: tuple[tuple[str, str], ...] | None = None
    """(name, content) of public keys: OpenPGP in ASCII armour, SSH public keys, or lines of allowed_signers. If given,
    only what one of them has signed is found; None asks for no signature."""
    path: str | None = None
    """The folder that is read, where that is known: its manifests are fetched together with everybody else's."""
    keep: tuple[str, ...] = ()
    """Commits that must stay readable without the server: those that a status names for a rollback, and a pin."""


@dataclass(frozen=True)
class Found:
    """What is known of a reference. ``problem`` says why the newest look failed; what was found before stays."""

    commit: str = ""
    """Empty as long as nothing was found; ``problem`` says then what to wait for."""
    name: str = ""
    """What the reference is called: ``main``, ``v1.4.2`` (also of a range), or empty for a commit."""
    checkout: Checkout | None = None
    problem: Outcome | None = None
    fetched_at: float | None = None
    """When the server last said that this is what the reference means; seconds since the epoch."""
    signed_by: str = ""
    """Whose signature was verified; empty unless one was asked for."""
    note: str = ""
    """What a person should know of how it came here: that history was rewritten."""

    @property
    def revision(self) -> str:
        """``main@sha1:…``, as a status has it."""
        kind = "sha256" if len(self.commit) == 64 else "sha1"
        return f"{self.name}@{kind}:{self.commit}" if self.name else f"{kind}:{self.commit}"


@dataclass
class Source:
    """One who wants something."""

    want: Want
    asked: Asked
    found: Found
    held: dict[str, float] = field(default_factory=dict)
    """Commits that were asked for by their ids, and when that was last."""
    pulls: set[str] = field(default_factory=set)
    """Those of them that are heads of pull requests that are open."""
    refused: dict[str, tuple[Outcome, float]] = field(default_factory=dict)
    """Commits that couldn't be had, and until when that is said without trying again."""


@dataclass
class Shared:
    """One repository with one set of credentials, and who wants something of it."""

    id: str
    repository: Repository
    opened: float
    due: float
    planned: float = 0.0
    """When the next look was due as the last one began: whatever is due earlier was asked for since."""
    sources: dict[OwnerKey, Source] = field(default_factory=dict)
    busy: bool = False
    poked: set[OwnerKey] = field(default_factory=set)
    """Who asked for a look, and wants to be woken after it whatever it finds."""
    failures: int = 0
    answers: dict[Asked, Answer] = field(default_factory=dict)
    notes: dict[Asked, str] = field(default_factory=dict)
    resting: set[OwnerKey] = field(default_factory=set)
    """Who is suspended, and may want it again."""
    stale: bool = False
    """Whether something is held that nobody needs any more."""
    let_go_at: float = float("-inf")
    idle_since: float | None = None
    kept: set[str] | None = None

    def interval(self) -> float:
        """Of the source that is in the greatest hurry."""
        return min((source.want.interval for source in self.sources.values()), default=60.0)

    def seconds(self) -> float:
        """Of the source that has the most patience."""
        return max((source.want.timeout for source in self.sources.values()), default=60.0)

    def paths(self) -> dict[Asked, set[str]]:
        """Which folders are read of what is asked."""
        found: dict[Asked, set[str]] = {}
        for source in self.sources.values():
            if source.want.path is not None:
                found.setdefault(source.asked, set()).add(source.want.path)
        return found


def found_of(answer: Answer, note: str, before: Found) -> Found:
    """What a source is told of an answer; ``before`` is what it was told last."""
    problem = problem_of(answer.error) if answer.error is not None else None
    target = answer.target
    if target is None or answer.checkout is None:
        return Found(problem=problem)
    at = answer.at
    if answer.error is not None and before.commit == target.commit and before.fetched_at is not None:
        at = before.fetched_at
    return Found(target.commit, target.name, answer.checkout, problem, at, answer.signed_by, note)


def problem_of(error: GitFailed) -> Outcome:
    """What a failure is for a source."""
    if isinstance(error, Unsigned):
        return Stalled(Reason.UNSIGNED, str(error))
    return (Transient if error.passes else Stalled)(Reason.FETCH_FAILED, str(error))
