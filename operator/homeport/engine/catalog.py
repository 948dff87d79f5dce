"""What the catalog makes of applications: rendered in the worker process, once for each digest, before planning."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from homeport.api.application import ApplicationSpec
from homeport.api.component import Component
from homeport.api.resource import InvalidSpec
from homeport.drivers import catalog as driver
from homeport.engine.catalogitems import CatalogItems
from homeport.outcome import Transient, Wait
from homeport.plan import catalog, render
from homeport.plan.catalog import Entry, Expansion, Items, Request, Result

RESULTS = 4096
EXPANSIONS = 2048


class Renders(Protocol):
    """Renders templates; blocks."""

    def render(self, request: Request) -> list[dict[str, Any]]:
        """Raises ``RenderFailed`` for a template that can't be rendered."""
        ...

    def check(self, schema: Mapping[str, Any]) -> str:
        """What is wrong with a JSON schema; empty when nothing is."""
        ...

    def compile(self, templates: Mapping[str, str]) -> str:
        """What is wrong with templates before they are given values; empty when nothing is."""
        ...


def from_folders() -> Items:
    """The items of our own folder and of HOMEPORT_CATALOG."""
    return driver.load(driver.folders())


@dataclass(frozen=True)
class _Sought:
    """One component's item: its entry, or why there is none."""

    component: Component
    prefix: str
    entry: Entry | None = None
    problems: tuple[str, ...] = ()
    waits: str = ""
    source: str = ""
    """Project, Shared or BuiltIn; empty when there is none."""
    unknown: bool = False
    """Whether no item has the name."""

    @property
    def stamp(self) -> tuple[str, ...]:
        """What the expansion depends on, beside the application's spec."""
        told = (self.entry.digest,) if self.entry is not None else (self.waits, *self.problems)
        return (self.source, *told)

    @property
    def key(self) -> str:
        """What its result is kept under."""
        assert self.entry is not None
        return f"{catalog.key(self.component, self.prefix)}@{self.entry.digest}"


class Catalog:
    """The catalog as an operator or a command line uses it. Nothing is loaded or started before it is needed."""

    def __init__(self, load: Callable[[], Items] = from_folders, renderer: Renders | None = None) -> None:
        self._load = load
        self.renderer = renderer or driver.Renderer()
        self._items: Items | None = None
        self._results: OrderedDict[str, Result] = OrderedDict()
        self._expansions: OrderedDict[int, tuple[ApplicationSpec, tuple[object, ...], Expansion]] = OrderedDict()
        self.cluster: CatalogItems | None = None
        """Items that are objects in the cluster; they come before those of folders."""

    @property
    def items(self) -> Items:
        """All items of folders."""
        if self._items is None:
            self._items = self._load()
        return self._items

    async def expansion(self, spec: ApplicationSpec, namespace: str = "") -> Expansion | None:
        """What the catalog makes of ``spec`` in a project; None when it asks for nothing of it."""
        if not render.uses_catalog(spec):
            return None
        wanted = _wanted(spec)
        if self.cluster is not None and any(self._in_cluster(component, namespace) for component, _ in wanted):
            sought = await self.cluster.aside(self._sought, wanted, namespace)
        elif self._items is None:
            sought = await asyncio.to_thread(self._sought, wanted, namespace)
        else:
            sought = self._sought(wanted, namespace)
        known = self._known(spec, sought)
        if known is not None:
            return known
        missing = [each for each in sought if each.entry is not None and each.key not in self._results]
        if missing:
            await asyncio.to_thread(self._resolve_all, missing)
        return self._expansion(spec, sought)

    def expansion_now(self, spec: ApplicationSpec, namespace: str = "") -> Expansion | None:
        """As ``expansion``, for whoever may block."""
        if not render.uses_catalog(spec):
            return None
        sought = self._sought(_wanted(spec), namespace)
        return self._known(spec, sought) or self._expansion(spec, sought)

    def unknown(self, spec: ApplicationSpec, namespace: str = "") -> list[str]:
        """What to say of the items that ``spec`` names and that there aren't."""
        sought = self._sought(_wanted(spec), namespace)
        return list(dict.fromkeys(problem for each in sought if each.unknown for problem in each.problems))

    def _known(self, spec: ApplicationSpec, sought: Sequence[_Sought]) -> Expansion | None:
        known = self._expansions.get(id(spec))
        if known is None or known[0] is not spec or known[1] != tuple(each.stamp for each in sought):
            return None
        self._expansions.move_to_end(id(spec))
        return known[2]

    def _expansion(self, spec: ApplicationSpec, sought: Sequence[_Sought]) -> Expansion:
        results = {catalog.key(each.component, each.prefix): self._result(each) for each in sought if not each.waits}
        sources = {
            each.component.catalog.name: each.source for each in sought if each.component.catalog and each.source
        }
        runtimes = {each.entry.item.name: each.entry.item.runtimes for each in sought if each.entry is not None}
        waits = tuple(dict.fromkeys(each.waits for each in sought if each.waits))
        expansion = Expansion(results, waits, sources, runtimes)
        self._expansions[id(spec)] = spec, tuple(each.stamp for each in sought), expansion
        while len(self._expansions) > EXPANSIONS:
            self._expansions.popitem(last=False)
        return expansion

    def _in_cluster(self, component: Component, namespace: str) -> bool:
        assert component.catalog is not None
        return self.cluster is not None and self.cluster.has(namespace, component.catalog.name)

    def _sought(self, wanted: Iterable[tuple[Component, str]], namespace: str) -> list[_Sought]:
        return [self._seek(component, prefix, namespace) for component, prefix in wanted]

    def _seek(self, component: Component, prefix: str, namespace: str) -> _Sought:
        """The item that a component names. May block."""
        assert component.catalog is not None
        out, name = _Sought(component, prefix), component.catalog.name
        found, source = self.cluster.find(namespace, name) if self.cluster is not None else (None, "")
        out = replace(out, source=source)
        if isinstance(found, Entry):
            return replace(out, entry=found)
        if isinstance(found, Wait | Transient):
            return replace(out, waits=found.message)
        if found is not None:
            return replace(out, problems=(f"spec.components[{component.name}].catalog: {found.message}",))
        items = self.items
        if name not in items.entries:
            more = tuple(self.cluster.names(namespace)) if self.cluster is not None else ()
            told = catalog.no_item(replace(items, elsewhere=more), name, f"spec.components[{component.name}]")
            return replace(out, problems=(told,), unknown=True)
        return replace(out, entry=items.entries[name], source="BuiltIn")

    def _resolve_all(self, sought: Iterable[_Sought]) -> None:
        for each in sought:
            self._result(each)

    def _result(self, sought: _Sought) -> Result:
        """What the catalog makes of one component: rendered now, unless that is known. Blocks."""
        if sought.entry is None:
            return Result(problems=sought.problems)
        known = self._results.get(sought.key)
        if known is not None:
            return known
        component = sought.component
        assert component.catalog is not None
        try:
            request = catalog.request(sought.entry, component, sought.prefix)
            result = Result(tuple(self.renderer.render(request)))
        except InvalidSpec as error:
            result = Result(problems=error.problems)
        except driver.RenderFailed as error:
            where = f"spec.components[{component.name}].catalog"
            result = Result(problems=(f"{where}: item {component.catalog.name} can't be rendered: {error}",))
        self._results[sought.key] = result
        while len(self._results) > RESULTS:
            self._results.popitem(last=False)
        return result


def _wanted(spec: ApplicationSpec) -> list[tuple[Component, str]]:
    prefix = spec.name_prefix or ""
    return [(component, prefix) for component in render.catalog_components(spec)]
