"""What a build made, as it will be applied: checked, with its namespace, without what isn't a repository's to say."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.api.gitsource import GitSourceSpec
from homeport.api.labels import OwnerKey
from homeport.api.resource import InvalidSpec, parse_spec
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan import names
from homeport.plan.diff import digest
from homeport.plan.gitops.types import Built, Wanted
from homeport.plan.types import Manifest, ObjectId, object_id

MOST_OBJECTS = 2048
"""Objects that one source may apply: as many as an inventory holds."""
MOST_PROBLEMS = 10
"""Problems that are told of one revision."""

Scope = Callable[[str, str], bool | None]
"""Whether a kind (apiVersion, kind) lives in namespaces; None for one that nobody knows."""

RESERVED_LABELS = frozenset(
    {
        labels.OWNER_KIND, labels.OWNER_NAME, labels.CONTROL_PLANE, labels.APPLICATION, labels.COMPONENT,
        labels.RUNNER, labels.SOURCE_NAMESPACE, labels.SOURCE_NAME, labels.PREVIEW_OF, labels.PULL_REQUEST,
    }
)  # fmt: skip
RESERVED_ANNOTATIONS = frozenset(
    {
        labels.APPLIED_HASH, labels.RETAINED, labels.COPIED_FROM, labels.AUTOSCALED, labels.PREVIEW_SINCE,
        labels.REVISION,
    }
)  # fmt: skip
_SERVERS_OWN = frozenset(
    {
        "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "selfLink", "managedFields",
        "deletionGracePeriodSeconds",
    }
)  # fmt: skip
_LONGEST_NAME = 253
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?").fullmatch
_KUBECTL = "kubectl.kubernetes.io/last-applied-configuration"
_TEXTS = {"ConfigMap": ("data", "binaryData"), "Secret": ("data", "stringData")}
_STEERING = (
    "url", "path", "ref", "service_account_name", "verify", "credentials_secret_ref", "decryption", "webhook",
    "pull_requests", "build", "prune", "suspend", "dry_run", "depends_on",
)  # fmt: skip
"""Of a source's spec: what a commit could turn to another place, account or key, or never undo again."""


class Prepared(NamedTuple):
    """Objects as they will be applied, and what is wrong with those that can't be."""

    wanted: tuple[Wanted, ...]
    problems: tuple[Outcome, ...]


class Definition(NamedTuple):
    """A kind that a CustomResourceDefinition among the objects will bring."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool


def labels_of(owner: OwnerKey) -> dict[str, str]:
    """The labels that say which source applied an object."""
    return {labels.SOURCE_NAMESPACE: owner.namespace, labels.SOURCE_NAME: names.label_value(owner.name)}


def owned_by(live: Mapping[str, Any], owner: OwnerKey) -> bool:
    """Whether an object's labels say that this source applied it."""
    found = live["metadata"].get("labels") or {}
    return all(found.get(key) == value for key, value in labels_of(owner).items())


def source_of(live: Mapping[str, Any]) -> tuple[str, str] | None:
    """(namespace, name) of the source that applied an object, as its labels say; None when none did."""
    found = live["metadata"].get("labels") or {}
    namespace, name = found.get(labels.SOURCE_NAMESPACE), found.get(labels.SOURCE_NAME)
    return (namespace, name) if namespace and name else None


def definitions(objects: Iterable[Built]) -> dict[tuple[str, str], Definition]:
    """The kinds that objects themselves define, by apiVersion and kind."""
    found = {}
    for built in flat(objects):
        if built.manifest.get("kind") != "CustomResourceDefinition":
            continue
        spec = _map(built.manifest.get("spec"))
        called, group = _map(spec.get("names")), str(spec.get("group", ""))
        kind, plural, namespaced = str(called.get("kind", "")), str(called.get("plural", "")), spec.get("scope")
        for version in spec.get("versions") or ():
            name = str(_map(version).get("name", ""))
            if group and kind and plural and name:
                found[f"{group}/{name}", kind] = Definition(group, name, kind, plural, namespaced != "Cluster")
    return found


