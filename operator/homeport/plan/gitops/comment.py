"""What is written beside a pull request: one comment, and lines beside its commit. Pure; Markdown as forges know it.

Names in it are a stranger's: they are in code spans or code blocks, where nothing is a mention, a link or HTML. Values
are never in it, only which fields differ; what else is quoted is cleared of what is known to be secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from homeport.plan.gitops.pulls import State, Status
from homeport.plan.types import Verb

SHOWN = 100
"""Objects of a plan."""
TOLD = 20
"""Problems, and lines of what isn't followed."""
LENGTH = 60_000
"""Characters: GitHub takes 65536, Gitea and GitLab more."""
_SIGNS = {Verb.CREATE: "+", Verb.UPDATE: "~", Verb.REPLACE: "±", Verb.DELETE: "−", Verb.KEEP: "="}
_WORDS = {
    Verb.CREATE: "made",
    Verb.UPDATE: "changed",
    Verb.REPLACE: "deleted and made anew",
    Verb.DELETE: "deleted",
    Verb.KEEP: "kept, and no longer followed",
}


@dataclass(frozen=True)
class Line:
    """One object that would change."""

    verb: Verb
    object: str
    reason: str = ""
    fields: tuple[str, ...] = ()
    loses_data: bool = False
    where: str = ""


