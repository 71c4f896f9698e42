"""Where in its file a range of a document's text stands."""

import json
from dataclasses import replace

from sqlalchemy import Connection, func, select

from retrieval.readers.extraction import Span, locate
from retrieval.scans import certainty_of
from retrieval.schema import documents, extractions, spans
from retrieval.types import Locator, Position


def position_of(db: Connection, document: int, start: int, end: int) -> Position:
    """Page, line and locator of the range `start` to `end` of its extraction."""
    of_document = select(spans).where(spans.c.document == document)
    touching = of_document.where(spans.c.start < max(end, start + 1), spans.c.end > start).order_by(spans.c.start)
    before = of_document.where(spans.c.start <= start).order_by(spans.c.start.desc())
    rows = db.execute(touching).all() or db.execute(before.limit(1)).all()
    head = select(func.substr(extractions.c.text, 1, start)).where(extractions.c.document == document)
    line = db.execute(head).scalar_one().count("\n") + 1
    metadata = json.loads(db.execute(select(documents.c.metadata).where(documents.c.id == document)).scalar_one())
    found = [
        Span(row.start, row.end, row.page, Locator(row.section, row.sheet, row.cells, row.slide), row.kind)
        for row in rows
    ]
    page, locator = locate(found, start, end)
    return Position(page, line, replace(locator, ocr=certainty_of(metadata, page)))
