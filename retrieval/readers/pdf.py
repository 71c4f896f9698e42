"""PDF by page: lines rejoined into paragraphs from their places on the page, headings found by size or outline."""

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from retrieval.errors import OcrMissing, UnreadableDocument
from retrieval.readers.extraction import Builder, Extraction
from retrieval.readers.ocr import Scans, installed
from retrieval.readers.pdf_lines import Line, read_lines
from retrieval.readers.pdf_rules import grids
from retrieval.readers.pdf_scans import recognise_pages
from retrieval.readers.pdf_tables import Table, with_tables
from retrieval.readers.tables import add_plain_table
from retrieval.scans import OCR, UNREAD, UNREAD_BY, listed, told

_BULLET = re.compile(r"\s*([•‣▪◦●○■–—*·-]\s|\(?(\d{1,3}|[a-zA-Z]|[ivx]{1,4})[.)]\s|\[\d+\])")
_CAPTION = re.compile(r"(?:table|tab\.|tabelle|tableau|tabla|tabella)\s?\d", re.IGNORECASE)
"""What stands above a table and begins so is its name."""
_NO_SIZE = -1.0
"""Of the letters on a page that is a picture."""


@dataclass(slots=True)
class _Block:
    """Lines that belong together: a paragraph, a table's row, or a heading."""

    text: str
    size: float
    lines: int
    gap: bool
    """Whether white space stands above it, wider than between its own lines."""
    table: Table | None = None


def read_pdf(path: Path, scans: Scans) -> Extraction:
    """The text of each page in its printed order; of pages that are pictures, as it is recognised.

    :raises OcrMissing: no page has text, and there is no tesseract.
    :raises UnreadableDocument: the file is encrypted or broken, or no page has text or a picture of it.
    """
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if error.err_code in (pypdfium2.raw.FPDF_ERR_PASSWORD, pypdfium2.raw.FPDF_ERR_SECURITY):
            raise UnreadableDocument("It is encrypted with a password.", "Save a copy without one.") from error
        raise UnreadableDocument(f"It is not a PDF, or is broken: {str(error).rstrip('.')}.") from error
    try:
        return _read(document, scans)
    finally:
        document.close()


def _read(document: Any, scans: Scans) -> Extraction:
    builder = Builder()
    count = len(document)
    read = [_page_blocks(document, index) for index in range(count)]
    pages = [blocks or [] for blocks in read]
    outline = _outline(document)
    levels = {} if outline or not any(pages) else _heading_sizes(pages)
    pictures = [index for index, blocks in enumerate(read) if blocks == []]
    recognised, unread = recognise_pages(document, pictures, scans)
    for index, page in recognised.items():
        pages[index] = [_Block(paragraph, _NO_SIZE, 1, True) for paragraph in page.paragraphs]
    if not any(pages):
        if unread:
            raise next(iter(unread.values()))
        if None in read:
            raise UnreadableDocument(f"None of its {count} pages can be read: the file is broken.")
        raise UnreadableDocument(f"Its {count} pages hold no text.")
    for number, blocks in enumerate(pages, 1):
        builder.page = number
        _add_page(builder, blocks, outline.get(number, []), levels)
    metadata = document.get_metadata_dict(skip_empty=True)
    builder.metadata = {
        key.lower(): value for key, value in metadata.items() if key in ("Author", "Subject", "Keywords")
    } | {
        "created": metadata.get("CreationDate", ""),
        OCR: told({index + 1: page.certainty for index, page in recognised.items()}),
        UNREAD: f"{listed([index + 1 for index in unread])} not read: {next(iter(unread.values()))}" if unread else "",
        UNREAD_BY: installed(scans.languages) if OcrMissing in map(type, unread.values()) else "",
    }
    return builder.build("application/pdf", title=_title(metadata.get("Title", "")), pages=count)


def _add_page(
    builder: Builder, blocks: Sequence[_Block], entries: list[tuple[int, str]], levels: dict[float, int]
) -> None:
    waiting = list(entries)
    # An outline entry whose words are not found on its page begins with the page.
    keys = [_key(block.text) for block in blocks]
    for entry in list(waiting):
        if not any(_same_heading(_key(entry[1]), key) for key in keys):
            builder.enter(*entry)
            waiting.remove(entry)
    caption = ""
    for block, key in zip(blocks, keys, strict=True):
        if block.table is not None:
            add_plain_table(builder, block.table.rows, has_header=block.table.named, name=caption)
            caption = ""
            continue
        caption = block.text if _CAPTION.match(block.text) else ""
        separator = "\n\n" if block.gap else "\n"
        match = next((entry for entry in waiting if _same_heading(_key(entry[1]), key)), None)
        if match:
            waiting.remove(match)
            builder.enter(*match)
        elif block.size in levels and _could_be_heading(block):
            builder.enter(levels[block.size], block.text)
        else:
            builder.add(block.text, "list" if _BULLET.match(block.text) else "text", separator=separator)
            continue
        builder.add(block.text, "heading")


