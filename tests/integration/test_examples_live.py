"""The five systems of ``examples/`` on a real API server with the real operator: applied in any order, all becomes
Ready, and the numbers of their documents are those of the objects that are there."""

from __future__ import annotations

import base64
import os
import random
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from homes import Home, Live, Manifest, eventually, told, written
from lab_host import LabHost, operated

from api_server import ApiServer
from example_systems import EXAMPLES
from localplane.controlplane import ControlPlane
from localplane.definitions import PROMETHEUS_OPERATOR, TRAEFIK
from localplane.operatorproc import SIMULATED
from manifests import ROOT, load_all

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

PAGE = ROOT / "examples" / "README.md"
MIDDLEWARES = "traefik.ingress.kubernetes.io/router.middlewares"
OURS = ("Project", "Environment", "Application", "BackupRepository", "Backup")
ON_PROXMOX = ("taskflow", "catalog")
"""Those that have an environment ``lab`` there, from the same manifest."""
ORDERS = ("backwards", "shuffled")
"""The demonstration has the one that kubectl gives them."""
PATIENCE = 240.0
"""Seconds for all five; a quiet machine needs a tenth of it."""


class System(Home):
    """One of the examples, in the namespaces that it names."""

    def __init__(self, api: ApiServer, name: str) -> None:
        Live.__init__(self, api)
        self.name = name

    def deployment(self, name: str, environment: str = "production") -> Manifest:
        return self.child("Deployment", name, environment)

    def container(self, name: str, environment: str = "production", kind: str = "Deployment") -> Manifest:
        """The component's own container, as the workload has it."""
        found = self.child(kind, name, environment)["spec"]["template"]["spec"]["containers"]
        return dict(next(c for c in found if c["name"] == name))

    def env(self, name: str, environment: str = "production") -> dict[str, Any]:
        """A component's variables: text, or where they come from."""
        found = self.container(name, environment).get("env") or ()
        return {e["name"]: e.get("valueFrom") or e.get("value", "") for e in found}

    def secret_value(self, name: str, key: str, environment: str = "production") -> str:
        return base64.b64decode(self.child("Secret", name, environment)["data"][key]).decode()

    def scaling(self, name: str, environment: str = "production") -> tuple[int, int, dict[str, int]]:
        """An autoscaler's bounds and targets."""
        spec = self.child("HorizontalPodAutoscaler", name, environment)["spec"]
        targets = {m["resource"]["name"]: m["resource"]["target"]["averageUtilization"] for m in spec["metrics"]}
        return spec["minReplicas"], spec["maxReplicas"], targets

    def ready_pods(self, environment: str) -> int:
        """Pods that run and are Ready; done Jobs' aren't."""
        found = self.list("Pod", self.place(environment))
        return sum(
            any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or ())
            for pod in found
        )

    def jobs(self, environment: str, component: str) -> list[Manifest]:
        return self.list("Job", self.place(environment), f"homeport.dev/component={component}")


def in_order(manifests: list[Manifest], order: str) -> list[Manifest]:
    """The namespaces, which the API server wants first, and then everything else in an order of ours."""
    rest = [manifest for manifest in manifests if manifest["kind"] != "Namespace"]
    if order == "backwards":
        rest.reverse()
    elif order == "shuffled":
        random.Random(4).shuffle(rest)
    return [*(manifest for manifest in manifests if manifest["kind"] == "Namespace"), *rest]


def all_ready(systems: dict[str, System]) -> bool:
    """True; an AssertionError says what isn't Ready at its current generation, and why."""
    for system in systems.values():
        for kind in OURS:
            for body in system.list(kind, system.name):
                current = body["status"].get("observedGeneration") == body["metadata"]["generation"]
                assert current and told(body)[0] == "True", (kind, body["metadata"]["name"], told(body))
    return True


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> LabHost:
    return LabHost(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, lab: LabHost) -> Iterator[ControlPlane]:
    """A control plane of their own, with Traefik's and the Prometheus operator's kinds, and the operator."""
    definitions = (*TRAEFIK.paths(), *PROMETHEUS_OPERATOR.paths())
    with operated(lab, tmp_path_factory.mktemp("operated"), definitions, ("--runner-image", SIMULATED)) as plane:
        yield plane


