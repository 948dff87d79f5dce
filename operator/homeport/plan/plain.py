"""An application in one environment as plain Kubernetes objects, which need no operator. Pure.

What is rendered is what the operator applies, and what it makes of the Environment, save what makes an object an
operator's: no label or annotation of ``homeport.dev`` is left and nobody is said to manage the objects, so an operator
in the same cluster takes them for a stranger's and leaves them alone. What selectors need goes by the recommended
labels instead: https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from homeport.api import labels
from homeport.api.application import ApplicationSpec
from homeport.api.component import Component
from homeport.api.environment import EnvironmentSpec
from homeport.api.resource import Resource
from homeport.plan import edge, environment_objects, environment_place, inputs, names
from homeport.plan import render as rendering
from homeport.plan.capabilities import NONE, Capabilities
from homeport.plan.catalog import Expansion
from homeport.plan.types import PHASES, Child, Manifest, Phase, Place

CHECKSUM = "checksum/files"
"""On Pod templates: a digest of the component's files, so that Pods roll when one changes."""
RESTARTED_AT = "restarted-at"
TRIES = 6
"""Kubernetes's own default. Nobody holds a Job back until what it needs is there, so it bridges that time itself."""

# Rendering keeps apart by three labels what a namespace of its own and the recommended two keep apart here.
_KEYS: Mapping[str, str | None] = {
    labels.APPLICATION: labels.APP_INSTANCE,
    labels.COMPONENT: labels.APP_NAME,
    labels.ENVIRONMENT: None,
    labels.PROJECT: None,
    labels.OWNER_KIND: None,
    labels.OWNER_NAME: None,
    labels.MANAGED_BY: None,
    names.AUTOSCALED: None,
    names.RESTARTED_AT: RESTARTED_AT,
}
# What people write in their own words is left as it is.
_OPAQUE = frozenset({"args", "command", "data", "env"})


@dataclass(frozen=True)
class Needed:
    """A Secret or another object that must be there before, with the keys that are read of it.

    ``source``: where Homeport would copy it from, as namespace/name. ``lengths``: of keys that are to be generated;
    ``template``: further keys, in which ``$(KEY)`` stands for one of these.
    """

    kind: str
    name: str
    keys: tuple[str, ...] = ()
    source: str = ""
    lengths: Mapping[str, int] | None = None
    template: Mapping[str, str] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True)
class Bundle:
    """All that one application is in one environment. Generated Secrets are in ``needs`` and not among ``children``."""

    app: Resource[ApplicationSpec]
    place: Place
    version: str
    components: tuple[Component, ...]
    surroundings: tuple[Manifest, ...]
    """The namespace with what guards it."""
    children: tuple[Child, ...]
    """The application's objects, in the order in which they are to be applied."""
    needs: tuple[Needed, ...]

    @property
    def name(self) -> str:
        """The environment's name."""
        return self.place.name

    @property
    def left_out(self) -> dict[str, str]:
        """What is declared and can't be carried out: ``component.setting``, and what to do about it."""
        return {
            f"{part.name}.{setting}": why
            for part in self.components
            for setting, why in rendering.left_out(part, self.place).items()
        }

    @property
    def manifests(self) -> list[Manifest]:
        """Everything, in the order in which it is to be applied."""
        return [*self.surroundings, *(child.manifest for child in self.children)]


def bundle(
    app: Resource[ApplicationSpec],
    env: Resource[EnvironmentSpec],
    *,
    archived: bool = False,
    catalog: Expansion | None = None,
    capabilities: Capabilities = NONE,
) -> Bundle:
    """``app`` in ``env``, whose cluster has ``capabilities``. Raises InvalidSpec with what to write instead."""
    there = capabilities.with_gateway() if edge.uses_gateway(env.spec, capabilities) else capabilities
    place = environment_place.place_of(env, archived, capabilities=there)
    parts = rendering.components(app, env.name, catalog)
    rendered = rendering.render(app, place, catalog=catalog)
    by_name = {part.name: part for part in parts}
    prefix = app.spec.name_prefix or ""
    sums = {child.component: checksum(child.manifest["data"]) for child in rendered if is_files(child, prefix)}
    children = [
        _plain_child(child, by_name[child.component], sums) for child in rendered if child.manifest["kind"] != "Secret"
    ]
    children.sort(key=lambda child: PHASES.index(child.phase))
    return Bundle(
        app=app,
        place=place,
        version=rendering.version_in(app.spec, env.name),
        components=parts,
        surroundings=tuple(
            _surrounding(manifest, env)
            for manifest in (*environment_objects.manifests(env), *environment_objects.gateway(env, [app], there))
        ),
        children=tuple(children),
        needs=_needs(env, parts, rendered),
    )


def is_files(child: Child, prefix: str) -> bool:
    """Whether ``child`` holds its component's files."""
    return child.manifest["kind"] == "ConfigMap" and child.id.name == f"{prefix}{child.component}-files"


def checksum(data: Mapping[str, str]) -> str:
    """A digest of a ConfigMap's data, which a Helm template can compute as well: ``toJson | sha256sum | trunc 16``.

    Go's JSON escapes what HTML minds: https://pkg.go.dev/encoding/json#Marshal
    """
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return names.digest(text, 16)


def _plain_child(child: Child, component: Component, sums: Mapping[str, str]) -> Child:
    manifest = _translated(child.manifest, sums.get(child.component))
    if child.job_hash is not None:
        manifest = _job(manifest, child, component)
    return replace(child, manifest=manifest)


