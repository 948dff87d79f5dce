"""Importing Compose files: shapes that the ten samples don't have, and input that can't be used, with what is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_catalog_import import Imports, env

from homeport.cli.errors import Failure
from homeport.cli.importing import convert
from homeport.cli.importing.files import Found, NotAnEntry, find
from homeport.cli.importing.item import Imported, imported
from homeport.cli.importing.service import services
from homeport.cli.importing.source import read
from homeport.drivers.catalog import Renderer


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    worker = Renderer()
    yield worker
    worker.close()


@pytest.fixture
def imports(tmp_path: Path, renderer: Renderer) -> Imports:
    return Imports(tmp_path, renderer)


def beside(imports: Imports, **files: str) -> None:
    """Files beside the Compose file, by name with '_' for '.'."""
    folder = imports.folder / "app"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)


def told(made: Imported, *, dropped: bool) -> set[str]:
    return {note.shown for note in made.notes if note.dropped is dropped}


# --- fields that become something else ------------------------------------------------------------------------------


def test_env_files_are_read_and_environment_wins(imports: Imports) -> None:
    beside(imports, common_env="A=common\nB=common # said\nC='c # c'\n", app_env="B=app\nTAG=${TAG:-1}\n")
    text = "services: {web: {image: a:1, ports: [80], env_file: [common.env, {path: app.env}, ../outside.env],"
    made = imports(f"{text} environment: {{A: mine}}}}}}")
    (imports.folder / "outside.env").write_text("X=outside\n")
    assert env(imports.components(made)["app"]) == {"A": "mine", "B": "app", "C": "c # c", "TAG": "1"}
    assert any(note.startswith("web.env_file: not carried over: ../outside.env:") for note in told(made, dropped=True))


def test_configs_become_files_and_secrets_are_generated_once(imports: Imports) -> None:
    beside(imports, site_conf="listen 80; # {{ not a template }}\n")
    made = imports("""
services:
  web:
    image: a:1
    ports: [80]
    configs: [{source: site, target: /etc/site.conf}, motd, far]
    secrets: [db_password]
    environment: {DB_PASSWORD_FILE: /run/secrets/db_password}
  db: {image: 'postgres:15', secrets: [{source: db_password, target: pw}]}
configs: {site: {file: ./site.conf}, motd: {content: hello}, far: {external: true}}
secrets: {db_password: {file: ./secret.txt}}
""")
    components = imports.components(made)
    assert dict(components["app"].files or {}) == {
        "/etc/site.conf": "listen 80; # {{ not a template }}\n",
        "/motd": "hello",
    }
    (ours,), (theirs,) = components["app"].secret_files or (), components["app-db"].secret_files or ()
    assert (ours.path, theirs.path) == ("/run/secrets/db_password", "/run/secrets/pw")
    assert ours.secret_ref == theirs.secret_ref
    assert sum(len(component.secrets or ()) for component in components.values()) == 1
    assert env(components["app"])["DB_PASSWORD_FILE"] == "/run/secrets/db_password"
    assert any("web.configs.far" in note for note in told(made, dropped=True))


def test_passwords_in_options_queries_and_urls_are_the_generated_ones(imports: Imports) -> None:
    made = imports.components(
        imports("""
services:
  web:
    image: a:1
    ports: [80]
    environment: {NC_DB: 'pg://db:5432?u=u&p=hunter22&d=d', URL: 'http://db:5432/x', CACHE: 'redis://:swordfish@cache'}
  db: {image: 'postgres:15', environment: {POSTGRES_PASSWORD: hunter22, S3_ACCESS_KEY: someone}}
  cache: {image: 'redis:7', command: redis-server --requirepass swordfish}
""")
    )
    variables = env(made["app"])
    assert variables["NC_DB"].startswith("pg://app-db:5432?u=u&p=$(HOMEPORT_")
    assert variables["NC_DB"].endswith(")&d=d")
    assert variables["URL"] == "http://app-db:5432/x", "a port isn't a password"
    assert env(made["app-db"])["S3_ACCESS_KEY"] == "someone", "the name of a key isn't a password"
    reference = (made["app-cache"].args or ())[-1]
    assert variables["CACHE"] == f"redis://:{reference}@app-cache"


def test_ports_come_from_settings_and_from_images(imports: Imports) -> None:
    made = imports("""
