"""Dynamic providers of Pulumi on the forges' drivers: the repository, what it has, and the rendered files in it.

Inputs that all have: ``forge`` (provider, address of the API, where the token is) and ``repository`` (owner/name).
The token and the values of secrets are no inputs, and so in no state: they are read where they are needed, by their
references. What is known of a value afterwards is a digest, which is secret in the state.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pulumi
from pulumi.dynamic import CreateResult, ReadResult, Resource, UpdateResult

from homeport.drivers.forge import PROVIDERS, Forge, ForgeFailed, Http
from homeport.drivers.forge.setup import HINTS, Setup, Spec, differing, mark, patient, setup
from homeport_clusters.providers.base import Props, Provider, ProviderError, gone, run
from homeport_pipelines import files, sources

T = TypeVar("T")

DELETE = "HOMEPORT_PIPELINES_DELETE_REPOSITORY"
"""The variable that names the repository which may be deleted: the second of the two that must ask."""
IDENTITY = ("repository", "kind", "key")


@asynccontextmanager
async def connected(props: Props) -> AsyncIterator[tuple[Setup, Forge]]:
    """The clients of the repository that ``props`` name. Raises ProviderError with what the forge said."""
    forge = props["forge"]
    token = sources.value("repository.token", forge["token"])
    client = PROVIDERS[forge["provider"]]
    http = Http(forge["api"], client.headers(token), hints=HINTS)
    try:
        yield setup(forge["provider"], http, props["repository"]), client(http, props["repository"])
    except ForgeFailed as error:
        raise ProviderError(str(error)) from None
    finally:
        await http.close()


def asked(props: Props, work: Callable[[Setup, Forge], Awaitable[T]]) -> T:
    """Do something at the forge; again when it fails for what passes."""

    async def all_of_it() -> T:
        async with connected(props) as (client, forge):
            return await patient(lambda: work(client, forge))

    return run(all_of_it())


class RepositoryProvider(Provider):
    """A repository. One that Homeport made carries its mark; another is taken with ``adopt`` only.

    ``settings`` are those that are wanted of one that may be adopted, as ``KIND/KEY``; ``before`` those that were there
    already. They are looked at here since all settings wait for the repository, and so for the state to have it: one
    that is there when it is to be made may just as well be a killed run's.
    """

    replace_on = ("repository",)

    def create(self, props: Props) -> CreateResult:
        """Make it, or go on with the one that an earlier run began."""
        made, before = asked(props, lambda client, _: self._settled(client, props, {}))
        return CreateResult(props["repository"], {**props, "made": made, "before": before, "drift": []})

    async def _settled(self, client: Setup, props: Props, olds: Props) -> tuple[bool, list[str]]:
        """Whether Homeport made it, and which of the settings were there before they were wanted."""
        made = await self._put(client, props)
        known = olds.get("settings") or ()
        before = [name for name in olds.get("before") or () if name in props["settings"]]
        for name in (name for name in props["settings"] if name not in known):
            kind, _, key = name.partition("/")
            if await client.parts[kind].observe(key) is not None:
                before.append(name)
        return made, before

    async def _put(self, client: Setup, props: Props) -> bool:
        part, spec = client.parts["repository"], dict(props["spec"])
        found = await part.observe("")
        if found is not None and not found["made"] and not props["adopt"]:
            raise ProviderError(
                f"{props['repository']} is there already, and Homeport didn't make it; "
                "write adopt: true to have it set up, or choose another name"
            )
        unmarked = found is not None and found["made"] and mark(props["repository"]) not in found["topics"]
        if found is None or differing(spec, found) or unmarked:
            await part.put("", spec, "", found)
        return found is None or bool(found["made"])

    def read(self, id_: str, props: Props) -> ReadResult:
        """What it is now."""
        found = asked(props, lambda client, _: client.parts["repository"].observe(""))
        if found is None:
            return gone()
        return ReadResult(id_, {**props, "drift": differing(props["spec"], found)})

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        """Change it, unless it is so."""
        made, before = asked(_news, lambda client, _: self._settled(client, {**_news, "adopt": True}, _olds))
        return UpdateResult({**_news, "made": made, "before": before, "drift": []})

    def delete(self, _id: str, _props: Props) -> None:
        """Leave it, unless the file and the command both say that it may go, and Homeport made it."""
        name = _props["repository"]
        if _props["protect"] or not _props.get("made") or os.environ.get(DELETE) != name:
            return

        async def remove(client: Setup, _: Forge) -> None:
            found = await client.parts["repository"].observe("")
            if found is not None and found["made"]:
                await client.parts["repository"].remove("")

        asked(_props, remove)


class SettingProvider(Provider):
    """One thing that a repository has. ``kept``: it was there before in a repository that was adopted, and stays."""

    replace_on = IDENTITY
    silent = ("before",)

    def create(self, props: Props) -> CreateResult:
        """Make it so, whatever is there."""
        name = f"{props['kind']}/{props['key']}"
        kept = bool(props["adopted"]) and name in (props.get("before") or ())
        return CreateResult(name, {**self._put(props, None), "kept": kept})

    def _put(self, props: Props, olds: Props | None) -> Props:
        value = sources.value(props["label"], props["value"]) if props.get("value") else ""
        key, spec = props["key"], dict(props["spec"])
        # What can't be read back is written when it isn't known to be the same, or was changed by hand.
        same = olds is not None and not olds.get("drift") and olds.get("digest") == props.get("digest")

        async def work(client: Setup, _: Forge) -> None:
            part = client.parts[props["kind"]]
            found = await part.observe(key)
            if found is None or differing(spec, found) or (value and not same):
                await part.put(key, spec, value, found)

        asked(props, lambda client, forge: _redacted(work(client, forge), value))
        return {**props, "drift": []}

    def read(self, id_: str, props: Props) -> ReadResult:
        """What it is now; of what is secret only whether it is there."""
        found = asked(props, lambda client, _: client.parts[props["kind"]].observe(props["key"]))
        if found is None:
            return gone()
        return ReadResult(id_, {**props, "drift": differing(props["spec"], found)})

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        """Change it, unless it is so."""
        return UpdateResult({**self._put(_news, _olds), "kept": bool(_olds.get("kept"))})

    def delete(self, _id: str, _props: Props) -> None:
        """Take it away, unless it was there before Homeport."""
        if not _props.get("kept"):
            asked(_props, lambda client, _: client.parts[_props["kind"]].remove(_props["key"]))


async def _redacted(work: Awaitable[T], value: str) -> T:
    """``work``, whose failure never repeats a secret that a forge may have sent back."""
    try:
        return await work
    except ForgeFailed as error:
        if not value or value not in str(error):
            raise
        text = str(error).replace(value, "***")
        raise ForgeFailed(text, passes=error.passes, after=error.after, code=error.code) from None


class FilesProvider(Provider):
    """The rendered pipeline in the repository. Files stay when everything else is taken away."""

    replace_on = ("repository",)
    silent = ("contents", "made")

    def create(self, props: Props) -> CreateResult:
        """Commit what isn't there: directly in a repository that Homeport just made, else by a pull request."""
        return CreateResult("files", self._put(props, ()))

    def _put(self, props: Props, before: tuple[str, ...]) -> Props:
        wanted = files.Wanted(props["branch"], dict(props["contents"]), before, props["message"])

        async def work(client: Setup, forge: Forge) -> Spec:
            return await files.commit(client, forge, wanted, made=bool(props["made"]))

        return {**props, **asked(props, work), "drift": []}

    def read(self, id_: str, props: Props) -> ReadResult:
        """Which files aren't as they were rendered, on the branch or in the pull request that waits."""
        wanted = files.Wanted(props["branch"], dict(props["contents"]), (), props["message"])

        async def work(client: Setup, forge: Forge) -> Spec:
            return await files.look(client, forge, wanted)

        return ReadResult(id_, {**props, **asked(props, work)})

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        """Commit what changed; files that are rendered no more are removed."""
        before = tuple(path for path in _olds["files"] if path not in _news["files"])
        return UpdateResult(self._put(_news, before))


