"""A document's text cut into passages the embedder can read whole, each within one position. Knows no database.

Prose goes through semchunk, tables by rows under their header, source code by its syntax.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from retrieval.readers.extraction import Extraction, Span
from retrieval.source_code import code_parts

VERSION = "2"
"""Raised when the same extraction is cut otherwise, or its embedded text changes."""

HEADING_TOKENS = 48
"""At most this much of the window goes to a passage's headings, and as much to a table's header."""

_CHARACTERS_PER_TOKEN = 10
"""A word too long for the tokenizer is one unknown token; counting characters too keeps such a passage readable."""

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Chunk:
    """The passage `text[start:end]` of an extraction, and what is embedded for it."""

    start: int
    end: int
    heading: str
    """Title and section, for the full-text index."""
    embedded: str
    """The passage under as much of its heading, or of its table's header, as the window holds."""


def chunk(extraction: Extraction, count: Callable[[str], int], limit: int) -> list[Chunk]:
    """Cut `extraction` so that no embedded text takes more than `limit` tokens, as `count` counts one text.

    Chunks are in order, do not overlap, begin and end with a visible character, and together hold all of them.
    """
    special = count("")

    def size(text: str) -> int:
        return max(count(text) - special, len(text) // _CHARACTERS_PER_TOKEN)

    found: list[Chunk] = []
    for part in _parts(extraction):
        heading = " › ".join(dict.fromkeys(filter(None, (extraction.title, part.section))))
        above = heading if size(heading) <= HEADING_TOKENS else ""
        room = limit - special - size(above)
        text = extraction.text
        if part.kind == "table":
            ranges = list(_rows(text, part.start, part.end))
            head = text[slice(*ranges[0])].strip() if len(ranges) > 1 else ""
            header = head if size(head) <= min(HEADING_TOKENS, room // 3) else ""
            pieces = _pack(text, ranges, size, room - size(header))
        elif part.kind == "code":
            header = ""
            pieces = _pack(text, code_parts(text, part.start, part.end, extraction.media_type), size, room)
        else:
            header = ""
            pieces = _pack(text, [(part.start, part.end)], size, room)
        spans = extraction.spans if above and part.section else ()
        for first, start, end in _with_headings(spans, list(pieces)):
            body = text[start:end]
            under = header if start > part.start + len(header) else ""
            found.append(Chunk(first, end, heading, "\n".join(filter(None, (above, under, body)))))
    return found


def _with_headings(spans: Sequence[Span], pieces: Sequence[Range]) -> Iterator[tuple[int, int, int]]:
    """`pieces` as start, start of what is embedded, and end: headings alone are part of the piece below them.

    They stand above what is embedded anyway. As passages of their own they are near to many questions and answer none.
    """
    first: int | None = None
    for number, (start, end) in enumerate(pieces):
        first = start if first is None else first
        if number + 1 < len(pieces) and _only_headings(spans, start, end):
            continue
        yield first, start, end
        first = None


def _only_headings(spans: Sequence[Span], start: int, end: int) -> bool:
    first = max(bisect_right(spans, start, key=lambda span: span.start) - 1, 0)
    last = bisect_left(spans, end, key=lambda span: span.start)
    touched = [span for span in spans[first:last] if span.end > start]
    return bool(touched) and all(span.kind == "heading" for span in touched)


@dataclass(frozen=True, slots=True)
class _Part:
    start: int
    end: int
    section: str | None
    kind: str


def _parts(extraction: Extraction) -> Iterator[_Part]:
    """Runs of spans with one page, section, sheet and slide; tables and code apart from prose; no gap left out."""
    spans = [span for span in extraction.spans if span.start < span.end]
    if not spans:
        yield _Part(0, len(extraction.text), None, "text")
        return
    start = 0
    for index, span in enumerate(spans):
        last = index + 1 == len(spans)
        if last or _position(spans[index + 1]) != _position(span):
            end = len(extraction.text) if last else spans[index + 1].start
            yield _Part(start, end, span.locator.section, span.kind)
            start = end


def _position(span: Span) -> tuple[object, ...]:
    place = span.locator
    return span.page, place.section, place.sheet, place.slide, span.kind if span.kind in ("table", "code") else "text"


def _rows(text: str, start: int, end: int) -> Iterator[Range]:
    while start < end:
        stop = text.find("\n", start, end)
        stop = end if stop < 0 else stop + 1
        if text[start:stop].strip():
            yield start, stop
        start = stop


def _pack(text: str, ranges: Sequence[Range], size: Callable[[str], int], room: int) -> Iterator[Range]:
    """Join neighbours while they fit; cut what does not fit alone."""
    held: Range | None = None
    taken = 0
    for start, end in ranges:
        tokens = size(text[start:end])
        # The sum steers, the count decides: not every tokenizer's counts add up.
        if held and taken + tokens <= room and size(text[held[0] : end]) <= room:
            held, taken = (held[0], end), taken + tokens
            continue
        if held:
            yield from _trimmed(text, *held)
        held, taken = (start, end), tokens
        if tokens > room:
            yield from _cut(text, start, end, size, room)
            held = None
    if held:
        yield from _trimmed(text, *held)


def _cut(text: str, start: int, end: int, size: Callable[[str], int], room: int) -> Iterator[Range]:
    from semchunk.semchunk import chunkerify  # 0.2 s

    cutter = chunkerify(size, chunk_size=room, memoize=False)
    offsets = cast("list[Range]", cutter(text[start:end], offsets=True)[1])
    for index, (left, _) in enumerate(offsets):
        # semchunk drops the separators between chunks; up to the next start they belong to the chunk before.
        right = offsets[index + 1][0] if index + 1 < len(offsets) else end - start
        first = 0 if index == 0 else left
        whole = list(_trimmed(text, start + first, start + right))
        if whole and size(text[slice(*whole[0])]) <= room:
            yield from whole
        else:
            yield from _halves(text, start + first, start + right, size, room)


def _halves(text: str, start: int, end: int, size: Callable[[str], int], room: int) -> Iterator[Range]:
    for left, right in _trimmed(text, start, end):
        if size(text[left:right]) <= room or right - left == 1:
            yield left, right
        else:
            middle = (left + right) // 2
            yield from _halves(text, left, middle, size, room)
            yield from _halves(text, middle, right, size, room)


def _trimmed(text: str, start: int, end: int) -> Iterator[Range]:
    body = text[start:end]
    if stripped := body.strip():
        start += len(body) - len(body.lstrip())
        yield start, start + len(stripped)
