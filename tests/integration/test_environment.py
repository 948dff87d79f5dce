"""Environments on a real API server with the real operator: namespaces, what guards them, and how they go."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from homes import PORTS, Home, component, condition, eventually, told

from api_server import RefusedError

pytestmark = pytest.mark.integration

DRIFT = 3.0
"""Seconds in which drift must be mended: a second, and what a busy machine adds to it."""
PSS = "pod-security.kubernetes.io/enforce"


def labels(home: Home, environment: str = "dev") -> dict[str, str]:
    return dict(home.get("Namespace", None, home.place(environment))["metadata"]["labels"])


def value(secret: dict[str, Any], key: str) -> str:
    return base64.b64decode(secret["data"][key]).decode()


def stateful(**volume: Any) -> dict[str, Any]:
    data = {"name": "data", "path": "/data", "size": "1Gi", **volume}
    return component("db", type="stateful", ports=PORTS, volumes=[data])


# --- the namespace ----------------------------------------------------------------------------------------------------


def test_namespace_and_its_guards(bare: Home) -> None:
    bare.project()
    fresh = bare.own("Environment", "prod", {"tier": "Production", "quota": {"cpu": "4", "memory": "8Gi", "pods": 20}})
    assert fresh["status"] == {"observedGeneration": -1}
    env = bare.ready("Environment", "prod")
    assert env["status"]["namespace"] == bare.place("prod")
    found = labels(bare, "prod")
    assert found[PSS] == "restricted"
    assert (found["homeport.dev/project"], found["homeport.dev/environment"]) == (bare.name, "prod")
    assert (found["homeport.dev/tier"], found["app.kubernetes.io/managed-by"]) == ("production", "homeport")
    deny = bare.get("NetworkPolicy", bare.place("prod"), "homeport-default-deny")
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert not bare.missing("NetworkPolicy", "homeport-allow-dns", "prod")
    hard = bare.get("ResourceQuota", bare.place("prod"), "homeport")["spec"]["hard"]
    assert hard == {"requests.cpu": "4", "requests.memory": "8Gi", "pods": "20"}
    assert {entry["id"] for entry in env["status"]["inventory"]["entries"]} == {
        f"_{bare.place('prod')}__Namespace",
        f"{bare.place('prod')}_homeport-default-deny_networking.k8s.io_NetworkPolicy",
        f"{bare.place('prod')}_homeport-allow-dns_networking.k8s.io_NetworkPolicy",
        f"{bare.place('prod')}_homeport__ResourceQuota",
    }
    bare.set("Environment", "prod", isolation="Open", podSecurity="baseline", quota=None)
    env = bare.ready("Environment", "prod")
    bare.gone("NetworkPolicy", bare.place("prod"), "homeport-default-deny")
    bare.gone("NetworkPolicy", bare.place("prod"), "homeport-allow-dns")
    bare.gone("ResourceQuota", bare.place("prod"), "homeport")
    assert labels(bare, "prod")[PSS] == "baseline"


def test_drift_is_mended(home: Home) -> None:
    home.set("Environment", "dev", isolation="Strict")
    home.ready("Environment", "dev")
    marks = {PSS: "privileged", "example.com/theirs": "stays", "homeport.dev/tier": None}
    home.patch("Namespace", None, home.place(), {"metadata": {"labels": marks}})
    eventually(lambda: labels(home)[PSS] == "restricted", "Pod Security is enforced again", DRIFT)
    eventually(lambda: labels(home).get("homeport.dev/tier") == "development", "the tier is back", DRIFT)
    assert labels(home)["example.com/theirs"] == "stays"
    home.delete("NetworkPolicy", home.place(), "homeport-default-deny")
    eventually(lambda: not home.missing("NetworkPolicy", "homeport-default-deny"), "the policy is back", DRIFT)
    hole = {"spec": {"policyTypes": ["Ingress"]}}
    home.patch("NetworkPolicy", home.place(), "homeport-default-deny", hole)
    eventually(
        lambda: home.child("NetworkPolicy", "homeport-default-deny")["spec"]["policyTypes"] == ["Ingress", "Egress"],
        "the policy is whole again",
        DRIFT,
    )


def test_strict_isolation_opens_what_components_declare(home: Home) -> None:
    home.application()
    home.ready()
    assert home.missing("NetworkPolicy", "web")
    home.set("Environment", "dev", isolation="Strict")
    home.ready("Environment", "dev")
    eventually(lambda: not home.missing("NetworkPolicy", "web"), "the component has a policy of its own")
    home.set("Environment", "dev", isolation="Open")
    home.gone("NetworkPolicy", home.place(), "web")


def test_namespace_taken_until_an_administrator_lets_in(bare: Home) -> None:
    taken = bare.namespace(f"{bare.name}-old", labels={"team": "theirs"})
    theirs = bare.secret("theirs", taken, a="1")
    bare.project()
    env = bare.own("Environment", "dev", {"kubernetes": {"namespace": taken}, "quota": {"cpu": "2"}})
    env = bare.until("Environment", "dev", "False", "NamespaceTaken", f"homeport.dev/allow-project={bare.name}")
    assert condition(env, "Stalled")["reason"] == "NamespaceTaken"
    bare.application()
    bare.until("Application", "shop", "False", "DependencyNotReady", ["Environment dev isn't set up", taken])
    found = bare.get("Namespace", None, taken)
    assert {k: v for k, v in found["metadata"]["labels"].items() if k != "kubernetes.io/metadata.name"} == {
        "team": "theirs"
    }
    assert bare.names("ResourceQuota", taken) == set()
    bare.patch("Namespace", None, taken, {"metadata": {"labels": {"homeport.dev/allow-project": bare.name}}})
    bare.ready("Environment", "dev")
    bare.ready()
    assert bare.names("ResourceQuota", taken) == {"homeport"}
    # It isn't Homeport's to delete: only what was made in it goes.
    bare.delete("Environment", bare.name, "dev")
    bare.gone("Environment", bare.name, "dev")
    found = bare.get("Namespace", None, taken)
    assert "deletionTimestamp" not in found["metadata"] and found["metadata"]["labels"]["team"] == "theirs"
    assert bare.names("ResourceQuota", taken) == set() and bare.names("Deployment", taken) == set()
    assert bare.get("Secret", taken, "theirs")["metadata"]["uid"] == theirs["metadata"]["uid"]


def test_namespace_of_another_project_or_environment(home: Home) -> None:
    home.own("Environment", "twin", {"kubernetes": {"namespace": home.place()}})
    home.until("Environment", "twin", "False", "NamespaceTaken", home.place())
    home.settled("Environment", "dev")
    home.ready("Environment", "dev")
    home.delete("Environment", home.name, "twin")
    home.gone("Environment", home.name, "twin")
    assert "deletionTimestamp" not in home.get("Namespace", None, home.place())["metadata"]
    home.ready("Environment", "dev")


def test_pod_security_is_capped_by_the_administrator(home: Home) -> None:
    cap = "homeport.dev/pod-security-cap"
    # Asked for where no cap was, and capped before it came to be: the admission policy keeps others from asking.
    home.set("Environment", "dev", suspend=True)
    eventually(lambda: condition(home.mine("Environment", "dev"), "Suspended").get("status") == "True", "suspended")
    home.set("Environment", "dev", podSecurity="privileged")
    home.patch("Namespace", None, home.name, {"metadata": {"labels": {cap: "baseline"}}})
    home.set("Environment", "dev", suspend=False)
    home.until("Environment", "dev", "False", "AccessDenied", ["podSecurity: privileged", "baseline"])
    assert labels(home)[PSS] == "restricted"
    home.set("Environment", "dev", podSecurity="baseline")
    home.ready("Environment", "dev")
    eventually(lambda: labels(home)[PSS] == "baseline", "what is allowed is enforced")
    with pytest.raises(RefusedError, match="podSecurity: privileged is looser"):
        home.set("Environment", "dev", podSecurity="privileged")
    home.patch("Namespace", None, home.name, {"metadata": {"labels": {cap: None}}})
    home.set("Environment", "dev", podSecurity="privileged")
    home.ready("Environment", "dev")
    eventually(lambda: labels(home)[PSS] == "privileged", "without a cap everything may be asked for")


def test_template_is_only_a_pattern(home: Home) -> None:
    home.environment("pattern", template=True)
    home.until("Environment", "pattern", "True", says="a pattern")
    assert home.find("Namespace", None, home.place("pattern")) is None
    home.application()
    home.until("Application", "shop", "True", says="in dev")
    home.set("Application", "shop", environments=[{"name": "pattern"}])
    home.until("Application", "shop", "False", "DependencyNotReady", "lists nothing but templates")
    home.delete("Environment", home.name, "pattern")
    home.gone("Environment", home.name, "pattern")


def test_suspend(home: Home) -> None:
    home.ready("Environment", "dev")
    home.set("Environment", "dev", suspend=True, isolation="Strict")
    env = eventually(
        lambda: condition(env := home.mine("Environment", "dev"), "Suspended").get("status") == "True" and env,
        "it says that it is suspended",
    )
    assert env["status"]["observedGeneration"] == env["metadata"]["generation"]
    assert told(env)[0] == "True"
    assert env["status"]["namespace"] == home.place()
    assert home.missing("NetworkPolicy", "homeport-default-deny")
    # Only that object: applications in it are reconciled as before.
    home.application()
    home.ready()
    home.set("Environment", "dev", suspend=False)
    home.ready("Environment", "dev")
    assert not home.missing("NetworkPolicy", "homeport-default-deny")


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_secrets_are_copied_kept_in_step_and_removed(home: Home) -> None:
    home.secret("keys-dev", a="1")
    home.set("Environment", "dev", secrets=[{"name": "keys", "from": "keys-dev"}])
    env = home.ready("Environment", "dev")
    assert env["status"]["secrets"] == [{"name": "keys", "ready": True}]
    assert value(home.child("Secret", "keys"), "a") == "1"
    home.secret("keys-dev", a="2", b="3")
    eventually(lambda: value(home.child("Secret", "keys"), "a") == "2", "the copy follows", DRIFT)
    assert value(home.child("Secret", "keys"), "b") == "3"
    home.patch("Secret", home.name, "keys-dev", {"data": {"b": None}})
    eventually(lambda: set(home.child("Secret", "keys")["data"]) == {"a"}, "a key that goes, goes there, too", DRIFT)
    home.patch("Secret", home.place(), "keys", {"stringData": {"a": "theirs"}})
    eventually(lambda: value(home.child("Secret", "keys"), "a") == "2", "a changed copy is mended", DRIFT)
    home.delete("Secret", home.place(), "keys")
    eventually(lambda: not home.missing("Secret", "keys"), "a deleted copy is made anew", DRIFT)
    # What runs on the copy isn't broken by its source's end; the environment says that it is gone.
    home.delete("Secret", home.name, "keys-dev")
    home.until("Environment", "dev", "False", "DependencyNotReady", "Secret keys-dev")
    assert not home.missing("Secret", "keys")
    home.set("Environment", "dev", secrets=[])
    home.ready("Environment", "dev")
    home.gone("Secret", home.place(), "keys")


def test_type_of_a_copied_secret_is_the_sources(home: Home) -> None:
    pull = {".dockerconfigjson": base64.b64encode(b'{"auths": {}}').decode()}
    source = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull", "namespace": home.name}}
    home.apply({**source, "type": "kubernetes.io/dockerconfigjson", "data": pull})
    home.set("Environment", "dev", secrets=[{"name": "pull"}])
    home.ready("Environment", "dev")
    assert home.child("Secret", "pull")["type"] == "kubernetes.io/dockerconfigjson"


def test_private_secret_is_refused(home: Home) -> None:
    home.secret("root", labels={"homeport.dev/private": "true"}, a="1")
    home.set("Environment", "dev", secrets=[{"name": "root"}])
    home.until("Environment", "dev", "False", "AccessDenied", ["Secret root", "homeport.dev/private"])
    assert home.missing("Secret", "root")
    # Marked only after it was copied: the copy goes.
    home.secret("later", a="1")
    home.set("Environment", "dev", secrets=[{"name": "later"}])
    home.ready("Environment", "dev")
    home.patch("Secret", home.name, "later", {"metadata": {"labels": {"homeport.dev/private": ""}}})
    home.until("Environment", "dev", "False", "AccessDenied", "Secret later")
    home.gone("Secret", home.place(), "later")


def test_a_strangers_secret_of_that_name_is_not_overwritten(home: Home) -> None:
    home.secret("keys", home.place(), a="theirs")
    home.secret("keys", a="ours")
    home.set("Environment", "dev", secrets=[{"name": "keys"}])
    home.until("Environment", "dev", "False", "NameTaken", f"Secret {home.place()}/keys")
    assert value(home.child("Secret", "keys"), "a") == "theirs"


# --- quotas -----------------------------------------------------------------------------------------------------------


def test_project_quota_bounds_the_sum(bare: Home) -> None:
    bare.project(quota={"cpu": "4"})
    bare.environment("one", quota={"cpu": "3"})
    bare.ready("Environment", "one")
    bare.environment("two")
    bare.until("Environment", "two", "False", "InvalidSpec", "write spec.quota.cpu")
    bare.set("Environment", "two", quota={"cpu": "2"})
    bare.until("Environment", "two", "False", "InvalidSpec", ["spec.quota.cpu is 2", "more than the project's 4"])
    bare.ready("Environment", "one")
    bare.set("Environment", "one", quota={"cpu": "1500m"})
    bare.ready("Environment", "two")
    bare.set("Project", bare.name, quota={"cpu": "3"})
    bare.until("Environment", "two", "False", "InvalidSpec")
    bare.delete("Environment", bare.name, "one")
    bare.ready("Environment", "two")


def test_what_exceeds_the_quota_is_told(home: Home) -> None:
    home.set("Environment", "dev", quota={"cpu": "100m", "memory": "4Gi"})
    home.ready("Environment", "dev")
    home.application(component(resources={"requests": {"cpu": "2"}}))
    home.until("Application", "shop", "False", "HealthCheckFailed", ["dev/web", "exceeded quota"])
    home.set("Environment", "dev", quota={"cpu": "20", "memory": "40Gi"})
    home.ready()


# --- people -----------------------------------------------------------------------------------------------------------


def test_members_have_their_rights_in_each_environment(bare: Home) -> None:
    lead, developer, viewer = (f"{role}-{bare.name}@example.com" for role in ("lead", "developer", "stakeholder"))
    bare.project(
        members=[
            {"kind": "User", "name": lead, "role": "lead"},
            {"kind": "User", "name": developer, "role": "developer"},
            {"kind": "User", "name": viewer, "role": "stakeholder"},
        ]
    )
    bare.environment("dev")
    bare.environment("prod", tier="Production")
    bare.ready("Environment", "dev")
    bare.ready("Environment", "prod")
    dev, prod = bare.place("dev"), bare.place("prod")
    eventually(lambda: bare.may(developer, "create", "pods", dev, sub="exec"), "the authorizer knows of the bindings")
    assert bare.may(developer, "get", "pods", prod, sub="log")
    assert not bare.may(developer, "create", "pods", prod, sub="exec")
    assert not bare.may(developer, "get", "secrets", dev)
    assert bare.may(lead, "create", "pods", prod, sub="exec") and bare.may(lead, "get", "secrets", prod)
    assert bare.may(viewer, "list", "pods", prod) and not bare.may(viewer, "get", "pods", prod, sub="log")
    assert not bare.may(viewer, "get", "secrets", dev)
    # Promoted to Production, the environment is protected at once; a role that changes moves the binding.
    bare.set("Environment", "dev", tier="Production")
    eventually(lambda: not bare.may(developer, "create", "pods", dev, sub="exec"), "exec is gone")
    bare.set("Project", bare.name, members=[{"kind": "User", "name": lead, "role": "lead"}])
    eventually(lambda: not bare.may(viewer, "list", "pods", prod), "who left may nothing any more")
    eventually(lambda: bare.names("RoleBinding", prod) == {"homeport-lead"}, "only the lead's binding is left")
    # Rights don't wait for a Secret that isn't there.
    bare.set("Environment", "prod", secrets=[{"name": "nowhere"}])
    bare.until("Environment", "prod", "False", "DependencyNotReady")
    bare.set("Project", bare.name, members=[])
    eventually(lambda: bare.names("RoleBinding", prod) == set(), "nobody is left")


# --- how they go ------------------------------------------------------------------------------------------------------


def test_deletion_waits_for_applications_and_takes_the_namespace(home: Home) -> None:
    home.environment("other")
    home.ready("Environment", "other")
    home.application()
    home.until("Application", "shop", "True", says="2 environments")
    home.delete("Environment", home.name, "dev")
    home.gone("Environment", home.name, "dev")
    home.gone("Namespace", None, home.place())
    app = home.until("Application", "shop", "True", says="in other")
    assert [state["name"] for state in app["status"]["environments"]] == ["other"]
    eventually(
        lambda: {e["environment"] for e in home.mine("Application")["status"]["inventory"]["entries"]} == {"other"},
        "nothing of it is in the inventory",
    )
    # The same name again is a new environment.
    home.environment()
    home.ready("Environment", "dev")
    home.until("Application", "shop", "True", says="2 environments")


def test_namespace_with_a_retained_claim_is_kept_and_said_to_be(home: Home) -> None:
    home.application(component(), stateful())
    home.ready()
    claim = home.child("PersistentVolumeClaim", "data-db-0")
    home.delete("Environment", home.name, "dev")
    home.gone("Environment", home.name, "dev")
    assert "deletionTimestamp" not in home.get("Namespace", None, home.place())["metadata"]
    kept = home.child("PersistentVolumeClaim", "data-db-0")
    assert kept["metadata"]["uid"] == claim["metadata"]["uid"] and "deletionTimestamp" not in kept["metadata"]
    assert home.missing("Deployment", "web") and home.missing("StatefulSet", "db")
    last = home.events("Environment", "dev")[-1]
    assert last["message"] == f"namespace {home.place()} is kept: it holds the volumes data-db-0"
    # Made again, the environment finds its namespace and the application its data.
    home.environment()
    home.ready("Environment", "dev")
    home.ready()
    assert home.child("PersistentVolumeClaim", "data-db-0")["metadata"]["uid"] == claim["metadata"]["uid"]


def test_losing_volumes_must_be_confirmed(home: Home) -> None:
    home.application(stateful())
    home.ready()
    home.set("Environment", "dev", deletionPolicy="Delete")
    home.ready("Environment", "dev")
    refused = ""
    try:
        home.delete("Environment", home.name, "dev")
    except Exception as error:
        refused = str(error)
    assert "homeport.dev/confirm-delete=dev" in refused
    home.annotate("Environment", "dev", confirm_delete="dev")
    home.delete("Environment", home.name, "dev")
    home.gone("Environment", home.name, "dev")
    home.gone("Namespace", None, home.place())


def test_policy_changed_while_terminating_must_be_confirmed(home: Home) -> None:
    home.application(stateful())
    home.ready()
    hold = {"metadata": {"finalizers": ["example.com/hold", "homeport.dev/finalizer"]}}
    home.patch("Environment", home.name, "dev", hold)
    home.set("Environment", "dev", deletionPolicy="Delete")
    home.annotate("Environment", "dev", confirm_delete="dev")
    home.delete("Environment", home.name, "dev")
    home.annotate("Environment", "dev", confirm_delete=None)
    eventually(
        lambda: (
            home.mine("Environment", "dev")["metadata"]["finalizers"] == ["example.com/hold"]
            or told(home.mine("Environment", "dev"))[1] == "ConfirmationRequired"
        ),
        "it is let go, or asks",
    )
    home.patch("Environment", home.name, "dev", {"metadata": {"annotations": {"homeport.dev/confirm-delete": "dev"}}})
    eventually(
        lambda: home.mine("Environment", "dev")["metadata"]["finalizers"] == ["example.com/hold"], "it is let go"
    )
    home.patch("Environment", home.name, "dev", {"metadata": {"finalizers": []}})
    home.gone("Environment", home.name, "dev")


def test_transitions_have_one_event_each(home: Home) -> None:
    home.set("Environment", "dev", secrets=[{"name": "keys"}])
    home.until("Environment", "dev", "False", "DependencyNotReady")
    home.secret("keys", a="1")
    ready = condition(home.ready("Environment", "dev"))
    home.settled("Environment", "dev")
    assert condition(home.ready("Environment", "dev"))["lastTransitionTime"] == ready["lastTransitionTime"]
    reasons = eventually(
        lambda: len(found := [e["reason"] for e in home.events("Environment", "dev")]) >= 3 and found, "its Events"
    )
    assert reasons == ["ReconciliationSucceeded", "DependencyNotReady", "ReconciliationSucceeded"]
