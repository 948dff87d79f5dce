"""placeholder"""
from __future__ import annotations
def patched(children, entry): return children  # type: ignore
def problems(entry): return []  # type: ignore
