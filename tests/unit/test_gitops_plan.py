"""Objects of a source before anything is asked of a server: their checks, order, drift, guard and health."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import types
from homeport.plan.diff import digest
from homeport.plan.gitops import changes, drift, health, objects, order
from homeport.plan.gitops.guard import guard
from homeport.plan.gitops.types import Entry, IgnoreRule, Wanted, inventory_of, merged
from homeport.plan.types import ObjectId, object_id

GOLDEN = Path(__file__).parent / "golden" / "gitops"
SOURCE = OwnerKey("GitSource", "shop", "fleet")
SPEC = {"url": "https://git.example.com/x.git", "ref": {"branch": "main"}, "path": ".", "prune": True}
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Made:
    manifest: Manifest
    file: str
    line: int


def scope(api_version: str, kind: str) -> bool | None:
    if (api_version, kind) == ("example.com/v1", "Widget"):
        return False
    known = [gvk for gvk in types.KINDS if (gvk.api_version, gvk.kind) == (api_version, kind)]
    known += [types.GVK(labels.GROUP, labels.VERSION, "GitSource", "gitsources")]
    known += [types.GVK("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", "x", False)]
    return next((gvk.namespaced for gvk in known if (gvk.api_version, gvk.kind) == (api_version, kind)), None)


@pytest.mark.parametrize("case", ["objects", "wrong", "more-wrong"])
def test_what_a_folder_made_as_it_will_be_applied(case: str, update_golden: bool) -> None:
    documents = [m for m in yaml.safe_load_all((GOLDEN / f"{case}.yaml").read_text()) if m]
    made = [Made(manifest, f"{case}.yaml", 10 * number) for number, manifest in enumerate(documents, 1)]
    found = objects.prepared(made, SOURCE, "shop", scope, SPEC)
    result = {
        "objects": [
            {"stage": order.stage_of(each.id), "where": each.where, "manifest": each.manifest}
            for each in order.ordered(found.wanted)
        ],
        "problems": [f"{type(problem).__name__}({problem.reason}): {problem.message}" for problem in found.problems],
    }
    text = yaml.safe_dump(result, sort_keys=False, width=120)
    file = GOLDEN / f"{case}.golden.yaml"
    if update_golden:
        file.write_text(text)
    assert file.read_text() == text


def test_a_secrets_values_are_in_no_annotation() -> None:
    def secret(value: str) -> Wanted:
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"p": value}}
        return objects.prepared([Made(body, "", 0)], SOURCE, "shop", scope, SPEC).wanted[0]

    one, two = secret("one"), secret("two")
    assert one.annotations[labels.APPLIED_HASH] == two.annotations[labels.APPLIED_HASH]
    assert one.digest != two.digest


def test_more_objects_than_an_inventory_holds_are_too_many() -> None:
    made = [Made({"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"n{n}"}}, "", 0) for n in range(2049)]
    found = objects.prepared(made, SOURCE, "shop", scope, SPEC)
    assert "2049 objects are more than a source may apply (2048)" in found.problems[0].message


def test_a_long_name_of_a_source_fits_into_a_label() -> None:
    owner = OwnerKey("GitSource", "shop", "f" * 100)
    marks = objects.labels_of(owner)
    assert len(marks[labels.SOURCE_NAME]) <= 63
    assert objects.owned_by({"metadata": {"labels": marks}}, owner)
    assert not objects.owned_by({"metadata": {"labels": marks}}, SOURCE)


@pytest.mark.parametrize(
    ("known", "removed", "wanted", "expected"),
    [
        (10, 0, 10, ""),
        (10, 5, 5, ""),
        (10, 6, 4, "6 of 10 objects would be removed"),
        (2, 2, 1, ""),
        (3, 3, 1, "3 of 3 objects would be removed"),
        (1, 1, 0, "the folder has no objects any more, and all 1 that were applied would be removed"),
        (0, 0, 0, ""),
    ],
)
def test_the_guard(known: int, removed: int, wanted: int, expected: str) -> None:
    said = guard(known, removed, wanted)
    assert said.startswith(expected)
    assert bool(said) == bool(expected)


def test_removal_is_the_reverse_of_application() -> None:
    ids = [
        ObjectId("", "w.example.com", "apiextensions.k8s.io", "CustomResourceDefinition"),
        ObjectId("", "n", "", "Namespace"),
        ObjectId("n", "c", "", "ConfigMap"),
        ObjectId("n", "d", "apps", "Deployment"),
    ]
    there = order.stages([(id, id.kind) for id in reversed(ids)])
    assert there == [["CustomResourceDefinition"], ["Namespace"], ["ConfigMap"], ["Deployment"]]
    assert order.reverse_stages([(id, id.kind) for id in ids]) == there[::-1]


MANAGED = [
    {"manager": "homeport-gitsource", "operation": "Apply", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {}}},
    {
        "manager": "kubectl-edit",
        "operation": "Update",
        "time": "2026-01-03T00:00:00Z",
        "fieldsV1": {
            "f:spec": {
                "f:replicas": {},
                "f:template": {"f:spec": {"f:containers": {'k:{"name":"web"}': {".": {}, "f:image": {}}}}},
            },
            "f:metadata": {"f:labels": {"f:app.kubernetes.io/name": {}}},
        },
    },
    {
        "manager": "kube-controller-manager",
        "operation": "Update",
        "subresource": "status",
        "time": "2026-01-04T00:00:00Z",
        "fieldsV1": {"f:status": {"f:replicas": {}}},
    },
    {
        "manager": "scaler",
        "operation": "Update",
        "subresource": "scale",
        "time": "2026-01-02T00:00:00Z",
        "fieldsV1": {"f:spec": {"f:paused": {}}},
    },
]


@pytest.mark.parametrize(
    ("field", "who"),
    [
        ("spec.replicas", "kubectl-edit"),
        ("spec.template.spec.containers[web].image", "kubectl-edit"),
        ("spec.template.spec.containers[web]", "kubectl-edit"),
        ("metadata.labels.app.kubernetes.io/name", "kubectl-edit"),
        ("spec.paused", "scaler"),
        ("spec.minReadySeconds", "kubectl-edit"),
    ],
)
def test_who_changed_a_field(field: str, who: str) -> None:
    assert drift.manager_of(field, drift.owners({"metadata": {"managedFields": MANAGED}})) == who


def test_nobody_is_named_where_nobody_can_be() -> None:
    assert drift.manager_of("spec.x", drift.owners({"metadata": {"managedFields": MANAGED[:1]}})) == ""


def test_fields_that_are_left_alone() -> None:
    wanted = {
        "kind": "X",
        "metadata": {"labels": {"a/b": "1", "c": "1"}},
        "spec": {"list": [{"x": 1}], "gone": 1, "y": 1},
    }
    live = {"kind": "Z", "metadata": {"labels": {"a/b": "2", "c": "2"}}, "spec": {"list": [{"x": 2}], "y": 2}}
    paths = (
        "/metadata/labels/a~1b",
        "/spec/list/0/x",
        "/spec/gone",
        "/spec/nothing/there",
        "/kind",
        "/metadata/labels",
    )
    left = drift.left_alone(wanted, live, paths)
    assert left == {"kind": "X", "metadata": {"labels": {"a/b": "2", "c": "1"}}, "spec": {"list": [{"x": 2}], "y": 1}}
    assert wanted["spec"] == {"list": [{"x": 1}], "gone": 1, "y": 1}


def test_what_a_manager_owns_is_left_to_it() -> None:
    wanted = {
        "kind": "Deployment",
        "metadata": {"name": "a"},
        "spec": {"replicas": 1, "paused": True, "template": {"spec": {"containers": [{"name": "web", "image": "a"}]}}},
    }
    live = {
        "spec": {"replicas": 5, "paused": False, "template": {"spec": {"containers": [{"name": "web", "image": "b"}]}}}
    }
    theirs = [o for o in drift.owners({"metadata": {"managedFields": MANAGED}}) if o.manager == "kubectl-edit"]
    found = drift.left_to(wanted, live, theirs)
    assert found["spec"]["replicas"] == 5
    assert found["spec"]["paused"] is True
    assert found["spec"]["template"]["spec"]["containers"] == [{"name": "web", "image": "b"}]


def test_a_rule_covers_what_it_names() -> None:
    rule = IgnoreRule(("/spec",), kind="Deployment", group="apps", name="web")
    assert rule.covers(ObjectId("any", "web", "apps", "Deployment"))
    assert not rule.covers(ObjectId("any", "web", "", "Deployment"))
    assert IgnoreRule(("/spec",)).covers(ObjectId("a", "b", "c", "d"))


def live(kind: str, api: str = "v1", *, generation: int = 2, spec: Any = None, **status: Any) -> Manifest:
    metadata = {"name": "x", "generation": generation}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec or {}, "status": status}


def condition(kind: str, state: str = "True", reason: str = "R", message: str = "m") -> list[Manifest]:
    return [{"type": kind, "status": state, "reason": reason, "message": message}]


OURS = "homeport.dev/v1alpha1"
OTHER = "example.com/v1"


@pytest.mark.parametrize(
    ("found", "expected", "said"),
    [
        (live("DaemonSet", "apps/v1", observedGeneration=1), "Progressing", "controller"),
        (
            live("DaemonSet", "apps/v1", observedGeneration=2, desiredNumberScheduled=2, updatedNumberScheduled=1),
            "Progressing",
            "1 of 2 Pods updated",
        ),
        (
            live(
                "DaemonSet",
                "apps/v1",
                observedGeneration=2,
                desiredNumberScheduled=2,
                updatedNumberScheduled=2,
                numberAvailable=2,
            ),
            "Healthy",
            "",
        ),
        (live("ReplicaSet", "apps/v1", observedGeneration=2, readyReplicas=0), "Progressing", "0 of 1"),
        (live("Pod", phase="Succeeded"), "Healthy", ""),
        (live("Pod", phase="Failed"), "Degraded", "failed"),
        (live("Pod", phase="Running", conditions=condition("Ready")), "Healthy", ""),
        (live("Pod", phase="Pending"), "Progressing", "isn't ready"),
        (live("Service", spec={"type": "LoadBalancer"}), "Progressing", "address"),
        (live("Service", spec={"type": "LoadBalancer"}, loadBalancer={"ingress": [{"ip": "1.2.3.4"}]}), "Healthy", ""),
        (live("Service"), "Healthy", ""),
        (live("PersistentVolumeClaim", phase="Lost"), "Degraded", "lost"),
        (live("CustomResourceDefinition", "apiextensions.k8s.io/v1"), "Progressing", "served"),
        (
            live("CustomResourceDefinition", "apiextensions.k8s.io/v1", conditions=condition("NamesAccepted", "False")),
            "Degraded",
            "m",
        ),
        (
            live("CustomResourceDefinition", "apiextensions.k8s.io/v1", conditions=condition("Established")),
            "Healthy",
            "",
        ),
        (
            live("APIService", "apiregistration.k8s.io/v1", conditions=condition("Available", "False")),
            "Progressing",
            "m",
        ),
        (live("Application", OURS, observedGeneration=-1), "Progressing", "looked at"),
        (live("Application", OURS, observedGeneration=1, conditions=condition("Ready")), "Progressing", "looked at"),
        (live("Application", OURS, observedGeneration=2, conditions=condition("Ready")), "Healthy", ""),
        (
            live(
                "Application", OURS, observedGeneration=2, conditions=condition("Ready", "False", "HealthCheckFailed")
            ),
            "Degraded",
            "m",
        ),
        (
            live("Application", OURS, observedGeneration=2, conditions=condition("Ready", "False", "Progressing")),
            "Progressing",
            "m",
        ),
        (
            live("Backup", OURS, observedGeneration=2, conditions=condition("Suspended") + condition("Ready", "False")),
            "Suspended",
            "suspended",
        ),
        (live("Certificate", OTHER), "Healthy", ""),
        (live("Certificate", OTHER, observedGeneration=1), "Progressing", "newest spec"),
        (live("Certificate", OTHER, conditions=condition("Ready", "False")), "Progressing", "m"),
        (live("Certificate", OTHER, conditions=condition("Stalled")), "Degraded", "m"),
        (live("Certificate", OTHER, conditions=condition("Reconciling")), "Progressing", "m"),
        (live("Deployment", OTHER), "Healthy", ""),
        (live("Odd", OTHER, observedGeneration="no number"), "Unknown", "can't be read"),
    ],
)
def test_how_anything_is(found: Manifest, expected: str, said: str) -> None:
    verdict = health.verdict(found)
    assert str(verdict.health) == expected
    assert said in verdict.message


def test_what_is_being_deleted_is_not_ready() -> None:
    going = live("ConfigMap")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not health.is_ready(health.verdict(going))


@pytest.mark.parametrize(
    ("manifest", "verb", "loses"),
    [
        (live("ConfigMap"), "delete", False),
        (live("Secret"), "delete", True),
        (live("Namespace"), "keep", False),
        (live("PersistentVolumeClaim"), "keep", False),
        (live("CustomResourceDefinition", "apiextensions.k8s.io/v1"), "keep", False),
        (live("Project", OURS), "keep", False),
        (live("Application", OURS), "delete", False),
        (live("Application", OURS, spec={"deletionPolicy": "Delete"}), "delete", True),
        (
            live("StatefulSet", "apps/v1", spec={"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}}),
            "delete",
            True,
        ),
    ],
)
def test_what_goes_and_what_stays(manifest: Manifest, verb: str, loses: bool) -> None:
    found = changes.removal(object_id(manifest), manifest, SOURCE)
    assert (str(found.verb), found.loses_data) == (verb, loses)


def test_the_source_never_removes_itself() -> None:
    own = live("GitSource", OURS)
    own["metadata"] |= {"name": "fleet", "namespace": "shop"}
    assert changes.removal(object_id(own), own, SOURCE).reason == "it is the source itself"


def test_inventories_are_read_and_put_together() -> None:
    status = {"inventory": {"entries": [{"id": "shop_a__ConfigMap", "v": "v1"}, {"id": "broken"}, {}]}}
    (entry,) = inventory_of(status)
    assert entry.as_status() == {"id": "shop_a__ConfigMap", "v": "v1"}
    newer = Entry(ObjectId("shop", "d", "apps", "Deployment"), "v1")
    assert merged([newer], [entry], [newer._replace(version="v2")]) == (entry, newer._replace(version="v2"))
    assert newer.api_version == "apps/v1"


def test_drift_of_a_secret_is_told_by_the_revision_alone() -> None:
    manifest = live("Secret")
    manifest["metadata"]["annotations"] = {labels.APPLIED_HASH: "x"}
    wanted = Wanted(manifest, object_id(manifest), "", digest(manifest))
    assert not changes.is_drift(wanted, manifest, settled=False)
    assert changes.is_drift(wanted, manifest, settled=True)
