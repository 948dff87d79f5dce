"""What a source names beside it: credentials, keys, variables, values; in Secrets, ConfigMaps and an Environment.

Their contents are kept in memory by version, and read again only when that changed. Whose they are hears of changes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from homeport.api.base import interval_seconds
from homeport.api.conditions import Reason
from homeport.api.gitsource import GitSourceSpec
from homeport.api.labels import OwnerKey
from homeport.api.resource import InvalidSpec, Resource
from homeport.drivers.git import Credentials
from homeport.drivers.kubernetes import types
from homeport.engine import observe
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan import environment_place
from homeport.plan.gitops.build import BuildSpec, Helm, Serves
from homeport.plan.gitops.checkout import normal

if TYPE_CHECKING:
    from homeport.engine.context import Context

Source = Resource[GitSourceSpec]

WORDS = ("username", "password", "token", "identity", "known_hosts", "ca")
"""Keys of a Secret with credentials, as ``Credentials`` names them."""


class Lacking(Exception):  # noqa: N818 - what has to come first
    """Something that a source names isn't there, or isn't what it should be."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


@dataclass(frozen=True)
class Content:
    """What a Secret or ConfigMap holds."""

    version: str
    data: Mapping[str, bytes] = field(repr=False)

    def texts(self, what: str) -> dict[str, str]:
        """All of it as text. Raises Lacking."""
        try:
            return {key: value.decode() for key, value in self.data.items()}
        except UnicodeDecodeError:
            raise Lacking(_wait(f"{what} holds something that isn't text")) from None


class Inputs:
    """Reads what sources name, once per version."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[tuple[str, str, str], Content] = {}

    async def content(self, key: OwnerKey, kind: str, name: str, optional: bool = False) -> Content | None:
        """What an object beside ``key`` holds; None for an optional one that isn't there. Raises Lacking, ApiError."""
        place = (kind, key.namespace, name)
        cluster = self._context.cluster
        self._context.readers.setdefault(place, set()).add(key)
        look = cluster.secret_version if kind == "Secret" else cluster.config_map_version
        version = look(key.namespace, name)
        known = self._known.get(place)
        if version is not None and known is not None and known.version == version:
            return known
        gvk = types.SECRET if kind == "Secret" else types.CONFIG_MAP
        found = await cluster.client.get(gvk, key.namespace, name) if version is not None else None
        if found is None:
            self._known.pop(place, None)
            if optional:
                return None
            raise Lacking(_wait(f"{kind} {name} doesn't exist in namespace {key.namespace}; create it"))
        content = self._known[place] = Content(found["metadata"]["resourceVersion"], _data(kind, found))
        return content

    async def credentials(self, source: Source) -> Credentials:
        """How its repository is logged in to. Raises Lacking."""
        ref = source.spec.credentials_secret_ref
        if ref is None:
            return Credentials()
        content = await self.content(source.key, "Secret", ref.name)
        assert content is not None
        data = content.texts(f"Secret {ref.name}")
        if not any(data.get(word) for word in WORDS):
            raise Lacking(_wait(f"Secret {ref.name} has none of the keys {', '.join(WORDS)}"))
        if source.spec.url.startswith("ssh://") and not data.get("known_hosts"):
            raise Lacking(_wait(f"Secret {ref.name} has no known_hosts; write the server's SSH host key there"))
        return Credentials(**{word: data[word] for word in WORDS if data.get(word)})

    async def keys(self, source: Source) -> tuple[tuple[str, str], ...] | None:
        """The public keys that commits must be signed with one of; None when that isn't asked for. Raises Lacking."""
        verify = source.spec.verify
        if verify is None:
            return None
        name = verify.keys_secret_ref.name
        content = await self.content(source.key, "Secret", name)
        assert content is not None
        found = tuple(sorted(content.texts(f"Secret {name}").items()))
        if not found:
            raise Lacking(_wait(f"Secret {name} holds no public keys, so that no commit could be verified"))
        return found

    async def build(self, source: Source, serves: Serves, secrets: bool = True) -> BuildSpec:
        """What is to be built, with all that its references lead to. Raises Lacking, ApiError.

        Without ``secrets`` no Secret is read: for what others than the source's own branch hold.
        """
        spec, build = source.spec, source.spec.build
        seen: list[tuple[str, ...]] = []
        hidden: list[str] = []
        if secrets:
            self._guard(source)
        variables = dict(self._environment(source))
        for ref in build.variables_from if build else ():
            if ref.kind == "Secret" and not secrets:
                continue
            content = await self.content(source.key, ref.kind, ref.name, ref.optional)
            seen.append((ref.kind, ref.name, content.version if content else ""))
            if content is not None:
                texts = content.texts(f"{ref.kind} {ref.name}")
                variables |= texts
                hidden += texts.values() if ref.kind == "Secret" else ()
        plain = {**self._environment(source), **((build.variables if build else None) or {})}
        variables |= (build.variables if build else None) or {}
        values = [found async for found in self._values(source, seen, hidden, secrets)]
        keys = None
        if spec.decryption is not None and secrets:
            name = spec.decryption.key_secret_ref.name
            content = await self.content(source.key, "Secret", name)
            assert content is not None
            keys = {key: value for key, value in content.data.items() if key.endswith(".agekey")}
            seen.append(("Secret", name, content.version))
            if not keys:
                raise Lacking(_wait(f"Secret {name} has no key that ends in .agekey; put an age key there"))
        helm = build.helm if build else None
        own = dict(helm.values) if helm and helm.values else {}
        return BuildSpec(
            path=normal(spec.path),
            name=source.name,
            namespace=source.namespace,
            variables=variables,
            substitute=bool(build and build.substitute),
            helm=Helm(
                release=(helm.release_name if helm else None) or "",
                namespace=(helm.namespace if helm else None) or "",
                values=(*values, own) if own else tuple(values),
                include_crds=helm.include_crds if helm else True,
            ),
            allow_remote_bases=bool(build and build.allow_remote_bases),
            lfs=spec.lfs,
            keys=keys,
            sealed=not secrets,
            hidden=tuple(hidden),
            serves=serves,
            inputs=_digest([plain, own, seen]),
            timeout=interval_seconds(spec.timeout),
        )

    def _guard(self, source: Source) -> None:
        """Raises Lacking for a Secret that goes into objects, although only the operator is to read it.

        What is built can be read by whoever reads the objects: the repository says where values go to.
        """
        names = secrets_in_objects(source.spec)
        if not names:
            return
        context, namespace = self._context, source.namespace
        for name in names:
            # Whoever takes the label off wakes it.
            context.readers.setdefault(("Secret", namespace, name), set()).add(source.key)
        environments = list(context.store.valid("Environment", namespace))
        kept = observe.private(namespace, environments, context.cluster, names, context.store)
        if kept:
            name, why = min(kept.items())
            raise Lacking(Stalled(Reason.ACCESS_DENIED, f"Secret {name} goes into no object: {why}; make one for this"))

    def _environment(self, source: Source) -> Mapping[str, str]:
        ref = source.spec.build.environment_ref if source.spec.build else None
        if ref is None:
            return {}
        self._context.readers.setdefault(("Environment", source.namespace, ref.name), set()).add(source.key)
        try:
            env = self._context.store.resource(OwnerKey("Environment", source.namespace, ref.name))
        except InvalidSpec as error:
            raise Lacking(_wait(f"Environment {ref.name} can't be used: {error}")) from None
        if env is None:
            text = f"Environment {ref.name} isn't there; no source can make the one that build.environmentRef names"
            raise Lacking(_wait(text))
        domain = env.spec.ingress.domain if env.spec.ingress else None
        return {
            **(env.spec.variables or {}),
            "environment": env.name,
            "project": env.namespace,
            "namespace": environment_place.namespace_of(env),
            "domain": domain or "",
        }

    async def _values(
        self, source: Source, seen: list[tuple[str, ...]], hidden: list[str], secrets: bool
    ) -> AsyncIterator[Mapping[str, Any]]:
        helm = source.spec.build.helm if source.spec.build else None
        for ref in helm.values_from if helm else ():
            if ref.kind == "Secret" and not secrets:
                continue
            content = await self.content(source.key, ref.kind, ref.name, ref.optional)
            seen.append((ref.kind, ref.name, ref.key, content.version if content else ""))
            text = content.data.get(ref.key) if content is not None else None
            if text is None:
                if ref.optional:
                    continue
                raise Lacking(_wait(f"{ref.kind} {ref.name} has no key {ref.key}"))
            found = _parsed(text, f"{ref.kind} {ref.name}, key {ref.key}")
            hidden += _texts(found) if ref.kind == "Secret" else ()
            yield found

    def forget(self, key: OwnerKey) -> None:
        """Let go of what nobody reads any more."""
        readers = self._context.readers
        for place in [place for place in self._known if not readers.get(place, set()) - {key}]:
            del self._known[place]


