"""Tables out of an extraction: the spans of a sheet's cells, put back into columns with types and rows with offsets.

Readers write a cell below a header as `Header: value` (`retrieval.readers.tables`); so much is undone here, and the
text stays the one that citations count in. Tables of documents and pages, whose cells have no addresses, are none.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from retrieval.readers.extraction import Extraction, cell_box, cell_name
from retrieval.tables.values import Column, Value, decimal_mark, typed

VERSION = "1"
"""Raised when the same extraction gives other tables."""
MOST_CELLS = 2_000_000
"""A larger table is a database's dump; to hold it in memory for a question would take half a gigabyte."""
MOST_COLUMNS = 500
"""SQLite takes 2,000; a sheet so wide is a matrix, whose columns nobody asks for by name."""

_TOTAL = re.compile(
    r"(?:(?:sub|grand )?-?\s?totals?|sum|sums|average|mean|summe|(?:zwischen|gesamt)summe|gesamt|insgesamt|durchschnitt"
    r"|suma|promedio|somme|moyenne|total général|合计|总计|小计)\W*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number in the sheet, its range in the extraction, and a value per column."""

    number: int
    start: int
    end: int
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns with types and the rows below their header. `cells` is the whole range in A1 notation."""

    sheet: str | None
    cells: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class _Cell:
    column: int
    row: int
    start: int
    end: int
    text: str


def tables_of(extraction: Extraction) -> Iterator[Table]:
    """The tables of all sheets, in order. Rows that sum up the others are left out: a sum would count them twice."""
    for sheet, block in _blocks(extraction):
        by_column: dict[int, list[_Cell]] = {}
        for cell in block:
            by_column.setdefault(cell.column, []).append(cell)
        headers = {column: header for column, cells in by_column.items() if (header := _header(cells)) is not None}
        for group in _groups(sorted(by_column), headers):
            at = min(headers[column].row for column in group if column in headers)
            table = _table(sheet, at, {column: by_column[column] for column in group}, headers)
            if table is None or len(table.columns) > MOST_COLUMNS:
                continue
            if len(table.rows) * len(table.columns) <= MOST_CELLS:
                yield table


def _blocks(extraction: Extraction) -> Iterator[tuple[str | None, list[_Cell]]]:
    """Cells that belong to one run of rows: a blank row ends a table, as it does for the readers."""
    sheet, block = None, list[_Cell]()
    for span in extraction.spans:
        if span.kind != "table" or span.locator.cells is None:
            continue
        column, row, _, _ = cell_box(span.locator.cells)
        if block and (span.locator.sheet != sheet or not 0 <= row - block[-1].row <= 1):
            yield sheet, block
            block = []
        sheet = span.locator.sheet
        block.append(_Cell(column, row, span.start, span.end, extraction.text[span.start : span.end]))
    if block:
        yield sheet, block


def _header(cells: Sequence[_Cell]) -> _Cell | None:
    """The cell whose text begins all cells below it in its column; cells are in order."""
    for above, below in pairwise(cells):
        prefix = f"{above.text.rstrip(':')}: "
        if below.text.startswith(prefix) and cells[-1].text.startswith(prefix):
            return above
    return None


def _groups(columns: Sequence[int], headers: dict[int, _Cell]) -> Iterator[list[int]]:
    """Columns side by side, whose headers are in one row; a column without a header goes with its neighbours."""
    group: list[int] = []
    for column in columns:
        rows = {headers[one].row for one in (*group, column) if one in headers}
        if group and (column > group[-1] + 1 or len(rows) > 1):
            if any(one in headers for one in group):
                yield group
            group = []
        group.append(column)
    if any(one in headers for one in group):
        yield group


def _table(sheet: str | None, at: int, columns: dict[int, list[_Cell]], headers: dict[int, _Cell]) -> Table | None:
    cells = {(c.row, c.column): c for column in columns.values() for c in column if c.row > at}
    numbers = sorted({row for row, _ in cells})
    places = [column for column in columns if any((row, column) in cells for row in numbers)]
    if not numbers or not places:
        return None
    texts = {column: [_value(cells.get((row, column)), headers.get(column)) for row in numbers] for column in places}
    mark = decimal_mark(text for column in places for text in texts[column])
    names = _named(places, headers)
    read = [typed(names[column], column, texts[column], mark) for column in places]
    found = []
    for index, row in enumerate(numbers):
        own = [cells[row, column] for column in places if (row, column) in cells]
        found.append(
            Row(row, min(c.start for c in own), max(c.end for c in own), tuple(values[index] for _, values in read))
        )
    labels = [next(filter(None, (texts[column][index] for column in places)), "") for index in range(len(numbers))]
    sums = _summing(labels, found, [column for column, _ in read])
    kept = tuple(row for index, row in enumerate(found) if index not in sums)
    whole = f"{cell_name(min(columns), at)}:{cell_name(max(columns), numbers[-1])}"
    return Table(sheet, whole, tuple(column for column, _ in read), kept) if kept else None


def _value(cell: _Cell | None, header: _Cell | None) -> str:
    if cell is None:
        return ""
    return cell.text if header is None else cell.text.removeprefix(f"{header.text.rstrip(':')}: ")


def _summing(labels: Sequence[str], rows: Sequence[Row], columns: Sequence[Column]) -> set[int]:
    """Places of the rows that sum up others: called so, or the last one, with no words and the sum of each column."""
    found = {index for index, label in enumerate(labels) if _TOTAL.fullmatch(label)}
    last = len(rows) - 1
    if last > 1 and re.match(r"(?:grand )?total\b|gesamt|summe\b", labels[last], re.IGNORECASE):
        found.add(last)
    numbers = [i for i, column in enumerate(columns) if column.kind == "number" and rows[last].values[i] is not None]
    words = any(rows[last].values[i] is not None for i, column in enumerate(columns) if column.kind != "number")
    if last > 2 and numbers and not words and all(_is_sum(rows, i) for i in numbers):
        found.add(last)
    return found


def _is_sum(rows: Sequence[Row], place: int) -> bool:
    *above, last = (row.values[place] for row in rows)
    return isinstance(last, int | float) and math.isclose(last, sum(v for v in above if isinstance(v, int | float)))


def _named(places: Sequence[int], headers: dict[int, _Cell]) -> dict[int, str]:
    """A name for each column that no other has, nor SQLite's own; one without a header is called by its letter."""
    names: dict[int, str] = {}
    for column in places:
        name = headers[column].text.rstrip(": ") if column in headers else ""
        letter = cell_name(column, 1)[:-1]
        taken = {"rowid", *(known.casefold() for known in names.values())}
        names[column] = letter if not name else f"{name} ({letter})" if name.casefold() in taken else name
    return names
