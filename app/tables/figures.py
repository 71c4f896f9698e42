"""Which figure a question asks for: how many, the sum, the average, the highest, the first three. Rules."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from app.sentences import Range

Figure = Literal["count", "sum", "avg", "max", "min"]

_SAID: tuple[tuple[Figure, str], ...] = (
    ("count", r"how many|(?:the )?number of|count(?: of)?(?! for\b)|wie ?viele|anzahl(?: der)?|cuánt[oa]s|combien d[e']"
              r"|número de|nombre de"),
    ("avg", r"averages?|averaged|avg|mean|durchschnitt\w*|im schnitt|mittelwert|mittlere\w*|promedio|moyenne"),
    ("sum", r"sum(?:med)?|totals?|totalled|altogether|in all|combined|summe|insgesamt|gesamt\w*|zusammen|suma|somme"),
    ("max", r"highest|largest|maximum|max|greatest|biggest|most|peak|höchste\w*|größte\w*|meisten|maximal\w*|máxim\w*"),
    ("min", r"lowest|smallest|minimum|min|least|fewest|niedrigste\w*|kleinste\w*|wenigsten|geringste\w*|mínim\w*"),
)  # fmt: skip
_COMPILED = tuple((figure, re.compile(rf"\b(?:{words})\b", re.IGNORECASE)) for figure, words in _SAID)

_PRICE = "price cost fee rate fare charge tariff rent amount preis kosten gebühr betrag prix coût precio importe"
_SUPERLATIVES: tuple[tuple[str, Figure, str], ...] = (
    ("most expensive|dearest|costliest|teuerste\\w*|más car[oa]|plus chère?", "max", _PRICE),
    ("cheapest|least expensive|billigste\\w*|günstigste\\w*|más barat[oa]|moins chère?", "min", _PRICE),
    ("heaviest|schwerste\\w*", "max", "weight mass displacement gewicht"),
    ("lightest|leichteste\\w*", "min", "weight mass displacement gewicht"),
    ("longest|längste\\w*", "max", "length duration distance long hours days länge dauer"),
    ("shortest|kürzeste\\w*", "min", "length duration distance long hours days länge dauer"),
    ("tallest", "max", "height"),
    ("deepest|tiefste\\w*", "max", "depth draught tiefe"),
    ("fastest|schnellste\\w*", "max", "speed knots geschwindigkeit"),
    ("slowest|langsamste\\w*", "min", "speed knots geschwindigkeit"),
    ("hottest|warmest|wärmste\\w*", "max", "temperature temp temperatur"),
    ("coldest|coolest|kälteste\\w*", "min", "temperature temp temperatur"),
    ("oldest|älteste\\w*", "max", "age alter"),
    ("youngest|jüngste\\w*", "min", "age alter"),
    ("latest|last|newest|most recent|späteste\\w*|letzte\\w*|neueste\\w*", "max", "date"),
    ("earliest|first|früheste\\w*|erste\\w*", "min", "date"),
)
_COMPARATIVES = {
    adjective: about
    for adjectives, about in (
        ("older younger älter jünger", "age alter"),
        ("heavier lighter schwerer leichter", "weight mass gewicht"),
        ("longer shorter länger kürzer", "length duration distance long länge dauer"),
        ("deeper tiefer", "depth draught tiefe"),
        ("taller", "height"),
        ("faster slower schneller langsamer", "speed knots geschwindigkeit"),
        ("warmer hotter colder", "temperature temp"),
        ("cheaper dearer teurer billiger günstiger", _PRICE),
    )
    for adjective in adjectives.split()
}
_NUMBERS = {
    word: n for n, word in enumerate(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], 1)
}
_COUNT = rf"(?P<n>\d{{1,3}}|{'|'.join(_NUMBERS)})"
_TOP = re.compile(
    rf"\b(?P<end>top|bottom|first|last)\s+{_COUNT}\b(?!\s*(?:%|percent))|\b{_COUNT.replace('<n>', '<m>')}\s+(?=\w)",
    re.IGNORECASE,
)
COST_VERBS = re.compile(r"\b(?:costs?|charged?|pays?|paid|spent|spend|kostet|kosten|cuesta|coûte)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Said:
    """A figure that the question names, where, and the header words of the columns that it is about ("heaviest")."""

    figure: Figure
    place: Range
    about: frozenset[str] = frozenset()


@lru_cache(maxsize=64)
def figures(text: str) -> tuple[Said, ...]:
    """The figures that `text` names, in order; a superlative goes before the words that it is made of."""
    found: list[Said] = []
    for words, figure, about in _SUPERLATIVES:
        for match in re.finditer(rf"\b(?:{words})\b", text, re.IGNORECASE):
            found.append(Said(figure, match.span(), frozenset(about.split())))
    for figure, pattern in _COMPILED:
        for match in pattern.finditer(text):
            if not any(match.start() < one.place[1] and one.place[0] < match.end() for one in found):
                found.append(Said(figure, match.span()))
    return tuple(sorted(found, key=lambda one: one.place))


def compared(adjective: str) -> frozenset[str]:
    """Header words of the columns that "longer than" may be about."""
    return frozenset(_COMPARATIVES.get(adjective, "").split())


def is_price(about: frozenset[str]) -> bool:
    return "price" in about


def top(text: str) -> tuple[Range, int, Figure | None] | None:
    """ "top 3", "the five largest", "the last 2": where, how many, and from which end where the words tell."""
    for match in _TOP.finditer(text):
        said = (match["n"] or match["m"]).casefold()
        number = _NUMBERS.get(said) or int(said)
        if match["end"]:
            end: Figure = "max" if match["end"].casefold() in ("top", "last") else "min"
            return match.span(), number, end if match["end"].casefold() in ("top", "bottom") else None
        start = match.end()
        superlative = next(
            (one for one in figures(text) if one.place[0] == start and one.figure in ("max", "min")), None
        )
        if superlative is not None:
            return (match.start("m"), match.end("m")), number, None
    return None
