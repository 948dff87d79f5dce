"""What holds whatever the application is: rendering is a function, never crashes, and keeps every Pod restricted."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.api.application import ApplicationSpec
from homeport.api.component import Component
from homeport.api.resource import InvalidSpec, Resource
from homeport.plan import canonical, podsecurity, render
from homeport.plan.types import Versions
from unit.render_cases import application, place

names = st.from_regex(r"\A[a-z][a-z0-9]{0,5}\Z")
keys = st.from_regex(r"\A[A-Z][A-Z_]{0,5}\Z")
words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=8)
paths = st.from_regex(r"\A(/[a-z][a-z0-9.]{0,5}){1,3}\Z").filter(lambda path: ".." not in path)
cpus = st.sampled_from(["1", "0.5", "250m", "2000m", "1k"])
sizes = st.sampled_from(["64Mi", "1Gi", "1024Mi", "1.5Gi", "1G", "128974848"])
PORTS = [{"name": "http", "port": 8080}, {"name": "grpc", "port": 9000}, {"name": "dns", "port": 53, "protocol": "UDP"}]


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A mapping with some of ``fields``."""
    return st.fixed_dictionaries({}, optional=fields)


def all_of(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(fields)


def by(key: str, items: st.SearchStrategy[dict[str, Any]], most: int = 3) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(items, max_size=most, unique_by=lambda item: item[key])


sources = st.one_of(
    all_of(secretKeyRef=all_of(name=names, key=names)),
    all_of(configMapKeyRef=all_of(name=names, key=names, optional=st.booleans())),
    st.just({"fieldRef": {"fieldPath": "status.podIP"}}),
    st.just({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1024Ki"}}),
)
variables = by("name", st.one_of(all_of(name=keys, value=words), all_of(name=keys, valueFrom=sources)))
probes = st.one_of(
    some(periodSeconds=st.integers(1, 60), initialDelaySeconds=st.integers(0, 9)).flatmap(
        lambda timing: st.sampled_from([{"path": "/up"}, {"tcp": "http"}, {"tcp": 8080}, {"exec": ["true"]}]).map(
            lambda way: {**timing, **way}
        )
    ),
)
volumes = by(
    "name",
    st.one_of(
        all_of(name=names, path=paths, size=sizes, deletionPolicy=st.sampled_from(["Delete", "Retain"])),
        all_of(name=names, path=paths, ephemeral=st.just(True)),
        all_of(name=names, path=paths, existingClaim=names, readOnly=st.booleans()),
    ),
)
quantities = some(cpu=cpus, memory=sizes)
containers = by("name", all_of(name=names.map(lambda name: f"x{name}"), image=st.just("example/side"), env=variables))
security = some(
    runAsUser=st.integers(1, 70000),
    runAsGroup=st.integers(0, 70000),
    fsGroup=st.integers(0, 9),
    readOnlyRootFilesystem=st.booleans(),
    capabilities=st.just({"add": ["NET_BIND_SERVICE"]}),
)
common = {
    "args": st.lists(words, max_size=2),
    "env": variables,
    "envFrom": st.lists(all_of(secretRef=all_of(name=names, optional=st.booleans())), max_size=2),
    "files": st.dictionaries(paths, words, max_size=3),
    "secretFiles": by("path", all_of(path=paths, secretRef=all_of(name=names, key=names))),
    "volumes": volumes,
    "resources": some(requests=quantities, limits=quantities),
    "securityContext": security,
    "labels": st.dictionaries(names, names, max_size=2),
    "annotations": st.dictionaries(names, words, max_size=2),
    "initContainers": containers,
    "sidecars": containers.map(lambda found: [{**each, "name": f"s{each['name']}"} for each in found]),
    "restartAt": words,
    "serviceAccountName": names,
    "tolerations": st.just([{"operator": "Exists"}]),
    "terminationGracePeriodSeconds": st.integers(0, 60),
    "metrics": st.just({"port": "http"}),
    "ports": st.just(PORTS),
}
running = {
    "probes": some(liveness=probes, readiness=probes, startup=probes),
    "migrate": some(timeout=st.just("90s")).map(lambda given: {**given, "command": ["migrate"]}),
    "paused": st.booleans(),
    "replicas": st.integers(0, 3),
}
routes = by("path", all_of(path=paths, host=st.sampled_from(["", "a.example.com"]), websocket=st.booleans()))


@st.composite
def components(draw: st.DrawFn, name: str) -> dict[str, Any]:
    kind = draw(st.sampled_from(["service", "worker", "stateful", "cron", "job"]))
    fields = dict(common)
    if kind in ("service", "worker", "stateful"):
        fields |= running
    if kind in ("service", "stateful"):
        fields["routes"] = routes
    if kind == "cron":
        fields |= {"suspend": st.booleans(), "timeZone": st.just("Europe/Rome")}
    out = draw(st.fixed_dictionaries({"image": st.just("example/app")}, optional=fields))
    out |= {"name": name, "type": kind, "ports": PORTS}
    if kind == "cron":
        out["schedule"] = "@daily"
    if "replicas" in out and draw(st.booleans()):
        del out["replicas"]
        out["autoscaling"] = {"min": draw(st.integers(1, 3)), "max": 5, "cpu": 70}
    return out


@st.composite
def applications(draw: st.DrawFn) -> Resource[ApplicationSpec]:
    found = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    parts = [draw(components(name)) for name in found]
    spec: dict[str, Any] = {"version": "1.0.0", "components": parts}
    if draw(st.booleans()):
        other = draw(components(found[0]))
        del other["name"]
        without = ["autoscaling", "replicas", "routes"]
        spec["environments"] = [{"name": "live", "overrides": {found[0]: {**other, "without": without}}}]
    return application(spec)


settings_ = st.fixed_dictionaries(
    {"isolation": st.sampled_from(["Strict", "Open"])},
    optional={
        "variables": st.dictionaries(keys, words, max_size=3),
        "ingress": st.just({"className": "nginx", "domain": "example.com", "tls": {"issuer": "x"}}),
    },
)


@settings(max_examples=150, deadline=None)
@given(applications(), settings_, st.booleans())
def test_rendering(app: Resource[ApplicationSpec], spec: dict[str, Any], archived: bool) -> None:
    where = place(archived=archived, podSecurity="restricted", **spec)
    versions = Versions({("Secret", "a"): "1"})
    raw = copy.deepcopy(app.raw_spec)
    try:
        first = render.render(app, where, versions)
    except InvalidSpec as error:
        assert all(problem.startswith("spec.") for problem in error.problems)
        return
    assert render.render(app, where, versions) == first
    assert app.raw_spec == raw
    assert len({child.id for child in first}) == len(first)
    jobs = {}
    for child in first:
        json.dumps(child.manifest)
        assert canonical.tidy(child.manifest) == child.manifest
        template = podsecurity.pod_template(child.manifest)
        if template is not None:
            assert podsecurity.violations(template["spec"], "restricted") == []
        if child.job_hash:
            part = "migrate" if child.phase == "migrate" else "job"
            jobs[f"{child.environment}/{child.component}/{part}"] = child.job_hash
    again = render.render(app, where, versions, jobs)
    assert [child for child in first if child.job_hash is None] == list(again)


@settings(max_examples=100, deadline=None)
@given(components("web"))
def test_every_component_is_valid(raw: dict[str, Any]) -> None:
    """The strategy is worth something: what it makes is what users may write."""
    Component.model_validate(raw)
