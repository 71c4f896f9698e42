"""Tables of documents that an earlier version read, or that are not what their text says: made anew from the text."""

from collections.abc import Iterator

from sqlalchemy import Connection, Engine, select

from retrieval.documents import advance, get_meta, load, set_meta
from retrieval.schema import documents, spans
from retrieval.sqlite import reading, writing
from retrieval.tables.grid import VERSION, tables_of
from retrieval.tables.store import as_stored, put_tables


def bring_up(engine: Engine) -> None:
    """Make the tables of all documents as this version makes them; once a library, as long as reading it takes."""
    with reading(engine) as db:
        if get_meta(db, "tables") == VERSION:
            return
    with writing(engine) as db:
        for document, _ in _with_cells(db):
            _renew(db, document)
        set_meta(db, "tables", VERSION)


def problems(engine: Engine, fix: bool) -> list[str]:
    """The documents whose stored tables are not those of their text, in words; with `fix`, they are made anew."""
    with reading(engine) as db:
        if get_meta(db, "tables") != VERSION:
            return []  # they are made when first asked for
        wrong = [(document, path) for document, path in _with_cells(db) if not _as_told(db, document)]
    found = [f"The tables of {path} are not what its text says." for _, path in wrong]
    if wrong and fix:
        with writing(engine) as db:
            for document, _ in wrong:
                _renew(db, document)
            advance(db)  # who holds a list of the tables looks again
        return [f"{problem} They were made anew." for problem in found]
    return found


def _with_cells(db: Connection) -> Iterator[tuple[int, str]]:
    """Id and path of each document whose text stands in cells."""
    held = select(spans.c.document).where(spans.c.cells.is_not(None)).distinct()
    yield from ((row.id, row.path) for row in db.execute(select(documents).where(documents.c.id.in_(held))).all())


def _as_told(db: Connection, document: int) -> bool:
    stored = load(db, document)
    return stored is not None and as_stored(db, document) == list(tables_of(stored[0]))


def _renew(db: Connection, document: int) -> None:
    if (stored := load(db, document)) is not None:
        put_tables(db, document, tables_of(stored[0]))
