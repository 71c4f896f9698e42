"""What the cells of a column say: numbers with their unit, days, yes and no, or text. Rules over a cell's own words.

A column is of a kind if nearly all its cells are; the few that are not ("to be announced") become None. Knows nothing
about sheets and questions.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from retrieval.tables.dates import days

Kind = Literal["number", "date", "boolean", "text"]
Value = int | float | str | None
"""A date is ISO text, as much of it as is known (`2025`, `2025-03`, `2025-03-19`); yes is 1 and no is 0."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table. `place` counts the sheet's columns from 1."""

    name: str
    place: int
    kind: Kind
    unit: str = ""
    """As the cells or the header write it: `€`, `%`, `mg/l`."""
    decimals: int = 0
    """Most digits after the decimal mark in any cell."""


_LENIENT = 0.9
"""Share of a column's cells that must be of its kind."""
_LONGEST = 40
"""Characters of a cell that can be a number or a day."""
_DIGITS = 15
"""More digits than this are a card's or an account's, and no number that is added up."""
_NONE = frozenset({"", "-", "–", "—", "n/a", "na", "n.a.", "k.a.", "none", "null", "nil", "?", "tbc", "tbd", "..."})
_YES = frozenset({"yes", "true", "ja", "sí", "si", "oui", "y", "wahr", "是"})
_NO = frozenset({"no", "false", "nein", "non", "n", "falsch", "否"})

_CURRENCY = r"(?:US\$|[$€£¥₹]|EUR|USD|GBP|CHF|JPY|SEK|NOK|DKK|kr\.?|Fr\.)"
_NUMBER = re.compile(
    rf"(?P<open>\()?(?P<minus>[-−–])?\s?(?P<before>{_CURRENCY})?\s?(?P<minus2>[-−–])?\+?"
    r"(?P<body>\d[\d.,'’\u00a0\u202f ]*\d|\d|[.,]\d+)"
    rf"\s?(?P<after>%|‰|{_CURRENCY}|[^\W\d_°]{{1,12}}[²³]?(?:/[^\W\d_]{{1,4}}[²³]?)?|°[CF]?)?(?P<close>\))?(?P<minus3>-)?"
)
_GROUPED = re.compile(r"\d{1,3}(?:[.,]\d{3})+")
_SAME = {"€": "EUR", "£": "GBP", "$": "USD", "US$": "USD", "¥": "JPY"}
_YEAR = re.compile(r"(?:1[5-9]|20)\d\d")
_YEAR_NAME = re.compile(r"year|jahr|année|año|\banno\b|年", re.IGNORECASE)
_HEADER_UNIT = re.compile(
    rf"[(\[](?P<closed>[^)\]]{{1,12}})[)\]]\s*$|(?:\bin\s+|\s)(?P<last>{_CURRENCY}|%|°?[CF]|[kcm]?m[²³]?|km/h|knots?|k?g|mg/l"
    r"|[mch]?l|t|tonnes|k?Wh?|MWh?|h|hrs?|hours|min|minutes|days|years|PSU|ppm|hPa|per\s\d*\s?\w+)\s*$"
)


def decimal_mark(cells: Iterable[str]) -> str | None:
    """The decimal mark that the numbers among `cells` agree on; None if none of them tells, or they contradict."""
    short = (cell.strip() for cell in cells if len(cell) <= _LONGEST)
    told = {mark for cell in short if (match := _NUMBER.fullmatch(cell)) for mark in _mark(match["body"])}
    return told.pop() if len(told) == 1 else None


def _mark(body: str) -> str:
    """`.` or `,` if the number can be read in one way only, else nothing."""
    points, commas = body.count("."), body.count(",")
    if points and commas:
        return max(".", ",", key=body.rindex)
    if points + commas > 1:
        return "," if points else "."
    if points + commas == 0 or (_GROUPED.fullmatch(body) and not body.startswith("0")):
        return ""
    return "." if points else ","


def typed(name: str, place: int, cells: Sequence[str], mark: str | None) -> tuple[Column, list[Value]]:
    """The column of `cells` and their values, one for one. `mark` is its table's decimal mark, where that is known."""
    known = [cell.strip() for cell in cells if cell.strip().casefold() not in _NONE]
    for column, values in (
        _booleans(name, place, known),
        _dates(name, place, known),
        _numbers(name, place, known, decimal_mark(known) or mark or "."),
    ):
        if sum(cell in values for cell in known) >= max(_LENIENT * len(known), 1):
            return column, [values.get(cell.strip()) for cell in cells]
    return Column(name, place, "text"), [cell.strip() or None for cell in cells]


Reading = tuple[Column, dict[str, Value]]
"""A column, and what those of its cells say that could be read so."""


def _booleans(name: str, place: int, cells: Sequence[str]) -> Reading:
    said = {cell: int(cell.casefold() in _YES) for cell in cells if cell.casefold() in _YES | _NO}
    return Column(name, place, "boolean"), dict(said) if len({cell.casefold() for cell in said}) <= 2 else {}


def _dates(name: str, place: int, cells: Sequence[str]) -> Reading:
    found: dict[str, Value] = {**days([cell for cell in cells if len(cell) <= _LONGEST])}
    if not found and _YEAR_NAME.search(name):
        found = {cell: cell for cell in cells if _YEAR.fullmatch(cell)}
    return Column(name, place, "date"), found


def _numbers(name: str, place: int, cells: Sequence[str], mark: str) -> Reading:
    """Numbers of one unit. Long figures and those that begin with a zero are the names of things, not numbers."""
    values: dict[str, Value] = {}
    units: dict[str, str] = {}
    decimals = 0
    for cell in set(cells):
        match = _NUMBER.fullmatch(cell) if len(cell) <= _LONGEST else None
        body = _body(match["body"], mark) if match else None
        if match is None or body is None:
            continue
        if sum(c.isdigit() for c in body) > _DIGITS or (len(body) > 1 and body[0] == "0" and body[1].isdigit()):
            return Column(name, place, "text"), {}
        negative = any(match[sign] for sign in ("open", "minus", "minus2", "minus3"))
        number = float(body) if "." in body else int(body)
        values[cell] = -number if negative else number
        decimals = max(decimals, len(body.partition(".")[2]))
        if unit := match["before"] or match["after"]:
            units[_SAME.get(unit, unit)] = unit
    if len(units) > 1:  # a sum of euros and pounds is nothing
        return Column(name, place, "text"), {}
    unit = next(iter(units.values()), "") or _header_unit(name)
    return Column(name, place, "number", unit, decimals), values


def _body(body: str, mark: str) -> str | None:
    """The digits as Python reads them; None if `mark` is not the decimal mark here, or groups are not of three."""
    body = re.sub(r"['’\u00a0\u202f ](?=\d{3}(?!\d))", "", body)
    whole, _, part = body.partition(mark)
    other = "," if mark == "." else "."
    if other in whole:
        if not _GROUPED.fullmatch(whole):
            return None
        whole = whole.replace(other, "")
    digits = whole.isdigit() or not whole
    return (f"{whole or '0'}.{part}" if part else whole) if digits and (part.isdigit() or not part) else None


def _header_unit(name: str) -> str:
    match = _HEADER_UNIT.search(name)
    return (match["closed"] or match["last"]) if match else ""


def without_unit(name: str) -> str:
    """The header `name` without the unit at its end: `Price` of `Price (EUR)`, `Dissolved oxygen` of `... mg/l`."""
    match = _HEADER_UNIT.search(name)
    return name[: match.start()].strip() if match and match.start() else name
