"""Where in its document something stands, in words. Used in prompts and on the screen alike."""

import re
from dataclasses import replace

from app.answer import Citation
from retrieval.scans import UNSURE
from retrieval.types import Drift, Locator

MARKS = {"verified": "✓", "repaired": "~", "misattributed": "!", "not_found": "✗"}
"""One sign per status of a citation."""
ON_DISK: dict[Drift, str] = {"changed": "changed on disk since it was read", "gone": "gone from disk"}
_LINES = re.compile(rf"(?:\n+\[\d+\] [{''.join(MARKS.values())}] [^\n]*)+\s*$")


def within(page: int | None, locator: Locator) -> str:
    """`page 12, Ventilation › Filters`, `sheet Costs, cells B4:D9`, `page 3, table Parts, cell B4`; empty where only
    the line is known."""
    cells = "cells" if ":" in (locator.cells or "") else "cell"
    amid_text = page is not None or locator.slide is not None or bool(locator.section)
    section = (locator.section or "").removesuffix(locator.sheet or "\n")  # a table may be named by its heading
    parts = [
        f"page {page}" if page is not None else "",
        f"slide {locator.slide}" if locator.slide is not None else "",
        f"{'table' if amid_text else 'sheet'} {locator.sheet}" if locator.sheet else "",
        f"{cells} {locator.cells}" if locator.cells else "",
        section.removesuffix(" › "),
        _doubt(locator),
    ]
    return ", ".join(part for part in parts if part)


def beside_title(title: str, page: int | None, line: int, locator: Locator) -> str:
    """`within`, or the line where the document has nothing better; without its title, which stands beside it and heads
    the sections of many."""
    section = (locator.section or "").removeprefix(title or "\n").removeprefix(" › ")
    return within(page, replace(locator, section=section)) or f"line {line}"


def _doubt(locator: Locator) -> str:
    """Words for a page that was hard to recognise."""
    unsure = locator.ocr is not None and locator.ocr < UNSURE
    return f"a scan, read with {100 * (locator.ocr or 0):.0f}% certainty" if unsure else ""


def place(path: str, page: int | None, line: int, locator: Locator) -> str:
    """Where a passage stands: `report.pdf, page 3`, `stock.xlsx, Parts!B4`, `report.pdf, page 3, Parts!B4`,
    `notes.md:12, § Stock`."""
    path = path.replace("\n", "\\n")  # a file's name must not look like another citation's line
    parts = [
        f"slide {locator.slide}" if locator.slide else "",
        f"page {page}" + (f" ({doubt})" if (doubt := _doubt(locator)) else "") if page else "",
        f"{locator.sheet + '!' if locator.sheet else ''}{locator.cells}" if locator.cells else "",
    ]
    if not any(parts):
        return f"{path}:{line}" + (f", § {locator.section}" if locator.section else "")
    return ", ".join([path, *filter(None, parts)])


def citation_line(citation: Citation) -> str:
    """`[1] ✓ verified  report.pdf, page 3: “…”`, and before the quote what became of the file since."""
    where = place(citation.path, citation.page, citation.line, citation.locator)
    if citation.on_disk is not None:
        mend = "; `loci ingest` reads it again" if citation.on_disk == "changed" else ""
        where += f" ({ON_DISK[citation.on_disk]}{mend})"
    quote = " ".join(citation.quote.split())
    cut = quote if len(quote) <= 200 else f"{quote[:200]} …"  # a quote that goes on must say so
    return f"[{citation.n}] {MARKS[citation.status]} {citation.status}  {where}: “{cut}”"


def without_citation_lines(text: str) -> str:
    """An answer as it was before `citation_line`s were put below it."""
    return _LINES.sub("", text)
