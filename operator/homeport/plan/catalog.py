"""From a component that names a catalog item to the components that the item makes of its values. Pure.

Rendering templates takes a bounded worker process, so it happens before planning: ``request`` says what is to be
rendered, the engine has it rendered (once per digest), and ``Expansion`` puts the answers where they belong.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from homeport.api import labels
from homeport.api.catalog import Item, ItemVersion
from homeport.api.component import Component
from homeport.api.resource import InvalidSpec, parse_spec
from homeport.plan import names, overrides

Raw = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """An item with all that its folder holds."""

    item: Item
    schema: Mapping[str, Any]
    templates: Mapping[str, str]
    digest: str
    source: str = ""
    """Where it comes from, for people."""


@dataclass(frozen=True)
class Items:
    """The catalog. ``broken`` are items that can't be used, and why."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    elsewhere: tuple[str, ...] = ()
    """Names that there are beside these, for whoever has mistyped one."""


@dataclass(frozen=True)
class Request:
    """One rendering: an item's templates and what they see; ``values`` are still to be held against the schema."""

    entry: Entry
    context: Mapping[str, Any]
    values: Mapping[str, Any] = field(default_factory=dict)
    path: str = "values"
    """Where the values are written."""
    examples: bool = False
    """Whether what is required and has no default may be taken from the schema's examples."""

    def as_json(self) -> Raw:
        """As the worker process reads it."""
        return {
            "templates": dict(self.entry.templates),
            "schema": self.entry.schema,
            "item": self.entry.item.name,
            "context": self.context,
            "values": self.values,
            "path": self.path,
            "examples": self.examples,
        }


@dataclass(frozen=True)
class Result:
    """What came of a request: components as plain data, or what is wrong."""

    components: tuple[Raw, ...] = ()
    problems: tuple[str, ...] = ()


def key(component: Component, prefix: str) -> str:
    """What the result for ``component`` depends on, beside the catalog itself."""
    item = component.catalog
    assert item is not None
    return names.digest_of([item.name, item.version, component.values or {}, component.name, prefix])


