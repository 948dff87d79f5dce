"""From an object to a template with holes for what people change, and the values that fill them. Pure.

Each function takes one object of one environment. What comes out is the same for all environments wherever they differ
in values only; what is left of differences is found by ``unify``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from homeport.api import labels
from homeport.api.component import Component
from homeport.cli.output import LINE_ENDS
from homeport.cli.rendering.nodes import Block, Expr, Spliced, When
from homeport.cli.rendering.values import Values, camel, environment, reach
from homeport.plan import names
from homeport.plan.plain import CHECKSUM, job_stem, migrates
from homeport.plan.types import Child, Manifest

POLICY = "helm.sh/resource-policy"
# A database comes with the same release, so a first migration can't run before it; later ones run before the new Pods.
# Source: https://helm.sh/docs/topics/charts_hooks/
MIGRATE_HOOK, JOB_HOOK = "post-install,pre-upgrade", "post-install,post-upgrade"
# In the order in which people look for them; the rest follows.
_CONTAINER = (
    "name",
    "image",
    "imagePullPolicy",
    "command",
    "args",
    "workingDir",
    "ports",
    "env",
    "envFrom",
    "resources",
)


@dataclass(frozen=True)
class Subject:
    """One object of one environment, and what its template calls its chart and its values."""

    child: Child
    component: Component
    values: Values
    chart: str
    scalable: frozenset[str]
    prefix: str

    @property
    def kind(self) -> str:
        """The object's kind."""
        return str(self.child.manifest["kind"])

    @property
    def name(self) -> str:
        """The object's name, without a Job's digest."""
        return job_stem(self.child)

    @property
    def own(self) -> dict[str, Any]:
        """The component's values."""
        return self.values.of(self.component.name)

    @property
    def suffix(self) -> str:
        """What tells the object from the component's other ones of its kind."""
        return self.name.removeprefix(f"{self.prefix}{self.component.name}").strip("-")


def template(of: Subject) -> Manifest:
    """The object with holes; ``of.values`` is filled."""
    manifest: Manifest = dict(of.child.manifest)
    manifest["metadata"] = _metadata(of)
    rule = _RULES.get(of.kind)
    if rule is not None:
        manifest |= rule(manifest, of)
    return {key: instances(value, of) for key, value in manifest.items()}


def instances(value: Any, of: Subject) -> Any:
    """``value`` with the release's name where selectors and labels have the application's."""
    if isinstance(value, list):
        return [instances(entry, of) for entry in value]
    if isinstance(value, When):
        return When(value.test, instances(value.value, of))
    if not isinstance(value, Mapping):
        return value
    release = names.label_value(of.values.bundle.app.name)
    return {
        key: Expr(".Release.Name | quote") if key == labels.APP_INSTANCE and entry == release else instances(entry, of)
        for key, entry in value.items()
    }


def _metadata(of: Subject) -> Manifest:
    given = of.child.manifest["metadata"]
    bundle, part = of.values.bundle, of.component
    expected = {
        labels.APP_NAME: part.name,
        labels.APP_INSTANCE: names.label_value(bundle.app.name),
        labels.APP_COMPONENT: part.type,
        labels.APP_PART_OF: names.label_value(bundle.place.project),
        labels.APP_VERSION: names.tag(bundle.version),
    }
    found = given.get("labels") or {}
    out: Manifest = {"name": of.name, "namespace": Expr(".Release.Namespace")}
    if all(found.get(key) == value for key, value in expected.items()):
        call = f'include "{of.chart}.labels" (dict "root" $ "name" "{part.name}" "type" "{part.type}")'
        out["labels"] = Spliced(call, {key: value for key, value in found.items() if key not in expected})
    else:
        out["labels"] = found
    if given.get("annotations"):
        out["annotations"] = dict(given["annotations"])
    return out | {
        key: value for key, value in given.items() if key not in ("name", "namespace", "labels", "annotations")
    }


# --- what runs --------------------------------------------------------------------------------------------------------


def _workload(manifest: Manifest, of: Subject) -> Manifest:
    spec = dict(manifest["spec"])
    replicas = spec.pop("replicas", None)
    if replicas is not None:
        of.own["replicas"] = replicas
    count: Any = Expr("$c.replicas | int64")
    if of.component.name in of.scalable:
        count = When("if not $c.autoscaling.enabled", count)
    spec = {"replicas": count, **spec, "template": _pod_template(spec["template"], of)}
    if "volumeClaimTemplates" in spec:
        spec["volumeClaimTemplates"] = [
            {**claim, "spec": _claim(claim["spec"], claim["metadata"]["name"], of)}
            for claim in spec["volumeClaimTemplates"]
        ]
    return {"spec": spec}


