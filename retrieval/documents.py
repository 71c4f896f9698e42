"""How a document goes into library.db and comes out: rows of one transaction. Knows no files and no embedder."""

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, text, update

from retrieval.chunker import VERSION as CHUNKER_VERSION
from retrieval.chunker import Chunk
from retrieval.errors import LibraryChanged
from retrieval.fulltext import fts_text
from retrieval.readers.extraction import VERSION as READER_VERSION
from retrieval.readers.extraction import Extraction, Span, locate
from retrieval.scans import UNREAD_BY
from retrieval.schema import chunks, documents, epochs, extractions, meta, spans
from retrieval.tables.grid import VERSION as TABLES_VERSION
from retrieval.tables.grid import Table
from retrieval.tables.store import put_tables
from retrieval.types import Locator

VECTOR_DTYPE = np.dtype("<f2")

_AT_ONCE = 500
"""Paths of one query."""
_PUT_FTS = text("INSERT INTO chunks_fts (rowid, heading, body) VALUES (:id, :heading, :body)")
_FIND = (
    select(
        *(documents.c[name] for name in ("id", "path", "bytes", "mtime_ns", "file_sha256", "chunker")),
        extractions.c.reader,
        func.json_extract(documents.c.metadata, f"$.{UNREAD_BY}").label(UNREAD_BY),
    )
    .join(extractions, extractions.c.document == documents.c.id)
    .where(documents.c.collection == bindparam("collection"), documents.c.path.in_(bindparam("paths", expanding=True)))
)
_WITH_CONTENT = (
    select(documents.c.id, documents.c.path)
    .where(
        documents.c.collection == bindparam("collection"),
        documents.c.file_sha256 == bindparam("sha256"),
        documents.c.chunker == CHUNKER_VERSION,
    )
    .order_by(documents.c.id)
)
# Both made once: to make them for each file costs as much as to run them.


@dataclass(frozen=True, slots=True)
class File:
    """What identifies a file's content and, cheaply, that it did not change."""

    path: str
    bytes: int
    mtime_ns: int
    sha256: str


def epoch_of(db: Connection) -> int:
    """The number of the last change of content, 0 in a new library."""
    return int(db.exec_driver_sql("SELECT coalesce(max(epoch), 0) FROM epochs").scalar_one())


def advance(db: Connection, removed: int = 0) -> int:
    """Begin the next epoch; `removed` passages of earlier ones are gone with it."""
    epoch = epoch_of(db) + 1
    db.execute(insert(epochs), {"epoch": epoch, "token": secrets.token_hex(8), "removed": removed})
    return epoch


def as_of(db: Connection, epoch: int | None) -> int | None:
    """The epoch that what is read must not be newer than; None where that is the library as it is now.

    :raises LibraryChanged: what was there at `epoch` is not all there any more.
    """
    if epoch is None or epoch >= (current := epoch_of(db)):
        return None
    if db.execute(select(func.sum(epochs.c.removed)).where(epochs.c.epoch > epoch)).scalar():
        raise LibraryChanged(
            f"Documents were removed or replaced since epoch {epoch} of the library; it is at {current} now.",
            "Start again on the library as it is now.",
        )
    return epoch


def get_meta(db: Connection, key: str) -> str | None:
    value: str | None = db.exec_driver_sql("SELECT value FROM meta WHERE key = ?", (key,)).scalar()
    return value


def set_meta(db: Connection, key: str, value: str) -> None:
    db.execute(delete(meta).where(meta.c.key == key))
    db.execute(insert(meta).values(key=key, value=value))


def generation_of(db: Connection) -> int:
    """The generation of chunks that is searched; a re-embedding prepares the next one beside it."""
    return int(get_meta(db, "generation") or 1)


def find(db: Connection, collection: str, path: str) -> Row[*tuple[Any, ...]] | None:
    """Id, path, bytes, mtime_ns, file_sha256, reader and chunker of the document at `path`, and by which OCR pages of
    it stayed unread."""
    return find_all(db, collection, [path]).get(path)


def find_all(db: Connection, collection: str, paths: Sequence[str]) -> dict[str, Row[*tuple[Any, ...]]]:
    """What `find` tells, by path, of those of `paths` where documents are: a query for hundreds of them, as one for
    each takes most of the time of an ingest that finds nothing new."""
    found: dict[str, Row[*tuple[Any, ...]]] = {}
    for start in range(0, len(paths), _AT_ONCE):
        rows = db.execute(_FIND, {"collection": collection, "paths": paths[start : start + _AT_ONCE]})
        found.update((row.path, row) for row in rows)
    return found


def with_content(db: Connection, collection: str, sha256: str) -> Sequence[Row[*tuple[Any, ...]]]:
    """Id and path of the documents whose files have this content, cut as this version would, by id."""
    return db.execute(_WITH_CONTENT, {"collection": collection, "sha256": sha256}).all()


