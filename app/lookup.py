"""The cell of a table that a question names by its row and its column: found by rule, or known to be empty.

    What is Bram's phone number?    row: the one that alone has most of the question's words ("Bram")
                                    column: the one whose name shares most of the others ("phone"), or, where none
                                    does, the only one for the kind of thing asked for ("How much does Bram earn?")

The meaning of a code that stands in front of it (`F02: the fan is blocked`) is found likewise. Says nothing unless
both are plain and hardly a word of the question is left over.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from app.answer_types import Kind, Wanted
from app.rows import Row, rows
from app.sentences import Range, content_words, stem
from app.tables.figures import figures
from app.units import CODE, Text, hard_words, idf

_LEFT_OVER = 1 / 3
"""Part of the question's words that neither row, columns nor headings need to know, where it names the column."""
_WORDS: Mapping[Kind, str] = {
    "money": "price cost fee salary amount rent fare wage pay paid charge earn total budget value eur usd gbp chf",
    "date": "date day bought purchased acquired delivered hired joined born due",
    "time": "time hour hours",
    "place": "place location located office room city town address site country building floor shelf rack bin cabinet"
    " drawer warehouse storage station region based stored kept",
    "person": "name owner person assigned responsible manager holder keeper user contact supervisor employee",
    "contact": "phone telephone mobile email mail website url",
    "percent": "percent percentage share",
}
_COLUMNS = {kind: frozenset(map(stem, words.split())) for kind, words in _WORDS.items()}
"""Words, as stems, that name columns of a kind of thing, or ask for it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The cell asked for: the number of its text, its row and column, and where its value stands, None if empty."""

    text: int
    row: Row
    column: str
    value: Range | None


def look_up(question: str, asked: Wanted, texts: Sequence[Text]) -> Cell | None:
    """The cell that `question` names in the tables of `texts`; None if row or column are not plain."""
    if (meaning := _meaning(question, asked, texts)) is not None:
        return meaning
    found = [(number, row) for number, text in enumerate(texts) for row in rows(text.text)]
    if not found:
        return None
    asks = list(dict.fromkeys(content_words(question)))
    held = [_words(texts[number].text, row) for number, row in found]
    weight = idf(asks, [sorted(words) for words in held])
    scores = [_score(weight, words, row) for words, (_, row) in zip(held, found, strict=True)]
    best = max(range(len(found)), key=lambda index: scores[index])
    if scores[best] == 0 or scores.count(scores[best]) > 1:
        return None
    number, row = found[best]
    # Rows of one table may stand in several passages: a column that is empty in all rows of this one is known, too.
    heading = texts[number].heading
    columns = dict.fromkeys(name for n, one in found if texts[n].heading == heading for name in one.columns)
    above = set(content_words(heading + " " + " ".join(columns)))
    if any(word not in held[best] and word not in above for word in hard_words(question)):
        return None
    named = [name for name in columns if not _holds(texts[number].text, row.values.get(name), asks)]
    rest = [word for word in asks if word not in held[best]]
    left = [word for word in rest if word not in above]
    column = _column(asks, rest, len(left) <= _LEFT_OVER * len(asks), asked, named)
    return None if column is None else Cell(number, row, column, row.values.get(column))


def _meaning(question: str, asked: Wanted, texts: Sequence[Text]) -> Cell | None:
    """What stands behind the one code whose meaning is asked for (`F02: water does not run off`)."""
    codes = set(CODE.findall(question))
    if asked.kind != "definition" or not codes:
        return None
    label = re.compile(rf"^[ \t]*(?:[-*+•–] )?({'|'.join(map(re.escape, codes))}): *(\S[^\n]*)", re.MULTILINE)
    found = [(number, match) for number, text in enumerate(texts) for match in label.finditer(text.text)]
    if len(found) != 1:
        return None
    number, match = found[0]
    row = Row((match.start(1), match.end(2)), {match[1]: match.span(2)}, (match[1],))
    return Cell(number, row, match[1], match.span(2))


def _score(weight: Mapping[str, float], held: Collection[str], row: Row) -> float:
    """How much of the question a row's values hold; words that name columns rather ask for one."""
    names = {word for name in row.columns for word in content_words(name)}
    return sum((0.5 if word in names else 1.0) * value for word, value in weight.items() if word in held)


def is_about(text: str, unit: Range, words: Collection[str]) -> bool:
    """Whether a row has one of `words` (stems) among its values, not in the names of its columns alone; True of what
    is no row."""
    row = _row_at(text, unit)
    return row is None or any(_holds(text, place, words) for place in row.values.values())


def is_part(question: str, text: str, unit: Range, named: str) -> bool:
    """Whether a row is one of those that `question` asks an average or a sum of: neither it, nor the names of its
    columns, nor `named`, the table's, say that it holds such a figure."""
    row = _row_at(text, unit)
    if row is None:
        return False
    said = {one.figure for one in figures(" ".join([named, *row.columns, text[slice(*row.place)]]))}
    return any(one.figure in ("avg", "sum") and one.figure not in said for one in figures(question))


def _row_at(text: str, unit: Range) -> Row | None:
    return next((one for one in rows(text) if one.place == unit), None)


def _column(asks: Sequence[str], rest: Sequence[str], plain: bool, asked: Wanted, columns: Sequence[str]) -> str | None:
    """The column that the question names; or the only one of the kind asked for, where no word is left over.

    :param rest: the question's words that are not of the row.
    :param plain: hardly one of them is unknown to columns and headings, too.
    :param columns: those whose values the question does not name.
    """
    kind = _COLUMNS.get(asked.kind, frozenset())
    own = {name: set(content_words(name)) for name in columns}
    most = max((len(words.intersection(asks)) for words in own.values()), default=0)
    if most:
        named = [name for name, words in own.items() if len(words.intersection(asks)) == most]
        return _only(named if len(named) == 1 else [name for name in named if kind & own[name]]) if plain else None
    if any(word not in kind for word in rest):
        return None
    return _only([name for name, words in own.items() if kind & words])


def _only(names: Sequence[str]) -> str | None:
    return names[0] if len(names) == 1 else None


def _holds(text: str, place: Range | None, words: Collection[str]) -> bool:
    return place is not None and not set(words).isdisjoint(content_words(text[slice(*place)]))


def _words(text: str, row: Row) -> set[str]:
    """Stems of a row's values."""
    return {word for place in row.values.values() for word in content_words(text[slice(*place)])}
