"""Rows of the catalogue: what the library says of a document without its text."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from retrieval.errors import NoSuchDocument
from retrieval.schema import chunks, documents, extractions
from retrieval.types import DocumentInfo


def catalogue() -> Select[Any]:
    """All documents, by collection and path."""
    table = documents.c
    # The index chunks_by_document answers this count without touching texts or vectors.
    count = select(func.count()).where(chunks.c.document == table.id, chunks.c.generation > 0).scalar_subquery()
    return (
        select(documents, extractions.c.characters, extractions.c.sha256, count.label("chunks"))
        .join(extractions, extractions.c.document == table.id)
        .order_by(table.collection, table.path)
    )


def document_info(row: Row[Any]) -> DocumentInfo:
    """A row of `catalogue` as it leaves this room."""
    return DocumentInfo(
        id=f"d{row.id}",
        path=row.path,
        title=row.title,
        collection=row.collection,
        media_type=row.media_type,
        bytes=row.bytes,
        characters=row.characters,
        pages=row.pages,
        chunks=row.chunks,
        text_sha256=row.sha256,
        ingested_at=row.ingested_at,
        pinned=bool(row.pinned),
    )


def find_document(db: Connection, reference: str, collections: Sequence[str] = ()) -> DocumentInfo:
    """The document with this id (`d12`), this path, or a path that ends in it; of several, that in `collections`.

    :raises NoSuchDocument: there is none, or more than one.
    """
    table = documents.c
    found: Sequence[Row[Any]] = []
    if reference[:1] == "d" and reference[1:].isdecimal():
        found = db.execute(catalogue().where(table.id == int(reference[1:]))).all()
    if not found:
        path = os.path.abspath(Path(reference).expanduser())  # noqa: PTH100  links are not followed in paths
        found = db.execute(catalogue().where(table.path == path)).all()
    if not found:
        end = "/" + reference.lstrip("/")
        found = db.execute(catalogue().where(func.substr(table.path, -len(end)) == end)).all()
    if len(found) > 1:
        found = [row for row in found if row.collection in collections] or found
    if len(found) > 1:
        names = ", ".join(f"d{row.id} ({row.collection}: {row.path})" for row in found[:5])
        raise NoSuchDocument(f"{reference!r} names {len(found)} documents: {names}.", "Give the id.")
    if not found:
        raise NoSuchDocument(
            f"No document {reference!r} in the library.",
            "`loci library list` shows what there is, `loci ingest FILE` adds a file.",
        )
    return document_info(found[0])
