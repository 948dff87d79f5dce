"""What an account did, by the API server's audit log, held against what its roles let it do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Right(NamedTuple):
    """One verb on one resource (with its subresource) of one API group; ``name`` where a rule names objects."""

    verb: str
    group: str
    resource: str
    name: str = ""

    def __str__(self) -> str:
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {resource}" + (f" {self.name}" if self.name else "")


class Asked(NamedTuple):
    """One right that a request needed, and whether the authorizer let it through."""

    right: Right
    allowed: bool
    what: str


def granted(rules: Iterable[Mapping[str, Any]]) -> set[Right]:
    """Every right in a role's rules."""
    return {
        Right(verb, group, resource, name)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames") or ("",)
    }


def asked(log: Path, user: str) -> Iterator[Asked]:
    """What an account's requests needed."""
    with log.open("rb") as lines:
        for line in lines:
            entry = json.loads(line)
            if entry["user"]["username"] == user and entry.get("objectRef"):
                yield from _needed(entry)


def _needed(entry: Mapping[str, Any]) -> Iterator[Asked]:
    reference, code = entry["objectRef"], entry.get("responseStatus", {}).get("code", 0)
    resource = "/".join(filter(None, (reference.get("resource", ""), reference.get("subresource"))))
    name = reference.get("name", "")
    decision = (entry.get("annotations") or {}).get("authorization.k8s.io/decision")
    message = str(entry.get("responseStatus", {}).get("message", ""))
    what = f"{entry['verb']} {entry['requestURI'].partition('?')[0]}: {code} {message}"
    acting = (entry.get("impersonatedUser") or {}).get("username", "")
    if acting:
        yield Asked(Right("impersonate", "", "serviceaccounts"), True, what)
        return
    if "cannot impersonate" in message:
        yield Asked(Right("impersonate", "", "serviceaccounts"), False, what)
        return
    right = Right(entry["verb"], reference.get("apiGroup", ""), resource)
    # Beyond the authorizer: binding a role, or making an object by a patch, is asked for inside of the request.
    inside = code == 403 and ("attempting to grant" in message or "cannot create resource" in message)
    yield Asked(right, decision != "forbid" and not inside, what)
    if entry["verb"] == "patch" and code == 201:
        yield Asked(right._replace(verb="create"), True, f"{what} ({name})")
