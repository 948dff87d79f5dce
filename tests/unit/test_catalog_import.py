"""Importing: Compose files of every kind, what they become, and what is said of the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from render_cases import application

from homeport.api.component import Component
from homeport.cli.errors import Failure
from homeport.cli.importing.item import Imported, imported, write
from homeport.drivers.catalog import Renderer, load
from homeport.engine.catalog import Catalog
from homeport.plan import render

SAMPLES = Path(__file__).parent.parent / "samples" / "catalog"


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    worker = Renderer()
    yield worker
    worker.close()


class Imports:
    """Imports a Compose file, and shows what an application that uses it has."""

    def __init__(self, folder: Path, renderer: Renderer) -> None:
        self.folder = folder
        self.renderer = renderer

    def __call__(self, text: str, **variables: str) -> Imported:
        path = self.folder / "app" / "compose.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return imported(path, variables, self.renderer)

    def components(self, made: Imported, **values: Any) -> dict[str, Component]:
        folder = self.folder / "items"
        write(folder / made.name, made.files)
        part = {"name": made.name, "catalog": {"name": made.name}, **({"values": values} if values else {})}
        app = application({"version": "1.0.0", "components": [part]})
        expansion = Catalog(lambda: load([folder]), self.renderer).expansion_now(app.spec)
        return {part.name: part for part in render.components(app, "live", expansion)}

    def refused(self, text: str, **variables: str) -> str:
        with pytest.raises(Failure) as caught:
            self(text, **variables)
        return f"{caught.value}; {caught.value.hint}"


@pytest.fixture
def imports(tmp_path: Path, renderer: Renderer) -> Imports:
    return Imports(tmp_path, renderer)


def env(component: Component) -> dict[str, str]:
    out = {}
    for variable in component.env or ():
        source = variable.value_from
        ref = source.secret_key_ref if source is not None else None
        out[variable.name] = f"secret {ref.name}" if ref is not None else variable.value or ""
    return out


STACK = """
services:
  web:
    image: team/web
    ports: ["8080:80", "127.0.0.1:9000-9002:9000-9002/udp", {target: 8443, published: 443}]
    environment:
      DB_HOST: db
      DB_NAME: db
      DB_PASSWORD: hunter22
      DATABASE_URL: postgres://app:hunter22@db:5432/db
      CACHE: cache:6379
      PEERS: db:1,cache:2
      DEBUG: true
      PRICE: "$$5"
    depends_on:
      db: {condition: service_healthy}
      cache: {condition: service_started}
      setup: {condition: service_completed_successfully}
    command: serve --listen 0.0.0.0 --db db:5432 "$$(date)"
    user: "1000:1001"
    stop_grace_period: 1m30s
    deploy: {replicas: 2, resources: {limits: {cpus: "0.5", memory: 512M}}, placement: {constraints: [a]}}
  db:
    image: postgres:15
    container_name: the-db
    environment: ["POSTGRES_PASSWORD=hunter22", "POSTGRES_DB=db", "FROM_SHELL"]
    volumes:
      - data:/var/lib/postgresql/data
      - ./init.sql:/docker-entrypoint-initdb.d/init.sql:ro
      - /etc/localtime:/etc/localtime:ro
    healthcheck: {test: ["CMD-SHELL", "pg_isready"], interval: 10s, timeout: 5s, retries: 5, start_period: 1m}
    cap_drop: [KILL]
  cache:
    image: redis:7
    command: ["redis-server", "--requirepass", "hunter22"]
    environment: {REDIS_PASSWORD: hunter22}
    volumes: ["/data", "../files:/files"]
    sysctls: {net.ipv4.tcp_syncookies: 0}
    tmpfs: /run
    devices: ["/dev/dri"]
  setup: {image: team/setup, restart: "no"}
