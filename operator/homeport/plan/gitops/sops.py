"""Files that SOPS encrypted: how they are told, what they are, and who may read them.

Told by what sops writes into them (https://getsops.io/docs): a block ``sops`` with a ``mac`` in YAML, JSON and in what
it takes for binary; ``sops_mac`` in dotenv; a section ``[sops]`` in INI.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_YAML = re.compile(rb"^sops:\s*$", re.MULTILINE)
_FORMATS = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".env": "dotenv", ".ini": "ini"}
_AGE = re.compile(rb"\bage1[0-9a-z]{20,}")
_PGP = re.compile(rb"[\"']?\bfp[\"']?\s*[:=]\s*[\"']?([0-9A-Fa-f]{16,40})")
_IDENTITY = re.compile(rb"AGE-(?:SECRET-KEY|PLUGIN)-[0-9A-Z-]+")


def encrypted(data: bytes) -> bool:
    """Whether SOPS wrote it."""
    if b"sops" not in data:
        return False
    if data.lstrip()[:1] == b"{":
        return b'"sops"' in data and b'"mac"' in data
    return b"sops_mac=" in data or b"[sops]" in data or (_YAML.search(data) is not None and b" mac:" in data)


def kind_of(name: str) -> str:
    """The format of a file, as ``--input-type`` takes it; by its name, as sops does."""
    base = name.rpartition("/")[2]
    return next((kind for ending, kind in _FORMATS.items() if base.endswith(ending)), "binary")


def recipients(data: bytes) -> list[str]:
    """Whose keys open it: age's public keys, and fingerprints of PGP's."""
    found = [*_AGE.findall(data), *_PGP.findall(data)]
    return [each.decode() for each in dict.fromkeys(found)]


def identities(secret: Mapping[str, bytes]) -> bytes:
    """The age keys in a Secret, one a line; empty when there is none."""
    found = dict.fromkeys(key for value in secret.values() for key in _IDENTITY.findall(value))
    return b"\n".join(found)


def locked(name: str, data: bytes) -> str:
    """That a file can't be read without keys."""
    return (
        f"{name}: this is encrypted by SOPS, and the source has no keys; name a Secret in decryption.keySecretRef that "
        f"holds one of these: {shown(data)}"
    )


def refused(name: str, data: bytes, said: str) -> str:
    """That a file can't be read with the keys that there are."""
    if "MAC mismatch" in said or "mac" in said.lower().split():
        return f"{name}: it was changed after SOPS encrypted it (its MAC doesn't agree); encrypt it again"
    return (
        f"{name}: none of the keys in the Secret of decryption.keySecretRef opens it; it is encrypted for {shown(data)}"
    )


def shown(data: bytes) -> str:
    """The recipients, for people."""
    return ", ".join(recipients(data)) or "keys that aren't age's or PGP's"
