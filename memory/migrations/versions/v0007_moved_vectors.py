"""Where vectors of memories were moved to by their use; the original ones stay in `vectors`."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(
        """CREATE TABLE moved_vectors (
            memory INTEGER NOT NULL REFERENCES memories (id) ON DELETE CASCADE,
            embedder TEXT NOT NULL,
            vector BLOB NOT NULL,
            PRIMARY KEY (memory, embedder))"""
    )
