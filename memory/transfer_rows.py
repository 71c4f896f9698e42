"""Rows of any table as JSON, out and in: sessions, turns, what was shown when, and whatever else a memory refers to.

A row keeps its number where that was never given out in this store; elsewhere it gets a fresh one, and what refers to
it follows. Knows the tables by `memory.schema` alone.
"""

import base64
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from memory.schema import counters, memories, metadata, moved_vectors, turns, vectors
from memory.sessions import index_turn
from memory.transfer_checks import check_content

_MADE_ANEW = {counters.name, vectors.name, moved_vectors.name, memories.name}
"""Vectors and counters are made by the store that takes the rows in; memories have lines of their own."""
TABLES = {table.name: table for table in metadata.sorted_tables if table.name not in _MADE_ANEW}
"""In an order in which what is referred to comes first."""
BEFORE = ("sessions", "turns")
"""Tables that memories refer to."""
_KNOWN_BY = {"sessions": ("scope", "started"), "turns": ("session", "asked_at", "question")}
"""What tells a row from others though it changed since; rows of other tables are the same if all is."""
_TYPES: tuple[tuple[type[sa.types.TypeEngine[Any]], type | tuple[type, ...]], ...] = (
    (sa.Boolean, bool),
    (sa.Integer, int),
    (sa.Float, (int, float)),
    (sa.Text, str),
    (sa.LargeBinary, bytes),
)

LARGEST = 2**63 - 1
"""The largest integer that SQLite stores (https://www.sqlite.org/datatype3.html)."""

_LAST = 2**62
"""The largest number that a row keeps: after `LARGEST` a table takes no more rows."""

Values = dict[str, Any]


def export_rows(connection: Connection, table: sa.Table) -> Iterator[Values]:
    """The rows of a table in a fixed order, each as an object that names its table; bytes in base64."""
    for row in connection.execute(sa.select(table).order_by(*table.primary_key)).mappings():
        yield {"schema": 1, "table": table.name, "row": {name: _written(value) for name, value in row.items()}}


def check_row(row: Mapping[str, Any]) -> tuple[str, Values]:
    """The table and values of such an object. Raises ValueError with what is wrong in words."""
    table = TABLES.get(str(row["table"]))
    if table is None:
        raise ValueError(f"table: {row['table']!r} is none of {', '.join(TABLES)}")
    given = row.get("row")
    if not isinstance(given, Mapping):
        raise ValueError("row: is no object")
    values = {column.name: check_value(column, given.get(column.name)) for column in table.c}
    check_content(table, values)
    return table.name, values


def check_value(column: sa.Column[Any], value: Any) -> Any:
    """The value that a column takes for what JSON says. Raises ValueError where it takes none."""
    if value is None:
        if not column.nullable:
            raise ValueError(f"{column.name}: is missing")
        return None
    if isinstance(column.type, sa.LargeBinary):
        value = base64.b64decode(value["base64"], validate=True) if isinstance(value, dict) else value
    wanted = next(python for kind, python in _TYPES if isinstance(column.type, kind))
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise ValueError(f"{column.name}: {value!r} is of the wrong type")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{column.name}: {value} is no finite number")
    if isinstance(value, int) and not -LARGEST - 1 <= value <= LARGEST:
        raise ValueError(f"{column.name}: is too large a number")
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError(f"{column.name}: holds half a character, which UTF-8 cannot write")
    return value


class Importer:
    """Takes rows in within a transaction of the caller's and keeps what number each has now."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.added = 0
        self.now: dict[str, dict[int, int]] = {name: {} for name in (*TABLES, memories.name)}
        """By table, the number in this store of each number in the file."""

    def take(self, name: str, values: Values) -> None:
        """Insert a row unless it is there. What refers to a row that did not come refers to nothing, or is left out."""
        table = TABLES[name]
        row = self.followed(table, values)
        if row is None:
            return
        told, known = row.pop("id", None), self._known(table, row)
        if known is None:
            fresh = self.free(table, told)
            made = sa.insert(table).prefix_with("OR IGNORE").values(row | ({"id": fresh} if fresh else {}))
            result = self._connection.execute(made)
            self.added += result.rowcount
            known = result.lastrowid
            if table is turns:
                self._finish_turn(known, row)
        if told is not None:
            self.now[name][told] = known

    def followed(self, table: sa.Table, values: Values) -> Values | None:
        """`values` with references to the numbers of this store; None if a needed one refers to nothing here."""
        row = dict(values)
        for column in table.c:
            for key in column.foreign_keys:
                if row.get(column.name) is not None:
                    row[column.name] = self.now[key.column.table.name].get(row[column.name])
                    if row[column.name] is None and not column.nullable:
                        return None
        return row

    def free(self, table: sa.Table, told: int | None) -> int | None:
        """`told`, if this store never gave it to a row of `table`."""
        if told is None:
            return None
        given = sa.text("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = :name")
        highest = self._connection.execute(given, {"name": table.name}).scalar_one()
        return told if highest < told <= _LAST else None

    def _known(self, table: sa.Table, row: Values) -> int | None:
        names = _KNOWN_BY.get(table.name) or tuple(row)
        same = sa.select(table.c.id if "id" in table.c else sa.literal(0))
        same = same.where(*(table.c[name].is_not_distinct_from(row[name]) for name in names))
        return self._connection.execute(same.limit(1)).scalar()

    def _finish_turn(self, turn: int, row: Values) -> None:
        """Full text; and the result's own mention of its session and turn."""
        index_turn(self._connection, turn, row["question"], row["answer"])
        result = json.loads(row["answer_json"]) if row["answer_json"] else None
        if isinstance(result, dict) and {"session", "turn"} <= result.keys():
            told = result | {"session": row["session"], "turn": turn}
            if told != result:
                text = json.dumps(told, ensure_ascii=False)
                self._connection.execute(sa.update(turns).where(turns.c.id == turn).values(answer_json=text))


def _written(value: Any) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
