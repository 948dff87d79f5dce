import os

from app.main import app, engine
from fastapi.testclient import TestClient
from sqlalchemy import text


def test_what_is_in_the_migrated_table_is_served():
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO budgets VALUES ('travel'), ('food')"))
    assert TestClient(app).get("/budgets").json() == ["food", "travel"]


def test_the_pipeline_s_environment_is_here():
    assert os.environ["LOG_LEVEL"] == "DEBUG"