def _job(manifest: Manifest, child: Child, component: Component) -> Manifest:
    """A Job under a name that goes with what its template is now."""
    metadata = manifest["metadata"]
    template = manifest["spec"]["template"]
    asked = component.migrate.backoff_limit if component.migrate and migrates(child) else component.backoff_limit
    spec = {**manifest["spec"], "backoffLimit": asked if asked is not None else TRIES}
    name = names.job(job_stem(child), names.digest_of(template))
    return {**manifest, "metadata": {**metadata, "name": name}, "spec": spec}


def migrates(child: Child) -> bool:
    """Whether ``child`` is a migration."""
    return child.phase is Phase.MIGRATE


def job_stem(child: Child) -> str:
    """The name of a Job without the digest at its end."""
    name: str = child.manifest["metadata"]["name"]
    return name[: -names.JOB_HASH_LENGTH - 1] if child.job_hash is not None else name


def _translated(value: Any, total: str | None) -> Any:
    """``value`` without what is the operator's own."""
    if isinstance(value, list):
        return [_translated(entry, total) for entry in value]
    if not isinstance(value, Mapping):
        return value
    out: Manifest = {}
    renamed: Manifest = {}
    for key, entry in value.items():
        if key in _OPAQUE:
            out[key] = entry
        elif key == labels.INPUTS_HASH:
            if total is not None:
                renamed[CHECKSUM] = total
        elif key in _KEYS:
            new = _KEYS[key]
            if new is not None:
                renamed[new] = entry
        elif key == "key" and entry in _KEYS:
            out[key] = _KEYS[entry]
        else:
            kept = _translated(entry, total)
            if not (key == "annotations" and entry and not kept):
                out[key] = kept
    # Ours win over the recommended ones of the same name: a migration's Pods go by another name.
    return {**out, **renamed}


def _surrounding(manifest: Manifest, env: Resource[EnvironmentSpec]) -> Manifest:
    metadata = manifest["metadata"]
    kept = {
        key: value
        for key, value in metadata["labels"].items()
        if not key.startswith((f"{labels.GROUP}/", "app.kubernetes.io/"))
    }
    return {**manifest, "metadata": {**metadata, "labels": {labels.APP_PART_OF: env.namespace, **kept}}}


# --- what must be there before ---------------------------------------------------------------------------------------


def _needs(env: Resource[EnvironmentSpec], parts: Sequence[Component], rendered: Sequence[Child]) -> tuple[Needed, ...]:
    copied = {secret.name: f"{env.namespace}/{secret.from_ or secret.name}" for secret in env.spec.secrets or ()}
    keys = _keys(parts)
    out: dict[tuple[str, str], Needed] = {}
    for child in rendered:
        if child.generate is not None:
            name = child.id.name
            every = tuple(dict.fromkeys([*child.generate, *sorted(child.template)]))
            lengths = dict(child.generate)
            out["Secret", name] = Needed("Secret", name, every, lengths=lengths, template=dict(child.template))
    for name, source in copied.items():
        found = Needed("Secret", name, keys.get(("Secret", name), ()), source=source)
        out.setdefault(("Secret", name), found)
    for (kind, name), read in keys.items():
        out.setdefault((kind, name), Needed(kind, name, read))
    for needed in _others(env, parts):
        out.setdefault((needed.kind, needed.name), needed)
    return tuple(out.values())


def _keys(parts: Sequence[Component]) -> dict[tuple[str, str], tuple[str, ...]]:
    """What Pods can't start without, and which keys they read of it; no keys when all are read."""
    out: dict[tuple[str, str], tuple[str, ...]] = {}
    for part in parts:
        for ref, required in inputs.references(part).items():
            if required:
                seen = out.setdefault(ref, ())
                out[ref] = tuple(dict.fromkeys([*seen, *_keys_of(part, ref)]))
    return out


def _keys_of(part: Component, ref: tuple[str, str]) -> list[str]:
    kind, name = ref
    out = []
    for variable in part.env or ():
        source = variable.value_from
        chosen = source and (source.secret_key_ref if kind == "Secret" else source.config_map_key_ref)
        if chosen and chosen.name == name:
            out.append(chosen.key)
    if kind == "Secret":
        out += [file.secret_ref.key for file in part.secret_files or () if file.secret_ref.name == name]
    field = "secretKeyRef" if kind == "Secret" else "configMapKeyRef"
    for container in (*(part.init_containers or ()), *(part.sidecars or ())):
        for entry in container.get("env") or ():
            chosen_raw = (entry.get("valueFrom") or {}).get(field) or {}
            if chosen_raw.get("name") == name and chosen_raw.get("key"):
                out.append(chosen_raw["key"])
    return out


def _others(env: Resource[EnvironmentSpec], parts: Sequence[Component]) -> list[Needed]:
    out = []
    for part in parts:
        for pull in part.image_pull_secrets or ():
            out.append(Needed("Secret", pull.name, why="credentials for pulling images"))
        if part.service_account_name is not None:
            out.append(Needed("ServiceAccount", part.service_account_name, why=f"{part.name} runs as it"))
        for volume in part.volumes or ():
            if volume.existing_claim is not None:
                out.append(Needed("PersistentVolumeClaim", volume.existing_claim, why=f"a volume of {part.name}"))
    ingress = env.spec.ingress
    if ingress is not None and ingress.tls is not None and any(part.routes for part in parts):
        if ingress.tls.secret_name is not None:
            out.append(Needed("Secret", ingress.tls.secret_name, ("tls.crt", "tls.key"), why="the certificate"))
        elif ingress.tls.issuer is not None:
            out.append(Needed("ClusterIssuer", ingress.tls.issuer, why="cert-manager makes the certificates"))
    return out
