"""Catalog items on a real API server with the real operator: what a user writes becomes Ready."""

from __future__ import annotations

import pytest
from homes import Home, told

pytestmark = pytest.mark.integration


def test_an_application_of_catalog_items_becomes_ready(home: Home) -> None:
    home.application(
        {"name": "db", "catalog": {"name": "postgres", "version": "15"}, "values": {"storage": "10Gi"}},
        {"name": "cache", "catalog": {"name": "redis"}},
        {"name": "search", "catalog": {"name": "elasticsearch", "version": "8"}, "values": {"heap": "512m"}},
        {"name": "git", "catalog": {"name": "gitea"}, "dependsOn": ["db"]},
    )
    home.ready("Application", "shop")
    state = home.mine("Application")["status"]["environments"][0]
    assert [component["name"] for component in state["components"]] == ["db", "cache", "search", "git", "git-db"]
    assert all(component["health"] == "Healthy" for component in state["components"])
    database = home.child("StatefulSet", "db")
    assert database["spec"]["template"]["spec"]["containers"][0]["image"] == "postgres:15-bookworm"
    assert len(home.child("Secret", "db-credentials")["data"]["password"]) >= 32


def test_wrong_values_are_told_in_the_status(home: Home) -> None:
    home.application({"name": "db", "catalog": {"name": "postgres"}, "values": {"storage": "1Mi"}})
    status, reason, message = home.settled("Application", "shop") and told(home.mine("Application"))
    assert (status, reason) == ("False", "InvalidSpec")
    assert 'spec.components[db].values.storage: is "1Mi"; write a quantity from 256Mi to 16Ti' in message
