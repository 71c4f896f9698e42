"""The plain rows that leave this room. Offsets count code points in one extraction of a document, end exclusive."""

from dataclasses import dataclass, field
from typing import Literal

Drift = Literal["changed", "gone"]
"""How a file differs from what it was when it was read: in what it holds, or it is there no more."""


@dataclass(frozen=True, slots=True)
class Locator:
    """Where in its document a passage stands, beside page and line. Only what the format has is set."""

    section: str | None = None
    """Headings from the outermost, joined by " › "."""
    sheet: str | None = None
    cells: str | None = None
    """A1 notation, `B4` or `B4:D9`."""
    slide: int | None = None
    ocr: float | None = None
    """How certain, 0 to 1, the recognition of its page was, where that is a picture."""


Section = tuple[int, int, str]
"""Start and end of a section in its document's extraction, and the headings above it, or its sheet or slide."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk as found. `text` is `Library.text(document)[start:end]`, character by character."""

    chunk: int
    document: str
    """Stable id, `d12`."""
    path: str
    title: str
    page: int | None
    line: int
    start: int
    end: int
    locator: Locator
    text: str
    text_sha256: str
    """Of the whole extraction that the offsets are relative to."""
    collection: str
    score: float
    dense: float | None = None
    """Cosine with the query, None if found lexically only."""
    lexical: float | None = None
    """BM25 (higher is better), None if found densely only."""
    also: tuple[str, ...] = ()
    """Paths of other documents that say the same, best first; they are not found beside this one."""


@dataclass(frozen=True, slots=True)
class Position:
    """Page, line and locator of one character range, as a citation shows them."""

    page: int | None
    line: int
    locator: Locator = field(default_factory=Locator)


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    id: str
    path: str
    title: str
    collection: str
    media_type: str
    bytes: int
    characters: int
    pages: int | None
    chunks: int
    text_sha256: str
    ingested_at: str
    """UTC, ISO 8601."""
    pinned: bool = False
