"""The application that is to be rendered and the environments that it is in, from files or from a cluster."""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from homeport.api.application import ApplicationSpec
from homeport.api.environment import EnvironmentSpec
from homeport.api.resource import InvalidSpec, Resource, parse
from homeport.cli.errors import Failure
from homeport.cli.options import Options
from homeport.plan import render as rendering
from homeport.plan.capabilities import NONE, Capabilities
from homeport.plan.plain import Bundle, bundle

App = Resource[ApplicationSpec]
Env = Resource[EnvironmentSpec]


@dataclass(frozen=True)
class Declared:
    """All that is declared somewhere. ``where`` is for sentences: "in these files"."""

    where: str
    applications: Sequence[App] = ()
    environments: Sequence[Env] = ()
    archived: frozenset[str] = field(default_factory=frozenset)
    """Projects that are archived."""


@dataclass(frozen=True)
class Chosen:
    """What is to be rendered, and what is to be said about it."""

    app: App
    bundles: tuple[Bundle, ...]
    remarks: tuple[str, ...] = ()


def in_files(sources: tuple[str, ...], namespace: str) -> Declared:
    """What files declare. Raises Failure when they couldn't be applied."""
    from homeport.cli.documents import bodies
    from homeport.cli.plan import readable

    return _declared(bodies(readable(sources), namespace), "in these files")


def in_cluster(options: Options, namespace: str | None) -> Declared:
    """What a cluster has, in ``namespace`` or in that of the kubeconfig's context. Reads only."""
    from homeport.cli import kinds
    from homeport.cli.cluster import connected, everything, run

    async def read() -> tuple[list[Any], str]:
        async with connected(options) as connection:
            here = namespace or connection.namespace
            return await everything(connection.client, kinds.ALL, here), here

    found, here = run(read())
    return _declared(found, f"in namespace {here}")


def _declared(found: Iterable[Mapping[str, Any]], where: str) -> Declared:
    resources: dict[str, list[Resource[Any]]] = {}
    for body in found:
        try:
            resource = parse(body)
        except InvalidSpec:
            continue  # other kinds than ours; ours have been checked
        resources.setdefault(resource.kind, []).append(resource)
    return Declared(
        where,
        resources.get("Application", []),
        resources.get("Environment", []),
        frozenset(project.namespace for project in resources.get("Project", []) if project.spec.archived),
    )


def choose(
    declared: Declared,
    name: str | None,
    environment: str | None,
    namespace: str | None = None,
    capabilities: Capabilities = NONE,
) -> Chosen:
    """The application ``name`` in ``environment``, or in all of its environments; either may be left out when there
    is one. ``capabilities`` are the cluster's. Raises Failure that says what there is, and InvalidSpec."""
    app = _application(declared, name, namespace)
    environments, remarks = _environments(declared, app, environment)
    from homeport.cli.checks import catalog

    expansion = catalog().expansion_now(app.spec, app.namespace)
    archived = app.namespace in declared.archived
    if archived:
        remarks.append(f"project {app.namespace} is archived: everything is rendered with no replicas")
    bundles = tuple(
        bundle(app, env, archived=archived, catalog=expansion, capabilities=capabilities) for env in environments
    )
    for each in bundles:
        remarks.extend(f"{each.name}: not carried out: {what} ({why})" for what, why in each.left_out.items())
    return Chosen(app, bundles, tuple(remarks))


def _application(declared: Declared, name: str | None, namespace: str | None) -> App:
    there = [app for app in declared.applications if namespace is None or app.namespace == namespace]
    if not there:
        raise Failure(f"there is no Application {declared.where}", "name files with one, or another namespace with -n")
    named = [app for app in there if name in (None, app.name)]
    names = sorted({app.name for app in there})
    if not named:
        raise Failure(f"there is no Application {name} {declared.where}", _there_are(str(name), names))
    if len(named) > 1 and name is None:
        raise Failure(f"there are {len(named)} applications {declared.where}", f"name one of {', '.join(names)}")
    if len(named) > 1:
        homes = ", ".join(sorted(app.namespace for app in named))
        raise Failure(f"there are {len(named)} applications {name} {declared.where}", f"name one of {homes} with -n")
    return named[0]


def _there_are(wanted: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(wanted, names, 1)
    return (f"did you mean {near[0]}? " if near else "") + (f"there are {', '.join(names)}" if names else "")


def _environments(declared: Declared, app: App, wanted: str | None) -> tuple[list[Env], list[str]]:
    """The environments to render, and remarks about those that can't be."""
    siblings = {env.name: env for env in declared.environments if env.namespace == app.namespace}
    every = [env.name for env in siblings.values() if not env.spec.template and env.spec.tier != "Preview"]
    targets = list(rendering.target_environments(app.spec, every))
    if wanted is not None and wanted not in targets:
        hint = f"it runs in {', '.join(targets)}" if targets else f"there is no Environment of its {declared.where}"
        raise Failure(f"Application {app.name} doesn't run in environment {wanted}", hint)
    out, remarks = [], []
    for name in [wanted] if wanted is not None else targets:
        problem = _unusable(name, siblings.get(name), declared.where)
        if problem is None:
            out.append(siblings[name])
        elif wanted is not None:
            raise Failure(problem)
        else:
            remarks.append(f"{problem}; it is left out")
    if not out:
        raise Failure(
            f"Application {app.name} has no environment that can be rendered {declared.where}", "; ".join(remarks)
        )
    return out, remarks


def _unusable(name: str, env: Env | None, where: str) -> str | None:
    if env is None:
        return f"Environment {name} isn't {where}: its namespace, variables and hosts aren't known"
    if env.spec.runtime == "Proxmox":
        return f"Environment {name} is on Proxmox: what runs there are containers, for which there are no manifests"
    if env.spec.template:
        return f"Environment {name} is a template for previews: nothing runs in it"
    return None
