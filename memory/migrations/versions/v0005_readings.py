"""Which turns a language model has read for what is worth remembering."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(
        "CREATE TABLE readings (turn INTEGER PRIMARY KEY REFERENCES turns (id) ON DELETE CASCADE, at TEXT NOT NULL)"
    )