def _pod_template(given: Manifest, of: Subject) -> Manifest:
    spec = dict(given["spec"])
    for field, empty in (("nodeSelector", {}), ("tolerations", []), ("affinity", {})):
        of.own[field] = spec.pop(field, empty)
    spec["containers"] = [_container(container, of) for container in spec["containers"]]
    if "initContainers" in spec:
        spec["initContainers"] = [_container(container, of) for container in spec["initContainers"]]
    for field in ("nodeSelector", "tolerations", "affinity"):
        spec[field] = When(f"with $c.{field}", Block("toYaml ."))
    metadata = dict(given["metadata"])
    marks = dict(metadata.get("annotations") or {})
    if CHECKSUM in marks:
        metadata["annotations"] = {**marks, CHECKSUM: Expr("$c.files | toJson | sha256sum | trunc 16")}
    return {**given, "metadata": metadata, "spec": spec}


def _container(given: Manifest, of: Subject) -> Manifest:
    out = dict(given)
    part, bundle = of.component, of.values.bundle
    own = of.own["image"]
    if given["image"] == names.image(part.image or "", bundle.version):
        out["image"] = Expr(f'include "{of.chart}.image" (dict "root" $ "image" $c.image) | quote')
        if given.get("imagePullPolicy") == own["pullPolicy"]:
            out["imagePullPolicy"] = Expr("$c.image.pullPolicy")
    if given["name"] != part.name:
        return out
    own_env = environment(part, bundle, list(given.get("env") or ()))
    of.own.setdefault("env", own_env)
    if of.own["env"] == own_env:
        call = f'include "{of.chart}.env" (dict "variables" .Values.variables "env" $c.env) | trim'
        out["env"] = When(f"with {call}", Block("."))
    out["resources"] = _resources(given["resources"], of)
    first = {key: out[key] for key in _CONTAINER if key in out}
    return first | {key: value for key, value in out.items() if key not in first}


def _resources(given: Manifest, of: Subject) -> Block:
    migration = of.kind == "Job" and migrates(of.child)
    if migration and of.component.migrate is not None and of.component.migrate.resources is not None:
        of.own.setdefault("migrate", {})["resources"] = given
        return Block("toYaml $c.migrate.resources")
    of.own["resources"] = given
    return Block("toYaml $c.resources")


def _cron(manifest: Manifest, of: Subject) -> Manifest:
    spec = dict(manifest["spec"])
    of.own["schedule"], of.own["suspend"] = spec["schedule"], spec["suspend"]
    spec["schedule"], spec["suspend"] = Expr("$c.schedule | quote"), Expr("$c.suspend")
    job = spec["jobTemplate"]
    template_ = _pod_template(job["spec"]["template"], of)
    spec["jobTemplate"] = {**job, "spec": {**job["spec"], "template": template_}}
    return {"spec": spec}


def _job(manifest: Manifest, of: Subject) -> Manifest:
    migration = migrates(of.child)
    template_ = _pod_template(manifest["spec"]["template"], of)
    if migration:
        template_ = _with_own_files(template_, of)
    hooks = hook(MIGRATE_HOOK if migration else JOB_HOOK, 0 if migration else 5)
    metadata = {**manifest["metadata"]}
    metadata["annotations"] = {**metadata.get("annotations", {}), **hooks}
    return {"metadata": metadata, "spec": {**manifest["spec"], "template": template_}}


def hook(when: str, weight: int) -> dict[str, str]:
    """The annotations of a hook, which is made anew each time."""
    return {
        "helm.sh/hook": when,
        "helm.sh/hook-weight": str(weight),
        "helm.sh/hook-delete-policy": "before-hook-creation",
    }


def _with_own_files(template_: Manifest, of: Subject) -> Manifest:
    """A migration before an upgrade would read the last release's files, so it has a ConfigMap of its own."""
    shared = f"{of.prefix}{of.component.name}-files"
    volumes = [
        {**volume, "configMap": {**volume["configMap"], "name": f"{of.name}-files"}}
        if (volume.get("configMap") or {}).get("name") == shared
        else volume
        for volume in template_["spec"].get("volumes") or ()
    ]
    return {**template_, "spec": {**template_["spec"], "volumes": volumes}} if volumes else template_


# --- what is kept ----------------------------------------------------------------------------------------------------


def _persistence(volume: str, of: Subject) -> tuple[dict[str, Any], str]:
    values = of.own.setdefault("persistence", {}).setdefault(volume, {})
    return values, reach("$c.persistence", volume)


