"""The program: from pipeline.yaml to resources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi

from homeport.drivers.forge import api_url
from homeport.drivers.kubernetes import types
from homeport.pipelines.repository import GitSourceRef, Repository, Webhook
from homeport_clusters.providers.base import ProviderError
from homeport_pipelines import files, provider, sources, wanted

MESSAGE = "The pipeline, rendered from pipeline.yaml"


@dataclass(frozen=True)
class Prepared:
    """All that the program needs, read and checked before the engine runs: nothing is asked of the forge for it."""

    block: Repository
    forge: Mapping[str, Any]
    settings: tuple[wanted.Wanted, ...]
    values: Mapping[str, tuple[dict[str, Any], str]]
    """By label's key: where the value is, and its digest."""
    contents: Mapping[str, str]


def prepare(block: Repository, folder: Path, contents: Mapping[str, str]) -> Prepared:
    """Read what the block names: webhooks' paths of GitSources, and secrets' values for their digests.

    ``folder`` is pipeline.yaml's, ``contents`` the rendered files. Raises ProviderError.
    """
    addresses = {hook.name: address(hook) for hook in block.webhooks}
    twice = [name for name, one in addresses.items() if list(addresses.values()).count(one) > 1]
    if twice:
        raise ProviderError(f"webhooks {' and '.join(twice)} have one address; leave one of them out")
    provider_name = wanted.PROVIDERS[block.forge]
    clone = f"{block.address}/{block.full_name}.git"
    token = sources.reference(block.token, folder)
    sources.value("repository.token", token)
    settings = wanted.of(block, addresses)
    values = {}
    for one in settings:
        if one.value is not None:
            found = sources.reference(one.value, folder)
            label = _label(one)
            about = f"{block.full_name}\0{one.kind}\0{one.key}"
            values[label] = (found, sources.digest(about, sources.value(label, found)))
    forge = {"provider": provider_name, "api": api_url(provider_name, block.url, clone), "token": token}
    return Prepared(block, forge, settings, values, contents if block.render else {})


def declare(prepared: Prepared) -> None:
    """The resources. Protection comes after the files: a branch that takes no pushes would take none of ours."""
    block = prepared.block
    for text in wanted.lacking(block):
        pulumi.log.warn(text)
    common = {"forge": dict(prepared.forge), "repository": block.full_name}
    about: dict[str, Any] = {"spec": wanted.repository(block), "adopt": block.adopt, "protect": block.protect}
    about["settings"] = [f"{one.kind}/{one.key}" for one in prepared.settings] if block.adopt else []
    repository = provider.Repository(block.full_name, {**common, **about})
    first: list[pulumi.Resource] = [repository]
    if prepared.contents:
        contents = dict(prepared.contents)
        rendered: dict[str, Any] = {"branch": block.default_branch, "contents": contents, "files": files.ids(contents)}
        rendered["made"] = repository.made
        made = provider.Files("pipeline", {**common, **rendered, "message": MESSAGE}, _after(repository))
        first.append(made)
        pulumi.export("pullRequest", made.pullRequest)
    environments: dict[str, pulumi.Resource] = {}
    for one in prepared.settings:
        before = first if one.kind == "protection" else [repository]
        if one.needs:
            before = [repository, environments[one.needs]]
        props = {**_props(prepared, one, common), "before": repository.before if block.adopt else []}
        found = provider.SETTINGS[one.kind](one.label, props, _after(*before))
        if one.kind == "environment":
            environments[one.key] = found
    pulumi.export("repository", block.full_name)
    pulumi.export("url", f"{block.address}/{block.full_name}")
    pulumi.export("made", repository.made)


def _props(prepared: Prepared, one: wanted.Wanted, common: Mapping[str, Any]) -> dict[str, Any]:
    label = _label(one)
    found = {"kind": one.kind, "key": one.key, "label": label, "spec": dict(one.spec)}
    more: dict[str, Any] = {"adopted": prepared.block.adopt}
    if label in prepared.values:
        source, digest = prepared.values[label]
        more |= {"value": source, "digest": pulumi.Output.secret(digest)}
    return {**common, **found, **more}


def _label(one: wanted.Wanted) -> str:
    return f"{one.kind} {one.label}"


def _after(*resources: pulumi.Resource) -> pulumi.ResourceOptions:
    return pulumi.ResourceOptions(depends_on=list(resources))


def address(hook: Webhook) -> str:
    """Where a webhook delivers to. Raises ProviderError when its GitSource doesn't say."""
    if hook.git_source is None:
        return str(hook.url)
    return sources.apart(_path_of(hook.name, hook.git_source))


async def _path_of(name: str, source: GitSourceRef) -> str:
    what = f"webhook {name}"
    found = await sources.object_of(types.GIT_SOURCE, source.namespace, source.name, what)
    if found is None:
        raise ProviderError(f"{what}: there is no GitSource {source.namespace}/{source.name}")
    path = (found.get("status") or {}).get("webhookPath")
    if not path:
        raise ProviderError(
            f"{what}: GitSource {source.namespace}/{source.name} has no status.webhookPath; "
            "write spec.webhook.secretRef into it, and start the operator with --webhook-listen"
        )
    return f"{source.receiver}{path}"


def program(prepared: Prepared) -> Callable[[], None]:
    """As Pulumi's Automation API takes it."""
    return lambda: declare(prepared)