class Repository(Resource, module="homeport", name="Repository"):
    """A repository on a forge. ``made``: whether Homeport made it; ``before``: which settings were there before."""

    made: pulumi.Output[bool]
    before: pulumi.Output[list[str]]

    def __init__(self, name: str, props: Props, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(RepositoryProvider(), name, {**props, "made": None, "before": None, "drift": None}, opts)


class Files(Resource, module="homeport", name="Files"):
    """The rendered pipeline. ``pullRequest``: the address of the pull request that waits, if one does."""

    pullRequest: pulumi.Output[str]  # noqa: N815 - as in the state

    def __init__(self, name: str, props: Props, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(FilesProvider(), name, {**props, "pullRequest": None, "drift": None}, opts)


class Setting(Resource):
    """One thing that a repository has."""

    def __init__(self, name: str, props: Props, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(SettingProvider(), name, {**props, "kept": None, "drift": None}, opts)


class Protection(Setting, module="homeport", name="Protection"):
    """Protection of a branch."""


class Environment(Setting, module="homeport", name="Environment"):
    """An environment that jobs deploy to."""


class Secret(Setting, module="homeport", name="Secret"):
    """A secret that jobs see."""


class Variable(Setting, module="homeport", name="Variable"):
    """A variable that jobs see."""


class Webhook(Setting, module="homeport", name="Webhook"):
    """A webhook."""


class Label(Setting, module="homeport", name="Label"):
    """A label of issues and pull requests."""


class Collaborator(Setting, module="homeport", name="Collaborator"):
    """Somebody who may work in the repository."""


SETTINGS: dict[str, type[Setting]] = {
    "protection": Protection,
    "environment": Environment,
    "secret": Secret,
    "variable": Variable,
    "webhook": Webhook,
    "label": Label,
    "collaborator": Collaborator,
}
