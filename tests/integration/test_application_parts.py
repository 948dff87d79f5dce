"""Components that are off somewhere, and Secrets that are made of what was generated, with the real operator."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from homes import Home, component, eventually, written

pytestmark = pytest.mark.integration


def data(home: Home, name: str = "pass") -> dict[str, str]:
    found = home.child("Secret", name)["data"]
    return {key: base64.b64decode(value).decode() for key, value in found.items()}


def with_url(url: str) -> dict[str, Any]:
    read = {"name": "URL", "valueFrom": {"secretKeyRef": {"name": "pass", "key": "url"}}}
    return component(secrets=[{"name": "pass", "generate": {"length": 32}, "template": {"url": url}}], env=[read])


def test_a_templates_keys_follow_it_and_the_password_stays(home: Home, audit_log: Path) -> None:
    home.application(with_url("db://app:$(password)@one/$(password)"))
    home.ready()
    password = data(home)["password"]
    assert len(password) == 32
    assert data(home)["url"] == f"db://app:{password}@one/{password}"
    # A steady state writes nothing.
    offset = audit_log.stat().st_size
    home.settled()
    assert written(audit_log, offset, [home.place()]) == {}
    # Another template: the password is the same, and the Pods that read it roll.
    before = home.child("Deployment")["spec"]["template"]
    home.application(with_url("db://app:$(password)@two"))
    eventually(lambda: data(home) == {"password": password, "url": f"db://app:{password}@two"}, "the key follows")
    home.ready()
    assert home.child("Deployment")["spec"]["template"] != before


def test_a_templates_key_that_somebody_changed_is_mended(home: Home) -> None:
    home.application(with_url("db://$(password)@one"))
    home.ready()
    password = data(home)["password"]
    home.patch("Secret", home.place(), "pass", {"data": {"url": "eA=="}})
    eventually(lambda: data(home)["url"] == f"db://{password}@one", "the key is as its template says")
    home.patch("Secret", home.place(), "pass", {"data": {"url": None}})
    eventually(lambda: data(home).get("url") == f"db://{password}@one", "the key is there again")
    assert data(home)["password"] == password


def test_nothing_of_it_is_told(home: Home) -> None:
    home.application(with_url("db://$(password)@one"))
    app = home.ready()
    password = data(home)["password"]
    secret = home.child("Secret", "pass")["metadata"]
    told = [app["status"], secret, home.events("Application", "shop"), home.child("Deployment")]
    assert not any(password in str(thing) for thing in told)


def test_a_component_is_turned_off_and_on_again(home: Home) -> None:
    cache = component("cache", type="stateful", volumes=[{"name": "data", "path": "/data", "size": "1Gi"}])
    web = component(dependsOn=["cache"])
    home.application(web, cache)
    home.ready()
    off = [{"name": "dev", "overrides": {"cache": {"enabled": False}}}]
    home.application(web, cache, environments=off)
    home.gone("StatefulSet", home.place(), "cache")
    home.gone("Service", home.place(), "cache")
    app = home.ready()
    assert [part["name"] for part in app["status"]["environments"][0]["components"]] == ["web"]
    assert home.child("PersistentVolumeClaim", "data-cache-0")["status"]["phase"] == "Bound", "its data is kept"
    home.application(web, cache)
    eventually(lambda: not home.missing("StatefulSet", "cache"), "it is there again")
    home.ready()


def test_an_application_whose_components_are_all_off_is_ready(home: Home) -> None:
    home.application(component(enabled=False))
    home.ready()
    assert home.missing("Deployment", "web")