volumes: {data: {driver_opts: {type: nfs}}}
"""


class TestStack:
    @pytest.fixture
    def made(self, imports: Imports) -> dict[str, Component]:
        return imports.components(imports(STACK), storage={"data": "20Gi"})

    def test_names_and_types(self, made: dict[str, Component]) -> None:
        types = {name: component.type for name, component in made.items()}
        assert types == {"app": "service", "app-db": "stateful", "app-cache": "stateful", "app-setup": "job"}
        assert made["app"].image == "team/web:latest"

    def test_ports(self, made: dict[str, Component]) -> None:
        assert [(p.port, p.protocol) for p in made["app"].ports or ()] == [
            *((80, "TCP"), (9000, "UDP"), (9001, "UDP"), (9002, "UDP"), (8443, "TCP"))
        ]
        assert [p.port for p in made["app-db"].ports or ()] == [5432, 1]

    def test_siblings_are_called_by_their_components_names(self, made: dict[str, Component]) -> None:
        variables = env(made["app"])
        assert variables["DB_HOST"] == "app-db"
        assert variables["DB_NAME"] == "db", "a database's name isn't a host's"
        assert variables["CACHE"] == "app-cache:6379"
        assert variables["PEERS"] == "app-db:1,app-cache:2"
        assert made["app"].args == ("serve", "--listen", "0.0.0.0", "--db", "app-db:5432", "$$(date)")
        assert made["app"].depends_on == ("app-db", "app-cache", "app-setup")

    def test_a_shared_password_is_one_generated_secret(self, made: dict[str, Component]) -> None:
        secrets = [(name, secret.name) for name, c in made.items() for secret in c.secrets or ()]
        assert len(secrets) == 1
        ((_, secret),) = secrets
        assert env(made["app"])["DB_PASSWORD"] == env(made["app-db"])["POSTGRES_PASSWORD"] == f"secret {secret}"
        reference = next(
            name
            for name, value in env(made["app"]).items()
            if name.startswith("HOMEPORT_") and value == f"secret {secret}"
        )
        assert env(made["app"])["DATABASE_URL"] == f"postgres://app:$({reference})@app-db:5432/db"
        assert made["app-cache"].args == ("redis-server", "--requirepass", f"$({reference})")

    def test_values_are_text(self, made: dict[str, Component]) -> None:
        assert env(made["app"])["DEBUG"] == "true"
        assert env(made["app"])["PRICE"] == "$5"

    def test_volumes(self, made: dict[str, Component]) -> None:
        (data,) = made["app-db"].volumes or ()
        assert (data.path, data.size, data.sub_path) == ("/var/lib/postgresql/data", "20Gi", "data")
        assert [(v.path, v.ephemeral) for v in made["app-cache"].volumes or ()] == [
            *(("/data", None), ("/files", None), ("/run", True))
        ]

    def test_probes(self, made: dict[str, Component]) -> None:
        probes = made["app-db"].probes
        assert probes is not None
        assert probes.readiness is not None
        assert probes.startup is not None
        assert probes.readiness.exec == ("sh", "-c", "pg_isready")
        assert (probes.readiness.period_seconds, probes.readiness.failure_threshold) == (10, 5)
        assert probes.startup.failure_threshold == 11

    def test_how_it_runs(self, made: dict[str, Component]) -> None:
        web, database = made["app"].security_context, made["app-db"].security_context
        assert web is not None
        assert (web.run_as_user, web.run_as_group) == (1000, 1001)
        assert database is not None
        assert database.capabilities is not None
        assert "KILL" not in (database.capabilities.add or ())
        cache = made["app-cache"].security_context
        assert cache is not None
        assert [(s.name, s.value) for s in cache.sysctls or ()] == [("net.ipv4.tcp_syncookies", "0")]
        assert made["app"].replicas == 2
        assert made["app"].termination_grace_period_seconds == 90
        assert made["app"].resources is not None
        assert made["app"].resources.limits == {"cpu": "0.5", "memory": "512Mi"}

    def test_what_is_not_carried_over_is_said(self, imports: Imports) -> None:
        made = imports(STACK)
        dropped = {f"{note.service}.{note.field}" for note in made.notes if note.dropped}
        assert dropped == {
            *("web.deploy.placement", "db.environment.FROM_SHELL", "db.volumes[./init.sql]"),
            *("db.volumes[/etc/localtime]", "cache.devices", ".volumes.data.driver_opts"),
        }
        said = {f"{note.service}.{note.field}" for note in made.notes if not note.dropped}
        assert {"web.ports", "db.container_name", "cache.volumes[../files]", "setup.restart"} <= said


def test_anchors_merges_and_extensions(imports: Imports) -> None:
    text = """
