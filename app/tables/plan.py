"""What a question asks of one table: which figure of which column, of which rows, parted how. Rules, and no model.

A plan is made only where every word of the question is explained: by a column, a cell, a condition, a figure, or the
table's own names. Whatever is not certain is no plan, and the question goes the way of all others.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from app.sentences import stem
from app.tables.conditions import demands
from app.tables.figures import Figure, figures, top
from app.tables.filters import Condition, conditions
from app.tables.subject import DateTo, Part, Subject, is_money
from app.tables.words import explain_names, explain_units, header_stems
from retrieval.tables.grid import Row
from retrieval.tables.store import Listed
from retrieval.tables.values import Column

_NEGATION = re.compile(
    r"\b(?:not|no|without|except|excluding|other than|besides|never|neither|n't|nicht|kein\w*|ohne|außer|sin|sans"
    r"|sauf)\b",
    re.IGNORECASE,
)
_LISTING = re.compile(
    r"^(?:please |can you |could you )*(?:list|show|which|what|name|give|find|who|welche\w*|zeige?|liste|nenne)\b",
    re.IGNORECASE,
)
_MOST = re.compile(r"most|least|fewest|meisten|wenigsten", re.IGNORECASE)
"""Of things that have several rows, these compare what they come to together; "highest" compares single rows."""
_SUMS = (
    "revenue amount total sales turnover spending income expense expenses payment payments grant grants umsatz betrag"
    " summe ausgaben einnahmen importe montant"
)
_ADDED = frozenset(stem(word) for word in _SUMS.split())
"""Headers of sums of money: of things that have several rows, what they come to is meant, not the largest row."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One question over one table."""

    figure: Figure | Literal["rows"]
    measure: Column | None
    """Of which column; None where rows are counted or listed."""
    conditions: tuple[Condition, ...] = ()
    parted: Column | None = None
    parted_to: DateTo = "day"
    shown: Column | None = None
    """What names a row in the answer."""
    top: int | None = None
    """How many of the rows or parts, from the end that `order` tells."""
    order: Literal["max", "min"] | None = None
    distinct: bool = False
    """Different values of `measure` are counted, not rows."""


def asks_for_rows(question: str) -> bool:
    """Whether `question` may be one over rows at all: it names a figure, or compares with one."""
    return bool(figures(question)) or top(question) is not None or _bounded(question)


def plan(question: str, table: Listed, rows: Sequence[Row]) -> Plan | None:
    """What `question` asks of `table`; None unless that is certain."""
    if _NEGATION.search(question):
        return None
    subject = Subject(question, table, rows)
    # 1. conditions: what is said of days, figures and cells
    bounded = conditions(subject)
    if bounded is None:
        return None
    # 2. the figure, and how its rows are parted
    cut = top(question)
    made = _figure(subject, cut is not None, subject.parted() or _several(question, bounded), bool(bounded))
    if made is None:
        return None
    if cut is not None:
        subject.asked.explain_range(cut[0])
        order = cut[2] or made.order
        if order not in ("max", "min") or made.order is None:
            return None
        made = replace(made, top=cut[1], order=order)
    # 3. what of the table explains the rest
    explain_names(subject.asked, table)
    used = [one for one in (made.measure, *(c.column for c in bounded)) if one is not None]
    explain_units(subject.asked, used)
    # "of runners", where each row is a runner; "in the Safety category", where a condition is on categories
    conditioned = {one.column.place for one in bounded}
    for one in subject.named:
        if one.whole and (
            one.column.place in conditioned or (one.column.kind == "text" and subject.is_key(one.column))
        ):
            subject.asked.explain(one.words)
    heads = {place for one in subject.named for place in one.words}
    unpaid = not set(subject.costs) <= heads and not any(map(is_money, used))
    return None if unpaid or subject.asked.unexplained() else replace(made, conditions=tuple(bounded))


