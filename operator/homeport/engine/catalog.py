"""What the catalog makes of applications: rendered in the worker process, once for each digest, before planning."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from homeport.api.application import ApplicationSpec
from homeport.api.component import Component
from homeport.api.resource import InvalidSpec
from homeport.drivers import catalog as driver
from homeport.plan import catalog, render
from homeport.plan.catalog import Expansion, Items, Request, Result

RESULTS = 4096
EXPANSIONS = 2048


class Renders(Protocol):
    """Renders templates; blocks."""

    def render(self, request: Request) -> list[dict[str, Any]]:
        """Raises ``RenderFailed`` for a template that can't be rendered."""
        ...


def from_folders() -> Items:
    """The items of our own folder and of HOMEPORT_CATALOG."""
    return driver.load(driver.folders())


class Catalog:
    """The catalog as an operator or a command line uses it. Nothing is loaded or started before it is needed."""

    def __init__(self, load: Callable[[], Items] = from_folders, renderer: Renders | None = None) -> None:
        self._load = load
        self._renderer = renderer or driver.Renderer()
        self._items: Items | None = None
        self._results: OrderedDict[str, Result] = OrderedDict()
        self._expansions: OrderedDict[int, tuple[ApplicationSpec, Expansion]] = OrderedDict()

    @property
    def items(self) -> Items:
        """All items."""
        if self._items is None:
            self._items = self._load()
        return self._items

    async def expansion(self, spec: ApplicationSpec) -> Expansion | None:
        """What the catalog makes of ``spec``; None when it asks for nothing of it."""
        if not render.uses_catalog(spec):
            return None
        known = self._expansions.get(id(spec))
        if known is not None and known[0] is spec:
            self._expansions.move_to_end(id(spec))
            return known[1]
        missing = [pair for pair in _wanted(spec) if catalog.key(*pair) not in self._results]
        if missing or self._items is None:
            await asyncio.to_thread(self._resolve_all, missing)
        return self._expansion(spec)

    def expansion_now(self, spec: ApplicationSpec) -> Expansion | None:
        """As ``expansion``, for whoever may block."""
        if not render.uses_catalog(spec):
            return None
        self._resolve_all(_wanted(spec))
        return self._expansion(spec)

    def _expansion(self, spec: ApplicationSpec) -> Expansion:
        results = {}
        for pair in _wanted(spec):
            key = catalog.key(*pair)
            # Another application's may have pushed it out meanwhile.
            found = self._results.get(key) or self.resolve(*pair)
            results[key] = found
        expansion = Expansion(results)
        self._expansions[id(spec)] = spec, expansion
        while len(self._expansions) > EXPANSIONS:
            self._expansions.popitem(last=False)
        return expansion

    def _resolve_all(self, wanted: Iterable[tuple[Component, str]]) -> None:
        for pair in wanted:
            self.resolve(*pair)

    def resolve(self, component: Component, prefix: str) -> Result:
        """What the catalog makes of one component: rendered now, unless that is known. Blocks."""
        key = catalog.key(component, prefix)
        known = self._results.get(key)
        if known is not None:
            return known
        assert component.catalog is not None
        try:
            request = catalog.request(self.items, component, prefix)
            result = Result(tuple(self._renderer.render(request)))
        except InvalidSpec as error:
            result = Result(problems=error.problems)
        except driver.RenderFailed as error:
            where = f"spec.components[{component.name}].catalog"
            result = Result(problems=(f"{where}: item {component.catalog.name} can't be rendered: {error}",))
        self._results[key] = result
        while len(self._results) > RESULTS:
            self._results.popitem(last=False)
        return result


def _wanted(spec: ApplicationSpec) -> list[tuple[Component, str]]:
    prefix = spec.name_prefix or ""
    return [(component, prefix) for component in render.catalog_components(spec)]
