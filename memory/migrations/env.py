"""Alembic's entry point: migrates the connection that `open_database` hands over, inside its transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
