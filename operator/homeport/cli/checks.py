"""What can be said about files without a cluster: each document by its model, and all of them together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

from homeport.api import labels
from homeport.api.resource import InvalidSpec, Resource, parse
from homeport.cli.documents import Document, Problem, cluster_scoped
from homeport.engine.catalog import Catalog
from homeport.engine.catalogitems import CatalogItems
from homeport.engine.store import Store
from homeport.outcome import Ok, Stalled
from homeport.plan import environment_place, render
from homeport.plan.backup import maintenance
from homeport.plan.backup import steps as backup_steps
from homeport.plan.proxmox_app import checks as proxmox_checks

NAMESPACE_LIMIT = 63
_TOP = ("apiVersion", "kind", "metadata", "spec", "status")
# Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/
_METADATA = frozenset(
    {
        *("name", "generateName", "namespace", "labels", "annotations", "finalizers", "ownerReferences", "uid"),
        *("resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"),
        *("managedFields", "selfLink"),
    }
)


@dataclass
class Checked:
    """What came of a check: ``ours`` are the documents that Homeport is for, ``others`` were left alone."""

    problems: list[Problem] = field(default_factory=list)
    ours: list[Document] = field(default_factory=list)
    others: list[Document] = field(default_factory=list)

    @property
    def errors(self) -> list[Problem]:
        """What would be refused."""
        return [problem for problem in self.problems if problem.severity == "error"]


def is_ours(document: Document) -> bool:
    """Whether a document is in Homeport's API group, whatever its version."""
    return str(document.body.get("apiVersion") or "").partition("/")[0] == labels.GROUP


def check(documents: Sequence[Document], *, strict: bool = False) -> Checked:
    """Check every document, then all together. ``strict`` refuses what isn't Homeport's."""
    out = Checked()
    there = catalog()
    there.cluster = CatalogItems(_items(documents), there.renderer)
    parsed: list[tuple[Document, Resource[Any]]] = []
    for document in documents:
        absent = [name for name in ("apiVersion", "kind") if not document.body.get(name)]
        if absent:
            text = f"{' and '.join(absent)} must be written: this isn't a Kubernetes object"
            out.problems.append(document.problem(text))
        elif not is_ours(document):
            out.others.append(document)
            if strict:
                out.problems.append(
                    document.problem(f"{document.body['apiVersion']} isn't Homeport's; move it to another file")
                )
        else:
            out.ours.append(document)
            out.problems += _top(document)
            wrong, resource = _one(document, there)
            out.problems += wrong
            if resource is not None:
                parsed.append((document, resource))
    out.problems += _together(parsed)
    order = {id(document): number for number, document in enumerate(documents)}
    files = {document.file: order[id(document)] for document in reversed(documents)}
    out.problems.sort(key=lambda problem: (files.get(problem.file, 0), problem.line))
    return out


def _top(document: Document) -> Iterable[Problem]:
    """What is around the spec."""
    for name in document.body:
        if name not in _TOP:
            yield document.problem(f"is not a field; an object has {', '.join(_TOP[:4])}", name)
    if "status" in document.body:
        yield document.problem("is written by the operator; leave it out", "status", "warning")
    if not isinstance(document.body.get("metadata"), Mapping):
        yield document.problem("is required: a mapping with name and namespace", "metadata")
        return
    yield from _metadata(document)


def _namespace(document: Document) -> Iterable[Problem]:
    written = document.metadata.get("namespace")
    if cluster_scoped(document.body):
        if written:
            text = f"is not for a {document.body['kind']}, which belongs to the whole cluster; leave it out"
            yield document.problem(text, "metadata.namespace")
    elif not written:
        text = "is not written: kubectl would take the current namespace; write the project's name"
        yield document.problem(text, "metadata.namespace", "warning")


def _metadata(document: Document) -> Iterable[Problem]:
    metadata = document.metadata
    for name in metadata:
        if name not in _METADATA:
            yield document.problem("is not a field", f"metadata.{name}")
    for name in ("name", "namespace"):
        value = metadata.get(name)
        if value is not None and not isinstance(value, str):
            yield document.problem("must be text; put it in quotes", f"metadata.{name}")
    if not metadata.get("name"):
        yield document.problem("is required", "metadata.name")
    yield from _namespace(document)
    for name in ("labels", "annotations"):
        values = metadata.get(name)
        if isinstance(values, Mapping):
            for key, value in values.items():
                if not isinstance(value, str):
                    yield document.problem("must be text; put it in quotes", f"metadata.{name}.{key}")
        elif values is not None:
            yield document.problem("must be a mapping of keys to text", f"metadata.{name}")


