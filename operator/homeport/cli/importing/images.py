"""What is known of images that say less in a Compose file than one must know: ports, and where their data is.

Ports are those that an image's Dockerfile EXPOSEs or its documentation names; one that listens elsewhere says so in its
``ports``, ``expose`` or ``PORT``, which are added.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# A name: the end of an image's repository, or all of it where the end says too little; its ports.
_TABLE = """
actual-server 5006                  | adguardhome 3000 80 53 53/UDP        | appwrite 80
baserow 80 443                      | bitwarden/self-host 8080             | browserless/chrome 3000
caddy 80 443                        | calibre-web 8083                     | chatwoot 3000
clickhouse-server 8123 9000         | consul 8500                          | couchdb 5984
dashy 8080                          | docker-zulip 80 443                  | dragonfly 6379
drone/drone 80                      | elasticsearch 9200 9300              | element-web 80
etcd 2379                           | excalidraw 80                        | filebrowser 80
focalboard 8000                     | ghost 2368                           | gitea 3000 22
goauthentik/server 9000 9443        | grafana 3000                         | graylog 9000
home-assistant 8123                 | homer 8080                           | httpd 80
immich-machine-learning 3003        | immich-server 2283                   | influxdb 8086
jackett 9117                        | jellyfin 8096                        | jicofo 8888
jitsi/web 80 443                    | jvb 8080 10000/UDP                   | kafka 9092
kanboard 80 443                     | keydb 6379                           | librechat 3080
lidarr 8686                         | linuxserver/bookstack 80 443         | linuxserver/dokuwiki 80 443
linuxserver/freshrss 80 443         | linuxserver/heimdall 80 443          | loki 3100
mailhog 1025 8025                   | mariadb 3306                         | meilisearch 7700
memcached 11211                     | miniflux 8080                        | minio 9000
mongo 27017                         | mongodb 27017                        | mysql 3306
n8n 5678                            | nats 4222                            | netdata 19999
nextcloud 80                        | nginx 80                             | nginx-proxy-manager 80 81 443
opensearch 9200                     | organizr 80                          | outlinewiki/outline 3000
owncloud/server 8080                | paperless-ngx 8000                   | penpot-backend 6060
penpot-exporter 6061                | percona 3306                         | pgvecto-rs 5432
pgvector 5432                       | pihole 80 53 53/UDP                  | portainer-ce 9000
postgis 5432                        | postgres 5432                        | privategpt 8001
prometheus 9090                     | prosody 5222 5280 5347               | qbittorrent 8080 6881 6881/UDP
rabbitmq 5672                       | redis 6379                           | rocket.chat 3000
roundcubemail 80                    | s-pdf 8080                           | stirling-pdf 8080
text-generation-webui 7860 5000     | timescaledb 5432                     | traefik 80
transmission 9091 51413 51413/UDP   | trilium 8080                         | ttrss-fpm-pgsql-static 9000
ttrss-web 80                        | typesense 8108                       | uptime-kuma 3001
valkey 6379                         | vault 8200                           | vaultwarden 80
wekan 8080                          | wordpress 80                         | zookeeper 2181
zulip-postgresql 5432
"""
PORTS: Mapping[str, tuple[str, ...]] = {
    name: tuple(ports) for entry in re.split(r"[|\n]", _TABLE) if entry.strip() for name, *ports in [entry.split()]
}
"""By the end of a repository's name."""
_WANT_AN_EMPTY_FOLDER = frozenset(
    {"timescaledb", "pgvector", "percona", "pgvecto-rs", "mariadb", "postgis", "postgres", "mysql", "zulip-postgresql"}
)


def repository(image: str) -> str:
    """``image`` without its tag and digest."""
    return re.sub(r"(@sha256:.*|:[^/:]+)$", "", image)


def ports(image: str) -> tuple[str, ...]:
    """The ports that ``image`` is known to listen on, such as 53/UDP."""
    name = repository(image)
    if re.search(r":[^/]*\bfpm\b", image):
        # PHP's FastCGI manager, whatever the web server's image of the same name listens on.
        return ("9000",)
    parts = name.split("/")
    return PORTS.get("/".join(parts[-2:]), PORTS.get(parts[-1], ()))


def wants_an_empty_folder(image: str) -> bool:
    """Whether it refuses to start on a fresh disk, which may hold lost+found."""
    return repository(image).rpartition("/")[2] in _WANT_AN_EMPTY_FOLDER
