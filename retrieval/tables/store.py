"""Tables in library.db: put in with their document, gone with it, listed without their rows."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, insert, select

from retrieval.schema import chunks, documents, extractions, table_rows, tables
from retrieval.tables.grid import Row, Table
from retrieval.tables.values import Column


@dataclass(frozen=True, slots=True)
class Listed:
    """A table as the library lists it, without its rows."""

    id: int
    document: str
    """Stable id of its document, `d12`."""
    path: str
    title: str
    text_sha256: str
    sheet: str | None
    cells: str
    columns: tuple[Column, ...]
    row_count: int


def put_tables(db: Connection, document: int, made: Iterable[Table]) -> None:
    """Store the tables of a document in place of those it had."""
    db.execute(delete(tables).where(tables.c.document == document))
    for table in made:
        values = {
            "document": document,
            "sheet": table.sheet,
            "cells": table.cells,
            "columns": json.dumps([asdict(column) for column in table.columns], ensure_ascii=False),
            "row_count": len(table.rows),
        }
        id = db.execute(insert(tables).values(**values).returning(tables.c.id)).scalar_one()
        db.execute(insert(table_rows), [{"table": id, **_stored(row)} for row in table.rows])


def listed(
    db: Connection, collections: Sequence[str], wanted: Sequence[int] | None = None, epoch: int | None = None
) -> list[Listed]:
    """The tables of `collections` (and of the documents `wanted`), in order; with `epoch`, none that came after it."""
    query = (
        select(tables, documents.c.path, documents.c.title, extractions.c.sha256)
        .join(documents, documents.c.id == tables.c.document)
        .join(extractions, extractions.c.document == documents.c.id)
        .where(documents.c.collection.in_(list(collections)))
        .order_by(documents.c.path, tables.c.id)
    )
    if wanted is not None:
        query = query.where(tables.c.document.in_(list(wanted)))
    if epoch is not None:
        query = query.where(
            ~select(chunks.c.id).where(chunks.c.document == documents.c.id, chunks.c.epoch > epoch).exists()
        )
    return [
        Listed(
            row.id,
            f"d{row.document}",
            row.path,
            row.title,
            row.sha256,
            row.sheet,
            row.cells,
            _columns(row.columns),
            row.row_count,
        )
        for row in db.execute(query)
    ]


def rows_of(db: Connection, table: int) -> list[Row]:
    """The rows of a table, in order."""
    found = db.execute(select(table_rows).where(table_rows.c.table == table).order_by(table_rows.c.number))
    return [Row(row.number, row.start, row.end, tuple(json.loads(row.cells))) for row in found]


def as_stored(db: Connection, document: int) -> list[Table]:
    """The tables of a document, for comparing them with what its text says."""
    found = db.execute(select(tables).where(tables.c.document == document).order_by(tables.c.id)).all()
    return [Table(row.sheet, row.cells, _columns(row.columns), tuple(rows_of(db, row.id))) for row in found]


def _columns(stored: str) -> tuple[Column, ...]:
    return tuple(Column(**column) for column in json.loads(stored))


def _stored(row: Row) -> dict[str, object]:
    values = json.dumps(row.values, ensure_ascii=False)
    return {"number": row.number, "start": row.start, "end": row.end, "cells": values}
