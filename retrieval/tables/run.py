"""One read-only query over one table: in a database in memory that holds nothing else, under an authorizer and a limit.

What is not a SELECT over that table with the functions below is refused by SQLite itself, before it runs.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from retrieval.cipher import connect
from retrieval.errors import QueryRefused
from retrieval.tables.grid import Row
from retrieval.tables.values import Column, Value

STEPS = 20_000_000
"""Instructions of SQLite's virtual machine: about two seconds."""
MOST_ROWS = 1000
"""Rows of a result; who asks for more wants the sheet itself."""

_FUNCTIONS = frozenset({"sum", "avg", "min", "max", "count", "round", "substr"})
_TYPES = {"number": "NUMERIC", "date": "TEXT", "boolean": "INTEGER", "text": "TEXT"}
_EVERY = 10_000


class Sheet:
    """A table that can be asked; a context manager. Its rows are numbered by `rowid` as in the sheet."""

    def __init__(self, name: str, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        self._database = connect(Path(":memory:"))
        self._database.execute("PRAGMA temp_store = MEMORY")  # nothing of a table goes to a disk
        defined = ", ".join(f"{quoted(column.name)} {_TYPES[column.kind]}" for column in columns)
        self._database.execute(f"CREATE TABLE {quoted(name)} ({defined})")
        filled = f"INSERT INTO {quoted(name)} (rowid, {', '.join(quoted(c.name) for c in columns)}) VALUES (?"
        self._database.execute("BEGIN")
        self._database.executemany(f"{filled}{', ?' * len(columns)})", ((row.number, *row.values) for row in rows))
        self._database.execute("COMMIT")
        self._database.execute("PRAGMA query_only = ON")
        self._database.set_authorizer(_authorize)

    def ask(self, query: str, most: int = MOST_ROWS) -> list[tuple[Value, ...]]:
        """The rows of the result, `most` at most.

        :raises QueryRefused: it is no plain question about this table, takes too long, or gives too much.
        """
        left = STEPS // _EVERY

        def count() -> bool:
            nonlocal left
            left -= 1
            return left < 0

        self._database.set_progress_handler(count, _EVERY)
        try:
            found = self._database.execute(query).fetchmany(most + 1)
        except sqlite3.Error as error:
            raise QueryRefused(f"The query was not run ({error}): {query}") from error
        if len(found) > most:
            raise QueryRefused(f"The query gives more than {most} rows: {query}")
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._database.close()


def table_name(name: str) -> str:
    """`name` as a table can be called: SQLite keeps those that begin with its own to itself."""
    bare = name.replace("\0", "").strip() or "table"
    return f"table {bare}" if bare.casefold().startswith("sqlite_") else bare


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever is in it."""
    return '"' + name.replace('"', '""').replace("\0", "") + '"'


def literal(value: Value) -> str:
    """A value as SQL takes it."""
    if value is None:
        return "NULL"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "'" + value.replace("'", "''").replace("\0", "") + "'" if isinstance(value, str) else repr(value)


def _authorize(action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
    allowed = action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ) or (
        action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FUNCTIONS
    )
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY
