"""A Helm chart: templates that are the same for all environments, and values for each.

``helm template . -f values-ENV.yaml`` gives what ``-o yaml -e ENV`` gives, object by object, save the namespace; the
tests hold it to that. Source: https://helm.sh/docs/topics/charts/
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from homeport.api.application import ApplicationSpec
from homeport.api.resource import Resource
from homeport.cli.output import yaml_text
from homeport.cli.rendering import chart_readme, extract, helpers
from homeport.cli.rendering import schema as schemas
from homeport.cli.rendering import values as settings
from homeport.cli.rendering.common import merge_patch
from homeport.cli.rendering.extract import Subject
from homeport.cli.rendering.nodes import Block, Expr, text
from homeport.cli.rendering.unify import Aspect, unified
from homeport.cli.rendering.values import Values, camel, reach
from homeport.plan.plain import Bundle, is_files, job_stem, migrates
from homeport.plan.types import Child, Manifest

App = Resource[ApplicationSpec]
Key = tuple[str, str, str]
"""Component, kind, and name without a Job's digest."""

_VALUES_HEAD = """\
# The values of {}; values-ENV.yaml say what differs elsewhere. values.schema.json describes them.
#
# version       the tag of images without one, and a label; empty means the chart's appVersion
# variables     environment variables of every component; a component's env wins
# ingress       class, host and certificate issuer of all routes
# components    by name: image, replicas or autoscaling, resources, env, files, persistence, ingress, placement
"""

_IN_TEMPLATES = frozenset({"NetworkPolicy", "ResourceQuota"})
"""Of what is around, what is in the chart. A Gateway, with its hosts and certificates, comes with the namespace."""
_OFFERED = {"minReplicas": 2, "maxReplicas": 5}


def files(app: App, bundles: Sequence[Bundle]) -> dict[str, str]:
    """The chart's files, by path."""
    found = [settings.begun(bundle, app.spec.version) for bundle in bundles]
    objects = _objects(bundles)
    scalable = frozenset(key[0] for key in objects if key[1] == "HorizontalPodAutoscaler" or _is_service(key, bundles))
    out = {
        "Chart.yaml": yaml_text(_chart(app)),
        ".helmignore": "\n".join((".homeport-render.json", "namespaces/", "*.swp", ".git/", "")),
        "templates/_helpers.tpl": helpers.helpers(app.name, app.namespace),
        "templates/NOTES.txt": helpers.notes(app.name),
    }
    for key, children in objects.items():
        out |= _template(app, found, key, children, scalable)
    out |= _offered(app, found, objects, scalable)
    secrets = _secrets(app, bundles)
    if secrets:
        for each in found:
            each.shared[settings.GENERATE] = True
    out |= secrets
    out |= _guards(app.name, bundles)
    settings.complete(found, dict.fromkeys(scalable))
    whole = [values.whole for values in found]
    # The defaults are one environment's, and not a mixture that nobody has ever run.
    base = whole[0]
    out["values.yaml"] = _VALUES_HEAD.format(bundles[0].name) + yaml_text(base)
    for bundle, values in zip(bundles, whole, strict=True):
        patch = merge_patch(base, values)
        out[f"values-{bundle.name}.yaml"] = f"# What differs in {bundle.name}.\n" + (yaml_text(patch) if patch else "")
        out[f"namespaces/{bundle.name}.yaml"] = "---\n".join(
            yaml_text(manifest) for manifest in bundle.surroundings if manifest["kind"] not in _IN_TEMPLATES
        )
    title = f"Values of the chart {app.name}"
    out["values.schema.json"] = json.dumps(schemas.schema(base, whole, title), indent=2) + "\n"
    out["README.md"] = chart_readme.readme(app, bundles)
    return out


def _chart(app: App) -> Manifest:
    return {
        "apiVersion": "v2",
        "name": app.name,
        "description": (app.spec.description or app.spec.title or app.name).split("\n")[0],
        "type": "application",
        "version": app.spec.version,
        "appVersion": app.spec.version,
    }


def _objects(bundles: Sequence[Bundle]) -> dict[Key, dict[str, Child]]:
    """Every object, in the environments that have it."""
    out: dict[Key, dict[str, Child]] = {}
    for bundle in bundles:
        for child in bundle.children:
            key = child.component, str(child.manifest["kind"]), job_stem(child)
            out.setdefault(key, {})[bundle.name] = child
    return out


def _is_service(key: Key, bundles: Sequence[Bundle]) -> bool:
    types = {part.name: part.type for bundle in bundles for part in bundle.components}
    return key[1] == "Deployment" and types.get(key[0]) == "service"


# --- templates of the application's objects ---------------------------------------------------------------------------


def _template(
    app: App, found: Sequence[Values], key: Key, children: Mapping[str, Child], scalable: frozenset[str]
) -> dict[str, str]:
    subjects = [
        _subject(app, values, children[values.bundle.name], scalable)
        for values in found
        if values.bundle.name in children
    ]
    trees = [extract.template(subject) for subject in subjects]
    first = subjects[0]
    values = [subject.values for subject in subjects]
    raws = [subject.child.manifest for subject in subjects]
    tree = unified(Aspect(key[1], first.suffix, key[0], values, raws, trees))
    path = f"templates/{key[0]}/{_file(first)}.yaml"
    having = _having(found, key[0])
    conditions = ["if $c.enabled"] if len(having) < len(found) else []
    own = _condition(first, having, children)
    conditions += [own] if own is not None else []
    out = {path: _text(tree, conditions, key[0])}
    if key[1] == "Job" and migrates(first.child) and f"{first.name}-files" in out[path]:
        out[f"templates/{key[0]}/{_file(first)}-files.yaml"] = _migration_files(first, conditions)
    return out


