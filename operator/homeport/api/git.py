"""How a place in Git is written: the repository's address, and names of what is read of it."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from homeport.api.base import Rule, matches

NO_PASSWORD_IN_CLEAR_TEXT = Rule(
    "!has(self.credentialsSecretRef) || !self.url.startsWith('http://')",
    "http would send the password in clear text; write an address that begins with https:// or ssh://",
    lambda s: s.credentials_secret_ref is None or not s.url.startswith("http://"),
    ".url",
)
"""Of whatever has a ``url`` and a ``credentialsSecretRef``."""
GitUrl = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    matches(r"^(https?|ssh)://[^ ]+$", "write an address that begins with https://, http:// or ssh://"),
    Rule(
        "!self.matches('^https?://[^/]*@|^ssh://[^/]*:[^/]*@')",
        "write no password into the address, and with https no name; put them into the Secret of credentialsSecretRef",
        lambda url: re.search(r"^https?://[^/]*@|^ssh://[^/]*:[^/]*@", url) is None,
    ),
]
"""A repository's address."""

_REF_NAME = r"^[A-Za-z0-9_]([-A-Za-z0-9_./+]*[A-Za-z0-9_+])?$"
GitRefName = Annotated[
    str,
    Field(min_length=1, max_length=250),
    matches(_REF_NAME, "write a branch's or a tag's name such as main or v1.2, without refs/heads/ or refs/tags/"),
    Rule(
        "!self.startsWith('refs/') && !self.contains('..')",
        "write the name alone, without refs/ in front of it and without '..'",
        lambda name: not name.startswith("refs/") and ".." not in name,
    ),
]
"""A branch's or a tag's name."""

GitCommit = Annotated[
    str, Field(max_length=64), matches(r"^([0-9a-f]{40}|[0-9a-f]{64})$", "write a commit's whole id, 40 digits")
]
"""A commit's whole id."""


def inside(example: str) -> Rule:
    """A rule for a folder of the repository."""
    return Rule(
        "!self.startsWith('/') && !self.split('/').exists(p, p == '..')",
        f"write {example}",
        lambda path: not path.startswith("/") and ".." not in path.split("/"),
    )
