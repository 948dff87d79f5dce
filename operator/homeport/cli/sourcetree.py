"""A GitSource in a tree: what it applied, of whatever kind that is, and its previews."""

from __future__ import annotations

import asyncio
from typing import Any

from homeport.api import labels
from homeport.cli.branches import Branch, Forest, branch_of
from homeport.cli.sources import pin_of, short
from homeport.drivers.kubernetes import errors
from homeport.drivers.kubernetes.types import GVK, Manifest
from homeport.plan import names
from homeport.plan.gitops import health
from homeport.plan.gitops.types import Entry, inventory_of


async def grow(forest: Forest, body: Manifest) -> Branch:
    """The source, a branch for each object that it applied, one for each pull request."""
    status, metadata = body.get("status") or {}, body["metadata"]
    note = short(str(status.get("lastAppliedRevision") or ""))
    out = branch_of(body, f"{note} (pinned)" if pin_of(body) else note)
    chosen = (
        f"{labels.SOURCE_NAMESPACE}={metadata['namespace']},{labels.SOURCE_NAME}={names.label_value(metadata['name'])}"
    )
    entries = inventory_of(status)
    kinds = await _kinds(forest, {entry.api_version for entry in entries})
    out.children += await asyncio.gather(*(_entry(forest, entry, kinds, chosen) for entry in entries))
    out.children += [_preview(entry) for entry in status.get("previews") or ()]
    return out


async def _kinds(forest: Forest, versions: set[str]) -> dict[tuple[str, str], GVK]:
    found = await asyncio.gather(*(forest.client.kinds(version) for version in sorted(versions)))
    return {(gvk.api_version, gvk.kind): gvk for several in found for gvk in several}


async def _entry(forest: Forest, entry: Entry, kinds: dict[tuple[str, str], GVK], chosen: str) -> Branch:
    out = Branch(entry.id.kind, entry.id.name, entry.id.namespace, "Unknown")
    gvk = kinds.get((entry.api_version, entry.id.kind))
    if gvk is None:
        out.message = f"the cluster doesn't serve it in {entry.api_version}"
        return out
    found = await forest.objects(gvk, entry.id.namespace, chosen)
    if isinstance(found, errors.ApiError):
        out.message = f"can't be seen: {found}"
        return out
    live = next((item for item in found if item["metadata"]["name"] == entry.id.name), None)
    if live is None:
        out.health, out.message = "Degraded", "isn't there"
        return out
    live = {"apiVersion": gvk.api_version, "kind": gvk.kind, **live}
    if gvk.group == labels.GROUP:
        return branch_of(live)
    seen = health.verdict(live)
    out.health, out.message = str(seen.health), seen.message
    out.note = f"{seen.ready}/{seen.desired}" if seen.desired else ""
    return out


def _preview(entry: dict[str, Any]) -> Branch:
    out = Branch("PullRequest", f"#{entry['number']}", "", "Healthy" if entry.get("ready") else "Progressing")
    out.note = " ".join(filter(None, (str(entry.get("state", "")), entry.get("url"))))
    out.message = str(entry.get("message") or "")
    return out
