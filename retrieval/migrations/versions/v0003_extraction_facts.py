"""What is asked of an extraction without its text, in an index: SQLite reads a row from its beginning, and the text,
which may be megabytes, stands before its digest.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX extraction_facts ON extractions (document, sha256, characters)")
