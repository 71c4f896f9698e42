"""All passages cut and embedded anew from the stored texts, beside the old ones, which answer until then."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, text, update

from retrieval import chunker, documents
from retrieval.batches import embedded, is_batch
from retrieval.readers.extraction import Extraction
from retrieval.schema import chunks, extractions
from retrieval.schema import documents as documents_table
from retrieval.sqlite import reading, writing

if TYPE_CHECKING:
    from retrieval.library import Library


@dataclass(frozen=True, slots=True)
class _Cut:
    """A document that waits for its vectors."""

    id: int
    extraction: Extraction
    text_sha256: str
    pieces: list[chunker.Chunk]


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
        held: list[_Cut] = []
        for done, id in enumerate(waiting, start=total - len(waiting) + 1):
            held += _cut(library, id, limit)
            if done == total or is_batch([one.pieces for one in held]):
                _embed_and_store(library, held, next_generation)
                held = []
                if progress:
                    progress(done, total)
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


def _cut(library: "Library", id: int, limit: int) -> Iterator[_Cut]:
    with reading(library.engine) as db:
        row = documents.load(db, id)
    if row is not None:  # else it was removed meanwhile
        extraction, text_sha256 = row
        yield _Cut(id, extraction, text_sha256, chunker.chunk(extraction, library.embedder.count_tokens, limit))


def _embed_and_store(library: "Library", held: Sequence[_Cut], generation: int) -> None:
    vectors = embedded(library.embedder, [one.pieces for one in held])
    with writing(library.engine) as db:
        epoch = documents.epoch_of(db)
        for one, rows in zip(held, vectors, strict=True):
            now = db.execute(select(extractions.c.sha256).where(extractions.c.document == one.id)).scalar()
            if now == one.text_sha256:
                documents.put_chunks(
                    db, one.id, generation, epoch, one.extraction.title, one.extraction, one.pieces, rows
                )
                values = {"generation": generation, "chunker": chunker.VERSION}
                db.execute(update(documents_table).where(documents_table.c.id == one.id).values(**values))
