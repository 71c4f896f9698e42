"""Days as the cells of a column write them, in ISO form. The order of day and month is the whole column's.

Knows the names of months in English, German, French and Spanish. Days that could be read in two ways are not read.
"""

import re
from collections.abc import Sequence
from datetime import date

_MONTHS = (
    "january jan januar jänner janvier janv enero ene",
    "february feb februar février févr febrero",
    "march mar märz mrz mars marzo",
    "april apr avril avr abril abr",
    "may mai mayo",
    "june jun juni juin junio",
    "july jul juli juillet juil julio",
    "august aug août agosto ago",
    "september sep sept septembre septiembre",
    "october oct oktober okt octobre octubre",
    "november nov novembre noviembre",
    "december dec dezember dez décembre déc diciembre dic",
)
MONTH_OF = {name: number for number, names in enumerate(_MONTHS, 1) for name in names.split()}
MONTH = "|".join(sorted(map(re.escape, MONTH_OF), key=len, reverse=True))
"""Alternatives of a regular expression, longest first."""

_TIME = r"(?:[T ]+(?P<time>\d{1,2}:\d{2}(?::\d{2})?)(?:\.\d+)?Z?)?"
_ISO = re.compile(rf"(?P<y>\d{{4}})[-/.](?P<m>\d{{1,2}})(?:[-/.](?P<d>\d{{1,2}}))?{_TIME}")
_POINTS = re.compile(rf"(?P<d>\d{{1,2}})\.\s?(?P<m>\d{{1,2}})\.\s?(?P<y>\d{{4}}|\d{{2}}){_TIME}")
_SLASHES = re.compile(rf"(?P<a>\d{{1,2}})[/-](?P<b>\d{{1,2}})[/-](?P<y>\d{{4}}|\d{{2}}){_TIME}")
_DAY_FIRST = re.compile(
    rf"(?:(?P<d>\d{{1,2}})(?:st|nd|rd|th|\.)?[\s-]?(?:of |de )?\s?)?(?P<name>{MONTH})\.?,?[\s-](?:de )?"
    r"(?P<y>\d{4}|\d{2})",
    re.IGNORECASE,
)
_MONTH_FIRST = re.compile(rf"(?P<name>{MONTH})\.?\s(?P<d>\d{{1,2}})(?:st|nd|rd|th)?,?\s(?P<y>\d{{4}})", re.IGNORECASE)
_WEEKDAY = re.compile(rf"^(?!(?:{MONTH})\b)[^\W\d_]{{2,10}}\.?,?\s+(?=\d)", re.IGNORECASE)
_PIVOT = 70
"""Years of two digits from here on are of the 20th century."""


def days(cells: Sequence[str]) -> dict[str, str]:
    """ISO text of each of `cells` that is a day, a month or a day with a time, where its order is clear."""
    found: dict[str, str] = {}
    slashes: dict[str, re.Match[str]] = {}
    for cell in set(cells):
        bare = _WEEKDAY.sub("", cell)
        if match := _SLASHES.fullmatch(bare):
            slashes[cell] = match
        elif iso := day(bare):
            found[cell] = iso
    first = any(int(match["a"]) > 12 for match in slashes.values())
    second = any(int(match["b"]) > 12 for match in slashes.values())
    if first != second:
        for cell, match in slashes.items():
            month, number = (match["b"], match["a"]) if first else (match["a"], match["b"])
            if iso := _iso(match["y"], month, number, match["time"]):
                found[cell] = iso
    return found


def day(text: str) -> str | None:
    """ISO text of a day, or of a month of a year, that can be read in one way only; None if `text` is none."""
    for pattern in (_ISO, _POINTS):
        if match := pattern.fullmatch(text):
            return _iso(match["y"], match["m"], match["d"], match["time"])
    for pattern in (_DAY_FIRST, _MONTH_FIRST):
        if match := pattern.fullmatch(text):
            return _iso(match["y"], str(MONTH_OF[match["name"].casefold()]), match["d"], None)
    return None


def _iso(year: str, month: str, number: str | None, time: str | None) -> str | None:
    full = int(year) if len(year) == 4 else int(year) + (1900 if int(year) >= _PIVOT else 2000)
    try:
        whole = date(full, int(month), int(number or 1)).isoformat()
    except ValueError:
        return None
    return (whole if number else whole[:7]) + (f" {time.zfill(5)}" if time else "")
