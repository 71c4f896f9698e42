"""Is library.db sound? What `loci doctor` asks, and the repair of what can be derived again."""

import hashlib
from collections.abc import Iterator

from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import DatabaseError

from retrieval.documents import VECTOR_DTYPE, generation_of, get_meta
from retrieval.errors import DatabaseProblem
from retrieval.fulltext import fts_text
from retrieval.schema import chunks, documents, extractions
from retrieval.sqlite import reading, writing
from retrieval.tables.renew import problems as table_problems


def find_problems(engine: Engine, fix: bool) -> list[str]:
    """Return what is wrong, in words; with `fix`, make the full-text index or tables anew if they are what is wrong."""
    try:
        with reading(engine) as db:
            pages = [str(row[0]) for row in db.execute(text("PRAGMA integrity_check")) if row[0] != "ok"]
            if pages:
                return [f"The database file is damaged: {problem}" for problem in pages[:10]]
            problems = [*_foreign(db), *_texts(db), *_chunks(db)]
        lexical = _full_text(engine)
        tables = table_problems(engine, fix)
    except DatabaseProblem as error:
        return [str(error)]
    if lexical and fix:
        with writing(engine) as db:
            _rebuild(db)
        lexical = [f"{problem} It was rebuilt." for problem in lexical]
    return problems + lexical + tables


def _foreign(db: Connection) -> Iterator[str]:
    for row in db.execute(text("PRAGMA foreign_key_check")).all()[:10]:
        yield f"A row of {row[0]} belongs to no row of {row[2]}."


def _texts(db: Connection) -> Iterator[str]:
    missing = db.execute(
        select(documents.c.path)
        .outerjoin(extractions, extractions.c.document == documents.c.id)
        .where(extractions.c.document.is_(None))
    )
    yield from (f"{path} has no text; ingest it again." for path in missing.scalars())
    query = select(documents.c.id, documents.c.path, extractions.c.text, extractions.c.sha256).join(
        extractions, extractions.c.document == documents.c.id
    )
    for row in db.execute(query):
        if hashlib.sha256(row.text.encode()).hexdigest() != row.sha256:
            yield f"The text of {row.path} is not the one that was stored; remove it and ingest it again."
        passages = select(chunks.c.id, chunks.c.start, chunks.c.end, chunks.c.text).where(chunks.c.document == row.id)
        for chunk in db.execute(passages):
            if row.text[chunk.start : chunk.end] != chunk.text:
                yield f"Passage {chunk.id} of {row.path} is not what its text has there; ingest it again."


def _chunks(db: Connection) -> Iterator[str]:
    size = int(get_meta(db, "dimension") or 0) * VECTOR_DTYPE.itemsize
    wrong = select(func.count()).where(func.length(chunks.c.vector) != size, chunks.c.generation == generation_of(db))
    if count := db.execute(wrong).scalar_one():
        yield f"{count} vectors have the wrong size; run `loci library reindex`."


def _full_text(engine: Engine) -> list[str]:
    with reading(engine) as db:
        rows = db.execute(select(func.count()).select_from(chunks)).scalar_one()
        indexed = db.execute(text("SELECT count(*) FROM chunks_fts")).scalar_one()
        stray = "SELECT count(*) FROM chunks_fts WHERE rowid NOT IN (SELECT id FROM chunks)"
        if rows != indexed or db.execute(text(stray)).scalar_one():
            return [f"The full-text index has {indexed} passages, the library {rows}."]
    try:
        with engine.connect() as db, db.begin():
            db.execute(text("INSERT INTO chunks_fts (chunks_fts) VALUES ('integrity-check')"))
    except DatabaseError:
        return ["The full-text index is damaged."]
    return []


def _rebuild(db: Connection) -> None:
    # Dropped and created again by its own statement: a damaged index cannot be trusted to empty itself.
    create = db.execute(text("SELECT sql FROM sqlite_master WHERE name = 'chunks_fts'")).scalar_one()
    db.execute(text("DROP TABLE chunks_fts"))
    db.exec_driver_sql(create)
    for row in db.execute(select(chunks.c.id, chunks.c.heading, chunks.c.text)).all():
        db.execute(
            text("INSERT INTO chunks_fts (rowid, heading, body) VALUES (:id, :heading, :body)"),
            {"id": row.id, "heading": fts_text(row.heading), "body": fts_text(row.text)},
        )