def prepared(
    objects: Sequence[Built], owner: OwnerKey, namespace: str, scope: Scope, spec: Mapping[str, Any]
) -> Prepared:
    """``objects`` as ``owner`` will apply them; ``namespace`` is for those that name none. ``spec`` is the owner's own.

    An unknown kind is waited for: its definition may come from elsewhere.
    """
    found: dict[ObjectId, Wanted] = {}
    problems: list[Outcome] = []
    for built in flat(objects):
        where = f"{built.file}:{built.line}" if built.line else built.file
        problem: str | Wait | None = _shape(built.manifest)
        if problem is None:
            manifest, problem = _prepared(built.manifest, owner, namespace, scope)
        if problem is None:
            wanted = Wanted(manifest, object_id(manifest), where, digest(manifest))
            problem = _itself(wanted, owner, spec) or _twice(found.get(wanted.id))
            found.setdefault(wanted.id, wanted)
        if problem is not None:
            begin = f"{where}: " if where else ""
            if isinstance(problem, str):
                problems.append(Stalled(Reason.INVALID_SPEC, begin + problem))
            else:
                problems.append(Wait(problem.reason, begin + problem.message, problem.after))
    if len(found) > MOST_OBJECTS:
        text = f"{len(found)} objects are more than a source may apply ({MOST_OBJECTS}); split the folder among several"
        problems.insert(0, Stalled(Reason.INVALID_SPEC, text))
    return Prepared(tuple(found.values()), tuple(problems[:MOST_PROBLEMS]))


class _Part(NamedTuple):
    manifest: Mapping[str, Any]
    file: str
    line: int


def flat(objects: Iterable[Built]) -> Iterator[Built]:
    """Lists as what is in them."""
    for built in objects:
        items = built.manifest.get("items")
        if built.manifest.get("kind") == "List" and isinstance(items, list):
            yield from (_Part(_map(item), built.file, built.line) for item in items)
        else:
            yield built


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _shape(manifest: Mapping[str, Any]) -> str | None:
    """What is missing before an object can be named."""
    for field in ("apiVersion", "kind"):
        if not isinstance(manifest.get(field), str) or not manifest[field]:
            return f"an object without {field}"
    kind, metadata = manifest["kind"], manifest.get("metadata")
    if not isinstance(metadata, Mapping):
        return f"a {kind} without metadata"
    name = metadata.get("name")
    if name is None and metadata.get("generateName"):
        return f"a {kind} with generateName would be made anew each time; write metadata.name"
    if not isinstance(name, str) or not name:
        return f"a {kind} without a name; write metadata.name, in quotes if it looks like a number"
    if "/" in name or name in (".", "..") or len(name) > _LONGEST_NAME:
        return f"a {kind} called {name[:64]!r}; write a name without '/', of at most {_LONGEST_NAME} characters"
    namespace = metadata.get("namespace") or ""
    if not isinstance(namespace, str) or (namespace and not _NAMESPACE(namespace)):
        return f"{kind} {name}: metadata.namespace must be a namespace's name, in quotes if it looks like a number"
    return _texts(manifest)


def _texts(manifest: Mapping[str, Any]) -> str | None:
    """Values that have to be text and that YAML takes for something else."""
    shown = f"{manifest['kind']} {manifest['metadata']['name']}"
    places = [(f"metadata.{name}", manifest["metadata"].get(name)) for name in ("labels", "annotations")]
    if "/" not in manifest["apiVersion"]:
        places += [(name, manifest.get(name)) for name in _TEXTS.get(manifest["kind"], ())]
    for path, values in places:
        if values is not None and not isinstance(values, Mapping):
            return f"{shown}: {path} must be a mapping of names to text"
        for key, value in (values or {}).items():
            if not isinstance(value, str | None):
                return f"{shown}: {path}.{key} must be text; put its value in quotes"
    return None