def _page_blocks(document: Any, index: int) -> list[_Block] | None:
    """The blocks of one page, None if the page itself cannot be read."""
    import pypdfium2

    try:
        page = document[index]
        text_page = page.get_textpage()
    except pypdfium2.PdfiumError:
        return None
    try:
        return list(_blocks(with_tables(read_lines(text_page), grids(page))))
    finally:
        text_page.close()
        page.close()


def _blocks(parts: Iterable[Sequence[Line] | Table]) -> Iterator[_Block]:
    for part in parts:
        if isinstance(part, Table):
            text = "\n".join(" ".join(cell for cell in row if cell) for row in part.rows)
            yield _Block(text, part.size, len(part.rows), True, part)
        else:
            yield from _of_lines(part)


def _of_lines(lines: Sequence[Line]) -> Iterator[_Block]:
    """Join the lines of each paragraph: a line goes on where the next one's first word did not fit behind it."""
    start = 0
    for end in range(1, len(lines) + 1):
        if end < len(lines) and _same_column(lines[end - 1], lines[end]):
            continue
        yield from _paragraphs(lines[start:end])
        start = end


def _same_column(above: Line, below: Line) -> bool:
    drop = above.baseline - below.baseline
    return (
        abs(above.size - below.size) <= 0.12 * above.size
        and 0 < drop < 1.75 * max(above.size, 4.0)
        and below.left < above.right
        and above.left < below.right
    )


def _paragraphs(lines: Sequence[Line]) -> Iterator[_Block]:
    right = max(line.right for line in lines)
    drops = [above.baseline - below.baseline for above, below in pairwise(lines)]
    usual = statistics.median_low(drops) if drops else 0.0
    start = 0
    for index in range(1, len(lines) + 1):
        if index < len(lines) and _goes_on(lines[index - 1], lines[index], right, drops[index - 1] > 1.25 * usual):
            continue
        part = lines[start:index]
        gap = start == 0 or drops[start - 1] > 1.25 * usual
        yield _Block(" ".join(line.text for line in part), part[0].size, len(part), gap)
        start = index


def _goes_on(above: Line, below: Line, right: float, gap: bool) -> bool:
    if gap or above.tabular or below.tabular or _BULLET.match(below.text):
        return False
    if below.left > above.left + 0.8 * above.size and not _BULLET.match(above.text):
        return False  # an indented first line begins a paragraph
    word = below.text.split(" ", 1)[0]
    width = (below.right - below.left) * (len(word) + 1) / max(len(below.text), 1)
    return above.right + width > right - 0.5 * above.size


def _heading_sizes(pages: Sequence[Sequence[_Block]]) -> dict[float, int]:
    """The heading level of each font size above the body's; only the four largest that recur or stand out."""
    weights: Counter[float] = Counter()
    for blocks in pages:
        for block in blocks:
            weights[block.size] += len(block.text)
    body = weights.most_common(1)[0][0]
    total = sum(weights.values())
    sizes = sorted((size for size in weights if size >= 1.15 * body and weights[size] < 0.2 * total), reverse=True)
    return {size: min(level, 4) for level, size in enumerate(sizes, 1)}


def _could_be_heading(block: _Block) -> bool:
    return block.lines <= 3 and 3 <= len(block.text) <= 150 and any(char.isalpha() for char in block.text)


def _outline(document: Any) -> dict[int, list[tuple[int, str]]]:
    """Bookmarks by page: level from 1, title."""
    import pypdfium2

    found: dict[int, list[tuple[int, str]]] = {}
    try:
        for bookmark in document.get_toc(max_depth=6):
            target = bookmark.get_dest()
            page = target.get_index() if target else None
            if page is not None and (title := bookmark.get_title().strip()):
                found.setdefault(page + 1, []).append((bookmark.level + 1, title))
    except pypdfium2.PdfiumError:
        return found
    return found


def _key(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).casefold()


def _same_heading(title: str, line: str) -> bool:
    return bool(title) and line.endswith(title) and len(line) <= len(title) + 12


def _title(title: str) -> str:
    """The title in the metadata, unless it is the name of the file it was typeset from."""
    return (
        ""
        if re.search(
            r"\.(docx?|odt|tex|dvi|indd|qxd|pptx?|xlsx?|html?)$|^(untitled|microsoft word)", title, re.IGNORECASE
        )
        else title
    )