def _items(documents: Iterable[Document]) -> Store:
    """The CatalogItems among the documents: applications beside them may name them."""
    store = Store()
    for document in documents:
        name, namespace = document.metadata.get("name"), document.metadata.get("namespace") or ""
        if document.body.get("kind") == "CatalogItem" and isinstance(name, str) and isinstance(namespace, str):
            store.put({**document.body, "metadata": {"name": name, "namespace": namespace, "resourceVersion": "1"}})
    return store


def _one(document: Document, there: Catalog) -> tuple[list[Problem], Resource[Any] | None]:
    """What the models, for applications the renderer, and for items their own templates say of one document."""
    # What is around the spec has been judged already, and may be anything.
    names = {key: value for key in ("name", "namespace") if isinstance(value := document.metadata.get(key), str)}
    body: dict[str, Any] = {"metadata": names}
    body |= {key: document.body[key] for key in ("apiVersion", "kind", "spec") if key in document.body}
    try:
        resource = parse(body)
    except InvalidSpec as error:
        return [_sentence(document, text) for text in _without_echoes(error.problems)], None
    if resource.kind == "CatalogItem" and resource.spec.git is None and there.cluster is not None:
        outcome = there.cluster.written_out(resource).outcome
        return ([] if isinstance(outcome, Ok) else [_sentence(document, outcome.message)]), resource
    if (wrong := _schedules(resource)) is not None:
        return [_sentence(document, wrong.message)], resource
    if resource.kind != "Application":
        return [], resource
    try:
        expansion = there.expansion_now(resource.spec, resource.namespace)
        unknown = there.unknown(resource.spec, resource.namespace) if expansion is not None else []
        if expansion is not None and (unknown or expansion.waits):
            # A CatalogItem of the cluster may have it.
            told = [_sentence(document, text) for text in (*unknown, *expansion.waits)]
            return [replace(problem, severity="warning") for problem in told], resource
        render.check(resource.spec, expansion)
    except InvalidSpec as error:
        return [_sentence(document, text) for text in error.problems], resource
    return [], resource


def _schedules(resource: Resource[Any]) -> Stalled | None:
    """A day that there isn't, or a time zone: what no pattern can tell."""
    found: object = None
    if resource.kind == "Backup":
        found = backup_steps.timetable(resource.spec)
    elif resource.kind == "BackupRepository":
        found = maintenance.timetable(resource.spec)
    return found if isinstance(found, Stalled) else None


@cache
def catalog() -> Catalog:
    """The catalog, loaded when the first application names an item."""
    return Catalog()


def _without_echoes(problems: Sequence[str]) -> list[str]:
    """A list whose every item is wrong counts as empty to pydantic, too: that says nothing new."""

    def is_echo(text: str) -> bool:
        items = f"{text.partition(':')[0]}["
        return ": must have at least " in text and any(other.startswith(items) for other in problems)

    return [text for text in problems if not is_echo(text)]


def _sentence(document: Document, text: str) -> Problem:
    """A problem out of ``field: what is wrong``, at the field's line."""
    if not text.startswith(("spec", "metadata")):
        return Problem(document.file, document.line, text, document.shown)
    place = document.locate(text)
    field_path, colon, message = place.rest.partition(": ")
    if not colon:
        return Problem(document.file, place.line, text, document.shown)
    return Problem(document.file, place.line, message, document.shown, place.path + field_path)


# --- across documents -----------------------------------------------------------------------------------------------

Pair = tuple[Document, Resource[Any]]
Known = Mapping[tuple[str, str], Pair]


def _together(parsed: Sequence[Pair]) -> Iterable[Problem]:
    yield from _twins(parsed)
    projects = [pair for pair in parsed if pair[1].kind == "Project"]
    yield from _projects(projects)
    environments = {(r.namespace, r.name): (d, r) for d, r in parsed if r.kind == "Environment"}
    applications = {(r.namespace, r.name) for _, r in parsed if r.kind == "Application"}
    for document, resource in environments.values():
        yield from _environment(document, resource, environments)
    for document, resource in parsed:
        if resource.kind == "Application":
            yield from _application(document, resource, environments)
            yield from _on_proxmox(document, resource, environments)
    backups = {(r.kind, r.namespace, r.name) for _, r in parsed if r.kind in ("Backup", "BackupRepository")}
    for document, resource in parsed:
        yield from _backup(document, resource, backups | {("Application", *found) for found in applications})
    for document, resource in projects:
        if any(namespace == resource.namespace for namespace, _ in applications):
            yield from _milestones(document, resource, applications)


