"""What of a component that somebody else wrote is followed: nothing that reaches out of its own namespace. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from homeport.plan import names

COMMIT = "PREVIEW_COMMIT"
"""The variable with the pull request's newest commit."""


@dataclass(frozen=True)
class Limits:
    """What a preview may use."""

    number: int
    commit: str
    domain: str
    """The template's; empty when it has none: then nothing leads to a preview from outside."""
    secrets: frozenset[str]
    fork: bool = False


def component(part: Mapping[str, Any], limits: Limits, made: frozenset[str], notes: list[str]) -> dict[str, Any]:
    """A component, or what an override says of one, as it is in a preview. ``made``: Secrets that it makes itself.

    What isn't followed is said in ``notes``. Raises TypeError, AttributeError, KeyError or ValueError for what
    can't be read.
    """
    out = dict(part)
    name = str(out.get("name") or "")
    of = f" (component {name})" if name else ""
    if account := out.pop("serviceAccountName", None):
        notes.append(f"the service account {account} isn't given to previews{of}")
    pulling = [ref for ref in out.pop("imagePullSecrets", None) or () if _allowed(ref, limits, notes, of)]
    if pulling:
        out["imagePullSecrets"] = pulling
    if limits.fork and out.pop("egress", None):
        notes.append(f"egress to private networks isn't opened for forks{of}")
    for secret in sorted(set(_secrets(out)) - limits.secrets - made):
        notes.append(f"Secret {secret} isn't on the list of environment.secrets, so it waits for one of that name{of}")
    if out.get("image"):
        # The version is for images that were released; a pull request's is built of its commit.
        image = names.image(str(out["image"]), limits.commit)
        if name and image != out["image"] and not any(entry["name"] == COMMIT for entry in out.get("env") or ()):
            # It rolls with each commit in any case; an override is of a component that has it.
            out["env"] = [*(out.get("env") or ()), {"name": COMMIT, "value": limits.commit}]
        out["image"] = image
    if out.get("routes"):
        out["routes"] = _routes(out["routes"], limits, notes, of)
    return out


def _allowed(ref: Mapping[str, Any], limits: Limits, notes: list[str], of: str) -> bool:
    if ref["name"] in limits.secrets:
        return True
    notes.append(f"Secret {ref['name']} to pull images with isn't on the list of environment.secrets{of}")
    return False


def _routes(routes: list[Mapping[str, Any]], limits: Limits, notes: list[str], of: str) -> list[dict[str, Any]]:
    if not limits.domain:
        notes.append(f"its routes are left out, as the template has no ingress.domain{of}")
        return []
    return [{**{k: v for k, v in route.items() if k != "host"}, **_host(route, limits)} for route in routes]


def _host(route: Mapping[str, Any], limits: Limits) -> dict[str, str]:
    """``admin.example.com`` is ``admin-pr-7.<domain>``: one wildcard is good for all previews."""
    label = str(route.get("host") or "").partition(".")[0]
    return {"host": f"{label}-pr-{limits.number}.{limits.domain}"} if label not in ("", "*") else {}


def _secrets(part: Any) -> Iterator[str]:
    """The names of all Secrets that something refers to."""
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key in ("secretKeyRef", "secretRef") and isinstance(value, Mapping) and value.get("name"):
                yield str(value["name"])
            else:
                yield from _secrets(value)
    elif isinstance(part, list):
        for value in part:
            yield from _secrets(value)
