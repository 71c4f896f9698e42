"""A page of a document of the library as a picture, from its file, as long as that is the one that was read."""

from pathlib import Path

from sqlalchemy import select

from retrieval.digest import sha256_of
from retrieval.errors import UnreadableDocument
from retrieval.library import Library
from retrieval.readers import Limits, PageAsked, PagePicture, ReaderPool
from retrieval.schema import documents
from retrieval.sqlite import reading

_LIMITS = Limits(seconds=15.0, memory_mib=1024)


def page_picture(library: Library, document: str, asked: PageAsked) -> PagePicture:
    """Draw a page in a process of its own, bounded in time, memory and pixels.

    :raises NoSuchDocument: no document of the library has this id.
    :raises UnreadableDocument: its file is gone, was changed since it was read, or cannot be drawn.
    """
    id = int(library.document(document).id[1:])
    with reading(library.engine) as db:
        row = db.execute(select(documents.c.path, documents.c.file_sha256).where(documents.c.id == id)).one()
    path = Path(row.path)
    try:
        unchanged = sha256_of(path) == row.file_sha256
    except OSError as error:
        raise UnreadableDocument(f"{path}: {error.strerror or error}.", "The text is what was read from it.") from error
    if not unchanged:
        raise UnreadableDocument(
            f"{path} was changed since it was read.", "`loci ingest` reads it again; the text is what was read then."
        )
    with ReaderPool(limits=_LIMITS) as pool:
        return pool.draw(path, asked)