def _several(question: str, bounded: Sequence[Condition]) -> Part | None:
    """Cells of one column that are named one by one ("Anna and Bo") part the rows."""
    several = [one for one in bounded if len(one.values) > 1]
    if len(several) != 1 or not re.search(r"\b(?:and|und|y|et)\b", question):
        return None
    each = all(str(value).casefold() in question.casefold() for value in several[0].values)
    return (several[0].column, "day") if each else None


def _figure(subject: Subject, cut: bool, parted: Part | None, bounded: bool) -> Plan | None:
    """The figure and its column; `cut` if only so many are asked for, `bounded` if there are conditions."""
    extremes = [one for one in subject.figures if one.figure in ("max", "min")]
    plain = list(dict.fromkeys(one.figure for one in subject.figures if one.figure not in ("max", "min")))
    if len(extremes) > 1 or (len(plain) > 1 and set(plain) != {"count", "sum"}):
        return None
    if len(plain) > 1:
        plain = ["sum"] if subject.counted(numbers=True) is not None else ["count"]
    extreme = extremes[0] if extremes else None
    if plain and extreme is not None:
        # "which station has the highest average": parts in the order of a figure
        part = subject.asked_for() or parted
        made = None if extreme.about or part is None else _plain(subject, plain[0], part, bounded)
        return made and replace(made, order=_end(extreme.figure), top=1)
    if plain:
        made = _plain(subject, plain[0], parted, bounded)
        return made and (replace(made, order="max") if cut else made)
    shown = subject.shown() if parted is None else None
    if extreme is None and not cut:
        return _rows(subject, shown)
    measure = subject.measure(extreme)
    if measure is None:
        return None
    figure: Figure = extreme.figure if extreme is not None else "max"
    if parted is not None:
        return Plan(figure, measure, parted=parted[0], parted_to=parted[1], order="max" if cut else None)
    return _of_rows(subject, figure, measure, shown, cut)


def _plain(subject: Subject, figure: Figure, parted: Part | None, bounded: bool) -> Plan | None:
    column, to = parted or (None, "day")
    if figure == "count" and (number := subject.counted(numbers=True)) is not None:
        return Plan("sum", number, parted=column, parted_to=to)
    if figure == "count":
        counted = subject.counted(numbers=False)
        unique = counted is None or subject.is_key(counted)
        # "How many boats are there?" may be about more boats than this table has.
        if column is None and not bounded and not subject.means_table():
            return None
        return Plan("count", None if unique else counted, parted=column, parted_to=to, distinct=not unique)
    measure = subject.measure(None)
    return None if measure is None else Plan(figure, measure, parted=column, parted_to=to)


def _of_rows(subject: Subject, figure: Figure, measure: Column, shown: Column | None, cut: bool) -> Plan | None:
    """The rows with the most of `measure`. Where the thing asked for has several rows, its sum is meant if that is a
    sum at all; else a row of it is, if only one is asked for."""
    order = _end(figure)
    thing = next((one.column for one in subject.named if one.column == shown and one.whole), None)
    if thing is not None and not subject.is_key(thing) and measure.kind == "number":
        most = any(_MOST.fullmatch(subject.asked.text[slice(*one.place)]) for one in subject.figures)
        if most or set(header_stems(measure)) & _ADDED:
            return Plan("sum", measure, parted=thing, order=order, top=1)
        if cut:
            return None
    return Plan(figure, measure, shown=shown if shown != measure else None, order=order)


def _rows(subject: Subject, shown: Column | None) -> Plan | None:
    """A list of rows: only where a figure or one end of a span of days bounds them; a cell looked up is no list."""
    listing = shown is not None and _bounded(subject.asked.text) and _LISTING.match(subject.asked.text)
    return Plan("rows", None, shown=shown) if listing else None


def _bounded(question: str) -> bool:
    return any(one.kind == "number" or len(one.bounds) == 1 for one in demands(question))


def _end(figure: Figure) -> Literal["max", "min"]:
    return "min" if figure == "min" else "max"
