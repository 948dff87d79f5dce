"""What is known of images that say less in a Compose file than one must know: ports, and where their data is."""

from __future__ import annotations

import re
from collections.abc import Mapping

PORTS: Mapping[str, tuple[str, ...]] = {
    "postgres": ("5432",),
    "postgis": ("5432",),
    "pgvecto-rs": ("5432",),
    "timescaledb": ("5432",),
    "pgvector": ("5432",),
    "mysql": ("3306",),
    "mariadb": ("3306",),
    "percona": ("3306",),
    "redis": ("6379",),
    "valkey": ("6379",),
    "keydb": ("6379",),
    "dragonfly": ("6379",),
    "memcached": ("11211",),
    "mongo": ("27017",),
    "mongodb": ("27017",),
    "influxdb": ("8086",),
    "elasticsearch": (
        "9200",
        "9300",
    ),
    "opensearch": ("9200",),
    "rabbitmq": ("5672",),
    "clickhouse-server": (
        "8123",
        "9000",
    ),
    "minio": ("9000",),
    "meilisearch": ("7700",),
    "typesense": ("8108",),
    "nginx": ("80",),
    "httpd": ("80",),
    "caddy": (
        "80",
        "443",
    ),
    "traefik": ("80",),
    "grafana": ("3000",),
    "prometheus": ("9090",),
    "loki": ("3100",),
    "nextcloud": ("80",),
    "wordpress": ("80",),
    "gitea": (
        "3000",
        "22",
    ),
    "n8n": ("5678",),
    "home-assistant": ("8123",),
    "adguardhome": (
        "3000",
        "80",
        "53",
        "53/UDP",
    ),
    "pihole": (
        "80",
        "53",
        "53/UDP",
    ),
    "immich-server": ("2283",),
    "immich-machine-learning": ("3003",),
    "appwrite": ("80",),
    "mailhog": (
        "1025",
        "8025",
    ),
    "prosody": (
        "5222",
        "5280",
        "5347",
    ),
    "jvb": (
        "8080",
        "10000/UDP",
    ),
    "jicofo": ("8888",),
    "uptime-kuma": ("3001",),
    "vaultwarden": ("80",),
    "jellyfin": ("8096",),
    "portainer-ce": ("9000",),
    "etcd": ("2379",),
    "zookeeper": ("2181",),
    "kafka": ("9092",),
    "nats": ("4222",),
    "consul": ("8500",),
    "vault": ("8200",),
}
"""By the end of a repository's name."""
_IN_FULL: Mapping[str, tuple[str, ...]] = {"jitsi/web": ("80", "443")}
_WANT_AN_EMPTY_FOLDER = frozenset(
    {"timescaledb", "pgvector", "percona", "pgvecto-rs", "mariadb", "postgis", "postgres", "mysql"}
)


def repository(image: str) -> str:
    """``image`` without its tag and digest."""
    return re.sub(r"(@sha256:.*|:[^/:]+)$", "", image)


def ports(image: str) -> tuple[str, ...]:
    """The ports that ``image`` is known to listen on, such as 53/UDP."""
    name = repository(image)
    return _IN_FULL.get(name, PORTS.get(name.rpartition("/")[2], ()))


def wants_an_empty_folder(image: str) -> bool:
    """Whether it refuses to start on a fresh disk, which may hold lost+found."""
    return repository(image).rpartition("/")[2] in _WANT_AN_EMPTY_FOLDER
