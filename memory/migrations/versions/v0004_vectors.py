"""Vectors of two embedders beside each other: the old ones serve until all are made anew."""

from alembic import op

revision = "0004"
down_revision = "0003"

_SCHEMA = (
    """CREATE TABLE vectors_of (
        memory INTEGER NOT NULL REFERENCES memories (id) ON DELETE CASCADE,
        embedder TEXT NOT NULL,
        vector BLOB NOT NULL,
        PRIMARY KEY (memory, embedder))""",
    "INSERT INTO vectors_of SELECT memory, embedder, vector FROM vectors",
    "DROP TABLE vectors",
    "ALTER TABLE vectors_of RENAME TO vectors",
)


def upgrade() -> None:
    for statement in _SCHEMA:
        op.get_bind().exec_driver_sql(statement)