def _twins(parsed: Sequence[Pair]) -> Iterable[Problem]:
    seen: dict[tuple[str, str, str], Document] = {}
    for document, resource in parsed:
        first = seen.setdefault((resource.kind, resource.namespace, resource.name), document)
        if first is not document and resource.name:
            text = f"is in these files twice, at {first.file}:{first.line} too: the later one would win; leave one out"
            yield document.problem(text, "metadata.name")


def _projects(projects: Sequence[Pair]) -> Iterable[Problem]:
    first: dict[str, Resource[Any]] = {}
    for document, resource in projects:
        if resource.namespace and resource.name != resource.namespace:
            text = f"a Project is named as its namespace; write {resource.namespace}, or namespace: {resource.name}"
            yield document.problem(text, "metadata.name")
        other = first.setdefault(resource.namespace, resource)
        if resource.namespace and other is not resource and other.name != resource.name:
            text = f"is the home of Project {other.name} already; give each its own namespace"
            yield document.problem(text, "metadata.namespace")


def namespace_of(resource: Resource[Any]) -> str:
    """Where an Environment's applications run."""
    place = resource.spec.kubernetes
    return (place.namespace if place is not None else None) or f"{resource.namespace}-{resource.name}"


def _environment(document: Document, resource: Resource[Any], known: Known) -> Iterable[Problem]:
    namespace = namespace_of(resource)
    if resource.namespace and len(namespace) > NAMESPACE_LIMIT:
        text = (
            f"makes the namespace {namespace} of {len(namespace)} characters, and {NAMESPACE_LIMIT} are allowed; "
            f"write a shorter name{', or spec.kubernetes.namespace' if resource.spec.proxmox is None else ''}"
        )
        yield document.problem(text, "metadata.name")
    promotion = resource.spec.promotion
    if promotion is not None and (resource.namespace, promotion.from_) not in known:
        yield document.problem(_elsewhere("Environment", promotion.from_), "spec.promotion.from", "warning")


def _application(document: Document, resource: Resource[Any], known: Known) -> Iterable[Problem]:
    for entry in resource.spec.environments or ():
        found = known.get((resource.namespace, entry.name))
        path = f"spec.environments[{entry.name}]"
        if found is None:
            yield document.problem(_elsewhere("Environment", entry.name), path, "warning")
        elif found[1].spec.template:
            text = f"Environment {entry.name} is a template for previews: nothing runs in it itself"
            yield document.problem(text, path, "warning")


def _on_proxmox(document: Document, resource: Resource[Any], known: Known) -> Iterable[Problem]:
    """What the application asks and can't have in those of its environments that are on Proxmox VE."""
    here = {name: env for (namespace, name), (_, env) in known.items() if namespace == resource.namespace}
    every = [name for name, env in here.items() if not env.spec.template and env.spec.tier != "Preview"]
    for name in render.target_environments(resource.spec, every):
        if name not in here or here[name].spec.proxmox is None:
            continue
        try:
            expansion = catalog().expansion_now(resource.spec, resource.namespace)
            parts = render.components_of(resource.spec, name, expansion)
        except InvalidSpec:
            continue  # said of the document itself
        place, runtimes = environment_place.place_of(here[name], False), render.runtimes_of(expansion)
        yield from (_sentence(document, text) for text in proxmox_checks.problems(resource, parts, place, runtimes))


def _backup(document: Document, resource: Resource[Any], known: set[tuple[str, str, str]]) -> Iterable[Problem]:
    """What a Backup, a run or a restore names and isn't in the files."""
    named: list[tuple[str, str, str]] = []
    if resource.kind == "Backup":
        named.append(("BackupRepository", resource.spec.repository_ref.name, "spec.repositoryRef"))
        if resource.spec.source.application is not None:
            named.append(("Application", resource.spec.source.application, "spec.source.application"))
    elif resource.kind in ("BackupRun", "Restore") and resource.spec.backup_ref is not None:
        named.append(("Backup", resource.spec.backup_ref.name, "spec.backupRef"))
    for kind, name, path in named:
        if (kind, resource.namespace, name) not in known:
            yield document.problem(_elsewhere(kind, name), path, "warning")


def _milestones(document: Document, resource: Resource[Any], known: set[tuple[str, str]]) -> Iterable[Problem]:
    severity: Literal["warning"] = "warning"
    for milestone in resource.spec.milestones or ():
        for index, need in enumerate(milestone.requires or ()):
            if (resource.namespace, need.application) not in known:
                path = f"spec.milestones[{milestone.name}].requires[{index}]"
                yield document.problem(_elsewhere("Application", need.application), path, severity)


def _elsewhere(kind: str, name: str) -> str:
    return f"{kind} {name} isn't in these files; it must be in the cluster"
