"""The admission policies: what is refused, in which words, and what isn't."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from api_server import ApiServer, RefusedError, eventually
from homeport.api.resource import parse
from homeport.plan.gitops import previews
from homeport.plan.gitops.pulls import Pull
from manifests import ROOT, load_all

pytestmark = pytest.mark.integration

V1ALPHA1 = "homeport.dev/v1alpha1"


@pytest.fixture(scope="module")
def api(control_plane: Any) -> ApiServer:
    server = ApiServer(control_plane.kubeconfig)
    server.install("crds", "policies")
    probe = _project("kube-public", "anything")
    eventually(lambda: _refused(lambda: server.create(probe, dry=True)) != "", "the policies are in force")
    return server


@pytest.fixture
def home(api: ApiServer) -> Iterator[str]:
    """A namespace as the operator labels a project's."""
    name = f"policy-{uuid.uuid4().hex[:8]}"
    api.create(_namespace(name, {"homeport.dev/project": name}))
    yield name
    _remove(api, name)


def _namespace(name: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}}


def _project(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": V1ALPHA1, "kind": "Project", "metadata": metadata, "spec": spec}


def _environment(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": V1ALPHA1, "kind": "Environment", "metadata": metadata, "spec": spec}


def _refused(call: Callable[[], Any]) -> str:
    """The message of the refusal; empty when there is none."""
    try:
        call()
    except RefusedError as error:
        return str(error)
    return ""


def _archived(api: ApiServer, project: dict[str, Any], generation: int | None = None) -> None:
    """Say in its status that it is archived, as the operator does."""
    current = api.get(project)["metadata"]["generation"]
    condition = {
        "type": "Archived",
        "status": "True",
        "reason": "Archived",
        "message": "",
        "observedGeneration": current if generation is None else generation,
    }
    api.patch(project, {"status": {"conditions": [condition]}}, "status")


def _remove(api: ApiServer, name: str) -> None:
    project = _project(name, name)
    if _refused(lambda: api.get(project)) == "":
        _archived(api, project)
        api.delete(project)
    namespace = _namespace(name)
    eventually(lambda: _refused(lambda: api.delete(namespace)) == "", "the namespace may be deleted")


# --- a Project is named as its namespace ----------------------------------------------------------------------------


def test_a_project_is_named_as_its_namespace(api: ApiServer, home: str) -> None:
    message = _refused(lambda: api.create(_project(home, "other"), dry=True))
    assert f"a Project is named as its namespace; write metadata.name: {home}" in message
    assert "or put it into a namespace called other" in message
    api.create(_project(home, home))


# --- the namespace of an environment --------------------------------------------------------------------------------


def test_a_namespace_of_63_characters_is_the_longest(api: ApiServer, home: str) -> None:
    fits, too_long = "e" * (62 - len(home)), "e" * (63 - len(home))
    api.create(_environment(home, fits), dry=True)
    message = _refused(lambda: api.create(_environment(home, too_long), dry=True))
    assert f"the namespace {home}-{too_long} would have 64 characters; at most 63 are possible" in message
    assert "shorten metadata.name, or write spec.kubernetes.namespace" in message


@pytest.mark.parametrize(
    "spec",
    [
        {"kubernetes": {"namespace": "short"}},
        {"runtime": "Proxmox", "proxmox": {"hostRef": {"name": "lab"}}},
    ],
    ids=["a namespace of its own", "no namespace at all"],
)
def test_a_long_name_is_fine_with(api: ApiServer, home: str, spec: dict[str, Any]) -> None:
    api.create(_environment(home, "e" * 61, **spec), dry=True)


def test_a_long_name_is_refused_with_an_empty_place(api: ApiServer, home: str) -> None:
    assert "would have" in _refused(lambda: api.create(_environment(home, "e" * 61, kubernetes={}), dry=True))


# --- deleting a Project and its namespace ---------------------------------------------------------------------------


def test_a_project_is_deleted_only_when_archived(api: ApiServer, home: str) -> None:
    project = _project(home, home)
    api.create(project)
    assert f"the Project {home} is not archived; write spec.archived: true" in _refused(lambda: api.delete(project))
    _archived(api, project)
    api.delete(project, dry=True)

    api.patch(project, {"spec": {"title": "A new generation"}})
    assert "is not archived" in _refused(lambda: api.delete(project)), "archived at an older generation"


def test_a_condition_that_is_false_is_no_permission(api: ApiServer, home: str) -> None:
    project = _project(home, home)
    api.create(project)
    condition = {"type": "Archived", "status": "False", "reason": "Progressing", "observedGeneration": 1}
    api.patch(project, {"status": {"conditions": [condition]}}, "status")
    assert "is not archived" in _refused(lambda: api.delete(project))


def test_a_projects_namespace_is_guarded_likewise(api: ApiServer, home: str) -> None:
    project, namespace = _project(home, home), _namespace(home)
    api.create(project)
    # The API server reads a policy's parameters from a watch, which follows a moment later.
    eventually(
        lambda: f"holds the Project {home}, which is not archived" in _refused(lambda: api.delete(namespace, dry=True)),
        "the namespace is guarded",
    )
    _archived(api, project)
    eventually(lambda: _refused(lambda: api.delete(namespace, dry=True)) == "", "the namespace may be deleted")


def test_a_namespace_without_a_project_is_nobodys_business(api: ApiServer, home: str) -> None:
    api.delete(_namespace(home), dry=True)


def test_an_environments_namespace_is_not_guarded(api: ApiServer, home: str) -> None:
    api.create(_project(home, home))
    name = f"{home}-production"
    api.create(_namespace(name, {"homeport.dev/project": home, "homeport.dev/environment": "production"}))
    api.delete(_namespace(name))


# --- deleting an Environment that would lose data -------------------------------------------------------------------


def test_an_environment_that_deletes_data_wants_to_be_told_twice(api: ApiServer, home: str) -> None:
    environment = _environment(home, "staging", deletionPolicy="Delete", tier="Staging")
    api.create(environment)
    message = _refused(lambda: api.delete(environment))
    assert "deleting the Environment staging deletes its volumes (deletionPolicy: Delete); confirm with" in message
    assert f"-n {home} homeport.dev/confirm-delete=staging, or write deletionPolicy: Retain" in message

    api.patch(environment, {"metadata": {"annotations": {"homeport.dev/confirm-delete": "production"}}})
    assert _refused(lambda: api.delete(environment)) != "", "the name of another one confirms nothing"
    api.patch(environment, {"metadata": {"annotations": {"homeport.dev/confirm-delete": "staging"}}})
    api.delete(environment)


@pytest.mark.parametrize(
    "spec",
    [{}, {"deletionPolicy": "Retain"}, {"deletionPolicy": "Delete", "tier": "Preview"}, {"tier": "Preview"}],
    ids=["no policy", "Retain", "Delete in a preview", "a preview"],
)
def test_an_environment_is_deleted_without_more_words(api: ApiServer, home: str, spec: dict[str, Any]) -> None:
    environment = _environment(home, "staging", **spec)
    api.create(environment)
    api.delete(environment)


def test_what_is_in_a_namespace_that_goes_may_go(api: ApiServer, home: str) -> None:
    project = _project(home, home)
    environment = _environment(home, "staging", deletionPolicy="Delete")
    for manifest in (project, environment):  # finalizers, so that the namespace controller doesn't win the race
        api.create({**manifest, "metadata": {**manifest["metadata"], "finalizers": ["homeport.dev/test"]}})
    _archived(api, project)
    eventually(lambda: _refused(lambda: api.delete(_namespace(home))) == "", "the namespace may be deleted")
    api.patch(project, {"spec": {"archived": False}})
    eventually(lambda: _refused(lambda: api.delete(environment)) == "", "the environment goes with its namespace")
    eventually(lambda: _refused(lambda: api.delete(project)) == "", "the project goes with its namespace")
    for manifest in (project, environment):
        api.patch(manifest, {"metadata": {"finalizers": None}})


# --- deleting an Application that would lose data -------------------------------------------------------------------


def test_a_preview_goes_with_its_volumes(api: ApiServer, home: str) -> None:
    """The operator removes it when its pull request is closed; nobody is there to confirm that."""
    volume = {"name": "data", "path": "/data", "size": "1Gi", "deletionPolicy": "Delete"}
    part = {"name": "db", "image": "postgres", "ports": [{"name": "db", "port": 5432}], "volumes": [volume]}
    theirs = {
        "apiVersion": V1ALPHA1,
        "kind": "Application",
        "metadata": {"name": "shop", "namespace": home},
        "spec": {"version": "1.0.0", "components": [part]},
    }
    template = parse(_environment(home, "preview", tier="Preview", template=True))
    pull = Pull(7, "A page", "eve", "a" * 40, "refs/pull/7/head", "main", fork=False)
    (preview,) = previews.preview("fleet", previews.Ticket(pull, True), template, [theirs], (), "72h").applications
    for manifest in (theirs, preview):
        api.create(manifest)
    assert "deleting the Application shop deletes data" in _refused(lambda: api.delete(theirs))
    api.delete(preview)
    api.patch(theirs, {"metadata": {"annotations": {"homeport.dev/confirm-delete": "shop"}}})
    api.delete(theirs)


# --- the files ------------------------------------------------------------------------------------------------------


def test_every_policy_fails_closed_is_bound_and_is_ours() -> None:
    manifests = [m for _, m in load_all(ROOT / "policies") if m["kind"].startswith("ValidatingAdmissionPolicy")]
    policies = {m["metadata"]["name"]: m for m in manifests if m["kind"] == "ValidatingAdmissionPolicy"}
    bound = {m["spec"]["policyName"] for m in manifests if m["kind"] == "ValidatingAdmissionPolicyBinding"}
    assert set(policies) == bound
    for name, policy in policies.items():
        assert policy["spec"]["failurePolicy"] == "Fail", name
        assert all(validation.get("message") for validation in policy["spec"]["validations"]), name
    assert {m["metadata"]["labels"]["app.kubernetes.io/part-of"] for m in manifests} == {"homeport"}


def test_a_project_needs_a_namespace_of_its_own(api: ApiServer) -> None:
    name = f"policy-{uuid.uuid4().hex[:8]}"
    api.create(_namespace(name, {"app.kubernetes.io/managed-by": "homeport", "homeport.dev/environment": "main"}))
    try:
        assert "this namespace is an Environment's" in _refused(lambda: api.create(_project(name, name)))
    finally:
        _remove(api, name)
