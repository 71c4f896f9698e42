"""What was measured of a memory that a turn was shown, and the weights learned from it."""

from alembic import op

revision = "0003"
down_revision = "0002"

_SCHEMA = (
    "ALTER TABLE exposures ADD COLUMN measured TEXT",
    """CREATE TABLE rankings (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        weights TEXT NOT NULL,
        turns INTEGER NOT NULL,
        gain FLOAT NOT NULL,
        error FLOAT NOT NULL,
        active BOOLEAN NOT NULL)""",
)


def upgrade() -> None:
    for statement in _SCHEMA:
        op.get_bind().exec_driver_sql(statement)
