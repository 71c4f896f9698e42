"""Tables among the lines of a PDF's page: ruled ones by what is drawn, others by cells that stand in columns.

    ruled      each word belongs to the cell it stands in, wherever the file gives it
    aligned    at least three rows, one after the other, of cells parted by wide gaps, that fit one set of columns

Columns of prose, lists, footnotes, and labels with their values (`Name:   Anna`) are no tables.
"""

import re
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from retrieval.readers.pdf_lines import Line, Word
from retrieval.readers.pdf_rules import Grid
from retrieval.readers.tables import holds_value

_ROWS = 3
"""The fewest rows of a table that is not ruled."""
_PROSE, _FULL = 4, 0.75
"""A column is prose whose median cell has so many words and so much of the longest one's length, since each line is
filled; two of these are columns of the page."""
_LONG = 50
"""Rows that stand in columns and are no table as a whole, of which no part is tried: that costs their square."""
_LAYOUT = 400
"""Characters of the median cell from which on a grid only frames what stands on the page."""
_APART = 3.2
"""Rows of one table are at most so many font sizes apart."""
_WRAPPED = 1.5
"""A cell's next line is at most so many font sizes below."""
_FLUSH = 2.0
"""Points by which what begins or ends together may be off."""
_MARK = re.compile(r"[•‣▪◦●○■–—*·†‡§¶-]|[(\[]?(\d{1,3}|[a-zA-Z]|[ivxIVX]{1,4})[.)\]]?")
"""What stands before an item or a footnote."""

Place = tuple[int, int]
Columns = list[tuple[float, float]]
"""Left and right of each, from the left."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells from left to right, empty where there is nothing."""

    rows: tuple[tuple[str, ...], ...]
    size: float
    """Of its font."""
    named: bool | None = None
    """Whether the first row names the columns; None to be told from the cells."""


def with_tables(lines: Sequence[Line], grids: Sequence[Grid]) -> Iterator[list[Line] | Table]:
    """The page in its order: stretches of lines, and the tables between them."""
    parts: list[Line | Table] = list(lines)
    for grid in grids:
        parts = _ruled(parts, grid)
    stretch: list[Line] = []
    for part in parts:
        if isinstance(part, Line):
            stretch.append(part)
            continue
        yield from _aligned(stretch)
        yield part
        stretch = []
    yield from _aligned(stretch)


# ---- ruled --------------------------------------------------------------------------------------


def _ruled(parts: Sequence[Line | Table], grid: Grid) -> list[Line | Table]:
    """`parts` with the table of `grid` in place of its words; as they are if it holds none."""
    inside = [
        (place, word, part)
        for part in parts
        if isinstance(part, Line)
        for word in part.words
        if (place := grid.cell(word.point)) is not None
    ]
    rows = _filled([row for band in _bands(grid, inside) for row in band])
    lengths = [len(cell) for row in rows for cell in row if cell]
    whole = sum(_count(row) > 1 for row in rows)
    if whole < 2 or 2 * whole < len(rows) or statistics.median(lengths) >= _LAYOUT:
        return list(parts)
    table: Table | None = Table(rows, statistics.median(line.size for _, _, line in inside))
    found: list[Line | Table] = []
    for part in parts:
        if isinstance(part, Table):
            found.append(part)
            continue
        words = tuple(word for word in part.words if grid.cell(word.point) is None)
        if table is not None and len(words) < len(part.words):
            found.append(table)
            table = None
        if words:
            found.append(Line(words, part.baseline, part.size))
    return found


def _bands(grid: Grid, inside: Sequence[tuple[Place, Word, Line]]) -> Iterator[list[dict[int, list[str]]]]:
    """Rows, as texts by column, of each band between horizontal lines.

    A band is one row; but where nothing is drawn below the names of the columns, each line of text is.
    """
    lowest = len(grid.ys) - 2
    held: dict[int, list[tuple[int, Word, Line]]] = {}
    for (band, column), word, line in inside:
        held.setdefault(band, []).append((column, word, line))
    for band in sorted(held):
        whole: dict[int, list[str]] = {}
        lines: dict[float, dict[int, list[str]]] = {}
        for column, word, line in held[band]:
            whole.setdefault(column, []).append(word.text)
            at = next((at for at in lines if abs(at - line.baseline) <= 0.3 * line.size), line.baseline)
            lines.setdefault(at, {}).setdefault(column, []).append(word.text)
        rows = [lines[at] for at in sorted(lines, reverse=True)]
        apart = band == lowest <= 1 and len(rows) >= _ROWS - 1 and all(len(row) > 1 for row in rows)
        yield rows if apart and _is_table(_filled(rows)) else [whole]


def _filled(rows: Sequence[dict[int, list[str]]]) -> tuple[tuple[str, ...], ...]:
    """The rows and columns that hold something."""
    columns = sorted({column for row in rows for column in row})
    return tuple(tuple(" ".join(row.get(column, ())) for column in columns) for row in rows if row)


def _count(row: Sequence[str]) -> int:
    return sum(1 for cell in row if cell)


# ---- aligned ------------------------------------------------------------------------------------


