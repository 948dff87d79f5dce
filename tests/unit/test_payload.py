"""What a container is told to run: references resolved as the kubelet does, and what is missing is said."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from homeport.api.resource import parse_spec
from homeport.api.software import Software
from homeport.plan import agent
from homeport.plan.payload import Around, Missing, Values, expanded, payload, references

AROUND = Around(name="web-0", hostname="web-0", namespace="shop-lab")
VALUES: Values = {
    ("Secret", "db"): {"password": b"s3cret", "user": b"app"},
    ("ConfigMap", "shared"): {"LOG": b"info", "not a name": b"x", "password": b"plain"},
    ("Secret", "binary"): {"key": b"\xff\x00"},
}


def made(around: Around = AROUND, **fields: Any) -> agent.Payload:
    return payload(parse_spec(Software, {"image": "x", **fields}), around, VALUES)


def env(**fields: Any) -> dict[str, str]:
    return {variable.name: variable.value for variable in made(**fields).env}


def secret(name: str, key: str, **more: Any) -> dict[str, Any]:
    return {"valueFrom": {"secretKeyRef": {"name": name, "key": key, **more}}}


def test_the_environment_is_put_together_as_in_a_pod() -> None:
    found = env(
        envFrom=[{"configMapRef": {"name": "shared"}}, {"prefix": "DB_", "secretRef": {"name": "db"}}],
        env=[
            {"name": "LOG", "value": "debug"},
            {"name": "PASSWORD", **secret("db", "password")},
            {"name": "URL", "value": "db://$(DB_user):$(PASSWORD)@db/$(LATER)"},
            {"name": "LATER", "value": "$$(LOG) is $(LOG)"},
            {"name": "EMPTY"},
            {"name": "GONE", **secret("db", "none", optional=True)},
            {"name": "SELF", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
    )
    assert found == {
        "LOG": "debug",
        "password": "plain",
        "DB_password": "s3cret",
        "DB_user": "app",
        "PASSWORD": "s3cret",
        "URL": "db://app:s3cret@db/$(LATER)",
        "LATER": "$(LOG) is debug",
        "EMPTY": "",
        "SELF": "web-0",
    }


def test_what_comes_from_elsewhere_is_never_expanded() -> None:
    values: Values = {("Secret", "db"): {"password": b"$(HOME)$$"}}
    software = parse_spec(Software, {"image": "x", "env": [{"name": "A", **secret("db", "password")}]})
    assert payload(software, AROUND, values).env[0].value == "$(HOME)$$"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$(A)", "1"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(B)", "$(B)"),
        ("$(A", "$(A"),
        ("$A $", "$A $"),
        ("$(A)$(A)", "11"),
    ],
)
def test_references_are_expanded_as_in_kubernetes(text: str, result: str) -> None:
    """Source: third_party/forked/golang/expansion/expand_test.go of kubernetes."""
    assert expanded(text, {"A": "1"}) == result


def test_commands_refer_to_the_environment() -> None:
    found = made(
        command=["redis-server"], args=["--requirepass", "$(PASS)"], env=[{"name": "PASS", **secret("db", "user")}]
    )
    assert (found.command, found.args) == (("redis-server",), ("--requirepass", "app"))
    assert made().command is None and made().args is None


def test_files_and_secrets_are_told_apart() -> None:
    found = made(
        files={"/etc/b": "text\n", "/etc/a": "ü"},
        secretFiles=[{"path": "/etc/key", "secretRef": {"name": "binary", "key": "key"}}],
    )
    told = {file.path: (base64.b64decode(file.content), file.secret) for file in found.files}
    assert told == {"/etc/a": ("ü".encode(), False), "/etc/b": (b"text\n", False), "/etc/key": (b"\xff\x00", True)}


def test_names_of_siblings() -> None:
    around = Around("web-0", "web-0", addresses={"db-0": ["10.0.0.5", "fd00::5"], "db-1": ["10.0.0.6"], "new": []})
    hosts = [{"name": "db", "containers": ["db-0", "db-1", "gone"]}, {"name": "mail", "containers": ["new"]}]
    assert made(around, hosts=hosts).hosts == (
        agent.HostEntry(address="10.0.0.5", names=("db",)),
        agent.HostEntry(address="10.0.0.6", names=("db",)),
    )


def test_probes_with_numbers() -> None:
    probes = {
        "readiness": {"path": "/ready", "periodSeconds": 5},
        "liveness": {"tcp": "db"},
        "startup": {"exec": ["true"], "failureThreshold": 30},
    }
    found = made(probes=probes, ports=[{"name": "http", "port": 80}, {"name": "db", "port": 5432}]).probes
    assert found.readiness == agent.Probe(http=agent.HttpCheck(port=80, path="/ready"), period_seconds=5)
    assert found.liveness == agent.Probe(tcp=5432)
    assert found.startup == agent.Probe(exec=("true",), failure_threshold=30)


def test_users_volumes_and_jobs() -> None:
    around = Around("j", "j", volumes=("/data",), run="1")
    found = made(around, user={"runAsUser": 5, "fsGroup": 6}, restartPolicy="Never", terminationGracePeriodSeconds=0)
    assert found.user == agent.User(uid=5, fs_group=6)
    assert (found.volumes, found.restart_policy, found.run) == (("/data",), "Never", "1")
    assert found.termination_grace_period_seconds == 0
    assert made().termination_grace_period_seconds == agent.DEFAULT_GRACE


MISSING = {
    "a Secret": (
        {"env": [{"name": "A", **secret("none", "key")}]},
        "Secret none doesn't exist in namespace shop-lab; create it, with the key key",
    ),
    "a key": (
        {"env": [{"name": "A", **secret("db", "key")}]},
        "Secret db in namespace shop-lab has no key key; add it",
    ),
    "a whole ConfigMap": (
        {"envFrom": [{"configMapRef": {"name": "none"}}]},
        "ConfigMap none doesn't exist in namespace shop-lab; create it",
    ),
    "a file's key": (
        {"secretFiles": [{"path": "/k", "secretRef": {"name": "db", "key": "none"}}]},
        "/k: Secret db has no key none; add it",
    ),
    "text": (
        {"env": [{"name": "A", **secret("binary", "key")}]},
        "Secret binary: what is under key isn't text, which a variable must be",
    ),
    "a port": (
        {"probes": {"liveness": {"tcp": "http"}}},
        "a probe names port http, which is not among ports; write one of them, or its number",
    ),
}


@pytest.mark.parametrize("case", MISSING)
def test_what_is_missing_is_said(case: str) -> None:
    fields, message = MISSING[case]
    with pytest.raises(Missing) as missing:
        made(**fields)
    assert str(missing.value) == message
    assert "s3cret" not in str(missing.value)


def test_what_is_read() -> None:
    software = parse_spec(
        Software,
        {
            "image": "x",
            "env": [{"name": "A", **secret("db", "a", optional=True)}, {"name": "B", **secret("db", "b")}],
            "envFrom": [{"configMapRef": {"name": "shared", "optional": True}}],
            "secretFiles": [{"path": "/k", "secretRef": {"name": "key", "key": "k"}}],
        },
    )
    assert references(software) == {("Secret", "db"): True, ("ConfigMap", "shared"): False, ("Secret", "key"): True}
