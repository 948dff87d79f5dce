"""Items from folders: ``<item>/item.yaml``, ``values.schema.json`` and ``templates/*.yaml.j2``.

Read once, when they are first asked for. An item that can't be used doesn't take the others with it: whoever names it
is told why.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import homeport
from homeport.api.resource import InvalidSpec
from homeport.plan import items
from homeport.plan.catalog import Entry, Items
from homeport.plan.templates import SUFFIX

FOLDERS_VARIABLE = "HOMEPORT_CATALOG"
"""More folders with items, separated as in PATH; a later one wins over an earlier, and all over our own."""


def folders() -> list[Path]:
    """Our own items (in the package, or in the checkout that it is run from), then those of ``HOMEPORT_CATALOG``."""
    package = Path(homeport.__file__).resolve().parent
    own = next((path for path in (package / "catalog", package.parents[1] / "catalog") if path.is_dir()), None)
    more = [Path(part) for part in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if part]
    return [*([own] if own is not None else []), *more]


def load(where: Iterable[Path]) -> Items:
    """Every item in the folders ``where``."""
    entries: dict[str, Entry] = {}
    broken: dict[str, str] = {}
    for folder in where:
        for path in sorted(folder.glob("*/item.yaml")):
            name = path.parent.name
            entries.pop(name, None)
            broken.pop(name, None)
            try:
                entries[name] = load_entry(path.parent)
            except (InvalidSpec, OSError) as error:
                broken[name] = str(error)
    return Items(entries, broken)


def load_entry(folder: Path) -> Entry:
    """The item in ``folder``. Raises InvalidSpec with what is wrong in which file."""
    paths = [folder / items.ITEM, folder / items.SCHEMA, *sorted((folder / items.TEMPLATES).glob(f"*{SUFFIX}"))]
    files = {path.relative_to(folder).as_posix(): _read(path) for path in paths if path.exists()}
    return items.from_files(folder.name, files, str(folder))


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        # One byte more than is allowed is enough to know that it is too large.
        return file.read(items.FILE_LIMIT + 1)
