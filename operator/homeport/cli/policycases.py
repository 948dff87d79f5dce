"""Cases of admission policies: files beside the policies, and what a cluster says to them."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from homeport.api import labels
from homeport.cli.errors import Failure
from homeport.drivers.kubernetes import errors, types
from homeport.drivers.kubernetes.protocol import Api
from homeport.drivers.kubernetes.types import Manifest

PLACE = "$(NAMESPACE)"
"""Stands for the case's own namespace."""
PATIENCE = 15.0
"""Seconds in which a policy and its parameters come into force."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class User(_Strict):
    """Who asks."""

    name: str
    groups: tuple[str, ...] = ()


class Case(_Strict):
    """One request, and what is expected of it. Exactly one of create, update and delete."""

    name: str
    """What is shown."""
    namespace: dict[str, Any] = Field(default_factory=dict)
    """The metadata of the case's namespace: labels and annotations."""
    objects: tuple[Manifest, ...] = ()
    """What is there before."""
    labelled: dict[str, Any] = Field(default_factory=dict)
    """Metadata that the namespace gets once ``objects`` are there, and for which they couldn't be made any more."""
    user: User | None = None
    """Who asks; absent means whoever runs the cases."""
    create: Manifest | None = None
    """Tried as a dry run."""
    update: Manifest | None = None
    """Server-side apply, tried as a dry run on what is in ``objects``."""
    subresource: str | None = None
    """What of the object is updated, such as ephemeralcontainers; absent means the object itself."""
    delete: Manifest | None = None
    """It is made, and then deleted."""
    refused: Annotated[str | None, Field(min_length=3)] = None
    """Part of the message; absent means that it is accepted."""

    @model_validator(mode="after")
    def _one(self) -> Case:
        if sum(verb is not None for verb in (self.create, self.update, self.delete)) != 1:
            raise ValueError("write exactly one of create, update and delete")
        if self.labelled and not self.objects:
            raise ValueError("labelled is for what is there before; write objects")
        if self.subresource is not None and self.update is None:
            raise ValueError("a subresource is updated; write update")
        return self


class Suite(_Strict):
    """A file of cases."""

    policy: str
    """The policy that they are about."""
    cases: Annotated[tuple[Case, ...], Field(min_length=1)]


class Result(NamedTuple):
    """What came of a case; ``problem`` is empty when it is as it should be."""

    policy: str
    case: str
    problem: str = ""


def read(paths: Sequence[Path]) -> list[Suite]:
    """The suites in files and folders. Raises Failure that names the file."""
    files = [file for path in paths for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])]
    if not files:
        raise Failure(f"no files of cases in {', '.join(map(str, paths))}")
    suites = []
    for file in files:
        try:
            suites.append(Suite.model_validate(yaml.safe_load(file.read_text())))
        except (OSError, yaml.YAMLError, ValidationError) as error:
            raise Failure(f"{file}: {error}") from None
    return suites


async def tried(suite: Suite, client: Api) -> list[Result]:
    """Run a suite. What has to be refused comes first: that shows that the policy is in force. Raises ApiError."""
    if await client.get(types.VALIDATING_ADMISSION_POLICY, None, suite.policy, metadata_only=True) is None:
        return [Result(suite.policy, case.name, "the policy isn't installed") for case in suite.cases]
    order = sorted(suite.cases, key=lambda case: case.refused is None)
    return [Result(suite.policy, case.name, await _Trial(suite.policy, case, client).run()) for case in order]