x-common: &common
  image: team/app:1
  environment: &env {A: a, B: b}
services:
  base: {<<: *common}
  web:
    <<: *common
    environment: {<<: *env, B: mine}
    ports: [80]
  more: {extends: {service: web}, environment: {C: c}}
"""
    made = imports.components(imports(text))
    values = {name: env(component) for name, component in made.items()}
    assert {"A": "a", "B": "mine", "C": "c"} in values.values()
    assert {"A": "a", "B": "mine"} in values.values()


def test_variables(imports: Imports) -> None:
    text = """
services:
  web:
    image: team/web:${TAG:-1.0}
    ports: [80]
    environment:
      A: ${A-default}
      B: ${B:-${C:-deep}}
      C: ${C:+set}
      D: $D
      E: ${EMPTY-kept}
      DB_PASSWORD: ${DB_PASSWORD:?write a password}
      API_TOKEN: ${API_TOKEN}
"""
    found = imports(text, D="given", EMPTY="")
    made = imports.components(found)
    values = env(made["app"])
    assert made["app"].image == "team/web:1.0"
    assert (values["A"], values["B"], values["C"], values["D"], values["E"]) == ("default", "deep", "", "given", "")
    assert values["DB_PASSWORD"] == "secret app-db-password", "what must be set and is a password is generated"
    assert values["API_TOKEN"] == "secret app-api-token"
    assert any("TAG" in note.field for note in found.notes)


def test_variables_that_nobody_has_set(imports: Imports) -> None:
    text = """
services:
  web:
    image: team/web:1
    ports: ["${PORT}:80"]
    environment: {URL: 'postgres://u:${DB_PW:?say it}@db/x', NAME: 'a${MIDDLE}b'}
  db: {image: 'postgres:15', environment: {POSTGRES_PASSWORD: '${DB_PW:?say it}'}}
"""
    found = imports(text)
    made = imports.components(found)
    (web,) = (part for part in made.values() if part.image == "team/web:1")
    (database,) = (part for part in made.values() if part.image == "postgres:15")
    assert [port.port for port in web.ports or ()] == [80]
    assert env(web)["NAME"] == "ab"
    secret = env(database)["POSTGRES_PASSWORD"]
    (reference,) = (name for name, value in env(web).items() if value == secret)
    assert env(web)["URL"].startswith(f"postgres://u:$({reference})@")
    assert {"${PORT}", "${MIDDLE}"} <= {note.field for note in found.notes}
    assert "needs the variable TAG" in imports.refused("services: {a: {image: 'a:${TAG}'}}")
    assert "needs the variable P (port)" in imports.refused("services: {a: {image: a, ports: ['${P:?port}:80']}}")


def test_variables_of_a_file_beside_it(imports: Imports) -> None:
    (imports.folder / "app").mkdir()
    (imports.folder / "app" / ".env").write_text("# a comment\nexport TAG='3.1'\n")
    made = imports("services: {web: {image: 'team/web:${TAG:?no tag}', ports: [80]}}")
    assert imports.components(made)["app"].image == "team/web:3.1"


@pytest.mark.parametrize("version", ["", "version: '2'\n", "version: '2.4'\n", "version: '3.8'\n", "version: 3\n"])
def test_every_version_and_none(imports: Imports, version: str) -> None:
    made = imports(f"{version}services: {{web: {{image: nginx, expose: ['80']}}}}")
    assert imports.components(made)["app"].image == "nginx:latest"


def test_the_first_format_has_no_heading(imports: Imports) -> None:
    made = imports(
        "web: {image: nginx, links: ['db:database'], environment: {DB_HOST: database}}\ndb: {image: postgres:15}"
    )
    components = imports.components(made)
    assert env(components["app"])["DB_HOST"] == "app-db"
    assert components["app"].depends_on == ("app-db",)


def test_host_networking_becomes_names(imports: Imports) -> None:
    text = """
