"""Who may name a GitSource's account and Secrets: the admission policies, asked as real users of a real API server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from api_server import ApiServer, RefusedError, eventually
from homeport.drivers.kubernetes import types

pytestmark = pytest.mark.integration

Manifest = dict[str, Any]
SAYS = "may not impersonate the service account deployer"


class Somebody:
    """A user with rights of their own in one namespace."""

    def __init__(self, api: ApiServer, home: str, name: str) -> None:
        self.api = api
        self.home = home
        self.name = name

    def call(self, method: str, name: str | None, body: Any, content_type: str = "", **query: str) -> Any:
        self.api.acting_as = self.name
        try:
            return self.api.call(method, types.GIT_SOURCE.path(self.home, name), body, content_type, **query)
        finally:
            self.api.acting_as = ""

    def create(self, body: Manifest, dry: bool = True) -> Any:
        return self.call("POST", None, body, **({"dryRun": "All"} if dry else {}))

    def patch(self, body: Manifest) -> Any:
        return self.call("PATCH", "fleet", body, "application/merge-patch+json", dryRun="All")


def source(home: str, account: str | None = "deployer", **spec: Any) -> Manifest:
    spec = {"url": "https://git.example.com/team/fleet.git", "ref": {"branch": "main"}, **spec}
    if account is not None:
        spec["serviceAccountName"] = account
    metadata = {"name": "fleet", "namespace": home}
    return {"apiVersion": "homeport.dev/v1alpha1", "kind": "GitSource", "metadata": metadata, "spec": spec}


def rights(api: ApiServer, home: str, user: str, *rules: Manifest) -> None:
    rbac, metadata = "rbac.authorization.k8s.io", {"name": user, "namespace": home}
    role = {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": list(rules)}
    api.call("POST", types.ROLE.path(home), role)
    binding = {
        "apiVersion": f"{rbac}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": rbac, "kind": "Role", "name": user},
        "subjects": [{"kind": "User", "name": user, "apiGroup": rbac}],
    }
    api.call("POST", types.ROLE_BINDING.path(home), binding)


READS = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["git"], "verbs": ["get"]}
SOURCES = {"apiGroups": ["homeport.dev"], "resources": ["gitsources"], "verbs": ["*"]}
ACCOUNT = {"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": ["deployer"], "verbs": ["impersonate"]}


@pytest.fixture(scope="module")
def api(control_plane: Any) -> ApiServer:
    server = ApiServer(control_plane.kubeconfig)
    server.install("crds", "policies")
    return server


@pytest.fixture(scope="module")
def home(api: ApiServer) -> Iterator[str]:
    name = f"account-{uuid.uuid4().hex[:8]}"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    api.create(namespace)
    yield name
    api.delete(namespace)


@pytest.fixture(scope="module")
def writer(api: ApiServer, home: str) -> Somebody:
    """May write GitSources, and be nobody else."""
    rights(api, home, "writer", SOURCES)
    found = Somebody(api, home, "writer")
    eventually(lambda: refused(found, source(home)) != "", "the policy is in force")
    return found


@pytest.fixture(scope="module")
def deployer(api: ApiServer, home: str) -> Somebody:
    """May be the account deployer, too."""
    rights(api, home, "deployers", SOURCES, ACCOUNT)
    found = Somebody(api, home, "deployers")
    eventually(lambda: refused(found, source(home)) == "", "the rights are known")
    return found


def refused(who: Somebody, body: Manifest) -> str:
    try:
        who.create(body)
    except RefusedError as error:
        return str(error)
    return ""


def test_naming_an_account_needs_the_right_to_be_it(writer: Somebody, deployer: Somebody, home: str) -> None:
    told = refused(writer, source(home))
    assert f"writer {SAYS}" in told and "resource serviceaccounts, name deployer" in told
    assert refused(writer, source(home, None)) == "", "without an account anybody may who may write sources"
    assert refused(deployer, source(home)) == ""
    assert "service account other" in refused(deployer, source(home, "other"))


def test_turning_a_source_elsewhere_needs_it_too(
    api: ApiServer, writer: Somebody, deployer: Somebody, home: str
) -> None:
    made = deployer.create(source(home), dry=False)
    try:
        for change in (
            {"spec": {"url": "https://git.example.com/mine.git"}},
            {"spec": {"path": "./mine"}},
            {"metadata": {"annotations": {"homeport.dev/pin": "a" * 40}}},
        ):
            with pytest.raises(RefusedError, match=SAYS):
                writer.patch(change)
            deployer.patch(change)
        # What changes nothing of what is applied is anybody's who may write sources: tokens, labels, letting go of it.
        writer.patch({"metadata": {"annotations": {"homeport.dev/reconcile-at": "1"}, "labels": {"a": "b"}}})
        writer.patch({"spec": {"serviceAccountName": None}})
        # Nor does the operator need it, whose writes are a finalizer and the status.
        api.call(
            "PATCH",
            types.GIT_SOURCE.path(home, "fleet"),
            {"metadata": {"finalizers": ["example.com/x"]}},
            "application/merge-patch+json",
            dryRun="All",
        )
    finally:
        api.delete(made)


def test_naming_a_secret_needs_the_right_to_read_it(api: ApiServer, writer: Somebody, home: str) -> None:
    rights(api, home, "reader", SOURCES, READS)
    reader = Somebody(api, home, "reader")
    plain, named = source(home, None), source(home, None, credentialsSecretRef={"name": "git"})
    eventually(lambda: refused(reader, plain) == "", "the rights are known")
    eventually(lambda: "may not read each of git" in refused(writer, named), "the policy is in force")
    assert refused(writer, plain) == "" == refused(reader, named)
    leak = {"variablesFrom": [{"kind": "Secret", "name": "forge"}]}
    told = refused(reader, source(home, None, credentialsSecretRef={"name": "git"}, build=leak))
    assert "Secrets that this names: reader may not read each of git, forge" in told


def test_what_a_secret_is_for_stays_or_needs_it_too(api: ApiServer, writer: Somebody, home: str) -> None:
    made = source(home, None, credentialsSecretRef={"name": "git"})
    eventually(lambda: "may not read each of git" in refused(writer, made), "the policy is in force")
    made = api.create(made)
    try:
        for change in (
            {"spec": {"url": "https://git.example.com/mine.git"}},
            {"spec": {"path": "./mine"}},
            {"spec": {"credentialsSecretRef": {"name": "other"}}},
            {"metadata": {"annotations": {"homeport.dev/pin": "a" * 40}}},
        ):
            with pytest.raises(RefusedError, match="may not read each of"):
                writer.patch(change)
        for change in (
            {"spec": {"interval": "5m", "suspend": True}},
            {"spec": {"credentialsSecretRef": None}},
            {"metadata": {"finalizers": ["example.com/x"], "labels": {"a": "b"}}},
        ):
            writer.patch(change)
    finally:
        api.delete(made)