def _subject(app: App, values: Values, child: Child, scalable: frozenset[str]) -> Subject:
    part = next(part for part in values.bundle.components if part.name == child.component)
    return Subject(child, part, values, app.name, scalable, app.spec.name_prefix or "")


def _file(subject: Subject) -> str:
    kind = subject.kind.lower()
    return f"{kind}-{subject.suffix}" if subject.suffix else kind


def _text(tree: Manifest, conditions: Sequence[str], component: str) -> str:
    body = text(tree)
    for condition in reversed(conditions):
        body = f"{{{{- {condition} }}}}\n{body}{{{{- end }}}}\n"
    if component and "$c" in body:
        body = f"{{{{- $c := {reach('.Values.components', component)} }}}}\n{body}"
    return body


def _condition(subject: Subject, found: Sequence[Values], children: Mapping[str, Child]) -> str | None:
    """When the object is there."""
    component = subject.component.name
    if subject.kind == "HorizontalPodAutoscaler":
        return "if $c.autoscaling.enabled"
    if subject.kind == "PodDisruptionBudget":
        return f'if ge (include "{subject.chart}.replicas" $c | int) 2'
    if subject.kind == "NetworkPolicy":
        return "if .Values.networkPolicy.enabled"
    if subject.kind == "Ingress":
        key = extract.ingress_key(subject)
        for values in found:
            values.of(component).setdefault(key, {"enabled": False, "annotations": {}, "tls": []})
        return f"if $c.{key}.enabled"
    if len(children) == len(found):
        return None
    key = camel(subject.kind[0].lower() + subject.kind[1:], subject.suffix, "enabled")
    for values in found:
        values.of(component)[key] = values.bundle.name in children
    return f"if $c.{key}"


def _having(found: Sequence[Values], component: str) -> list[Values]:
    """The environments in which a component is on."""
    return [values for values in found if component in values.components]


def _migration_files(subject: Subject, conditions: Sequence[str]) -> str:
    """The files that a migration reads: of the release that is being installed, not of the one before."""
    bundle = subject.values.bundle
    shared = next(c for c in bundle.children if c.component == subject.child.component and is_files(c, subject.prefix))
    tree = extract.template(replace(subject, child=shared))
    hooks = extract.hook(extract.MIGRATE_HOOK, -5)
    tree["metadata"] = {**tree["metadata"], "name": f"{subject.name}-files", "annotations": hooks}
    return _text(tree, conditions, subject.component.name)


def _offered(
    app: App, found: Sequence[Values], objects: Mapping[Key, Mapping[str, Child]], scalable: frozenset[str]
) -> dict[str, str]:
    """Autoscalers that no environment has, for services: there to be switched on."""
    out: dict[str, str] = {}
    having = {key[0] for key in objects if key[1] == "HorizontalPodAutoscaler"}
    for name in sorted(scalable - having):
        workload = next(child for key, children in objects.items() if key[0] == name and key[1] == "Deployment"
                        for child in children.values())  # fmt: skip
        values = next(v for v in found if any(c is workload for c in v.bundle.children))
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload.id.name}
        metric = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
        manifest = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {k: v for k, v in workload.manifest["metadata"].items() if k != "annotations"},
            "spec": {"scaleTargetRef": target, **_OFFERED, "metrics": [{"type": "Resource", "resource": metric}]},
        }
        subject = _subject(app, values, replace(workload, manifest=manifest), scalable)
        tree = extract.template(subject)
        del subject.own["autoscaling"]
        off = ["if $c.enabled"] if len(_having(found, name)) < len(found) else []
        out[f"templates/{name}/{_file(subject)}.yaml"] = _text(tree, [*off, "if $c.autoscaling.enabled"], name)
    return out


# --- templates of what is around ------------------------------------------------------------------------------------


def _secrets(app: App, bundles: Sequence[Bundle]) -> dict[str, str]:
    out: dict[str, str] = {}
    for bundle in bundles:
        for part in bundle.components:
            for made in part.secrets or ():
                condition = f".Values.{settings.GENERATE}"
                everywhere = all(any(p.name == part.name for p in other.components) for other in bundles)
                if not everywhere:
                    condition = f"and {condition} {reach('.Values.components', part.name)}.enabled"
                body = f"{{{{- if {condition} }}}}\n{helpers.secret(app.name, made, part)}{{{{- end }}}}\n"
                out[f"templates/{part.name}/secret-{made.name}.yaml"] = body
    return out


def _guards(chart: str, bundles: Sequence[Bundle]) -> dict[str, str]:
    """The namespace's policies and its quota."""
    out: dict[str, str] = {}
    for bundle in bundles:
        for manifest in bundle.surroundings:
            tree = {**manifest, "metadata": {**manifest["metadata"], "namespace": Expr(".Release.Namespace")}}
            name = manifest["metadata"]["name"]
            if manifest["kind"] == "NetworkPolicy":
                body = _text(tree, ["if .Values.networkPolicy.enabled"], "")
                out[f"templates/networkpolicy-{name.removeprefix('homeport-')}.yaml"] = body
            elif manifest["kind"] == "ResourceQuota":
                tree["spec"] = {"hard": Block("toYaml .Values.quota")}
                out["templates/resourcequota.yaml"] = _text(tree, ["if .Values.quota"], "")
    return out