services:
  web: {image: 'team/web:1', network_mode: host, environment: {DB: 'postgres://localhost:5432/x'}}
  db: {image: 'postgres:15', network_mode: host, cap_add: [NET_ADMIN]}
"""
    made = imports(text)
    assert made.pod_security == "privileged"
    components = imports.components(made)
    (web,) = (c for c in components.values() if "DB" in env(c))
    assert env(web)["DB"].endswith("-db:5432/x")


def test_a_shared_volume_is_one_claim(imports: Imports) -> None:
    text = """
services:
  web: {image: 'team/web:1', ports: [80], volumes: ['files:/files']}
  worker: {image: 'team/web:1', volumes: ['files:/files:ro']}
volumes: {files: }
"""
    made = imports.components(imports(text), sharedAccess="ReadWriteOnce")
    (owned,), (used,) = made["app"].volumes or (), made["app-worker"].volumes or ()
    assert (made["app"].type, made["app-worker"].type) == ("service", "worker")
    assert owned.access_modes == ("ReadWriteOnce",)
    assert used.existing_claim == f"app-{owned.name}"
    assert used.read_only


def test_what_looks_like_a_template_stays_as_it_is(imports: Imports) -> None:
    text = "services: {web: {image: 'a:1', ports: [80], environment: {A: '{{ x }} {% y %} {# z #}', B: 'a: \"b\"'}}}"
    values = env(imports.components(imports(text))["app"])
    assert (values["A"], values["B"]) == ("{{ x }} {% y %} {# z #}", 'a: "b"')


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("services: {web: {build: .}}", "services.web has only build: Homeport runs images"),
        ("services: {web: {ports: [80]}}", "services.web has no image"),
        (
            "services: {a: {image: a, depends_on: [b]}, b: {image: b, depends_on: [a]}}",
            "goes in a circle (a -> b -> a)",
        ),
        ("services: {a: {image: a, extends: b}, b: {image: b, extends: a}}", "extend each other in a circle"),
        ("services: {a: {extends: {file: other.yaml, service: b}}}", "extends a service of another file"),
        ("services: {a: {image: a, depends_on: [b]}}", "depends_on names b, which isn't a service"),
        ("services: {a: {image: 'a:${TAG:?say which}'}}", "TAG (say which)"),
        ("services: {a: {image: a, environment: {X: '${X:?say X}'}}}", "needs the variable X (say X)"),
        ("services: {}", "has no services"),
        ("nothing: here", "is it a Compose file?"),
        ("services: [", "can't be read"),
        ("services: {a: {image: 'A B'}}", "can't be used"),
        (
            "x: &a [1,1,1,1,1,1,1,1,1,1]\ny: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
            "z: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
            "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nservices: {a: {image: a}}",
            "when its anchors are written out",
        ),
    ],
)
def test_what_can_not_be_imported_says_why(imports: Imports, text: str, problem: str) -> None:
    assert problem in imports.refused(text)


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_the_samples_import(path: Path, renderer: Renderer) -> None:
    made = imported(path, {}, renderer)
    services = json.loads(path.read_text())["docker_compose"]["services"]
    assert len(made.components) == len(services)
    item = yaml.safe_load(made.files["item.yaml"])
    assert item["description"] == json.loads(path.read_text())["description"]
