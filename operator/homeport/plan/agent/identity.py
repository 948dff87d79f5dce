"""Who a container is to its operator, and what it finds where."""

from __future__ import annotations

from dataclasses import dataclass

INIT = "/.homeport/init"
"""Where the init is in an image that the operator uploads."""
IMAGE_FILE = "/.homeport/image.json"
"""Where it finds what the image says of how to run it."""
CLAIM_FILE = "/.homeport/claim.json"
"""Where it finds the operator's URL and fingerprint on a host whose containers have no environment (before 9.1); its
claim is the hostname there."""

ENV_URL = "HOMEPORT_AGENT_URL"
ENV_FINGERPRINT = "HOMEPORT_AGENT_FINGERPRINT"
ENV_CONTAINER = "HOMEPORT_CONTAINER"
ENV_CLAIM = "HOMEPORT_CLAIM"
ENVIRONMENT = (ENV_URL, ENV_FINGERPRINT, ENV_CONTAINER, ENV_CLAIM)
"""The names that init reads, and gives on to nobody."""


@dataclass(frozen=True, order=True)
class AgentId:
    """One container as its init calls itself: the LXCContainer, and the VMID, which a replacement doesn't share."""

    namespace: str
    name: str
    vmid: int

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}/{self.vmid}"

    @classmethod
    def parse(cls, text: str) -> AgentId:
        """The reverse of ``str``. Raises ValueError."""
        namespace, name, vmid = text.split("/")
        if not (namespace and name and vmid.isascii() and vmid.isdecimal()):
            raise ValueError(f"{text!r} isn't namespace/name/vmid")
        return cls(namespace, name, int(vmid))


@dataclass(frozen=True)
class Peer:
    """Who may connect as a container. All of it is kept in the LXCContainer's status, so that a restart knows it."""

    uid: str
    """The LXCContainer's."""
    claim: str
    """The name of the claim that the container was given: public, made by ``Agents.new_claim``."""
    pinned: str = ""
    """The fingerprint of the credential that used the claim; empty while nobody has. Nothing is delivered before this
    is kept: a claim that two have used is seen, and the second is refused."""