@dataclass(frozen=True)
class PlanView:
    """What merging would change. ``offline`` says why the cluster wasn't asked; empty when it was."""

    lines: tuple[Line, ...] = ()
    problems: tuple[str, ...] = ()
    """Why it couldn't be applied."""
    guard: str = ""
    offline: str = ""
    notes: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether merging would change anything."""
        return any(line.verb is not Verb.KEEP for line in self.lines)


@dataclass(frozen=True)
class PreviewView:
    """How the preview is. ``stage`` is what the status says."""

    stage: str
    url: str = ""
    message: str = ""
    ready: bool = False
    said: tuple[str, ...] = field(default=())


def marker(namespace: str, source: str) -> str:
    """What the comment begins with, and is found by."""
    return f"<!-- homeport:{namespace}/{source} -->"


def summary(plan: PlanView) -> str:
    """One line: what merging would do."""
    if plan.problems:
        return f"{len(plan.problems)} problem{'s' if len(plan.problems) > 1 else ''}: it couldn't be applied"
    counts = [(verb, sum(line.verb is verb for line in plan.lines)) for verb in _WORDS]
    parts = [f"{number} {_WORDS[verb]}" for verb, number in counts if number]
    lost = sum(line.loses_data for line in plan.lines)
    text = ", ".join(parts) or "nothing would change"
    return text + (f"; data of {lost} would be lost" if lost else "")


def statuses(namespace: str, source: str, plan: PlanView | None, preview: PreviewView | None) -> list[Status]:
    """The lines beside the commit: of the plan, and of the preview when there is one to be.

    A Notification's line beside a commit that was applied is ``homeport/<namespace>/<source>``: it has a part less.
    """
    out, begin = [], f"homeport/{namespace}/{source}"
    if plan is None:
        out.append(Status(f"{begin}/plan", State.PENDING, "the plan is being made"))
    else:
        bad = bool(plan.problems or plan.guard)
        text = summary(plan) if not plan.guard or plan.problems else "more would be deleted than is let through"
        text += " (offline)" if plan.offline and not plan.problems else ""
        out.append(Status(f"{begin}/plan", State.FAILURE if bad else State.SUCCESS, text))
    if preview is not None:
        out.append(_preview_status(f"{begin}/preview", preview))
    return out


def _preview_status(context: str, preview: PreviewView) -> Status:
    state = State.SUCCESS if preview.ready else State.FAILURE if preview.stage == "Failed" else State.PENDING
    if preview.stage == "Expired":
        state = State.SUCCESS
    text = "the preview is ready" if preview.ready else f"{preview.stage.lower()}: {preview.message}".rstrip(": ")
    return Status(context, state, " ".join(text.split()), preview.url)


def text(
    source: str, commit: str, plan: PlanView | None, preview: PreviewView | None, secrets: Iterable[str] = ()
) -> str:
    """The comment, without its marker. ``secrets``: values that must not be in it."""
    parts = [f"### Homeport: {_code(source)} at {_code(commit[:12])}", ""]
    if plan is not None:
        parts += _plan(plan)
    if preview is not None:
        parts += _preview(preview)
    out = "\n".join(parts).rstrip() + "\n"
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= 4:
            out = out.replace(secret, "•••")
    return out if len(out) <= LENGTH else _cut(out)


def _cut(out: str) -> str:
    """Whole lines, and no block left open."""
    kept = out[: LENGTH - 200].rsplit("\n", 1)[0]
    kept += "\n```" if kept.count("\n```") % 2 else ""
    kept += "\n</details>" * (kept.count("<details>") - kept.count("</details>"))
    return f"{kept}\n\nThe rest is too long for a comment; `homeport diff` shows all of it.\n"


def _plan(plan: PlanView) -> list[str]:
    out = []
    if plan.problems:
        out += ["**It couldn't be applied as it is:**", "", *_block(plan.problems), ""]
    if plan.guard:
        out += ["**More would be deleted than is let through at once:**", "", *_block([plan.guard]), ""]
    if plan.lines:
        lost = [line for line in plan.lines if line.loses_data]
        out += [f"Merging it: {summary(PlanView(plan.lines))}.", ""]
        if lost:
            named = ", ".join(_code(line.object) for line in lost[:10])
            out += [f"**Data would be lost** of {named}{' and others' if len(lost) > 10 else ''}.", ""]
        out += _table(plan.lines)
    elif not plan.problems:
        out += ["Merging it would change nothing.", ""]
    if plan.offline:
        out += [f"_{plan.offline}_", ""]
    if plan.notes:
        out += [*_block(plan.notes), ""]
    return out


def _table(lines: Sequence[Line]) -> list[str]:
    rows = ["| | object | what | where |", "|---|---|---|---|"]
    for line in lines[:SHOWN]:
        fields = ", ".join(_cell(name) for name in line.fields[:6]) + (" …" if len(line.fields) > 6 else "")
        what = "; ".join(filter(None, (_WORDS.get(line.verb, str(line.verb)), fields or _said(line.reason))))
        what += ", **data lost**" if line.loses_data else ""
        where = _cell(line.where) if line.where else ""
        rows.append(f"| {_SIGNS.get(line.verb, '!')} | {_cell(line.object)} | {what} | {where} |")
    if len(lines) > SHOWN:
        rows.append(f"| | and {len(lines) - SHOWN} more | | |")
    return [*rows, ""]


def _preview(preview: PreviewView) -> list[str]:
    out = ["#### Preview", ""]
    if preview.url:
        out += [f"<{preview.url}>", ""] if _is_plain(preview.url) else [_code(preview.url), ""]
    state = "Ready." if preview.ready else f"{preview.stage}."
    out += [state, ""]
    if preview.message and not preview.ready:
        out += [*_block([preview.message]), ""]
    if preview.said:
        out += ["<details><summary>What of it isn't followed in the preview</summary>", ""]
        out += [*_block(preview.said), "", "</details>", ""]
    return out


def _is_plain(url: str) -> bool:
    return url.isascii() and url.isprintable() and not set(url) & set(" <>\"'`")


def _block(lines: Iterable[str]) -> list[str]:
    """A code block, one line each: what is quoted can't end it."""
    shown = [" ".join(line.split()).replace("```", "'''")[:1000] for line in lines]
    more = [f"and {len(shown) - TOLD} more"] if len(shown) > TOLD else []
    return ["```text", *shown[:TOLD], *more, "```"]


def _said(reason: str) -> str:
    return _cell(reason) if reason else ""


def _code(text: str) -> str:
    """A code span: no line ends, and no backquote to leave it by."""
    clean = " ".join(text.split()).replace("`", "'")[:300]
    return f"`{clean}`" if clean else ""


def _cell(text: str) -> str:
    """The same in a table, where a bar would begin another cell."""
    return _code(text).replace("\\", "/").replace("|", "¦")
