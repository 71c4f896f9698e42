"""The rows of the tables in a text, each cell with the name of its column.

Three ways to set a table are read: labelled rows (`Item: Pump; Price: 12`), as the readers of this program write them;
bars with a line of dashes under the names (Markdown); and separated values (CSV) under their names.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from app.paragraphs import Range, cells, records

_DASHES = re.compile(r"\s*\|?(?:\s*:?-{2,}:?\s*\|)+(?:\s*:?-{2,}:?)?\s*")
_LABELLED = re.compile(r"([^\s:;|][^:;|\n]{0,80}): (\S[^\n]*)")


@dataclass(frozen=True, slots=True)
class Row:
    """`place` of the row and of its values by column name, empty ones left out; `columns` are those of the table."""

    place: Range
    values: Mapping[str, Range]
    columns: tuple[str, ...]


def is_column_names(text: str, unit: Range) -> bool:
    """Whether the line `text[unit[0]:unit[1]]` is the names of a table's columns."""
    return any(place[0] <= unit[0] and unit[1] <= place[1] for place in _tables(text)[1])


def rows(text: str) -> Sequence[Row]:
    """Every row of the tables in `text` whose columns have names, in order."""
    return _tables(text)[0]


@lru_cache(maxsize=64)
def _tables(text: str) -> tuple[tuple[Row, ...], tuple[Range, ...]]:
    """The rows, and where the names of columns stand."""
    found: list[Row] = []
    names: list[Range] = []
    for table, head in (*_labelled(text), *_barred(text), *_separated(text)):
        found += table
        names += [head] if head is not None else []
    return tuple(sorted(found, key=lambda row: row.place)), tuple(names)


_Table = tuple[list[Row], Range | None]


def _labelled(text: str) -> Iterator[_Table]:
    run: list[tuple[Range, dict[str, Range]]] = []
    above: Range | None = None
    for place in [*_lines(text), (len(text), len(text))]:
        fields = _fields(text, place)
        if fields is not None:
            run.append((place, fields))
            continue
        if run:
            yield _of_run(text, run, above)
            run = []
        above = place


def _of_run(text: str, run: list[tuple[Range, dict[str, Range]]], above: Range | None) -> _Table:
    named = dict.fromkeys(name for _, values in run for name in values)
    if above is not None:
        listed = [part.strip() for part in text[slice(*above)].split(" | ")]
        if len(listed) > 1 and set(run[0][1]) <= set(listed):
            return [Row(place, values, tuple(listed)) for place, values in run], above
    return [Row(place, values, tuple(named)) for place, values in run], None


def _fields(text: str, place: Range) -> dict[str, Range] | None:
    """The values of a labelled row; None unless all its parts but some at the front have a label."""
    found: dict[str, Range] = {}
    at = place[0]
    parts = text[slice(*place)].split("; ")
    for part in parts:
        if match := _LABELLED.fullmatch(part):
            found[match.group(1)] = (at + match.start(2), at + match.end(2))
        at += len(part) + 2
    return found if len(found) >= 2 and len(found) >= len(parts) - 1 else None


def _barred(text: str) -> Iterator[_Table]:
    lines = _lines(text)
    for index in range(1, len(lines)):
        if not _DASHES.fullmatch(text[slice(*lines[index])]):
            continue
        head = lines[index - 1]
        names = [text[slice(*cell)] for cell in _bars(text, head)]
        table = []
        for place in lines[index + 1 :]:
            if "|" not in text[slice(*place)]:
                break
            values = {
                name: cell for name, cell in zip(names, _bars(text, place), strict=False) if name and cell[0] < cell[1]
            }
            table.append(Row(place, values, tuple(name for name in names if name)))
        yield table, head


def _bars(text: str, place: Range) -> list[Range]:
    """The cells between bars, without the white space around them."""
    body = text[slice(*place)]
    start = place[0] + body.find("|") + 1 if body.lstrip().startswith("|") else place[0]
    parts = text[start : place[1]].rstrip().removesuffix("|").split("|")
    found = []
    for part in parts:
        left = start + len(part) - len(part.lstrip())
        found.append((min(left, start + len(part)), max(start + len(part.rstrip()), min(left, start + len(part)))))
        start += len(part) + 1
    return found


def _separated(text: str) -> Iterator[_Table]:
    table: list[Row] = []
    names: list[str] = []
    head: Range | None = None
    end = -1
    for start, after in records(text):
        place = (start, start + len(text[start:after].rstrip()))
        fields = [cell.strip() for cell in cells(text[slice(*place)])]
        if start != end:
            if head is not None:
                yield table, head
            table, names, head = [], fields, place
        else:
            table.append(Row(place, _found(text, place, names, fields), tuple(names)))
        end = after
    if head is not None:
        yield table, head


def _found(text: str, place: Range, names: Sequence[str], fields: Sequence[str]) -> dict[str, Range]:
    """Where the fields of a line of separated values stand, one after the other."""
    values: dict[str, Range] = {}
    at = place[0]
    for name, field in zip(names, fields, strict=True):
        start = text.find(field, at, place[1]) if field else -1
        if start >= 0:
            values[name] = (start, start + len(field))
            at = start + len(field)
    return values


def _lines(text: str) -> list[Range]:
    """The lines that are not empty, without the white space around them."""
    return [match.span() for match in re.finditer(r"[^\s][^\n]*[^\s]|\S", text)]
