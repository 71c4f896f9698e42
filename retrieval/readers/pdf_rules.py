"""The ruled tables of a PDF's page: lines drawn along and across that meet, and the cells between them.

Lengths are points; x grows to the right and y upwards.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from operator import attrgetter, neg
from typing import Any

_NEAR = 3.0
"""Lines that miss each other by so much still meet; a drawn area that is no wider is a line."""
_SHORT = 6.0
"""A line below this is a dash, a tick or part of a letter."""
_MOST_PATHS = 20_000
_MOST_RULES = 2_000
"""A page with more is a drawing."""
_MOST_COLUMNS = 200
"""A page has no room for words in more."""

Point = tuple[float, float]
_at = attrgetter("at")


@dataclass(frozen=True, slots=True)
class Rule:
    """A line along x (or, of a vertical one, along y) from `start` to `end`, at `at` on the other axis."""

    at: float
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Grid:
    """Lines of one table: its column edges from the left, its row edges from the top, and the drawn lines."""

    xs: tuple[float, ...]
    ys: tuple[float, ...]
    across: tuple[Rule, ...]
    """Horizontal, from the bottom."""
    down: tuple[Rule, ...]
    """Vertical, from the left."""

    def cell(self, point: Point) -> tuple[int, int] | None:
        """Row and column, from 0, of the cell at `point`: the first of what is merged there; None outside."""
        x, y = point
        if not (self.xs[0] <= x <= self.xs[-1] and self.ys[-1] <= y <= self.ys[0]):
            return None
        column = min(bisect_right(self.xs, x), len(self.xs) - 1) - 1
        row = min(bisect_right(self.ys, -y, key=neg), len(self.ys) - 1) - 1
        while column and not _drawn(self.down, self.xs[column], y):
            column -= 1
        while row and not _drawn(self.across, self.ys[row], x):
            row -= 1
        return row, column


def _drawn(rules: Sequence[Rule], at: float, place: float) -> bool:
    """Whether one of `rules`, ascending, is drawn at `at`, beside `place`."""
    first = bisect_left(rules, at - _NEAR, key=_at)
    near = takewhile(lambda rule: rule.at <= at + _NEAR, (rules[n] for n in range(first, len(rules))))
    return any(rule.start - _NEAR <= place <= rule.end + _NEAR for rule in near)


def grids(page: Any) -> list[Grid]:
    """The ruled tables of a page (pypdfium2's `PdfPage`) of at least two rows and two columns."""
    across, down = rules(page)
    if not across or not down or len(across) + len(down) > _MOST_RULES:
        return []
    found = []
    for hs, vs in _groups(across, down):
        xs = _edges([rule.at for rule in vs] + [end for rule in hs for end in (rule.start, rule.end)])
        ys = _edges([rule.at for rule in hs] + [end for rule in vs for end in (rule.start, rule.end)])
        if 2 < len(xs) <= _MOST_COLUMNS + 1 and len(ys) > 2:
            found.append(Grid(tuple(xs), tuple(reversed(ys)), tuple(sorted(hs, key=_at)), tuple(sorted(vs, key=_at))))
    return found


def _groups(across: Sequence[Rule], down: Sequence[Rule]) -> Iterator[tuple[list[Rule], list[Rule]]]:
    """Horizontal and vertical lines that hang together."""
    left = {"across": list(across), "down": list(down)}
    while left["across"]:
        found: dict[str, list[Rule]] = {"across": [left["across"].pop()], "down": []}
        waiting = [("across", found["across"][0])]
        while waiting:
            way, rule = waiting.pop()
            other = "down" if way == "across" else "across"
            met = [one for one in left[other] if _meet(rule, one)]
            left[other] = [one for one in left[other] if not _meet(rule, one)]
            found[other].extend(met)
            waiting.extend((other, one) for one in met)
        yield found["across"], found["down"]


def _meet(one: Rule, other: Rule) -> bool:
    """Whether a horizontal and a vertical line touch."""
    return one.start - _NEAR <= other.at <= one.end + _NEAR and other.start - _NEAR <= one.at <= other.end + _NEAR


def _edges(places: Iterable[float]) -> list[float]:
    """`places`, those side by side as one."""
    found: list[list[float]] = []
    for place in sorted(places):
        if found and place - found[-1][-1] <= _NEAR:
            found[-1].append(place)
        else:
            found.append([place])
    return [sum(group) / len(group) for group in found]


def rules(page: Any) -> tuple[list[Rule], list[Rule]]:
    """Horizontal and vertical lines that are drawn on a page, pieces in a row as one."""
    from pypdfium2 import raw

    across, down = [], []
    for number, path in enumerate(page.get_objects(filter=[raw.FPDF_PAGEOBJ_PATH], max_depth=1)):
        if number == _MOST_PATHS:
            return [], []
        for start, end in _edges_of(path):
            wide, high = abs(start[0] - end[0]), abs(start[1] - end[1])
            if high <= 1.0 and wide >= _SHORT:
                across.append(Rule((start[1] + end[1]) / 2, min(start[0], end[0]), max(start[0], end[0])))
            elif wide <= 1.0 and high >= _SHORT:
                down.append(Rule((start[0] + end[0]) / 2, min(start[1], end[1]), max(start[1], end[1])))
    return _whole(across), _whole(down)


def _whole(rules: Iterable[Rule]) -> list[Rule]:
    """`rules` with pieces of one line joined."""
    found: list[Rule] = []
    for rule in sorted(rules, key=lambda rule: (round(rule.at), rule.start)):
        last = found[-1] if found else None
        if last is not None and abs(last.at - rule.at) <= 1.0 and rule.start <= last.end + _NEAR:
            found[-1] = Rule(last.at, last.start, max(last.end, rule.end))
        else:
            found.append(rule)
    return found


def _edges_of(path: Any) -> Iterator[tuple[Point, Point]]:
    """The straight edges of a path as it stands on the page; of a thin filled area, its longer middle line."""
    from ctypes import byref, c_float, c_int

    from pypdfium2 import raw

    fill, stroke = c_int(), c_int()
    raw.FPDFPath_GetDrawMode(path.raw, byref(fill), byref(stroke))
    matrix = path.get_matrix()
    if not stroke.value:
        if not fill.value:
            return
        left, bottom, right, top = path.get_bounds()
        if min(right - left, top - bottom) <= _NEAR:
            x, y = (left + right) / 2, (bottom + top) / 2
            yield ((left, y), (right, y)) if right - left > top - bottom else ((x, bottom), (x, top))
        return
    x, y = c_float(), c_float()
    begun: Point = (math.nan, math.nan)
    at = begun
    for index in range(raw.FPDFPath_CountSegments(path.raw)):
        segment = raw.FPDFPath_GetPathSegment(path.raw, index)
        raw.FPDFPathSegment_GetPoint(segment, byref(x), byref(y))
        point = matrix.on_point(x.value, y.value)
        kind = raw.FPDFPathSegment_GetType(segment)
        if kind == raw.FPDF_SEGMENT_MOVETO:
            begun = point
        elif kind == raw.FPDF_SEGMENT_LINETO:
            yield at, point
        if raw.FPDFPathSegment_GetClose(segment):
            yield point, begun
        at = point
