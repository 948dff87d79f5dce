"""A stand-in for Budget Manager's backend, with what its manifests count on: PostgreSQL or SQLite, Redis, probes."""

from __future__ import annotations

import os
from decimal import Decimal

import redis
from alembic.config import Config
from alembic.script import ScriptDirectory
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

VERSION = os.environ["APP_VERSION"]
engine = create_engine(os.environ["DATABASE_URL"], pool_pre_ping=True)
cache = redis.Redis.from_url(os.environ["REDIS_URL"]) if os.environ.get("REDIS_URL") else None
head = ScriptDirectory.from_config(Config("/app/alembic.ini")).get_current_head()
app = FastAPI(title="Budget Manager", version=VERSION)


class Entry(BaseModel):
    account: str
    amount: Decimal


@app.get("/health")
@app.get("/health/live")
def live() -> dict[str, str]:
    return {"status": "ok", "version": VERSION}


@app.get("/health/ready")
def ready() -> Response:
    """With the database: it must be reachable and have at least the schema that this version was written for."""
    try:
        with engine.connect() as db:
            found = db.execute(text("SELECT version_num FROM alembic_version")).scalar()
        if cache is not None:
            cache.ping()
    except (SQLAlchemyError, redis.RedisError) as error:
        return JSONResponse({"status": "unavailable", "error": type(error).__name__}, 503)
    status = {"status": "ok", "database": engine.dialect.name, "schema": found, "cache": cache is not None}
    return JSONResponse(status, 200 if found and found >= head else 503)


@app.post("/api/entries", status_code=201)
def create(entry: Entry) -> dict[str, object]:
    with engine.begin() as db:
        db.execute(text("INSERT INTO entries (account, amount) VALUES (:account, :amount)"), entry.dict())
    if cache is not None:
        cache.delete(f"balance:{entry.account}")
    return {"account": entry.account, "amount": str(entry.amount)}


@app.get("/api/balance/{account}")
def balance(account: str) -> dict[str, object]:
    key = f"balance:{account}"
    known = cache.get(key) if cache is not None else None
    if known is not None:
        return {"account": account, "balance": known.decode(), "from": "cache"}
    with engine.connect() as db:
        total = db.execute(text("SELECT coalesce(sum(amount), 0) FROM entries WHERE account = :a"), {"a": account})
        found = str(total.scalar())
    if cache is not None:
        cache.set(key, found, ex=60)
    return {"account": account, "balance": found, "from": "database"}


@app.get("/metrics", response_class=PlainTextResponse)
def metrics() -> str:
    return f'budget_info{{version="{VERSION}"}} 1\n'