services:
  web: {image: 'team/web:1', environment: {PORT: 3000, HTTP_BIND_ADDRESS: '0.0.0.0:9100', API_URL: 'http://api:4003/x'}}
  api: {image: 'team/api:1', healthcheck: {test: curl http://localhost:8000/}, depends_on: [php]}
  php: {image: 'wordpress:6-fpm'}
  mail: {image: 'team/mail:1', environment: {SMTP_PORT: 587, MAIL_HOST: other, OTHER: 1}}
  other: {image: 'memcached:1'}
""")
    components = imports.components(made)
    ports = {component.image: [port.port for port in component.ports or ()] for component in components.values()}
    assert ports == {
        "team/web:1": [3000, 9100],
        "team/api:1": [8000, 4003],
        "wordpress:6-fpm": [9000],
        "team/mail:1": [],
        "memcached:1": [11211],
    }
    said = told(made, dropped=False)
    assert "api.ports: 4003/TCP added: web.environment.API_URL says so" in said
    assert any(note.startswith("api.depends_on.php: nothing in its settings names php") for note in said)
    assert any(note.startswith("mail.ports: none is declared, and none is known of the image") for note in said)


def test_mounts_in_every_form(imports: Imports) -> None:
    made = imports("""
services:
  web:
    image: a:1
    ports: [80]
    shm_size: 64m
    tmpfs: [/run, '/tmp:size=16m,mode=1777']
    volumes:
      - /var/run/docker.sock:/var/run/docker.sock
      - ./conf/app.ini:/etc/app.ini:ro
      - ./uploads:/uploads:rw,Z
      - {type: volume, source: data, target: /data, volume: {subpath: deep, nocopy: true}}
      - {type: bind, source: /srv/films, target: /films, read_only: true, bind: {propagation: rshared}}
      - {type: tmpfs, target: /scratch, tmpfs: {size: 32m, mode: 755}}
volumes: {data: {external: true}}
""")
    (web,) = imports.components(made).values()
    volumes = {v.path: (v.ephemeral or False, v.size, v.sub_path, v.read_only or False) for v in web.volumes or ()}
    assert volumes == {
        "/data": (False, "2Gi", "deep", False),
        "/dev/shm": (True, "64Mi", None, False),
        "/films": (False, "2Gi", None, True),
        "/run": (True, None, None, False),
        "/scratch": (True, "32Mi", None, False),
        "/tmp": (True, "16Mi", None, False),
        "/uploads": (False, "2Gi", None, False),
    }
    fields = {note.partition(": not carried over")[0] for note in told(made, dropped=True)}
    assert fields == {
        "web.volumes[/var/run/docker.sock]",
        "web.volumes[./conf/app.ini]",
        "web.volumes[/films].bind",
        "web.tmpfs",
        "volumes.data.external",
    }


def test_how_a_container_runs(imports: Imports) -> None:
    made = imports("""
services:
  web:
    image: a:1
    entrypoint: "/entry.sh 'two words'"
    command: [serve, "--greeting=$$(whoami)"]
    ports: ["53:53/udp", "[::1]:8443:443", "7000-7002:7000-7002", "8080"]
    user: "1000"
    group_add: [44, video]
    cap_drop: [ALL]
    cap_add: [CAP_NET_BIND_SERVICE]
    sysctls: [net.ipv4.ip_unprivileged_port_start=80]
    read_only: true
    pull_policy: missing
    annotations: {team: core}
    mem_limit: 256m
    mem_reservation: 64m
    cpus: 0.5
    scale: 2
    healthcheck: {test: [NONE]}
    depends_on: {db: {condition: service_healthy, restart: true, required: false}, gone: {required: false}}
  db: {image: 'postgres:15', healthcheck: {disable: true}, restart: on-failure, hostname: database}
""")
    web = imports.components(made)["app"]
    context = web.security_context
    assert context is not None
    assert context.capabilities is not None
    assert (web.command, web.args) == (("/entry.sh", "two words"), ("serve", "--greeting=$$(whoami)"))
    assert [(p.port, p.protocol) for p in web.ports or ()] == [
        *((53, "UDP"), (443, "TCP"), (7000, "TCP"), (7001, "TCP"), (7002, "TCP"), (8080, "TCP"))
    ]
    assert (context.run_as_user, context.supplemental_groups, context.read_only_root_filesystem) == (1000, (44,), True)
    assert context.capabilities.add == ("NET_BIND_SERVICE",)
    assert (web.image_pull_policy, web.annotations, web.replicas) == ("IfNotPresent", {"team": "core"}, 2)
    assert web.resources is not None
    assert (web.resources.limits, web.resources.requests) == (
        {"cpu": "0.5", "memory": "256Mi"},
        {"cpu": "50m", "memory": "64Mi"},
    )
    assert (web.probes, web.depends_on) == (None, ("app-db",))
    assert told(made, dropped=True) == {
        "web.group_add: not carried over: video: write its number in securityContext.supplementalGroups beside catalog",
        "web.depends_on.db.restart: not carried over: a component isn't started again because of another",
        "web.depends_on.gone: not carried over: it isn't there, and isn't required",
    }


def test_privileged_needs_a_privileged_environment(imports: Imports) -> None:
    made = imports("services: {web: {image: a:1, ports: [80], privileged: true}}")
    assert made.pod_security == "privileged"


# Every field that has no counterpart: the message says what to do instead.
NOWHERE = {
    "devices": ["/dev/dri:/dev/dri"],
    "extra_hosts": ["db:10.0.0.1"],
    "ulimits": {"nofile": 1024},
    "logging": {"driver": "syslog"},
    "init": True,
    "profiles": ["debug"],
    "dns": ["10.0.0.53"],
    "pid": "host",
    "security_opt": ["apparmor=unconfined"],
    "stop_signal": "SIGINT",
    "runtime": "nvidia",
    "gpus": "all",
    "platform": "linux/arm64",
    "volumes_from": ["db"],
    "external_links": ["db"],
    "blkio_config": {"weight": 1},
    "nonsense": 1,
}


def test_what_has_no_counterpart_is_said_by_field(imports: Imports) -> None:
    made = imports(json.dumps({"services": {"web": {"image": "a:1", "ports": ["80"], **NOWHERE}}}))
    assert {note.field for note in made.notes if note.dropped} == set(NOWHERE)
    assert all(note.text for note in made.notes)
    assert "web.nonsense: not carried over: Homeport has no such field" in told(made, dropped=True)


def test_labels_of_a_proxy_are_quoted_for_routes(imports: Imports) -> None:
    made = imports("""
services:
  web:
    image: a:1
    ports: [80]
    labels: ["traefik.enable=true", "traefik.http.routers.web.rule=Host(`a.example.com`) && PathPrefix(`/api`)"]
    networks: {front: {aliases: [www], ipv4_address: 10.0.0.2}}
    deploy: {mode: global, update_config: {order: start-first}, resources: {reservations: {devices: [{count: 1}]}}}
networks: {front: {external: true}}
""")
    said = told(made, dropped=True)
    assert any("write routes beside catalog for Host(`a.example.com`) && PathPrefix(`/api`)" in note for note in said)
    fields = {note.field for note in made.notes if note.dropped}
    assert {"labels", "networks.front.ipv4_address", "networks.front.external", "deploy.mode"} <= fields
    assert {"deploy.update_config", "deploy.resources.reservations.devices"} <= fields


def test_an_entry_says_what_of_it_is_left(tmp_path: Path, renderer: Renderer) -> None:
    compose = {"services": {"web": {"image": "a:1", "environment": {"A": "1"}, "volumes": ["data:/data"]}}}
    entry = {"id": "thing", "author": "A team", "rating": 5, "ports": [8080, "53/udp"], "volumes": ["data", "more"]}
    entry |= {"environment": {"A": "2", "B": "3"}, "docker_compose": {**compose, "volumes": {"data": None}}}
    path = tmp_path / "thing.json"
    path.write_text(json.dumps(entry))
    made = imported(path, {}, renderer)
    assert told(made, dropped=True) == {
        "rating: not carried over: items have no such field",
        "environment.B: not carried over: no service has it; write it in env beside catalog",
        "volumes[more]: not carried over: no service mounts it",
    }
    assert {"author: A team", "environment.A: web sets another value, which holds"} <= told(made, dropped=False)


# --- files ------------------------------------------------------------------------------------------------------------


def test_an_override_file_is_merged_as_compose_does(imports: Imports) -> None:
    beside(
        imports,
        compose_override_yaml="""
services:
  web: {command: [b], environment: [A=over, C=c], ports: ['81'], volumes: ['other:/data'], depends_on: [db]}
  db: {image: postgres:15}
""",
    )
    text = (
        "services: {web: {image: a:1, command: [a, a], environment: {A: a, B: b}, ports: ['80'], volumes: ['d:/data'],"
    )
    (imports.folder / "app" / "compose.yaml").write_text(
        f"{text} depends_on: {{cache: {{}}}}}}, cache: {{image: redis}}}}"
    )
    (found,) = find([imports.folder / "app"]).found
    web = services(read(found, {}))["web"]
    assert (web.args, web.env) == (["b"], {"A": "over", "B": "b", "C": "c"})
    assert [*web.ports] == [(80, "TCP"), (81, "TCP")]
    assert [mount.source for mount in web.mounts] == ["other"]
    assert set(web.needs) == {"cache", "db"}


def test_a_folder_of_everything(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"apps": ["a.json"]}')
    (tmp_path / "a.json").write_text('{"id": "a", "docker_compose": {"services": {"a": {"image": "a:1"}}}}')
    (tmp_path / "b.yml").write_text("services: {b: {image: b:1}}")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "docker-compose.yml").write_text("services: {c: {image: c:1}}")
    (tmp_path / "c" / "docker-compose.prod.yml").write_text("services: {c: {image: c:2}}")
    found = find([tmp_path]).found
    assert [each.path.relative_to(tmp_path).as_posix() for each in found] == [
        *("a.json", "b.yml", "index.json", "c/docker-compose.yml")
    ]
    with pytest.raises(NotAnEntry):
        read(found[2], {})
    only = find([tmp_path / "c"])
    assert [each.path.name for each in only.found] == ["docker-compose.yml"]
    assert [(path.name, "name this file" in why) for path, why in only.skipped] == [("docker-compose.prod.yml", True)]
    (tmp_path / "d").mkdir()
    with pytest.raises(Failure, match="holds neither JSON entries nor Compose files"):
        find([tmp_path / "d"])


def test_words_that_yaml_takes_for_something_else(imports: Imports) -> None:
    text = """
services:
  web:
    image: a:1
    restart: no
    ports: [22:22]
    environment: {ANSWER: yes, SWITCH: off, FLAG: true, DAY: 2024-01-01, TIME: 12:30:00, MODE: 0644}
"""
    variables = env(imports.components(imports(text))["app"])
    assert (variables["ANSWER"], variables["SWITCH"], variables["FLAG"]) == ("yes", "off", "true")
    assert (variables["DAY"], variables["TIME"]) == ("2024-01-01", "12:30:00")


# --- input that can't be used -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty; write `services:`"),
        ("- a\n", "is neither a Compose file nor a catalog's entry"),
        ("services: {a: {image: a}}\n---\nservices: {b: {image: b}}", "holds several documents; write each"),
        ("services:\n  a:\n    image: a\n    image: b\n", "compose.yaml:4: 'image' is written twice, on line 3 too"),
        ("services: {a: !reset {image: a}}", "has a tag (!…) that only Compose knows; `docker compose config`"),
        ("include: [other.yaml]\nservices: {a: {image: a}}", "includes other files; `docker compose config` writes"),
        ("services: {a: text}", "services.a isn't a mapping; write an image in it"),
        (
            "services: {a: {image: a, ports: '80:80'}}",
            "services.a.ports: is text, not a list; write it as in `ports: [",
        ),
        ("services: {a: {image: a, ports: {80: 80}}}", "services.a.ports: is a mapping, not a list"),
        ("services: {a: {image: a, environment: A=b}}", "services.a.environment: is text, not a list or a mapping"),
        ("services: {a: {image: a, command: {a: b}}}", "services.a.command: is a mapping, not text or a list"),
        ("services: {a: {image: a, command: [[a]]}}", "services.a.command[0]: isn't a text"),
        ('services: {a: {image: a, command: "\'a"}}', "can't be split into words"),
        ("services: {a: {image: a, healthcheck: {test: {a: b}}}}", "services.a.healthcheck.test: is a mapping"),
        (
            "services: {a: {image: a, deploy: {resources: [a]}}}",
            "services.a.deploy.resources: is a list, not a mapping",
        ),
        (
            "services: {a: {image: a, volumes: ['data:relative']}}",
            "has no absolute path in the container; write it as in",
        ),
        ("services: {a: {image: a, volumes: [{type: bind}]}}", "has no absolute target; write `target: /var/lib/data`"),
        ("services: {a: {image: a, configs: [x]}}", "names configs.x, which isn't there; write it under `configs:`"),
        ("services: {a: {image: a, secrets: [x]}}", "names secrets.x, which isn't there"),
        ("services: {a: {image: a, depends_on: [b]}}", "depends_on names b, which isn't a service; there is a"),
        ("services: {a: {extends: b}}", "a extends b, which isn't there; there is a"),
        ("services: {a: {image: '${'}}", "'${' isn't a variable; write ${NAME}, ${NAME:-default}"),
        ("services: {a: {image: '${1X}'}}", "isn't a variable"),
        (
            "services: {a: {image: 'a:${TAG?}'}}",
            "needs the variable TAG; set it with --var NAME=VALUE, or in a file .env",
        ),
    ],
)
def test_what_can_not_be_used_says_what_to_write(imports: Imports, text: str, problem: str) -> None:
    assert problem in imports.refused(text)


def test_json_with_a_key_twice(tmp_path: Path, renderer: Renderer) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"id": "a", "id": "b", "docker_compose": {}}')
    with pytest.raises(Failure, match="'id' is written twice; leave one out"):
        imported(path, {}, renderer)


ODD: list[Any] = [
    *(None, 0, -1, True, "", "text", "a:b:c:d", "\u0000", [], [None], [[]], [{}], ["=", ":"]),
    *({}, {"a": None}, {"a": {"b": {}}}),
]
FIELDS = (
    *("image", "build", "command", "entrypoint", "environment", "env_file", "ports", "expose", "volumes", "tmpfs"),
    *("depends_on", "links", "networks", "healthcheck", "deploy", "cap_add", "cap_drop", "group_add", "sysctls"),
    *("labels", "annotations", "configs", "secrets", "user", "working_dir", "container_name", "hostname", "restart"),
    *("network_mode", "stop_grace_period", "scale", "mem_limit", "cpus", "shm_size", "pull_policy", "extends"),
    *("privileged", "read_only", "devices", "x-any", "profiles"),
)


@pytest.mark.parametrize("field", FIELDS)
def test_any_value_of_any_field_is_imported_or_refused(field: str, tmp_path: Path) -> None:
    """Whatever is written, the answer is an item or a sentence, never a traceback."""
    for number, value in enumerate(ODD):
        path = tmp_path / f"c{number}.json"
        path.write_text(json.dumps({"services": {"web": {"image": "a:1", field: value}, "a": {"image": "b:1"}}}))
        try:
            source = read(Found(path), {})
            convert.convert(source, services(source))
        except Failure as error:
            assert str(error)
