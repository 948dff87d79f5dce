"""Licences of what the operator's image carries: which are allowed, and what isn't.

Python's packages are part of one program with ours, so their licences are held against a list. Debian's packages are
programs and libraries beside it: free by Debian's guidelines, of which AGPL is refused all the same.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from license_expression import ExpressionError, Licensing, get_spdx_licensing

from localplane.tools import CHECKOUT

LOCK = CHECKOUT / "operator/requirements.lock"
ALLOWED = frozenset(
    {
        "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "EPL-2.0", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0",
        "Python-2.0", "Unlicense", "Zlib",
    }
)  # fmt: skip
"""EPL-2.0 and MPL-2.0 ask for their own files' source only, which wheels carry."""
# What packages write that isn't an SPDX expression.
NAMES = {
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
# What is only said in a file of theirs, which was read: "BSD" has several meanings.
READ = {"cronsim": "BSD-3-Clause", "google-re2": "BSD-3-Clause", "jinja2": "BSD-3-Clause"}


@functools.cache
def _spdx() -> Licensing:
    return get_spdx_licensing()


def locked(lock: Path = LOCK) -> list[str]:
    """The names in a lock."""
    return re.findall(r"^([A-Za-z0-9_.-]+)==", lock.read_text(), re.MULTILINE)


def of_package(name: str, metadata: Mapping[str, str]) -> str:
    """A package's licence as an SPDX expression; empty when it says none that can be read."""
    if name in READ:
        return READ[name]
    found: list[str] = getattr(metadata, "get_all", lambda key: [])("Classifier") or []
    classifiers = [text.split(" :: ")[-1] for text in found if text.startswith("License ::")]
    for text in (metadata.get("License-Expression"), metadata.get("License"), *classifiers):
        expression = NAMES.get(text or "", text or "")
        if expression and not unknown(expression):
            return expression
    return ""


def unknown(expression: str) -> bool:
    """Whether that isn't an SPDX expression."""
    try:
        return not expression or bool(_spdx().validate(expression).errors)
    except ExpressionError:
        return True


def allowed(expression: str) -> bool:
    """Whether one may take it by licences of the list alone: all that are joined by AND, one of those joined by OR."""
    licensing = _spdx()
    parsed = licensing.parse(expression)
    values = {symbol: symbol.key in ALLOWED for symbol in parsed.symbols}
    truth = {True: licensing.TRUE, False: licensing.FALSE}
    return bool(parsed.subs({symbol: truth[value] for symbol, value in values.items()}).simplify() == licensing.TRUE)


def refused(names: Iterable[str]) -> list[str]:
    """What is wrong with Python packages that are installed here, for people."""
    out = []
    for name in names:
        try:
            metadata = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            out.append(f"{name} is in the lock and isn't installed: run `make lock`, then any target")
            continue
        expression = of_package(name, metadata)  # type: ignore[arg-type]
        if not expression:
            out.append(f"{name} doesn't say its licence in a way that can be read; read it, and write it into READ")
        elif not allowed(expression):
            out.append(f"{name} is {expression}, which isn't in ALLOWED; take another package")
    return out


def of_debian(copyright_file: str) -> list[str]:
    """The licences that a package's machine-readable copyright file names; of others nothing.

    https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
    """
    if not copyright_file.startswith("Format:"):
        return []
    return sorted({line.strip() for line in re.findall(r"^License:[ \t]*(\S.*)$", copyright_file, re.MULTILINE)})
