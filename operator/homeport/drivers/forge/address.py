"""Where a repository's forge answers, read from the address that it is cloned from."""

from __future__ import annotations

from urllib.parse import urlsplit

_PATHS = {"GitHub": "/api/v3", "GitLab": "/api/v4", "Gitea": "/api/v1"}


def api_url(provider: str, url: str | None, clone_url: str) -> str:
    """The API's address: the one that was written, with its path when it has none, else that of the clone's host."""
    if url is not None:
        parts = urlsplit(url)
        bare = parts.path.rstrip("/") == ""
        if parts.hostname == "api.github.com":
            return "https://api.github.com"
        return url.rstrip("/") + (_PATHS[provider] if bare else "")
    parts = urlsplit(clone_url)
    if provider == "GitHub" and parts.hostname in ("github.com", "www.github.com"):
        return "https://api.github.com"
    scheme = parts.scheme if parts.scheme in ("http", "https") else "https"
    # The port of SSH isn't the API's.
    host = parts.netloc.rpartition("@")[2] if scheme == parts.scheme else parts.hostname or ""
    return f"{scheme}://{host}{_PATHS[provider]}"


def repository_of(clone_url: str, provider: str = "") -> str:
    """``owner/name`` in a clone's address; of GitLab with all groups. Raises ValueError when there is none.

    A forge may be below a path of its host: of the others' the last two parts are the repository.
    """
    parts = [part for part in urlsplit(clone_url).path.removesuffix("/").removesuffix(".git").split("/") if part]
    if len(parts) < 2:
        raise ValueError(f"{clone_url} names no owner and repository; write them in pullRequests.forge.repository")
    return "/".join(parts if provider == "GitLab" else parts[-2:])
