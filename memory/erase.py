"""Real deletion: SQLite keeps freed bytes in free pages, full text and the WAL until each is rebuilt or truncated."""

import json
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from memory.records import bump
from memory.schema import feedback, memories, sessions, turns
from memory.types import Purged
from retrieval.errors import DatabaseProblem
from retrieval.fulltext import fts_text
from retrieval.sqlite import BUSY_SECONDS, writing

BLOT = "[forgotten]"
"""What stands in a turn where forgotten words stood."""

BUSY_MILLISECONDS = 5000
"""How long rewriting the file waits for other processes' reads to end."""


def erase_memories(connection: Connection, ids: Sequence[int]) -> None:
    """Delete rows with vectors, exposures and full text; the bytes go with the next `scrub`."""
    for memory in ids:
        connection.exec_driver_sql("DELETE FROM memories_fts WHERE rowid = ?", (memory,))
        connection.execute(sa.delete(memories).where(memories.c.id == memory))
    if ids:
        bump(connection, "erased")


def purge(engine: Engine, memory_id: int, text: str) -> Purged:
    """Delete a memory, every other that quotes its text, and blot the text out of turns, titles and feedback.

    Nothing of it is left in the file or its WAL when this returns.
    """
    with writing(engine) as connection:
        quoting = [memory_id]
        for row in connection.execute(sa.select(memories.c.id, memories.c.text).where(memories.c.id != memory_id)):
            if _holds(row.text, text):
                quoting.append(row.id)
        erase_memories(connection, quoting)
        blotted = _blot_turns(connection, text)
        for table, column in ((sessions, sessions.c.title), (feedback, feedback.c.text)):
            for row in connection.execute(sa.select(table.c.id, column.label("said")).where(column.is_not(None))).all():
                if _holds(row.said, text):
                    connection.execute(
                        sa.update(table).where(table.c.id == row.id).values({column: _blot(row.said, text)})
                    )
    scrub(engine)
    return Purged(tuple(quoting), tuple(blotted))


def scrub(engine: Engine) -> None:
    """Rewrite the file without its freed bytes and truncate the WAL.

    :raises DatabaseProblem: another process is in the middle of reading or writing; what was deleted stays deleted, its
        bytes go with the next scrub.
    """
    with writing(engine) as connection:
        for table in ("memories_fts", "turns_fts"):
            connection.exec_driver_sql(f"INSERT INTO {table} ({table}) VALUES ('rebuild')")
    with closing(engine.raw_connection()) as pooled:
        raw = pooled.driver_connection
        assert raw is not None
        raw.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
        try:
            raw.execute("VACUUM")
            busy = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.OperationalError:
            busy = True
        finally:
            raw.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")
    if busy:
        raise DatabaseProblem(
            f"{engine.url.database} is being read by another process, so that deleted bytes are still in its log.",
            "Close the other process and run `loci doctor --fix`.",
        )


def _blot_turns(connection: Connection, text: str) -> list[int]:
    blotted = []
    for row in connection.execute(sa.select(turns)).all():
        result = json.loads(row.answer_json) if row.answer_json else None
        if not (_holds(row.question, text) or _holds(row.answer, text) or _holds_anywhere(result, text)):
            continue
        question, answer = _blot(row.question, text), _blot(row.answer, text)
        cleaned = json.dumps(_blot_anywhere(result, text), ensure_ascii=False) if result is not None else ""
        values = {"question": question, "answer": answer, "answer_json": cleaned}
        connection.execute(sa.update(turns).where(turns.c.id == row.id).values(values))
        # Offsets into the question no longer hold.
        moved = sa.update(memories).where(memories.c.turn == row.id).values(start=None, end=None)
        connection.execute(moved)
        connection.exec_driver_sql(
            "UPDATE turns_fts SET question = ?, answer = ? WHERE rowid = ?",
            (fts_text(question), fts_text(answer), row.id),
        )
        blotted.append(row.id)
    return blotted


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(r"(?<!\w)" + r"\s+".join(re.escape(word) for word in text.split()) + r"(?!\w)", re.IGNORECASE)


def _holds(said: str, text: str) -> bool:
    return bool(_pattern(text).search(said))


def _blot(said: str, text: str) -> str:
    return _pattern(text).sub(BLOT, said)


def _holds_anywhere(value: Any, text: str) -> bool:
    if isinstance(value, str):
        return _holds(value, text)
    if isinstance(value, dict):
        return any(_holds_anywhere(item, text) for item in value.values())
    return isinstance(value, list) and any(_holds_anywhere(item, text) for item in value)


def _blot_anywhere(value: Any, text: str) -> Any:
    if isinstance(value, str):
        return _blot(value, text)
    if isinstance(value, dict):
        return {key: _blot_anywhere(item, text) for key, item in value.items()}
    return [_blot_anywhere(item, text) for item in value] if isinstance(value, list) else value
