"""Text kept as it stands: plain text, source code, Markdown and reStructuredText with their headings as sections."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrieval.readers.encoding import read_text
from retrieval.readers.extraction import SECTION_SEPARATOR, Extraction, Span, clean
from retrieval.types import Locator

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))??(?:[ \t]+#+)?[ \t]*$")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_NOT_PARAGRAPH = re.compile(r"\s*$|\s*([-*+>|#]|\d+[.)])\s| {4}|\t")
_ADORNMENT = re.compile(r"""([!-/:-@[-`{-~])\1+\s*$""")
_MARKUP = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|[*_`]{1,3}([^*_`]+)[*_`]{1,3}|<[^>]+>")


@dataclass(frozen=True, slots=True)
class _Mark:
    """A heading (level from 1) or a fenced block (level 0) at `text[start:end]`."""

    start: int
    end: int
    level: int
    title: str = ""


def read_plain(path: Path) -> Extraction:
    """Raises UnreadableDocument for a binary file."""
    return whole(clean(read_text(path)), "text/plain", "text")


def read_code(path: Path) -> Extraction:
    """Raises UnreadableDocument for a binary file."""
    return whole(clean(read_text(path)), f"text/x-{path.suffix.lstrip('.').lower() or 'source'}", "code")


def whole(text: str, media_type: str, kind: str) -> Extraction:
    """One span over everything."""
    return Extraction(text, "", media_type, (Span(0, len(text), kind=kind),) if text else ())


def read_markdown(path: Path) -> Extraction:
    """Source text as it stands, with the section of each part. Raises UnreadableDocument for a binary file."""
    return sectioned(clean(read_text(path)), "text/markdown")


def read_rst(path: Path) -> Extraction:
    """Source text as it stands, with the section of each part. Raises UnreadableDocument for a binary file."""
    text = clean(read_text(path))
    return _with_sections(text, "text/x-rst", list(_rst_marks(text)))


def sectioned(text: str, media_type: str) -> Extraction:
    """Markdown source with its sections."""
    return _with_sections(text, media_type, list(_markdown_marks(text)))


def _with_sections(text: str, media_type: str, marks: Sequence[_Mark]) -> Extraction:
    spans: list[Span] = []
    headings: list[tuple[int, str]] = []
    title = ""

    def add(start: int, end: int, kind: str) -> None:
        while start < end and text[start] == "\n":
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        if start < end:
            section = SECTION_SEPARATOR.join(name for _, name in headings) or None
            spans.append(Span(start, end, locator=Locator(section=section), kind=kind))

    at = 0
    for mark in marks:
        add(at, mark.start, "text")
        if mark.level:
            headings = [(level, name) for level, name in headings if level < mark.level]
            if mark.title:
                headings.append((mark.level, mark.title))
                title = title or mark.title
        add(mark.start, mark.end, "heading" if mark.level else "code")
        at = mark.end
    add(at, len(text), "text")
    return Extraction(text, title, media_type, tuple(spans))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    at = 0
    for line in text.split("\n"):
        yield at, line
        at += len(line) + 1


def _markdown_marks(text: str) -> Iterator[_Mark]:
    fence, fence_start = "", 0
    before: tuple[int, str] | None = None
    front_matter = text.startswith("---\n") and "\n---\n" in text[4:20_000]
    for start, line in _lines(text):
        end = start + len(line)
        if front_matter:
            front_matter = start == 0 or line.rstrip() != "---"
            continue
        if fence:
            if (close := _FENCE.match(line)) and close.group(1).startswith(fence) and not line[close.end() :].strip():
                yield _Mark(fence_start, end, 0)
                fence, before = "", None
            continue
        if opening := _FENCE.match(line):
            fence, fence_start, before = opening.group(1), start, None
        elif match := _ATX.match(line):
            yield _Mark(start, end, len(match.group(1)), _plain(match.group(2) or ""))
            before = None
        elif before and (under := _SETEXT.match(line)):
            yield _Mark(before[0], end, 1 if under.group(1)[0] == "=" else 2, _plain(before[1]))
            before = None
        else:
            before = None if _NOT_PARAGRAPH.match(line) else (start, line)
    if fence:
        yield _Mark(fence_start, len(text), 0)


def _plain(title: str) -> str:
    """A heading without its inline markup."""
    return " ".join(_MARKUP.sub(lambda match: match.group(1) or match.group(2) or "", title).split())


def _rst_marks(text: str) -> Iterator[_Mark]:
    """Section titles: a line under-lined, or over- and under-lined, by one repeated punctuation character.

    Levels come from the order in which the styles of adornment first appear (docutils, "Sections").
    """
    styles: list[tuple[str, bool]] = []
    lines = list(_lines(text))
    index = 0
    while index + 1 < len(lines):
        start, line = lines[index]
        over = bool(_ADORNMENT.match(line)) and index + 2 < len(lines)
        title_at = index + 1 if over else index
        title = lines[title_at][1].strip()
        under_at, under = lines[min(title_at + 1, len(lines) - 1)]
        fits = (
            _ADORNMENT.match(under)
            and len(under.rstrip()) >= len(title)
            and title
            and not _ADORNMENT.match(lines[title_at][1])
        )
        if (
            not fits
            or (over and line.rstrip() != under.rstrip())
            or (not over and (line[:1].isspace() or len(under.rstrip()) < 2))
        ):
            index += 1
            continue
        style = (under[0], over)
        if style not in styles:
            styles.append(style)
        yield _Mark(start, under_at + len(under), styles.index(style) + 1, title)
        index = title_at + 2
