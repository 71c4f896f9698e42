"""Where in its document something stands, in words. Used in prompts and on the screen alike."""

import re

from app.answer import Citation
from retrieval.scans import UNSURE
from retrieval.types import Locator

MARKS = {"verified": "✓", "repaired": "~", "misattributed": "!", "not_found": "✗"}
"""One sign per status of a citation."""
_LINES = re.compile(rf"(?:\n+\[\d+\] [{''.join(MARKS.values())}] [^\n]*)+\s*$")


def within(page: int | None, locator: Locator) -> str:
    """`page 12, Ventilation › Filters` or `sheet Costs, cells B4:D9`; empty where only the line is known."""
    parts = [
        f"page {page}" if page is not None else "",
        f"slide {locator.slide}" if locator.slide is not None else "",
        f"sheet {locator.sheet}" if locator.sheet else "",
        f"cells {locator.cells}" if locator.cells else "",
        locator.section or "",
        _doubt(locator),
    ]
    return ", ".join(part for part in parts if part)


def _doubt(locator: Locator) -> str:
    """Words for a page that was hard to recognise."""
    unsure = locator.ocr is not None and locator.ocr < UNSURE
    return f"a scan, read with {100 * (locator.ocr or 0):.0f}% certainty" if unsure else ""


def place(path: str, page: int | None, line: int, locator: Locator) -> str:
    """Where a passage stands: `report.pdf, page 3`, `stock.xlsx, Parts!B4`, `notes.md:12, § Stock`."""
    path = path.replace("\n", "\\n")  # a file's name must not look like another citation's line
    if locator.cells:
        return f"{path}, {locator.sheet + '!' if locator.sheet else ''}{locator.cells}"
    if locator.slide:
        return f"{path}, slide {locator.slide}"
    if page:
        return f"{path}, page {page}" + (f" ({doubt})" if (doubt := _doubt(locator)) else "")
    return f"{path}:{line}" + (f", § {locator.section}" if locator.section else "")


def citation_line(citation: Citation) -> str:
    """`[1] ✓ verified  report.pdf, page 3: “…”`"""
    where = place(citation.path, citation.page, citation.line, citation.locator)
    quote = " ".join(citation.quote.split())
    cut = quote if len(quote) <= 200 else f"{quote[:200]} …"  # a quote that goes on must say so
    return f"[{citation.n}] {MARKS[citation.status]} {citation.status}  {where}: “{cut}”"


def without_citation_lines(text: str) -> str:
    """An answer as it was before `citation_line`s were put below it."""
    return _LINES.sub("", text)