def request(entry: Entry, component: Component, prefix: str) -> Request:
    """What has to be rendered for ``component``. Raises InvalidSpec: no such version."""
    wanted = component.catalog
    assert wanted is not None
    path = f"spec.components[{component.name}]"
    version = entry.item.version(wanted.version)
    if version is None:
        versions = [v.name for v in entry.item.versions]
        near = difflib.get_close_matches(str(wanted.version), versions, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        told = f"{wanted.name} has no version {wanted.version!r}; {hint}write one of {', '.join(versions)}"
        raise InvalidSpec([f"{path}.catalog.version: {told}"])
    return Request(
        entry, context(entry.item, version, component.name, prefix), component.values or {}, f"{path}.values"
    )


def context(item: Item, version: ItemVersion, name: str, prefix: str = "") -> Raw:
    """What templates see, without the values."""
    described = item.model_dump(by_alias=True, exclude_none=True, mode="json")
    return {
        "name": name,
        "host": f"{prefix}{name}",
        "version": version.name,
        "image": version.image,
        "images": dict(version.images or {}),
        "resources": described.get("resources", {}),
        "ports": described.get("ports", []),
        "health": described.get("health", {}),
    }


def no_item(items: Items, name: str, path: str) -> str:
    """What to say of a name that no item has."""
    if name in items.broken:
        return f"{path}.catalog.name: the catalog's item {name} can't be used: {items.broken[name]}"
    known = sorted({*items.entries, *items.elsewhere})
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    there = ", ".join(known[:40]) or "nothing"
    more = f" and {len(known) - 40} more; see `homeport catalog list`" if len(known) > 40 else ""
    return f"{path}.catalog.name: the catalog has no item {name!r}; {hint}there is {there}{more}"


@dataclass(frozen=True)
class Expansion:
    """The answers to all that one application asks of the catalog, by ``key``."""

    results: Mapping[str, Result]
    waits: tuple[str, ...] = ()
    """Items that there are and that aren't known yet."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """By item's name: Project, Shared or BuiltIn; only of items that are there."""
    runtimes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By item's name: where it runs; only of items that are there."""

    def __call__(self, component: Component, prefix: str) -> tuple[Component, ...]:
        """The components that ``component`` stands for, its own first. Raises InvalidSpec."""
        result = self.results.get(key(component, prefix))
        assert component.catalog is not None
        if result is None:
            raise InvalidSpec(
                [f"spec.components[{component.name}].catalog: {component.catalog.name} hasn't been rendered"]
            )
        if result.problems:
            raise InvalidSpec(result.problems)
        return assembled(component, result.components)


def assembled(component: Component, made: Sequence[Raw]) -> tuple[Component, ...]:
    """The item's components; what stands beside ``catalog`` wins over the main one's fields. Raises InvalidSpec."""
    assert component.catalog is not None
    item, path = component.catalog.name, f"spec.components[{component.name}]"
    mains = [raw for raw in made if raw["name"] == component.name]
    strange = [raw["name"] for raw in made if raw["name"] != component.name]
    strange = [name for name in strange if not name.startswith(f"{component.name}-")]
    if len(mains) != 1 or strange:
        told = f"{len(mains)} components called {component.name}" if len(mains) != 1 else f"a component {strange[0]}"
        raise InvalidSpec(
            [
                f"{path}.catalog: the templates of {item} make {told}; one must have the component's own name, "
                "further ones <name>-<part>"
            ]
        )
    beside = component.model_dump(by_alias=True, exclude_unset=True, mode="json")
    if beside.get("type") == "service":
        # The API server fills in this default, so it can't be told from what somebody wrote.
        del beside["type"]
    beside = {field: value for field, value in beside.items() if field not in ("name", "catalog", "values")}
    main = overrides.merged(mains[0], beside, overrides.component_schema())
    out = [parse_spec(Component, main, path)]
    for raw in made:
        if raw is not mains[0]:
            out.append(parse_spec(Component, raw, f"spec.components[{raw['name']}] (made by catalog item {item})"))
    return tuple(out)


SOURCES = ("Project", "Shared", "BuiltIn")
"""Where items come from; who is first hides the others."""


def swapped(project: str, before: Mapping[str, str], now: Mapping[str, str], accepted: str = "") -> tuple[str, ...]:
    """What to say of items that would come from elsewhere than ``before``: other software under the same name.

    ``accepted`` is what the annotation homeport.dev/catalog-source says, as item=source, ….
    """
    agreed = {part.strip() for part in accepted.split(",")}
    out = []
    for name, source in sorted(now.items()):
        was = before.get(name, source)
        if was == source or f"{name}={source}" in agreed:
            continue
        told = f"catalog item {name} came from {_place(project, name, was)} and would now come from "
        told += f"{_place(project, name, source)}, so nothing is changed; "
        hides = SOURCES.index(source) < SOURCES.index(was)
        told += "delete that one or name it otherwise" if hides else "bring the first back"
        told += f", name another item, or accept it with the annotation {labels.CATALOG_SOURCE}: {name}={source}"
        out.append(told)
    return tuple(out)


def _place(project: str, name: str, source: str) -> str:
    if source == "BuiltIn":
        return "the operator's own folders"
    return f"CatalogItem {project}/{name}" if source == "Project" else f"CatalogItem {name} of the operator's namespace"


def split(override: Mapping[str, Any]) -> tuple[Raw, Raw]:
    """An override's part that is about the item (which one, its values), and the rest, which is about what it makes."""
    first: Raw = {field: override[field] for field in ("catalog", "values") if field in override}
    rest: Raw = {field: value for field, value in override.items() if field not in first and field != "without"}
    without: Iterable[str] = override.get("without") or ()
    of_item = [entry for entry in without if str(entry).partition(".")[0] in ("catalog", "values")]
    of_rest = [entry for entry in without if entry not in of_item]
    if of_item:
        first["without"] = of_item
    if of_rest:
        rest["without"] = of_rest
    return first, rest
