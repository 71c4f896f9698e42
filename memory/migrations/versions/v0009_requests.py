"""What asked a turn, so that who asks again after a kill finds the turn that is there."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.get_bind().exec_driver_sql("ALTER TABLE turns ADD COLUMN request TEXT")
    op.get_bind().exec_driver_sql("CREATE INDEX ix_turns_request ON turns (request) WHERE request IS NOT NULL")
