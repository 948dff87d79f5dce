"""A stand-in for TaskFlow, with what its manifests count on: one process, a SQLite file on a volume, settings."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import HTMLResponse
from pydantic import BaseModel
from sqlalchemy import create_engine, text

VERSION = os.environ["APP_VERSION"]
SETTINGS = tomllib.loads(Path("/etc/taskflow/settings.toml").read_text())
KEYS = [os.environ[name] for name in ("JWT_SECRET_KEY", "JWT_REFRESH_SECRET_KEY")]

engine = create_engine(os.environ["DATABASE_URL"], connect_args={"timeout": 10})
app = FastAPI(title="TaskFlow", version=VERSION)


class Task(BaseModel):
    title: str


@app.on_event("startup")
def tables() -> None:
    with engine.begin() as db:
        db.execute(text("CREATE TABLE IF NOT EXISTS tasks (id INTEGER PRIMARY KEY, title TEXT NOT NULL)"))


@app.get("/health")
def health() -> dict[str, str]:
    with engine.connect() as db:
        db.execute(text("SELECT count(*) FROM tasks"))
    return {"status": "ok", "version": VERSION, "environment": os.environ.get("ENVIRONMENT", "")}


@app.post("/tasks", status_code=201)
def create(task: Task) -> dict[str, object]:
    with engine.begin() as db:
        made = db.execute(text("INSERT INTO tasks (title) VALUES (:title)"), {"title": task.title})
        return {"id": made.lastrowid, "title": task.title, "pod": os.environ["HOSTNAME"]}


@app.get("/tasks")
def tasks() -> list[dict[str, object]]:
    with engine.connect() as db:
        return [dict(row) for row in db.execute(text("SELECT id, title FROM tasks ORDER BY id")).mappings()]


@app.get("/tasks/{number}")
def task(number: int) -> dict[str, object]:
    with engine.connect() as db:
        found = db.execute(text("SELECT id, title FROM tasks WHERE id = :id"), {"id": number}).mappings().first()
    if not found:
        raise HTTPException(404, "no such task")
    return {**found, "pod": os.environ["HOSTNAME"]}


@app.get("/", response_class=HTMLResponse)
def page() -> str:
    return f"<title>TaskFlow {VERSION}</title>" + "".join(f"<li>{task['title']}" for task in tasks())


if __name__ == "__main__":
    server = SETTINGS["server"]
    uvicorn.run(app, host=server["host"], port=server["port"], log_level=os.environ.get("LOG_LEVEL", "info").lower())
