"""What retention learns from and decides by: features, labels, models, and what was archived for the budget."""

from alembic import op

revision = "0006"
down_revision = "0005"

_SCHEMA = (
    """CREATE TABLE retention_features (
        memory INTEGER PRIMARY KEY REFERENCES memories (id) ON DELETE CASCADE,
        written BLOB NOT NULL)""",
    """CREATE TABLE retention_labels (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        memory INTEGER NOT NULL REFERENCES memories (id) ON DELETE CASCADE,
        at TEXT NOT NULL,
        cause TEXT NOT NULL,
        used BOOLEAN NOT NULL,
        weight FLOAT NOT NULL,
        features BLOB NOT NULL)""",
    "CREATE INDEX ix_retention_labels_memory ON retention_labels (memory)",
    """CREATE TABLE retention_models (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        scorer TEXT NOT NULL,
        verdict TEXT NOT NULL,
        active BOOLEAN NOT NULL)""",
    """CREATE TABLE retention_evictions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        memory INTEGER NOT NULL REFERENCES memories (id) ON DELETE CASCADE,
        at TEXT NOT NULL,
        probability FLOAT NOT NULL,
        worth FLOAT NOT NULL,
        price FLOAT NOT NULL,
        restored_at TEXT)""",
    "CREATE INDEX ix_retention_evictions_memory ON retention_evictions (memory)",
    "CREATE TABLE retention_state (name TEXT PRIMARY KEY, value FLOAT NOT NULL)",
)


def upgrade() -> None:
    for statement in _SCHEMA:
        op.get_bind().exec_driver_sql(statement)
