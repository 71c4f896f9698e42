"""A question's words beside those of a table: which columns, values and names it speaks of. Knows no figures.

Each word of the question is explained by something of the table, or it is not; a question is a table's only if all
of its words are explained.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePath

from app.sentences import STOP_WORDS, Range, stem, word_ranges
from retrieval.tables.grid import Row
from retrieval.tables.store import Listed
from retrieval.tables.values import Column, without_unit

_SMALL = (
    "work works worked working live lives living based located"
    " list show give find name names get row rows entry entries record records recorded value values figure figures"
    " table tables spreadsheet sheet column data file csv excel measured reading readings registered listed reported"
    " made make makes per each every between calculate compute according kind kinds different distinct unique across"
    " within during level levels altogether overall there and or item items line lines whole entire exactly has have"
    " had die der das den dem des ein eine einer eines ist sind war waren wie viel viele welche welcher welches hat"
    " haben im in am an auf bei von zu zum zur pro je für und oder mit als gibt es aller alle was wurden wurde zeige"
    " liste nenne nach hoch el la los las de del en es son cuál cuáles qué fue le les des du est sont quel quelle"
    " quels quelles dans un une hay por para zeilen einträge"
)
SMALL = STOP_WORDS | frozenset(_SMALL.split())
"""Words that ask for nothing by themselves."""

_PEOPLE = "people person persons employee employees colleague colleagues member members staff mitarbeiter personen"
_OF_PEOPLE = (
    "employee surname department salary wage role job title manager hired email phone birthday abteilung gehalt"
)
_PERSONS, _PERSONAL = (frozenset(stem(word) for word in words.split()) for words in (_PEOPLE, _OF_PEOPLE))
"""Nouns for the rows of a table of people, and headers that tell such a table."""

_UNIT_WORDS = {
    "GBP": "pound pounds sterling gbp",
    "EUR": "euro euros eur",
    "USD": "dollar dollars usd",
    "%": "percent percentage",
    "C": "degrees celsius degree grad",
    "F": "degrees fahrenheit degree",
    "kg": "kilograms kilogram kilos kilo",
    "t": "tonnes tonne tons ton",
    "g": "grams gram",
    "m": "metres metre meters meter",
    "km": "kilometres kilometers kilometre kilometer",
    "h": "hours hour stunden",
    "l": "litres liters litre liter",
}
_SIGNS = {"€": "EUR", "£": "GBP", "$": "USD", "°C": "C", "hours": "h", "hrs": "h", "tonnes": "t"}
CURRENCIES = frozenset({"EUR", "GBP", "USD", "CHF", "JPY", "SEK", "NOK", "DKK", "€", "£", "$", "¥", "₹"})
UNITS = frozenset({unit for words in _UNIT_WORDS.values() for unit in words.split()} | {*_UNIT_WORDS, *_SIGNS})
_MOST_VALUES = 50
"""Values that one word may mean ("annual" in the names of berths); more, and it is no condition on them."""


@dataclass(frozen=True, slots=True)
class Word:
    stem: str
    lower: str
    start: int
    end: int
    initials: bool = False
    """Whether it is two capitals, as "IT" beside "it"."""

    @property
    def small(self) -> bool:
        """Whether it asks for nothing by itself: "the", "what's"."""
        return not self.initials and (self.lower in SMALL or self.stem in SMALL)


@dataclass(frozen=True, slots=True)
class Mention:
    """A column that words of the question name; `whole` if all words of its header are there."""

    column: Column
    words: tuple[int, ...]
    """Places among the question's words."""
    whole: bool


@dataclass(frozen=True, slots=True)
class Meant:
    """Cells of a column that words of the question name."""

    column: Column
    values: tuple[str, ...]
    words: tuple[int, ...]


@dataclass
class Asked:
    """A question taken apart, and which of its words are explained so far."""

    text: str
    words: tuple[Word, ...] = field(init=False)
    explained: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.words = _words(self.text)

    def within(self, place: Range) -> list[int]:
        """Places of the words that touch a range of the text."""
        return [i for i, word in enumerate(self.words) if word.start < place[1] and place[0] < word.end]

    def explain(self, words: Iterable[int]) -> None:
        self.explained |= set(words)

    def explain_range(self, place: Range) -> None:
        self.explain(self.within(place))

    def unexplained(self) -> list[str]:
        """The words that ask for something and that nothing explains."""
        return [w.lower for i, w in enumerate(self.words) if i not in self.explained and not w.small]


@lru_cache(maxsize=64)
def _words(question: str) -> tuple[Word, ...]:
    """Told once a question, and not once for each of thousands of tables."""
    pieces = [(question[a:b], a, b) for a, b in word_ranges(question)]
    shouted = question.isupper()
    return tuple(
        Word(stem(piece), piece.casefold(), a, b, len(piece) == 2 and piece.isupper() and not shouted)
        for piece, a, b in pieces
    )


@lru_cache(maxsize=4096)
def stems(text: str) -> tuple[str, ...]:
    """Stems of all words of a header or cell, small ones too: `Cost of repair` and `Yes` must be found as they are."""
    return tuple(stem(text[a:b]) for a, b in word_ranges(text))


