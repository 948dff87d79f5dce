"""Charts: what is asked of helm, and which of what it prints is applied.

``helm template`` asks no cluster, so ``lookup`` finds nothing, and it knows of the cluster what it is told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from homeport.api import labels
from homeport.plan.gitops import manifests
from homeport.plan.gitops.build import BuildFailed, BuildSpec
from homeport.plan.gitops.checkout import SUBMODULE, SYMLINK, Entry
from homeport.plan.gitops.detect import CHART, joined, symlink
from homeport.plan.gitops.malformed import Malformed

HOOK = "helm.sh/hook"
KEEP = "helm.sh/resource-policy"
_TESTS = frozenset({"test", "test-success", "test-failure"})
_SOURCE = re.compile(r"^# Source: [^/\n]+/(.+)$")
_RELEASE = re.compile(r"[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?")


def files_of(folder: str, listing: Mapping[str, Entry]) -> list[str]:
    """All that a chart may read. Raises BuildFailed."""
    out = []
    for path, entry in listing.items():
        if entry.mode == SYMLINK:
            raise symlink(path)
        if entry.mode == SUBMODULE:
            raise BuildFailed(f"{path} is a submodule; write submodules: true to have it fetched")
        out.append(path)
    return out


def check(folder: str, chart: bytes, files: Sequence[str]) -> None:
    """Whether a chart has all that it depends on. Raises BuildFailed."""
    path = joined(folder, CHART)
    try:
        found = manifests.documents(manifests.text_of(chart), "")
    except Malformed as error:
        raise BuildFailed(f"{path}:{error.line}: {error}") from None
    body = found[0].body if found else None
    if not isinstance(body, dict):
        raise BuildFailed(f"{path}: this isn't a chart; write a mapping with apiVersion, name and version")
    vendored = joined(folder, "charts")
    dependencies = body.get("dependencies") or []
    # What isn't a list, helm has words for.
    for dependency in dependencies if isinstance(dependencies, list) else ():
        name = str(dependency.get("name")) if isinstance(dependency, Mapping) else ""
        archive = re.compile(rf"{re.escape(vendored)}/{re.escape(name)}-[^/]+\.tgz")
        if not any(file.startswith(f"{vendored}/{name}/") or archive.fullmatch(file) for file in files):
            raise BuildFailed(
                f"{path}: it depends on {name}, which isn't in {vendored}; nothing is fetched for a build, so run "
                "`helm dependency build` and commit what is in charts"
            )


def release(spec: BuildSpec, folder: str, alone: bool) -> str:
    """The name of a chart's release. Raises BuildFailed."""
    if spec.helm.release and not alone:
        raise BuildFailed(f"{joined(folder, CHART)}: build.helm.releaseName names one release, and the folder holds "
                          "several charts; leave it out, or make a source for each")  # fmt: skip
    name = spec.helm.release or (spec.name if folder == spec.path else folder.rpartition("/")[2].lower())
    if not _RELEASE.fullmatch(name):
        raise BuildFailed(f"{joined(folder, CHART)}: {name!r} can't be a release's name, which has at most 53 "
                          "lower-case letters, digits and '-'; write build.helm.releaseName")  # fmt: skip
    return name


def arguments(spec: BuildSpec, name: str, chart: str, values: Sequence[str]) -> list[str]:
    """What ``helm`` is called with."""
    words = ["template", name, chart, "--namespace", spec.helm.namespace or spec.namespace, "--skip-tests"]
    for file in values:
        words += ["--values", file]
    if spec.helm.include_crds:
        words.append("--include-crds")
    if spec.serves.version:
        words += ["--kube-version", spec.serves.version]
    for api in spec.serves.apis:
        words += ["--api-versions", api]
    return words


def sources(text: str, folder: str) -> dict[int, str]:
    """Which file what helm printed is from: the line after each comment that says so, and the file."""
    out = {}
    for number, line in enumerate(text.splitlines(), 1):
        found = _SOURCE.match(line)
        if found:
            out[number] = joined(folder, found[1])
    return out


def source_of(line: int, found: Mapping[int, str], folder: str) -> str:
    """The file that an object on a line is from."""
    before = [number for number in found if number <= line]
    return found[max(before)] if before else joined(folder, CHART)


def hook_of(body: Mapping[str, Any]) -> str:
    """When helm would apply an object instead of with the others; empty for one that isn't a hook."""
    return str((body["metadata"].get("annotations") or {}).get(HOOK, ""))


def is_test(hook: str) -> bool:
    """Whether an object is only for ``helm test``."""
    return {each.strip() for each in hook.split(",")} <= _TESTS


def kept(body: dict[str, Any]) -> dict[str, Any]:
    """An object, with helm's word for one that is never removed in ours."""
    annotations = body["metadata"].get("annotations") or {}
    if annotations.get(KEEP) != "keep":
        return body
    return {**body, "metadata": {**body["metadata"], "annotations": {**annotations, labels.PRUNE: "Disabled"}}}


def told(said: str, scratch: str, folder: str) -> str:
    """What helm said, with the repository's paths."""
    text = " ".join(said.replace(f"{scratch}/", "").replace(scratch, ".").split())
    return f"{joined(folder, CHART)}: helm: {text.removeprefix('Error: ')[-1000:]}"
