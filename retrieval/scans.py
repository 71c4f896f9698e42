"""What a document's metadata say of pages that were recognised from pictures. Pure functions.

ocr: page 1: 96%, page 3: 51%      how certain the recognition was of each
unread: pages 4-9: ...             scans that were not read, and why
unread_by: no tesseract            the OCR that could not read them, where another may
"""

import re
from collections.abc import Mapping, Sequence

OCR, UNREAD, UNREAD_BY = "ocr", "unread", "unread_by"
UNSURE = 0.75
"""Certainty below which a reader is told: print of usual quality is recognised with .9 and more, a bad copy with .6."""
_PAGE = re.compile(r"page (\d+): (\d+)%")


def told(certainties: Mapping[int, float]) -> str:
    """The value of `OCR` for the certainty, 0 to 1, of each recognised page."""
    return ", ".join(f"page {page}: {100 * certainty:.0f}%" for page, certainty in sorted(certainties.items()))


def certainty_of(metadata: Mapping[str, str], page: int | None) -> float | None:
    """How certain the recognition of `page` was; None for a page that was not recognised."""
    known = {int(number): int(percent) / 100 for number, percent in _PAGE.findall(metadata.get(OCR, ""))}
    return known.get(page) if page is not None else None


def listed(pages: Sequence[int]) -> str:
    """Page numbers, ascending, in words: `page 3`, `pages 1-4, 9`."""
    runs: list[list[int]] = []
    for page in pages:
        if runs and page == runs[-1][-1] + 1:
            runs[-1][1:] = [page]
        else:
            runs.append([page])
    return ("page " if len(pages) == 1 else "pages ") + ", ".join("-".join(map(str, run)) for run in runs)
