"""Quantities in the API server's own form. The expected ones were read back from a real one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.plan import quantities


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1", "1"),
        ("1000", "1k"),
        ("1500", "1500"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("0.1Gi", "107374182400m"),
        ("0.5Ki", "512"),
        ("1024", "1024"),
        ("2048k", "2048k"),
        ("0", "0"),
        ("0Gi", "0"),
        ("100u", "100u"),
        ("1e3", "1e3"),
        ("1E", "1E"),
        ("0.0000000001", "1n"),
    ],
)
def test_canonical(text: str, expected: str) -> None:
    assert quantities.canonical(text) == expected


@pytest.mark.parametrize("text", ["", "x", "1 Gi", "Gi", "1gi", "1.2.3", "--1"])
def test_what_isnt_one(text: str) -> None:
    with pytest.raises(ValueError, match="isn't a quantity"):
        quantities.canonical(text)


@given(st.from_regex(r"\A[0-9]{1,6}([.][0-9]{1,3})?(m|k|M|G|Ki|Mi|Gi)?\Z"))
def test_canonical_is_stable_and_keeps_the_amount(text: str) -> None:
    once = quantities.canonical(text)
    assert quantities.canonical(once) == once
    assert quantities.nanos(once) == quantities.nanos(text)
