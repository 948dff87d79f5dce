"""budget-manager as real Pods: a backend over PostgreSQL and Redis, a frontend behind nginx."""

from __future__ import annotations

import pytest
from homes import condition, eventually
from systems import System

pytestmark = pytest.mark.e2e


def _schema(budget: System) -> str:
    """What the database itself says."""
    query = ["psql", "-U", "budget", "-d", "budget", "-Atc", "SELECT version_num FROM alembic_version"]
    return budget.exec("db-0", *query).strip()


def _migrated(budget: System) -> list[str]:
    """When its migrations ended well."""
    jobs = [job for job in budget.list("Job", budget.space) if job["metadata"]["name"].startswith("backend-migrate-")]
    return [job["status"]["completionTime"] for job in jobs if job["status"].get("succeeded")]


def test_the_backend_is_ready_with_its_database_and_cache(budget: System) -> None:
    code, ready = budget.call("backend", "GET", "/health/ready")
    assert (code, ready) == (200, {"status": "ok", "database": "postgresql", "schema": "0001", "cache": True})
    components = {entry["name"]: (entry["ready"], entry["desired"]) for entry in budget.status["components"]}
    assert components == {"backend": (3, 3), "frontend": (2, 2), "nginx": (2, 2), "db": (1, 1), "redis": (1, 1)}


def test_what_is_written_is_read_from_the_database_and_then_from_redis(budget: System) -> None:
    assert budget.call("backend", "POST", "/api/entries", {"account": "rent", "amount": "950.50"})[0] == 201
    assert budget.call("backend", "GET", "/api/balance/rent")[1] == {
        "account": "rent", "balance": "950.50", "from": "database"}  # fmt: skip
    assert budget.call("backend", "GET", "/api/balance/rent")[1]["from"] == "cache"


def test_nginx_finds_the_frontend_by_its_name(budget: System) -> None:
    assert budget.call("nginx", "GET", "/") == (200, "<title>Budget Manager 1.2.0</title>")


def test_the_migration_ran_in_the_database_before_the_first_pod(budget: System) -> None:
    assert _schema(budget) == "0001"
    done = _migrated(budget)
    assert len(done) == 1
    assert len(budget.pods("backend")) == 3
    assert all(pod["metadata"]["creationTimestamp"] >= done[0] for pod in budget.pods("backend"))


def test_the_databases_data_survives_its_pod_and_the_status_follows(budget: System) -> None:
    budget.call("backend", "POST", "/api/entries", {"account": "savings", "amount": "10.00"})
    version = budget.version("Application", budget.name)
    uid = budget.pods("db")[0]["metadata"]["uid"]
    budget.delete("Pod", budget.space, "db-0")

    def back() -> bool:
        found = budget.pods("db")
        return bool(found) and found[0]["metadata"]["uid"] != uid and condition(found[0]).get("status") == "True"

    eventually(back, "a new db-0 is ready", 90, 0.2)
    budget.ready()
    eventually(lambda: budget.call("backend", "GET", "/health/ready")[0] == 200, "the backend finds it again", 60)
    assert budget.call("backend", "GET", "/api/balance/savings")[1]["balance"] == "10.00"
    flips = budget.readiness(version)
    assert "False" in flips and flips[-1] == "True", flips


def test_a_new_version_migrates_first_and_going_back_leaves_the_schema(budget: System) -> None:
    budget.change(lambda spec: spec.update(version="1.3.0"))
    budget.ready()
    assert _schema(budget) == "0002"
    done = max(_migrated(budget))
    assert len(budget.pods("backend")) == 3
    assert all(pod["metadata"]["creationTimestamp"] >= done for pod in budget.pods("backend"))
    code, ready = budget.call("backend", "GET", "/health/ready")
    assert (code, ready["schema"]) == (200, "0002")

    budget.change()  # the older version's migration has run before, and would not know the schema of now
    budget.ready()
    assert budget.call("backend", "GET", "/health")[1]["version"] == "1.2.0"
    assert _schema(budget) == "0002"
