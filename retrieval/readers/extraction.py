"""What a reader gives: one text, and spans that say where in the file each part of it stands."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from retrieval.errors import UnreadableDocument
from retrieval.types import Locator

VERSION = "4"
"""Part of an extraction's identity: raised when any reader gives other text for the same file."""

MAX_CHARACTERS = 50_000_000
"""More text than this in one file is a dump, not a document, and would not fit the worker's memory."""

_LONGEST_NAME = 100
"""Of a table: a longer caption is a paragraph."""

SECTION_SEPARATOR = " › "

_CONTROLS = {code: None for code in range(32) if code not in (9, 10)} | {
    0x0B: "\n",
    0x0C: "\n",
    0x7F: None,
    0xFEFF: None,
}
_ESCAPE = re.compile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|[\\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\\\)|[ -/]*[0-~])?")
"""Control sequences (ECMA-48): colours and the like; commands with a text of their own, such as links; single ones."""
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Span:
    """A part `text[start:end]` that shares one position. `kind` is text, heading, list, table, code or note."""

    start: int
    end: int
    page: int | None = None
    locator: Locator = field(default_factory=Locator)
    kind: str = "text"


@dataclass(frozen=True, slots=True)
class Extraction:
    """A file as text. Spans are ordered, do not overlap, and leave out only separators between parts."""

    text: str
    title: str
    media_type: str
    spans: tuple[Span, ...]
    pages: int | None = None
    metadata: dict[str, str] = field(default_factory=dict)


def clean(text: str) -> str:
    """Line ends become `\\n`; a terminal's escape sequences, byte-order marks, control characters and lone surrogates
    go. Nothing else changes."""
    text = _ESCAPE.sub("", text) if "\x1b" in text else text
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROLS)
    return _SURROGATE.sub("\ufffd", text)


class Builder:
    """Puts an extraction together part by part, keeping offsets, the page and the headings above each part."""

    def __init__(self) -> None:
        self.page: int | None = None
        self.slide: int | None = None
        self.sheet: str | None = None
        self.title = ""
        self.metadata: dict[str, str] = {}
        self._parts: list[str] = []
        self._spans: list[Span] = []
        self._length = 0
        self._headings: list[tuple[int, str]] = []
        self._tables: Counter[str] = Counter()

    @property
    def section(self) -> str | None:
        """The headings above what comes next, outermost first."""
        return SECTION_SEPARATOR.join(title for _, title in self._headings) or None

    def enter(self, level: int, title: str) -> None:
        """Begin a section without adding text: headings of this level and below end here."""
        self._headings = [(old, name) for old, name in self._headings if old < level]
        if title := " ".join(clean(title).split()):
            self._headings.append((level, title))

    def heading(self, level: int, text: str) -> None:
        """Begin a section and add its heading."""
        self.enter(level, text)
        self.add(" ".join(text.split()), "heading")

    @contextmanager
    def named_table(self, name: str) -> Iterator[None]:
        """What is added inside is a table of its own, called `name`, else for the heading above it or its number."""
        own = " ".join(clean(name).split())[:_LONGEST_NAME] or (self._headings[-1][1] if self._headings else "Table")
        self._tables[own] += 1
        before, repeated = self.sheet, self._tables[own] > 1 or own == "Table"
        self.sheet = f"{own} {self._tables[own]}" if repeated else own
        try:
            yield
        finally:
            self.sheet = before

    def add(self, text: str, kind: str = "text", *, separator: str = "\n\n", cells: str | None = None) -> None:
        """Append a part with its own span; a part of white space only is left out.

        Raises UnreadableDocument when the whole grows past MAX_CHARACTERS.
        """
        text = clean(text).strip("\n")
        if not text.strip():
            return
        if self._length:
            self.join(separator)
        start, self._length = self._length, self._length + len(text)
        if self._length > MAX_CHARACTERS:
            raise UnreadableDocument(
                f"It holds more than {MAX_CHARACTERS:,} characters.", "Split it into smaller files."
            )
        self._parts.append(text)
        locator = Locator(section=self.section, sheet=self.sheet, cells=cells, slide=self.slide)
        self._spans.append(Span(start, self._length, self.page, locator, kind))

    def append(self, other: Extraction, name: str) -> None:
        """Add a whole extraction of a file inside this one, whose sheets are then called for its `name`, too."""
        end = 0
        for span in other.spans:
            between = other.text[end : span.start] if end else "\n\n"
            self.sheet = f"{name} › {span.locator.sheet}" if span.locator.sheet else name
            self.add(other.text[span.start : span.end], span.kind, separator=between, cells=span.locator.cells)
            end = span.end
        self.sheet = None

    def join(self, separator: str) -> None:
        """Append text that belongs to no part."""
        self._parts.append(separator)
        self._length += len(separator)

    def build(self, media_type: str, *, title: str = "", pages: int | None = None) -> Extraction:
        """The finished extraction; the first heading is the title where the file names none."""
        text = "".join(self._parts)
        if not (title := " ".join(clean(title or self.title).split())):
            first = next((span for span in self._spans if span.kind == "heading"), None)
            title = text[first.start : first.end] if first else ""
        metadata = {
            key: " ".join(clean(value).split()) for key, value in self.metadata.items() if value and value.strip()
        }
        return Extraction(text, title, media_type, tuple(self._spans), pages, metadata)


def locate(spans: Sequence[Span], start: int, end: int) -> tuple[int | None, Locator]:
    """Page and locator of `text[start:end]`: those of the first span it touches, cells widened to all it touches.

    A range that lies wholly between spans takes the position of the span before it.
    """
    if not spans:
        return None, Locator()
    first = max(bisect_right(spans, start, key=lambda span: span.start) - 1, 0)
    if spans[first].end <= start and first + 1 < len(spans) and spans[first + 1].start < end:
        first += 1
    found = spans[first]
    if found.locator.cells is None:
        return found.page, found.locator
    boxes = [cell_box(found.locator.cells)]
    for index in range(first + 1, len(spans)):  # no slice: a sheet has a span for each of its cells
        span = spans[index]
        if span.start >= end or span.locator.sheet != found.locator.sheet:
            break
        if span.locator.cells is not None:
            boxes.append(cell_box(span.locator.cells))
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[2] for box in boxes), max(box[3] for box in boxes)
    cells = (
        cell_name(left, top) if (left, top) == (right, bottom) else f"{cell_name(left, top)}:{cell_name(right, bottom)}"
    )
    return found.page, Locator(found.locator.section, found.locator.sheet, cells, found.locator.slide)


def cell_name(column: int, row: int) -> str:
    """A1 notation of a column and a row, both counted from 1."""
    letters = ""
    while column:
        column, remainder = divmod(column - 1, 26)
        letters = chr(65 + remainder) + letters
    return f"{letters}{row}"


def cell_box(cells: str) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of `B4` or `B4:D9`, counted from 1."""
    corners = []
    for corner in cells.split(":"):
        letters = corner.rstrip("0123456789")
        column = 0
        for letter in letters:
            column = column * 26 + ord(letter) - 64
        corners.append((column, int(corner[len(letters) :])))
    return *corners[0], *corners[-1]
