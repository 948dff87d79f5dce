"""What a CatalogItem comes to: nothing is made of it; it is proven, and its status says what it offers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from homeport.api import labels
from homeport.api.catalog import ItemVersion
from homeport.api.environment import EnvironmentSpec
from homeport.api.resource import InvalidSpec, Resource, parse, parse_spec
from homeport.outcome import Ok, Outcome
from homeport.plan import catalog, render
from homeport.plan.catalog import Entry, Expansion, Raw, Request, Result
from homeport.plan.types import Place


@dataclass(frozen=True)
class Offer:
    """What is known of a CatalogItem: its entry, or why it can't be used."""

    uid: str
    generation: int
    entry: Entry | None = None
    outcome: Outcome = field(default_factory=Ok)
    revision: str = ""
    """For Git: what is in use."""
    commit: str = ""

    @property
    def says(self) -> tuple[str, str]:
        """What applications that name it depend on."""
        return (self.entry.digest, "") if self.entry is not None else ("", self.outcome.message)


def trial(entry: Entry, version: ItemVersion) -> Request:
    """The rendering by which one version is proven: defaults, and examples of what has none."""
    context = catalog.context(entry.item, version, entry.item.name)
    return Request(entry, context, {}, "values", examples=True)


def prove(entry: Entry, version: ItemVersion, made: Sequence[Raw]) -> None:
    """Hold what came of a trial against all that an application's components are held to. Raises InvalidSpec."""
    name = entry.item.name
    part = {"name": name, "catalog": {"name": name, "version": version.name}}
    body = {
        "apiVersion": labels.API_VERSION,
        "kind": "Application",
        "metadata": {"name": name, "namespace": "proof"},
        "spec": {"version": "1.0.0", "components": [part]},
    }
    app = parse(body)
    (component,) = app.spec.components
    expansion = Expansion({catalog.key(component, ""): Result(tuple(made))})
    render.check(app.spec, expansion)
    level = parse_spec(EnvironmentSpec, {"podSecurity": entry.item.pod_security})
    try:
        render.render(app, Place("proof", "live", "proof-live", level), catalog=expansion)
    except InvalidSpec as error:
        about = f"with podSecurity: {entry.item.pod_security}, which it says of itself"
        raise InvalidSpec([f"{problem} ({about})" for problem in error.problems]) from None


def status(resource: Resource[Any], offer: Offer) -> tuple[dict[str, Any], Outcome]:
    """The item's own fields; those of the last good one while a new one can't be had."""
    if offer.entry is None:
        return {}, offer.outcome
    item = offer.entry.item
    fields: dict[str, Any] = {
        "title": item.title,
        "category": item.category,
        "versions": [version.name for version in item.versions],
        "podSecurity": item.pod_security,
        "digest": offer.entry.digest,
    }
    if offer.revision:
        fields["lastFetchedRevision"] = offer.revision
    return fields, offer.outcome
