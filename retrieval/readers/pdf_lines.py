"""The lines of a PDF's page, each with its words and their places, in the order in which the file gives them.

Lengths are points; x grows to the right and y upwards.
"""

import re
from collections.abc import Iterator, Sequence
from ctypes import byref
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

_HYPHEN = "\ufffe"
"""PDFium's mark for a hyphen at a line's end, in place of hyphen and line break."""
_WIDE_GAP = 1.8
"""A gap inside a line of this many heights of a letter parts the cells of a table, and is no word space."""


@dataclass(frozen=True, slots=True)
class Word:
    """`point` is the middle of its first letter; a word broken at a line's end ends on the next line."""

    text: str
    left: float
    right: float
    height: float
    point: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """At least one word; `size` is that of its font."""

    words: tuple[Word, ...]
    baseline: float
    size: float

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def left(self) -> float:
        return self.words[0].left

    @property
    def right(self) -> float:
        return max(self.words[-1].right, self.words[0].right)

    @property
    def tabular(self) -> bool:
        """Whether it is parted by a wide gap."""
        return any(_parted(*pair) for pair in pairwise(self.words))

    def cells(self) -> list["Line"]:
        """Its parts between wide gaps."""
        edges = [0, *(at for at, pair in enumerate(pairwise(self.words), 1) if _parted(*pair)), len(self.words)]
        return [Line(self.words[start:end], self.baseline, self.size) for start, end in pairwise(edges)]


def _parted(one: Word, other: Word) -> bool:
    return other.left - one.right > _WIDE_GAP * max(other.height, 1.0)


def read_lines(text_page: Any) -> list[Line]:
    """The lines of a page, pypdfium2's `PdfTextPage`."""
    return [line for part in _parts(text_page) if (line := _line(text_page.raw, part)) is not None]


def _parts(text_page: Any) -> Iterator[list[list[tuple[int, str]]]]:
    """Lines as words, words as letters, each with its number on the page."""
    from pypdfium2 import raw

    words: list[list[tuple[int, str]]] = [[]]
    for index in range(text_page.count_chars()):
        code = raw.FPDFText_GetUnicode(text_page.raw, index)
        if code in (10, 13):
            yield words
            words = [[]]
        elif code and (char := chr(code)).isspace():
            words.append([])
        elif code:
            words[-1].append((index, char))
    yield words


def _line(handle: Any, parts: Sequence[Sequence[tuple[int, str]]]) -> Line | None:
    from pypdfium2 import raw

    box = raw.FS_RECTF()
    words = []
    first: int | None = None
    baseline = height = 0.0
    for letters in parts:
        if not letters or not (text := _joined("".join(char for _, char in letters))):
            continue
        raw.FPDFText_GetLooseCharBox(handle, letters[0][0], byref(box))
        left, point = box.left, ((box.left + box.right) / 2, (box.bottom + box.top) / 2)
        if first is None:
            first, baseline, height = letters[0][0], box.bottom, abs(box.top - box.bottom)
        high = abs(box.top - box.bottom)
        raw.FPDFText_GetLooseCharBox(handle, letters[-1][0], byref(box))
        words.append(Word(text, left, box.right, high, point))
    if first is None:
        return None
    size = raw.FPDFText_GetFontSize(handle, first)
    # Fonts scaled by the text matrix report size 1; their boxes tell the truth.
    return Line(tuple(words), baseline, round(size if size > 1.5 else height, 1))


def _joined(text: str) -> str:
    """A word's text: surrogate pairs joined, soft line-end hyphens taken out."""
    if any("\ud800" <= char <= "\udfff" for char in text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return re.sub(f"(?<=[^\\W\\d_]){_HYPHEN}(?=[^\\W\\d_])", "", text).replace(_HYPHEN, "-")
