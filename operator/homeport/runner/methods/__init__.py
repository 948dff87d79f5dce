"""The methods: how each kind of data is read and written."""

from __future__ import annotations

from homeport.runner import job
from homeport.runner.methods.base import Context, Source
from homeport.runner.methods.files import Files
from homeport.runner.methods.manifests import Manifests
from homeport.runner.methods.mysql import MySQL
from homeport.runner.methods.postgres import Postgres
from homeport.runner.methods.redis import Redis
from homeport.runner.methods.sqlite import SQLite

_METHODS: dict[job.Method, type[Source]] = {
    job.Method.POSTGRES: Postgres,
    job.Method.MYSQL: MySQL,
    job.Method.SQLITE: SQLite,
    job.Method.REDIS: Redis,
    job.Method.FILES: Files,
    job.Method.MANIFESTS: Manifests,
}


def of(context: Context) -> Source:
    """The method of a job."""
    assert context.job.method is not None
    return _METHODS[context.job.method](context)
