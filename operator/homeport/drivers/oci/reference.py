"""Names of images, as Kubernetes completes them.

Source: https://github.com/distribution/reference/blob/main/reference.go and normalize.go
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DOCKER_HUB = "docker.io"
_API = {DOCKER_HUB: "registry-1.docker.io"}
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Reference:
    """Where an image is: a digest, if there is one, counts more than the tag."""

    registry: str
    repository: str
    tag: str = "latest"
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Raises ValueError that says what to write."""
        rest, _, digest = text.partition("@")
        first, slash, remainder = rest.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost"):
            registry, path = first, remainder
        else:
            registry, path = DOCKER_HUB, rest if slash else f"library/{rest}"
        repository, colon, tag = path.rpartition(":")
        if not colon:
            repository, tag = path, "latest"
        if digest and not DIGEST.fullmatch(digest):
            raise ValueError(f"{text!r}: a digest is sha256: and 64 hexadecimal digits")
        if not (_HOST.fullmatch(registry) and _REPOSITORY.fullmatch(repository) and _TAG.fullmatch(tag)):
            raise ValueError(f"{text!r} isn't an image's name; write one such as nginx:1.27 or ghcr.io/org/name:tag")
        return cls(registry, repository, tag, digest)

    @property
    def base(self) -> str:
        """The URL of the registry. As everywhere, a registry on this very machine may speak HTTP."""
        host = _API.get(self.registry, self.registry)
        name = host.rpartition(":")[0] or host
        local = name in ("localhost", "[::1]") or re.fullmatch(r"127(\.[0-9]{1,3}){3}", name)
        return f"{'http' if local else 'https'}://{host}"

    @property
    def target(self) -> str:
        """What is asked for."""
        return self.digest or self.tag

    def at(self, digest: str) -> Reference:
        """The same image by a digest."""
        return Reference(self.registry, self.repository, self.tag, digest)

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}{'@' + self.digest if self.digest else ':' + self.tag}"
