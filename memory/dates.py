"""Dates as people write them in English, resolved against the day they were written on."""

import calendar
import re
from dataclasses import dataclass
from datetime import date, timedelta

_MONTHS = {name.casefold(): number for number, name in enumerate(calendar.month_name) if name}
_MONTHS |= {name.casefold(): number for number, name in enumerate(calendar.month_abbr) if name} | {"sept": 9}
_DAYS = {name.casefold(): number for number, name in enumerate(calendar.day_name)}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DAY = "|".join(_DAYS)
_COUNTED = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: n for n, word in enumerate(_COUNTED, 1)} | {"a": 1, "an": 1}
_UNITS = {"day": 1, "week": 7}

_PATTERN = re.compile(
    rf"""\b(?:
      (?P<iso>\d{{4}}-\d{{2}}-\d{{2}})
    | (?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<month>{_MONTH})\b\.?(?:,?\s+(?P<year>\d{{4}}))?
    | (?P<month2>{_MONTH})\.?\s+(?P<day2>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,?\s+(?P<year2>\d{{4}}))?
    | (?P<word>today|tonight|tomorrow|yesterday)
    | in\s+(?P<count>\d{{1,3}}|{"|".join(_NUMBERS)})\s+(?P<unit>day|week)s?
    | (?P<ago>\d{{1,3}}|{"|".join(_NUMBERS)})\s+(?P<ago_unit>day|week)s?\s+ago
    | (?P<which>next|this|last|on)\s+(?P<weekday>{_DAY})
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)


_SPAN = re.compile(
    rf"""\b(?:
      (?:(?P<month>{_MONTH})\.?,?\s+(?:of\s+)?|(?:in|of|during|since|throughout)\s+)(?P<year>(?:19|20)\d{{2}})
    | (?:in|during|of|last|this|next|early|mid|late)[\s-]+(?P<only>{_MONTH})(?!\.?,?\s+(?:of\s+)?\d)
    | (?P<which>last|this|past)\s+(?P<unit>week|weekend|month|year)
    | (?P<ago>\d{{1,3}}|{"|".join(_NUMBERS)})\s+(?P<ago_unit>month|year)s?\s+ago
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Dated:
    """A date in a text, at its characters."""

    day: date
    start: int
    end: int


def find_date(text: str, today: date) -> Dated | None:
    """The first date of `text`, None if it names none; a day and month without a year is the nearest one to come."""
    for match in _PATTERN.finditer(text):
        day = _resolve(match.groupdict(), today)
        if day is not None:
            return Dated(day, match.start(), match.end())
    return None


def find_span(text: str, today: date) -> tuple[date, date] | None:
    """The first and last day that `text` speaks of; None where it names no time.

    A month without a year is the last one. A day is a span of three: who asks about yesterday may
    mean what was told of it the day after.
    """
    if match := _SPAN.search(text):
        return _span(match.groupdict(), today)
    day = find_date(text, today)
    return (day.day - timedelta(1), day.day + timedelta(1)) if day else None


def _span(found: dict[str, str | None], today: date) -> tuple[date, date]:
    if name := found["month"] or found["only"]:
        month = _MONTHS[name.casefold()]
        year = int(found["year"] or (today.year if month <= today.month else today.year - 1))
        return _month(year, month)
    if found["year"]:
        return date(int(found["year"]), 1, 1), date(int(found["year"]), 12, 31)
    if found["ago_unit"]:
        count = _count(found["ago"])
        if found["ago_unit"].casefold() == "year":
            return date(today.year - count, 1, 1), date(today.year - count, 12, 31)
        return _month(*_months_before(today, count))
    earlier = (found["which"] or "").casefold() != "this"
    if (found["unit"] or "").casefold() == "month":
        return _month(*_months_before(today, int(earlier)))
    if (found["unit"] or "").casefold() == "year":
        return date(today.year - earlier, 1, 1), date(today.year - earlier, 12, 31)
    monday = today - timedelta(today.weekday() + 7 * earlier)
    return monday, monday + timedelta(6)


def _months_before(today: date, count: int) -> tuple[int, int]:
    months = today.year * 12 + today.month - 1 - count
    return months // 12, months % 12 + 1


def _month(year: int, month: int) -> tuple[date, date]:
    return date(year, month, 1), date(year, month, calendar.monthrange(year, month)[1])


def _resolve(found: dict[str, str | None], today: date) -> date | None:
    try:
        if found["iso"]:
            return date.fromisoformat(found["iso"])
        if month := found["month"] or found["month2"]:
            day, year = found["day"] or found["day2"], found["year"] or found["year2"]
            return _named(int(day or 0), _MONTHS[month.casefold()], int(year) if year else None, today)
        if found["word"]:
            return today + timedelta({"yesterday": -1, "tomorrow": 1}.get(found["word"].casefold(), 0))
        if found["unit"]:
            return today + timedelta(_count(found["count"]) * _UNITS[found["unit"].casefold()])
        if found["ago_unit"]:
            return today - timedelta(_count(found["ago"]) * _UNITS[found["ago_unit"].casefold()])
        if found["weekday"] and found["which"]:
            return _weekday(found["which"].casefold(), _DAYS[found["weekday"].casefold()], today)
    except (ValueError, OverflowError):  # the 31st of June, the year 0000
        return None
    return None


def _named(day: int, month: int, year: int | None, today: date) -> date:
    if year is not None:
        return date(year, month, day)
    this_year = date(today.year, month, day)
    return this_year if this_year >= today else date(today.year + 1, month, day)


def _weekday(which: str, weekday: int, today: date) -> date:
    ahead = (weekday - today.weekday()) % 7
    if which == "last":
        return today - timedelta((today.weekday() - weekday) % 7 or 7)
    return today + timedelta(ahead or (0 if which == "this" else 7))


def _count(text: str | None) -> int:
    word = (text or "").casefold()
    return _NUMBERS[word] if word in _NUMBERS else int(word)
