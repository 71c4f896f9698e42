"""Turns that do not follow the one before them, and the tags of sessions."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(
        """CREATE TABLE branches (
            turn INTEGER PRIMARY KEY REFERENCES turns (id) ON DELETE CASCADE,
            parent INTEGER REFERENCES turns (id) ON DELETE SET NULL)"""
    )
    op.get_bind().exec_driver_sql("ALTER TABLE sessions ADD COLUMN tags TEXT")
