"""From a component that names a catalog item to the components that the item makes of its values. Pure.

Rendering templates takes a bounded worker process, so it happens before planning: ``request`` says what is to be
rendered, the engine has it rendered (once per digest), and ``Expansion`` puts the answers where they belong.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from homeport.api.catalog import Item
from homeport.api.component import Component
from homeport.api.resource import InvalidSpec, parse_spec
from homeport.plan import names, overrides, values

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


@dataclass(frozen=True)
class Request:
    """One rendering: an item's templates and what they see."""

    entry: Entry
    context: Mapping[str, Any]


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


def request(items: Items, component: Component, prefix: str) -> Request:
    """What has to be rendered for ``component``. Raises InvalidSpec: no such item or version, values that don't fit."""
    wanted = component.catalog
    assert wanted is not None
    path = f"spec.components[{component.name}]"
    entry = items.entries.get(wanted.name)
    if entry is None:
        raise InvalidSpec([_no_item(items, wanted.name, path)])
    version = entry.item.version(wanted.version)
    if version is None:
        known = ", ".join(v.name for v in entry.item.versions)
        raise InvalidSpec(
            [f"{path}.catalog.version: {wanted.name} has no version {wanted.version!r}; write one of {known}"]
        )
    problems = values.problems(entry.schema, component.values or {}, f"{path}.values", wanted.name)
    if problems:
        raise InvalidSpec(problems)
    settings = values.filled(entry.schema, component.values or {})
    described = entry.item.model_dump(by_alias=True, exclude_none=True, mode="json")
    image = settings.get("image") or version.image
    context = {
        "name": component.name,
        "host": f"{prefix}{component.name}",
        "version": version.name,
        "image": image,
        "images": dict(version.images or {}),
        "values": settings,
        "resources": described.get("resources", {}),
        "ports": described.get("ports", []),
        "health": described.get("health", {}),
    }
    return Request(entry, context)


def _no_item(items: Items, name: str, path: str) -> str:
    if name in items.broken:
        return f"{path}.catalog.name: the catalog's item {name} can't be used: {items.broken[name]}"
    near = difflib.get_close_matches(name, items.entries, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    there = ", ".join(sorted(items.entries)[:40]) or "nothing"
    more = f" and {len(items.entries) - 40} more; see `homeport catalog list`" if len(items.entries) > 40 else ""
    return f"{path}.catalog.name: the catalog has no item {name!r}; {hint}there is {there}{more}"


@dataclass(frozen=True)
class Expansion:
    """The answers to all that one application asks of the catalog, by ``key``."""

    results: Mapping[str, Result]

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