@pytest.fixture(scope="module", params=ORDERS)
def systems(request: pytest.FixtureRequest, plane: ControlPlane, lab: LabHost) -> Iterator[dict[str, System]]:
    """All five, applied in one order and Ready; what is left when the tests are over is removed."""
    manifests = [manifest for folder in EXAMPLES for _, manifest in load_all(folder)]
    server = ApiServer(str(plane.kubeconfig))
    out = {folder.name: System(server, folder.name) for folder in EXAMPLES}
    live = Live(server)
    for manifest in in_order(manifests, request.param):
        live.apply(manifest)
    try:
        eventually(lambda: all_ready(out), "all five are Ready", PATIENCE, between=0.5)
        yield out
    finally:
        for system in out.values():
            system.leave()
        with ThreadPoolExecutor(len(out)) as pool:
            list(pool.map(System.sweep, out.values()))
        eventually(lambda: not namespaces(live, out), "the namespaces are gone", PATIENCE, between=0.5)
        lab.sweep()


def namespaces(live: Live, systems: dict[str, System]) -> list[str]:
    """The systems' own and their environments'."""
    return [name for name in live.names("Namespace", None) if name.startswith(tuple(systems))]


# --- all of them ----------------------------------------------------------------------------------------------------


def test_every_pod_that_is_wanted_is_ready(systems: dict[str, System]) -> None:
    for system in systems.values():
        for application in system.list("Application", system.name):
            for state in application["status"]["environments"]:
                assert state["ready"], state
                for part in state["components"]:
                    assert part["health"] == "Healthy" and part["ready"] == part["desired"], part


def test_everything_is_carried_out(systems: dict[str, System]) -> None:
    for system in systems.values():
        for application in system.list("Application", system.name):
            # What hardens a Pod means nothing to an LXC container, and is named.
            expected = system.name in ON_PROXMOX
            assert ("not carried out" in told(application)[2]) is expected, told(application)


def test_nothing_is_written_once_all_is_as_wanted(systems: dict[str, System], plane: ControlPlane) -> None:
    """What is declared is what is stored, for every object of all five: else each look would write again."""
    offset = plane.audit_log.stat().st_size
    places = []
    for system in systems.values():
        for name in system.names("Environment", system.name):
            places.append(system.place(name))
            system.settled("Environment", name)
        for name in system.names("Application", system.name):
            system.settled("Application", name)
    assert written(plane.audit_log, offset, places) == {}


def test_every_claim_is_bound(systems: dict[str, System]) -> None:
    for system in systems.values():
        for environment in system.names("Environment", system.name):
            for claim in system.list("PersistentVolumeClaim", system.place(environment)):
                assert claim["status"]["phase"] == "Bound", claim["metadata"]["name"]


def test_every_environment_is_isolated(systems: dict[str, System]) -> None:
    for system in systems.values():
        for environment in system.names("Environment", system.name):
            workloads = system.names("Deployment", system.place(environment))
            workloads |= system.names("StatefulSet", system.place(environment))
            policies = system.names("NetworkPolicy", system.place(environment))
            if system.mine("Environment", environment)["spec"]["runtime"] == "Proxmox":
                assert not policies
                continue
            assert policies >= workloads | {"homeport-default-deny", "homeport-allow-dns"}


# --- taskflow ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def taskflow(systems: dict[str, System]) -> System:
    return systems["taskflow"]


