"""XLSX by sheet: each row with its header's names, a span for every cell, values as last computed."""

import re
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Any

from retrieval.readers.archive import open_archive, refuse_entities
from retrieval.readers.extraction import Builder, Extraction
from retrieval.readers.ooxml import core_properties
from retrieval.readers.tables import Row, add_grid

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_PERCENT = re.compile(r"(?:^|[0#])(?:\.([0#]+))?%")


def read_xlsx(path: Path) -> Extraction:
    """Raises UnreadableDocument when it is broken or encrypted."""
    import openpyxl

    with open_archive(path) as archive:
        refuse_entities(archive)
        values = openpyxl.load_workbook(path, read_only=True, data_only=True)
        # A program that writes formulas need not compute them; those cells are shown as their formula.
        formulas = None
        for member in archive.infolist():
            if member.filename.startswith("xl/worksheets/") and _holds_formula(archive.open(member)):
                formulas = openpyxl.load_workbook(path, read_only=True, data_only=False)
                break
        try:
            builder = Builder()
            title, builder.metadata = core_properties(archive)
            for sheet in values.worksheets:
                builder.sheet = sheet.title
                builder.enter(1, "")
                builder.add(sheet.title, "heading")
                add_grid(builder, _rows(sheet, formulas[sheet.title] if formulas else None))
            if not any(span.kind == "table" for span in builder.build(MEDIA_TYPE).spans):
                return Extraction("", title, MEDIA_TYPE, ())
            return builder.build(MEDIA_TYPE, title=title or path.stem)
        finally:
            values.close()
            if formulas:
                formulas.close()


def _holds_formula(stream: Any) -> bool:
    tail = b""
    with stream:
        while block := stream.read(1 << 20):
            if b"<f>" in tail + block or b"<f " in tail + block:
                return True
            tail = block[-3:]
    return False


def _rows(sheet: Any, formulas: Any | None) -> Iterator[Row]:
    # Some writers declare too small a used range; without it every row is read.
    sheet.reset_dimensions()
    if formulas is None:
        for number, cells in enumerate(sheet.iter_rows(), 1):
            yield number, [_show(cell) for cell in cells]
        return
    formulas.reset_dimensions()
    for number, (cells, sources) in enumerate(zip(sheet.iter_rows(), formulas.iter_rows(), strict=False), 1):
        pairs = zip_longest(cells, sources)
        yield (
            number,
            [_show(cell) if cell is not None and cell.value is not None else _show(source) for cell, source in pairs],
        )


def _show(cell: Any) -> str:
    """A value as a reader of the sheet would say it: percentages as such, dates in ISO form, no float noise."""
    value = None if cell is None else cell.value
    match value:
        case None:
            return ""
        case bool():
            return "TRUE" if value else "FALSE"
        case datetime():
            return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
        case date() | time() | timedelta():
            return str(value)
        case int() | float():
            if percent := _PERCENT.search(str(getattr(cell, "number_format", ""))):
                return f"{value * 100:.{len(percent.group(1) or '')}f}%"
            return f"{value:.15g}" if isinstance(value, float) and abs(value) < 1e15 else str(value)
        case _:
            return str(getattr(value, "text", value))
