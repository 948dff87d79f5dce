"""Registry credentials, from Secrets of type kubernetes.io/dockerconfigjson.

Source: https://kubernetes.io/docs/concepts/containers/images/#config-json; patterns with * aren't understood here.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from homeport.drivers.oci.reference import DOCKER_HUB, Reference

CONFIG_KEY = ".dockerconfigjson"
_HUB_NAMES = ("index.docker.io", "registry-1.docker.io", "docker.io")


@dataclass(frozen=True)
class Login:
    """A user at a registry, or at one of its repositories' paths."""

    where: str
    user: str
    password: str = field(repr=False)


def logins(text: str) -> tuple[Login, ...]:
    """Those in a dockerconfigjson. Raises ValueError, without a word of what is in it."""
    found = []
    try:
        for where, entry in json.loads(text)["auths"].items():
            user, password = entry.get("username", ""), entry.get("password", "")
            if entry.get("auth"):
                user, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
            if user and password:
                found.append(Login(_place(where), user, password))
    except (KeyError, TypeError, AttributeError, binascii.Error, ValueError):
        raise ValueError(f"{CONFIG_KEY} isn't what kubectl create secret docker-registry makes") from None
    return tuple(found)


def login_for(reference: Reference, known: Iterable[Login]) -> Login | None:
    """The one that is said for most of the image's path."""
    path = f"{reference.registry}/{reference.repository}"
    fitting = [one for one in known if path == one.where or path.startswith(f"{one.where}/")]
    return max(fitting, key=lambda one: len(one.where), default=None)


def _place(where: str) -> str:
    place = where.partition("://")[2] or where
    place = place.rstrip("/").removesuffix("/v1").removesuffix("/v2")
    host, slash, rest = place.partition("/")
    return (DOCKER_HUB if host in _HUB_NAMES else host) + slash + rest
