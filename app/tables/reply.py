"""The answer to a question over rows: the figure in words, the query, and the rows it used as citations.

asks for a figure?  ->  tables of the scope whose words it uses  ->  the one plan  ->  its query, run read-only
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePath

from app.answer import Ask, Citation
from app.sentences import stem
from app.shelf import Library, Shelf
from app.tables.conditions import in_words
from app.tables.plan import Plan, asks_for_rows, plan
from app.tables.sql import query, rows_query
from app.tables.subject import told_by_superlative
from app.tables.words import Asked, explain_names, header_stems, mentions
from app.turn import Turn
from retrieval.errors import QueryRefused
from retrieval.readers.extraction import cell_name
from retrieval.tables.grid import Row
from retrieval.tables.run import Sheet, table_name
from retrieval.tables.store import Listed
from retrieval.tables.values import Column, Value
from retrieval.types import Locator, Passage

_TABLES = 12
"""Tables that are looked into for one question, the likeliest first."""
_ROWS = 300_000
"""Rows that are read for one question: about two seconds."""
_CITED = 8
"""Runs of rows that are cited one by one; of more, the first."""
_NAMED = 6
"""Tables that are named where a question could be about any of them."""
_WORDS = {"sum": "Sum", "avg": "Average", "max": "Highest", "min": "Lowest", "count": "Number"}
_UNITS = frozenset(
    map(
        stem,
        [
            "unit",
            "units",
            "currency",
            "uom",
            "measure",
            "basis",
            "einheit",
            "währung",
            "unidad",
            "moneda",
            "unité",
            "devise",
        ],
    )
)
"""Headers of columns that say what the figures of a row are in."""


def within(ask: Ask, question: str, library: Library) -> list[Listed]:
    """The tables that `question` may be about; none where it cannot be about rows at all.

    :raises LibraryChanged: pinned to an epoch whose documents are not all there any more.
    """
    if not ask.use_library or ask.attachments or ask.schema is not None or not asks_for_rows(question):
        return []
    return library.tables(ask.scope, ask.documents or ask.within or None, ask.library_epoch)


def reply(turn: Turn, library: Library, tables: Sequence[Listed]) -> bool:
    """Answer the turn from one of `tables`, if that is what it asks and one alone answers with certainty.

    Where several with the same columns do, say which: the question has to name one.
    """
    with turn.timed("retrieve"):
        found = _planned(turn.standalone, tables, library)
        places = {(table.text_sha256, table.sheet, table.cells): table for table, _, _ in found}
        if len(places) > 1 and len({tuple(one.name for one in table.columns) for table in places.values()}) == 1:
            _ask_which(turn, list(places.values()))
            return True
        if len(places) != 1:
            return False
        try:
            return _answer(turn, *found[0])
        except QueryRefused:
            return False


def _ask_which(turn: Turn, tables: Sequence[Listed]) -> None:
    """Name the tables that the question could be about, and answer nothing."""
    names = [
        f"{table.sheet} in {PurePath(table.path).name}" if table.sheet else PurePath(table.path).name
        for table in tables
    ]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    turn.query, turn.abstained = turn.standalone, True
    turn.reason = turn.text = (
        f"Several tables with these columns could answer that: {'; '.join(names[:_NAMED])}{more}. "
        "Name the one you mean in the question."
    )


def _planned(question: str, tables: Sequence[Listed], library: Library) -> list[tuple[Listed, list[Row], Plan]]:
    """The tables that explain the whole question, each with its plan; none where not all likely ones could be read.

    A table that is told by a superlative alone ("the most expensive item") gives way to those that are named.
    """
    likely = sorted(((n, table) for table in tables if (n := _shared(question, table))), key=lambda pair: -pair[0])
    found: list[tuple[float, Listed, list[Row], Plan]] = []
    read = 0
    for looked, (n, table) in enumerate(likely):
        read += table.row_count
        if looked == _TABLES or read > _ROWS:
            found = [one for one in found if one[0] > n]  # those that were not read could answer as well
            break
        rows = library.table_rows(table.id)
        if (made := plan(question, table, rows)) is not None:
            found.append((n, table, rows, made))
    named = [one for one in found if one[0] >= 1]
    return [(table, rows, made) for _, table, rows, made in named or found]


def _shared(question: str, table: Listed) -> float:
    """How many words of the question are in a header or in the table's names; a superlative is half of one."""
    asked = Asked(question)
    explain_names(asked, table)
    told = 0.5 if told_by_superlative(question, table) else 0.0
    return told + len(asked.explained | {place for one in mentions(asked, table.columns) for place in one.words})


