"""Patches on rendered objects: RFC 6902 operations, or a partial object that is merged strategically.

They are the way out when there is no field, not a way around: what makes an object Homeport's, its identity and the
account that its Pods run as stay as rendered, and Pod Security is checked afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jsonpatch
import jsonpointer
import yaml

from homeport.api import labels
from homeport.api.application import ApplicationEnvironment, Patch, PatchTarget
from homeport.api.resource import InvalidSpec
from homeport.plan import canonical, merge
from homeport.plan.podsecurity import LEVELS, pod_template, violations
from homeport.plan.types import Child, Manifest

_MAX_NODES = 20_000
_MAX_DEPTH = 64
_GUARDED_PREFIX = f"{labels.GROUP}/"


class _UnusableError(Exception):
    """A patch that can't be used; the message says why and what to write."""


def patched(children: Sequence[Child], environment: ApplicationEnvironment) -> list[Child]:
    """``children`` after the environment's patches, in their order. Raises InvalidSpec that names the patch."""
    out = list(children)
    problems = []
    for index, patch in enumerate(environment.patches):
        try:
            out = _apply(out, patch)
        except _UnusableError as error:
            problems.append(f"{_where(environment, index)}: {error}")
    if problems:
        raise InvalidSpec(problems)
    return out


def problems(environment: ApplicationEnvironment) -> list[str]:
    """What can be seen of the patches without objects to apply them to: text that isn't a patch."""
    out = []
    for index, patch in enumerate(environment.patches):
        try:
            _parsed(patch.patch)
        except _UnusableError as error:
            out.append(f"{_where(environment, index)}: {error}")
    return out


def _where(environment: ApplicationEnvironment, index: int) -> str:
    return f"spec.environments[{environment.name}].patches[{index}]"


# --- what a patch is ------------------------------------------------------------------------------------------------


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as Kubernetes reads it: what looks like a date stays text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


