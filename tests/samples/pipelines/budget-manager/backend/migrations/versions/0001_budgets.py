import sqlalchemy
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table("budgets", sqlalchemy.Column("name", sqlalchemy.String, primary_key=True))


def downgrade() -> None:
    op.drop_table("budgets")