@pytest.mark.parametrize(
    ("environment", "replicas", "debug", "limits"),
    [
        ("development", 1, "true", {"cpu": "200m", "memory": "128Mi"}),
        ("staging", 2, "false", {"cpu": "500m", "memory": "256Mi"}),
        ("production", 3, "false", {"cpu": "1", "memory": "512Mi"}),
    ],
)
def test_taskflow_by_environment(
    taskflow: System, environment: str, replicas: int, debug: str, limits: dict[str, str]
) -> None:
    assert taskflow.deployment("web", environment)["status"]["readyReplicas"] == replicas
    assert taskflow.env("web", environment)["DEBUG"] == debug
    assert taskflow.container("web", environment)["resources"]["limits"] == limits
    claim = taskflow.child("PersistentVolumeClaim", "web-data", environment)
    assert claim["status"]["capacity"] == {"storage": "1Gi"}


def test_taskflow_is_hardened_and_stops_gracefully(taskflow: System) -> None:
    deployment = taskflow.deployment("web")
    pod = deployment["spec"]["template"]["spec"]
    assert (pod["securityContext"]["runAsUser"], pod["terminationGracePeriodSeconds"]) == (1000, 30)
    security = taskflow.container("web")["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
    assert deployment["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }


def test_taskflow_is_asked_every_30_seconds(taskflow: System) -> None:
    container = taskflow.container("web")
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] == "/health"
        assert container[probe]["periodSeconds"] == 30


def test_taskflow_is_reached_on_port_80_and_at_its_host(taskflow: System) -> None:
    (port,) = taskflow.child("Service", "web", "production")["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (80, "http")
    assert taskflow.container("web")["ports"][0]["containerPort"] == 8000
    spec = taskflow.child("Ingress", "web", "production")["spec"]
    assert (spec["ingressClassName"], spec["rules"][0]["host"]) == ("traefik", "taskflow.local")


def test_taskflow_keeps_settings_and_keys_apart(taskflow: System) -> None:
    assert "settings" in next(iter(taskflow.child("ConfigMap", "web-files", "production")["data"]))
    keys = taskflow.child("Secret", "jwt-keys", "production")
    assert keys["data"].keys() == {"secret-key", "refresh-secret-key"}
    assert taskflow.env("web")["JWT_SECRET_KEY"] == {"secretKeyRef": {"name": "jwt-keys", "key": "secret-key"}}
    assert taskflow.secret_value("jwt-keys", "secret-key", "development") != taskflow.secret_value(
        "jwt-keys", "secret-key"
    )


# --- budget-manager ---------------------------------------------------------------------------------------------------


@pytest.fixture
def budget(systems: dict[str, System]) -> System:
    return systems["budget-manager"]


def test_budget_managers_backend_has_its_numbers(budget: System) -> None:
    for environment in ("staging", "production"):
        assert budget.deployment("backend", environment)["status"]["readyReplicas"] == 3
    container = budget.container("backend")
    assert container["resources"] == {
        "requests": {"cpu": "200m", "memory": "256Mi"},
        "limits": {"cpu": "500m", "memory": "512Mi"},
    }
    live, ready = container["livenessProbe"], container["readinessProbe"]
    assert live["httpGet"]["path"] == "/health/live"
    assert (live["initialDelaySeconds"], live["periodSeconds"]) == (30, 10)
    assert ready["httpGet"]["path"] == "/health/ready"
    assert (ready["initialDelaySeconds"], ready["periodSeconds"]) == (5, 5)
    assert "startupProbe" not in container
    assert container["ports"][0]["containerPort"] == 8000


@pytest.mark.parametrize(
    ("environment", "level", "debug", "stores"),
    [
        ("development", "DEBUG", "true", set()),
        ("staging", "INFO", "false", {"db"}),
        ("production", "WARNING", "false", {"db", "redis"}),
    ],
)
def test_budget_managers_environments(
    budget: System, environment: str, level: str, debug: str, stores: set[str]
) -> None:
    env = budget.env("backend", environment)
    assert (env["LOG_LEVEL"], env["DEBUG"], env["LOG_FORMAT"]) == (level, debug, "json")
    assert budget.names("StatefulSet", budget.place(environment)) == stores
    assert ("REDIS_URL" in env) == ("redis" in stores)
    assert env["CORS_ORIGINS"]


def test_each_of_budget_managers_environments_has_its_own_origins(budget: System) -> None:
    environments = ("development", "staging", "production")
    assert len({budget.env("backend", environment)["CORS_ORIGINS"] for environment in environments}) == 3


def test_budget_managers_database_is_reached_by_a_url_that_nobody_wrote(budget: System) -> None:
    where = {"secretKeyRef": {"name": "db-credentials", "key": "url"}}
    passwords = set()
    for environment in ("staging", "production"):
        assert budget.env("backend", environment)["DATABASE_URL"] == where
        password = budget.secret_value("db-credentials", "password", environment)
        url = budget.secret_value("db-credentials", "url", environment)
        assert url == f"postgresql://budget:{password}@db:5432/budget"
        passwords.add(password)
    assert len(passwords) == 2
    assert budget.env("backend", "development")["DATABASE_URL"] == "sqlite:////data/budget.db"
    assert budget.container("db", kind="StatefulSet")["image"].startswith("postgres:15")
    assert budget.container("redis", kind="StatefulSet")["image"].startswith("redis:7")


@pytest.mark.parametrize("environment", ["development", "staging", "production"])
def test_budget_manager_migrates_before_it_runs(budget: System, environment: str) -> None:
    (job,) = budget.jobs(environment, "backend")
    assert job["spec"]["template"]["spec"]["containers"][0]["command"] == ["alembic", "upgrade", "head"]
    assert job["status"]["completionTime"] <= budget.deployment("backend", environment)["metadata"]["creationTimestamp"]


def test_budget_managers_frontend_is_behind_nginx(budget: System) -> None:
    (conf,) = budget.child("ConfigMap", "nginx-files", "production")["data"].values()
    assert "proxy_pass http://frontend:8080;" in conf
    paths = {
        (path["path"], path["backend"]["service"]["name"])
        for ingress in budget.list("Ingress", budget.place("production"))
        for path in ingress["spec"]["rules"][0]["http"]["paths"]
    }
    assert paths == {("/", "nginx"), ("/api", "backend"), ("/health", "backend")}


# --- flask-demo -------------------------------------------------------------------------------------------------------


@pytest.fixture
def flask(systems: dict[str, System]) -> System:
    return systems["flask-demo"]


def test_flask_demo_scales_from_2_to_10(flask: System) -> None:
    assert flask.scaling("backend") == (2, 10, {"cpu": 70, "memory": 80})
    assert flask.deployment("backend")["status"]["readyReplicas"] == 2
    assert flask.container("backend")["ports"][0]["containerPort"] == 8000
    assert flask.container("backend")["readinessProbe"]["httpGet"]["path"] == "/health"


def test_flask_demos_secrets_are_made_or_copied(flask: System) -> None:
    env = flask.env("backend")
    assert env["SENTRY_DSN"] == {"secretKeyRef": {"name": "sentry", "key": "dsn"}}
    assert flask.secret_value("sentry", "dsn").startswith("https://")
    assert len(flask.secret_value("flask-secret", "key")) == 64
    assert env["RATELIMIT_DEFAULT"] == "200 per day;50 per hour"
    assert env["LOG_FORMAT"] == "json"


def test_flask_demos_edge_limits_and_hardens(flask: System) -> None:
    made = {m["metadata"]["name"]: m["spec"] for m in flask.list("Middleware", flask.place("production"))}
    limits = {
        (spec["rateLimit"]["average"], spec["rateLimit"]["period"]) for spec in made.values() if "rateLimit" in spec
    }
    assert limits == {(200, "24h"), (50, "1h")}
    for component in ("backend", "frontend"):
        headers = made[f"{component}-headers"]["headers"]["customResponseHeaders"]
        assert {"Content-Security-Policy", "Strict-Transport-Security", "X-Frame-Options"} <= headers.keys()
        assert f"{component}-compress" in made
    chain = flask.child("Ingress", "backend", "production")["metadata"]["annotations"][MIDDLEWARES]
    assert chain.count("@kubernetescrd") == 4


def test_flask_demos_parts_are_scraped(flask: System) -> None:
    monitors = flask.list("ServiceMonitor", flask.place("production"))
    assert {m["metadata"]["name"] for m in monitors} == {
        "backend",
        "db",
        "redis",
        "prometheus",
        "alertmanager",
        "grafana",
    }


def test_flask_demo_is_watched_in_production_only(flask: System) -> None:
    monitoring = {"prometheus", "alertmanager", "grafana"}
    assert flask.names("StatefulSet", flask.place("production")) == monitoring | {"db", "redis"}
    assert flask.names("StatefulSet", flask.place("staging")) == {"db", "redis"}
    data = flask.child("ConfigMap", "prometheus-files", "production")["data"]
    config = "".join(data.values())
    assert all(text in config for text in ("backend-metrics", "db:9187", "redis:9121", "alertmanager:9093"))
    assert "alert: HighErrorRate" in config
    spec = flask.child("Service", "backend-metrics", "production")["spec"]
    assert (spec["clusterIP"], spec["ports"][0]["targetPort"]) == ("None", 8000)
    dashboards = flask.child("ConfigMap", "grafana-files", "production")["data"]
    assert sum(name.endswith(".json") for name in dashboards) == 4


# --- project-dashboard ------------------------------------------------------------------------------------------------


@pytest.fixture
def dashboard(systems: dict[str, System]) -> System:
    return systems["project-dashboard"]


@pytest.mark.parametrize("environment", ["development", "staging", "production"])
def test_project_dashboard_has_six_pods_and_more(dashboard: System, environment: str) -> None:
    assert dashboard.ready_pods(environment) >= 6


@pytest.mark.parametrize("name", ["backend", "frontend"])
def test_project_dashboard_scales_from_2_to_5(dashboard: System, name: str) -> None:
    least, most, targets = dashboard.scaling(name)
    assert (least, most) == (2, 5)
    assert targets["cpu"] == 70
    assert dashboard.deployment(name)["status"]["readyReplicas"] == 2
    assert dashboard.child("PodDisruptionBudget", name, "production")["spec"]["maxUnavailable"] == 1


def test_project_dashboards_stores(dashboard: System) -> None:
    for name, image in (("db", "postgres:15"), ("redis", "redis:7"), ("search", "elasticsearch/elasticsearch:8")):
        assert image in dashboard.container(name, kind="StatefulSet")["image"]
        assert dashboard.child("PersistentVolumeClaim", f"data-{name}-0", "production")["status"]["phase"] == "Bound"


@pytest.mark.parametrize("environment", ["development", "staging", "production"])
def test_project_dashboard_migrates_then_runs_then_seeds(dashboard: System, environment: str) -> None:
    (migration,) = dashboard.jobs(environment, "backend")
    (seed,) = dashboard.jobs(environment, "seed")
    started = dashboard.deployment("backend", environment)["metadata"]["creationTimestamp"]
    assert migration["status"]["completionTime"] <= started <= seed["metadata"]["creationTimestamp"]
    assert seed["status"]["succeeded"] == 1


def test_project_dashboard_is_served_with_tls(dashboard: System) -> None:
    ingresses = dashboard.list("Ingress", dashboard.place("production"))
    paths = {path["path"] for i in ingresses for path in i["spec"]["rules"][0]["http"]["paths"]}
    assert paths == {"/", "/api", "/ws"}
    assert all(ingress["spec"]["tls"] for ingress in ingresses)
    conf = next(iter(dashboard.child("ConfigMap", "edge-files", "production")["data"].values()))
    assert all(word in conf for word in ("gzip on", "Upgrade $http_upgrade", "limit_req"))
    middlewares = dashboard.names("Middleware", dashboard.place("production"))
    assert middlewares == {"edge-headers", "edge-limit", "edge-compress"}


def test_project_dashboards_members_have_roles_in_its_namespaces(dashboard: System) -> None:
    roles = {"homeport-lead", "homeport-manager", "homeport-developer", "homeport-designer"}
    roles |= {"homeport-qa", "homeport-stakeholder"}
    assert dashboard.names("RoleBinding", dashboard.place("staging")) >= roles
    assert dashboard.mine("Project", "project-dashboard")["status"]["milestones"]


# --- proximity --------------------------------------------------------------------------------------------------------


@pytest.fixture
def proximity(systems: dict[str, System]) -> System:
    return systems["proximity"]


def test_proximitys_parts(proximity: System) -> None:
    place = proximity.place("lab")
    assert proximity.names("Deployment", place) == {"web", "api", "worker", "scheduler"}
    assert proximity.names("StatefulSet", place) == {"db", "redis"}
    assert proximity.names("Service", place) == {"web", "api", "db", "redis"}


def test_proximitys_secrets_are_made_for_it(proximity: System) -> None:
    assert len(proximity.secret_value("proximity-session", "key", "lab")) == 64
    assert len(proximity.secret_value("proximity-credentials", "key", "lab")) == 32
    password = proximity.secret_value("redis-credentials", "password", "lab")
    assert proximity.secret_value("redis-credentials", "url", "lab") == f"redis://:{password}@redis:6379/0"


@pytest.mark.parametrize("name", ["api", "worker"])
def test_proximity_may_call_the_proxmox_hosts(proximity: System, name: str) -> None:
    egress = proximity.child("NetworkPolicy", name, "lab")["spec"]["egress"]
    assert {"to": [{"ipBlock": {"cidr": "10.20.0.0/24"}}], "ports": [{"port": 8006, "protocol": "TCP"}]} in egress


def test_proximitys_routes(proximity: System) -> None:
    ingresses = proximity.list("Ingress", proximity.place("lab"))
    paths = {path["path"] for i in ingresses for path in i["spec"]["rules"][0]["http"]["paths"]}
    assert paths == {"/", "/api", "/ws"}
    assert proximity.child("Secret", "lab-wildcard", "lab")["type"] == "kubernetes.io/tls"
    claim = proximity.child("PersistentVolumeClaim", "api-catalog", "lab")
    assert (claim["spec"]["accessModes"], claim["status"]["capacity"]) == (["ReadWriteMany"], {"storage": "2Gi"})


# --- the table of examples/README.md ----------------------------------------------------------------------------------


def commands() -> list[str]:
    """What the page tells people to type, from its tables' last column."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [line.strip("| ").rpartition(" | ")[2] for line in lines if not line.endswith("| |")]
    return list(dict.fromkeys(cell.strip("`") for cell in cells if cell.startswith(("`kubectl ", "`homeport "))))


@pytest.mark.parametrize("systems", ORDERS[-1:], indirect=True)
def test_every_command_of_the_page_shows_something(systems: dict[str, System], plane: ControlPlane) -> None:
    assert len(commands()) > 70
    assert {folder.name for folder in EXAMPLES} <= set(PAGE.read_text().replace("### ", "").splitlines())
    tools = {
        "kubectl": [str(plane.kubectl)],
        "homeport": [sys.executable, "-m", "homeport"],
    }
    environment = {**os.environ, "KUBECONFIG": str(plane.kubeconfig)}

    def shows(command: str) -> str:
        tool, *arguments = shlex.split(command)
        done = subprocess.run(
            [*tools[tool], *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            cwd=ROOT,
            timeout=PATIENCE,
        )
        return "" if done.returncode == 0 and done.stdout.strip() else f"{command}: {done.stdout}{done.stderr}"

    with ThreadPoolExecutor(4) as pool:
        assert [problem for problem in pool.map(shows, commands()) if problem] == []
    eventually(lambda: systems["flask-demo"].child("Service", "redis", "staging"), "what was deleted is there again")