@lru_cache(maxsize=256)
def _parsed(text: str) -> Any:
    """The patch in ``text``: a list of operations, or a map. It is shared, so nobody changes it."""
    try:
        documents = [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark is not None else ""
        raise _UnusableError(f"the patch isn't YAML{line}: {getattr(error, 'problem', None) or error}") from None
    if len(documents) != 1:
        raise _UnusableError(f"there are {len(documents)} YAML documents in the patch; write one for each patch")
    value = _json(documents[0], [0], 0)
    if isinstance(value, list):
        _check_operations(value)
    elif not isinstance(value, dict):
        raise _UnusableError(
            "the patch is neither a list of operations (RFC 6902) nor a partial object (strategic merge); write one"
        )
    return value


def _json(value: Any, count: list[int], depth: int) -> Any:
    """A copy of ``value`` as JSON has it. Aliases may make a short text a huge or endless value: there is a bound."""
    count[0] += 1
    if count[0] > _MAX_NODES or depth > _MAX_DEPTH:
        raise _UnusableError("the patch is too large or too deep once its aliases are followed; write it out")
    if isinstance(value, dict):
        return {str(key): _json(entry, count, depth + 1) for key, entry in value.items()}
    if isinstance(value, list):
        return [_json(entry, count, depth + 1) for entry in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise _UnusableError(
        f"the patch holds a {type(value).__name__}, which JSON has no word for; write text, a number or a map"
    )


def _check_operations(operations: list[Any]) -> None:
    try:
        jsonpatch.JsonPatch(operations)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError) as error:
        raise _UnusableError(f"the patch isn't a list of RFC 6902 operations: {error}") from None


# --- which objects --------------------------------------------------------------------------------------------------


def _apply(children: list[Child], patch: Patch) -> list[Child]:
    value = _parsed(patch.patch)
    out: list[Child] = []
    found = False
    for child in children:
        if _is_target(child, patch.target):
            found = True
            manifest = _changed(child.manifest, value)
            if manifest is not None:
                out.append(replace(child, manifest=manifest))
        else:
            out.append(child)
    if not found:
        raise _UnusableError(_nothing_found(children, patch.target))
    return out


def _is_target(child: Child, target: PatchTarget) -> bool:
    manifest = child.manifest
    if manifest["kind"] != target.kind:
        return False
    group, slash, version = manifest["apiVersion"].rpartition("/")
    if target.group is not None and target.group != (group if slash else ""):
        return False
    if target.version is not None and target.version != version:
        return False
    return target.name is None or target.name in (child.component, manifest["metadata"]["name"])


def _nothing_found(children: Iterable[Child], target: PatchTarget) -> str:
    called = f" {target.name}" if target.name is not None else ""
    there = sorted({child.manifest["metadata"]["name"] for child in children if child.manifest["kind"] == target.kind})
    if there:
        return f"no {target.kind}{called} is rendered here; there is {target.kind} {', '.join(there)}"
    kinds = sorted({str(child.manifest["kind"]) for child in children})
    names = sorted({child.manifest["metadata"]["name"] for child in children if child.manifest["kind"] == "Deployment"})
    shown = f"; there is Deployment {', '.join(names)}" if names else ""
    return f"no {target.kind}{called} is rendered here; the kinds are {', '.join(kinds)}{shown}"


# --- what becomes of one object -------------------------------------------------------------------------------------


def _changed(before: Manifest, value: Any) -> Manifest | None:
    """``before`` after the patch, as the API server stores it; None when the patch deletes it."""
    kind, name = before["kind"], before["metadata"]["name"]
    try:
        if isinstance(value, list):
            after = jsonpatch.JsonPatch(deepcopy(value)).apply(before)
        else:
            after = merge.strategic(kind, before, value)
    except jsonpatch.JsonPatchTestFailed as error:
        raise _UnusableError(f"a test operation doesn't hold on {kind} {name}: {_first_line(error)}") from None
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
        raise _UnusableError(f"it doesn't apply to {kind} {name}: {_first_line(error)}") from None
    except (merge.MergeError, TypeError, KeyError, IndexError, AttributeError, ValueError) as error:
        raise _UnusableError(f"it doesn't apply to {kind} {name}: {_first_line(error)}") from None
    if after is None:
        return None
    if not isinstance(after, dict):
        raise _UnusableError(f"it leaves no object of {kind} {name}; patch its fields instead")
    try:
        tidy: Manifest = canonical.tidy(after)
        _check_shape(tidy)
    except ValueError as error:
        raise _UnusableError(f"it doesn't apply to {kind} {name}: {error}") from None
    _check_guarded(before, tidy)
    return tidy


def _check_shape(manifest: Manifest) -> None:
    """Raise ValueError when what a patch left of a Pod template can't even be read."""
    template = pod_template(manifest)
    try:
        if template is not None:
            violations(template["spec"], LEVELS[0])
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"what is left of the Pod template has the wrong shape ({error})") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def _check_guarded(before: Manifest, after: Manifest) -> None:
    kind, name = before["kind"], before["metadata"]["name"]
    was, is_ = _guarded(before), _guarded(after)
    changed = [field for field in was if was[field] != is_.get(field)] + [field for field in is_ if field not in was]
    if changed:
        raise _UnusableError(
            f"it changes {', '.join(changed)} of {kind} {name}, which patches may not; "
            "write the component's own field, or leave it as it is"
        )


def _guarded(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What no patch may change: identity, whose it is, and the account that Pods run as."""
    out = {"apiVersion": manifest.get("apiVersion"), "kind": manifest.get("kind")}
    metadata = manifest.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    out |= {
        f"metadata.{field}": metadata.get(field) for field in ("name", "namespace", "ownerReferences", "finalizers")
    }
    out |= _guarded_marks(metadata, "metadata")
    if manifest.get("kind") == "CronJob":
        spec = manifest.get("spec")
        job = spec.get("jobTemplate") if isinstance(spec, Mapping) else None
        out |= _guarded_marks(job.get("metadata") if isinstance(job, Mapping) else None, "the Jobs' metadata")
    template = pod_template(manifest)
    if template is not None:
        out |= _guarded_marks(template.get("metadata"), "the Pods' metadata")
        for field in ("serviceAccountName", "serviceAccount"):
            out[field] = template["spec"].get(field)
    return out


def _guarded_marks(metadata: Any, where: str) -> dict[str, Any]:
    out = {}
    for field in ("labels", "annotations"):
        marks = metadata.get(field) if isinstance(metadata, Mapping) else None
        for key, value in marks.items() if isinstance(marks, Mapping) else ():
            if key.startswith(_GUARDED_PREFIX) or key == labels.MANAGED_BY:
                out[f"{where}.{field}[{key}]"] = value
    return out