def secrets_in_objects(spec: GitSourceSpec) -> set[str]:
    """The Secrets whose values go into what is built."""
    build = spec.build
    if build is None:
        return set()
    names = {ref.name for ref in build.variables_from if ref.kind == "Secret"}
    return names | {ref.name for ref in (build.helm.values_from if build.helm else ()) if ref.kind == "Secret"}


def _data(kind: str, manifest: Mapping[str, Any]) -> dict[str, bytes]:
    if kind == "ConfigMap":
        return {key: str(value).encode() for key, value in (manifest.get("data") or {}).items()}
    try:
        return {key: base64.b64decode(value) for key, value in (manifest.get("data") or {}).items()}
    except binascii.Error:
        return {}


def _parsed(text: bytes, what: str) -> Mapping[str, Any]:
    try:
        # With anchors a few lines can become more than there is memory, and values need none.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.CSafeLoader)):
            raise Lacking(Stalled(Reason.INVALID_SPEC, f"{what}: write values without aliases (*name)"))
        found = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        # What is wrong there isn't repeated: it may be secret.
        raise Lacking(Stalled(Reason.INVALID_SPEC, f"{what}{line}: the values aren't YAML")) from None
    if not isinstance(found, dict | None):
        raise Lacking(Stalled(Reason.INVALID_SPEC, f"{what}: write values as a mapping"))
    return found or {}


def _texts(value: Any) -> Iterator[str]:
    """Every text in values; they have no aliases, so that this ends."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)


def _wait(message: str) -> Wait:
    return Wait(Reason.DEPENDENCY_NOT_READY, message)


def _digest(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]