def _claim(spec: Manifest, volume: str, of: Subject) -> Manifest:
    values, there = _persistence(volume, of)
    values["size"] = spec["resources"]["requests"]["storage"]
    out = {**spec, "resources": {"requests": {"storage": Expr(f"{there}.size | quote")}}}
    if "storageClassName" in spec:
        values["storageClass"] = spec["storageClassName"]
    out["storageClassName"] = When(f'if kindIs "string" {there}.storageClass', Expr(f"{there}.storageClass | quote"))
    return out


def _claim_object(manifest: Manifest, of: Subject) -> Manifest:
    values, there = _persistence(of.suffix, of)
    values["keep"] = of.child.deletion == "Retain"
    metadata = {**manifest["metadata"], "annotations": When(f"if {there}.keep", {POLICY: "keep"})}
    return {"metadata": metadata, "spec": _claim(manifest["spec"], of.suffix, of)}


def _config_map(manifest: Manifest, of: Subject) -> Manifest:
    if of.suffix != "files" or "data" not in manifest:
        return {}
    of.own["files"] = dict(manifest["data"])
    # Go's YAML takes some characters for ends of lines and loses them; JSON doesn't.
    strange = any(set(text) & LINE_ENDS for text in manifest["data"].values())
    return {"data": Expr("$c.files | toJson") if strange else Block("toYaml $c.files")}


# --- what leads to it ------------------------------------------------------------------------------------------------


def _autoscaler(manifest: Manifest, of: Subject) -> Manifest:
    spec = dict(manifest["spec"])
    targets = {
        metric["resource"]["name"]: metric["resource"]["target"]["averageUtilization"]
        for metric in spec["metrics"]
        if metric.get("type") == "Resource" and "averageUtilization" in metric["resource"]["target"]
    }
    if len(targets) != len(spec["metrics"]) or not set(targets) <= {"cpu", "memory"}:
        targets = {}  # patched: they stay as they are
    bounds = {"minReplicas": spec["minReplicas"], "maxReplicas": spec["maxReplicas"]}
    of.own["autoscaling"] = {"enabled": True, **bounds, **targets}
    spec["minReplicas"] = Expr("$c.autoscaling.minReplicas | int64")
    spec["maxReplicas"] = Expr("$c.autoscaling.maxReplicas | int64")
    if targets:
        spec["metrics"] = [When(f"with $c.autoscaling.{name}", _metric(name)) for name in ("cpu", "memory")]
    return {"spec": spec}


def _metric(name: str) -> Manifest:
    target = {"type": "Utilization", "averageUtilization": Expr(". | int64")}
    return {"type": "Resource", "resource": {"name": name, "target": target}}


def ingress_key(of: Subject) -> str:
    """Under which name an Ingress has its values."""
    return camel("ingress", of.suffix)


def _ingress(manifest: Manifest, of: Subject) -> Manifest:
    key = ingress_key(of)
    values = of.own.setdefault(key, {})
    values["enabled"] = True
    shared = of.values.shared["ingress"]
    spec = dict(manifest["spec"])
    metadata = dict(manifest["metadata"])
    marks = dict(metadata.pop("annotations", None) or {})
    if marks.get(_ISSUER) == shared.get("clusterIssuer"):
        marks.pop(_ISSUER, None)
    values["annotations"] = marks
    metadata["annotations"] = When(
        f'with include "{of.chart}.ingressAnnotations" (dict "shared" .Values.ingress "own" $c.{key}) | trim',
        Block("."),
    )
    if spec.get("ingressClassName") == shared.get("className"):
        spec.pop("ingressClassName", None)
        spec = {
            "ingressClassName": When("with .Values.ingress.className", Expr(". | quote")),
            **spec,
        }
    spec["rules"] = [_rule(rule, shared.get("host")) for rule in spec.get("rules") or ()]
    values["tls"] = spec.pop("tls", [])
    spec["tls"] = When(f"with $c.{key}.tls", Block("toYaml ."))
    return {"metadata": metadata, "spec": spec}


_ISSUER = "cert-manager.io/cluster-issuer"


def _rule(rule: Manifest, host: str | None) -> Manifest:
    if rule.get("host") != host:
        return rule
    rest = {key: value for key, value in rule.items() if key != "host"}
    return {"host": When("with .Values.ingress.host", Expr(". | quote")), **rest}


_RULES: Mapping[str, Callable[[Manifest, Subject], Manifest]] = {
    "Deployment": _workload,
    "StatefulSet": _workload,
    "CronJob": _cron,
    "Job": _job,
    "PersistentVolumeClaim": _claim_object,
    "ConfigMap": _config_map,
    "HorizontalPodAutoscaler": _autoscaler,
    "Ingress": _ingress,
}
