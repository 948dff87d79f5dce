"""Git: which commit a reference means, mirrors of repositories, and what is in a commit; nothing of it is executed."""

from homeport.drivers.git.remote import Git
from homeport.drivers.git.types import Credentials, GitFailed, Limits, Ref, Unsigned

__all__ = ["Credentials", "Git", "GitFailed", "Limits", "Ref", "Unsigned"]
