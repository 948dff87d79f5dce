"""Setting a repository up on GitHub, GitLab and Gitea: what is there, and making it so.

One client of a repository has *parts* (the repository itself, protection of branches, environments, secrets, variables,
webhooks, labels, collaborators). Each is observed, put and removed by its key; what is wanted and what is there are
documents of the same keys, so that whoever compares them needs to know nothing of the forge. Asking for what is there
already writes nothing: whether to write is for the caller, who has compared.
"""

from homeport.drivers.forge.http import Http
from homeport.drivers.forge.setup.common import HINTS, Part, Setup, Spec, blob_id, differing, mark, patient
from homeport.drivers.forge.setup.gitea import GiteaSetup
from homeport.drivers.forge.setup.github import GitHubSetup
from homeport.drivers.forge.setup.gitlab import GitLabSetup

SETUPS: dict[str, type[GitHubSetup] | type[GitLabSetup] | type[GiteaSetup]] = {
    "GitHub": GitHubSetup,
    "GitLab": GitLabSetup,
    "Gitea": GiteaSetup,
}


def setup(provider: str, http: Http, repository: str) -> Setup:
    """The client that sets up one repository. Nothing is asked yet."""
    return SETUPS[provider](http, repository)


__all__ = ["HINTS", "SETUPS", "Part", "Setup", "Spec", "blob_id", "differing", "mark", "patient", "setup"]
