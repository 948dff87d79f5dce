"""What is wanted compared with what is there, field by field and only on the fields that are declared.

Server-side apply owns the fields that we declare and leaves all others alone, so the comparison does the same: an HPA's
replicas, an injected sidecar or a defaulted field is not a difference. A field that is *no longer* declared is seen by
the digest of the declared fields, which every object carries (``homeport.dev/applied-hash``).

=========================  ====================  ============================================
live object                digest                change
=========================  ====================  ============================================
absent                     any                   create
present, fields as wanted  as wanted             nothing
present                    another               update (or replace, if a field is immutable)
present, a field differs   as wanted             update, and it was drift
=========================  ====================  ============================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from homeport.api import labels
from homeport.plan.types import Change, Child, Manifest, Verb

# Lists that merge by key in the API's own schema: anything in them that we don't name is somebody else's.
# Source: x-kubernetes-list-map-keys in the OpenAPI document of Kubernetes 1.35, and in the Gateway's CRD.
_LIST_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "listeners": ("name",),
}
_PORT_KEYS = (("containerPort", "protocol"), ("port", "protocol"))
_QUANTITY_PARENTS = frozenset({"limits", "requests", "hard", "capacity", "sizeLimit", "averageValue", "divisor"})

# Fields that the API server never changes on an existing object.
# Source: the validation of each kind, https://github.com/kubernetes/kubernetes/tree/master/pkg/apis
_IMMUTABLE: dict[str, tuple[str, ...]] = {
    "StatefulSet": (
        "spec.selector",
        "spec.serviceName",
        "spec.podManagementPolicy",
        "spec.volumeClaimTemplates",
    ),
    "Deployment": ("spec.selector",),
    "Job": ("spec.selector", "spec.template", "spec.completions", "spec.completionMode"),
    "PersistentVolumeClaim": ("spec.accessModes", "spec.storageClassName", "spec.volumeMode", "spec.selector"),
    "RoleBinding": ("roleRef",),
}

_SUFFIXES = {
    "m": Decimal("0.001"), "": Decimal(1), "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9),
    "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18), "Ki": Decimal(2**10), "Mi": Decimal(2**20),
    "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip


def quantity(value: Any) -> Decimal | None:
    """A resource quantity as a number; None when it isn't one."""
    text = str(value)
    digits = text.rstrip("KMGTPEikm")
    try:
        return Decimal(digits) * _SUFFIXES[text[len(digits) :]]
    except (InvalidOperation, KeyError):
        return None


def digest(manifest: Mapping[str, Any]) -> str:
    """A short digest of everything that a manifest declares, the same for equal manifests in any key order."""
    return hashlib.sha256(orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)).hexdigest()[:20]


def stamped(manifest: Manifest) -> tuple[Manifest, str]:
    """``manifest`` with its digest as an annotation, and the digest."""
    value = digest(manifest)
    metadata = manifest["metadata"]
    annotations = {**(metadata.get("annotations") or {}), labels.APPLIED_HASH: value}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}, value


def applied_hash(live: Mapping[str, Any]) -> str | None:
    """The digest that was written with the last apply of ``live``."""
    annotations = live["metadata"].get("annotations")
    value = annotations.get(labels.APPLIED_HASH) if annotations else None
    return str(value) if value is not None else None


def differences(desired: Any, live: Any, path: str = "", key: str = "") -> Iterator[str]:
    """The paths at which ``live`` isn't what ``desired`` declares."""
    if isinstance(desired, Mapping):
        if not isinstance(live, Mapping):
            if desired or live is not None:
                yield path
            return
        for name, value in desired.items():
            child = f"{path}.{name}" if path else name
            if name not in live:
                if value not in ({}, [], None, "", False):
                    yield child
            else:
                yield from differences(value, live[name], child, name if key not in _QUANTITY_PARENTS else key)
    elif isinstance(desired, list):
        yield from _list_differences(desired, live, path, key)
    elif desired != live and not (_is_quantity(path, key) and quantity(desired) == quantity(live) is not None):
        yield path


def _is_quantity(path: str, key: str) -> bool:
    return key in _QUANTITY_PARENTS or path.endswith((".storage", ".averageValue", ".sizeLimit"))


def _list_differences(desired: list[Any], live: Any, path: str, key: str) -> Iterator[str]:
    if not isinstance(live, list):
        if desired or live is not None:
            yield path
        return
    keys = _merge_keys(key, desired)
    if keys is None:
        if len(desired) != len(live):
            yield path
            return
        for index, (wanted, found) in enumerate(zip(desired, live, strict=True)):
            yield from differences(wanted, found, f"{path}[{index}]")
        return
    found_by_key = {_key_of(item, keys): item for item in live if isinstance(item, Mapping)}
    for wanted in desired:
        item_key = _key_of(wanted, keys)
        where = f"{path}[{item_key[0]}]"
        found = found_by_key.get(item_key)
        if found is None:
            yield where
        else:
            yield from differences(wanted, found, where)


def _merge_keys(key: str, items: Sequence[Any]) -> tuple[str, ...] | None:
    if not items or not isinstance(items[0], Mapping):
        return None
    if key == "ports":
        # Of containers and Services; a NetworkPolicy's ports have no name and are atomic.
        for keys in _PORT_KEYS:
            if all(keys[0] in item and "name" in item for item in items):
                return keys
        return None
    return _LIST_KEYS.get(key)


def _key_of(item: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(item.get(name, "TCP" if name == "protocol" else None) for name in keys)


def immutable_differences(kind: str, fields: Sequence[str]) -> tuple[str, ...]:
    """Those of ``fields`` that the API server would refuse to change."""
    fixed = _IMMUTABLE.get(kind, ())
    return tuple(field for field in fields if any(_under(field, prefix) for prefix in fixed))


def _under(field: str, prefix: str) -> bool:
    return field == prefix or field.startswith((prefix + ".", prefix + "["))


def compare(child: Child, manifest: Manifest, wanted_hash: str, live: Mapping[str, Any] | None) -> Change:
    """What has to be done so that ``live`` is as ``manifest`` (``child``'s, stamped with ``wanted_hash``)."""
    if live is None:
        return Change(Verb.CREATE, child.id, "it isn't there", child, cluster=child.cluster)
    fields = tuple(differences(manifest, live))
    same_hash = applied_hash(live) == wanted_hash
    if same_hash and not fields:
        return Change(Verb.NOTHING, child.id, "", child, live, cluster=child.cluster)
    fields = tuple(field for field in fields if not field.endswith(labels.APPLIED_HASH))
    fixed = immutable_differences(child.id.kind, fields)
    if fixed:
        return Change(
            Verb.REPLACE,
            child.id,
            f"{', '.join(fixed)} can't be changed on it",
            child,
            live,
            fields,
            cluster=child.cluster,
        )
    if same_hash:
        return Change(
            Verb.UPDATE, child.id, "changed by somebody else", child, live, fields, cluster=child.cluster, drift=True
        )
    return Change(Verb.UPDATE, child.id, "declared differently", child, live, fields, cluster=child.cluster)