def _prepared(
    manifest: Mapping[str, Any], owner: OwnerKey, namespace: str, scope: Scope
) -> tuple[Manifest, str | Wait | None]:
    shown = f"{manifest['kind']} {manifest['metadata']['name']}"
    metadata = {key: value for key, value in manifest["metadata"].items() if key not in _SERVERS_OWN}
    known = scope(manifest["apiVersion"], manifest["kind"])
    if known is None:
        text = f"{shown}: the cluster has no kind {manifest['kind']} in {manifest['apiVersion']}"
        hint = "; apply its CustomResourceDefinition first, or name in spec.dependsOn what brings it"
        return {}, Wait(Reason.DEPENDENCY_NOT_READY, text + hint, 10.0)
    if known:
        metadata["namespace"] = metadata.get("namespace") or namespace
    else:
        metadata.pop("namespace", None)
    problem = _reserved(shown, metadata)
    if problem is not None:
        return {}, problem
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != _KUBECTL}
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels_of(owner)}
    body = {key: value for key, value in manifest.items() if key not in ("status", "metadata")}
    if manifest["kind"] == "Secret" and manifest["apiVersion"] == "v1":
        body = _one_data(body)
    bare = {**body, "metadata": {**metadata, "annotations": annotations}}
    annotations = {**annotations, labels.APPLIED_HASH: digest(_without_secrets(bare))}
    return {**body, "metadata": {**metadata, "annotations": annotations}}, None


def _reserved(shown: str, metadata: Mapping[str, Any]) -> str | None:
    """Marks that say whose an object is: ours to set, or anybody could make an object look like another's."""
    for name, reserved in (("labels", RESERVED_LABELS), ("annotations", RESERVED_ANNOTATIONS)):
        for key in sorted(reserved & set(metadata.get(name) or ())):
            return f"{shown}: metadata.{name}.{key} is set by Homeport alone; leave it out"
    if labels.FINALIZER in (metadata.get("finalizers") or ()):
        return f"{shown}: the finalizer {labels.FINALIZER} is set by Homeport alone; leave it out"
    return None


def _one_data(body: Manifest) -> Manifest:
    """A Secret's stringData where the server puts it: what is only written is never compared, and never goes."""
    texts = {key: value for key, value in (body.get("stringData") or {}).items() if value is not None}
    if "stringData" not in body:
        return body
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in texts.items()}
    rest = {key: value for key, value in body.items() if key != "stringData"}
    return {**rest, "data": {**(body.get("data") or {}), **encoded}}


def _without_secrets(manifest: Manifest) -> Manifest:
    """What is told of in an annotation: which keys a Secret has, and nothing that could be guessed at."""
    if manifest["kind"] != "Secret" or manifest["apiVersion"] != "v1":
        return manifest
    return {**manifest, "data": sorted(manifest.get("data") or ())}


def _itself(wanted: Wanted, owner: OwnerKey, spec: Mapping[str, Any]) -> str | None:
    """A repository may hold the source that reads it, and not turn it to another place, account or key."""
    id = wanted.id
    if (id.group, id.kind, id.namespace, id.name) != (labels.GROUP, owner.kind, owner.namespace, owner.name):
        return None
    if labels.PIN in wanted.annotations:
        return f"{id.shown} is the source that applies this: pinned by its own repository it would follow it no more"
    try:
        # Parsed, so that what the server has filled in is no difference.
        asked = parse_spec(GitSourceSpec, _map(wanted.manifest.get("spec")))
        present = parse_spec(GitSourceSpec, spec)
    except InvalidSpec:
        return None  # the server says what is wrong with it
    changed = [
        GitSourceSpec.model_fields[field].alias
        for field in _STEERING
        if getattr(asked, field) != getattr(present, field)
    ]
    if not changed:
        return None
    return (
        f"{id.shown} is the source that applies this: a repository can't change its own spec.{changed[0]}; change it "
        "with kubectl, by somebody who may"
    )


def _twice(other: Wanted | None) -> str | None:
    if other is None:
        return None
    return f"{other.id.shown} is in {other.where or 'the folder'} as well; write each object once"
