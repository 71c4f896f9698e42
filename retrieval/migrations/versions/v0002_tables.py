"""Tables of spreadsheets: columns with their types, and the values of every row.

Both follow from a document's extraction. Those of documents that are there already are made when first asked for.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """CREATE TABLE tables (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
        sheet TEXT,
        cells TEXT NOT NULL,
        columns TEXT NOT NULL,
        row_count INTEGER NOT NULL
    )""",
    "CREATE INDEX tables_by_document ON tables (document)",
    """CREATE TABLE table_rows (
        "table" INTEGER NOT NULL REFERENCES tables ON DELETE CASCADE,
        number INTEGER NOT NULL,
        start INTEGER NOT NULL,
        "end" INTEGER NOT NULL,
        cells TEXT NOT NULL,
        PRIMARY KEY ("table", number)
    )""",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