def put(
    db: Connection,
    collection: str,
    file: File,
    title: str,
    extraction: Extraction,
    text_sha256: str,
    pieces: Sequence[Chunk],
    vectors: NDArray[np.float32],
    tables: Iterable[Table],
) -> tuple[int, bool]:
    """Store a document whole, in place of the one at its path; return its id and whether it is new.

    `vectors` is [N, D], one row per piece.
    """
    generation = generation_of(db)
    values = {
        "title": title,
        "media_type": extraction.media_type,
        "bytes": file.bytes,
        "mtime_ns": file.mtime_ns,
        "file_sha256": file.sha256,
        "pages": extraction.pages,
        "metadata": json.dumps(extraction.metadata, ensure_ascii=False),
        "ingested_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "chunker": CHUNKER_VERSION,
        "generation": generation,
    }
    old = find(db, collection, file.path)
    if old is None:
        new = {"collection": collection, "path": file.path, "pinned": 0, **values}
        document = db.execute(insert(documents).returning(documents.c.id), new).scalar_one()
        epoch = advance(db)
    else:
        document = old.id
        removed = db.execute(select(func.count()).where(chunks.c.document == document)).scalar_one()
        for table in (chunks, spans, extractions):
            db.execute(delete(table).where(table.c.document == document))
        db.execute(update(documents).where(documents.c.id == document).values(**values))
        epoch = advance(db, removed)
    read = {
        "document": document,
        "text": extraction.text,
        "sha256": text_sha256,
        "characters": len(extraction.text),
        "reader": READER_VERSION,
    }
    db.execute(insert(extractions), read)
    rows = [
        {
            "document": document,
            "start": span.start,
            "end": span.end,
            "kind": span.kind,
            "page": span.page,
            "section": span.locator.section,
            "sheet": span.locator.sheet,
            "cells": span.locator.cells,
            "slide": span.locator.slide,
        }
        for span in extraction.spans
        if span.start < span.end
    ]
    if rows:
        db.execute(insert(spans), rows)
    put_chunks(db, document, generation, epoch, title, extraction, pieces, vectors)
    put_tables(db, document, tables)
    if epoch == 1:
        set_meta(db, "tables", TABLES_VERSION)
    return document, old is None


def put_chunks(
    db: Connection,
    document: int,
    generation: int,
    epoch: int,
    title: str,
    extraction: Extraction,
    pieces: Sequence[Chunk],
    vectors: NDArray[np.float32],
) -> None:
    """Add chunks [N] with their vectors [N, D] and their full text."""
    if not pieces:
        return
    first = int(
        db.execute(text("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'chunks'")).scalar_one()
    )
    rows, indexed = [], []
    line, counted = 1, 0
    for id, (piece, vector) in enumerate(zip(pieces, vectors, strict=True), start=first + 1):
        line += extraction.text.count("\n", counted, piece.start)
        counted = piece.start
        page, locator = locate(extraction.spans, piece.start, piece.end)
        body = extraction.text[piece.start : piece.end]
        rows.append(
            {
                "id": id,
                "document": document,
                "generation": generation,
                "epoch": epoch,
                "start": piece.start,
                "end": piece.end,
                "line": line,
                "page": page,
                "section": locator.section,
                "sheet": locator.sheet,
                "cells": locator.cells,
                "slide": locator.slide,
                "heading": piece.heading or title,
                "text": body,
                "vector": vector.astype(VECTOR_DTYPE).tobytes(),
            }
        )
        indexed.append({"id": id, "heading": fts_text(piece.heading or title), "body": fts_text(body)})
    db.execute(insert(chunks), rows)
    db.execute(_PUT_FTS, indexed)


def move(db: Connection, document: int, path: str, mtime_ns: int) -> None:
    """The same content is at another path now; passages stay, and a title that was the file's name follows."""
    row = db.execute(select(documents.c.path, documents.c.title).where(documents.c.id == document)).one()
    values: dict[str, Any] = {"path": path, "mtime_ns": mtime_ns}
    if row.title == Path(row.path).stem:
        values["title"] = Path(path).stem
        untitled = (chunks.c.document == document) & (chunks.c.heading == row.title)
        ids = db.execute(select(chunks.c.id).where(untitled)).scalars().all()
        db.execute(update(chunks).where(untitled).values(heading=values["title"]))
        renamed = [{"id": id, "heading": fts_text(values["title"])} for id in ids]
        if renamed:
            db.execute(text("UPDATE chunks_fts SET heading = :heading WHERE rowid = :id"), renamed)
    db.execute(update(documents).where(documents.c.id == document).values(**values))
    advance(db)


def drop(db: Connection, document: int) -> None:
    """Remove a document with all that came from it."""
    removed = db.execute(select(func.count()).where(chunks.c.document == document)).scalar_one()
    db.execute(delete(documents).where(documents.c.id == document))
    advance(db, removed)


def vectors_of(db: Connection, ids: Sequence[int], dimension: int) -> NDArray[np.float32]:
    """Vectors [N, D] of chunks that exist, in the order of `ids`."""
    query = f"SELECT id, vector FROM chunks WHERE id IN ({listed(ids)})"
    found = {row.id: row.vector for row in db.exec_driver_sql(query)}
    return matrix([found[id] for id in ids], dimension)


def listed(ids: Iterable[int]) -> str:
    """Ids written out for `IN (...)`: of the time of a query for 200 rows, binding them takes half."""
    return ",".join(map(str, ids))


def matrix(blobs: Sequence[bytes], dimension: int) -> NDArray[np.float32]:
    """Blobs as they are stored, as [N, D]."""
    return np.frombuffer(b"".join(blobs), dtype=VECTOR_DTYPE).reshape(-1, dimension).astype(np.float32)


def load(db: Connection, document: int) -> tuple[Extraction, str] | None:
    """The extraction and the SHA-256 of its text, as `put` stored them."""
    row = db.execute(
        select(documents, extractions.c.text, extractions.c.sha256)
        .join(extractions, extractions.c.document == documents.c.id)
        .where(documents.c.id == document)
    ).one_or_none()
    if row is None:
        return None
    found = tuple(
        Span(span.start, span.end, span.page, Locator(span.section, span.sheet, span.cells, span.slide), span.kind)
        for span in db.execute(select(spans).where(spans.c.document == document).order_by(spans.c.start))
    )
    metadata = json.loads(row.metadata)
    return Extraction(row.text, row.title, row.media_type, found, row.pages, metadata), row.sha256
