"""What a Backup's source is found to be, and the Job that is made for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from homeport.api.backup import BackupSource
from homeport.api.backuprepository import BackupRepositorySpec
from homeport.api.labels import OwnerKey
from homeport.api.resource import parse_spec
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan import render
from homeport.plan.backup import access, connection, runnerjob
from homeport.plan.backup.resolving import resolve
from homeport.plan.backup.source import Source, SourceWorld
from homeport.plan.podsecurity import violations
from homeport.plan.types import Manifest
from unit.render_cases import application, place

GOLDEN = Path(__file__).parent / "golden" / "backup"
DATABASE: dict[str, Any] = {
    "name": "db",
    "type": "stateful",
    "image": "postgres:17",
    "ports": [{"name": "postgres", "port": 5432}],
    "env": [
        {"name": "POSTGRES_USER", "value": "shop"},
        {"name": "POSTGRES_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
    ],
    "volumes": [{"name": "data", "path": "/var/lib/postgresql/data", "size": "1Gi"}],
}
WEB: dict[str, Any] = {
    "name": "web",
    "image": "example/web:1",
    "ports": [{"name": "http", "port": 8000}],
    "volumes": [{"name": "data", "path": "/data", "size": "1Gi"}],
    "securityContext": {"runAsUser": 1000, "fsGroup": 1000},
}


def world(component: dict[str, Any], pods: tuple[Manifest, ...] = (), modes: str = "ReadWriteOnce", **env: Any) -> Any:
    """What is there once an application with this component has been rolled out."""
    where = place(**env)
    children = render.render(application({"version": "1.0.0", "components": [component]}, "shop", "web"), where)
    objects = [child.manifest for child in children]
    name = component["name"]
    claims = {name: {"spec": {"accessModes": [modes]}} for name in (f"{name}-data", f"data-{name}-0")}
    return SourceWorld(where, None, True, objects, [name], pods, claims)


def pod(name: str, node: str = "one") -> Manifest:
    return {"metadata": {"name": name}, "spec": {"nodeName": node}, "status": {"phase": "Running"}}


def found(component: dict[str, Any], method: str | None = None, pods: tuple[Manifest, ...] = (), **source: Any) -> Any:
    given = {"application": "shop", "component": component["name"], "environment": "live", **source}
    return resolve("web", parse_spec(BackupSource, given), method, world(component, pods))


def good(outcome: Source | Outcome) -> Source:
    assert isinstance(outcome, Source), outcome
    return outcome


def refused(outcome: Source | Outcome) -> str:
    assert isinstance(outcome, Stalled), outcome
    return outcome.message


# --- the method -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "method"),
    [
        ("postgres:17-bookworm", "Postgres"),
        ("registry.example.com:5000/bitnami/postgresql:16", "Postgres"),
        ("mariadb@sha256:" + "0" * 64, "MySQL"),
        ("mysql", "MySQL"),
        ("valkey/valkey:8", "Redis"),
        ("example/postgres-exporter:1", None),
        ("grafana/grafana:11", None),
    ],
)
def test_the_image_tells_the_method(image: str, method: str | None) -> None:
    assert connection.method_of(image) == method


def test_what_no_image_tells_is_refused_and_never_taken_for_files() -> None:
    assert refused(found(WEB)) == (
        "the image example/web:1 doesn't tell how its data is backed up; write spec.method: Postgres, MySQL or Redis "
        "for such a server, SQLite (with source.paths) for files of SQLite, or Files for a volume whose files may be "
        "copied while they are in use"
    )


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("MySQL", "spec.method: MySQL doesn't fit the image postgres:17; write Postgres, or leave it out to have that "
                  "told by the image"),
        ("Files", "spec.method: Files copies files, and those of the server in postgres:17 change while they are "
                  "copied; write Postgres, or leave it out"),
        ("Container", "spec.method: Container is for LXC containers, and the environment runs Pods; write Postgres, "
                      "MySQL, SQLite, Redis or Files, or leave it out"),
    ],
)  # fmt: skip
def test_a_method_that_does_not_fit_is_refused(method: str, message: str) -> None:
    assert refused(found(DATABASE, method)) == message


def test_a_server_in_an_image_of_ones_own() -> None:
    own = {**DATABASE, "image": "example/database:1"}
    assert good(found(own, "Postgres")).server is not None


# --- servers ----------------------------------------------------------------------------------------------------------


def test_a_database_by_its_own_variables() -> None:
    source = good(found(DATABASE, pods=(pod("db-0"),), databases=["shop"]))
    assert source.document() == {
        "host": "db.web-live.svc",
        "port": 5432,
        "user": {"env": "SOURCE_POSTGRES_USER"},
        "password": {"env": "SOURCE_POSTGRES_PASSWORD"},
        "databases": ["shop"],
    }
    assert source.server is not None
    assert list(source.server.login.env) == [
        {"name": "SOURCE_POSTGRES_USER", "value": "shop"},
        {"name": "SOURCE_POSTGRES_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
    ]
    assert (source.pod, source.node, source.host) == ("db-0", "", "shop-live")


def login(image: str, method: str, **more: Any) -> connection.Login:
    return connection.login(method, connection.Program(image, **more))


def secret(name: str, key: str = "k") -> Manifest:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": "s", "key": key}}}


def test_a_password_in_a_file_of_a_secret() -> None:
    env = ({"name": "POSTGRES_PASSWORD_FILE", "value": "/run/secrets/password"},)
    one = login("postgres", "Postgres", env=env, secret_files={"/run/secrets/password": ("db", "password")})
    assert (one.password, one.files) == ({"file": "/homeport/source-secrets/db/password"}, (("db", "password"),))
    whole = login("postgres", "Postgres", env=env, secret_files={"/run/secrets/": ("db", "")})
    assert whole.files == (("db", "password"),)


def test_a_password_in_a_whole_secret_is_looked_for_there() -> None:
    env_from = ({"secretRef": {"name": "db"}},)
    found = login("postgres", "Postgres", env_from=env_from)
    assert found.env_from == ({"prefix": "SOURCE_", "secretRef": {"name": "db"}},)
    assert found.password == {"env": "SOURCE_POSTGRES_PASSWORD", "default": ""}
    assert found.user == {"env": "SOURCE_POSTGRES_USER", "default": "postgres"}


def test_what_a_variable_refers_to_comes_before_it() -> None:
    env = (secret("SHARED"), {"name": "POSTGRES_PASSWORD", "value": "$(SHARED)-$(OTHER)"}, secret("UNUSED"))
    assert login("postgres", "Postgres", env=env).env == (
        {**secret("SHARED"), "name": "SOURCE_SHARED"},
        {"name": "SOURCE_POSTGRES_PASSWORD", "value": "$(SOURCE_SHARED)-$(OTHER)"},
    )


def test_who_logs_in_to_what() -> None:
    root = login("mariadb:11", "MySQL", env=(secret("MYSQL_ROOT_PASSWORD"), secret("MARIADB_USER")))
    assert (root.user, root.password) == ({"value": "root"}, {"env": "SOURCE_MYSQL_ROOT_PASSWORD"})
    user = login("mysql:8", "MySQL", env=(secret("MYSQL_PASSWORD"), secret("MYSQL_USER")))
    assert (user.user, user.password) == ({"env": "SOURCE_MYSQL_USER"}, {"env": "SOURCE_MYSQL_PASSWORD"})
    bitnami = login("bitnami/postgresql", "Postgres", env=(secret("POSTGRESQL_POSTGRES_PASSWORD"),))
    assert (bitnami.user, bitnami.password) == ({"value": "postgres"}, {"env": "SOURCE_POSTGRESQL_POSTGRES_PASSWORD"})
    trusting = login("postgres", "Postgres", env=({"name": "POSTGRES_HOST_AUTH_METHOD", "value": "trust"},))
    assert (trusting.user, trusting.password) == ({"value": "postgres"}, None)


@pytest.mark.parametrize(
    "words",
    [
        ("redis-server", "--requirepass", "$(REDIS_PASSWORD)"),
        ("sh", "-c", 'exec redis-server --requirepass "$REDIS_PASSWORD"'),
        ("sh", "-c", "redis-server --requirepass=${REDIS_PASSWORD} --appendonly yes"),
        ("redis-server",),
    ],
)
def test_the_password_of_a_redis(words: tuple[str, ...]) -> None:
    assert login("redis:7", "Redis", words=words, env=(secret("REDIS_PASSWORD"),)).password == {
        "env": "SOURCE_REDIS_PASSWORD"
    }


def test_a_redis_with_a_plain_password_and_one_without() -> None:
    plain = login("redis", "Redis", words=("redis-server", "--requirepass", "abc"))
    assert plain.env == ({"name": "SOURCE_PASSWORD", "value": "abc"},)
    assert login("redis", "Redis") == connection.Login()


def test_what_a_backup_says_itself_wins() -> None:
    given = {"user": "backup", "passwordSecretRef": {"name": "backup", "key": "p"}}
    source = good(found(DATABASE, credentials=given, port=5433))
    assert source.document()["user"] == {"value": "backup"}
    assert source.document()["password"] == {"env": "SOURCE_OWN_PASSWORD"}
    assert source.document()["port"] == 5433


def test_a_service_port_of_its_own() -> None:
    cache = {"name": "cache", "image": "redis:7", "ports": [{"name": "redis", "port": 6379, "servicePort": 16379}]}
    server = good(found(cache)).server
    assert server is not None
    assert (server.port, server.target_port) == (16379, 6379)


def test_a_worker_has_no_service() -> None:
    worker = {"name": "cache", "type": "worker", "image": "redis:7"}
    assert "has no Service" in refused(found(worker))


# --- volumes ----------------------------------------------------------------------------------------------------------


def test_files_of_the_only_volume_where_its_pod_is() -> None:
    source = good(found(WEB, "Files", (pod("web-2", "two"), pod("web-1", "one"))))
    assert source.volume is not None
    assert (source.volume.claim, source.volume.read_only, source.node) == ("web-data", True, "one")
    assert source.document() == {"paths": ["/source/data"], "root": "/source/data"}
    assert source.security["fsGroup"] == 1000


def test_a_sqlite_as_the_component_sees_it() -> None:
    source = good(found(WEB, "SQLite", paths=["/data/app.db", "users.db"]))
    assert source.volume is not None
    assert not source.volume.read_only
    assert source.document() == {"paths": ["/source/data/app.db", "/source/data/users.db"]}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, "spec.source.paths: write the files of the databases as the component sees them, such as [/data/app.db]; "
             "no image tells which files they are"),
        ({"paths": ["/var/app.db"]}, "spec.source.paths: /var/app.db isn't in the volume data, which the component has "
                                     "at /data; write a path below that"),
        ({"paths": ["../app.db"]}, "spec.source.paths: ../app.db: write a path without '..'"),
        ({"paths": ["/data/a/app.db", "b/app.db"]}, "spec.source.paths: the databases are in several folders (/data/a, "
                                                    "/data/b); write one Backup for each folder"),
        ({"volume": "logs", "paths": ["a"]}, "spec.source.volume: component web has no logs; write data"),
    ],
)  # fmt: skip
def test_a_sqlite_that_is_not_there(source: dict[str, Any], message: str) -> None:
    assert refused(found(WEB, "SQLite", **source)) == message


def test_one_of_several_volumes_has_to_be_named() -> None:
    two = {**WEB, "volumes": [*WEB["volumes"], {"name": "logs", "path": "/logs", "size": "1Gi"}]}
    assert refused(found(two, "Files")) == (
        "component web has several volumes; write one of them in spec.source.volume: data, logs, and another Backup "
        "for each of the others"
    )
    assert good(found(two, "Files", volume="data")).volume is not None
    assert good(found(two, "SQLite", paths=["/data/app.db"])).volume is not None


def test_replicas_with_volumes_of_their_own() -> None:
    three = {**WEB, "type": "stateful", "replicas": 3}
    assert "has 3 replicas, each with a volume of its own" in refused(found(three, "Files"))
    one = good(found({**three, "replicas": 1}, "Files"))
    assert one.volume is not None
    assert one.volume.claim == "data-web-0"


def test_a_volume_that_only_one_pod_may_have() -> None:
    given = parse_spec(BackupSource, {"application": "shop", "component": "web", "environment": "live"})
    there = world(WEB, (pod("web-1"),), "ReadWriteOncePod")
    assert "is ReadWriteOncePod" in refused(resolve("web", given, "Files", there))
    shared = good(resolve("web", given, "Files", world(WEB, (pod("web-1"),), "ReadWriteMany")))
    assert shared.node == ""


# --- LXC containers ---------------------------------------------------------------------------------------------------


def on_proxmox(method: str | None) -> Source | Outcome:
    env = {"runtime": "Proxmox", "proxmox": {"hostRef": {"name": "lab"}, "network": {"bridge": "vmbr0"}}}
    cache = {
        "name": "cache",
        "image": "redis:7",
        "ports": [{"name": "redis", "port": 6379}],
        "env": [secret("REDIS_PASSWORD")],
        "volumes": [{"name": "data", "path": "/data", "size": "1Gi"}],
    }
    given = {"application": "shop", "component": "cache", "environment": "live"}
    return resolve("web", parse_spec(BackupSource, given), method, world(cache, **env))


def test_containers_are_backed_up_whole_or_their_server_through_its_service() -> None:
    whole = good(on_proxmox(None))
    assert (whole.runtime, whole.method, whole.containers) == ("Proxmox", "Container", ("cache-0",))
    dumped = good(on_proxmox("Redis"))
    assert (dumped.runtime, dumped.method, dumped.selector) == ("Kubernetes", "Redis", {})
    assert dumped.document() == {
        "host": "cache.web-live.svc",
        "port": 6379,
        "password": {"env": "SOURCE_REDIS_PASSWORD"},
    }
    assert "out of the cluster's reach" in refused(on_proxmox("Files"))
    assert "doesn't fit the image redis:7" in refused(on_proxmox("Postgres"))


# --- what isn't there -------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_waited_for() -> None:
    given = parse_spec(BackupSource, {"application": "shop", "component": "db", "environment": "live"})
    for there in (SourceWorld(place()), SourceWorld(place(), application=True)):
        assert isinstance(resolve("web", given, None, there), Wait)
    mistyped = SourceWorld(place(), application=True, components=["web"])
    assert "there are web" in refused(resolve("web", given, None, mistyped))
    container = parse_spec(BackupSource, {"container": "pihole"})
    assert isinstance(resolve("web", container, None, SourceWorld()), Wait)
    assert good(resolve("web", container, None, SourceWorld(container=True))).containers == ("pihole",)


# --- the Job ----------------------------------------------------------------------------------------------------------

S3 = {
    "s3": {"endpoint": "https://s3.example.com", "bucket": "backups", "credentialsSecretRef": {"name": "s3"}},
    "encryption": {"passwordSecretRef": {"name": "restic", "key": "password"}},
}
DISK = {
    "filesystem": {"persistentVolumeClaim": "backups", "path": "shop"},
    "encryption": {"generate": True},
    "environments": ["live"],
}
CASES = {
    "postgres": (DATABASE, {}, None, S3, {"isolation": "Strict"}),
    "sqlite": (WEB, {"paths": ["/data/app.db"]}, "SQLite", DISK, {}),
}


def job_of(component: dict[str, Any], source: dict[str, Any], method: str | None, repository: Any, env: Any) -> Any:
    given = parse_spec(
        BackupSource, {"application": "shop", "component": component["name"], "environment": "live", **source}
    )
    there = world(component, (pod("web-1"),), **env)
    resolved = good(resolve("web", given, method, there))
    return runnerjob.RunnerJob(
        name=runnerjob.named("run", "nightly-1"),
        owner=OwnerKey("BackupRun", "web", "nightly-1"),
        image="registry.example.com/homeport-runner:1",
        namespace=resolved.namespace,
        job={"operation": "backup", "method": resolved.method, "source": resolved.document()},
        access=access.access("disk", "web", parse_spec(BackupRepositorySpec, repository)),
        timeout=3600,
        environment="live",
        source=resolved,
    )


@pytest.mark.parametrize("name", CASES)
def test_the_job(name: str, update_golden: bool) -> None:
    children = runnerjob.children(job_of(*CASES[name]))
    rendered = yaml.safe_dump_all((child.manifest for child in children), sort_keys=False, width=120)
    golden = GOLDEN / f"{name}.yaml"
    if update_golden:
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(rendered)
    assert golden.read_text() == rendered
    job = children[-1].manifest
    assert not violations(job["spec"]["template"]["spec"], "restricted")
    # No key is in a plan: the Secret says where each is.
    assert "data" not in children[0].manifest
    assert children[0].gathered["password"][0] == "web"


def test_nothing_in_a_job_is_taken_for_a_variable() -> None:
    of = job_of(*CASES["postgres"])
    container = runnerjob.container(of, {"check": {"exec": ["sh", "-c", "echo $(HOME)"]}})
    value = container["env"][-1]["value"]
    assert "$$(HOME)" in value
    assert json.loads(value.replace("$$(", "$("))["check"]["exec"][2] == "echo $(HOME)"
