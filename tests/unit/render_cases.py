"""The golden cases of rendering: ``cr.yaml`` has an Application, its Environments and what there is beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from homeport.api.application import ApplicationSpec
from homeport.api.environment import EnvironmentSpec
from homeport.api.labels import ALLOWED_HEADERS as ALLOWED
from homeport.api.resource import Resource, parse, parse_spec
from homeport.plan import render
from homeport.plan.capabilities import NONE, Capabilities, IngressClass
from homeport.plan.proxmox_app import guests
from homeport.plan.types import Child, Place, Versions, object_id
from homeport.plan.world import ChildKey

GOLDEN = Path(__file__).parent / "golden" / "application"
CASES = sorted(path.parent.name for path in GOLDEN.glob("*/cr.yaml"))


@dataclass(frozen=True)
class Case:
    """What is rendered: an application in each of its environments, and its containers that are there."""

    app: Resource[ApplicationSpec]
    places: tuple[Place, ...]
    versions: dict[str, Versions]
    done: dict[str, tuple[str, ...]]
    containers: dict[ChildKey, Any]

    def render(self) -> Iterator[Child]:
        """The objects of every environment."""
        render.check(self.app.spec)
        for place in self.places:
            there = guests.of(self.containers, place.name)
            yield from render.render(self.app, place, self.versions[place.name], self.done, guests=there)


def application(spec: dict[str, Any], name: str = "web", namespace: str = "web") -> Resource[Any]:
    """An Application with ``spec``."""
    metadata = {"name": name, "namespace": namespace}
    return parse({"apiVersion": "homeport.dev/v1alpha1", "kind": "Application", "metadata": metadata, "spec": spec})


def place(
    name: str = "live", project: str = "web", *, archived: bool = False, there: Capabilities = NONE, **spec: Any
) -> Place:
    """An environment of ``project``; ``there`` is what its cluster offers."""
    namespace = f"{project}-{name}"
    return Place(project, name, namespace, parse_spec(EnvironmentSpec, spec), archived, capabilities=there)


def offered(documents: list[dict[str, Any]]) -> Capabilities:
    """What the cluster of a golden case offers: a document of kind Served lists ``apis``; classes are as usual."""
    return Capabilities(
        apis=frozenset(api for d in documents if d["kind"] == "Served" for api in d["apis"]),
        ingress_classes={
            d["metadata"]["name"]: IngressClass(
                d["spec"]["controller"], frozenset((d["metadata"].get("annotations") or {}).get(ALLOWED, "").split(","))
            )
            for d in documents
            if d["kind"] == "IngressClass"
        },
        gateway_classes=frozenset(d["metadata"]["name"] for d in documents if d["kind"] == "GatewayClass"),
    )


def load(name: str) -> Case:
    """One golden case."""
    documents = list(yaml.safe_load_all((GOLDEN / name / "cr.yaml").read_text()))
    app = parse(documents[0])
    archived = any(d["kind"] == "Project" and d["spec"].get("archived") for d in documents)
    places = tuple(
        place(d["metadata"]["name"], app.namespace, archived=archived, there=offered(documents), **d["spec"])
        for d in documents
        if d["kind"] == "Environment"
    )
    versions: dict[str, dict[tuple[str, str], str]] = {each.name: {} for each in places}
    for d in documents:
        if d["kind"] in ("Secret", "ConfigMap"):
            environment = d["metadata"]["namespace"].removeprefix(f"{app.namespace}-")
            versions[environment][d["kind"], d["metadata"]["name"]] = d["metadata"]["resourceVersion"]
    done = {entry["id"]: (entry["hash"],) for entry in app.status.get("doneJobs") or ()}
    there = {("", object_id(d)): d for d in documents if d["kind"] == guests.KIND}
    return Case(app, places, {name: Versions(objects) for name, objects in versions.items()}, done, there)


class _Dumper(yaml.SafeDumper):
    """Keeps the order of keys, writes no anchors, and long text as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def text(children: Iterator[Child]) -> str:
    """What is in ``objects.yaml``: each object after a line with what the engine is told about it."""
    out = []
    for child in children:
        facts = [child.component, str(child.phase), child.deletion]
        facts += [f"{name}={value}" for name in ("scale_to", "job_hash") if (value := getattr(child, name)) is not None]
        facts += [f"generate={dict(child.generate)}"] if child.generate else []
        facts += ["reads=" + ",".join("/".join(ref) for ref in child.reads)] if child.reads else []
        body = yaml.dump(child.manifest, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
        out.append(f"# {' · '.join(facts)}\n{body}")
    return "---\n".join(out)
