"""Which addresses are read from. What is refused is told without the address, which may hold a password."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from homeport.drivers.git.types import Credentials

_INSTEAD = "write it in the Secret of credentialsSecretRef"
_HERE = ("127.0.0.1", "::1", "localhost")
"""What is sent there leaves no machine."""
_SCP = re.compile(r"^[^/:]+@[^/:]+:")


def refused(url: str, credentials: Credentials) -> str:
    """Why an address isn't read from, and what to write instead; empty when it is."""
    if _SCP.match(url):
        return "the address is of scp's kind; write ssh://user@host/path instead of user@host:path"
    scheme, _, rest = url.partition("://")
    if not rest or scheme not in ("https", "http", "ssh"):
        return "the address isn't of a server: only https, http and ssh are allowed; write https://… or ssh://…"
    if re.search(r"[\x00-\x20\x7f\\]|%0[0ad]", url, re.IGNORECASE):
        return "the address holds a space, a control character or a backslash; write it without"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "the address can't be read; write https://host/path or ssh://user@host/path"
    if not host or host.startswith("-") or (parts.username or "").startswith("-"):
        return (
            "the address has no host, or one that begins with a dash; write https://host/path or ssh://user@host/path"
        )
    if parts.password is not None or (scheme != "ssh" and parts.username is not None):
        what = "a password" if scheme == "ssh" else "a name or a password"
        return f"the address holds {what}; {_INSTEAD}"
    if scheme == "http" and (credentials.password or credentials.token) and host not in _HERE:
        return "http would send the password in clear text; write an address that begins with https:// or ssh://"
    if scheme == "ssh" and not credentials.known_hosts.strip():
        return f"known_hosts is missing, without which nobody knows who answers; {_INSTEAD}"
    return ""


def origin(url: str) -> tuple[str, str, int | None]:
    """(scheme, host, port): credentials go to no other."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port
