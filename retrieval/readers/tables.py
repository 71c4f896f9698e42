"""Rows of cells as readable lines: `Header: value; Header: value`, with a span for every cell."""

import math
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from retrieval.errors import UnreadableDocument
from retrieval.readers.extraction import Builder, cell_name

Row = tuple[int, Sequence[str]]
"""Its number in the sheet, from 1, and its cells from column A on, empty where there is nothing."""

_VALUE = re.compile(
    r"[-+(]?[$€£¥]?\s?[\d.,:/\s-]*\d[\d.,:/\s)-]*(%|[A-Za-z]{1,3})?$|true$|false$|https?://|\S+@\S+\.\S+$",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(19|20)\d\d")
MAX_HEADER = 80
MAX_COLUMNS = 16_384
"""What spreadsheets hold; a row of a million fields is no table, and takes a minute to be read as one."""
_HEADER_WITHIN = 10


def add_grid(builder: Builder, rows: Iterable[Row]) -> None:
    """Append the rows of one sheet. A blank row ends a table; each table finds its own header row.

    Raises UnreadableDocument for a row of more than `MAX_COLUMNS` cells.
    """
    table: list[Row] = []
    last = 0
    for number, cells in rows:
        if len(cells) > MAX_COLUMNS:
            raise UnreadableDocument(f"Its row {number} has {len(cells):,} cells, more than {MAX_COLUMNS:,}.")
        if not any(cell.strip() for cell in cells):
            continue
        if table and number > last + 1:
            _add_table(builder, table)
            table = []
        table.append((number, cells))
        last = number
    if table:
        _add_table(builder, table)


def header_index(rows: Sequence[Sequence[str]]) -> int | None:
    """Which row names the columns, None if none does.

    It stands above the first row that holds a value, has a different short label in most columns, and of several such
    rows (notes above a table) it is the fullest.
    """
    if len(rows) < 2:
        return None
    head = rows[:_HEADER_WITHIN]
    width = max(sum(1 for cell in row if cell.strip()) for row in rows[:50])
    values = next((index for index, row in enumerate(head) if holds_value(row)), None)
    best, most = None, max(2, math.ceil(0.6 * width)) - 1
    for index, row in enumerate(head[:values] if values is not None else head[:1]):
        labels = [cell.strip() for cell in row if cell.strip()]
        if len(labels) > most and len(set(labels)) == len(labels) and max(map(len, labels)) <= MAX_HEADER:
            best, most = index, len(labels)
    return best if best is not None and best + 1 < len(rows) else None


def holds_value(row: Sequence[str]) -> bool:
    """Whether a row holds a number, date or address; years behind a label are a header's (Region, 2024, 2025)."""
    cells = [cell.strip() for cell in row if cell.strip()]
    found = [cell for cell in cells if _VALUE.match(cell)]
    years = len(found) < len(cells) and all(_YEAR.fullmatch(cell) for cell in found)
    return bool(found) and not (years and not _VALUE.match(cells[0]) and len(found) == len(set(found)))


def add_plain_table(
    builder: Builder, rows: Sequence[Sequence[str]], *, has_header: bool | None = None, name: str = ""
) -> None:
    """Append a table of a document: its header row, then a line per row with the header's names.

    `has_header` says whether the first row names the columns, None to find out. A table with a header has a span for
    every cell, addressed as if it were a sheet called `name` (by default for the heading above it), so that it can be
    asked like one.
    """
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    at = header_index(rows) if has_header is None else (0 if has_header and len(rows) > 1 else None)
    if at is None or max(map(len, rows)) > MAX_COLUMNS:
        for index, row in enumerate(rows):
            text = " | ".join(text for cell in row if (text := flat(cell)))
            builder.add(text, "table", separator="\n" if index else "\n\n")
        return
    with builder.named_table(name):
        _add_addressed(builder, rows, at)


def _add_addressed(builder: Builder, rows: Sequence[Sequence[str]], at: int) -> None:
    header = [flat(cell) for cell in rows[at]]
    for index, row in enumerate(rows):
        separator = "\n" if index else "\n\n"
        for column, cell in enumerate(row):
            if value := flat(cell):
                text = _labelled(header, column, value) if index > at else value
                builder.add(text, "table", separator=separator, cells=cell_name(column + 1, index + 1))
                separator = "; " if index > at else " | "


def flat(cell: str) -> str:
    """A cell on one line."""
    return " ".join(cell.split())


def _labelled(header: Sequence[str], index: int, value: str) -> str:
    name = header[index] if index < len(header) else ""
    return f"{name.rstrip(':')}: {value}" if name else value


def _add_table(builder: Builder, table: Sequence[Row]) -> None:
    headers = _headers([cells for _, cells in table])
    for index, (number, cells) in enumerate(table):
        separator = "\n" if index else "\n\n"
        for column, cell in enumerate(cells):
            if not (value := flat(cell)):
                continue
            at, name = headers.get(column, (index, ""))
            below = index > at
            text = f"{name.rstrip(':')}: {value}" if below and name else value
            separator = "; " if below and separator == " | " else separator
            builder.add(text, "table", separator=separator, cells=cell_name(column + 1, number))
            separator = "; " if below else " | "


def _headers(rows: Sequence[Sequence[str]]) -> dict[int, tuple[int, str]]:
    """The header's row and name for each column. Tables side by side, a blank column between, have their own."""
    width = max(len(cells) for cells in rows)
    groups = [range(width)]
    if header_index(rows) is None:
        blank = [not any(len(cells) > column and cells[column].strip() for cells in rows) for column in range(width)]
        edges = [-1, *(column for column in range(width) if blank[column]), width]
        groups = [range(left + 1, right) for left, right in pairwise(edges) if right > left + 1]
    headers: dict[int, tuple[int, str]] = {}
    for group in groups:
        part = [cells[group.start : group.stop] for cells in rows]
        if (at := header_index(part)) is not None:
            for column, cell in enumerate(part[at], group.start):
                headers[column] = (at, flat(cell))
    return headers
