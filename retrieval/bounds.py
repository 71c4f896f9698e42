"""What a query's filters let through: documents by what is known of them, passages by the phrases they hold."""

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select, text

from retrieval.fulltext import fts_phrase
from retrieval.query import Query, holds
from retrieval.schema import documents


def admitted(db: Connection, query: Query, collections: Sequence[str]) -> set[int]:
    """Ids of the documents of `collections` that the filters of `query` let through."""
    columns = documents.c.id, documents.c.path, documents.c.metadata, documents.c.mtime_ns
    rows = db.execute(select(*columns).where(documents.c.collection.in_(list(collections))))
    return {row.id for row in rows if query.admits(row.path, json.loads(row.metadata), row.mtime_ns)}


def holding(db: Connection, phrases: Sequence[str]) -> NDArray[np.int64]:
    """Ids, ascending, of the passages that hold every one of `phrases`, whose words the full-text index finds."""
    matched = " AND ".join(f"({found})" for found in map(fts_phrase, phrases) if found)
    if not matched:
        return np.zeros(0, dtype=np.int64)
    # The index knows words by their stems; the passage itself says whether they are these.
    statement = text(
        "SELECT c.id, c.text FROM chunks_fts JOIN chunks c ON c.id = chunks_fts.rowid "
        "WHERE chunks_fts MATCH :phrases ORDER BY c.id"
    )
    rows = db.execute(statement, {"phrases": matched})
    return np.array([row.id for row in rows if all(holds(row.text, one) for one in phrases)], dtype=np.int64)
