"""The conditions of a question over rows, each with the column that it is about."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.tables.conditions import Demand, Sign, demands, month_alone
from app.tables.figures import COST_VERBS, compared
from app.tables.subject import Subject, is_about, is_money
from app.tables.words import UNITS, meant_values
from retrieval.tables.values import Column, Value

_DIGITS = 15
"""Of a number that a cell can hold exactly."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Rows whose column fulfils every bound, or holds one of `values`."""

    column: Column
    bounds: tuple[tuple[Sign, Value], ...] = ()
    values: tuple[Value, ...] = ()


def conditions(subject: Subject) -> list[Condition] | None:
    """What the question demands of the rows, its words explained by that; None where a column is not certain."""
    asked = subject.asked
    found: list[Condition] = []
    wanted = demands(asked.text)
    if not any(one.kind == "date" for one in subject.columns):
        # A year may be the file's own; as a figure ("over 2000") it is a condition still.
        wanted = [one for one in wanted if one.kind == "number"]
    for demand in wanted:
        column = _about(subject, demand)
        if column is None or column.place in subject.taken:  # two spans of one column are either, both or none
            return None
        asked.explain_range(demand.place)
        after = asked.within(demand.place)[-1] + 1
        if not column.unit and after < len(asked.words) and asked.words[after].lower in UNITS:
            asked.explain((after,))  # "over 10 m" of lengths that are in nothing else
        subject.taken.add(column.place)
        found.append(Condition(column, bounds=demand.bounds))
    _drop_figures(subject, wanted)
    if (alone := _month(subject, wanted)) is not None:
        found.append(alone)
    # Words of figures and costs are not looked for in cells: "total" is no cell's name here.
    for said in subject.figures:
        asked.explain_range(said.place)
    for match in COST_VERBS.finditer(asked.text):
        subject.costs += asked.within(match.span())
    asked.explain(subject.costs)
    cells = _cells(subject)
    return None if cells is None else found + cells + _numbered(subject)


def _about(subject: Subject, demand: Demand) -> Column | None:
    """The column that a condition on days or figures is about: the one named right after it, told by its adjective,
    named before it, or the only one of its kind."""
    fitting = [column for column in subject.columns if column.kind == demand.kind]
    named = [one for one in subject.named if one.column.kind == demand.kind]
    place = subject.asked.within(demand.place)
    if demand.kind == "number" and (after := [one for one in named if place[-1] + 1 in one.words]):
        return subject.only(after)
    if demand.adjective and (about := compared(demand.adjective)):
        told = [column for column in fitting if is_about(column, about)]
        return told[0] if len(told) == 1 else None
    if before := [one for one in named if any(i < place[0] for i in one.words)]:
        nearest = max(max(i for i in one.words if i < place[0]) for one in before)
        return subject.only([one for one in before if nearest in one.words])
    if demand.kind == "number" and COST_VERBS.search(subject.asked.text):
        fitting = [column for column in fitting if is_money(column)]
    return fitting[0] if len(fitting) == 1 else None


def _drop_figures(subject: Subject, wanted: Sequence[Demand]) -> None:
    """Leave out figures whose words are a condition's ("at least"), a header's ("minimum"), or what a header counts
    ("E. coli count")."""
    kept = []
    for said in subject.figures:
        words = set(subject.asked.within(said.place))
        others = len(subject.figures) > 1
        inside = any(d.place[0] <= said.place[0] < d.place[1] for d in wanted)
        header = any(
            one.whole and words <= set(one.words) and (others or one.column.place in subject.taken)
            for one in subject.named
        )
        counts = (
            said.figure == "count"
            and others
            and any(one.column.kind == "number" and min(words) - 1 in one.words for one in subject.named)
        )
        if not (inside or header or counts):
            kept.append(said)
        elif counts:
            subject.asked.explain(words)
    subject.figures = kept


def _month(subject: Subject, wanted: Sequence[Demand]) -> Condition | None:
    """ "in March", where all days of the table are of one year."""
    dates = [(i, column) for i, column in enumerate(subject.columns) if column.kind == "date"]
    alone = month_alone(subject.asked.text)
    if alone is None or len(dates) != 1 or any(one.kind == "date" for one in wanted):
        return None
    place, column = dates[0]
    years = {str(row.values[place])[:4] for row in subject.rows if row.values[place] is not None}
    if len(years) != 1:
        return None
    year, month = int(years.pop()), alone[1]
    subject.asked.explain_range(alone[0])
    subject.taken.add(column.place)
    end = f"{year}-{month + 1:02}" if month < 12 else str(year + 1)
    return Condition(column, bounds=((">=", f"{year}-{month:02}"), ("<", end)))


def _cells(subject: Subject) -> list[Condition] | None:
    """Cells of text that the question names, those of one column together."""
    meant = meant_values(subject.asked, subject.table, subject.rows, subject.named)
    if meant is None:
        return None
    by_column: dict[int, Condition] = {}
    for one in meant:
        if any(set(one.words) <= set(other.words) and other.whole for other in subject.named):
            continue  # the header itself
        old = by_column.get(one.column.place)
        values = one.values if old is None else (*old.values, *one.values)
        by_column[one.column.place] = Condition(one.column, values=tuple(dict.fromkeys(values)))
        subject.asked.explain(one.words)
    return list(by_column.values())


def _numbered(subject: Subject) -> list[Condition]:
    """ "berth 14", where berths are numbers; and "active", where that is a column of yes and no."""
    found = []
    words = subject.asked.words
    for one in subject.named:
        last = max(one.words)
        following = words[last + 1].lower if last + 1 < len(words) else ""
        if one.column.place in subject.taken:
            continue
        if one.column.kind == "number" and one.whole and following.isdecimal() and len(following) <= _DIGITS:
            subject.asked.explain((*one.words, last + 1))
            found.append(Condition(one.column, values=(int(following),)))
        elif one.column.kind == "boolean":
            subject.asked.explain(one.words)
            found.append(Condition(one.column, values=(1,)))
    subject.taken |= {one.column.place for one in found}
    return found
