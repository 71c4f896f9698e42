"""Schema versions of memory.db, run by Alembic from `retrieval.sqlite.open_database`."""
