"""Projects on a real API server with the real operator: people, what they hold, archiving, and their end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from homes import PORTS, Home, component, condition, eventually, on_pods, told

from api_server import RefusedError

pytestmark = pytest.mark.integration


def day(offset: int) -> str:
    return (datetime.now(UTC) + timedelta(days=offset)).strftime("%Y-%m-%d")


def project(home: Home) -> dict[str, Any]:
    return home.mine("Project", home.name)


def status(home: Home, **wanted: Any) -> dict[str, Any]:
    """The Project's status once these fields are so."""

    def look() -> dict[str, Any]:
        found = project(home)["status"]
        assert {key: found.get(key) for key in wanted} == wanted
        return dict(found)

    return dict(eventually(look, f"the Project's status has {wanted}"))


def activity(home: Home) -> list[tuple[str, str, str]]:
    """(actor, verb, object), newest first."""
    return [(e["actor"], e["verb"], e["object"]) for e in project(home)["status"].get("activity") or ()]


def archived(home: Home) -> dict[str, Any]:
    home.set("Project", home.name, archived=True)
    return home.until("Project", home.name, "True", "Archived")


def refused(call: Callable[[], Any]) -> str:
    try:
        call()
    except RefusedError as error:
        return str(error)
    return ""


def test_a_new_project(bare: Home) -> None:
    fresh = bare.project(title="Shop")
    assert fresh["status"] == {"observedGeneration": -1}
    found = bare.until("Project", bare.name, "True", "ReconciliationSucceeded", "0 of 0 applications")
    assert found["status"]["health"] == "Healthy"
    assert found["status"]["applications"] == {"ready": 0, "total": 0}
    namespace = eventually(
        lambda: (n := bare.get("Namespace", None, bare.name))["metadata"]["labels"].get("homeport.dev/project") and n,
        "the namespace is marked",
    )
    assert namespace["metadata"]["annotations"]["homeport.dev/archived"] == "false"


def test_is_named_as_its_namespace(bare: Home) -> None:
    assert f"write metadata.name: {bare.name}" in refused(lambda: bare.own("Project", "other", {}))


def test_members_have_rights_in_the_projects_namespace(bare: Home) -> None:
    lead, manager, developer, quality = (f"{r}-{bare.name}@example.com" for r in ("lead", "manager", "developer", "qa"))
    roles = {lead: "lead", manager: "manager", developer: "developer", quality: "qa"}
    bare.project(members=[{"kind": "User", "name": name, "role": role} for name, role in roles.items()])
    ours: dict[str, Any] = {"namespace": bare.name, "group": "homeport.dev"}
    eventually(lambda: bare.may(lead, "update", "projects", **ours), "the authorizer knows of the bindings")
    assert bare.may(manager, "update", "applications", **ours) and bare.may(manager, "create", "restores", **ours)
    assert not bare.may(manager, "update", "projects", **ours) and not bare.may(
        manager, "update", "environments", **ours
    )
    assert bare.may(developer, "create", "applications", **ours) and not bare.may(
        developer, "create", "restores", **ours
    )
    assert bare.may(quality, "get", "applications", **ours) and not bare.may(quality, "update", "applications", **ours)
    assert bare.names("RoleBinding", bare.name) == {
        "homeport-lead",
        "homeport-manager",
        "homeport-developer",
        "homeport-qa",
    }
    # Drift: rights that somebody gave by hand to our binding are taken back.
    intruder = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "intruder@example.com"}
    bare.patch("RoleBinding", bare.name, "homeport-lead", {"subjects": [intruder]})
    eventually(
        lambda: [s["name"] for s in bare.get("RoleBinding", bare.name, "homeport-lead")["subjects"]] == [lead],
        "the binding is as declared",
    )
    bare.set("Project", bare.name, members=[{"kind": "User", "name": lead, "role": "lead"}])
    eventually(lambda: bare.names("RoleBinding", bare.name) == {"homeport-lead"}, "the others' bindings are gone")


