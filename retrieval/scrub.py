"""Freed bytes really gone: SQLite keeps them in free pages, full-text segments and the WAL until each is made anew.

SQLite 3.40 has no secure-delete for FTS5, so the index is rebuilt whole.
"""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from sqlalchemy import Engine

from retrieval.cipher import driver_errors
from retrieval.errors import DatabaseProblem
from retrieval.sqlite import BUSY_SECONDS, disk_is_full, writing

BUSY_MILLISECONDS = 5000
"""How long rewriting the file waits for other processes' reads to end."""

IN_MEMORY = 256 << 20
"""Bytes of a database up to which its copy is made in memory; that of a larger one takes a temporary file."""


def scrub(engine: Engine, fts_tables: Sequence[str]) -> None:
    """Rewrite the file without its freed bytes and truncate the WAL.

    :raises DatabaseProblem: another process is in the middle of reading or writing, or the disk has no room for a
        second copy; what was deleted stays deleted, its bytes go with the next scrub.
    """
    file = Path(str(engine.url.database))
    with writing(engine) as connection:
        for table in fts_tables:
            connection.exec_driver_sql(f"INSERT INTO {table} ({table}) VALUES ('rebuild')")
    with closing(engine.raw_connection()) as pooled:
        raw = pooled.driver_connection
        assert raw is not None
        raw.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
        if file.stat().st_size > IN_MEMORY:
            raw.execute("PRAGMA temp_store = FILE")
        try:
            raw.execute("VACUUM")
            busy = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except driver_errors() as error:
            if disk_is_full(error, file.parent):
                raise DatabaseProblem(
                    f"The disk is full: {file} could not be rewritten, and still has what was deleted in free pages.",
                    f"Free {file.stat().st_size / 1e6:.0f} MB and run the command again.",
                ) from error
            busy = True
        finally:
            raw.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")
            raw.execute("PRAGMA temp_store = MEMORY")
    if busy:
        raise DatabaseProblem(
            f"{file} is being read by another process, so that deleted bytes are still in its log.",
            "Close the other process and run `loci doctor --fix`.",
        )
