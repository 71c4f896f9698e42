"""A question beside one table: which of its columns is meant where. The steps of a plan share what they found here.

Whatever two columns could be is None: a plan is made of what is certain.
"""

import re
from collections.abc import Sequence
from typing import Literal

from app.sentences import stem
from app.tables.figures import COST_VERBS, Said, compared, figures, is_price
from app.tables.words import CURRENCIES, Asked, Mention, explain_names, header_stems, mentions
from retrieval.tables.grid import Row
from retrieval.tables.store import Listed
from retrieval.tables.values import Column

DateTo = Literal["day", "month", "year"]
_DATE_TO: dict[str, DateTo] = {
    "day": "day", "month": "month", "year": "year", "monat": "month", "jahr": "year", "tag": "day", "date": "day",
}  # fmt: skip
Part = tuple[Column, DateTo]
"""A column whose values part the rows, and for days how fine."""

_BEFORE_NOUN = frozenset(["the", "of", "all", "different", "distinct", "unique", "der", "die", "das", "verschiedene"])
_ASKED_FOR = re.compile(
    r"\W*(?:in |at |on |for )?(?:which|what|whose|welche[rsmn]?|in welchem)\s+(?P<word>\w+)", re.IGNORECASE
)
_PARTED = re.compile(
    r"\b(?:per|by|for each|for every|in each|in every|of each|of every|at each|at every|each|every|grouped by|je|pro"
    r"|nach|por cada|por|par)\s+(?:the\s+)?(?P<word>\w+)",
    re.IGNORECASE,
)
OF_TABLE = re.compile(
    r"\b(?:different|distinct|unique|rows?|entries|records?|lines|listed|recorded|tables?|sheet|file|csv|verschiedene?\w*"
    r"|zeilen|einträge)\b",
    re.IGNORECASE,
)
"""Words by which a question says that it is about a table."""


class Subject:
    """The question's words, the columns it names, and the places of those that a condition has taken."""

    def __init__(self, question: str, table: Listed, rows: Sequence[Row]) -> None:
        self.asked = Asked(question)
        self.table, self.rows, self.columns = table, rows, table.columns
        self.named = mentions(self.asked, self.columns)
        self.figures = list(figures(question))
        self.taken: set[int] = set()
        self.costs: list[int] = []
        """Places of verbs that only money explains: "cost", "paid"."""

    def only(self, named: Sequence[Mention]) -> Column | None:
        """The one column of `named`, whose words are explained by that."""
        if len({one.column.place for one in named}) != 1:
            return None
        self.asked.explain(named[0].words)
        return named[0].column

    def is_key(self, column: Column) -> bool:
        """Whether the column tells all rows apart."""
        place = self.columns.index(column)
        values = [row.values[place] for row in self.rows]
        return None not in values and len(set(values)) == len(values)

    def measure(self, said: Said | None) -> Column | None:
        """The column that a figure is of: the one the question names, or that its superlative is about."""
        fitting = [c for c in self.columns if c.kind == "number" or (c.kind == "date" and said is not None)]
        named = [one for one in self.named if one.column in fitting]
        named = [one for one in named if one.column.place not in self.taken] or named
        named = [one for one in named if one.whole] or named
        if said is not None and said.about:
            told = [c for c in fitting if is_about(c, said.about)]
            if not told and "date" in said.about:
                told = [c for c in fitting if c.kind == "date"]
            named = [one for one in named if one.column in told] or named
            if not named:
                return told[0] if len(told) == 1 else None
        if named:
            return self.only(named)
        rest = [c for c in fitting if c.kind == "number" and c.place not in self.taken]
        if COST_VERBS.search(self.asked.text):
            rest = [c for c in rest if is_money(c)]
        return rest[0] if len(rest) == 1 else None

    def counted(self, numbers: bool) -> Column | None:
        """The column named right after "how many": of things, or of `numbers` that add up ("how many passengers")."""
        said = next((one for one in self.figures if one.figure == "count"), None)
        if said is None:
            return None
        place = self.asked.within(said.place)[-1] + 1
        words = self.asked.words
        while place < len(words) and words[place].lower in _BEFORE_NOUN:
            place += 1
        kinds = ("number",) if numbers else ("text", "date")
        near = [one for one in self.named if one.column.kind in kinds and place in one.words]
        return self.only([one for one in near if not numbers or one.column.place not in self.taken])

    def asked_for(self) -> Part | None:
        """The column that "which station" asks for; "which month" asks for a part of the days."""
        found = _ASKED_FOR.match(self.asked.text)
        if found is None:
            return None
        place = self.asked.within(found.span("word"))[0]
        named = [one for one in self.named if place in one.words and one.column.kind != "number"]
        column = self.only(named)
        return (column, "day") if column is not None else self._days(place)

    def parted(self) -> Part | None:
        """The column that "per station" or "by month" names."""
        for match in _PARTED.finditer(self.asked.text):
            place = self.asked.within(match.span("word"))[0]
            named = [one for one in self.named if place in one.words and one.column.kind != "number"]
            found: Part | None = (named[0].column, "day") if named else self._days(place)
            if found is not None:
                self.asked.explain((*self.asked.within(match.span()), *(i for one in named for i in one.words)))
                return found
        return None

    def _days(self, place: int) -> Part | None:
        """The one column of days, if a word of the question asks for a part of them."""
        dates = [column for column in self.columns if column.kind == "date"]
        to = next((to for word, to in _DATE_TO.items() if stem(word) == self.asked.words[place].stem), None)
        if to is None or len(dates) != 1:
            return None
        self.asked.explain((place,))
        return dates[0], to

    def shown(self) -> Column | None:
        """What names a row: the column asked for, one that the question names, or the first that tells rows apart."""
        if re.match(r"\W*(?:when|wann|cuándo|quand)\b", self.asked.text, re.IGNORECASE):
            return next((column for column in self.columns if column.kind == "date"), None)
        if (asked := self.asked_for()) is not None:
            return asked[0]
        for one in self.named:
            if one.column.kind == "text" and one.whole:
                self.asked.explain(one.words)
                return one.column
        texts = [column for column in self.columns if column.kind == "text"]
        return next(filter(self.is_key, texts), texts[0] if texts else None)

    def means_table(self) -> bool:
        """Whether the question says that it is about a table, or names this one by words that no header has."""
        if OF_TABLE.search(self.asked.text):
            return True
        asked = Asked(self.asked.text)
        explain_names(asked, self.table)
        return any(not asked.words[i].small for i in asked.explained - {i for one in self.named for i in one.words})


def is_about(column: Column, about: frozenset[str]) -> bool:
    """Whether a superlative with these header words ("heaviest") may be about the column."""
    return bool({stem(word) for word in about} & set(header_stems(column))) or (is_price(about) and is_money(column))


def told_by_superlative(question: str, table: Listed) -> bool:
    """Whether a superlative of the question ("heaviest") is about a column that it need not name."""
    about = frozenset(word for said in figures(question) for word in said.about)
    return bool(about) and any(is_about(column, about) for column in table.columns)


def is_money(column: Column) -> bool:
    """Whether the column is of prices or sums of money."""
    prices = {stem(word) for word in compared("cheaper")}
    return column.kind == "number" and (column.unit in CURRENCIES or bool(set(header_stems(column)) & prices))
