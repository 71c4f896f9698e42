"""All passages cut and embedded anew from the stored texts, beside the old ones, which answer until then."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, text, update

from retrieval import chunker, documents
from retrieval.schema import chunks, extractions
from retrieval.schema import documents as documents_table
from retrieval.sqlite import reading, writing

if TYPE_CHECKING:
    from retrieval.library import Library


def reindex(library: "Library", progress: Callable[[int, int], None] | None = None) -> None:
    """Embed every document with the embedder in use; an interrupted run goes on where it was.

    `progress` is told how many of how many documents are done.
    """
    embedder = library.embedder
    limit = min(library.settings.chunk_tokens, embedder.max_tokens)
    target = f"{embedder.sha256} {chunker.VERSION} {limit}"
    table = documents_table.c
    with writing(library.engine) as db:
        next_generation = documents.generation_of(db) + 1
        if documents.get_meta(db, "reindex") != target:
            db.execute(delete(chunks).where(chunks.c.generation >= next_generation))
            db.execute(update(documents_table).values(generation=next_generation - 1))
            documents.set_meta(db, "reindex", target)
    while True:
        with reading(library.engine) as db:
            query = select(table.id).where(table.generation < next_generation).order_by(table.id)
            waiting = list(db.execute(query).scalars())
            total = db.execute(select(func.count()).select_from(documents_table)).scalar_one()
        for done, id in enumerate(waiting, start=total - len(waiting)):
            _reindex_one(library, id, next_generation, limit)
            if progress:
                progress(done + 1, total)
        with writing(library.engine) as db:
            if db.execute(select(func.count()).where(table.generation < next_generation)).scalar_one():
                continue  # an ingest came in between
            removed = db.execute(delete(chunks).where(chunks.c.generation < next_generation)).rowcount
            documents.advance(db, removed)
            documents.set_meta(db, "generation", str(next_generation))
            documents.set_meta(db, "embedder_sha256", embedder.sha256)
            documents.set_meta(db, "embedder_id", embedder.id)
            documents.set_meta(db, "dimension", str(embedder.dimension))
            db.execute(text("DELETE FROM meta WHERE key = 'reindex'"))
        return


def _reindex_one(library: "Library", id: int, generation: int, limit: int) -> None:
    with reading(library.engine) as db:
        row = documents.load(db, id)
    if row is None:
        return
    title, extraction, text_sha256 = row
    pieces = chunker.chunk(extraction, library.embedder.count_tokens, limit)
    vectors = library.embedder.encode([piece.embedded for piece in pieces])
    with writing(library.engine) as db:
        now = db.execute(select(extractions.c.sha256).where(extractions.c.document == id)).scalar()
        if now == text_sha256:
            epoch = documents.epoch_of(db)
            documents.put_chunks(db, id, generation, epoch, title, extraction, pieces, vectors)
            values = {"generation": generation, "chunker": chunker.VERSION}
            db.execute(update(documents_table).where(documents_table.c.id == id).values(**values))