def header_stems(column: Column) -> tuple[str, ...]:
    """Stems of the words of a header that tell, without its unit."""
    return _header_stems(column.name)


@lru_cache(maxsize=4096)
def _header_stems(header: str) -> tuple[str, ...]:
    name = without_unit(header)
    return tuple(stem(name[a:b]) for a, b in word_ranges(name) if name[a:b].casefold() not in SMALL) or stems(name)


def mentions(asked: Asked, columns: Sequence[Column]) -> list[Mention]:
    """The columns that the question names, by all words of their header or by words that no other header has."""
    heads = {column.place: header_stems(column) for column in columns}
    found = []
    for column in columns:
        own = heads[column.place]
        places = tuple(i for i, word in enumerate(asked.words) if word.stem in own)
        said = {asked.words[i].stem for i in places}
        whole = said == set(own)
        if said and not whole:  # words that another header has, too, name neither
            said -= {one for other in columns if other.place != column.place for one in heads[other.place]}
        if said:
            found.append(Mention(column, places, whole))
    # "Return" is no mention of "Return date" where another column is called so.
    return [
        one
        for one in found
        if one.whole or not any(set(one.words) <= set(other.words) and other.whole for other in found)
    ]


def meant_values(asked: Asked, table: Listed, rows: Sequence[Row], named: Sequence[Mention]) -> list[Meant] | None:
    """The cells of text columns that the question names: whole cells, then ("annual") words that stand in some cells
    of what names the rows or is `named`. Words of the table's own names are explained between the two.

    None where words are the value of more than one column, so that what is meant is not certain.
    """
    texts = [(i, column) for i, column in enumerate(table.columns) if column.kind == "text"]
    cells = {column.place: {v for row in rows if isinstance(v := row.values[i], str)} for i, column in texts}
    by_place = {column.place: column for column in table.columns}
    found: dict[tuple[int, ...], dict[int, set[str]]] = {}
    for place, values in cells.items():
        for value in values:
            for run in _runs(asked, stems(value)):
                found.setdefault(run, {}).setdefault(place, set()).add(value)
    taken: set[int] = set(asked.explained)
    meant: list[Meant] = []
    for run in sorted(found, key=lambda run: (-len(run), run)):
        if taken & set(run) or all(asked.words[i].small for i in run):
            continue
        if len(found[run]) > 1:
            return None
        ((place, held),) = found[run].items()
        taken |= set(run)
        meant.append(Meant(by_place[place], tuple(sorted(held)), run))
    asked.explain(taken)
    explain_names(asked, table)
    first = texts[0][1].place if texts else 0
    searched = {place: held for place, held in cells.items() if place in {first, *(one.column.place for one in named)}}
    return meant + _parts(asked, by_place, searched)


def _parts(asked: Asked, columns: dict[int, Column], cells: dict[int, set[str]]) -> list[Meant]:
    """Words that stand in some cells of one column alone: "annual" in the names of three berths."""
    heads = {one for column in columns.values() for one in header_stems(column)}
    parts: list[Meant] = []
    for i, word in enumerate(asked.words):
        if i in asked.explained or word.small or word.stem in heads or len(word.lower) < 3:
            continue
        holding = {p: {v for v in values if word.stem in stems(v)} for p, values in cells.items()}
        holding = {p: values for p, values in holding.items() if values}
        if len(holding) != 1:
            continue
        ((place, values),) = holding.items()
        if len(values) <= _MOST_VALUES:
            parts.append(Meant(columns[place], tuple(sorted(values)), (i,)))
    return parts


def _runs(asked: Asked, wanted: Sequence[str]) -> Iterable[tuple[int, ...]]:
    """Where the words `wanted` stand in a row in the question."""
    if not wanted:
        return
    for first in range(len(asked.words) - len(wanted) + 1):
        if all(asked.words[first + i].stem == one for i, one in enumerate(wanted)):
            yield tuple(range(first, first + len(wanted)))


def explain_names(asked: Asked, table: Listed) -> None:
    """The words of the file's name, its title and the sheet explain themselves, and "people" a table of people."""
    held = {*stems(re.sub(r"[-_.]+", " ", f"{table.title} {PurePath(table.path).stem} {table.sheet or ''}"))}
    if is_of_people(table):
        held |= _PERSONS
    asked.explain(i for i, word in enumerate(asked.words) if word.stem in held)


def is_of_people(table: Listed) -> bool:
    return any(_PERSONAL & set(header_stems(column)) for column in table.columns)


def asks_of_people(asked: Asked) -> bool:
    return any(word.stem in _PERSONS for word in asked.words)


def explain_units(asked: Asked, columns: Iterable[Column]) -> None:
    """ "in pounds" beside a column of GBP, and "in m" beside one of m."""
    held: set[str] = set()
    for unit in (c.unit for c in columns):
        held |= {unit.casefold(), *_UNIT_WORDS.get(_SIGNS.get(unit, unit), unit).casefold().split()}
    asked.explain(i for i, word in enumerate(asked.words) if word.lower in held)