def test_health_counts_and_milestones(home: Home) -> None:
    requires = [{"application": "shop", "environment": "dev", "version": ">=1.1.0 <2.0.0"}]
    home.set("Project", home.name, milestones=[
        {"name": "launch", "weight": 3, "dueDate": day(-2), "requires": requires},
        {"name": "handover", "weight": 1, "dueDate": day(30), "complete": False},
    ])  # fmt: skip
    late = {"name": "launch", "progress": 0, "overdue": True}
    ahead = {"name": "handover", "progress": 0, "overdue": False}
    status(home, milestones=[late, ahead], progress=0, health="Healthy", environments=[{"name": "dev", "ready": True}])
    home.application()
    status(home, applications={"ready": 1, "total": 1}, health="Healthy", progress=0)
    home.set("Application", "shop", version="1.1.0")
    status(home, milestones=[{"name": "launch", "progress": 100, "overdue": False}, ahead], progress=75)
    broken = [{"name": "dev", "patches": [on_pods("Deployment", "web", fail="CrashLoopBackOff")]}]
    home.set("Application", "shop", version="1.2.0", environments=broken)
    status(home, health="Degraded", applications={"ready": 0, "total": 1}, progress=0)
    home.set("Application", "shop", version="2.0.0", environments=[{"name": "dev"}])
    status(home, health="Healthy", applications={"ready": 1, "total": 1}, progress=0)
    home.set("Project", home.name, milestones=[{"name": "handover", "complete": True}])
    status(home, milestones=[{"name": "handover", "progress": 100, "overdue": False}], progress=100)
    assert told(home.ready("Project", home.name))[2] == "1 of 1 application ready in 1 environment"
    home.delete("Application", home.name, "shop")
    status(home, applications={"ready": 0, "total": 0})


def test_activity(home: Home, restart: Callable[[], None]) -> None:
    home.application()
    home.ready()
    home.patch("Application", home.name, "shop", {"spec": {"title": "A shop"}}, manager="ada")
    home.ready()
    wanted = [("ada", "changed", "Application/shop"), ("homeport-test", "created", "Application/shop")]
    eventually(lambda: [e for e in activity(home) if e[2] == "Application/shop"] == wanted, "who did what")
    home.environment("extra", template=True)
    eventually(lambda: ("homeport-test", "created", "Environment/extra") in activity(home), "a new environment is told")
    home.delete("Environment", home.name, "extra")
    eventually(
        lambda: [e[1] for e in activity(home) if e[2] == "Environment/extra"] == ["deleted", "created"], "its end"
    )
    times = [entry["time"] for entry in project(home)["status"]["activity"]]
    assert times == sorted(times, reverse=True)
    home.settled("Project", home.name)
    before = activity(home)
    assert not [entry for entry in before if entry[0] == "homeport"], "what the operator does is no activity"
    restart()
    home.settled("Application", "shop")
    home.settled("Project", home.name)
    after = activity(home)
    # Tokens are annotations and no change of anything; the restart itself adds nothing.
    assert after == before
    home.patch("Application", home.name, "shop", {"spec": {"title": "The shop"}}, manager="grace")
    eventually(lambda: activity(home)[0] == ("grace", "changed", "Application/shop"), "the newest is first")


