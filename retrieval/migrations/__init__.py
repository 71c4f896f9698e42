"""Schema versions of library.db, run by Alembic from `retrieval.sqlite.open_database`."""
