"""Pictures in which no text was found, by their digests, and what looked for it: it takes seconds to find nothing."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute('CREATE TABLE textless (file_sha256 TEXT PRIMARY KEY, "by" TEXT NOT NULL) WITHOUT ROWID')
