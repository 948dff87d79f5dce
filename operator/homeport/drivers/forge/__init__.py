"""Forges: GitHub, GitLab and Gitea by their REST APIs, as far as pull requests, comments and commit statuses go."""

from homeport.drivers.forge.address import api_url, repository_of
from homeport.drivers.forge.errors import ForgeFailed
from homeport.drivers.forge.gitea import Gitea
from homeport.drivers.forge.github import GitHub
from homeport.drivers.forge.gitlab import GitLab
from homeport.drivers.forge.http import Http
from homeport.drivers.forge.protocol import Forge

PROVIDERS: dict[str, type[GitHub] | type[GitLab] | type[Gitea]] = {"GitHub": GitHub, "GitLab": GitLab, "Gitea": Gitea}


def connect(provider: str, url: str, repository: str, token: str) -> Forge:
    """The client of one repository. Nothing is asked yet."""
    client = PROVIDERS[provider]
    return client(Http(url, client.headers(token)), repository)


__all__ = ["Forge", "ForgeFailed", "GitHub", "GitLab", "Gitea", "Http", "api_url", "connect", "repository_of"]