def _answer(turn: Turn, table: Listed, rows: Sequence[Row], made: Plan) -> bool:
    name = table_name(table.sheet or PurePath(table.path).stem)
    asked = query(made, name)
    with Sheet(name, table.columns, rows) as sheet:
        found = sheet.ask(asked)
        bounded = sheet.ask(rows_query(made, name), most=len(rows))
    by_number = {row.number: row for row in rows}
    if made.measure is not None and not made.distinct and _mixed(table, [by_number[int(str(n))] for n, _ in bounded]):
        return False
    used = _used(made, bounded, found)
    counted = [number for number, value in used if made.measure is None or value is not None]
    rests_on = counted if made.figure in ("sum", "avg") else used
    if not rests_on and not (made.figure == "count" and made.parted is None):
        return False  # nothing fulfils the conditions: that the documents do not say is another way's answer
    runs = _runs([by_number[number] for number in counted], rows)
    marks = "".join(f"[{n}]" for n in range(1, min(len(runs), _CITED) + 1))
    turn.text, at = _text(made, found, counted, marks)
    if missing := len(used) - len(counted):
        turn.text += f" {missing} more {'has' if missing == 1 else 'have'} nothing there."
    if len(runs) > _CITED:
        turn.text += f" The first {_CITED} of {len(runs)} places are cited."
    turn.query, turn.table_query = turn.standalone, asked
    turn.citations = tuple(_cited(turn.shelf, table, made, runs[:_CITED], at))
    turn.grounded = True
    return True


def _mixed(table: Listed, rows: Sequence[Row]) -> bool:
    """Whether a column says that the rows' figures are in different units: per night and per year."""
    places = [i for i, column in enumerate(table.columns) if set(header_stems(column)) <= _UNITS]
    return any(len({row.values[i] for row in rows}) > 1 for i in places)


def _used(made: Plan, rows: Sequence[tuple[Value, ...]], found: Sequence[tuple[Value, ...]]) -> list[tuple[int, Value]]:
    """Numbers of the rows that the answer names or, where it names none, is made of; with their measure."""
    single = made.figure == "rows" or (made.figure in ("max", "min") and made.parted is None)
    if single:
        return [(int(str(row[0])), row[-1]) for row in found]
    return [(int(str(number)), value) for number, value in rows]


# ---- words ---------------------------------------------------------------------------------------


def _text(made: Plan, found: Sequence[tuple[Value, ...]], rows: Sequence[int], marks: str) -> tuple[str, int]:
    """The answer, and where in it the marks begin."""
    of = f"{'1 row' if len(rows) == 1 else f'{len(rows)} rows'}{_bounded(made)}"
    if made.figure == "rows":
        head, lines = f"{of[:1].upper()}{of[1:]}", [_row(made, row) for row in found]
    elif made.parted is not None:
        head = f"{_title(made)} by {made.parted.name}, {of}"
        lines = [f"{shown(part, made.parted)}: {_valued(made, value)}" for part, value, *_ in found]
        if made.order and made.top == 1:
            return _with_marks(" and ".join(lines), marks, f"{head}.")
    elif made.figure in ("max", "min"):
        lines = [_row(made, row) for row in found]
        if made.top is None or made.top == 1:
            return _with_marks("; ".join(dict.fromkeys(lines)), marks, f"{_title(made)}{_bounded(made)}.")
        head = f"{_title(made)}, {of}"
    else:
        over = _bounded(made) if made.figure == "count" and not made.distinct else f", {of}"
        return _with_marks(_valued(made, found[0][0]), marks, f"{_title(made)}{over}.")
    text, at = _with_marks(head, marks, "")
    return text + ":\n" + "\n".join(f"- {line}" for line in lines), at


