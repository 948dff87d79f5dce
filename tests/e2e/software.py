"""The images that the examples name, of Debian packages: the databases whole, the applications as stand-ins."""

from __future__ import annotations

from pathlib import Path

from localplane import binaries
from localplane.debian import Layer
from localplane.images import Image, folder_files

HERE = Path(__file__).resolve().parent / "images"
OPERATOR = Path(__file__).resolve().parents[2] / "operator"

BASE = Layer(("base-files", "coreutils", "dash", "grep", "libc-bin", "sed"))
PYTHON = Layer(
    ("alembic", "python3", "python3-fastapi", "python3-psycopg2", "python3-redis", "python3-sqlalchemy", "uvicorn"),
    without=("libjs-jquery", "libjs-sphinxdoc", "libjs-underscore", "media-types"),
    on=BASE,
    compiled=True,
)
POSTGRES = Layer(
    ("postgresql-15",),
    # LLVM is a third of it and only for queries that are compiled.
    without=("libllvm14", "libz3-4", "locales", "libc-l10n", "postgresql-common", "ssl-cert"),
    on=BASE,
)
REDIS = Layer(("redis-server",), on=BASE)
NGINX = Layer(("nginx-light",), on=BASE)
CLIENTS = Layer(
    ("mariadb-client", "postgresql-client-15", "python3", "redis-tools", "sqlite3", "tzdata"),
    # PostgreSQL's wrapper chooses a client by files that aren't here; the runner chooses by itself.
    without=("libconfig-inifiles-perl", "libdbd-mariadb-perl", "libdbi-perl", "media-types", "netbase",
             "postgresql-client-common"),
    on=BASE,
)  # fmt: skip
RUNNER = "homeport-runner:e2e"


def taskflow(version: str) -> Image:
    """FastAPI over a SQLite file."""
    return Image(
        (f"taskflow:{version}",), PYTHON, files=folder_files(HERE / "taskflow", "/app"), users={"taskflow": 1000},
        command=("python3", "/app/taskflow.py"), environment=_python(version), user="1000", workdir="/app",
    )  # fmt: skip


def budget(version: str, schema: str) -> Image:
    """FastAPI over PostgreSQL and Redis; with the migrations up to `schema`."""
    files = folder_files(HERE / "budget", "/app")
    later = [path for path in files if "/versions/" in path and Path(path).name[:4] > schema]
    return Image(
        (f"budget-manager-backend:{version}",), PYTHON,
        files={path: content for path, content in files.items() if path not in later}, users={"budget": 1000},
        command=("uvicorn", "--host=0.0.0.0", "--port=8000", "budget:app"), environment=_python(version), user="1000",
        workdir="/app",
    )  # fmt: skip


def frontend(version: str) -> Image:
    """A page."""
    return _nginx((f"budget-manager-frontend:{version}",), f"<title>Budget Manager {version}</title>".encode())


def runner() -> Image:
    """The backup runner's, as operator/runner/Dockerfile puts it together."""
    parts = ("__init__.py", "runner", "plan/__init__.py", "plan/backup/__init__.py", "plan/backup/retention.py")
    files: dict[str, bytes] = {}
    for part in parts:
        path, at = OPERATOR / "homeport" / part, f"opt/homeport/homeport/{part}"
        files |= folder_files(path, at) if path.is_dir() else {at: path.read_bytes()}
    files["usr/local/bin/restic"] = binaries.ensure(["restic"])["restic"].read_bytes()
    environment = {"PYTHONPATH": "/opt/homeport", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1",
                   "HOME": "/tmp", "LANG": "C.UTF-8",
                   "PATH": "/usr/local/bin:/usr/lib/postgresql/15/bin:/usr/bin:/usr/sbin"}  # fmt: skip
    return Image((RUNNER,), CLIENTS, files=files, entrypoint=("python3", "-m", "homeport.runner"),
                 environment=environment, user="65532:65532")  # fmt: skip


def store() -> Image:
    """An S3 server."""
    program = binaries.ensure(["versitygw"])["versitygw"].read_bytes()
    return Image(("versitygw:e2e",), BASE, files={"usr/local/bin/versitygw": program}, user="1000",
                 command=("versitygw", "--port", ":7070", "posix", "/data"))  # fmt: skip


def images() -> list[Image]:
    """Everything that the tests run; 1.3.0 of the backend brings a migration."""
    postgres = Image(
        ("postgres:15-bookworm",), POSTGRES,
        files={"usr/local/bin/entrypoint": (HERE / "postgres/entrypoint.sh").read_bytes()}, users={"postgres": 999},
        environment={"PATH": "/usr/local/bin:/usr/lib/postgresql/15/bin:/usr/bin:/usr/sbin", "LANG": "C.UTF-8",
                     "PGDATA": "/var/lib/postgresql/data"},
        entrypoint=("/usr/local/bin/entrypoint",), command=("postgres",),
        # As the official image: SIGTERM would wait for every client to leave.
        stop_signal="SIGINT",
    )  # fmt: skip
    redis = Image(
        ("redis:7-alpine",), REDIS,
        files={"usr/local/bin/redis-server": (HERE / "redis/redis-server").read_bytes()}, users={"redis": 999},
        command=("redis-server",), workdir="/data",
    )  # fmt: skip
    nginx = _nginx(("nginxinc/nginx-unprivileged:1.27-alpine",), b"nginx")
    applications = [taskflow("1.0.0"), taskflow("1.1.0"), budget("1.2.0", "0001"), budget("1.3.0", "0002")]
    return [postgres, redis, nginx, runner(), store(), frontend("1.2.0"), frontend("1.3.0"), *applications]


def _nginx(names: tuple[str, ...], page: bytes) -> Image:
    files = {
        "etc/nginx/nginx.conf": (HERE / "nginx/nginx.conf").read_bytes(),
        "etc/nginx/conf.d/default.conf": (HERE / "nginx/default.conf").read_bytes(),
        "usr/share/nginx/html/index.html": page,
    }
    command = ("nginx", "-e", "stderr", "-g", "daemon off;")
    return Image(names, NGINX, files=files, users={"nginx": 101}, command=command, user="101")


def _python(version: str) -> dict[str, str]:
    return {"APP_VERSION": version, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": "/app"}