def test_archive_and_restore(home: Home) -> None:
    data = [{"name": "data", "path": "/data", "size": "1Gi"}]
    home.application(
        component(replicas=3),
        component("scaled", autoscaling={"min": 2, "max": 4, "cpu": 70}),
        component("db", type="stateful", ports=PORTS, volumes=data),
        component("nightly", type="cron", schedule="@daily"),
        component("seed", type="job"),
    )
    home.ready()
    jobs = home.names("Job", home.place())
    claim = home.child("PersistentVolumeClaim", "data-db-0")["metadata"]["uid"]
    since = home.version("Deployment", home.place())
    found = archived(home)
    assert condition(found, "Archived")["status"] == "True"
    assert condition(found, "Archived")["observedGeneration"] == found["metadata"]["generation"]
    assert (found["status"]["health"], told(found)[2]) == ("Suspended", "archived: scaled to zero, data kept")
    app = home.until("Application", "shop", "True", "Archived")
    assert app["status"]["environments"][0]["health"] == "Suspended"
    for kind, name in (("Deployment", "web"), ("Deployment", "scaled"), ("StatefulSet", "db")):
        assert home.child(kind, name)["spec"]["replicas"] == 0, name
    assert home.missing("HorizontalPodAutoscaler", "scaled")
    assert home.child("CronJob", "nightly")["spec"]["suspend"] is True
    assert home.child("PersistentVolumeClaim", "data-db-0")["metadata"]["uid"] == claim
    eventually(lambda: home.list("Pod", home.place(), "homeport.dev/component=web") == [], "no Pod is left")
    namespace = home.get("Namespace", None, home.name)
    assert namespace["metadata"]["annotations"]["homeport.dev/archived"] == "true"
    # What arrives while it is archived doesn't run, either.
    home.application(component("late"), name="late")
    home.until("Application", "late", "True", "Archived")
    assert home.child("Deployment", "late")["spec"]["replicas"] == 0
    home.set("Project", home.name, archived=False)
    home.ready("Project", home.name)
    eventually(lambda: condition(project(home), "Archived") == {}, "it isn't archived any more")
    app = home.until("Application", "shop", "True", "ReconciliationSucceeded")
    assert home.child("Deployment")["spec"]["replicas"] == 3
    assert home.child("Deployment", "scaled")["spec"]["replicas"] == 2
    assert home.child("StatefulSet", "db")["spec"]["replicas"] == 1
    assert not home.missing("HorizontalPodAutoscaler", "scaled")
    assert home.child("CronJob", "nightly")["spec"]["suspend"] is False
    assert home.names("Job", home.place()) <= jobs, "no job ran again"
    seen = [b["spec"]["replicas"] for b in home.history("Deployment", home.place(), since, "scaled")]
    assert [n for i, n in enumerate(seen) if i == 0 or n != seen[i - 1]] in ([2, 0, 2], [0, 2])


def test_deleted_only_when_archived(home: Home) -> None:
    home.application(component(), component("db", type="stateful", ports=PORTS,
                                            volumes=[{"name": "data", "path": "/data", "size": "1Gi"}]))  # fmt: skip
    home.ready()
    assert "not archived" in refused(lambda: home.delete("Project", home.name, home.name))
    eventually(
        lambda: home.get("Namespace", None, home.name)["metadata"]["labels"].get("homeport.dev/project"), "marked"
    )
    assert "not archived" in refused(lambda: home.delete("Namespace", None, home.name))
    archived(home)
    home.delete("Project", home.name, home.name)
    home.gone("Project", home.name, home.name)
    assert home.find("Application", home.name, "shop") is None
    assert home.find("Environment", home.name, "dev") is None
    # What is retained stays, and so does what it is in; all else is gone.
    assert "deletionTimestamp" not in home.child("PersistentVolumeClaim", "data-db-0")["metadata"]
    assert home.missing("Deployment", "web") and home.missing("StatefulSet", "db")
    namespace = home.get("Namespace", None, home.name)["metadata"]
    assert "homeport.dev/project" not in namespace["labels"]
    assert "homeport.dev/archived" not in namespace.get("annotations", {})
    # The same project again, and its data is there.
    home.project()
    home.environment()
    home.application(
        component("db", type="stateful", ports=PORTS, volumes=[{"name": "data", "path": "/data", "size": "1Gi"}])
    )
    home.ready()


def test_deletion_without_data_leaves_nothing(home: Home) -> None:
    user = {"kind": "User", "name": "lead@example.com", "role": "lead"}
    home.set("Project", home.name, members=[user])
    home.application()
    home.ready()
    archived(home)
    home.delete("Project", home.name, home.name)
    home.gone("Project", home.name, home.name)
    home.gone("Namespace", None, home.place())
    assert home.names("RoleBinding", home.name) == set()


def test_suspend(home: Home) -> None:
    home.ready("Project", home.name)
    home.set("Project", home.name, suspend=True, members=[{"kind": "User", "name": "a@example.com", "role": "qa"}])
    found = eventually(lambda: condition(p := project(home), "Suspended") and p, "it says that it is suspended")
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
    assert told(found)[0] == "True"
    home.settled("Project", home.name)
    assert home.names("RoleBinding", home.name) == set()
    home.application()
    home.ready()
    home.set("Project", home.name, suspend=False)
    home.ready("Project", home.name)
    assert home.names("RoleBinding", home.name) == {"homeport-qa"}
    assert condition(project(home), "Suspended") == {}