def _with_marks(text: str, marks: str, after: str) -> tuple[str, int]:
    begun = f"{text} " if marks else text
    return f"{begun}{marks}" + (f"\n{after}" if after else ""), len(begun)


def _title(made: Plan) -> str:
    if made.measure is None:
        return "Number of rows"
    return f"{'Different values' if made.distinct else _WORDS[made.figure]} of {made.measure.name}"


def _valued(made: Plan, value: Value) -> str:
    if made.measure is None or made.distinct or value is None:
        return str(value if value is not None else 0)
    column = made.measure
    return shown(
        value, replace(column, decimals=column.decimals + 2) if made.figure == "avg" else column, made.figure == "avg"
    )


def _row(made: Plan, row: tuple[Value, ...]) -> str:
    """What names the row, then its figures: `Town pontoon annual: 236.00 GBP`."""
    columns = [made.shown, made.measure, *(c.column for c in made.conditions if c.bounds and made.figure == "rows")]
    told = [shown(value, column) for value, column in zip(row[1:], dict.fromkeys(c for c in columns if c), strict=True)]
    return f"{told[0]}: {', '.join(told[1:])}" if len(told) > 1 else told[0]


def _bounded(made: Plan) -> str:
    said = []
    for one in made.conditions:
        if one.values:
            said.append(f"{one.column.name} is {' or '.join(shown(value, one.column) for value in one.values)}")
        else:
            said.append(in_words(one.column.name, one.bounds))
    return f" where {' and '.join(said)}" if said else ""


def shown(value: Value, column: Column, trimmed: bool = False) -> str:
    """A value as its column writes such: its decimals, its unit; `trimmed` without zeros at the end."""
    if value is None:
        return "nothing"
    if column.kind == "boolean":
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    figure = f"{value:.{column.decimals}f}"
    figure = figure.rstrip("0").rstrip(".") if trimmed and "." in figure else figure
    if column.unit in ("$", "€", "£", "US$", "¥", "₹"):
        return f"{column.unit}{figure}"
    return f"{figure}%" if column.unit == "%" else f"{figure} {column.unit}".strip()


# ---- rows ----------------------------------------------------------------------------------------


def _runs(used: Sequence[Row], rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """First and last of each run of rows that follow each other in the table."""
    place = {row.number: i for i, row in enumerate(rows)}
    runs: list[tuple[Row, Row]] = []
    for row in used:
        if runs and place[row.number] == place[runs[-1][1].number] + 1:
            runs[-1] = (runs[-1][0], row)
        else:
            runs.append((row, row))
    return runs


def _cited(shelf: Shelf, table: Listed, made: Plan, runs: Sequence[tuple[Row, Row]], at: int) -> Iterator[Citation]:
    """A citation for each run: its text is the rows', its cells are those of the figure's column."""
    own = made.measure or made.shown
    for n, (first, last) in enumerate(runs, 1):
        where = (at, at + len(f"[{n}]"))
        at = where[1]
        start, end = first.start, last.end
        text = shelf.text(table.document)[start:end]
        passage = Passage(
            -1,
            table.document,
            table.path,
            table.title,
            None,
            0,
            start,
            end,
            Locator(),
            text,
            table.text_sha256,
            "",
            0.0,
        )
        cited = shelf.cite(n, where, passage, (start, end), "verified")
        if own is not None and not (made.figure == "count" and not made.distinct):
            top, bottom = cell_name(own.place, first.number), cell_name(own.place, last.number)
            cells = top if top == bottom else f"{top}:{bottom}"
            cited = replace(cited, locator=replace(cited.locator, cells=cells))
        yield cited
