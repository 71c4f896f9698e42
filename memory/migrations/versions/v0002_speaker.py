"""Who said a memory, where it was not the user."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.get_bind().exec_driver_sql("ALTER TABLE memories ADD COLUMN speaker TEXT")