class _Trial:
    """One case, in a namespace of its own."""

    def __init__(self, policy: str, case: Case, client: Api) -> None:
        self._policy, self._case, self._client = policy, case, client
        self._place = f"policy-test-{uuid.uuid4().hex[:8]}"
        self._made: list[Manifest] = []

    async def run(self) -> str:
        """What is wrong; empty when nothing is."""
        metadata = self._filled({**self._case.namespace, "name": self._place})
        try:
            await self._make({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
            for manifest in self._case.objects:
                await self._make(self._filled(manifest))
            return await self._labelled() or await self._judged()
        except (errors.ApiError, KeyError) as error:
            return f"it can't be tried: {error}"
        finally:
            await self._clean()

    async def _labelled(self) -> str:
        """Give the namespace its later metadata, and wait until the policy knows it: it refuses copies of the objects.

        What is wrong; empty when nothing is.
        """
        if not self._case.labelled:
            return ""
        await self._client.patch(types.NAMESPACE, None, self._place, {"metadata": self._filled(self._case.labelled)})
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for manifest in map(self._filled, self._case.objects):
                metadata = {**manifest["metadata"], "name": f"{manifest['metadata']['name']}-anew"}
                copy = self._client.create(
                    types.gvk_of(manifest), metadata.get("namespace"), {**manifest, "metadata": metadata}, dry_run=True
                )
                if self._ours(await _said(copy)):
                    return ""
            await asyncio.sleep(0.3)
        return "with what is in labelled, the policy refuses none of objects"

    async def _judged(self) -> str:
        until = time.monotonic() + PATIENCE
        while True:
            said = await self._ask()
            problem = self._problem(said)
            # A policy, labels, parameters and rights are known to the API server a moment after they are there.
            final = self._case.refused is None and self._case.user is None and not self._ours(said)
            if not problem or time.monotonic() > until or final:
                return problem
            await asyncio.sleep(0.3)

    def _ours(self, said: str | None) -> bool:
        return said is not None and f"'{self._policy}'" in said

    def _problem(self, said: str | None) -> str:
        wanted = self._case.refused
        if wanted is None:
            return "" if said is None else f"refused: {said}"
        if said is None:
            return "it was accepted"
        text = wanted.replace(PLACE, self._place)
        return "" if self._ours(said) and text in said else f"refused in other words: {said}"

    async def _ask(self) -> str | None:
        """The refusal's message; None when it was accepted."""
        case, client = self._case, self._client
        if case.user is not None:
            client = client.impersonate(case.user.name.replace(PLACE, self._place), case.user.groups)
        body = self._filled(case.create or case.update or case.delete)
        gvk, metadata = types.gvk_of(body), body["metadata"]
        namespace, name = metadata.get("namespace"), metadata["name"]
        if case.delete is not None and await self._client.get(gvk, namespace, name, metadata_only=True) is None:
            await self._make(body)
        if case.create is not None:
            return await _said(client.create(gvk, namespace, body, dry_run=True))
        if case.update is not None:
            by, part = "homeport-policy-test", case.subresource
            return await _said(client.apply(gvk, namespace, name, body, manager=by, subresource=part, dry_run=True))
        return await _said(client.delete(gvk, namespace, name))

    def _filled(self, value: Any) -> Any:
        """``value`` with the namespace in place, and manifests of namespaced kinds in it."""
        if isinstance(value, str):
            return value.replace(PLACE, self._place)
        if isinstance(value, list | tuple):
            return [self._filled(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        out = {self._filled(key): self._filled(entry) for key, entry in value.items()}
        if "apiVersion" in out and "kind" in out and "metadata" in out and types.gvk_of(out).namespaced:
            out["metadata"] = {"namespace": self._place, **out["metadata"]}
        return out

    async def _make(self, manifest: Manifest) -> None:
        gvk, namespace = types.gvk_of(manifest), manifest["metadata"].get("namespace")
        await self._client.create(gvk, namespace, manifest)
        self._made.append(manifest)
        if "status" in manifest:  # which creating leaves out
            status = {"status": manifest["status"]}
            await self._client.patch(gvk, namespace, manifest["metadata"]["name"], status, subresource="status")

    async def _clean(self) -> None:
        """Remove what is outside of the namespace, and the namespace, with which all in it goes."""
        for manifest in reversed(self._made):
            gvk = types.gvk_of(manifest)
            if gvk is types.NAMESPACE and await self._client.get(gvk, None, self._place, metadata_only=True):
                # A Project in it, which nobody has archived, would hold it.
                await self._client.patch(gvk, None, self._place, {"metadata": {"labels": {labels.PROJECT: None}}})
            if not gvk.namespaced:
                await self._client.delete(gvk, None, manifest["metadata"]["name"])


async def _said(call: Awaitable[object]) -> str | None:
    """The refusal's message; None when it was accepted."""
    try:
        await call
    except (errors.Forbidden, errors.Invalid) as error:
        return str(error)
    return None
