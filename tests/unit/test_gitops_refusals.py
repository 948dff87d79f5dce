"""What the API server's refusals mean for a source, in words that a person can act on."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import errors
from homeport.engine.gitops import refusals
from homeport.engine.gitops.fights import ROUNDS, TRUCE, WINDOW, Fights
from homeport.outcome import Outcome, Stalled, Transient, Wait
from homeport.plan.gitops.types import Wanted
from homeport.plan.types import object_id

ACCOUNT = "system:serviceaccount:shop:deployer"
BEGIN = "all.yaml:3: ConfigMap shop/a: "


def wanted(kind: str = "ConfigMap", api: str = "v1") -> Wanted:
    manifest: dict[str, Any] = {"apiVersion": api, "kind": kind, "metadata": {"name": "a", "namespace": "shop"}}
    return Wanted(manifest, object_id(manifest), "all.yaml:3", "d")


def forbidden(verb: str, resource: str, group: str, where: str, user: str = ACCOUNT) -> errors.Forbidden:
    text = (
        f'{resource} "a" is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "{group}" {where}'
    )
    return errors.Forbidden(403, "Forbidden", text)


def conflict(*fields: str) -> errors.Conflict:
    said = 'conflict with "argocd-controller" using v1'
    causes = tuple(errors.Cause(field, said, "FieldManagerConflict") for field in fields)
    return errors.Conflict(409, "Conflict", "Apply failed", causes)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            forbidden("patch", "deployments", "apps", 'in the namespace "shop"'),
            Stalled(
                Reason.ACCESS_DENIED,
                f"{BEGIN}the account shop/deployer may not patch deployments.apps in namespace shop; grant patch on "
                "deployments.apps to it by a Role, or leave it out",
            ),
        ),
        (
            forbidden("create", "namespaces", "", 'in the namespace "a"'),
            Stalled(
                Reason.ACCESS_DENIED,
                f"{BEGIN}the account shop/deployer may not create namespaces in the whole cluster; grant create on "
                "namespaces to it by a ClusterRole, or leave it out",
            ),
        ),
        (
            forbidden("impersonate", "serviceaccounts", "", 'in the namespace "shop"', "system:serviceaccount:hp:op"),
            Stalled(
                Reason.ACCESS_DENIED,
                f"{BEGIN}the operator (system:serviceaccount:hp:op) may not impersonate serviceaccounts in namespace "
                "shop; its ClusterRole has to allow that",
            ),
        ),
        (
            errors.Forbidden(403, "Forbidden", "ValidatingAdmissionPolicy 'x' denied request: write yes"),
            Stalled(Reason.ACCESS_DENIED, f"{BEGIN}ValidatingAdmissionPolicy 'x' denied request: write yes"),
        ),
        (
            errors.Forbidden(403, "Forbidden", "exceeded quota: few"),
            Stalled(Reason.APPLY_FAILED, f"{BEGIN}exceeded quota: few; ask for less, or raise the quota"),
        ),
        (
            errors.Forbidden(403, "Forbidden", "unable to create: namespace shop is being terminated"),
            Wait(Reason.DEPENDENCY_NOT_READY, f"{BEGIN}its namespace is being deleted", 5.0),
        ),
        (
            conflict(".data.a", ".data.b"),
            Stalled(
                Reason.CONFLICT,
                f"{BEGIN}argocd-controller has set data.a, data.b; leave that out in Git, or write the annotation "
                'homeport.dev/adopt: "true" on it to take it over',
            ),
        ),
        (
            errors.Conflict(409, "Conflict", "the object has been modified"),
            Wait(Reason.PROGRESSING, f"{BEGIN}it has just changed; looking again", 0.3),
        ),
        (
            errors.NotFound(404, "NotFound", 'namespaces "shop" not found'),
            Wait(
                Reason.DEPENDENCY_NOT_READY,
                f"{BEGIN}there is no namespace shop; make it first, or put it into Git",
                10.0,
            ),
        ),
        (
            errors.TooManyRequests(429, "TooManyRequests", "slow down"),
            Transient(Reason.PROGRESSING_WITH_RETRY, f"{BEGIN}slow down"),
        ),
        (
            errors.ServerUnavailable(500, "InternalError", 'failed calling webhook "x": no answer'),
            Transient(Reason.PROGRESSING_WITH_RETRY, f'{BEGIN}failed calling webhook "x": no answer'),
        ),
        (
            errors.ServerUnavailable(
                500,
                "",
                "failed to create typed patch object (shop/a; apps/v1, Kind=X): errors:\n  .spec.a: field not "
                "declared in schema\n  .spec.b: field not declared in schema",
            ),
            Stalled(
                Reason.DRY_RUN_FAILED,
                f"{BEGIN}spec.a: field not declared in schema; spec.b: field not declared in schema",
            ),
        ),
        (
            errors.Invalid(
                422, "Invalid", "X is invalid", (errors.Cause("spec.port", "Invalid value: 0: too small", ""),)
            ),
            Stalled(Reason.DRY_RUN_FAILED, f"{BEGIN}spec.port: Invalid value: 0: too small"),
        ),
    ],
)
def test_a_refusal_in_words(error: errors.ApiError, expected: Outcome) -> None:
    assert refusals.explain(error, wanted(), ACCOUNT) == expected


@pytest.mark.parametrize(
    "error",
    [
        errors.Invalid(
            422, "Invalid", "Secret is invalid", (errors.Cause("data[a]", 'Invalid value: "hush\\"hush": bad', ""),)
        ),
        errors.ServerUnavailable(
            500, "", "failed to create typed patch object (a; v1, Kind=Secret): .data.a: expected string, got &{hush}"
        ),
    ],
)
def test_a_secrets_value_is_in_no_message(error: errors.ApiError) -> None:
    said = refusals.explain(error, wanted("Secret"), ACCOUNT)
    assert not isinstance(said, Wait)
    assert "hush" not in str(said)
    assert "data" in str(said)


# Word for word what Kubernetes 1.35 says.
@pytest.mark.parametrize(
    ("field", "message", "fields"),
    [
        ("spec.template", 'Invalid value: "…": field is immutable', ("spec.template",)),
        ("spec.clusterIPs[0]", 'Invalid value: ["10.0.0.1"]: may not change once set', ("spec.clusterIPs[0]",)),
        (
            "spec",
            "Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals' are forbidden",
            ("spec",),
        ),
        ("spec", "Forbidden: spec is immutable after creation except resources.requests", ("spec",)),
        ("roleRef", "Invalid value: cannot change roleRef", ("roleRef",)),
        ("spec.port", "Invalid value: 0", None),
    ],
)
def test_fields_that_cannot_be_changed(field: str, message: str, fields: tuple[str, ...] | None) -> None:
    error = errors.Invalid(422, "Invalid", "X is invalid", (errors.Cause(field, message, "FieldValueInvalid"),))
    assert refusals.immutable(error) == fields


def test_what_holds_data_is_never_offered_to_be_replaced() -> None:
    said = refusals.replacement(wanted("PersistentVolumeClaim"), ("spec",)).message
    assert (
        said
        == "all.yaml:3: PersistentVolumeClaim shop/a: spec can't be changed on what is there, and with it data "
        + ("would go; undo the change")
    )
    assert "replace-at" in refusals.replacement(wanted("Job", "batch/v1"), ("spec.template",)).message


def test_a_fight_ends_in_a_truce_and_slow_changes_are_no_fight() -> None:
    now = [0.0]
    source, id = OwnerKey("GitSource", "shop", "fleet"), wanted().id
    fights = Fights(lambda: now[0])
    for _ in range(ROUNDS):
        assert fights.may_mend(source, id)
        fights.mended(source, id)
        now[0] += 1
    assert not fights.may_mend(source, id)
    now[0] += TRUCE
    assert fights.may_mend(source, id)
    for _ in range(2 * ROUNDS):
        assert fights.may_mend(source, id)
        fights.mended(source, id)
        now[0] += WINDOW
