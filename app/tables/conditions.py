"""Conditions in a question that are figures or days: "over 100", "between 5 and 10", "since March 2024", "in Q2 2025".

Each is a range of the question's text and what it demands; which column it is about is decided with the table.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from app.sentences import Range
from retrieval.tables.dates import MONTH, MONTH_OF, day

Sign = Literal["=", ">", ">=", "<", "<="]


@dataclass(frozen=True, slots=True)
class Demand:
    """What a column must fulfil: all of `bounds`. `adjective` is the word that may tell the column ("longer")."""

    place: Range
    kind: Literal["number", "date"]
    bounds: tuple[tuple[Sign, float | str], ...]
    adjective: str = ""


_ADJECTIVE = (
    r"more|greater|higher|larger|bigger|longer|heavier|older|deeper|taller|faster|warmer|hotter|dearer|less|lower"
    r"|smaller|shorter|fewer|lighter|cheaper|younger|colder|slower|mehr|größer|höher|länger|schwerer|älter|tiefer|schneller"
    r"|teurer|weniger|kleiner|niedriger|kürzer|leichter|jünger|langsamer|billiger|günstiger"
)
_LOWER = frozenset(
    [
        "less",
        "lower",
        "smaller",
        "shorter",
        "fewer",
        "lighter",
        "cheaper",
        "younger",
        "colder",
        "slower",
        "weniger",
        "kleiner",
        "niedriger",
        "kürzer",
        "leichter",
        "jünger",
        "langsamer",
        "billiger",
        "günstiger",
    ]
)
_SIGNS: tuple[tuple[str, Sign], ...] = (
    (r"at least|no (?:less|fewer) than|not less than|a minimum of|>=|≥|mindestens|al menos|au moins", ">="),
    (r"at most|no more than|not more than|up to|a maximum of|<=|≤|höchstens|como máximo|au plus", "<="),
    (r"over|above|exceed(?:s|ed|ing)?|beyond|>|über|más de|plus de", ">"),
    (r"under|below|<|unter|menos de|moins de", "<"),
    (r"exactly|equal to|of exactly|genau|=", "="),
)
_FIGURE = r"[$€£]?\s?(?P<{0}>\d+(?:[.,]\d+)*)(?P<{0}_unit>\s?(?:%|[$€£]|°C?))?(?![\w-]|[.,/]\d)"
_COMPARED = re.compile(
    rf"(?:(?P<adjective>{_ADJECTIVE}) (?:than|als)"
    rf"|(?P<sign>{'|'.join(words for words, _ in _SIGNS)}))\s*{_FIGURE.format('a')}",
    re.IGNORECASE,
)
_BETWEEN = re.compile(
    rf"(?:between|zwischen|entre)\s+{_FIGURE.format('a')}\s*(?:and|und|y|et|-|–)\s*{_FIGURE.format('b')}", re.IGNORECASE
)

_DAY = (
    rf"\d{{4}}-\d{{2}}(?:-\d{{2}})?|\d{{1,2}}\.\d{{1,2}}\.\d{{4}}"
    rf"|\d{{1,2}}(?:st|nd|rd|th|\.)?\s(?:of\s)?(?:{MONTH})\.?,?\s\d{{4}}|(?:{MONTH})\s\d{{1,2}}(?:st|nd|rd|th)?,?\s\d{{4}}"
    rf"|(?:{MONTH})\.?\s(?:of\s|de\s)?\d{{4}}|Q[1-4][\s/-]\d{{4}}|(?:the )?(?:first|second"
    r"|third|fourth) quarter(?: of)? \d{4}|(?:1[5-9]|20)\d\d"
)
_SINCE = re.compile(
    rf"(?P<how>before|prior to|until|till|up to|by|after|since|vor|bis|nach|seit|ab|antes de|después de|desde|avant"
    rf"|après|depuis)\s+(?:the\s+)?(?P<day>{_DAY})(?![\w%])",
    re.IGNORECASE,
)
_SPAN = re.compile(
    rf"(?:between|from|zwischen|von|entre)\s+(?:the\s+)?(?P<a>{_DAY}|{MONTH})\s*(?:and|to|until|und|bis|y|et|-|–)\s*"
    rf"(?:the\s+)?(?P<b>{_DAY})(?![\w%])",
    re.IGNORECASE,
)
_DURING = re.compile(
    rf"(?:(?:in|during|on|of|for|im|am|en)\s+)?(?:the year\s+)?(?P<day>{_DAY})(?![\w%])", re.IGNORECASE
)
_MONTH_ALONE = re.compile(rf"(?:in|during|of|for|im|en)\s+(?P<month>{MONTH})\b(?!\s\d)", re.IGNORECASE)
_QUARTERS = {"first": 1, "second": 2, "third": 3, "fourth": 4}


_IN_WORDS = {"=": "is", ">": "is over", ">=": "is at least", "<": "is under", "<=": "is at most"}


def demands(text: str) -> list[Demand]:
    """The conditions of `text`, in order, none over another. Days go before figures: 2024 is a year first."""
    found: list[Demand] = []
    for demand in (*_days(text), *_figures(text)):
        if not any(demand.place[0] < one.place[1] and one.place[0] < demand.place[1] for one in found):
            found.append(demand)
    return sorted(found, key=lambda one: one.place)


def month_alone(text: str) -> tuple[Range, int] | None:
    """A month without its year, "in March": a condition only where a table is of one year."""
    match = _MONTH_ALONE.search(text)
    return None if match is None else (match.span(), MONTH_OF[match["month"].casefold()])


def in_words(column: str, bounds: Sequence[tuple[Sign, object]]) -> str:
    """The bounds of a column in words; a whole year, month or day as such."""
    values = [f"{bound:g}" if isinstance(bound, float) else str(bound) for _, bound in bounds]
    signs = [sign for sign, _ in bounds]
    if signs == [">=", "<"]:
        whole = _range(values[0]) == (values[0], values[1])
        return f"{column} is in {values[0]}" if whole else f"{column} is from {values[0]} to before {values[1]}"
    return f"{column} {' and '.join(f'{_IN_WORDS[s]} {value}' for s, value in zip(signs, values, strict=True))}"


def _days(text: str) -> Iterator[Demand]:
    for match in _SPAN.finditer(text):
        last = _range(match["b"])
        bare = match["a"].casefold() in MONTH_OF  # "between March and June 2025"
        first = _range(f"{match['a']} {last[0][:4]}" if bare and last else match["a"])
        if first and last:
            yield Demand(match.span(), "date", ((">=", first[0]), ("<", last[1])))
    for match in _SINCE.finditer(text):
        if found := _range(match["day"]):
            how = match["how"].casefold()
            start, end = found
            if how in ("before", "prior to", "vor", "antes de", "avant"):
                yield Demand(match.span(), "date", (("<", start),))
            elif how in ("after", "nach", "después de", "après"):
                yield Demand(match.span(), "date", ((">=", end),))
            elif how in ("until", "till", "up to", "by", "bis"):
                yield Demand(match.span(), "date", (("<", end),))
            else:
                yield Demand(match.span(), "date", ((">=", start),))
    for match in _DURING.finditer(text):
        if found := _range(match["day"]):
            yield Demand(match.span(), "date", ((">=", found[0]), ("<", found[1])))


def _figures(text: str) -> Iterator[Demand]:
    for match in _BETWEEN.finditer(text):
        low, high = figure(match["a"]), figure(match["b"])
        if low is not None and high is not None:
            yield Demand(match.span(), "number", ((">=", low), ("<=", high)))
    for match in _COMPARED.finditer(text):
        adjective = (match["adjective"] or "").casefold()
        sign: Sign = "<" if adjective in _LOWER else ">"
        if not adjective:
            sign = next(sign for words, sign in _SIGNS if re.fullmatch(words, match["sign"], re.IGNORECASE))
        if (number := figure(match["a"])) is not None:
            yield Demand(match.span(), "number", ((sign, number),), adjective)


def figure(text: str) -> float | None:
    """A number of a question: a comma before three digits parts thousands, any other is a decimal mark; points part
    them where there are several, or a comma after them. None where it is no number (`1.2.3`)."""
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", text):
        return float(text.replace(",", ""))
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}", text):
        text = text.replace(".", "")
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None


def _range(said: str) -> tuple[str, str] | None:
    """The first day, and the first one after, of what is said; ISO texts that compare with days, months and years."""
    if quarter := re.fullmatch(r"(?:the )?(?:q(\d)|(\w+) quarter)(?: of)?[\s/-](\d{4})", said, re.IGNORECASE):
        number, year = int(quarter[1] or _QUARTERS[quarter[2].casefold()]), int(quarter[3])
        return f"{year}-{3 * number - 2:02}", f"{year}-{3 * number + 1:02}" if number < 4 else f"{year + 1}"
    if said.isdigit():
        return said, str(int(said) + 1)
    iso = day(re.sub(r"(?i)\b(?:of|de)\s", "", said))
    if iso is None:
        return None
    if len(iso) == 7:
        year, month = int(iso[:4]), int(iso[5:])
        return iso, f"{year}-{month + 1:02}" if month < 12 else f"{year + 1}"
    return iso, (date.fromisoformat(iso) + timedelta(days=1)).isoformat()
