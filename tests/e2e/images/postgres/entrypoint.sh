#!/bin/sh
# What the catalog's item counts on of the official image: a first start makes the cluster, the owner and the database.
set -eu
case "${1:-postgres}" in -*) set -- postgres "$@" ;; esac
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_PASSWORD:?is needed for the first start}"
    owner=${POSTGRES_USER:-postgres} database=${POSTGRES_DB:-${POSTGRES_USER:-postgres}}
    mkdir -p "$PGDATA"
    chmod 700 "$PGDATA"
    (umask 077 && printf '%s\n' "$POSTGRES_PASSWORD" >/tmp/password)
    initdb --username="$owner" --pwfile=/tmp/password --encoding=UTF8 --locale=C.UTF-8 \
        --auth-host=scram-sha-256 --auth-local=trust
    rm /tmp/password
    # The image leaves LLVM out.
    printf "listen_addresses = '*'\njit = off\n" >>"$PGDATA/postgresql.conf"
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    if [ "$database" != postgres ]; then
        pg_ctl --wait --options="-c listen_addresses=''" start
        createdb --username="$owner" --maintenance-db=postgres "$database"
        pg_ctl --wait --mode=fast stop
    fi
fi
exec "$@"
