"""Rows of the catalogue: what the library says of a document without its text."""

from typing import Any

from sqlalchemy import Row, Select, func, select

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
