"""Patches: RFC 6902 and strategic merge, which objects they are for, and what they may not do."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.api.resource import InvalidSpec
from homeport.plan import merge, render
from homeport.plan.types import Manifest
from unit.render_cases import application, place

TARGET = {"kind": "Deployment", "name": "web"}


def patched(patch: str, target: dict[str, str] | None = None, **environment: Any) -> dict[str, Manifest]:
    components = [
        {"name": "web", "image": "x:1", "ports": [{"name": "http", "port": 80}], "env": [{"name": "A", "value": "1"}]},
        {"name": "mail", "type": "worker", "image": "x:1"},
        {"name": "night", "type": "cron", "image": "x:1", "schedule": "@daily"},
    ]
    patches = [{"target": target or TARGET, "patch": patch}]
    spec = {"version": "1.0.0", "components": components, "environments": [{"name": "live", "patches": patches}]}
    children = render.render(application(spec), place(isolation="Open", **environment))
    return {f"{c.manifest['kind']}/{c.manifest['metadata']['name']}": c.manifest for c in children}


def problem(patch: str, target: dict[str, str] | None = None, **environment: Any) -> str:
    with pytest.raises(InvalidSpec) as caught:
        patched(patch, target, **environment)
    return str(caught.value)


def test_operations() -> None:
    out = patched("- {op: add, path: /spec/template/spec/priorityClassName, value: high}")
    assert out["Deployment/web"]["spec"]["template"]["spec"]["priorityClassName"] == "high"
    assert "priorityClassName" not in out["Deployment/mail"]["spec"]["template"]["spec"]


def test_strategic() -> None:
    out = patched(
        "spec: {template: {spec: {containers: [{name: web, env: [{name: B, value: '2'}]}, {name: new, image: y}]}}}",
        {"kind": "Deployment", "name": "web"},
        podSecurity="privileged",
    )
    web, new = out["Deployment/web"]["spec"]["template"]["spec"]["containers"]
    assert web["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    assert web["image"] == "x:1"
    assert new == {"name": "new", "image": "y"}


def test_without_a_name_every_object_of_the_kind() -> None:
    out = patched("spec: {minReadySeconds: 7}", {"kind": "Deployment", "group": "apps", "version": "v1"})
    assert {out[name]["spec"]["minReadySeconds"] for name in ("Deployment/web", "Deployment/mail")} == {7}


def test_what_it_leaves_is_canonical() -> None:
    out = patched(
        "spec: {template: {spec: {nodeSelector: {}, hostNetwork: false, containers: [{name: web, env: "
        "[{name: A, value: ''}], resources: {limits: {memory: 2048Mi, cpu: 0.5}}}]}}}"
    )
    pod = out["Deployment/web"]["spec"]["template"]["spec"]
    assert "nodeSelector" not in pod and "hostNetwork" not in pod
    assert pod["containers"][0]["resources"]["limits"] == {"memory": "2Gi", "cpu": "500m"}
    assert pod["containers"][0]["env"] == [{"name": "A"}]
    assert {"name": "homeport-tmp", "emptyDir": {}} in pod["volumes"]


def test_an_object_can_be_left_out() -> None:
    assert "Service/web" not in patched("$patch: delete", {"kind": "Service"})


@pytest.mark.parametrize(
    ("patch", "target", "said"),
    [
        ("a: b: c", None, "the patch isn't YAML in line 1"),
        ("text", None, "neither a list of operations (RFC 6902) nor a partial object"),
        ("", None, "patch"),
        ("a: 1\n---\nb: 2", None, "there are 2 YAML documents"),
        ("- {op: nope, path: /spec}", None, "isn't a list of RFC 6902 operations"),
        ("- {path: /spec}", None, "isn't a list of RFC 6902 operations"),
        ("- x", None, "isn't a list of RFC 6902 operations"),
        ("- {op: remove, path: /spec/nope}", None, "it doesn't apply to Deployment web"),
        ("- {op: add, path: /spec/a/b/c, value: 1}", None, "it doesn't apply to Deployment web"),
        ("- {op: add, path: spec, value: 1}", None, "patch"),
        ("- {op: test, path: /spec/replicas, value: 9}", None, "a test operation doesn't hold on Deployment web"),
        ("- {op: replace, path: '', value: 1}", None, "it leaves no object"),
        (
            "spec: {}",
            {"kind": "Deployment", "name": "nope"},
            "no Deployment nope is rendered here; there is Deployment mail, web",
        ),
        ("spec: {}", {"kind": "Widget"}, "the kinds are CronJob, Deployment, Service; there is Deployment mail, web"),
        ("spec: {}", {"kind": "Deployment", "group": "batch"}, "no Deployment is rendered here"),
        (
            "spec: {template: {spec: {containers: [{image: y}]}}}",
            None,
            "spec.template.spec.containers: an entry without name",
        ),
        ("spec: {$patch: nope}", None, "$patch is 'nope'; write delete, replace or merge"),
        ("metadata: {name: other}", None, "it changes metadata.name of Deployment web"),
        ("metadata: {namespace: other}", None, "it changes metadata.namespace"),
        ("kind: Pod", None, "it changes kind"),
        ("apiVersion: v2", None, "it changes apiVersion"),
        ("metadata: {labels: {homeport.dev/project: other}}", None, "metadata.labels[homeport.dev/project]"),
        ("metadata: {annotations: {homeport.dev/prune: Disabled}}", None, "metadata.annotations[homeport.dev/prune]"),
        (
            "metadata: {labels: {app.kubernetes.io/managed-by: null}}",
            None,
            "metadata.labels[app.kubernetes.io/managed-by]",
        ),
        ("- {op: remove, path: /metadata/labels}", None, "metadata.labels[homeport.dev/application]"),
        ("spec: {template: {metadata: {labels: {homeport.dev/component: x}}}}", None, "the Pods' metadata.labels"),
        ("spec: {template: {spec: {serviceAccountName: admin}}}", None, "it changes serviceAccountName"),
        ("spec: {template: {spec: {serviceAccount: admin}}}", None, "it changes serviceAccount"),
        ("- {op: replace, path: /spec/template/spec/containers, value: x}", None, "has the wrong shape"),
        ("- {op: replace, path: /spec/template, value: x}", None, "it changes"),
        ("- {op: remove, path: /spec}", None, "it changes"),
        (
            "spec: {template: {spec: {containers: [{name: web, resources: {limits: {cpu: x}}}]}}}",
            None,
            "isn't a quantity",
        ),
        ("spec: {template: {spec: {hostNetwork: true}}}", None, "hostNetwork of the Pods of Deployment web is true"),
        (
            "spec: {template: {spec: {containers: [{name: web, securityContext: {privileged: true}}]}}}",
            None,
            "securityContext.privileged of container web",
        ),
        (
            "spec: {jobTemplate: {metadata: {labels: {homeport.dev/component: x}}}}",
            {"kind": "CronJob"},
            "the Jobs' metadata.labels",
        ),
    ],
)
def test_what_is_said(patch: str, target: dict[str, str] | None, said: str) -> None:
    text = problem(patch, target)
    assert said in text


def test_the_patch_is_named() -> None:
    assert problem("a: b: c").startswith("spec.environments[live].patches[0]: ")


@pytest.mark.parametrize("bomb", ["&a [*a]", "a: &a {b: *a}"])
def test_endless_aliases_are_refused(bomb: str) -> None:
    assert "too large or too deep" in problem(bomb)


def test_huge_aliases_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "too large or too deep" in problem("\n".join(lines))


def test_dates_stay_text() -> None:
    out = patched("metadata: {annotations: {since: 2026-01-01}}")
    assert out["Deployment/web"]["metadata"]["annotations"]["since"] == "2026-01-01"


# --- strategic merge alone ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "base", "patch", "expected"),
    [
        ("X", {"a": 1, "b": {"c": 2}}, {"b": {"d": 3}}, {"a": 1, "b": {"c": 2, "d": 3}}),
        ("X", {"a": 1, "b": 2}, {"a": None}, {"b": 2}),
        ("X", {"a": {"b": 1}}, {"a": {"$patch": "replace", "c": 2}}, {"a": {"c": 2}}),
        ("X", {"a": {"b": 1}, "c": 1}, {"a": {"$patch": "delete"}}, {"c": 1}),
        ("X", {"a": {"b": 1, "c": 2}}, {"a": {"$retainKeys": ["c"], "c": 3}}, {"a": {"c": 3}}),
        ("X", {"l": [1, 2]}, {"l": [3]}, {"l": [3]}),
        ("X", {"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "b"}]}, {"tolerations": [{"key": "b"}]}),
        ("X", {"finalizers": ["a", "b"]}, {"finalizers": ["b", "c"]}, {"finalizers": ["a", "b", "c"]}),
        ("X", {"finalizers": ["a", "b"]}, {"$deleteFromPrimitiveList/finalizers": ["a"]}, {"finalizers": ["b"]}),
        (
            "X",
            {"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b"}]},
            {"volumes": [{"name": "a", "$patch": "delete"}, {"name": "c", "x": None}]},
            {"volumes": [{"name": "b"}, {"name": "c"}]},
        ),
        (
            "X",
            {"volumes": [{"name": "a", "emptyDir": {}}]},
            {"volumes": [{"name": "a", "emptyDir": None, "hostPath": {"path": "/x"}}]},
            {"volumes": [{"name": "a", "hostPath": {"path": "/x"}}]},
        ),
        ("X", {"env": [{"name": "a"}]}, {"env": [{"$patch": "replace"}, {"name": "b"}]}, {"env": [{"name": "b"}]}),
        (
            "Service",
            {"ports": [{"port": 1, "name": "a"}]},
            {"ports": [{"port": 1, "x": 2}]},
            {"ports": [{"port": 1, "name": "a", "x": 2}]},
        ),
        (
            "Deployment",
            {"ports": [{"containerPort": 1}]},
            {"ports": [{"containerPort": 2}]},
            {"ports": [{"containerPort": 1}, {"containerPort": 2}]},
        ),
        (
            "X",
            {"volumeMounts": [{"mountPath": "/a", "name": "x"}]},
            {"volumeMounts": [{"mountPath": "/a", "name": "y"}]},
            {"volumeMounts": [{"mountPath": "/a", "name": "y"}]},
        ),
        ("X", {}, {"a": {"b": None, "$patch": "merge", "c": {"d": None}}}, {"a": {"c": {}}}),
        ("X", {"a": 1}, {"$patch": "delete"}, None),
    ],
)
def test_strategic_merge(kind: str, base: dict[str, Any], patch: dict[str, Any], expected: Any) -> None:
    before = repr((base, patch))
    assert merge.strategic(kind, base, patch) == expected
    assert repr((base, patch)) == before