def _aligned(lines: Sequence[Line]) -> Iterator[list[Line] | Table]:
    """Stretches of lines and the tables that are told from their gaps alone."""
    rows = _side_by_side(lines)
    before: list[Line] = []
    start = 0
    while start < len(rows):
        held, columns = _reach(rows[at] for at in range(start, len(rows)))
        table = _of_columns(held, columns)
        if table is None:
            # What stands in columns for so long without being a table holds none further down, either.
            end = start + (len(held) if len(held) > _LONG else 1)
            before.extend(line for row in rows[start:end] for line in row)
            start = end
            continue
        if before:
            yield before
        yield table
        before, start = [], start + len(held)
    if before:
        yield before


def _side_by_side(lines: Sequence[Line]) -> list[list[Line]]:
    """Lines that follow one another at one height, as one row."""
    rows: list[list[Line]] = []
    for line in lines:
        last = rows[-1][-1] if rows else None
        if last is not None and abs(last.baseline - line.baseline) <= 0.3 * line.size and line.left >= last.right:
            rows[-1].append(line)
        else:
            rows.append([line])
    return rows


def _reach(rows: Iterable[Sequence[Line]]) -> tuple[list[list[Line]], Columns]:
    """As many of the first rows as fit one set of columns, as cells, and the columns."""
    held: list[list[Line]] = []
    columns: Columns = []
    for row in rows:
        cells = [cell for line in row for cell in line.cells()]
        if held:
            above, drop = held[-1][0], held[-1][0].baseline - row[0].baseline
            if not 0 < drop <= _APART * above.size or abs(above.size - row[0].size) > 0.12 * above.size:
                break
            cells = [part for cell in cells for part in _taken_apart(cell, columns)]
        if len(cells) < 2 and not (held and drop <= _WRAPPED * above.size and _continues(cells[0], columns)):
            break
        ranges = [(cell.left, cell.right) for cell in cells]
        wider = _columns([*columns, *ranges])
        if any(len({_column(left, wider) for left, _ in one}) < len(one) for one in (columns, ranges)):
            break  # it has two cells in one column, or lies across two
        held.append(cells)
        columns = wider
    return held, columns


def _columns(ranges: Sequence[tuple[float, float]]) -> Columns:
    """What `ranges` cover, side by side."""
    found: Columns = []
    for left, right in sorted(ranges):
        if found and left < found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], right))
        else:
            found.append((left, right))
    return found


def _column(at: float, columns: Columns) -> int:
    """Which of `columns` holds the left edge of a cell that they are made of."""
    return next(n for n, (left, right) in enumerate(columns) if left <= at <= right)


def _taken_apart(cell: Line, columns: Columns) -> list[Line]:
    """The cells of several columns that no wide gap parts, told from where each begins or ends."""
    groups: dict[int, list[Word]] = {}
    at = 0
    for word in cell.words:
        over = [n for n, (left, right) in enumerate(columns) if word.left < right and left < word.right]
        if len(over) > 1:
            return [cell]
        at = over[0] if over else at  # what stands in no column goes on in the last one
        groups.setdefault(at, []).append(word)
    parts = {n: Line(tuple(words), cell.baseline, cell.size) for n, words in groups.items()}
    flush = all(
        abs(part.left - columns[n][0]) <= _FLUSH or abs(part.right - columns[n][1]) <= _FLUSH
        for n, part in parts.items()
    )
    return list(parts.values()) if flush and list(parts) == sorted(parts) else [cell]


def _continues(cell: Line, columns: Columns) -> bool:
    """Whether a line that stands alone goes on with a cell above it; in the first column it is something new."""
    return any(abs(cell.left - left) <= _FLUSH and cell.right <= right + _FLUSH for left, right in columns[1:])


def _of_columns(held: Sequence[Sequence[Line]], columns: Columns) -> Table | None:
    """The table of such rows; None if they are too few, or something else that stands side by side."""
    rows: list[list[str]] = []
    for cells in held:
        row = [""] * len(columns)
        for cell in cells:
            row[_column(cell.left, columns)] = cell.text
        if len(cells) > 1:
            rows.append(row)
        else:
            rows[-1] = [f"{above} {own}".strip() for above, own in zip(rows[-1], row, strict=True)]
    if len(rows) < _ROWS or not _is_table(rows):
        return None
    # Without a value below it a first row is as good as any other.
    named = None if any(holds_value(row) for row in rows[1:]) else False
    return Table(tuple(map(tuple, rows)), held[0][0].size, named)


def _is_table(rows: Sequence[Sequence[str]]) -> bool:
    columns = [[cell for cell in column if cell] for column in zip(*rows, strict=True)]
    if sum(map(_is_prose, columns)) > 1:
        return False
    first = columns[0]
    marks = all(_MARK.fullmatch(cell) for cell in first)
    labels = 2 * sum(cell.endswith(":") for cell in first) >= len(first)
    return len(columns) > 2 or not (marks or labels)


def _is_prose(cells: Sequence[str]) -> bool:
    words = statistics.median(len(cell.split()) for cell in cells)
    return words >= _PROSE and statistics.median(map(len, cells)) >= _FULL * max(map(len, cells))
