"""What several environments have in common, and how one of them differs from that. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = Any

# Lists whose items Kubernetes and kustomize merge by a key: https://kubectl.docs.kubernetes.io/references/kustomize/
# Every other list is replaced as a whole.
KEYED = frozenset(
    {
        *("containers", "initContainers", "env", "volumes", "volumeMounts", "volumeDevices", "ports"),
        *("imagePullSecrets", "topologySpreadConstraints", "hostAliases"),
    }
)
# Of these, the ones whose key is their name and whose items may be changed one by one.
NAMED = frozenset({"containers", "initContainers", "env"})


class NotMergeable(Exception):  # noqa: N818 - it is an answer
    """A difference that merging can't express."""


def common(values: Sequence[Json], key: str = "") -> Json:
    """What most of ``values`` have; among equals, what the first has. Mappings are compared field by field."""
    first = values[0]
    if all(isinstance(value, Mapping) for value in values):
        out = {}
        for name in dict.fromkeys(name for value in values for name in value):
            having = [value[name] for value in values if name in value]
            if 2 * len(having) > len(values) or (2 * len(having) == len(values) and name in first):
                out[name] = common(having, name)
        return out
    if key in NAMED and _alike(values):
        return [common(items) for items in zip(*values, strict=True)]
    counts = [sum(other == value for other in values) for value in values]
    return values[counts.index(max(counts))]


def _alike(values: Sequence[Json]) -> bool:
    """Whether all are lists of the same names in the same order."""
    names = [[item.get("name") for item in value] for value in values if isinstance(value, list)]
    return len(names) == len(values) and all(found == names[0] and len(set(found)) == len(found) for found in names)


def merge_patch(base: Mapping[str, Json], wanted: Mapping[str, Json]) -> dict[str, Json]:
    """What has to be merged into ``base`` for ``wanted``; None takes a field away, and a list replaces a list.

    This is how Helm puts one values file over another: https://helm.sh/docs/chart_template_guide/values_files/
    """
    out: dict[str, Json] = {name: None for name in base if name not in wanted}
    for name, value in wanted.items():
        if name not in base:
            out[name] = value
        elif isinstance(value, Mapping) and isinstance(base[name], Mapping):
            inner = merge_patch(base[name], value)
            if inner:
                out[name] = inner
        elif base[name] != value:
            out[name] = value
    return out


def strategic_patch(base: Mapping[str, Json], wanted: Mapping[str, Json], key: str = "") -> dict[str, Json]:
    """As ``merge_patch``, with the items of keyed lists merged by name. Raises NotMergeable where that can't be."""
    out: dict[str, Json] = {name: None for name in base if name not in wanted}
    if out and key in ("metadata", "annotations", "labels"):
        raise NotMergeable(key)  # kustomize keeps them, or leaves a null
    for name, value in wanted.items():
        if name not in base:
            out[name] = value
        elif base[name] == value:
            continue
        elif isinstance(value, Mapping) and isinstance(base[name], Mapping):
            out[name] = strategic_patch(base[name], value, name)
        elif name in NAMED and _alike([base[name], value]):
            pairs = zip(base[name], value, strict=True)
            # Those that stay as they are are named too: kustomize puts what a patch names before what it doesn't.
            out[name] = [{"name": new["name"], **strategic_patch(old, new)} for old, new in pairs]
        elif name in KEYED:
            raise NotMergeable(name)
        else:
            out[name] = value
    return out


def operations(base: Mapping[str, Json], wanted: Mapping[str, Json], path: str = "") -> list[dict[str, Json]]:
    """The RFC 6902 operations from ``base`` to ``wanted``; lists are replaced as a whole."""
    out: list[dict[str, Json]] = []
    for name in dict.fromkeys([*base, *wanted]):
        where = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
        if name not in wanted:
            out.append({"op": "remove", "path": where})
        elif name not in base:
            out.append({"op": "add", "path": where, "value": wanted[name]})
        elif isinstance(base[name], Mapping) and isinstance(wanted[name], Mapping):
            out += operations(base[name], wanted[name], where)
        elif base[name] != wanted[name]:
            out.append({"op": "replace", "path": where, "value": wanted[name]})
    return out
