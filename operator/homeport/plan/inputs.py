"""Which Secrets and ConfigMaps a component's Pods read, and a digest of what is in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from homeport.api.component import Component
from homeport.plan import names
from homeport.plan.scope import ObjectRef, Scope

_SELECTORS = (("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef"))
_SOURCES = (("Secret", "secretRef"), ("ConfigMap", "configMapRef"))


def references(component: Component) -> dict[ObjectRef, bool]:
    """What the Pods read, and whether they can't start without it. Credentials for pulling images aren't read."""
    out: dict[ObjectRef, bool] = {}

    def note(kind: str, name: str, optional: bool | None) -> None:
        out[kind, name] = out.get((kind, name), False) or not optional

    for variable in component.env or ():
        source = variable.value_from
        if source is not None:
            if source.secret_key_ref is not None:
                note("Secret", source.secret_key_ref.name, source.secret_key_ref.optional)
            elif source.config_map_key_ref is not None:
                note("ConfigMap", source.config_map_key_ref.name, source.config_map_key_ref.optional)
    for whole in component.env_from or ():
        if whole.secret_ref is not None:
            note("Secret", whole.secret_ref.name, whole.secret_ref.optional)
        elif whole.config_map_ref is not None:
            note("ConfigMap", whole.config_map_ref.name, whole.config_map_ref.optional)
    for file in component.secret_files or ():
        note("Secret", file.secret_ref.name, False)
    for container in (*(component.init_containers or ()), *(component.sidecars or ())):
        for kind, name, optional in _of_container(container):
            note(kind, name, optional)
    return out


def _of_container(container: Mapping[str, Any]) -> Iterable[tuple[str, str, bool]]:
    for variable in container.get("env") or ():
        for kind, field in _SELECTORS:
            yield from _named(kind, (variable.get("valueFrom") or {}).get(field))
    for source in container.get("envFrom") or ():
        for kind, field in _SOURCES:
            yield from _named(kind, source.get(field))


def _named(kind: str, ref: Mapping[str, Any] | None) -> Iterable[tuple[str, str, bool]]:
    if ref and isinstance(ref.get("name"), str):
        yield kind, ref["name"], bool(ref.get("optional"))


def reads(scope: Scope) -> tuple[ObjectRef, ...]:
    """What must be there before the Pods can start, without what the application makes itself."""
    needed = references(scope.component)
    return tuple(sorted(ref for ref, required in needed.items() if required and ref not in scope.made))


def inputs_hash(scope: Scope) -> str | None:
    """A digest of the component's files and of the versions of what its Pods read; None when there is nothing.

    Of what the application makes itself only the template is in it: what is generated never changes, and would roll
    the Pods once more when it first appears.
    """
    seen = {}
    for kind, name in references(scope.component):
        made = scope.made.get((kind, name))
        version = scope.versions.objects.get((kind, name)) if made is None else made
        if version:
            seen[f"{kind}/{name}"] = version
    files = scope.component.files
    return names.digest_of([files or {}, seen]) if files or seen else None


def files_hash(scope: Scope) -> str | None:
    """A digest of the component's files alone, for Jobs: a Secret that changes is no reason to run one again."""
    return names.digest_of(scope.component.files) if scope.component.files else None
