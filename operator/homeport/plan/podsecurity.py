"""placeholder"""
from __future__ import annotations
def enforce(children, place): ...  # type: ignore
