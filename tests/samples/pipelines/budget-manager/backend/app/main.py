import os

from fastapi import FastAPI
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])


@app.get("/budgets")
def budgets() -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT name FROM budgets ORDER BY name")))
