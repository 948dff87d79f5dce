"""From the ``repository:`` block to what a forge has to have: one entry each, and what the forge can't do. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from homeport.pipelines.repository import EnvironmentBlock, Protection, Repository, Source, Webhook

PROVIDERS = {"github": "GitHub", "gitlab": "GitLab", "gitea": "Gitea"}


@dataclass(frozen=True)
class Wanted:
    """One thing. ``key`` is what the forge's driver knows it by; ``label`` names it in output and state.

    ``value``: where what is secret of it is. ``needs``: the environment that it is in, if it is in one.
    """

    kind: str
    key: str
    label: str
    spec: Mapping[str, Any]
    value: Source | None = None
    needs: str = ""


def of(block: Repository, addresses: Mapping[str, str]) -> tuple[Wanted, ...]:
    """Everything but the repository itself. ``addresses``: the webhooks' addresses by their names."""
    return tuple(_all(block, addresses))


def repository(block: Repository) -> dict[str, Any]:
    """What the repository itself shall be."""
    spec: dict[str, Any] = {
        "description": block.description,
        "visibility": block.visibility,
        "defaultBranch": block.default_branch,
    }
    if block.forge == "gitlab":
        spec["mergeChecks"] = any(one.required_checks for one in block.protection)
        spec["linearHistory"] = any(one.linear_history for one in block.protection)
    return spec


def _all(block: Repository, addresses: Mapping[str, str]) -> Iterator[Wanted]:
    for rule in block.protection:
        yield Wanted("protection", rule.branch, rule.branch, _protection(block, rule))
    yield from _settings(block, "", block.secrets, block.variables)
    if block.forge != "gitea":
        for one in block.environments:
            yield Wanted("environment", one.name, one.name, _environment(block, one))
            yield from _settings(block, one.name, one.secrets, one.variables)
    for hook in block.webhooks:
        yield Wanted("webhook", addresses[hook.name], hook.name, _webhook(block, hook), hook.secret)
    for label in block.labels:
        yield Wanted("label", label.name, label.name, {"color": label.color, "description": label.description})
    for person in block.collaborators:
        yield Wanted("collaborator", person.name, person.name, {"permission": person.permission})


def _settings(
    block: Repository, environment: str, secrets: Mapping[str, Source], variables: Mapping[str, str]
) -> Iterator[Wanted]:
    below = f"{environment}/" if environment else ""
    # GitLab's environments of the free tier are open to all branches: a job names one, and has its variables.
    spec = {"protected": True} if block.forge == "gitlab" and environment else {}
    for name, source in secrets.items():
        yield Wanted("secret", below + name, below + name, spec, source, environment)
    for name, value in variables.items():
        yield Wanted("variable", below + name, below + name, {"value": value}, needs=environment)


def _protection(block: Repository, rule: Protection) -> dict[str, Any]:
    common = {"push": rule.reviews == 0, "noForce": rule.no_force}
    if block.forge == "gitlab":
        return {**common, "codeOwners": rule.code_owners}
    more = {
        "requiredChecks": list(rule.required_checks),
        "reviews": rule.reviews,
        "dismissStale": rule.dismiss_stale,
        "signed": rule.signed,
    }
    if block.forge == "gitea":
        return {**common, **more}
    by_request = rule.reviews > 0 or rule.code_owners
    only = {"codeOwners": rule.code_owners, "linearHistory": rule.linear_history, "noDelete": rule.no_delete}
    # Without pull requests GitHub keeps nothing of their approvals.
    stale = rule.dismiss_stale if by_request else True
    return {**common, **more, **only, "push": not by_request, "dismissStale": stale, "active": True}


def _environment(block: Repository, one: EnvironmentBlock) -> dict[str, Any]:
    if block.forge == "gitlab":
        return {}
    return {"reviewers": list(one.reviewers), "branches": list(one.branches), "waitMinutes": one.wait_minutes}


def _webhook(block: Repository, hook: Webhook) -> dict[str, Any]:
    verify = True if block.forge == "gitea" else hook.verify_tls
    return {"events": list(hook.events), "active": True, "verifyTls": verify}


def lacking(block: Repository) -> tuple[str, ...]:
    """What is written and the forge doesn't have, in a sentence each: it is said, and not made."""
    return tuple(_LACKING[block.forge](block)) if block.forge in _LACKING else ()


def _gitea(block: Repository) -> Iterator[str]:
    for one in block.environments:
        within = sorted([*one.secrets, *one.variables])
        lost = f", and so {', '.join(within)} of it aren't set" if within else ""
        yield f"environment {one.name} isn't made: Gitea has no environments{lost}"
    for rule in block.protection:
        lost_ = [
            name
            for name, asked in (
                ("codeOwners", rule.code_owners),
                ("linearHistory", rule.linear_history),
                ("noDelete: false", not rule.no_delete),
            )
            if asked
        ]
        if lost_:
            yield f"protection of {rule.branch}: Gitea has no {', '.join(lost_)}"
    for hook in block.webhooks:
        if not hook.verify_tls:
            yield f"webhook {hook.name}: Gitea has verifyTls in its own settings only (SKIP_TLS_VERIFY)"


def _gitlab(block: Repository) -> Iterator[str]:
    for rule in block.protection:
        lost = [name for name, asked in (("signed", rule.signed), ("noDelete: false", not rule.no_delete)) if asked]
        if lost:
            yield f"protection of {rule.branch}: {', '.join(lost)} isn't set on GitLab"
        if rule.reviews:
            yield (
                f"protection of {rule.branch}: nobody pushes to it, but the number of approvals isn't set: "
                "GitLab has that in its Premium tier"
            )
        if len(rule.required_checks):
            yield (
                f"protection of {rule.branch}: requiredChecks asks for a good pipeline before every merge of the "
                "project; GitLab knows no single checks"
            )
        if rule.linear_history:
            yield f"protection of {rule.branch}: linearHistory is of the whole project on GitLab (fast-forward only)"
    for one in block.environments:
        if one.reviewers or one.branches or one.wait_minutes:
            yield (
                f"environment {one.name} is made, but reviewers, branches and waitMinutes aren't set: "
                "GitLab has protected environments in its Premium tier"
            )


_LACKING = {"gitea": _gitea, "gitlab": _gitlab}
