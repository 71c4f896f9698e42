"""The sections of a document: runs of its text below the same headings, in the same sheet or on the same slide."""

from sqlalchemy import Connection, func, select

from retrieval.schema import extractions, spans
from retrieval.types import Section


def sections_of(db: Connection, document: int) -> list[Section]:
    """Its sections, in order and without gaps; a document without headings is one."""
    length = db.execute(select(func.length(extractions.c.text)).where(extractions.c.document == document)).scalar_one()
    found: list[Section] = []
    for row in db.execute(select(spans).where(spans.c.document == document).order_by(spans.c.start)):
        slide = f"slide {row.slide}" if row.slide is not None else ""
        name = row.section or row.sheet or slide
        if found and found[-1][2] == name:
            continue
        if found:
            found[-1] = (found[-1][0], row.start, found[-1][2])
        found.append((row.start if found else 0, length, name))
    return found or [(0, length, "")]
