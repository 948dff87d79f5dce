"""Sizes as PVE spells them: disks as ``8G``, memory in MiB, new volumes in GiB.

Sources: pve-common ``JSONSchema.pm`` (``parse_size``, ``format_size``: the largest unit that divides it, K to T, each
1024 of the one before) and pve-container ``LXC.pm`` (``$NEW_DISK_RE``: ``storage:GiB``).
"""

from __future__ import annotations

import re
from fractions import Fraction

from homeport.plan import quantities

KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40
DEFAULT_MEMORY = "512Mi"
"""A container's memory when nobody says, and its swap (pve-container ``LXC/Config.pm``)."""
_UNITS = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": TIB}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT])?")


def parse(text: str) -> int:
    """``8G`` in bytes; a part of a byte is cut off, as PVE does. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} isn't a size; PVE writes 8G, 512M or a number of bytes")
    return int(Fraction(match[1]) * _UNITS[match[2] or ""])


def render(size: int) -> str:
    """Bytes as PVE writes them back: ``8G``, ``1536M``, ``1000``. Raises ValueError for less than 0."""
    if size < 0:
        raise ValueError(f"a size can't be {size} bytes")
    for unit in ("T", "G", "M", "K"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)


def of_quantity(quantity: str) -> int:
    """A Kubernetes quantity such as ``8Gi`` in bytes, rounded up. Raises ValueError when it isn't one."""
    return -(-quantities.nanos(quantity) // 10**9)


def mebibytes(quantity: str) -> int:
    """A Kubernetes quantity in MiB, rounded up: what ``memory`` and ``swap`` take. Raises ValueError."""
    return -(-of_quantity(quantity) // MIB)


def new_volume(storage: str, quantity: str) -> str:
    """What makes PVE allocate a volume: ``local-lvm:8``, in GiB. Raises ValueError.

    Rounded up to a whole MiB: PVE cuts off what is less (pve-container ``LXC.pm``, ``create_disks``).
    """
    whole, rest = divmod(mebibytes(quantity), 1024)
    if not rest:
        return f"{storage}:{whole}"
    # Thousand-and-twenty-fourths: ten decimals are exact.
    digits = f"{rest * 10**10 // 1024:010d}".rstrip("0")
    return f"{storage}:{whole}.{digits}"


def quantity(size: int) -> str:
    """Bytes as a Kubernetes quantity: ``8Gi``; what isn't whole in any unit stays a number."""
    for unit, factor in (("Ti", TIB), ("Gi", GIB), ("Mi", MIB), ("Ki", KIB)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)
